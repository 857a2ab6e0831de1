//! A store that goes wrong when it is told to, around one in memory.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)] // each test file uses its part

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tasker_core::graph::Workflow;
use tasker_runtime::sync::Mutex;
use tasker_runtime::{Attach, Engine, Given, Options, Session, TemplateFile};
use tasker_store::sqlite::Sqlite;
use tasker_store::{
    AttemptRecord, AuditRecord, Batch, CommitError, Committed, DeadLetterRecord, EventRecord, StepRecord, Store,
    TaskRecord, TemplateRecord, WatchedRecord, WorkerRecord,
};
use tasker_wire::{
    DeadLetterFilter, DoctorReport, Error, EventFilter, Failure, Kind, Report, StepError, TaskFilter, TaskRequest,
    json_text,
};
use uuid::Uuid;

/// Ends a test that hangs; nothing is expected to take this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the store does about a commit.
type Commits = Box<dyn FnMut(&dyn Store, &Batch) -> Result<Committed, CommitError> + Send>;

/// What happens before the store says which claims are lost.
type Looks = Arc<dyn Fn() + Send + Sync>;

/// The store; what it does about commits can be changed at any time.
pub struct Faulty {
    inner: Sqlite,
    commits: Mutex<Commits>,
    lost: Mutex<Looks>,
    /// What it says when asked whether others wrote; a panic, if it says so.
    version_panics: Mutex<bool>,
}

impl Faulty {
    pub fn new() -> Arc<Faulty> {
        Arc::new(Faulty {
            inner: Sqlite::open("sqlite::memory:").unwrap(),
            commits: Mutex::new(Box::new(|store, batch| store.commit(batch))),
            lost: Mutex::new(Arc::new(|| ())),
            version_panics: Mutex::new(false),
        })
    }

    pub fn when_it_commits(
        &self,
        commits: impl FnMut(&dyn Store, &Batch) -> Result<Committed, CommitError> + Send + 'static,
    ) {
        *self.commits.lock() = Box::new(commits);
    }

    pub fn when_asked_what_is_lost(&self, looks: impl Fn() + Send + Sync + 'static) {
        *self.lost.lock() = Arc::new(looks);
    }

    pub fn panic_when_asked_for_its_version(&self) {
        *self.version_panics.lock() = true;
    }
}

pub fn away() -> Error {
    Error::new(Kind::Unavailable, "store_unavailable", "the store is away, as the test wants it")
}

impl Store for Faulty {
    fn url(&self) -> &str {
        self.inner.url()
    }
    fn durability(&self) -> String {
        self.inner.durability()
    }
    fn commit(&self, batch: &Batch) -> Result<Committed, CommitError> {
        (self.commits.lock())(&self.inner, batch)
    }
    fn version(&self) -> Result<u64, Error> {
        assert!(!*self.version_panics.lock(), "a panic, as the test wants it");
        self.inner.version()
    }
    fn clock_offset(&self) -> i64 {
        self.inner.clock_offset()
    }
    fn watched(&self) -> Result<Vec<WatchedRecord>, Error> {
        self.inner.watched()
    }
    fn next_wake(&self) -> Result<Option<i64>, Error> {
        self.inner.next_wake()
    }
    fn high_water(&self) -> Result<i64, Error> {
        self.inner.high_water()
    }
    fn workflow(&self, template: i64) -> Result<Arc<Workflow>, Error> {
        self.inner.workflow(template)
    }
    fn template_source(&self, template: i64) -> Result<(String, String, Option<String>), Error> {
        self.inner.template_source(template)
    }
    fn find_template(&self, namespace: &str, name: &str, v: Option<&str>) -> Result<Option<TemplateRecord>, Error> {
        self.inner.find_template(namespace, name, v)
    }
    fn templates(&self) -> Result<Vec<TemplateRecord>, Error> {
        self.inner.templates()
    }
    fn task(&self, uuid: Uuid) -> Result<Option<TaskRecord>, Error> {
        self.inner.task(uuid)
    }
    fn tasks(&self, filter: &TaskFilter) -> Result<(Vec<TaskRecord>, u64), Error> {
        self.inner.tasks(filter)
    }
    fn steps(&self, task: i64) -> Result<Vec<StepRecord>, Error> {
        self.inner.steps(task)
    }
    fn attempts(&self, task: i64) -> Result<Vec<AttemptRecord>, Error> {
        self.inner.attempts(task)
    }
    fn history(&self, task: i64) -> Result<(Vec<StepRecord>, Vec<AttemptRecord>), Error> {
        self.inner.history(task)
    }
    fn results(&self, task: i64, steps: &[u16]) -> Result<Vec<Option<String>>, Error> {
        self.inner.results(task, steps)
    }
    fn lost(&self, held: &[(i64, u16, u32)]) -> Result<Vec<(i64, u16, u32)>, Error> {
        let looks = self.lost.lock().clone();
        looks();
        self.inner.lost(held)
    }
    fn inputs(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.inner.inputs(task, no)
    }
    fn checkpoint(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.inner.checkpoint(task, no)
    }
    fn audit(&self, task: i64) -> Result<Vec<AuditRecord>, Error> {
        self.inner.audit(task)
    }
    fn task_uuids(&self, filter: &TaskFilter) -> Result<Vec<Uuid>, Error> {
        self.inner.task_uuids(filter)
    }
    fn prunable(&self, before: i64) -> Result<u64, Error> {
        self.inner.prunable(before)
    }
    fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRecord>, Error> {
        self.inner.dead_letters(filter)
    }
    fn events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>, Error> {
        self.inner.events(filter)
    }
    fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.inner.workers()
    }
    fn doctor(&self, now: i64) -> Result<DoctorReport, Error> {
        self.inner.doctor(now)
    }
}

pub const CHAIN: &str = "
name: chain
namespace_name: test
steps:
  - {name: one, handler: h}
  - {name: two, handler: h, depends_on: [one]}
";

pub fn options() -> Options {
    Options { environment: Some("test".into()), retention_days: 0, ..Options::default() }
}

/// An engine over the store that knows the chain.
pub fn engine(store: Arc<Faulty>) -> Engine {
    let engine = Engine::over(store, options(), None).unwrap();
    let file = TemplateFile { path: "chain.yaml".into(), source: CHAIN.into() };
    engine.register_templates(&[file], true).remove(0).unwrap();
    engine
}

pub fn worker(engine: &Engine, slots: usize) -> Arc<Session> {
    let attach = Attach {
        name: Some("w".into()),
        language: "rust",
        sdk_version: "0".into(),
        queues: vec!["test".into()],
        handlers: vec!["h".into()],
        slots,
        lease_ms: 3_600_000,
    };
    engine.attach(attach).unwrap()
}

pub fn create(engine: &Engine) -> Uuid {
    let request = TaskRequest::new("test", "chain", json_text("{}".into()));
    engine.create(&[request]).remove(0).unwrap().task_uuid
}

/// The next step that a worker is given.
pub fn take(session: &Session) -> Given {
    let deadline = Instant::now() + PATIENCE;
    loop {
        session.wait(Duration::from_secs(1));
        if let Some(given) = session.try_take() {
            return given;
        }
        assert!(Instant::now() < deadline, "nothing was given");
    }
}

/// Reports success, and that the slot is free.
pub fn succeed(engine: &Engine, session: &Session, given: &Given, result: String) {
    session.free_slots(1);
    let report = Report::Success { result, metadata: None, execution_us: 1 };
    engine.report(session, &given.info, &given.claimed, report, Vec::new());
}

/// A failure after which the step is tried again at once.
pub fn try_again() -> Report {
    Report::Failure(Box::new(Failure {
        error: StepError {
            message: "not yet".into(),
            error_type: "custom".into(),
            error_code: None,
            backtrace: Vec::new(),
            retryable: true,
            status_code: None,
            context: None,
        },
        retry_after_ms: Some(1),
        timed_out: false,
        metadata: None,
        execution_us: 1,
    }))
}

/// A word from within the store.
pub fn word<T>() -> (Sender<T>, Receiver<T>) {
    channel()
}
