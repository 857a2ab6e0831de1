//! Tasker in Rust: handlers, workers and what their tests need.
//!
//! A worker takes steps of workflows from a store and runs the handlers it has for them. Where the work comes from is one URL: a file
//! (`sqlite://shop.db`), a PostgreSQL database (`postgres://…`) or a server (`tasker://host:port`).
//!
//! ```no_run
//! use serde_json::json;
//! use tasker_engine::{StepOutcome, Worker};
//!
//! Worker::builder("sqlite://shop.db")
//!     .template("order.yaml", "name: order\nsteps: [{name: total, handler: shop.total}]")
//!     .handler("shop.total", |ctx| async move { Ok(StepOutcome::from(json!({"of": ctx.get_input("items")?}))) })
//!     .start()?
//!     .run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crates named `tasker-engine-…` are its parts; their interfaces may change in any release.

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/handlers-rust.md")]
struct Guide;

pub use tasker_worker::testing;
pub use tasker_worker::{
    ApiHandler, ApiResponse, BatchAggregationScenario, BatchOutcome, BatchWorkerContext, BatchWorkerOutcome, Config,
    DecisionOutcome, DomainEvent, Error, EventPublisher, EventSubscriber, ExplicitMapping, HandlerRegistry,
    PublishContext, PublishError, Resolver, ResolverChain, Signal, StepContext, StepError, StepHandler, StepOutcome,
    StepResult, Worker, WorkerBuilder, error_types,
};
