//! The worker's surface: create, start, poll, finish, checkpoint, log, drain, close.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::json;
use tasker_wire::{Error, Failure, Kind, Report, StepError, json_text};
use tasker_worker::sync::Mutex;
use tasker_worker::{Config, WorkerCore, prepared_events, takes_long};

use crate::client::NativeClient;
use crate::error::{SLICE, foreign, raise, released};
use crate::event::{Signal, StepEvent};

/// A worker without its handlers. Creating one starts no thread and opens nothing.
#[pyclass(frozen, module = "tasker_core._native")]
pub struct NativeWorker {
    config: Config,
    // Set by `start`, taken by `close`; polls clone the handle out and hold no lock while they wait.
    core: Mutex<Option<Arc<WorkerCore>>>,
}

fn text(bytes: &[u8], what: &str) -> PyResult<String> {
    String::from_utf8(bytes.to_vec()).map_err(|e| PyValueError::new_err(format!("{what} is not UTF-8: {e}")))
}

impl NativeWorker {
    fn running(&self, py: Python<'_>) -> PyResult<Arc<WorkerCore>> {
        let core = self.core.lock().clone();
        match core {
            Some(core) if core.is_foreign() => {
                // Dropping the last handle would join threads that live in the parent.
                std::mem::forget(core);
                Err(foreign(py, "worker"))
            }
            Some(core) => Ok(core),
            None => Err(raise(
                py,
                &Error::new(Kind::Conflict, "worker_not_running", "the worker is not running").hint("start it first"),
            )),
        }
    }

    fn finish(&self, py: Python<'_>, event: &StepEvent, report: Report, events: Option<&[u8]>) -> PyResult<bool> {
        let core = self.running(py)?;
        let long = takes_long(&event.job, &report, events);
        let finish = move || {
            let events = events.map(prepared_events).transpose()?.unwrap_or_default();
            Ok(core.finish_with(&event.job, report, events))
        };
        // Looking through a large payload takes long; giving the lock away and asking for it back takes longer than a small one.
        if long { released(py, finish) } else { finish().map_err(|e| raise(py, &e)) }
    }
}

#[pymethods]
impl NativeWorker {
    #[new]
    fn new(py: Python<'_>, config_json: &[u8]) -> PyResult<NativeWorker> {
        Ok(NativeWorker {
            config: Config::from_json(config_json, "python").map_err(|e| raise(py, &e))?,
            core: Mutex::new(None),
        })
    }

    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        if self.core.lock().is_some() {
            return Err(raise(
                py,
                &Error::new(Kind::Conflict, "worker_already_running", "the worker is already running"),
            ));
        }
        tasker_worker::logging::start();
        let config = self.config.clone();
        let core = released(py, move || WorkerCore::start(config))?;
        let info = json!({
            "worker_id": core.worker_id(), "url": core.engine().url(), "namespaces": core.queues(),
            "templates": core.templates(), "warnings": core.warnings(),
        });
        *self.core.lock() = Some(core);
        Ok(PyBytes::new(py, info.to_string().as_bytes()))
    }

    /// Takes what waits; else waits in slices with the interpreter lock released, looking for Ctrl-C between them.
    fn poll(&self, py: Python<'_>, timeout_ms: u64) -> PyResult<Option<Py<PyAny>>> {
        let Ok(core) = self.running(py) else {
            if self.core.lock().is_some() {
                return Err(foreign(py, "worker"));
            }
            return signal(py, tasker_worker::Signal::Shutdown).map(Some);
        };
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        loop {
            // Taken only with the lock in hand: a step never waits behind a thread that waits for the lock.
            if let Some(job) = core.try_take() {
                return Ok(Some(Py::new(py, StepEvent { job })?.into_any()));
            }
            if let Some(told) = core.try_signal() {
                return signal(py, told).map(Some);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            py.detach(|| core.wait(left.min(SLICE)));
            py.check_signals()?;
        }
    }

    /// A client of the same engine; the only way to a store in memory.
    fn client(&self, py: Python<'_>) -> PyResult<NativeClient> {
        Ok(NativeClient::on(self.running(py)?.engine().clone()))
    }

    /// How many threads wait in `poll`.
    fn waiting(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.running(py)?.waiting())
    }

    /// Threads the host may use: a slot each, and one for each hung handler whose slot was given on.
    fn thread_limit(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.running(py)?.thread_limit())
    }

    #[pyo3(signature = (event, result_json, metadata_json=None, execution_us=0, events_json=None))]
    fn finish_success(
        &self,
        py: Python<'_>,
        event: &StepEvent,
        result_json: &[u8],
        metadata_json: Option<&[u8]>,
        execution_us: i64,
        events_json: Option<&[u8]>,
    ) -> PyResult<bool> {
        let result = text(result_json, "the result")?;
        let metadata = metadata_json.map(|m| text(m, "the metadata")).transpose()?;
        self.finish(py, event, Report::Success { result, metadata, execution_us }, events_json)
    }

    #[allow(clippy::too_many_arguments)] // one argument a field of the wire shape
    #[pyo3(signature = (event, message, error_type, error_code, retryable, backtrace=None, retry_after_ms=None,
                        status_code=None, context_json=None, metadata_json=None, execution_us=0,
                        events_json=None))]
    fn finish_failure(
        &self,
        py: Python<'_>,
        event: &StepEvent,
        message: String,
        error_type: String,
        error_code: Option<String>,
        retryable: bool,
        backtrace: Option<Vec<String>>,
        retry_after_ms: Option<i64>,
        status_code: Option<u16>,
        context_json: Option<&[u8]>,
        metadata_json: Option<&[u8]>,
        execution_us: i64,
        events_json: Option<&[u8]>,
    ) -> PyResult<bool> {
        let context = context_json.map(|c| text(c, "the context")).transpose()?.map(json_text);
        let metadata = metadata_json.map(|m| text(m, "the metadata")).transpose()?;
        let backtrace = backtrace.unwrap_or_default();
        let error = StepError { message, error_type, error_code, backtrace, retryable, status_code, context };
        let failure = Failure { error, retry_after_ms, timed_out: false, metadata, execution_us };
        self.finish(py, event, Report::Failure(Box::new(failure)), events_json)
    }

    #[pyo3(signature = (event, cursor_json, items_processed, accumulated_json=None, execution_us=0))]
    fn finish_checkpoint(
        &self,
        py: Python<'_>,
        event: &StepEvent,
        cursor_json: &[u8],
        items_processed: u64,
        accumulated_json: Option<&[u8]>,
        execution_us: i64,
    ) -> PyResult<bool> {
        let cursor = text(cursor_json, "the cursor")?;
        let accumulated = accumulated_json.map(|a| text(a, "the accumulated results")).transpose()?;
        let accumulated = accumulated.as_deref().unwrap_or("null");
        let checkpoint = format!(
            "{{\"cursor\":{cursor},\"items_processed\":{items_processed},\"accumulated_results\":{accumulated}}}"
        );
        self.finish(py, event, Report::Checkpoint { checkpoint, execution_us }, None)
    }

    #[pyo3(signature = (event, detail=None))]
    fn finish_handler_not_found(&self, py: Python<'_>, event: &StepEvent, detail: Option<String>) -> PyResult<()> {
        let core = self.running(py)?;
        released(py, || {
            core.finish_not_found(&event.job, detail.as_deref());
            Ok(())
        })
    }

    /// Domain events of steps that ran here, JSON; waits with the interpreter lock released.
    fn poll_in_process_events<'py>(
        &self,
        py: Python<'py>,
        max: usize,
        timeout_ms: u64,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let core = self.running(py)?;
        let events = py.detach(|| core.take_events(max, Duration::from_millis(timeout_ms)));
        Ok(events.iter().map(|event| PyBytes::new(py, event.as_bytes())).collect())
    }

    #[pyo3(signature = (event, level, message, fields_json=None))]
    fn log(&self, event: Option<&StepEvent>, level: &str, message: &str, fields_json: Option<&[u8]>) {
        let prefix = event.map(|e| format!("step={} attempt={} ", e.job.step_name(), e.job.claimed().attempts + 1));
        write_log(level, &format!("{}{message}", prefix.unwrap_or_default()), fields_json);
    }

    fn find(&self, py: Python<'_>, event_id: &str) -> PyResult<Option<StepEvent>> {
        Ok(self.running(py)?.find(event_id).map(|job| StepEvent { job }))
    }

    #[pyo3(signature = (timeout_ms=None))]
    fn drain(&self, py: Python<'_>, timeout_ms: Option<u64>) -> PyResult<bool> {
        let core = self.running(py)?;
        let timeout = Duration::from_millis(timeout_ms.unwrap_or(core.config().drain_timeout_ms));
        let deadline = Instant::now() + timeout;
        released(py, || {
            core.begin_drain();
            Ok(())
        })?;
        // In slices, so that a second signal is heard.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if py.detach(|| core.wait_idle(left.min(SLICE))) {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
            py.check_signals()?;
        }
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core.lock().take();
        match core {
            Some(core) if core.is_foreign() => {
                std::mem::forget(core);
                Ok(())
            }
            Some(core) => released(py, || {
                core.close();
                drop(core);
                Ok(())
            }),
            None => Ok(()),
        }
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.running(py)?.status().to_string().as_bytes()))
    }
}

impl Drop for NativeWorker {
    fn drop(&mut self) {
        if let Some(core) = self.core.lock().take()
            && core.is_foreign()
        {
            std::mem::forget(core);
        }
    }
}

fn signal(py: Python<'_>, told: tasker_worker::Signal) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, Signal::from(told))?.into_any())
}

fn write_log(level: &str, message: &str, fields_json: Option<&[u8]>) {
    let fields = fields_json.map(|f| String::from_utf8_lossy(f));
    tasker_worker::logging::line(level, message, fields.as_deref());
}

/// Writes a line to the core's log.
#[pyfunction]
#[pyo3(signature = (level, message, fields_json=None))]
pub fn log(level: &str, message: &str, fields_json: Option<&[u8]>) {
    write_log(level, message, fields_json);
}
