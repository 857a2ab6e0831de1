//! Workers: they take steps, run handlers and finish them.
//!
//! - [`Worker`], [`StepHandler`], [`StepContext`]: the SDK for handlers in Rust;
//! - [`WorkerCore`], [`Job`]: the blocking face that language bindings use: poll, finish, drain, close.

pub mod client;
mod core;
mod event;
mod job;
pub mod logging;
mod sdk;

pub use client::validate_template;
pub use core::{Config, RESULT_BYTES_MAX, Signal, WorkerCore, failure};
pub use event::{document, prepared_events};
pub use job::Job;
pub use sdk::{StepContext, StepError, StepHandler, StepOutcome, Worker, WorkerBuilder};
pub use tasker_engine::sync;
pub use tasker_wire::{Error, Failure, Report};
