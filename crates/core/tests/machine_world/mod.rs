//! One task in memory: every row of it, and the machine applied to exactly the rows it asks for.

#![allow(dead_code)] // each test file uses its part

pub(crate) mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tasker_core::graph::Workflow;
use tasker_core::load;
use tasker_core::machine::{self, Action, Changes, Event, Moment, Needs, Neighbourhood, Outcome, Reply};
use tasker_core::state::{Step, StepState, Task, TaskState};

pub(crate) const WORKER: i64 = 7;

pub(crate) fn compile(yaml: &str) -> Arc<Workflow> {
    let loaded = load::load(yaml, "test.yaml", &load::Options::default()).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    Arc::new(Workflow::new(loaded.template))
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) yaml: String,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) task: Task,
    pub(crate) steps: BTreeMap<u16, Step>,
    pub(crate) results: BTreeMap<u16, String>,
    pub(crate) inputs: BTreeMap<u16, Value>,
    pub(crate) now: i64,
    pub(crate) jitter_permille: i32,
    pub(crate) max_crashes: u32,
    /// Every attempt ever handed out.
    pub(crate) attempts: Vec<(u16, u32)>,
    pub(crate) log: Vec<String>,
}

impl World {
    pub(crate) fn new(yaml: &str) -> World {
        World::starting(yaml, None)
    }

    pub(crate) fn starting(yaml: &str, start_at: Option<i64>) -> World {
        let workflow = compile(yaml);
        let now = 1_000_000;
        let hood = machine::create_task(&workflow, now, start_at);
        let steps = hood.rows().iter().map(|r| (r.step.no, r.step)).collect();
        let task = hood.task.clone();
        let world = World {
            yaml: yaml.into(),
            task,
            steps,
            workflow,
            results: BTreeMap::new(),
            inputs: BTreeMap::new(),
            now,
            jitter_permille: 0,
            max_crashes: 3,
            attempts: Vec::new(),
            log: Vec::new(),
        };
        oracle::check(&world);
        world
    }

    /// Applies an event the way a store does: only the rows named by `needs`, and nothing unless accepted.
    pub(crate) fn apply(&mut self, event: Event) -> Changes {
        self.log.push(format!("{event:?}"));
        let workflow = self.workflow.clone();
        let number = match event {
            Event::Finish { no, .. } | Event::Wake { no } | Event::WorkerLost { no, .. } => Some(no),
            Event::TaskWake | Event::Operator(_) => None,
        };
        let step = number.and_then(|no| self.steps.get(&no)).copied();
        if number.is_some() && step.is_none() {
            return Changes { reply: Reply::Stale, ..Changes::default() };
        }
        let loaded: Vec<Step> = match machine::needs(&workflow, &self.task, step.as_ref(), &event) {
            Needs::All => self.steps.values().copied().collect(),
            Needs::Steps(numbers) => {
                step.into_iter().chain(numbers.iter().filter_map(|no| self.steps.get(no).copied())).collect()
            }
        };
        let mut hood = Neighbourhood::new(&workflow, self.task.clone(), loaded);
        let moment = Moment { now: self.now, jitter_permille: self.jitter_permille, max_crashes: self.max_crashes };
        let changes = machine::apply(&mut hood, event, moment);
        if changes.reply != Reply::Accepted {
            let changed: Vec<_> = hood.rows().iter().filter(|r| r.is_changed()).collect();
            assert!(changed.is_empty(), "refused, yet changed {changed:?}\n{}", self.story());
            assert_eq!(hood.task, self.task, "refused, yet the task changed\n{}", self.story());
            return changes;
        }
        let done_before: BTreeSet<u16> =
            self.steps.values().filter(|s| s.state == StepState::Complete).map(|s| s.no).collect();
        for no in changes.cleared.iter().chain(&changes.removed) {
            self.results.remove(no);
        }
        for no in &changes.removed {
            assert!(self.steps.remove(no).is_some(), "removed a step that did not exist\n{}", self.story());
            self.inputs.remove(no);
        }
        for row in hood.rows() {
            if row.before.is_none() {
                assert!(!self.steps.contains_key(&row.step.no), "step {} created twice\n{}", row.step.no, self.story());
            }
            self.steps.insert(row.step.no, row.step);
        }
        self.task = hood.task.clone();
        match event {
            Event::Finish { no, outcome: Outcome::Success { result }, .. } if changes.fault.is_none() => {
                self.results.insert(no, result.into());
            }
            Event::Operator(Action::CompleteStep { no, result }) => {
                self.results.insert(no, result.into());
            }
            _ => {}
        }
        self.inputs.extend(changes.inputs.iter().cloned());
        for no in done_before {
            let kept = self.steps.get(&no).is_none_or(|s| s.state == StepState::Complete);
            assert!(kept || changes.cleared.contains(&no), "step {no} was complete and lives again\n{}", self.story());
        }
        oracle::check(self);
        changes
    }

    /// The template and what happened, for messages.
    pub(crate) fn story(&self) -> String {
        let rows: Vec<String> = self
            .steps
            .values()
            .map(|s| format!("{:>3} {:<10} {:<18} remaining {}", s.no, self.name(s.no), s.state.as_str(), s.remaining))
            .collect();
        format!(
            "task {} {:?} batches {:?}\n{}\n{}\n{}",
            self.task.state.as_str(),
            self.task.counts,
            self.task.batches,
            rows.join("\n"),
            self.log.join("\n"),
            self.yaml
        )
    }

    /// The name users see: of a batch worker its own.
    pub(crate) fn name(&self, no: u16) -> String {
        let template = |t: u16| self.workflow.template.steps[usize::from(t)].name.as_str();
        match self.task.batches.iter().find(|b| b.contains(no)) {
            Some(span) => span.worker_name(template(span.worker), no),
            None => template(no).to_string(),
        }
    }

    #[track_caller]
    pub(crate) fn no(&self, name: &str) -> u16 {
        let found = self.steps.keys().copied().find(|no| self.name(*no) == name);
        found.unwrap_or_else(|| panic!("no step `{name}`\n{}", self.story()))
    }

    #[track_caller]
    pub(crate) fn step(&self, name: &str) -> Step {
        self.steps[&self.no(name)]
    }

    #[track_caller]
    pub(crate) fn state(&self, name: &str) -> StepState {
        self.step(name).state
    }

    /// Names of all steps that exist, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.steps.keys().map(|no| self.name(*no)).collect();
        names.sort();
        names
    }

    /// Names of the steps in one state, by number.
    pub(crate) fn in_state(&self, state: StepState) -> Vec<String> {
        self.steps.values().filter(|s| s.state == state).map(|s| self.name(s.no)).collect()
    }

    pub(crate) fn claim_no(&mut self, no: u16) -> u32 {
        let (now, step) = (self.now, self.steps.get_mut(&no).unwrap());
        assert_eq!(step.state, StepState::Enqueued);
        machine::claim(step, WORKER, now);
        let fence = step.fence;
        self.log.push(format!("Claim {{ no: {no}, fence: {fence} }}"));
        assert!(!self.attempts.contains(&(no, fence)), "fence {fence} handed out twice\n{}", self.story());
        self.attempts.push((no, fence));
        oracle::check(self);
        fence
    }

    #[track_caller]
    pub(crate) fn claim(&mut self, name: &str) -> u32 {
        let no = self.no(name);
        assert_eq!(self.steps[&no].state, StepState::Enqueued, "`{name}` cannot be claimed\n{}", self.story());
        self.claim_no(no)
    }

    /// Ends the current attempt of a running step.
    #[track_caller]
    pub(crate) fn finish(&mut self, name: &str, outcome: Outcome) -> Changes {
        let step = self.step(name);
        let changes = self.apply(Event::Finish { no: step.no, fence: step.fence, outcome });
        assert_eq!(changes.reply, Reply::Accepted, "`{name}`\n{}", self.story());
        changes
    }

    #[track_caller]
    pub(crate) fn succeed(&mut self, name: &str) -> Changes {
        self.succeed_with(name, json!({}))
    }

    #[track_caller]
    pub(crate) fn succeed_with(&mut self, name: &str, result: Value) -> Changes {
        if self.state(name) == StepState::Enqueued {
            self.claim(name);
        }
        self.finish(name, Outcome::Success { result: &result.to_string() })
    }

    #[track_caller]
    pub(crate) fn fail(&mut self, name: &str, retryable: bool) -> Changes {
        if self.state(name) == StepState::Enqueued {
            self.claim(name);
        }
        self.finish(name, Outcome::Failure { retryable, retry_after_ms: None, timed_out: false })
    }

    /// The worker of a running step dies.
    #[track_caller]
    pub(crate) fn crash(&mut self, name: &str) -> Changes {
        if self.state(name) == StepState::Enqueued {
            self.claim(name);
        }
        let step = self.step(name);
        self.apply(Event::WorkerLost { no: step.no, fence: step.fence, alone: true })
    }

    #[track_caller]
    pub(crate) fn decide(&mut self, name: &str, steps: &[&str]) -> Changes {
        self.succeed_with(name, decision(steps))
    }

    /// An operator's action that must be taken.
    #[track_caller]
    pub(crate) fn act(&mut self, action: Action) -> Changes {
        let changes = self.apply(Event::Operator(action));
        assert_eq!(changes.reply, Reply::Accepted, "{action:?}\n{}", self.story());
        changes
    }

    /// An operator's action that must be refused; the sentence.
    #[track_caller]
    pub(crate) fn refused(&mut self, action: Action) -> String {
        match self.apply(Event::Operator(action)).reply {
            Reply::Conflict(why) => why,
            other => panic!("{action:?} gave {other:?}\n{}", self.story()),
        }
    }

    /// Moves time to the next wake-up of any row and handles everything due. False if nothing waits for time.
    pub(crate) fn wake(&mut self) -> bool {
        let step_wakes = self.steps.values().filter_map(|s| s.wake_at);
        let Some(at) = step_wakes.chain(self.task.wake_at).min() else { return false };
        self.now = self.now.max(at);
        let due: Vec<u16> =
            self.steps.values().filter(|s| s.wake_at.is_some_and(|at| at <= self.now)).map(|s| s.no).collect();
        for no in due {
            self.apply(Event::Wake { no });
        }
        if self.task.wake_at.is_some_and(|at| at <= self.now) {
            self.apply(Event::TaskWake);
        }
        true
    }

    /// Succeeds with every step that can run, until none is left; decisions and batches by `result`.
    pub(crate) fn run(&mut self, result: &mut dyn FnMut(&World, u16) -> Value) {
        for _ in 0..10_000 {
            let next = self.steps.values().find(|s| matches!(s.state, StepState::Enqueued | StepState::InProgress));
            match next.copied() {
                Some(step) => {
                    if step.state == StepState::Enqueued {
                        self.claim_no(step.no);
                    }
                    let result = result(self, step.no).to_string();
                    let fence = self.steps[&step.no].fence;
                    self.apply(Event::Finish { no: step.no, fence, outcome: Outcome::Success { result: &result } });
                }
                None if self.task.state.is_final() => return,
                None if self.task.state == TaskState::WaitingForRetry || self.task.start_at.is_some() => {
                    assert!(self.wake(), "nothing to wait for\n{}", self.story());
                }
                None => return,
            }
        }
        panic!("no end in sight\n{}", self.story());
    }

    /// [`World::run`] for workflows without decisions and batches left to finish.
    pub(crate) fn run_plain(&mut self) {
        self.run(&mut |_, _| json!({}));
    }
}

/// A decision's result that creates steps; none: `no_branches`.
pub(crate) fn decision(steps: &[&str]) -> Value {
    match steps {
        [] => json!({"decision_point_outcome": {"type": "no_branches"}}),
        names => json!({"decision_point_outcome": {"type": "create_steps", "step_names": names}}),
    }
}

/// A batchable step's result that creates `count` workers of `worker`, ten items each; 0: `no_batches`.
pub(crate) fn batches(worker: &str, count: u64) -> Value {
    if count == 0 {
        return json!({"batch_processing_outcome": {"type": "no_batches", "worker_template_name": worker}});
    }
    let cursor = |i: u64| json!({"batch_id": format!("{:03}", i + 1), "start_cursor": i * 10, "end_cursor": i * 10 + 10, "batch_size": 10});
    json!({"batch_processing_outcome": {
        "type": "create_batches", "worker_template_name": worker, "worker_count": count,
        "cursor_configs": (0..count).map(cursor).collect::<Vec<_>>(), "total_items": count * 10,
    }})
}
