//! What a request for a task may ask for: order, time, identity, a context that fits, an environment.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::mpsc::channel;

use common::{
    create, engine, eventually, healthy, hear, name, ok, options, register, request, result, run, wait, worker,
};
use serde_json::{Value, json};
use tasker_runtime::{Engine, Options};
use tasker_wire::{Error, Kind, TaskFilter, TaskRequest, json_of};
use tasker_worker::StepError;

fn one(top: &str) -> String {
    format!("name: one\nnamespace_name: test\n{top}\nsteps: [{{name: a, handler: a}}]")
}

fn refused(engine: &Engine, request: &TaskRequest) -> Error {
    let stored = engine.tasks(&TaskFilter::default()).unwrap().total;
    let error = engine.create(std::slice::from_ref(request)).pop().unwrap().unwrap_err();
    assert_eq!(engine.tasks(&TaskFilter::default()).unwrap().total, stored, "nothing is stored");
    error
}

#[test]
fn the_most_urgent_task_runs_first_and_equals_in_order_of_age() {
    let engine = engine();
    register(&engine, &one(""));
    let (say, hears) = channel();
    let requests: Vec<TaskRequest> = [0, -100, 100, 0, 5]
        .iter()
        .enumerate()
        .map(|(i, priority)| TaskRequest { priority: *priority, ..request("one", json!({"i": i})) })
        .collect();
    assert!(engine.create(&requests).iter().all(Result::is_ok));
    let _worker = worker(&one(""))
        .handler("a", move |c| {
            let say = say.clone();
            async move {
                say.send(c.get_input("i")?.as_i64().unwrap()).unwrap();
                ok(json!(1))
            }
        })
        .configure(|c| c.max_concurrent_handlers = 1)
        .start_on(engine.clone())
        .unwrap();
    let order: Vec<i64> = (0..5).map(|_| hear(&hears)).collect();
    assert_eq!(order, [2, 4, 0, 3, 1]);
    for priority in [101, -101, i32::MIN] {
        let error = refused(&engine, &TaskRequest { priority, ..request("one", json!({})) });
        assert_eq!((error.kind, error.code), (Kind::Invalid, "invalid_request"));
    }
}

#[test]
fn a_task_does_not_run_before_its_time() {
    let engine = engine();
    let _worker = worker(&one("")).handler("a", name).start_on(engine.clone()).unwrap();
    let at = |ms: i64| Some(tasker_runtime::time(engine.now() + ms));
    let later = TaskRequest { run_at: at(3_600_000), ..request("one", json!({})) };
    let later = engine.create(&[later]).pop().unwrap().unwrap().task_uuid;
    let past = TaskRequest { run_at: at(-3_600_000), ..request("one", json!({})) };
    let past = engine.create(&[past]).pop().unwrap().unwrap().task_uuid;
    assert_eq!(wait(&engine, past).status, "complete");
    let view = engine.task(later).unwrap();
    assert_eq!((view.status.as_str(), view.execution_status), ("pending", "waiting_for_dependencies"));
    assert!(view.run_at.is_some());
    healthy(&engine);
    engine.advance_clock(3_600_000);
    assert_eq!(wait(&engine, later).status, "complete");
    let bad = refused(&engine, &TaskRequest { run_at: Some("tomorrow".into()), ..request("one", json!({})) });
    assert!(bad.message.contains("run_at"), "{}", bad.message);
}

#[test]
fn the_same_key_and_payload_is_the_same_task() {
    let engine = engine();
    register(&engine, &one(""));
    let keyed = |context: Value| TaskRequest { idempotency_key: Some("k".into()), ..request("one", context) };
    let first = engine.create(&[keyed(json!({"a": 1, "b": [2]}))]).pop().unwrap().unwrap();
    // The order of keys is no difference.
    let again = engine.create(&[keyed(json!({"b": [2], "a": 1}))]).pop().unwrap().unwrap();
    assert_eq!((first.existing, again.existing, again.task_uuid), (false, true, first.task_uuid));
    let error = refused(&engine, &keyed(json!({"a": 2})));
    assert_eq!((error.kind, error.code), (Kind::Conflict, "task_exists"));
    assert_eq!(error.details.unwrap()["task_uuid"], json!(first.task_uuid.to_string()));
}

#[test]
fn identity_strategies() {
    let engine = engine();
    register(&engine, &one("").replace("name: one", "name: free"));
    register(&engine, &one("identity_strategy: strict").replace("name: one", "name: strict"));
    register(&engine, &one("identity_strategy: caller_provided").replace("name: one", "name: keyed"));
    assert_ne!(create(&engine, "free", json!({})), create(&engine, "free", json!({})));
    create(&engine, "strict", json!({"x": 1}));
    create(&engine, "strict", json!({"x": 2}));
    let error = refused(&engine, &request("strict", json!({"x": 1})));
    assert_eq!((error.kind, error.code), (Kind::Conflict, "task_exists"));
    let error = refused(&engine, &request("keyed", json!({})));
    assert_eq!((error.kind, error.code), (Kind::Invalid, "idempotency_key_required"));
    let keyed = TaskRequest { idempotency_key: Some("k".into()), ..request("keyed", json!({})) };
    assert!(engine.create(&[keyed]).pop().unwrap().is_ok());
}

#[test]
fn every_violation_of_the_input_schema_is_listed() {
    let engine = engine();
    register(
        &engine,
        &one(
            "input_schema: {type: object, required: [email, items], properties: {email: {type: string}, items: {type: array, items: {type: object, properties: {n: {type: integer, minimum: 1}}}}, age: {type: integer}}}",
        ),
    );
    let context = json!({"email": 7, "items": [{"n": 1}, {"n": 0}, {"n": "x"}], "age": 1.5});
    let error = refused(&engine, &request("one", context));
    assert_eq!((error.kind, error.code), (Kind::Unprocessable, "context_violates_schema"));
    let details = error.details.unwrap();
    let mut pointers: Vec<&str> = details.as_array().unwrap().iter().map(|v| v["pointer"].as_str().unwrap()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/age", "/email", "/items/1/n", "/items/2/n"]);
    assert_eq!(refused(&engine, &request("one", json!({}))).details.unwrap().as_array().unwrap().len(), 2);
    create(&engine, "one", json!({"email": "a@b", "items": []}));
}

#[test]
fn limits_hold_up_to_the_last_byte() {
    let engine = engine();
    register(&engine, &one(""));
    let sized = |bytes: usize| {
        let filler = "x".repeat(bytes - r#"{"x":""}"#.len());
        request("one", json!({"x": filler}))
    };
    assert!(engine.create(&[sized(1 << 20)]).pop().unwrap().is_ok());
    assert_eq!(refused(&engine, &sized((1 << 20) + 1)).kind, Kind::TooLarge);
    let deep = |levels: usize| {
        let text = format!("{}{{}}{}", "{\"x\":".repeat(levels - 1), "}".repeat(levels - 1));
        TaskRequest { context: Some(tasker_wire::json_text(text)), ..request("one", json!({})) }
    };
    assert!(engine.create(&[deep(64)]).pop().unwrap().is_ok());
    assert_eq!(refused(&engine, &deep(65)).code, "context_too_deep");
    for context in [json!([]), json!("x"), json!(null)] {
        assert_eq!(refused(&engine, &request("one", context)).kind, Kind::Invalid);
    }
    let many = vec![request("one", json!({})); 1_001];
    assert!(engine.create(&many).iter().all(|r| r.as_ref().is_err_and(|e| e.kind == Kind::TooLarge)));
    assert!(engine.create(&many[..1_000]).iter().all(Result::is_ok));
}

#[test]
fn a_bad_request_stops_no_other() {
    let engine = engine();
    register(&engine, &one(""));
    let results = engine.create(&[
        request("one", json!({})),
        request("on", json!({})),
        TaskRequest { version: Some("9.9.9".into()), ..request("one", json!({})) },
        request("one", json!({})),
    ]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
    let error = results[1].as_ref().unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::NotFound, "template_not_found"));
    assert!(error.hint.as_ref().unwrap().contains("test/one"), "{error}");
}

#[test]
fn defaults_lie_under_the_context() {
    let engine = engine();
    let _worker = worker(&one("default_context: {region: eu, size: {w: 1}}"))
        .handler("a", |c| async move { ok(c.input()?) })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "one", json!({"size": 2, "n": null}));
    assert_eq!(result(&engine, task, "a"), json!({"region": "eu", "size": 2, "n": null}));
}

#[test]
fn the_environment_chooses_overrides() {
    const YAML: &str = "
name: one
namespace_name: test
steps: [{name: a, handler: {callable: a, initialization: {url: live, keep: 1}}, retry: {max_attempts: 3, backoff: none}}]
environments:
  test:
    steps: [{name: ALL, retry: {max_attempts: 1}}, {name: a, handler: {initialization: {url: fake}}}]
";
    for (environment, attempts, url) in [(Some("test"), 1, "fake"), (Some("production"), 3, "live"), (None, 3, "live")]
    {
        let options = Options { environment: environment.map(String::from), ..options() };
        let engine = Engine::open("sqlite::memory:", options).unwrap();
        let _worker = worker(YAML)
            .handler("a", |c| async move { Err(StepError::retryable(c.config()["url"].as_str().unwrap())) })
            .start_on(engine.clone())
            .unwrap();
        let (task, _) = run(&engine, "one", json!({}));
        let step = engine.step(task, "a").unwrap();
        assert_eq!((step.attempts, step.error.unwrap().message.as_str()), (attempts, url), "{environment:?}");
    }
}

#[test]
fn a_request_is_kept_as_it_was_sent() {
    let engine = engine();
    register(&engine, &one(""));
    let sent = TaskRequest {
        initiator: "ann".into(),
        source_system: "crm".into(),
        reason: "test".into(),
        tags: vec!["a".into(), "ж\u{0}".into()],
        correlation_id: Some("c-1".into()),
        parent_correlation_id: Some("p-1".into()),
        options: Some(json_of(&json!({"x": 1}))),
        requested_at: Some("2026-01-31T12:00:00+01:00".into()),
        context: Some(tasker_wire::json_text(r#"{ "n":1.50,"big":123456789012345678901234567890 }"#.into())),
        ..request("one", json!({}))
    };
    let task = engine.create(std::slice::from_ref(&sent)).pop().unwrap().unwrap().task_uuid;
    let view = engine.task(task).unwrap();
    assert_eq!(view.context.get(), r#"{ "n":1.50,"big":123456789012345678901234567890 }"#);
    assert_eq!((view.initiator.as_str(), view.source_system.as_str(), view.reason.as_str()), ("ann", "crm", "test"));
    assert_eq!((view.tags, view.correlation_id.as_str()), (sent.tags, "c-1"));
    assert_eq!(view.parent_correlation_id.as_deref(), Some("p-1"));
    assert_eq!(view.requested_at, "2026-01-31T11:00:00.000Z");
    let tagged = TaskFilter { tag: Some("ж\u{0}".into()), ..TaskFilter::default() };
    assert_eq!(engine.tasks(&tagged).unwrap().total, 1);
}

#[test]
fn a_wait_that_ends_too_early_says_what_the_task_does() {
    let engine = engine();
    register(&engine, &one(""));
    let task = create(&engine, "one", json!({}));
    let error = engine.wait(task, std::time::Duration::ZERO).unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Timeout, "timeout"));
    assert!(error.message.contains("steps_in_process"), "{}", error.message);
    eventually("nobody is left waiting", || engine.task(task).ok());
}
