//! Stores are told apart by nothing but their speed.
//!
//! `TASKER_TEST_POSTGRES` names a server; `scripts/with-postgres` starts one for the command that follows it.

use tasker_sim::differential::{Compared, Way, differ};
use tasker_store::Store;
use tasker_store::postgres::Postgres;
use tasker_store::sqlite::Sqlite;

fn sqlite() -> Box<dyn Store> {
    Box::new(Sqlite::open("sqlite::memory:").expect("a store in memory opens"))
}

/// A store in a schema of its own.
fn postgres(name: &str) -> Box<dyn Store> {
    let server = std::env::var("TASKER_TEST_POSTGRES")
        .expect("a PostgreSQL server: run the tests by `scripts/with-postgres cargo test …` or `make test`");
    let url = format!("{server}?schema=d{:x}_{name}", std::process::id());
    Box::new(Postgres::open(&url).expect("the server of the tests opens"))
}

fn alike(seeds: std::ops::Range<u64>, batches: u64, way: Way, other: &dyn Fn(u64) -> Box<dyn Store>) {
    let mut sum = Compared::default();
    for seed in seeds {
        let one = differ(&*sqlite(), &*other(seed), seed, batches, way).unwrap_or_else(|what| panic!("{what}"));
        sum.ops += one.ops;
        sum.claims += one.claims;
        sum.tasks += one.tasks;
        sum.late += one.late;
    }
    assert!(sum.late * 20 < sum.claims, "claims leave too much: {sum:?}");
    assert!(sum.ops > 1_000 && sum.claims > 300 && sum.tasks > 1_000, "too little was compared: {sum:?}");
}

#[test]
fn two_stores_in_memory_are_alike() {
    alike(1..11, 120, Way::Alike, &|_| sqlite());
}

#[test]
fn operations_come_to_the_same_in_one_commit_and_one_by_one() {
    alike(11..21, 120, Way::OneByOne, &|_| sqlite());
}

#[test]
fn sqlite_and_postgresql_are_alike() {
    alike(21..31, 120, Way::Alike, &|seed| postgres(&format!("alike{seed}")));
}

#[test]
fn sqlite_in_one_commit_and_postgresql_one_by_one_are_alike() {
    alike(31..36, 120, Way::OneByOne, &|seed| postgres(&format!("single{seed}")));
}
