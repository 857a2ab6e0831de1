//! Hearing of other processes' commits, and telling them of ours.
//!
//! A connection of its own listens. It also sends the wake-ups, outside of every working transaction, where they would
//! serialise the commits: at most one every [`RING_EVERY`], and only while another process listens. Notifications only
//! hurry things along; a second without any counts as one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use tasker_wire::{Error, Kind};
use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;

use super::config::Settings;
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
    /// A connection has listened since it was last said that none does.
    has_listened: AtomicBool,
    clock_offset: AtomicI64,
    ring: Notify,
    told: Mutex<Option<Told>>,
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
    pub(super) fn start(settings: Arc<Settings>) -> Result<Listener, Error> {
        let state = Arc::new(State::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::new(Kind::Unavailable, "no_thread", format!("cannot listen: {e}")))?;
        let shared = state.clone();
        let body = move || {
            while let Err(panic) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(&shared, &settings)))) {
                // Whoever listens to nothing looks once a second; so does this thread from here on, until it can again.
                tracing::error!(said = threads::said(&*panic), "listening for other processes panicked");
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

    /// By how much the server's clock is ahead of this machine's, milliseconds.
    pub(super) fn clock_offset(&self) -> i64 {
        self.state.clock_offset.load(Ordering::Relaxed)
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

async fn run(state: &Arc<State>, settings: &Settings) {
    let mut warned = false;
    while !state.closing.load(Ordering::Relaxed) {
        if !settings.pooled {
            match listen(state, settings).await {
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
        let _ = tokio::time::timeout(TICK, state.ring.notified()).await;
        state.version.fetch_add(1, Ordering::Relaxed);
    }
}

/// Listens until the connection breaks, or the store is closed.
async fn listen(state: &Arc<State>, settings: &Settings) -> Result<(), tokio_postgres::Error> {
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
    let channel = format!("{}_changes", settings.schema);
    client
        .batch_execute(&format!(
            "SET synchronous_commit = off; SET statement_timeout = 10000; LISTEN \"{channel}\";
             SELECT pg_advisory_lock_shared({LISTENERS}, hashtext('{channel}'))"
        ))
        .await?;
    own.store(client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0), Ordering::Relaxed);
    let count = client
        .prepare(&format!(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = {LISTENERS}::oid
               AND objid = (hashtext('{channel}')::bigint & 4294967295)::oid AND mode = 'ShareLock'
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND pid <> pg_backend_pid()),
             (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
        ))
        .await?;
    let ring = client.prepare(&format!("SELECT pg_notify('{channel}', '')")).await?;
    state.has_listened.store(true, Ordering::Relaxed);
    let mut rung = Instant::now();
    let mut looked: Option<Instant> = None;
    loop {
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
                let (asked, wall) = (Instant::now(), wall());
                let row = client.query_one(&count, &[]).await?;
                state.peers.store(row.get(0), Ordering::Relaxed);
                let offset = row.get::<_, i64>(1) - wall - asked.elapsed().as_millis() as i64 / 2;
                // Clocks that agree this well are not worth a correction.
                state.clock_offset.store(if offset.abs() < 20 { 0 } else { offset }, Ordering::Relaxed);
                state.version.fetch_add(1, Ordering::Relaxed);
                looked = Some(Instant::now());
            }
        }
    }
}

fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
