//! Attempts that fail: retries, budgets, panics, missing handlers, and what of it can be read afterwards.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{create, engine, eventually, healthy, hear, ok, outcomes, register, result, run, wait, wait_ms, worker};
use serde_json::json;
use tasker_core::template::Handler;
use tasker_runtime::Order;
use tasker_wire::{DeadLetterFilter, DeadLetterView};
use tasker_worker::{Resolver, Signal, StepContext, StepError, StepHandler, StepOutcome};

fn letters(engine: &tasker_runtime::Engine) -> Vec<DeadLetterView> {
    engine.dead_letters(&DeadLetterFilter { all: true, ..DeadLetterFilter::default() }).unwrap()
}

fn one(keys: &str) -> String {
    format!("name: one\nnamespace_name: test\nsteps: [{{name: a, handler: a, {keys}}}]")
}

/// Lets a handler wait, without giving its thread away, until the test says a word.
fn gate() -> (Sender<()>, Arc<Mutex<Receiver<()>>>) {
    let (open, gate) = channel();
    (open, Arc::new(Mutex::new(gate)))
}

#[test]
fn a_step_that_fails_twice_and_then_succeeds() {
    let engine = engine();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let _worker = worker(&one("retry: {max_attempts: 5, backoff_base_ms: 1}"))
        .handler("a", move |c| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_eq!(c.retry_count(), call);
                if call < 2 { Err(StepError::retryable("not yet")) } else { ok(json!(call)) }
            }
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, view) = run(&engine, "one", json!({}));
    assert_eq!((view.status.as_str(), calls.load(Ordering::SeqCst)), ("complete", 3));
    let step = engine.step(task, "a").unwrap();
    assert_eq!((step.attempts, outcomes(&step)), (3, vec!["failed", "failed", "completed"]));
    assert_eq!(step.history.iter().map(|a| a.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(step.error.is_none() && step.history[0].error.is_some(), "the error stays in the history only");
    healthy(&engine);
}

#[test]
fn a_permanent_failure_is_not_tried_again() {
    let engine = engine();
    let _worker = worker(&one("retry: {max_attempts: 5}"))
        .handler("a", |_| async { Err(StepError::permanent("never")) })
        .start_on(engine.clone())
        .unwrap();
    let (task, view) = run(&engine, "one", json!({}));
    assert_eq!((view.status.as_str(), view.execution_status), ("blocked_by_failures", "blocked_by_failures"));
    assert_eq!(view.health_status, "blocked");
    let step = engine.step(task, "a").unwrap();
    assert_eq!((step.status, step.attempts), ("error", 1));
    let letters = letters(&engine);
    assert_eq!((letters[0].task_uuid.clone(), letters[0].reason), (task.to_string(), "permanent_failure"));
}

#[test]
fn waits_between_attempts_follow_the_template() {
    let engine = engine();
    let _worker = worker(&one("retry: {max_attempts: 3, backoff_base_ms: 50}"))
        .handler("a", |_| async { Err(StepError::retryable("always")) })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "one", json!({}));
    let step = engine.step(task, "a").unwrap();
    assert_eq!((step.status, step.attempts, step.history.len()), ("error", 3, 3));
    assert_eq!(step.history[..2].iter().map(wait_ms).collect::<Vec<_>>(), [50, 100]);
    assert_eq!(step.history[2].next_retry_at, None);
    assert_eq!(letters(&engine)[0].reason, "max_retries_exceeded");
}

#[test]
fn a_long_wait_ends_when_its_time_has_come() {
    let engine = engine();
    let _worker = worker(&one("retry: {max_attempts: 2, backoff_base_ms: 3600000, max_backoff_ms: 3600000}"))
        .handler("a", |c| async move {
            if c.retry_count() == 0 { Err(StepError::retryable("in an hour")) } else { ok(json!(1)) }
        })
        .start_on(engine.clone())
        .unwrap();
    let task = create(&engine, "one", json!({}));
    eventually("the retry is waited for", || (engine.task(task).unwrap().status == "waiting_for_retry").then_some(()));
    assert!(engine.step(task, "a").unwrap().next_retry_at.is_some());
    engine.advance_clock(3_600_000);
    assert_eq!(wait(&engine, task).status, "complete");
}

#[test]
fn the_handlers_own_delay_wins() {
    let engine = engine();
    let _worker = worker(&one("retry: {max_attempts: 2, backoff_base_ms: 3600000}"))
        .handler("a", |_| async { Err(StepError::http(503, "busy").after(Duration::from_millis(7))) })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "one", json!({}));
    let step = engine.step(task, "a").unwrap();
    assert_eq!(wait_ms(&step.history[0]), 7);
    assert_eq!(step.error.unwrap().status_code, Some(503));
}

#[test]
fn errors_carry_everything_through() {
    let engine = engine();
    let _worker = worker(&one("retry: {max_attempts: 3}"))
        .handler("a", |_| async {
            let mut error = StepError::permanent("card declined: жук\u{0}").error_type("PaymentError").code("CARD_42");
            error.context = Some(json!({"card": "…1234"}));
            error.metadata = Some(json!({"provider": "acme"}));
            Err(error)
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "one", json!({}));
    let step = engine.step(task, "a").unwrap();
    let error = step.error.unwrap();
    assert_eq!((error.message.as_str(), error.error_type.as_str()), ("card declined: жук\u{0}", "PaymentError"));
    assert_eq!((error.error_code.as_deref(), error.retryable), (Some("CARD_42"), false));
    assert_eq!(error.context.unwrap().get(), r#"{"card":"…1234"}"#);
    assert_eq!(step.history[0].metadata.as_ref().unwrap().get(), r#"{"provider":"acme"}"#);
}

#[test]
fn http_answers_are_classified_by_status() {
    for (status, attempts) in [(408, 2), (425, 2), (429, 2), (500, 2), (503, 2), (404, 1), (422, 1), (501, 1), (505, 1)]
    {
        let engine = engine();
        let _worker = worker(&one("retry: {max_attempts: 2, backoff: none}"))
            .handler("a", move |_| async move { Err(StepError::http(status, "no")) })
            .start_on(engine.clone())
            .unwrap();
        let (task, _) = run(&engine, "one", json!({}));
        assert_eq!(engine.step(task, "a").unwrap().attempts, attempts, "{status}");
    }
}

#[test]
fn a_panic_fails_the_attempt_and_not_the_worker() {
    let engine = engine();
    let _worker = worker(&one("retry: {max_attempts: 2, backoff: none}"))
        .handler("a", |c| async move {
            assert!(c.retry_count() > 0, "the first attempt panics");
            ok(json!("alive"))
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, view) = run(&engine, "one", json!({}));
    assert_eq!((view.status.as_str(), result(&engine, task, "a")), ("complete", json!("alive")));
    let step = engine.step(task, "a").unwrap();
    let error = step.history[0].error.as_ref().unwrap();
    assert_eq!((error.error_type.as_str(), error.retryable), ("panic", true));
    assert!(error.message.contains("the first attempt panics"), "{}", error.message);
}

#[test]
fn a_resolver_that_panics_fails_the_step_and_not_the_worker() {
    struct Panics;
    impl Resolver for Panics {
        fn name(&self) -> &str {
            "panics"
        }
        fn resolve(&self, asked: &Handler) -> Option<Arc<dyn StepHandler>> {
            panic!("no answer for {}", asked.callable)
        }
    }
    let engine = engine();
    let yaml = "name: two\nnamespace_name: test\nsteps: [{name: a, handler: unheard_of, retry: {max_attempts: 1}}, {name: b, handler: b}]";
    let cores = std::thread::available_parallelism().map_or(2, usize::from) as u32;
    let _worker =
        worker(yaml).resolver(Panics).handler("b", |_| async { ok(json!(1)) }).start_on(engine.clone()).unwrap();
    // More often than there are threads that could be lost.
    for _ in 0..cores + 2 {
        let (task, view) = run(&engine, "two", json!({}));
        assert_eq!(view.status, "blocked_by_failures");
        let error = engine.step(task, "a").unwrap().error.unwrap();
        assert_eq!(error.error_type, "panic");
        assert!(error.message.contains("no answer for unheard_of"), "{}", error.message);
    }
}

#[test]
fn a_worker_that_cannot_go_on_says_so() {
    let engine = engine();
    let worker = worker(&one("")).handler("a", |_| async { ok(json!(1)) }).start_on(engine.clone()).unwrap();
    worker.core().fail("a thread is gone");
    let Some(Signal::Fatal { message }) = worker.core().try_signal() else { panic!("it says nothing") };
    assert!(message.starts_with("a thread is gone"), "{message}");
    assert!(worker.core().is_closed());
    // What it was given is there for others.
    drop(worker);
    create(&engine, "one", json!({}));
    let other = common::worker(&one("")).handler("a", |_| async { ok(json!(2)) }).start_on(engine.clone()).unwrap();
    let (task, _) = run(&engine, "one", json!({}));
    assert_eq!(result(&engine, task, "a"), json!(2));
    drop(other);
}

#[test]
fn a_budget_that_runs_out_fails_the_attempt_and_tells_the_handler() {
    struct Dropped(Sender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let engine = engine();
    let (told, hears) = channel();
    let _worker = worker(&one("timeout_seconds: 0.05, retry: {max_attempts: 2, backoff: none}"))
        .handler("a", move |c: StepContext| {
            let dropped = Dropped(told.clone());
            async move {
                if c.retry_count() > 0 {
                    return ok(json!("second"));
                }
                let _dropped = dropped;
                c.job().cancelled().await;
                std::future::pending().await
            }
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, view) = run(&engine, "one", json!({}));
    hear(&hears);
    assert_eq!(view.status, "complete");
    let step = engine.step(task, "a").unwrap();
    assert_eq!(step.attempts, 2);
    let first = &step.history[0];
    let error = first.error.as_ref().unwrap();
    assert_eq!((first.outcome, error.error_type.as_str(), error.retryable), ("timed_out", "timeout", true));
    assert!(error.message.contains("timeout_seconds of 0.05"), "{}", error.message);
    assert!(first.execution_time_ms.unwrap() >= 50.0);
}

#[test]
fn a_result_after_the_budget_is_rejected_and_can_be_read() {
    let engine = engine();
    let (open, gate) = gate();
    let _worker = worker(&one("timeout_seconds: 0.05, retry: {max_attempts: 2, backoff: none}"))
        .handler("a", move |c: StepContext| {
            let gate = gate.clone();
            async move {
                if c.retry_count() > 0 {
                    return ok(json!("second"));
                }
                // A handler that does not listen: it holds its thread until the test lets go.
                gate.lock().unwrap().recv().unwrap();
                assert!(c.is_cancelled());
                ok(json!("late"))
            }
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "one", json!({}));
    open.send(()).unwrap();
    let step = eventually("the late result is kept", || {
        let step = engine.step(task, "a").unwrap();
        (step.history.len() == 3).then_some(step)
    });
    let rejected = step.history.iter().find(|a| a.outcome == "rejected").unwrap();
    assert!(!rejected.accepted);
    assert_eq!((rejected.fence, rejected.rejected_result.as_ref().unwrap().get()), (1, "\"late\""));
    assert_eq!(result(&engine, task, "a"), json!("second"));
    assert_eq!(step.history.iter().filter(|a| a.accepted && a.outcome == "completed").count(), 1);
    assert_eq!(engine.doctor().unwrap().rejected, 1);
}

#[test]
fn a_step_nobody_can_run_names_the_nearest_handlers_and_who_was_asked() {
    let engine = engine();
    register(&engine, &one("").replace("handler: a", "handler: shop.chargeCard"));
    let other = worker("name: other\nnamespace_name: test\nsteps: [{name: a, handler: x}]")
        .handler("x", common::name)
        .configure(|c| c.worker_id = Some("bystander".into()))
        .start_on(engine.clone())
        .unwrap();
    other.core().drain(None);
    let _worker = worker(&one("").replace("handler: a", "handler: shop.chargeCard"))
        .handler("shop.charge_card", common::name)
        .handler("shop.refund", common::name)
        .configure(|c| c.worker_id = Some("asked".into()))
        .start_on(engine.clone())
        .unwrap();
    let (task, view) = run(&engine, "one", json!({}));
    assert_eq!(view.status, "blocked_by_failures");
    let step = engine.step(task, "a").unwrap();
    let error = step.error.unwrap();
    assert_eq!((error.error_type.as_str(), error.retryable, step.attempts), ("handler_not_found", false, 1));
    for words in ["shop.chargeCard", "`shop.charge_card`, `shop.refund`", "asked", "bystander", "test/one"] {
        assert!(error.message.contains(words), "{}", error.message);
    }
}

#[test]
fn a_step_another_worker_can_run_is_handed_to_it_without_an_attempt() {
    let engine = engine();
    // Takes everything first: it starts alone, and holds the step when the other arrives.
    let yaml = one("");
    let able = worker(&yaml)
        .handler("a", common::name)
        .configure(|c| c.worker_id = Some("able".into()))
        .start_on(engine.clone())
        .unwrap();
    let _unable = worker("name: other\nnamespace_name: test\nsteps: [{name: a, handler: x}]")
        .handler("x", common::name)
        .start_on(engine.clone())
        .unwrap();
    for _ in 0..20 {
        let (task, view) = run(&engine, "one", json!({}));
        assert_eq!(view.status, "complete");
        let step = engine.step(task, "a").unwrap();
        assert_eq!(step.attempts, 1);
        assert_eq!(step.history.last().unwrap().worker_id.as_deref(), Some("able"));
        assert!(outcomes(&step)[..step.history.len() - 1].iter().all(|o| *o == "released"), "{:?}", outcomes(&step));
    }
    drop(able);
}

#[test]
fn a_result_that_is_no_json_fails_the_step_for_good() {
    let engine = engine();
    let _worker = worker(&one("retry: {max_attempts: 3}"))
        .handler("a", |_| async { StepOutcome::success(std::collections::BTreeMap::from([((1, 2), 3)])) })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "one", json!({}));
    let step = engine.step(task, "a").unwrap();
    assert_eq!((step.attempts, step.error.unwrap().error_type.as_str()), (1, "serialization_error"));
}

#[test]
fn cancelling_a_task_tells_its_running_handlers() {
    let engine = engine();
    let (say, hears) = channel();
    let _worker = worker(&one(""))
        .handler("a", move |c: StepContext| {
            let say = say.clone();
            async move {
                say.send("started").unwrap();
                while !c.is_cancelled() {
                    std::thread::yield_now();
                }
                say.send("told").unwrap();
                ok(json!("too late"))
            }
        })
        .start_on(engine.clone())
        .unwrap();
    let task = create(&engine, "one", json!({}));
    assert_eq!(hear(&hears), "started");
    let view = engine.act(task, Order::Cancel, "ann", "no longer wanted").unwrap();
    assert_eq!(view.status, "cancelled", "at once");
    assert_eq!(hear(&hears), "told");
    let step = eventually("the late result is kept", || {
        let step = engine.step(task, "a").unwrap();
        (step.history.len() == 2).then_some(step)
    });
    assert_eq!((step.status, outcomes(&step)), ("cancelled", vec!["cancelled", "rejected"]));
    let audit = engine.audit(task).unwrap();
    assert_eq!(
        (audit[0].action.as_str(), audit[0].actor.as_str(), audit[0].reason.as_str()),
        ("cancel", "ann", "no longer wanted")
    );
}

#[test]
fn an_operator_brings_a_blocked_task_to_its_end() {
    let engine = engine();
    let broken = Arc::new(AtomicU32::new(1));
    let state = broken.clone();
    let _worker = worker(&one("retry: {max_attempts: 1}"))
        .handler("a", move |_| {
            let broken = state.load(Ordering::SeqCst) == 1;
            async move { if broken { Err(StepError::permanent("broken")) } else { ok(json!("mended")) } }
        })
        .start_on(engine.clone())
        .unwrap();
    let (task, _) = run(&engine, "one", json!({}));
    broken.store(0, Ordering::SeqCst);
    engine.act(task, Order::RetryFailed, "ann", "mended").unwrap();
    assert_eq!(wait(&engine, task).status, "complete");
    assert_eq!(result(&engine, task, "a"), json!("mended"));
    assert!(letters(&engine)[0].resolved_at.is_some());
}
