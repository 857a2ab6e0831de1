//! Domain events: publishers that make their payloads, subscribers that hear of them in this process.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tasker_core::template::EventDeclaration;
use tasker_runtime::{PreparedEvent, threads};
use tasker_wire::Report;

use crate::job::Job;

/// Under this, an event's metadata says why its publisher did not shape it.
const PUBLISHER_ERROR: &str = "publisher_error";

/// What a step came to, as publishers see it.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Whether it completed.
    pub success: bool,
    /// Its result; `Null` for a failure.
    pub result: Value,
    /// The failure: `message error_message error_type error_code? retryable`; `Null` for a success.
    pub error: Value,
    /// What the handler keeps with the attempt; an empty object if nothing.
    pub metadata: Value,
}

impl StepResult {
    /// What is published where no publisher says otherwise: the result, or the error.
    pub fn default_payload(&self) -> &Value {
        if self.success { &self.result } else { &self.error }
    }

    fn of(report: &Report) -> Option<StepResult> {
        let kept = |metadata: &Option<String>| {
            metadata.as_deref().and_then(|m| serde_json::from_str(m).ok()).unwrap_or_else(|| json!({}))
        };
        match report {
            Report::Success { result, metadata, .. } => {
                let result = serde_json::from_str(result).unwrap_or_default();
                Some(StepResult { success: true, result, error: Value::Null, metadata: kept(metadata) })
            }
            Report::Failure(failure) => {
                let e = &failure.error;
                let mut error = json!({
                    "message": e.message, "error_message": e.message, "error_type": e.error_type, "retryable": e.retryable,
                });
                if let Some(code) = &e.error_code {
                    error["error_code"] = code.clone().into();
                }
                Some(StepResult { success: false, result: Value::Null, error, metadata: kept(&failure.metadata) })
            }
            _ => None,
        }
    }
}

/// Everything a publisher may look at.
#[derive(Debug)]
pub struct PublishContext<'a> {
    /// What the step came to.
    pub step_result: &'a StepResult,
    /// The event as declared.
    pub event_declaration: &'a EventDeclaration,
    /// The attempt.
    pub job: &'a Job,
}

/// A published event.
#[derive(Debug, Clone, Deserialize)]
pub struct DomainEvent {
    /// The same for every delivery of the event.
    pub event_id: String,
    /// Name.
    pub event_name: String,
    /// Version of the template.
    pub event_version: String,
    /// Payload.
    pub payload: Value,
    /// Task, step, attempt, condition, delivery mode, and what a publisher added.
    pub metadata: Map<String, Value>,
}

/// What a publisher says when it cannot shape an event.
pub type PublishError = Box<dyn std::error::Error + Send + Sync>;

/// Shapes the events of declarations that name it; a failing one never fails the step, and loses no event.
pub trait EventPublisher: Send + Sync + 'static {
    /// The name declarations use.
    fn publisher_name(&self) -> &str;

    /// Whether the event is published at all.
    fn should_publish(&self, _context: &PublishContext) -> bool {
        true
    }

    /// The payload; the step's result, or its error.
    fn transform_payload(&self, context: &PublishContext) -> Result<Value, PublishError> {
        Ok(context.step_result.default_payload().clone())
    }

    /// Merged into the event's metadata.
    fn additional_metadata(&self, _context: &PublishContext) -> Map<String, Value> {
        Map::new()
    }

    /// Called before the event is handed over; `false` stops it.
    fn before_publish(&self, _event_name: &str, _payload: &Value, _metadata: &Map<String, Value>) -> bool {
        true
    }

    /// Called once the event is published, which is after the commit of its step.
    fn after_publish(&self, _event: &DomainEvent) {}

    /// Called when the payload could not be made, or another method panicked; the event is published with the default payload, and
    /// `publisher_error` in its metadata.
    fn on_publish_error(&self, _event_name: &str, _error: &PublishError) {}
}

/// Hears events of this process whose delivery is `fast` or `broadcast`; a failing one stops no other.
pub trait EventSubscriber: Send + Sync + 'static {
    /// Exact names, `prefix.*`, or `*`.
    fn subscribes_to(&self) -> Vec<String>;

    /// Does what is to be done about the event.
    fn handle(&self, event: &DomainEvent);

    /// Whether it hears events of that name.
    fn matches(&self, event_name: &str) -> bool {
        self.subscribes_to().iter().any(|pattern| {
            let prefix = pattern.strip_suffix('*').filter(|p| p.ends_with('.'));
            pattern == "*" || pattern == event_name || prefix.is_some_and(|p| event_name.starts_with(p))
        })
    }
}

/// The publishers and subscribers of a worker.
#[derive(Default)]
pub(super) struct Listeners {
    pub(super) publishers: HashMap<String, Arc<dyn EventPublisher>>,
    pub(super) subscribers: Vec<Arc<dyn EventSubscriber>>,
}

impl Listeners {
    pub(super) fn is_empty(&self) -> bool {
        self.publishers.is_empty() && self.subscribers.is_empty()
    }

    /// What the publishers make of the events a report will publish.
    pub(super) fn prepare(&self, job: &Job, report: &Report) -> Vec<PreparedEvent> {
        if self.publishers.is_empty() {
            return Vec::new();
        }
        let Some(step_result) = StepResult::of(report) else { return Vec::new() };
        let retryable = matches!(report, Report::Failure(f) if f.error.retryable);
        let one = |(index, declared): (usize, &EventDeclaration)| {
            let publisher = self.publishers.get(declared.publisher.as_deref()?)?;
            let context = PublishContext { step_result: &step_result, event_declaration: declared, job };
            let made = catch_unwind(AssertUnwindSafe(|| publish(&**publisher, &context)));
            let (payload, metadata) = match made.unwrap_or_else(|panic| Err(threads::said(&*panic).into())) {
                Ok(made) => made?,
                Err(error) => {
                    tracing::error!(
                        event = declared.name, publisher = publisher.publisher_name(), %error,
                        "a publisher failed; the event is published with the default payload"
                    );
                    guarded(&declared.name, || publisher.on_publish_error(&declared.name, &error));
                    let note = Map::from_iter([(PUBLISHER_ERROR.to_string(), error.to_string().into())]);
                    (step_result.default_payload().clone(), note)
                }
            };
            let metadata = (!metadata.is_empty()).then(|| Value::Object(metadata).to_string());
            Some(PreparedEvent { index, payload: Some(payload.to_string()), metadata })
        };
        let held_back = |index| PreparedEvent { index, payload: None, metadata: None };
        let known = |e: &EventDeclaration| e.publisher.as_ref().is_some_and(|p| self.publishers.contains_key(p));
        job.publications(step_result.success, retryable)
            .into_iter()
            .filter(|(_, declared)| known(declared))
            .map(|(index, declared)| one((index, declared)).unwrap_or_else(|| held_back(index)))
            .collect()
    }

    /// Hands a published event to its publisher and to those who hear it.
    pub(super) fn tell(&self, message: &str) {
        let Ok(event) = serde_json::from_str::<DomainEvent>(message) else { return };
        let text = |key: &str| event.metadata.get(key).and_then(Value::as_str).unwrap_or_default();
        if let Some(publisher) = self.publishers.get(text("fired_by"))
            && !event.metadata.contains_key(PUBLISHER_ERROR)
        {
            guarded(&event.event_name, || publisher.after_publish(&event));
        }
        if text("delivery_mode") != "durable" {
            for subscriber in self.subscribers.iter().filter(|s| s.matches(&event.event_name)) {
                guarded(&event.event_name, || subscriber.handle(&event));
            }
        }
    }
}

/// Calls a listener; one that panics stops neither the worker nor another listener.
fn guarded(event: &str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!(event, "a listener of a domain event panicked");
    }
}

/// Payload and metadata.
type Made = (Value, Map<String, Value>);

/// What a publisher makes of an event; nothing if it holds it back.
fn publish(publisher: &dyn EventPublisher, context: &PublishContext) -> Result<Option<Made>, PublishError> {
    if !publisher.should_publish(context) {
        return Ok(None);
    }
    let payload = publisher.transform_payload(context)?;
    let metadata = publisher.additional_metadata(context);
    let goes = publisher.before_publish(&context.event_declaration.name, &payload, &metadata);
    Ok(goes.then_some((payload, metadata)))
}
