//! Every shape that crosses a process or a language. The rules do not know these; the engine converts.

mod error;
mod report;
mod request;
mod view;

pub use error::{Error, ErrorBody, Kind};
pub use report::{Failure, Report, StepError, failure_payload};
pub use request::{DeadLetterFilter, EventFilter, TaskFilter, TaskRequest};
pub use view::{
    AttemptView, AuditView, BulkView, DeadLetterGroup, DeadLetterView, DoctorReport, DutyView, EventView, Finding,
    StepCounts, StepView, TaskList, TaskView, TemplateView, WorkerView,
};

/// JSON text kept as it was sent: digits, key order and spelling stay exact.
pub type Json = Box<serde_json::value::RawValue>;

/// Wraps text that is already known to be JSON; anything else becomes a JSON string of it.
pub fn json_text(text: String) -> Json {
    serde_json::value::RawValue::from_string(text.clone()).unwrap_or_else(|_| json_of(&text))
}

/// Serialises a value that cannot fail to serialise; `null` if it does all the same.
pub fn json_of(value: &impl serde::Serialize) -> Json {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| serde_json::value::RawValue::NULL.to_owned())
}
