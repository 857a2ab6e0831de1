//! Handlers in Rust.

mod api;
mod batch;
mod classify;
mod command;
mod decision;
mod publish;
mod registry;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tasker_core::retry;
use tasker_runtime::{Engine, TemplateFile, threads};
use tasker_wire::{Error, Failure, Kind, Report, StepError as WireError, json_of};
use tokio::runtime::Runtime;

use crate::core::{Config, WorkerCore};
use crate::error_type::standard;
use crate::job::Job;
use crate::logging;
use crate::testing::Faults;

pub use api::{ApiHandler, ApiResponse};
pub use batch::{BatchAggregationScenario, BatchOutcome, BatchWorkerContext, BatchWorkerOutcome};
pub use decision::DecisionOutcome;
pub use publish::{DomainEvent, EventPublisher, EventSubscriber, PublishContext, PublishError, StepResult};
pub use registry::{ExplicitMapping, HandlerRegistry, Resolver, ResolverChain};

use publish::Listeners;

/// What a handler gives back when it did not fail.
#[derive(Debug, Clone)]
pub enum StepOutcome {
    /// The step is complete.
    Success {
        /// Any JSON.
        result: Value,
        /// Kept with the attempt.
        metadata: Option<Value>,
    },
    /// Progress to keep; the handler is called again with it. No attempt is used.
    Checkpoint {
        /// Where to go on: any JSON.
        cursor: Value,
        /// So far.
        items_processed: u64,
        /// Whatever must survive: any JSON.
        accumulated_results: Value,
    },
}

impl StepOutcome {
    /// A success with any serialisable result.
    pub fn success(result: impl Serialize) -> Result<StepOutcome, StepError> {
        serde_json::to_value(result).map(|result| StepOutcome::Success { result, metadata: None }).map_err(|e| {
            StepError::permanent(format!("the result cannot be serialised: {e}")).error_type("serialization_error")
        })
    }

    /// A failure that another attempt may cure, as any handler's plain `failure(…)`.
    pub fn failure(message: impl Into<String>) -> Result<StepOutcome, StepError> {
        Err(StepError::new(message, "handler_error", true))
    }

    /// Progress to keep; the handler is called again with it.
    pub fn checkpoint(
        cursor: impl Into<Value>,
        items_processed: u64,
        accumulated_results: impl Into<Value>,
    ) -> StepOutcome {
        StepOutcome::Checkpoint {
            cursor: cursor.into(),
            items_processed,
            accumulated_results: accumulated_results.into(),
        }
    }
}

/// Standard error types, as stored.
pub mod error_types {
    /// No attempt will help.
    pub const PERMANENT_ERROR: &str = "permanent_error";
    /// Another attempt may help.
    pub const RETRYABLE_ERROR: &str = "retryable_error";
    /// The input cannot be worked with.
    pub const VALIDATION_ERROR: &str = "validation_error";
    /// It took too long.
    pub const TIMEOUT: &str = "timeout";
    /// A handler's plain failure.
    pub const HANDLER_ERROR: &str = "handler_error";
}

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident => $error_type:literal, $retryable:literal;)+) => {
        impl StepError {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> StepError {
                StepError::new(message, $error_type, $retryable)
            })+
        }
    };
}

families! {
    /// Something took too long; retryable.
    timeout => "timeout", true;
    /// Another system could not be reached; retryable.
    network => "network_error", true;
    /// Another system asks for fewer requests; retryable. See [`StepError::after`].
    rate_limit => "rate_limit_error", true;
    /// Another system is down for now; retryable.
    service_unavailable => "service_unavailable_error", true;
    /// Something is locked or used by another for now; retryable.
    resource_contention => "resource_contention_error", true;
    /// What the step needs does not exist; permanent.
    not_found => "not_found_error", false;
    /// Another system does not know who asks; permanent.
    authentication => "authentication_error", false;
    /// Another system does not allow it; permanent.
    authorization => "authorization_error", false;
    /// The step or the worker is set up wrongly; permanent.
    configuration => "configuration_error", false;
    /// A rule of the business forbids it; permanent.
    business_logic => "business_logic_error", false;
}

impl From<Value> for StepOutcome {
    fn from(result: Value) -> StepOutcome {
        StepOutcome::Success { result, metadata: None }
    }
}

/// A failed attempt.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// What happened.
    pub message: String,
    /// `permanent_error`, `retryable_error`, `validation_error`, … or your own.
    pub error_type: String,
    /// Your code.
    pub error_code: Option<String>,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// Delay to keep before it; at most one hour.
    pub retry_after: Option<Duration>,
    /// HTTP status that caused it.
    pub status_code: Option<u16>,
    /// Kept with the error.
    pub context: Option<Value>,
    /// Kept with the attempt.
    pub metadata: Option<Value>,
}

impl StepError {
    /// A failure that another attempt may cure.
    pub fn retryable(message: impl Into<String>) -> StepError {
        StepError::new(message, "retryable_error", true)
    }

    /// A failure that no attempt will cure.
    pub fn permanent(message: impl Into<String>) -> StepError {
        StepError::new(message, "permanent_error", false)
    }

    /// Input that cannot be worked with; permanent.
    pub fn validation(message: impl Into<String>) -> StepError {
        StepError::new(message, "validation_error", false)
    }

    /// An HTTP answer that was not 2xx, classified by its status.
    pub fn http(status: u16, message: impl Into<String>) -> StepError {
        let error_type = match status {
            401 => "authentication_error",
            403 => "authorization_error",
            404 => "not_found_error",
            408 | 504 => "timeout",
            429 => "rate_limit_error",
            503 => "service_unavailable_error",
            500..=599 => "server_error",
            _ => "client_error",
        };
        let mut error = StepError::new(message, error_type, retry::http_status_is_retryable(status));
        error.status_code = Some(status);
        error
    }

    fn new(message: impl Into<String>, error_type: &str, retryable: bool) -> StepError {
        StepError {
            message: message.into(),
            error_type: error_type.into(),
            error_code: None,
            retryable,
            retry_after: None,
            status_code: None,
            context: None,
            metadata: None,
        }
    }

    /// Names the type of the error.
    pub fn error_type(mut self, error_type: impl Into<String>) -> StepError {
        self.error_type = error_type.into();
        self
    }

    /// Adds your code.
    pub fn code(mut self, code: impl Into<String>) -> StepError {
        self.error_code = Some(code.into());
        self
    }

    /// Keeps a value with the error.
    pub fn context(mut self, context: impl Into<Value>) -> StepError {
        self.context = Some(context.into());
        self
    }

    /// Keeps a value with the attempt.
    pub fn metadata(mut self, metadata: impl Into<Value>) -> StepError {
        self.metadata = Some(metadata.into());
        self
    }

    /// Asks for a delay before the next attempt.
    pub fn after(mut self, delay: Duration) -> StepError {
        self.retry_after = Some(delay);
        self
    }
}

impl From<Error> for StepError {
    fn from(error: Error) -> StepError {
        StepError::new(error.message, "retryable_error", error.kind == Kind::Unavailable).error_type(error.code)
    }
}

/// What a handler is called with.
#[derive(Debug, Clone)]
pub struct StepContext {
    job: Arc<Job>,
}

impl StepContext {
    /// The attempt itself.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The task's context, as your type.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        serde_json::from_str(&self.job.info().context)
            .map_err(|e| StepError::validation(format!("the task's context does not fit the handler's input: {e}")))
    }

    /// One field of the task's context; `Null` if absent.
    pub fn get_input(&self, key: &str) -> Result<Value, StepError> {
        let mut context: Value = self.input()?;
        Ok(context.get_mut(key).map(Value::take).unwrap_or_default())
    }

    /// The result of a direct or indirect dependency, as your type.
    pub fn dependency<T: DeserializeOwned>(&self, step: &str) -> Result<T, StepError> {
        let text = self.job.dependency(step)?.ok_or_else(|| {
            StepError::permanent(format!(
                "step `{}` has no result of `{step}`: it is no dependency, or has none",
                self.job.step_name()
            ))
        })?;
        serde_json::from_str(&text)
            .map_err(|e| StepError::validation(format!("the result of `{step}` does not fit the handler's input: {e}")))
    }

    /// UUID of the task.
    pub fn task_uuid(&self) -> String {
        self.job.info().uuid.to_string()
    }

    /// UUID of the step.
    pub fn step_uuid(&self) -> String {
        self.job.step_uuid()
    }

    /// Name of the step; of a batch worker its own.
    pub fn step_name(&self) -> &str {
        self.job.step_name()
    }

    /// Namespace of the template.
    pub fn namespace_name(&self) -> &str {
        &self.job.info().workflow.template.namespace
    }

    /// One field of the task's context, or the default if absent or null.
    pub fn get_input_or(&self, key: &str, default: impl Into<Value>) -> Result<Value, StepError> {
        let value = self.get_input(key)?;
        Ok(if value.is_null() { default.into() } else { value })
    }

    /// One field of `handler.initialization`; `Null` if absent.
    pub fn get_config(&self, key: &str) -> Value {
        self.config().get(key).cloned().unwrap_or_default()
    }

    /// The result of a direct or indirect dependency; `Null` if there is none.
    pub fn get_dependency_result(&self, step: &str) -> Result<Value, StepError> {
        Ok(match self.job.dependency(step)? {
            Some(text) => serde_json::from_str(&text)?,
            None => Value::Null,
        })
    }

    /// A field inside the result of a dependency; `Null` if any part is absent.
    pub fn get_dependency_field(&self, step: &str, path: &[&str]) -> Result<Value, StepError> {
        let mut value = self.get_dependency_result(step)?;
        for key in path {
            value = value.get_mut(*key).map(Value::take).unwrap_or_default();
        }
        Ok(value)
    }

    /// Names of all dependencies that have a result.
    pub fn get_dependency_result_keys(&self) -> Result<Vec<String>, StepError> {
        Ok(self.job.dependency_names()?)
    }

    /// Results of all dependencies whose names start with the prefix, by name.
    pub fn get_all_dependency_results(&self, prefix: &str) -> Result<BTreeMap<String, Value>, StepError> {
        let names = self.get_dependency_result_keys()?.into_iter().filter(|n| n.starts_with(prefix));
        names.map(|name| self.get_dependency_result(&name).map(|value| (name, value))).collect()
    }

    /// Attempts the step may have in all.
    pub fn max_retries(&self) -> u32 {
        self.job.definition().retry.max_attempts
    }

    /// Whether this is not the first attempt.
    pub fn is_retry(&self) -> bool {
        self.retry_count() > 0
    }

    /// Whether no attempt follows this one.
    pub fn is_last_retry(&self) -> bool {
        self.retry_count() + 1 >= self.max_retries()
    }

    /// Whether there is a checkpoint to go on from.
    pub fn has_checkpoint(&self) -> bool {
        self.job.claimed().has_checkpoint
    }

    /// Where to go on; `Null` at the start.
    pub fn checkpoint_cursor(&self) -> Result<Value, StepError> {
        self.checkpoint_part("cursor")
    }

    /// Items done before; 0 at the start.
    pub fn checkpoint_items_processed(&self) -> Result<u64, StepError> {
        Ok(self.checkpoint_part("items_processed")?.as_u64().unwrap_or(0))
    }

    /// What the checkpoint carries; `Null` at the start.
    pub fn accumulated_results(&self) -> Result<Value, StepError> {
        self.checkpoint_part("accumulated_results")
    }

    fn checkpoint_part(&self, key: &str) -> Result<Value, StepError> {
        Ok(self.checkpoint()?.and_then(|mut c| c.get_mut(key).map(Value::take)).unwrap_or_default())
    }

    /// `handler.initialization` of the step.
    pub fn config(&self) -> &serde_json::Map<String, Value> {
        &self.job.definition().handler.initialization
    }

    /// `inputs` of a batch worker; `Null` for other steps.
    pub fn step_inputs(&self) -> Result<Value, StepError> {
        let text = self.job.inputs()?;
        Ok(text.and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default())
    }

    /// The stored checkpoint, `{cursor, items_processed, accumulated_results}`.
    pub fn checkpoint(&self) -> Result<Option<Value>, StepError> {
        Ok(self.job.checkpoint()?.and_then(|t| serde_json::from_str(&t).ok()))
    }

    /// Attempts before this one.
    pub fn retry_count(&self) -> u32 {
        self.job.claimed().attempts
    }

    /// The attempt has lost its right to report: stop working.
    pub fn is_cancelled(&self) -> bool {
        self.job.is_cancelled()
    }

    /// The same for every attempt of the step: a fit idempotency key for calls to other systems.
    pub fn idempotency_key(&self) -> String {
        self.job.step_uuid()
    }
}

/// Code that runs steps.
#[async_trait]
pub trait StepHandler: Send + Sync + 'static {
    /// Runs one attempt.
    async fn call(&self, context: &StepContext) -> Result<StepOutcome, StepError>;
}

/// A closure as a handler.
struct Closure<F>(F);

#[async_trait]
impl<F, R> StepHandler for Closure<F>
where
    F: Fn(StepContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<StepOutcome, StepError>> + Send + 'static,
{
    async fn call(&self, context: &StepContext) -> Result<StepOutcome, StepError> {
        (self.0)(context.clone()).await
    }
}

/// A worker being put together.
#[derive(Default)]
pub struct WorkerBuilder {
    config: Config,
    handlers: ResolverChain,
    listeners: Listeners,
    faults: Faults,
    announce: bool,
}

impl WorkerBuilder {
    /// Registers a closure under the name templates use as `handler.callable`.
    pub fn handler<F, R>(self, callable: &str, handler: F) -> WorkerBuilder
    where
        F: Fn(StepContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<StepOutcome, StepError>> + Send + 'static,
    {
        self.method(callable, "call", Closure(handler))
    }

    /// Registers a handler under the name templates use as `handler.callable`.
    pub fn register(self, callable: &str, handler: impl StepHandler) -> WorkerBuilder {
        self.method(callable, "call", handler)
    }

    /// Registers a handler for steps of that name whose template says `handler.method`.
    pub fn method(mut self, callable: &str, method: &str, handler: impl StepHandler) -> WorkerBuilder {
        self.handlers.register(callable, method, Arc::new(handler));
        self
    }

    /// Adds a resolver for names of your own.
    pub fn resolver(mut self, resolver: impl Resolver) -> WorkerBuilder {
        self.handlers.add_resolver(Arc::new(resolver));
        self
    }

    /// Registers a publisher of domain events.
    pub fn publisher(mut self, publisher: impl EventPublisher) -> WorkerBuilder {
        self.listeners.publishers.insert(publisher.publisher_name().into(), Arc::new(publisher));
        self
    }

    /// Adds a subscriber to domain events.
    pub fn subscriber(mut self, subscriber: impl EventSubscriber) -> WorkerBuilder {
        self.listeners.subscribers.push(Arc::new(subscriber));
        self
    }

    pub(crate) fn faults(mut self, faults: Faults) -> WorkerBuilder {
        self.faults = faults;
        self
    }

    /// Adds every template (`*.yaml`, `*.yml`) of a folder and those below it.
    pub fn templates(mut self, folder: &std::path::Path) -> std::io::Result<WorkerBuilder> {
        let mut folders = vec![folder.to_path_buf()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
                if path.is_dir() {
                    folders.push(path)
                } else if yaml {
                    files.push(path)
                }
            }
        }
        files.sort();
        for file in files {
            self = self.template(&file.display().to_string(), &std::fs::read_to_string(&file)?);
        }
        Ok(self)
    }

    /// Adds a template as YAML text.
    pub fn template(mut self, path: &str, source: &str) -> WorkerBuilder {
        self.config.templates.push(TemplateFile { path: path.into(), source: source.into() });
        self
    }

    /// Changes any setting.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> WorkerBuilder {
        change(&mut self.config);
        self
    }

    /// Opens the engine and starts.
    ///
    /// Tasker's log goes to standard error then, warnings and worse or what `TASKER_LOG` asks for, unless the program has set
    /// a subscriber of `tracing` of its own: do that first, afterwards it is too late.
    pub fn start(self) -> Result<Worker, Error> {
        logging::start();
        let engine = Engine::open(&self.config.url, self.config.engine.clone())?;
        self.start_on(engine)
    }

    /// Starts on an engine that is already open; the log as by [`WorkerBuilder::start`].
    pub fn start_on(mut self, engine: Engine) -> Result<Worker, Error> {
        logging::start();
        self.config.handlers = self.handlers.list_handlers();
        let core = WorkerCore::start_on(engine, self.config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, usize::from))
            .thread_name("tasker-handler")
            .enable_all()
            .build()
            .map_err(|e| {
                Error::new(Kind::Unavailable, "no_thread", format!("cannot start the handlers' runtime: {e}"))
            })?;
        let hears = !self.listeners.is_empty();
        let code = Arc::new(Code { handlers: self.handlers, listeners: self.listeners, faults: self.faults });
        let mut dispatch = Vec::new();
        for number in 0..std::thread::available_parallelism().map_or(2, usize::from) + 1 {
            let (fails, core, code, handle) = (core.clone(), core.clone(), code.clone(), runtime.handle().clone());
            let body = move || dispatch_steps(&core, &code, &handle);
            dispatch.push(threads::spawn(&format!("tasker-worker-{number}"), body, move |said| {
                fails.fail(&format!("a thread that hands steps to handlers ended in a panic ({said})"));
            })?);
        }
        if hears {
            let (fails, core, code) = (core.clone(), core.clone(), code.clone());
            let body = move || tell_events(&core, &code.listeners);
            dispatch.push(threads::spawn("tasker-events", body, move |said| {
                fails.fail(&format!("the thread that hands on domain events ended in a panic ({said})"));
            })?);
        }
        Ok(Worker { core, runtime: Some(runtime), dispatch, announce: self.announce })
    }
}

/// A running Rust worker; dropping it hands everything back.
pub struct Worker {
    core: Arc<WorkerCore>,
    runtime: Option<Runtime>,
    dispatch: Vec<std::thread::JoinHandle<()>>,
    announce: bool,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.core.fmt(f)
    }
}

impl Worker {
    /// Puts a worker on `url` together.
    ///
    /// ```no_run
    /// use serde_json::json;
    /// use tasker_worker::{StepOutcome, Worker};
    ///
    /// let worker = Worker::builder("sqlite:///tmp/shop.db")
    ///     .template("double.yaml", "name: double\nsteps: [{name: double, handler: shop.double}]")
    ///     .handler("shop.double", |ctx| async move {
    ///         let n = ctx.get_input("n")?.as_i64().unwrap_or_default();
    ///         Ok(StepOutcome::from(json!(n * 2)))
    ///     })
    ///     .start()?;
    /// # Ok::<(), tasker_worker::Error>(())
    /// ```
    pub fn builder(url: &str) -> WorkerBuilder {
        WorkerBuilder { config: Config { url: url.into(), ..Config::default() }, ..WorkerBuilder::default() }
    }

    /// The engine it works on, for creating tasks and waiting.
    pub fn engine(&self) -> &Engine {
        self.core.engine()
    }

    /// The worker without its handlers: status, drain.
    pub fn core(&self) -> &Arc<WorkerCore> {
        &self.core
    }

    /// Works until the process is told to end (SIGINT, SIGTERM), then drains; a second signal ends at once. True if every
    /// handler ended in time; an error if the worker cannot go on.
    ///
    /// Blocks; within a tokio runtime it takes the thread it is called on, so that `tokio::task::spawn_blocking` fits.
    pub fn run(self) -> std::io::Result<bool> {
        threads::blocking(|| self.run_here())
    }

    fn run_here(self) -> std::io::Result<bool> {
        use tokio::signal::unix::{SignalKind, signal};
        let Some(runtime) = &self.runtime else { return Ok(true) };
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        if self.announce {
            self.core.warnings().iter().for_each(|warning| eprintln!("tasker: {warning}"));
            let (config, templates) = (self.core.config(), self.core.templates().len());
            let (handlers, slots) = (config.handlers.len(), config.max_concurrent_handlers);
            let url = self.engine().url();
            eprintln!("tasker worker ready: {templates} templates, {handlers} handlers, slots {slots}, url {url}");
        }
        let handle = runtime.handle().clone();
        let failure = handle.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => None,
                _ = terminate.recv() => None,
                why = self.core.failure() => Some(why),
            }
        });
        if let Some(why) = failure {
            return Err(std::io::Error::other(format!("the worker cannot go on: {why}")));
        }
        handle.spawn(async move {
            let code = tokio::select! { _ = interrupt.recv() => 130, _ = terminate.recv() => 143 };
            std::process::exit(code);
        });
        Ok(self.stop())
    }

    /// Drains and ends. True if every handler ended in time.
    pub fn stop(mut self) -> bool {
        let finished = self.core.drain(None);
        self.end();
        finished
    }

    fn end(&mut self) {
        self.core.close();
        for thread in self.dispatch.drain(..) {
            // A panic has been told.
            let _ = thread.join();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes steps one by one. A handler is polled here first, where it costs no hand-over; one that waits goes on in the
/// runtime. As in the runtime itself, a handler that blocks its thread holds up no other while threads are left.
fn dispatch_steps(core: &Arc<WorkerCore>, code: &Arc<Code>, runtime: &tokio::runtime::Handle) {
    let _entered = runtime.enter();
    while !core.is_closed() {
        let Some(job) = core.try_take() else {
            core.wait(Duration::from_secs(1));
            continue;
        };
        // A resolver is the user's code too.
        let resolved = catch_unwind(AssertUnwindSafe(|| code.resolve(&job)));
        let handler = match resolved.unwrap_or_else(|panic| Err(panicked("the resolver of handlers", &*panic))) {
            Ok(Some(handler)) => handler,
            Ok(None) => {
                core.finish_not_found(&job, None);
                continue;
            }
            Err(error) => {
                code.finish(core, &job, report(Err(error), 0));
                continue;
            }
        };
        let mut running = Box::pin(run(core.clone(), code.clone(), handler, job));
        // Its next poll, in the runtime, registers a waker that counts.
        if running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            runtime.spawn(running);
        }
    }
}

/// The user's half of a worker.
struct Code {
    handlers: ResolverChain,
    listeners: Listeners,
    faults: Faults,
}

impl Code {
    fn resolve(&self, job: &Job) -> Result<Option<Arc<dyn StepHandler>>, StepError> {
        {
            let mut faults = self.faults.lock();
            if !faults.is_empty()
                && let Some(fault) = faults.get_mut(job.step_name()).filter(|f| !f.is_empty())
            {
                return Err(fault.remove(0));
            }
        }
        self.handlers.resolve(&job.definition().handler)
    }

    fn finish(&self, core: &WorkerCore, job: &Arc<Job>, report: Report) {
        let events = self.listeners.prepare(job, &report);
        core.finish_with(job, report, events);
    }
}

/// Hands domain events to publishers and subscribers, one after another, until the worker is closed.
fn tell_events(core: &WorkerCore, listeners: &Listeners) {
    loop {
        let events = core.take_events(100, Duration::from_secs(1));
        if events.is_empty() && core.is_closed() {
            return;
        }
        events.iter().for_each(|event| listeners.tell(event));
    }
}

async fn run(core: Arc<WorkerCore>, code: Arc<Code>, handler: Arc<dyn StepHandler>, job: Arc<Job>) {
    let started = Instant::now();
    let context = StepContext { job: job.clone() };
    let call = CatchPanic(AssertUnwindSafe(Box::pin(async { handler.call(&context).await })));
    let outcome = tokio::select! {
        outcome = call => outcome,
        // The future is dropped: a cancelled handler stops at its next await, and has nothing to say.
        () = job.cancelled() => {
            core.end(&job);
            return;
        }
    };
    let execution_us = started.elapsed().as_micros() as i64;
    code.finish(&core, &job, report(outcome, execution_us));
}

fn report(outcome: Result<StepOutcome, StepError>, execution_us: i64) -> Report {
    match outcome {
        Ok(StepOutcome::Success { result, metadata }) => {
            // Publishers look at the report before the core does, and nothing is an empty object to them as well.
            let result = if result.is_null() { "{}".into() } else { result.to_string() };
            Report::Success { result, metadata: metadata.map(|m| m.to_string()), execution_us }
        }
        Ok(StepOutcome::Checkpoint { cursor, items_processed, accumulated_results }) => Report::Checkpoint {
            checkpoint: json!({"cursor": cursor, "items_processed": items_processed, "accumulated_results": accumulated_results})
                .to_string(),
            execution_us,
        },
        Err(error) => Report::Failure(Box::new(Failure {
            error: WireError {
                message: error.message,
                error_type: standard(&error.error_type).into(),
                error_code: error.error_code,
                backtrace: Vec::new(),
                retryable: error.retryable,
                status_code: error.status_code,
                context: error.context.map(|c| json_of(&c)),
            },
            retry_after_ms: error.retry_after.map(|d| d.as_millis().min(i64::MAX as u128) as i64),
            timed_out: false,
            metadata: error.metadata.map(|m| m.to_string()),
            execution_us,
        })),
    }
}

fn panicked(who: &str, panic: &(dyn std::any::Any + Send)) -> StepError {
    StepError::retryable(format!("{who} panicked: {}", threads::said(panic))).error_type("panic")
}

/// Turns a panic of the handler into a failure of the attempt.
struct CatchPanic<F>(AssertUnwindSafe<F>);

impl<F: Future<Output = Result<StepOutcome, StepError>> + Unpin> Future for CatchPanic<F> {
    type Output = Result<StepOutcome, StepError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = Pin::new(&mut self.0.0);
        match std::panic::catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked("the handler", &*panic))),
        }
    }
}
