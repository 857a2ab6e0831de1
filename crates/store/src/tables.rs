//! The rows of a database inside one transaction, as the write side needs them.

use std::sync::Arc;

use tasker_core::graph::Workflow;
use tasker_core::state::{AttemptEnd, BatchSpan, DeadLetterReason, Step, Task, TaskState};
use tasker_wire::Error;
use uuid::Uuid;

use crate::commit::Result;
use crate::{EventRecord, NewTask, NewWorker, Pruned, TemplateSource};

/// Bits of a step id that number the step within its task.
const STEP_BITS: u32 = 14;
/// Highest step number.
pub(crate) const STEP_MAX: u16 = (1 << STEP_BITS) - 1;

/// `task << 14 | step`: a task's steps lie side by side and need no second index.
pub(crate) fn step_id(task: i64, no: u16) -> i64 {
    task << STEP_BITS | i64::from(no)
}

/// Task and step number of a step id.
pub(crate) fn split(id: i64) -> (i64, u16) {
    (id >> STEP_BITS, (id & i64::from(STEP_MAX)) as u16)
}

/// Steps removed in one commit, unless a single task has more.
const PRUNED_STEPS_MAX: i64 = 1_000;

/// How many of some tasks (number, count of steps) one commit may remove.
pub(crate) fn prunable(found: &[(i64, i64)]) -> usize {
    let mut steps = 0;
    let fits = |(_, count): &&(i64, i64)| {
        steps += count;
        steps <= PRUNED_STEPS_MAX
    };
    found.iter().take_while(fits).count().max(usize::from(!found.is_empty()))
}

/// Orders versions by their numbers.
pub(crate) fn version_key(version: &str) -> Vec<u64> {
    version.split('.').map(|n| n.parse().unwrap_or(0)).collect()
}

/// Why an operation, or the whole batch, did not go through.
#[derive(Debug)]
pub(crate) enum Stop<E> {
    /// The operation is refused; it wrote nothing.
    Refused(Error),
    /// A statement failed; the transaction must be rolled back.
    Trouble(E),
}

impl<E> Stop<E> {
    /// The refusal, for one who goes on without; trouble stays trouble.
    pub(crate) fn set_aside(self) -> std::result::Result<Error, E> {
        match self {
            Stop::Refused(error) => Ok(error),
            Stop::Trouble(error) => Err(error),
        }
    }
}

impl<E> From<Error> for Stop<E> {
    fn from(error: Error) -> Stop<E> {
        Stop::Refused(error)
    }
}

/// A task row without its payload.
#[derive(Debug, Clone)]
pub(crate) struct TaskRow {
    pub(crate) id: i64,
    pub(crate) uuid: Uuid,
    pub(crate) template: i64,
    pub(crate) priority: i32,
    pub(crate) task: Task,
    pub(crate) updated_at: i64,
    pub(crate) ended_at: Option<i64>,
}

/// A place in a queue; queues are taken from in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ready {
    pub(crate) rank: i64,
    pub(crate) enqueued_at: i64,
    pub(crate) step: i64,
}

/// One row of the history.
pub(crate) struct NewAttempt<'a> {
    pub(crate) step: i64,
    pub(crate) fence: u32,
    pub(crate) seq: i64,
    pub(crate) attempt: u32,
    pub(crate) end: AttemptEnd,
    pub(crate) worker: i64,
    pub(crate) started_at: i64,
    pub(crate) ended_at: i64,
    pub(crate) execution_us: Option<i64>,
    pub(crate) retry_at: Option<i64>,
    pub(crate) error: Option<&'a str>,
    pub(crate) metadata: Option<&'a str>,
    pub(crate) result: Option<&'a str>,
}

/// An operator's action.
pub(crate) struct AuditRow<'a> {
    pub(crate) task: i64,
    pub(crate) no: Option<u16>,
    pub(crate) action: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
    pub(crate) at: i64,
}

/// A dead letter to open.
pub(crate) struct NewDeadLetter<'a> {
    pub(crate) task: i64,
    pub(crate) reason: DeadLetterReason,
    pub(crate) step: Option<usize>,
    pub(crate) error_type: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
    pub(crate) fingerprint: &'a str,
    pub(crate) opened_at: i64,
}

/// What a dead letter is about.
pub(crate) struct Letter {
    pub(crate) task: Uuid,
    pub(crate) state: TaskState,
    pub(crate) resolved_at: Option<i64>,
}

/// A worker with what it holds: step id and fence of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) beat: i64,
    pub(crate) draining: bool,
    pub(crate) gone: bool,
    pub(crate) held: Vec<(i64, u32)>,
}

/// The latest life of a worker's name.
#[derive(Debug, Clone)]
pub(crate) struct Namesake {
    pub(crate) worker: i64,
    pub(crate) gone: bool,
    pub(crate) language: String,
    pub(crate) pid: u32,
    pub(crate) started_at: i64,
}

/// Ends the name of a worker whose name has gone to a later life. No name holds it, so that names stay unique.
const FORMER_LIFE: char = '#';

/// The name under which a former life of a worker is kept.
pub(crate) fn former_name(name: &str, worker: i64) -> String {
    format!("{name}{FORMER_LIFE}{worker}")
}

/// The name that a worker gave itself.
pub(crate) fn given_name(mut stored: String) -> String {
    stored.truncate(stored.find(FORMER_LIFE).unwrap_or(stored.len()));
    stored
}

/// What every step of a task shares and no event changes.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) uuid: Uuid,
    pub(crate) template: i64,
    pub(crate) priority: i32,
    pub(crate) created_at: i64,
    pub(crate) context: Arc<str>,
    pub(crate) details: Arc<str>,
}

/// What a driver lends to the write side: rows as this transaction sees them, its own changes included. Times are Unix
/// milliseconds, steps go by their ids.
pub(crate) trait Tables {
    /// A statement that failed.
    type Trouble;

    fn workflow(&mut self, template: i64) -> Result<Arc<Workflow>, Self::Trouble>;
    /// Digest, task and its UUID of an idempotency key.
    fn idempotency(&mut self, key: &str) -> Result<Option<(String, i64, Uuid)>, Self::Trouble>;

    fn task(&mut self, id: i64) -> Result<Option<TaskRow>, Self::Trouble>;
    fn task_by_uuid(&mut self, uuid: Uuid) -> Result<Option<TaskRow>, Self::Trouble>;
    fn head(&mut self, task: i64) -> Result<Option<Head>, Self::Trouble>;
    /// The request of a task without its context, JSON.
    fn details(&mut self, task: i64) -> Result<Option<Arc<str>>, Self::Trouble>;
    /// Stores the task, its request and its idempotency key, and gives its number.
    fn insert_task(&mut self, new: &NewTask, task: &Task, now: i64) -> Result<i64, Self::Trouble>;
    fn update_task(&mut self, id: i64, task: &Task, now: i64, ended_at: Option<i64>) -> Result<(), Self::Trouble>;
    fn wake_task_at(&mut self, id: i64, at: i64) -> Result<(), Self::Trouble>;

    /// A step and its name, where that is not the template's.
    fn step(&mut self, id: i64) -> Result<Option<(Step, Option<String>)>, Self::Trouble>;
    fn steps(&mut self, task: i64) -> Result<Vec<Step>, Self::Trouble>;
    fn insert_step(&mut self, id: i64, step: &Step, name: Option<&str>) -> Result<(), Self::Trouble>;
    /// `result`: `None` leaves it as it is.
    fn update_step(
        &mut self,
        id: i64,
        step: &Step,
        ended_at: Option<i64>,
        result: Option<&str>,
    ) -> Result<(), Self::Trouble>;
    fn wake_step_at(&mut self, id: i64, at: i64) -> Result<(), Self::Trouble>;
    /// Forgets its result and checkpoint.
    fn clear_step(&mut self, id: i64) -> Result<(), Self::Trouble>;
    /// With its inputs and checkpoint.
    fn delete_step(&mut self, id: i64) -> Result<(), Self::Trouble>;
    fn store_inputs(&mut self, step: i64, inputs: &str) -> Result<(), Self::Trouble>;
    fn store_checkpoint(&mut self, step: i64, checkpoint: &str) -> Result<(), Self::Trouble>;

    /// Best places of a queue.
    fn ready(&mut self, queue: &str, limit: usize) -> Result<Vec<Ready>, Self::Trouble>;
    fn enqueue(&mut self, queue: &str, ready: Ready) -> Result<(), Self::Trouble>;
    fn dequeue(&mut self, queue: &str, ready: Ready) -> Result<(), Self::Trouble>;
    /// Steps and tasks whose `wake_at` has passed, earliest first, at most `limit` of each.
    fn due(&mut self, now: i64, limit: usize, skip: usize) -> Result<(Vec<i64>, Vec<i64>), Self::Trouble>;

    /// Number of the next row of a claim's history.
    fn next_seq(&mut self, step: i64, fence: u32) -> Result<i64, Self::Trouble>;
    fn insert_attempt(&mut self, attempt: &NewAttempt) -> Result<(), Self::Trouble>;
    fn insert_audit(&mut self, row: &AuditRow) -> Result<(), Self::Trouble>;

    /// The step in error that failed last: template index and error.
    fn last_error(&mut self, task: i64) -> Result<(Option<usize>, Option<String>), Self::Trouble>;
    fn open_dead_letter(&mut self, letter: &NewDeadLetter) -> Result<(), Self::Trouble>;
    /// Settles the open ones of a task.
    fn resolve_dead_letters(&mut self, task: i64, at: i64, resolution: &str) -> Result<(), Self::Trouble>;
    fn dead_letter(&mut self, id: i64) -> Result<Option<Letter>, Self::Trouble>;
    fn note_dead_letter(&mut self, id: i64, note: &str) -> Result<(), Self::Trouble>;
    /// Whether it was settled under another name before or not.
    fn close_dead_letter(&mut self, id: i64, at: i64, resolution: &str) -> Result<(), Self::Trouble>;

    fn insert_event(
        &mut self,
        queue: &str,
        task: i64,
        name: &str,
        now: i64,
        message: &str,
    ) -> Result<(), Self::Trouble>;
    fn read_events(
        &mut self,
        queue: &str,
        limit: usize,
        now: i64,
        visible_at: i64,
    ) -> Result<Vec<EventRecord>, Self::Trouble>;
    /// How many were changed.
    fn archive_events(&mut self, ids: &[i64], now: i64) -> Result<usize, Self::Trouble>;
    /// How many were changed.
    fn replay_events(&mut self, ids: &[i64], now: i64) -> Result<usize, Self::Trouble>;

    fn duty_ran(&mut self, name: &str, now: i64) -> Result<(), Self::Trouble>;
    /// See [`crate::Op::Prune`].
    fn prune(&mut self, before: i64, limit: usize) -> Result<Pruned, Self::Trouble>;

    /// Its number; the same digest is the same row.
    fn add_template(&mut self, template: &TemplateSource, digest: &str, now: i64) -> Result<i64, Self::Trouble>;
    /// The latest life of a name, locked.
    fn namesake(&mut self, name: &str) -> Result<Option<Namesake>, Self::Trouble>;
    fn rename_worker(&mut self, worker: i64, name: &str) -> Result<(), Self::Trouble>;
    /// Its number; `None`: somebody has the name.
    fn add_worker(&mut self, worker: &NewWorker, now: i64) -> Result<Option<i64>, Self::Trouble>;
    /// Moves the beat of a worker on; whether it is one of the living.
    fn worker_beats(&mut self, worker: i64, now: i64) -> Result<bool, Self::Trouble>;
    fn worker_drains(&mut self, worker: i64) -> Result<(), Self::Trouble>;
    /// A worker with what it holds, locked: its beat stays what it is until the end of the transaction.
    fn worker(&mut self, worker: i64) -> Result<Option<Found>, Self::Trouble>;
    fn worker_gone(&mut self, worker: i64) -> Result<(), Self::Trouble>;
}

/// `analyzer,worker,first,count,released` of each batch, batches separated by `;`.
pub(crate) fn batches_to(batches: &[BatchSpan]) -> Option<String> {
    let one = |b: &BatchSpan| format!("{},{},{},{},{}", b.analyzer, b.worker, b.first, b.count, b.released);
    (!batches.is_empty()).then(|| batches.iter().map(one).collect::<Vec<_>>().join(";"))
}

/// Reads what [`batches_to`] wrote.
pub(crate) fn batches_from(text: Option<&str>) -> Vec<BatchSpan> {
    text.into_iter()
        .flat_map(|t| t.split(';'))
        .filter_map(|one| {
            let mut numbers = one.split(',').map_while(|n| n.parse::<u16>().ok());
            Some(BatchSpan {
                analyzer: numbers.next()?,
                worker: numbers.next()?,
                first: numbers.next()?,
                count: numbers.next()?,
                released: numbers.next()?,
            })
        })
        .collect()
}
