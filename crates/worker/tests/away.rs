//! Workers whose store does not answer.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;
#[path = "../../engine/tests/common/mod.rs"]
mod faulty;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use common::{create, hear, options, outcomes, wait, worker};
use faulty::Faulty;
use serde_json::json;
use tasker_runtime::Engine;
use tasker_worker::StepContext;

const SHORT: &str = "
name: short
namespace_name: test
steps: [{name: a, handler: a, timeout_seconds: 0.5, retry: {max_attempts: 1}}]
";

#[test]
fn a_budget_ends_while_the_store_does_not_answer() {
    let store = Faulty::new();
    let (say, looks) = channel();
    let (open, gate) = channel::<()>();
    let (say, gate): (_, Mutex<Receiver<()>>) = (Mutex::new(say), Mutex::new(gate));
    store.when_asked_what_is_lost(move || {
        // Nobody hears it once the test has heard enough.
        let _ = say.lock().unwrap().send(());
        // Shut until the other end is gone.
        let _ = gate.lock().unwrap().recv();
    });
    let engine = Engine::over(store, options(), None).unwrap();
    let (tell, told) = channel();
    let worker = worker(SHORT)
        .configure(|c| c.lease_ms = 10)
        .handler("a", move |c: StepContext| {
            let tell = tell.clone();
            async move {
                let _told = Ends(tell);
                c.job().cancelled().await;
                common::ok(json!("late"))
            }
        })
        .start_on(engine.clone())
        .unwrap();
    // Gone before the worker, which waits for its threads, however this test ends.
    let open = open;
    let task = create(&engine, "short", json!({}));
    hear(&looks);
    hear(&told);
    drop(open);
    assert_eq!(wait(&engine, task).status, "blocked_by_failures");
    let step = engine.step(task, "a").unwrap();
    assert_eq!((outcomes(&step)[0], step.error.unwrap().error_type.as_str()), ("timed_out", "timeout"));
    assert!(worker.stop());
}

/// Tells that a handler has ended, however it ends.
struct Ends(std::sync::mpsc::Sender<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}
