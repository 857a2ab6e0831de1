//! Handlers in Rust.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tasker_core::retry;
use tasker_engine::{Engine, TemplateFile};
use tasker_wire::{Error, Failure, Kind, Report, StepError as WireError, json_of};
use tokio::runtime::Runtime;

use crate::core::{Config, WorkerCore};
use crate::job::Job;

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
        let mut error = StepError::new(message, "http_error", retry::http_status_is_retryable(status));
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
    handlers: HashMap<String, Arc<dyn StepHandler>>,
}

impl WorkerBuilder {
    /// Registers a closure under the name templates use as `handler.callable`.
    pub fn handler<F, R>(self, callable: &str, handler: F) -> WorkerBuilder
    where
        F: Fn(StepContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<StepOutcome, StepError>> + Send + 'static,
    {
        self.register(callable, Closure(handler))
    }

    /// Registers a handler under the name templates use as `handler.callable`.
    pub fn register(mut self, callable: &str, handler: impl StepHandler) -> WorkerBuilder {
        self.handlers.insert(callable.into(), Arc::new(handler));
        self
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
    pub fn start(self) -> Result<Worker, Error> {
        let engine = Engine::open(&self.config.url, self.config.engine.clone())?;
        self.start_on(engine)
    }

    /// Starts on an engine that is already open.
    pub fn start_on(mut self, engine: Engine) -> Result<Worker, Error> {
        self.config.handlers = self.handlers.keys().cloned().collect();
        self.config.handlers.sort();
        let core = WorkerCore::start_on(engine, self.config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, usize::from))
            .thread_name("tasker-handler")
            .enable_all()
            .build()
            .map_err(|e| {
                Error::new(Kind::Unavailable, "no_thread", format!("cannot start the handlers' runtime: {e}"))
            })?;
        let handlers = Arc::new(self.handlers);
        let mut dispatch = Vec::new();
        for number in 0..std::thread::available_parallelism().map_or(2, usize::from) + 1 {
            let (core, handlers, handle) = (core.clone(), handlers.clone(), runtime.handle().clone());
            let thread = std::thread::Builder::new()
                .name(format!("tasker-worker-{number}"))
                .spawn(move || dispatch_steps(&core, &handlers, &handle))
                .map_err(|e| Error::new(Kind::Unavailable, "no_thread", format!("cannot start a thread: {e}")))?;
            dispatch.push(thread);
        }
        Ok(Worker { core, runtime: Some(runtime), dispatch })
    }
}

/// A running Rust worker; dropping it hands everything back.
pub struct Worker {
    core: Arc<WorkerCore>,
    runtime: Option<Runtime>,
    dispatch: Vec<std::thread::JoinHandle<()>>,
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
        WorkerBuilder { config: Config { url: url.into(), ..Config::default() }, handlers: HashMap::new() }
    }

    /// The engine it works on, for creating tasks and waiting.
    pub fn engine(&self) -> &Engine {
        self.core.engine()
    }

    /// The worker without its handlers: status, drain.
    pub fn core(&self) -> &Arc<WorkerCore> {
        &self.core
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
            if thread.join().is_err() {
                tracing::error!("a worker thread ended in a panic");
            }
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
fn dispatch_steps(
    core: &Arc<WorkerCore>,
    handlers: &Arc<HashMap<String, Arc<dyn StepHandler>>>,
    runtime: &tokio::runtime::Handle,
) {
    let _entered = runtime.enter();
    while !core.is_closed() {
        let Some(job) = core.try_take() else {
            core.wait(Duration::from_secs(1));
            continue;
        };
        let Some(handler) = handlers.get(&job.definition().handler.callable).cloned() else {
            core.finish_not_found(&job, None);
            continue;
        };
        let mut running = Box::pin(run(core.clone(), handler, job));
        // Its next poll, in the runtime, registers a waker that counts.
        if running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            runtime.spawn(running);
        }
    }
}

async fn run(core: Arc<WorkerCore>, handler: Arc<dyn StepHandler>, job: Arc<Job>) {
    let started = Instant::now();
    let context = StepContext { job: job.clone() };
    let call = CatchPanic(AssertUnwindSafe(handler.call(&context)));
    let outcome = tokio::select! {
        outcome = call => outcome,
        // The future is dropped: a cancelled handler stops at its next await, and has nothing to say.
        () = job.cancelled() => {
            core.end(&job);
            return;
        }
    };
    let execution_us = started.elapsed().as_micros() as i64;
    core.finish(&job, report(outcome, execution_us));
}

fn report(outcome: Result<StepOutcome, StepError>, execution_us: i64) -> Report {
    match outcome {
        Ok(StepOutcome::Success { result, metadata }) => {
            Report::Success { result: result.to_string(), metadata: metadata.map(|m| m.to_string()), execution_us }
        }
        Ok(StepOutcome::Checkpoint { cursor, items_processed, accumulated_results }) => Report::Checkpoint {
            checkpoint: json!({"cursor": cursor, "items_processed": items_processed, "accumulated_results": accumulated_results})
                .to_string(),
            execution_us,
        },
        Err(error) => Report::Failure(Box::new(Failure {
            error: WireError {
                message: error.message,
                error_type: error.error_type,
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

/// Turns a panic of the handler into a failure of the attempt.
struct CatchPanic<F>(AssertUnwindSafe<F>);

impl<F: Future<Output = Result<StepOutcome, StepError>> + Unpin> Future for CatchPanic<F> {
    type Output = Result<StepOutcome, StepError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = Pin::new(&mut self.0.0);
        match std::panic::catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                let said = panic
                    .downcast_ref::<&str>()
                    .map(ToString::to_string)
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "no message".into());
                Poll::Ready(Err(StepError::retryable(format!("the handler panicked: {said}")).error_type("panic")))
            }
        }
    }
}
