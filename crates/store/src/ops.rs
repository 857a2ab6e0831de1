//! What is sent to a store and what comes back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tasker_core::graph::{Index, Workflow};
use tasker_core::machine::{Action, Holding};
use tasker_core::state::TaskState;
use tasker_wire::Report;
use uuid::Uuid;

use crate::{CommitError, EventRecord};

/// What one commit stores.
pub struct Batch<'a> {
    /// Done in order, but for [`Op::Due`]: what is due comes after the claims.
    pub ops: &'a [Op],
    /// Served in order, from what was ready before and what these operations made ready.
    pub claims: &'a [ClaimRequest],
    /// What the process that claims holds already.
    pub holding: Holding,
    /// Unix milliseconds; stamps everything in this commit.
    pub now: i64,
    /// Seed of the retry jitter; `None` for no jitter.
    pub jitter_seed: Option<u64>,
    /// Worker deaths after which a step is given up.
    pub max_crashes: u32,
    /// Whether the caller holds the [`TaskInfo`] of a task already, so that a claim need not load it.
    pub knows: &'a (dyn Fn(i64) -> bool + Sync),
}

/// One operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Op {
    /// Creates a task with its first steps.
    #[serde(skip)] // its workflow stays where it is compiled
    Create(Box<NewTask>),
    /// Records a worker's report on an attempt.
    Finish {
        /// Store's number of the task.
        task: i64,
        /// Step number.
        no: u16,
        /// Fencing token of the claim.
        fence: u32,
        /// Store's number of the reporting worker.
        worker: i64,
        /// What it reports.
        report: Report,
        /// Payloads of the events it publishes, where they are not the default.
        events: Vec<PreparedEvent>,
    },
    /// An operator's action.
    Act {
        /// Task UUID.
        task: Uuid,
        /// What to do.
        order: Order,
        /// Who does it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Stores a template; the same source twice is one row.
    AddTemplate(TemplateSource),
    /// Makes a worker known.
    AddWorker(Box<NewWorker>),
    /// Says that a worker lives.
    Heartbeat {
        /// Store's number of the worker.
        worker: i64,
        /// Everything it holds: task, step number, fence of each. What it was given and never heard of goes back to its
        /// queue. `None`: as the store has it.
        held: Option<Vec<(i64, u16, u32)>>,
    },
    /// A worker was told to stop: what it still holds when it ends was handed back.
    Draining {
        /// Store's number of the worker.
        worker: i64,
    },
    /// A worker stopped, died or fell silent: whatever it still held is queued again.
    WorkerGone {
        /// Store's number of the worker.
        worker: i64,
        /// Only if its beat is still this.
        beat: Option<i64>,
        /// It handed everything back itself, so its attempts are released rather than lost.
        stopped: bool,
    },
    /// Acts on a dead letter.
    DeadLetter {
        /// Its number.
        id: i64,
        /// What to do.
        order: LetterOrder,
        /// Who does it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Takes events from a queue: invisible to other readers until acknowledged or `visible_at`.
    ReadEvents {
        /// Name of the queue.
        queue: String,
        /// At most this many.
        limit: usize,
        /// Unix milliseconds.
        visible_at: i64,
    },
    /// Acknowledges events: they are kept, and read no more.
    ArchiveEvents {
        /// Their numbers.
        ids: Vec<i64>,
    },
    /// Makes events readable again.
    ReplayEvents {
        /// Their numbers.
        ids: Vec<i64>,
    },
    /// Removes tasks that ended before a time, with everything that is theirs, and events that were acknowledged before
    /// it. Tasks with an open dead letter stay, and so do events that nobody acknowledged.
    Prune {
        /// Unix milliseconds.
        before: i64,
        /// At most this many tasks, and as many events.
        limit: usize,
    },
    /// Notes that duties of an engine have run, for [`crate::Store::doctor`].
    DutiesRan {
        /// Their names.
        names: Vec<String>,
    },
    /// Handles rows whose `wake_at` has passed: retries, starts, lifecycle limits.
    Due {
        /// At most this many steps, and as many tasks.
        limit: usize,
        /// Steps that are passed over, from the first that is due: they could not be handled.
        skip: usize,
    },
}

impl Op {
    /// How much it carries, bytes, within a few hundred.
    pub fn payload_bytes(&self) -> usize {
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let own = match self {
            Op::Create(new) => new.context.len() + new.details.len(),
            Op::Finish { report, events, .. } => {
                let events: usize = events.iter().map(|e| of(&e.payload) + of(&e.metadata)).sum();
                events
                    + match report {
                        Report::Success { result, metadata, .. } => result.len() + of(metadata),
                        Report::Failure(failure) => {
                            let error = &failure.error;
                            let context = error.context.as_ref().map_or(0, |c| c.get().len());
                            let frames: usize = error.backtrace.iter().map(String::len).sum();
                            error.message.len() + context + frames + of(&failure.metadata)
                        }
                        Report::Checkpoint { checkpoint, .. } => checkpoint.len(),
                        Report::Release { .. } => 0,
                    }
            }
            Op::Act { order: Order::CompleteStep(_, result), reason, .. } => result.len() + reason.len(),
            Op::AddTemplate(template) => template.source.len(),
            _ => 0,
        };
        own + size_of::<Op>()
    }
}

/// A published event whose payload was made, checked or refused before its step's report was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedEvent {
    /// Place in the step's `publishes_events`.
    pub index: usize,
    /// JSON; `None`: the event is not published.
    pub payload: Option<String>,
    /// JSON object merged into the event's metadata.
    pub metadata: Option<String>,
}

/// What an operator does with a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LetterOrder {
    /// Runs the task's failed steps again.
    Replay,
    /// Settles it; a blocked task ends in `error`.
    Discard,
    /// Keeps a note on it.
    Annotate(String),
}

/// A task to create.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Version-7 UUID shaped by [`tasker_core::id::task_uuid`].
    pub uuid: Uuid,
    /// Template row.
    pub template: i64,
    /// Its workflow.
    pub workflow: Arc<Workflow>,
    /// Input with the template's defaults merged under it.
    pub context: Arc<str>,
    /// The request without its context: JSON object.
    pub details: Arc<str>,
    /// −100…100.
    pub priority: i32,
    /// Not before this time.
    pub start_at: Option<i64>,
    /// How a repeated request is recognised.
    pub idempotency: Option<Idempotency>,
}

/// How a repeated request is recognised.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Idempotency {
    /// Unique key, scoped by the caller of the store.
    pub key: String,
    /// Digest of the payload.
    pub digest: String,
    /// Any repetition is a conflict, the same payload included.
    pub strict: bool,
}

/// A template to store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TemplateSource {
    /// File it came from, for messages.
    pub path: String,
    /// YAML text.
    pub source: String,
    /// `TASKER_ENV` its overrides were chosen by.
    pub environment: Option<String>,
    /// Namespace, name and version, as loaded.
    pub identity: (String, String, String),
}

/// One life of a worker, to make known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewWorker {
    /// Name that no other live worker has.
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
    /// How long it may be silent before others take it for gone, milliseconds.
    pub lease_ms: i64,
}

/// An operator's action, owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// See [`Action::Cancel`].
    Cancel,
    /// See [`Action::Pause`].
    Pause,
    /// See [`Action::Resume`].
    Resume,
    /// See [`Action::RetryFailed`].
    RetryFailed,
    /// See [`Action::Reset`].
    Reset(u16),
    /// See [`Action::ResolveStep`].
    ResolveStep(u16),
    /// See [`Action::CompleteStep`].
    CompleteStep(u16, String),
    /// See [`Action::GiveUp`].
    GiveUp,
    /// See [`Action::ResolveTask`].
    ResolveTask,
}

impl Order {
    /// The machine's form.
    pub fn action(&self) -> Action<'_> {
        match self {
            Order::Cancel => Action::Cancel,
            Order::Pause => Action::Pause,
            Order::Resume => Action::Resume,
            Order::RetryFailed => Action::RetryFailed,
            Order::Reset(no) => Action::Reset { no: *no },
            Order::ResolveStep(no) => Action::ResolveStep { no: *no },
            Order::CompleteStep(no, result) => Action::CompleteStep { no: *no, result },
            Order::GiveUp => Action::GiveUp,
            Order::ResolveTask => Action::ResolveTask,
        }
    }

    /// The step it is about.
    pub fn step(&self) -> Option<u16> {
        match self {
            Order::Reset(no) | Order::ResolveStep(no) | Order::CompleteStep(no, _) => Some(*no),
            _ => None,
        }
    }
}

/// A worker's wish for steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// Store's number of the worker.
    pub worker: i64,
    /// Queues it takes from; the first is asked first.
    pub queues: Arc<[String]>,
    /// At most this many.
    pub slots: usize,
}

/// A step given to a worker.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Store's number of the task.
    pub task: i64,
    /// Step number.
    pub no: u16,
    /// Index in the template.
    pub step: Index,
    /// Attempts that count against `max_attempts`.
    pub failures: u32,
    /// Fencing token.
    pub fence: u32,
    /// Attempts started before this one.
    pub attempts: u32,
    /// Unix milliseconds.
    pub started_at: i64,
    /// Unix milliseconds; when the previous attempt, if any, was started it was before this.
    pub enqueued_at: i64,
    /// Name, where it is not the template's (batch workers, which also have `inputs`).
    pub name: Option<String>,
    /// A checkpoint is stored.
    pub has_checkpoint: bool,
    /// It runs with nothing beside it.
    pub suspect: bool,
    /// The task, where the caller did not know it.
    pub info: Option<Arc<TaskInfo>>,
}

/// What every step of a task shares.
#[derive(Debug)]
pub struct TaskInfo {
    /// Store's number.
    pub id: i64,
    /// UUID.
    pub uuid: Uuid,
    /// Template row.
    pub template: i64,
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// Input, JSON.
    pub context: Arc<str>,
    /// The request without its context, JSON object.
    pub details: Arc<str>,
    /// −100…100.
    pub priority: i32,
    /// Unix milliseconds.
    pub created_at: i64,
}

/// An attempt that lost its right to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutShort {
    /// Store's number of the worker that runs it.
    pub worker: i64,
    /// Store's number of the task.
    pub task: i64,
    /// Step number.
    pub no: u16,
    /// Fencing token.
    pub fence: u32,
}

/// An event as published.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// Store's number of the worker whose step it is of; 0 if none reported.
    pub worker: i64,
    /// Event name.
    pub name: String,
    /// Queue it was stored in, if it is durable.
    pub queue: Option<String>,
    /// The worker hears of it: for subscribers in its process, or for the publisher that made its payload.
    pub is_told: bool,
    /// The event, JSON.
    pub message: Arc<str>,
}

/// What a commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// One a operation.
    pub results: Vec<Result<Done, CommitError>>,
    /// One a claim.
    pub claimed: Vec<Vec<Claimed>>,
    /// Tasks that ended or came to rest.
    pub rested: Vec<(i64, TaskState)>,
    /// Attempts whose workers must be told to stop.
    pub cut_short: Vec<CutShort>,
    /// Earliest `wake_at` this commit wrote.
    pub next_wake: Option<i64>,
    /// Events published, those of the durable kind already stored.
    pub published: Vec<Published>,
    /// Steps were queued that no claim of this commit took.
    pub left_ready: bool,
    /// When a step may be claimed that was left to an idle worker so far, Unix milliseconds.
    pub claimable_at: Option<i64>,
    /// Nobody knows what the claims were given: it goes back with an [`Op::Heartbeat`] that says what is held.
    pub claims_unknown: bool,
}

impl Committed {
    /// Whether other processes may wait for something of it.
    pub fn is_news(&self) -> bool {
        self.left_ready
            || !self.rested.is_empty()
            || !self.cut_short.is_empty()
            || self.published.iter().any(|event| event.queue.is_some())
    }
}

/// What an [`Op::Prune`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Tasks.
    pub tasks: usize,
    /// Acknowledged events.
    pub events: usize,
    /// There may be more.
    pub has_more: bool,
}

/// What one operation did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Done {
    /// The task exists.
    Created {
        /// Store's number.
        task: i64,
        /// UUID.
        uuid: Uuid,
        /// It existed before.
        existing: bool,
    },
    /// The report was recorded; `false`: as rejected, because the attempt is not the current one.
    Finished {
        /// Whether it changed the task.
        accepted: bool,
    },
    /// The action was done.
    Acted,
    /// The heartbeat was taken; `false`: the worker had been declared gone.
    Beat {
        /// Whether the worker is one of the living.
        alive: bool,
    },
    /// The worker is gone; how many steps were queued again. `None`: its beat is another, or it was gone before.
    Gone(Option<usize>),
    /// Number of the template row.
    Template(i64),
    /// Number of the worker row.
    Worker(i64),
    /// How many rows were handled.
    Due(usize),
    /// What was removed.
    Pruned(Pruned),
    /// Events taken from their queue, in order.
    Events(Vec<EventRecord>),
    /// Nothing to tell.
    Nothing,
}
