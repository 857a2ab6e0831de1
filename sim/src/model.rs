//! What the store has said so far, and what must follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tasker_core::graph::Workflow;
use tasker_core::state::{AttemptEnd, StepState, TaskState};
use tasker_core::template::FailureStrategy;
use tasker_store::{AttemptRecord, Done, LetterOrder, Op, Order, StepRecord, Store, TaskRecord};
use tasker_wire::{DeadLetterFilter, EventFilter, Report};
use uuid::Uuid;

use crate::check::{Rows, check};
use crate::dice::hash;
use crate::script::{self, Plan};
use crate::store::Entry;

/// An invariant that does not hold.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The invariant, then what contradicts it.
    pub what: String,
    /// The task it is about, by order of creation.
    pub task: Option<usize>,
}

type Held<T = ()> = Result<T, Violation>;

#[derive(Debug, Default, Clone)]
struct StepSeen {
    state: Option<StepState>,
    fence: u32,
    result: Option<String>,
    wake_at: Option<i64>,
    worker: i64,
    /// Highest fence ever given out.
    given: u32,
    /// Fence of the claim that has not ended.
    live: Option<u32>,
}

/// A claim that ended without its worker's word.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    pub(crate) task: usize,
    pub(crate) no: u16,
    pub(crate) fence: u32,
    pub(crate) worker: i64,
}

/// A task as far as the simulation knows it.
pub struct TaskSeen {
    pub(crate) id: i64,
    pub(crate) uuid: Uuid,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) script: u64,
    state: Option<TaskState>,
    wake_at: Option<i64>,
    pub(crate) paused: bool,
    steps: BTreeMap<u16, StepSeen>,
    /// Fences of all claims ever made.
    claims: BTreeSet<(u16, u32)>,
    /// Claims whose report was accepted as a success.
    successes: BTreeSet<(u16, u32)>,
    /// Claims that were taken from their workers.
    losses: BTreeSet<(u16, u32)>,
    /// An operator changed its course, or it outlived a limit: its end cannot be foretold.
    pub(crate) operated: bool,
}

/// Every task, by order of creation.
pub struct Model {
    store: Arc<dyn Store>,
    pub(crate) tasks: Vec<TaskSeen>,
    numbers: BTreeMap<i64, usize>,
    keys: BTreeMap<String, Uuid>,
    /// Workers that were told to stop, and those that were declared gone.
    draining: BTreeSet<i64>,
    gone: BTreeSet<i64>,
    /// What workers lost since this was last taken.
    pub(crate) losses: Vec<Loss>,
    pub(crate) max_crashes: u32,
    pub(crate) rejected: u64,
    pub(crate) checks: u64,
    /// A number that two runs of one seed share.
    pub(crate) digest: u64,
}

impl Model {
    /// Nothing known of the store yet.
    pub fn new(store: Arc<dyn Store>, max_crashes: u32) -> Model {
        Model {
            store,
            tasks: Vec::new(),
            numbers: BTreeMap::new(),
            keys: BTreeMap::new(),
            draining: BTreeSet::new(),
            gone: BTreeSet::new(),
            losses: Vec::new(),
            max_crashes,
            rejected: 0,
            checks: 0,
            digest: 0,
        }
    }

    pub(crate) fn task_number(&self, id: i64) -> Option<usize> {
        self.numbers.get(&id).copied()
    }

    pub(crate) fn by_uuid(&self, uuid: Uuid) -> Option<usize> {
        self.tasks.iter().position(|t| t.uuid == uuid)
    }

    fn broken(&self, task: usize, what: impl Into<String>) -> Violation {
        Violation { what: what.into(), task: Some(task) }
    }

    /// The recorded result of a step, as last seen in the store.
    pub(crate) fn result(&self, task: usize, no: u16) -> Option<&str> {
        self.tasks[task].steps.get(&no)?.result.as_deref()
    }

    /// Whether a claim has not ended as far as the store has said.
    pub(crate) fn is_live(&self, task: usize, no: u16, fence: u32) -> bool {
        self.tasks[task].steps.get(&no).is_some_and(|s| s.live == Some(fence))
    }

    /// Whether everything rests.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.tasks.iter().all(|t| t.state.is_some_and(TaskState::is_resting))
    }

    pub(crate) fn state(&self, task: usize) -> Option<TaskState> {
        self.tasks[task].state
    }

    /// Where a task and its steps stand.
    pub(crate) fn told(&self, task: usize) -> String {
        let seen = &self.tasks[task];
        let steps = seen.steps.iter().filter_map(|(no, s)| Some(format!("{no} {}", s.state?.as_str())));
        let state = seen.state.map_or("unknown", TaskState::as_str);
        format!(
            "{} is {state}, paused {}: {}",
            seen.workflow.template.name,
            seen.paused,
            steps.collect::<Vec<_>>().join(", ")
        )
    }

    pub(crate) fn step_numbers(&self, task: usize) -> Vec<u16> {
        self.tasks[task].steps.keys().copied().collect()
    }

    /// Takes in one commit and checks everything it touched.
    pub(crate) fn observe(&mut self, entry: &Entry) -> Held<Vec<usize>> {
        let mut touched: BTreeSet<usize> = BTreeSet::new();
        // Claims that ended in this commit, and tasks whose results may go.
        let mut ended: BTreeSet<(usize, u16, u32)> = BTreeSet::new();
        let mut lost: Vec<Loss> = Vec::new();
        let mut reworked: BTreeSet<usize> = BTreeSet::new();
        let mut operated: BTreeSet<usize> = BTreeSet::new();
        let mut stored: BTreeMap<(usize, u16), &str> = BTreeMap::new();
        self.digest = hash(&[self.digest, entry.process as u64, entry.ops.len() as u64, entry.given.len() as u64]);
        for (op, result) in entry.ops.iter().zip(&entry.results) {
            self.digest = hash(&[self.digest, u64::from(result.is_ok())]);
            match (op, result) {
                (Op::Create(new), Ok(Done::Created { task, uuid, existing })) => {
                    let key = new.idempotency.as_ref().map(|i| i.key.clone());
                    if let Some(key) = &key {
                        let first = *self.keys.entry(key.clone()).or_insert(*uuid);
                        if first != *uuid || *existing != (new.uuid != *uuid) {
                            let what = format!("one task an idempotency key: {first} and {uuid} have {key}");
                            return Err(Violation { what, task: self.by_uuid(first) });
                        }
                    }
                    let number = match self.numbers.get(task) {
                        Some(number) => *number,
                        None if *existing => {
                            let what = format!("an idempotent creation finds a task that was created: {uuid}");
                            return Err(Violation { what, task: None });
                        }
                        None => self.meet(*task, *uuid, new),
                    };
                    touched.insert(number);
                }
                (Op::Finish { task, no, fence, report, .. }, Ok(Done::Finished { accepted })) => {
                    let Some(number) = self.task_number(*task) else { continue };
                    touched.insert(number);
                    let is_live = self.is_live(number, *no, *fence) && !ended.contains(&(number, *no, *fence));
                    self.digest =
                        hash(&[self.digest, number as u64, u64::from(*no), u64::from(*fence), u64::from(*accepted)]);
                    if *accepted && !is_live {
                        let what = format!(
                            "at most one result is accepted a claim, and only the current one's: step {no} fence {fence}"
                        );
                        return Err(self.broken(number, what));
                    }
                    if !accepted {
                        self.rejected += 1;
                        if is_live && !operated.contains(&number) {
                            let what = format!("the report of the current claim is accepted: step {no} fence {fence}");
                            return Err(self.broken(number, what));
                        }
                        continue;
                    }
                    ended.insert((number, *no, *fence));
                    if let Report::Success { result, .. } = report {
                        self.tasks[number].successes.insert((*no, *fence));
                        stored.insert((number, *no), result);
                    }
                }
                (Op::Heartbeat { worker, held: Some(held) }, Ok(Done::Beat { alive: true })) => {
                    // What it was given and never heard of goes back.
                    for number in 0..self.tasks.len() {
                        let id = self.tasks[number].id;
                        for (no, step) in &self.tasks[number].steps {
                            if step.worker == *worker
                                && let Some(fence) = step.live
                                && !held.contains(&(id, *no, fence))
                                && !ended.contains(&(number, *no, fence))
                            {
                                ended.insert((number, *no, fence));
                                touched.insert(number);
                            }
                        }
                    }
                }
                (Op::Draining { worker }, Ok(_)) => drop(self.draining.insert(*worker)),
                (Op::Act { task, order, .. }, Ok(Done::Acted)) => {
                    let Some(number) = self.by_uuid(*task) else { continue };
                    touched.insert(number);
                    operated.insert(number);
                    self.act(number, order, &mut reworked);
                }
                (Op::DeadLetter { reason, order, .. }, Ok(Done::Acted)) => {
                    // The simulation's operators give the task as their reason.
                    let Some(number) = reason.parse().ok().filter(|n: &usize| *n < self.tasks.len()) else { continue };
                    touched.insert(number);
                    operated.insert(number);
                    let order = if *order == LetterOrder::Replay { Order::RetryFailed } else { Order::GiveUp };
                    self.act(number, &order, &mut reworked);
                }
                (Op::WorkerGone { worker, stopped, .. }, Ok(Done::Gone(Some(_)))) => {
                    let was_gone = !self.gone.insert(*worker);
                    for number in 0..self.tasks.len() {
                        for (no, step) in &self.tasks[number].steps {
                            if step.worker == *worker
                                && let Some(fence) = step.live
                                && !ended.contains(&(number, *no, fence))
                            {
                                ended.insert((number, *no, fence));
                                touched.insert(number);
                                if *stopped || was_gone || self.draining.contains(worker) {
                                    continue;
                                }
                                lost.push(Loss { task: number, no: *no, fence, worker: *worker });
                            }
                        }
                    }
                }
                (Op::Due { .. }, Ok(Done::Due(_))) => {
                    let is_due = |at: Option<i64>| at.is_some_and(|at| at <= entry.now);
                    for number in 0..self.tasks.len() {
                        let task = &self.tasks[number];
                        if is_due(task.wake_at) {
                            touched.insert(number);
                            operated.insert(number);
                        }
                        if task.steps.values().any(|s| is_due(s.wake_at)) {
                            touched.insert(number);
                        }
                    }
                }
                (op, Ok(done)) if matches!(op, Op::Create(_) | Op::Finish { .. }) => {
                    return Err(Violation {
                        what: format!("an operation gets its answer: {op:?} got {done:?}"),
                        task: None,
                    });
                }
                _ => {}
            }
        }
        for loss in lost.iter().filter(|l| !operated.contains(&l.task)) {
            self.tasks[loss.task].losses.insert((loss.no, loss.fence));
            self.losses.push(*loss);
        }
        for given in &entry.given {
            let Some(number) = self.task_number(given.task) else {
                return Err(Violation {
                    what: format!("only acknowledged rows are given out: task row {}", given.task),
                    task: None,
                });
            };
            self.digest = hash(&[self.digest, number as u64, u64::from(given.no), u64::from(given.fence)]);
            touched.insert(number);
            let step = self.tasks[number].steps.entry(given.no).or_default();
            if given.fence <= step.given {
                let what =
                    format!("a claim's fence is new: step {} fence {} after {}", given.no, given.fence, step.given);
                return Err(self.broken(number, what));
            }
            if let Some(before) = step.live
                && !ended.contains(&(number, given.no, before))
                && !operated.contains(&number)
            {
                let what =
                    format!("one live lease a step: step {} fence {} while {before} runs", given.no, given.fence);
                return Err(self.broken(number, what));
            }
            step.given = given.fence;
            step.live = Some(given.fence);
            step.worker = given.worker;
            self.tasks[number].claims.insert((given.no, given.fence));
        }
        for number in &touched {
            self.look(*number, &reworked, &operated, &ended, &stored)?;
        }
        Ok(touched.into_iter().collect())
    }

    fn meet(&mut self, id: i64, uuid: Uuid, new: &tasker_store::NewTask) -> usize {
        let script = new.context.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
        self.tasks.push(TaskSeen {
            id,
            uuid,
            workflow: new.workflow.clone(),
            script,
            state: None,
            wake_at: None,
            paused: false,
            steps: BTreeMap::new(),
            claims: BTreeSet::new(),
            successes: BTreeSet::new(),
            losses: BTreeSet::new(),
            operated: false,
        });
        self.numbers.insert(id, self.tasks.len() - 1);
        self.tasks.len() - 1
    }

    /// Which claims an operator's action ended is seen in the rows.
    fn act(&mut self, number: usize, order: &Order, reworked: &mut BTreeSet<usize>) {
        let task = &mut self.tasks[number];
        task.operated |= !matches!(order, Order::Pause | Order::Resume);
        if matches!(order, Order::Reset(_) | Order::RetryFailed) {
            reworked.insert(number);
        }
    }

    /// The rows of one task after a commit that touched it.
    fn look(
        &mut self,
        number: usize,
        reworked: &BTreeSet<usize>,
        operated: &BTreeSet<usize>,
        ended: &BTreeSet<(usize, u16, u32)>,
        stored: &BTreeMap<(usize, u16), &str>,
    ) -> Held {
        self.checks += 1;
        let (record, steps) = self.rows(number)?;
        let workflow = self.tasks[number].workflow.clone();
        let rows = Rows { task: &record.task, workflow: &workflow, steps: &steps, max_crashes: self.max_crashes };
        check(&rows).map_err(|what| self.broken(number, what))?;
        let before = self.tasks[number].state;
        if before.is_some_and(TaskState::is_final) && before != Some(record.task.state) && !operated.contains(&number) {
            let what = format!("an ended task stays ended: {before:?} became {:?}", record.task.state);
            return Err(self.broken(number, what));
        }
        let is_reworked = reworked.contains(&number);
        for row in &steps {
            let (no, step) = (row.step.no, &row.step);
            let seen = self.tasks[number].steps.entry(no).or_default().clone();
            if step.fence < seen.fence {
                let what = format!("a fence never goes back: step {no} from {} to {}", seen.fence, step.fence);
                return Err(self.broken(number, what));
            }
            let kept = seen.result.as_deref().or(stored.get(&(number, no)).copied());
            if !is_reworked && kept.is_some() && kept != row.result.as_deref() && step.state != StepState::Error {
                let what = format!("an accepted result is kept: step {no} had {kept:?}, has {:?}", row.result);
                return Err(self.broken(number, what));
            }
            if step.state == StepState::InProgress && (step.fence != seen.given || seen.live != Some(step.fence)) {
                let what =
                    format!("what runs was given to someone: step {no} fence {}, given {}", step.fence, seen.given);
                return Err(self.broken(number, what));
            }
            let live = seen.live.filter(|fence| step.state == StepState::InProgress && step.fence == *fence);
            if let Some(fence) = seen.live
                && live.is_none()
                && !ended.contains(&(number, no, fence))
                && !operated.contains(&number)
                && step.state != StepState::Cancelled
            {
                let what = format!("a claim ends for a reason: step {no} fence {fence} is {}", step.state.as_str());
                return Err(self.broken(number, what));
            }
            let seen = StepSeen {
                state: Some(step.state),
                fence: step.fence,
                result: row.result.clone(),
                wake_at: step.wake_at,
                worker: step.worker,
                given: seen.given,
                live,
            };
            self.tasks[number].steps.insert(no, seen);
        }
        let task = &mut self.tasks[number];
        let gone: Vec<u16> = task
            .steps
            .iter()
            .filter(|(no, s)| s.state.is_some() && rows.step(**no).is_none())
            .map(|(no, _)| *no)
            .collect();
        if let Some(no) = gone.first().filter(|_| !is_reworked) {
            return Err(self.broken(number, format!("a step does not vanish: step {no}")));
        }
        for no in gone {
            // Its number may come again; its fences must not.
            let given = task.steps[&no].given;
            task.steps.insert(no, StepSeen { given, ..StepSeen::default() });
        }
        if record.task.state == TaskState::Error && operated.contains(&number) {
            task.operated = true;
        }
        task.state = Some(record.task.state);
        task.paused = record.task.paused;
        task.wake_at = record.task.wake_at;
        Ok(())
    }

    fn rows(&self, number: usize) -> Held<(TaskRecord, Vec<StepRecord>)> {
        let seen = &self.tasks[number];
        let record = self.store.task(seen.uuid).map_err(|e| self.broken(number, format!("the store answers: {e}")))?;
        let Some(record) = record.filter(|r| r.id == seen.id) else {
            return Err(self.broken(number, "a task whose creation was acknowledged exists"));
        };
        let steps = self.store.steps(seen.id).map_err(|e| self.broken(number, format!("the store answers: {e}")))?;
        Ok((record, steps))
    }

    /// What must hold of a task once it rests and nothing is on its way. `well`: every handler succeeded.
    pub(crate) fn at_rest(&self, number: usize, well: bool) -> Held {
        let seen = &self.tasks[number];
        let (record, steps) = self.rows(number)?;
        let rows = Rows { task: &record.task, workflow: &seen.workflow, steps: &steps, max_crashes: self.max_crashes };
        let attempts =
            self.store.attempts(seen.id).map_err(|e| self.broken(number, format!("the store answers: {e}")))?;
        self.history(number, &steps, &attempts)?;
        if !seen.operated {
            foretold(&rows, (!well).then_some(seen.script), &attempts, &seen.losses)
                .map_err(|what| self.broken(number, what))?;
        }
        let filter = DeadLetterFilter { task_uuid: Some(seen.uuid.to_string()), ..DeadLetterFilter::default() };
        let letters = self.store.dead_letters(&filter).map_err(|e| self.broken(number, e.to_string()))?.len();
        if record.task.state == TaskState::BlockedByFailures && letters != 1 {
            return Err(self.broken(number, format!("a blocked task has one open dead letter: it has {letters}")));
        }
        self.events(number)
    }

    /// Every claim ended once, and exactly the accepted successes are recorded as such.
    fn history(&self, number: usize, steps: &[StepRecord], attempts: &[AttemptRecord]) -> Held {
        let seen = &self.tasks[number];
        let mut ends: BTreeMap<(u16, u32), u32> = BTreeMap::new();
        for attempt in attempts.iter().filter(|a| a.end != AttemptEnd::Rejected) {
            *ends.entry((attempt.no, attempt.fence)).or_default() += 1;
        }
        if let Some(claim) = seen.claims.iter().find(|c| ends.get(c) != Some(&1)) {
            let what =
                format!("every claim ends once: step {} fence {} ended {:?} times", claim.0, claim.1, ends.get(claim));
            return Err(self.broken(number, what));
        }
        if let Some(claim) = ends.keys().find(|c| !seen.claims.contains(c)) {
            return Err(
                self.broken(number, format!("only what was given out ends: step {} fence {}", claim.0, claim.1))
            );
        }
        for step in steps.iter().map(|s| &s.step).filter(|s| s.state == StepState::Complete) {
            let results = attempts
                .iter()
                .filter(|a| a.no == step.no && a.fence == step.fence && a.end == AttemptEnd::Completed)
                .count();
            if results != 1 && !seen.operated {
                let what = format!("a complete step has one accepted result: step {} has {results}", step.no);
                return Err(self.broken(number, what));
            }
        }
        Ok(())
    }

    /// Each durable event was published once, for exactly the attempts that were its occasion.
    fn events(&self, number: usize) -> Held {
        let seen = &self.tasks[number];
        let template = &seen.workflow.template;
        if seen.operated || template.steps.iter().all(|s| s.publishes_events.is_empty()) {
            return Ok(());
        }
        let filter = EventFilter { task_uuid: Some(seen.uuid.to_string()), ..EventFilter::default() };
        let events = self.store.events(&filter).map_err(|e| self.broken(number, e.to_string()))?;
        for (no, step) in template.steps.iter().enumerate() {
            let done = seen.successes.iter().filter(|(n, _)| usize::from(*n) == no).count();
            for declared in step.publishes_events.iter().filter(|e| e.condition == Default::default()) {
                let name = format!("\"{}\"", declared.name);
                let published = events.iter().filter(|e| e.message.contains(&name)).count();
                if published != done {
                    let what = format!("an event is published once an occasion: {name} {published} times for {done}");
                    return Err(self.broken(number, what));
                }
            }
        }
        Ok(())
    }
}

fn found_its_end(state: StepState) -> bool {
    matches!(state, StepState::Complete | StepState::Error)
}

/// Whether a resting task that no operator touched came to the end its scripts lead to.
fn foretold(
    rows: &Rows,
    script: Option<u64>,
    attempts: &[AttemptRecord],
    losses: &BTreeSet<(u16, u32)>,
) -> Result<(), String> {
    let end = if rows.steps.iter().all(|r| {
        let isolated = rows.span(r.step.no).is_some_and(|s| rows.strategy(s) == FailureStrategy::Isolate);
        r.step.state.is_done() || isolated && r.step.state == StepState::Error
    }) {
        TaskState::Complete
    } else {
        TaskState::BlockedByFailures
    };
    if rows.task.state != end {
        return Err(format!("a task rests as its steps say: it is {}, not {}", rows.task.state.as_str(), end.as_str()));
    }
    for record in rows.steps {
        let step = &record.step;
        let template = &rows.workflow.template.steps[usize::from(step.template)];
        let is_expander = rows.workflow.graph.is_expander(step.template);
        let Plan { failures, permanent, nonsense, .. } =
            script.map_or(script::WELL, |script| script::plan(script, step.no));
        let tries = if template.retry.retryable { template.retry.max_attempts.max(1) } else { 1 };
        let (state, used) = if failures >= tries {
            (StepState::Error, tries)
        } else if permanent || nonsense && is_expander {
            (StepState::Error, failures + 1)
        } else {
            (StepState::Complete, failures + 1)
        };
        let is_poisoned = step.crashes >= rows.max_crashes && step.state == StepState::Error;
        let cancels = rows.span(step.no).is_some_and(|s| {
            rows.strategy(s) == FailureStrategy::FailFast
                && (s.first..s.first + s.count).any(|no| rows.step(no).is_some_and(|w| w.state == StepState::Error))
        });
        let open = rows.waits_for(step);
        let fits = match step.state {
            StepState::Pending => !open.is_empty(),
            StepState::Cancelled => cancels,
            _ if is_poisoned => true,
            found => found == state && step.attempts == used && open.is_empty(),
        };
        if !fits {
            return Err(format!(
                "a step ends as its script says: {} is {} after {} attempts, not {} after {used}; open: {open:?}",
                record.name.as_deref().unwrap_or(&template.name),
                step.state.as_str(),
                step.attempts,
                state.as_str()
            ));
        }
        let ended = |end: AttemptEnd| attempts.iter().filter(|a| a.no == step.no && a.end == end).count() as u32;
        let lost = losses.iter().filter(|(no, _)| *no == step.no).count() as u32;
        if step.crashes > lost || ended(AttemptEnd::LeaseExpired) != lost {
            return Err(format!(
                "a step's crashes are no more than the times its worker died or fell silent: {} of {lost}, {} in its history",
                step.crashes,
                ended(AttemptEnd::LeaseExpired)
            ));
        }
        // Every other run is one that the script, or a hand-back, allows.
        let runs = attempts.iter().filter(|a| a.no == step.no && a.end != AttemptEnd::Rejected).count() as u32;
        let allowed = used + lost + ended(AttemptEnd::Checkpointed) + ended(AttemptEnd::Released);
        if found_its_end(step.state) && !is_poisoned && runs != allowed {
            return Err(format!(
                "a handler runs as often as its script and its workers' deaths make it: {runs} times, not {allowed}"
            ));
        }
    }
    Ok(())
}
