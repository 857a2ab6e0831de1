//! Removing what ended long ago, a little at a time.

use std::time::{Duration, Instant};

use tasker_store::{Done, Op, Pruned};
use tasker_wire::Error;

use crate::Engine;
use crate::committer::Shared;

/// Tasks removed in one commit; live tasks wait no longer than it takes.
const BATCH: usize = 100;
/// How often ended tasks are looked for while there are none old enough.
const LOOK: Duration = Duration::from_secs(60);
/// When a process looks first; most commands have ended by then.
const FIRST: Duration = Duration::from_secs(1);
/// Share of the time that the housekeeper leaves to others: it rests this many times as long as a removal took.
const REST: u32 = 9;
const DAY_MS: i64 = 86_400_000;

/// For how many days ended tasks are kept: `TASKER_RETENTION_DAYS`, 30 when absent, 0 for ever.
pub(crate) fn days_of_environment() -> u32 {
    let Some(text) = std::env::var("TASKER_RETENTION_DAYS").ok().filter(|t| !t.is_empty()) else { return 30 };
    text.parse().unwrap_or_else(|_| {
        tracing::warn!(value = text, "TASKER_RETENTION_DAYS is not a number of days; nothing is removed");
        0
    })
}

/// What the housekeeper remembers between its removals.
pub(crate) struct Retention {
    days: u32,
    next: Instant,
}

impl Retention {
    pub(crate) fn new(days: u32) -> Retention {
        Retention { days, next: Instant::now() + FIRST }
    }

    /// Removes a few tasks if it is time to.
    pub(crate) fn turn(&mut self, shared: &Shared) {
        if self.days == 0 || Instant::now() < self.next || !shared.clock.is_trusted() {
            return;
        }
        let started = Instant::now();
        let pause = match prune(shared, shared.clock.now() - i64::from(self.days) * DAY_MS) {
            Ok(Pruned { tasks, events, has_more }) => {
                if tasks + events > 0 {
                    tracing::info!(tasks, events, days = self.days, "removed what ended long ago");
                }
                if has_more { started.elapsed() * REST } else { LOOK }
            }
            Err(error) => {
                tracing::warn!(%error, "old tasks cannot be removed; trying again later");
                LOOK
            }
        };
        self.next = Instant::now() + pause;
    }
}

fn prune(shared: &Shared, before: i64) -> Result<Pruned, Error> {
    match shared.commit(vec![Op::Prune { before, limit: BATCH }]).pop() {
        Some(Ok(Done::Pruned(pruned))) => Ok(pruned),
        Some(Err(error)) => Err(error),
        _ => Ok(Pruned::default()),
    }
}

impl Engine {
    /// For how many days ended tasks are kept; 0: for ever.
    pub fn retention_days(&self) -> u32 {
        self.inner.options.retention_days
    }

    /// How many tasks [`Engine::prune`] would remove.
    pub fn prunable(&self, days: u32) -> Result<u64, Error> {
        self.store().prunable(self.before(days))
    }

    /// Removes tasks that ended more than some days ago, with everything that is theirs, and events acknowledged before
    /// then. Tasks with an open dead letter and events that nobody acknowledged stay. Gives how many tasks and events
    /// were removed; `progress` hears it after each commit.
    pub fn prune(&self, days: u32, progress: &mut dyn FnMut(u64, u64)) -> Result<(u64, u64), Error> {
        let before = self.before(days);
        let (mut tasks, mut events) = (0, 0);
        loop {
            let started = Instant::now();
            let pruned = prune(&self.inner.shared, before)?;
            tasks += pruned.tasks as u64;
            events += pruned.events as u64;
            if !pruned.has_more {
                return Ok((tasks, events));
            }
            progress(tasks, events);
            // Whoever else writes comes in between.
            std::thread::sleep(started.elapsed());
        }
    }

    fn before(&self, days: u32) -> i64 {
        // What ended in this very millisecond has ended.
        self.now() + 1 - i64::from(days) * DAY_MS
    }
}
