//! Group commit: one thread writes. While one commit is on its way to the disk, requests queue up; the next takes all.
//!
//! The same thread serves claims and retries that fall due, and moves the beats of this process's workers on: every commit
//! may carry them, and none of a worker's handlers can hold them up. So nothing polls while a process
//! works alone. Another process on the same store is noticed by the store's version, looked at every [`PEEK`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tasker_core::machine::Holding;
use tasker_core::state::AttemptEnd;
use tasker_store::sync::{Condvar, Mutex};
use tasker_store::{Batch, ClaimRequest, CommitError, Committed, Done, Op, RETURN_MS, Store};
use tasker_wire::{Error, Failure, Kind, Report, StepError};

use crate::cache::Cache;
use crate::clock::Clock;
use crate::session::{Given, Session};

/// Operations in one commit.
const OPS_MAX: usize = 256;
/// What the operations of one commit carry together, bytes, unless one alone carries more.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Requests that may wait, and what they may carry together, bytes; more make their senders wait.
const WAITING_MAX: usize = 8_192;
const WAITING_BYTES_MAX: usize = 256 << 20;
/// How often another process's writes are looked for.
const PEEK: Duration = Duration::from_millis(20);
/// Heartbeats in a lease, at least.
const BEATS_A_LEASE: i64 = 3;
/// Due rows handled in one commit.
const DUE_MAX: usize = 256;
/// When due rows are looked for though it could not be read when the next one is due, milliseconds.
const LOOK_AGAIN_MS: i64 = 1_000;
/// Due steps at most that are passed over because they cannot be handled.
const DUE_SKIP_MAX: usize = 64;
/// How often what is left is tried when the engine ends.
const LAST_TRIES: u32 = 3;
/// How long a step rests of which nothing can be stored, milliseconds.
const LET_GO_MS: i64 = 60_000;
/// How long the workers beat often after a connection came about anew: whoever misses them because of the former one may be
/// late to look, milliseconds.
const RESTLESS_MS: i64 = 10_000;
/// First and longest pause after the store could not commit.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// First and longest pause before an operation is tried again that another client's locks kept out.
const ASIDE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// One operation and who waits for it.
struct Request {
    op: Op,
    from: From,
}

/// Where an operation comes from.
enum From {
    /// Somebody waits for the answer, and decides what to do about trouble.
    Caller(SyncSender<Result<Done, Error>>),
    /// Nobody waits: it is kept until the store takes it.
    Sender,
    /// As [`From::Sender`]; it says of a report that this could not be stored.
    LastWord,
    /// As [`From::Sender`]; it lets go of a step of which not even that could be stored.
    LetGo,
    /// The committer, which makes another when it is time.
    Committer,
}

/// Operations that were kept out while others went on.
struct Aside {
    request: Request,
    /// By [`Clock::uptime`].
    due: Duration,
    pause: Duration,
}

/// A commit of which nobody knows whether it was stored.
struct Doubt {
    requests: Vec<Request>,
}

#[derive(Default)]
struct Inbox {
    requests: VecDeque<Request>,
    /// What the requests carry, bytes.
    bytes: usize,
    poked: bool,
    /// Another process is known to have written.
    changed: bool,
    /// A process that this one serves has written.
    served: bool,
    /// Wake-up that such a process wrote.
    wake: Option<i64>,
    closing: bool,
    /// The committer is gone, and why.
    ended: Option<Error>,
}

impl Inbox {
    fn push(&mut self, request: Request) {
        self.bytes += request.op.payload_bytes();
        self.requests.push_back(request);
    }

    /// Puts requests before all others, in their order.
    fn put_back(&mut self, requests: Vec<Request>) {
        for request in requests.into_iter().rev() {
            self.bytes += request.op.payload_bytes();
            self.requests.push_front(request);
        }
    }

    /// As many requests as fit into one commit.
    fn take(&mut self) -> Vec<Request> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.requests.front().filter(|_| taken.len() < OPS_MAX) {
            let more = next.op.payload_bytes();
            if !taken.is_empty() && bytes + more > BATCH_BYTES_MAX {
                break;
            }
            bytes += more;
            taken.extend(self.requests.pop_front());
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        taken
    }

    fn is_full(&self) -> bool {
        self.requests.len() >= WAITING_MAX || self.bytes >= WAITING_BYTES_MAX
    }
}

/// Who waits for tasks to rest.
#[derive(Default)]
pub(crate) struct Waiters {
    /// Counts the times anyone may have been told.
    pub(crate) told: u64,
    /// By the number of the task.
    pub(crate) of: FxHashMap<i64, Vec<Waiter>>,
}

/// Somebody who waits; one word is enough.
pub(crate) enum Waiter {
    /// A thread.
    Thread(SyncSender<()>),
    /// A future.
    Task(tokio::sync::mpsc::Sender<()>),
}

impl Waiter {
    /// Whether there was room for the word: nobody had said it before, and it is still waited for.
    pub(crate) fn tell(&self) -> bool {
        match self {
            Waiter::Thread(word) => word.try_send(()).is_ok(),
            Waiter::Task(word) => word.try_send(()).is_ok(),
        }
    }
}

/// What the committer shares with the engine.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) cache: Cache,
    pub(crate) jitter: bool,
    pub(crate) max_crashes: u32,
    // Sessions come and go rarely; read once a commit.
    pub(crate) sessions: Mutex<Vec<Arc<Session>>>,
    // A commit looks here only for tasks that rest.
    pub(crate) waiters: Mutex<Waiters>,
    // Counts commits that may have made durable events readable; their readers wait here.
    events: Mutex<u64>,
    events_arrived: Condvar,
    // Whom to tell of what may concern the processes that are served.
    told: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// This process serves others.
    serves: AtomicBool,
    /// The store could not take the latest commit.
    failing: AtomicBool,
    /// Steps that all workers of this process hold.
    pub(crate) held: Arc<AtomicUsize>,
    // Next wake-up the committer knows of, for those who learn of another one.
    next_wake: AtomicI64,
    inbox: Mutex<Inbox>,
    arrival: Condvar,
    room: Condvar,
}

impl Shared {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Clock, jitter: bool, max_crashes: u32) -> Shared {
        Shared {
            store,
            clock,
            cache: Cache::default(),
            jitter,
            max_crashes,
            sessions: Mutex::default(),
            waiters: Mutex::default(),
            events: Mutex::default(),
            events_arrived: Condvar::new(),
            told: OnceLock::new(),
            serves: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            held: Arc::default(),
            next_wake: AtomicI64::new(i64::MAX),
            inbox: Mutex::default(),
            arrival: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Queues operations and waits for their commit.
    pub(crate) fn commit(&self, ops: Vec<Op>) -> Vec<Result<Done, Error>> {
        let gone = |_| Err(self.ended().unwrap_or_else(closed));
        self.submit(ops).into_iter().map(|reply| reply.recv().unwrap_or_else(gone)).collect()
    }

    /// Queues operations; their answers come with their commit. A channel without an answer: the engine has been closed.
    pub(crate) fn submit(&self, ops: Vec<Op>) -> Vec<Receiver<Result<Done, Error>>> {
        let mut replies = Vec::with_capacity(ops.len());
        let mut inbox = self.inbox.lock();
        while inbox.is_full() && !inbox.closing && inbox.ended.is_none() {
            inbox = self.room.wait(inbox);
        }
        for op in ops {
            let (send, receive) = sync_channel(1);
            match &inbox.ended {
                // The only answer: there is room for it.
                Some(error) => drop(send.try_send(Err(error.clone()))),
                None if inbox.closing => {}
                None => inbox.push(Request { op, from: From::Caller(send) }),
            }
            replies.push(receive);
        }
        drop(inbox);
        self.arrival.notify_one();
        replies
    }

    /// Queues an operation whose effect nobody waits for; kept and tried again until the store takes it.
    pub(crate) fn send(&self, op: Op) {
        let mut inbox = self.inbox.lock();
        if inbox.ended.is_none() {
            inbox.push(Request { op, from: From::Sender });
        }
        drop(inbox);
        self.arrival.notify_one();
    }

    /// The engine cannot go on: everybody who waits is answered, and its workers end, with the cause.
    pub(crate) fn fail(&self, what: &str, said: &str) {
        let error = Error::new(
            Kind::Bug,
            "engine_failed",
            format!("the thread that {what} ended in a panic ({said}); this process stores nothing more"),
        )
        .hint("start the process again: nothing acknowledged is lost; please report the panic");
        self.end(&error);
        self.sessions.lock().iter().for_each(|session| session.fail(&error.message));
    }

    /// Why nothing is committed any more.
    pub(crate) fn ended(&self) -> Option<Error> {
        self.inbox.lock().ended.clone()
    }

    /// Answers everybody who waits, now and from here on: the committer is gone.
    fn end(&self, error: &Error) {
        let mut inbox = self.inbox.lock();
        inbox.ended.get_or_insert_with(|| error.clone());
        inbox.bytes = 0;
        let left = std::mem::take(&mut inbox.requests);
        drop(inbox);
        self.room.notify_all();
        for request in left {
            if let From::Caller(reply) = request.from {
                // Whoever asked may have given up waiting.
                let _ = reply.try_send(Err(error.clone()));
            }
        }
        self.wake_all_waiters();
    }

    /// Makes the committer look for due rows and claims now.
    pub(crate) fn poke(&self) {
        self.inbox.lock().poked = true;
        self.arrival.notify_one();
    }

    /// Makes the committer look at what another process wrote.
    pub(crate) fn changed_outside(&self) {
        self.inbox.lock().changed = true;
        self.arrival.notify_one();
    }

    /// Whether this process sees to what is due, and to who is gone: one that has no workers and serves nobody does not, so
    /// that a look at a store changes nothing.
    pub(crate) fn is_active(&self) -> bool {
        self.serves.load(Ordering::Relaxed) || !self.sessions.lock().is_empty()
    }

    /// This process serves others.
    pub(crate) fn serve(&self) {
        self.serves.store(true, Ordering::Relaxed);
    }

    /// Whether the store could not take the latest commit.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Whom to tell of what this process did, or heard of, that may concern others. Only the first is told.
    pub(crate) fn watch(&self, told: Box<dyn Fn() + Send + Sync>) {
        let _ = self.told.set(told);
    }

    /// A process that this one serves stored a batch.
    pub(crate) fn served(&self, next_wake: Option<i64>, is_news: bool) {
        let is_sooner = next_wake.is_some_and(|at| at < self.next_wake.load(Ordering::Acquire));
        if is_sooner || is_news {
            let mut inbox = self.inbox.lock();
            inbox.served |= is_news;
            inbox.wake = inbox.wake.into_iter().chain(next_wake).min();
            drop(inbox);
            self.arrival.notify_one();
        }
    }

    fn tell_others(&self) {
        if let Some(told) = self.told.get() {
            told();
        }
    }

    /// Lets the committer end once everything queued has been stored.
    pub(crate) fn close(&self) {
        self.inbox.lock().closing = true;
        self.arrival.notify_one();
        self.room.notify_all();
    }

    /// Marks a moment for [`Shared::wait_for_events`].
    pub(crate) fn events_seen(&self) -> u64 {
        *self.events.lock()
    }

    /// Waits until durable events may have arrived since `seen`, at most until `deadline` or for a second: a message
    /// also becomes readable by the passing of time.
    pub(crate) fn wait_for_events(&self, seen: u64, deadline: Instant) {
        let deadline = deadline.min(Instant::now() + Duration::from_secs(1));
        drop(self.events_arrived.wait_while(self.events.lock(), deadline, |events| *events == seen));
    }

    /// Recorded results of some steps of a task, in the order asked, from the cache as far as it goes.
    pub(crate) fn results(&self, task: i64, steps: &[u16]) -> Result<Vec<Option<Arc<str>>>, Error> {
        let mut found: Vec<Option<Arc<str>>> = steps.iter().map(|no| self.cache.result(task, *no)).collect();
        let missing: Vec<u16> = steps.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(no, _)| *no).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let mut read = self.store.results(task, &missing)?.into_iter();
        for (no, slot) in steps.iter().zip(&mut found) {
            if slot.is_none()
                && let Some(Some(result)) = read.next()
            {
                let result: Arc<str> = result.into();
                self.cache.keep_result(task, *no, result.clone());
                *slot = Some(result);
            }
        }
        Ok(found)
    }

    fn tell_events(&self) {
        *self.events.lock() += 1;
        self.events_arrived.notify_all();
    }

    fn wake_waiters(&self, task: i64) {
        let mut waiters = self.waiters.lock();
        waiters.told += 1;
        if let Some(waiting) = waiters.of.remove(&task) {
            for waiter in waiting {
                // A waiter that has left needs no word.
                waiter.tell();
            }
        }
    }

    fn wake_all_waiters(&self) {
        let mut waiters = self.waiters.lock();
        waiters.told += 1;
        for waiting in waiters.of.values() {
            for waiter in waiting {
                waiter.tell();
            }
        }
    }
}

fn closed() -> Error {
    Error::new(Kind::Unavailable, "engine_closed", "the engine has been closed").hint("open it again")
}

/// The loop; ends after [`Shared::close`].
pub(crate) fn run(shared: &Shared) {
    let mut state = Loop::new(shared);
    let mut tries = 0;
    loop {
        let timeout = state.timeout(shared);
        shared.next_wake.store(state.next_wake.unwrap_or(i64::MAX), Ordering::Release);
        let mut inbox = shared.inbox.lock();
        if !state.has_work(&inbox) {
            inbox = shared.arrival.wait_for(inbox, timeout);
        }
        let requests = state.take(&mut inbox);
        let closing = inbox.closing;
        drop(inbox);
        shared.room.notify_all();
        let idle = requests.is_empty();
        state.turn(shared, requests);
        tries += u32::from(closing && idle);
        let is_done = idle && state.doubts.is_empty() && state.aside.is_empty();
        if closing && (is_done || state.pause.is_some() || tries >= LAST_TRIES) {
            state.tell_left(shared);
            return shared.end(&closed());
        }
    }
}

/// What the committer knows from one turn to the next.
pub(crate) struct Loop {
    /// A claim might find something.
    maybe_ready: bool,
    next_wake: Option<i64>,
    version: Option<u64>,
    /// [`Clock::uptime`] at the last peek.
    peeked: Duration,
    /// To be looked at without waiting for the next peek.
    changed: bool,
    /// A process that this one serves has written.
    served: bool,
    /// The store could not commit; how long to leave it alone.
    pause: Option<Duration>,
    /// [`Store::connections`] at the last turn.
    connections: u64,
    /// The next heartbeats are not to wait.
    beats_now: bool,
    /// What the store gave may not have arrived: the next heartbeats say what is held.
    is_unsure: bool,
    /// When a step may be claimed that is left to an idle worker until then.
    claimable_at: Option<i64>,
    aside: Vec<Aside>,
    doubts: Vec<Doubt>,
    /// How many due rows are handled at once. Where some cannot be, fewer, until the one stands alone that is to blame.
    due_limit: usize,
    /// Due steps at the front that cannot be handled and are passed over.
    due_skip: usize,
    /// Until then, by [`Clock::mono_ms`], the workers beat often: somebody may miss them who saw a connection end.
    restless_until_ms: i64,
}

impl Loop {
    pub(crate) fn new(shared: &Shared) -> Loop {
        let mut state = Loop {
            maybe_ready: true,
            next_wake: None,
            version: None,
            peeked: shared.clock.uptime(),
            changed: false,
            served: false,
            pause: None,
            connections: shared.store.connections(),
            beats_now: false,
            is_unsure: false,
            claimable_at: None,
            aside: Vec::new(),
            doubts: Vec::new(),
            due_limit: DUE_MAX,
            due_skip: 0,
            restless_until_ms: i64::MIN,
        };
        // Read before anything is claimed: what another process writes from here on is noticed.
        state.version = shared.store.version().ok();
        state.read_wake(shared);
        state
    }

    /// Tells what is not stored when the committer ends.
    fn tell_left(&self, shared: &Shared) {
        let doubts: usize = self.doubts.iter().map(|doubt| doubt.requests.len()).sum();
        let left = shared.inbox.lock().requests.len() + self.aside.len() + doubts;
        if left > 0 {
            tracing::error!(
                left,
                "the engine ends before the store took everything; what workers held is queued again"
            );
        }
    }

    /// One turn with what has queued up, without waiting for more.
    pub(crate) fn step(&mut self, shared: &Shared) {
        let requests = self.take(&mut shared.inbox.lock());
        self.turn(shared, requests);
    }

    /// Whether the next turn should not wait; if not, it may for as long as [`Loop::timeout`].
    pub(crate) fn is_busy(&self, shared: &Shared) -> bool {
        self.has_work(&shared.inbox.lock())
    }

    fn has_work(&self, inbox: &Inbox) -> bool {
        inbox.poked
            || inbox.changed
            || inbox.served
            || inbox.wake.is_some()
            || (self.pause.is_none() && (inbox.closing || !inbox.requests.is_empty()))
    }

    fn take(&mut self, inbox: &mut Inbox) -> Vec<Request> {
        if std::mem::take(&mut inbox.poked) {
            self.maybe_ready = true;
            self.next_wake = Some(i64::MIN);
        }
        self.changed |= std::mem::take(&mut inbox.changed);
        self.served |= std::mem::take(&mut inbox.served);
        self.next_wake = self.next_wake.into_iter().chain(inbox.wake.take()).min();
        inbox.take()
    }

    pub(crate) fn next_wake(&self) -> Option<i64> {
        self.next_wake
    }

    /// When the next heartbeat is due, by the monotonic clock.
    pub(crate) fn next_beat_ms(&self, shared: &Shared) -> Option<i64> {
        let now_ms = shared.clock.mono_ms();
        let due = |s: &Arc<Session>| now_ms - s.silent_ms(now_ms) + self.beat_every_ms(s, now_ms);
        shared.sessions.lock().iter().map(due).min()
    }

    fn beat_every_ms(&self, session: &Session, now_ms: i64) -> i64 {
        let often = if now_ms < self.restless_until_ms { RETURN_MS / 2 } else { i64::MAX };
        (session.lease_ms / BEATS_A_LEASE).min(often)
    }

    pub(crate) fn timeout(&self, shared: &Shared) -> Duration {
        if let Some(pause) = self.pause {
            return pause;
        }
        let until_wake = self
            .next_wake
            .filter(|_| shared.is_active())
            .into_iter()
            .chain(self.claimable_at)
            .min()
            .map_or(PEEK, |at| Duration::from_millis(at.saturating_sub(shared.clock.now()).max(0) as u64));
        let until_aside = self.aside.iter().map(|aside| aside.due.saturating_sub(shared.clock.uptime())).min();
        until_wake.min(PEEK).min(until_aside.unwrap_or(PEEK))
    }

    fn read_wake(&mut self, shared: &Shared) {
        match shared.store.next_wake() {
            Ok(at) => self.next_wake = at,
            Err(error) => {
                tracing::warn!(%error, "cannot read the next wake-up; looking again soon");
                let soon = shared.clock.now() + LOOK_AGAIN_MS;
                self.next_wake = Some(self.next_wake.map_or(soon, |at| at.min(soon)));
            }
        }
    }

    fn peek(&mut self, shared: &Shared) {
        if std::mem::take(&mut self.served) {
            self.notice(shared);
        }
        let uptime = shared.clock.uptime();
        if uptime - self.peeked < PEEK && !std::mem::take(&mut self.changed) {
            return;
        }
        self.changed = false;
        self.peeked = uptime;
        let Ok(version) = shared.store.version() else { return };
        if self.version.replace(version).is_some_and(|before| before != version) {
            self.read_wake(shared);
            self.notice(shared);
            shared.tell_others();
        }
    }

    /// Others have written: whoever waits for something looks for it again.
    fn notice(&mut self, shared: &Shared) {
        self.maybe_ready = true;
        shared.wake_all_waiters();
        shared.tell_events();
        shared.sessions.lock().iter().for_each(|s| s.tell_changed_outside());
    }

    fn turn(&mut self, shared: &Shared, requests: Vec<Request>) {
        shared.clock.follow(shared.store.clock_offset());
        self.peek(shared);
        let sessions: Vec<Arc<Session>> = shared.sessions.lock().clone();
        let mut requests = requests;
        if !self.doubts.is_empty() {
            requests.extend(self.look_up(shared, &sessions));
        }
        if !self.aside.is_empty() {
            // What a worker said comes before its end.
            let is_end = |r: &Request| matches!(r.op, Op::WorkerGone { stopped: true, .. });
            let is_hurried = requests.iter().any(is_end) || shared.inbox.lock().closing;
            self.try_aside(shared, &sessions, is_hurried);
        }
        let now = shared.clock.now();
        let due = shared.is_active() && self.next_wake.is_some_and(|at| at <= now);
        let began_ms = shared.clock.mono_ms();
        let connections = shared.store.connections();
        if std::mem::replace(&mut self.connections, connections) != connections {
            // What was claimed or reported may be lost with a server: each worker says what it holds.
            (self.beats_now, self.is_unsure) = (true, true);
            self.restless_until_ms = began_ms + RESTLESS_MS;
        }
        let silent = |for_ms: &dyn Fn(&Session) -> i64| {
            let is_silent = |s: &&Arc<Session>| s.silent_ms(began_ms) >= for_ms(s);
            sessions.iter().filter(is_silent).cloned().collect::<Vec<_>>()
        };
        let overdue = silent(&|s| self.beat_every_ms(s, began_ms));
        let must_beat = !sessions.is_empty() && (self.beats_now || !overdue.is_empty());
        let mut claimants = Vec::new();
        let mut claims = Vec::new();
        // Beside a step that is to run alone nothing starts.
        let is_open = !sessions.iter().any(|session| session.holds_suspect());
        for session in sessions.iter().filter(|_| is_open) {
            if let Some(claim) = session.claim_request() {
                claims.push(claim);
                claimants.push(session);
            }
        }
        if self.claimable_at.take_if(|at| *at <= now).is_some() {
            self.maybe_ready = true;
        }
        let may_claim = self.maybe_ready && !claims.is_empty();
        if requests.is_empty() && !due && !may_claim && !must_beat {
            return;
        }
        // A commit that is made anyway carries beats before their time. It does so soon enough that no worker claims anything
        // after it was declared gone, without hearing of that.
        let early_ms = |s: &Session| (s.lease_ms / BEATS_A_LEASE / 2).min(RETURN_MS / 2);
        let beating = if self.beats_now { sessions.clone() } else { silent(&early_ms) };
        let mut all = requests;
        for session in &beating {
            let op = match session.worker() {
                0 => Op::AddWorker(Box::new(session.new.clone())),
                worker => Op::Heartbeat { worker, held: self.is_unsure.then(|| session.held()) },
            };
            all.push(Request { op, from: From::Committer });
        }
        if due {
            all.push(Request { op: Op::Due { limit: self.due_limit, skip: self.due_skip }, from: From::Committer });
        }
        all.sort_by_key(|request| turn_of(&request.op));
        // Unless this commit fails.
        self.beats_now = false;
        self.is_unsure &= beating.len() < sessions.len();
        self.commit(shared, all, &sessions, &claimants, &claims, now);
    }

    fn commit(
        &mut self,
        shared: &Shared,
        requests: Vec<Request>,
        sessions: &[Arc<Session>],
        claimants: &[&Arc<Session>],
        claims: &[ClaimRequest],
        now: i64,
    ) {
        let (mut ops, mut from) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
        for request in requests {
            ops.push(request.op);
            from.push(request.from);
        }
        let began_ms = shared.clock.mono_ms();
        let suspect = sessions.iter().any(|s| s.holds_suspect());
        let batch = Batch {
            ops: &ops,
            claims,
            holding: Holding { steps: shared.held.load(Ordering::Acquire), suspect },
            now,
            jitter_seed: shared.jitter.then(rand::random),
            max_crashes: shared.max_crashes,
            knows: &|task| shared.cache.knows(task),
        };
        match shared.store.commit(&batch) {
            Ok(committed) => {
                if self.pause.take().is_some() {
                    tracing::info!("the store commits again");
                }
                shared.failing.store(false, Ordering::Relaxed);
                for (op, result) in ops.iter().zip(&committed.results) {
                    // One that is refused is not made again before its time.
                    let is_settled = matches!(result, Ok(_) | Err(CommitError::Refused(_)));
                    if let Some(session) = beating(sessions, op).filter(|_| is_settled) {
                        session.has_beaten(began_ms);
                    }
                }
                self.after(shared, sessions, claimants, claims, ops, from, committed);
            }
            Err(error) => self.failed(shared, sessions, ops, from, error),
        }
    }

    #[allow(clippy::too_many_arguments)] // the loose ends of one commit
    fn after(
        &mut self,
        shared: &Shared,
        sessions: &[Arc<Session>],
        claimants: &[&Arc<Session>],
        claims: &[ClaimRequest],
        ops: Vec<Op>,
        from: Vec<From>,
        committed: Committed,
    ) {
        let is_news = committed.is_news();
        let Committed {
            results,
            claimed,
            rested,
            cut_short,
            next_wake,
            published,
            left_ready,
            claimable_at,
            claims_unknown,
        } = committed;
        if claims_unknown {
            (self.beats_now, self.is_unsure) = (true, true);
        }
        // Results first: what a claim needs must be in the cache before its worker sees it.
        let (mut replies, mut due) = (Vec::with_capacity(ops.len()), false);
        for ((op, from), result) in ops.into_iter().zip(from).zip(results) {
            if let (Op::Due { .. }, Ok(Done::Due(count))) = (&op, &result) {
                due = self.due_skip == 0 || *count > 0;
                if !due {
                    self.pass_over(shared);
                }
                self.due_limit = (self.due_limit * 4).min(DUE_MAX);
            }
            self.hear(shared, sessions, &op, &result);
            match result {
                Ok(done) => {
                    match (op, &done) {
                        // Where steps are asked for, the machine may have refused the result.
                        (
                            Op::Finish { task, no, report: Report::Success { result, .. }, .. },
                            Done::Finished { accepted: true },
                        ) if !shared.cache.is_expander(task, no) => {
                            shared.cache.keep_result(task, no, result.into());
                        }
                        (Op::Finish { task, no, fence, .. }, Done::Finished { accepted: false }) => {
                            tracing::info!(task, step = no, fence, "a report came too late and was kept as rejected");
                        }
                        _ => {}
                    }
                    if let From::Caller(reply) = from {
                        replies.push((reply, Ok(done)));
                    }
                }
                Err(error) => self.unsettled(shared, sessions, Request { op, from }, error),
            }
        }
        let mut filled = false;
        for ((session, claim), claimed) in claimants.iter().zip(claims).zip(claimed) {
            filled |= claimed.len() == claim.slots;
            let mut given = Vec::with_capacity(claimed.len());
            for mut claimed in claimed {
                if claimed.fence > claimed.attempts + 1 {
                    shared.cache.void_results(claimed.task);
                }
                if let Some(info) = claimed.info.take() {
                    shared.cache.keep_info(info);
                }
                match shared.cache.info(claimed.task) {
                    Some(info) => given.push(Given { claimed, info }),
                    None => {
                        let (task, no) = (claimed.task, claimed.no);
                        tracing::error!(task, step = no, "a claimed task is not in the cache; the step is given back");
                        (self.beats_now, self.is_unsure) = (true, true);
                    }
                }
            }
            session.give(given);
        }
        if !claims.is_empty() {
            self.maybe_ready = filled || claims_unknown;
            self.claimable_at = claimable_at;
        }
        self.maybe_ready |= left_ready;
        if due {
            self.read_wake(shared);
        }
        self.next_wake = self.next_wake.into_iter().chain(next_wake).min();
        for (reply, result) in replies {
            // Whoever asked may have given up waiting.
            let _ = reply.try_send(result);
        }
        // Before anyone hears that the task rests: its events have been told then.
        if published.iter().any(|event| event.queue.is_some()) {
            shared.tell_events();
        }
        for event in published.into_iter().filter(|event| event.is_told) {
            if let Some(session) = sessions.iter().find(|s| s.worker() == event.worker).or(sessions.first()) {
                session.tell_event(event.message);
            }
        }
        for (task, state) in rested {
            if state.is_final() {
                shared.cache.forget(task);
            }
            shared.wake_waiters(task);
        }
        for cut in cut_short {
            if let Some(session) = sessions.iter().find(|s| s.worker() == cut.worker) {
                session.tell_cut_short(cut);
            }
        }
        if is_news {
            shared.tell_others();
        }
    }

    /// What a stored operation means for the workers of this process.
    fn hear(&mut self, shared: &Shared, sessions: &[Arc<Session>], op: &Op, result: &Result<Done, CommitError>) {
        match (op, result) {
            (Op::Finish { task, no, fence, .. }, Ok(_)) => {
                // What waited for a step that ran alone may be claimed now.
                self.maybe_ready |= sessions.iter().any(|session| session.holds_suspect());
                ended(sessions, (*task, *no, *fence));
            }
            (Op::Heartbeat { worker, .. }, Ok(Done::Beat { alive: false })) => {
                let Some(session) = sessions.iter().find(|s| s.worker() == *worker) else { return };
                tracing::warn!(worker = session.name, "others took this worker for gone; it starts anew");
                shared.store.withdraw(*worker);
                session.set_worker(0);
                session.tell_changed_outside();
                self.beats_now = true;
            }
            (Op::AddWorker(new), result) => {
                let Some(session) = sessions.iter().find(|s| s.name == new.name && s.worker() == 0) else { return };
                match result {
                    Ok(Done::Worker(worker)) => {
                        session.set_worker(*worker);
                        shared.store.announce(*worker);
                        self.maybe_ready = true;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(worker = session.name, %error, "the worker cannot start anew");
                        if error.error().code == "worker_exists" {
                            session.fail(&error.error().message);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// One operation was not done though others of its commit were.
    fn unsettled(&mut self, shared: &Shared, sessions: &[Arc<Session>], request: Request, error: CommitError) {
        let Request { op, from } = request;
        let from = match from {
            From::Caller(reply) => {
                if let (Op::Finish { task, no, fence, .. }, CommitError::Refused(_)) = (&op, &error) {
                    self.hand_back(sessions, (*task, *no, *fence));
                }
                // Whoever asked may have given up waiting.
                let _ = reply.try_send(Err(error.into()));
                return;
            }
            From::Committer => {
                match op {
                    Op::Due { limit, .. } if limit > 1 => self.due_limit = limit / 4 + usize::from(limit < 4),
                    Op::Due { skip, .. } => {
                        tracing::error!(%error, "a due row cannot be handled; others are, and it is tried again");
                        self.due_skip = skip + 1;
                        if skip >= DUE_SKIP_MAX {
                            self.pass_over(shared);
                        }
                    }
                    // Never kept: the next one says what is held then.
                    Op::Heartbeat { worker, held } => {
                        tracing::warn!(worker, %error, "a heartbeat is kept out of the store");
                        self.beats_now |= !matches!(error, CommitError::Refused(_));
                        self.is_unsure |= held.is_some();
                    }
                    // Heard already; made again when it is time to beat.
                    _ => {}
                }
                return;
            }
            from => from,
        };
        match error {
            CommitError::NotStored(error) => {
                tracing::warn!(%error, "an operation is kept out of the store; it is tried again, others go on");
                let due = shared.clock.uptime() + ASIDE.0;
                self.aside.push(Aside { request: Request { op, from }, due, pause: ASIDE.0 });
            }
            CommitError::Unknown(_) => {
                self.doubts.push(Doubt { requests: vec![Request { op, from }] });
            }
            CommitError::Refused(error) => self.refused(shared, sessions, op, &from, &error),
        }
    }

    /// Reports are kept; whoever waits for an answer gets it.
    fn failed(
        &mut self,
        shared: &Shared,
        sessions: &[Arc<Session>],
        ops: Vec<Op>,
        from: Vec<From>,
        error: CommitError,
    ) {
        shared.failing.store(true, Ordering::Relaxed);
        // Nobody knows whether it was stored, and what it claimed then.
        (self.beats_now, self.is_unsure) = (true, true);
        let mut kept = Vec::new();
        for (op, from) in ops.into_iter().zip(from) {
            match from {
                From::Caller(reply) => {
                    // Whoever asked may have given up waiting.
                    let _ = reply.try_send(Err(error.error().clone()));
                }
                // Made anew with the next turn.
                From::Committer => {}
                From::Sender | From::LastWord | From::LetGo => kept.push(Request { op, from }),
            }
        }
        if let CommitError::Refused(error) = &error {
            tracing::error!(%error, "the store refused a commit");
            for Request { op, from } in kept {
                self.refused(shared, sessions, op, &from, error);
            }
            self.maybe_ready = false;
            return;
        }
        if self.pause.is_none() {
            let error = error.error();
            tracing::error!(%error, "the store cannot commit; reports wait and are tried again");
        }
        self.pause = Some(self.pause.map_or(PAUSE.0, |p| (p * 2).min(PAUSE.1)));
        match error {
            CommitError::Unknown(_) => self.doubts.push(Doubt { requests: kept }),
            _ => shared.inbox.lock().put_back(kept),
        }
    }

    /// Finds out what became of commits of which nobody knew. What was not stored is sent again. What was claimed and of
    /// which no worker knows goes back with the next heartbeat.
    fn look_up(&mut self, shared: &Shared, sessions: &[Arc<Session>]) -> Vec<Request> {
        let mut again = Vec::new();
        for doubt in std::mem::take(&mut self.doubts) {
            match looked_up(&*shared.store, &doubt) {
                Ok(stored) => {
                    for (request, is_stored) in doubt.requests.into_iter().zip(stored) {
                        match request.op {
                            Op::Finish { task, no, fence, .. } if is_stored => ended(sessions, (task, no, fence)),
                            _ => again.push(request),
                        }
                    }
                    // Nobody told what else the commit brought about: it is found out like what other processes did.
                    self.read_wake(shared);
                    self.notice(shared);
                    shared.tell_others();
                }
                Err(error) => {
                    tracing::warn!(%error, "it cannot be looked up yet what became of a commit");
                    self.pause = Some(self.pause.unwrap_or(PAUSE.0));
                    self.doubts.push(doubt);
                }
            }
        }
        again
    }

    /// All due rows have been handled but for those that cannot be: it is tried again in a while.
    fn pass_over(&mut self, shared: &Shared) {
        (self.due_limit, self.due_skip) = (1, 0);
        self.next_wake = Some(shared.clock.now() + LOOK_AGAIN_MS);
    }

    /// Tries again what was kept out, one by one and without claims, so that it holds up nothing else.
    fn try_aside(&mut self, shared: &Shared, sessions: &[Arc<Session>], is_hurried: bool) {
        let uptime = shared.clock.uptime();
        let is_due = |aside: &Aside| is_hurried || aside.due <= uptime;
        let (due, later): (Vec<Aside>, _) = std::mem::take(&mut self.aside).into_iter().partition(is_due);
        self.aside = later;
        for Aside { request, pause, .. } in due {
            let before = self.aside.len();
            self.commit(shared, vec![request], sessions, &[], &[], shared.clock.now());
            for again in &mut self.aside[before..] {
                again.pause = (pause * 2).min(ASIDE.1);
                again.due = shared.clock.uptime() + again.pause;
            }
        }
    }

    /// A report that cannot be stored fails its step; if not even that can be stored, the step is handed back.
    fn refused(&mut self, shared: &Shared, sessions: &[Arc<Session>], op: Op, from: &From, error: &Error) {
        match (op, from) {
            (Op::Finish { task, no, fence, worker, report, .. }, From::Sender) => {
                tracing::error!(task, step = no, %error, "a report could not be stored; the step fails");
                let execution_us = match &report {
                    Report::Success { execution_us, .. } | Report::Checkpoint { execution_us, .. } => *execution_us,
                    Report::Failure(failure) => failure.execution_us,
                    Report::Release { .. } => 0,
                };
                let report = unstorable(error, execution_us);
                let op = Op::Finish { task, no, fence, worker, report, events: Vec::new() };
                shared.inbox.lock().push(Request { op, from: From::LastWord });
            }
            (Op::Finish { task, no, fence, worker, .. }, From::LastWord) => {
                tracing::error!(
                    task,
                    step = no,
                    %error,
                    "it could not be stored either that a report could not be; the step is handed back, and rests for a while"
                );
                let report = Report::Release { delay_ms: LET_GO_MS };
                let op = Op::Finish { task, no, fence, worker, report, events: Vec::new() };
                shared.inbox.lock().push(Request { op, from: From::LetGo });
            }
            (Op::Finish { task, no, fence, .. }, _) => {
                tracing::error!(task, step = no, %error, "the step cannot be let go of as it should; its claim ends");
                self.hand_back(sessions, (task, no, fence));
            }
            (op, _) => tracing::error!(%error, ?op, "an operation could not be stored"),
        }
    }

    /// A claim is held no more: the next heartbeat gives it back.
    fn hand_back(&mut self, sessions: &[Arc<Session>], claim: (i64, u16, u32)) {
        ended(sessions, claim);
        (self.beats_now, self.is_unsure) = (true, true);
    }
}

/// Whose heartbeat, or new start, an operation is.
fn beating<'a>(sessions: &'a [Arc<Session>], op: &Op) -> Option<&'a Arc<Session>> {
    sessions.iter().find(|session| match op {
        Op::Heartbeat { worker, .. } => session.worker() == *worker,
        Op::AddWorker(new) => session.worker() == 0 && session.name == new.name,
        _ => false,
    })
}

/// A claim of this process has ended: a suspect may have waited for that.
fn ended(sessions: &[Arc<Session>], claim: (i64, u16, u32)) {
    if sessions.iter().any(|session| session.forget(claim)) {
        sessions.iter().for_each(|session| session.look_again());
    }
}

/// Which requests of a commit were stored.
fn looked_up(store: &dyn Store, doubt: &Doubt) -> Result<Vec<bool>, Error> {
    let mut stored = Vec::with_capacity(doubt.requests.len());
    for request in &doubt.requests {
        stored.push(match &request.op {
            Op::Finish { task, no, fence, report, .. } => {
                // The fence is this claim's alone. Ends that others decide say nothing of the report.
                let is_reported = |end| match end {
                    AttemptEnd::Completed | AttemptEnd::Failed | AttemptEnd::TimedOut | AttemptEnd::Checkpointed => {
                        true
                    }
                    AttemptEnd::Released => matches!(report, Report::Release { .. }),
                    AttemptEnd::LeaseExpired | AttemptEnd::Rejected | AttemptEnd::Cancelled => false,
                };
                let attempts = store.attempts(*task)?;
                attempts.iter().any(|a| a.no == *no && a.fence == *fence && is_reported(a.end))
            }
            // Doing it twice is doing it once.
            _ => false,
        });
    }
    Ok(stored)
}

/// In what order operations of one commit are done: reports, then what people and workers ask for, then heartbeats, then
/// verdicts on workers of others, then what is due. So nothing that has happened is ended by something that is late.
///
/// What a worker says to hold is what it held before this commit, which gives it more: that comes first of all.
fn turn_of(op: &Op) -> u8 {
    match op {
        Op::Heartbeat { held: Some(_), .. } => 0,
        Op::Finish { .. } => 1,
        Op::Heartbeat { held: None, .. } => 3,
        Op::WorkerGone { stopped: false, .. } => 4,
        Op::Due { .. } => 5,
        _ => 2,
    }
}

fn unstorable(error: &Error, execution_us: i64) -> Report {
    Report::Failure(Box::new(Failure {
        error: StepError {
            message: format!("the result could not be stored: {}", error.message),
            error_type: "serialization_error".into(),
            error_code: None,
            backtrace: Vec::new(),
            retryable: false,
            status_code: None,
            context: None,
        },
        retry_after_ms: None,
        timed_out: false,
        metadata: None,
        execution_us,
    }))
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod faulty;

#[cfg(test)]
mod tests {
    use super::faulty::{Faulty, PATIENCE, away};
    use super::*;

    #[test]
    fn whoever_waits_behind_more_than_one_commit_of_kept_reports_is_answered_when_it_closes() {
        let store = Faulty::new();
        store.when_it_commits(|_, _| Err(CommitError::NotStored(away())));
        let shared = Shared::new(store, Clock::standing(0, 1_800_000_000_000, 0), false, 3);
        for _ in 0..300 {
            shared.send(Op::Draining { worker: 1 });
        }
        let answer = shared.submit(vec![Op::Draining { worker: 1 }]).remove(0);
        shared.close();
        run(&shared);
        let error = answer.recv_timeout(PATIENCE).expect("an answer").expect_err("a refusal");
        assert_eq!(error.code, "engine_closed");
    }
}
