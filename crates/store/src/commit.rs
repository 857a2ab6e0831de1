//! The write side, for every driver: what a batch of operations and claims does to the rows.
//!
//! A driver lends its rows as [`Tables`], inside one transaction; whether it reads and writes them one by one or
//! together is its own affair.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use sha2::{Digest, Sha256};
use tasker_core::graph::Workflow;
use tasker_core::machine::{self, Changes, Event, Holding, Moment, Needs, Neighbourhood, Outcome, Reply, Row};
use tasker_core::state::{AttemptEnd, Step, StepState, Task};
use tasker_wire::{Error, Failure, Kind, Report, StepError};
use uuid::Uuid;

use crate::message::Source;
use crate::tables::{AuditRow, Found, Head, NewAttempt, Ready, Stop, Tables, TaskRow, former_name, split, step_id};
use crate::{
    Batch, ClaimRequest, Claimed, CommitError, Committed, CutShort, Done, NewTask, NewWorker, Op, Order, PreparedEvent,
    TaskInfo, TemplateSource,
};

/// How long a due row that cannot be handled is left alone, milliseconds.
const SET_ASIDE_MS: i64 = 60_000;

pub(crate) type Result<T, E> = std::result::Result<T, Stop<E>>;

impl Committed {
    pub(crate) fn append(&mut self, other: Committed) {
        self.results.extend(other.results);
        self.claimed.extend(other.claimed);
        self.rested.extend(other.rested);
        self.cut_short.extend(other.cut_short);
        self.published.extend(other.published);
        self.next_wake = self.next_wake.into_iter().chain(other.next_wake).min();
        self.left_ready |= other.left_ready;
        self.claimable_at = self.claimable_at.into_iter().chain(other.claimable_at).min();
        self.claims_unknown |= other.claims_unknown;
    }
}

/// What a report says to the machine.
pub(crate) fn outcome(report: &Report) -> Outcome<'_> {
    match report {
        Report::Success { result, .. } => Outcome::Success { result },
        Report::Failure(failure) => Outcome::Failure {
            retryable: failure.error.retryable,
            retry_after_ms: failure.retry_after_ms,
            timed_out: failure.timed_out,
        },
        Report::Checkpoint { .. } => Outcome::Checkpoint,
        Report::Release { delay_ms } => Outcome::Release { delay_ms: *delay_ms },
    }
}

/// Does the operations of a batch, then serves its claims, then sees to what is due: who has waited for the store with a
/// result must not find that its time has run out meanwhile.
pub(crate) fn apply<T: Tables>(batch: &Batch, tables: &mut T) -> std::result::Result<Committed, T::Trouble> {
    let mut work = Work {
        tables,
        batch,
        out: Committed { claimed: batch.claims.iter().map(|_| Vec::new()).collect(), ..Committed::default() },
        best_ranks: FxHashMap::default(),
        fresh: FxHashMap::default(),
        holding: batch.holding,
        gone: FxHashSet::default(),
        draws: batch.jitter_seed.unwrap_or(0),
    };
    let is_due = |op: &Op| matches!(op, Op::Due { .. });
    for op in batch.ops {
        // Those that are due get their answers below.
        let result = if is_due(op) { Ok(Done::Nothing) } else { work.answer(op)? };
        work.out.results.push(result);
    }
    for index in 0..batch.claims.len() {
        work.claim_ready(index)?;
    }
    for (at, op) in batch.ops.iter().enumerate().filter(|(_, op)| is_due(op)) {
        work.out.results[at] = work.answer(op)?;
    }
    Ok(work.out)
}

pub(crate) struct Work<'a, T> {
    pub(crate) tables: &'a mut T,
    pub(crate) batch: &'a Batch<'a>,
    pub(crate) out: Committed,
    /// Best rank waiting in each queue, as far as this batch has looked; `None` for an empty queue.
    best_ranks: FxHashMap<Arc<str>, Option<i64>>,
    /// Tasks created or loaded by this batch.
    pub(crate) fresh: FxHashMap<i64, Arc<TaskInfo>>,
    /// What the process that claims holds by now.
    holding: Holding,
    /// Workers that learn in this batch that they are gone; they claim nothing.
    gone: FxHashSet<i64>,
    draws: u64,
}

/// The stored side of an attempt's end.
#[derive(Default)]
struct Reported<'a> {
    worker: i64,
    execution_us: Option<i64>,
    error: Option<String>,
    metadata: Option<&'a str>,
    result: Option<&'a str>,
    events: &'a [PreparedEvent],
}

impl<T: Tables> Work<'_, T> {
    fn moment(&mut self) -> Moment {
        // SplitMix64 (Steele, Lea, Flood 2014): the engine seeds it, so that a batch draws without a lock.
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.draws;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let jitter_permille = if self.batch.jitter_seed.is_some() { ((z ^ (z >> 31)) % 201) as i32 - 100 } else { 0 };
        Moment { now: self.batch.now, jitter_permille, max_crashes: self.batch.max_crashes }
    }

    /// Does an operation; a refusal is its answer.
    fn answer(&mut self, op: &Op) -> std::result::Result<std::result::Result<Done, CommitError>, T::Trouble> {
        match self.op(op) {
            Ok(done) => Ok(Ok(done)),
            Err(stop) => stop.set_aside().map(|error| Err(CommitError::Refused(error))),
        }
    }

    fn op(&mut self, op: &Op) -> Result<Done, T::Trouble> {
        match op {
            Op::Create(new) => self.create(new),
            Op::Finish { task, no, fence, worker, report, events } => {
                self.finish((*task, *no, *fence), *worker, report, events)
            }
            Op::Act { task, order, actor, reason } => self.act(*task, order, actor, reason),
            Op::AddTemplate(template) => self.add_template(template),
            Op::AddWorker(worker) => self.add_worker(worker),
            Op::Heartbeat { worker, held } => self.heartbeat(*worker, held.as_deref()),
            Op::Draining { worker } => {
                self.tables.worker_drains(*worker)?;
                Ok(Done::Nothing)
            }
            Op::WorkerGone { worker, beat, stopped } => self.worker_gone(*worker, *beat, *stopped),
            Op::DeadLetter { id, order, actor, reason } => self.dead_letter(*id, order, actor, reason),
            Op::ReadEvents { queue, limit, visible_at } => {
                Ok(Done::Events(self.tables.read_events(queue, *limit, self.batch.now, *visible_at)?))
            }
            Op::ArchiveEvents { ids } => Ok(Done::Due(self.tables.archive_events(ids, self.batch.now)?)),
            Op::ReplayEvents { ids } => Ok(Done::Due(self.tables.replay_events(ids, self.batch.now)?)),
            Op::Prune { before, limit } => Ok(Done::Pruned(self.tables.prune(*before, *limit)?)),
            Op::DutiesRan { names } => {
                for name in names {
                    self.tables.duty_ran(name, self.batch.now)?;
                }
                Ok(Done::Nothing)
            }
            Op::Due { limit, skip } => self.due(*limit, *skip),
        }
    }

    fn create(&mut self, new: &NewTask) -> Result<Done, T::Trouble> {
        if let Some(identity) = &new.idempotency
            && let Some((digest, task, uuid)) = self.tables.idempotency(&identity.key)?
        {
            if !identity.strict && digest == identity.digest {
                return Ok(Done::Created { task, uuid, existing: true });
            }
            let what = if identity.strict {
                "the same template and context"
            } else {
                "this idempotency key but another payload"
            };
            return Err(Error::new(Kind::Conflict, "task_exists", format!("task {uuid} already exists with {what}"))
                .hint("use the existing task, or change the key or context")
                .details(serde_json::json!({"task_uuid": uuid.to_string()}))
                .into());
        }
        let now = self.batch.now;
        let hood = machine::create_task(&new.workflow, now, new.start_at);
        let task = self.tables.insert_task(new, &hood.task, now)?;
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
        self.wakes(hood.task.wake_at);
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
    ) -> Result<Done, T::Trouble> {
        let mut row = Reported { worker, events, ..Reported::default() };
        match report {
            Report::Success { result, metadata, execution_us } => {
                row.execution_us = Some(*execution_us);
                row.metadata = metadata.as_deref();
                row.result = Some(result);
            }
            Report::Failure(failure) => {
                let Failure { error, metadata, execution_us, .. } = &**failure;
                row.execution_us = Some(*execution_us);
                row.metadata = metadata.as_deref();
                row.error = Some(to_json(error));
            }
            Report::Checkpoint { execution_us, .. } => row.execution_us = Some(*execution_us),
            Report::Release { .. } => {}
        }
        let outcome = outcome(report);
        let changes = self.event(task, Some(no), Event::Finish { no, fence, outcome }, row)?;
        let Some(changes) = changes else { return Ok(Done::Finished { accepted: false }) };
        if changes.reply == Reply::Accepted
            && let Report::Checkpoint { checkpoint, .. } = report
        {
            self.tables.store_checkpoint(step_id(task, no), checkpoint)?;
        }
        Ok(Done::Finished { accepted: changes.reply == Reply::Accepted })
    }

    /// Applies an event to a task; `None` if the task or step is gone.
    fn event(&mut self, id: i64, no: Option<u16>, event: Event, row: Reported) -> Result<Option<Changes>, T::Trouble> {
        let Some(found) = self.tables.task(id)? else { return Ok(None) };
        self.event_on(found, no, event, row).map(|applied| applied.map(|(changes, _)| changes))
    }

    fn event_on(
        &mut self,
        found: TaskRow,
        no: Option<u16>,
        event: Event,
        row: Reported,
    ) -> Result<Option<(Changes, Task)>, T::Trouble> {
        let TaskRow { id, uuid, template, priority, task: before, ended_at, .. } = found;
        let workflow = self.tables.workflow(template)?;
        let step = match no {
            Some(no) => match self.tables.step(step_id(id, no))? {
                Some((step, _)) => Some(step),
                None => return Ok(None),
            },
            None => None,
        };
        let steps = match machine::needs(&workflow, &before, step.as_ref(), &event) {
            Needs::All => self.tables.steps(id)?,
            Needs::Steps(numbers) => {
                let mut steps: Vec<Step> = Vec::with_capacity(numbers.len() + 1);
                steps.extend(step);
                for number in numbers {
                    steps.extend(self.tables.step(step_id(id, number))?.map(|(s, _)| s));
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
        self.write_changes(id, priority, &changes, &hood, ended)?;
        self.write_steps(id, &workflow, priority, &hood, result, matches!(event, Event::Finish { .. }))?;
        self.write_task(id, &before, &hood.task, ended_at, action)?;
        if let Some(reason) = changes.dead_letter {
            let own = step.zip(error.as_deref()).filter(|(step, _)| {
                hood.rows().iter().any(|r| r.step.no == step.no && r.step.state == StepState::Error)
            });
            self.open_dead_letter(id, &workflow, reason, own.map(|(step, error)| (step.template, error)))?;
        }
        if let Some(occasion) = changes.occasion
            && let Some(step) =
                step.or_else(|| result.and_then(|(no, _)| Some(hood.rows().iter().find(|r| r.step.no == no)?.step)))
            && !workflow.template.steps[usize::from(step.template)].publishes_events.is_empty()
        {
            let failure = error.as_deref().map(tasker_wire::failure_payload);
            let default = result.map_or(failure.as_deref().unwrap_or("null"), |(_, r)| r);
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
        row: Reported,
    ) -> Result<Option<String>, T::Trouble> {
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
                    "the worker died or fell silent while it ran this (started {} ms before)",
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
        // An accepted end is the first row of its claim. A rejected report leaves it that place: where a failover has lost a
        // claim, its number is given again.
        let seq = if rejected { self.tables.next_seq(id, fence)?.max(1) } else { 0 };
        let worker = if row.worker == 0 { before.worker } else { row.worker };
        let started_at = if fence == before.fence { before.started_at } else { self.batch.now };
        self.tables.insert_attempt(&NewAttempt {
            step: id,
            fence,
            seq,
            attempt: before.attempts_shown() + u32::from(!rejected),
            end,
            worker,
            started_at,
            ended_at: self.batch.now,
            execution_us: row.execution_us,
            retry_at,
            error: error.as_deref(),
            metadata: row.metadata,
            result: if rejected { row.result } else { None },
        })?;
        Ok(error)
    }

    /// Everything but control rows: inputs, cleared and removed steps, attempts that were cut short.
    fn write_changes(
        &mut self,
        task: i64,
        priority: i32,
        changes: &Changes,
        hood: &Neighbourhood,
        ended: Option<(u16, u32)>,
    ) -> Result<(), T::Trouble> {
        for (no, inputs) in &changes.inputs {
            self.tables.store_inputs(step_id(task, *no), &inputs.to_string())?;
        }
        for no in &changes.cleared {
            self.tables.clear_step(step_id(task, *no))?;
        }
        let mut removed = Vec::new();
        for no in &changes.removed {
            let id = step_id(task, *no);
            if let Some((step, _)) = self.tables.step(id)? {
                removed.push(step);
                let rank = rank(hood.workflow, step.template, priority);
                let enqueued_at = step.enqueued_at;
                self.tables.dequeue(hood.workflow.queue(step.template), Ready { rank, enqueued_at, step: id })?;
            }
            self.tables.delete_step(id)?;
        }
        // The event's own attempt, if it ended one, has its row already; the others' history ends here.
        for (no, fence, worker) in &changes.cut_short {
            let row = hood.rows().iter().find(|r| r.step.no == *no);
            let gone = removed.iter().find(|step| step.no == *no).copied();
            let before = row.and_then(|r| r.before).or(gone);
            if changes.attempt_end.is_some() && ended == Some((*no, *fence)) {
                continue;
            }
            self.tables.insert_attempt(&NewAttempt {
                step: step_id(task, *no),
                fence: *fence,
                seq: 0,
                attempt: before.map_or(0, |s| s.attempts_shown()) + 1,
                end: AttemptEnd::Cancelled,
                worker: *worker,
                started_at: row.map(|r| r.step).or(gone).map_or(self.batch.now, |step| step.started_at),
                ended_at: self.batch.now,
                execution_us: None,
                retry_at: None,
                error: None,
                metadata: None,
                result: None,
            })?;
        }
        Ok(())
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
    ) -> Result<(), T::Trouble> {
        for row in hood.rows() {
            if !row.is_changed() && result.is_none_or(|(no, _)| no != row.step.no) {
                continue;
            }
            let Row { mut step, before } = *row;
            let id = step_id(task, step.no);
            let rank = rank(workflow, step.template, priority);
            let queued_before = before.filter(|b| b.state == StepState::Enqueued);
            let queued = step.state == StepState::Enqueued;
            let queue = workflow.queue(step.template);
            if let Some(b) = queued_before
                && (!queued || b.enqueued_at != step.enqueued_at)
            {
                self.tables.dequeue(queue, Ready { rank, enqueued_at: b.enqueued_at, step: id })?;
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
                claimed = self.claimant(queue, rank, &step, continues)?;
                match claimed {
                    Some(index) => self.give(index, task, &mut step, name.clone())?,
                    None => {
                        self.tables.enqueue(queue, Ready { rank, enqueued_at: step.enqueued_at, step: id })?;
                        if let Some(best) = self.best_ranks.get_mut(queue) {
                            *best = Some(best.map_or(rank, |b| b.min(rank)));
                        }
                        self.out.left_ready = true;
                    }
                }
            }
            self.wakes(step.wake_at);
            match before {
                None => self.tables.insert_step(id, &step, name.as_deref())?,
                Some(_) => {
                    let result = result.filter(|(no, _)| *no == step.no).map(|(_, r)| r);
                    self.tables.update_step(id, &step, step.state.is_final().then_some(self.batch.now), result)?;
                }
            }
            debug_assert!(claimed.is_none() || step.state == StepState::InProgress);
        }
        Ok(())
    }

    fn write_task(
        &mut self,
        id: i64,
        before: &Task,
        task: &Task,
        ended_at: Option<i64>,
        action: Option<&str>,
    ) -> Result<(), T::Trouble> {
        if task == before {
            return Ok(());
        }
        let now = self.batch.now;
        let ended_at = task.state.is_final().then(|| ended_at.unwrap_or(now));
        self.tables.update_task(id, task, now, ended_at)?;
        self.wakes(task.wake_at);
        if task.state != before.state {
            if task.state.is_resting() {
                self.out.rested.push((id, task.state));
            }
            if before.state.is_resting() {
                self.tables.resolve_dead_letters(id, now, action.unwrap_or("recovered"))?;
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
    fn claimant(&mut self, queue: &str, rank: i64, step: &Step, continues: bool) -> Result<Option<usize>, T::Trouble> {
        let wants = |(index, claim): (usize, &ClaimRequest)| {
            (self.free_slots(index) > 0 && claim.queues.iter().any(|q| q == queue)).then_some(index)
        };
        if !machine::may_claim(step, self.holding, self.batch.now) {
            return Ok(None);
        }
        let Some(index) = self.batch.claims.iter().enumerate().find_map(wants) else { return Ok(None) };
        let best = match self.best_ranks.get(queue) {
            Some(best) => *best,
            None => {
                let best = self.tables.ready(queue, 1)?.first().map(|best| best.rank);
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

    /// Slots of a claim that this batch has not filled.
    fn free_slots(&self, index: usize) -> usize {
        let claim = &self.batch.claims[index];
        if self.gone.contains(&claim.worker) { 0 } else { claim.slots - self.out.claimed[index].len() }
    }

    fn give(&mut self, index: usize, task: i64, step: &mut Step, name: Option<String>) -> Result<(), T::Trouble> {
        let claim = &self.batch.claims[index];
        let attempts = step.attempts_shown();
        machine::claim(step, claim.worker, self.batch.now);
        self.holding.add(step);
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
            suspect: step.suspect,
            info,
        });
        Ok(())
    }

    fn load_info(&mut self, id: i64) -> Result<Arc<TaskInfo>, T::Trouble> {
        let Head { uuid, template, priority, created_at, context, details } =
            self.tables.head(id)?.ok_or_else(|| gone(id))?;
        let workflow = self.tables.workflow(template)?;
        Ok(Arc::new(TaskInfo { id, uuid, template, workflow, context, details, priority, created_at }))
    }

    /// Serves a claim from its queues, best first, until its slots are full.
    fn claim_ready(&mut self, index: usize) -> std::result::Result<(), T::Trouble> {
        let claim = &self.batch.claims[index];
        for queue in claim.queues.iter() {
            let wanted = self.free_slots(index);
            if wanted == 0 || self.holding.suspect {
                return Ok(());
            }
            let best = match self.tables.ready(queue, wanted) {
                Ok(best) => best,
                Err(stop) => return stop.set_aside().map(drop),
            };
            for ready in best {
                if let Err(stop) = self.claim_one(index, queue, ready) {
                    // Left out of its queue, so that it stops nobody; the doctor names it.
                    let error = stop.set_aside()?;
                    tracing::error!(step = ready.step, %error, "a queued step cannot be claimed");
                }
            }
        }
        Ok(())
    }

    fn claim_one(&mut self, index: usize, queue: &str, ready: Ready) -> Result<(), T::Trouble> {
        let id = ready.step;
        let found = self.tables.step(id)?.filter(|(step, _)| step.state == StepState::Enqueued);
        if let Some((step, _)) = &found
            && !machine::may_claim(step, self.holding, self.batch.now)
        {
            self.out.claimable_at = self.out.claimable_at.into_iter().chain([step.enqueued_at]).min();
            return Ok(());
        }
        self.tables.dequeue(queue, ready)?;
        let Some((mut step, name)) = found else { return Ok(()) };
        self.give(index, split(id).0, &mut step, name)?;
        self.tables.update_step(id, &step, None, None)
    }

    pub(crate) fn act(&mut self, uuid: Uuid, order: &Order, actor: &str, reason: &str) -> Result<Done, T::Trouble> {
        let found = self.tables.task_by_uuid(uuid)?.ok_or_else(|| {
            Error::new(Kind::NotFound, "task_not_found", format!("there is no task {uuid}"))
                .hint("list tasks with `tasker ls`")
        })?;
        let id = found.id;
        let action = order.action();
        let Some((changes, before)) = self.event_on(found, None, Event::Operator(action), Reported::default())? else {
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
        let after = self.tables.task(id)?.map_or("gone", |t| shown(&t.task));
        self.tables.insert_audit(&AuditRow {
            task: id,
            no: order.step(),
            action: action.as_str(),
            actor,
            reason,
            before: shown(&before),
            after,
            at: self.batch.now,
        })?;
        Ok(Done::Acted)
    }

    fn add_template(&mut self, template: &TemplateSource) -> Result<Done, T::Trouble> {
        let (namespace, name, version) = &template.identity;
        let mut hash = Sha256::new();
        for part in [namespace, name, version, template.environment.as_deref().unwrap_or(""), &template.source] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Done::Template(self.tables.add_template(template, &digest, self.batch.now)?))
    }

    fn add_worker(&mut self, new: &NewWorker) -> Result<Done, T::Trouble> {
        let taken = |who: String| {
            Error::new(Kind::Conflict, "worker_exists", format!("a worker named `{}` is alive: {who}", new.name))
                .hint("stop it first, or start this one under another name (--worker-id)")
        };
        if let Some(first) = self.tables.namesake(&new.name)? {
            if !first.gone {
                let since = crate::time(first.started_at);
                let who = format!("process {} ({}), since {since}", first.pid, first.language);
                return Err(taken(who).details(serde_json::json!({"worker": first.worker})).into());
            }
            // The name goes to the new life; the history of the former one stays its own.
            self.tables.rename_worker(first.worker, &former_name(&new.name, first.worker))?;
        }
        let row = self.tables.add_worker(new, self.batch.now)?;
        Ok(Done::Worker(row.ok_or_else(|| taken("it has just been started".into()))?))
    }

    fn heartbeat(&mut self, worker: i64, held: Option<&[(i64, u16, u32)]>) -> Result<Done, T::Trouble> {
        let alive = self.tables.worker_beats(worker, self.batch.now)?;
        if !alive {
            self.gone.insert(worker);
        } else if let Some(held) = held
            && let Some(found) = self.tables.worker(worker)?
        {
            let is_held = |id: i64, fence: u32| held.iter().any(|(t, no, f)| (step_id(*t, *no), *f) == (id, fence));
            let strays = found.held.into_iter().filter(|(id, fence)| !is_held(*id, *fence)).collect();
            self.hand_back(strays, true)?;
        }
        Ok(Done::Beat { alive })
    }

    fn worker_gone(&mut self, worker: i64, beat: Option<i64>, stopped: bool) -> Result<Done, T::Trouble> {
        let Some(Found { beat: last, draining, gone, held }) = self.tables.worker(worker)? else {
            return Ok(Done::Gone(None));
        };
        if gone && held.is_empty() || beat.is_some_and(|beat| beat != last) {
            return Ok(Done::Gone(None));
        }
        // Nor does it claim anything in this very batch.
        self.gone.insert(worker);
        // What it claimed after it was declared gone never was its own.
        let steps = self.hand_back(held, stopped || draining || gone)?;
        self.tables.worker_gone(worker)?;
        Ok(Done::Gone(Some(steps)))
    }

    /// Queues steps (id, fence) again that a worker held: handed back by it, or lost with it.
    fn hand_back(&mut self, mut held: Vec<(i64, u32)>, released: bool) -> Result<usize, T::Trouble> {
        // The order in which they may be claimed again is the same on every store.
        held.sort_unstable();
        let alone = held.len() == 1;
        for (id, fence) in &held {
            let (task, no) = split(*id);
            let event = if released {
                Event::Finish { no, fence: *fence, outcome: Outcome::Release { delay_ms: 0 } }
            } else {
                Event::WorkerLost { no, fence: *fence, alone }
            };
            match self.event(task, Some(no), event, Reported::default()) {
                // One that cannot be handled holds up no other; the doctor names it.
                Err(Stop::Refused(error)) => tracing::error!(task, step = no, %error, "a step cannot be queued again"),
                other => drop(other?),
            }
        }
        Ok(held.len())
    }

    fn due(&mut self, limit: usize, skip: usize) -> Result<Done, T::Trouble> {
        let now = self.batch.now;
        let (steps, tasks) = self.tables.due(now, limit, skip)?;
        for id in &steps {
            let (task, no) = split(*id);
            match self.event(task, Some(no), Event::Wake { no }, Reported::default()) {
                Err(Stop::Refused(error)) => {
                    // Set aside for a while, so that one bad row holds up no other.
                    tracing::error!(task, step = no, %error, "a due step cannot be handled");
                    self.tables.wake_step_at(*id, now + SET_ASIDE_MS)?;
                }
                other => drop(other?),
            }
        }
        for id in &tasks {
            match self.event(*id, None, Event::TaskWake, Reported::default()) {
                Err(Stop::Refused(error)) => {
                    tracing::error!(task = id, %error, "a due task cannot be handled");
                    self.tables.wake_task_at(*id, now + SET_ASIDE_MS)?;
                }
                other => drop(other?),
            }
        }
        Ok(Done::Due(steps.len() + tasks.len()))
    }
}

/// Orders a queue: the lower, the sooner.
fn rank(workflow: &Workflow, step: tasker_core::graph::Index, priority: i32) -> i64 {
    -i64::from(priority) - i64::from(workflow.template.steps[usize::from(step)].priority)
}

fn gone(task: i64) -> Error {
    Error::new(Kind::Bug, "store_error", format!("the rows of task number {task} are incomplete"))
        .hint("run `tasker doctor`")
}

fn to_json(value: &impl serde::Serialize) -> String {
    tasker_wire::json_of(value).get().to_string()
}
