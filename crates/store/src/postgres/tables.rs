//! One transaction's rows: read together, changed in memory, written together.
//!
//! A commit is two round trips. The first starts the transaction, locks the tasks its operations touch in the order of
//! their numbers and reads the steps their events need, with the best places of the queues it claims from. The second
//! writes every change, most with one statement of several parts, and commits. What could not be foreseen is read when
//! it is asked for, at the cost of a round trip.
//!
//! Every event changes its task's rows under the lock of the task. Only a claim changes a step without it: it locks
//! the step and its place in the queue instead, skipping what others hold, so that it never waits. An event that
//! touches a queued step locks that step too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use tasker_core::graph::Workflow;
use tasker_core::machine::{self, Event, Needs};
use tasker_core::state::{AttemptEnd, Step, StepState, Task, TaskState};
use tasker_core::template::StepKind;
use tokio_postgres::Row;
use uuid::Uuid;

use super::config::Transport;
use super::connection::{Bounds, Call, Conn, Trouble, Value, call, together};
use super::{Postgres, pgmq, query, rows};
use crate::clock::monotonic_ms;
use crate::commit::{self, Result as Outcome};
use crate::tables::{
    AuditRow, Found, Head, Letter, Namesake, NewAttempt, NewDeadLetter, Ready, STEP_MAX, Stop, Tables, TaskRow,
    batches_to, prunable, split, step_id,
};
use crate::{Batch, Committed, EventRecord, NewTask, NewWorker, Op, Pruned, TemplateSource};

type Result<T> = Outcome<T, Trouble>;

impl From<Trouble> for Stop<Trouble> {
    fn from(trouble: Trouble) -> Self {
        Stop::Trouble(trouble)
    }
}

impl From<tokio_postgres::Error> for Stop<Trouble> {
    fn from(error: tokio_postgres::Error) -> Self {
        Stop::Trouble(error.into())
    }
}

/// Does a batch in one transaction, but for its commit.
pub(super) fn prepare<'a>(
    store: &'a Postgres,
    conn: &'a mut Conn,
    batch: &'a Batch<'a>,
) -> std::result::Result<(Committed, Rows<'a>), Trouble> {
    let mut rows = Rows::new(store, conn, batch);
    rows.foresee()?;
    let mut out = commit::apply(batch, &mut rows)?;
    out.left_ready |= rows.has_more;
    Ok((out, rows))
}

struct TaskEntry {
    row: TaskRow,
    is_changed: bool,
}

struct StepEntry {
    step: Step,
    name: Option<String>,
    ended_at: Option<i64>,
    /// `None`: stays as it is; `Some(None)`: forgotten.
    result: Option<Option<String>>,
    /// `wake_at` as stored.
    stored_wake: Option<i64>,
    /// The worker that holds it, as stored.
    stored_holder: Option<i64>,
    is_new: bool,
    is_changed: bool,
    /// No claim can change it any more.
    is_locked: bool,
}

/// Where a place in a queue comes from.
#[derive(Default)]
struct Place {
    /// Made by this transaction and not written yet.
    is_own: bool,
    /// PGMQ's numbers of its messages.
    messages: Vec<i64>,
}

#[derive(Default)]
struct Queue {
    /// Known places.
    places: BTreeMap<Ready, Place>,
    /// Last stored place that was read, if there may be more behind it.
    horizon: Option<Ready>,
    is_read: bool,
}

/// What the operations of a batch are about.
#[derive(Default)]
struct Scope {
    tasks: BTreeSet<i64>,
    steps: BTreeSet<i64>,
    details: Vec<i64>,
    heads: Vec<i64>,
    creations: i64,
    keys: Vec<String>,
    /// Workers whose heartbeats are in the batch.
    beats: Vec<i64>,
    /// Reports whose steps have followers.
    continuations: usize,
    /// Every row that the events need is named.
    is_complete: bool,
}

pub(super) struct Rows<'a> {
    store: &'a Postgres,
    conn: &'a mut Conn,
    batch: &'a Batch<'a>,
    /// `None`: there is no such task.
    tasks: FxHashMap<i64, Option<TaskEntry>>,
    /// `None`: there is no such step.
    steps: BTreeMap<i64, Option<StepEntry>>,
    /// Tasks of which every step has been read.
    whole: FxHashSet<i64>,
    heads: FxHashMap<i64, Head>,
    details: FxHashMap<i64, Arc<str>>,
    keys: FxHashMap<String, Option<(String, i64, Uuid)>>,
    uuids: FxHashMap<Uuid, i64>,
    new_ids: std::vec::IntoIter<i64>,
    queues: FxHashMap<String, Queue>,
    /// What workers held when the transaction began: step and fence of each.
    workers: FxHashMap<i64, Vec<(i64, u32)>>,
    /// Those of the workers whose heartbeats are in the batch that are alive.
    alive: FxHashSet<i64>,
    /// How often this batch has moved the beat of a worker on; written with its last round trip.
    beats: FxHashMap<i64, i64>,
    due: Option<(Vec<i64>, Vec<i64>)>,
    /// Tasks of the dead letters that are acted on.
    letters: Vec<i64>,
    writes: Writes,
    /// Queues hold more than was taken.
    has_more: bool,
    /// The server's clock, Unix milliseconds, as it was during the round trip that is being taken in.
    server_ms: Option<i64>,
    /// Number of the transaction, once it has one.
    pub(super) xid: Option<String>,
}

/// Changes that are not rows of `tasks` and `steps`, as columns.
#[derive(Default)]
struct Writes {
    requests: (Vec<i64>, Vec<String>, Vec<String>),
    keys: (Vec<String>, Vec<String>, Vec<i64>),
    new_tasks: Vec<i64>,
    deleted_steps: Vec<i64>,
    unwoken: Vec<(i64, i64)>,
    /// Worker and step of what is held no more.
    dropped: Vec<(i64, i64)>,
    inputs: BTreeMap<i64, Option<String>>,
    checkpoints: BTreeMap<i64, Option<String>>,
    /// With PGMQ's numbers of those messages that were read.
    dequeued: Vec<(String, Ready, Vec<i64>)>,
    attempts: Vec<Attempt>,
    /// Messages and headers, by queue.
    events: BTreeMap<String, Vec<(String, String)>>,
    /// Rare ones, in order.
    others: Vec<Call>,
}

struct Attempt {
    step: i64,
    seq: i64,
    worker: i64,
    started_at: i64,
    ended_at: i64,
    execution_us: Option<i64>,
    retry_at: Option<i64>,
    fence: i32,
    attempt: i32,
    outcome: i16,
    error: Option<String>,
    metadata: Option<String>,
    result: Option<String>,
}

/// Text as the server takes it: it stores any character but NUL.
pub(super) fn text(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.into() }
}

fn columns<R, T>(rows: &[R], column: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(column).collect()
}

fn holder(step: &Step) -> Option<i64> {
    (step.state == StepState::InProgress).then_some(step.worker)
}

fn state(step: &Step) -> i16 {
    step.state.code() as i16
}

impl<'a> Rows<'a> {
    fn new(store: &'a Postgres, conn: &'a mut Conn, batch: &'a Batch<'a>) -> Rows<'a> {
        Rows {
            store,
            conn,
            batch,
            tasks: FxHashMap::default(),
            steps: BTreeMap::new(),
            whole: FxHashSet::default(),
            heads: FxHashMap::default(),
            details: FxHashMap::default(),
            keys: FxHashMap::default(),
            uuids: FxHashMap::default(),
            new_ids: Vec::new().into_iter(),
            queues: FxHashMap::default(),
            workers: FxHashMap::default(),
            alive: FxHashSet::default(),
            beats: FxHashMap::default(),
            due: None,
            letters: Vec::new(),
            writes: Writes::default(),
            has_more: false,
            server_ms: None,
            xid: None,
        }
    }

    /// Starts the transaction and reads what the batch is foreseen to need.
    fn foresee(&mut self) -> std::result::Result<(), Trouble> {
        let mut bounds = Bounds::Begin;
        let scope = self.scope(&mut bounds)?;
        let mut reads = Reads::default();
        if !scope.tasks.is_empty() {
            reads.push(Read::Tasks, call!(query!("tasks_lock"), scope.tasks.iter().copied().collect::<Vec<_>>()));
        }
        if !scope.steps.is_empty() {
            reads.push(Read::Steps, call!(query!("steps_load"), scope.steps.iter().copied().collect::<Vec<_>>()));
        }
        if !scope.details.is_empty() {
            reads.push(Read::Details, call!(query!("task_details"), scope.details));
        }
        if !scope.heads.is_empty() {
            reads.push(Read::Heads, call!(query!("task_heads"), scope.heads));
        }
        if scope.creations > 0 {
            reads.push(Read::NewIds, call!(query!("task_ids"), scope.creations));
        }
        if !scope.beats.is_empty() {
            reads.push(Read::Alive, call!(query!("workers_alive"), scope.beats));
        }
        if !scope.keys.is_empty() {
            reads.push(Read::Keys, call!(query!("idempotency_load"), scope.keys.clone()));
        }
        if scope.is_complete {
            self.claim_reads(scope.continuations, &mut reads);
        }
        self.read(bounds, reads)?;
        for key in scope.keys {
            self.keys.entry(key).or_insert(None);
        }
        for task in &scope.tasks {
            self.tasks.entry(*task).or_insert(None);
        }
        for step in &scope.steps {
            self.steps.entry(*step).or_insert(None);
        }
        if !scope.is_complete {
            self.read_the_rest()?;
            // Before any place in a queue is locked: whoever waits here must hold nothing that others wait for.
            self.lock_queued()?;
            let mut reads = Reads::default();
            self.claim_reads(scope.continuations, &mut reads);
            self.read(Bounds::Inside, reads)?;
        }
        if self.xid.is_none() && !self.batch.ops.is_empty() {
            // The tasks are gone.
            let mut reads = Reads::default();
            reads.push(Read::Xid, call!(query!("xid")));
            self.read(Bounds::Inside, reads)?;
        }
        self.lock_queued()
    }

    /// Locks the steps that another transaction could claim.
    fn lock_queued(&mut self) -> std::result::Result<(), Trouble> {
        let queued = self.steps.iter().filter_map(|(id, s)| s.as_ref().filter(|s| s.may_be_claimed()).map(|_| *id));
        let queued: Vec<i64> = queued.collect();
        if queued.is_empty() { Ok(()) } else { self.reread(queued) }
    }

    /// What the operations are about. Those that name neither task nor step by number are looked up first, so that
    /// every task can be locked in order.
    fn scope(&mut self, bounds: &mut Bounds) -> std::result::Result<Scope, Trouble> {
        let mut scope = Scope { is_complete: true, ..Scope::default() };
        let (mut uuids, mut letters, mut workers, mut due) = (Vec::new(), Vec::new(), Vec::new(), None);
        for op in self.batch.ops {
            match op {
                Op::Create(new) => {
                    scope.creations += 1;
                    scope.keys.extend(new.idempotency.iter().map(|i| text(&i.key)));
                }
                Op::Finish { task, no, .. } => self.foresee_finish(&mut scope, *task, *no),
                Op::Heartbeat { worker, held } => {
                    scope.beats.push(*worker);
                    if held.is_some() {
                        workers.push(*worker);
                    }
                }
                Op::Act { task, .. } => uuids.push(*task),
                Op::DeadLetter { id, .. } => letters.push(*id),
                Op::WorkerGone { worker, .. } => workers.push(*worker),
                Op::Due { limit, skip } => due = Some((*limit as i64, *skip as i64)),
                Op::AddTemplate(_)
                | Op::AddWorker(_)
                | Op::Draining { .. }
                | Op::DutiesRan { .. }
                | Op::ReadEvents { .. }
                | Op::ArchiveEvents { .. }
                | Op::ReplayEvents { .. }
                | Op::Prune { .. } => {}
            }
        }
        let mut reads = Reads::default();
        if !uuids.is_empty() {
            reads.push(Read::Uuids, call!(query!("tasks_by_uuid"), uuids));
        }
        if !letters.is_empty() {
            reads.push(Read::Letters, call!(query!("dead_letter_tasks"), letters));
        }
        if !workers.is_empty() {
            reads.push(Read::Held, call!(query!("steps_of_workers"), workers));
        }
        if let Some((limit, skip)) = due {
            reads.push(Read::DueSteps, call!(query!("steps_due"), self.batch.now, limit, skip));
            reads.push(Read::DueTasks, call!(query!("tasks_due"), self.batch.now, limit));
        }
        if reads.calls.is_empty() {
            return Ok(scope);
        }
        scope.is_complete = false;
        self.read(*bounds, reads)?;
        *bounds = Bounds::Inside;
        scope.tasks.extend(self.uuids.values());
        scope.tasks.extend(&self.letters);
        let held = self.workers.values().flatten().map(|(id, _)| *id);
        let due = self.due.iter().flat_map(|(steps, _)| steps.iter().copied());
        for id in held.chain(due) {
            scope.steps.insert(id);
            scope.tasks.insert(split(id).0);
        }
        scope.tasks.extend(self.due.iter().flat_map(|(_, tasks)| tasks));
        Ok(scope)
    }

    /// The rows a report touches, as far as the workflow alone tells.
    fn foresee_finish(&self, scope: &mut Scope, task: i64, no: u16) {
        scope.tasks.insert(task);
        scope.steps.insert(step_id(task, no));
        let Some(workflow) = self.store.workflow_of(task) else {
            scope.is_complete = false;
            return;
        };
        let graph = &workflow.graph;
        let expands = |kind: &StepKind| matches!(kind, StepKind::Decision | StepKind::Batchable);
        if graph.kinds.iter().any(expands) || usize::from(no) >= graph.children.len() {
            scope.is_complete = false;
            return;
        }
        let children = &graph.children[usize::from(no)];
        if !children.is_empty() && !self.batch.claims.is_empty() {
            scope.continuations += 1;
            if !(self.batch.knows)(task) {
                scope.heads.push(task);
            }
        }
        scope.steps.extend(children.iter().map(|child| step_id(task, *child)));
        if !workflow.template.steps[usize::from(no)].publishes_events.is_empty() {
            scope.details.push(task);
        }
    }

    /// Reads what the machine says the events need, now that their tasks and steps are here.
    fn read_the_rest(&mut self) -> std::result::Result<(), Trouble> {
        let (mut steps, mut whole) = (BTreeSet::new(), BTreeSet::new());
        let mut reports: FxHashMap<i64, u16> = FxHashMap::default();
        let mut events: Vec<(i64, Option<u16>, Event)> = Vec::new();
        for op in self.batch.ops {
            if let Op::Finish { task, no, fence, report, .. } = op {
                events.push((
                    *task,
                    Some(*no),
                    Event::Finish { no: *no, fence: *fence, outcome: commit::outcome(report) },
                ));
                *reports.entry(*task).or_default() += 1;
            }
        }
        events.extend(self.workers.values().flatten().map(|(id, fence)| {
            let (task, no) = split(*id);
            (task, Some(no), Event::WorkerLost { no, fence: *fence, alone: true })
        }));
        if let Some((due_steps, due_tasks)) = &self.due {
            events.extend(
                due_steps.iter().map(|id| (split(*id).0, Some(split(*id).1), Event::Wake { no: split(*id).1 })),
            );
            whole.extend(due_tasks);
        }
        whole.extend(self.uuids.values());
        whole.extend(&self.letters);
        let templates: BTreeSet<i64> = self.tasks.values().flatten().map(|t| t.row.template).collect();
        for template in templates {
            // One that cannot be compiled is refused where it is used.
            let _ = self.load_workflow(template)?;
        }
        for (task, no, event) in &events {
            let Some(Some(TaskEntry { row, .. })) = self.tasks.get(task) else { continue };
            let Ok(workflow) = self.store.workflows.cached(row.template).ok_or(()) else { continue };
            let step = no.and_then(|no| self.steps.get(&step_id(*task, no))?.as_ref()).map(|s| s.step);
            match machine::needs(&workflow, &row.task, step.as_ref(), event) {
                Needs::All => drop(whole.insert(*task)),
                Needs::Steps(numbers) => steps.extend(numbers.iter().map(|no| step_id(*task, *no))),
            }
            // Each report on a batch may let one more of its workers run.
            let more = reports.get(task).copied().unwrap_or(0);
            for span in &row.task.batches {
                let next = span.released..span.released.saturating_add(more).min(span.count);
                steps.extend(next.map(|i| step_id(*task, span.first + i)));
            }
        }
        steps.retain(|id| !self.steps.contains_key(id) && !whole.contains(&split(*id).0));
        whole.retain(|task| matches!(self.tasks.get(task), Some(Some(_))));
        let mut reads = Reads::default();
        if !steps.is_empty() {
            reads.push(Read::Steps, call!(query!("steps_load"), steps.iter().copied().collect::<Vec<_>>()));
        }
        for task in &whole {
            let (first, last) = (step_id(*task, 0), step_id(*task, STEP_MAX));
            reads.push(Read::Whole(*task), call!(query!("steps_of_task"), first, last));
        }
        self.read(Bounds::Inside, reads)?;
        for id in steps {
            self.steps.entry(id).or_insert(None);
        }
        Ok(())
    }

    /// Asks the queues of the claims for as many places as may be filled from them, and for one at least: steps that
    /// become ready must not go before better ones. `continuations`: slots that followers of finished steps will take.
    fn claim_reads(&mut self, continuations: usize, reads: &mut Reads) {
        let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
        for claim in self.batch.claims {
            for queue in claim.queues.iter() {
                *wanted.entry(queue).or_default() += claim.slots;
            }
        }
        for (queue, slots) in wanted {
            let mut limit = slots.saturating_sub(continuations);
            let call = match self.store.settings.transport {
                Transport::Ready => {
                    limit = limit.max(1);
                    call!(query!("ready_best"), queue.to_string(), limit as i64)
                }
                Transport::Pgmq => {
                    if limit == 0 || !self.store.queues.lock().contains(queue) {
                        self.has_more |= limit == 0;
                        continue;
                    }
                    call!(query!("pgmq_read"), pgmq::name(&self.store.settings, queue), limit as i32)
                }
            };
            reads.push(Read::Queue(queue.to_string(), limit), call);
        }
        // The lock of a task and the number of a new one bring it along.
        let comes_along = reads.of.iter().any(|r| matches!(r, Read::Tasks | Read::NewIds));
        if self.batch.ops.is_empty() {
            reads.push(Read::Xid, call!(query!("xid_if_any")));
        } else if self.xid.is_none() && !comes_along {
            reads.push(Read::Xid, call!(query!("xid")));
        }
    }

    fn read(&mut self, bounds: Bounds, reads: Reads) -> std::result::Result<(), Trouble> {
        if reads.calls.is_empty() && bounds == Bounds::Inside {
            return Ok(());
        }
        let sent_ms = monotonic_ms();
        let all = self.conn.pipeline(bounds, &reads.calls)?;
        let answered_ms = monotonic_ms();
        for (read, rows) in reads.of.into_iter().zip(all) {
            self.take(read, rows)?;
        }
        if let Some(server_ms) = self.server_ms.take() {
            self.store.time.observe(sent_ms, answered_ms, server_ms);
        }
        Ok(())
    }

    fn take(&mut self, read: Read, found: Vec<Row>) -> std::result::Result<(), Trouble> {
        match read {
            Read::Tasks => {
                for row in &found {
                    self.keep_task(rows::task(row)?);
                    self.xid = row.try_get(21)?;
                    self.server_ms = row.try_get(22)?;
                }
            }
            Read::Steps => {
                for row in &found {
                    self.keep_step(row, false)?;
                }
            }
            Read::Locked => {
                for row in &found {
                    self.keep_step(row, true)?;
                }
            }
            Read::Whole(task) => {
                for row in &found {
                    self.keep_step(row, false)?;
                }
                self.whole.insert(task);
            }
            Read::Details => {
                for row in &found {
                    self.details.insert(row.try_get(0)?, row.try_get::<_, String>(1)?.into());
                }
            }
            Read::Heads => {
                for row in &found {
                    self.heads.insert(row.try_get(6)?, rows::head(row)?);
                }
            }
            Read::NewIds => {
                let ids = found.iter().map(|r| r.try_get(0)).collect::<std::result::Result<Vec<i64>, _>>()?;
                self.new_ids = ids.into_iter();
                self.xid = found.first().map(|r| r.try_get(1)).transpose()?.flatten();
                self.server_ms = found.first().map(|r| r.try_get(2)).transpose()?;
            }
            Read::Keys => {
                for row in &found {
                    self.keys.insert(row.try_get(0)?, Some((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)));
                }
            }
            Read::Uuids => {
                for row in &found {
                    self.uuids.insert(row.try_get(0)?, row.try_get(1)?);
                }
            }
            Read::Letters => {
                self.letters = found.iter().map(|r| r.try_get(0)).collect::<std::result::Result<_, _>>()?;
            }
            Read::Held => {
                for row in &found {
                    let held = self.workers.entry(row.try_get(0)?).or_default();
                    if let Some(step) = row.try_get::<_, Option<i64>>(1)? {
                        held.push((step, row.try_get::<_, i32>(2)? as u32));
                    }
                }
            }
            Read::Alive => {
                for row in &found {
                    self.alive.insert(row.try_get(0)?);
                }
            }
            Read::DueSteps => {
                self.due.get_or_insert_default().0 =
                    found.iter().map(|r| r.try_get(0)).collect::<std::result::Result<_, _>>()?;
            }
            Read::DueTasks => {
                self.due.get_or_insert_default().1 =
                    found.iter().map(|r| r.try_get(0)).collect::<std::result::Result<_, _>>()?;
            }
            Read::Queue(name, limit) => self.take_queue(name, limit, &found)?,
            Read::Xid => {
                self.xid = found.first().map(|r| r.try_get(0)).transpose()?.flatten();
                self.server_ms = found.first().map(|r| r.try_get(1)).transpose()?;
            }
        }
        Ok(())
    }

    fn take_queue(&mut self, name: String, limit: usize, found: &[Row]) -> std::result::Result<(), Trouble> {
        let is_pgmq = self.store.settings.transport == Transport::Pgmq;
        let queue = self.queues.entry(name.clone()).or_default();
        queue.is_read = true;
        let mut foreign = Vec::new();
        for row in found {
            let messages: Vec<i64> = if is_pgmq { vec![row.try_get(23)?] } else { Vec::new() };
            let Some(step) = row.try_get::<_, Option<i64>>(0)? else {
                foreign.push((row.try_get::<_, i64>(23)?, row.try_get::<_, Option<i64>>(24)?));
                continue;
            };
            let ready = Ready { rank: row.try_get(16)?, enqueued_at: row.try_get(15)?, step };
            queue.places.entry(ready).or_default().messages.extend(messages);
        }
        if found.len() >= limit {
            queue.horizon = queue.places.keys().next_back().copied();
            self.has_more = true;
        }
        for row in found {
            let Some((task, _)) = row.try_get::<_, Option<i64>>(0)?.map(split) else { continue };
            if let Some(context) = row.try_get::<_, Option<String>>(21)? {
                self.heads.insert(
                    task,
                    Head {
                        uuid: row.try_get(17)?,
                        template: row.try_get(18)?,
                        priority: row.try_get(19)?,
                        created_at: row.try_get(20)?,
                        context: context.into(),
                        details: row.try_get::<_, String>(22)?.into(),
                    },
                );
            }
            self.store.know(task, row.try_get(18)?);
            match self.keep_step(row, true) {
                Err(Trouble::Foreign(what)) => {
                    // It stays where it is for whoever can read it; the others are given out.
                    let step: i64 = row.try_get(0)?;
                    tracing::error!(task, step = split(step).1, what, "a queued step cannot be read");
                    if let Some(queue) = self.queues.get_mut(&name) {
                        queue.places.retain(|ready, _| ready.step != step);
                    }
                }
                kept => kept?,
            }
        }
        if foreign.is_empty() { Ok(()) } else { self.set_foreign_aside(&name, foreign) }
    }

    /// Archives messages that are no steps: others can send to a queue too, and must not stop it.
    fn set_foreign_aside(&mut self, name: &str, foreign: Vec<(i64, Option<i64>)>) -> std::result::Result<(), Trouble> {
        let ids: Vec<i64> = foreign.iter().filter_map(|(_, step)| *step).collect();
        let mut steps = FxHashSet::default();
        for row in self.ask(call!(query!("steps_exist"), ids))? {
            steps.insert(row.try_get::<_, i64>(0)?);
        }
        // What is a step is held by another transaction.
        let is_foreign = |(_, step): &&(i64, Option<i64>)| step.is_none_or(|id| !steps.contains(&id));
        let messages: Vec<i64> = foreign.iter().filter(is_foreign).map(|(message, _)| *message).collect();
        if !messages.is_empty() {
            tracing::warn!(queue = name, count = messages.len(), "messages that are no steps were archived");
            let queue = pgmq::name(&self.store.settings, name);
            self.writes.others.push(call!(query!("pgmq_archive"), queue, messages));
        }
        Ok(())
    }

    fn keep_task(&mut self, row: TaskRow) {
        self.store.know(row.id, row.template);
        self.tasks.entry(row.id).or_insert(Some(TaskEntry { row, is_changed: false }));
    }

    /// Keeps a step as it was read, unless this transaction has changed it.
    fn keep_step(&mut self, row: &Row, is_locked: bool) -> std::result::Result<(), Trouble> {
        let (step, name) = rows::step(row)?;
        let id: i64 = row.try_get(0)?;
        if let Some(Some(known)) = self.steps.get_mut(&id)
            && (known.is_changed || known.is_locked)
        {
            return Ok(());
        }
        let entry = StepEntry {
            stored_wake: step.wake_at,
            stored_holder: holder(&step),
            step,
            name,
            ended_at: row.try_get(14)?,
            result: None,
            is_new: false,
            is_changed: false,
            is_locked,
        };
        self.steps.insert(id, Some(entry));
        Ok(())
    }

    /// Reads steps again, locked: until now another transaction could claim them.
    fn reread(&mut self, ids: Vec<i64>) -> std::result::Result<(), Trouble> {
        let mut reads = Reads::default();
        reads.push(Read::Locked, call!(query!("steps_lock"), ids));
        self.read(Bounds::Inside, reads)
    }

    fn load_workflow(
        &mut self,
        template: i64,
    ) -> std::result::Result<std::result::Result<Arc<Workflow>, tasker_wire::Error>, Trouble> {
        if let Some(workflow) = self.store.workflows.cached(template) {
            return Ok(Ok(workflow));
        }
        let rows = self.ask(call!(query!("template_source"), template))?;
        let source = match rows.first() {
            Some(row) => Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)),
            None => Err(super::no_template(template)),
        };
        Ok(self.store.workflows.get(template, || source))
    }

    /// One statement, now.
    fn ask(&mut self, call: Call) -> std::result::Result<Vec<Row>, Trouble> {
        Ok(self.conn.pipeline(Bounds::Inside, &[call])?.pop().unwrap_or_default())
    }

    /// Writes what has been changed so far, for a statement that must see it.
    fn settle(&mut self) -> std::result::Result<(), Trouble> {
        let calls = self.writes();
        if calls.is_empty() {
            return Ok(());
        }
        self.conn.pipeline(Bounds::Inside, &calls).map(drop)
    }

    /// Writes everything and commits. The changes are stored if this gives `Ok`; after trouble with the connection
    /// only [`Rows::xid`] can tell.
    pub(super) fn commit(mut self, high_water: Option<i64>) -> std::result::Result<(), Trouble> {
        let mut calls = self.writes();
        if let Some(now) = high_water {
            calls.push(call!(query!("high_water_store"), now));
        }
        self.conn.pipeline(Bounds::Commit, &calls)?;
        for entry in self.tasks.into_values().flatten() {
            if entry.row.task.state.is_final() {
                self.store.forget(entry.row.id);
            }
        }
        Ok(())
    }

    /// The statements that write every change since the last call.
    fn writes(&mut self) -> Vec<Call> {
        let w = std::mem::take(&mut self.writes);
        // A step that was deleted may be written anew.
        let mut calls = Vec::new();
        if !w.deleted_steps.is_empty() {
            calls.push(call!(query!("steps_delete"), w.deleted_steps));
        }
        let mut parts = Vec::new();
        self.write_tasks(&w.new_tasks, &mut parts);
        if !w.requests.0.is_empty() {
            parts.push(call!(query!("requests_insert"), w.requests.0, w.requests.1, w.requests.2));
        }
        self.write_steps(w.unwoken, w.dropped, &mut parts);
        let queues = self.write_queues(w.dequeued, &mut parts);
        write_attempts(w.attempts, &mut parts);
        calls.extend(together(parts));
        calls.extend(queues);
        if !w.keys.0.is_empty() {
            calls.push(call!(query!("idempotency_insert"), w.keys.0, w.keys.1, w.keys.2));
        }
        for (rows, delete, store) in [
            (w.inputs, query!("inputs_delete"), query!("inputs_store")),
            (w.checkpoints, query!("checkpoints_delete"), query!("checkpoints_store")),
        ] {
            let (kept, gone): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, value)| value.is_some());
            if !gone.is_empty() {
                calls.push(call!(delete, gone.into_iter().map(|(id, _)| id).collect::<Vec<_>>()));
            }
            if !kept.is_empty() {
                let (ids, values): (Vec<i64>, Vec<Option<String>>) = kept.into_iter().unzip();
                calls.push(call!(store, ids, values));
            }
        }
        for (queue, events) in w.events {
            let (messages, headers): (Vec<String>, Vec<String>) = events.into_iter().unzip();
            let queue = pgmq::name(&self.store.settings, &queue);
            calls.push(call!(query!("pgmq_send_events"), queue, messages, headers, self.batch.now));
        }
        calls.extend(w.others);
        calls
    }

    /// Changes of the queues: those of `ready` go to `parts`, calls of PGMQ's functions are given back.
    fn write_queues(&mut self, dequeued: Vec<(String, Ready, Vec<i64>)>, parts: &mut Vec<Call>) -> Vec<Call> {
        let mut enqueued = Vec::new();
        for (name, queue) in &mut self.queues {
            for (ready, place) in queue.places.iter_mut().filter(|(_, place)| place.is_own) {
                enqueued.push((name.clone(), *ready));
                place.is_own = false;
            }
        }
        if self.store.settings.transport == Transport::Ready {
            let mut gone: BTreeSet<(String, Ready)> = dequeued.into_iter().map(|(queue, r, _)| (queue, r)).collect();
            // A place that was left and taken again within one millisecond stays.
            enqueued.retain(|place| !gone.remove(place));
            let gone: Vec<(String, Ready)> = gone.into_iter().collect();
            for (places, sql) in [(gone, query!("ready_delete")), (enqueued, query!("ready_insert"))] {
                if !places.is_empty() {
                    parts.push(queue_call(sql, &places));
                }
            }
            return Vec::new();
        }
        let mut calls = Vec::new();
        let settings = &self.store.settings;
        let (mut read, mut unread): (BTreeMap<String, Vec<i64>>, BTreeMap<String, Vec<i64>>) = Default::default();
        for (queue, ready, messages) in dequeued {
            if messages.is_empty() {
                unread.entry(queue).or_default().push(ready.step);
            } else {
                read.entry(queue).or_default().extend(messages);
            }
        }
        let mut sent: BTreeMap<String, Vec<Ready>> = BTreeMap::new();
        for (queue, ready) in enqueued {
            sent.entry(queue).or_default().push(ready);
        }
        calls.extend(read.into_iter().map(|(queue, messages)| pgmq::delete(settings, &queue, messages)));
        calls.extend(unread.into_iter().map(|(queue, steps)| pgmq::withdraw(settings, &queue, &steps)));
        calls.extend(sent.into_iter().map(|(queue, places)| pgmq::send(settings, &queue, &places)));
        calls
    }

    fn write_tasks(&mut self, new: &[i64], calls: &mut Vec<Call>) {
        let mut changed: Vec<&mut TaskEntry> = self.tasks.values_mut().flatten().filter(|t| t.is_changed).collect();
        changed.sort_unstable_by_key(|t| t.row.id);
        let is_new: FxHashSet<i64> = new.iter().copied().collect();
        let (inserted, updated): (Vec<&TaskRow>, Vec<&TaskRow>) = changed
            .into_iter()
            .map(|entry| {
                entry.is_changed = false;
                &entry.row
            })
            .partition(|row| is_new.contains(&row.id));
        let control = |rows: &[&TaskRow]| -> Vec<Box<dyn Value>> {
            vec![
                Box::new(columns(rows, |r| r.id)),
                Box::new(columns(rows, |r| r.task.start_at)),
                Box::new(columns(rows, |r| r.task.state_since)),
                Box::new(columns(rows, |r| r.updated_at)),
                Box::new(columns(rows, |r| r.ended_at)),
                Box::new(columns(rows, |r| r.task.wake_at)),
                Box::new(columns(rows, |r| r.task.counts.total as i32)),
                Box::new(columns(rows, |r| r.task.counts.done as i32)),
                Box::new(columns(rows, |r| r.task.counts.failed as i32)),
                Box::new(columns(rows, |r| r.task.counts.isolated as i32)),
                Box::new(columns(rows, |r| r.task.counts.cancelled as i32)),
                Box::new(columns(rows, |r| r.task.counts.active as i32)),
                Box::new(columns(rows, |r| r.task.counts.waiting as i32)),
                Box::new(columns(rows, |r| r.task.fence_base as i32)),
                Box::new(columns(rows, |r| r.task.state.code() as i16)),
                Box::new(columns(rows, |r| r.task.paused)),
                Box::new(columns(rows, |r| batches_to(&r.task.batches))),
            ]
        };
        if !updated.is_empty() {
            calls.push(Call::new(query!("tasks_update"), control(&updated)));
        }
        if !inserted.is_empty() {
            let mut values = control(&inserted);
            values.push(Box::new(columns(&inserted, |r| r.uuid)));
            values.push(Box::new(columns(&inserted, |r| r.template)));
            values.push(Box::new(columns(&inserted, |r| r.task.created_at)));
            values.push(Box::new(columns(&inserted, |r| r.priority)));
            calls.push(Call::new(query!("tasks_insert"), values));
        }
    }

    fn write_steps(&mut self, mut unwoken: Vec<(i64, i64)>, mut dropped: Vec<(i64, i64)>, calls: &mut Vec<Call>) {
        let mut woken: Vec<(i64, i64)> = Vec::new();
        let mut taken: Vec<(i64, i64)> = Vec::new();
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for (id, entry) in &mut self.steps {
            let Some(entry) = entry.as_mut().filter(|e| e.is_changed) else { continue };
            if entry.stored_wake != entry.step.wake_at {
                unwoken.extend(entry.stored_wake.map(|at| (at, *id)));
                woken.extend(entry.step.wake_at.map(|at| (at, *id)));
                if entry.step.wake_at.is_none() {
                    // A program of the release before knows a running step by its deadline alone.
                    taken.extend(holder(&entry.step).map(|worker| (worker, *id)));
                }
                entry.stored_wake = entry.step.wake_at;
            }
            let holder = holder(&entry.step);
            if entry.stored_holder != holder {
                dropped.extend(entry.stored_holder.map(|worker| (worker, *id)));
                taken.extend(holder.map(|worker| (worker, *id)));
                entry.stored_holder = holder;
            }
            entry.is_changed = false;
            let result = entry.result.take();
            let is_new = std::mem::take(&mut entry.is_new);
            (if is_new { &mut new } else { &mut changed }).push((*id, &*entry, result));
        }
        let control = |rows: &mut Vec<(i64, &StepEntry, Option<Option<String>>)>| -> Vec<Box<dyn Value>> {
            vec![
                Box::new(columns(rows, |(id, _, _)| *id)),
                Box::new(columns(rows, |(_, e, _)| e.step.enqueued_at)),
                Box::new(columns(rows, |(_, e, _)| e.step.started_at)),
                Box::new(columns(rows, |(_, e, _)| e.step.wake_at)),
                Box::new(columns(rows, |(_, e, _)| e.step.worker)),
                Box::new(columns(rows, |(_, e, _)| e.ended_at)),
                Box::new(columns(rows, |(_, e, _)| e.step.remaining as i32)),
                Box::new(columns(rows, |(_, e, _)| e.step.fence as i32)),
                Box::new(columns(rows, |(_, e, _)| e.step.attempts as i32)),
                Box::new(columns(rows, |(_, e, _)| e.step.crashes as i32)),
                Box::new(columns(rows, |(_, e, _)| e.step.template as i16)),
                Box::new(columns(rows, |(_, e, _)| state(&e.step))),
                Box::new(columns(rows, |(_, e, _)| e.step.has_checkpoint)),
                Box::new(
                    rows.iter_mut().map(|(_, _, result)| result.as_mut().and_then(Option::take)).collect::<Vec<_>>(),
                ),
            ]
        };
        if !new.is_empty() {
            let mut values = control(&mut new);
            values.push(Box::new(columns(&new, |(_, e, _)| e.name.clone())));
            values.push(Box::new(columns(&new, |(_, e, _)| e.step.suspect)));
            calls.push(Call::new(query!("steps_insert"), values));
        }
        if !changed.is_empty() {
            let touched = columns(&changed, |(_, _, result)| result.is_some());
            let mut values = control(&mut changed);
            let suspect = columns(&changed, |(_, e, _)| e.step.suspect);
            // Without a result among them the statement is shorter, and no row carries its result along.
            if touched.contains(&true) {
                values.push(Box::new(touched));
                values.push(Box::new(suspect));
                calls.push(Call::new(query!("steps_complete"), values));
            } else {
                values.pop();
                values.push(Box::new(suspect));
                calls.push(Call::new(query!("steps_update"), values));
            }
        }
        for (rows, sql) in [
            (unwoken, query!("wakes_delete")),
            (woken, query!("wakes_insert")),
            (dropped, query!("held_delete")),
            (taken, query!("held_insert")),
        ] {
            if !rows.is_empty() {
                let (firsts, steps): (Vec<i64>, Vec<i64>) = rows.into_iter().unzip();
                calls.push(call!(sql, firsts, steps));
            }
        }
    }
}

impl StepEntry {
    fn may_be_claimed(&self) -> bool {
        self.step.state == StepState::Enqueued && !self.is_locked && !self.is_changed
    }
}

fn write_attempts(mut rows: Vec<Attempt>, parts: &mut Vec<Call>) {
    if rows.is_empty() {
        return;
    }
    let take = |of: fn(&mut Attempt) -> Option<String>, rows: &mut Vec<Attempt>| -> Vec<Option<String>> {
        rows.iter_mut().map(of).collect()
    };
    let errors = take(|a| a.error.take(), &mut rows);
    let metadata = take(|a| a.metadata.take(), &mut rows);
    let results = take(|a| a.result.take(), &mut rows);
    parts.push(call!(
        query!("attempts_insert"),
        columns(&rows, |a| a.step),
        columns(&rows, |a| a.seq),
        columns(&rows, |a| a.worker),
        columns(&rows, |a| a.started_at),
        columns(&rows, |a| a.ended_at),
        columns(&rows, |a| a.execution_us),
        columns(&rows, |a| a.retry_at),
        columns(&rows, |a| a.fence),
        columns(&rows, |a| a.attempt),
        columns(&rows, |a| a.outcome),
        errors,
        metadata,
        results,
    ));
}

fn queue_call(sql: &'static str, places: &[(String, Ready)]) -> Call {
    call!(
        sql,
        columns(places, |(queue, _)| queue.clone()),
        columns(places, |(_, r)| r.rank),
        columns(places, |(_, r)| r.enqueued_at),
        columns(places, |(_, r)| r.step),
    )
}

/// What a statement of the first round trip brings.
enum Read {
    Tasks,
    Steps,
    Locked,
    Whole(i64),
    Details,
    Heads,
    NewIds,
    Keys,
    Uuids,
    Letters,
    Held,
    Alive,
    DueSteps,
    DueTasks,
    Queue(String, usize),
    Xid,
}

#[derive(Default)]
struct Reads {
    of: Vec<Read>,
    calls: Vec<Call>,
}

impl Reads {
    fn push(&mut self, of: Read, call: Call) {
        self.of.push(of);
        self.calls.push(call);
    }
}

impl Tables for Rows<'_> {
    type Trouble = Trouble;

    fn workflow(&mut self, template: i64) -> Result<Arc<Workflow>> {
        Ok(self.load_workflow(template)??)
    }

    fn idempotency(&mut self, key: &str) -> Result<Option<(String, i64, Uuid)>> {
        // Every key of the batch was read with its first round trip.
        Ok(self.keys.get(&text(key)).cloned().flatten())
    }

    fn task(&mut self, id: i64) -> Result<Option<TaskRow>> {
        if !self.tasks.contains_key(&id) {
            let mut reads = Reads::default();
            reads.push(Read::Tasks, call!(query!("tasks_lock"), vec![id]));
            self.read(Bounds::Inside, reads)?;
            self.tasks.entry(id).or_insert(None);
        }
        Ok(self.tasks.get(&id).and_then(|t| t.as_ref()).map(|t| t.row.clone()))
    }

    fn task_by_uuid(&mut self, uuid: Uuid) -> Result<Option<TaskRow>> {
        let id = match self.uuids.get(&uuid) {
            Some(id) => *id,
            None => {
                // Created by this very batch, or not at all.
                let found = self.tasks.values().flatten().find(|t| t.row.uuid == uuid).map(|t| t.row.id);
                match found {
                    Some(id) => id,
                    None => match self.ask(call!(query!("tasks_by_uuid"), vec![uuid]))?.first() {
                        Some(row) => row.try_get(1)?,
                        None => return Ok(None),
                    },
                }
            }
        };
        self.task(id)
    }

    fn head(&mut self, task: i64) -> Result<Option<Head>> {
        if !self.heads.contains_key(&task) {
            let mut reads = Reads::default();
            reads.push(Read::Heads, call!(query!("task_heads"), vec![task]));
            self.read(Bounds::Inside, reads)?;
        }
        Ok(self.heads.get(&task).cloned())
    }

    fn details(&mut self, task: i64) -> Result<Option<Arc<str>>> {
        if let Some(head) = self.heads.get(&task) {
            return Ok(Some(head.details.clone()));
        }
        if !self.details.contains_key(&task) {
            let mut reads = Reads::default();
            reads.push(Read::Details, call!(query!("task_details"), vec![task]));
            self.read(Bounds::Inside, reads)?;
        }
        Ok(self.details.get(&task).cloned())
    }

    fn insert_task(&mut self, new: &NewTask, task: &Task, now: i64) -> Result<i64> {
        let id = match self.new_ids.next() {
            Some(id) => id,
            None => {
                let mut reads = Reads::default();
                reads.push(Read::NewIds, call!(query!("task_ids"), 1_i64));
                self.read(Bounds::Inside, reads)?;
                self.new_ids.next().ok_or_else(|| Trouble::Lost("the server gave no row".into()))?
            }
        };
        let row = TaskRow {
            id,
            uuid: new.uuid,
            template: new.template,
            priority: new.priority,
            task: task.clone(),
            updated_at: now,
            ended_at: task.state.is_final().then_some(now),
        };
        self.store.know(id, new.template);
        self.tasks.insert(id, Some(TaskEntry { row, is_changed: true }));
        self.whole.insert(id);
        self.writes.new_tasks.push(id);
        self.writes.requests.0.push(id);
        self.writes.requests.1.push(text(&new.context));
        self.writes.requests.2.push(text(&new.details));
        if let Some(identity) = &new.idempotency {
            let key = text(&identity.key);
            self.keys.insert(key.clone(), Some((identity.digest.clone(), id, new.uuid)));
            self.writes.keys.0.push(key);
            self.writes.keys.1.push(identity.digest.clone());
            self.writes.keys.2.push(id);
        }
        Ok(id)
    }

    fn update_task(&mut self, id: i64, task: &Task, now: i64, ended_at: Option<i64>) -> Result<()> {
        if let Some(Some(entry)) = self.tasks.get_mut(&id) {
            entry.row.task = task.clone();
            entry.row.updated_at = now;
            entry.row.ended_at = ended_at;
            entry.is_changed = true;
        }
        Ok(())
    }

    fn wake_task_at(&mut self, id: i64, at: i64) -> Result<()> {
        if let Some(Some(entry)) = self.tasks.get_mut(&id) {
            entry.row.task.wake_at = Some(at);
            entry.is_changed = true;
        }
        Ok(())
    }

    fn step(&mut self, id: i64) -> Result<Option<(Step, Option<String>)>> {
        if !self.steps.contains_key(&id) && !self.whole.contains(&split(id).0) {
            self.reread(vec![id])?;
            self.steps.entry(id).or_insert(None);
        }
        Ok(self.steps.get(&id).and_then(|s| s.as_ref()).map(|s| (s.step, s.name.clone())))
    }

    fn steps(&mut self, task: i64) -> Result<Vec<Step>> {
        let range = step_id(task, 0)..=step_id(task, STEP_MAX);
        if !self.whole.contains(&task) {
            let mut reads = Reads::default();
            let call = call!(query!("steps_of_task"), *range.start(), *range.end());
            reads.push(Read::Whole(task), call);
            self.read(Bounds::Inside, reads)?;
            let queued: Vec<i64> = self
                .steps
                .range(range.clone())
                .filter_map(|(id, s)| s.as_ref().filter(|s| s.may_be_claimed()).map(|_| *id))
                .collect();
            if !queued.is_empty() {
                self.reread(queued)?;
            }
        }
        Ok(self.steps.range(range).filter_map(|(_, s)| s.as_ref().map(|s| s.step)).collect())
    }

    fn insert_step(&mut self, id: i64, step: &Step, name: Option<&str>) -> Result<()> {
        let entry = StepEntry {
            step: *step,
            name: name.map(text),
            ended_at: None,
            result: None,
            stored_wake: None,
            stored_holder: None,
            is_new: true,
            is_changed: true,
            is_locked: true,
        };
        self.steps.insert(id, Some(entry));
        Ok(())
    }

    fn update_step(&mut self, id: i64, step: &Step, ended_at: Option<i64>, result: Option<&str>) -> Result<()> {
        if let Some(Some(entry)) = self.steps.get_mut(&id) {
            entry.step = *step;
            entry.ended_at = ended_at;
            if let Some(result) = result {
                entry.result = Some(Some(text(result)));
            }
            entry.is_changed = true;
        }
        Ok(())
    }

    fn wake_step_at(&mut self, id: i64, at: i64) -> Result<()> {
        if let Some(Some(entry)) = self.steps.get_mut(&id) {
            entry.step.wake_at = Some(at);
            entry.is_changed = true;
        }
        Ok(())
    }

    fn clear_step(&mut self, id: i64) -> Result<()> {
        if let Some(Some(entry)) = self.steps.get_mut(&id) {
            entry.result = Some(None);
            entry.ended_at = None;
            entry.is_changed = true;
        }
        self.writes.checkpoints.insert(id, None);
        Ok(())
    }

    fn delete_step(&mut self, id: i64) -> Result<()> {
        if let Some(Some(entry)) = self.steps.insert(id, None) {
            self.writes.unwoken.extend(entry.stored_wake.map(|at| (at, id)));
            self.writes.dropped.extend(entry.stored_holder.map(|worker| (worker, id)));
            if !entry.is_new {
                self.writes.deleted_steps.push(id);
            }
        }
        self.writes.inputs.insert(id, None);
        self.writes.checkpoints.insert(id, None);
        Ok(())
    }

    fn store_inputs(&mut self, step: i64, inputs: &str) -> Result<()> {
        self.writes.inputs.insert(step, Some(text(inputs)));
        Ok(())
    }

    fn store_checkpoint(&mut self, step: i64, checkpoint: &str) -> Result<()> {
        self.writes.checkpoints.insert(step, Some(text(checkpoint)));
        Ok(())
    }

    fn ready(&mut self, name: &str, limit: usize) -> Result<Vec<Ready>> {
        let Some(queue) = self.queues.get(name).filter(|q| q.is_read) else { return Ok(Vec::new()) };
        // Behind the horizon there may be stored places that go before those made here.
        let within = |ready: &&Ready| queue.horizon.is_none_or(|horizon| **ready <= horizon);
        Ok(queue.places.keys().take_while(within).take(limit).copied().collect())
    }

    fn enqueue(&mut self, name: &str, ready: Ready) -> Result<()> {
        let place = Place { is_own: true, messages: Vec::new() };
        match self.queues.get_mut(name) {
            Some(queue) => drop(queue.places.insert(ready, place)),
            None => drop(self.queues.entry(name.into()).or_default().places.insert(ready, place)),
        }
        Ok(())
    }

    fn dequeue(&mut self, name: &str, ready: Ready) -> Result<()> {
        let place = self.queues.get_mut(name).and_then(|q| q.places.remove(&ready)).unwrap_or_default();
        if !place.is_own {
            self.writes.dequeued.push((name.into(), ready, place.messages));
        }
        Ok(())
    }

    fn due(&mut self, now: i64, limit: usize, _skip: usize) -> Result<(Vec<i64>, Vec<i64>)> {
        let (steps, tasks) = self.due.clone().unwrap_or_default();
        debug_assert!(now == self.batch.now && steps.len() <= limit);
        Ok((steps, tasks))
    }

    fn next_seq(&mut self, step: i64, fence: u32) -> Result<i64> {
        let rows = self.ask(call!(query!("attempt_next_seq"), step, fence as i32))?;
        let stored: i64 = rows.first().map(|r| r.try_get(0)).transpose()?.unwrap_or(0);
        let here = self.writes.attempts.iter().filter(|a| a.step == step && a.fence == fence as i32);
        Ok(here.map(|a| a.seq + 1).max().unwrap_or(0).max(stored))
    }

    fn insert_attempt(&mut self, a: &NewAttempt) -> Result<()> {
        self.writes.attempts.push(Attempt {
            step: a.step,
            seq: a.seq,
            worker: a.worker,
            started_at: a.started_at,
            ended_at: a.ended_at,
            execution_us: a.execution_us,
            retry_at: a.retry_at,
            fence: a.fence as i32,
            attempt: a.attempt as i32,
            outcome: a.end.code() as i16,
            error: a.error.map(text),
            metadata: a.metadata.map(text),
            result: a.result.map(text),
        });
        Ok(())
    }

    fn insert_audit(&mut self, a: &AuditRow) -> Result<()> {
        self.writes.others.push(call!(
            query!("audit_insert"),
            a.task,
            a.no.map(i32::from),
            text(a.action),
            text(a.actor),
            text(a.reason),
            text(a.before),
            text(a.after),
            a.at
        ));
        Ok(())
    }

    fn last_error(&mut self, task: i64) -> Result<(Option<usize>, Option<String>)> {
        self.settle()?;
        let (first, last) = (step_id(task, 0), step_id(task, STEP_MAX));
        let (error, rejected) = (StepState::Error.code() as i16, AttemptEnd::Rejected.code() as i16);
        let rows = self.ask(call!(query!("step_in_error"), first, last, error, rejected))?;
        let Some(row) = rows.first() else { return Ok((None, None)) };
        Ok((Some(row.try_get::<_, i16>(0)? as usize), row.try_get(1)?))
    }

    fn open_dead_letter(&mut self, l: &NewDeadLetter) -> Result<()> {
        self.writes.others.push(call!(
            query!("dead_letter_open"),
            l.task,
            l.reason.code() as i16,
            l.step.map(|s| s as i32),
            l.error_type.map(text),
            l.message.map(text),
            l.fingerprint.to_string(),
            l.opened_at
        ));
        Ok(())
    }

    fn resolve_dead_letters(&mut self, task: i64, at: i64, resolution: &str) -> Result<()> {
        self.writes.others.push(call!(query!("dead_letter_resolve"), task, at, text(resolution)));
        Ok(())
    }

    fn dead_letter(&mut self, id: i64) -> Result<Option<Letter>> {
        self.settle()?;
        let rows = self.ask(call!(query!("dead_letter_load"), id))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (task, state) = (row.try_get(0)?, rows::coded(row, 1, TaskState::from_code)?);
        Ok(Some(Letter { task, state, resolved_at: row.try_get(2)? }))
    }

    fn note_dead_letter(&mut self, id: i64, note: &str) -> Result<()> {
        self.writes.others.push(call!(query!("dead_letter_note"), id, text(note)));
        Ok(())
    }

    fn close_dead_letter(&mut self, id: i64, at: i64, resolution: &str) -> Result<()> {
        self.writes.others.push(call!(query!("dead_letter_close"), id, at, text(resolution)));
        Ok(())
    }

    fn insert_event(&mut self, queue: &str, task: i64, name: &str, now: i64, message: &str) -> Result<()> {
        let group = self.task(task)?.map(|t| t.uuid).unwrap_or_default();
        // The group orders messages for PGMQ's readers of groups as well.
        let headers = serde_json::json!({"x-pgmq-group": group.to_string(), "name": name, "at": now}).to_string();
        let event = (pgmq::storable(message), pgmq::storable(&headers));
        self.writes.events.entry(queue.into()).or_default().push(event);
        Ok(())
    }

    fn read_events(&mut self, queue: &str, limit: usize, now: i64, visible_at: i64) -> Result<Vec<EventRecord>> {
        self.settle()?;
        if self.ask(call!(query!("queue_known"), text(queue)))?.is_empty() {
            return Ok(Vec::new());
        }
        let settings = &self.store.settings;
        let calls = [
            // Readers of one queue take turns: a message must not pass an earlier one of its task.
            call!(query!("events_turn"), pgmq::name(settings, queue)),
            pgmq::read_events(settings, queue, now, visible_at, limit as i64),
        ];
        let mut rows = self.conn.pipeline(Bounds::Inside, &calls)?.pop().unwrap_or_default();
        rows.sort_by_key(|r| r.get::<_, i64>(0));
        Ok(rows.iter().map(rows::event_record).collect::<std::result::Result<_, Trouble>>()?)
    }

    fn archive_events(&mut self, ids: &[i64], _now: i64) -> Result<usize> {
        self.settle()?;
        Ok(self.ask(call!(query!("events_archive"), ids.to_vec()))?.len())
    }

    fn replay_events(&mut self, ids: &[i64], now: i64) -> Result<usize> {
        self.settle()?;
        let mut count = 0;
        for row in self.ask(call!(query!("queues_of_kind"), pgmq::Kind::Events as i16))? {
            count += self.ask(pgmq::replay_events(row.try_get(1)?, ids, now))?.len();
        }
        Ok(count)
    }

    fn duty_ran(&mut self, name: &str, now: i64) -> Result<()> {
        self.writes.others.push(call!(query!("duty_ran"), text(name), now));
        Ok(())
    }

    fn prune(&mut self, before: i64, limit: usize) -> Result<Pruned> {
        self.settle()?;
        // What other operations of this batch are about has been read and may be changed yet; its turn comes.
        let keys = self.keys.values().flatten().map(|(_, task, _)| *task);
        let touched: Vec<i64> = self.tasks.keys().copied().chain(keys).collect();
        let mut found = Vec::new();
        for row in self.ask(call!(query!("prune_find"), before, limit as i64, touched))? {
            found.push((row.try_get(0)?, row.try_get(1)?));
        }
        let tasks = prunable(&found);
        if tasks > 0 {
            self.ask(call!(query!("prune"), columns(&found[..tasks], |(task, _)| *task)))?;
        }
        let mut events = 0;
        for row in self.ask(call!(query!("queues_of_kind"), pgmq::Kind::Events as i16))? {
            let left = limit.saturating_sub(events);
            events += self.ask(pgmq::prune_events(row.try_get(1)?, before, left as i64))?.len();
        }
        self.ask(call!(query!("prune_workers"), before))?;
        let has_more = tasks < found.len() || found.len() >= limit || events >= limit;
        Ok(Pruned { tasks, events, has_more })
    }

    fn add_template(&mut self, t: &TemplateSource, digest: &str, now: i64) -> Result<i64> {
        let (namespace, name, version) = &t.identity;
        let rows = self.ask(call!(
            query!("template_store"),
            text(namespace),
            text(name),
            text(version),
            t.environment.as_deref().map(text),
            digest.to_string(),
            text(&t.path),
            text(&t.source),
            now
        ))?;
        let id = rows.first().map(|r| r.try_get(0)).transpose()?.unwrap_or_default();
        let workflow = self.workflow(id)?;
        for (kind, queue) in pgmq::needed(&self.store.settings, &workflow) {
            pgmq::create(self.conn, &self.store.settings, kind, &queue)?;
        }
        Ok(id)
    }

    fn namesake(&mut self, name: &str) -> Result<Option<Namesake>> {
        let rows = self.ask(call!(query!("worker_namesake"), text(name)))?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Namesake {
            worker: row.try_get(0)?,
            gone: row.try_get(1)?,
            language: row.try_get(2)?,
            pid: row.try_get::<_, i64>(3)? as u32,
            started_at: row.try_get(4)?,
        }))
    }

    fn rename_worker(&mut self, worker: i64, name: &str) -> Result<()> {
        self.ask(call!(query!("worker_rename"), worker, text(name)))?;
        Ok(())
    }

    fn add_worker(&mut self, w: &NewWorker, now: i64) -> Result<Option<i64>> {
        let rows = self.ask(call!(
            query!("worker_insert"),
            text(&w.name),
            text(&w.language),
            text(&w.sdk_version),
            text(tasker_wire::json_of(&w.queues).get()),
            text(tasker_wire::json_of(&w.handlers).get()),
            w.slots as i32,
            i64::from(w.pid),
            w.lease_ms,
            now
        ))?;
        Ok(rows.first().map(|r| r.try_get(0)).transpose()?)
    }

    fn worker_beats(&mut self, worker: i64, now: i64) -> Result<bool> {
        self.writes.others.push(call!(query!("worker_beats"), worker, now));
        let is_alive = self.alive.contains(&worker);
        *self.beats.entry(worker).or_default() += i64::from(is_alive);
        Ok(is_alive)
    }

    fn worker_drains(&mut self, worker: i64) -> Result<()> {
        self.writes.others.push(call!(query!("worker_drains"), worker));
        Ok(())
    }

    fn worker(&mut self, worker: i64) -> Result<Option<Found>> {
        // Tasks are locked before workers, as in a commit that carries a heartbeat.
        let rows = self.ask(call!(query!("worker_lock"), worker))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let beat = row.try_get::<_, i64>(0)? + self.beats.get(&worker).copied().unwrap_or(0);
        let found = Found { beat, draining: row.try_get(1)?, gone: row.try_get(2)?, held: Vec::new() };
        // Read when the batch began; its operations may have ended some of these, and given others.
        let mut held: FxHashMap<i64, u32> = self.workers.get(&worker).into_iter().flatten().copied().collect();
        for (id, entry) in &self.steps {
            match entry.as_ref().filter(|e| holder(&e.step) == Some(worker)) {
                Some(entry) => drop(held.insert(*id, entry.step.fence)),
                None => drop(held.remove(id)),
            }
        }
        Ok(Some(Found { held: held.into_iter().collect(), ..found }))
    }

    fn worker_gone(&mut self, worker: i64) -> Result<()> {
        self.writes.others.push(call!(query!("worker_gone"), worker));
        Ok(())
    }
}
