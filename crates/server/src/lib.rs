//! Serves a store to workers and clients on other machines.
//!
//! The server keeps nothing of its own: any number may stand before one database, and a worker that loses one goes to
//! the next. Each connection has a stream of batches up and of outcomes and news down, and calls for reads; the shapes
//! are those of [`tasker_store::remote::shapes`]. Workers keep what they hold over a connection that breaks; those of one that does
//! not come back within [`tasker_store::RETURN_MS`] are gone.

mod service;
mod session;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tasker_runtime::Engine;
use tasker_store::sync::Mutex;
use tasker_store::threads;
use tasker_wire::{Error, Kind};
use tokio::sync::{broadcast, watch};
use tonic::transport::Server as Transport;
use tonic::transport::server::TcpIncoming;

use service::Service;

/// How often a silent worker is asked for a sign of life, and how long it may take to give it.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(4));
/// How long a drain waits for connections to end.
const DRAIN: Duration = Duration::from_secs(10);
/// News kept for a session that is busy; one that misses some hears that there were any.
const NEWS: usize = 16;

/// What every session of a server shares.
struct Shared {
    engine: Engine,
    token: Option<String>,
    /// Number of the session that made the news; 0: this engine.
    news: broadcast::Sender<u64>,
    sessions: AtomicU64,
    /// Session of each worker, by the number of its row.
    workers: Mutex<HashMap<i64, u64>>,
    draining: watch::Sender<bool>,
}

impl Shared {
    fn new_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A server that runs until it is drained or dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `engine` at an address (port 0: any free one). With a token, only who sends it is served.
    pub fn start(engine: Engine, address: SocketAddr, token: Option<String>) -> Result<Server, Error> {
        let cannot = |e: &dyn std::fmt::Display| {
            Error::new(Kind::Unavailable, "cannot_listen", format!("cannot listen at {address}: {e}"))
                .hint("choose another address with --listen")
        };
        let listener = TcpListener::bind(address).map_err(|e| cannot(&e))?;
        listener.set_nonblocking(true).map_err(|e| cannot(&e))?;
        let bound = listener.local_addr().map_err(|e| cannot(&e))?;
        // One thread moves bytes, and wakes no other to do so; what takes longer has threads of its own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .thread_name("tasker-serve")
            .enable_all()
            .build()
            .map_err(|e| cannot(&e))?;
        let shared = Arc::new(Shared {
            engine,
            token,
            news: broadcast::channel(NEWS).0,
            sessions: AtomicU64::new(0),
            workers: Mutex::default(),
            draining: watch::channel(false).0,
        });
        let tells = shared.news.clone();
        shared.engine.on_news(move || {
            // Nobody may be connected.
            let _ = tells.send(0);
        });
        let serves = shared.clone();
        let body = move || {
            runtime.block_on(serve(&serves, listener));
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        // Whoever runs the server sees that it has ended.
        let thread = threads::spawn("tasker-serve", body, |_| ())?;
        Ok(Server { address: bound, shared, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it serves nobody any more, though nobody has drained it.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Tells everybody to go elsewhere, finishes the batches that were begun and closes. What workers hold stays theirs.
    pub fn drain(&mut self) {
        self.shared.draining.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic has been told.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain();
    }
}

async fn is_true(flag: &mut watch::Receiver<bool>) {
    // Without a sender there is no server any more.
    let _ = flag.wait_for(|is| *is).await;
}

async fn serve(shared: &Arc<Shared>, listener: TcpListener) {
    let incoming = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => TcpIncoming::from(listener).with_nodelay(Some(true)),
        Err(error) => return tracing::error!(%error, "cannot listen"),
    };
    let mut draining = shared.draining.subscribe();
    let drained = async move { is_true(&mut draining).await };
    let served = Transport::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .serve_with_incoming_shutdown(Service::new(shared.clone()), incoming, drained);
    let mut over = shared.draining.subscribe();
    let late = async move {
        is_true(&mut over).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::error!(%error, "the server stopped");
            }
        }
        () = late => tracing::warn!("connections were still open when the server closed"),
    }
}
