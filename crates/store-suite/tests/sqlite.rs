//! The conformance suite on SQLite: one test a scenario, on a file and in memory.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use tasker_store::sqlite::Sqlite;

fn on_a_file(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("tasker.db").display());
    tasker_store_suite::run(name, Arc::new(Sqlite::open(&url).unwrap()));
}

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        $(#[test] fn $name() { on_a_file(stringify!($name)); })+
    };
}

#[test]
fn all_of_it_in_memory() {
    tasker_store_suite::exercise(&|| Arc::new(Sqlite::open("sqlite::memory:").unwrap()));
}

tasker_store_suite::each_scenario!(scenarios);
