//! Runs that once ended, or repeated, work that was alive, on the real stores. Time is the test's.
//!
//! `TASKER_TEST_POSTGRES` and `TASKER_TEST_POOLER` name servers; `scripts/with-postgres` starts them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tasker_runtime::stepper::Stepper;
use tasker_runtime::{Given, Session};
use tasker_sim::store::{Book, View};
use tasker_store::clock::{monotonic_ms, wall_ms};
use tasker_store::postgres::Postgres;
use tasker_store::sqlite::Sqlite;
use tasker_store::sync::Mutex;
use tasker_store::{Done, NewWorker, Op, Store, TemplateSource};
use tasker_wire::{Report, TaskRequest, json_text};

const LEASE_MS: i64 = 2_000;
const FIVE: &str = "
name: five
namespace_name: alive
version: 1.0.0
steps:
  - {name: a, handler: h}
  - {name: b, handler: h}
  - {name: c, handler: h}
  - {name: d, handler: h}
  - {name: e, handler: h}
";

/// A process whose monotonic clock and turns are the test's.
struct Process {
    stepper: Stepper,
    session: Option<Arc<Session>>,
    given: Vec<Given>,
}

impl Process {
    /// Without workers.
    fn new(store: Arc<dyn Store>) -> Process {
        let stepper = Stepper::new(store, monotonic_ms(), 3).expect("an engine opens");
        Process { stepper, session: None, given: Vec::new() }
    }

    fn ask(&mut self, op: Op) -> Done {
        let answer = self.stepper.submit(op).expect("a question is taken");
        self.stepper.turn();
        answer.recv().expect("an answer").expect("it is done")
    }

    fn with_worker(store: Arc<dyn Store>, name: &str) -> Process {
        let mut process = Process::new(store);
        let new = NewWorker {
            name: name.into(),
            language: "rust".into(),
            sdk_version: "0".into(),
            queues: vec!["alive".into()],
            handlers: vec!["h".into()],
            slots: 5,
            pid: 1,
            lease_ms: LEASE_MS,
        };
        let Done::Worker(row) = process.ask(Op::AddWorker(Box::new(new.clone()))) else { panic!("no worker") };
        process.session = Some(process.stepper.seat(row, &new));
        process
    }

    /// Takes what it can claim.
    fn take(&mut self) {
        self.stepper.turn();
        if let Some(session) = &self.session {
            self.given.extend(session.try_take_many(10));
        }
    }

    /// Lives for a while: its house and its committer take their turns.
    fn live(&mut self, ms: i64) {
        for _ in 0..ms / 100 {
            self.stepper.advance(100);
            self.stepper.watch(&[]);
            self.take();
        }
    }

    /// Hands in a result for everything it holds.
    fn finish(&mut self) {
        let worker = self.session.as_ref().map_or(0, |s| s.worker());
        for Given { claimed: c, .. } in &self.given {
            let report = Report::Success { result: "1".into(), metadata: None, execution_us: 1 };
            let op = Op::Finish { task: c.task, no: c.no, fence: c.fence, worker, report, events: Vec::new() };
            self.stepper.send(op);
        }
    }
}

/// A store that several processes open.
struct Place {
    url: String,
    /// Unix milliseconds that the machine's clock shows, where the store goes by that.
    wall: Arc<AtomicI64>,
    folder: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left behind, it only takes room.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    fn at(url: impl FnOnce(u64, &Path) -> String) -> Place {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tasker-clocks-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Place { url: url(number, &folder), wall: Arc::new(AtomicI64::new(wall_ms())), folder }
    }

    fn sqlite() -> Place {
        Place::at(|_, folder| format!("sqlite://{}/t.db", folder.display()))
    }

    fn postgres(variable: &str, parameters: &str) -> Place {
        let server = std::env::var(variable).expect("a server: run the tests by `scripts/with-postgres cargo test …`");
        Place::at(|number, _| format!("{server}?schema=k{:x}_{number}{parameters}", std::process::id()))
    }

    fn all() -> Vec<Place> {
        let pooled = Place::postgres("TASKER_TEST_POOLER", "&pooler=transaction");
        vec![Place::sqlite(), Place::postgres("TASKER_TEST_POSTGRES", ""), pooled]
    }

    /// The store as a process opens it whose machine's clock is ahead by `ahead` milliseconds.
    fn open(&self, ahead: &Arc<AtomicI64>) -> Arc<dyn Store> {
        if self.url.starts_with("sqlite") {
            let (wall, ahead) = (self.wall.clone(), ahead.clone());
            let now = move || wall.load(Ordering::Relaxed) + ahead.load(Ordering::Relaxed);
            Arc::new(Sqlite::open(&self.url).expect("the store opens").with_wall(now))
        } else {
            Arc::new(Postgres::open(&self.url).expect("the store opens"))
        }
    }

    fn right(&self) -> Arc<dyn Store> {
        self.open(&Arc::default())
    }
}

/// A worker that runs five steps.
fn five_running(store: Arc<dyn Store>) -> Process {
    let mut process = Process::with_worker(store, "worker");
    process.ask(Op::AddTemplate(TemplateSource {
        path: "five.yaml".into(),
        source: FIVE.into(),
        environment: None,
        identity: ("alive".into(), "five".into(), "1.0.0".into()),
    }));
    let request = TaskRequest::new("alive", "five", json_text("{}".into()));
    let new = process.stepper.new_task(&request, uuid::Uuid::now_v7()).expect("the request is valid");
    process.ask(Op::Create(Box::new(new)));
    process.take();
    assert_eq!(process.given.len(), 5);
    process
}

/// Every step ran once, and nobody died.
#[track_caller]
fn nothing_happened(store: &dyn Store, process: &Process) {
    let task = process.given[0].claimed.task;
    assert_eq!(process.given.len(), 5, "each was given once");
    for record in store.steps(task).expect("steps are read") {
        let step = record.step;
        assert_eq!((step.state.as_str(), step.attempts, step.crashes, step.fence), ("complete", 1, 0, 1));
    }
    assert!(store.attempts(task).expect("attempts are read").iter().all(|a| a.end.as_str() == "completed"));
}

#[test]
fn a_machine_whose_clock_is_ahead_ends_nothing_whether_it_only_looks_or_works() {
    for place in Place::all() {
        let store = place.right();
        let mut worker = five_running(store.clone());
        let ahead = Arc::new(AtomicI64::new(60_000));
        for round in 0..3 {
            let mut looks = Process::new(place.open(&ahead));
            looks.stepper.poke();
            looks.live(500);
            let mut works = Process::with_worker(place.open(&ahead), &format!("ahead{round}"));
            works.stepper.poke();
            works.live(500);
            worker.live(500);
        }
        worker.finish();
        worker.take();
        nothing_happened(&*store, &worker);
    }
}

#[test]
fn a_process_whose_clock_is_set_right_does_not_run_ahead() {
    let place = Place::sqlite();
    let store = place.right();
    let mut worker = five_running(store.clone());
    let ahead = Arc::new(AtomicI64::new(120_000));
    let mut other = Process::with_worker(place.open(&ahead), "other");
    other.live(500);
    let before = other.stepper.now();
    ahead.store(0, Ordering::Relaxed);
    other.live(500);
    assert!(other.stepper.now() < before - 60_000, "it goes by the clock that is right");
    worker.live(1_000);
    worker.finish();
    worker.take();
    nothing_happened(&*store, &worker);
}

#[test]
fn a_store_that_is_away_for_three_leases_costs_no_result() {
    for place in Place::all() {
        let store = place.right();
        let book = Arc::new(Mutex::new(Book::new(1, None, Path::new(""))));
        let view = || {
            let (view, number) = View::new(store.clone(), &book);
            book.lock().set_clock_offset(number, store.clock_offset());
            Arc::new(view)
        };
        let mut worker = five_running(view());
        let mut other = Process::with_worker(view(), "other");
        other.live(1_000);
        worker.live(1_000);
        book.lock().set_unavailable(true);
        worker.finish();
        for _ in 0..3 {
            other.live(LEASE_MS);
            worker.live(LEASE_MS);
        }
        book.lock().set_unavailable(false);
        // Whoever comes first.
        other.live(300);
        worker.live(3_000);
        nothing_happened(&*store, &worker);
    }
}

#[test]
fn a_lone_process_that_stood_still_for_longer_than_its_lease_keeps_what_it_runs() {
    for place in Place::all() {
        let store = place.right();
        let mut worker = five_running(store.clone());
        worker.live(1_000);
        worker.stepper.advance(5 * LEASE_MS);
        worker.live(2 * LEASE_MS);
        worker.finish();
        worker.take();
        nothing_happened(&*store, &worker);
    }
}

#[test]
fn a_machine_that_was_suspended_with_all_its_processes_keeps_what_they_run() {
    for place in Place::all() {
        let store = place.right();
        let mut worker = five_running(store.clone());
        let mut other = Process::with_worker(place.right(), "other");
        for _ in 0..10 {
            worker.live(200);
            other.live(200);
        }
        worker.stepper.advance(3_600_000);
        other.stepper.advance(3_600_000);
        place.wall.fetch_add(3_600_000, Ordering::Relaxed);
        other.live(300);
        worker.live(300);
        worker.finish();
        worker.take();
        nothing_happened(&*store, &worker);
    }
}

#[test]
fn who_is_silent_for_a_lease_while_another_watches_loses_its_steps_which_then_run_alone() {
    for place in Place::all() {
        let store = place.right();
        let worker = five_running(store.clone());
        let mut other = Process::with_worker(place.right(), "other");
        // 1.25 leases and a second.
        other.live(LEASE_MS * 5 / 4 + 1_000);
        assert_eq!(other.given.len(), 1, "one of them at a time");
        let steps = store.steps(worker.given[0].claimed.task).expect("steps are read");
        assert!(steps.iter().all(|s| (s.step.crashes, s.step.suspect) == (0, true)), "nobody is blamed");
    }
}
