//! From what a driver meets while it commits to what its caller must do about it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tasker_wire::{Error, Kind};

use crate::{Batch, Committed, Done, Op};

/// Why a batch, or one operation of it, was not acknowledged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it was stored, and it is not to blame: it may be sent again as it is.
    #[error("{0}")]
    NotStored(Error),
    /// It was sent, and nobody knows what became of it: it must be looked up before it is sent again. What it claimed, if
    /// it was stored, goes back with the next [`Op::Heartbeat`] that says what is held.
    #[error("{0}")]
    Unknown(Error),
    /// It cannot be stored; sent again, it would be refused again.
    #[error("{0}")]
    Refused(Error),
}

impl CommitError {
    /// What happened, for people.
    pub fn error(&self) -> &Error {
        match self {
            CommitError::NotStored(error) | CommitError::Unknown(error) | CommitError::Refused(error) => error,
        }
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Error {
        match error {
            CommitError::NotStored(error) | CommitError::Unknown(error) | CommitError::Refused(error) => error,
        }
    }
}

/// What a failed attempt says of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The store as a whole is in trouble.
    Store,
    /// Nobody knows whether it was stored.
    Unknown,
    /// An operation meets what another client holds; it may be stored later.
    Held,
    /// The store or an operation: told by a second attempt and a look at the store.
    Either,
    /// An operation.
    Operation,
}

/// How a driver commits.
pub(crate) trait Attempt {
    type Trouble;

    /// Does operations and claims in one transaction. `hurried`: no longer waits for what others hold than for a moment,
    /// because it has been waited for.
    fn attempt(&mut self, batch: &Batch, hurried: bool) -> Result<Committed, Self::Trouble>;
    /// Whether the store takes writes as such.
    fn works(&mut self) -> bool;
    fn blame(&self, trouble: &Self::Trouble) -> Blame;
    fn error(&self, trouble: Self::Trouble) -> Error;
}

/// Stores a batch. Where an operation is to blame, the batch is halved until it stands alone: it fails, the others go on.
pub(crate) fn commit<A: Attempt>(driver: &mut A, batch: &Batch) -> Result<Committed, CommitError> {
    let failure = match guarded(driver, batch, false) {
        Ok(committed) => return Ok(committed),
        Err(failure) => failure,
    };
    let failure = match failure.blame {
        // Whatever it was, it may have been of this one moment.
        Blame::Either => match guarded(driver, batch, false) {
            Ok(committed) => return Ok(committed),
            Err(again) if again.blame == Blame::Either && !driver.works() => {
                return Err(CommitError::NotStored(again.error));
            }
            Err(again) => again,
        },
        _ => failure,
    };
    match failure.blame {
        Blame::Store => return Err(CommitError::NotStored(failure.error)),
        Blame::Unknown => return Err(CommitError::Unknown(failure.error)),
        Blame::Held | Blame::Either | Blame::Operation => {}
    }
    let mut all = Committed::default();
    if let [_] = batch.ops
        && batch.claims.is_empty()
    {
        all.results.push(Err(alone(failure)));
        return Ok(all);
    }
    // What is due comes last here too.
    let is_due = |op: &Op| matches!(op, Op::Due { .. });
    let (ops, due) = batch.ops.split_at(batch.ops.iter().rposition(|op| !is_due(op)).map_or(0, |last| last + 1));
    part(driver, batch, ops, &mut all);
    claim(driver, batch, &mut all)?;
    part(driver, batch, due, &mut all);
    Ok(all)
}

/// Serves the claims of a batch whose operations have been stored apart.
fn claim<A: Attempt>(driver: &mut A, batch: &Batch, all: &mut Committed) -> Result<(), CommitError> {
    let is_gone = all.results.iter().any(|result| matches!(result, Ok(Done::Beat { alive: false })));
    if batch.claims.is_empty() || is_gone {
        // Whoever was just told to be gone claims nothing in the same commit; the others do with the next one.
        all.left_ready |= !batch.claims.is_empty();
        all.claimed = batch.claims.iter().map(|_| Vec::new()).collect();
        return Ok(());
    }
    match guarded(driver, &Batch { ops: &[], ..*batch }, true) {
        Ok(claims) => all.append(claims),
        Err(failure) if batch.ops.is_empty() && failure.blame == Blame::Store => {
            return Err(CommitError::NotStored(failure.error));
        }
        Err(failure) => {
            let is_passing = matches!(failure.blame, Blame::Store | Blame::Held);
            all.left_ready |= is_passing;
            if !is_passing {
                tracing::error!(error = %failure.error, "steps cannot be claimed; reports go on");
            }
            all.claimed = batch.claims.iter().map(|_| Vec::new()).collect();
            all.claims_unknown = failure.blame == Blame::Unknown;
        }
    }
    Ok(())
}

/// Stores operations without claims, by halves where they fail together.
fn part<A: Attempt>(driver: &mut A, batch: &Batch, ops: &[Op], all: &mut Committed) {
    if ops.is_empty() {
        return;
    }
    let failure = match guarded(driver, &Batch { ops, claims: &[], ..*batch }, true) {
        Ok(committed) => return all.append(committed),
        Err(failure) => failure,
    };
    let each = |error: CommitError| ops.iter().map(move |_| Err(error.clone()));
    match failure.blame {
        Blame::Store => all.results.extend(each(CommitError::NotStored(failure.error))),
        Blame::Unknown => all.results.extend(each(CommitError::Unknown(failure.error))),
        _ if ops.len() == 1 => all.results.push(Err(alone(failure))),
        _ => {
            let (first, second) = ops.split_at(ops.len() / 2);
            part(driver, batch, first, all);
            part(driver, batch, second, all);
        }
    }
}

/// What an operation hears that failed alone, in a store that works.
fn alone(failure: Failure) -> CommitError {
    match failure.blame {
        Blame::Held => CommitError::NotStored(failure.error),
        _ => CommitError::Refused(failure.error),
    }
}

struct Failure {
    blame: Blame,
    error: Error,
}

/// One attempt; a panic within is the fault of an operation.
fn guarded<A: Attempt>(driver: &mut A, batch: &Batch, hurried: bool) -> Result<Committed, Failure> {
    match catch_unwind(AssertUnwindSafe(|| driver.attempt(batch, hurried))) {
        Ok(Ok(committed)) => Ok(committed),
        Ok(Err(trouble)) => Err(Failure { blame: driver.blame(&trouble), error: driver.error(trouble) }),
        Err(panic) => Err(Failure { blame: Blame::Operation, error: panicked(&*panic) }),
    }
}

/// What a panic said.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let said = crate::threads::said(panic);
    Error::new(Kind::Bug, "store_error", format!("the store panicked: {said}"))
        .hint("this is a fault of Tasker's; please report it with this message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClaimRequest;

    /// What an operation does to the transaction it is in.
    #[derive(Clone, Copy, PartialEq)]
    enum Does {
        Panics,
        Fails(Blame),
    }

    /// A driver in whose store one worker's heartbeat goes wrong.
    struct Driver {
        does: Does,
        works: bool,
        /// Operations of each attempt.
        attempts: Vec<usize>,
        /// Each attempt that was stored: operations but for those that are due, claims, those that are due.
        kinds: Vec<[usize; 3]>,
        stored: Vec<i64>,
    }

    const BAD: i64 = 13;
    const GONE: i64 = 1_000;

    fn batch<'a>(ops: &'a [Op], claims: &'a [ClaimRequest]) -> Batch<'a> {
        let holding = crate::Holding::default();
        Batch { ops, claims, now: 0, jitter_seed: None, max_crashes: 3, holding, knows: &|_| false }
    }

    fn driver(does: Does, works: bool) -> Driver {
        Driver { does, works, attempts: Vec::new(), kinds: Vec::new(), stored: Vec::new() }
    }

    impl Attempt for Driver {
        type Trouble = Blame;

        fn attempt(&mut self, batch: &Batch, _hurried: bool) -> Result<Committed, Blame> {
            self.attempts.push(batch.ops.len());
            let workers: Vec<i64> =
                batch.ops.iter().map(|op| if let Op::Heartbeat { worker, .. } = op { *worker } else { 0 }).collect();
            if workers.contains(&BAD) {
                match self.does {
                    Does::Panics => panic!("a rule was forgotten"),
                    Does::Fails(blame) => return Err(blame),
                }
            }
            let due = batch.ops.iter().filter(|op| matches!(op, Op::Due { .. })).count();
            self.kinds.push([batch.ops.len() - due, batch.claims.len(), due]);
            self.stored.extend(&workers);
            Ok(Committed {
                results: workers.iter().map(|worker| Ok(Done::Beat { alive: *worker != GONE })).collect(),
                claimed: batch.claims.iter().map(|_| Vec::new()).collect(),
                ..Committed::default()
            })
        }

        fn works(&mut self) -> bool {
            self.works
        }

        fn blame(&self, blame: &Blame) -> Blame {
            *blame
        }

        fn error(&self, blame: Blame) -> Error {
            Error::new(Kind::Unavailable, "store_error", format!("{blame:?}"))
        }
    }

    fn heartbeats() -> Vec<Op> {
        (0..256).map(|worker| Op::Heartbeat { worker, held: None }).collect()
    }

    fn commit_all(does: Does, works: bool) -> (Result<Committed, CommitError>, Driver) {
        let mut driver = driver(does, works);
        let ops = heartbeats();
        let batch = batch(&ops, &[]);
        (commit(&mut driver, &batch), driver)
    }

    #[test]
    fn a_bad_operation_ends_alone_and_the_others_are_stored_once() {
        let bad = [
            (Does::Panics, true),
            (Does::Fails(Blame::Operation), true),
            (Does::Fails(Blame::Either), true),
            (Does::Fails(Blame::Held), false),
        ];
        for (does, is_refused) in bad {
            let (committed, driver) = commit_all(does, true);
            let committed = committed.expect("the others are stored");
            for (at, result) in committed.results.iter().enumerate() {
                match result {
                    Ok(_) => assert_ne!(at as i64, BAD),
                    Err(CommitError::Refused(_)) => assert!(at as i64 == BAD && is_refused),
                    Err(CommitError::NotStored(_)) => assert!(at as i64 == BAD && !is_refused),
                    Err(error) => panic!("{error}"),
                }
            }
            let others: Vec<i64> = (0..256).filter(|worker| *worker != BAD).collect();
            assert_eq!(driver.stored, others, "in order");
            assert!(driver.attempts.len() < 24, "{:?}", driver.attempts);
        }
    }

    #[test]
    fn what_is_taken_apart_keeps_its_order() {
        let claims = [ClaimRequest { worker: 1, queues: Vec::new().into(), slots: 1 }];
        for (other, expected) in [(1, vec![[1, 0, 0], [0, 1, 0], [0, 0, 1]]), (GONE, vec![[1, 0, 0], [0, 0, 1]])] {
            let beat = |worker| Op::Heartbeat { worker, held: None };
            let ops = [beat(other), beat(BAD), Op::Due { limit: 1, skip: 0 }];
            let mut driver = driver(Does::Fails(Blame::Operation), true);
            let committed = commit(&mut driver, &batch(&ops, &claims)).expect("the others are stored");
            assert_eq!(driver.kinds, expected, "claims before what is due, and none by who is gone");
            assert_eq!((committed.results.len(), committed.claimed.len()), (3, 1));
        }
    }

    #[test]
    fn a_store_in_trouble_is_not_taken_apart() {
        let (stored, driver) = commit_all(Does::Fails(Blame::Store), true);
        assert!(matches!(stored, Err(CommitError::NotStored(_))));
        assert_eq!(driver.attempts, [256]);
        let (stored, driver) = commit_all(Does::Fails(Blame::Either), false);
        assert!(matches!(stored, Err(CommitError::NotStored(_))));
        assert_eq!(driver.attempts, [256, 256], "it was given a second chance");
        let (stored, driver) = commit_all(Does::Fails(Blame::Unknown), true);
        assert!(matches!(stored, Err(CommitError::Unknown(_))));
        assert_eq!(driver.attempts, [256], "what may have been stored is not stored again");
    }
}
