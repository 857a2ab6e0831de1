//! Where a Rust worker's log goes. A process has one log, so each case is a process of its own.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use tasker_worker::Worker;

const CASE: &str = "TASKER_TEST_LOG";

/// What the process of a case writes to standard error.
fn said(case: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_logs", "--exact", "--nocapture"])
        .env(CASE, case)
        .env_remove("TASKER_LOG")
        .env_remove("TASKER_LOG_FORMAT")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// Another process of the test below; nothing by itself.
#[test]
fn child_that_logs() {
    let Ok(case) = std::env::var(CASE) else { return };
    if case == "own" {
        tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_level(false).init();
    }
    let _worker = Worker::builder("sqlite::memory:").start().unwrap();
    tracing::info!("for the curious");
    tracing::warn!("for everybody");
}

#[test]
fn a_worker_logs_warnings_unless_the_program_logs_in_its_own_way() {
    let said_by_default = said("default");
    assert!(said_by_default.contains("WARN for everybody"), "{said_by_default}");
    assert!(!said_by_default.contains("for the curious"), "{said_by_default}");
    let said_its_own_way = said("own");
    assert!(said_its_own_way.contains("for the curious"), "{said_its_own_way}");
    assert!(!said_its_own_way.contains("WARN"), "{said_its_own_way}");
}
