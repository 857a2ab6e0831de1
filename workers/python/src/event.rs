//! A step handed to Python: control fields as attributes, payloads as JSON bytes.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::Value;
use tasker_worker::{Job, document};

use crate::error::released;

/// One attempt of a step.
#[pyclass(frozen, module = "tasker_core._native")]
pub struct StepEvent {
    pub job: Arc<Job>,
}

fn bytes<'py>(py: Python<'py>, text: &str) -> Bound<'py, PyBytes> {
    PyBytes::new(py, text.as_bytes())
}

#[pymethods]
impl StepEvent {
    #[getter]
    fn event_id(&self) -> String {
        self.job.event_id()
    }

    #[getter]
    fn task_uuid(&self) -> String {
        self.job.info().uuid.to_string()
    }

    #[getter]
    fn step_uuid(&self) -> String {
        self.job.step_uuid()
    }

    #[getter]
    fn correlation_id(&self) -> String {
        let details: Value = serde_json::from_str(&self.job.info().details).unwrap_or_default();
        details["correlation_id"].as_str().unwrap_or_default().to_string()
    }

    #[getter]
    fn step_name(&self) -> &str {
        self.job.step_name()
    }

    #[getter]
    fn template_step_name(&self) -> &str {
        &self.job.definition().name
    }

    #[getter]
    fn handler_callable(&self) -> &str {
        &self.job.definition().handler.callable
    }

    #[getter]
    fn handler_method(&self) -> &str {
        &self.job.definition().handler.method
    }

    #[getter]
    fn handler_resolver(&self) -> Option<&str> {
        self.job.definition().handler.resolver.as_deref()
    }

    #[getter]
    fn namespace(&self) -> &str {
        &self.job.info().workflow.template.namespace
    }

    #[getter]
    fn task_name(&self) -> &str {
        &self.job.info().workflow.template.name
    }

    #[getter]
    fn task_version(&self) -> &str {
        &self.job.info().workflow.template.version
    }

    #[getter]
    fn attempts(&self) -> u32 {
        self.job.claimed().attempts
    }

    #[getter]
    fn max_attempts(&self) -> u32 {
        self.job.definition().retry.max_attempts
    }

    #[getter]
    fn retryable(&self) -> bool {
        self.job.definition().retry.retryable
    }

    #[getter]
    fn timeout_ms(&self) -> i64 {
        self.job.definition().timeout_ms
    }

    #[getter]
    fn fence(&self) -> u32 {
        self.job.claimed().fence
    }

    #[getter]
    fn has_checkpoint(&self) -> bool {
        self.job.claimed().has_checkpoint
    }

    #[getter]
    fn has_inputs(&self) -> bool {
        self.job.claimed().name.is_some()
    }

    /// Live: the attempt has lost its right to report.
    #[getter]
    fn cancelled(&self) -> bool {
        self.job.is_cancelled()
    }

    /// Whether the step publishes events through publishers of the host.
    #[getter]
    fn has_publishers(&self) -> bool {
        self.job.definition().publishes_events.iter().any(|e| e.publisher.is_some())
    }

    /// Events this attempt will publish through a publisher: place, event name, publisher, delivery mode, schema as JSON.
    #[allow(clippy::type_complexity)] // one tuple an event, unpacked at once
    fn publications(
        &self,
        success: bool,
        retryable: bool,
    ) -> Vec<(usize, &str, Option<&str>, &'static str, Option<String>)> {
        let declared = self.job.publications(success, retryable).into_iter();
        declared
            .map(|(index, e)| {
                let schema = e.schema.as_ref().map(ToString::to_string);
                (index, e.name.as_str(), e.publisher.as_deref(), e.delivery.as_str(), schema)
            })
            .collect()
    }

    fn context_json<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        bytes(py, &self.job.info().context)
    }

    fn inputs_json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let inputs = released(py, || self.job.inputs())?;
        Ok(bytes(py, inputs.as_deref().unwrap_or("{}")))
    }

    fn initialization_json<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let initialization = &self.job.definition().handler.initialization;
        bytes(py, tasker_wire::json_of(initialization).get())
    }

    fn checkpoint_json<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let checkpoint = released(py, || self.job.checkpoint())?;
        Ok(checkpoint.map(|c| bytes(py, &c)))
    }

    fn dependency_names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        released(py, || self.job.dependency_names())
    }

    fn dependency_json<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyBytes>>> {
        // A step that follows another in this process finds its result in memory: no need to let go of the lock.
        let found = match self.job.cached_dependency(name) {
            Some(result) => Some(result),
            None => released(py, || self.job.dependency(name))?,
        };
        Ok(found.map(|r| bytes(py, &r)))
    }

    /// Task, step, dependency results and definition: the plain mapping of the wire document.
    #[getter]
    fn task_sequence_step<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = released(py, || document(&self.job))?;
        py.import("json")?.call_method1("loads", (text,))?.get_item("task_sequence_step")
    }

    fn to_json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let text = released(py, || document(&self.job))?;
        Ok(bytes(py, &text))
    }
}

/// Something the worker must know besides steps.
#[pyclass(frozen, get_all, module = "tasker_core._native")]
pub struct Signal {
    /// `cancel`, `drain`, `fatal` or `shutdown`.
    pub kind: &'static str,
    /// For people.
    pub message: String,
    /// Of the cancelled attempt.
    pub event_id: Option<String>,
}

impl From<tasker_worker::Signal> for Signal {
    fn from(signal: tasker_worker::Signal) -> Signal {
        use tasker_worker::Signal as S;
        match signal {
            S::Cancel { event_id, message } => Signal { kind: "cancel", message, event_id: Some(event_id) },
            S::Drain => Signal { kind: "drain", message: "no more steps are taken".into(), event_id: None },
            S::Fatal { message } => Signal { kind: "fatal", message, event_id: None },
            S::Shutdown => Signal { kind: "shutdown", message: "the worker is closed".into(), event_id: None },
        }
    }
}
