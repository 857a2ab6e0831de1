//! An engine whose caller takes every turn itself and owns its time: for simulations.
//!
//! What runs is the committer of [`crate::Engine`], its cache and its sessions; only the threads and the clock are the
//! caller's. The duties (heartbeats, burying dead workers) are left to the caller.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tasker_store::{Done, NewTask, NewWorker, Op, Store};
use tasker_wire::{Error, TaskRequest};
use uuid::Uuid;

use crate::Session;
use crate::clock::Clock;
use crate::committer::{Loop, Shared};
use crate::create;
use crate::schemas::Schemas;

/// One process on a store, without threads.
pub struct Stepper {
    shared: Shared,
    state: Loop,
    schemas: Schemas,
}

impl Stepper {
    /// A process that starts at time `now`, or at the store's high-water mark if that is later.
    pub fn new(store: Arc<dyn Store>, now: i64, max_crashes: u32) -> Result<Stepper, Error> {
        let clock = Clock::standing(now, store.high_water()?);
        let shared = Shared::new(store, clock, true, max_crashes);
        let state = Loop::new(&shared);
        Ok(Stepper { shared, state, schemas: Schemas::default() })
    }

    /// Unix milliseconds by the process's clock.
    pub fn now(&self) -> i64 {
        self.shared.clock.now()
    }

    /// Lets time pass.
    pub fn advance(&self, ms: i64) {
        self.shared.clock.advance(ms);
    }

    /// Whether the committer would take its next turn at once.
    pub fn is_busy(&self) -> bool {
        self.state.is_busy(&self.shared)
    }

    /// Longest time the committer would wait for its next turn.
    pub fn timeout(&self) -> Duration {
        self.state.timeout(&self.shared)
    }

    /// When the next row falls due as far as the process knows, Unix milliseconds.
    pub fn next_wake(&self) -> Option<i64> {
        self.state.next_wake()
    }

    /// Takes one turn of the committer.
    pub fn turn(&mut self) {
        self.state.step(&self.shared);
    }

    /// Queues an operation; its answer comes with its commit.
    pub fn submit(&self, op: Op) -> Option<Receiver<Result<Done, Error>>> {
        self.shared.submit(vec![op]).pop()
    }

    /// Queues an operation that nobody waits for; kept until the store takes it.
    pub fn send(&self, op: Op) {
        self.shared.send(op);
    }

    /// Has the committer look for due rows and claims.
    pub fn poke(&self) {
        self.shared.poke();
    }

    /// Has the committer look at what another process wrote.
    pub fn changed_outside(&self) {
        self.shared.changed_outside();
    }

    /// Checks a request and makes the task of it, under the given version-7 UUID.
    pub fn new_task(&self, request: &TaskRequest, v7: Uuid) -> Result<NewTask, Error> {
        let new = create::new_task(&*self.shared.store, &self.schemas, request, self.now())?;
        Ok(NewTask { uuid: tasker_core::id::task_uuid(v7), ..new })
    }

    /// Gives a worker its seat once [`Op::AddWorker`] has been answered with `worker`.
    pub fn seat(&self, worker: i64, new: &NewWorker) -> Arc<Session> {
        let (queues, slots) = (new.queues.clone().into(), new.slots as usize);
        let session = Arc::new(Session::new(worker, new.name.clone(), queues, new.lease_ms, slots));
        self.shared.sessions.lock().push(session.clone());
        self.shared.poke();
        session
    }

    /// Ends a worker's seat; what it holds is handed back by [`Op::WorkerGone`].
    pub fn unseat(&self, session: &Session) {
        session.close();
        self.shared.sessions.lock().retain(|s| s.name != session.name);
    }

    /// Results of some steps as a handler in this process sees them; see [`crate::Engine::results`].
    pub fn results(&self, task: i64, steps: &[u16]) -> Result<Vec<Option<Arc<str>>>, Error> {
        self.shared.results(task, steps)
    }
}
