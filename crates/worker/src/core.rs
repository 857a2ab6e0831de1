//! What every worker does, whatever its language: take steps for free slots, enforce their budgets, hand in reports,
//! drain. That it lives is told by its engine's commits.
//!
//! Six stops on the way of a step: *claim* (engine), *take* ([`WorkerCore::try_take`]), the handler, *finish*
//! ([`WorkerCore::finish`]), *commit* (engine), and the next *claim* in that same commit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tasker_core::watch::LEASE_MS;
use tasker_runtime::sync::{Condvar, Mutex};
use tasker_runtime::threads;
use tasker_runtime::{Attach, Engine, Options, PreparedEvent, Session, TemplateFile};
use tasker_wire::{Error, Failure, Kind, Report, StepError, TemplateView};

use crate::disturb::Disturb;
use crate::error_type::standard;
use crate::job::{Job, Key};
use crate::storable;

/// How often budgets are looked at.
const TICK: Duration = Duration::from_millis(20);
/// A step for which another worker has the handler is left alone for this long, milliseconds; twice as long with each time
/// it was claimed, [`HAND_BACK_DOUBLINGS`] times at most.
const HAND_BACK_MS: i64 = 200;
const HAND_BACK_DOUBLINGS: u32 = 4;
/// Largest result, bytes.
pub const RESULT_BYTES_MAX: usize = 64 << 20;
/// How long a drain waits for running handlers by default, milliseconds: less than the 30 s that Kubernetes, systemd and
/// others give a process before they kill it.
const DRAIN_TIMEOUT_MS: u64 = 20_000;
/// Payloads up to this size are looked through in less time than an interpreter lock changes hands, bytes.
const QUICK_BYTES_MAX: usize = 16 << 10;
/// Hung handlers whose slots are given to other steps; more keep their slots.
const ABANDONED_MAX: usize = 100;
/// Signals kept for a host that does not take them; the oldest are dropped.
const SIGNALS_MAX: usize = 10_000;

fn drain_timeout_of_environment() -> u64 {
    let Some(text) = std::env::var("TASKER_DRAIN_TIMEOUT").ok().filter(|t| !t.is_empty()) else {
        return DRAIN_TIMEOUT_MS;
    };
    drain_timeout_ms(&text).unwrap_or_else(|| {
        tracing::warn!(value = text, "TASKER_DRAIN_TIMEOUT is not a number of seconds; 20 are taken");
        DRAIN_TIMEOUT_MS
    })
}

/// Milliseconds of a number of seconds as people write it.
pub(crate) fn drain_timeout_ms(seconds: &str) -> Option<u64> {
    let seconds: f64 = seconds.trim().parse().ok().filter(|s| (0.0..=1e9).contains(s))?;
    Some((seconds * 1_000.0) as u64)
}

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
    /// Length of a lease, milliseconds: how long it may be silent before others take it for gone.
    pub lease_ms: i64,
    /// How long a drain waits for running handlers, milliseconds: `TASKER_DRAIN_TIMEOUT` (seconds), 20 s by default.
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
            lease_ms: LEASE_MS,
            drain_timeout_ms: drain_timeout_of_environment(),
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
    /// The attempt with this event id lost its right to report: cancelled, timed out, or given to another worker.
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
    failed_now: tokio::sync::Notify,
    failure_told: AtomicBool,
    abandoned: AtomicUsize,
    completed: AtomicU64,
    failed: AtomicU64,
    taken: AtomicU64,
    claims: Arc<Claims>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// When to look which claims are still this worker's.
#[derive(Default)]
struct Claims {
    asked: Mutex<Asked>,
    told: Condvar,
}

#[derive(Default)]
struct Asked {
    at_once: bool,
    closed: bool,
}

impl Claims {
    /// Another process has written to the store: some may be gone without a word.
    fn look_at_once(&self) {
        self.asked.lock().at_once = true;
        self.told.notify_all();
    }

    fn close(&self) {
        self.asked.lock().closed = true;
        self.told.notify_all();
    }

    /// Waits until it is time to look, `every` after the last time at the latest; `false` once closed.
    fn wait(&self, every: Duration) -> bool {
        let deadline = Instant::now() + every;
        let mut asked = self.told.wait_while(self.asked.lock(), deadline, |asked| !asked.at_once && !asked.closed);
        asked.at_once = false;
        !asked.closed
    }
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
            failed_now: tokio::sync::Notify::new(),
            failure_told: AtomicBool::new(false),
            abandoned: AtomicUsize::new(0),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            claims: Arc::default(),
            threads: Mutex::default(),
        });
        core.watch("tasker-budget", "keeps budgets", |weak| {
            loop {
                std::thread::sleep(TICK);
                let Some(core) = weak.upgrade() else { return };
                if core.closed.load(Ordering::Acquire) {
                    return;
                }
                core.tick();
            }
        })?;
        // A thread of its own: it waits for the store, and budgets end while the store is away, too.
        let (engine, session, claims) = (core.engine.clone(), core.session.clone(), core.claims.clone());
        let every = Duration::from_millis((core.config.lease_ms as u64 / 3).max(3));
        core.watch("tasker-claims", "looks after claims", move |weak| {
            while claims.wait(every) {
                let Some(held) = weak.upgrade().map(|core| core.held()) else { return };
                if held.is_empty() || session.is_closed() {
                    continue;
                }
                let lost = engine.lost(&session, &held);
                let Some(core) = weak.upgrade() else { return };
                match lost {
                    Ok(lost) => lost.into_iter().for_each(|key| {
                        core.cancel(key, "the step was taken from this worker: another may run it");
                    }),
                    Err(error) => tracing::warn!(%error, "cannot look which steps are still this worker's"),
                }
            }
        })?;
        Ok(core)
    }

    /// Starts a thread that ends with the worker, and without which the worker cannot go on.
    fn watch(
        self: &Arc<WorkerCore>,
        name: &str,
        what: &'static str,
        body: impl FnOnce(&Weak<WorkerCore>) + Send + 'static,
    ) -> Result<(), Error> {
        let weak = Arc::downgrade(self);
        let fails = weak.clone();
        let thread = threads::spawn(
            name,
            move || body(&weak),
            move |said| {
                if let Some(core) = fails.upgrade() {
                    core.fail(&format!("the thread that {what} ended in a panic ({said})"));
                }
            },
        )?;
        self.threads.lock().push(thread);
        Ok(())
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
        if self.draining.load(Ordering::Acquire) {
            self.hand_back();
            return None;
        }
        // Held while the step changes hands: whoever cuts it short finds it on one side or the other.
        let mut running = self.running.lock();
        let given = if self.disturb.shuffle { self.session.try_take_newest() } else { self.session.try_take() };
        let job = Arc::new(Job::new(self.engine.clone(), given?));
        running.insert(job.key(), job.clone());
        drop(running);
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(job)
    }

    /// Takes a signal, if there is one.
    pub fn try_signal(&self) -> Option<Signal> {
        if let Some(message) = self.session.failure()
            && !self.failure_told.swap(true, Ordering::AcqRel)
        {
            return Some(Signal::Fatal { message });
        }
        if self.closed.load(Ordering::Acquire) {
            return Some(Signal::Shutdown);
        }
        self.signals.lock().pop_front()
    }

    /// Ends the worker because it cannot go on: the host hears [`Signal::Fatal`], and no more steps are taken.
    pub fn fail(&self, why: &str) {
        self.session.fail(&format!("{why}; start the worker again, and please report it"));
        self.failed_now.notify_one();
    }

    /// Returns once the worker cannot go on, with the cause.
    pub async fn failure(&self) -> String {
        loop {
            if let Some(why) = self.session.failure() {
                return why;
            }
            self.failed_now.notified().await;
        }
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
        if job.take_slot() {
            self.session.free_slots(1);
        } else {
            self.abandoned.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// The host has no handler for the job. Handed back if another live worker has it, else failed for good.
    pub fn finish_not_found(&self, job: &Arc<Job>, detail: Option<&str>) {
        let callable = &job.definition().handler.callable;
        let queue = job.queue().to_string();
        let others = self.engine.other_workers(&self.session, &queue, callable).unwrap_or_default();
        if others.iter().any(|(_, has)| *has) {
            // The worker that has it may be busy for long.
            let delay_ms = HAND_BACK_MS << job.claimed().fence.min(HAND_BACK_DOUBLINGS);
            self.finish(job, Report::Release { delay_ms });
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

    fn tick(&self) {
        if self.session.failure().is_some() {
            // It may have been the engine that failed.
            self.failed_now.notify_one();
            return;
        }
        if self.draining.load(Ordering::Acquire) {
            self.hand_back();
        }
        let (cut_short, changed_outside) = self.session.take_notices();
        if changed_outside {
            self.claims.look_at_once();
        }
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
    }

    /// Claims that nobody has reported on.
    fn held(&self) -> Vec<Key> {
        // Held while steps change hands, as in `try_take`.
        let running = self.running.lock();
        let mut held = self.session.untaken();
        held.extend(running.values().filter(|j| !j.is_cancelled()).map(|j| j.key()));
        held
    }

    fn cancel(&self, key: Key, message: &str) {
        let running = self.running.lock();
        let job = running.get(&key).cloned();
        if job.is_none() && self.session.withdraw(key) {
            // No handler has seen it, and none will.
            self.engine.poke();
        }
        drop(running);
        // A step that was reported a moment ago is nobody's any more, and nothing was taken from it.
        if let Some(job) = job.filter(|j| !j.finished.load(Ordering::Acquire)) {
            self.cut(&job, message);
        }
    }

    fn cut(&self, job: &Arc<Job>, message: &str) {
        job.cancel();
        if self.abandoned.load(Ordering::Relaxed) < ABANDONED_MAX {
            // Counted before: the job may end, and be counted out, as soon as its slot is gone.
            self.abandoned.fetch_add(1, Ordering::Relaxed);
            if job.take_slot() {
                self.session.free_slots(1);
                self.engine.poke();
            } else {
                // It ended in this very moment and gave its slot back itself, or was cut before.
                self.abandoned.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.signal(Signal::Cancel { event_id: job.event_id(), message: message.into() });
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
        self.signal(Signal::Drain);
        self.engine.draining(&self.session);
        self.hand_back();
    }

    /// While it drains, what a commit under way still gives goes back too.
    fn hand_back(&self) {
        for given in self.session.take_back() {
            let handed_back = Report::Release { delay_ms: 0 };
            self.engine.report(&self.session, &given.info, &given.claimed, handed_back, Vec::new());
        }
    }

    fn signal(&self, signal: Signal) {
        let mut signals = self.signals.lock();
        if signals.len() >= SIGNALS_MAX {
            signals.pop_front();
        }
        signals.push_back(signal);
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
        // First its steps: a handler that ends because it was told to must not count as a failed attempt.
        self.engine.detach(&self.session);
        for job in self.running.lock().values() {
            job.cancel();
        }
        self.claims.close();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads.into_iter().filter(|t| t.thread().id() != std::thread::current().id()) {
            // A panic has been told.
            let _ = thread.join();
        }
    }

    /// Whether it has been closed, or cannot go on.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.session.is_closed()
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
    let fault = match serde_json::from_str::<&serde_json::value::RawValue>(payload) {
        Ok(_) => storable::fault(payload).map(|fault| format!("the {what} cannot be stored everywhere: {fault}")),
        Err(error) => Some(format!("the {what} is not valid JSON: {error}")),
    };
    fault.map_or(report, |fault| failure("serialization_error", fault, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_not_every_store_takes_fails_its_step_before_any_sees_it() {
        for payload in [r#"{"name": "\ud800"}"#, "[1e400]"] {
            let reports = [
                Report::Success { result: payload.into(), metadata: None, execution_us: 1 },
                Report::Checkpoint { checkpoint: payload.into(), execution_us: 1 },
            ];
            for report in reports {
                let Report::Failure(failure) = checked(report) else { panic!("{payload} passed") };
                assert_eq!(failure.error.error_type, "serialization_error");
                assert!(!failure.error.retryable);
            }
        }
    }

    #[test]
    fn the_newest_signals_are_kept_for_a_host_that_takes_none() {
        let engine = Engine::open("sqlite::memory:", Options::default()).expect("an engine");
        let core = WorkerCore::start_on(engine, Config::default()).expect("a worker");
        let signal = |number: usize| Signal::Cancel { event_id: number.to_string(), message: String::new() };
        (0..=SIGNALS_MAX).for_each(|number| core.signal(signal(number)));
        let kept: Vec<Signal> = std::iter::from_fn(|| core.try_signal()).collect();
        assert_eq!(kept.len(), SIGNALS_MAX);
        assert_eq!((kept.first(), kept.last()), (Some(&signal(1)), Some(&signal(SIGNALS_MAX))));
    }
}
