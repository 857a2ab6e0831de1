//! Compiled JSON Schemas, and what a report must fit before it is sent.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value, json};
use tasker_core::event::{self, Occasion};
use tasker_core::graph::Index;
use tasker_core::template::ResultViolation;
use tasker_schema::Schema;
use tasker_store::sync::{Mutex, RwLock};
use tasker_store::{Claimed, PreparedEvent, TaskInfo};
use tasker_wire::{Error, Failure, Kind, Report, StepError, failure_payload, json_of};

/// Which schema of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Input,
    Result(Index),
    /// Step, and place in its `publishes_events`.
    Event(Index, usize),
}

type Compiled = Result<Schema, String>;

/// Compiled schemas, by template row and place.
#[derive(Default)]
pub(crate) struct Schemas {
    // Read once a checked value, written once a schema.
    compiled: RwLock<FxHashMap<(i64, Place), Arc<Compiled>>>,
    // Steps of which the log has said that their results do not fit; touched only by such results.
    told: Mutex<FxHashSet<(i64, Index)>>,
}

impl Schemas {
    /// `{pointer, message}` of everything in `value` that breaks the schema.
    pub(crate) fn violations(&self, key: (i64, Place), schema: &Value, value: &Value) -> Vec<Value> {
        let found = self.compiled.read().get(&key).cloned();
        let compiled = found.unwrap_or_else(|| {
            self.compiled.write().entry(key).or_insert_with(|| Schema::compile(schema).into()).clone()
        });
        match &*compiled {
            Ok(schema) => {
                let found = schema.violations(value).into_iter();
                found.map(|v| json!({"pointer": v.pointer, "message": v.message})).collect()
            }
            Err(why) => vec![json!({"pointer": "", "message": format!("the schema itself is not valid: {why}")})],
        }
    }

    /// What is wrong with the schemas of a template, each with its place.
    pub(crate) fn faults(template: &tasker_core::template::Template) -> Vec<String> {
        let mut all = vec![("input_schema".to_string(), template.input_schema.as_ref())];
        all.extend(template.domain_events.iter().map(|e| (format!("schema of event `{}`", e.name), e.schema.as_ref())));
        for step in &template.steps {
            all.push((format!("result_schema of step `{}`", step.name), step.result_schema.as_ref()));
            all.extend(
                step.publishes_events
                    .iter()
                    .map(|e| (format!("schema of event `{}` of step `{}`", e.name, step.name), e.schema.as_ref())),
            );
        }
        let fault = |(what, schema): (String, Option<&Value>)| {
            Schema::compile(schema?).err().map(|why| format!("the {what} is not a valid JSON Schema: {why}"))
        };
        all.into_iter().filter_map(fault).collect()
    }

    /// Holds a report to its step's `result_schema`, and the events it will publish to theirs.
    pub(crate) fn vet(
        &self,
        info: &TaskInfo,
        claimed: &Claimed,
        report: Report,
        events: &mut Vec<PreparedEvent>,
    ) -> Report {
        let template = &info.workflow.template;
        let step = &template.steps[usize::from(claimed.step)];
        let mut report = report;
        if let (Report::Success { result, .. }, Some(schema)) = (&report, &step.result_schema) {
            let value = serde_json::from_str(result).unwrap_or_default();
            let violations = self.violations((info.template, Place::Result(claimed.step)), schema, &value);
            if !violations.is_empty() && step.on_result_violation == ResultViolation::Fail {
                report = unfitting(&step.name, &violations, report);
            } else if !violations.is_empty() {
                if self.told.lock().insert((info.template, claimed.step)) {
                    tracing::warn!(
                        task = %info.uuid, step = step.name, template = template.name, version = template.version,
                        violations = listed(&violations),
                        "a result does not fit its result_schema; the step completes, as `on_result_violation` does not say `fail`"
                    );
                }
                report = noted(&violations, report);
            }
        }
        if step.publishes_events.is_empty() {
            return report;
        }
        let (occasion, default) = match &report {
            Report::Success { result, .. } => (Occasion::Success, result.clone()),
            Report::Failure(failure) => (
                Occasion::of_failure(&step.retry, claimed.failures, failure.error.retryable),
                failure_payload(json_of(&failure.error).get()),
            ),
            _ => return report,
        };
        for (index, declared) in event::published(step, occasion) {
            let Some(schema) = event::schema(template, declared) else { continue };
            let made = events.iter().position(|e| e.index == index);
            let payload = match made {
                Some(at) => events[at].payload.as_deref(),
                None => Some(&*default),
            };
            let Some(payload) = payload else { continue };
            let value = serde_json::from_str(payload).unwrap_or_default();
            let violations = self.violations((info.template, Place::Event(claimed.step, index)), schema, &value);
            if !violations.is_empty() {
                tracing::warn!(
                    task = %info.uuid, step = step.name, event = declared.name, violations = listed(&violations),
                    "an event's payload does not fit its schema; it is not published"
                );
                events.retain(|e| e.index != index);
                events.push(PreparedEvent { index, payload: None, metadata: None });
            }
        }
        report
    }
}

/// One line a violation.
pub(crate) fn listed(violations: &[Value]) -> String {
    let line = |v: &Value| {
        let pointer = v["pointer"].as_str().filter(|p| !p.is_empty()).unwrap_or("/");
        format!("  {pointer}: {}", v["message"].as_str().unwrap_or_default())
    };
    violations.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The report with its violations among what the attempt keeps.
fn noted(violations: &[Value], mut report: Report) -> Report {
    if let Report::Success { metadata, .. } = &mut report {
        let kept = metadata.as_deref().and_then(|m| serde_json::from_str::<Map<String, Value>>(m).ok());
        let mut kept = kept.unwrap_or_default();
        kept.insert("result_violations".into(), violations.into());
        *metadata = Some(json_of(&kept).get().to_string());
    }
    report
}

fn unfitting(step: &str, violations: &[Value], report: Report) -> Report {
    let Report::Success { metadata, execution_us, .. } = report else { return report };
    let error = StepError {
        message: format!("the result of step `{step}` does not fit its result_schema:\n{}", listed(violations)),
        error_type: "validation_error".into(),
        error_code: Some("RESULT_VIOLATES_SCHEMA".into()),
        backtrace: Vec::new(),
        retryable: false,
        status_code: None,
        context: Some(json_of(&json!({"violations": violations}))),
    };
    Report::Failure(Box::new(Failure { error, retry_after_ms: None, timed_out: false, metadata, execution_us }))
}

/// A template whose schemas cannot be used.
pub(crate) fn refused(path: &str, faults: &[String]) -> Error {
    Error::new(Kind::Unprocessable, "invalid_template", format!("{path}: {}", faults.join("\n")))
}
