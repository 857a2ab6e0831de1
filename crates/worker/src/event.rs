//! The whole step event as a document, the same bytes for every language.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tasker_runtime::{PreparedEvent, time};
use tasker_wire::{Error, Json, Kind, json_text};

use crate::job::Job;

#[derive(Serialize)]
struct StepEvent<'a> {
    event_id: String,
    task_uuid: String,
    step_uuid: String,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'a str>,
    task_correlation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_correlation_id: Option<&'a str>,
    task_sequence_step: TaskSequenceStep<'a>,
}

#[derive(Serialize)]
struct TaskSequenceStep<'a> {
    task: TaskPart<'a>,
    workflow_step: WorkflowStep<'a>,
    dependency_results: serde_json::Map<String, Value>,
    step_definition: StepDefinition<'a>,
}

#[derive(Serialize)]
struct TaskPart<'a> {
    task: Task<'a>,
    task_name: &'a str,
    task_version: &'a str,
    namespace_name: &'a str,
}

#[derive(Serialize)]
struct Task<'a> {
    task_uuid: String,
    context: Json,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_correlation_id: Option<&'a str>,
    tags: &'a Value,
    priority: i32,
    initiator: &'a Value,
    source_system: &'a Value,
    reason: &'a Value,
    requested_at: &'a Value,
    created_at: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    options: &'a Value,
}

#[derive(Serialize)]
struct WorkflowStep<'a> {
    workflow_step_uuid: String,
    task_uuid: String,
    name: &'a str,
    template_step_name: &'a str,
    retryable: bool,
    attempts: u32,
    max_attempts: u32,
    in_process: bool,
    processed: bool,
    inputs: Json,
    results: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Json>,
    last_attempted_at: String,
}

#[derive(Serialize)]
struct StepDefinition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
    handler: Handler<'a>,
    dependencies: &'a [String],
    retry: Retry,
    timeout_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_dependency: Option<&'a str>,
    publishes_events: Vec<&'a str>,
    priority: i32,
    queue: &'a str,
}

#[derive(Serialize)]
struct Handler<'a> {
    callable: &'a str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolver: Option<&'a str>,
    initialization: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Retry {
    retryable: bool,
    max_attempts: u32,
    backoff: &'static str,
    backoff_base_ms: i64,
    max_backoff_ms: i64,
}

/// Reads what publishers of a host made of a step's events: `[{"index", "payload", "metadata"?} | {"index", "skip": true}]`.
pub fn prepared_events(json: &[u8]) -> Result<Vec<PreparedEvent>, Error> {
    #[derive(Deserialize)]
    struct Event {
        index: usize,
        #[serde(default)]
        skip: bool,
        #[serde(default)]
        payload: Option<Json>,
        #[serde(default)]
        metadata: Option<Json>,
    }
    let events: Vec<Event> = serde_json::from_slice(json)
        .map_err(|e| Error::new(Kind::Invalid, "invalid_request", format!("the events cannot be read: {e}")))?;
    let prepare = |e: Event| PreparedEvent {
        index: e.index,
        payload: (!e.skip).then(|| e.payload.map_or("null".into(), |p| p.get().to_string())),
        metadata: e.metadata.map(|m| m.get().to_string()),
    };
    Ok(events.into_iter().map(prepare).collect())
}

/// Writes the step event of a job: reads inputs, checkpoint and every dependency result.
pub fn document(job: &Job) -> Result<String, Error> {
    let info = job.info();
    let template = &info.workflow.template;
    let definition = job.definition();
    let claimed = job.claimed();
    let details: Value = serde_json::from_str(&info.details).unwrap_or_default();
    let correlation_id = details["correlation_id"].as_str().unwrap_or_default();
    let parent_correlation_id = details["parent_correlation_id"].as_str();
    let task_uuid = info.uuid.to_string();
    let mut dependency_results = Map::new();
    let names = job.dependency_names()?;
    let mut kept = if names.is_empty() { HashMap::new() } else { job.step_metadata()? };
    for name in names {
        if let Some(result) = job.dependency(&name)? {
            let result: Value = serde_json::from_str(&result).unwrap_or_default();
            let metadata = kept.remove(&name).unwrap_or_else(|| Value::Object(Map::new()));
            dependency_results.insert(name, serde_json::json!({"result": result, "metadata": metadata}));
        }
    }
    let event = StepEvent {
        event_id: job.event_id(),
        task_uuid: task_uuid.clone(),
        step_uuid: job.step_uuid(),
        correlation_id,
        trace_id: details["trace_id"].as_str(),
        span_id: details["span_id"].as_str(),
        task_correlation_id: correlation_id,
        parent_correlation_id,
        task_sequence_step: TaskSequenceStep {
            task: TaskPart {
                task: Task {
                    task_uuid: task_uuid.clone(),
                    context: json_text(info.context.to_string()),
                    correlation_id,
                    parent_correlation_id,
                    tags: &details["tags"],
                    priority: info.priority,
                    initiator: &details["initiator"],
                    source_system: &details["source_system"],
                    reason: &details["reason"],
                    requested_at: &details["requested_at"],
                    created_at: time(info.created_at),
                    options: &details["options"],
                },
                task_name: &template.name,
                task_version: &template.version,
                namespace_name: &template.namespace,
            },
            workflow_step: WorkflowStep {
                workflow_step_uuid: job.step_uuid(),
                task_uuid,
                name: job.step_name(),
                template_step_name: &definition.name,
                retryable: definition.retry.retryable,
                attempts: claimed.attempts,
                max_attempts: definition.retry.max_attempts,
                in_process: true,
                processed: false,
                inputs: json_text(job.inputs()?.unwrap_or_else(|| "{}".into())),
                results: Value::Object(Map::new()),
                checkpoint: job.checkpoint()?.map(json_text),
                last_attempted_at: time(claimed.started_at),
            },
            dependency_results,
            step_definition: StepDefinition {
                name: &definition.name,
                description: definition.description.as_deref(),
                kind: definition.kind.as_str(),
                handler: Handler {
                    callable: &definition.handler.callable,
                    method: &definition.handler.method,
                    resolver: definition.handler.resolver.as_deref(),
                    initialization: &definition.handler.initialization,
                },
                dependencies: &definition.dependencies,
                retry: Retry {
                    retryable: definition.retry.retryable,
                    max_attempts: definition.retry.max_attempts,
                    backoff: definition.retry.backoff.as_str(),
                    backoff_base_ms: definition.retry.backoff_base_ms,
                    max_backoff_ms: definition.retry.max_backoff_ms,
                },
                timeout_seconds: definition.timeout_ms as f64 / 1_000.0,
                system_dependency: definition.system_dependency.as_deref(),
                publishes_events: definition.publishes_events.iter().map(|e| e.name.as_str()).collect(),
                priority: definition.priority,
                queue: job.queue(),
            },
        },
    };
    Ok(tasker_wire::json_of(&event).get().to_string())
}
