//! Domain events as publishers shape them, and what is published of failures and of results that schemas refuse.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{create, engine, ok, outcomes, result, run, wait, worker};
use serde_json::{Map, Value, json};
use tasker_runtime::Engine;
use tasker_wire::EventFilter;
use tasker_worker::{EventPublisher, PublishContext, PublishError, StepError, StepOutcome};
use uuid::Uuid;

/// Fails in the hook that the step's result names.
struct Fails;

impl EventPublisher for Fails {
    fn publisher_name(&self) -> &str {
        "fails"
    }

    fn should_publish(&self, context: &PublishContext) -> bool {
        assert_ne!(context.step_result.result, "should_publish", "no view");
        true
    }

    fn transform_payload(&self, context: &PublishContext) -> Result<Value, PublishError> {
        match &context.step_result.result {
            result if result == "transform_payload" => Err("no payload".into()),
            result => Ok(json!({"shaped": result, "kept": context.step_result.metadata})),
        }
    }

    fn additional_metadata(&self, context: &PublishContext) -> Map<String, Value> {
        assert_ne!(context.step_result.result, "additional_metadata", "no metadata");
        Map::new()
    }

    fn before_publish(&self, _name: &str, payload: &Value, _metadata: &Map<String, Value>) -> bool {
        assert_ne!(payload["shaped"], "before_publish", "no leave");
        payload["shaped"] != "held back"
    }
}

/// What was published of a task: name, payload, and what its publisher failed at.
fn published(engine: &Engine, task: Uuid) -> Vec<(String, Value, Value)> {
    let filter = EventFilter { task_uuid: Some(task.to_string()), ..EventFilter::default() };
    let read = |event: tasker_wire::EventView| {
        let message: Value = serde_json::from_str(event.message.get()).unwrap();
        let name = message["event_name"].as_str().unwrap().to_string();
        (name, message["payload"].clone(), message["metadata"]["publisher_error"].clone())
    };
    engine.events(&filter).unwrap().into_iter().map(read).collect()
}

fn step(keys: &str) -> String {
    format!("name: one\nnamespace_name: test\nsteps: [{{name: a, handler: a, {keys}}}]")
}

#[test]
fn a_publisher_that_fails_in_any_hook_loses_no_event() {
    let engine = engine();
    let _worker = worker(&step("publishes_events: [{name: a.done, publisher: fails}]"))
        .handler("a", |c| async move {
            Ok(StepOutcome::Success { result: c.get_input("hook")?, metadata: Some(json!({"m": 1})) })
        })
        .publisher(Fails)
        .start_on(engine.clone())
        .unwrap();
    for (hook, said) in [
        ("should_publish", "no view"),
        ("transform_payload", "no payload"),
        ("additional_metadata", "no metadata"),
        ("before_publish", "no leave"),
    ] {
        let (task, view) = run(&engine, "one", json!({"hook": hook}));
        assert_eq!(view.status, "complete");
        let events = published(&engine, task);
        assert_eq!((events[0].0.as_str(), &events[0].1), ("a.done", &json!(hook)), "{hook}: the default payload");
        assert!(events[0].2.as_str().unwrap().contains(said), "{hook}: {events:?}");
    }
    let (task, _) = run(&engine, "one", json!({"hook": "none"}));
    let shaped = json!({"shaped": "none", "kept": {"m": 1}});
    assert_eq!(published(&engine, task), [("a.done".to_string(), shaped, Value::Null)]);
    let (task, _) = run(&engine, "one", json!({"hook": "held back"}));
    assert_eq!(published(&engine, task), []);
}

#[test]
fn nothing_is_an_empty_object_in_the_result_and_in_its_events() {
    let engine = engine();
    let _worker = worker(&step("publishes_events: [{name: a.plain}, {name: a.shaped, publisher: fails}]"))
        .handler("a", |_| async { ok(Value::Null) })
        .publisher(Fails)
        .start_on(engine.clone())
        .unwrap();
    let (task, view) = run(&engine, "one", json!({}));
    assert_eq!((view.status.as_str(), result(&engine, task, "a")), ("complete", json!({})));
    let payloads: Vec<Value> = published(&engine, task).into_iter().map(|(_, payload, _)| payload).collect();
    assert_eq!(payloads, [json!({}), json!({"shaped": {}, "kept": {}})]);
}

#[test]
fn the_event_of_a_failure_has_its_message_under_both_names() {
    let schema = "schema: {type: object, required: [error_message, error_code]}";
    let engine = engine();
    let _worker = worker(&step(&format!("publishes_events: [{{name: a.failed, condition: failure, {schema}}}]")))
        .handler("a", |_| async { Err(StepError::permanent("no money").code("E2")) })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "one", json!({}));
    let events = published(&engine, task);
    assert_eq!(events.len(), 1, "the schema that asks for them is met");
    let payload = &events[0].1;
    assert_eq!((&payload["message"], &payload["error_message"]), (&json!("no money"), &json!("no money")));
    assert_eq!((&payload["error_code"], &payload["error_type"]), (&json!("E2"), &json!("permanent_error")));
}

const SCHEMA: &str = "result_schema: {type: object, required: [x], properties: {y: {type: integer}}}";

#[test]
fn a_result_that_does_not_fit_its_schema_completes_and_the_attempt_keeps_what_does_not_fit() {
    let engine = engine();
    let _worker = worker(&step(SCHEMA))
        .handler("a", |c| async move {
            Ok(StepOutcome::Success {
                result: json!({"y": "no"}),
                metadata: Some(c.get_input("kept")?).filter(|m| !m.is_null()),
            })
        })
        .start_on(engine.clone())
        .unwrap();
    for kept in [json!(null), json!({"mine": 1})] {
        let (task, view) = run(&engine, "one", json!({"kept": kept}));
        assert_eq!((view.status.as_str(), result(&engine, task, "a")), ("complete", json!({"y": "no"})));
        let step = engine.step(task, "a").unwrap();
        assert_eq!(outcomes(&step), ["completed"]);
        let metadata: Value = serde_json::from_str(step.history[0].metadata.as_ref().unwrap().get()).unwrap();
        let mut pointers: Vec<&str> =
            metadata["result_violations"].as_array().unwrap().iter().map(|v| v["pointer"].as_str().unwrap()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["", "/y"]);
        assert_eq!(metadata["mine"], kept["mine"]);
    }
}

#[test]
fn a_result_that_does_not_fit_its_schema_fails_the_step_that_says_so() {
    let engine = engine();
    let _worker = worker(&step(&format!("{SCHEMA}, on_result_violation: fail")))
        .handler("a", |_| async { ok(json!({"y": "no"})) })
        .start_on(engine.clone())
        .unwrap();
    let task = create(&engine, "one", json!({}));
    assert_eq!(wait(&engine, task).status, "blocked_by_failures");
    let error = engine.step(task, "a").unwrap().error.unwrap();
    assert_eq!(
        (error.error_type.as_str(), error.error_code.as_deref()),
        ("validation_error", Some("RESULT_VIOLATES_SCHEMA"))
    );
    assert!(!error.retryable && error.message.contains("/y"), "{}", error.message);
}
