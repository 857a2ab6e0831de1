//! A worker's name has one life at a time: whoever has it is not disturbed, whoever died is followed.
//!
//! `TASKER_TEST_POSTGRES` names a server; `scripts/with-postgres` starts one for the command that follows it.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_runtime::{Attach, Engine, Given, Options, Session, TemplateFile};
use tasker_store::Store;
use tasker_store::postgres::Postgres;
use tasker_store::sqlite::Sqlite;
use tasker_wire::{Error, Kind, TaskRequest, json_text};

const ONE: &str = "name: one\nnamespace_name: names\nsteps: [{name: a, handler: h}]";

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store, and how a process of its own opens it.
struct Place {
    url: String,
    _folder: tempfile::TempDir,
}

impl Place {
    fn sqlite() -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        Place { url: format!("sqlite://{}/t.db", folder.path().display()), _folder: folder }
    }

    fn postgres(name: &str) -> Place {
        let server = std::env::var("TASKER_TEST_POSTGRES")
            .expect("a PostgreSQL server: run the tests by `scripts/with-postgres cargo test …` or `make test`");
        let url = format!("{server}?schema=n{:x}_{name}", std::process::id());
        Place { url, _folder: tempfile::tempdir().expect("a folder") }
    }

    /// An engine of its own, as another process would have it.
    fn open(&self) -> Engine {
        let options = Options { environment: Some("test".into()), ..Options::default() };
        let (store, file): (Arc<dyn Store>, Option<PathBuf>) = if self.url.starts_with("sqlite") {
            let store = Sqlite::open(&self.url).expect("the store opens");
            let file = store.path().to_path_buf();
            (Arc::new(store), Some(file))
        } else {
            (Arc::new(Postgres::open(&self.url).expect("the store opens")), None)
        };
        Engine::over(store, options, file).expect("an engine opens")
    }
}

fn attach(engine: &Engine, name: &str, lease_ms: i64) -> Result<Arc<Session>, Error> {
    engine.attach(Attach {
        name: Some(name.into()),
        language: "rust",
        sdk_version: "0".into(),
        queues: vec!["names".into()],
        handlers: vec!["h".into()],
        slots: 1,
        lease_ms,
    })
}

/// The next step a worker is given.
fn taken(session: &Session) -> Given {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(given) = session.try_take() {
            return given;
        }
        assert!(Instant::now() < deadline, "nothing is given");
        session.wait(Duration::from_millis(100));
    }
}

fn a_second_live_one_is_refused(place: &Place) {
    let first = place.open();
    let session = attach(&first, "pod-0", 900).expect("the first has the name");
    let refused = attach(&place.open(), "pod-0", 900).expect_err("the second has not");
    assert_eq!((refused.kind, refused.code), (Kind::Conflict, "worker_exists"));
    let named = format!("process {}", std::process::id());
    assert!(refused.message.contains(&named), "it names the first: {}", refused.message);
    first.detach(&session);
    attach(&place.open(), "pod-0", 900).expect("the name is free again");
}

fn a_new_start_follows_a_dead_one(place: &Place) {
    let first = place.open();
    let file = TemplateFile { path: "one.yaml".into(), source: ONE.into() };
    first.register_templates(&[file], true).remove(0).expect("the template is valid");
    let request = TaskRequest::new("names", "one", json_text("{}".into()));
    let task = first.create(&[request]).remove(0).expect("a task").task_uuid;
    let session = attach(&first, "pod-0", 900).expect("a worker");
    assert_eq!(taken(&session).claimed.fence, 1);
    // Without a word, as a process that is killed.
    drop(first);
    let second = place.open();
    let session = attach(&second, "pod-0", 900).expect("the name of a dead worker is taken over");
    assert_eq!(taken(&session).claimed.fence, 2);
    let step = second.step(task, "a").expect("a step");
    let ends: Vec<_> = step.history.iter().map(|a| (a.outcome, a.worker_id.as_deref())).collect();
    assert_eq!((step.crashes, ends), (1, vec![("lease_expired", Some("pod-0")), ("running", Some("pod-0"))]));
    let lives = second.workers().expect("workers");
    assert_eq!(lives.iter().map(|w| (w.worker_id.as_str(), w.alive)).filter(|(_, alive)| *alive).count(), 1);
    assert_eq!(lives.len(), 2, "each life has a row: {lives:?}");
}

#[test]
fn a_second_live_worker_of_a_name_is_refused_on_one_machine() {
    a_second_live_one_is_refused(&Place::sqlite());
}

#[test]
fn a_second_live_worker_of_a_name_is_refused_in_a_fleet() {
    a_second_live_one_is_refused(&Place::postgres("second"));
}

#[test]
fn a_new_start_under_the_name_of_a_dead_worker_takes_over_on_one_machine() {
    a_new_start_follows_a_dead_one(&Place::sqlite());
}

#[test]
fn a_new_start_under_the_name_of_a_dead_worker_takes_over_in_a_fleet() {
    a_new_start_follows_a_dead_one(&Place::postgres("again"));
}
