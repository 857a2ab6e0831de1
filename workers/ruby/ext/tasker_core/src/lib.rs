//! The compiled half of the Ruby library: converts and forwards, decides nothing.
//!
//! Ruby calls in and Rust never calls back. Whatever may block runs with the interpreter lock released.

mod client;
mod error;
mod event;
mod worker;

use magnus::{Error, Module, Object, Ruby, function};

/// Version of the library's Rust half.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Version of Rust the library needs at least.
fn rust_version() -> &'static str {
    env!("CARGO_PKG_RUST_VERSION")
}

fn validate_template(source: String, path: String, environment: Option<String>, strict: bool) -> String {
    tasker_worker::validate_template(&source, &path, environment.as_deref(), strict)
}

#[magnus::init(name = "tasker_core_native")]
fn init(ruby: &Ruby) -> Result<(), Error> {
    let native = ruby.define_module("TaskerCore")?.define_module("Native")?;
    native.define_singleton_method("version", function!(version, 0))?;
    native.define_singleton_method("rust_version", function!(rust_version, 0))?;
    native.define_singleton_method("validate_template", function!(validate_template, 4))?;
    native.define_singleton_method("log", function!(worker::log, 3))?;
    worker::define(ruby, native)?;
    event::define(ruby, native)?;
    client::define(ruby, native)
}
