//! From a request to a task that can be stored.

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tasker_core::graph::Workflow;
use tasker_core::template::IdentityStrategy;
use tasker_core::{id, outcome};
use tasker_store::{Idempotency, NewTask, Store, TemplateRecord};
use tasker_wire::{Error, Json, Kind, TaskRequest};
use uuid::Uuid;

use crate::schemas::{self, Place, Schemas};

/// Largest context, bytes.
pub const CONTEXT_BYTES_MAX: usize = 1 << 20;
/// Deepest context.
pub const JSON_DEPTH_MAX: usize = 64;
/// Largest priority, either way.
pub const PRIORITY_MAX: i32 = 100;
/// Longest name, key or label, bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// The request without its context, as stored.
#[derive(Serialize)]
struct Details<'a> {
    initiator: &'a str,
    source_system: &'a str,
    reason: &'a str,
    tags: &'a [String],
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<&'a Json>,
    requested_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<String>,
}

/// Checks a request and makes the task of it.
pub(crate) fn new_task(
    store: &dyn Store,
    schemas: &Schemas,
    request: &TaskRequest,
    now: i64,
) -> Result<NewTask, Error> {
    let template = find_template(store, request)?;
    let workflow = store.workflow(template.id)?;
    check_fields(request)?;
    let sent = request.context.as_ref().map_or("{}", |c| c.get());
    if sent.len() > CONTEXT_BYTES_MAX {
        return Err(Error::new(
            Kind::TooLarge,
            "context_too_large",
            format!("the context has {} bytes; at most {CONTEXT_BYTES_MAX} are taken", sent.len()),
        )
        .hint("store the data elsewhere and pass a reference"));
    }
    let context = context_of(&workflow, sent)?;
    let parsed = || serde_json::from_str::<Value>(&context).map_err(|e| not_json(&e.to_string()));
    if let Some(schema) = &workflow.template.input_schema {
        let violations = schemas.violations((template.id, Place::Input), schema, &parsed()?);
        if !violations.is_empty() {
            let listed = schemas::listed(&violations);
            return Err(Error::new(
                Kind::Unprocessable,
                "context_violates_schema",
                format!("the context does not fit the template's input_schema:\n{listed}"),
            )
            .hint("correct the context and send the request again; nothing was stored")
            .details(Value::Array(violations)));
        }
    }
    let requested_at = match &request.requested_at {
        Some(at) => tasker_store::time(parse_time("requested_at", at)?),
        None => tasker_store::time(now),
    };
    let start_at = request.run_at.as_ref().map(|at| parse_time("run_at", at)).transpose()?;
    let correlation_id = request.correlation_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let details = Details {
        initiator: &request.initiator,
        source_system: &request.source_system,
        reason: &request.reason,
        tags: &request.tags,
        correlation_id: &correlation_id,
        parent_correlation_id: request.parent_correlation_id.as_deref(),
        idempotency_key: request.idempotency_key.as_deref(),
        options: request.options.as_ref(),
        requested_at,
        run_at: start_at.map(tasker_store::time),
    };
    Ok(NewTask {
        uuid: id::task_uuid(Uuid::now_v7()),
        template: template.id,
        idempotency: identity(&workflow, request, &context, parsed)?,
        details: tasker_wire::json_of(&details).get().into(),
        context: context.into(),
        workflow,
        priority: request.priority,
        start_at,
    })
}

fn find_template(store: &dyn Store, request: &TaskRequest) -> Result<TemplateRecord, Error> {
    if let Some(found) = store.find_template(&request.namespace, &request.name, request.version.as_deref())? {
        return Ok(found);
    }
    let all = store.templates()?;
    let wanted = format!("{}/{}", request.namespace, request.name);
    let version = request.version.as_ref().map(|v| format!(" {v}")).unwrap_or_default();
    let names: Vec<String> = all.iter().map(|t| format!("{}/{}", t.namespace, t.name)).collect();
    let error = Error::new(Kind::NotFound, "template_not_found", format!("there is no template {wanted}{version}"));
    let known: Vec<&str> = all
        .iter()
        .filter(|t| t.namespace == request.namespace && t.name == request.name)
        .map(|t| t.version.as_str())
        .collect();
    Err(if !known.is_empty() {
        error.hint(format!("its versions are {}", known.join(", ")))
    } else if let Some(other) = all.iter().find(|t| t.name == request.name) {
        error.hint(format!("there is one in the namespace `{}`", other.namespace))
    } else if let Some(near) = outcome::nearest(&wanted, names.iter().map(String::as_str)) {
        error.hint(format!("did you mean {near}?"))
    } else {
        error.hint("register it: start a worker with its YAML file, or list what is there with `tasker template ls`")
    })
}

fn check_fields(request: &TaskRequest) -> Result<(), Error> {
    let invalid = |field: &str, why: String| {
        Err(Error::new(Kind::Invalid, "invalid_request", format!("`{field}` {why}"))
            .details(json!([{"pointer": format!("/{field}"), "message": why}])))
    };
    if request.priority.unsigned_abs() > PRIORITY_MAX.unsigned_abs() {
        return invalid(
            "priority",
            format!("is {}; it must lie between -{PRIORITY_MAX} and {PRIORITY_MAX}", request.priority),
        );
    }
    let texts = [
        ("initiator", Some(&request.initiator)),
        ("source_system", Some(&request.source_system)),
        ("reason", Some(&request.reason)),
        ("correlation_id", request.correlation_id.as_ref()),
        ("parent_correlation_id", request.parent_correlation_id.as_ref()),
        ("idempotency_key", request.idempotency_key.as_ref()),
    ];
    for (field, text) in
        texts.into_iter().filter_map(|(f, t)| t.map(|t| (f, t))).chain(request.tags.iter().map(|t| ("tags", t)))
    {
        if text.len() > TEXT_BYTES_MAX {
            return invalid(field, format!("has {} bytes; at most {TEXT_BYTES_MAX} are taken", text.len()));
        }
    }
    if request.tags.len() > 100 {
        return invalid("tags", format!("has {} entries; at most 100 are taken", request.tags.len()));
    }
    Ok(())
}

fn not_json(why: &str) -> Error {
    Error::new(Kind::Invalid, "invalid_request", format!("`context` is not valid JSON: {why}"))
}

/// The request's context over the template's defaults, as text; verbatim where there are none.
fn context_of(workflow: &Workflow, sent: &str) -> Result<String, Error> {
    if !sent.trim_start().starts_with('{') {
        return Err(Error::new(Kind::Invalid, "invalid_request", "`context` must be a JSON object")
            .hint("wrap the value, for example {\"value\": …}"));
    }
    if depth(sent) > JSON_DEPTH_MAX {
        return Err(Error::new(
            Kind::Invalid,
            "context_too_deep",
            format!("the context is nested deeper than {JSON_DEPTH_MAX} levels"),
        ));
    }
    let defaults = &workflow.template.default_context;
    if defaults.is_empty() {
        return Ok(sent.to_string());
    }
    let sent: Map<String, Value> = serde_json::from_str(sent).map_err(|e| not_json(&e.to_string()))?;
    let mut merged = defaults.clone();
    merged.extend(sent);
    Ok(Value::Object(merged).to_string())
}

/// Nesting of valid JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    deepest
}

pub(crate) fn parse_time(field: &str, text: &str) -> Result<i64, Error> {
    text.parse::<jiff::Timestamp>().map(|t| t.as_millisecond()).map_err(|e| {
        Error::new(Kind::Invalid, "invalid_request", format!("`{field}` is not a time: {e}"))
            .hint("use RFC 3339, for example 2026-01-31T12:00:00Z")
    })
}

fn identity(
    workflow: &Workflow,
    request: &TaskRequest,
    context: &str,
    parsed: impl Fn() -> Result<Value, Error>,
) -> Result<Option<Idempotency>, Error> {
    let template = &workflow.template;
    let scope = format!("{}/{}", template.namespace, template.name);
    match template.identity {
        IdentityStrategy::Strict => {
            let canonical = canonical(&parsed()?).to_string();
            let digest = sha256(&[&scope, &template.version, &canonical]);
            Ok(Some(Idempotency { key: format!("{scope}/strict/{digest}"), digest, strict: true }))
        }
        strategy => match &request.idempotency_key {
            Some(key) => {
                let version = request.version.as_deref().unwrap_or("");
                let tags = request.tags.join("\u{1f}");
                let parsed = serde_json::from_str(context).map_err(|e| not_json(&e.to_string()))?;
                let (sorted, priority) = (canonical(&parsed).to_string(), request.priority.to_string());
                // Those that are seldom given count where they are: without them the digest is what it always was.
                let options = request.options.as_ref().map(|o| serde_json::from_str::<Value>(o.get()));
                let options = options.transpose().map_err(|e| not_json(&e.to_string()))?;
                let options = options.map(|o| format!("options {}", canonical(&o)));
                let run_at = request.run_at.as_ref().map(|at| format!("run_at {at}"));
                let parent = request.parent_correlation_id.as_ref().map(|of| format!("parent {of}"));
                let seldom: Vec<String> = [options, run_at, parent].into_iter().flatten().collect();
                let mut parts = vec![
                    version,
                    &sorted,
                    &request.initiator,
                    &request.source_system,
                    &request.reason,
                    &tags,
                    &priority,
                ];
                parts.extend(seldom.iter().map(String::as_str));
                let digest = sha256(&parts);
                Ok(Some(Idempotency { key: format!("{scope}/key/{key}"), digest, strict: false }))
            }
            None if strategy == IdentityStrategy::CallerProvided => Err(Error::new(
                Kind::Invalid,
                "idempotency_key_required",
                format!(
                    "template {scope} has identity_strategy caller_provided, and the request has no idempotency_key"
                ),
            )
            .hint("send an idempotency_key that is the same for the same piece of work")),
            None => Ok(None),
        },
    }
}

fn sha256(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The same value with every object's keys in order.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            Value::Object(keys.into_iter().map(|k| (k.clone(), canonical(&map[k]))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}
