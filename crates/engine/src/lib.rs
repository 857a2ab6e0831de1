//! The engine: what runs tasks over a store.
//!
//! One thread commits ([`committer`]), one does what must be done again and again ([`duties`]).
//! Workers take a [`Session`]; clients create, read, wait and act. Handles are cheap to clone; the last one closes it.

#[cfg(test)]
extern crate self as tasker_runtime; // the store of tests/common names it so

mod asynchronous;
mod cache;
mod clock;
mod committer;
mod create;
mod duties;
mod liveness;
mod moving;
mod operate;
mod retention;
mod schemas;
mod session;
#[doc(hidden)]
pub mod stepper;
mod views;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, LazyLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tasker_core::load;
use tasker_core::state::StepState;
use tasker_core::watch::{Beat, LEASE_MS, Sign, Watch};
use tasker_core::{id, outcome};
use tasker_store::postgres::Postgres;
use tasker_store::remote::Remote;
use tasker_store::sqlite::Sqlite;
use tasker_store::sync::{Condvar, Mutex};
use tasker_store::{Committed, Done, NewWorker, Op, Store, TaskRecord};
use tasker_wire::{
    AuditView, DoctorReport, Error, Finding, Kind, Report, StepView, TaskFilter, TaskList, TaskRequest, TaskView,
    TemplateView, WorkerView,
};
use uuid::Uuid;

pub use asynchronous::AsyncEngine;
pub use create::{CONTEXT_BYTES_MAX, JSON_DEPTH_MAX, PRIORITY_MAX};
pub use moving::{Backup, Moved, backup, migrate, move_store, restore};
pub use session::{Given, Session};
pub use tasker_store::{Claimed, LetterOrder, Order, PreparedEvent, TaskInfo, time};
pub use tasker_store::{sync, threads};

use committer::{Shared, Waiter};
use duties::Duty;
use liveness::{Announced, Liveness, Watcher};
use schemas::Schemas;

/// Tasks in one bulk creation.
pub const BULK_MAX: usize = 1_000;
/// How often dead processes are looked for.
const DEAD_EVERY: Duration = Duration::from_millis(250);
/// How often [`Engine::skip_to_rest`] looks whether only time is waited for.
const SKIP_EVERY: Duration = Duration::from_millis(1);
/// How often a worker whose name is taken looks whether it has become free.
const NAME_EVERY: Duration = Duration::from_millis(250);
/// How much longer than a lease it may take until a worker that died unseen is declared gone, milliseconds.
const NAME_GRACE_MS: i64 = 10_000;

/// Settings of an engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// `TASKER_ENV`: chooses the overrides of templates; `test` switches retry jitter off.
    pub environment: Option<String>,
    /// Worker deaths after which a step is given up (`poison_step`).
    pub max_crashes: u32,
    /// For how many days ended tasks are kept, 0 for ever. Processes with workers and servers remove older ones. A store
    /// in memory keeps all.
    pub retention_days: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            environment: std::env::var("TASKER_ENV").ok().filter(|e| !e.is_empty()),
            max_crashes: 3,
            retention_days: retention::days_of_environment(),
        }
    }
}

/// The URL used when none is given: `TASKER_URL`, or a file in the current folder.
pub fn default_url() -> String {
    std::env::var("TASKER_URL").ok().filter(|u| !u.is_empty()).unwrap_or_else(|| "sqlite://.tasker/tasker.db".into())
}

/// A template file to register.
#[derive(Debug, Clone)]
pub struct TemplateFile {
    /// Where it came from, for messages.
    pub path: String,
    /// YAML text.
    pub source: String,
}

/// A created task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its UUID.
    pub task_uuid: Uuid,
    /// It existed before (same idempotency key, same payload).
    pub existing: bool,
}

/// A worker that takes a seat.
#[derive(Debug, Clone)]
pub struct Attach {
    /// Unique name; made up when absent.
    pub name: Option<String>,
    /// `python`, `ruby`, `rust`.
    pub language: &'static str,
    /// Version of its SDK.
    pub sdk_version: String,
    /// Queues it takes from.
    pub queues: Vec<String>,
    /// Handlers it has.
    pub handlers: Vec<String>,
    /// Handlers it runs at once.
    pub slots: usize,
    /// Length of a lease, milliseconds.
    pub lease_ms: i64,
}

/// What a look at a task that is waited for found.
enum Looked {
    Rests(Box<TaskView>),
    /// Store's number of the task, and the time left.
    Waits(i64, Duration),
}

/// A handle on an engine. Its calls block; [`Engine::asynchronous`] gives a face that does not.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("url", &self.url()).finish_non_exhaustive()
    }
}

struct Inner {
    shared: Arc<Shared>,
    options: Options,
    schemas: Schemas,
    liveness: Arc<Mutex<Option<Liveness>>>,
    pid: u32,
    closed: Arc<Closing>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Closing {
    closed: Mutex<bool>,
    told: Condvar,
}

impl Closing {
    /// Waits at most `time`; true once closing.
    fn wait(&self, time: Duration) -> bool {
        *self.told.wait_while(self.closed.lock(), Instant::now() + time, |closed| !*closed)
    }
}

// One engine a URL and process, so that a client and a worker side by side share claims and wake-ups.
static OPEN: LazyLock<Mutex<HashMap<String, Weak<Inner>>>> = LazyLock::new(Mutex::default);

impl Engine {
    /// Opens the engine of a URL, or another handle on it if this process has it open.
    ///
    /// `sqlite::memory:` is private: every call opens a new one. In a forked child, stores of servers are opened anew; a file is
    /// refused if the parent had it open.
    pub fn open(url: &str, options: Options) -> Result<Engine, Error> {
        if url == "sqlite::memory:" {
            // No other process sees it, so nobody needs to notice that this one died.
            return Engine::over(Arc::new(Sqlite::open(url)?), Options { retention_days: 0, ..options }, None);
        }
        let key = absolute(url);
        let mut open = OPEN.lock();
        let pid = std::process::id();
        if let Some(inner) = open.get(&key).and_then(Weak::upgrade) {
            if inner.pid == pid {
                return Ok(Engine { inner });
            }
            // Its threads live in the parent, and what it would say to a server would be said on the parent's connection: the inherited
            // handle is leaked, never dropped. Servers know nothing of forks, so the child connects by itself.
            std::mem::forget(inner);
            if url.starts_with("sqlite:") {
                // SQLite would take the parent's locks for this process's own.
                let message = format!(
                    "{url} was open in a worker when this process was forked; a child cannot open the same file"
                );
                return Err(Error::new(Kind::Conflict, "forked", message).hint(
                    "start the worker after the fork or in a process of its own, or let children use `tasker serve` and its tasker:// URL",
                ));
            }
        }
        let scheme = url.split(':').next().unwrap_or_default();
        let engine = match scheme {
            "sqlite" => Engine::start(Sqlite::open(url)?, options)?,
            "postgres" | "postgresql" => Engine::over(Arc::new(Postgres::open(url)?), options, None)?,
            // Its server removes what is old.
            "tasker" => Engine::over(Arc::new(Remote::open(url)?), Options { retention_days: 0, ..options }, None)?,
            _ => {
                return Err(Error::new(Kind::Invalid, "unsupported_url", format!("no store answers to `{scheme}:`"))
                    .hint("use sqlite:///path/to/file.db, postgres://host/database or tasker://host:port"));
            }
        };
        open.insert(key, Arc::downgrade(&engine.inner));
        Ok(engine)
    }

    fn start(store: Sqlite, options: Options) -> Result<Engine, Error> {
        let file: PathBuf = store.path().to_path_buf();
        Engine::over(Arc::new(store), options, Some(file))
    }

    /// An engine over any store. `file`: where the store lies on this machine, for noticing dead processes.
    pub fn over(store: Arc<dyn Store>, options: Options, file: Option<PathBuf>) -> Result<Engine, Error> {
        let clock = clock::Clock::new(store.clock_offset(), store.high_water()?);
        let jitter = options.environment.as_deref() != Some("test");
        let shared = Arc::new(Shared::new(store, clock, jitter, options.max_crashes));
        let hears = Arc::downgrade(&shared);
        shared.store.watch(Arc::new(move || {
            if let Some(shared) = hears.upgrade() {
                shared.changed_outside();
            }
        }));
        let liveness = Arc::new(Mutex::new(file.map(|f| Liveness::beside(&f))));
        let closed = Arc::new(Closing::default());
        let committer = {
            let shared = shared.clone();
            let fails = shared.clone();
            threads::spawn("tasker-commit", move || committer::run(&shared), move |said| fails.fail("commits", said))?
        };
        let mut duties = vec![watching(liveness.clone())];
        duties.extend(retention::duty(options.retention_days));
        let duties = {
            let (shared, closed) = (shared.clone(), closed.clone());
            let fails = shared.clone();
            let body = move || duties::run(&shared, duties, &closed);
            threads::spawn("tasker-duties", body, move |said| fails.fail("does what must be done by itself", said))?
        };
        Ok(Engine {
            inner: Arc::new(Inner {
                shared,
                options,
                schemas: Schemas::default(),
                liveness,
                pid: std::process::id(),
                closed,
                threads: Mutex::new(vec![committer, duties]),
            }),
        })
    }

    /// Where the store is; never holds a password.
    pub fn url(&self) -> &str {
        self.inner.shared.store.url()
    }

    /// How durable a commit is.
    pub fn durability(&self) -> String {
        self.inner.shared.store.durability()
    }

    /// Whether this handle was inherited over a fork; nothing but dropping it works then.
    pub fn is_foreign(&self) -> bool {
        self.inner.pid != std::process::id()
    }

    /// Unix milliseconds by the engine's clock.
    pub fn now(&self) -> i64 {
        self.inner.shared.clock.now()
    }

    /// Moves the engine's clock forward, for tests that do not want to wait.
    pub fn advance_clock(&self, ms: i64) {
        self.inner.shared.clock.advance(ms);
        self.inner.shared.poke();
    }

    /// The store, for whoever serves it to other processes; see [`Engine::served`].
    pub fn shared_store(&self) -> Arc<dyn Store> {
        self.inner.shared.store.clone()
    }

    /// For a process that serves others: it sees to what is due. Calls `told` whenever something was stored, here or
    /// elsewhere, that other processes may wait for. Only the first caller is told.
    pub fn on_news(&self, told: impl Fn() + Send + Sync + 'static) {
        self.inner.shared.serve();
        self.inner.shared.watch(Box::new(told));
    }

    /// A batch of a process that this one serves was stored past this engine: what it made due is seen to.
    pub fn served(&self, committed: &Committed) {
        self.inner.shared.served(committed.next_wake, committed.is_news());
    }

    /// Worker deaths after which a step is given up.
    pub fn max_crashes(&self) -> u32 {
        self.inner.options.max_crashes
    }

    /// Queues again what some workers hold that this process served, unless they have come back by another way: each with
    /// the beat it had when its connection ended.
    pub fn declare_gone(&self, workers: &[(i64, i64)]) {
        for (worker, beat) in workers {
            self.inner.shared.send(Op::WorkerGone { worker: *worker, beat: Some(*beat), stopped: false });
        }
    }

    /// The beats of some workers.
    pub fn beats(&self, workers: &[i64]) -> Result<Vec<(i64, i64)>, Error> {
        let rows = self.store().watched()?;
        Ok(rows.into_iter().filter(|w| workers.contains(&w.id)).map(|w| (w.id, w.beat)).collect())
    }

    fn store(&self) -> &dyn Store {
        &*self.inner.shared.store
    }

    fn commit_one(&self, op: Op) -> Result<Done, Error> {
        self.inner.shared.commit(vec![op]).pop().unwrap_or(Ok(Done::Nothing))
    }

    /// Checks and stores templates; one result a file: namespace, name, version and warnings.
    pub fn register_templates(
        &self,
        files: &[TemplateFile],
        strict: bool,
    ) -> Vec<Result<(TemplateView, Vec<String>), Error>> {
        files.iter().map(|file| self.register_template(file, strict)).collect()
    }

    fn register_template(&self, file: &TemplateFile, strict: bool) -> Result<(TemplateView, Vec<String>), Error> {
        let environment = self.inner.options.environment.clone();
        let loaded =
            load::load(&file.source, &file.path, &load::Options { environment: environment.as_deref(), strict })
                .map_err(|e| {
                    Error::new(Kind::Unprocessable, "invalid_template", e.to_string().trim_end().to_string())
                })?;
        let template = loaded.template;
        let faults = Schemas::faults(&template);
        if !faults.is_empty() {
            return Err(schemas::refused(&file.path, &faults));
        }
        let (namespace, name, version) = (&template.namespace, &template.name, &template.version);
        let registered = self.store().templates()?;
        let used = registered.iter().find(|t| (&t.namespace, &t.name, &t.version) == (namespace, name, version));
        let added = self.commit_one(Op::AddTemplate(tasker_store::TemplateSource {
            path: file.path.clone(),
            source: file.source.clone(),
            environment,
            identity: (namespace.clone(), name.clone(), version.clone()),
        }))?;
        let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        if let (Some(used), Done::Template(id)) = (used, added)
            && used.id != id
        {
            warnings.push(format!(
                "warning: version {version} of {namespace}/{name} was registered before with another source or for \
                 another environment; new tasks use this one\n --> {}\n = help: raise `version` with each change, so that \
                 a worker that still has the other one does not bring it back",
                file.path
            ));
        }
        let view = views::template(&template, file.path.clone());
        Ok((view, warnings))
    }

    /// Every registered template, newest registration of each version; only those with a tag in their `metadata.tags`
    /// if one is given.
    pub fn templates(&self, tag: Option<&str>) -> Result<Vec<TemplateView>, Error> {
        let mut views = Vec::new();
        for record in self.store().templates()? {
            let view = views::template(&self.store().workflow(record.id)?.template, record.path);
            let tags = view.metadata.get("tags").and_then(|t| t.as_array());
            if tag.is_none_or(|tag| tags.is_some_and(|tags| tags.iter().any(|t| t == tag))) {
                views.push(view);
            }
        }
        Ok(views)
    }

    /// Creates tasks, at most [`BULK_MAX`], in one commit. One result a request; a bad one stops no other.
    pub fn create(&self, requests: &[TaskRequest]) -> Vec<Result<Created, Error>> {
        if requests.len() > BULK_MAX {
            let error = Error::new(
                Kind::TooLarge,
                "too_many_tasks",
                format!("{} tasks in one call; at most {BULK_MAX} are taken", requests.len()),
            )
            .hint("split the call");
            return requests.iter().map(|_| Err(error.clone())).collect();
        }
        let now = self.now();
        let checked: Vec<Result<Op, Error>> = requests
            .iter()
            .map(|r| create::new_task(self.store(), &self.inner.schemas, r, now).map(|new| Op::Create(Box::new(new))))
            .collect();
        let ops = checked.iter().filter_map(|c| c.as_ref().ok().cloned()).collect();
        let mut done = self.inner.shared.commit(ops).into_iter();
        checked
            .into_iter()
            .map(|checked| {
                checked.and_then(|_| match done.next() {
                    Some(Ok(Done::Created { uuid, existing, .. })) => Ok(Created { task_uuid: uuid, existing }),
                    Some(Err(error)) => Err(error),
                    _ => Err(Error::new(Kind::Bug, "store_error", "the store gave no answer to a creation")),
                })
            })
            .collect()
    }

    fn record(&self, task: Uuid) -> Result<TaskRecord, Error> {
        self.store().task(task)?.ok_or_else(|| {
            Error::new(Kind::NotFound, "task_not_found", format!("there is no task {task}"))
                .hint("list tasks with `tasker ls`")
        })
    }

    fn view(&self, record: &TaskRecord) -> Result<TaskView, Error> {
        let workflow = self.store().workflow(record.template)?;
        let mut failed = Vec::new();
        if record.task.counts.isolated > 0 {
            let steps = self.store().steps(record.id)?;
            let batch = |s: &&tasker_store::StepRecord| s.step.state == StepState::Error && s.name.is_some();
            failed = steps.iter().filter(batch).filter_map(|s| s.name.clone()).collect();
        }
        Ok(views::task(record, &workflow, failed))
    }

    /// A task.
    pub fn task(&self, task: Uuid) -> Result<TaskView, Error> {
        self.view(&self.record(task)?)
    }

    /// A page of tasks, newest first.
    pub fn tasks(&self, filter: &TaskFilter) -> Result<TaskList, Error> {
        operate::check(filter)?;
        let (records, total) = self.store().tasks(filter)?;
        Ok(TaskList { tasks: records.iter().map(|r| self.view(r)).collect::<Result<_, _>>()?, total })
    }

    /// The steps of a task with results and history.
    pub fn steps(&self, task: Uuid) -> Result<Vec<StepView>, Error> {
        let record = self.record(task)?;
        let workflow = self.store().workflow(record.template)?;
        let (steps, attempts) = self.store().history(record.id)?;
        Ok(views::steps(&record, &workflow, steps, &attempts))
    }

    /// One step, by name or UUID.
    pub fn step(&self, task: Uuid, step: &str) -> Result<StepView, Error> {
        let steps = self.steps(task)?;
        let names: Vec<String> = steps.iter().map(|s| s.name.clone()).collect();
        steps.into_iter().find(|s| s.name == step || s.step_uuid == step).ok_or_else(|| {
            let error = Error::new(Kind::NotFound, "step_not_found", format!("task {task} has no step `{step}`"));
            match outcome::nearest(step, names.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("its steps are {}", names.join(", "))),
            }
        })
    }

    /// Operator actions on a task, oldest first.
    pub fn audit(&self, task: Uuid) -> Result<Vec<AuditView>, Error> {
        let record = self.record(task)?;
        let workflow = self.store().workflow(record.template)?;
        let steps = self.store().steps(record.id)?;
        Ok(self.store().audit(record.id)?.into_iter().map(|a| views::audit(a, &record, &workflow, &steps)).collect())
    }

    /// Workers, those seen last first.
    pub fn workers(&self) -> Result<Vec<WorkerView>, Error> {
        let now = self.now();
        Ok(self.store().workers()?.into_iter().map(|w| views::worker(w, now)).collect())
    }

    /// Checks every invariant of the stored rows.
    pub fn doctor(&self) -> Result<DoctorReport, Error> {
        let mut report = self.store().doctor(self.now())?;
        let (shown, marked) = (self.now(), self.store().high_water()?);
        let is_off = marked > 0 && clock::differs(shown, marked) && shown < marked;
        report.findings.push(Finding {
            check: "the store was not written ahead of this machine's clock".into(),
            violations: u64::from(is_off),
            examples: if is_off {
                vec![format!("the clock shows {}, the store was written at {}", time(shown), time(marked))]
            } else {
                Vec::new()
            },
        });
        report.healthy &= !is_off;
        Ok(report)
    }

    /// The number of a step, from its name or UUID, for an [`Order`].
    pub fn step_number(&self, task: Uuid, step: &str) -> Result<u16, Error> {
        let view = self.step(task, step)?;
        view.step_uuid
            .parse()
            .ok()
            .and_then(id::split_step_uuid)
            .map(|(_, no)| no)
            .ok_or_else(|| Error::new(Kind::Bug, "store_error", "a step has a foreign UUID"))
    }

    /// Does an operator's action and gives the task as it is then.
    pub fn act(&self, task: Uuid, order: Order, actor: &str, reason: &str) -> Result<TaskView, Error> {
        self.commit_one(Op::Act { task, order, actor: actor.into(), reason: reason.into() })?;
        self.task(task)
    }

    /// Waits until the task ended or rests in `blocked_by_failures`.
    pub fn wait(&self, task: Uuid, timeout: Duration) -> Result<TaskView, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let (send, receive) = sync_channel(1);
            match self.look_or_wait(task, deadline, timeout, Waiter::Thread(send))? {
                Looked::Rests(view) => return Ok(*view),
                Looked::Waits(number, left) => {
                    // A word, silence or a closed engine all lead to another look.
                    let _ = receive.recv_timeout(left);
                    drop(receive);
                    self.stop_waiting(number);
                }
            }
        }
    }

    /// The task if it rests; else `waiter` hears a word when it may, for the time that is left.
    fn look_or_wait(&self, task: Uuid, deadline: Instant, timeout: Duration, waiter: Waiter) -> Result<Looked, Error> {
        let told = self.inner.shared.waiters.lock().told;
        let record = self.record(task)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if record.task.state.is_resting() {
            return Ok(Looked::Rests(self.view(&record)?.into()));
        }
        if let Some(error) = self.inner.shared.ended() {
            return Err(error);
        }
        if left.is_zero() {
            let status = views::status(&record.task);
            return Err(Error::new(
                Kind::Timeout,
                "timeout",
                format!("task {task} has not ended within {} ms; it is {status}", timeout.as_millis()),
            )
            .hint("wait longer; see what it does with `tasker show`, and whether a worker runs with `tasker doctor`"));
        }
        let mut waiters = self.inner.shared.waiters.lock();
        let may_have_missed = waiters.told != told;
        if may_have_missed {
            // Another look, at once.
            waiter.tell();
        }
        waiters.of.entry(record.id).or_default().push(waiter);
        Ok(Looked::Waits(record.id, left))
    }

    /// Waits until the task rests, moving the clock over every wait for a retry, a start or a limit. For tests, on a
    /// store of their own.
    pub fn skip_to_rest(&self, task: Uuid, timeout: Duration) -> Result<TaskView, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.wait(task, SKIP_EVERY) {
                Err(error) if error.kind == Kind::Timeout && Instant::now() < deadline => {}
                ended => return ended,
            }
            let counts = self.record(task)?.task.counts;
            if counts.active == 0
                && let Some(wake) = self.store().next_wake()?
            {
                self.advance_clock((wake - self.now()).max(0));
            }
        }
    }

    /// Drops the waiters of a task that nobody listens to any more, this one included.
    fn stop_waiting(&self, task: i64) {
        let mut waiters = self.inner.shared.waiters.lock();
        if let Some(list) = waiters.of.get_mut(&task) {
            // A full channel has been told already; an open, empty one still waits.
            list.retain(Waiter::tell);
            if list.is_empty() {
                waiters.of.remove(&task);
            }
        }
    }

    /// Gives a worker a seat.
    pub fn attach(&self, attach: Attach) -> Result<Arc<Session>, Error> {
        let name = attach.name.unwrap_or_else(|| {
            format!("{}-{}-{}", attach.language, std::process::id(), &Uuid::now_v7().simple().to_string()[20..])
        });
        if name.is_empty()
            || name.len() > 128
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
            || name.starts_with('.')
        {
            return Err(Error::new(Kind::Invalid, "invalid_worker_id", format!("`{name}` cannot name a worker"))
                .hint("use up to 128 letters, digits, `-`, `_`, `.` or `:`"));
        }
        if let Some(error) = self.inner.shared.ended() {
            return Err(error);
        }
        if self.inner.shared.sessions.lock().iter().any(|s| s.name == name) {
            return Err(Error::new(
                Kind::Conflict,
                "worker_exists",
                format!("this process already runs a worker named `{name}`"),
            ));
        }
        let announced = self.inner.liveness.lock().as_mut().map(|liveness| liveness.announce(&name));
        let new = NewWorker {
            name: name.clone(),
            language: attach.language.into(),
            sdk_version: attach.sdk_version,
            queues: attach.queues.clone(),
            handlers: attach.handlers,
            slots: attach.slots as u32,
            pid: std::process::id(),
            lease_ms: attach.lease_ms,
        };
        let joined = self.join(&new, announced.as_ref());
        let worker = match joined {
            Ok(worker) => worker,
            Err(error) => {
                if announced == Some(Announced::Alone)
                    && let Some(liveness) = &mut *self.inner.liveness.lock()
                {
                    liveness.withdraw(&name);
                }
                return Err(error);
            }
        };
        let shared = &self.inner.shared;
        let session = Arc::new(Session::new(worker, new, shared.clock.mono_ms(), shared.held.clone()));
        shared.store.announce(worker);
        self.inner.shared.sessions.lock().push(session.clone());
        self.inner.shared.poke();
        Ok(session)
    }

    /// Registers a worker. A name whose former life has ended is taken over as soon as that is known; one that somebody has
    /// is refused.
    fn join(&self, new: &NewWorker, announced: Option<&Announced>) -> Result<i64, Error> {
        let shared = &self.inner.shared;
        let mut watch = Watch::default();
        let mut seen = None;
        let deadline_ms = shared.clock.mono_ms() + new.lease_ms.max(LEASE_MS) * 5 / 4 + NAME_GRACE_MS;
        loop {
            let refused = match self.commit_one(Op::AddWorker(Box::new(new.clone()))) {
                Ok(Done::Worker(worker)) => return Ok(worker),
                Ok(other) => return Err(Error::new(Kind::Bug, "store_error", format!("the store answered {other:?}"))),
                Err(error) => error,
            };
            let former = refused.details.as_ref().and_then(|d| d["worker"].as_i64());
            let Some(former) = former.filter(|_| refused.code == "worker_exists") else { return Err(refused) };
            let is_alive = announced == Some(&Announced::Taken) || shared.store.is_connected(former) == Some(true);
            if is_alive || shared.clock.mono_ms() >= deadline_ms {
                return Err(refused);
            }
            let began_ms = shared.clock.mono_ms();
            let rows = shared.store.watched()?;
            let beat = rows.iter().find(|w| w.id == former && !w.gone);
            if beat.is_some_and(|w| *seen.get_or_insert(w.beat) != w.beat) {
                return Err(refused);
            }
            // Whoever holds the lock file of the name is the only one of the machine to have it.
            let sign = if announced == Some(&Announced::Alone) { Sign::Dead } else { Sign::None };
            let beat = beat.map(|w| Beat { worker: w.id, beat: w.beat, lease_ms: w.lease_ms });
            let verdicts = watch.look((began_ms, shared.clock.mono_ms()), beat.as_slice(), |_| sign);
            if let Some(verdict) = verdicts.first() {
                self.commit_one(Op::WorkerGone { worker: former, beat: Some(verdict.beat), stopped: false })?;
            } else {
                if seen.is_some() && watch.is_new() {
                    tracing::warn!(worker = new.name, "waiting to see whether the former worker of that name is alive");
                }
                let pause = Duration::from_millis(watch.pause_ms().max(1) as u64);
                if self.inner.closed.wait(NAME_EVERY.min(pause)) {
                    return Err(refused);
                }
            }
        }
    }

    /// Remembers that a worker was told to stop: what it still holds if it is killed before its end is handed back.
    pub fn draining(&self, session: &Session) {
        self.inner.shared.send(Op::Draining { worker: session.worker() });
    }

    /// Ends a worker's session: whatever it still holds is queued again at once, not counted as an attempt.
    pub fn detach(&self, session: &Session) {
        session.close();
        self.inner.shared.sessions.lock().retain(|s| s.name != session.name);
        let worker = session.worker();
        let stops = Op::WorkerGone { worker, beat: None, stopped: true };
        if let Err(error) = self.commit_one(stops.clone()) {
            tracing::warn!(worker = session.name, %error, "the worker's steps could not be handed back yet");
            self.inner.shared.send(stops);
        }
        self.store().withdraw(worker);
        if let Some(liveness) = &mut *self.inner.liveness.lock() {
            liveness.withdraw(&session.name);
        }
    }

    /// Queues a report on an attempt; it is stored with the next commit. `events`: payloads that publishers made.
    ///
    /// A result that breaks its `result_schema` is noted, or becomes a failure where the step says so; an event that breaks its
    /// schema is not published.
    pub fn report(
        &self,
        session: &Session,
        info: &TaskInfo,
        claimed: &Claimed,
        report: Report,
        mut events: Vec<PreparedEvent>,
    ) {
        let report = self.inner.schemas.vet(info, claimed, report, &mut events);
        self.inner.shared.send(Op::Finish {
            task: claimed.task,
            no: claimed.no,
            fence: claimed.fence,
            worker: session.worker(),
            report,
            events,
        });
    }

    /// Tells the committer that a worker wants more.
    pub fn poke(&self) {
        self.inner.shared.poke();
    }

    /// Those of some claims of a worker that are no longer its own.
    pub fn lost(&self, session: &Session, held: &[(i64, u16, u32)]) -> Result<Vec<(i64, u16, u32)>, Error> {
        let lost = self.store().lost(held)?;
        for claim in &lost {
            session.forget(*claim);
        }
        Ok(lost)
    }

    /// The recorded result of a step, if it can be had without reading the store.
    pub fn cached_result(&self, task: i64, no: u16) -> Option<Arc<str>> {
        self.inner.shared.cache.result(task, no)
    }

    /// Recorded results of some steps of a task, in the order asked.
    pub fn results(&self, task: i64, steps: &[u16]) -> Result<Vec<Option<Arc<str>>>, Error> {
        self.inner.shared.results(task, steps)
    }

    /// Results of every worker of the batches made from template step `worker`, as `(name, result)`.
    pub fn batch_results(&self, task: i64, worker: u16) -> Result<Vec<(String, Option<String>)>, Error> {
        let steps = self.store().steps(task)?;
        let of = |s: &tasker_store::StepRecord| s.step.template == worker && s.name.is_some();
        Ok(steps.into_iter().filter(of).map(|s| (s.name.unwrap_or_default(), s.result)).collect())
    }

    /// `inputs` of a batch worker.
    pub fn inputs(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.store().inputs(task, no)
    }

    /// Latest checkpoint of a step.
    pub fn checkpoint(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.store().checkpoint(task, no)
    }

    /// Live workers other than `session` that take from `queue`: names, and whether they have `handler`.
    pub fn other_workers(&self, session: &Session, queue: &str, handler: &str) -> Result<Vec<(String, bool)>, Error> {
        // Whoever has not been declared gone counts: after an outage nobody has beaten for a while.
        let alive = self.store().workers()?.into_iter().filter(|w| !w.gone && w.name != session.name);
        Ok(alive
            .filter(|w| w.queues.iter().any(|q| q == queue))
            .map(|w| (w.name, w.handlers.iter().any(|h| h == handler)))
            .collect())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            // Inherited over a fork: the threads live in the parent, and its locks may be held here for ever.
            return;
        }
        *self.closed.closed.lock() = true;
        self.closed.told.notify_all();
        self.shared.close();
        for thread in self.threads.lock().drain(..) {
            if thread.thread().id() != std::thread::current().id() {
                // A panic has been told.
                let _ = thread.join();
            }
        }
    }
}

/// Makes two spellings of one path one key.
fn absolute(url: &str) -> String {
    let Some(rest) = url.strip_prefix("sqlite:") else { return url.into() };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.strip_prefix("/.").map_or(path.to_string(), |p| format!(".{p}"));
    std::path::absolute(&path).map_or(path, |p| p.to_string_lossy().into_owned())
}

/// Watches the workers of other processes; `liveness` tells whose processes on this machine are gone.
fn watching(liveness: Arc<Mutex<Option<Liveness>>>) -> Duty {
    let mut watcher = Watcher::default();
    let run = move |shared: &Shared| {
        let dead = liveness.lock().as_ref().map(Liveness::dead).unwrap_or_default();
        if let Some(watched) =
            watcher.turn(shared, &dead, &|name| liveness.lock().as_ref().is_some_and(|l| l.is_unlocked(name)))
            && let Some(liveness) = &*liveness.lock()
        {
            // Whoever is watched no more has been declared gone.
            dead.iter().filter(|name| !watched.contains(name)).for_each(|name| liveness.forget(name));
        }
        Some(DEAD_EVERY.min(Duration::from_millis(watcher.pause_ms().max(1) as u64)))
    };
    Duty { name: "watching", every: DEAD_EVERY, needs_workers: false, run: Box::new(run) }
}
