//! The conformance suite on PostgreSQL: one test a scenario and transport, each in a schema of its own, and once more
//! through a pooler.
//!
//! `TASKER_TEST_POSTGRES` names the server, `TASKER_TEST_POOLER` the pooler before it; `scripts/with-postgres` starts both
//! for the command that follows it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use tasker_store::postgres::Postgres;

/// `way`: names the schema, with the scenario.
fn run(name: &str, variable: &str, way: &str, parameters: &str) {
    let server = std::env::var(variable).unwrap_or_else(|_| {
        panic!("no {variable}: run the tests by `scripts/with-postgres cargo test …` or `make test`")
    });
    let schema = format!("{way}{:x}_{}", std::process::id(), &name[..name.len().min(40)]);
    tasker_store_suite::run(name, Arc::new(Postgres::open(&format!("{server}?schema={schema}&{parameters}")).unwrap()));
}

/// What needs an order that PGMQ's queues do not have: they are first in, first out.
const BY_PRIORITY: &[&str] = &["claims_follow_priority_then_age"];

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        mod ready {
            $(#[test] fn $name() { super::run(stringify!($name), "TASKER_TEST_POSTGRES", "r", "queue=ready"); })+
        }

        mod pooled {
            $(#[test] fn $name() { super::run(stringify!($name), "TASKER_TEST_POOLER", "t", "pooler=transaction"); })+
        }

        mod pgmq {
            $(#[test] fn $name() {
                if !super::BY_PRIORITY.contains(&stringify!($name)) {
                    super::run(stringify!($name), "TASKER_TEST_POSTGRES", "p", "queue=pgmq");
                }
            })+
        }
    };
}

tasker_store_suite::each_scenario!(scenarios);
