//! A worker's process is killed, by SIGKILL, around the commit of a step's result: the chain goes on all the same.
//!
//! A predecessor of this engine wrote a result and the place of its child in the queue one after the other; a worker that
//! died in between left the rest of the chain waiting for ever.
#![allow(missing_docs)]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGKILL;
use tasker_runtime::{Attach, Engine, Options, TemplateFile};
use tasker_wire::{Report, TaskFilter, TaskRequest, json_text};

const CHAIN: &str = "
name: chain
namespace_name: killed
steps:
  - {name: one, handler: h}
  - {name: two, handler: h, depends_on: [one]}
  - {name: three, handler: h, depends_on: [two]}
  - {name: four, handler: h, depends_on: [three]}
";
/// What the process of a round is told: store and number of the round.
const STORE: &str = "TASKER_KILLED_STORE";
const ROUND: &str = "TASKER_KILLED_ROUND";
/// Processes that are killed; the one after them brings everything to its end.
const ROUNDS: u64 = 40;
/// How much later each is killed than the one before, after its report was sent.
const STRIDE: Duration = Duration::from_micros(40);

fn open(url: &str) -> Engine {
    // A killed process may be holding steps of all the others' tasks.
    let options = Options { environment: Some("test".into()), max_crashes: 1_000, ..Options::default() };
    Engine::open(url, options).expect("the store opens")
}

/// Works until it is killed: with the second step of its own task at work, or a little after that has been reported, or
/// as soon as the result can be read. The last round is not killed.
fn work(url: &str, round: u64) {
    let engine = open(url);
    let file = TemplateFile { path: "chain.yaml".into(), source: CHAIN.into() };
    engine.register_templates(&[file], true).remove(0).expect("the template is valid");
    let attach = Attach {
        name: None,
        language: "rust",
        sdk_version: "0".into(),
        queues: vec!["killed".into()],
        handlers: vec!["h".into()],
        slots: 4,
        lease_ms: 30_000,
    };
    let session = engine.attach(attach).expect("a worker gets its seat");
    let request = TaskRequest::new("killed", "chain", json_text(format!("{{\"round\": {round}}}")));
    let own = engine.create(&[request]).remove(0).expect("the task is created").task_uuid;
    let die = || signal_hook::low_level::raise(SIGKILL).expect("the signal is sent");
    let complete = TaskFilter { status: Some("complete".into()), limit: Some(1), ..TaskFilter::default() };
    while round < ROUNDS || engine.tasks(&complete).expect("tasks are counted").total <= ROUNDS {
        session.wait(Duration::from_millis(20));
        while let Some(given) = session.try_take() {
            let dies = round < ROUNDS && given.info.uuid == own && given.claimed.no == 1;
            if dies && round == 0 {
                die();
            }
            session.free_slots(1);
            let result = format!("{{\"step\": {}}}", given.claimed.no);
            let report = Report::Success { result, metadata: None, execution_us: 1 };
            engine.report(&session, &given.info, &given.claimed, report, Vec::new());
            if !dies {
                continue;
            }
            let sent = Instant::now();
            if round == ROUNDS - 1 {
                while engine.step(own, "two").expect("the step is there").status != "complete" {}
            }
            while sent.elapsed() < STRIDE * round as u32 {}
            die();
        }
    }
    engine.detach(&session);
}

#[test]
fn the_third_step_of_a_chain_runs_though_its_worker_is_killed_while_the_second_is_stored() {
    if let (Ok(store), Ok(round)) = (std::env::var(STORE), std::env::var(ROUND)) {
        return work(&store, round.parse().expect("a number"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/t.db", folder.path().display());
    for round in 0..=ROUNDS {
        let ended = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "the_third_step_of_a_chain_runs_though_its_worker_is_killed_while_the_second_is_stored"])
            .env(STORE, &url)
            .env(ROUND, round.to_string())
            .output()
            .expect("a process starts");
        let expected = (round < ROUNDS).then_some(SIGKILL);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.signal(), expected, "round {round}: {said}");
        assert!(round < ROUNDS || ended.status.success(), "{said}");
    }
    let engine = open(&url);
    let filter = TaskFilter { limit: Some(100), ..TaskFilter::default() };
    let tasks = engine.tasks(&filter).expect("tasks are listed").tasks;
    assert_eq!(tasks.len() as u64, ROUNDS + 1);
    let mut cut_off = 0;
    for task in tasks {
        assert_eq!(task.status, "complete");
        let steps = engine.steps(task.task_uuid.parse().expect("a UUID")).expect("steps are read");
        assert_eq!(steps.len(), 4);
        for step in steps {
            let accepted = step.history.iter().filter(|a| a.accepted && a.outcome == "completed").count();
            assert_eq!((accepted, step.status), (1, "complete"), "{}", step.name);
            let died = step.history.iter().any(|a| a.outcome == "lease_expired");
            cut_off += u64::from(step.name == "two" && died);
        }
    }
    // Surely the first, surely not the last; the others as it comes.
    assert!((1..ROUNDS).contains(&cut_off), "of {cut_off} of {ROUNDS} processes the second step was not stored");
    let report = engine.doctor().expect("the store is checked");
    assert!(report.healthy, "{report:?}");
}
