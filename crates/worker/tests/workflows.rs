//! Whole workflows with their answers.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{create, engine, healthy, name, names, ok, register, result, run, text, wait, worker};
use serde_json::{Value, json};
use tasker_worker::{StepContext, StepError, StepOutcome, Worker, document};
use tokio::sync::Barrier;

const LINEAR: &str = "
name: linear
namespace_name: test
version: 1.0.0
steps:
  - {name: square, handler: square}
  - {name: add, handler: add, depends_on: [square]}
  - {name: triple, handler: triple, depends_on: [add]}
  - {name: half, handler: half, depends_on: [triple]}
";

fn number(context: &StepContext, key: &str) -> Result<f64, StepError> {
    context.get_input(key)?.as_f64().ok_or_else(|| StepError::validation(format!("`{key}` must be a number")))
}

#[test]
fn linear() {
    let engine = engine();
    let _worker = worker(LINEAR)
        .handler("square", |c| async move { StepOutcome::success(number(&c, "n")?.powi(2)) })
        .handler("add", |c| async move { StepOutcome::success(c.dependency::<f64>("square")? + 10.0) })
        .handler("triple", |c| async move { StepOutcome::success(c.dependency::<f64>("add")? * 3.0) })
        .handler("half", |c| async move {
            // All ancestors are in sight, not only the parent.
            let _: f64 = c.dependency("square")?;
            StepOutcome::success(c.dependency::<f64>("triple")? / 2.0)
        })
        .start_on(engine.clone())
        .unwrap();
    for (n, expected) in [(6, "69.0"), (10, "165.0"), (8, "111.0")] {
        let (task, view) = run(&engine, "linear", json!({"n": n}));
        assert_eq!((view.status.as_str(), view.execution_status), ("complete", "all_complete"));
        assert_eq!(text(&engine, task, "half"), expected, "n = {n}");
        assert_eq!(view.completion_percentage, 100.0);
    }
    let (task, view) = run(&engine, "linear", json!({}));
    assert_eq!(view.status, "blocked_by_failures");
    let error = engine.step(task, "square").unwrap().error.unwrap();
    assert_eq!((error.error_type.as_str(), error.retryable), ("validation_error", false));
    healthy(&engine);
}

#[test]
fn integers_stay_exact() {
    let engine = engine();
    let yaml = LINEAR.replace("handler: add", "handler: next").replace("handler: triple", "handler: next");
    let yaml = yaml.replace("handler: half", "handler: next").replace("name: linear", "name: squares");
    let _worker = worker(&yaml)
        .handler("square", |c| async move {
            let n = c.get_input("n")?.as_u64().unwrap();
            StepOutcome::success(n * n)
        })
        .handler("next", |c| async move {
            let above = &c.job().definition().dependencies[0];
            let n: u64 = c.dependency(above)?;
            StepOutcome::success(n * n)
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "squares", json!({"n": 6}));
    let found: Vec<String> = ["square", "add", "triple", "half"].iter().map(|s| text(&engine, task, s)).collect();
    assert_eq!(found, ["36", "1296", "1679616", "2821109907456"]);
}

#[test]
fn diamond_with_branches_that_overlap() {
    let engine = engine();
    // Each branch waits for the other inside its handler: only at once can both go on.
    let (left, right) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let meet = (left.clone(), right);
    let _worker = worker(
        "
name: diamond
namespace_name: test
steps:
  - {name: start, handler: start}
  - {name: b, handler: b, depends_on: [start]}
  - {name: c, handler: c, depends_on: [start]}
  - {name: end, handler: end, depends_on: [b, c]}
",
    )
    .handler("start", |c| async move { StepOutcome::success(number(&c, "n")?.powi(2)) })
    .handler("b", {
        let meet = meet.0.clone();
        move |c| {
            let meet = meet.clone();
            async move {
                meet.wait().await;
                StepOutcome::success(c.dependency::<f64>("start")? + 25.0)
            }
        }
    })
    .handler("c", move |c| {
        let meet = left.clone();
        async move {
            meet.wait().await;
            StepOutcome::success(c.dependency::<f64>("start")? * 2.0)
        }
    })
    .handler(
        "end",
        |c| async move { StepOutcome::success((c.dependency::<f64>("b")? + c.dependency::<f64>("c")?) / 2.0) },
    )
    .start_on(engine.clone())
    .unwrap();
    for (n, expected) in [(6, "66.5"), (4, "36.5"), (10, "162.5")] {
        let (task, view) = run(&engine, "diamond", json!({"n": n}));
        assert_eq!((view.status.as_str(), text(&engine, task, "end").as_str()), ("complete", expected));
    }
}

#[test]
fn order_fulfilment() {
    let engine = engine();
    let _worker = worker(
        "
name: order
namespace_name: test
steps:
  - {name: validate, handler: validate}
  - {name: reserve, handler: name, depends_on: [validate]}
  - {name: pay, handler: name, depends_on: [validate, reserve]}
  - {name: ship, handler: ship, depends_on: [validate, reserve, pay]}
",
    )
    .handler("validate", |c| async move {
        let items = c.get_input("items")?;
        let items = items.as_array().filter(|i| !i.is_empty()).ok_or_else(|| StepError::validation("no items"))?;
        let cents = |i: &Value| (i["price"].as_f64().unwrap() * 100.0).round() * i["quantity"].as_f64().unwrap();
        StepOutcome::success(items.iter().map(cents).sum::<f64>() / 100.0)
    })
    .handler("name", name)
    .handler("ship", |c| async move {
        ok(json!({"order_total": c.dependency::<f64>("validate")?, "paid": c.dependency::<String>("pay")?}))
    })
    .start_on(engine.clone())
    .unwrap();
    let items = json!([{"price": 29.99, "quantity": 2}, {"price": 149.99, "quantity": 1}]);
    let (task, _) = run(&engine, "order", json!({"items": items}));
    assert_eq!(result(&engine, task, "ship"), json!({"order_total": 209.97, "paid": "pay"}));
    let (task, view) = run(&engine, "order", json!({"items": []}));
    assert_eq!(view.status, "blocked_by_failures");
    assert_eq!(engine.step(task, "validate").unwrap().attempts, 1);
    assert_eq!(engine.step(task, "ship").unwrap().status, "pending");
}

#[test]
fn approval_by_amount() {
    let engine = engine();
    let _worker = worker(
        "
name: approval
namespace_name: test
steps:
  - {name: validate, handler: name}
  - {name: route, type: decision, handler: route, depends_on: [validate]}
  - {name: auto, handler: name, depends_on: [route]}
  - {name: manager, handler: name, depends_on: [route]}
  - {name: finance, handler: name, depends_on: [route]}
  - {name: finalize, type: deferred, handler: finalize, depends_on: [auto, manager, finance]}
",
    )
    .handler("name", name)
    .handler("route", |c| async move {
        let steps = match number(&c, "amount")? {
            ..1_000.0 => json!(["auto"]),
            ..5_000.0 => json!(["manager"]),
            _ => json!(["manager", "finance"]),
        };
        ok(json!({"decision_point_outcome": {"type": "create_steps", "step_names": steps}}))
    })
    .handler("finalize", |c| async move {
        let mut names = c.job().dependency_names()?;
        names.sort();
        ok(json!(names))
    })
    .start_on(engine.clone())
    .unwrap();
    for (amount, steps, seen) in [
        (json!(500), vec!["validate", "route", "auto", "finalize"], json!(["auto", "route", "validate"])),
        (json!(3000), vec!["validate", "route", "manager", "finalize"], json!(["manager", "route", "validate"])),
        (json!(4999.99), vec!["validate", "route", "manager", "finalize"], json!(["manager", "route", "validate"])),
        (
            json!(10000),
            vec!["validate", "route", "manager", "finance", "finalize"],
            json!(["finance", "manager", "route", "validate"]),
        ),
    ] {
        let (task, view) = run(&engine, "approval", json!({"amount": amount}));
        assert_eq!((view.status.as_str(), view.steps.total as usize), ("complete", steps.len()));
        assert_eq!(names(&engine, task), steps);
        assert_eq!(result(&engine, task, "finalize"), seen);
    }
    healthy(&engine);
}

const CSV: &str = "
name: csv
namespace_name: test
steps:
  - name: analyze
    type: batchable
    handler: analyze
    batch_config: {batch_size: 200, worker_template: rows, cursor_field: row}
  - {name: rows, type: batch_worker, handler: rows, depends_on: [analyze]}
  - {name: aggregate, type: deferred_convergence, handler: aggregate, depends_on: [rows]}
";

fn rows_of(context: &StepContext) -> Result<Vec<i64>, StepError> {
    let path: String = serde_json::from_value(context.get_input("path")?).unwrap();
    let text = fs::read_to_string(path).map_err(|e| StepError::permanent(e.to_string()))?;
    Ok(text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect())
}

fn csv_worker() -> tasker_worker::WorkerBuilder {
    worker(CSV)
        .handler("analyze", |c| async move {
            let rows = rows_of(&c)?.len();
            let size = c.job().definition().batch.as_ref().and_then(|b| b.batch_size).unwrap() as usize;
            if rows == 0 {
                return ok(json!({"batch_processing_outcome": {"type": "no_batches"}}));
            }
            let cursors: Vec<Value> = (0..rows.div_ceil(size))
                .map(|i| json!({"batch_id": format!("{:03}", i + 1), "start_cursor": i * size, "end_cursor": rows.min((i + 1) * size), "batch_size": size}))
                .collect();
            ok(json!({"batch_processing_outcome": {
                "type": "create_batches", "worker_template_name": "rows", "worker_count": cursors.len(),
                "cursor_configs": cursors, "total_items": rows,
            }}))
        })
        .handler("rows", |c| async move {
            let inputs = c.step_inputs()?;
            if inputs["is_no_op"] == json!(true) {
                return ok(json!({"no_op": true}));
            }
            let at = |key: &str| inputs["cursor"][key].as_u64().unwrap() as usize;
            let rows = rows_of(&c)?;
            let part = &rows[at("start_cursor")..at("end_cursor")];
            ok(json!({"count": part.len(), "sum": part.iter().sum::<i64>()}))
        })
        .handler("aggregate", |c| async move {
            let (mut workers, mut count, mut sum) = (0, 0, 0);
            for name in c.job().dependency_names()?.iter().filter(|n| n.starts_with("rows_")) {
                let part: Value = c.dependency(name)?;
                if part["no_op"] != json!(true) {
                    workers += 1;
                    count += part["count"].as_i64().unwrap();
                    sum += part["sum"].as_i64().unwrap();
                }
            }
            ok(json!({"worker_count": workers, "total_processed": count, "sum": sum}))
        })
}

fn csv_file(folder: &Path, rows: usize) -> (String, i64) {
    let values: Vec<i64> = (0..rows as i64).map(|i| (i * 7_919) % 1_000).collect();
    let lines: String = values.iter().enumerate().map(|(i, v)| format!("{i},{v}\n")).collect();
    let path = folder.join(format!("{rows}.csv"));
    fs::write(&path, format!("id,value\n{lines}")).unwrap();
    (path.display().to_string(), values.iter().sum())
}

#[test]
fn csv_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let _worker = csv_worker().start_on(engine.clone()).unwrap();
    for (rows, workers) in [(1_000, 5), (1_001, 6), (1, 1)] {
        let (path, sum) = csv_file(folder.path(), rows);
        let (task, view) = run(&engine, "csv", json!({"path": path}));
        assert_eq!((view.status.as_str(), view.steps.total), ("complete", workers + 2));
        let expected = json!({"worker_count": workers, "total_processed": rows, "sum": sum});
        assert_eq!(result(&engine, task, "aggregate"), expected);
    }
    let (path, _) = csv_file(folder.path(), 0);
    let (task, _) = run(&engine, "csv", json!({"path": path}));
    assert_eq!(names(&engine, task), ["analyze", "rows_001", "aggregate"]);
    assert_eq!(result(&engine, task, "aggregate"), json!({"worker_count": 0, "total_processed": 0, "sum": 0}));
    let inputs = engine.step(task, "rows_001").unwrap().inputs.unwrap();
    assert!(inputs.get().contains(r#""is_no_op":true"#));
}

#[test]
fn an_isolated_batch_failure_is_listed_and_the_task_completes() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let yaml = CSV.replace("cursor_field: row", "failure_strategy: isolate");
    let mut seen = worker(&yaml).handler("rows", |c| async move {
        match c.job().step_name() {
            "rows_002" => Err(StepError::permanent("bad rows")),
            _ => ok(json!({"count": 1, "sum": 1})),
        }
    });
    // The other two handlers are those of the whole file.
    seen = seen
        .handler("analyze", |_| async move {
            ok(json!({"batch_processing_outcome": {
                "type": "create_batches", "worker_template_name": "rows", "worker_count": 3, "cursor_configs": [1, 2, 3],
            }}))
        })
        .handler("aggregate", |c| async move {
            let mut names = c.job().dependency_names()?;
            names.sort();
            ok(json!(names))
        });
    let _worker = seen.start_on(engine.clone()).unwrap();
    let (path, _) = csv_file(folder.path(), 10);
    let (task, view) = run(&engine, "csv", json!({"path": path}));
    assert_eq!((view.status.as_str(), view.failed_batches), ("complete", vec!["rows_002".to_string()]));
    assert_eq!(result(&engine, task, "aggregate"), json!(["analyze", "rows_001", "rows_003"]));
}

#[test]
fn a_thousand_branches_and_their_join() {
    let engine = engine();
    let branches: String =
        (0..1_000).map(|i| format!("  - {{name: b{i}, handler: one, depends_on: [start]}}\n")).collect();
    let all: Vec<String> = (0..1_000).map(|i| format!("b{i}")).collect();
    let yaml = format!(
        "name: wide\nnamespace_name: test\nsteps:\n  - {{name: start, handler: one}}\n{branches}  - {{name: join, handler: sum, depends_on: [{}]}}\n",
        all.join(", ")
    );
    let _worker = worker(&yaml)
        .handler("one", |_| async { ok(json!(1)) })
        .handler("sum", |c| async move {
            let mut sum = 0;
            for above in &c.job().definition().dependencies {
                sum += c.dependency::<i64>(above)?;
            }
            ok(json!(sum))
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, view) = run(&engine, "wide", json!({}));
    assert_eq!((view.status.as_str(), view.steps.complete), ("complete", 1_002));
    assert_eq!(result(&engine, task, "join"), json!(1_000));
    healthy(&engine);
}

#[test]
fn one_template_name_in_two_namespaces_is_two_templates() {
    let engine = engine();
    let yaml = |namespace: &str| format!("name: same\nnamespace_name: {namespace}\nsteps: [{{name: a, handler: a}}]");
    let start = |namespace: &'static str| {
        Worker::builder("sqlite::memory:")
            .template("test.yaml", &yaml(namespace))
            .handler("a", move |_| async move { ok(json!(namespace)) })
            .start_on(engine.clone())
            .unwrap()
    };
    let _workers = (start("test"), start("other"));
    let (first, _) = run(&engine, "same", json!({}));
    let mut request = common::request("same", json!({}));
    request.namespace = "other".into();
    let second = engine.create(&[request]).pop().unwrap().unwrap().task_uuid;
    wait(&engine, second);
    assert_eq!((result(&engine, first, "a"), result(&engine, second, "a")), (json!("test"), json!("other")));
}

#[test]
fn a_task_that_waits_before_any_worker_is_there_is_found_by_the_first() {
    let engine = engine();
    register(&engine, LINEAR);
    let task = create(&engine, "linear", json!({"n": 6}));
    let _worker = worker(LINEAR)
        .handler("square", name)
        .handler("add", name)
        .handler("triple", name)
        .handler("half", name)
        .start_on(engine.clone())
        .unwrap();
    assert_eq!(wait(&engine, task).status, "complete");
}

#[test]
fn the_step_event_tells_what_dependencies_keep_with_their_attempts() {
    let engine = engine();
    let yaml = "name: pair\nnamespace_name: test\nsteps:\n  - {name: a, handler: a}\n  - {name: b, handler: b, depends_on: [a]}";
    let _worker = worker(yaml)
        .handler("a", |_| async {
            Ok(StepOutcome::Success { result: json!({"n": 1}), metadata: Some(json!({"source": "cache"})) })
        })
        .handler("b", |c| async move {
            let event: Value = serde_json::from_str(&document(c.job())?)?;
            ok(event["task_sequence_step"]["dependency_results"]["a"].clone())
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "pair", json!({}));
    let envelope = result(&engine, task, "b");
    assert_eq!((&envelope["result"], &envelope["metadata"]["custom"]), (&json!({"n": 1}), &json!({"source": "cache"})));
    assert!(envelope["metadata"]["execution_time_ms"].is_number() && envelope["metadata"]["worker_id"].is_string());
}
