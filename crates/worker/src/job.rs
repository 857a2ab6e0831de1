//! One attempt in a worker's hands.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tasker_core::event::{self, Occasion};
use tasker_core::graph::Index;
use tasker_core::id;
use tasker_core::template::{EventDeclaration, StepKind, StepTemplate};
use tasker_runtime::{Claimed, Engine, Given, TaskInfo};
use tasker_wire::{Error, Json};
use tokio::sync::Notify;

/// Task, step number and fencing token.
pub(crate) type Key = (i64, u16, u32);

/// One attempt: what the handler needs, read from the store only when asked for.
pub struct Job {
    engine: Engine,
    given: Given,
    taken: Instant,
    pub(crate) finished: AtomicBool,
    // Whether the slot is still the job's: whoever takes it from here, and nobody else, gives it on.
    has_slot: AtomicBool,
    cancelled: AtomicBool,
    cut: Notify,
    batches: OnceLock<Vec<(String, Option<String>)>>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("event_id", &self.event_id())
            .field("step", &self.step_name())
            .finish_non_exhaustive()
    }
}

impl Job {
    pub(crate) fn new(engine: Engine, given: Given) -> Job {
        Job {
            engine,
            given,
            taken: Instant::now(),
            finished: AtomicBool::new(false),
            has_slot: AtomicBool::new(true),
            cancelled: AtomicBool::new(false),
            cut: Notify::new(),
            batches: OnceLock::new(),
        }
    }

    /// Takes the slot away from the job; `true` for one caller only.
    pub(crate) fn take_slot(&self) -> bool {
        self.has_slot.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn key(&self) -> Key {
        (self.given.claimed.task, self.given.claimed.no, self.given.claimed.fence)
    }

    /// The claim.
    pub fn claimed(&self) -> &Claimed {
        &self.given.claimed
    }

    /// Its task.
    pub fn info(&self) -> &TaskInfo {
        &self.given.info
    }

    /// Its step in the template.
    pub fn definition(&self) -> &StepTemplate {
        &self.given.info.workflow.template.steps[usize::from(self.given.claimed.step)]
    }

    /// Queue it waited in.
    pub fn queue(&self) -> &str {
        self.given.info.workflow.queue(self.given.claimed.step)
    }

    /// Name of the step; of a batch worker its own.
    pub fn step_name(&self) -> &str {
        self.given.claimed.name.as_deref().unwrap_or(&self.definition().name)
    }

    /// UUID of the step.
    pub fn step_uuid(&self) -> String {
        id::step_uuid(self.given.info.uuid, self.given.claimed.no).to_string()
    }

    /// UUID of this attempt; the same for every report on it.
    pub fn event_id(&self) -> String {
        id::event_uuid(self.given.info.uuid, self.given.claimed.no, self.given.claimed.fence).to_string()
    }

    /// Whether the attempt has lost its right to report.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.cut.notify_waiters();
        self.cut.notify_one();
    }

    /// Returns once the attempt has lost its right to report.
    pub async fn cancelled(&self) {
        while !self.is_cancelled() {
            self.cut.notified().await;
        }
    }

    /// When its budget ends.
    pub fn deadline(&self) -> Instant {
        self.taken + Duration::from_millis(self.definition().timeout_ms.clamp(1, 1 << 40) as u64)
    }

    /// Since it was taken.
    pub fn age(&self) -> Duration {
        self.taken.elapsed()
    }

    /// Names of all direct and indirect dependencies that have a result, nearest first.
    pub fn dependency_names(&self) -> Result<Vec<String>, Error> {
        let graph = &self.info().workflow.graph;
        let ancestors = graph.ancestors(self.given.claimed.step);
        let (workers, steps): (Vec<Index>, Vec<Index>) =
            ancestors.into_iter().partition(|a| graph.kinds[usize::from(*a)] == StepKind::BatchWorker);
        let results = self.engine.results(self.given.claimed.task, &steps)?;
        let name = |step: &Index| self.info().workflow.template.steps[usize::from(*step)].name.clone();
        let mut names: Vec<String> =
            steps.iter().zip(results).filter(|(_, r)| r.is_some()).map(|(s, _)| name(s)).collect();
        if !workers.is_empty() {
            names.extend(self.batches()?.iter().filter(|(_, r)| r.is_some()).map(|(n, _)| n.clone()));
        }
        Ok(names)
    }

    /// The result of a dependency if it can be had without reading the store; `None` says nothing.
    pub fn cached_dependency(&self, name: &str) -> Option<Arc<str>> {
        let graph = &self.info().workflow.graph;
        let step = graph.find(name).filter(|s| graph.is_ancestor(*s, self.given.claimed.step))?;
        self.engine.cached_result(self.given.claimed.task, step)
    }

    /// The result of a direct or indirect dependency, JSON; `None` if it is none, or has no result.
    pub fn dependency(&self, name: &str) -> Result<Option<Arc<str>>, Error> {
        let graph = &self.info().workflow.graph;
        if let Some(step) = graph.find(name) {
            if !graph.is_ancestor(step, self.given.claimed.step)
                || graph.kinds[usize::from(step)] == StepKind::BatchWorker
            {
                return Ok(None);
            }
            return Ok(self.engine.results(self.given.claimed.task, &[step])?.pop().flatten());
        }
        let has_batches = graph
            .ancestors(self.given.claimed.step)
            .iter()
            .any(|a| graph.kinds[usize::from(*a)] == StepKind::BatchWorker);
        if !has_batches {
            return Ok(None);
        }
        Ok(self.batches()?.iter().find(|(n, _)| n == name).and_then(|(_, r)| r.as_deref().map(Arc::from)))
    }

    /// By step: what is known of the attempt that ended it (timing, worker), and what its handler keeps with it, under `custom`.
    pub(crate) fn step_metadata(&self) -> Result<HashMap<String, Value>, Error> {
        let steps = self.engine.steps(self.info().uuid)?.into_iter();
        let read = |json: Json| serde_json::from_str(json.get()).unwrap_or_default();
        Ok(steps.filter_map(|s| Some((s.name, read(s.metadata?)))).collect())
    }

    /// Results of the batch workers above this step.
    fn batches(&self) -> Result<&[(String, Option<String>)], Error> {
        if let Some(found) = self.batches.get() {
            return Ok(found);
        }
        let graph = &self.info().workflow.graph;
        let mut all = Vec::new();
        for step in graph.ancestors(self.given.claimed.step) {
            if graph.kinds[usize::from(step)] == StepKind::BatchWorker {
                all.extend(self.engine.batch_results(self.given.claimed.task, step)?);
            }
        }
        Ok(self.batches.get_or_init(|| all))
    }

    /// Events this attempt will publish through a publisher of the host: place in `publishes_events`, declaration.
    pub fn publications(&self, success: bool, retryable: bool) -> Vec<(usize, &EventDeclaration)> {
        let step = self.definition();
        let occasion = match success {
            true => Occasion::Success,
            false => Occasion::of_failure(&step.retry, self.given.claimed.failures, retryable),
        };
        event::published(step, occasion).filter(|(_, e)| e.publisher.is_some()).collect()
    }

    /// `inputs` of a batch worker; `None` for any other step.
    pub fn inputs(&self) -> Result<Option<String>, Error> {
        match self.given.claimed.name {
            Some(_) => self.engine.inputs(self.given.claimed.task, self.given.claimed.no),
            None => Ok(None),
        }
    }

    /// Latest checkpoint, `{cursor, items_processed, accumulated_results}`.
    pub fn checkpoint(&self) -> Result<Option<String>, Error> {
        if !self.given.claimed.has_checkpoint {
            return Ok(None);
        }
        self.engine.checkpoint(self.given.claimed.task, self.given.claimed.no)
    }
}
