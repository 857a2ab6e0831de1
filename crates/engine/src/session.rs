//! A worker's seat at the engine: what it may take, and what it was given.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tasker_store::sync::{Condvar, Mutex};
use tasker_store::{ClaimRequest, Claimed, CutShort, NewWorker, TaskInfo};

/// In-process events kept for a worker that does not take them; the oldest are dropped.
const EVENTS_KEPT: usize = 10_000;

/// A step given to a worker.
#[derive(Debug)]
pub struct Given {
    /// The claim.
    pub claimed: Claimed,
    /// Its task.
    pub info: Arc<TaskInfo>,
}

/// Task, step number and fencing token of a claim.
type Key = (i64, u16, u32);

/// A worker's seat. The engine fills `inbox` as far as the worker has free slots; nothing is claimed ahead.
#[derive(Debug)]
pub struct Session {
    /// Name, unique among the living.
    pub name: String,
    /// Queues it takes from.
    pub queues: Arc<[String]>,
    /// How long it may be silent, milliseconds.
    pub lease_ms: i64,
    /// What it is registered as: again, if it was declared gone.
    pub(crate) new: NewWorker,
    /// Number of its row; 0: it was declared gone and has no new one yet.
    worker: AtomicI64,
    /// When its latest heartbeat was stored, by the monotonic clock.
    beaten_ms: AtomicI64,
    /// Steps that all workers of this process hold.
    held_here: Arc<AtomicUsize>,
    free: AtomicUsize,
    claiming: AtomicBool,
    inbox: Mutex<Inbox>,
    arrival: Condvar,
    events_arrived: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    given: VecDeque<Given>,
    /// Claims whose end has not been stored; whether each is of a suspect.
    held: FxHashMap<Key, bool>,
    cut_short: Vec<CutShort>,
    events: VecDeque<Arc<str>>,
    events_dropped: u64,
    /// Another process wrote to the store: claims may be gone without a word.
    changed_outside: bool,
    waiting: usize,
    closed: bool,
    /// Why the worker cannot go on.
    failure: Option<String>,
}

impl Session {
    pub(crate) fn new(worker: i64, new: NewWorker, now_ms: i64, held_here: Arc<AtomicUsize>) -> Session {
        Session {
            name: new.name.clone(),
            queues: new.queues.clone().into(),
            lease_ms: new.lease_ms,
            worker: AtomicI64::new(worker),
            beaten_ms: AtomicI64::new(now_ms),
            held_here,
            free: AtomicUsize::new(new.slots as usize),
            new,
            claiming: AtomicBool::new(true),
            inbox: Mutex::default(),
            arrival: Condvar::new(),
            events_arrived: Condvar::new(),
        }
    }

    /// Store's number of the worker: that of its present life.
    pub fn worker(&self) -> i64 {
        self.worker.load(Ordering::Acquire)
    }

    pub(crate) fn set_worker(&self, worker: i64) {
        self.worker.store(worker, Ordering::Release);
    }

    /// How long ago, by the monotonic clock, its latest heartbeat was stored.
    pub(crate) fn silent_ms(&self, now_ms: i64) -> i64 {
        now_ms - self.beaten_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn has_beaten(&self, now_ms: i64) {
        self.beaten_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Claims whose end has not been stored.
    pub(crate) fn held(&self) -> Vec<(i64, u16, u32)> {
        self.inbox.lock().held.keys().copied().collect()
    }

    pub(crate) fn holds_suspect(&self) -> bool {
        self.inbox.lock().held.values().any(|is_suspect| *is_suspect)
    }

    /// A claim has ended, whoever ended it; whether it was one of this worker's. If nobody has taken it yet, nobody will.
    pub fn forget(&self, claim: (i64, u16, u32)) -> bool {
        let mut inbox = self.inbox.lock();
        let was_held = inbox.held.remove(&claim).is_some();
        let place = inbox.given.iter().position(|g| (g.claimed.task, g.claimed.no, g.claimed.fence) == claim);
        if let Some(place) = place {
            inbox.given.remove(place);
            self.free_slots(1);
        }
        drop(inbox);
        if was_held {
            self.held_here.fetch_sub(1, Ordering::AcqRel);
        }
        was_held
    }

    /// Something else has ended in this process: a suspect may have waited for that.
    pub(crate) fn look_again(&self) {
        let inbox = self.inbox.lock();
        if !inbox.given.is_empty() && inbox.waiting > 0 {
            self.arrival.notify_one();
        }
    }

    /// How many of the steps given may be taken now: a suspect only once nothing else is held.
    fn takeable(&self, inbox: &Inbox) -> usize {
        let is_alone = self.held_here.load(Ordering::Acquire) <= 1;
        let suspect = inbox.given.iter().position(|g| g.claimed.suspect);
        suspect.filter(|_| !is_alone).unwrap_or(inbox.given.len())
    }

    /// Gives slots back; call before sending the report that frees them, so that its commit can fill them again.
    pub fn free_slots(&self, count: usize) {
        self.free.fetch_add(count, Ordering::AcqRel);
    }

    /// Stops claiming; what was given stays.
    pub fn stop_claiming(&self) {
        self.claiming.store(false, Ordering::Release);
    }

    /// Ends the session: every waiting call returns.
    pub fn close(&self) {
        self.stop_claiming();
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        self.held_here.fetch_sub(inbox.held.drain().count(), Ordering::AcqRel);
        drop(inbox);
        self.arrival.notify_all();
        self.events_arrived.notify_all();
    }

    /// Ends the session because its worker cannot go on; the host hears why.
    pub fn fail(&self, why: &str) {
        self.inbox.lock().failure.get_or_insert_with(|| why.into());
        self.close();
    }

    /// Why the worker cannot go on.
    pub fn failure(&self) -> Option<String> {
        self.inbox.lock().failure.clone()
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }

    /// Takes a step that was given, without waiting. Wakes another waiting taker if more is there.
    pub fn try_take(&self) -> Option<Given> {
        let mut inbox = self.inbox.lock();
        if self.takeable(&inbox) == 0 {
            return None;
        }
        let given = inbox.given.pop_front();
        if given.is_some() && !inbox.given.is_empty() && inbox.waiting > 0 {
            self.arrival.notify_one();
        }
        given
    }

    /// Takes the step that was given last, without waiting.
    pub fn try_take_newest(&self) -> Option<Given> {
        let mut inbox = self.inbox.lock();
        // A suspect is given last, and alone.
        if self.takeable(&inbox) < inbox.given.len() {
            return None;
        }
        inbox.given.pop_back()
    }

    /// Takes back a step that was given and not taken (task, step number, fence), as its lease is lost; its slot is free
    /// again. `false` if it is not here.
    pub fn withdraw(&self, (task, no, fence): (i64, u16, u32)) -> bool {
        let mut inbox = self.inbox.lock();
        let is_it = |g: &Given| (g.claimed.task, g.claimed.no, g.claimed.fence) == (task, no, fence);
        let found = inbox.given.iter().position(is_it).and_then(|at| inbox.given.remove(at)).is_some();
        drop(inbox);
        if found {
            self.forget((task, no, fence));
            self.free_slots(1);
        }
        found
    }

    /// Takes up to `max` steps, without waiting.
    pub fn try_take_many(&self, max: usize) -> Vec<Given> {
        let mut inbox = self.inbox.lock();
        let count = max.min(self.takeable(&inbox));
        inbox.given.drain(..count).collect()
    }

    /// Waits until something was given, the session ended, or the time is over. Takes nothing.
    pub fn wait(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut inbox = self.inbox.lock();
        inbox.waiting += 1;
        inbox = self.arrival.wait_while(inbox, deadline, |inbox| self.takeable(inbox) == 0 && !inbox.closed);
        inbox.waiting -= 1;
    }

    /// How many callers wait in [`Session::wait`].
    pub fn waiting(&self) -> usize {
        self.inbox.lock().waiting
    }

    /// Steps given and not taken: task, step number, fence.
    pub fn untaken(&self) -> Vec<(i64, u16, u32)> {
        self.inbox.lock().given.iter().map(|g| (g.claimed.task, g.claimed.no, g.claimed.fence)).collect()
    }

    /// Takes all that was given and not taken, suspects too: to hand it back.
    pub fn take_back(&self) -> Vec<Given> {
        self.inbox.lock().given.drain(..).collect()
    }

    /// Steps given and not taken.
    pub fn backlog(&self) -> usize {
        self.inbox.lock().given.len()
    }

    /// Attempts that lost their right to report since the last call, and whether another process has written.
    pub fn take_notices(&self) -> (Vec<CutShort>, bool) {
        let mut inbox = self.inbox.lock();
        (std::mem::take(&mut inbox.cut_short), std::mem::take(&mut inbox.changed_outside))
    }

    pub(crate) fn claim_request(&self) -> Option<ClaimRequest> {
        let (slots, worker) = (self.free.load(Ordering::Acquire), self.worker());
        (slots > 0 && worker > 0 && self.claiming.load(Ordering::Acquire)).then(|| ClaimRequest {
            worker,
            queues: self.queues.clone(),
            slots,
        })
    }

    pub(crate) fn give(&self, given: Vec<Given>) {
        if given.is_empty() {
            return;
        }
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            // The end of the worker's life hands them back.
            return;
        }
        self.free.fetch_sub(given.len(), Ordering::AcqRel);
        self.held_here.fetch_add(given.len(), Ordering::AcqRel);
        inbox.held.extend(given.iter().map(|g| ((g.claimed.task, g.claimed.no, g.claimed.fence), g.claimed.suspect)));
        inbox.given.extend(given);
        // One waiter is enough: whoever takes a step wakes the next while there are more.
        if inbox.waiting > 0 {
            self.arrival.notify_one();
        }
    }

    pub(crate) fn tell_cut_short(&self, cut: CutShort) {
        self.forget((cut.task, cut.no, cut.fence));
        self.inbox.lock().cut_short.push(cut);
    }

    /// Takes up to `max` domain events meant for this process, waiting at most `timeout` for the first. They are kept
    /// in memory only, at most [`EVENTS_KEPT`].
    pub fn take_events(&self, max: usize, timeout: Duration) -> Vec<Arc<str>> {
        let deadline = Instant::now() + timeout;
        let waiting = |inbox: &mut Inbox| inbox.events.is_empty() && !inbox.closed;
        let mut inbox = self.events_arrived.wait_while(self.inbox.lock(), deadline, waiting);
        let count = max.min(inbox.events.len());
        inbox.events.drain(..count).collect()
    }

    /// Events that were dropped because nobody took them.
    pub fn events_dropped(&self) -> u64 {
        self.inbox.lock().events_dropped
    }

    pub(crate) fn tell_event(&self, event: Arc<str>) {
        let mut inbox = self.inbox.lock();
        if inbox.events.len() >= EVENTS_KEPT {
            inbox.events.pop_front();
            inbox.events_dropped += 1;
        }
        inbox.events.push_back(event);
        drop(inbox);
        self.events_arrived.notify_one();
    }

    pub(crate) fn tell_changed_outside(&self) {
        self.inbox.lock().changed_outside = true;
    }
}
