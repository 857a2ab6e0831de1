use serde::{Deserialize, Serialize};

use crate::{Json, StepError};

/// A task as clients see it. Times are RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct TaskView {
    /// Task UUID.
    pub task_uuid: String,
    /// Template name.
    pub name: String,
    /// Template namespace.
    pub namespace: String,
    /// Template version.
    pub version: String,
    /// State of the task, `paused` included.
    pub status: String,
    /// What is going on, derived from the steps.
    pub execution_status: &'static str,
    /// `healthy`, `retrying`, `blocked`, `paused` or `ended`.
    pub health_status: &'static str,
    /// What a person should do, if anything.
    pub recommended_action: Option<&'static str>,
    /// Share of steps done, 0–100.
    pub completion_percentage: f64,
    /// Steps by state.
    pub steps: StepCounts,
    /// Input.
    pub context: Json,
    /// Who asked for it.
    pub initiator: String,
    /// Which system asked for it.
    pub source_system: String,
    /// Why.
    pub reason: String,
    /// Labels.
    pub tags: Vec<String>,
    /// −100…100.
    pub priority: i32,
    /// Follows the task through logs and events.
    pub correlation_id: String,
    /// Of what caused it.
    pub parent_correlation_id: Option<String>,
    /// Key it was created under.
    pub idempotency_key: Option<String>,
    /// When the request was made.
    pub requested_at: String,
    /// When it was stored.
    pub created_at: String,
    /// When its state last changed.
    pub updated_at: String,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Not before this time.
    pub run_at: Option<String>,
    /// Batch workers that failed without stopping the task.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_batches: Vec<String>,
}

/// Steps by state.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct StepCounts {
    /// All.
    pub total: u32,
    /// `pending`.
    pub pending: u32,
    /// `enqueued` and `in_progress`.
    pub active: u32,
    /// `waiting_for_retry`.
    pub waiting_for_retry: u32,
    /// `complete` and `resolved_manually`.
    pub complete: u32,
    /// `error`.
    pub error: u32,
    /// `cancelled`.
    pub cancelled: u32,
}

/// A page of tasks.
#[derive(Debug, Clone, Serialize)]
pub struct TaskList {
    /// Newest first.
    pub tasks: Vec<TaskView>,
    /// How many match in all.
    pub total: u64,
}

/// A step as clients see it.
#[derive(Debug, Clone, Serialize)]
pub struct StepView {
    /// Step UUID.
    pub step_uuid: String,
    /// Task UUID.
    pub task_uuid: String,
    /// Name; of a batch worker its own.
    pub name: String,
    /// Name in the template.
    pub template_step_name: String,
    /// Kind.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Names of the template steps it depends on.
    pub dependencies: Vec<String>,
    /// State.
    pub status: &'static str,
    /// Attempts started, those handed back not counted.
    pub attempts: u32,
    /// Attempts whose worker died.
    pub crashes: u32,
    /// Limit.
    pub max_attempts: u32,
    /// Whether the template lets it be retried.
    pub retryable: bool,
    /// Recorded result.
    pub result: Option<Json>,
    /// Error of the latest failed attempt, while it matters.
    pub error: Option<StepError>,
    /// Metadata of the latest attempt.
    pub metadata: Option<Json>,
    /// Inputs of a batch worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Json>,
    /// Latest checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Json>,
    /// When its next attempt is due.
    pub next_retry_at: Option<String>,
    /// When its latest attempt started.
    pub last_attempted_at: Option<String>,
    /// When it reached its state for good.
    pub completed_at: Option<String>,
    /// History, oldest first.
    pub history: Vec<AttemptView>,
}

/// One attempt in a step's history.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptView {
    /// 1 for the first.
    pub attempt: u32,
    /// Fencing token.
    pub fence: u32,
    /// How it ended; `running` while it runs.
    pub outcome: &'static str,
    /// Whether its report changed the task.
    pub accepted: bool,
    /// Which worker ran it.
    pub worker_id: Option<String>,
    /// When it started.
    pub started_at: String,
    /// When it ended.
    pub completed_at: Option<String>,
    /// How long the handler took.
    pub execution_time_ms: Option<f64>,
    /// Why it failed.
    pub error: Option<StepError>,
    /// Result of a rejected report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_result: Option<Json>,
    /// The handler's metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<String>,
}

/// An operator's action.
#[derive(Debug, Clone, Serialize)]
pub struct AuditView {
    /// What was done.
    pub action: String,
    /// Name of the step, if it was one.
    pub step: Option<String>,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// State before.
    pub before: String,
    /// State after.
    pub after: String,
    /// When.
    pub at: String,
}

/// A domain event in its queue.
#[derive(Debug, Clone, Serialize)]
pub struct EventView {
    /// Number in its queue.
    pub msg_id: i64,
    /// How often it was read.
    pub read_ct: i64,
    /// When it was published.
    pub enqueued_at: String,
    /// Not read again before.
    pub visible_at: String,
    /// When it was acknowledged.
    pub archived_at: Option<String>,
    /// `{event_id, event_name, event_version, payload, metadata}`.
    pub message: Json,
}

/// What an action on many tasks or dead letters did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BulkView {
    /// How many the filter matches.
    pub matched: u64,
    /// On how many the action took effect; 0 in a dry run.
    pub done: u64,
    /// How many refused it.
    pub refused: u64,
    /// Some refusals.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<String>,
}

/// Dead letters of one kind of error.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetterGroup {
    /// The same for errors of one kind.
    pub fingerprint: String,
    /// How many.
    pub count: u64,
    /// Template, `namespace/name`.
    pub template: String,
    /// Step that failed.
    pub step: Option<String>,
    /// Of the newest.
    pub error_type: Option<String>,
    /// Of the newest.
    pub message: Option<String>,
}

/// A task that needs a person.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetterView {
    /// Its number.
    pub id: i64,
    /// Template namespace.
    pub namespace: String,
    /// Template name.
    pub name: String,
    /// Step that failed.
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
    pub task_uuid: String,
    /// Why.
    pub reason: &'static str,
    /// When it was opened.
    pub opened_at: String,
    /// When it was settled.
    pub resolved_at: Option<String>,
}

/// A registered template.
#[derive(Debug, Clone, Serialize)]
pub struct TemplateView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Shown to people.
    pub description: Option<String>,
    /// `author`, `tags`, `documentation_url` and whatever else its file holds.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// External systems it leans on: `primary`, `secondary`.
    pub system_dependencies: serde_json::Value,
    /// Names of the events in its catalogue.
    pub domain_events: Vec<String>,
    /// File it came from.
    pub path: String,
    /// Names of its steps.
    pub steps: Vec<String>,
}

/// A worker seen by the store.
#[derive(Debug, Clone, Serialize)]
pub struct WorkerView {
    /// Its id.
    pub worker_id: String,
    /// Whether it was seen within its lease.
    pub alive: bool,
    /// `python`, `ruby`, `rust`.
    pub language: String,
    /// Version of its SDK.
    pub sdk_version: String,
    /// Queues it takes from.
    pub queues: Vec<String>,
    /// Handlers it has registered.
    pub handlers: Vec<String>,
    /// Handlers it runs at once.
    pub slots: u32,
    /// Process id.
    pub pid: u32,
    /// When it started.
    pub started_at: String,
    /// When it was last seen.
    pub last_seen_at: String,
}

/// What `tasker doctor` found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DoctorReport {
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// Where the store is.
    pub url: String,
    /// How durable a commit is.
    pub durability: String,
    /// Tasks stored.
    pub tasks: u64,
    /// Steps stored.
    pub steps: u64,
    /// Reports kept as rejected.
    pub rejected: u64,
    /// One entry a check.
    pub findings: Vec<Finding>,
    /// What engines do by themselves on this store, and when any last did.
    #[serde(default)]
    pub duties: Vec<DutyView>,
}

/// Something engines do by themselves, such as removing old tasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DutyView {
    /// What it is called.
    pub name: String,
    /// When an engine last did it, to the minute; RFC 3339.
    pub last_ran_at: String,
}

/// One invariant and whether it holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// What must hold.
    pub check: String,
    /// Rows that break it.
    pub violations: u64,
    /// Some of them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub examples: Vec<String>,
}
