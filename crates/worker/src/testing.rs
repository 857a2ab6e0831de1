//! A harness for tests of workflows: a real worker on a store in memory, in which no time is waited for.
//!
//! ```
//! use serde_json::json;
//! use tasker_worker::testing::Harness;
//! use tasker_worker::{StepOutcome, Worker};
//!
//! let template = "name: double\nsteps: [{name: double, handler: double, retry: {backoff_base_ms: 60000}}]";
//! let harness = Harness::start(Worker::builder("sqlite::memory:").template("t.yaml", template).handler(
//!     "double",
//!     |ctx| async move { Ok(StepOutcome::from(json!(ctx.get_input("n")?.as_i64().unwrap_or(0) * 2))) },
//! ))?;
//! harness.fail("double", 2);
//! let task = harness.run("default", "double", json!({"n": 21}))?;
//! assert_eq!((task.view.status.as_str(), task.step("double").attempts), ("complete", 3));
//! assert_eq!(task.result("double"), json!(42));
//! # Ok::<(), tasker_worker::Error>(())
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tasker_runtime::Engine;
use tasker_runtime::sync::Mutex;
use tasker_wire::{Error, EventFilter, EventView, StepView, TaskRequest, TaskView, json_of};
use uuid::Uuid;

use crate::sdk::{StepError, Worker, WorkerBuilder};

/// Nobody watches a store in memory, milliseconds.
const LEASE_MS: i64 = 10_000_000_000;

/// A worker with handlers on a store in memory. Retries, delayed starts and lifecycle limits take no time.
#[derive(Debug)]
pub struct Harness {
    worker: Worker,
    faults: Faults,
}

/// Errors to raise instead of running a step's handler, by step name; each is used once.
pub(crate) type Faults = Arc<Mutex<HashMap<String, Vec<StepError>>>>;

/// A task at rest with its steps.
#[derive(Debug)]
pub struct TaskOutcome {
    /// The task.
    pub view: TaskView,
    /// Its steps.
    pub steps: Vec<StepView>,
}

impl Harness {
    /// Starts a worker on a store in memory; the builder's URL and lease are replaced.
    pub fn start(builder: WorkerBuilder) -> Result<Harness, Error> {
        let faults = Faults::default();
        let builder = builder.faults(faults.clone()).configure(|config| {
            config.url = "sqlite::memory:".into();
            config.lease_ms = LEASE_MS;
            config.engine.environment.get_or_insert_with(|| "test".into());
        });
        Ok(Harness { worker: builder.start()?, faults })
    }

    /// The engine, for creating tasks, acting on them and reading events.
    pub fn engine(&self) -> &Engine {
        self.worker.engine()
    }

    /// Makes the next attempts of a step fail retryably instead of running its handler.
    pub fn fail(&self, step: &str, times: usize) {
        self.fail_with(step, times, &StepError::retryable(format!("injected into {step}")));
    }

    /// Makes the next attempts of a step fail with an error of yours.
    pub fn fail_with(&self, step: &str, times: usize, error: &StepError) {
        let mut faults = self.faults.lock();
        faults.entry(step.into()).or_default().extend(std::iter::repeat_n(error.clone(), times));
    }

    /// Creates a task and waits until it rests.
    pub fn run(&self, namespace: &str, name: &str, context: Value) -> Result<TaskOutcome, Error> {
        let request = TaskRequest::new(namespace, name, json_of(&context));
        let mut created = self.engine().create(&[request]);
        self.outcome(created.remove(0)?.task_uuid)
    }

    /// Waits until a task rests.
    pub fn outcome(&self, task: Uuid) -> Result<TaskOutcome, Error> {
        let view = self.engine().skip_to_rest(task, Duration::from_secs(30))?;
        Ok(TaskOutcome { view, steps: self.engine().steps(task)? })
    }

    /// Durable domain events published so far, oldest first.
    pub fn events(&self) -> Result<Vec<EventView>, Error> {
        self.engine().events(&EventFilter::default())
    }
}

impl TaskOutcome {
    /// A step by its name.
    ///
    /// # Panics
    /// There is none of that name.
    pub fn step(&self, name: &str) -> &StepView {
        let known = || self.steps.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        self.steps.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no step `{name}`; there are {}", known()))
    }

    /// A step's result; `Null` without one.
    pub fn result(&self, name: &str) -> Value {
        let result = self.step(name).result.as_ref();
        result.and_then(|r| serde_json::from_str(r.get()).ok()).unwrap_or_default()
    }
}
