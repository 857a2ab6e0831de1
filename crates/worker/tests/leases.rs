//! Workers that stop, die or fall silent while they hold a step.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{
    Other, SHORT_LEASE_MS, create, declare_gone, engine, eventually, healthy, hear, name, ok, options, outcomes,
    register, result, say, wait, wait_ms, worker,
};
use serde_json::json;
use tasker_runtime::{Engine, Order, TemplateFile};
use tasker_worker::{Config, StepContext, Worker, WorkerCore};

const ONE: &str = "name: one\nnamespace_name: test\nsteps: [{name: a, handler: a, retry: {max_attempts: 1}}]";

#[test]
fn who_was_taken_for_gone_starts_anew_and_tells_its_handlers() {
    let engine = engine();
    let (say, hears) = channel();
    let worker = worker(ONE)
        .configure(|c| (c.lease_ms, c.max_concurrent_handlers) = (SHORT_LEASE_MS, 1))
        .handler("a", move |c: StepContext| {
            let say = say.clone();
            async move {
                if c.job().claimed().fence > 1 {
                    return ok(json!("second"));
                }
                say.send("started").unwrap();
                while !c.is_cancelled() {
                    std::thread::yield_now();
                }
                say.send("told").unwrap();
                ok(json!("late"))
            }
        })
        .start_on(engine.clone())
        .unwrap();
    let task = create(&engine, "one", json!({}));
    assert_eq!(hear(&hears), "started");
    declare_gone(&engine, &worker);
    assert_eq!(wait(&engine, task).status, "complete");
    assert_eq!(hear(&hears), "told");
    let step = eventually("the late result is kept", || {
        let step = engine.step(task, "a").unwrap();
        (step.history.len() == 3).then_some(step)
    });
    assert_eq!((step.attempts, step.crashes), (2, 1));
    let mut ends = outcomes(&step);
    ends.sort_unstable();
    assert_eq!(ends, ["completed", "lease_expired", "rejected"]);
    assert_eq!(result(&engine, task, "a"), json!("second"));
    let lives = engine.workers().unwrap();
    assert_eq!(lives.len(), 2, "a new life has a row of its own: {lives:?}");
    healthy(&engine);
}

#[test]
fn no_clock_ends_what_a_living_worker_runs() {
    let engine = engine();
    let (say, hears) = channel();
    let (open, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = Arc::new(Mutex::new(Some(gate)));
    let _worker = worker(ONE)
        .configure(|c| c.lease_ms = SHORT_LEASE_MS)
        .handler("a", move |_| {
            let (say, gate) = (say.clone(), gate.lock().unwrap().take());
            async move {
                say.send(()).unwrap();
                gate.expect("one run only").await.unwrap();
                ok(json!("done"))
            }
        })
        .start_on(engine.clone())
        .unwrap();
    let task = create(&engine, "one", json!({}));
    hear(&hears);
    engine.advance_clock(365 * 86_400_000);
    open.send(()).unwrap();
    assert_eq!(wait(&engine, task).status, "complete");
    assert_eq!(outcomes(&engine.step(task, "a").unwrap()), ["completed"]);
}

#[test]
fn a_drain_that_is_cut_by_a_kill_counts_for_nothing_however_often() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("tasker.db").display());
    let engine = Engine::open(&url, options()).unwrap();
    register(&engine, ONE);
    let task = create(&engine, "one", json!({}));
    for _ in 0..3 {
        let mut child = Other::start("child_that_drains_and_never_ends_its_step", CHILD, &url);
        assert_eq!((child.hear(), child.hear()), ("started".to_string(), "draining".to_string()));
        child.kill();
    }
    let _worker = on_file(&url, "parent").handler("a", name).start().unwrap();
    assert_eq!(wait(&engine, task).status, "complete");
    let step = engine.step(task, "a").unwrap();
    assert_eq!((step.attempts, step.crashes), (1, 0));
    assert_eq!(outcomes(&step), ["released", "released", "released", "completed"]);
    healthy(&engine);
}

/// Another process of the test above; nothing by itself.
#[test]
fn child_that_drains_and_never_ends_its_step() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let worker = on_file(&url, "child")
        .handler("a", |_| async {
            say("started");
            std::future::pending().await
        })
        .start()
        .unwrap();
    let engine = worker.engine().clone();
    eventually("the step runs", || (worker.core().status()["busy"] == json!(1)).then_some(()));
    worker.core().begin_drain();
    // Whatever is committed after it, it has been stored by then.
    register(&engine, ONE);
    say("draining");
    loop {
        std::thread::park();
    }
}

/// Another process of the test below; nothing by itself.
#[test]
fn child_with_a_poisonous_step_among_others() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let _worker = Worker::builder(&url)
        .template("six.yaml", SIX)
        .configure(|c| c.engine = options())
        .handler("innocent", |c: StepContext| async move {
            // Beside another step it never ends; alone it does.
            if c.job().claimed().suspect { ok(json!("fine")) } else { std::future::pending().await }
        })
        .handler("poison", move |c: StepContext| async move {
            if !c.job().claimed().suspect {
                // Until all of them run.
                say("started");
                std::future::pending::<()>().await;
            }
            std::process::abort();
        })
        .start()
        .unwrap();
    loop {
        std::thread::park();
    }
}

const SIX: &str = "
name: six
namespace_name: test
steps:
  - {name: poison, handler: poison}
  - {name: a, handler: innocent}
  - {name: b, handler: innocent}
  - {name: c, handler: innocent}
  - {name: d, handler: innocent}
  - {name: e, handler: innocent}
";

#[test]
fn a_step_that_kills_its_process_is_given_up_and_those_beside_it_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("tasker.db").display());
    let engine = Engine::open(&url, options()).unwrap();
    register(&engine, SIX);
    let task = create(&engine, "six", json!({}));
    let mut first = Other::start("child_with_a_poisonous_step_among_others", CHILD, &url);
    assert_eq!(first.hear(), "started");
    let running = || engine.steps(task).unwrap().iter().filter(|s| s.status == "in_progress").count() == 6;
    eventually("all six run", || running().then_some(()));
    first.kill();
    // Each of the next ends by itself, in the poisonous step.
    eventually("the poisonous step is given up", || {
        let mut next = Other::start("child_with_a_poisonous_step_among_others", CHILD, &url);
        next.ended();
        let watches = on_file(&url, "watcher").configure(|c| c.namespaces = Some(vec!["elsewhere".into()]));
        let _watcher = watches.handler("a", name).start().unwrap();
        eventually("its death is seen", || {
            let steps = engine.steps(task).unwrap();
            steps.iter().all(|s| s.status != "in_progress").then_some(())
        });
        (engine.step(task, "poison").unwrap().status == "error").then_some(())
    });
    let steps = engine.steps(task).unwrap();
    for step in &steps {
        if step.name == "poison" {
            assert_eq!((step.crashes, step.error.as_ref().unwrap().error_type.as_str()), (3, "poison_step"));
        } else {
            assert_eq!(step.crashes, 0, "{} is not blamed", step.name);
            assert_ne!(step.status, "error", "{}", step.name);
        }
    }
}

#[test]
fn a_worker_that_drains_finishes_what_runs_and_takes_nothing_new() {
    let engine = engine();
    let (say, hears) = channel();
    let (open, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = Arc::new(Mutex::new(Some(gate)));
    let first = worker(ONE)
        .handler("a", move |_| {
            let (say, gate) = (say.clone(), gate.lock().unwrap().take());
            async move {
                say.send(()).unwrap();
                gate.expect("one step only").await.unwrap();
                ok(json!("done"))
            }
        })
        .configure(|c| c.max_concurrent_handlers = 1)
        .start_on(engine.clone())
        .unwrap();
    let running = create(&engine, "one", json!({}));
    hear(&hears);
    let core = first.core().clone();
    let stop = std::thread::spawn(move || first.stop());
    eventually("the worker drains", || (core.status()["draining"] == json!(true)).then_some(()));
    let waiting = create(&engine, "one", json!({}));
    open.send(()).unwrap();
    assert!(stop.join().unwrap(), "every handler ended in time");
    let step = engine.step(running, "a").unwrap();
    assert_eq!((step.status, outcomes(&step)), ("complete", vec!["completed"]));
    assert_eq!(engine.step(waiting, "a").unwrap().status, "enqueued");
    let _second = worker(ONE).handler("a", name).start_on(engine.clone()).unwrap();
    assert_eq!(wait(&engine, waiting).status, "complete");
}

#[test]
fn what_a_drain_cannot_wait_for_goes_to_another_worker_uncounted() {
    let engine = engine();
    let (say, hears) = channel();
    let first = worker(ONE)
        .handler("a", move |_| {
            let say = say.clone();
            async move {
                say.send(()).unwrap();
                std::future::pending().await
            }
        })
        .start_on(engine.clone())
        .unwrap();
    let task = create(&engine, "one", json!({}));
    hear(&hears);
    assert!(!first.core().drain(Some(Duration::ZERO)), "it still runs");
    first.core().close();
    let step = engine.step(task, "a").unwrap();
    assert_eq!((step.status, step.attempts, outcomes(&step)[0]), ("enqueued", 0, "released"));
    let _second = worker(ONE).handler("a", name).start_on(engine.clone()).unwrap();
    assert_eq!(wait(&engine, task).status, "complete");
    let step = engine.step(task, "a").unwrap();
    let accepted: Vec<_> = step.history.iter().filter(|a| a.accepted).map(|a| a.outcome).collect();
    assert_eq!((step.attempts, accepted), (1, vec!["released", "completed"]));
    drop(first);
}

#[test]
fn workers_start_and_stop_over_and_over_without_losing_a_step() {
    let engine = engine();
    register(&engine, ONE);
    let tasks: Vec<_> = (0..200).map(|_| create(&engine, "one", json!({}))).collect();
    for round in 0..20 {
        let worker = worker(ONE).handler("a", name).start_on(engine.clone()).unwrap();
        match round % 4 {
            0 => drop(worker),
            1 => assert!(worker.stop()),
            2 => {
                worker.core().close();
                worker.core().close();
                assert!(worker.core().is_closed());
            }
            _ => {
                assert!(worker.core().drain(None));
                assert!(worker.core().drain(None));
            }
        }
    }
    let _last = worker(ONE).handler("a", name).start_on(engine.clone()).unwrap();
    for task in tasks {
        assert_eq!(wait(&engine, task).status, "complete");
        assert_eq!(engine.step(task, "a").unwrap().attempts, 1);
    }
    healthy(&engine);
}

#[test]
fn a_step_rests_longer_each_time_a_worker_without_its_handler_is_given_it() {
    let engine = engine();
    let (say, hears) = channel();
    let has = worker(ONE)
        .configure(|c| c.max_concurrent_handlers = 1)
        .handler("a", move |_| {
            let say = say.clone();
            async move {
                say.send(()).unwrap();
                std::future::pending().await
            }
        })
        .start_on(engine.clone())
        .unwrap();
    create(&engine, "one", json!({}));
    hear(&hears);
    let _has_not = worker(ONE).handler("b", name).start_on(engine.clone()).unwrap();
    let task = create(&engine, "one", json!({}));
    let step = eventually("it is handed back over and over", || {
        engine.advance_clock(100);
        let step = engine.step(task, "a").unwrap();
        (step.history.iter().filter(|a| a.next_retry_at.is_some()).count() >= 5).then_some(step)
    });
    let rests: Vec<_> = step.history.iter().filter(|a| a.next_retry_at.is_some()).take(5).map(wait_ms).collect();
    assert_eq!(rests, [400, 800, 1_600, 3_200, 3_200], "{step:?}");
    assert_eq!(step.attempts, 0);
    drop(has);
}

#[test]
fn what_is_cancelled_before_a_handler_has_seen_it_is_never_taken() {
    let engine = engine();
    let template = TemplateFile { path: "one.yaml".into(), source: ONE.into() };
    let core = WorkerCore::start_on(engine.clone(), Config { templates: vec![template], ..Config::default() }).unwrap();
    let task = create(&engine, "one", json!({}));
    let given = |count: u64| (core.status()["pending_events"] == json!(count)).then_some(());
    eventually("the step is given", || given(1));
    engine.act(task, Order::Cancel, "ann", "not wanted").unwrap();
    eventually("it is taken back", || given(0));
    assert!(core.try_take().is_none());
    core.close();
}

const CHILD: &str = "TASKER_TEST_LEASE_CHILD";

fn on_file(url: &str, id: &str) -> tasker_worker::WorkerBuilder {
    let id = id.to_string();
    Worker::builder(url).template("test.yaml", ONE).configure(|c| {
        c.engine = options();
        c.worker_id = Some(id);
        c.lease_ms = 1_000;
    })
}

/// The other process of the tests below; nothing by itself.
#[test]
fn child_that_never_ends_its_step() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let _worker = on_file(&url, "child")
        .handler("a", |_| async {
            say("started");
            std::future::pending().await
        })
        .start()
        .unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_worker_killed_in_a_step_is_followed_by_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("tasker.db").display());
    let engine = Engine::open(&url, options()).unwrap();
    register(&engine, ONE);
    let mut child = Other::start("child_that_never_ends_its_step", CHILD, &url);
    let task = create(&engine, "one", json!({}));
    assert_eq!(child.hear(), "started");
    let _worker = on_file(&url, "parent").handler("a", name).start().unwrap();
    child.kill();
    assert_eq!(wait(&engine, task).status, "complete");
    let step = engine.step(task, "a").unwrap();
    assert_eq!((step.attempts, step.crashes), (2, 1));
    let history: Vec<_> = step.history.iter().map(|a| (a.outcome, a.worker_id.as_deref().unwrap())).collect();
    assert_eq!(history, [("lease_expired", "child"), ("completed", "parent")]);
    assert_eq!(step.history.iter().filter(|a| a.outcome == "completed" && a.accepted).count(), 1);
    healthy(&engine);
}
