//! A step handed to Ruby: control fields as methods, payloads as JSON strings.

use std::sync::Arc;

use magnus::{Error, Module, RModule, Ruby, method};
use serde_json::Value;
use tasker_worker::{Job, Signal as Told, document};

use crate::error::{guarded, released};

/// One attempt of a step.
#[magnus::wrap(class = "TaskerCore::Native::StepEvent", free_immediately)]
pub struct StepEvent {
    pub job: Arc<Job>,
}

type Publication = (usize, String, Option<String>, &'static str, Option<String>);

impl StepEvent {
    fn event_id(&self) -> String {
        self.job.event_id()
    }

    fn task_uuid(&self) -> String {
        self.job.info().uuid.to_string()
    }

    fn step_uuid(&self) -> String {
        self.job.step_uuid()
    }

    fn correlation_id(&self) -> String {
        let details: Value = serde_json::from_str(&self.job.info().details).unwrap_or_default();
        details["correlation_id"].as_str().unwrap_or_default().to_string()
    }

    fn step_name(&self) -> String {
        self.job.step_name().to_string()
    }

    fn template_step_name(&self) -> String {
        self.job.definition().name.clone()
    }

    fn handler_callable(&self) -> String {
        self.job.definition().handler.callable.clone()
    }

    fn handler_method(&self) -> String {
        self.job.definition().handler.method.clone()
    }

    fn handler_resolver(&self) -> Option<String> {
        self.job.definition().handler.resolver.clone()
    }

    fn namespace(&self) -> String {
        self.job.info().workflow.template.namespace.clone()
    }

    fn task_name(&self) -> String {
        self.job.info().workflow.template.name.clone()
    }

    fn task_version(&self) -> String {
        self.job.info().workflow.template.version.clone()
    }

    fn attempts(&self) -> u32 {
        self.job.claimed().attempts
    }

    fn max_attempts(&self) -> u32 {
        self.job.definition().retry.max_attempts
    }

    fn is_retryable(&self) -> bool {
        self.job.definition().retry.retryable
    }

    fn timeout_ms(&self) -> i64 {
        self.job.definition().timeout_ms
    }

    fn fence(&self) -> u32 {
        self.job.claimed().fence
    }

    fn has_checkpoint(&self) -> bool {
        self.job.claimed().has_checkpoint
    }

    fn has_inputs(&self) -> bool {
        self.job.claimed().name.is_some()
    }

    fn is_cancelled(&self) -> bool {
        self.job.is_cancelled()
    }

    fn has_publishers(&self) -> bool {
        self.job.definition().publishes_events.iter().any(|e| e.publisher.is_some())
    }

    fn publications(&self, success: bool, retryable: bool) -> Vec<Publication> {
        let declared = self.job.publications(success, retryable).into_iter();
        declared
            .map(|(index, e)| {
                let schema = e.schema.as_ref().map(ToString::to_string);
                (index, e.name.clone(), e.publisher.clone(), e.delivery.as_str(), schema)
            })
            .collect()
    }

    fn context_json(&self) -> String {
        self.job.info().context.to_string()
    }

    fn initialization_json(&self) -> String {
        tasker_wire::json_of(&self.job.definition().handler.initialization).get().to_string()
    }

    fn inputs_json(ruby: &Ruby, event: &StepEvent) -> Result<String, Error> {
        guarded(ruby, || released(ruby, || event.job.inputs())).map(|i| i.unwrap_or_else(|| "{}".into()))
    }

    fn checkpoint_json(ruby: &Ruby, event: &StepEvent) -> Result<Option<String>, Error> {
        guarded(ruby, || released(ruby, || event.job.checkpoint()))
    }

    fn dependency_names(ruby: &Ruby, event: &StepEvent) -> Result<Vec<String>, Error> {
        guarded(ruby, || released(ruby, || event.job.dependency_names()))
    }

    fn dependency_json(ruby: &Ruby, event: &StepEvent, name: String) -> Result<Option<String>, Error> {
        guarded(ruby, || {
            // A step that follows another in this process finds its result in memory: no need to let go of the lock.
            let found = match event.job.cached_dependency(&name) {
                Some(result) => Some(result),
                None => released(ruby, || event.job.dependency(&name))?,
            };
            Ok(found.map(|result| result.to_string()))
        })
    }

    fn to_json(ruby: &Ruby, event: &StepEvent) -> Result<String, Error> {
        guarded(ruby, || released(ruby, || document(&event.job)))
    }
}

/// Something the worker must know besides steps.
#[magnus::wrap(class = "TaskerCore::Native::Signal", free_immediately)]
pub struct Signal {
    kind: &'static str,
    message: String,
    event_id: Option<String>,
}

impl Signal {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn message(&self) -> String {
        self.message.clone()
    }

    fn event_id(&self) -> Option<String> {
        self.event_id.clone()
    }
}

impl From<Told> for Signal {
    fn from(told: Told) -> Signal {
        match told {
            Told::Cancel { event_id, message } => Signal { kind: "cancel", message, event_id: Some(event_id) },
            Told::Drain => Signal { kind: "drain", message: "no more steps are taken".into(), event_id: None },
            Told::Fatal { message } => Signal { kind: "fatal", message, event_id: None },
            Told::Shutdown => Signal { kind: "shutdown", message: "the worker is closed".into(), event_id: None },
        }
    }
}

pub fn define(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = native.define_class("StepEvent", ruby.class_object())?;
    class.define_method("event_id", method!(StepEvent::event_id, 0))?;
    class.define_method("task_uuid", method!(StepEvent::task_uuid, 0))?;
    class.define_method("step_uuid", method!(StepEvent::step_uuid, 0))?;
    class.define_method("correlation_id", method!(StepEvent::correlation_id, 0))?;
    class.define_method("step_name", method!(StepEvent::step_name, 0))?;
    class.define_method("template_step_name", method!(StepEvent::template_step_name, 0))?;
    class.define_method("handler_callable", method!(StepEvent::handler_callable, 0))?;
    class.define_method("handler_method", method!(StepEvent::handler_method, 0))?;
    class.define_method("handler_resolver", method!(StepEvent::handler_resolver, 0))?;
    class.define_method("namespace", method!(StepEvent::namespace, 0))?;
    class.define_method("task_name", method!(StepEvent::task_name, 0))?;
    class.define_method("task_version", method!(StepEvent::task_version, 0))?;
    class.define_method("attempts", method!(StepEvent::attempts, 0))?;
    class.define_method("max_attempts", method!(StepEvent::max_attempts, 0))?;
    class.define_method("retryable?", method!(StepEvent::is_retryable, 0))?;
    class.define_method("timeout_ms", method!(StepEvent::timeout_ms, 0))?;
    class.define_method("fence", method!(StepEvent::fence, 0))?;
    class.define_method("checkpoint?", method!(StepEvent::has_checkpoint, 0))?;
    class.define_method("inputs?", method!(StepEvent::has_inputs, 0))?;
    class.define_method("cancelled?", method!(StepEvent::is_cancelled, 0))?;
    class.define_method("publishers?", method!(StepEvent::has_publishers, 0))?;
    class.define_method("publications", method!(StepEvent::publications, 2))?;
    class.define_method("context_json", method!(StepEvent::context_json, 0))?;
    class.define_method("initialization_json", method!(StepEvent::initialization_json, 0))?;
    class.define_method("inputs_json", method!(StepEvent::inputs_json, 0))?;
    class.define_method("checkpoint_json", method!(StepEvent::checkpoint_json, 0))?;
    class.define_method("dependency_names", method!(StepEvent::dependency_names, 0))?;
    class.define_method("dependency_json", method!(StepEvent::dependency_json, 1))?;
    class.define_method("to_json", method!(StepEvent::to_json, 0))?;
    let class = native.define_class("Signal", ruby.class_object())?;
    class.define_method("kind", method!(Signal::kind, 0))?;
    class.define_method("message", method!(Signal::message, 0))?;
    class.define_method("event_id", method!(Signal::event_id, 0))?;
    Ok(())
}
