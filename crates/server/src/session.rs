//! One connection: its batches, one after the other, and news of what others wrote.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tasker_store::remote::shapes::{self, CommittedShape, Down, OLDEST_PROTOCOL, PROTOCOL, Up};
use tasker_store::{Batch, ClaimRequest, CommitError, NewWorker, Op};
use tasker_wire::{Error, Kind};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::{Seat, Shared, is_true};

struct Session {
    seat: Arc<Seat>,
    shared: Arc<Shared>,
    down: mpsc::Sender<Bytes>,
}

/// Runs a connection to its end.
pub(crate) async fn run(shared: Arc<Shared>, mut up: Streaming<Bytes>, down: mpsc::Sender<Bytes>) {
    let session = Session { seat: shared.new_seat(), shared, down };
    let mut draining = session.shared.draining.subscribe();
    let mut news = session.shared.news.subscribe();
    let refused = greet(&session, &mut up).await.err();
    if let Some(error) = refused {
        session.send(&Down::Refused(error.into())).await;
        return;
    }
    let is_draining = loop {
        tokio::select! {
            message = up.message() => match message {
                Ok(Some(message)) => {
                    let done = session.commit(message).await;
                    if session.down.send(done).await.is_err() {
                        break false;
                    }
                }
                Ok(None) | Err(_) => break false,
            },
            heard = news.recv() => match heard {
                Ok(session_of_it) if session_of_it == session.seat.number => {}
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    // One word for all that is known by now.
                    news = news.resubscribe();
                    if !session.send(&Down::Changed).await {
                        break false;
                    }
                }
                Err(RecvError::Closed) => break false,
            },
            () = is_true(&mut draining) => break true,
        }
    };
    if is_draining {
        // What the workers hold stays theirs: they go to another server with it, or come back to this one.
        session.send(&Down::Goodbye).await;
    } else {
        session.bury().await;
    }
}

async fn greet(session: &Session, up: &mut Streaming<Bytes>) -> Result<(), Error> {
    let first = up.message().await.ok().flatten();
    let workers = match first.as_deref().map(shapes::read::<Up>).transpose()? {
        Some(Up::Hello { protocol: OLDEST_PROTOCOL..=PROTOCOL, workers }) => workers,
        Some(Up::Hello { protocol, .. }) => {
            let message =
                format!("the server speaks version {PROTOCOL} of the protocol, the worker version {protocol}");
            return Err(Error::new(Kind::Invalid, "wrong_protocol", message)
                .hint("use a server of the worker's release or of the one after it"));
        }
        _ => return Err(Error::new(Kind::Invalid, "wrong_protocol", "a connection begins with a hello")),
    };
    session.welcome_back(workers).await?;
    let store = session.shared.engine.shared_store();
    let high_water = tokio::task::spawn_blocking(move || store.high_water()).await.unwrap_or(Ok(0))?;
    let (durability, now) = (session.shared.engine.durability(), session.shared.engine.now());
    session.send(&Down::Welcome { durability, high_water, now }).await;
    Ok(())
}

impl Session {
    /// False if nobody listens any more.
    async fn send(&self, message: &Down) -> bool {
        self.down.send(shapes::bytes(message)).await.is_ok()
    }

    /// Registers the workers of a process whose former connection broke.
    async fn welcome_back(&self, workers: Vec<NewWorker>) -> Result<(), Error> {
        if workers.is_empty() {
            return Ok(());
        }
        let _alone = self.shared.takeover.write().await;
        let mut ops = Vec::new();
        for worker in workers {
            // Its former connection may not have been missed yet; what was claimed over it may never have arrived.
            if let Some(former) = self.shared.workers.lock().insert(worker.name.clone(), self.seat.clone()) {
                former.replaced.store(true, Ordering::Release);
                ops.push(Op::WorkerGone { name: worker.name.clone(), stopped: false });
            }
            ops.push(Op::AddWorker(Box::new(worker)));
        }
        self.store_ops(ops).await
    }

    /// What the workers of a connection that ended still held is queued again.
    async fn bury(&self) {
        let _alone = self.shared.takeover.write().await;
        let mut lost = Vec::new();
        self.shared.workers.lock().retain(|name, seat| {
            let is_own = Arc::ptr_eq(seat, &self.seat);
            if is_own {
                lost.push(name.clone());
            }
            !is_own
        });
        if lost.is_empty() {
            return;
        }
        tracing::warn!(workers = lost.join(", "), "the connection to workers is gone; what they held is queued again");
        for name in lost {
            // In order with a return of the worker, which waits for the lock; if it fails, as soon as it can be had.
            let gone = Op::WorkerGone { name: name.clone(), stopped: false };
            if self.store_ops(vec![gone]).await.is_err() {
                self.shared.engine.worker_lost(&name);
            }
        }
    }

    async fn store_ops(&self, ops: Vec<Op>) -> Result<(), Error> {
        let (shared, number) = (self.shared.clone(), self.seat.number);
        let max_crashes = shared.engine.max_crashes();
        let batch = move || store(&shared, number, &ops, &[], None, max_crashes, &[]).map(drop).map_err(Error::from);
        tokio::task::spawn_blocking(batch).await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Stores what a message asks for; gives the answer to it.
    async fn commit(&self, message: Bytes) -> Bytes {
        let (shared, seat) = (self.shared.clone(), self.seat.clone());
        let stays = shared.takeover.clone().read_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _stays = stays;
            let outcome = take(&shared, &seat, &message).map(Box::new).map_err(Into::into);
            shapes::bytes(&Down::Done { outcome, now: shared.engine.now() })
        });
        match done.await {
            Ok(done) => done,
            Err(_) => shapes::bytes(&Down::Done {
                outcome: Err(CommitError::Refused(panicked()).into()),
                now: self.shared.engine.now(),
            }),
        }
    }
}

fn take(shared: &Shared, seat: &Arc<Seat>, message: &[u8]) -> Result<CommittedShape, CommitError> {
    let read = shapes::read::<Up>(message).map_err(CommitError::Refused)?;
    let Up::Commit { ops, claims, jitter_seed, max_crashes, known } = read else {
        let error = Error::new(Kind::Invalid, "wrong_protocol", "a connection has one hello");
        return Err(CommitError::Refused(error));
    };
    if seat.replaced.load(Ordering::Acquire) {
        let message = "the process has connected again; this connection is closed";
        return Err(CommitError::NotStored(Error::new(Kind::Unavailable, "connection_replaced", message)));
    }
    let templates = shared.engine.shared_store();
    let ops = ops.into_iter().map(|op| op.into_op(&*templates)).collect::<Result<Vec<Op>, Error>>();
    let ops = ops.map_err(|error| match error.kind {
        Kind::Unavailable => CommitError::NotStored(error),
        _ => CommitError::Refused(error),
    })?;
    for op in &ops {
        match op {
            Op::AddWorker(worker) => drop(shared.workers.lock().insert(worker.name.clone(), seat.clone())),
            Op::WorkerGone { name, .. } => drop(shared.workers.lock().remove(name)),
            _ => {}
        }
    }
    store(shared, seat.number, &ops, &claims, jitter_seed, max_crashes, &known)
}

fn store(
    shared: &Shared,
    session: u64,
    ops: &[Op],
    claims: &[ClaimRequest],
    jitter_seed: Option<u64>,
    max_crashes: u32,
    known: &[i64],
) -> Result<CommittedShape, CommitError> {
    let engine = &shared.engine;
    let knows = |task| known.contains(&task);
    let batch = Batch { ops, claims, now: engine.now(), jitter_seed, max_crashes, knows: &knows };
    let committed = engine.shared_store().commit(&batch)?;
    engine.served(&committed);
    if committed.is_news() {
        // Nobody else may be connected.
        let _ = shared.news.send(session);
    }
    Ok(CommittedShape::of(committed))
}

fn panicked() -> Error {
    Error::new(Kind::Bug, "store_error", "the store failed in a way that was not foreseen")
        .hint("see the server's log, and please report it")
}
