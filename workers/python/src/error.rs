//! Core errors as a Python exception, and panics kept at the edge.

use std::panic::AssertUnwindSafe;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tasker_wire::{Error, Kind};

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

fn panicked() -> Error {
    Error::new(Kind::Bug, "panic", "the core panicked; see the log")
        .hint("this is a fault of Tasker's; please report it with the log")
}

/// The exception for a handle inherited over a fork.
pub fn foreign(py: Python<'_>) -> PyErr {
    let error = Error::new(
        Kind::Conflict,
        "forked",
        "this worker was started before a fork; its threads live in the parent process",
    )
    .hint("start workers after forking, or in a fresh process (the spawn method of multiprocessing)");
    raise(py, &error)
}
