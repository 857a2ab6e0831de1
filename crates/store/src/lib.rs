//! Durable storage of tasks and steps.
//!
//! [`Store`] is the one seam between the engine and a database. Its write side is a single method, [`Store::commit`]:
//! a batch of [`Op`]s and claims that is stored whole, in one commit. Each operation loads the rows its event touches,
//! asks the pure machine what changes, and writes that; no rule lives here. One operation that fails is set aside
//! and never stops the others.
//!
//! The crate `tasker-engine-store-suite` runs every behaviour a driver must have.

mod attempt;
pub mod clock;
mod commit;
mod message;
mod ops;
pub mod postgres;
mod publish;
mod records;
pub mod remote;
pub mod sqlite;
pub mod sync;
mod tables;
pub mod threads;
pub mod transfer;
mod workflows;

pub use attempt::CommitError;
pub use message::events_queue;
pub use ops::{
    Batch, ClaimRequest, Claimed, Committed, CutShort, Done, Idempotency, LetterOrder, NewTask, NewWorker, Op, Order,
    PreparedEvent, Pruned, Published, TaskInfo, TemplateSource,
};
pub use records::{
    AttemptRecord, AuditRecord, DeadLetterRecord, EventRecord, StepRecord, TaskRecord, TemplateRecord, WatchedRecord,
    WorkerRecord,
};
pub use tasker_core::machine::Holding;
pub use tasker_core::watch::RETURN_MS;
pub use workflows::{Workflows, compile};

use tasker_wire::{DeadLetterFilter, DoctorReport, Error, EventFilter, TaskFilter};
use uuid::Uuid;

/// A time as everything outside shows it: RFC 3339 in UTC, milliseconds.
pub fn time(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

/// A database of tasks, or a server before one. Every method may block; none needs a runtime.
pub trait Store: Send + Sync + 'static {
    /// Where it is, for people; never holds a password.
    fn url(&self) -> &str;

    /// How durable a commit is, for reports.
    fn durability(&self) -> String;

    /// Stores a batch in one commit; in several where an operation spoils it. What an `Err` means says [`CommitError`],
    /// for the batch as for an operation in [`Committed::results`].
    fn commit(&self, batch: &Batch) -> Result<Committed, CommitError>;

    /// Changes when another process wrote to the database; compared, never interpreted.
    fn version(&self) -> Result<u64, Error>;

    /// Whom to tell at once when another process wrote to the database. Drivers that cannot hear of it tell nobody:
    /// [`Store::version`] is looked at besides.
    fn watch(&self, _told: std::sync::Arc<dyn Fn() + Send + Sync>) {}

    /// By how much the store's time is ahead of [`clock::monotonic_ms`], milliseconds: the database's clock if it has one,
    /// else the machine's. Known from the moment the store is open.
    fn clock_offset(&self) -> i64;

    /// Workers to be watched. None where others watch them: those of a server.
    fn watched(&self) -> Result<Vec<WatchedRecord>, Error>;

    /// Shows that a worker of this process lives for as long as its connection stands, where others can see that.
    fn announce(&self, _worker: i64) {}

    /// Takes [`Store::announce`] back.
    fn withdraw(&self, _worker: i64) {}

    /// Whether a worker's connection stands; `None` if that cannot be told. PostgreSQL cannot tell: it keeps the connection of
    /// a machine that lost its power for as long as its TCP waits.
    fn is_connected(&self, _worker: i64) -> Option<bool> {
        None
    }

    /// Workers whose connections to the store were seen to end while this process's own stood.
    fn cut_off(&self) -> Vec<i64> {
        Vec::new()
    }

    /// Counts the times this process's connection to the store came about anew: its workers beat at once then.
    fn connections(&self) -> u64 {
        0
    }

    /// Earliest `wake_at` of any step or task.
    fn next_wake(&self) -> Result<Option<i64>, Error>;

    /// About the latest time any commit was stamped with.
    fn high_water(&self) -> Result<i64, Error>;

    /// The compiled workflow of a template row.
    fn workflow(&self, template: i64) -> Result<std::sync::Arc<tasker_core::graph::Workflow>, Error>;

    /// YAML source, path and environment of a template row.
    fn template_source(&self, template: i64) -> Result<(String, String, Option<String>), Error>;

    /// Newest template of a name, or of a name and version.
    fn find_template(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<TemplateRecord>, Error>;

    /// Newest row of every registered template.
    fn templates(&self) -> Result<Vec<TemplateRecord>, Error>;

    /// A task by UUID.
    fn task(&self, uuid: Uuid) -> Result<Option<TaskRecord>, Error>;

    /// A page of tasks, newest first, and how many match in all.
    fn tasks(&self, filter: &TaskFilter) -> Result<(Vec<TaskRecord>, u64), Error>;

    /// All steps of a task with their payloads, by number.
    fn steps(&self, task: i64) -> Result<Vec<StepRecord>, Error>;

    /// Attempts of a task, by step and time.
    fn attempts(&self, task: i64) -> Result<Vec<AttemptRecord>, Error>;

    /// Steps and attempts of a task as they were at one moment.
    fn history(&self, task: i64) -> Result<(Vec<StepRecord>, Vec<AttemptRecord>), Error>;

    /// Recorded results of some steps, in the order asked; `None` where there is none.
    fn results(&self, task: i64, steps: &[u16]) -> Result<Vec<Option<String>>, Error>;

    /// Those of some claims (task, step number, fence) that are no longer held.
    fn lost(&self, held: &[(i64, u16, u32)]) -> Result<Vec<(i64, u16, u32)>, Error>;

    /// `inputs` of a batch worker.
    fn inputs(&self, task: i64, no: u16) -> Result<Option<String>, Error>;

    /// Latest checkpoint of a step.
    fn checkpoint(&self, task: i64, no: u16) -> Result<Option<String>, Error>;

    /// Operator actions on a task, oldest first.
    fn audit(&self, task: i64) -> Result<Vec<AuditRecord>, Error>;

    /// UUIDs of the tasks a filter matches, oldest first, its `limit` and `offset` left aside.
    fn task_uuids(&self, filter: &TaskFilter) -> Result<Vec<Uuid>, Error>;

    /// How many tasks an [`Op::Prune`] with this time would remove in all.
    fn prunable(&self, before: i64) -> Result<u64, Error>;

    /// Dead letters, newest first.
    fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRecord>, Error>;

    /// Stored domain events, oldest first.
    fn events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>, Error>;

    /// Workers, those seen last first.
    fn workers(&self) -> Result<Vec<WorkerRecord>, Error>;

    /// Checks every invariant that can be read off the rows at time `now`.
    fn doctor(&self, now: i64) -> Result<DoctorReport, Error>;
}
