//! The state machine: `(neighbourhood, event, now) -> changes`.
//!
//! Pure: it reads no clock, draws no random number and touches no store. A store loads the rows that
//! [`needs`] names into a [`Neighbourhood`], calls [`apply`], and writes every row that changed, in one commit.
//!
//! | state of the step | claim | finish | worker lost | retry due | release | checkpoint |
//! |---|---|---|---|---|---|---|
//! | `enqueued` | `in_progress` | rejected | – | – | rejected | rejected |
//! | `in_progress`, same fence | – | `complete`, `waiting_for_retry`, `enqueued` or `error` | `enqueued` or `error` | – | `enqueued` | `enqueued` |
//! | `in_progress`, other fence | – | rejected | – | – | rejected | rejected |
//! | `waiting_for_retry` | – | rejected | – | `enqueued` | rejected | rejected |
//! | `pending` and final states | – | rejected | – | – | rejected | rejected |
//!
//! After every event a task that may run has no pending step without unfinished parents: whatever became ready
//! entered its queue in the same change.

use serde_json::Value;

use crate::event::Occasion;
use crate::graph::{Index, Workflow};
use crate::id::STEP_NUMBERS;
use crate::outcome::{self, Expansion};
use crate::retry;
use crate::state::{AttemptEnd, BatchSpan, Counts, DeadLetterReason, Step, StepState, Task, TaskState};
use crate::template::{FailureStrategy, StalenessAction, StepKind};

/// Facts of the moment that the machine must not find out itself.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Unix milliseconds; never goes back.
    pub now: i64,
    /// Thousandths by which a retry delay is moved, −100…100; 0 in tests.
    pub jitter_permille: i32,
    /// Worker deaths after which a step is given up.
    pub max_crashes: u32,
}

/// Something that happened to a step or a task.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A worker reports on the attempt it holds.
    Finish {
        /// Step number.
        no: u16,
        /// Fencing token of the claim.
        fence: u32,
        /// What it reports.
        outcome: Outcome<'a>,
    },
    /// The step's `wake_at` has passed: its retry is due.
    Wake {
        /// Step number.
        no: u16,
    },
    /// The worker that holds the step died or fell silent.
    WorkerLost {
        /// Step number.
        no: u16,
        /// Fencing token of the claim.
        fence: u32,
        /// It held no other step.
        alone: bool,
    },
    /// The task's `wake_at` has passed: it may start, or it outlived a lifecycle limit.
    TaskWake,
    /// An operator acts.
    Operator(Action<'a>),
}

/// What a worker reports on an attempt.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The handler returned this JSON.
    Success {
        /// Valid JSON text.
        result: &'a str,
    },
    /// The handler failed, or ran out of its budget.
    Failure {
        /// Whether another attempt may help.
        retryable: bool,
        /// Delay asked for by the handler, milliseconds.
        retry_after_ms: Option<i64>,
        /// It exceeded `timeout_seconds`.
        timed_out: bool,
    },
    /// The handler stored a checkpoint and wants to be called again.
    Checkpoint,
    /// The worker hands the step back unfinished; visible again after `delay_ms`.
    Release {
        /// Milliseconds until another worker may take it; 0 for at once.
        delay_ms: i64,
    },
}

/// Operator actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// End the task in `cancelled`.
    Cancel,
    /// Let nothing new start.
    Pause,
    /// Undo a pause.
    Resume,
    /// Run every failed step again with fresh attempts.
    RetryFailed,
    /// Run a step and everything after it again with fresh attempts.
    Reset {
        /// Step number.
        no: u16,
    },
    /// Treat a step as done, without a result.
    ResolveStep {
        /// Step number.
        no: u16,
    },
    /// Complete a step with a result given by the operator.
    CompleteStep {
        /// Step number.
        no: u16,
        /// Valid JSON text.
        result: &'a str,
    },
    /// End a blocked task in `error`.
    GiveUp,
    /// End a resting task in `resolved_manually`.
    ResolveTask,
}

impl Action<'_> {
    /// The name kept in audit rows and used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Cancel => "cancel",
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::RetryFailed => "retry_failed",
            Action::Reset { .. } => "reset_for_retry",
            Action::ResolveStep { .. } => "resolve_manually",
            Action::CompleteStep { .. } => "complete_manually",
            Action::GiveUp => "give_up",
            Action::ResolveTask => "resolve_task",
        }
    }
}

/// Which rows an event touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// The step itself and these others (those that exist).
    Steps(Vec<u16>),
    /// Every step of the task.
    All,
}

/// Rows an event touches. `step` is the row of the event's step; `None` for events of the whole task.
pub fn needs(workflow: &Workflow, task: &Task, step: Option<&Step>, event: &Event) -> Needs {
    let (Event::Finish { outcome: Outcome::Success { .. } | Outcome::Failure { .. }, .. }, Some(step)) = (event, step)
    else {
        return match event {
            Event::Finish { .. } => Needs::Steps(Vec::new()),
            // A poisoned step may end its batch, so a dying worker's step is treated like a failing one.
            Event::WorkerLost { .. } => match step {
                Some(step) if step.state == StepState::InProgress => failing(workflow, task, step),
                _ => Needs::Steps(Vec::new()),
            },
            Event::Wake { .. } => Needs::Steps(Vec::new()),
            Event::TaskWake | Event::Operator(_) => Needs::All,
        };
    };
    if workflow.graph.is_expander(step.template) {
        return Needs::All;
    }
    match event {
        Event::Finish { outcome: Outcome::Failure { .. }, .. } => failing(workflow, task, step),
        _ => beside(workflow, task, step),
    }
}

fn failing(workflow: &Workflow, task: &Task, step: &Step) -> Needs {
    match span_of(task, step.no) {
        None => Needs::Steps(Vec::new()),
        Some(span) if strategy(workflow, span) == FailureStrategy::FailFast => Needs::All,
        Some(_) => beside(workflow, task, step),
    }
}

/// Whether workers of a batch wait for the step besides their batchable step.
fn feeds_workers(workflow: &Workflow, step: Index) -> bool {
    let graph = &workflow.graph;
    !graph.is_expander(step)
        && graph.children[usize::from(step)].iter().any(|c| graph.kinds[usize::from(*c)] == StepKind::BatchWorker)
}

fn parallelism(workflow: &Workflow, analyzer: Index, count: u16) -> u16 {
    let cap = workflow.template.steps[usize::from(analyzer)].batch.as_ref().and_then(|b| b.parallelism);
    cap.map_or(count, |p| p.max(1).min(u32::from(count)) as u16)
}

/// Children of a step, and the batch worker that may take its place.
fn beside(workflow: &Workflow, task: &Task, step: &Step) -> Needs {
    let mut numbers = workflow.graph.children[usize::from(step.template)].clone();
    let span = span_of(task, step.no);
    if feeds_workers(workflow, step.template) || span.is_some_and(|s| s.released == 0) {
        return Needs::All;
    }
    if let Some(span) = span.filter(|s| s.released < s.count) {
        numbers.push(span.first + span.released);
    }
    Needs::Steps(numbers)
}

fn span_of(task: &Task, no: u16) -> Option<&BatchSpan> {
    task.batches.iter().find(|s| s.contains(no))
}

fn strategy(workflow: &Workflow, span: &BatchSpan) -> FailureStrategy {
    workflow.template.steps[usize::from(span.analyzer)].batch.as_ref().map(|b| b.failure_strategy).unwrap_or_default()
}

/// The rows of one task that an event touches, changed in place.
#[derive(Debug)]
pub struct Neighbourhood<'w> {
    /// The workflow the task runs.
    pub workflow: &'w Workflow,
    /// The task's control row.
    pub task: Task,
    rows: Vec<Row>,
}

/// A step row with what it was before the event.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The row now.
    pub step: Step,
    /// The row as loaded; `None` for a row the event creates.
    pub before: Option<Step>,
}

impl Row {
    /// Whether it must be written.
    pub fn is_changed(&self) -> bool {
        self.before.as_ref() != Some(&self.step)
    }
}

/// What the store must write besides the changed rows.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// The reply to the event's sender.
    pub reply: Reply,
    /// How the event's attempt ended, if it ended one.
    pub attempt_end: Option<AttemptEnd>,
    /// Replaces the reported failure: the machine found a fault of its own.
    pub fault: Option<Fault>,
    /// `inputs` of created batch workers, by step number.
    pub inputs: Vec<(u16, Value)>,
    /// Attempts cut short by this event: step number, fence, worker. Their workers are told.
    pub cut_short: Vec<(u16, u32, i64)>,
    /// Steps whose stored result and checkpoint must be cleared.
    pub cleared: Vec<u16>,
    /// Steps that no longer exist.
    pub removed: Vec<u16>,
    /// For which declared events of the step this is the occasion.
    pub occasion: Option<Occasion>,
    /// Opens a dead letter.
    pub dead_letter: Option<DeadLetterReason>,
}

/// A failure found by the core rather than reported by a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Standard snake_case error type.
    pub error_type: &'static str,
    /// What happened and what to do next.
    pub message: String,
}

/// The reply to an event's sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reply {
    /// It took effect.
    #[default]
    Accepted,
    /// The attempt is not the current one; nothing changed.
    Stale,
    /// Nothing was due; nothing changed.
    NotDue,
    /// The action does not fit the state; the sentence says why. Nothing changed.
    Conflict(String),
}

impl<'w> Neighbourhood<'w> {
    /// A neighbourhood of loaded rows, in any order.
    pub fn new(workflow: &'w Workflow, task: Task, mut steps: Vec<Step>) -> Neighbourhood<'w> {
        steps.sort_unstable_by_key(|s| s.no);
        steps.dedup_by_key(|s| s.no);
        let rows = steps.into_iter().map(|step| Row { step, before: Some(step) }).collect();
        Neighbourhood { workflow, task, rows }
    }

    /// All rows, by step number.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    fn find(&self, no: u16) -> Option<usize> {
        self.rows.binary_search_by_key(&no, |r| r.step.no).ok()
    }

    fn step(&self, no: u16) -> Option<&Step> {
        self.find(no).map(|i| &self.rows[i].step)
    }

    fn set(&mut self, at: usize, state: StepState) {
        let before = self.rows[at].step;
        let isolated = self.is_isolated(&before);
        tally(&mut self.task.counts, before.state, isolated, false);
        tally(&mut self.task.counts, state, isolated, true);
        let step = &mut self.rows[at].step;
        step.state = state;
        if state != StepState::WaitingForRetry {
            step.wake_at = None;
        }
    }

    fn is_isolated(&self, step: &Step) -> bool {
        self.batch_strategy(step.no) == Some(FailureStrategy::Isolate)
    }

    fn batch_strategy(&self, no: u16) -> Option<FailureStrategy> {
        span_of(&self.task, no).map(|span| strategy(self.workflow, span))
    }

    /// Whether its children may go on: done, or a batch worker whose failure is tolerated.
    fn is_settled(&self, step: &Step) -> bool {
        step.state.is_done()
            || (step.state == StepState::Error
                && matches!(
                    self.batch_strategy(step.no),
                    Some(FailureStrategy::ContinueOnFailure | FailureStrategy::Isolate)
                ))
    }

    fn enqueue_if_ready(&mut self, at: usize, now: i64) {
        let step = &self.rows[at].step;
        if step.state == StepState::Pending && step.remaining == 0 && self.task.is_runnable() {
            self.set(at, StepState::Enqueued);
            self.rows[at].step.enqueued_at = now;
        }
    }

    /// One parent fewer for each child, and the next batch worker let run.
    fn release_children(&mut self, step: Step, now: i64, settled: bool) {
        let workflow = self.workflow;
        if settled {
            for child in &workflow.graph.children[usize::from(step.template)] {
                if let Some(at) = self.find(*child)
                    && self.rows[at].step.state == StepState::Pending
                {
                    let row = &mut self.rows[at].step;
                    row.remaining = row.remaining.saturating_sub(1);
                    self.enqueue_if_ready(at, now);
                }
            }
        }
        if feeds_workers(workflow, step.template) {
            return self.recount(now);
        }
        let Some(batch) = self.task.batches.iter().position(|s| s.contains(step.no)) else { return };
        let span = &mut self.task.batches[batch];
        if span.released == 0 {
            self.fill(batch, now);
        } else if span.released < span.count {
            let next = span.first + span.released;
            span.released += 1;
            if let Some(at) = self.find(next) {
                let row = &mut self.rows[at].step;
                row.remaining = row.remaining.saturating_sub(1);
                self.enqueue_if_ready(at, now);
            }
        }
    }

    /// Counts the unfinished parents of a step anew. All rows must be loaded.
    fn count_remaining(&self, step: &Step) -> u32 {
        let graph = &self.workflow.graph;
        let t = usize::from(step.template);
        let mut remaining = 0;
        for parent in &graph.parents[t] {
            if graph.kinds[t] == StepKind::BatchWorker && graph.kinds[usize::from(*parent)] == StepKind::Batchable {
                continue;
            }
            if graph.kinds[usize::from(*parent)] == StepKind::BatchWorker {
                let spans = self.task.batches.iter().filter(|s| s.worker == *parent);
                remaining += spans
                    .flat_map(|s| s.first..s.first + s.count)
                    .filter(|no| self.step(*no).is_some_and(|w| !self.is_settled(w)))
                    .count() as u32;
                remaining += self.may_still_come(*parent);
            } else if let Some(above) = self.step(*parent) {
                remaining += u32::from(!above.state.is_done());
            } else {
                remaining += self.may_still_come(*parent);
            }
        }
        for expander in &graph.expanders_above[t] {
            remaining += u32::from(self.step(*expander).is_some_and(|e| !e.state.is_done()));
        }
        remaining
    }

    /// 1 while a decision or batchable step above an absent step may still create it.
    fn may_still_come(&self, template: Index) -> u32 {
        let graph = &self.workflow.graph;
        u32::from(
            graph
                .ancestors(template)
                .iter()
                .any(|a| graph.is_expander(*a) && self.step(*a).is_some_and(|e| !e.state.is_done())),
        )
    }

    /// Counts every pending step's parents anew and enqueues what is ready. All rows must be loaded.
    fn recount(&mut self, now: i64) {
        for batch in 0..self.task.batches.len() {
            self.fill(batch, now);
        }
        for at in 0..self.rows.len() {
            if self.rows[at].step.state == StepState::Pending && span_of(&self.task, self.rows[at].step.no).is_none() {
                self.rows[at].step.remaining = self.count_remaining(&self.rows[at].step);
                self.enqueue_if_ready(at, now);
            }
        }
    }

    /// Lets pending workers of a batch run, lowest number first, as far as its parallelism allows. All rows must be loaded.
    fn fill(&mut self, batch: usize, now: i64) {
        let span = self.task.batches[batch];
        let Some(first) = self.find(span.first) else { return };
        let rows = first..first + usize::from(span.count);
        let open = self.count_remaining(&self.rows[first].step);
        let cap = parallelism(self.workflow, span.analyzer, span.count);
        let active = |r: &Row| !r.step.state.is_final() && r.step.state != StepState::Pending;
        let mut free = usize::from(cap).saturating_sub(self.rows[rows.clone()].iter().filter(|r| active(r)).count());
        let (mut released, mut ragged) = (span.count, false);
        for at in rows {
            let step = &mut self.rows[at].step;
            if step.state != StepState::Pending {
                ragged |= released < span.count;
            } else if free > 0 {
                free -= 1;
                step.remaining = open;
                self.enqueue_if_ready(at, now);
            } else {
                step.remaining = open + 1;
                released = released.min(step.no - span.first);
            }
        }
        self.task.batches[batch].released = if ragged { 0 } else { released };
    }

    fn create(&mut self, mut created: Vec<Step>) {
        self.task.counts.total += created.len() as u32;
        created.sort_unstable_by_key(|s| s.no);
        self.rows.extend(created.into_iter().map(|step| Row { step, before: None }));
        self.rows.sort_by_key(|r| r.step.no);
    }

    /// Steps below `from` that an expansion brings to life besides `named`, in topological order.
    ///
    /// A direct child of a decision exists only when named; a convergence exists as soon as one of its
    /// dependencies was created by a decision, or its batch has workers; anything else when all its dependencies exist.
    fn follow(&self, from: Index, named: &[Index]) -> Vec<Index> {
        let graph = &self.workflow.graph;
        let mut exists = vec![false; graph.len()];
        for row in &self.rows {
            exists[usize::from(row.step.template)] |= span_of(&self.task, row.step.no).is_none();
        }
        let mut below = vec![false; graph.len()];
        for step in graph.descendants(from) {
            below[usize::from(step)] = true;
        }
        let has_workers = |t: Index| self.task.batches.iter().any(|s| s.worker == t);
        let mut created = Vec::new();
        for step in &graph.topological {
            let s = usize::from(*step);
            if exists[s] || !below[s] || graph.kinds[s] == StepKind::BatchWorker {
                continue;
            }
            let parents = &graph.parents[s];
            let is = |p: &Index, kind| graph.kinds[usize::from(*p)] == kind;
            let present = |p: &Index| {
                if is(p, StepKind::BatchWorker) { has_workers(*p) } else { exists[usize::from(*p)] }
            };
            let follows = if graph.kinds[s] == StepKind::DeferredConvergence {
                parents.iter().any(|p| {
                    present(p)
                        && !is(p, StepKind::Decision)
                        && (graph.under_decision[usize::from(*p)] || is(p, StepKind::BatchWorker))
                })
            } else {
                !parents.iter().any(|p| is(p, StepKind::Decision)) && parents.iter().all(present)
            };
            if follows || named.contains(step) {
                exists[s] = true;
                created.push(*step);
            }
        }
        created
    }

    fn expand(&mut self, from: Index, expansion: Expansion, changes: &mut Changes) {
        let fence = self.task.fence_base;
        match expansion {
            Expansion::Decision(named) => {
                let created = self.follow(from, &named);
                self.create(created.into_iter().map(|t| Step::new(t, t, 0, fence)).collect());
            }
            Expansion::Batch { worker, inputs } => {
                let first = self
                    .task
                    .batches
                    .iter()
                    .map(|s| s.first + s.count)
                    .max()
                    .unwrap_or(self.workflow.graph.len() as u16);
                let count = inputs.len() as u16;
                self.task.batches.push(BatchSpan { analyzer: from, worker, first, count, released: 0 });
                self.create((0..count).map(|i| Step::new(first + i, worker, 0, fence)).collect());
                changes.inputs = inputs.into_iter().enumerate().map(|(i, v)| (first + i as u16, v)).collect();
                let created = self.follow(from, &[]);
                self.create(created.into_iter().map(|t| Step::new(t, t, 0, fence)).collect());
            }
        }
    }

    fn cut_short(&mut self, at: usize, changes: &mut Changes) {
        let step = self.rows[at].step;
        if step.state == StepState::InProgress {
            changes.cut_short.push((step.no, step.fence, step.worker));
        }
    }

    /// Brings the task's own state in line with its counts; every event ends here.
    fn settle(&mut self, now: i64) {
        if !self.task.state.is_final() {
            let counts = &self.task.counts;
            let state = if counts.done + counts.isolated == counts.total {
                TaskState::Complete
            } else if self.task.start_at.is_some() {
                TaskState::Pending
            } else if counts.active > 0 {
                TaskState::StepsInProcess
            } else if counts.waiting > 0 {
                TaskState::WaitingForRetry
            } else if counts.failed + counts.cancelled > 0 && !self.may_have_held_work() {
                TaskState::BlockedByFailures
            } else {
                TaskState::WaitingForDependencies
            };
            self.enter(state, now);
        }
        self.task.wake_at = next_wake(self.workflow, &self.task);
    }

    /// Whether a pause may hold back steps that could run. Not so of a task that was blocked when it was paused.
    fn may_have_held_work(&self) -> bool {
        self.task.paused && self.task.state != TaskState::BlockedByFailures
    }

    fn enter(&mut self, state: TaskState, now: i64) {
        if self.task.state != state {
            self.task.state = state;
            self.task.state_since = now;
        }
    }
}

fn tally(counts: &mut Counts, state: StepState, isolated: bool, add: bool) {
    let slot = match state {
        StepState::Pending => return,
        StepState::Enqueued | StepState::InProgress => &mut counts.active,
        StepState::WaitingForRetry => &mut counts.waiting,
        StepState::Complete | StepState::ResolvedManually => &mut counts.done,
        StepState::Error if isolated => &mut counts.isolated,
        StepState::Error => &mut counts.failed,
        StepState::Cancelled => &mut counts.cancelled,
    };
    *slot = if add { *slot + 1 } else { slot.saturating_sub(1) };
}

/// When the task starts, or the lifecycle limit that ends its current stay; the earlier of it and the whole life's. A
/// paused task starts only when it is resumed, and outlives no limit before that.
fn next_wake(workflow: &Workflow, task: &Task) -> Option<i64> {
    if task.state.is_final() || task.paused {
        return None;
    }
    if task.start_at.is_some() {
        return task.start_at;
    }
    let limits = &workflow.template.lifecycle;
    if limits.staleness_action == StalenessAction::None || task.state == TaskState::BlockedByFailures {
        return None;
    }
    let stay = match task.state {
        TaskState::WaitingForDependencies => limits.max_waiting_for_dependencies_ms,
        TaskState::WaitingForRetry => limits.max_waiting_for_retry_ms,
        TaskState::StepsInProcess => limits.max_steps_in_process_ms,
        _ => None,
    };
    let whole = limits.max_duration_ms.map(|ms| task.created_at.saturating_add(ms));
    let stay = stay.map(|ms| task.state_since.saturating_add(ms));
    match (whole, stay) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The rows of a new task. `start_at` in the future keeps every step pending until then.
pub fn create_task(workflow: &Workflow, now: i64, start_at: Option<i64>) -> Neighbourhood<'_> {
    let graph = &workflow.graph;
    let steps: Vec<Step> = (0..graph.len())
        .filter(|s| {
            graph.kinds[*s] != StepKind::BatchWorker
                && !graph.under_decision[*s]
                && !graph.parents[*s].iter().any(|p| graph.kinds[usize::from(*p)] == StepKind::BatchWorker)
        })
        .map(|s| Step::new(s as u16, s as Index, graph.parents[s].len() as u32, 0))
        .collect();
    let task = Task {
        state: TaskState::Pending,
        paused: false,
        counts: Counts::default(),
        batches: Vec::new(),
        fence_base: 0,
        start_at: start_at.filter(|at| *at > now),
        created_at: now,
        state_since: now,
        wake_at: None,
    };
    let mut new = Neighbourhood { workflow, task, rows: Vec::with_capacity(steps.len()) };
    new.create(steps);
    new.recount(now);
    new.settle(now);
    new
}

/// What a worker has at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Steps it holds.
    pub steps: usize,
    /// One of them is a suspect.
    pub suspect: bool,
}

impl Holding {
    /// The worker claims one more step.
    pub fn add(&mut self, step: &Step) {
        self.steps += 1;
        self.suspect |= step.suspect;
    }
}

/// How long a suspect is left to a worker that has nothing else, milliseconds.
pub const SUSPECT_WAITS_MS: i64 = 1_000;

/// Whether a worker may claim an enqueued step now.
///
/// Beside a suspect nothing starts. A suspect is left to an idle worker for a while; then whoever meets it first claims
/// it, starts nothing new, and runs it when everything else has ended.
pub fn may_claim(step: &Step, holding: Holding, now: i64) -> bool {
    !holding.suspect && (!step.suspect || holding.steps == 0 || step.enqueued_at <= now)
}

/// Gives an enqueued step to a worker, with the next fencing token.
pub fn claim(step: &mut Step, worker: i64, now: i64) {
    step.state = StepState::InProgress;
    step.fence += 1;
    step.started_at = now;
    step.worker = worker;
    step.wake_at = None;
}

/// Applies one event. On `Stale`, `NotDue` and `Conflict` no row has changed.
pub fn apply(hood: &mut Neighbourhood, event: Event, moment: Moment) -> Changes {
    let mut changes = Changes::default();
    let before = hood.task.state;
    match event {
        Event::Finish { no, fence, outcome } => finish(hood, no, fence, outcome, moment, &mut changes),
        Event::Wake { no } => wake(hood, no, moment, &mut changes),
        Event::WorkerLost { no, fence, alone } => match hood.find(no).filter(|at| holds(&hood.rows[*at].step, fence)) {
            Some(at) => crashed(hood, at, alone, moment, &mut changes),
            None => changes.reply = Reply::NotDue,
        },
        Event::TaskWake => task_wake(hood, moment.now, &mut changes),
        Event::Operator(action) => {
            if let Err(conflict) = operate(hood, action, moment.now, &mut changes) {
                changes.reply = Reply::Conflict(conflict);
            }
        }
    }
    if changes.reply == Reply::Accepted {
        hood.settle(moment.now);
        if before != TaskState::BlockedByFailures && hood.task.state == TaskState::BlockedByFailures {
            changes.dead_letter.get_or_insert(DeadLetterReason::PermanentFailure);
        } else if changes.dead_letter != Some(DeadLetterReason::StalenessTimeout) {
            changes.dead_letter = None;
        }
    }
    changes
}

fn holds(step: &Step, fence: u32) -> bool {
    step.state == StepState::InProgress && step.fence == fence
}

fn finish(hood: &mut Neighbourhood, no: u16, fence: u32, outcome: Outcome, moment: Moment, changes: &mut Changes) {
    let Some(at) = hood.find(no).filter(|at| holds(&hood.rows[*at].step, fence)) else {
        changes.reply = Reply::Stale;
        changes.attempt_end = Some(AttemptEnd::Rejected);
        return;
    };
    let now = moment.now;
    let has_ended = !matches!(outcome, Outcome::Release { .. });
    hood.rows[at].step.suspect &= !has_ended;
    match outcome {
        Outcome::Success { result } => match outcome::expansion(hood.workflow, hood.rows[at].step.template, result) {
            Ok(expansion) if fits(hood, expansion.as_ref()) => {
                hood.rows[at].step.attempts += 1;
                changes.attempt_end = Some(AttemptEnd::Completed);
                changes.occasion = Some(Occasion::Success);
                complete(hood, at, expansion, now, changes);
            }
            Ok(_) => {
                let message = format!("the task would have more than {STEP_NUMBERS} steps; make the batches larger");
                changes.fault = Some(Fault { error_type: "invalid_batch_outcome", message });
                fail(hood, at, false, None, false, moment, changes);
            }
            Err(invalid) => {
                changes.fault = Some(Fault { error_type: invalid.error_type, message: invalid.message });
                fail(hood, at, false, None, false, moment, changes);
            }
        },
        Outcome::Failure { retryable, retry_after_ms, timed_out } => {
            fail(hood, at, retryable, retry_after_ms, timed_out, moment, changes);
        }
        Outcome::Checkpoint => {
            changes.attempt_end = Some(AttemptEnd::Checkpointed);
            hood.rows[at].step.has_checkpoint = true;
            // It makes progress: what killed its workers before is behind it.
            hood.rows[at].step.crashes = 0;
            requeue(hood, at, now);
        }
        Outcome::Release { delay_ms } => {
            changes.attempt_end = Some(AttemptEnd::Released);
            if delay_ms > 0 {
                hood.set(at, StepState::WaitingForRetry);
                hood.rows[at].step.wake_at = Some(now.saturating_add(delay_ms));
            } else {
                let first_in_line = hood.rows[at].step.enqueued_at;
                requeue(hood, at, first_in_line);
            }
        }
    }
}

fn fits(hood: &Neighbourhood, expansion: Option<&Expansion>) -> bool {
    let Some(Expansion::Batch { inputs, .. }) = expansion else { return true };
    let used = hood
        .task
        .batches
        .iter()
        .map(|s| u32::from(s.first + s.count))
        .max()
        .unwrap_or(hood.workflow.graph.len() as u32);
    used + inputs.len() as u32 <= STEP_NUMBERS
}

/// Back to its queue, or to pending while the task may not run.
fn requeue(hood: &mut Neighbourhood, at: usize, enqueued_at: i64) {
    hood.rows[at].step.remaining = 0;
    hood.set(at, StepState::Pending);
    hood.enqueue_if_ready(at, enqueued_at);
}

fn complete(hood: &mut Neighbourhood, at: usize, expansion: Option<Expansion>, now: i64, changes: &mut Changes) {
    hood.set(at, StepState::Complete);
    let step = hood.rows[at].step;
    match expansion {
        Some(expansion) => {
            hood.expand(step.template, expansion, changes);
            hood.recount(now);
        }
        None => hood.release_children(step, now, true),
    }
}

fn fail(
    hood: &mut Neighbourhood,
    at: usize,
    retryable: bool,
    retry_after_ms: Option<i64>,
    timed_out: bool,
    moment: Moment,
    changes: &mut Changes,
) {
    changes.attempt_end = Some(if timed_out { AttemptEnd::TimedOut } else { AttemptEnd::Failed });
    let workflow = hood.workflow;
    let step = &mut hood.rows[at].step;
    let policy = &workflow.template.steps[usize::from(step.template)].retry;
    let occasion = Occasion::of_failure(policy, step.attempts, retryable);
    step.attempts += 1;
    changes.occasion = Some(occasion);
    if occasion == Occasion::RetryableFailure {
        let delay = match retry_after_ms {
            Some(asked) => asked.clamp(0, retry::RETRY_AFTER_MS_MAX),
            None => retry::with_jitter(retry::delay_ms(policy, step.attempts), moment.jitter_permille),
        };
        if delay == 0 {
            return requeue(hood, at, moment.now);
        }
        hood.set(at, StepState::WaitingForRetry);
        hood.rows[at].step.wake_at = Some(moment.now.saturating_add(delay));
    } else {
        let exhausted = retryable && policy.retryable;
        changes.dead_letter =
            Some(if exhausted { DeadLetterReason::MaxRetriesExceeded } else { DeadLetterReason::PermanentFailure });
        give_up_step(hood, at, moment.now, changes);
    }
}

/// The step is in error for good; what that means for its batch.
fn give_up_step(hood: &mut Neighbourhood, at: usize, now: i64, changes: &mut Changes) {
    hood.set(at, StepState::Error);
    let step = hood.rows[at].step;
    match hood.batch_strategy(step.no) {
        None => {}
        Some(FailureStrategy::ContinueOnFailure | FailureStrategy::Isolate) => hood.release_children(step, now, true),
        Some(FailureStrategy::FailFast) => {
            let Some(span) = span_of(&hood.task, step.no).copied() else { return };
            for other in span.first..span.first + span.count {
                if let Some(at) = hood.find(other)
                    && !hood.rows[at].step.state.is_final()
                {
                    hood.cut_short(at, changes);
                    hood.set(at, StepState::Cancelled);
                }
            }
        }
    }
}

fn wake(hood: &mut Neighbourhood, no: u16, moment: Moment, changes: &mut Changes) {
    let due = |step: &Step| step.wake_at.is_some_and(|at| at <= moment.now);
    let Some(at) = hood.find(no).filter(|at| due(&hood.rows[*at].step)) else {
        changes.reply = Reply::NotDue;
        return;
    };
    match hood.rows[at].step.state {
        // Programs of the release before gave running steps a deadline. There is none: who watches their worker decides.
        StepState::InProgress => hood.rows[at].step.wake_at = None,
        StepState::WaitingForRetry => requeue(hood, at, moment.now),
        _ => changes.reply = Reply::NotDue,
    }
}

/// The attempt's worker is gone. Counted apart from the handler's own failures, and only if no other step can have been
/// the cause.
fn crashed(hood: &mut Neighbourhood, at: usize, alone: bool, moment: Moment, changes: &mut Changes) {
    changes.attempt_end = Some(AttemptEnd::LeaseExpired);
    changes.cut_short.push((hood.rows[at].step.no, hood.rows[at].step.fence, hood.rows[at].step.worker));
    let step = &mut hood.rows[at].step;
    step.suspect |= !alone;
    step.crashes += u32::from(alone);
    if step.crashes < moment.max_crashes {
        let wait_ms = if step.suspect { SUSPECT_WAITS_MS } else { 0 };
        return requeue(hood, at, moment.now.saturating_add(wait_ms));
    }
    let message = format!(
        "the worker died {} times while it ran this step; find what kills it, then retry the step",
        step.crashes
    );
    changes.fault = Some(Fault { error_type: "poison_step", message });
    changes.occasion = Some(Occasion::PermanentFailure);
    changes.dead_letter = Some(DeadLetterReason::PoisonStep);
    give_up_step(hood, at, moment.now, changes);
}

fn task_wake(hood: &mut Neighbourhood, now: i64, changes: &mut Changes) {
    if hood.task.state.is_final() || hood.task.wake_at.is_none_or(|at| at > now) {
        changes.reply = Reply::NotDue;
    } else if hood.task.start_at.is_some() {
        hood.task.start_at = None;
        hood.recount(now);
    // Programs of the release before left paused tasks a time to wake; it goes.
    } else if !hood.task.paused {
        if hood.workflow.template.lifecycle.staleness_action == StalenessAction::Dlq {
            changes.dead_letter = Some(DeadLetterReason::StalenessTimeout);
        }
        end(hood, TaskState::Error, now, changes);
    }
}

/// Ends the task; every unfinished step is cancelled.
fn end(hood: &mut Neighbourhood, state: TaskState, now: i64, changes: &mut Changes) {
    for at in 0..hood.rows.len() {
        if !hood.rows[at].step.state.is_final() {
            hood.cut_short(at, changes);
            hood.set(at, StepState::Cancelled);
        }
    }
    hood.task.start_at = None;
    hood.enter(state, now);
}

fn operate(hood: &mut Neighbourhood, action: Action, now: i64, changes: &mut Changes) -> Result<(), String> {
    let state = hood.task.state;
    let at = |hood: &Neighbourhood, no: u16| hood.find(no).ok_or_else(|| format!("the task has no step number {no}"));
    match action {
        _ if state == TaskState::Cancelled => Err("the task was cancelled; create a new one".to_string()),
        Action::Cancel if state.is_final() => Err(format!("the task has already ended ({})", state.as_str())),
        Action::Cancel => {
            end(hood, TaskState::Cancelled, now, changes);
            Ok(())
        }
        Action::Pause if state.is_final() => Err(format!("the task has already ended ({})", state.as_str())),
        Action::Pause if hood.task.paused => Err("the task is already paused".into()),
        Action::Pause => {
            hood.task.paused = true;
            for at in 0..hood.rows.len() {
                if hood.rows[at].step.state == StepState::Enqueued {
                    hood.set(at, StepState::Pending);
                }
            }
            Ok(())
        }
        Action::Resume if !hood.task.paused => Err("the task is not paused".into()),
        Action::Resume => {
            hood.task.paused = false;
            // The limit of the stay starts anew: the operator held it, not what it waits for.
            hood.task.state_since = now;
            hood.recount(now);
            Ok(())
        }
        Action::RetryFailed => {
            let failed: Vec<u16> = hood
                .rows
                .iter()
                .filter(|r| matches!(r.step.state, StepState::Error | StepState::Cancelled))
                .map(|r| r.step.no)
                .collect();
            if failed.is_empty() {
                return Err("no step of the task has failed".into());
            }
            reset(hood, &failed, now, changes);
            Ok(())
        }
        Action::Reset { no } => {
            at(hood, no)?;
            reset(hood, &[no], now, changes);
            Ok(())
        }
        Action::ResolveStep { no } => {
            let at = at(hood, no)?;
            if hood.rows[at].step.state.is_done() {
                return Err("the step is already done".into());
            }
            reopen(hood, now);
            hood.cut_short(at, changes);
            hood.set(at, StepState::ResolvedManually);
            let template = hood.rows[at].step.template;
            if hood.workflow.graph.is_expander(template) {
                // As a decision without branches: what exists all the same may go on.
                hood.expand(template, Expansion::Decision(Vec::new()), changes);
            }
            hood.recount(now);
            Ok(())
        }
        Action::CompleteStep { no, result } => {
            let at = at(hood, no)?;
            if hood.rows[at].step.state.is_done() {
                return Err("the step is already done".into());
            }
            let expansion =
                outcome::expansion(hood.workflow, hood.rows[at].step.template, result).map_err(|i| i.message)?;
            if !fits(hood, expansion.as_ref()) {
                return Err(format!("the task would have more than {STEP_NUMBERS} steps"));
            }
            reopen(hood, now);
            hood.cut_short(at, changes);
            changes.occasion = Some(Occasion::Success);
            hood.set(at, StepState::Complete);
            if let Some(expansion) = expansion {
                hood.expand(hood.rows[at].step.template, expansion, changes);
            }
            hood.recount(now);
            Ok(())
        }
        Action::GiveUp if state == TaskState::BlockedByFailures => {
            end(hood, TaskState::Error, now, changes);
            Ok(())
        }
        Action::GiveUp => Err(format!("only a blocked task can be given up; this one is {}", state.as_str())),
        Action::ResolveTask if matches!(state, TaskState::BlockedByFailures | TaskState::Error) => {
            end(hood, TaskState::ResolvedManually, now, changes);
            Ok(())
        }
        Action::ResolveTask => {
            Err(format!("only a blocked or failed task can be resolved; this one is {}", state.as_str()))
        }
    }
}

/// An ended task lives again: steps cancelled by its end wait for their parents once more. One that was blocked when it
/// was paused may go on when it is resumed.
fn reopen(hood: &mut Neighbourhood, now: i64) {
    if hood.task.paused && hood.task.state == TaskState::BlockedByFailures {
        hood.enter(TaskState::WaitingForDependencies, now);
    }
    if hood.task.state.is_final() {
        for at in 0..hood.rows.len() {
            if hood.rows[at].step.state == StepState::Cancelled {
                hood.set(at, StepState::Pending);
            }
        }
        hood.enter(TaskState::WaitingForDependencies, now);
    }
}

/// Runs `chosen`, step numbers in order, and everything after them again. What a reset decision or batch created is
/// removed.
fn reset(hood: &mut Neighbourhood, chosen: &[u16], now: i64, changes: &mut Changes) {
    reopen(hood, now);
    let graph = &hood.workflow.graph;
    let mut again = vec![false; graph.len()];
    let mut below_expander = vec![false; graph.len()];
    for no in chosen {
        let Some(template) = hood.step(*no).map(|s| s.template) else { continue };
        for below in graph.descendants(template) {
            again[usize::from(below)] = true;
        }
        if span_of(&hood.task, *no).is_none() {
            again[usize::from(template)] = true;
        }
    }
    // A decision or batch that failed has created nothing that could be taken back.
    let has_expanded = |hood: &Neighbourhood, p: Index| {
        graph.is_expander(p) && hood.step(p).is_some_and(|e| e.state == StepState::Complete)
    };
    for step in &graph.topological {
        let s = usize::from(*step);
        below_expander[s] = graph.parents[s]
            .iter()
            .any(|p| below_expander[usize::from(*p)] || (again[usize::from(*p)] && has_expanded(hood, *p)));
    }
    for at in 0..hood.rows.len() {
        let step = hood.rows[at].step;
        let t = usize::from(step.template);
        let span = span_of(&hood.task, step.no).copied();
        if !again[t] && chosen.binary_search(&step.no).is_err() {
            continue;
        }
        hood.cut_short(at, changes);
        let taken_back = match span {
            Some(span) => again[usize::from(span.analyzer)],
            None => {
                below_expander[t]
                    && (graph.under_decision[t]
                        || graph.parents[t].iter().any(|p| graph.kinds[usize::from(*p)] == StepKind::BatchWorker))
            }
        };
        hood.set(at, StepState::Pending);
        // So that a step which an expansion creates from now on, even one that never was, starts with the gap below too.
        hood.task.fence_base = hood.task.fence_base.max(step.fence + 1);
        if taken_back {
            hood.task.counts.total -= 1;
            changes.removed.push(step.no);
            continue;
        }
        let row = &mut hood.rows[at].step;
        // A gap in the fences tells whoever claims it next that results it may have cached are void.
        row.fence += 1;
        row.attempts = 0;
        row.crashes = 0;
        row.has_checkpoint = false;
        row.suspect = false;
        changes.cleared.push(step.no);
    }
    // All at once: a batch has up to ten thousand rows, and the store's locks are held meanwhile.
    hood.rows.retain(|row| changes.removed.binary_search(&row.step.no).is_err());
    hood.task.batches.retain(|span| !again[usize::from(span.analyzer)]);
    hood.recount(now);
}
