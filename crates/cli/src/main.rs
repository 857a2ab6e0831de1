//! The `tasker` command as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    tasker_cli::main(std::env::args_os().skip(1), tasker_cli::Host::default()).into()
}
