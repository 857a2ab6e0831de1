//! Domain events as documents, the same from every driver.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use tasker_core::event::{self, Occasion};
use tasker_core::id;
use tasker_core::machine::Neighbourhood;
use tasker_core::state::Step;
use tasker_core::template::DeliveryMode;
use tasker_wire::{Json, json_of, json_text};
use uuid::Uuid;

use crate::{PreparedEvent, Published, time};

/// Name of the queue that holds a namespace's durable events.
pub fn events_queue(namespace: &str) -> String {
    format!("{namespace}_domain_events")
}

/// What a message is made of besides the step.
pub(crate) struct Source<'a> {
    pub(crate) task: Uuid,
    /// The step as it was when its attempt ended.
    pub(crate) step: Step,
    pub(crate) occasion: Occasion,
    /// Payload of events without a prepared one, JSON: the result, or the error.
    pub(crate) default: &'a str,
    pub(crate) prepared: &'a [PreparedEvent],
    pub(crate) worker: i64,
    pub(crate) now: i64,
}

#[derive(Serialize)]
struct Message<'a> {
    event_id: String,
    event_name: &'a str,
    event_version: &'a str,
    payload: Json,
    metadata: Map<String, Value>,
}

/// Set in the index of an event that tells of a failure. An operator may complete the step afterwards, and its attempt is
/// still the same one; a consumer that knows the failure's event must not take the success's for a repetition.
const FAILURE: usize = 0x1000;

/// The events a step publishes, in the order of their declarations; those refused are left out. `details`: the
/// task's request without its context, JSON object.
pub(crate) fn published(hood: &Neighbourhood, source: &Source, details: &str) -> Vec<Published> {
    let template = &hood.workflow.template;
    let Source { task, step, occasion, .. } = *source;
    let definition = &template.steps[usize::from(step.template)];
    let details: Value = serde_json::from_str(details).unwrap_or_default();
    let span = hood.task.batches.iter().find(|b| b.contains(step.no));
    let step_name = span.map_or_else(|| definition.name.clone(), |b| b.worker_name(&definition.name, step.no));
    let document = |(index, declared): (usize, &tasker_core::template::EventDeclaration)| {
        let made = source.prepared.iter().find(|p| p.index == index);
        let payload = match made {
            Some(made) => made.payload.as_deref()?,
            None => source.default,
        };
        let told_of = if occasion == Occasion::Success { index } else { index | FAILURE };
        let mut metadata = Map::new();
        let mut put = |key: &str, value: Value| metadata.insert(key.into(), value);
        put("task_uuid", task.to_string().into());
        put("step_uuid", id::step_uuid(task, step.no).to_string().into());
        put("step_name", step_name.clone().into());
        put("task_name", template.name.clone().into());
        put("task_version", template.version.clone().into());
        put("namespace", template.namespace.clone().into());
        put("correlation_id", details["correlation_id"].clone());
        if details["parent_correlation_id"].is_string() {
            put("parent_correlation_id", details["parent_correlation_id"].clone());
        }
        put("attempt", (step.attempts_shown() + 1).into());
        put("condition", occasion.as_str().into());
        put("delivery_mode", declared.delivery.as_str().into());
        put("fired_at", time(source.now).into());
        put("fired_by", declared.publisher.as_deref().unwrap_or("default").into());
        if let Some(Ok(more)) = made.and_then(|p| p.metadata.as_deref()).map(serde_json::from_str::<Map<_, _>>) {
            metadata.extend(more);
        }
        let message = json_of(&Message {
            event_id: id::domain_event_uuid(task, step.no, step.fence, told_of).to_string(),
            event_name: &declared.name,
            event_version: &template.version,
            payload: json_text(payload.into()),
            metadata,
        });
        Some(Published {
            worker: source.worker,
            name: declared.name.clone(),
            queue: (declared.delivery != DeliveryMode::Fast).then(|| events_queue(&template.namespace)),
            is_told: declared.delivery != DeliveryMode::Durable || declared.publisher.is_some(),
            message: Arc::from(message.get()),
        })
    };
    event::published(definition, occasion).filter_map(document).collect()
}
