//! Work in portions: progress that outlives failures, crashes and other workers.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use common::{
    SHORT_LEASE_MS, create, declare_gone, engine, healthy, hear, ok, outcomes, register, result, run, wait, worker,
};
use serde_json::json;
use tasker_worker::{StepContext, StepError, StepOutcome};

const COUNT: &str = "
name: count
namespace_name: test
steps: [{name: a, handler: a, retry: {max_attempts: 1}}]
";

/// Adds up 1..=100 in portions of 25 and notes every item it touches.
fn portion(context: &StepContext, seen: &Mutex<Vec<u64>>) -> Result<StepOutcome, StepError> {
    let checkpoint = context.checkpoint()?;
    let (start, mut total) = checkpoint
        .map_or((0, 0), |c| (c["cursor"].as_u64().unwrap(), c["accumulated_results"]["total"].as_u64().unwrap()));
    let end = (start + 25).min(100);
    for item in start..end {
        seen.lock().unwrap().push(item);
        total += item + 1;
    }
    if end == 100 {
        return ok(json!({"total": total}));
    }
    Ok(StepOutcome::Checkpoint {
        cursor: json!(end),
        items_processed: end,
        accumulated_results: json!({"total": total}),
    })
}

#[track_caller]
fn each_once(seen: &Mutex<Vec<u64>>, up_to: u64) {
    assert_eq!(*seen.lock().unwrap(), (0..up_to).collect::<Vec<_>>());
}

#[test]
fn a_hundred_items_by_twenty_five_use_one_attempt() {
    let engine = engine();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let _worker = worker(COUNT)
        .handler("a", move |c| {
            let outcome = portion(&c, &noted);
            async move { outcome }
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, view) = run(&engine, "count", json!({}));
    assert_eq!((view.status.as_str(), result(&engine, task, "a")), ("complete", json!({"total": 5050})));
    each_once(&seen, 100);
    let step = engine.step(task, "a").unwrap();
    assert_eq!(outcomes(&step), ["checkpointed", "checkpointed", "checkpointed", "completed"]);
    assert_eq!(step.attempts, 1);
    healthy(&engine);
}

#[test]
fn a_crash_after_fifty_goes_on_at_fifty() {
    let engine = engine();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, crashed) = (seen.clone(), Arc::new(AtomicBool::new(false)));
    let (say, hears) = channel();
    let worker = worker(COUNT)
        .configure(|c| (c.lease_ms, c.max_concurrent_handlers) = (SHORT_LEASE_MS, 1))
        .handler("a", move |c| {
            let (noted, crashed, say) = (noted.clone(), crashed.clone(), say.clone());
            async move {
                let at = c.checkpoint()?.map_or(0, |c| c["cursor"].as_u64().unwrap());
                if at == 50 && !crashed.swap(true, Ordering::SeqCst) {
                    say.send(()).unwrap();
                    // Silent for ever: the step will be taken from it.
                    std::future::pending::<()>().await;
                }
                portion(&c, &noted)
            }
        })
        .start_on(engine.clone())
        .unwrap();
    let task = create(&engine, "count", json!({}));
    hear(&hears);
    declare_gone(&engine, &worker);
    assert_eq!(wait(&engine, task).status, "complete");
    assert_eq!(result(&engine, task, "a"), json!({"total": 5050}));
    each_once(&seen, 100);
    let step = engine.step(task, "a").unwrap();
    assert_eq!(outcomes(&step)[..3], ["checkpointed", "checkpointed", "lease_expired"]);
    // The checkpoints after it forgave the death.
    assert_eq!((step.attempts, step.crashes), (1, 0));
}

#[test]
fn a_permanent_failure_keeps_the_checkpoint() {
    let engine = engine();
    let _worker = worker(COUNT)
        .handler("a", |c| async move {
            match c.checkpoint()? {
                None => Ok(StepOutcome::Checkpoint {
                    cursor: json!({"page": "ж\u{0}"}),
                    items_processed: 30,
                    accumulated_results: json!([1.5, null]),
                }),
                Some(_) => Err(StepError::permanent("item 30 is broken")),
            }
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, view) = run(&engine, "count", json!({}));
    assert_eq!(view.status, "blocked_by_failures");
    let step = engine.step(task, "a").unwrap();
    assert_eq!(step.status, "error");
    let kept: serde_json::Value = serde_json::from_str(step.checkpoint.unwrap().get()).unwrap();
    assert_eq!(kept, json!({"cursor": {"page": "ж\u{0}"}, "items_processed": 30, "accumulated_results": [1.5, null]}));
}

#[test]
fn another_worker_goes_on_where_one_stopped() {
    let engine = engine();
    register(&engine, COUNT);
    let task = create(&engine, "count", json!({}));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (say, hears) = channel();
    let noted = seen.clone();
    let first = worker(COUNT)
        .handler("a", move |c| {
            let (noted, say) = (noted.clone(), say.clone());
            async move {
                if c.checkpoint()?.is_some() {
                    say.send(()).unwrap();
                    std::future::pending::<()>().await;
                }
                portion(&c, &noted)
            }
        })
        .start_on(engine.clone())
        .unwrap();
    hear(&hears);
    drop(first);
    let noted = seen.clone();
    let _second = worker(COUNT)
        .handler("a", move |c| {
            let outcome = portion(&c, &noted);
            async move { outcome }
        })
        .start_on(engine.clone())
        .unwrap();
    assert_eq!(wait(&engine, task).status, "complete");
    each_once(&seen, 100);
    assert_eq!(engine.step(task, "a").unwrap().attempts, 1, "a step handed back is no attempt");
}
