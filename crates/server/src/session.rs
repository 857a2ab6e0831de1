//! One connection: its batches, one after the other, and news of what others wrote.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tasker_store::remote::shapes::{self, CommittedShape, Down, OLDEST_PROTOCOL, PROTOCOL, Up};
use tasker_store::{Batch, CommitError, Done, Holding, Op, RETURN_MS};
use tasker_wire::{Error, Kind};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::{Shared, is_true};

struct Session {
    number: u64,
    shared: Arc<Shared>,
    down: mpsc::Sender<Bytes>,
}

/// Runs a connection to its end.
pub(crate) async fn run(shared: Arc<Shared>, mut up: Streaming<Bytes>, down: mpsc::Sender<Bytes>) {
    let session = Session { number: shared.new_session(), shared, down };
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
                Ok(session_of_it) if session_of_it == session.number => {}
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
        session.forget();
    } else {
        session.miss().await;
    }
}

async fn greet(session: &Session, up: &mut Streaming<Bytes>) -> Result<(), Error> {
    let first = up.message().await.ok().flatten();
    let workers = match first.as_deref().map(shapes::hello).transpose()? {
        Some((OLDEST_PROTOCOL..=PROTOCOL, workers)) => workers,
        Some((protocol, _)) => {
            let message =
                format!("the server speaks version {PROTOCOL} of the protocol, the worker version {protocol}");
            return Err(Error::new(Kind::Invalid, "wrong_protocol", message)
                .hint("use a server and workers of the same release"));
        }
        None => return Err(Error::new(Kind::Invalid, "wrong_protocol", "a connection begins with a hello")),
    };
    // They are back: their former connection may not even have been missed.
    session.shared.workers.lock().extend(workers.into_iter().map(|worker| (worker, session.number)));
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

    /// Workers that came over this connection, and have not come back by another.
    fn own_workers(&self) -> Vec<i64> {
        let workers = self.shared.workers.lock();
        workers.iter().filter(|(_, session)| **session == self.number).map(|(worker, _)| *worker).collect()
    }

    /// The connection ended without a goodbye. Who does not return in time is gone; who has returned to another server of
    /// the same store moves its beat on there, and stays.
    async fn miss(&self) {
        let missed = self.own_workers();
        if missed.is_empty() {
            return;
        }
        let engine = self.shared.engine.clone();
        let beats = tokio::task::spawn_blocking(move || engine.beats(&missed)).await;
        // Without an answer the store is away; whoever stays silent is missed by those who watch.
        let Ok(Ok(beats)) = beats else { return self.forget() };
        tokio::time::sleep(Duration::from_millis(RETURN_MS as u64)).await;
        let own = self.own_workers();
        let gone: Vec<(i64, i64)> = beats.into_iter().filter(|(worker, _)| own.contains(worker)).collect();
        if !gone.is_empty() {
            tracing::warn!(workers = gone.len(), "workers did not come back after their connection broke");
            self.shared.engine.declare_gone(&gone);
        }
        self.forget();
    }

    fn forget(&self) {
        self.shared.workers.lock().retain(|_, session| *session != self.number);
    }

    /// Stores what a message asks for; gives the answer to it.
    async fn commit(&self, message: Bytes) -> Bytes {
        let (shared, number) = (self.shared.clone(), self.number);
        let done = tokio::task::spawn_blocking(move || {
            let outcome = take(&shared, number, &message).map(Box::new).map_err(Into::into);
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

fn take(shared: &Shared, session: u64, message: &[u8]) -> Result<CommittedShape, CommitError> {
    let read = shapes::read::<Up>(message).map_err(CommitError::Refused)?;
    let Up::Commit { ops, claims, holding, jitter_seed, max_crashes, known } = read else {
        let error = Error::new(Kind::Invalid, "wrong_protocol", "a connection has one hello");
        return Err(CommitError::Refused(error));
    };
    let engine = &shared.engine;
    let store = engine.shared_store();
    let ops = ops.into_iter().map(|op| op.into_op(&*store)).collect::<Result<Vec<Op>, Error>>();
    let ops = ops.map_err(|error| match error.kind {
        Kind::Unavailable => CommitError::NotStored(error),
        _ => CommitError::Refused(error),
    })?;
    let knows = |task| known.contains(&task);
    let (steps, suspect) = holding;
    let batch = Batch {
        ops: &ops,
        claims: &claims,
        holding: Holding { steps, suspect },
        now: engine.now(),
        jitter_seed,
        max_crashes,
        knows: &knows,
    };
    let committed = store.commit(&batch)?;
    for (op, result) in ops.iter().zip(&committed.results) {
        match (op, result) {
            (Op::AddWorker(_), Ok(Done::Worker(worker))) => drop(shared.workers.lock().insert(*worker, session)),
            (Op::WorkerGone { worker, .. }, Ok(_)) => drop(shared.workers.lock().remove(worker)),
            _ => {}
        }
    }
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
