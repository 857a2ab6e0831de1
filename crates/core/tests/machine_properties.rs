//! Random workflows under random events: after each of them every invariant of the oracle holds, and once every
//! handler succeeds the task completes.
#![allow(missing_docs, clippy::unwrap_used)]

mod machine_world;

use machine_world::{World, batches, decision, oracle};
use proptest::prelude::*;
use serde_json::{Value, json};
use tasker_core::machine::{Action, Event, Outcome, Reply};
use tasker_core::state::{AttemptEnd, StepState, TaskState};
use tasker_core::template::StepKind;

/// Choices made ahead, so that a failing case shrinks: zeros, and nothing at the end, are the simplest ones.
struct Tape {
    values: Vec<u16>,
    at: usize,
}

impl Tape {
    fn new(values: Vec<u16>) -> Tape {
        Tape { values, at: 0 }
    }

    fn below(&mut self, limit: usize) -> usize {
        let value = self.values.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(value) % limit.max(1)
    }

    /// True once in `limit`; never on an empty tape.
    fn rarely(&mut self, limit: usize) -> bool {
        self.below(limit) == limit - 1
    }
}

/// A valid template of up to twelve steps.
fn workflow(tape: &mut Tape) -> String {
    let count = 1 + tape.below(12);
    let mut steps: Vec<String> = Vec::new();
    let mut kinds: Vec<&str> = Vec::new();
    while steps.len() < count {
        let no = steps.len();
        let mut dependencies: Vec<usize> = Vec::new();
        if no > 0 {
            for _ in 0..tape.below(4) {
                dependencies.push(no - 1 - tape.below(no.min(5)));
            }
        }
        let analyzer = kinds.last().is_some_and(|k| *k == "batchable").then(|| no - 1);
        let kind = match analyzer {
            Some(analyzer) => {
                if !tape.rarely(6) {
                    dependencies.clear();
                }
                dependencies.push(analyzer);
                "batch_worker"
            }
            None => match tape.below(8) {
                0..=2 => "standard",
                3 | 4 if !dependencies.is_empty() => "decision",
                5 | 6 if !dependencies.is_empty() => "deferred_convergence",
                7 if no + 1 < count => "batchable",
                _ => "standard",
            },
        };
        dependencies.sort_unstable();
        dependencies.dedup();
        let batch = if kind == "batchable" {
            let strategy = ["continue_on_failure", "fail_fast", "isolate"][tape.below(3)];
            let parallelism = match tape.below(4) {
                0 => String::new(),
                p => format!("parallelism: {p}, "),
            };
            format!(", batch_config: {{{parallelism}failure_strategy: {strategy}, worker_template: s{}}}", no + 1)
        } else {
            String::new()
        };
        let retry = format!(
            "retryable: {}, max_attempts: {}, backoff: {}, backoff_base_ms: 100",
            !tape.rarely(8),
            1 + tape.below(3),
            ["none", "linear"][tape.below(2)]
        );
        let above: Vec<String> = dependencies.iter().map(|d| format!("s{d}")).collect();
        steps.push(format!(
            "  - {{name: s{no}, type: {kind}, handler: h, depends_on: [{}], retry: {{{retry}}}{batch}}}",
            above.join(", ")
        ));
        kinds.push(kind);
    }
    let lifecycle = if tape.rarely(6) { "lifecycle: {max_duration_minutes: 60}\n" } else { "" };
    format!("name: random\n{lifecycle}steps:\n{}\n", steps.join("\n"))
}

/// What a handler of the step returns when all goes well.
fn result(world: &World, no: u16, tape: &mut Tape) -> Value {
    let template = world.steps[&no].template;
    let name = |t: u16| world.workflow.template.steps[usize::from(t)].name.as_str();
    if oracle::is(world, template, StepKind::Decision) {
        let direct = &world.workflow.graph.children[usize::from(template)];
        let chosen: Vec<&str> = oracle::descendants(world, template)
            .into_iter()
            .filter(|t| !oracle::is(world, *t, StepKind::BatchWorker))
            .filter(|t| if direct.contains(t) { tape.below(3) > 0 } else { tape.rarely(10) })
            .map(name)
            .collect();
        decision(&chosen)
    } else if oracle::is(world, template, StepKind::Batchable) {
        let config = world.workflow.template.steps[usize::from(template)].batch.as_ref();
        batches(config.and_then(|b| b.worker_template.as_deref()).unwrap(), tape.below(6) as u64)
    } else {
        json!({"no": no})
    }
}

fn pick(world: &World, state: StepState, choice: u16) -> Option<u16> {
    let found: Vec<u16> = world.steps.values().filter(|s| s.state == state).map(|s| s.no).collect();
    (!found.is_empty()).then(|| found[usize::from(choice) % found.len()])
}

fn any_step(world: &World, choice: u16) -> u16 {
    *world.steps.keys().nth(usize::from(choice) % world.steps.len()).unwrap()
}

/// One thing that happens to the task. `kind` chooses what, `choice` to which step, `detail` how.
fn happen(world: &mut World, kind: u8, choice: u16, detail: u16, tape: &mut Tape) {
    let running = pick(world, StepState::InProgress, choice);
    let finish = |world: &mut World, no: u16, outcome: Outcome| {
        let fence = world.steps[&no].fence;
        world.apply(Event::Finish { no, fence, outcome })
    };
    match (kind % 48, running) {
        (0..=13, _) => {
            if let Some(no) = pick(world, StepState::Enqueued, choice) {
                world.claim_no(no);
            }
        }
        (14..=23, Some(no)) => {
            let result = if detail % 24 == 23 { json!({"nothing": "asked for"}) } else { result(world, no, tape) };
            let changes = finish(world, no, Outcome::Success { result: &result.to_string() });
            assert_eq!(changes.reply, Reply::Accepted);
            let expected = if changes.fault.is_some() { AttemptEnd::Failed } else { AttemptEnd::Completed };
            assert_eq!(changes.attempt_end, Some(expected));
        }
        (24..=27, Some(no)) => {
            let outcome = Outcome::Failure {
                retryable: !detail.is_multiple_of(4),
                retry_after_ms: (detail % 5 == 4).then(|| i64::from(detail)),
                timed_out: detail % 3 == 2,
            };
            assert_eq!(finish(world, no, outcome).reply, Reply::Accepted);
        }
        (28, Some(no)) => assert_eq!(finish(world, no, Outcome::Checkpoint).reply, Reply::Accepted),
        (29, Some(no)) => {
            let outcome = Outcome::Release { delay_ms: i64::from(detail % 2) * 50 };
            assert_eq!(finish(world, no, outcome).reply, Reply::Accepted);
        }
        (30 | 31, Some(no)) => {
            let fence = world.steps[&no].fence;
            assert_eq!(
                world.apply(Event::WorkerLost { no, fence, alone: detail.is_multiple_of(2) }).reply,
                Reply::Accepted
            );
        }
        (32..=34, _) => {
            world.wake();
        }
        (35 | 36, _) if !world.attempts.is_empty() => {
            // A report that comes twice, or too late.
            let (no, fence) = world.attempts[usize::from(choice) % world.attempts.len()];
            let current = world.steps.get(&no).filter(|s| s.fence == fence && s.state == StepState::InProgress);
            if current.is_none() {
                let late = world.apply(Event::Finish { no, fence, outcome: Outcome::Success { result: "{}" } });
                assert_eq!(late.reply, Reply::Stale);
                assert_ne!(world.apply(Event::WorkerLost { no, fence, alone: true }).reply, Reply::Accepted);
            }
        }
        (37, _) => {
            let action = if world.task.paused { Action::Resume } else { Action::Pause };
            world.apply(Event::Operator(action));
        }
        // The machine sees no results, so it cannot tell who named such a step; the store's tests cover it.
        (38..=40, _) if oracle::named_across_branches(world) => {}
        (38, _) => {
            world.apply(Event::Operator(Action::RetryFailed));
        }
        (39 | 40, _) => {
            let no = any_step(world, choice);
            world.apply(Event::Operator(Action::Reset { no }));
        }
        (41, _) => {
            let no = any_step(world, choice);
            world.apply(Event::Operator(Action::ResolveStep { no }));
        }
        (42, _) => {
            let no = any_step(world, choice);
            let result = result(world, no, tape).to_string();
            world.apply(Event::Operator(Action::CompleteStep { no, result: &result }));
        }
        (43, _) if detail % 8 == 7 => {
            world.apply(Event::Operator(Action::Cancel));
        }
        (44, _) => {
            world.apply(Event::Operator(Action::GiveUp));
        }
        (45, _) if detail % 4 == 3 => {
            world.apply(Event::Operator(Action::ResolveTask));
        }
        _ => {
            // Nothing is due before its time.
            let no = any_step(world, choice);
            if world.steps[&no].wake_at.is_none_or(|at| at > world.now) {
                assert_eq!(world.apply(Event::Wake { no }).reply, Reply::NotDue);
            }
            if world.task.wake_at.is_none_or(|at| at > world.now) {
                assert_eq!(world.apply(Event::TaskWake).reply, Reply::NotDue);
            }
        }
    }
}

/// Every handler succeeds from now on, and an operator retries what failed before.
fn bring_to_an_end(world: &mut World, tape: &mut Tape) {
    if world.task.paused && !world.task.state.is_final() {
        world.act(Action::Resume);
    }
    for _ in 0..100 {
        world.run(&mut |world, no| result(world, no, tape));
        match world.task.state {
            TaskState::BlockedByFailures if oracle::named_across_branches(world) => return,
            TaskState::BlockedByFailures => {
                world.act(Action::RetryFailed);
            }
            state if state.is_final() => return,
            _ => panic!("stuck\n{}", world.story()),
        }
    }
    panic!("never ends\n{}", world.story());
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, max_shrink_iters: 4_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_invariant_holds_after_every_event(
        shape in prop::collection::vec(any::<u16>(), 0..120),
        events in prop::collection::vec((any::<u8>(), any::<u16>(), any::<u16>()), 0..120),
        choices in prop::collection::vec(any::<u16>(), 0..80),
        delayed in any::<bool>(),
    ) {
        let yaml = workflow(&mut Tape::new(shape));
        let mut tape = Tape::new(choices);
        let mut world = World::starting(&yaml, delayed.then_some(1_005_000));
        for (kind, choice, detail) in events {
            happen(&mut world, kind, choice, detail, &mut tape);
        }
        bring_to_an_end(&mut world, &mut tape);
    }

    #[test]
    fn a_task_completes_when_every_handler_succeeds_in_the_end(
        shape in prop::collection::vec(any::<u16>(), 0..120),
        // 0..=13 claim, 14..=23 succeed, the others up to 36 fail, crash, release and wake: no operator.
        events in prop::collection::vec((0_u8..37, any::<u16>(), any::<u16>()), 0..60),
        choices in prop::collection::vec(any::<u16>(), 0..80),
    ) {
        // Failures that retries cure: the template allows more attempts and crashes than there are events.
        let yaml = workflow(&mut Tape::new(shape)).replace("max_attempts: ", "max_attempts: 10").replace("retryable: false", "retryable: true");
        let mut tape = Tape::new(choices);
        let mut world = World::new(&yaml);
        world.max_crashes = 1_000;
        for (kind, choice, detail) in events {
            let permanent = match kind {
                24..=27 => detail % 4 == 0,
                14..=23 => detail % 24 == 23,
                _ => false,
            };
            if !permanent && world.task.wake_at.is_none() {
                happen(&mut world, kind, choice, detail, &mut tape);
            }
        }
        world.run(&mut |world, no| result(world, no, &mut tape));
        prop_assert_eq!(world.task.state, TaskState::Complete, "{}", world.story());
    }
}
