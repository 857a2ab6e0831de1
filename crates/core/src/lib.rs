//! The rules of Tasker, and nothing else: no clock, no I/O, no runtime.
//!
//! - [`template`] and [`load`]: what a workflow is, and how its YAML is read;
//! - [`graph`]: who depends on whom;
//! - [`state`]: the control rows of tasks and steps;
//! - [`machine`]: `(neighbourhood, event, now) -> changes`, the only place that knows the rules;
//! - [`outcome`]: what a handler's result may ask for (decisions, batches);
//! - [`event`]: which declared events an attempt's end publishes;
//! - [`retry`]: delays and which failures are tried again;
//! - [`watch`]: who is still alive, by the heartbeats that were seen;
//! - [`id`]: how step identifiers follow from task identifiers.

pub mod event;
pub mod graph;
pub mod id;
pub mod load;
pub mod machine;
pub mod outcome;
pub mod retry;
pub mod state;
pub mod template;
pub mod watch;
mod yaml;
