//! The client's surface: one call, JSON in and out.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tasker_runtime::{Engine, Options, default_url};
use tasker_wire::{Error, Kind};
use tasker_worker::client::{call, is_near};
use tasker_worker::sync::Mutex;

use crate::error::{foreign, interruptible, raise, released};

/// A client of the engine at a URL; shares the engine of a worker on the same URL in this process.
#[pyclass(frozen, module = "tasker_core._native")]
pub struct NativeClient {
    // Set at creation, taken by `close`.
    engine: Mutex<Option<Engine>>,
}

impl NativeClient {
    pub fn on(engine: Engine) -> NativeClient {
        NativeClient { engine: Mutex::new(Some(engine)) }
    }
}

#[pymethods]
impl NativeClient {
    #[new]
    #[pyo3(signature = (url=None))]
    fn new(py: Python<'_>, url: Option<String>) -> PyResult<NativeClient> {
        let url = url.unwrap_or_else(default_url);
        let near = is_near(&url);
        let open = move || Engine::open(&url, Options::default());
        Ok(NativeClient::on(if near { released(py, open)? } else { interruptible(py, open)? }))
    }

    fn call<'py>(&self, py: Python<'py>, op: &str, args_json: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let engine = self.engine.lock().clone();
        let Some(engine) = engine else {
            return Err(raise(
                py,
                &Error::new(Kind::Conflict, "client_closed", "the client has been closed").hint("make a new one"),
            ));
        };
        if engine.is_foreign() {
            std::mem::forget(engine);
            return Err(foreign(py, "client"));
        }
        let text =
            std::str::from_utf8(args_json).map_err(|e| pyo3::exceptions::PyValueError::new_err(e.to_string()))?;
        let answer = if is_near(engine.url()) {
            released(py, || call(&engine, op, text))?
        } else {
            let (op, text) = (op.to_string(), text.to_string());
            interruptible(py, move || call(&engine, &op, &text))?
        };
        Ok(PyBytes::new(py, answer.as_bytes()))
    }

    fn close(&self, py: Python<'_>) {
        let engine = self.engine.lock().take();
        match engine {
            Some(engine) if engine.is_foreign() => std::mem::forget(engine),
            engine => py.detach(|| drop(engine)),
        }
    }
}

impl Drop for NativeClient {
    fn drop(&mut self) {
        // Dropped in a child, an engine of its parent's would take leave on the parent's connection.
        if let Some(engine) = self.engine.lock().take().filter(Engine::is_foreign) {
            std::mem::forget(engine);
        }
    }
}
