//! What an engine does by itself, besides commits: a list of duties, looked through by one thread.
//!
//! Engines that run workers or serve other processes have duties; a process that only asks or creates has none.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tasker_store::{Op, threads};

use crate::Closing;
use crate::committer::Shared;

/// How often the list is looked through, at least.
const LOOK: Duration = Duration::from_millis(250);
/// When it is first noted in the store which duties have run, and how often from then on. A duty that runs more often
/// is not worth more writes.
const NOTE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

type Run = Box<dyn FnMut(&Shared) -> Option<Duration> + Send>;

/// Something to be done again and again.
pub(crate) struct Duty {
    /// What the doctor calls it.
    pub(crate) name: &'static str,
    /// Shortest time between two runs, unless a run asks for another.
    pub(crate) every: Duration,
    /// Only where workers run: a server without any is free of it.
    pub(crate) needs_workers: bool,
    /// Does it; gives when to do it next, if not after the usual time.
    pub(crate) run: Run,
}

/// Does the duties when they are due, until the engine closes.
pub(crate) fn run(shared: &Shared, duties: Vec<Duty>, closing: &Closing) {
    let started = Instant::now();
    let mut duties: Vec<(Instant, Duty)> = duties.into_iter().map(|duty| (started, duty)).collect();
    let (mut ran, mut note_at) = (BTreeSet::new(), started + NOTE.0);
    let mut pause = LOOK;
    while !closing.wait(pause) {
        pause = LOOK;
        let has_workers = !shared.sessions.lock().is_empty();
        if !shared.is_active() {
            continue;
        }
        for (due_at, duty) in duties.iter_mut().filter(|(_, duty)| has_workers || !duty.needs_workers) {
            if Instant::now() >= *due_at {
                // One duty that cannot be done keeps none of the others from being done.
                let done = catch_unwind(AssertUnwindSafe(|| (duty.run)(shared)));
                let asked = match done {
                    Ok(asked) => asked,
                    Err(panic) => {
                        let said = threads::said(&*panic);
                        tracing::error!(duty = duty.name, said, "a duty panicked; it is tried again when it is due");
                        None
                    }
                };
                *due_at = Instant::now() + asked.unwrap_or(duty.every);
                ran.insert(duty.name);
            }
            pause = pause.min(due_at.saturating_duration_since(Instant::now()));
        }
        if Instant::now() >= note_at && !ran.is_empty() {
            note_at = Instant::now() + NOTE.1;
            let names = std::mem::take(&mut ran).into_iter().map(String::from).collect();
            shared.send(Op::DutiesRan { names });
        }
    }
}
