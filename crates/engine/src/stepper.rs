//! An engine whose caller takes every turn itself and owns its time: for simulations.
//!
//! What runs is the committer of [`crate::Engine`], its cache and its sessions; only the threads and the clock are the
//! caller's. The duties are left to the caller: when others are watched ([`Stepper::watch`]) is for the caller to say.

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
use crate::liveness::Watcher;
use crate::schemas::Schemas;

/// What another process stores that takes a worker for gone; for tests of workers.
pub fn declare_gone(engine: &crate::Engine, name: &str) -> Result<(), Error> {
    let store = engine.shared_store();
    let worker = store.watched()?.into_iter().find(|w| w.name == name).map(|w| w.id).unwrap_or_default();
    let ops = [Op::WorkerGone { worker, beat: None, stopped: false }];
    let holding = tasker_store::Holding::default();
    let (now, max_crashes) = (engine.now(), engine.max_crashes());
    let batch =
        tasker_store::Batch { ops: &ops, claims: &[], holding, now, jitter_seed: None, max_crashes, knows: &|_| true };
    store.commit(&batch).map(drop).map_err(Error::from)
}

/// One process on a store, without threads.
pub struct Stepper {
    shared: Shared,
    state: Loop,
    watcher: Watcher,
    schemas: Schemas,
}

impl Stepper {
    /// A process that starts when its monotonic clock shows `mono_ms`; the store tells the time by that.
    pub fn new(store: Arc<dyn Store>, mono_ms: i64, max_crashes: u32) -> Result<Stepper, Error> {
        let clock = Clock::standing(mono_ms, store.clock_offset(), store.high_water()?);
        let shared = Shared::new(store, clock, true, max_crashes);
        let state = Loop::new(&shared);
        Ok(Stepper { shared, state, watcher: Watcher::default(), schemas: Schemas::default() })
    }

    /// Unix milliseconds by the process's clock.
    pub fn now(&self) -> i64 {
        self.shared.clock.now()
    }

    /// Lets time pass.
    pub fn advance(&self, ms: i64) {
        self.shared.clock.pass(ms);
    }

    /// When its next heartbeat is due, by its monotonic clock.
    pub fn next_beat_ms(&self) -> Option<i64> {
        self.state.next_beat_ms(&self.shared)
    }

    /// Watches the workers of other processes, if it is time to. `dead`: names of those whose processes were seen to end.
    pub fn watch(&mut self, dead: &[String]) {
        self.watcher.turn(&self.shared, dead, &|_| true);
    }

    /// Sees to what is due though it has no workers, as a server does.
    pub fn serve(&self) {
        self.shared.serve();
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
        self.state.next_wake().filter(|_| self.shared.is_active())
    }

    /// How long after a look at others the next one is due, milliseconds.
    pub fn watch_every_ms(&self) -> i64 {
        self.watcher.pause_ms()
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
        let (now_ms, held) = (self.shared.clock.mono_ms(), self.shared.held.clone());
        let session = Arc::new(Session::new(worker, new.clone(), now_ms, held));
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
