//! What every worker does, whatever its language: take steps for free slots, keep their leases, enforce their
//! budgets, hand in reports, drain.
//!
//! Six stops on the way of a step: *claim* (engine), *take* ([`WorkerCore::try_take`]), the handler, *finish*
//! ([`WorkerCore::finish`]), *commit* (engine), and the next *claim* in that same commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tasker_runtime::sync::{Condvar, Mutex};
use tasker_runtime::{Attach, Engine, Given, Options, PreparedEvent, Session, TemplateFile};
use tasker_wire::{Error, Failure, Kind, Report, StepError, TemplateView};

use crate::disturb::Disturb;
use crate::error_type::standard;
use crate::job::{Job, Key};

/// How often budgets and leases are looked at.
const TICK: Duration = Duration::from_millis(20);
/// A step for which another worker has the handler is left alone for this long, milliseconds.
const HAND_BACK_MS: i64 = 200;
/// Largest result, bytes.
pub const RESULT_BYTES_MAX: usize = 64 << 20;
/// Payloads up to this size are looked through in less time than an interpreter lock changes hands, bytes.
const QUICK_BYTES_MAX: usize = 16 << 10;
/// Hung handlers whose slots are given to other steps; more keep their slots.
const ABANDONED_MAX: usize = 100;

/// Settings of a worker.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where work comes from.
    pub url: String,
    /// Unique name; made up when absent.
    pub worker_id: Option<String>,
    /// Queues it takes from; those of the given templates' namespaces when absent.
    pub namespaces: Option<Vec<String>>,
    /// Templates to register at start.
    pub templates: Vec<TemplateFile>,
    /// Names of the handlers it has, for other workers and for messages.
    pub handlers: Vec<String>,
    /// Handlers it runs at once.
    pub max_concurrent_handlers: usize,
    /// Length of a lease, milliseconds.
    pub lease_ms: i64,
    /// How long a drain waits for running handlers, milliseconds.
    pub drain_timeout_ms: u64,
    /// `python`, `ruby`, `rust`.
    pub language: &'static str,
    /// Version of the SDK.
    pub sdk_version: String,
    /// Unknown template keys are errors.
    pub strict: bool,
    /// Settings of the engine, if this worker opens it.
    pub engine: Options,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            url: tasker_runtime::default_url(),
            worker_id: None,
            namespaces: None,
            templates: Vec::new(),
            handlers: Vec::new(),
            max_concurrent_handlers: 10,
            lease_ms: 30_000,
            drain_timeout_ms: 30_000,
            language: "rust",
            sdk_version: env!("CARGO_PKG_VERSION").into(),
            strict: false,
            engine: Options::default(),
        }
    }
}

impl Config {
    /// Reads the settings of a language binding: the fields by their names, `environment` for the engine's.
    pub fn from_json(json: &[u8], language: &'static str) -> Result<Config, Error> {
        #[derive(Deserialize)]
        struct Template {
            path: String,
            source: String,
        }
        #[derive(Deserialize)]
        struct Given {
            url: Option<String>,
            worker_id: Option<String>,
            namespaces: Option<Vec<String>>,
            #[serde(default)]
            templates: Vec<Template>,
            #[serde(default)]
            handlers: Vec<String>,
            max_concurrent_handlers: Option<usize>,
            lease_ms: Option<i64>,
            drain_timeout_ms: Option<u64>,
            sdk_version: Option<String>,
            #[serde(default)]
            strict: bool,
            environment: Option<String>,
        }
        let given: Given = serde_json::from_slice(json).map_err(|e| {
            Error::new(Kind::Invalid, "invalid_config", format!("the worker's settings cannot be read: {e}"))
        })?;
        let mut config = Config { language, strict: given.strict, ..Config::default() };
        config.url = given.url.unwrap_or(config.url);
        config.worker_id = given.worker_id;
        config.namespaces = given.namespaces;
        let file = |t: Template| TemplateFile { path: t.path, source: t.source };
        config.templates = given.templates.into_iter().map(file).collect();
        config.handlers = given.handlers;
        config.max_concurrent_handlers = given.max_concurrent_handlers.unwrap_or(config.max_concurrent_handlers);
        config.lease_ms = given.lease_ms.unwrap_or(config.lease_ms);
        config.drain_timeout_ms = given.drain_timeout_ms.unwrap_or(config.drain_timeout_ms);
        config.sdk_version = given.sdk_version.unwrap_or(config.sdk_version);
        config.engine.environment = given.environment.or(config.engine.environment);
        Ok(config)
    }
}

/// Something the host must know besides steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The attempt with this event id lost its right to report: cancelled, timed out, or its lease ended.
    Cancel {
        /// Event id of the attempt.
        event_id: String,
        /// Why.
        message: String,
    },
    /// No more steps are taken; running ones should end.
    Drain,
    /// The worker cannot go on.
    Fatal {
        /// Why, and what to do.
        message: String,
    },
    /// The worker is closed.
    Shutdown,
}

/// A running worker without its handlers.
pub struct WorkerCore {
    engine: Engine,
    session: Arc<Session>,
    config: Config,
    templates: Vec<TemplateView>,
    warnings: Vec<String>,
    started: Instant,
    pid: u32,
    disturb: Disturb,
    // Every job between take and finish; touched twice a step and read by the tick.
    running: Mutex<rustc_hash::FxHashMap<Key, Arc<Job>>>,
    idle: Condvar,
    signals: Mutex<VecDeque<Signal>>,
    draining: AtomicBool,
    closed: AtomicBool,
    abandoned: AtomicUsize,
    completed: AtomicU64,
    failed: AtomicU64,
    taken: AtomicU64,
    tick: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for WorkerCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerCore").field("worker", &self.session.name).finish_non_exhaustive()
    }
}

impl WorkerCore {
    /// Opens the engine, registers the templates, takes a seat and starts claiming.
    pub fn start(config: Config) -> Result<Arc<WorkerCore>, Error> {
        if config.max_concurrent_handlers == 0 || config.max_concurrent_handlers > 10_000 {
            return Err(Error::new(
                Kind::Invalid,
                "invalid_config",
                "max_concurrent_handlers must lie between 1 and 10000",
            ));
        }
        if config.lease_ms < 10 {
            return Err(Error::new(Kind::Invalid, "invalid_config", "lease_ms must be at least 10"));
        }
        let engine = Engine::open(&config.url, config.engine.clone())?;
        WorkerCore::start_on(engine, config)
    }

    /// Starts on an engine that is already open; `config.url` is not used.
    pub fn start_on(engine: Engine, mut config: Config) -> Result<Arc<WorkerCore>, Error> {
        let disturb = Disturb::from_env()?;
        config.max_concurrent_handlers = disturb.slots.unwrap_or(config.max_concurrent_handlers);
        config.lease_ms = disturb.lease_ms.unwrap_or(config.lease_ms);
        let mut templates = Vec::new();
        let mut warnings = Vec::new();
        for registered in engine.register_templates(&config.templates, config.strict) {
            let (view, warned) = registered?;
            templates.push(view);
            warnings.extend(warned);
        }
        let mut queues: Vec<String> = match &config.namespaces {
            Some(namespaces) => namespaces.clone(),
            None if templates.is_empty() => vec!["default".into()],
            None => templates.iter().map(|t| t.namespace.clone()).collect(),
        };
        queues.sort();
        queues.dedup();
        let session = engine.attach(Attach {
            name: config.worker_id.clone(),
            language: config.language,
            sdk_version: config.sdk_version.clone(),
            queues,
            handlers: config.handlers.clone(),
            slots: config.max_concurrent_handlers,
            lease_ms: config.lease_ms,
        })?;
        let core = Arc::new(WorkerCore {
            engine,
            session,
            config,
            templates,
            warnings,
            started: Instant::now(),
            pid: std::process::id(),
            disturb,
            running: Mutex::default(),
            idle: Condvar::new(),
            signals: Mutex::default(),
            draining: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            abandoned: AtomicUsize::new(0),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            tick: Mutex::new(None),
        });
        let weak = Arc::downgrade(&core);
        let tick = std::thread::Builder::new()
            .name("tasker-lease".into())
            .spawn(move || {
                let mut renewed = Instant::now();
                loop {
                    std::thread::sleep(TICK);
                    let Some(core) = weak.upgrade() else { return };
                    if core.closed.load(Ordering::Acquire) {
                        return;
                    }
                    core.tick(&mut renewed);
                }
            })
            .map_err(|e| Error::new(Kind::Unavailable, "no_thread", format!("cannot start a thread: {e}")))?;
        *core.tick.lock() = Some(tick);
        Ok(core)
    }

    /// The engine it works on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its unique name.
    pub fn worker_id(&self) -> &str {
        &self.session.name
    }

    /// Queues it takes from.
    pub fn queues(&self) -> &[String] {
        &self.session.queues
    }

    /// Templates it registered at start.
    pub fn templates(&self) -> &[TemplateView] {
        &self.templates
    }

    /// Warnings about those templates, for people.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether this is a forked child of the process that started the worker.
    pub fn is_foreign(&self) -> bool {
        self.pid != std::process::id()
    }

    /// Takes a step, if one was given, without waiting.
    pub fn try_take(&self) -> Option<Arc<Job>> {
        let given = if self.disturb.shuffle { self.session.try_take_newest() } else { self.session.try_take() };
        given.map(|given| self.started(given))
    }

    /// Takes a signal, if there is one.
    pub fn try_signal(&self) -> Option<Signal> {
        if self.closed.load(Ordering::Acquire) {
            return Some(Signal::Shutdown);
        }
        self.signals.lock().pop_front()
    }

    /// Waits until a step was given or the worker closed, at most `timeout`; takes nothing.
    pub fn wait(&self, timeout: Duration) {
        self.session.wait(timeout);
    }

    /// How many callers wait in [`WorkerCore::wait`].
    pub fn waiting(&self) -> usize {
        self.session.waiting()
    }

    /// Threads a host may use: a slot each, and one for each hung handler whose slot was given on.
    pub fn thread_limit(&self) -> usize {
        self.config.max_concurrent_handlers + self.abandoned.load(Ordering::Relaxed)
    }

    /// A job that was taken and not finished, by its event id.
    pub fn find(&self, event_id: &str) -> Option<Arc<Job>> {
        self.running.lock().values().find(|j| j.event_id() == event_id).cloned()
    }

    fn started(&self, given: Given) -> Arc<Job> {
        let job = Arc::new(Job::new(self.engine.clone(), given));
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.running.lock().insert(job.key(), job.clone());
        job
    }

    /// Hands in a report; it only queues. The first report of a job counts, others are ignored (`false`).
    ///
    /// A report after the budget ran out is still sent, and kept in the history as rejected.
    pub fn finish(&self, job: &Arc<Job>, report: Report) -> bool {
        self.finish_with(job, report, Vec::new())
    }

    /// As [`WorkerCore::finish`], with the payloads that publishers made of the step's events.
    pub fn finish_with(&self, job: &Arc<Job>, report: Report, events: Vec<PreparedEvent>) -> bool {
        if !self.free(job) {
            return false;
        }
        match &report {
            Report::Failure(_) => self.failed.fetch_add(1, Ordering::Relaxed),
            _ => self.completed.fetch_add(1, Ordering::Relaxed),
        };
        let report = checked(report);
        if self.disturb.twice {
            self.engine.report(&self.session, job.info(), job.claimed(), report.clone(), events.clone());
        }
        self.engine.report(&self.session, job.info(), job.claimed(), report, events);
        // Only now: who waits until no handler runs may close the session, and reports must be queued before that.
        self.leave(job);
        true
    }

    /// The job is over, reported or not; `false` if it was before.
    pub(crate) fn end(&self, job: &Arc<Job>) -> bool {
        let ended = self.free(job);
        if ended {
            self.leave(job);
        }
        ended
    }

    fn leave(&self, job: &Arc<Job>) {
        let mut running = self.running.lock();
        running.remove(&job.key());
        if running.is_empty() {
            self.idle.notify_all();
        }
    }

    /// Marks the job as finished and gives its slot back; `false` if it was before.
    fn free(&self, job: &Arc<Job>) -> bool {
        if job.finished.swap(true, Ordering::AcqRel) {
            return false;
        }
        if job.abandoned.load(Ordering::Acquire) {
            self.abandoned.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.session.free_slots(1);
        }
        true
    }

    /// The host has no handler for the job. Handed back if another live worker has it, else failed for good.
    pub fn finish_not_found(&self, job: &Arc<Job>, detail: Option<&str>) {
        let callable = &job.definition().handler.callable;
        let queue = job.queue().to_string();
        let others = self.engine.other_workers(&self.session, &queue, callable).unwrap_or_default();
        if others.iter().any(|(_, has)| *has) {
            self.finish(job, Report::Release { delay_ms: HAND_BACK_MS });
            return;
        }
        let mut registered: Vec<&str> = self.config.handlers.iter().map(String::as_str).collect();
        registered.sort_by_key(|h| strsim::damerau_levenshtein(h, callable));
        registered.truncate(5);
        let asked: Vec<&str> =
            std::iter::once(self.worker_id()).chain(others.iter().map(|(name, _)| name.as_str())).collect();
        let near = if registered.is_empty() {
            "no handlers are registered".to_string()
        } else {
            format!(
                "the nearest registered are {}",
                registered.iter().map(|r| format!("`{r}`")).collect::<Vec<_>>().join(", ")
            )
        };
        let message = format!(
            "no handler `{callable}` for step `{}` of {}/{} (queue `{queue}`): {near}; workers asked: {}{}. \
             Register the handler or correct `handler.callable`, then retry the step",
            job.step_name(),
            job.info().workflow.template.namespace,
            job.info().workflow.template.name,
            asked.join(", "),
            detail.map(|d| format!(" ({d})")).unwrap_or_default(),
        );
        self.finish(job, failure("handler_not_found", message, false));
    }

    /// Takes up to `max` domain events of steps that ran here, JSON: those delivered in process, and those whose
    /// payload a publisher made. Waits at most `timeout` for the first.
    pub fn take_events(&self, max: usize, timeout: Duration) -> Vec<Arc<str>> {
        self.session.take_events(max, timeout)
    }

    fn tick(&self, renewed: &mut Instant) {
        let (cut_short, changed_outside) = self.session.take_notices();
        for cut in cut_short {
            self.cancel(
                (cut.task, cut.no, cut.fence),
                "the task or step was cancelled, reset, or given to another worker",
            );
        }
        let now = Instant::now();
        let late: Vec<Arc<Job>> =
            self.running.lock().values().filter(|j| j.deadline() <= now && !j.is_cancelled()).cloned().collect();
        for job in late {
            self.time_out(&job);
        }
        let every = Duration::from_millis((self.config.lease_ms as u64 / 3).max(3));
        let is_due = renewed.elapsed() >= every;
        if !is_due && !changed_outside {
            return;
        }
        let mut held: Vec<Key> = self.session.untaken();
        held.extend(self.running.lock().values().filter(|j| !j.is_cancelled()).map(|j| j.key()));
        if is_due {
            *renewed = now;
        }
        if held.is_empty() {
            return;
        }
        // Another process's writes may have cost a lease: that is only looked up, or processes would wake each other.
        let lost = if is_due { self.engine.renew(&self.session, held) } else { self.engine.lost(&held) };
        match lost {
            Ok(lost) => {
                for key in lost {
                    self.cancel(key, "the lease was lost: another worker may run the step");
                }
            }
            Err(error) => tracing::warn!(%error, "leases could not be renewed"),
        }
    }

    fn cancel(&self, key: Key, message: &str) {
        let job = self.running.lock().get(&key).cloned();
        // A step that finished a moment ago has lost its lease in the best of ways.
        if let Some(job) = job.filter(|j| !j.finished.load(Ordering::Acquire)) {
            self.cut(&job, message);
        }
    }

    fn cut(&self, job: &Arc<Job>, message: &str) {
        job.cancel();
        if self.abandoned.load(Ordering::Relaxed) < ABANDONED_MAX {
            self.abandoned.fetch_add(1, Ordering::Relaxed);
            job.abandoned.store(true, Ordering::Release);
            if job.finished.load(Ordering::Acquire) {
                // It ended in this very moment and gave its slot back itself.
                self.abandoned.fetch_sub(1, Ordering::Relaxed);
            } else {
                self.session.free_slots(1);
                self.engine.poke();
            }
        }
        self.signals.lock().push_back(Signal::Cancel { event_id: job.event_id(), message: message.into() });
    }

    fn time_out(&self, job: &Arc<Job>) {
        if job.finished.load(Ordering::Acquire) {
            return;
        }
        let budget = job.definition().timeout_ms;
        let message =
            format!("step `{}` did not end within its timeout_seconds of {}", job.step_name(), budget as f64 / 1_000.0);
        self.engine.report(
            &self.session,
            job.info(),
            job.claimed(),
            Report::Failure(Box::new(Failure {
                error: step_error("timeout", message.clone(), true),
                retry_after_ms: None,
                timed_out: true,
                metadata: None,
                execution_us: budget * 1_000,
            })),
            Vec::new(),
        );
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.cut(job, &message);
    }

    /// Stops taking steps; what no handler has seen yet goes back at once.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.session.stop_claiming();
        self.signals.lock().push_back(Signal::Drain);
        for given in self.session.try_take_many(usize::MAX) {
            let handed_back = Report::Release { delay_ms: 0 };
            self.engine.report(&self.session, &given.info, &given.claimed, handed_back, Vec::new());
        }
    }

    /// Waits until no handler runs, at most `timeout`; whether none does.
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let busy = |running: &rustc_hash::FxHashMap<Key, Arc<Job>>| running.values().any(|j| !j.is_cancelled());
        let running = self.idle.wait_while(self.running.lock(), deadline, |running| busy(running));
        !busy(&running)
    }

    /// Stops taking steps and waits for running handlers; [`WorkerCore::close`] then hands back what is left.
    /// True if all ended in time.
    pub fn drain(&self, timeout: Option<Duration>) -> bool {
        self.begin_drain();
        self.wait_idle(timeout.unwrap_or(Duration::from_millis(self.config.drain_timeout_ms)))
    }

    /// Ends the worker; whatever it still holds is queued again at once. Idempotent.
    pub fn close(&self) {
        if self.is_foreign() || self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // First the leases: a handler that ends because it was told to must not count as a failed attempt.
        self.engine.detach(&self.session);
        for job in self.running.lock().values() {
            job.cancel();
        }
        let tick = self.tick.lock().take();
        if let Some(tick) = tick.filter(|t| t.thread().id() != std::thread::current().id())
            && tick.join().is_err()
        {
            tracing::error!("the lease thread ended in a panic");
        }
    }

    /// Whether it has been closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Numbers for people and metrics.
    pub fn status(&self) -> Value {
        let running = self.running.lock();
        let oldest = running.values().map(|j| j.age()).max().unwrap_or_default();
        json!({
            "running": !self.is_closed(),
            "draining": self.draining.load(Ordering::Relaxed),
            "worker_id": self.session.name,
            "url": self.engine.url(),
            "durability": self.engine.durability(),
            "namespaces": &*self.session.queues,
            "slots": self.config.max_concurrent_handlers,
            "busy": running.len(),
            "abandoned": self.abandoned.load(Ordering::Relaxed),
            "pending_events": self.session.backlog(),
            "claimed": self.taken.load(Ordering::Relaxed),
            "completed": self.completed.load(Ordering::Relaxed),
            "failed": self.failed.load(Ordering::Relaxed),
            "uptime_ms": self.started.elapsed().as_millis() as u64,
            "domain_events_dropped": self.session.events_dropped(),
            "oldest_event_age_ms": oldest.as_millis() as u64,
        })
    }
}

impl Drop for WorkerCore {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether handing in a report means looking through much: a large payload, or one that schemas are to be held against. A host with
/// an interpreter lock gives it away for that. `events`: what publishers made, JSON.
pub fn takes_long(job: &Job, report: &Report, events: Option<&[u8]>) -> bool {
    let payload = match report {
        Report::Success { result, metadata, .. } => result.len() + metadata.as_ref().map_or(0, String::len),
        Report::Checkpoint { checkpoint, .. } => checkpoint.len(),
        Report::Failure(failure) => failure.metadata.as_ref().map_or(0, String::len),
        Report::Release { .. } => 0,
    };
    let step = job.definition();
    let template = &job.info().workflow.template;
    let has_schema = step.result_schema.is_some()
        || step.publishes_events.iter().any(|e| tasker_core::event::schema(template, e).is_some());
    has_schema || payload + events.map_or(0, <[u8]>::len) > QUICK_BYTES_MAX
}

/// A failure report without more than a message.
pub fn failure(error_type: &str, message: String, retryable: bool) -> Report {
    Report::Failure(Box::new(Failure {
        error: step_error(error_type, message, retryable),
        retry_after_ms: None,
        timed_out: false,
        metadata: None,
        execution_us: 0,
    }))
}

fn step_error(error_type: &str, message: String, retryable: bool) -> StepError {
    StepError {
        message,
        error_type: error_type.into(),
        error_code: None,
        backtrace: Vec::new(),
        retryable,
        status_code: None,
        context: None,
    }
}

/// The report, or a failure where its payload cannot be stored. A result of nothing is an empty object, so that every step has a
/// result that dependents can look into.
fn checked(mut report: Report) -> Report {
    if let Report::Success { result, .. } = &mut report
        && result.trim() == "null"
    {
        *result = "{}".into();
    }
    if let Report::Failure(failure) = &mut report {
        let stored = standard(&failure.error.error_type);
        if stored != failure.error.error_type {
            failure.error.error_type = stored.to_string();
        }
    }
    let (payload, what) = match &report {
        Report::Success { result, .. } => (result, "result"),
        Report::Checkpoint { checkpoint, .. } => (checkpoint, "checkpoint"),
        _ => return report,
    };
    if payload.len() > RESULT_BYTES_MAX {
        let message = format!(
            "the {what} has {} bytes; at most {RESULT_BYTES_MAX} are taken. Store it elsewhere and return a reference",
            payload.len()
        );
        return failure("result_too_large", message, false);
    }
    match serde_json::from_str::<&serde_json::value::RawValue>(payload) {
        Ok(_) => report,
        Err(error) => failure("serialization_error", format!("the {what} is not valid JSON: {error}"), false),
    }
}
