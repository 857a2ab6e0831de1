//! What must hold of a task's rows at every moment (SPEC §3, §4), worked out from the template and all rows without the
//! machine's own arithmetic.

use std::collections::BTreeSet;

use serde_json::Value;
use tasker_core::graph::{Index, Workflow};
use tasker_core::state::{BatchSpan, Counts, Step, StepState, Task, TaskState};
use tasker_core::template::{FailureStrategy, StepKind};
use tasker_store::StepRecord;

/// One task's rows.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Control row of the task.
    pub task: &'a Task,
    /// Its workflow.
    pub workflow: &'a Workflow,
    /// All steps, by number.
    pub steps: &'a [StepRecord],
    /// Worker deaths after which a step is given up.
    pub max_crashes: u32,
}

impl<'a> Rows<'a> {
    pub(crate) fn record(&self, no: u16) -> Option<&'a StepRecord> {
        self.steps.binary_search_by_key(&no, |s| s.step.no).ok().map(|at| &self.steps[at])
    }

    pub(crate) fn step(&self, no: u16) -> Option<&'a Step> {
        self.record(no).map(|r| &r.step)
    }

    fn kind(&self, t: Index) -> StepKind {
        self.workflow.graph.kinds[usize::from(t)]
    }

    pub(crate) fn name(&self, t: Index) -> &'a str {
        &self.workflow.template.steps[usize::from(t)].name
    }

    pub(crate) fn span(&self, no: u16) -> Option<&'a BatchSpan> {
        self.task.batches.iter().find(|b| b.contains(no))
    }

    pub(crate) fn strategy(&self, span: &BatchSpan) -> FailureStrategy {
        let config = self.workflow.template.steps[usize::from(span.analyzer)].batch.as_ref();
        config.map(|b| b.failure_strategy).unwrap_or_default()
    }

    /// Done, or a batch worker whose failure its batch tolerates.
    pub(crate) fn is_settled(&self, step: &Step) -> bool {
        step.state.is_done()
            || step.state == StepState::Error
                && self.span(step.no).is_some_and(|s| self.strategy(s) != FailureStrategy::FailFast)
    }

    /// Decisions and batchable steps above that exist and may still create something.
    fn is_open_above(&self, t: Index) -> bool {
        let graph = &self.workflow.graph;
        let is_open = |a: &Index| graph.is_expander(*a) && self.step(*a).is_some_and(|s| !s.state.is_done());
        graph.ancestors(t).iter().any(is_open)
    }

    fn workers_of(&self, t: Index) -> impl Iterator<Item = u16> + '_ {
        self.task.batches.iter().filter(move |b| b.worker == t).flat_map(|b| b.first..b.first + b.count)
    }

    /// Dependencies of a step that are not done.
    pub(crate) fn waits_for(&self, step: &Step) -> Vec<&'a str> {
        let graph = &self.workflow.graph;
        let t = step.template;
        let is_worker = self.span(step.no).is_some();
        let mut open = Vec::new();
        for parent in &graph.parents[usize::from(t)] {
            let is_open = match self.kind(*parent) {
                // Its batch was made by one of them.
                StepKind::Batchable if is_worker => false,
                StepKind::BatchWorker => {
                    self.workers_of(*parent).any(|no| !self.step(no).is_some_and(|w| self.is_settled(w)))
                        || self.is_open_above(*parent)
                }
                _ => match self.step(*parent) {
                    Some(step) => !step.state.is_done(),
                    None => self.is_open_above(*parent),
                },
            };
            if is_open {
                open.push(self.name(*parent));
            }
        }
        if self.kind(t) == StepKind::DeferredConvergence && !is_worker && self.is_open_above(t) {
            open.push("a decision or batch above");
        }
        open
    }

    /// Template steps that must exist, given what the finished decisions and batches asked for.
    fn expected(&self) -> BTreeSet<u16> {
        let graph = &self.workflow.graph;
        let mut named: BTreeSet<u16> = BTreeSet::new();
        for record in self.steps.iter().filter(|r| r.step.no < graph.len() as u16) {
            if self.kind(record.step.template) == StepKind::Decision
                && let Some(result) = &record.result
                && let Ok(result) = serde_json::from_str::<Value>(result)
            {
                let names = result["decision_point_outcome"]["step_names"].as_array().into_iter().flatten();
                named.extend(names.filter_map(|n| graph.find(n.as_str()?)));
            }
        }
        let is_worker = |p: &Index| self.kind(*p) == StepKind::BatchWorker;
        let is_decision = |p: &Index| self.kind(*p) == StepKind::Decision;
        let mut exists: BTreeSet<u16> = BTreeSet::new();
        for t in graph.topological.iter().filter(|t| !is_worker(t)) {
            let above = &graph.parents[usize::from(*t)];
            let present =
                |p: &Index| if is_worker(p) { self.workers_of(*p).next().is_some() } else { exists.contains(p) };
            let at_creation = !graph.under_decision[usize::from(*t)] && !above.iter().any(is_worker);
            let follows = if self.kind(*t) == StepKind::DeferredConvergence {
                let creates = |p: &Index| is_worker(p) || graph.under_decision[usize::from(*p)];
                above.iter().any(|p| present(p) && !is_decision(p) && creates(p))
            } else {
                above.iter().all(present) && !above.iter().any(is_decision)
            };
            if at_creation || follows || named.contains(t) {
                exists.insert(*t);
            }
        }
        exists
    }

    fn counted(&self) -> Counts {
        let mut counts = Counts { total: self.steps.len() as u32, ..Counts::default() };
        for step in self.steps.iter().map(|r| &r.step) {
            let isolated = self.span(step.no).is_some_and(|s| self.strategy(s) == FailureStrategy::Isolate);
            let slot = match step.state {
                StepState::Pending => continue,
                StepState::Enqueued | StepState::InProgress => &mut counts.active,
                StepState::WaitingForRetry => &mut counts.waiting,
                StepState::Complete | StepState::ResolvedManually => &mut counts.done,
                StepState::Error if isolated => &mut counts.isolated,
                StepState::Error => &mut counts.failed,
                StepState::Cancelled => &mut counts.cancelled,
            };
            *slot += 1;
        }
        counts
    }
}

/// The sentence that says what does not hold.
pub fn check(rows: &Rows) -> Result<(), String> {
    let Rows { task, workflow, .. } = *rows;
    let counted = rows.counted();
    if task.counts != counted {
        return Err(format!("counts equal the rows: stored {:?}, counted {counted:?}", task.counts));
    }
    let plain = workflow.graph.len() as u16;
    let exists: BTreeSet<u16> = rows.steps.iter().map(|r| r.step.no).filter(|no| *no < plain).collect();
    let expected = rows.expected();
    // What a reset removed may be absent until the decisions above it have been taken again.
    let missing = expected.difference(&exists).find(|t| !rows.is_open_above(**t));
    if let Some(t) = exists.difference(&expected).next().or(missing) {
        return Err(format!("the right steps exist: not so of {}", rows.name(*t)));
    }
    for record in rows.steps {
        each_step(rows, record)?;
    }
    for span in &task.batches {
        each_batch(rows, span)?;
        if task.batches.iter().filter(|b| b.analyzer == span.analyzer).count() > 1 {
            return Err(format!("one batch at a time: {} has several", rows.name(span.analyzer)));
        }
    }
    each_task(task)
}

fn each_step(rows: &Rows, record: &StepRecord) -> Result<(), String> {
    let step = &record.step;
    let (name, state) = (record.name.as_deref().unwrap_or(rows.name(step.template)), step.state.as_str());
    let policy = &rows.workflow.template.steps[usize::from(step.template)].retry;
    if step.attempts > policy.max_attempts {
        return Err(format!("attempts ≤ max_attempts: {name} has {} of {}", step.attempts, policy.max_attempts));
    }
    if step.crashes > rows.max_crashes {
        return Err(format!("crashes ≤ max_crashes: {name} has {} of {}", step.crashes, rows.max_crashes));
    }
    let wakes = step.state == StepState::WaitingForRetry;
    if wakes != step.wake_at.is_some() {
        return Err(format!(
            "what waits, and nothing else, has a time to wake: {name} is {state}, wakes at {:?}",
            step.wake_at
        ));
    }
    let is_active = matches!(step.state, StepState::Enqueued | StepState::InProgress | StepState::WaitingForRetry);
    if is_active && rows.task.state.is_final() {
        return Err(format!("nothing is under way in an ended task: {name} is {state}"));
    }
    if step.state == StepState::Enqueued && !rows.task.is_runnable() {
        return Err(format!("nothing is queued of a task that may not run: {name}"));
    }
    if (step.state == StepState::Complete) != record.result.is_some() {
        return Err(format!("a step has a result exactly when it is complete: {name} is {state}"));
    }
    if is_active || step.state == StepState::Pending && rows.task.is_runnable() {
        let open = rows.waits_for(step);
        if is_active && !open.is_empty() {
            return Err(format!("no step runs before its parents are done: {name} is {state}, open are {open:?}"));
        }
        if !is_active && open.is_empty() && rows.span(step.no).is_none() {
            return Err(format!("a ready step is queued: {name} is left pending"));
        }
    }
    Ok(())
}

fn each_batch(rows: &Rows, span: &BatchSpan) -> Result<(), String> {
    let name = rows.name(span.worker);
    let config = rows.workflow.template.steps[usize::from(span.analyzer)].batch.as_ref();
    let cap = config.and_then(|b| b.parallelism).map_or(usize::from(span.count), |p| p.max(1) as usize);
    let workers: Vec<&Step> = (span.first..span.first + span.count).filter_map(|no| rows.step(no)).collect();
    if workers.len() != usize::from(span.count) {
        return Err(format!("every worker of a batch exists: {} of {} of {name}", workers.len(), span.count));
    }
    let count = |states: &[StepState]| workers.iter().filter(|w| states.contains(&w.state)).count();
    let running = count(&[StepState::Enqueued, StepState::InProgress]);
    if running > cap {
        return Err(format!("parallelism is kept: {running} of {name} run, the cap is {cap}"));
    }
    let held = running + count(&[StepState::WaitingForRetry]);
    let pending = workers.iter().find(|w| w.state == StepState::Pending);
    if rows.task.is_runnable() && held < cap && pending.is_some_and(|w| rows.waits_for(w).is_empty()) {
        return Err(format!("a batch runs as wide as it may: {held} of {name} run, the cap is {cap}"));
    }
    Ok(())
}

fn each_task(task: &Task) -> Result<(), String> {
    let Counts { total, done, failed, isolated, cancelled, active, waiting } = task.counts;
    let state = task.state.as_str();
    if (task.state == TaskState::Complete) != (done + isolated == total) && !task.state.is_final() {
        return Err(format!("a task is complete when its steps are: it is {state}, {:?}", task.counts));
    }
    if task.state == TaskState::Complete && done + isolated != total {
        return Err("a task is complete when its steps are: steps are left".into());
    }
    if task.state.is_final() {
        return Ok(());
    }
    if task.state == TaskState::BlockedByFailures && (active + waiting > 0 || failed + cancelled == 0) {
        return Err("a blocked task is blocked by failures".into());
    }
    let rests = task.paused || task.start_at.is_some() || task.state == TaskState::BlockedByFailures;
    if !rests && active + waiting == 0 {
        return Err(format!("every live task has something to wait for: it is {state}"));
    }
    if task.paused && task.wake_at.is_some() {
        return Err(format!("a paused task waits for nothing but its resume: it wakes at {:?}", task.wake_at));
    }
    if !task.paused && task.start_at.is_some() && task.wake_at != task.start_at {
        return Err("a delayed task has a time to wake".into());
    }
    Ok(())
}
