//! A deterministic simulation of engines, a store and workers, and a differential test of stores.
//!
//! One thread and one seed decide everything: when a process commits, dies, stands still or jumps in time, which report
//! is late or comes twice, what operators do. Real are the machine, the store, the committer, its cache and its
//! sessions; simulated are threads, time, handlers and clients. After every commit the rows it touched must keep every
//! invariant of the specification; once trouble ends, every task must come to the rest its handlers lead to.

pub mod check;
pub mod dice;
pub mod differential;
pub mod model;
pub mod report;
pub mod script;
pub mod store;
pub mod templates;
pub mod world;
