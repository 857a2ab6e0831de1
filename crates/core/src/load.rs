//! Reads a template from YAML and checks it; [`load`] is the only entrance.
//!
//! The text becomes a tree with places, the tree is read key by key into the [`Template`], then the dependencies
//! are checked and the environment's overrides applied. Reading goes on after an error, so that all are reported.

pub(crate) mod diagnostic;
mod environment;
mod graph;
mod read;

pub use self::diagnostic::{Diagnostic, LoadError, Severity};

use self::diagnostic::{Mark, Sink};
use self::read::{Fields, Reader};
use crate::template::{
    Backoff, BatchConfig, CatalogueEvent, DeliveryMode, EventCondition, EventDeclaration, FailureStrategy, Handler,
    IdentityStrategy, Lifecycle, ResultViolation, RetryPolicy, StalenessAction, StepKind, StepTemplate,
    SystemDependencies, Template,
};
use crate::yaml::{self, Kind, Node};

/// Largest file, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Most steps a template may have.
pub const STEPS_MAX: usize = 10_000;

const SECOND_MS: u32 = 1_000;
const MINUTE_MS: u32 = 60_000;
/// Budget of a handler whose template names none.
const TIMEOUT_MS_DEFAULT: i64 = 30_000;

/// How a file is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The environment whose overrides apply.
    pub environment: Option<&'a str>,
    /// Whether unknown keys are errors.
    pub strict: bool,
}

/// A template without errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The template, with the overrides of the chosen environment applied.
    pub template: Template,
    /// What its author should look at nevertheless, in file order.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a template. `file` is only named in diagnostics.
///
/// # Errors
/// All errors of the file are returned together, as far as one does not hide another.
pub fn load(source: &str, file: &str, options: &Options) -> Result<Loaded, LoadError> {
    let (template, (diagnostics, failed)) = interpret(source, file, options);
    match template {
        Some(template) if !failed => Ok(Loaded { template, warnings: diagnostics }),
        _ => Err(LoadError { diagnostics }),
    }
}

fn interpret(source: &str, file: &str, options: &Options) -> (Option<Template>, (Vec<Diagnostic>, bool)) {
    let start = Mark { line: 1, column: 1 };
    if source.len() > SOURCE_BYTES_MAX {
        let mut sink = Sink::new("", file);
        let message = format!("the file has {} bytes; a template may have {SOURCE_BYTES_MAX}", source.len());
        sink.error("yaml_too_large", start, message, None);
        return (None, sink.finish());
    }
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut sink = Sink::new(source, file);
    let Some(root) = yaml::parse(source, &mut sink) else { return (None, sink.finish()) };
    let mut reader = Reader { sink, strict: options.strict };
    let template = reader.template(&root, options.environment);
    (template, reader.sink.finish())
}

/// A step as read, before the others are known.
struct Draft {
    step: StepTemplate,
    /// Place of the name.
    at: Mark,
    /// Place of the type, or of the step if it has none.
    kind_at: Mark,
    dependencies: Vec<(String, Mark)>,
    worker_template_at: Mark,
}

impl Reader<'_> {
    fn template(&mut self, root: &Node, environment: Option<&str>) -> Option<Template> {
        let known = [
            "name",
            "namespace_name",
            "version",
            "description",
            "metadata",
            "system_dependencies",
            "domain_events",
            "input_schema",
            "identity_strategy",
            "default_context",
            "lifecycle",
            "environments",
            "steps",
        ];
        let fields = self.fields("template", root, &known)?;
        let mut template = Template {
            name: self.required(&fields, "name", Self::name).unwrap_or_default(),
            namespace: self.optional(&fields, "namespace_name", Self::name).unwrap_or_else(|| "default".to_owned()),
            version: self.optional(&fields, "version", Self::version).unwrap_or_else(|| "1.0.0".to_owned()),
            description: self.optional(&fields, "description", Self::text),
            metadata: self.optional(&fields, "metadata", Self::object).unwrap_or_default(),
            system_dependencies: self
                .optional(&fields, "system_dependencies", Self::system_dependencies)
                .unwrap_or_default(),
            domain_events: self.optional(&fields, "domain_events", Self::domain_events).unwrap_or_default(),
            input_schema: self.optional(&fields, "input_schema", Self::schema),
            identity: self.optional(&fields, "identity_strategy", Self::identity).unwrap_or_default(),
            default_context: self.optional(&fields, "default_context", Self::object).unwrap_or_default(),
            lifecycle: self.optional(&fields, "lifecycle", Self::lifecycle).unwrap_or_default(),
            steps: Vec::new(),
        };
        let drafts = self.drafts(&fields).unwrap_or_default();
        template.steps = self.link(drafts);
        self.environments(&fields, &mut template.steps, environment);
        Some(template)
    }

    fn system_dependencies(&mut self, key: &'static str, node: &Node) -> Option<SystemDependencies> {
        let fields = self.fields(key, node, &["primary", "secondary"])?;
        let secondary = self.optional(&fields, "secondary", Self::texts).unwrap_or_default();
        Some(SystemDependencies {
            primary: self.optional(&fields, "primary", Self::word),
            secondary: secondary.into_iter().map(|(name, _)| name).collect(),
        })
    }

    fn domain_events(&mut self, key: &'static str, node: &Node) -> Option<Vec<CatalogueEvent>> {
        let items = self.list(key, node)?;
        Some(items.iter().filter_map(|item| self.catalogue_event(item)).collect())
    }

    fn catalogue_event(&mut self, node: &Node) -> Option<CatalogueEvent> {
        let fields = self.fields("domain event", node, &["name", "description", "schema"])?;
        Some(CatalogueEvent {
            name: self.required(&fields, "name", Self::event_name).unwrap_or_default(),
            description: self.optional(&fields, "description", Self::text),
            schema: self.optional(&fields, "schema", Self::schema),
        })
    }

    fn identity(&mut self, key: &'static str, node: &Node) -> Option<IdentityStrategy> {
        use IdentityStrategy::*;
        let choices = [("always_unique", AlwaysUnique), ("strict", Strict), ("caller_provided", CallerProvided)];
        self.choice(key, node, &choices)
    }

    fn lifecycle(&mut self, key: &'static str, node: &Node) -> Option<Lifecycle> {
        let limits = [
            "max_duration_minutes",
            "max_waiting_for_dependencies_minutes",
            "max_waiting_for_retry_minutes",
            "max_steps_in_process_minutes",
        ];
        let known = [&limits[..], &["staleness_action"]].concat();
        let fields = self.fields(key, node, &known)?;
        let actions =
            [("dlq", StalenessAction::Dlq), ("error", StalenessAction::Error), ("none", StalenessAction::None)];
        let [duration, dependencies, retry, process] =
            limits.map(|limit| self.optional(&fields, limit, |r, key, node| r.duration(key, node, MINUTE_MS)));
        Some(Lifecycle {
            max_duration_ms: duration,
            max_waiting_for_dependencies_ms: dependencies,
            max_waiting_for_retry_ms: retry,
            max_steps_in_process_ms: process,
            staleness_action: self
                .optional(&fields, "staleness_action", |r, key, node| r.choice(key, node, &actions))
                .unwrap_or_default(),
        })
    }

    fn drafts(&mut self, fields: &Fields) -> Option<Vec<Draft>> {
        let (at, items) = match fields.get("steps") {
            Some(steps) => (steps.at, self.list("steps", &steps.value)?),
            None => match fields.get(":steps") {
                // Ruby's way to write a key; that is the one thing to correct.
                Some(steps) => {
                    let hint = Some("keys are plain texts: write `steps`, and so with the others".to_owned());
                    self.sink.error("no_steps", steps.at, "a template's steps stand under `steps`, not `:steps`", hint);
                    return None;
                }
                None => (fields.at, Default::default()),
            },
        };
        if items.is_empty() {
            self.sink.error("no_steps", at, "a template needs at least one step under `steps`", None);
        }
        if let Some(first_too_many) = items.get(STEPS_MAX) {
            let message = format!("the template has {} steps; {STEPS_MAX} are allowed", items.len());
            self.sink.error("too_many_steps", first_too_many.at, message, None);
        }
        Some(items.iter().take(STEPS_MAX).filter_map(|item| self.draft(item)).collect())
    }

    fn draft(&mut self, node: &Node) -> Option<Draft> {
        let known = [
            "name",
            "description",
            "type",
            "step_type",
            "handler",
            "dependencies",
            "depends_on",
            "queue",
            "retry",
            "timeout_seconds",
            "system_dependency",
            "priority",
            "publishes_events",
            "batch_config",
            "result_schema",
            "on_result_violation",
        ];
        let fields = self.fields("step", node, &known)?;
        let name = self.required(&fields, "name", Self::name).unwrap_or_default();
        let at = fields.get("name").map_or(node.at, |entry| entry.value.at);
        if name == environment::ALL {
            self.sink.error("bad_name", at, "`ALL` means every step in `environments`; no step can be named so", None);
        }
        let kind = self.either(&fields, "type", "step_type");
        let dependencies = self.either(&fields, "dependencies", "depends_on");
        let step = StepTemplate {
            name,
            description: self.optional(&fields, "description", Self::text),
            kind: kind.and_then(|entry| self.step_kind(&entry.value)).unwrap_or_default(),
            handler: self.required(&fields, "handler", Self::handler).unwrap_or_else(|| Handler::calling("")),
            dependencies: Vec::new(),
            queue: self.optional(&fields, "queue", Self::name),
            retry: self.optional(&fields, "retry", Self::retry).unwrap_or_default(),
            timeout_ms: self.timeout(&fields).unwrap_or(TIMEOUT_MS_DEFAULT),
            system_dependency: self.optional(&fields, "system_dependency", Self::word),
            // A margin to the ends of i32, so that a task's priority can be added.
            priority: self
                .optional(&fields, "priority", |r, key, node| r.integer(key, node, -1_000_000, 1_000_000))
                .unwrap_or_default(),
            publishes_events: self.optional(&fields, "publishes_events", Self::publishes_events).unwrap_or_default(),
            batch: self.optional(&fields, "batch_config", Self::batch_config),
            result_schema: self.optional(&fields, "result_schema", Self::schema),
            on_result_violation: self
                .optional(&fields, "on_result_violation", Self::result_violation)
                .unwrap_or_default(),
        };
        if let (Some(entry), None) = (fields.get("on_result_violation"), &step.result_schema) {
            let message = "`on_result_violation` has no effect without a `result_schema`";
            self.sink.warning("unused_key", entry.at, message, None);
        }
        if let Some(entry) = fields.get("batch_config")
            && !matches!(step.kind, StepKind::Batchable | StepKind::BatchWorker)
        {
            let message = format!("`batch_config` has no effect on a step of type `{}`", step.kind.as_str());
            self.sink.warning("unused_key", entry.at, message, Some("is `type: batchable` missing?".to_owned()));
        }
        let batch = fields.get("batch_config").and_then(|entry| match &entry.value.kind {
            Kind::Map(map) => map.get("worker_template"),
            _ => None,
        });
        Some(Draft {
            at,
            kind_at: kind.map_or(at, |entry| entry.value.at),
            dependencies: dependencies.and_then(|entry| self.texts("dependencies", &entry.value)).unwrap_or_default(),
            worker_template_at: batch.map_or(at, |entry| entry.value.at),
            step,
        })
    }

    fn result_violation(&mut self, key: &'static str, node: &Node) -> Option<ResultViolation> {
        self.choice(key, node, &[("warn", ResultViolation::Warn), ("fail", ResultViolation::Fail)])
    }

    fn step_kind(&mut self, node: &Node) -> Option<StepKind> {
        let choices = [
            ("standard", StepKind::Standard),
            ("decision", StepKind::Decision),
            ("deferred_convergence", StepKind::DeferredConvergence),
            ("deferred", StepKind::DeferredConvergence),
            ("batchable", StepKind::Batchable),
            ("batch_worker", StepKind::BatchWorker),
        ];
        self.choice("type", node, &choices)
    }

    fn handler(&mut self, key: &'static str, node: &Node) -> Option<Handler> {
        if matches!(node.kind, Kind::Text(_)) {
            return self.word(key, node).map(|callable| Handler::calling(&callable));
        }
        let fields = self.fields(key, node, &["callable", "method", "resolver", "initialization"])?;
        let callable = self.required(&fields, "callable", Self::word).unwrap_or_default();
        let default = Handler::calling(&callable);
        Some(Handler {
            method: self.optional(&fields, "method", Self::word).unwrap_or(default.method),
            resolver: self.optional(&fields, "resolver", Self::word),
            initialization: self.optional(&fields, "initialization", Self::object).unwrap_or_default(),
            callable,
        })
    }

    fn timeout(&mut self, fields: &Fields) -> Option<i64> {
        self.optional(fields, "timeout_seconds", |r, key, node| r.duration(key, node, SECOND_MS))
    }

    fn retry(&mut self, key: &'static str, node: &Node) -> Option<RetryPolicy> {
        let known = ["retryable", "max_attempts", "limit", "backoff", "backoff_base_ms", "max_backoff_ms"];
        let fields = self.fields(key, node, &known)?;
        let default = RetryPolicy::default();
        let backoffs = [
            ("none", Backoff::None),
            ("linear", Backoff::Linear),
            ("exponential", Backoff::Exponential),
            ("fibonacci", Backoff::Fibonacci),
        ];
        let attempts = self.either(&fields, "max_attempts", "limit");
        let mut max_attempts = attempts
            .and_then(|entry| self.integer("max_attempts", &entry.value, 0, i32::MAX.into()))
            .unwrap_or(default.max_attempts);
        if let (Some(entry), 0) = (attempts, max_attempts) {
            let hint = "attempts include the first; `retryable: false` turns retries off".to_owned();
            let message = "`max_attempts: 0` counts as 1";
            self.sink.warning("zero_attempts", entry.value.at, message, Some(hint));
            max_attempts = 1;
        }
        let [base, most] = ["backoff_base_ms", "max_backoff_ms"].map(|key| {
            self.optional(&fields, key, |r, key, node| r.integer(key, node, 0, read::DURATION_MS_MAX.into()))
        });
        Some(RetryPolicy {
            retryable: self.optional(&fields, "retryable", Self::flag).unwrap_or(default.retryable),
            max_attempts,
            backoff: self
                .optional(&fields, "backoff", |r, key, node| r.choice(key, node, &backoffs))
                .unwrap_or(default.backoff),
            backoff_base_ms: base.unwrap_or(default.backoff_base_ms),
            max_backoff_ms: most.unwrap_or(default.max_backoff_ms),
        })
    }

    fn publishes_events(&mut self, key: &'static str, node: &Node) -> Option<Vec<EventDeclaration>> {
        let items = self.list(key, node)?;
        Some(items.iter().filter_map(|item| self.event_declaration(item)).collect())
    }

    fn event_declaration(&mut self, node: &Node) -> Option<EventDeclaration> {
        let known = ["name", "description", "condition", "schema", "delivery_mode", "publisher"];
        let fields = self.fields("event declaration", node, &known)?;
        let conditions = [
            ("success", EventCondition::Success),
            ("failure", EventCondition::Failure),
            ("retryable_failure", EventCondition::RetryableFailure),
            ("permanent_failure", EventCondition::PermanentFailure),
            ("always", EventCondition::Always),
        ];
        let deliveries =
            [("durable", DeliveryMode::Durable), ("fast", DeliveryMode::Fast), ("broadcast", DeliveryMode::Broadcast)];
        Some(EventDeclaration {
            name: self.required(&fields, "name", Self::event_name).unwrap_or_default(),
            description: self.optional(&fields, "description", Self::text),
            condition: self
                .optional(&fields, "condition", |r, key, node| r.choice(key, node, &conditions))
                .unwrap_or_default(),
            schema: self.optional(&fields, "schema", Self::schema),
            delivery: self
                .optional(&fields, "delivery_mode", |r, key, node| r.choice(key, node, &deliveries))
                .unwrap_or_default(),
            publisher: self.optional(&fields, "publisher", Self::word),
        })
    }

    fn batch_config(&mut self, key: &'static str, node: &Node) -> Option<BatchConfig> {
        let known =
            ["batch_size", "parallelism", "cursor_field", "worker_template", "failure_strategy", "checkpoint_interval"];
        let fields = self.fields(key, node, &known)?;
        let strategies = [
            ("continue_on_failure", FailureStrategy::ContinueOnFailure),
            ("fail_fast", FailureStrategy::FailFast),
            ("isolate", FailureStrategy::Isolate),
        ];
        let [batch_size, checkpoint_interval] = ["batch_size", "checkpoint_interval"]
            .map(|key| self.optional(&fields, key, |r, key, node| r.integer(key, node, 1, i64::MAX.into())));
        Some(BatchConfig {
            batch_size,
            parallelism: self.optional(&fields, "parallelism", |r, key, node| r.integer(key, node, 1, i32::MAX.into())),
            cursor_field: self.optional(&fields, "cursor_field", Self::word),
            worker_template: self.optional(&fields, "worker_template", Self::word),
            failure_strategy: self
                .optional(&fields, "failure_strategy", |r, key, node| r.choice(key, node, &strategies))
                .unwrap_or_default(),
            checkpoint_interval,
        })
    }
}

impl Handler {
    /// A handler of which only the callable is named.
    fn calling(callable: &str) -> Handler {
        let (callable, method) = (callable.to_owned(), "call".to_owned());
        Handler { callable, method, resolver: None, initialization: Default::default() }
    }
}
