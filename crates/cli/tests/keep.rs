//! Backups, moves and the removal of old tasks by the real command.

mod common;

use std::time::Duration;

use common::{Place, code};
use serde_json::json;
use tasker_worker::{StepError, StepOutcome, Worker};

const SHOP: &str = "\
name: pair
namespace_name: shop
steps: [{name: pay, handler: pay}]
";

/// Runs that many tasks, of which every third fails.
fn trade(place: &Place, url: &str, count: usize) {
    let worker = worker(url);
    let requests: Vec<_> = (0..count)
        .map(|n| tasker_wire::TaskRequest::new("shop", "pair", tasker_wire::json_of(&json!({"n": n}))))
        .collect();
    for created in worker.engine().create(&requests) {
        worker.engine().wait(created.expect("a task").task_uuid, Duration::from_secs(60)).expect("a rest");
    }
    worker.stop();
    assert!(place.dir.path().exists());
}

fn worker(url: &str) -> Worker {
    Worker::builder(url)
        .template("pair.yaml", SHOP)
        .handler("pay", |c| async move {
            match c.get_input("n")?.as_u64() {
                Some(n) if n % 3 == 2 => Err(StepError::permanent("unpaid")),
                _ => Ok(StepOutcome::from(c.get_input("n")?)),
            }
        })
        .start()
        .expect("a worker")
}

fn totals(place: &Place, url: &str) -> (u64, u64) {
    let total = |args: &[&str]| {
        let said = place.tasker(&[&["ls", "--url", url, "--json"], args].concat());
        said.json()["total"].as_u64().expect("a number")
    };
    (total(&[]), total(&["--status", "complete"]))
}

fn is_healthy(place: &Place, url: &str) {
    let said = place.tasker(&["doctor", "--url", url, "--json"]);
    assert_eq!((said.code, said.json()["healthy"].as_bool()), (0, Some(true)), "{}{}", said.out, said.err);
}

#[test]
fn a_backup_brings_back_what_there_was() {
    let place = Place::with(SHOP);
    let url = place.url();
    trade(&place, &url, 9);
    let backup = place.tasker(&["backup", "b.db", "--json"]).json();
    assert_eq!(backup["tasks"], 9);
    assert_eq!(code(&place.tasker(&["backup", "b.db", "--json"])), (4, "file_exists".into()));
    trade(&place, &url, 3);
    assert_eq!(totals(&place, &url), (12, 8));
    assert_eq!(code(&place.tasker(&["restore", "b.db", "--json"])), (4, "store_not_empty".into()));
    let busy = worker(&url);
    assert_eq!(code(&place.tasker(&["restore", "b.db", "--force", "--json"])), (4, "store_in_use".into()));
    busy.stop();
    let restored = place.tasker(&["restore", "b.db", "--force", "--json"]);
    assert_eq!((restored.code, restored.json()["tasks"].as_u64()), (0, Some(9)), "{}", restored.err);
    assert_eq!(totals(&place, &url), (9, 6));
    is_healthy(&place, &url);
    place.write("nonsense.db", "this is no backup");
    assert_eq!(place.tasker(&["restore", "nonsense.db", "--force"]).code, 4);
    assert_eq!(totals(&place, &url), (9, 6));
}

#[test]
fn a_store_moves_to_an_empty_one_only() {
    let place = Place::with(SHOP);
    let url = place.url();
    trade(&place, &url, 9);
    let target = format!("sqlite://{}/other.db", place.dir.path().display());
    let moved = place.tasker(&["migrate-store", &url, &target, "--json"]);
    assert_eq!((moved.code, moved.json()["rows"]["tasks"].as_u64()), (0, Some(9)), "{}", moved.err);
    assert_eq!(totals(&place, &target), totals(&place, &url));
    is_healthy(&place, &target);
    let again = place.tasker(&["migrate-store", &url, &target, "--json"]);
    assert_eq!(code(&again), (4, "store_not_empty".into()));
    let nowhere = format!("sqlite://{}/nowhere.db", place.dir.path().display());
    assert_eq!(code(&place.tasker(&["migrate-store", &nowhere, &target, "--json"])), (3, "store_not_found".into()));
    trade(&place, &target, 3);
    assert_eq!(totals(&place, &target).0, 12);
}

#[test]
fn old_tasks_are_removed_but_for_those_that_need_a_person() {
    let place = Place::with(SHOP);
    let url = place.url();
    trade(&place, &url, 9);
    let prune = |args: &[&str]| place.tasker(&[&["prune", "--json"], args].concat()).json()["tasks"].as_u64();
    assert_eq!(prune(&[]), Some(0), "younger than 30 days");
    assert_eq!(prune(&["--older-than", "0", "--dry-run"]), Some(6));
    assert_eq!(totals(&place, &url), (9, 6));
    assert_eq!(prune(&["--older-than", "0"]), Some(6));
    assert_eq!(totals(&place, &url), (3, 0));
    is_healthy(&place, &url);
    let migrated = place.tasker(&["migrate", "--json"]).json();
    assert_eq!(migrated["from"], migrated["to"]);
}
