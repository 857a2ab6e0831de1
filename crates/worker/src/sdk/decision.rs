//! Decisions: which of the steps below come to exist.

use serde_json::{Map, Value, json};

use super::{StepError, StepOutcome};

/// What a decision says, and whatever else its result shall hold.
#[derive(Debug, Clone)]
pub struct DecisionOutcome {
    result: Map<String, Value>,
}

impl DecisionOutcome {
    /// Creates the named steps and what follows from them; no name at all is an error.
    pub fn create_steps<S: Into<String>>(
        step_names: impl IntoIterator<Item = S>,
    ) -> Result<DecisionOutcome, StepError> {
        let names: Vec<String> = step_names.into_iter().map(Into::into).collect();
        if names.is_empty() || names.iter().any(String::is_empty) {
            return Err(StepError::permanent(
                "a decision names no steps; use no_branches when nothing is to be created",
            ));
        }
        Ok(DecisionOutcome::of(json!({"type": "create_steps", "step_names": names})))
    }

    /// Creates nothing.
    pub fn no_branches() -> DecisionOutcome {
        DecisionOutcome::of(json!({"type": "no_branches"}))
    }

    /// Creates nothing, and says why.
    pub fn skip(reason: &str) -> DecisionOutcome {
        DecisionOutcome::no_branches().with("reason", reason)
    }

    fn of(outcome: Value) -> DecisionOutcome {
        DecisionOutcome { result: Map::from_iter([("decision_point_outcome".to_string(), outcome)]) }
    }

    /// Keeps a value beside the outcome.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> DecisionOutcome {
        self.result.insert(key.into(), value.into());
        self
    }

    /// Keeps what led to the decision beside the outcome.
    pub fn routing_context(self, context: impl Into<Value>) -> DecisionOutcome {
        self.with("routing_context", context)
    }

    /// The outcome of the step.
    pub fn into_outcome(self) -> StepOutcome {
        StepOutcome::from(Value::Object(self.result))
    }
}

impl From<DecisionOutcome> for StepOutcome {
    fn from(decision: DecisionOutcome) -> StepOutcome {
        decision.into_outcome()
    }
}
