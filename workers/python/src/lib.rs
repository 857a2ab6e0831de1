//! The compiled half of the Python package: converts and forwards, decides nothing.
//!
//! Python calls in and Rust never calls back. Whatever may block runs with the interpreter lock released.

mod client;
mod error;
mod event;
mod worker;

use std::ffi::OsString;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Version of the package's Rust half.
#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Version of Rust the package needs at least.
#[pyfunction]
fn rust_version() -> &'static str {
    env!("CARGO_PKG_RUST_VERSION")
}

/// Checks a template; JSON `{"ok", "template": {…}?, "diagnostics": [{severity, message, file, line, column, text}]}`.
#[pyfunction]
#[pyo3(signature = (source, path, environment=None, strict=false))]
fn validate_template<'py>(
    py: Python<'py>,
    source: &str,
    path: &str,
    environment: Option<&str>,
    strict: bool,
) -> Bound<'py, PyBytes> {
    PyBytes::new(py, tasker_worker::validate_template(source, path, environment, strict).as_bytes())
}

/// Runs the `tasker` command with the arguments after its name; gives its exit code. `python` starts Python workers.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<OsString>, python: OsString) -> u8 {
    py.detach(|| tasker_cli::main(arguments, tasker_cli::Host { python: Some(python), ruby: None }))
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(version, module)?)?;
    module.add_function(wrap_pyfunction!(rust_version, module)?)?;
    module.add_function(wrap_pyfunction!(validate_template, module)?)?;
    module.add_function(wrap_pyfunction!(command, module)?)?;
    module.add_function(wrap_pyfunction!(worker::log, module)?)?;
    module.add_class::<worker::NativeWorker>()?;
    module.add_class::<event::StepEvent>()?;
    module.add_class::<event::Signal>()?;
    module.add_class::<client::NativeClient>()?;
    module.add("TaskerNativeError", module.py().get_type::<error::TaskerNativeError>())?;
    Ok(())
}
