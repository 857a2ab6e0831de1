//! Core errors as a Python exception, and panics kept at the edge.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tasker_wire::{Error, Kind};
use tasker_worker::client::Pending;

/// Longest wait without a look at Python's signals.
pub const SLICE: Duration = Duration::from_millis(50);

pyo3::create_exception!(
    _native,
    TaskerNativeError,
    PyRuntimeError,
    "An error of the core: code, message, hint, details."
);

/// The exception of a core error; its text is the same in every language.
pub fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let exception = TaskerNativeError::new_err(error.to_string());
    let value = exception.value(py);
    let details = error.details.as_ref().map(|d| PyBytes::new(py, d.to_string().as_bytes()).unbind());
    // Setting attributes of a fresh exception object cannot fail short of a lack of memory, which the text survives.
    let _ = value.setattr("code", error.code);
    let _ = value.setattr("message", &error.message);
    let _ = value.setattr("hint", error.hint.as_deref());
    let _ = value.setattr("details", details);
    exception
}

/// Runs blocking work without the interpreter lock; a panic becomes an exception.
pub fn released<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T, Error> + Send) -> PyResult<T> {
    py.detach(|| std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked())))
        .map_err(|error| raise(py, &error))
}

/// As [`released`], for work that may wait for a server: Ctrl-C and other signals are heard meanwhile.
pub fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let mut pending = Pending::begin(work).map_err(|error| raise(py, &error))?;
    loop {
        if let Some(answer) = py.detach(|| pending.wait(SLICE)) {
            return answer.map_err(|error| raise(py, &error));
        }
        py.check_signals()?;
    }
}

fn panicked() -> Error {
    Error::new(Kind::Bug, "panic", "the core panicked; see the log")
        .hint("this is a fault of Tasker's; please report it with the log")
}

/// The exception for a handle inherited over a fork; `what` it is: `worker` or `client`.
pub fn foreign(py: Python<'_>, what: &str) -> PyErr {
    raise(py, &tasker_worker::client::forked(what))
}
