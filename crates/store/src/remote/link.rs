//! The connection to a server, and the thread that keeps it up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tasker_wire::{Error, Kind};
use tokio::sync::{mpsc, watch};
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::shapes::{self, BytesCodec, CommittedShape, Down, ErrorShape, PROTOCOL, Up};
use crate::clock::{ServerTime, monotonic_ms};
use crate::sync::{Condvar, Mutex};
use crate::threads;
use crate::{CommitError, Done, Op};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call waits for a connection that broke to come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// First and longest pause between two attempts to connect.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often a silent server is asked for a sign of life, and how long it may take to give it.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(4));

type Told = Arc<dyn Fn() + Send + Sync>;

/// What became of a batch.
pub(super) enum Outcome {
    Done(Result<Box<CommittedShape>, CommitError>),
    /// The server said before it left that it would not store it.
    NotStored,
    /// The connection broke after it was sent.
    Unknown,
}

/// A connection that stands.
#[derive(Clone)]
struct Connected {
    up: mpsc::UnboundedSender<Bytes>,
    calls: Grpc<Channel>,
}

#[derive(Default)]
struct State {
    connected: Option<Connected>,
    /// Why the latest attempt failed, and whether another is of no use.
    trouble: Option<(Error, bool)>,
    /// Who waits for the outcome of the batch that is on its way; they come back in the order they went.
    pending: Option<SyncSender<Outcome>>,
    /// When that batch went, by the monotonic clock.
    sent_ms: i64,
    /// Workers of this process, to be named again after a break.
    workers: BTreeSet<i64>,
    durability: String,
    high_water: i64,
}

struct Shared {
    address: String,
    token: Option<MetadataValue<Ascii>>,
    state: Mutex<State>,
    changed: Condvar,
    /// Counts what was heard of other processes, and the breaks.
    version: AtomicU64,
    /// Connections made so far.
    connections: AtomicU64,
    time: ServerTime,
    told: Mutex<Option<Told>>,
}

pub(super) struct Link {
    shared: Arc<Shared>,
    // One batch is on its way at a time.
    turn: Mutex<()>,
    closing: watch::Sender<bool>,
    runtime: tokio::runtime::Handle,
    thread: Option<JoinHandle<()>>,
    pid: u32,
}

impl Link {
    /// Connects to the first of some addresses that answers; an error if none does.
    pub(super) fn start(addresses: &[String], token: Option<String>) -> Result<Link, Error> {
        let address = addresses.join(",");
        let broken = |e: &dyn std::fmt::Display| unreachable(&address, e);
        let token = token.map(|t| format!("Bearer {t}").parse()).transpose().map_err(|_| {
            Error::new(Kind::Invalid, "invalid_token", "the token has characters that cannot be sent")
                .hint("use letters and digits in TASKER_TOKEN")
        })?;
        let mut endpoints = Vec::new();
        for address in addresses {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| broken(&e))?;
            let endpoint = endpoint
                .connect_timeout(CONNECT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEPALIVE.0)
                .keep_alive_timeout(KEEPALIVE.1)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(8 << 20)
                .initial_connection_window_size(16 << 20);
            endpoints.push(endpoint);
        }
        let shared = Arc::new(Shared {
            address: address.clone(),
            token,
            state: Mutex::default(),
            changed: Condvar::new(),
            version: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            time: ServerTime::measured(&[]),
            told: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| broken(&e))?;
        let handle = runtime.handle().clone();
        let (closing, closed) = watch::channel(false);
        let (keeps, fails) = (shared.clone(), shared.clone());
        let body = move || runtime.block_on(keep(&keeps, &endpoints, closed));
        let thread = threads::spawn("tasker-remote", body, move |said| {
            let message =
                format!("the thread that keeps the connection to {} ended in a panic ({said})", fails.address);
            let error =
                Error::new(Kind::Bug, "engine_failed", message).hint("start the process again; please report it");
            fails.down(Some((error, true)));
        })?;
        let link = Link {
            shared,
            turn: Mutex::default(),
            closing,
            runtime: handle,
            thread: Some(thread),
            pid: std::process::id(),
        };
        let deadline = Instant::now() + 2 * CONNECT * addresses.len() as u32;
        let state = link.shared.changed.wait_while(link.shared.state.lock(), deadline, |state| {
            state.connected.is_none() && state.trouble.is_none()
        });
        match (&state.connected, &state.trouble) {
            (Some(_), _) => {}
            (None, Some((error, _))) => return Err(error.clone()),
            (None, None) => return Err(broken(&"it does not answer")),
        }
        drop(state);
        Ok(link)
    }

    /// Sends a batch once the connection stands, and waits for what becomes of it.
    pub(super) fn commit(&self, message: &Bytes) -> Result<Outcome, Error> {
        let _turn = self.turn.lock();
        let (send, outcome) = sync_channel(1);
        let mut state = self.connected()?;
        let Some(connected) = state.connected.clone() else { return Ok(Outcome::NotStored) };
        state.pending = Some(send);
        state.sent_ms = monotonic_ms();
        if connected.up.send(message.clone()).is_err() {
            state.pending = None;
            return Ok(Outcome::NotStored);
        }
        drop(state);
        Ok(outcome.recv().unwrap_or(Outcome::Unknown))
    }

    /// Asks a question, again if the connection breaks before the answer.
    pub(super) fn ask(&self, question: Bytes) -> Result<Bytes, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(mut calls) = self.connected()?.connected.as_ref().map(|c| c.calls.clone()) else { continue };
            let request = self.shared.request(question.clone());
            let (send, answer) = sync_channel(1);
            self.runtime.spawn(async move {
                let asked = async {
                    calls.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
                    calls.unary(request, path(shapes::ASK), BytesCodec).await
                };
                // Whoever asked waits for as long as there is an answer to come.
                let _ = send.send(asked.await.map(tonic::Response::into_inner));
            });
            let status = match answer.recv() {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(_) => Status::unavailable("the connection was closed"),
            };
            let error = self.shared.refused(&status);
            if Instant::now() >= deadline
                || !matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
            {
                return Err(error);
            }
            std::thread::sleep(PAUSE.0);
        }
    }

    /// Remembers which workers this process has.
    pub(super) fn note(&self, ops: &[Op], results: &[Result<Done, ErrorShape>]) {
        for (op, result) in ops.iter().zip(results) {
            match (op, result) {
                (Op::AddWorker(_), Ok(Done::Worker(worker))) => {
                    self.shared.state.lock().workers.insert(*worker);
                }
                (Op::WorkerGone { worker, .. }, _)
                | (Op::Heartbeat { worker, .. }, Ok(Done::Beat { alive: false })) => {
                    self.shared.state.lock().workers.remove(worker);
                }
                _ => {}
            }
        }
    }

    /// Waits until the connection stands; an error if it does not come back.
    fn connected(&self) -> Result<std::sync::MutexGuard<'_, State>, Error> {
        let away = |state: &mut State| state.connected.is_none() && !matches!(state.trouble, Some((_, true)));
        let state = self.shared.changed.wait_while(self.shared.state.lock(), Instant::now() + PATIENCE, away);
        match (&state.connected, &state.trouble) {
            (Some(_), _) => Ok(state),
            (None, Some((error, _))) => Err(error.clone()),
            (None, None) => Err(unreachable(&self.shared.address, &"it does not answer")),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Relaxed)
    }

    pub(super) fn clock_offset(&self) -> i64 {
        self.shared.time.offset_ms()
    }

    pub(super) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub(super) fn tell(&self, told: Told) {
        *self.shared.told.lock() = Some(told);
    }

    pub(super) fn durability(&self) -> String {
        self.shared.state.lock().durability.clone()
    }

    pub(super) fn high_water(&self) -> i64 {
        self.shared.state.lock().high_water
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The thread of a handle inherited over a fork lives in the parent.
        if self.pid != std::process::id() {
            return;
        }
        self.closing.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic has been told.
            let _ = thread.join();
        }
    }
}

fn path(path: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(path)
}

fn unreachable(address: &str, why: &dyn std::fmt::Display) -> Error {
    let message = format!("the Tasker server at {address} cannot be reached: {why}");
    Error::new(Kind::Unavailable, "server_unreachable", message)
        .hint("is `tasker serve` running there? workers go on by themselves when it is back")
}

/// The innermost cause says most.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl Shared {
    fn request<T>(&self, body: T) -> Request<T> {
        let mut request = Request::new(body);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }

    fn refused(&self, status: &Status) -> Error {
        match status.code() {
            Code::Unauthenticated => Error::new(
                Kind::Invalid,
                "unauthorized",
                format!("the Tasker server at {} does not accept the token", self.address),
            )
            .hint("set TASKER_TOKEN to the token the server was started with"),
            Code::Unimplemented => Error::new(
                Kind::Invalid,
                "wrong_server",
                format!("what answers at {} is not a Tasker server of this release", self.address),
            )
            .hint("look at the address, and at the versions of both"),
            _ => unreachable(&self.address, &status.message()),
        }
    }

    fn heard(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
        let told = self.told.lock().clone();
        if let Some(told) = told {
            told();
        }
    }

    /// The connection is gone, or never came about. With the trouble (and whether trying again is of no use) if there is
    /// no other server to try first.
    fn down(&self, trouble: Option<(Error, bool)>) {
        let mut state = self.state.lock();
        state.connected = None;
        state.trouble = trouble;
        // Whoever waited hears nothing more; a batch that was certainly not stored has been answered already.
        state.pending = None;
        drop(state);
        self.changed.notify_all();
    }
}

/// How a connection ended.
struct Ended {
    error: Error,
    /// Trying again will not help before somebody changes something.
    is_refusal: bool,
    was_up: bool,
}

async fn keep(shared: &Arc<Shared>, endpoints: &[Endpoint], mut closed: watch::Receiver<bool>) {
    let (mut pause, mut failures) = (PAUSE.0, 0);
    for endpoint in endpoints.iter().cycle() {
        let ended = tokio::select! {
            _ = closed.wait_for(|closed| *closed) => break,
            ended = connect(shared, endpoint) => ended,
        };
        if ended.was_up {
            (pause, failures) = (PAUSE.0, 0);
            tracing::warn!(error = %ended.error, "the connection to the server broke; connecting again");
        }
        failures += 1;
        if failures < endpoints.len() {
            shared.down(None);
            continue;
        }
        failures = 0;
        shared.down(Some((ended.error, ended.is_refusal)));
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => break,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE.1);
    }
    let closed = Error::new(Kind::Unavailable, "engine_closed", "the engine has been closed").hint("open it again");
    shared.down(Some((closed, true)));
}

/// One connection, for as long as it stands.
async fn connect(shared: &Arc<Shared>, endpoint: &Endpoint) -> Ended {
    let mut was_up = false;
    let (error, is_refusal) = match converse(shared, endpoint, &mut was_up).await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    Ended { error, is_refusal, was_up }
}

async fn converse(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    was_up: &mut bool,
) -> Result<std::convert::Infallible, (Error, bool)> {
    let away = |why: &dyn std::fmt::Display| (unreachable(&shared.address, why), false);
    let refused = |status: Status| {
        let is_refusal = matches!(status.code(), Code::Unauthenticated | Code::Unimplemented);
        (shared.refused(&status), is_refusal)
    };
    let channel = endpoint.connect().await.map_err(|e| away(&cause(&e)))?;
    let mut calls = Grpc::new(channel)
        .max_decoding_message_size(shapes::MESSAGE_MAX)
        .max_encoding_message_size(shapes::MESSAGE_MAX);
    calls.ready().await.map_err(|e| away(&cause(&e)))?;
    let (up, mut messages) = mpsc::unbounded_channel();
    let workers: Vec<i64> = shared.state.lock().workers.iter().copied().collect();
    let sent_ms = monotonic_ms();
    // Nobody else has the other end yet.
    let _ = up.send(shapes::bytes(&Up::Hello { protocol: PROTOCOL, workers }));
    let stream = futures_util::stream::poll_fn(move |cx| messages.poll_recv(cx));
    let opened = async {
        let mut down = calls.streaming(shared.request(stream), path(shapes::SESSION), BytesCodec).await?.into_inner();
        let first = down.message().await?;
        Ok((down, first))
    };
    let (mut down, first) =
        tokio::time::timeout(CONNECT, opened).await.map_err(|_| away(&"it does not answer"))?.map_err(refused)?;
    let read = |message: Option<Bytes>| match message {
        Some(message) => shapes::read::<Down>(&message).map_err(|e| (e, false)),
        None => Err(away(&"it closed the connection")),
    };
    match read(first)? {
        Down::Welcome { durability, high_water, now } => {
            shared.time.observe(sent_ms, monotonic_ms(), now);
            shared.connections.fetch_add(1, Ordering::Relaxed);
            let mut state = shared.state.lock();
            (state.durability, state.high_water) = (durability, high_water);
            state.connected = Some(Connected { up, calls: calls.clone() });
            state.trouble = None;
        }
        Down::Refused(error) => return Err((error.into(), true)),
        _ => return Err(away(&"it does not speak this protocol")),
    }
    *was_up = true;
    shared.changed.notify_all();
    // Whatever happened meanwhile was not heard.
    shared.heard();
    loop {
        match read(down.message().await.map_err(refused)?)? {
            Down::Done { outcome, now } => {
                let mut state = shared.state.lock();
                shared.time.observe(state.sent_ms, monotonic_ms(), now);
                if let Some(waits) = state.pending.take() {
                    // Whoever sent it waits for it.
                    let _ = waits.try_send(Outcome::Done(outcome.map_err(CommitError::from)));
                }
            }
            Down::Changed => shared.heard(),
            Down::Goodbye => {
                let mut state = shared.state.lock();
                state.connected = None;
                if let Some(waits) = state.pending.take() {
                    let _ = waits.try_send(Outcome::NotStored);
                }
                return Err(away(&"it is shutting down"));
            }
            Down::Refused(error) => return Err((error.into(), true)),
            Down::Welcome { .. } => {}
        }
    }
}
