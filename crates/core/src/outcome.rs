//! What the result of a decision or batchable step asks for.

use serde_json::{Map, Value, json};

use crate::graph::{Index, Workflow};
use crate::template::{FailureStrategy, StepKind};

/// Steps one decision may name.
pub const DECISION_STEPS_MAX: usize = 100;
/// Decisions that may lie on one path.
pub const DECISION_DEPTH_MAX: usize = 20;
/// Workers one batchable step may create.
pub const BATCH_WORKERS_MAX: usize = 10_000;

/// A valid request to create steps.
#[derive(Debug, Clone, PartialEq)]
pub enum Expansion {
    /// A decision's chosen steps, by template index; empty for `no_branches`.
    Decision(Vec<Index>),
    /// A batch: the worker step and the `inputs` of each worker.
    Batch {
        /// Template index of the worker step.
        worker: Index,
        /// One JSON object a worker.
        inputs: Vec<Value>,
    },
}

/// Why an outcome cannot be followed; fails the step for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// `invalid_decision_outcome` or `invalid_batch_outcome`.
    pub error_type: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// Reads the expansion a step's result carries; `None` for steps that create nothing.
pub fn expansion(workflow: &Workflow, step: Index, result: &str) -> Result<Option<Expansion>, Invalid> {
    match workflow.graph.kinds[usize::from(step)] {
        StepKind::Decision => decision(workflow, step, result)
            .map(Some)
            .map_err(|message| Invalid { error_type: "invalid_decision_outcome", message }),
        StepKind::Batchable => batch(workflow, step, result)
            .map(Some)
            .map_err(|message| Invalid { error_type: "invalid_batch_outcome", message }),
        _ => Ok(None),
    }
}

/// The outcome a result carries under `key`, and the rest of the result.
fn carried(result: &str, key: &str) -> Result<[Map<String, Value>; 2], String> {
    let value: Value = serde_json::from_str(result).map_err(|e| format!("the result is not JSON: {e}"))?;
    match value {
        Value::Object(mut result) => match result.remove(key) {
            Some(Value::Object(outcome)) => Ok([outcome, result]),
            Some(_) => Err(format!("`{key}` is not an object")),
            None => Err(format!("the result carries no `{key}`; return one from the handler")),
        },
        _ => Err(format!("the result is not an object that carries `{key}`")),
    }
}

fn text<'a>(outcome: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    outcome.get(key).and_then(Value::as_str).ok_or_else(|| format!("`{key}` is missing or not a string"))
}

fn decision(workflow: &Workflow, step: Index, result: &str) -> Result<Expansion, String> {
    let graph = &workflow.graph;
    let [outcome, _] = carried(result, "decision_point_outcome")?;
    match text(&outcome, "type")? {
        "no_branches" => return Ok(Expansion::Decision(Vec::new())),
        "create_steps" => {}
        other => return Err(format!("`type` is `{other}`; it must be `create_steps` or `no_branches`")),
    }
    let Some(Value::Array(names)) = outcome.get("step_names") else {
        return Err("`step_names` is missing or not a list".into());
    };
    if names.is_empty() {
        return Err("`step_names` is empty; use `no_branches` to create nothing".into());
    }
    if names.len() > DECISION_STEPS_MAX {
        return Err(format!("{} steps named; a decision may name at most {DECISION_STEPS_MAX}", names.len()));
    }
    let depth = graph.decision_depth(step);
    if depth > DECISION_DEPTH_MAX {
        return Err(format!("decision at depth {depth}; at most {DECISION_DEPTH_MAX} may follow one another"));
    }
    let below = graph.descendants(step);
    let mut chosen = Vec::with_capacity(names.len());
    for name in names {
        let name = name.as_str().ok_or("`step_names` holds something that is not a string")?;
        let known = || below.iter().map(|i| workflow.template.steps[usize::from(*i)].name.as_str());
        let Some(index) = graph.find(name).filter(|i| below.contains(i)) else {
            let nearest = nearest(name, known()).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            let why =
                if graph.find(name).is_some() { "does not depend on this decision" } else { "is not in the template" };
            return Err(format!("step `{name}` {why}{nearest}"));
        };
        if graph.kinds[usize::from(index)] == StepKind::BatchWorker {
            return Err(format!("step `{name}` is a batch worker; only its batchable step creates it"));
        }
        if !chosen.contains(&index) {
            chosen.push(index);
        }
    }
    Ok(Expansion::Decision(chosen))
}

fn batch(workflow: &Workflow, step: Index, result: &str) -> Result<Expansion, String> {
    let graph = &workflow.graph;
    let [outcome, mut rest] = carried(result, "batch_processing_outcome")?;
    let config = workflow.template.steps[usize::from(step)].batch.as_ref();
    let kind = text(&outcome, "type")?;
    let named = match outcome.get("worker_template_name").and_then(Value::as_str) {
        Some(name) => name,
        None => match config.and_then(|c| c.worker_template.as_deref()) {
            Some(name) => name,
            None if kind == "no_batches" => match below_workers(workflow, step).as_slice() {
                [only] => only,
                _ => {
                    return Err(
                        "`worker_template_name` is missing and the step has no `batch_config.worker_template`".into()
                    );
                }
            },
            None => return Err("`worker_template_name` is missing or not a string".into()),
        },
    };
    let worker = graph
        .find(named)
        .filter(|i| {
            graph.kinds[usize::from(*i)] == StepKind::BatchWorker && graph.parents[usize::from(*i)].contains(&step)
        })
        .ok_or_else(|| {
            let nearest = nearest(named, below_workers(workflow, step).into_iter())
                .map(|n| format!("; did you mean `{n}`?"))
                .unwrap_or_default();
            format!("`{named}` is not a batch_worker step that depends on this one{nearest}")
        })?;
    let mut metadata = Map::new();
    if let Some(config) = config {
        metadata.insert("batch_size".into(), json!(config.batch_size));
        metadata.insert("parallelism".into(), json!(config.parallelism));
        metadata.insert("cursor_field".into(), json!(config.cursor_field));
        metadata.insert("checkpoint_interval".into(), json!(config.checkpoint_interval));
        metadata.insert(
            "failure_strategy".into(),
            json!(match config.failure_strategy {
                FailureStrategy::ContinueOnFailure => "continue_on_failure",
                FailureStrategy::FailFast => "fail_fast",
                FailureStrategy::Isolate => "isolate",
            }),
        );
        metadata.retain(|_, v| !v.is_null());
    }
    // The analyzer has seen the data; where it differs from the template, it knows better.
    if let Some(Value::Object(own)) = rest.remove("batch_metadata") {
        metadata.extend(own);
    }
    let total = outcome.get("cursor_configs").and_then(Value::as_array).map_or(0, Vec::len);
    metadata.insert("total_batches".into(), json!(total));
    let inputs = |cursor: Value, is_no_op: bool| json!({"cursor": cursor, "batch_metadata": metadata, "is_no_op": is_no_op, "__template_step_name": named});
    match kind {
        "no_batches" => {
            let cursor = json!({"batch_id": "000", "start_cursor": 0, "end_cursor": 0, "batch_size": 0});
            Ok(Expansion::Batch { worker, inputs: vec![inputs(cursor, true)] })
        }
        "create_batches" => {
            let Some(Value::Array(cursors)) = outcome.get("cursor_configs") else {
                return Err("`cursor_configs` is missing or not a list".into());
            };
            let count = outcome.get("worker_count").and_then(Value::as_u64);
            if count != Some(cursors.len() as u64) {
                return Err(format!(
                    "`worker_count` is {} but there are {} `cursor_configs`; they must be equal",
                    count.map_or("missing".to_string(), |c| c.to_string()),
                    cursors.len()
                ));
            }
            if cursors.is_empty() {
                return Err("`cursor_configs` is empty; use `no_batches` when there is nothing to do".into());
            }
            if cursors.len() > BATCH_WORKERS_MAX {
                return Err(format!(
                    "{} workers asked for; a batch may have at most {BATCH_WORKERS_MAX}",
                    cursors.len()
                ));
            }
            Ok(Expansion::Batch { worker, inputs: cursors.iter().map(|c| inputs(c.clone(), false)).collect() })
        }
        other => Err(format!("`type` is `{other}`; it must be `create_batches` or `no_batches`")),
    }
}

fn below_workers(workflow: &Workflow, step: Index) -> Vec<&str> {
    workflow.graph.children[usize::from(step)]
        .iter()
        .filter(|c| workflow.graph.kinds[usize::from(**c)] == StepKind::BatchWorker)
        .map(|c| workflow.template.steps[usize::from(*c)].name.as_str())
        .collect()
}

/// The candidate nearest to `name` by edit distance, if it is near enough to be meant.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|c| (strsim::damerau_levenshtein(name, c), c))
        .filter(|(distance, c)| *distance <= 2.max(c.chars().count().max(name.chars().count()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}
