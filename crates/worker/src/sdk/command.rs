//! The command line of a Rust worker: the same options as `python -m tasker_core worker` and `tasker-ruby worker`.

use std::path::Path;

use lexopt::prelude::*;
use tasker_wire::{Error, Kind};

use super::{Worker, WorkerBuilder};
use crate::core::drain_timeout_ms;

const USAGE: &str = "options of a worker:
  --url URL          where work comes from (TASKER_URL)
  --templates PATH   file or folder of templates; may be repeated
  --namespace NAME   queue to take from; may be repeated
  --slots N          handlers run at once
  --lease-ms N       how long it may be silent before others take it for gone
  --drain-timeout S  seconds a drain waits for running handlers (TASKER_DRAIN_TIMEOUT), 20 by default
  --worker-id NAME   unique name";

impl Worker {
    /// Puts a worker together from this process's command line, which is how `tasker run` and `tasker dev` start one.
    /// `--help` prints the options and ends the process. [`Worker::run`] then says when the worker is ready.
    ///
    /// ```no_run
    /// use serde_json::json;
    /// use tasker_worker::{StepOutcome, Worker};
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     Worker::from_args()?
    ///         .handler("shop.greet", |_| async { Ok(StepOutcome::from(json!("hello"))) })
    ///         .start()?
    ///         .run()?;
    ///     Ok(())
    /// }
    /// ```
    pub fn from_args() -> Result<WorkerBuilder, Error> {
        parse(lexopt::Parser::from_env())
    }
}

fn invalid(error: lexopt::Error) -> Error {
    Error::new(Kind::Invalid, "usage", error.to_string()).hint(USAGE)
}

fn value(args: &mut lexopt::Parser) -> Result<String, Error> {
    args.value().and_then(|v| v.string()).map_err(invalid)
}

fn parse(mut args: lexopt::Parser) -> Result<WorkerBuilder, Error> {
    let mut builder = WorkerBuilder { announce: true, ..WorkerBuilder::default() };
    while let Some(arg) = args.next().map_err(invalid)? {
        match arg {
            Long("url") => builder.config.url = value(&mut args)?,
            Long("namespace") => builder.config.namespaces.get_or_insert_default().push(value(&mut args)?),
            Long("worker-id") => builder.config.worker_id = Some(value(&mut args)?),
            Long("slots") => {
                builder.config.max_concurrent_handlers = args.value().and_then(|v| v.parse()).map_err(invalid)?;
            }
            Long("lease-ms") => builder.config.lease_ms = args.value().and_then(|v| v.parse()).map_err(invalid)?,
            Long("drain-timeout") => {
                let seconds = value(&mut args)?;
                builder.config.drain_timeout_ms = drain_timeout_ms(&seconds).ok_or_else(|| {
                    Error::new(Kind::Invalid, "usage", format!("`{seconds}` is not a number of seconds")).hint(USAGE)
                })?;
            }
            Long("templates") => {
                let path = value(&mut args)?;
                let unreadable = |e: std::io::Error| {
                    Error::new(Kind::NotFound, "template_not_found", format!("cannot read {path}: {e}"))
                };
                builder = match Path::new(&path).is_dir() {
                    true => builder.templates(Path::new(&path)).map_err(unreadable)?,
                    false => {
                        let source = std::fs::read_to_string(&path).map_err(unreadable)?;
                        builder.template(&path, &source)
                    }
                };
            }
            #[allow(clippy::print_stdout)]
            Long("help") | Short('h') => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            _ => return Err(invalid(arg.unexpected())),
        }
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_sets_up_a_worker() {
        let args = [
            "--url=sqlite::memory:",
            "--namespace",
            "a",
            "--namespace",
            "b",
            "--slots",
            "3",
            "--lease-ms",
            "50",
            "--drain-timeout=2.5",
        ];
        let config = parse(lexopt::Parser::from_args(args)).expect("it is well formed").config;
        assert_eq!(config.namespaces, Some(vec!["a".to_string(), "b".to_string()]));
        assert_eq!((config.url.as_str(), config.max_concurrent_handlers, config.lease_ms), ("sqlite::memory:", 3, 50));
        assert_eq!(config.drain_timeout_ms, 2_500);
    }

    #[test]
    fn a_mistake_is_answered_with_the_options() {
        let said = |args: &[&str]| parse(lexopt::Parser::from_args(args)).err().expect("a mistake").to_string();
        assert!(said(&["--slots", "many"]).contains("\"many\""));
        assert!(said(&["--drain-timeout", "soon"]).contains("`soon`"));
        assert!(said(&["--colour", "red"]).contains("--worker-id NAME"));
        assert!(said(&["--templates", "/nowhere.yaml"]).contains("cannot read /nowhere.yaml"));
    }
}
