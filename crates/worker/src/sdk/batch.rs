//! Batches: an analyzer cuts the work, workers do it side by side, a convergence adds it up.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{StepContext, StepError, StepOutcome};

/// Batch id of the placeholder worker that stands for "nothing to do".
const NO_OP_BATCH_ID: &str = "000";

/// What an analyzer says: one worker a cursor, or nothing to do.
#[derive(Debug, Clone)]
pub struct BatchOutcome {
    result: Map<String, Value>,
}

impl BatchOutcome {
    /// Ranges of at most `batch_size` items that cover every item once; `max_batches` makes them larger instead.
    pub fn create_cursor_ranges(total_items: u64, batch_size: u64, max_batches: Option<u64>) -> Vec<Value> {
        let least = max_batches.map_or(1, |most| total_items.div_ceil(most.max(1)));
        let size = batch_size.max(1).max(least);
        (0..total_items.div_ceil(size)).map(|i| cursor(i, i * size, ((i + 1) * size).min(total_items))).collect()
    }

    /// As many ranges as workers, sizes differing by one at most; fewer when there are fewer items.
    pub fn create_cursor_configs(total_items: u64, workers: u64) -> Vec<Value> {
        let count = workers.max(1).min(total_items);
        let bound = |i: u64| (u128::from(total_items) * u128::from(i) / u128::from(count)) as u64;
        (0..count).map(|i| cursor(i, bound(i), bound(i + 1))).collect()
    }

    /// One worker a cursor (any JSON); none of them: nothing to do. The workers are those of the step's
    /// `batch_config.worker_template` unless [`BatchOutcome::worker_template`] names them.
    pub fn create_batches(cursors: Vec<Value>, total_items: u64) -> BatchOutcome {
        if cursors.is_empty() {
            return BatchOutcome::no_batches();
        }
        let count = cursors.len();
        let outcome = json!({
            "type": "create_batches", "worker_count": count, "cursor_configs": cursors, "total_items": total_items,
        });
        BatchOutcome { result: Map::from_iter([("batch_processing_outcome".to_string(), outcome)]) }
    }

    /// There is nothing to do: one placeholder worker runs.
    pub fn no_batches() -> BatchOutcome {
        let outcome = json!({"type": "no_batches"});
        BatchOutcome { result: Map::from_iter([("batch_processing_outcome".to_string(), outcome)]) }
    }

    /// Names the template step of the workers.
    pub fn worker_template(mut self, name: &str) -> BatchOutcome {
        self.result["batch_processing_outcome"]["worker_template_name"] = name.into();
        self
    }

    /// Keeps a value beside the outcome.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> BatchOutcome {
        self.result.insert(key.into(), value.into());
        self
    }

    /// Keeps fields beside the outcome, for the convergence, and puts them into every worker's `inputs.batch_metadata`.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> BatchOutcome {
        self.result.insert("batch_metadata".into(), Value::Object(metadata.clone()));
        for (key, value) in metadata {
            self.result.entry(key).or_insert(value);
        }
        self
    }

    /// The outcome of the step.
    pub fn into_outcome(self) -> StepOutcome {
        StepOutcome::from(Value::Object(self.result))
    }
}

fn cursor(index: u64, start: u64, end: u64) -> Value {
    json!({"batch_id": format!("{:03}", index + 1), "start_cursor": start, "end_cursor": end, "batch_size": end - start})
}

/// A batch worker's view of its part.
#[derive(Debug, Clone)]
pub struct BatchWorkerContext {
    /// The cursor as the analyzer made it, any JSON.
    pub cursor: Value,
    /// The template's `batch_config`, what the analyzer said under `batch_metadata`, and `total_batches`.
    pub batch_metadata: Value,
    /// There is nothing to do: the worker is a placeholder.
    pub is_no_op: bool,
    checkpoint: Option<Value>,
}

impl BatchWorkerContext {
    /// The view of a step; `None` if it is no batch worker.
    pub fn from_context(context: &StepContext) -> Result<Option<BatchWorkerContext>, StepError> {
        let mut inputs = context.step_inputs()?;
        let Some(cursor) = inputs.get_mut("cursor").map(Value::take) else { return Ok(None) };
        Ok(Some(BatchWorkerContext {
            cursor,
            batch_metadata: inputs["batch_metadata"].take(),
            is_no_op: inputs["is_no_op"] == true,
            checkpoint: context.checkpoint()?,
        }))
    }

    /// The result of a placeholder worker; `None` for any other, which has work to do.
    pub fn no_op_result(&self) -> Option<StepOutcome> {
        self.is_no_op.then(|| {
            let mut result = BatchWorkerOutcome::new(0).into_value();
            result["batch_id"] = NO_OP_BATCH_ID.into();
            result["no_op"] = true.into();
            StepOutcome::from(result)
        })
    }

    /// First item; `Null` if the cursor is no object.
    pub fn start_cursor(&self) -> &Value {
        &self.cursor["start_cursor"]
    }

    /// One past the last item; `Null` if the cursor is no object.
    pub fn end_cursor(&self) -> &Value {
        &self.cursor["end_cursor"]
    }

    /// Whether a former attempt left a checkpoint.
    pub fn has_checkpoint(&self) -> bool {
        self.checkpoint.is_some()
    }

    /// Where the former attempt stood; `Null` without a checkpoint.
    pub fn checkpoint_cursor(&self) -> Value {
        self.checkpoint.as_ref().map(|c| c["cursor"].clone()).unwrap_or_default()
    }

    /// What former attempts gathered; `Null` without a checkpoint.
    pub fn accumulated_results(&self) -> Value {
        self.checkpoint.as_ref().map(|c| c["accumulated_results"].clone()).unwrap_or_default()
    }
}

/// What a worker did with its part.
#[derive(Debug, Clone, Default)]
pub struct BatchWorkerOutcome {
    /// Items looked at.
    pub items_processed: u64,
    /// Items done; all that neither failed nor were skipped, when absent.
    pub items_succeeded: Option<u64>,
    /// Items that failed.
    pub items_failed: u64,
    /// Items left out.
    pub items_skipped: u64,
    /// Where it ended.
    pub last_cursor: Value,
    /// What it made.
    pub results: Option<Vec<Value>>,
    /// What went wrong.
    pub errors: Option<Vec<Value>>,
}

impl BatchWorkerOutcome {
    /// All of so many items succeeded.
    pub fn new(items_processed: u64) -> BatchWorkerOutcome {
        BatchWorkerOutcome { items_processed, ..BatchWorkerOutcome::default() }
    }

    fn into_value(self) -> Value {
        let rest = self.items_processed.saturating_sub(self.items_failed + self.items_skipped);
        let mut result = json!({
            "items_processed": self.items_processed, "items_succeeded": self.items_succeeded.unwrap_or(rest),
            "items_failed": self.items_failed, "items_skipped": self.items_skipped, "last_cursor": self.last_cursor,
            "batch_metadata": {},
        });
        if let Some(results) = self.results {
            result["results"] = results.into();
        }
        if let Some(errors) = self.errors {
            result["errors"] = errors.into();
        }
        result
    }

    /// The outcome of the step.
    pub fn into_outcome(self) -> StepOutcome {
        StepOutcome::from(self.into_value())
    }
}

/// What an aggregating step finds: workers' results, or that there was nothing to do.
#[derive(Debug, Clone)]
pub struct BatchAggregationScenario {
    /// The analyzer's result.
    pub batchable_result: Value,
    /// Result by worker name; only workers that have one.
    pub batch_results: BTreeMap<String, Value>,
    no_batches: bool,
}

impl BatchAggregationScenario {
    /// Looks at the results of a step's dependencies. `worker_prefix`: what the workers' names begin with.
    pub fn detect(context: &StepContext, batchable: &str, worker_prefix: &str) -> Result<Self, StepError> {
        let batchable_result = context.get_dependency_result(batchable)?;
        let mut batch_results = context.get_all_dependency_results(worker_prefix)?;
        batch_results.remove(batchable);
        let said_none = batchable_result["batch_processing_outcome"]["type"] == "no_batches";
        let placeholder = batch_results.len() == 1 && batch_results.values().all(|r| r["no_op"] == true);
        let no_batches = said_none || placeholder;
        if no_batches {
            batch_results.clear();
        }
        Ok(BatchAggregationScenario { batchable_result, batch_results, no_batches })
    }

    /// Whether there was nothing to do.
    pub fn is_no_batches(&self) -> bool {
        self.no_batches
    }

    /// How many workers have a result.
    pub fn worker_count(&self) -> usize {
        self.batch_results.len()
    }

    /// Sums of the standard keys, with `zero_metrics` instead when there was nothing to do.
    pub fn aggregate(&self, zero_metrics: Map<String, Value>) -> Value {
        if self.no_batches {
            let mut zero = zero_metrics;
            zero.insert("worker_count".into(), 0.into());
            zero.insert("scenario".into(), "no_batches".into());
            return Value::Object(zero);
        }
        let total = |key: &str| self.batch_results.values().filter_map(|r| r[key].as_u64()).sum::<u64>();
        let list = |key: &str| -> Vec<Value> {
            self.batch_results.values().filter_map(|r| r[key].as_array()).flatten().cloned().collect()
        };
        let (processed, succeeded) = (total("items_processed"), total("items_succeeded"));
        json!({
            "worker_count": self.worker_count(), "scenario": "with_batches", "total_processed": processed,
            "total_succeeded": succeeded, "total_failed": total("items_failed"), "total_skipped": total("items_skipped"),
            "results": list("results"), "errors": list("errors"),
            "success_rate": if processed == 0 { 1.0 } else { succeeded as f64 / processed as f64 },
        })
    }
}
