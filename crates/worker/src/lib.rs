//! Workers: they take steps, run handlers and finish them.
//!
//! - [`Worker`], [`StepHandler`], [`StepContext`]: the SDK for handlers in Rust;
//! - [`WorkerCore`], [`Job`]: the blocking face that language bindings use: poll, finish, drain, close.

pub mod client;
mod core;
mod disturb;
mod error_type;
mod event;
mod job;
pub mod logging;
mod sdk;
mod storable;
pub mod testing;

pub use client::call as client_call;
pub use client::validate_template;
pub use core::{Config, RESULT_BYTES_MAX, Signal, WorkerCore, failure, takes_long};
pub use event::{document, prepared_events};
pub use job::Job;
pub use sdk::{
    ApiHandler, ApiResponse, BatchAggregationScenario, BatchOutcome, BatchWorkerContext, BatchWorkerOutcome,
    DecisionOutcome, DomainEvent, EventPublisher, EventSubscriber, ExplicitMapping, HandlerRegistry, PublishContext,
    PublishError, Resolver, ResolverChain, StepContext, StepError, StepHandler, StepOutcome, StepResult, Worker,
    WorkerBuilder, error_types,
};
pub use tasker_runtime::sync;
pub use tasker_wire::{Error, Failure, Report};
