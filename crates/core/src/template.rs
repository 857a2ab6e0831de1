//! The task template: a plain value, already checked by [`crate::load`].

use indexmap::IndexMap;
use serde_json::{Map, Value};

/// A workflow definition: a DAG of steps with the policies that run it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Name, unique within `namespace` and `version`.
    pub name: String,
    /// Namespace; also the default queue of every step.
    pub namespace: String,
    /// Version as `x.y.z`.
    pub version: String,
    /// Shown to people.
    pub description: Option<String>,
    /// `author`, `tags`, `documentation_url` and whatever else the file holds.
    pub metadata: Map<String, Value>,
    /// External systems the workflow leans on; kept and shown.
    pub system_dependencies: SystemDependencies,
    /// Catalogue of the events this template speaks of.
    pub domain_events: Vec<CatalogueEvent>,
    /// JSON Schema (2020-12) that a task's context must fit.
    pub input_schema: Option<Value>,
    /// How duplicate tasks are recognised.
    pub identity: IdentityStrategy,
    /// Merged (top-level keys) under the context of each request.
    pub default_context: Map<String, Value>,
    /// Limits after which a task is stale.
    pub lifecycle: Lifecycle,
    /// Steps in file order; at least one.
    pub steps: Vec<StepTemplate>,
}

/// External systems a template leans on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SystemDependencies {
    /// The main one.
    pub primary: Option<String>,
    /// The others.
    pub secondary: Vec<String>,
}

/// An event named in the template's catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueEvent {
    /// Dotted name.
    pub name: String,
    /// Shown to people.
    pub description: Option<String>,
    /// JSON Schema of the payload.
    pub schema: Option<Value>,
}

/// How duplicate tasks are recognised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IdentityStrategy {
    /// Every request makes a task.
    #[default]
    AlwaysUnique,
    /// Same template and same canonical context is a conflict.
    Strict,
    /// The caller must send an idempotency key.
    CallerProvided,
}

/// Limits in milliseconds after which a task is stale, and what happens then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Whole life of the task.
    pub max_duration_ms: Option<i64>,
    /// Longest stay in `waiting_for_dependencies`.
    pub max_waiting_for_dependencies_ms: Option<i64>,
    /// Longest stay in `waiting_for_retry`.
    pub max_waiting_for_retry_ms: Option<i64>,
    /// Longest stay in `steps_in_process`.
    pub max_steps_in_process_ms: Option<i64>,
    /// What the sweep does with a stale task.
    pub staleness_action: StalenessAction,
}

/// What the sweep does with a stale task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StalenessAction {
    /// Open a dead letter and end the task in `error`.
    #[default]
    Dlq,
    /// End the task in `error`.
    Error,
    /// Leave it.
    None,
}

/// One step of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct StepTemplate {
    /// Unique within the template.
    pub name: String,
    /// Shown to people.
    pub description: Option<String>,
    /// What kind of step it is.
    pub kind: StepKind,
    /// Which code runs it.
    pub handler: Handler,
    /// Names of the steps that must be done before it.
    pub dependencies: Vec<String>,
    /// Queue it waits in; `None` means the template's namespace.
    pub queue: Option<String>,
    /// When and how often a failure is tried again.
    pub retry: RetryPolicy,
    /// Budget of the handler in milliseconds.
    pub timeout_ms: i64,
    /// External system it talks to; shown.
    pub system_dependency: Option<String>,
    /// Added to the task's priority; higher runs first.
    pub priority: i32,
    /// Events published after its outcome is committed.
    pub publishes_events: Vec<EventDeclaration>,
    /// For `batchable` steps.
    pub batch: Option<BatchConfig>,
    /// JSON Schema its result should fit.
    pub result_schema: Option<Value>,
    /// What a result that does not fit it means.
    pub on_result_violation: ResultViolation,
}

/// What a result that does not fit its step's `result_schema` means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResultViolation {
    /// The step completes; the attempt keeps what does not fit.
    #[default]
    Warn,
    /// The step fails for good.
    Fail,
}

/// What kind of step it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// Runs when its dependencies are done.
    #[default]
    Standard,
    /// Chooses which of its descendants exist.
    Decision,
    /// Waits for those of its dependencies that exist.
    DeferredConvergence,
    /// Splits its input into batches.
    Batchable,
    /// Template of the workers a batchable step creates.
    BatchWorker,
}

impl StepKind {
    /// The spelling of templates and the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::Standard => "standard",
            StepKind::Decision => "decision",
            StepKind::DeferredConvergence => "deferred_convergence",
            StepKind::Batchable => "batchable",
            StepKind::BatchWorker => "batch_worker",
        }
    }
}

/// Which code runs a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Handler {
    /// Name the worker's registry resolves.
    pub callable: String,
    /// Method called on it; `call` unless the template says otherwise.
    pub method: String,
    /// Name of the only resolver to ask, if any.
    pub resolver: Option<String>,
    /// Free configuration, `step_config` in handlers.
    pub initialization: Map<String, Value>,
}

/// When and how often a failure is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// False: a failure is final.
    pub retryable: bool,
    /// Total attempts, the first included; at least 1.
    pub max_attempts: u32,
    /// Shape of the delays.
    pub backoff: Backoff,
    /// Delay after the first failure, milliseconds.
    pub backoff_base_ms: i64,
    /// Longest delay, milliseconds.
    pub max_backoff_ms: i64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            retryable: true,
            max_attempts: 3,
            backoff: Backoff::Exponential,
            backoff_base_ms: 1_000,
            max_backoff_ms: 30_000,
        }
    }
}

/// Shape of the delays between attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backoff {
    /// No delay.
    None,
    /// `base * n`.
    Linear,
    /// `base * 2^(n-1)`.
    #[default]
    Exponential,
    /// `base * fib(n)`.
    Fibonacci,
}

impl Backoff {
    /// The spelling of templates and the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Backoff::None => "none",
            Backoff::Linear => "linear",
            Backoff::Exponential => "exponential",
            Backoff::Fibonacci => "fibonacci",
        }
    }
}

/// An event a step publishes.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDeclaration {
    /// Dotted name.
    pub name: String,
    /// Shown to people.
    pub description: Option<String>,
    /// Outcome it is published for.
    pub condition: EventCondition,
    /// JSON Schema of the payload.
    pub schema: Option<Value>,
    /// Where it goes.
    pub delivery: DeliveryMode,
    /// Name of a custom publisher.
    pub publisher: Option<String>,
}

/// Outcome an event is published for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventCondition {
    /// The step completed.
    #[default]
    Success,
    /// Any failed attempt.
    Failure,
    /// A failed attempt that will be retried.
    RetryableFailure,
    /// A failure that ended the step.
    PermanentFailure,
    /// Every finished attempt.
    Always,
}

/// Where an event goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeliveryMode {
    /// Outbox, in the commit of the result.
    #[default]
    Durable,
    /// Subscribers of this process.
    Fast,
    /// Both.
    Broadcast,
}

impl DeliveryMode {
    /// The spelling of templates and the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryMode::Durable => "durable",
            DeliveryMode::Fast => "fast",
            DeliveryMode::Broadcast => "broadcast",
        }
    }
}

/// How a batchable step is split and run.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchConfig {
    /// Items a batch, a default handlers may read.
    pub batch_size: Option<u64>,
    /// Workers that run at once; `None` means no cap.
    pub parallelism: Option<u32>,
    /// Field the cursor walks along; a hint for handlers.
    pub cursor_field: Option<String>,
    /// Name of the `batch_worker` step that is multiplied.
    pub worker_template: Option<String>,
    /// What a failed worker means for the others.
    pub failure_strategy: FailureStrategy,
    /// Items between checkpoints; a hint for handlers.
    pub checkpoint_interval: Option<u64>,
}

/// What a failed batch worker means for the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FailureStrategy {
    /// The others run on and the convergence sees the failures.
    #[default]
    ContinueOnFailure,
    /// The first permanent failure cancels the rest.
    FailFast,
    /// As continue, and the task completes with the failures listed.
    Isolate,
}

/// Overrides of one step (or of `ALL`) in one environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepOverride {
    /// Merged into `handler.initialization`.
    pub initialization: Map<String, Value>,
    /// Replaces the timeout, milliseconds.
    pub timeout_ms: Option<i64>,
    /// Replaces the retry policy.
    pub retry: Option<RetryPolicy>,
}

/// Overrides by environment name, then by step name or `ALL`, in file order.
pub type Environments = IndexMap<String, Vec<(String, StepOverride)>>;
