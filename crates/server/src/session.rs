//! One connection: its batches, one after the other, and news of what others wrote.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tasker_store::remote::shapes::{self, CommittedShape, Down, OpShape, PROTOCOL, Up};
use tasker_store::{Batch, ClaimRequest, NewWorker, Op};
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

/// What a worker wants stored.
struct Wanted {
    ops: Vec<OpShape>,
    claims: Vec<ClaimRequest>,
    jitter_seed: Option<u64>,
    max_crashes: u32,
    known: Vec<i64>,
}

/// Runs a connection to its end.
pub(crate) async fn run(shared: Arc<Shared>, mut up: Streaming<Bytes>, down: mpsc::Sender<Bytes>) {
    let session = Session { seat: shared.new_seat(), shared, down };
    let mut draining = session.shared.draining.subscribe();
    let mut news = session.shared.news.subscribe();
    let refused = match greet(&session, &mut up).await {
        Ok(()) => None,
        Err(error) => Some(error),
    };
    if let Some(error) = refused {
        session.send(&Down::Refused(error.into())).await;
        return;
    }
    let is_draining = loop {
        tokio::select! {
            message = up.message() => match message {
                Ok(Some(message)) => {
                    let (outcome, now) = session.commit(message).await;
                    if !session.send(&Down::Done { outcome: outcome.map(Box::new).map_err(Into::into), now }).await {
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
        Some(Up::Hello { protocol: PROTOCOL, workers }) => workers,
        Some(Up::Hello { protocol, .. }) => {
            let message =
                format!("the server speaks version {PROTOCOL} of the protocol, the worker version {protocol}");
            return Err(Error::new(Kind::Invalid, "wrong_protocol", message)
                .hint("use releases of the server and of the worker that are at most one apart"));
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
        let mut seats = self.shared.workers.write().await;
        let mut ops = Vec::new();
        for worker in workers {
            // Its former connection may not have been missed yet; what was claimed over it may never have arrived.
            if let Some(former) = seats.insert(worker.name.clone(), self.seat.clone()) {
                former.replaced.store(true, Ordering::Release);
                ops.push(Op::WorkerGone { name: worker.name.clone(), stopped: false });
            }
            ops.push(Op::AddWorker(Box::new(worker)));
        }
        self.store(ops, Vec::new(), None, self.shared.engine.max_crashes(), Vec::new()).await.map(drop)
    }

    /// What the workers of a connection that ended still held is queued again.
    async fn bury(&self) {
        let mut seats = self.shared.workers.write().await;
        let own = |seat: &Arc<Seat>| Arc::ptr_eq(seat, &self.seat);
        let lost: Vec<String> = seats.iter().filter(|(_, seat)| own(seat)).map(|(name, _)| name.clone()).collect();
        if lost.is_empty() {
            return;
        }
        seats.retain(|_, seat| !own(seat));
        tracing::warn!(workers = lost.join(", "), "the connection to workers is gone; what they held is queued again");
        for name in lost {
            // In order with a return of the worker, which waits for the lock; if it fails, as soon as it can be had.
            let gone = Op::WorkerGone { name: name.clone(), stopped: false };
            let max_crashes = self.shared.engine.max_crashes();
            if self.store(vec![gone], Vec::new(), None, max_crashes, Vec::new()).await.is_err() {
                self.shared.engine.worker_lost(&name);
            }
        }
    }

    /// Stores what a message asks for; gives what it did and the time.
    async fn commit(&self, message: Bytes) -> (Result<CommittedShape, Error>, i64) {
        let wanted = match shapes::read::<Up>(&message) {
            Ok(Up::Commit { ops, claims, jitter_seed, max_crashes, known }) => {
                Wanted { ops, claims, jitter_seed, max_crashes, known }
            }
            Ok(Up::Hello { .. }) => {
                let error = Error::new(Kind::Invalid, "wrong_protocol", "a connection has one hello");
                return (Err(error), self.shared.engine.now());
            }
            Err(error) => return (Err(error), self.shared.engine.now()),
        };
        let outcome = self.take(wanted).await;
        (outcome, self.shared.engine.now())
    }

    async fn take(&self, wanted: Wanted) -> Result<CommittedShape, Error> {
        let store = self.shared.engine.shared_store();
        let Wanted { ops, claims, jitter_seed, max_crashes, known } = wanted;
        // A template is compiled at its first use.
        let ops = if ops.iter().any(|op| matches!(op, OpShape::Create { .. })) {
            let made = tokio::task::spawn_blocking(move || ops.into_iter().map(|op| op.into_op(&*store)).collect());
            made.await.unwrap_or_else(|_| Err(panicked()))?
        } else {
            ops.into_iter().map(|op| op.into_op(&*store)).collect::<Result<Vec<Op>, Error>>()?
        };
        for op in &ops {
            match op {
                Op::AddWorker(worker) => {
                    self.shared.workers.write().await.insert(worker.name.clone(), self.seat.clone());
                }
                Op::WorkerGone { name, .. } => {
                    self.shared.workers.write().await.remove(name);
                }
                _ => {}
            }
        }
        let _stays = self.shared.workers.read().await;
        if self.seat.replaced.load(Ordering::Acquire) {
            let message = "the process has connected again; this connection is closed";
            return Err(Error::new(Kind::Unavailable, "connection_replaced", message));
        }
        self.store(ops, claims, jitter_seed, max_crashes, known).await
    }

    async fn store(
        &self,
        ops: Vec<Op>,
        claims: Vec<ClaimRequest>,
        jitter_seed: Option<u64>,
        max_crashes: u32,
        known: Vec<i64>,
    ) -> Result<CommittedShape, Error> {
        let (engine, store) = (self.shared.engine.clone(), self.shared.engine.shared_store());
        let stored = tokio::task::spawn_blocking(move || {
            let batch = Batch {
                ops: &ops,
                claims: &claims,
                now: engine.now(),
                jitter_seed,
                max_crashes,
                knows: &|task| known.contains(&task),
            };
            let committed = store.commit(&batch)?;
            engine.served(&committed);
            Ok((committed.is_news(), CommittedShape::of(committed)))
        });
        let (is_news, committed) = stored.await.unwrap_or_else(|_| Err(panicked()))?;
        if is_news {
            // Nobody else may be connected.
            let _ = self.shared.news.send(self.seat.number);
        }
        Ok(committed)
    }
}

fn panicked() -> Error {
    Error::new(Kind::Bug, "store_error", "the store failed in a way that was not foreseen")
        .hint("see the server's log, and please report it")
}
