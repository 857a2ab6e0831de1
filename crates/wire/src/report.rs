use serde::{Deserialize, Serialize};

use crate::Json;

/// What a worker reports on one attempt. All JSON is text, checked by the worker core.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// The handler returned.
    Success {
        /// The result, any JSON.
        result: String,
        /// The handler's own metadata, a JSON object.
        metadata: Option<String>,
        /// Microseconds the handler took.
        execution_us: i64,
    },
    /// The handler failed or ran out of its budget.
    Failure(Box<Failure>),
    /// The handler stored a checkpoint.
    Checkpoint {
        /// `{cursor, items_processed, accumulated_results}`.
        checkpoint: String,
        /// Microseconds the handler took.
        execution_us: i64,
    },
    /// The worker hands the step back unfinished, not to be claimed again for `delay_ms`.
    Release {
        /// Milliseconds until another claim may take it.
        delay_ms: i64,
    },
}

/// A failed attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// What the handler said.
    pub error: StepError,
    /// Delay asked for, milliseconds.
    pub retry_after_ms: Option<i64>,
    /// It exceeded `timeout_seconds`.
    pub timed_out: bool,
    /// The handler's own metadata, a JSON object.
    pub metadata: Option<String>,
    /// Microseconds the handler took.
    pub execution_us: i64,
}

/// The payload of an event about a failed attempt, from its error as stored: all of that, and the message under the name that
/// schemas of events ask for as well.
pub fn failure_payload(error: &str) -> String {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(error) {
        Ok(mut fields) => {
            let message = fields.get("message").cloned().unwrap_or_default();
            fields.insert("error_message".into(), message);
            crate::json_of(&fields).get().to_string()
        }
        Err(_) => error.to_string(),
    }
}

/// The error of an attempt, as stored and shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepError {
    /// What the handler said.
    pub message: String,
    /// Standard snake_case type, or the host's own.
    pub error_type: String,
    /// The user's code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_code: Option<String>,
    /// Frames, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub backtrace: Vec<String>,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// HTTP status that caused it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_code: Option<u16>,
    /// Whatever the error carried.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context: Option<Json>,
}
