#![allow(missing_docs, clippy::unwrap_used)]
use serde_json::{Value, json};
use std::time::Duration;
use tasker_wire::{TaskRequest, json_of};
use tasker_worker::{StepError, StepOutcome, Worker};

const LINEAR: &str = r#"
name: linear
namespace_name: math
version: 1.0.0
steps:
  - {name: square, handler: m.square}
  - {name: add, handler: m.add, depends_on: [square]}
  - {name: triple, handler: m.triple, depends_on: [add]}
  - {name: half, handler: m.half, depends_on: [triple]}
"#;

#[test]
fn linear() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", dir.path().display());
    let w = Worker::builder(&url)
        .template("linear.yaml", LINEAR)
        .handler("m.square", |c| async move {
            let n: f64 = c.get_input("n")?.as_f64().ok_or_else(|| StepError::validation("n"))?;
            StepOutcome::success(n * n)
        })
        .handler("m.add", |c| async move {
            let n: f64 = c.dependency("square")?;
            StepOutcome::success(n + 10.0)
        })
        .handler("m.triple", |c| async move {
            let n: f64 = c.dependency("add")?;
            StepOutcome::success(n * 3.0)
        })
        .handler("m.half", |c| async move {
            let n: f64 = c.dependency("triple")?;
            StepOutcome::success(n / 2.0)
        })
        .start()
        .unwrap();
    let t = w.engine().create(&[TaskRequest::new("math", "linear", json_of(&json!({"n": 6})))]).pop().unwrap().unwrap();
    let v = w.engine().wait(t.task_uuid, Duration::from_secs(5)).unwrap();
    assert_eq!(v.status, "complete");
    let steps = w.engine().steps(t.task_uuid).unwrap();
    assert_eq!(steps[3].result.as_ref().unwrap().get(), "69.0");
    let d = w.engine().doctor().unwrap();
    assert!(d.healthy, "{d:?}");
    let _: Value = json!(null);
}
