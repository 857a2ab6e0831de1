//! The state machine case by case: what each event does to a small workflow. Every invariant of the oracle is checked
//! after every event as well.
#![allow(missing_docs, clippy::unwrap_used)]

mod machine_world;

use machine_world::{WORKER, World, batches, decision};
use serde_json::{Value, json};
use tasker_core::machine::{self, Action, Event, Holding, Outcome, Reply, SUSPECT_WAITS_MS};
use tasker_core::state::{AttemptEnd, Counts, DeadLetterReason, StepState, TaskState};

const APPROVAL: &str = "
name: approval
steps:
  - {name: validate, handler: h}
  - {name: route, type: decision, handler: h, depends_on: [validate]}
  - {name: auto, handler: h, depends_on: [route]}
  - {name: manager, handler: h, depends_on: [route]}
  - {name: finance, handler: h, depends_on: [route]}
  - {name: finalize, type: deferred, handler: h, depends_on: [auto, manager, finance]}
";

const DIAMOND: &str = "
name: diamond
steps:
  - {name: start, handler: h}
  - {name: left, handler: h, depends_on: [start]}
  - {name: right, handler: h, depends_on: [start]}
  - {name: end, handler: h, depends_on: [left, right]}
";

/// analyze → rows (workers) → join → after.
fn batch(config: &str) -> String {
    format!(
        "
name: batch
steps:
  - {{name: analyze, type: batchable, handler: h, batch_config: {{worker_template: rows{config}}}}}
  - {{name: rows, type: batch_worker, handler: h, depends_on: [analyze], retry: {{max_attempts: 1}}}}
  - {{name: join, type: deferred_convergence, handler: h, depends_on: [rows]}}
  - {{name: after, handler: h, depends_on: [join]}}
"
    )
}

fn retrying(retry: &str) -> String {
    format!("name: one\nsteps: [{{name: a, handler: h, retry: {{{retry}}}}}]")
}

fn one() -> World {
    World::new("name: one\nsteps: [{name: a, handler: h}]")
}

fn world_of(yaml: &str, done: &[&str]) -> World {
    let mut world = World::new(yaml);
    for step in done {
        world.succeed(step);
    }
    world
}

// --- decisions -------------------------------------------------------------------------------------------------------

#[test]
fn approval_creates_the_steps_its_route_names() {
    for (named, expected, parents) in [
        (&["auto"][..], &["auto", "finalize", "route", "validate"][..], 1),
        (&["manager"], &["finalize", "manager", "route", "validate"], 1),
        (&["manager", "finance"], &["finalize", "finance", "manager", "route", "validate"], 2),
        (&["finance", "manager", "finance"], &["finalize", "finance", "manager", "route", "validate"], 2),
    ] {
        let mut world = world_of(APPROVAL, &["validate"]);
        assert_eq!(world.names(), ["route", "validate"]);
        world.decide("route", named);
        assert_eq!(world.names(), expected, "{named:?}");
        assert_eq!(world.step("finalize").remaining, parents, "{named:?}");
        for step in named.iter().collect::<std::collections::BTreeSet<_>>() {
            assert_eq!(world.state("finalize"), StepState::Pending);
            world.succeed(step);
        }
        world.succeed("finalize");
        assert_eq!(world.task.state, TaskState::Complete);
    }
}

#[test]
fn a_decision_without_branches_completes_the_task() {
    let mut world = world_of(APPROVAL, &["validate"]);
    world.decide("route", &[]);
    assert_eq!(world.names(), ["route", "validate"]);
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn two_decisions_meet_in_one_convergence() {
    const YAML: &str = "
name: two
steps:
  - {name: start, handler: h}
  - {name: one, type: decision, handler: h, depends_on: [start]}
  - {name: two, type: decision, handler: h, depends_on: [start]}
  - {name: a, handler: h, depends_on: [one]}
  - {name: b, handler: h, depends_on: [two]}
  - {name: join, type: deferred_convergence, handler: h, depends_on: [a, b]}
";
    for (first, second, joins) in
        [(&["a"][..], &["b"][..], true), (&["a"], &[], true), (&[], &["b"], true), (&[], &[], false)]
    {
        let mut world = world_of(YAML, &["start"]);
        world.decide("one", first);
        for step in first {
            world.succeed(step);
        }
        let may_start =
            |world: &World| world.names().contains(&"join".into()) && world.state("join") == StepState::Enqueued;
        assert!(!may_start(&world), "the other decision is open: {first:?} {second:?}");
        world.decide("two", second);
        for step in second {
            assert!(!may_start(&world));
            world.succeed(step);
        }
        assert_eq!(may_start(&world), joins, "{first:?} {second:?}");
        world.run_plain();
        assert_eq!(world.task.state, TaskState::Complete);
    }
}

#[test]
fn what_follows_a_created_step_is_created_with_it() {
    let mut world = World::new(
        "
name: deep
steps:
  - {name: start, handler: h}
  - {name: route, type: decision, handler: h, depends_on: [start]}
  - {name: a, handler: h, depends_on: [route]}
  - {name: a2, handler: h, depends_on: [a]}
  - {name: b, handler: h, depends_on: [route]}
  - {name: both, handler: h, depends_on: [a2, b]}
  - {name: end, type: deferred, handler: h, depends_on: [a2, b]}
",
    );
    world.succeed("start");
    world.decide("route", &["a"]);
    assert_eq!(world.names(), ["a", "a2", "end", "route", "start"], "`both` needs b, which does not exist");
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_decision_may_create_a_decision() {
    let mut world = World::new(
        "
name: nested
steps:
  - {name: start, handler: h}
  - {name: outer, type: decision, handler: h, depends_on: [start]}
  - {name: inner, type: decision, handler: h, depends_on: [outer]}
  - {name: x, handler: h, depends_on: [outer]}
  - {name: y, handler: h, depends_on: [inner]}
  - {name: end, type: deferred, handler: h, depends_on: [x, y]}
",
    );
    world.succeed("start");
    world.decide("outer", &["inner", "x"]);
    world.succeed("x");
    assert_eq!(world.state("end"), StepState::Pending, "y may still come");
    world.decide("inner", &["y"]);
    assert_eq!(world.state("end"), StepState::Pending);
    world.succeed("y");
    world.succeed("end");
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_named_step_waits_for_a_parent_that_may_still_come() {
    let mut world = World::new(
        "
name: nested
steps:
  - {name: start, handler: h}
  - {name: outer, type: decision, handler: h, depends_on: [start]}
  - {name: inner, type: decision, handler: h, depends_on: [outer]}
  - {name: x, handler: h, depends_on: [inner]}
  - {name: y, handler: h, depends_on: [x]}
",
    );
    world.succeed("start");
    world.decide("outer", &["inner", "y"]);
    assert_eq!(world.state("y"), StepState::Pending);
    world.decide("inner", &["x"]);
    assert_eq!(world.state("y"), StepState::Pending);
    world.succeed("x");
    world.succeed("y");
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_named_step_does_not_wait_for_a_parent_that_cannot_come() {
    let mut world = World::new(
        "
name: skip
steps:
  - {name: start, handler: h}
  - {name: route, type: decision, handler: h, depends_on: [start]}
  - {name: x, handler: h, depends_on: [route]}
  - {name: y, handler: h, depends_on: [x]}
",
    );
    world.succeed("start");
    world.decide("route", &["y"]);
    assert_eq!(world.names(), ["route", "start", "y"]);
    world.succeed("y");
    assert_eq!(world.task.state, TaskState::Complete);
}

/// The step fails for good with the standard type, and the message says what to do.
#[track_caller]
fn invalid(yaml: &str, step: &str, done: &[&str], result: Value, error_type: &str, says: &[&str]) {
    let mut world = world_of(yaml, done);
    let before = world.names();
    let changes = world.succeed_with(step, result.clone());
    let fault = changes.fault.unwrap_or_else(|| panic!("{result} was taken"));
    assert_eq!(fault.error_type, error_type, "{result}");
    for words in says {
        assert!(fault.message.contains(words), "{result}: {}", fault.message);
    }
    assert_eq!(changes.attempt_end, Some(AttemptEnd::Failed));
    assert_eq!(world.state(step), StepState::Error);
    assert_eq!(world.names(), before, "nothing was created");
    assert_eq!(world.task.state, TaskState::BlockedByFailures);
    assert_eq!(changes.dead_letter, Some(DeadLetterReason::PermanentFailure));
}

#[test]
fn an_invalid_decision_outcome_fails_the_step_for_good() {
    let outcome = |outcome: Value| json!({"decision_point_outcome": outcome});
    let many: Vec<String> = (0..101).map(|i| format!("s{i}")).collect();
    for (result, says) in [
        (json!({}), &["decision_point_outcome"][..]),
        (json!(null), &["decision_point_outcome"]),
        (json!([1]), &["decision_point_outcome"]),
        (outcome(json!("auto")), &["not an object"]),
        (outcome(json!({})), &["`type`"]),
        (outcome(json!({"type": "create_step", "step_names": ["auto"]})), &["create_step", "no_branches"]),
        (outcome(json!({"type": "create_steps"})), &["step_names"]),
        (outcome(json!({"type": "create_steps", "step_names": "auto"})), &["step_names"]),
        (outcome(json!({"type": "create_steps", "step_names": []})), &["no_branches"]),
        (outcome(json!({"type": "create_steps", "step_names": [1]})), &["not a string"]),
        (outcome(json!({"type": "create_steps", "step_names": ["atuo"]})), &["atuo", "did you mean `auto`"]),
        (outcome(json!({"type": "create_steps", "step_names": ["auto", "validate"]})), &["validate", "depend"]),
        (outcome(json!({"type": "create_steps", "step_names": ["route"]})), &["route", "depend"]),
        (outcome(json!({"type": "create_steps", "step_names": many})), &["101", "100"]),
    ] {
        invalid(APPROVAL, "route", &["validate"], result, "invalid_decision_outcome", says);
    }
}

#[test]
fn a_hundred_steps_are_not_too_many_for_a_decision() {
    let steps: String = (0..100).map(|i| format!("  - {{name: s{i}, handler: h, depends_on: [route]}}\n")).collect();
    let yaml = format!(
        "name: wide\nsteps:\n  - {{name: start, handler: h}}\n  - {{name: route, type: decision, handler: h, depends_on: [start]}}\n{steps}"
    );
    let mut world = world_of(&yaml, &["start"]);
    let names: Vec<String> = (0..100).map(|i| format!("s{i}")).collect();
    world.decide("route", &names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(world.task.counts.total, 102);
}

#[test]
fn decisions_follow_one_another_twenty_deep_and_no_deeper() {
    let steps: String = (1..=22)
        .map(|i| format!("  - {{name: d{i}, type: decision, handler: h, depends_on: [d{}]}}\n", i - 1))
        .collect();
    let mut world = World::new(&format!("name: deep\nsteps:\n  - {{name: d0, handler: h}}\n{steps}"));
    world.succeed("d0");
    for i in 1..=20 {
        let changes = world.decide(&format!("d{i}"), &[&format!("d{}", i + 1)]);
        assert_eq!(changes.fault, None, "depth {i}");
    }
    let fault = world.decide("d21", &["d22"]).fault.unwrap();
    assert!(fault.message.contains("21") && fault.message.contains("20"), "{}", fault.message);
}

// --- batches ---------------------------------------------------------------------------------------------------------

#[test]
fn what_an_analyzer_says_of_its_batches_reaches_their_workers() {
    let mut world = World::new(&batch(", batch_size: 10"));
    let mut result = batches("rows", 2);
    result["batch_metadata"] = json!({"file": "a.csv", "batch_size": 7, "total_batches": 99});
    world.succeed_with("analyze", result);
    for worker in ["rows_001", "rows_002"] {
        let metadata = &world.inputs[&world.no(worker)]["batch_metadata"];
        let expected =
            json!({"batch_size": 7, "failure_strategy": "continue_on_failure", "file": "a.csv", "total_batches": 2});
        assert_eq!(metadata, &expected, "{worker}");
    }
}

#[test]
fn a_batch_makes_numbered_workers_with_inputs_and_the_convergence_waits_for_all() {
    let mut world = World::new(&batch(", batch_size: 10, cursor_field: id, checkpoint_interval: 5"));
    assert_eq!(world.names(), ["after", "analyze"]);
    world.succeed_with("analyze", batches("rows", 3));
    assert_eq!(world.names(), ["after", "analyze", "join", "rows_001", "rows_002", "rows_003"]);
    assert_eq!(
        world.inputs[&world.no("rows_002")],
        json!({
            "cursor": {"batch_id": "002", "start_cursor": 10, "end_cursor": 20, "batch_size": 10},
            "batch_metadata": {"batch_size": 10, "cursor_field": "id", "checkpoint_interval": 5, "failure_strategy": "continue_on_failure", "total_batches": 3},
            "is_no_op": false,
            "__template_step_name": "rows",
        })
    );
    for worker in ["rows_003", "rows_001", "rows_002"] {
        assert_eq!(world.state("join"), StepState::Pending);
        world.succeed(worker);
    }
    assert_eq!(world.state("after"), StepState::Pending);
    world.succeed("join");
    world.succeed("after");
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn cursors_are_any_json() {
    let mut world = World::new(&batch(""));
    let cursors = json!(["a", null, {"from": [1, 2]}, 12345678901234567890_u64]);
    world.succeed_with(
        "analyze",
        json!({"batch_processing_outcome": {"type": "create_batches", "worker_template_name": "rows", "worker_count": 4, "cursor_configs": cursors}}),
    );
    for (i, cursor) in cursors.as_array().unwrap().iter().enumerate() {
        assert_eq!(&world.inputs[&world.no(&format!("rows_{:03}", i + 1))]["cursor"], cursor);
    }
}

#[test]
fn no_batches_makes_one_placeholder_worker() {
    for result in [
        batches("rows", 0),
        // The worker's name is in the template.
        json!({"batch_processing_outcome": {"type": "no_batches"}}),
    ] {
        let mut world = World::new(&batch(""));
        world.succeed_with("analyze", result);
        assert_eq!(world.names(), ["after", "analyze", "join", "rows_001"]);
        let inputs = &world.inputs[&world.no("rows_001")];
        assert_eq!((&inputs["is_no_op"], &inputs["__template_step_name"]), (&json!(true), &json!("rows")));
        world.run_plain();
        assert_eq!(world.task.state, TaskState::Complete);
    }
}

#[test]
fn an_invalid_batch_outcome_fails_the_step_for_good() {
    let outcome = |outcome: Value| json!({"batch_processing_outcome": outcome});
    let create = |worker: &str, count: Value, cursors: Value| {
        outcome(
            json!({"type": "create_batches", "worker_template_name": worker, "worker_count": count, "cursor_configs": cursors}),
        )
    };
    let yaml = batch("");
    for (result, says) in [
        (json!({"rows": 10}), &["batch_processing_outcome"][..]),
        (outcome(json!([])), &["not an object"]),
        (outcome(json!({"type": "batches"})), &["batches", "create_batches"]),
        (create("row", json!(1), json!([1])), &["row", "did you mean `rows`"]),
        (create("join", json!(1), json!([1])), &["join", "batch_worker"]),
        (create("rows", json!(2), json!([1])), &["worker_count", "2", "1"]),
        (create("rows", json!(null), json!([1])), &["worker_count"]),
        (create("rows", json!(0), json!([])), &["no_batches"]),
        (create("rows", json!(1), json!({})), &["cursor_configs"]),
        (create("rows", json!(10_001), json!(vec![1; 10_001])), &["10001", "10000"]),
    ] {
        invalid(&yaml, "analyze", &[], result, "invalid_batch_outcome", says);
    }
}

#[test]
fn ten_thousand_workers_are_not_too_many_for_a_batch() {
    let mut world = World::new(&batch(", parallelism: 2"));
    world.succeed_with("analyze", batches("rows", 10_000));
    assert_eq!(world.task.counts.total, 10_003);
    assert_eq!(world.step("rows_10000").state, StepState::Pending);

    let changes = world.act(Action::Reset { no: world.no("analyze") });
    assert_eq!(changes.removed.len(), 10_001, "its workers and what follows them");
    assert!(changes.removed.is_sorted());
    assert_eq!(world.names(), ["after", "analyze"]);
}

#[test]
fn parallelism_caps_how_many_workers_run_and_the_next_follows_each_end() {
    let mut world = World::new(&batch(", parallelism: 2"));
    world.succeed_with("analyze", batches("rows", 4));
    assert_eq!(world.in_state(StepState::Enqueued), ["rows_001", "rows_002"]);
    world.claim("rows_001");
    world.succeed("rows_002");
    assert_eq!(world.in_state(StepState::Enqueued), ["rows_003"]);
    world.fail("rows_001", false);
    assert_eq!(world.in_state(StepState::Enqueued), ["rows_003", "rows_004"], "a failure makes room too");
}

#[test]
fn a_retrying_worker_keeps_its_place() {
    let yaml = batch(", parallelism: 1").replace("max_attempts: 1", "max_attempts: 2");
    let mut world = World::new(&yaml);
    world.succeed_with("analyze", batches("rows", 2));
    world.fail("rows_001", true);
    assert_eq!(world.task.state, TaskState::WaitingForRetry);
    assert!(world.wake());
    world.succeed("rows_001");
    assert_eq!(world.in_state(StepState::Enqueued), ["rows_002"]);
}

#[test]
fn failure_strategies() {
    // Strategy, states of the workers and the convergence after the first of three workers failed and the rest ran.
    let run = |strategy: &str| {
        let mut world = World::new(&batch(&format!(", failure_strategy: {strategy}")));
        world.succeed_with("analyze", batches("rows", 3));
        world.claim("rows_003");
        let failed = world.fail("rows_001", false);
        (world, failed)
    };

    let (mut world, _) = run("continue_on_failure");
    world.run_plain();
    assert_eq!(world.in_state(StepState::Error), ["rows_001"]);
    assert_eq!(world.state("join"), StepState::Complete, "the convergence sees the failure");
    assert_eq!(world.task.state, TaskState::BlockedByFailures);

    let (mut world, _) = run("isolate");
    world.run_plain();
    assert_eq!(world.in_state(StepState::Error), ["rows_001"]);
    assert_eq!((world.task.state, world.task.counts.isolated), (TaskState::Complete, 1));

    let (world, failed) = run("fail_fast");
    assert_eq!(world.in_state(StepState::Cancelled), ["rows_002", "rows_003"]);
    assert_eq!(world.state("join"), StepState::Pending);
    assert_eq!(world.task.state, TaskState::BlockedByFailures);
    assert_eq!(failed.cut_short, [(world.no("rows_003"), 1, WORKER)], "its worker is told");
    assert_eq!(failed.dead_letter, Some(DeadLetterReason::PermanentFailure));
}

#[test]
fn a_retryable_failure_does_not_end_a_fail_fast_batch() {
    let yaml = batch(", failure_strategy: fail_fast").replace("max_attempts: 1", "max_attempts: 2");
    let mut world = World::new(&yaml);
    world.succeed_with("analyze", batches("rows", 2));
    world.fail("rows_001", true);
    assert_eq!(world.in_state(StepState::Cancelled), Vec::<String>::new());
    world.wake();
    world.fail("rows_001", true);
    assert_eq!(world.in_state(StepState::Cancelled), ["rows_002"]);
}

#[test]
fn retry_failed_runs_a_failed_fast_batch_to_its_end() {
    let mut world = World::new(&batch(", failure_strategy: fail_fast, parallelism: 1"));
    world.succeed_with("analyze", batches("rows", 4));
    world.succeed("rows_001");
    world.fail("rows_002", false);
    world.act(Action::RetryFailed);
    assert_eq!(world.in_state(StepState::Enqueued), ["rows_002"]);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn retrying_failed_batch_workers_keeps_the_cap() {
    let mut world = World::new(&batch(", parallelism: 1"));
    world.succeed_with("analyze", batches("rows", 4));
    for worker in ["rows_001", "rows_002", "rows_003"] {
        world.fail(worker, false);
    }
    world.succeed("rows_004");
    world.act(Action::RetryFailed);
    assert_eq!(world.in_state(StepState::Enqueued), ["rows_001"]);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn resolving_a_running_batch_worker_lets_the_next_run() {
    for resolved in ["rows_001", "rows_002"] {
        let mut world = World::new(&batch(", parallelism: 1"));
        world.succeed_with("analyze", batches("rows", 3));
        world.claim("rows_001");
        world.act(Action::ResolveStep { no: world.no(resolved) });
        world.run_plain();
        assert_eq!(world.task.state, TaskState::Complete, "{}", world.story());
    }
}

#[test]
fn resolving_a_batchable_step_leaves_nobody_waiting() {
    let mut world = World::new(&batch(""));
    world.act(Action::ResolveStep { no: world.no("analyze") });
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete, "{}", world.story());
}

#[test]
fn batch_workers_wait_for_their_other_dependencies() {
    let mut world = World::new(
        "
name: batch
steps:
  - {name: analyze, type: batchable, handler: h}
  - {name: prepare, handler: h}
  - {name: rows, type: batch_worker, handler: h, depends_on: [analyze, prepare]}
",
    );
    world.succeed_with("analyze", batches("rows", 2));
    assert_eq!(world.in_state(StepState::Enqueued), ["prepare"]);
    world.succeed("prepare");
    assert_eq!(world.in_state(StepState::Enqueued), ["rows_001", "rows_002"]);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_decision_leads_to_a_batch_and_both_meet_in_a_convergence() {
    const YAML: &str = "
name: routed
steps:
  - {name: start, handler: h}
  - {name: route, type: decision, handler: h, depends_on: [start]}
  - {name: quick, handler: h, depends_on: [route]}
  - {name: analyze, type: batchable, handler: h, depends_on: [route]}
  - {name: rows, type: batch_worker, handler: h, depends_on: [analyze]}
  - {name: end, type: deferred_convergence, handler: h, depends_on: [quick, rows]}
";
    for (named, created) in [
        (&["quick"][..], &["end", "quick", "route", "start"][..]),
        (&["analyze"], &["analyze", "end", "route", "rows_001", "rows_002", "start"]),
        (&["analyze", "quick"], &["analyze", "end", "quick", "route", "rows_001", "rows_002", "start"]),
    ] {
        let mut world = world_of(YAML, &["start"]);
        world.decide("route", named);
        if named.contains(&"quick") {
            world.succeed("quick");
        }
        if named.contains(&"analyze") {
            assert_eq!(world.in_state(StepState::Enqueued), ["analyze"], "{named:?}");
            world.succeed_with("analyze", batches("rows", 2));
        }
        assert_eq!(world.names(), created, "{named:?}");
        world.run_plain();
        assert_eq!(world.task.state, TaskState::Complete, "{named:?}");
    }
}

// --- failures, retries, crashes --------------------------------------------------------------------------------------

#[test]
fn delays_between_attempts() {
    // Policy, jitter, and the wait after each failure; the last failure ends the step.
    for (retry, jitter, waits) in [
        ("max_attempts: 3, backoff_base_ms: 50", 0, &[50, 100][..]),
        ("max_attempts: 5, backoff: linear, backoff_base_ms: 50", 0, &[50, 100, 150, 200]),
        ("max_attempts: 5, backoff: fibonacci, backoff_base_ms: 50", 0, &[50, 50, 100, 150]),
        ("max_attempts: 5, backoff_base_ms: 100, max_backoff_ms: 300", 0, &[100, 200, 300, 300]),
        ("max_attempts: 3, backoff_base_ms: 1000", 100, &[1_100, 2_200]),
        ("max_attempts: 3, backoff_base_ms: 1000", -100, &[900, 1_800]),
        ("max_attempts: 3, backoff: none", 0, &[0, 0]),
        ("max_attempts: 1", 0, &[]),
        ("max_attempts: 3, retryable: false", 0, &[]),
    ] {
        let mut world = World::new(&retrying(retry));
        world.jitter_permille = jitter;
        for wait in waits {
            let before = world.now;
            world.fail("a", true);
            if *wait > 0 {
                assert_eq!(world.step("a").wake_at, Some(before + wait), "{retry}");
                assert_eq!(world.task.state, TaskState::WaitingForRetry);
                world.wake();
            }
            assert_eq!(world.state("a"), StepState::Enqueued, "{retry}");
        }
        world.fail("a", true);
        assert_eq!(world.state("a"), StepState::Error, "{retry}");
        assert_eq!(world.step("a").attempts as usize, waits.len() + 1, "{retry}");
    }
}

#[test]
fn the_handlers_wish_for_a_delay_wins_up_to_an_hour() {
    for (asked, waits) in [(7, 7), (90_000, 90_000), (3_600_001, 3_600_000), (i64::MAX, 3_600_000), (-5, 0), (0, 0)] {
        let mut world = one();
        world.claim("a");
        world.finish("a", Outcome::Failure { retryable: true, retry_after_ms: Some(asked), timed_out: false });
        let expected = (waits > 0).then_some(world.now + waits);
        assert_eq!(world.step("a").wake_at, expected, "{asked}");
        assert_eq!(world.state("a"), if waits > 0 { StepState::WaitingForRetry } else { StepState::Enqueued });
    }
}

#[test]
fn how_a_failure_ends_an_attempt_and_which_dead_letter_it_opens() {
    for (retryable, timed_out, end, letter) in [
        (false, false, AttemptEnd::Failed, DeadLetterReason::PermanentFailure),
        (true, false, AttemptEnd::Failed, DeadLetterReason::MaxRetriesExceeded),
        (true, true, AttemptEnd::TimedOut, DeadLetterReason::MaxRetriesExceeded),
    ] {
        let mut world = World::new(&retrying("max_attempts: 1"));
        world.claim("a");
        let changes = world.finish("a", Outcome::Failure { retryable, retry_after_ms: None, timed_out });
        assert_eq!((changes.attempt_end, changes.dead_letter), (Some(end), Some(letter)));
    }
}

#[test]
fn independent_branches_run_on_after_a_failure_and_then_the_task_rests() {
    let mut world = world_of(DIAMOND, &["start"]);
    assert_eq!(world.fail("left", false).dead_letter, None, "not yet blocked");
    assert_eq!(world.task.state, TaskState::StepsInProcess);
    let last = world.succeed("right");
    assert_eq!(world.task.state, TaskState::BlockedByFailures);
    assert!(last.dead_letter.is_some());
    assert_eq!(world.state("end"), StepState::Pending);
}

#[test]
fn a_step_that_kills_its_worker_too_often_is_poison_apart_from_its_attempts() {
    let mut world = World::new(&retrying("max_attempts: 2, backoff: none"));
    world.crash("a");
    assert_eq!(world.state("a"), StepState::Enqueued, "at once, without a delay");
    world.fail("a", true);
    world.crash("a");
    assert_eq!((world.step("a").attempts, world.step("a").crashes), (1, 2));
    let changes = world.crash("a");
    assert_eq!(world.state("a"), StepState::Error);
    assert_eq!(changes.fault.unwrap().error_type, "poison_step");
    assert_eq!(changes.attempt_end, Some(AttemptEnd::LeaseExpired));
    assert_eq!(changes.dead_letter, Some(DeadLetterReason::PoisonStep));
}

#[test]
fn no_time_ends_a_running_step() {
    let mut world = one();
    let fence = world.claim("a");
    world.now += 365 * 86_400_000;
    assert_eq!(world.apply(Event::Wake { no: 0 }).reply, Reply::NotDue);
    let changes = world.apply(Event::WorkerLost { no: 0, fence, alone: true });
    assert_eq!((changes.reply, changes.attempt_end), (Reply::Accepted, Some(AttemptEnd::LeaseExpired)));
    assert_eq!(changes.cut_short, [(0, 1, WORKER)], "if its worker lives, it is told");
    assert_eq!((world.state("a"), world.step("a").crashes), (StepState::Enqueued, 1));
}

#[test]
fn a_deadline_that_a_former_release_gave_a_running_step_is_dropped() {
    let mut world = one();
    world.claim("a");
    let step = world.steps.get_mut(&0).unwrap();
    step.wake_at = Some(world.now);
    let mut hood = machine::Neighbourhood::new(&world.workflow, world.task.clone(), vec![*step]);
    let moment = machine::Moment { now: world.now, jitter_permille: 0, max_crashes: 3 };
    let changes = machine::apply(&mut hood, Event::Wake { no: 0 }, moment);
    let after = hood.rows()[0].step;
    assert_eq!((changes.reply, changes.attempt_end), (Reply::Accepted, None));
    assert_eq!((after.state, after.wake_at, after.crashes), (StepState::InProgress, None, 0));
}

#[test]
fn steps_that_ran_side_by_side_when_their_worker_died_are_suspects_and_uncounted() {
    let mut world = one();
    let fence = world.claim("a");
    world.apply(Event::WorkerLost { no: 0, fence, alone: false });
    let suspect = world.step("a");
    assert_eq!((suspect.crashes, suspect.attempts, suspect.suspect), (0, 0, true));
    let busy = Holding { steps: 1, suspect: false };
    assert!(machine::may_claim(&suspect, Holding::default(), world.now), "an idle worker takes it at once");
    assert!(!machine::may_claim(&suspect, busy, world.now), "a busy one leaves it to an idle one");
    assert!(machine::may_claim(&suspect, busy, world.now + SUSPECT_WAITS_MS), "for a while");
    let mut holding = busy;
    holding.add(&suspect);
    let innocent = tasker_core::state::Step { suspect: false, ..suspect };
    assert!(!machine::may_claim(&innocent, holding, world.now), "nothing starts beside a suspect");
    // Handed back it has not ended, so it is as suspect as before.
    world.claim("a");
    world.finish("a", Outcome::Release { delay_ms: 0 });
    assert!(world.step("a").suspect);
    world.fail("a", true);
    assert!(!world.step("a").suspect, "it has ended once");
}

#[test]
fn a_checkpoint_forgives_the_deaths_before_it() {
    let mut world = one();
    world.crash("a");
    world.crash("a");
    world.claim("a");
    world.finish("a", Outcome::Checkpoint);
    world.crash("a");
    assert_eq!((world.state("a"), world.step("a").crashes), (StepState::Enqueued, 1));
}

#[test]
fn a_poisonous_batch_worker_counts_as_failed() {
    let mut world = World::new(&batch(", failure_strategy: fail_fast"));
    world.max_crashes = 1;
    world.succeed_with("analyze", batches("rows", 2));
    world.crash("rows_001");
    assert_eq!(world.in_state(StepState::Cancelled), ["rows_002"]);
}

#[test]
fn checkpoints_and_releases_use_no_attempt() {
    let mut world = World::new(&retrying("max_attempts: 1"));
    for _ in 0..5 {
        world.claim("a");
        let changes = world.finish("a", Outcome::Checkpoint);
        assert_eq!(changes.attempt_end, Some(AttemptEnd::Checkpointed));
        assert!(world.step("a").has_checkpoint);
        world.claim("a");
        assert_eq!(world.finish("a", Outcome::Release { delay_ms: 0 }).attempt_end, Some(AttemptEnd::Released));
        assert_eq!(world.state("a"), StepState::Enqueued);
    }
    assert_eq!((world.step("a").attempts, world.step("a").crashes, world.step("a").fence), (0, 0, 10));
    world.claim("a");
    world.finish("a", Outcome::Release { delay_ms: 200 });
    assert_eq!(world.step("a").wake_at, Some(world.now + 200));
    world.wake();
    world.succeed("a");
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_released_step_keeps_its_place_in_line_and_a_retried_one_goes_to_the_end() {
    let mut world = World::new(&retrying("max_attempts: 3, backoff: none"));
    let entered = world.step("a").enqueued_at;
    world.now += 10;
    world.claim("a");
    world.finish("a", Outcome::Release { delay_ms: 0 });
    assert_eq!(world.step("a").enqueued_at, entered);
    world.fail("a", true);
    assert_eq!(world.step("a").enqueued_at, world.now);
}

/// The table at the head of the machine: which reports and wake-ups each state takes.
#[test]
fn every_state_takes_only_its_own_events() {
    let outcomes = [
        Outcome::Success { result: "{}" },
        Outcome::Failure { retryable: true, retry_after_ms: None, timed_out: false },
        Outcome::Failure { retryable: false, retry_after_ms: None, timed_out: true },
        Outcome::Checkpoint,
        Outcome::Release { delay_ms: 0 },
        Outcome::Release { delay_ms: 10 },
    ];
    let into = |state: StepState| {
        let mut world = World::new("name: two\nsteps: [{name: a, handler: h}, {name: b, handler: h, depends_on: [a]}]");
        match state {
            StepState::Pending => world.act(Action::Pause),
            StepState::Enqueued => return world,
            StepState::InProgress => {
                world.claim("a");
                return world;
            }
            StepState::WaitingForRetry => world.fail("a", true),
            StepState::Complete => world.succeed("a"),
            StepState::Error => world.fail("a", false),
            StepState::Cancelled => world.act(Action::Cancel),
            StepState::ResolvedManually => world.act(Action::ResolveStep { no: 0 }),
        };
        world
    };
    for state in StepState::ALL {
        for outcome in outcomes {
            let mut world = into(*state);
            assert_eq!(world.state("a"), *state);
            let fence = world.step("a").fence;
            for fence in [fence, fence + 1, fence.wrapping_sub(1)] {
                let current = *state == StepState::InProgress && fence == world.step("a").fence;
                let mut world = world.clone();
                let changes = world.apply(Event::Finish { no: 0, fence, outcome });
                assert_eq!(changes.reply == Reply::Accepted, current, "{state:?} {outcome:?} fence {fence}");
                if !current {
                    assert_eq!((changes.reply, changes.attempt_end), (Reply::Stale, Some(AttemptEnd::Rejected)));
                }
            }
            world.now += 1_000_000;
            let woken = world.apply(Event::Wake { no: 0 });
            let wakes = *state == StepState::WaitingForRetry;
            assert_eq!(woken.reply == Reply::Accepted, wakes, "{state:?}");
        }
        let mut world = into(*state);
        let fence = world.step("a").fence;
        let lost = world.apply(Event::WorkerLost { no: 0, fence, alone: true }).reply;
        assert_eq!(lost == Reply::Accepted, *state == StepState::InProgress, "{state:?}");
    }
}

#[test]
fn a_report_that_comes_twice_changes_nothing() {
    let mut world = world_of(DIAMOND, &[]);
    let fence = world.claim("start");
    let report = Event::Finish { no: 0, fence, outcome: Outcome::Success { result: "1" } };
    assert_eq!(world.apply(report).reply, Reply::Accepted);
    let after = world.steps.clone();
    for _ in 0..3 {
        assert_eq!(world.apply(report).reply, Reply::Stale);
    }
    assert_eq!(world.steps, after);
}

// --- operators -------------------------------------------------------------------------------------------------------

/// A one-step task in each of its states.
fn task_in(state: TaskState) -> World {
    let mut world = one();
    match state {
        TaskState::Pending => return World::starting(&world.yaml, Some(2_000_000)),
        TaskState::StepsInProcess => return world,
        TaskState::WaitingForDependencies => world.act(Action::Pause),
        TaskState::WaitingForRetry => world.fail("a", true),
        TaskState::BlockedByFailures => world.fail("a", false),
        TaskState::Complete => world.succeed("a"),
        TaskState::Error => {
            world.fail("a", false);
            world.act(Action::GiveUp)
        }
        TaskState::Cancelled => world.act(Action::Cancel),
        TaskState::ResolvedManually => {
            world.fail("a", false);
            world.act(Action::ResolveTask)
        }
    };
    assert_eq!(world.task.state, state);
    world
}

#[test]
fn which_action_fits_which_state_of_the_task() {
    use TaskState::*;
    let live = [Pending, StepsInProcess, WaitingForDependencies, WaitingForRetry, BlockedByFailures];
    let but_cancelled = [&live[..], &[Complete, Error, ResolvedManually]].concat();
    let not_done: Vec<TaskState> = but_cancelled.iter().copied().filter(|s| *s != Complete).collect();
    for (action, fits) in [
        (Action::Cancel, live.to_vec()),
        (Action::Pause, vec![Pending, StepsInProcess, WaitingForRetry, BlockedByFailures]),
        (Action::Resume, vec![WaitingForDependencies]),
        (Action::RetryFailed, vec![BlockedByFailures, Error, ResolvedManually]),
        (Action::Reset { no: 0 }, but_cancelled.clone()),
        (Action::Reset { no: 9 }, vec![]),
        (Action::ResolveStep { no: 0 }, not_done.clone()),
        (Action::CompleteStep { no: 0, result: "1" }, not_done),
        (Action::GiveUp, vec![BlockedByFailures]),
        (Action::ResolveTask, vec![BlockedByFailures, Error]),
    ] {
        for state in TaskState::ALL {
            let mut world = task_in(*state);
            let reply = world.apply(Event::Operator(action)).reply;
            assert_eq!(reply == Reply::Accepted, fits.contains(state), "{action:?} on {state:?}: {reply:?}");
            if let Reply::Conflict(why) = reply {
                assert!(!why.is_empty());
            }
        }
    }
}

#[test]
fn cancel_ends_everything_and_tells_running_handlers() {
    let mut world = world_of(DIAMOND, &["start"]);
    let fence = world.claim("left");
    let changes = world.act(Action::Cancel);
    assert_eq!(changes.cut_short, [(1, fence, WORKER)]);
    assert_eq!(world.task.state, TaskState::Cancelled);
    assert_eq!(world.in_state(StepState::Cancelled), ["left", "right", "end"]);
    assert_eq!(world.task.counts, Counts { total: 4, done: 1, cancelled: 3, ..Counts::default() });
    let late = world.apply(Event::Finish { no: 1, fence, outcome: Outcome::Success { result: "1" } });
    assert_eq!(late.reply, Reply::Stale);
    assert!(world.refused(Action::RetryFailed).contains("cancelled"));
}

#[test]
fn pause_lets_nothing_new_start_and_resume_brings_all_of_it_back() {
    let mut world = world_of(DIAMOND, &["start"]);
    world.claim("left");
    world.act(Action::Pause);
    assert_eq!(world.in_state(StepState::Enqueued), Vec::<String>::new());
    assert_eq!(world.refused(Action::Pause), "the task is already paused");
    world.finish("left", Outcome::Success { result: "1" });
    world.act(Action::Resume);
    assert_eq!(world.in_state(StepState::Enqueued), ["right"]);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn what_fails_or_falls_due_in_a_paused_task_waits_for_its_resume() {
    let mut world = World::new(&retrying("max_attempts: 9, backoff: linear, backoff_base_ms: 10"));
    world.fail("a", true);
    world.act(Action::Pause);
    world.wake();
    assert_eq!(world.state("a"), StepState::Pending);
    world.act(Action::Resume);
    world.claim("a");
    world.act(Action::Pause);
    world.crash("a");
    assert_eq!(world.state("a"), StepState::Pending);
    world.act(Action::Resume);
    world.claim("a");
    world.act(Action::Pause);
    world.finish("a", Outcome::Release { delay_ms: 0 });
    assert_eq!(world.state("a"), StepState::Pending);
    world.act(Action::Resume);
    world.succeed("a");
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_paused_task_outlives_no_limit_and_its_stay_starts_anew_with_the_resume() {
    let minute = 60_000;
    let limits = "\nlifecycle: {staleness_action: dlq, max_waiting_for_dependencies_minutes: 5, \
                  max_steps_in_process_minutes: 10, max_duration_minutes: 60}";
    let mut world = World::new(&(DIAMOND.to_string() + limits));
    let created_at = world.now;
    world.act(Action::Pause);
    assert_eq!((world.task.state, world.task.wake_at), (TaskState::WaitingForDependencies, None));
    world.now += 30 * minute;
    assert_eq!(world.apply(Event::TaskWake).reply, Reply::NotDue);
    world.act(Action::Resume);
    assert_eq!(world.task.wake_at, Some(world.now + 10 * minute), "not since it was created");

    // A step that runs on keeps the task in its state.
    let resumed_at = world.now;
    world.claim("start");
    world.act(Action::Pause);
    world.now += 9 * minute;
    world.act(Action::Resume);
    assert_eq!(world.task.state, TaskState::StepsInProcess);
    assert_eq!(world.task.wake_at, Some(resumed_at + 19 * minute));

    // The limit of the whole life counts pauses, but ends the task only when it is resumed.
    world.act(Action::Pause);
    world.now += 60 * minute;
    world.act(Action::Resume);
    assert_eq!(world.task.wake_at, Some(created_at + 60 * minute));
    assert!(world.wake());
    assert_eq!(world.task.state, TaskState::Error);
}

#[test]
fn a_task_paused_before_its_start_starts_when_it_is_resumed() {
    let mut world = World::starting(DIAMOND, Some(1_000_500));
    world.act(Action::Pause);
    assert!(!world.wake(), "nothing waits for time");
    world.now += 10_000;
    world.act(Action::Resume);
    assert_eq!(world.in_state(StepState::Enqueued), Vec::<String>::new());
    assert!(world.wake());
    assert_eq!(world.in_state(StepState::Enqueued), ["start"]);
}

#[test]
fn a_paused_task_left_a_time_to_wake_by_the_release_before_is_not_ended_by_it() {
    let mut world =
        World::new(&(DIAMOND.to_string() + "\nlifecycle: {staleness_action: dlq, max_duration_minutes: 1}"));
    world.act(Action::Pause);
    world.task.wake_at = Some(world.now);
    let changes = world.apply(Event::TaskWake);
    assert_eq!((changes.reply, changes.dead_letter), (Reply::Accepted, None));
    assert_eq!((world.task.state, world.task.wake_at), (TaskState::WaitingForDependencies, None));
}

#[test]
fn a_failure_in_a_paused_task_leaves_it_alive_and_a_blocked_one_stays_blocked() {
    let mut world = world_of(DIAMOND, &["start"]);
    world.claim("left");
    world.act(Action::Pause);
    let failed = world.fail("left", false);
    assert_eq!((world.task.state, failed.dead_letter), (TaskState::WaitingForDependencies, None), "`right` is held");
    world.act(Action::Resume);
    assert_eq!(world.task.state, TaskState::StepsInProcess);
    let last = world.succeed("right");
    assert_eq!(world.task.state, TaskState::BlockedByFailures);
    assert_eq!(last.dead_letter, Some(DeadLetterReason::PermanentFailure));

    // One that was blocked already stays so, until an operator gives it something to do.
    let paused = world.act(Action::Pause);
    assert_eq!((world.task.state, paused.dead_letter), (TaskState::BlockedByFailures, None));
    world.act(Action::ResolveStep { no: world.no("left") });
    assert_eq!(world.task.state, TaskState::WaitingForDependencies);
    world.act(Action::Resume);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_failure_while_paused_blocks_the_task_at_its_resume_when_nothing_is_left() {
    let mut world = one();
    world.claim("a");
    world.act(Action::Pause);
    assert_eq!(world.fail("a", false).dead_letter, None);
    assert_eq!(world.task.state, TaskState::WaitingForDependencies);
    let resumed = world.act(Action::Resume);
    assert_eq!(world.task.state, TaskState::BlockedByFailures);
    assert_eq!(resumed.dead_letter, Some(DeadLetterReason::PermanentFailure));
}

#[test]
fn retry_failed_gives_failed_steps_fresh_attempts() {
    let mut world = world_of(DIAMOND, &["start"]);
    world.fail("left", false);
    world.crash("right");
    world.fail("right", false);
    let before = world.step("right").fence;
    let changes = world.act(Action::RetryFailed);
    assert_eq!(changes.cleared, [1, 2, 3]);
    let right = world.step("right");
    assert_eq!((right.attempts, right.crashes, right.has_checkpoint), (0, 0, false));
    assert!(right.fence > before, "what a cache holds of it is void");
    assert_eq!(world.in_state(StepState::Enqueued), ["left", "right"]);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
    assert_eq!(world.refused(Action::RetryFailed), "no step of the task has failed");
}

#[test]
fn reset_runs_a_step_and_all_that_follows_it_again() {
    let mut world = World::new(DIAMOND);
    world.run_plain();
    let changes = world.act(Action::Reset { no: 1 });
    assert_eq!(changes.cleared, [1, 3]);
    assert_eq!(world.task.state, TaskState::StepsInProcess);
    assert_eq!((world.state("right"), world.state("end")), (StepState::Complete, StepState::Pending));
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);

    let fence = {
        world.act(Action::Reset { no: 0 });
        world.succeed("start");
        world.claim("left")
    };
    let changes = world.act(Action::Reset { no: 0 });
    assert_eq!(changes.cut_short, [(1, fence, WORKER)], "a running descendant is stopped");
    let late = world.apply(Event::Finish { no: 1, fence, outcome: Outcome::Success { result: "1" } });
    assert_eq!(late.reply, Reply::Stale);
}

#[test]
fn reset_of_a_decision_removes_what_it_created_and_decides_again() {
    let mut world = world_of(APPROVAL, &["validate"]);
    world.decide("route", &["manager", "finance"]);
    world.succeed("manager");
    let fence = world.claim("finance");
    let finance = world.no("finance");
    let changes = world.act(Action::Reset { no: world.no("route") });
    assert_eq!(world.names(), ["route", "validate"]);
    assert_eq!(changes.cut_short, [(finance, fence, WORKER)]);
    assert_eq!(world.state("route"), StepState::Enqueued);
    world.decide("route", &["auto", "finance"]);
    assert_eq!(world.names(), ["auto", "finalize", "finance", "route", "validate"]);
    assert!(world.claim("finance") > fence, "an attempt of its former life cannot report");
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_step_that_exists_for_the_first_time_after_a_reset_is_told_apart_from_one_that_needs_no_fresh_results() {
    let mut world = world_of(APPROVAL, &["validate"]);
    world.act(Action::Reset { no: world.no("validate") });
    world.succeed("validate");
    world.decide("route", &["manager"]);
    let fence = world.claim("manager");
    let attempts = world.step("manager").attempts_shown();
    assert!(fence > attempts + 1, "no gap: {fence}; whoever kept the old result of `validate` would use it");
}

#[test]
fn reset_of_a_batchable_step_makes_new_workers() {
    let mut world = World::new(&batch(""));
    world.succeed_with("analyze", batches("rows", 3));
    world.run_plain();
    world.act(Action::Reset { no: 0 });
    assert_eq!(world.names(), ["after", "analyze"]);
    world.succeed_with("analyze", batches("rows", 2));
    assert_eq!(world.names(), ["after", "analyze", "join", "rows_001", "rows_002"]);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn reset_of_one_batch_worker_runs_it_and_the_convergence_again() {
    let mut world = World::new(&batch(""));
    world.succeed_with("analyze", batches("rows", 3));
    world.run_plain();
    world.act(Action::Reset { no: world.no("rows_002") });
    assert_eq!(world.in_state(StepState::Enqueued), ["rows_002"]);
    assert_eq!((world.state("join"), world.state("after")), (StepState::Pending, StepState::Pending));
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn retrying_a_failed_batch_keeps_what_a_decision_named() {
    let mut world = World::new(
        "
name: both
steps:
  - {name: start, handler: h}
  - {name: route, type: decision, handler: h, depends_on: [start]}
  - {name: analyze, type: batchable, handler: h, depends_on: [start]}
  - {name: rows, type: batch_worker, handler: h, depends_on: [analyze]}
  - {name: report, handler: h, depends_on: [route, rows]}
",
    );
    world.succeed("start");
    world.decide("route", &["report"]);
    world.fail("analyze", false);
    world.act(Action::RetryFailed);
    assert!(world.names().contains(&"report".into()), "{}", world.story());
    world.succeed_with("analyze", batches("rows", 2));
    world.run_plain();
    assert_eq!(world.state("report"), StepState::Complete);
}

#[test]
fn resolved_and_manually_completed_steps_let_their_children_run() {
    for action in [Action::ResolveStep { no: 1 }, Action::CompleteStep { no: 1, result: "7" }] {
        let mut world = world_of(DIAMOND, &["start", "right"]);
        let fence = world.claim("left");
        let changes = world.act(action);
        assert_eq!(changes.cut_short, [(1, fence, WORKER)]);
        assert_eq!(world.state("end"), StepState::Enqueued);
        assert_eq!(world.refused(action), "the step is already done");
        world.run_plain();
        assert_eq!(world.task.state, TaskState::Complete);
    }
}

#[test]
fn a_blocked_task_goes_on_when_its_failed_step_is_resolved() {
    let mut world = world_of(DIAMOND, &["start", "right"]);
    world.fail("left", false);
    world.act(Action::ResolveStep { no: 1 });
    assert_eq!(world.task.state, TaskState::StepsInProcess);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_decision_completed_by_hand_creates_its_steps() {
    let mut world = world_of(APPROVAL, &["validate"]);
    world.fail("route", false);
    let no = world.no("route");
    assert!(world.refused(Action::CompleteStep { no, result: "{}" }).contains("decision_point_outcome"));
    let result = decision(&["auto"]).to_string();
    world.act(Action::CompleteStep { no, result: &result });
    assert_eq!(world.names(), ["auto", "finalize", "route", "validate"]);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

#[test]
fn a_task_that_was_given_up_can_be_retried() {
    let mut world = world_of(DIAMOND, &["start"]);
    world.fail("left", false);
    world.succeed("right");
    world.act(Action::GiveUp);
    assert_eq!((world.task.state, world.state("end")), (TaskState::Error, StepState::Cancelled));
    world.act(Action::RetryFailed);
    world.run_plain();
    assert_eq!(world.task.state, TaskState::Complete);
}

// --- time ------------------------------------------------------------------------------------------------------------

#[test]
fn a_delayed_task_starts_at_its_time() {
    let mut world = World::starting(DIAMOND, Some(1_000_500));
    assert_eq!((world.task.state, world.state("start")), (TaskState::Pending, StepState::Pending));
    world.now = 1_000_499;
    assert_eq!(world.apply(Event::TaskWake).reply, Reply::NotDue);
    world.now = 1_000_500;
    assert_eq!(world.apply(Event::TaskWake).reply, Reply::Accepted);
    assert_eq!((world.task.state, world.state("start")), (TaskState::StepsInProcess, StepState::Enqueued));
    assert_eq!(World::starting(DIAMOND, Some(1_000_000)).state("start"), StepState::Enqueued, "now is not later");
}

#[test]
fn a_stale_task_ends_as_its_template_says() {
    let limits = [
        ("max_duration_minutes", TaskState::StepsInProcess),
        ("max_steps_in_process_minutes", TaskState::StepsInProcess),
        ("max_waiting_for_retry_minutes", TaskState::WaitingForRetry),
    ];
    for (limit, state) in limits {
        for (action, ends, letter) in
            [("dlq", true, Some(DeadLetterReason::StalenessTimeout)), ("error", true, None), ("none", false, None)]
        {
            let mut world = World::new(&format!(
                "name: slow\nlifecycle: {{{limit}: 1, staleness_action: {action}}}\nsteps: [{{name: a, handler: h, retry: {{backoff_base_ms: 600000, max_backoff_ms: 600000}}}}]"
            ));
            if state == TaskState::WaitingForRetry {
                world.fail("a", true);
            } else {
                world.claim("a");
            }
            assert_eq!(world.task.state, state);
            assert_eq!(world.task.wake_at, ends.then_some(1_060_000), "{limit} {action}");
            world.now = 1_060_000;
            let changes = world.apply(Event::TaskWake);
            assert_eq!(changes.reply == Reply::Accepted, ends, "{limit} {action}");
            assert_eq!(changes.dead_letter, letter, "{limit} {action}");
            if ends {
                assert_eq!((world.task.state, world.state("a")), (TaskState::Error, StepState::Cancelled));
                assert_eq!(changes.cut_short.is_empty(), state == TaskState::WaitingForRetry);
            }
        }
    }
}

#[test]
fn a_stay_limit_starts_anew_with_each_state() {
    let mut world = World::new(
        "name: slow\nlifecycle: {max_steps_in_process_minutes: 1}\nsteps: [{name: a, handler: h, retry: {backoff_base_ms: 30000}}]",
    );
    world.fail("a", true);
    assert_eq!(world.task.wake_at, None, "no limit on waiting for a retry");
    world.wake();
    assert_eq!(world.task.wake_at, Some(world.now + 60_000));
}
