//! Many tasks, dead letters and domain events by the real command.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Place, code};
use tasker_worker::{StepError, StepOutcome, Worker};

const SHOP: &str = "\
name: pair
namespace_name: shop
steps:
  - name: pay
    handler: pay
    publishes_events: [{name: shop.paid}, {name: shop.refused, condition: failure}]
";

/// A worker whose step fails until `fixed` is set.
fn worker(place: &Place, fixed: Arc<AtomicBool>) -> Worker {
    Worker::builder(&place.url())
        .template("pair.yaml", SHOP)
        .handler("pay", move |c| {
            let fixed = fixed.clone();
            async move {
                match fixed.load(Ordering::Acquire) {
                    true => Ok(StepOutcome::from(c.get_input("n")?)),
                    false => Err(StepError::permanent(format!("order {} is unpaid", c.get_input("n")?))),
                }
            }
        })
        .start()
        .expect("a worker")
}

/// A project with that many failed tasks, and the switch that mends them.
fn failed(count: usize) -> (Place, Arc<AtomicBool>, Worker) {
    let place = Place::with(SHOP);
    let fixed = Arc::new(AtomicBool::new(false));
    let worker = worker(&place, fixed.clone());
    let requests: Vec<_> = (0..count)
        .map(|n| {
            let context = tasker_wire::json_of(&serde_json::json!({"n": n}));
            tasker_wire::TaskRequest {
                tags: vec![format!("t{}", n % 2)],
                ..tasker_wire::TaskRequest::new("shop", "pair", context)
            }
        })
        .collect();
    for created in worker.engine().create(&requests) {
        let task = created.expect("a task").task_uuid;
        worker.engine().wait(task, std::time::Duration::from_secs(60)).expect("a rest");
    }
    (place, fixed, worker)
}

fn count(place: &Place, status: &str) -> u64 {
    place.tasker(&["ls", "--status", status, "--json"]).json()["total"].as_u64().expect("a number")
}

#[test]
fn retry_failed_mends_every_blocked_task() {
    let (place, fixed, worker) = failed(4);
    let said = place.tasker(&["retry", "--failed", "--dry-run"]);
    assert_eq!((said.code, said.out.as_str()), (0, "retry failed: 4 tasks would be tried; nothing was done\n"));
    assert_eq!(count(&place, "blocked_by_failures"), 4);
    fixed.store(true, Ordering::Release);
    let said = place.tasker(&["retry", "--failed", "--tag", "t1", "--reason", "mended"]);
    assert_eq!((said.code, said.out.as_str()), (0, "retry failed: 2 of 2 tasks done\n"));
    let said = place.tasker(&["retry", "--failed", "--json"]).json();
    assert_eq!((&said["matched"], &said["done"]), (&2.into(), &2.into()));
    worker.engine().doctor().expect("a report");
    common::eventually(|| count(&place, "complete") == 4);
}

#[test]
fn bulk_needs_a_filter_or_all() {
    let (place, ..) = failed(2);
    for command in ["cancel", "pause", "resume", "retry", "give-up"] {
        assert_eq!(code(&place.tasker(&[command, "--json"])), (4, "invalid_request".into()), "{command}");
    }
    let said = place.tasker(&["resolve", "--step", "pay", "--all"]);
    assert_eq!((said.code, said.out.as_str()), (0, "resolve manually: 2 of 2 tasks done\n"));
    let said = place.tasker(&["cancel", "--status", "complete"]);
    assert_eq!((said.code, said.out.as_str()), (4, "cancel: 0 of 2 tasks done\n"));
    assert!(said.err.contains("refused: cannot cancel task"), "{}", said.err);
    assert_eq!(code(&place.tasker(&["ls", "--created-after", "yesterday", "--json"])), (4, "invalid_request".into()));
    assert_eq!(place.tasker(&["ls", "--created-after", "2020-01-01T00:00:00Z", "--json"]).json()["total"], 2);
    assert_eq!(place.tasker(&["ls", "--created-before", "2020-01-01T00:00:00Z", "--json"]).json()["total"], 0);
    assert_eq!(place.tasker(&["ls", "--initiator", "nobody", "--json"]).json()["total"], 0);
}

#[test]
fn five_hundred_dead_letters_are_replayed_with_progress() {
    let (place, fixed, worker) = failed(500);
    let groups = place.tasker(&["dlq", "ls", "--group", "--json"]).json();
    assert_eq!(groups["groups"].as_array().map(Vec::len), Some(1), "numbers do not make another kind: {groups}");
    assert_eq!(groups["groups"][0]["count"], 500);
    fixed.store(true, Ordering::Release);
    let said = place.tasker(&["dlq", "replay", "--all", "--reason", "paid now"]);
    assert_eq!((said.code, said.out.as_str()), (0, "replay: 500 of 500 dead letters done\n"));
    assert_eq!(
        said.err.lines().collect::<Vec<_>>(),
        ["replay: 100 of 500", "replay: 200 of 500", "replay: 300 of 500", "replay: 400 of 500", "replay: 500 of 500"]
    );
    common::eventually(|| count(&place, "complete") == 500);
    assert!(worker.engine().doctor().expect("a report").healthy);
    let said = place.tasker(&["dlq", "ls"]);
    assert!(said.out.is_empty() && said.err.contains("no such dead letters"), "{}{}", said.out, said.err);
}

#[test]
fn dead_letters_are_listed_shown_noted_and_discarded() {
    let (place, ..) = failed(2);
    let said = place.tasker(&["dlq", "ls"]);
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    for words in ["ID", "permanent_failure", "shop/pair", "pay", "order 1 is unpaid"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = place.tasker(&["dlq", "note", "1", "asked the bank"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let said = place.tasker(&["dlq", "show", "1"]);
    for words in ["asked the bank", "is unpaid", "open", "blocked_by_failures"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = place.tasker(&["dlq", "discard", "1", "7"]);
    assert_eq!((said.code, said.out.as_str()), (3, "discard: 1 of 2 dead letters done\n"));
    assert!(said.err.contains("there is no dead letter 7"), "{}", said.err);
    assert_eq!(count(&place, "error"), 1);
    let letters = place.tasker(&["dlq", "ls", "--settled", "--json"]).json();
    assert_eq!(letters["dead_letters"][1]["resolution"], "discarded");
    assert_eq!(code(&place.tasker(&["dlq", "replay", "--json"])), (4, "invalid_request".into()));
    assert_eq!(place.tasker(&["dlq", "replay", "--namespace", "shop", "--dry-run", "--json"]).json()["matched"], 1);
}

#[test]
fn events_are_listed_read_acknowledged_and_replayed() {
    let (place, ..) = failed(2);
    let said = place.tasker(&["events", "ls", "--name", "shop.*"]);
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    assert!(said.out.contains("shop.refused") && said.out.contains("waiting"), "{}", said.out);
    let said = place.tasker(&["events", "read", "--namespace", "shop", "--limit", "1", "--ack"]);
    let event: serde_json::Value = serde_json::from_str(said.out.trim_end()).expect("one line of JSON");
    assert_eq!(event["message"]["event_name"], "shop.refused");
    let said = place.tasker(&["events", "read", "--namespace", "shop"]);
    assert_eq!(said.out.lines().count(), 1, "one was acknowledged: {}", said.out);
    assert_eq!(place.tasker(&["events", "ack", "2"]).out, "1 event acknowledged\n");
    assert_eq!(place.tasker(&["events", "read", "--namespace", "shop"]).out, "");
    assert_eq!(code(&place.tasker(&["events", "replay", "--json"])), (4, "invalid_request".into()));
    assert_eq!(
        place.tasker(&["events", "replay", "--name", "shop.*", "--dry-run"]).out,
        "2 events would be replayed\n"
    );
    assert_eq!(place.tasker(&["events", "replay", "--all"]).out, "2 events replayed\n");
    assert_eq!(place.tasker(&["events", "read", "--namespace", "shop"]).out.lines().count(), 2);
}
