//! Hearing of other processes' commits, and telling them of ours.
//!
//! A connection of its own listens. It also sends the wake-ups, outside of every working transaction, where they would
//! serialise the commits: at most one every [`RING_EVERY`], and only while another process listens. Notifications only
//! hurry things along; a second without any counts as one.
//!
//! The same connection shows that the process's workers live: it holds an advisory lock for each, which the server lets go
//! of with the connection. Every listener looks each second who holds one. A lock that was seen over this very connection
//! and is gone tells that the worker's connection ended; a failover, which ends everybody's, tells nothing.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tasker_wire::{Error, Kind};
use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;

use super::config::Settings;
use crate::clock::{ServerTime, monotonic_ms};
use crate::sync::Mutex;
use crate::threads;

/// Shortest time between two wake-ups sent.
const RING_EVERY: Duration = Duration::from_millis(5);
/// How often the store is looked at when nothing is heard.
const TICK: Duration = Duration::from_secs(1);
/// First key of the advisory lock each listener shares, by which listeners are counted.
const LISTENERS: i32 = 0x7461_736b;

type Told = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    /// Counts what was heard, and the seconds.
    version: AtomicU64,
    peers: AtomicBool,
    closing: AtomicBool,
    /// Connections made so far.
    connections: AtomicU64,
    /// A connection has listened since it was last said that none does.
    has_listened: AtomicBool,
    ring: Notify,
    told: Mutex<Option<Told>>,
    /// Workers of this process.
    workers: Mutex<BTreeSet<i64>>,
    sights: Mutex<Sights>,
}

/// What was seen of the workers' locks over the present connection.
#[derive(Default)]
struct Sights {
    ever: BTreeSet<i64>,
    now: BTreeSet<i64>,
    looked: Option<Instant>,
}

impl State {
    fn heard(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
        let told = self.told.lock().clone();
        if let Some(told) = told {
            told();
        }
    }
}

/// The listening thread.
pub(super) struct Listener {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
    pid: u32,
}

impl Listener {
    pub(super) fn start(settings: Arc<Settings>, time: Arc<ServerTime>) -> Result<Listener, Error> {
        let state = Arc::new(State::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::new(Kind::Unavailable, "no_thread", format!("cannot listen: {e}")))?;
        let shared = state.clone();
        let body = move || {
            while let Err(panic) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(&shared, &settings, &time)))) {
                // Whoever listens to nothing looks once a second; so does this thread from here on, until it can again.
                tracing::error!(said = threads::said(&*panic), "listening for other processes panicked");
                // Others see that the connection is gone: the workers of this process are to beat at once.
                shared.connections.fetch_add(1, Ordering::Relaxed);
                shared.version.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(TICK);
            }
        };
        let thread = threads::spawn("tasker-listen", body, |_| ())?;
        Ok(Listener { state, thread: Some(thread), pid: std::process::id() })
    }

    /// Changes when another process may have written.
    pub(super) fn version(&self) -> u64 {
        self.state.version.load(Ordering::Relaxed)
    }

    /// Connections made so far.
    pub(super) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Shows that a worker lives for as long as the connection stands.
    pub(super) fn announce(&self, worker: i64) {
        self.state.workers.lock().insert(worker);
        self.state.ring.notify_one();
    }

    pub(super) fn withdraw(&self, worker: i64) {
        self.state.workers.lock().remove(&worker);
        self.state.sights.lock().ever.remove(&worker);
        self.state.ring.notify_one();
    }

    /// Workers whose connections ended while this one stood.
    pub(super) fn cut_off(&self) -> Vec<i64> {
        let sights = self.state.sights.lock();
        let is_fresh = sights.looked.is_some_and(|at| at.elapsed() < 2 * TICK);
        if is_fresh { sights.ever.difference(&sights.now).copied().collect() } else { Vec::new() }
    }

    /// Whom to tell as soon as something is heard.
    pub(super) fn tell(&self, told: Told) {
        *self.state.told.lock() = Some(told);
    }

    /// Wakes the other processes.
    pub(super) fn ring(&self) {
        if self.state.peers.load(Ordering::Relaxed) {
            self.state.ring.notify_one();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.state.closing.store(true, Ordering::Relaxed);
        self.state.ring.notify_one();
        // The thread of a handle inherited over a fork lives in the parent.
        if let Some(thread) = self.thread.take().filter(|_| self.pid == std::process::id()) {
            // A panic has been told.
            let _ = thread.join();
        }
    }
}

async fn run(state: &Arc<State>, settings: &Settings, time: &ServerTime) {
    let mut warned = false;
    while !state.closing.load(Ordering::Relaxed) {
        let before = state.connections.load(Ordering::Relaxed);
        if !settings.pooled {
            match listen(state, settings, time).await {
                Ok(()) => return,
                Err(error) => {
                    // Once an outage, not once a store.
                    warned &= !state.has_listened.swap(false, Ordering::Relaxed);
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(%error, "not listening for other processes; the store is looked at every second");
                    }
                }
            }
        }
        state.peers.store(false, Ordering::Relaxed);
        // Whoever knew this process by its connection waits two seconds for it: until there is another, its workers beat
        // with every attempt.
        if !settings.pooled {
            state.connections.fetch_add(1, Ordering::Relaxed);
            state.heard();
        }
        if settings.pooled || state.connections.load(Ordering::Relaxed) == before + 1 {
            let _ = tokio::time::timeout(TICK, state.ring.notified()).await;
        }
        state.version.fetch_add(1, Ordering::Relaxed);
    }
}

/// Listens until the connection breaks, or the store is closed.
async fn listen(state: &Arc<State>, settings: &Settings, time: &ServerTime) -> Result<(), tokio_postgres::Error> {
    let (client, mut drive) = settings.connect().await?;
    let own = Arc::new(std::sync::atomic::AtomicI32::new(0));
    let (hears, me) = (state.clone(), own.clone());
    let broken = Arc::new(Notify::new());
    let breaks = broken.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = drive.next().await {
            if let AsyncMessage::Notification(n) = message
                && n.process_id() != me.load(Ordering::Relaxed)
            {
                hears.heard();
            }
        }
        breaks.notify_one();
    });
    let schema = &settings.schema;
    let channel = format!("{schema}_changes");
    client
        .batch_execute(&format!(
            "SET synchronous_commit = off; SET statement_timeout = 10000;
             SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; LISTEN \"{channel}\";
             SELECT pg_advisory_lock_shared({LISTENERS}, hashtext('{channel}'))"
        ))
        .await?;
    own.store(client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0), Ordering::Relaxed);
    let class = format!("hashtext('{schema} workers')");
    let database = "(SELECT oid FROM pg_database WHERE datname = current_database())";
    let look = client
        .prepare(&format!(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = {LISTENERS}::oid
               AND objid = (hashtext('{channel}')::bigint & 4294967295)::oid AND mode = 'ShareLock'
               AND database = {database} AND pid <> pg_backend_pid()),
             (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
             ARRAY(SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
               AND classid = ({class}::bigint & 4294967295)::oid AND database = {database})"
        ))
        .await?;
    let lock = client.prepare(&format!("SELECT pg_try_advisory_lock({class}, ($1::bigint & 2147483647)::int)")).await?;
    let unlock = client.prepare(&format!("SELECT pg_advisory_unlock({class}, ($1::bigint & 2147483647)::int)")).await?;
    let ring = client.prepare(&format!("SELECT pg_notify('{channel}', '')")).await?;
    state.has_listened.store(true, Ordering::Relaxed);
    *state.sights.lock() = Sights::default();
    let mut locked: BTreeSet<i64> = BTreeSet::new();
    let mut rung = Instant::now();
    let mut looked: Option<Instant> = None;
    loop {
        let wanted = state.workers.lock().clone();
        for worker in wanted.difference(&locked.clone()) {
            // A former connection of ours may not have been missed yet: tried again with the next look.
            if client.query_one(&lock, &[worker]).await?.get(0) {
                locked.insert(*worker);
            }
        }
        for worker in locked.clone().difference(&wanted) {
            client.query_one(&unlock, &[worker]).await?;
            locked.remove(worker);
        }
        let left = looked.map_or(Duration::ZERO, |at| TICK.saturating_sub(at.elapsed()));
        tokio::select! {
            () = broken.notified() => {
                client.batch_execute("SELECT 1").await?;
            }
            () = state.ring.notified() => {
                if state.closing.load(Ordering::Relaxed) {
                    return Ok(());
                }
                tokio::time::sleep(RING_EVERY.saturating_sub(rung.elapsed())).await;
                client.query(&ring, &[]).await?;
                rung = Instant::now();
            }
            () = tokio::time::sleep(left) => {
                let sent_ms = monotonic_ms();
                let row = client.query_one(&look, &[]).await?;
                time.observe(sent_ms, monotonic_ms(), row.get(1));
                state.peers.store(row.get(0), Ordering::Relaxed);
                let now: BTreeSet<i64> = row.get::<_, Vec<i64>>(2).into_iter().collect();
                let mut sights = state.sights.lock();
                sights.ever.extend(&now);
                sights.now = now;
                sights.looked = Some(Instant::now());
                drop(sights);
                state.version.fetch_add(1, Ordering::Relaxed);
                if looked.replace(Instant::now()).is_none() {
                    // The workers beat at once: who missed them when a former connection ended must hear of them.
                    state.connections.fetch_add(1, Ordering::Relaxed);
                    state.heard();
                }
            }
        }
    }
}
