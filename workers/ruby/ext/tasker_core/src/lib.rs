//! The compiled half of the Ruby library: converts and forwards, decides nothing.
//!
//! Ruby calls in and Rust never calls back. Whatever may block runs with the interpreter lock released.

mod client;
mod error;
mod event;
mod worker;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use magnus::{Error, Module, Object, RArray, RString, Ruby, function};

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

/// Runs the `tasker` command with the arguments after its name; gives its exit code. `ruby` is the program and arguments that start
/// Ruby workers. The interpreter lock stays held: the process does nothing else.
fn command(arguments: RArray, ruby: RArray) -> Result<u8, Error> {
    // Paths need not be UTF-8.
    let words = |list: RArray| -> Result<Vec<OsString>, Error> {
        (0..list.len())
            .map(|at| {
                let word: RString = list.entry(at as isize)?;
                // SAFETY: the bytes are copied before anything else of Ruby runs.
                Ok(OsString::from_vec(unsafe { word.as_slice() }.to_vec()))
            })
            .collect()
    };
    let host = tasker_cli::Host { python: None, ruby: Some(words(ruby)?) };
    Ok(tasker_cli::main(words(arguments)?, host))
}

#[magnus::init(name = "tasker_core_native")]
fn init(ruby: &Ruby) -> Result<(), Error> {
    let native = ruby.define_module("TaskerCore")?.define_module("Native")?;
    native.define_singleton_method("version", function!(version, 0))?;
    native.define_singleton_method("rust_version", function!(rust_version, 0))?;
    native.define_singleton_method("validate_template", function!(validate_template, 4))?;
    native.define_singleton_method("command", function!(command, 2))?;
    native.define_singleton_method("log", function!(worker::log, 3))?;
    worker::define(ruby, native)?;
    event::define(ruby, native)?;
    client::define(ruby, native)
}
