//! A store that moves to another database and back, in the middle of everything.
//!
//! `TASKER_TEST_POSTGRES` names a server; `scripts/with-postgres` starts one for the command that follows it.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{PATIENCE, create, eventually, healthy, ok, options, register, request, result};
use serde_json::{Value, json};
use tasker_runtime::{Attach, Engine, LetterOrder, Order, move_store};
use tasker_wire::{DeadLetterFilter, Error, EventFilter, Kind, TaskFilter};
use tasker_worker::{StepContext, StepError, StepOutcome, Worker};
use uuid::Uuid;

const LEASE_MS: i64 = 1_000;
const TEMPLATES: &[&str] = &[
    "
name: line
namespace_name: test
identity_strategy: always_unique
steps:
  - {name: a, handler: work}
  - {name: later, handler: work, depends_on: [a], retry: {max_attempts: 5, backoff_base_ms: 3600000, max_backoff_ms: 3600000}}
",
    "
name: broken
namespace_name: test
steps: [{name: a, handler: work}, {name: fails, handler: work, depends_on: [a]}, {name: b, handler: work, depends_on: [fails]}]
",
    "
name: rows
namespace_name: test
steps:
  - {name: analyze, type: batchable, handler: work, batch_config: {worker_template: part, parallelism: 2}}
  - {name: part, type: batch_worker, handler: work, depends_on: [analyze], retry: {backoff_base_ms: 3600000, max_backoff_ms: 3600000}}
  - {name: sum, type: deferred_convergence, handler: work, depends_on: [part]}
",
    "
name: routed
namespace_name: test
steps:
  - {name: start, handler: work}
  - {name: route, type: decision, handler: work, depends_on: [start]}
  - {name: later, handler: work, depends_on: [route], retry: {backoff_base_ms: 3600000, max_backoff_ms: 3600000}}
  - {name: other, handler: work, depends_on: [route]}
  - {name: end, type: deferred_convergence, handler: work, depends_on: [later, other]}
",
    "
name: told
namespace_name: test
steps: [{name: a, handler: work, publishes_events: [{name: a.done}, {name: a.seen}]}]
",
];
/// A namespace without a worker of its own.
const HELD: &str = "
name: held
namespace_name: held
steps: [{name: a, handler: work}, {name: b, handler: work, depends_on: [a]}]
";

async fn work(context: StepContext, moved: bool) -> Result<StepOutcome, StepError> {
    let not_yet = || StepError::retryable("not before the move");
    match context.job().step_name() {
        "later" if !moved => Err(not_yet()),
        "fails" if !moved => Err(StepError::permanent("refused")),
        "analyze" => ok(json!({"batch_processing_outcome": {
            "type": "create_batches", "worker_template_name": "part", "worker_count": 4, "cursor_configs": [1, 2, 3, 4],
        }})),
        "part_002" if context.checkpoint()?.is_none() => {
            Ok(StepOutcome::Checkpoint { cursor: json!(7), items_processed: 7, accumulated_results: json!({"n": 7}) })
        }
        "part_002" | "part_003" if !moved => Err(not_yet()),
        "part_002" => ok(context.checkpoint()?.map_or(Value::Null, |c| c["cursor"].clone())),
        "route" => ok(json!({"decision_point_outcome": {"type": "create_steps", "step_names": ["later"]}})),
        name => ok(json!({"step": name, "digits": 9_007_199_254_740_993_i64})),
    }
}

fn worker(engine: &Engine, templates: &[&str], moved: bool) -> Worker {
    let moved = Arc::new(AtomicBool::new(moved));
    let mut builder =
        Worker::builder("sqlite::memory:").handler("work", move |c| work(c, moved.load(Ordering::SeqCst)));
    for (index, yaml) in templates.iter().enumerate() {
        builder = builder.template(&format!("{index}.yaml"), yaml);
    }
    builder.configure(|config| config.lease_ms = 1 << 40).start_on(engine.clone()).unwrap()
}

fn status(engine: &Engine, task: Uuid) -> String {
    engine.task(task).unwrap().status
}

fn every_task(engine: &Engine) -> Vec<Uuid> {
    let filter = TaskFilter { limit: Some(1_000), ..TaskFilter::default() };
    engine.tasks(&filter).unwrap().tasks.iter().map(|t| t.task_uuid.parse().unwrap()).collect()
}

/// All that clients can see.
fn seen(engine: &Engine) -> Value {
    let tasks: Vec<Value> = every_task(engine)
        .into_iter()
        .map(|t| {
            let (task, steps) = (engine.task(t).unwrap(), engine.steps(t).unwrap());
            json!({"task": task, "steps": steps, "audit": engine.audit(t).unwrap()})
        })
        .collect();
    let letters = DeadLetterFilter { all: true, ..DeadLetterFilter::default() };
    let mut workers = json!(engine.workers().unwrap());
    for worker in workers.as_array_mut().unwrap() {
        worker["alive"] = json!(false);
    }
    json!({
        "tasks": tasks,
        "templates": engine.templates(None).unwrap(),
        "dead_letters": engine.dead_letters(&letters).unwrap(),
        "events": engine.events(&EventFilter::default()).unwrap(),
        "workers": workers,
    })
}

/// Tasks in every state there is, and a worker that was not stopped.
fn fill(url: &str) -> Vec<Uuid> {
    let engine = Engine::open(url, options()).unwrap();
    let first = worker(&engine, TEMPLATES, false);
    let mut tasks: Vec<(Uuid, &str)> = Vec::new();
    for (name, status) in [
        ("line", "waiting_for_retry"),
        ("broken", "blocked_by_failures"),
        ("rows", "waiting_for_retry"),
        ("routed", "waiting_for_retry"),
        ("told", "complete"),
        ("told", "complete"),
    ] {
        tasks.push((create(&engine, name, json!({"text": "Grüße, \"世界\"", "n": 1.50})), status));
    }
    let mut keyed = request("line", json!({"keyed": true}));
    keyed.idempotency_key = Some("order-1".into());
    tasks.push((engine.create(&[keyed]).pop().unwrap().unwrap().task_uuid, "waiting_for_retry"));
    for (task, wanted) in &tasks {
        eventually(wanted, || (status(&engine, *task) == *wanted).then_some(()));
    }
    // One event read and acknowledged, one read only, two that nobody saw.
    let read = engine.read_events("test", 2, Duration::from_secs(3_600), Duration::ZERO).unwrap();
    assert_eq!(engine.acknowledge_events(vec![read[0].msg_id]), Ok(1));
    engine.act(tasks[6].0, Order::Pause, "ann", "until the move is done").unwrap();
    let cancelled = create(&engine, "line", json!({}));
    eventually("a retry", || (status(&engine, cancelled) == "waiting_for_retry").then_some(()));
    engine.act(cancelled, Order::Cancel, "ann", "not wanted").unwrap();
    let failed = create(&engine, "broken", json!({}));
    eventually("a failure", || (status(&engine, failed) == "blocked_by_failures").then_some(()));
    let letter = engine.dead_letters(&DeadLetterFilter::default()).unwrap().remove(0);
    engine.settle(letter.id, LetterOrder::Annotate("seen".into()), "ann", "").unwrap();
    engine.settle(letter.id, LetterOrder::Discard, "ann", "known").unwrap();
    let mut future = request("line", json!({"future": true}));
    future.run_at = Some(tasker_runtime::time(engine.now() + 7_200_000));
    tasks.push((engine.create(&[future]).pop().unwrap().unwrap().task_uuid, "pending"));
    assert!(first.stop());
    // Queued, and leased by a worker that says no more.
    register(&engine, HELD);
    let held = |engine: &Engine| {
        let mut request = request("held", json!({}));
        request.namespace = "held".into();
        engine.create(&[request]).pop().unwrap().unwrap().task_uuid
    };
    let leased = held(&engine);
    let session = engine
        .attach(Attach {
            name: Some("silent".into()),
            language: "rust",
            sdk_version: "1".into(),
            queues: vec!["held".into()],
            handlers: vec!["work".into()],
            slots: 1,
            lease_ms: LEASE_MS,
        })
        .unwrap();
    eventually("a lease", || session.try_take());
    tasks.extend([(leased, "steps_in_process"), (held(&engine), "steps_in_process")]);
    tasks.into_iter().map(|(task, _)| task).collect()
}

/// Runs whatever is left to its end.
fn end(url: &str, tasks: &[Uuid]) {
    let engine = Engine::open(url, options()).unwrap();
    let last = worker(&engine, &[TEMPLATES, &[HELD]].concat(), true);
    engine.act(tasks[6], Order::Resume, "ann", "").unwrap();
    engine.act(tasks[1], Order::RetryFailed, "ann", "").unwrap();
    let again = request("line", json!({"keyed": true}));
    let mut again = engine.create(&[tasker_wire::TaskRequest { idempotency_key: Some("order-1".into()), ..again }]);
    let again = again.remove(0).unwrap();
    assert_eq!((again.task_uuid, again.existing), (tasks[6], true));
    for task in tasks {
        let view = engine.skip_to_rest(*task, PATIENCE).unwrap();
        assert_eq!(view.status, "complete", "{view:?}");
    }
    assert_eq!(result(&engine, tasks[2], "part_002"), json!(7), "it went on from its checkpoint");
    let leased = engine.step(tasks[8], "a").unwrap();
    assert_eq!(leased.history[0].outcome, "released", "nobody died");
    // A new task and a new event have numbers of their own.
    let before = engine.events(&EventFilter::default()).unwrap();
    let told = create(&engine, "told", json!({}));
    assert_eq!(engine.wait(told, PATIENCE).unwrap().status, "complete");
    let after = engine.events(&EventFilter::default()).unwrap();
    assert_eq!(after.len(), before.len() + 2);
    let highest = before.iter().map(|e| e.msg_id).max();
    assert!(after.iter().skip(before.len()).all(|e| Some(e.msg_id) > highest));
    assert!(last.stop());
    healthy(&engine);
}

fn refused(moved: Result<tasker_runtime::Moved, Error>) -> (Kind, &'static str) {
    let error = moved.unwrap_err();
    assert!(error.hint.is_some(), "{error}");
    (error.kind, error.code)
}

fn move_there_and_back(transport: &str) {
    let server = std::env::var("TASKER_TEST_POSTGRES")
        .expect("a PostgreSQL server: run the tests by `scripts/with-postgres cargo test …` or `make test`");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| format!("sqlite://{}/{name}.db", folder.path().display());
    let (from, back) = (file("from"), file("back"));
    let server = format!("{server}?schema=moved_{transport}_{:x}&queue={transport}", std::process::id());
    let move_all = |from: &str, to: &str, force| move_store(from, to, force, &mut |_, _| {});

    assert_eq!(refused(move_all(&file("nothing"), &server, false)), (Kind::NotFound, "store_not_found"));
    let tasks = fill(&from);
    let before = seen(&Engine::open(&from, options()).unwrap());
    assert_eq!(refused(move_all(&from, &server, false)), (Kind::Conflict, "store_in_use"));
    let moved = move_all(&from, &server, true).unwrap();
    assert_eq!(moved.leased, 1);
    assert_eq!(seen(&Engine::open(&server, options()).unwrap()), before);
    assert_eq!(refused(move_all(&from, &server, true)), (Kind::Conflict, "store_not_empty"));
    // Nobody is alive in the copy.
    let returned = move_all(&server, &back, false).unwrap();
    assert_eq!(returned.rows, moved.rows);
    assert_eq!(seen(&Engine::open(&back, options()).unwrap()), before);
    end(&server, &tasks);
    end(&back, &tasks);
}

#[test]
fn a_store_moves_to_postgresql_and_back() {
    move_there_and_back("ready");
}

#[test]
fn a_store_moves_to_pgmq_and_back() {
    move_there_and_back("pgmq");
}
