//! The write side: a batch of operations and claims in one transaction.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, ToSql, Transaction, TransactionBehavior, params};
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use tasker_core::graph::Workflow;
use tasker_core::machine::{self, Changes, Event, Moment, Needs, Neighbourhood, Outcome, Reply, Row};
use tasker_core::state::{AttemptEnd, Step, StepState, Task};
use tasker_wire::{Error, Failure, Kind, Report, StepError};
use uuid::Uuid;

use super::rows::{self, TaskRow, split, step_id};
use super::{Sqlite, Writer, is_environment, none_is, query};
use crate::message::Source;
use crate::{
    Batch, ClaimRequest, Claimed, Committed, CutShort, Done, NewTask, NewWorker, Op, Order, PreparedEvent, TaskInfo,
    TemplateSource,
};

/// How often the high-water mark of time is stored, milliseconds.
const HIGH_WATER_EVERY_MS: i64 = 1_000;

/// How long a due row that cannot be handled is left alone, milliseconds.
const SET_ASIDE_MS: i64 = 60_000;

/// Why an operation, or the whole batch, did not go through.
pub(super) enum Stop {
    /// The operation is refused; it wrote nothing.
    Refused(Error),
    /// A statement failed; the transaction must be rolled back.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Stop {
        Stop::Sql(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Refused(error)
    }
}

pub(super) type Result<T> = std::result::Result<T, Stop>;

pub(super) fn commit(store: &Sqlite, writer: &mut Writer, batch: &Batch) -> std::result::Result<Committed, Error> {
    match attempt(store, writer, batch.ops, batch) {
        Ok(committed) => Ok(committed),
        Err(e) if is_environment(&e) || batch.ops.is_empty() => Err(store.trouble(e)),
        // One operation spoils the transaction: each gets its own, and only the bad one fails.
        Err(_) => {
            let mut all = Committed::default();
            for op in batch.ops {
                let alone = Batch { claims: &[], ..*batch };
                match attempt(store, writer, std::slice::from_ref(op), &alone) {
                    Ok(one) => all.append(one),
                    Err(e) if is_environment(&e) && all.results.is_empty() => return Err(store.trouble(e)),
                    Err(e) => all.results.push(Err(store.trouble(e))),
                }
            }
            match attempt(store, writer, &[], batch) {
                Ok(claims) => all.append(claims),
                Err(_) => all.claimed = batch.claims.iter().map(|_| Vec::new()).collect(),
            }
            Ok(all)
        }
    }
}

impl Committed {
    fn append(&mut self, other: Committed) {
        self.results.extend(other.results);
        self.claimed.extend(other.claimed);
        self.rested.extend(other.rested);
        self.cut_short.extend(other.cut_short);
        self.published.extend(other.published);
        self.next_wake = self.next_wake.into_iter().chain(other.next_wake).min();
        self.left_ready |= other.left_ready;
    }
}

fn attempt(store: &Sqlite, writer: &mut Writer, ops: &[Op], batch: &Batch) -> rusqlite::Result<Committed> {
    let tx = Transaction::new(&mut writer.conn, TransactionBehavior::Immediate)?;
    let mut work = Work {
        store,
        conn: &tx,
        batch,
        out: Committed { claimed: batch.claims.iter().map(|_| Vec::new()).collect(), ..Committed::default() },
        best_ranks: FxHashMap::default(),
        fresh: FxHashMap::default(),
        draws: batch.jitter_seed.unwrap_or(0),
    };
    for op in ops {
        let result = match work.op(op) {
            Ok(done) => Ok(done),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Sql(error)) => return Err(error),
        };
        work.out.results.push(result);
    }
    for index in 0..batch.claims.len() {
        work.claim_ready(index)?;
    }
    let out = work.out;
    let mut high_water = None;
    if !ops.is_empty() && batch.now - writer.high_water >= HIGH_WATER_EVERY_MS {
        tx.prepare_cached(query!("high_water_store"))?.execute([batch.now])?;
        high_water = Some(batch.now);
    }
    tx.commit()?;
    writer.high_water = high_water.unwrap_or(writer.high_water);
    Ok(out)
}

pub(super) struct Work<'a> {
    store: &'a Sqlite,
    conn: &'a Connection,
    pub(super) batch: &'a Batch<'a>,
    pub(super) out: Committed,
    /// Best rank waiting in each queue, as far as this batch has looked; `None` for an empty queue.
    best_ranks: FxHashMap<Arc<str>, Option<i64>>,
    /// Tasks created or loaded by this batch.
    pub(super) fresh: FxHashMap<i64, Arc<TaskInfo>>,
    draws: u64,
}

/// The stored side of an attempt's end.
#[derive(Default)]
struct AttemptRow<'a> {
    worker: i64,
    execution_us: Option<i64>,
    error: Option<String>,
    metadata: Option<&'a str>,
    result: Option<&'a str>,
    events: &'a [PreparedEvent],
}

impl Work<'_> {
    pub(super) fn run(&self, sql: &str, params: &[&dyn ToSql]) -> rusqlite::Result<usize> {
        self.statement(sql)?.execute(params)
    }

    pub(super) fn statement(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.conn.prepare_cached(sql)
    }

    fn moment(&mut self) -> Moment {
        // SplitMix64 (Steele, Lea, Flood 2014): the engine seeds it, so that a batch draws without a lock.
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.draws;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let jitter_permille = if self.batch.jitter_seed.is_some() { ((z ^ (z >> 31)) % 201) as i32 - 100 } else { 0 };
        Moment { now: self.batch.now, jitter_permille, max_crashes: self.batch.max_crashes }
    }

    fn op(&mut self, op: &Op) -> Result<Done> {
        match op {
            Op::Create(new) => self.create(new),
            Op::Finish { task, no, fence, worker, report, events } => {
                self.finish((*task, *no, *fence), *worker, report, events)
            }
            Op::Act { task, order, actor, reason } => self.act(*task, order, actor, reason),
            Op::Renew { held, until } => self.renew(held, *until),
            Op::AddTemplate(template) => self.add_template(template),
            Op::AddWorker(worker) => self.add_worker(worker),
            Op::Heartbeat { worker } => {
                self.run(query!("worker_seen"), params![worker, self.batch.now])?;
                Ok(Done::Nothing)
            }
            Op::WorkerGone { name, stopped } => self.worker_gone(name, *stopped),
            Op::DeadLetter { id, order, actor, reason } => self.dead_letter(*id, order, actor, reason),
            Op::ReadEvents { queue, limit, visible_at } => self.read_events(queue, *limit, *visible_at),
            Op::ArchiveEvents { ids } => self.each_event(query!("event_archive"), ids),
            Op::ReplayEvents { ids } => self.each_event(query!("event_replay"), ids),
            Op::Due { limit } => self.due(*limit),
        }
    }

    fn create(&mut self, new: &NewTask) -> Result<Done> {
        if let Some(identity) = &new.idempotency {
            let found = self
                .statement(query!("idempotency_load"))?
                .query_row([&identity.key], |r| Ok(Some((r.get::<_, String>(0)?, r.get(1)?, r.get::<_, [u8; 16]>(2)?))))
                .or_else(none_is(None))?;
            if let Some((digest, task, uuid)) = found {
                let uuid = Uuid::from_bytes(uuid);
                if !identity.strict && digest == identity.digest {
                    return Ok(Done::Created { task, uuid, existing: true });
                }
                let what = if identity.strict {
                    "the same template and context"
                } else {
                    "this idempotency key but another payload"
                };
                return Err(Error::new(
                    Kind::Conflict,
                    "task_exists",
                    format!("task {uuid} already exists with {what}"),
                )
                .hint("use the existing task, or change the key or context")
                .details(serde_json::json!({"task_uuid": uuid.to_string()}))
                .into());
            }
        }
        let now = self.batch.now;
        let hood = machine::create_task(&new.workflow, now, new.start_at);
        let t = &hood.task;
        self.run(
            query!("task_insert"),
            params![
                new.uuid.as_bytes(),
                new.template,
                new.priority,
                t.state.code(),
                t.paused,
                t.counts.total,
                t.counts.done,
                t.counts.failed,
                t.counts.isolated,
                t.counts.cancelled,
                t.counts.active,
                t.counts.waiting,
                rows::batches_to(&t.batches),
                t.fence_base,
                t.start_at,
                t.created_at,
                t.state_since,
                now,
                t.state.is_final().then_some(now),
                t.wake_at,
            ],
        )?;
        let task = self.conn.last_insert_rowid();
        self.run(query!("request_insert"), params![task, &*new.context, &*new.details])?;
        if let Some(identity) = &new.idempotency {
            self.run(query!("idempotency_insert"), params![identity.key, identity.digest, task])?;
        }
        let info = Arc::new(TaskInfo {
            id: task,
            uuid: new.uuid,
            template: new.template,
            workflow: new.workflow.clone(),
            context: new.context.clone(),
            details: new.details.clone(),
            priority: new.priority,
            created_at: now,
        });
        self.wakes(t.wake_at);
        self.fresh.insert(task, info);
        self.write_steps(task, &new.workflow, new.priority, &hood, None, false)?;
        Ok(Done::Created { task, uuid: new.uuid, existing: false })
    }

    fn finish(
        &mut self,
        (task, no, fence): (i64, u16, u32),
        worker: i64,
        report: &Report,
        events: &[PreparedEvent],
    ) -> Result<Done> {
        let mut row = AttemptRow { worker, events, ..AttemptRow::default() };
        let outcome = match report {
            Report::Success { result, metadata, execution_us } => {
                row.execution_us = Some(*execution_us);
                row.metadata = metadata.as_deref();
                row.result = Some(result);
                Outcome::Success { result }
            }
            Report::Failure(failure) => {
                let Failure { error, retry_after_ms, timed_out, metadata, execution_us } = &**failure;
                row.execution_us = Some(*execution_us);
                row.metadata = metadata.as_deref();
                row.error = Some(to_json(error));
                Outcome::Failure { retryable: error.retryable, retry_after_ms: *retry_after_ms, timed_out: *timed_out }
            }
            Report::Checkpoint { execution_us, .. } => {
                row.execution_us = Some(*execution_us);
                Outcome::Checkpoint
            }
            Report::Release { delay_ms } => Outcome::Release { delay_ms: *delay_ms },
        };
        let changes = self.event(task, Some(no), Event::Finish { no, fence, outcome }, row)?;
        let Some(changes) = changes else { return Ok(Done::Finished { accepted: false }) };
        if changes.reply == Reply::Accepted
            && let Report::Checkpoint { checkpoint, .. } = report
        {
            self.run(query!("checkpoint_store"), params![step_id(task, no), checkpoint])?;
        }
        Ok(Done::Finished { accepted: changes.reply == Reply::Accepted })
    }

    fn load_task(&self, id: i64) -> rusqlite::Result<Option<TaskRow>> {
        self.statement(query!("task_load"))?.query_row([id], |r| rows::task(r).map(Some)).or_else(none_is(None))
    }

    fn load_step(&self, id: i64) -> rusqlite::Result<Option<(Step, Option<String>)>> {
        self.statement(query!("step_load"))?.query_row([id], |r| rows::step(r).map(Some)).or_else(none_is(None))
    }

    /// Applies an event to a task; `None` if the task or step is gone.
    fn event(&mut self, id: i64, no: Option<u16>, event: Event, row: AttemptRow) -> Result<Option<Changes>> {
        let Some(found) = self.load_task(id)? else { return Ok(None) };
        self.event_on(found, no, event, row).map(|applied| applied.map(|(changes, _)| changes))
    }

    fn event_on(
        &mut self,
        found: TaskRow,
        no: Option<u16>,
        event: Event,
        row: AttemptRow,
    ) -> Result<Option<(Changes, Task)>> {
        let TaskRow { id, uuid, template, priority, task: before, ended_at, .. } = found;
        let workflow = self.store.workflow_by(self.conn, template)?;
        let step = match no {
            Some(no) => match self.load_step(step_id(id, no))? {
                Some((step, _)) => Some(step),
                None => return Ok(None),
            },
            None => None,
        };
        let steps = match machine::needs(&workflow, &before, step.as_ref(), &event) {
            Needs::All => self
                .statement(query!("steps_of_task"))?
                .query_map([step_id(id, 0), step_id(id, 0x3fff)], |r| rows::step(r).map(|(s, _)| s))?
                .collect::<rusqlite::Result<Vec<_>>>()?,
            Needs::Steps(numbers) => {
                let mut steps: Vec<Step> = Vec::with_capacity(numbers.len() + 1);
                steps.extend(step);
                for number in numbers {
                    steps.extend(self.load_step(step_id(id, number))?.map(|(s, _)| s));
                }
                steps
            }
        };
        let mut hood = Neighbourhood::new(&workflow, before.clone(), steps);
        let moment = self.moment();
        let changes = machine::apply(&mut hood, event, moment);
        let (worker, prepared) = (row.worker, row.events);
        let mut error = None;
        if let (Some(end), Some(step)) = (changes.attempt_end, step) {
            error = self.write_attempt(id, &step, &event, end, &changes, &hood, row)?;
        }
        if changes.reply != Reply::Accepted {
            return Ok(Some((changes, before)));
        }
        let result = match event {
            Event::Finish { no, outcome: Outcome::Success { result }, .. } if changes.fault.is_none() => {
                Some((no, result))
            }
            Event::Operator(machine::Action::CompleteStep { no, result }) => Some((no, result)),
            _ => None,
        };
        let ended = step.map(|s| (s.no, s.fence));
        let action = if let Event::Operator(action) = event { Some(action.as_str()) } else { None };
        self.write_changes(id, &changes, &hood, ended)?;
        self.write_steps(id, &workflow, priority, &hood, result, matches!(event, Event::Finish { .. }))?;
        self.write_task(id, &before, &hood.task, ended_at, action)?;
        if let Some(reason) = changes.dead_letter {
            self.open_dead_letter(id, &workflow, reason)?;
        }
        if let Some(occasion) = changes.occasion
            && let Some(step) =
                step.or_else(|| result.and_then(|(no, _)| Some(hood.rows().iter().find(|r| r.step.no == no)?.step)))
            && !workflow.template.steps[usize::from(step.template)].publishes_events.is_empty()
        {
            let default = result.map_or(error.as_deref().unwrap_or("null"), |(_, r)| r);
            let now = self.batch.now;
            let source = Source { task: uuid, step, occasion, default, prepared, worker, now };
            self.publish(id, &hood, source)?;
        }
        for (no, fence, worker) in &changes.cut_short {
            self.out.cut_short.push(CutShort { worker: *worker, task: id, no: *no, fence: *fence });
        }
        Ok(Some((changes, before)))
    }

    #[allow(clippy::too_many_arguments)] // one row of the history has that many sources
    fn write_attempt(
        &mut self,
        task: i64,
        before: &Step,
        event: &Event,
        end: AttemptEnd,
        changes: &Changes,
        hood: &Neighbourhood,
        row: AttemptRow,
    ) -> Result<Option<String>> {
        let fence = match event {
            Event::Finish { fence, .. } => *fence,
            _ => before.fence,
        };
        let rejected = end == AttemptEnd::Rejected;
        let error = match &changes.fault {
            Some(fault) => Some(to_json(&StepError {
                message: fault.message.clone(),
                error_type: fault.error_type.into(),
                error_code: None,
                backtrace: Vec::new(),
                retryable: false,
                status_code: None,
                context: None,
            })),
            None if end == AttemptEnd::LeaseExpired => Some(to_json(&StepError {
                message: format!(
                    "the worker was gone or silent when the lease ended (started {} ms before)",
                    self.batch.now - before.started_at
                ),
                error_type: "lease_expired".into(),
                error_code: None,
                backtrace: Vec::new(),
                retryable: true,
                status_code: None,
                context: None,
            })),
            None => row.error,
        };
        let retry_at = hood
            .rows()
            .iter()
            .find(|r| r.step.no == before.no && r.step.state == StepState::WaitingForRetry)
            .and_then(|r| r.step.wake_at);
        let id = step_id(task, before.no);
        // An accepted end is the first row of its claim; only rejected reports can follow.
        let seq: i64 = if rejected {
            self.statement(query!("attempt_next_seq"))?.query_row(params![id, fence], |r| r.get(0))?
        } else {
            0
        };
        let worker = if row.worker == 0 { before.worker } else { row.worker };
        let started_at = if fence == before.fence { before.started_at } else { self.batch.now };
        self.run(
            query!("attempt_insert"),
            params![
                id,
                fence,
                seq,
                before.attempts_shown() + u32::from(!rejected),
                end.code(),
                worker,
                started_at,
                self.batch.now,
                row.execution_us,
                retry_at,
                error,
                row.metadata,
                if rejected { row.result } else { None },
            ],
        )?;
        Ok(error)
    }

    /// Everything but control rows: inputs, cleared and removed steps, dead letters, attempts that were cut short.
    fn write_changes(
        &mut self,
        task: i64,
        changes: &Changes,
        hood: &Neighbourhood,
        ended: Option<(u16, u32)>,
    ) -> Result<()> {
        for (no, inputs) in &changes.inputs {
            self.run(query!("inputs_insert"), params![step_id(task, *no), inputs.to_string()])?;
        }
        for no in &changes.cleared {
            self.run(query!("step_clear"), params![step_id(task, *no)])?;
            self.run(query!("checkpoint_delete"), params![step_id(task, *no)])?;
        }
        for no in &changes.removed {
            let id = step_id(task, *no);
            if let Some((step, _)) = self.load_step(id)? {
                let rank = self.rank(&hood.workflow.template.steps[usize::from(step.template)], task)?;
                self.run(
                    query!("ready_delete"),
                    params![hood.workflow.queue(step.template), rank, step.enqueued_at, id],
                )?;
            }
            for sql in [query!("step_delete"), query!("inputs_delete"), query!("checkpoint_delete")] {
                self.run(sql, params![id])?;
            }
        }
        // The event's own attempt, if it ended one, has its row already; the others' history ends here.
        for (no, fence, worker) in &changes.cut_short {
            let row = hood.rows().iter().find(|r| r.step.no == *no);
            let before = row.and_then(|r| r.before);
            if changes.attempt_end.is_some() && ended == Some((*no, *fence)) {
                continue;
            }
            self.run(
                query!("attempt_insert"),
                params![
                    step_id(task, *no),
                    fence,
                    0,
                    before.map_or(0, |s| s.attempts_shown()) + 1,
                    AttemptEnd::Cancelled.code(),
                    worker,
                    row.map_or(self.batch.now, |r| r.step.started_at),
                    self.batch.now,
                    None::<i64>,
                    None::<i64>,
                    None::<String>,
                    None::<String>,
                    None::<String>
                ],
            )?;
        }
        Ok(())
    }

    fn rank(&self, step: &tasker_core::template::StepTemplate, task: i64) -> Result<i64> {
        let priority = self.load_task(task)?.map_or(0, |t| t.priority);
        Ok(-i64::from(priority) - i64::from(step.priority))
    }

    /// Writes every changed control row; steps that became ready enter their queue or go straight to a waiting claim.
    fn write_steps(
        &mut self,
        task: i64,
        workflow: &Arc<Workflow>,
        priority: i32,
        hood: &Neighbourhood,
        result: Option<(u16, &str)>,
        continues: bool,
    ) -> Result<()> {
        for row in hood.rows() {
            if !row.is_changed() && result.is_none_or(|(no, _)| no != row.step.no) {
                continue;
            }
            let Row { mut step, before } = *row;
            let id = step_id(task, step.no);
            let rank = -i64::from(priority) - i64::from(workflow.template.steps[usize::from(step.template)].priority);
            let queued_before = before.filter(|b| b.state == StepState::Enqueued);
            let queued = step.state == StepState::Enqueued;
            let queue = workflow.queue(step.template);
            if let Some(b) = queued_before
                && (!queued || b.enqueued_at != step.enqueued_at)
            {
                self.run(query!("ready_delete"), params![queue, rank, b.enqueued_at, id])?;
            }
            let name = hood
                .task
                .batches
                .iter()
                .find(|b| b.contains(step.no))
                .map(|b| b.worker_name(&workflow.template.steps[usize::from(step.template)].name, step.no));
            let enters = queued && queued_before.is_none_or(|b| b.enqueued_at != step.enqueued_at);
            let mut claimed = None;
            if enters {
                claimed = self.claimant(queue, rank, continues)?;
                match claimed {
                    Some(index) => self.lease(index, task, &mut step, name.clone())?,
                    None => {
                        self.run(query!("ready_insert"), params![queue, rank, step.enqueued_at, id])?;
                        if let Some(best) = self.best_ranks.get_mut(queue) {
                            *best = Some(best.map_or(rank, |b| b.min(rank)));
                        }
                        self.out.left_ready = true;
                    }
                }
            }
            self.wakes(step.wake_at);
            match before {
                None => {
                    self.run(
                        query!("step_insert"),
                        params![
                            id,
                            step.template,
                            step.state.code(),
                            step.remaining,
                            step.fence,
                            step.attempts,
                            step.crashes,
                            step.enqueued_at,
                            step.started_at,
                            step.wake_at,
                            step.worker,
                            step.has_checkpoint,
                            name
                        ],
                    )?;
                }
                Some(_) => self.update_step(id, &step, result.filter(|(no, _)| *no == step.no).map(|(_, r)| r))?,
            }
            debug_assert!(claimed.is_none() || step.state == StepState::InProgress);
        }
        Ok(())
    }

    fn update_step(&self, id: i64, step: &Step, result: Option<&str>) -> rusqlite::Result<()> {
        let ended_at = step.state.is_final().then_some(self.batch.now);
        let state = step.state.code();
        let mut values: [&dyn ToSql; 13] = [
            &id,
            &state,
            &step.remaining,
            &step.fence,
            &step.attempts,
            &step.crashes,
            &step.enqueued_at,
            &step.started_at,
            &step.wake_at,
            &step.worker,
            &step.has_checkpoint,
            &ended_at,
            &result,
        ];
        match &result {
            Some(result) => {
                values[12] = result;
                self.run(query!("step_complete"), &values)?
            }
            None => self.run(query!("step_update"), &values[..12])?,
        };
        Ok(())
    }

    fn write_task(
        &mut self,
        id: i64,
        before: &Task,
        task: &Task,
        ended_at: Option<i64>,
        action: Option<&str>,
    ) -> Result<()> {
        if task == before {
            return Ok(());
        }
        let now = self.batch.now;
        let ended_at = task.state.is_final().then(|| ended_at.unwrap_or(now));
        self.run(
            query!("task_update"),
            params![
                id,
                task.state.code(),
                task.paused,
                task.counts.total,
                task.counts.done,
                task.counts.failed,
                task.counts.isolated,
                task.counts.cancelled,
                task.counts.active,
                task.counts.waiting,
                rows::batches_to(&task.batches),
                task.fence_base,
                task.start_at,
                task.state_since,
                now,
                ended_at,
                task.wake_at,
            ],
        )?;
        self.wakes(task.wake_at);
        if task.state != before.state {
            if task.state.is_resting() {
                self.out.rested.push((id, task.state));
            }
            if before.state.is_resting() {
                self.run(query!("dead_letter_resolve"), params![id, now, action.unwrap_or("recovered")])?;
            }
        }
        Ok(())
    }

    fn wakes(&mut self, at: Option<i64>) {
        self.out.next_wake = self.out.next_wake.into_iter().chain(at).min();
    }

    /// The claim that takes a step which just became ready, without a detour through its queue.
    ///
    /// What follows a finished step may go before its equals (a task that has started should end), a new task's first
    /// steps only into an empty queue; nothing goes before a better rank.
    fn claimant(&mut self, queue: &str, rank: i64, continues: bool) -> rusqlite::Result<Option<usize>> {
        let wants = |(index, claim): (usize, &ClaimRequest)| {
            (self.out.claimed[index].len() < claim.slots && claim.queues.iter().any(|q| q == queue)).then_some(index)
        };
        let Some(index) = self.batch.claims.iter().enumerate().find_map(wants) else { return Ok(None) };
        let best = match self.best_ranks.get(queue) {
            Some(best) => *best,
            None => {
                let best = self
                    .statement(query!("ready_best"))?
                    .query_row(params![queue, 1], |r| r.get(0).map(Some))
                    .or_else(none_is(None))?;
                self.best_ranks.insert(queue.into(), best);
                best
            }
        };
        Ok(match best {
            None => Some(index),
            Some(best) if continues && rank <= best => Some(index),
            Some(_) => None,
        })
    }

    fn lease(&mut self, index: usize, task: i64, step: &mut Step, name: Option<String>) -> Result<()> {
        let claim = &self.batch.claims[index];
        let attempts = step.attempts_shown();
        machine::claim(step, claim.worker, self.batch.now, claim.lease_ms);
        let info = match self.fresh.get(&task) {
            Some(info) => Some(info.clone()),
            None if (self.batch.knows)(task) => None,
            None => {
                let info = self.load_info(task)?;
                self.fresh.insert(task, info.clone());
                Some(info)
            }
        };
        self.out.claimed[index].push(Claimed {
            task,
            no: step.no,
            step: step.template,
            failures: step.attempts,
            fence: step.fence,
            attempts,
            started_at: step.started_at,
            enqueued_at: step.enqueued_at,
            name,
            has_checkpoint: step.has_checkpoint,
            info,
        });
        Ok(())
    }

    fn load_info(&self, id: i64) -> Result<Arc<TaskInfo>> {
        let row = self.load_task(id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let (context, details): (String, String) =
            self.statement(query!("request_load"))?.query_row([id], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(Arc::new(TaskInfo {
            id,
            uuid: row.uuid,
            template: row.template,
            workflow: self.store.workflow_by(self.conn, row.template)?,
            context: context.into(),
            details: details.into(),
            priority: row.priority,
            created_at: row.task.created_at,
        }))
    }

    /// Serves a claim from its queues, best first, until its slots are full.
    fn claim_ready(&mut self, index: usize) -> rusqlite::Result<()> {
        let claim = &self.batch.claims[index];
        for queue in claim.queues.iter() {
            let wanted = claim.slots - self.out.claimed[index].len();
            if wanted == 0 {
                return Ok(());
            }
            let best: Vec<(i64, i64, i64)> = self
                .statement(query!("ready_best"))?
                .query_map(params![queue, wanted as i64], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for (rank, enqueued_at, id) in best {
                self.run(query!("ready_delete"), params![queue, rank, enqueued_at, id])?;
                let Some((mut step, name)) = self.load_step(id)? else { continue };
                if step.state != StepState::Enqueued {
                    continue;
                }
                match self.lease(index, split(id).0, &mut step, name) {
                    Ok(()) => {}
                    Err(Stop::Sql(error)) => return Err(error),
                    Err(Stop::Refused(error)) => {
                        // Left out of its queue, so that it stops nobody; the doctor names it.
                        tracing::error!(step = id, %error, "a queued step cannot be claimed");
                        continue;
                    }
                }
                self.wakes(step.wake_at);
                self.update_step(id, &step, None)?;
            }
        }
        Ok(())
    }

    pub(super) fn act(&mut self, uuid: Uuid, order: &Order, actor: &str, reason: &str) -> Result<Done> {
        let found = self
            .statement(query!("task_by_uuid"))?
            .query_row([uuid.as_bytes()], |r| rows::task(r).map(Some))
            .or_else(none_is(None))?
            .ok_or_else(|| {
                Error::new(Kind::NotFound, "task_not_found", format!("there is no task {uuid}"))
                    .hint("list tasks with `tasker ls`")
            })?;
        let id = found.id;
        let action = order.action();
        let Some((changes, before)) = self.event_on(found, None, Event::Operator(action), AttemptRow::default())?
        else {
            return Ok(Done::Acted);
        };
        if let Reply::Conflict(why) = changes.reply {
            return Err(Error::new(
                Kind::Conflict,
                "action_refused",
                format!("cannot {} task {uuid}: {why}", action.as_str().replace('_', " ")),
            )
            .into());
        }
        let shown = |task: &Task| if task.paused && !task.state.is_final() { "paused" } else { task.state.as_str() };
        let after = self.load_task(id)?.map_or("gone", |t| shown(&t.task));
        self.run(
            query!("audit_insert"),
            params![id, order.step(), action.as_str(), actor, reason, shown(&before), after, self.batch.now],
        )?;
        Ok(Done::Acted)
    }

    fn renew(&mut self, held: &[(i64, u16, u32)], until: i64) -> Result<Done> {
        let mut lost = Vec::new();
        for (task, no, fence) in held {
            match self.load_step(step_id(*task, *no))? {
                Some((step, _)) if step.state == StepState::InProgress && step.fence == *fence => {
                    self.run(query!("step_renew"), params![step_id(*task, *no), until])?;
                }
                _ => lost.push((*task, *no, *fence)),
            }
        }
        self.wakes(Some(until));
        Ok(Done::Renewed { lost })
    }

    fn add_template(&mut self, template: &TemplateSource) -> Result<Done> {
        let (namespace, name, version) = &template.identity;
        let mut hash = Sha256::new();
        for part in [namespace, name, version, template.environment.as_deref().unwrap_or(""), &template.source] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let now = self.batch.now;
        let found: Option<i64> =
            self.statement(query!("template_by_digest"))?.query_row([&digest], |r| r.get(0)).or_else(none_is(None))?;
        if let Some(id) = found {
            self.run(query!("template_touch"), params![id, now, template.path])?;
            return Ok(Done::Template(id));
        }
        self.run(
            query!("template_insert"),
            params![namespace, name, version, template.environment, digest, template.path, template.source, now],
        )?;
        Ok(Done::Template(self.conn.last_insert_rowid()))
    }

    fn add_worker(&mut self, w: &NewWorker) -> Result<Done> {
        self.run(
            query!("worker_insert"),
            params![
                w.name,
                w.language,
                w.sdk_version,
                to_json(&w.queues),
                to_json(&w.handlers),
                w.slots,
                w.pid,
                w.lease_ms,
                self.batch.now
            ],
        )?;
        Ok(Done::Worker(self.statement(query!("worker_by_name"))?.query_row([&w.name], |r| r.get(0))?))
    }

    fn worker_gone(&mut self, name: &str, stopped: bool) -> Result<Done> {
        let found: Option<i64> =
            self.statement(query!("worker_by_name"))?.query_row([name], |r| r.get(0)).or_else(none_is(None))?;
        let Some(worker) = found else { return Ok(Done::Nothing) };
        let held: Vec<(i64, u32)> = self
            .statement(query!("steps_of_worker"))?
            .query_map(params![worker, StepState::InProgress.code()], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (id, fence) in &held {
            let (task, no) = split(*id);
            let event = if stopped {
                Event::Finish { no, fence: *fence, outcome: Outcome::Release { delay_ms: 0 } }
            } else {
                Event::WorkerLost { no, fence: *fence }
            };
            self.event(task, Some(no), event, AttemptRow::default())?;
        }
        self.run(query!("worker_gone"), params![worker])?;
        Ok(Done::Due(held.len()))
    }

    fn due(&mut self, limit: usize) -> Result<Done> {
        let now = self.batch.now;
        let list = |sql: &str| -> rusqlite::Result<Vec<i64>> {
            self.statement(sql)?.query_map(params![now, limit as i64], |r| r.get(0))?.collect()
        };
        let (steps, tasks) = (list(query!("step_due"))?, list(query!("task_due"))?);
        for id in &steps {
            let (task, no) = split(*id);
            match self.event(task, Some(no), Event::Wake { no }, AttemptRow::default()) {
                Err(Stop::Refused(error)) => {
                    // Set aside for a while, so that one bad row holds up no other.
                    tracing::error!(task, step = no, %error, "a due step cannot be handled");
                    self.run(query!("step_renew"), params![id, now + SET_ASIDE_MS])?;
                }
                other => drop(other?),
            }
        }
        for id in &tasks {
            match self.event(*id, None, Event::TaskWake, AttemptRow::default()) {
                Err(Stop::Refused(error)) => {
                    tracing::error!(task = id, %error, "a due task cannot be handled");
                    self.run(query!("task_set_aside"), params![id, now + SET_ASIDE_MS])?;
                }
                other => drop(other?),
            }
        }
        Ok(Done::Due(steps.len() + tasks.len()))
    }
}

fn to_json(value: &impl serde::Serialize) -> String {
    tasker_wire::json_of(value).get().to_string()
}
