//! Rows as a store reads them for people.

use serde::{Deserialize, Serialize};
use tasker_core::state::{AttemptEnd, DeadLetterReason, Step, Task};
use uuid::Uuid;

use crate::remote::shapes::{self, StepShape, TaskShape};

/// A task row with its payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Store's number.
    pub id: i64,
    /// UUID.
    pub uuid: Uuid,
    /// Template row.
    pub template: i64,
    /// Control row.
    #[serde(with = "TaskShape")]
    pub task: Task,
    /// −100…100.
    pub priority: i32,
    /// Input, JSON.
    pub context: String,
    /// The request without its context, JSON object.
    pub details: String,
    /// Unix milliseconds.
    pub ended_at: Option<i64>,
    /// Unix milliseconds.
    pub updated_at: i64,
}

/// A step row with its payloads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepRecord {
    /// Control row.
    #[serde(with = "StepShape")]
    pub step: Step,
    /// Name, where it is not the template's.
    pub name: Option<String>,
    /// JSON.
    pub result: Option<String>,
    /// JSON object.
    pub inputs: Option<String>,
    /// JSON object.
    pub checkpoint: Option<String>,
    /// Unix milliseconds.
    pub ended_at: Option<i64>,
    /// Name of the worker that holds it.
    pub worker: Option<String>,
}

/// One attempt of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Step number.
    pub no: u16,
    /// Fencing token.
    pub fence: u32,
    /// 1 for the first.
    pub attempt: u32,
    /// How it ended.
    #[serde(with = "shapes::attempt_end")]
    pub end: AttemptEnd,
    /// Name of the worker.
    pub worker: Option<String>,
    /// Unix milliseconds.
    pub started_at: i64,
    /// Unix milliseconds.
    pub ended_at: i64,
    /// Microseconds the handler took.
    pub execution_us: Option<i64>,
    /// Error, JSON object.
    pub error: Option<String>,
    /// The handler's metadata, JSON object.
    pub metadata: Option<String>,
    /// Result of a rejected report, JSON.
    pub result: Option<String>,
    /// When the next attempt was due, Unix milliseconds.
    pub retry_at: Option<i64>,
}

/// An operator's action.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditRecord {
    /// What was done.
    pub action: String,
    /// Step number, if it was about one.
    pub no: Option<u16>,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// State before.
    pub before: String,
    /// State after.
    pub after: String,
    /// Unix milliseconds.
    pub at: i64,
}

/// A domain event in its queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Number in its queue; later events have higher ones.
    pub msg_id: i64,
    /// How often it was read.
    pub read_ct: i64,
    /// Unix milliseconds.
    pub enqueued_at: i64,
    /// Unix milliseconds; not read again before.
    pub visible_at: i64,
    /// Unix milliseconds; when it was acknowledged.
    pub archived_at: Option<i64>,
    /// The event, JSON.
    pub message: String,
}

/// A dead letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetterRecord {
    /// Its number.
    pub id: i64,
    /// Namespace of the template.
    pub namespace: String,
    /// Name of the template.
    pub name: String,
    /// Name of the template step that failed.
    pub step: Option<String>,
    /// Of the error.
    pub error_type: Option<String>,
    /// Of the error.
    pub message: Option<String>,
    /// The same for errors of one kind.
    pub fingerprint: String,
    /// An operator's note.
    pub note: Option<String>,
    /// What settled it.
    pub resolution: Option<String>,
    /// Task UUID.
    pub task: Uuid,
    /// Why.
    #[serde(with = "shapes::dead_letter_reason")]
    pub reason: DeadLetterReason,
    /// Unix milliseconds.
    pub opened_at: i64,
    /// Unix milliseconds.
    pub resolved_at: Option<i64>,
}

/// A template row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TemplateRecord {
    /// Store's number.
    pub id: i64,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// File it came from.
    pub path: String,
}

/// What of a worker's row tells whether it lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WatchedRecord {
    /// Store's number.
    pub id: i64,
    /// Name, unique among the living.
    pub name: String,
    /// Moves on while it lives.
    pub beat: i64,
    /// How long it may be silent, milliseconds.
    pub lease_ms: i64,
    /// It was declared gone, and holds steps all the same.
    pub gone: bool,
}

/// A worker row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Store's number.
    pub id: i64,
    /// Name, unique among the living.
    pub name: String,
    /// `python`, `ruby`, `rust`.
    pub language: String,
    /// Version of its SDK.
    pub sdk_version: String,
    /// Queues it takes from.
    pub queues: Vec<String>,
    /// Handlers it has.
    pub handlers: Vec<String>,
    /// Handlers it runs at once.
    pub slots: u32,
    /// Process id.
    pub pid: u32,
    /// Unix milliseconds.
    pub started_at: i64,
    /// Unix milliseconds.
    pub seen_at: i64,
    /// Alive for this long after it was seen, milliseconds.
    pub lease_ms: i64,
    /// It stopped or was seen to die.
    pub gone: bool,
}
