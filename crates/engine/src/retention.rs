//! Removing what ended long ago, a little at a time.

use std::time::{Duration, Instant};

use tasker_store::{Done, Op, Pruned};
use tasker_wire::Error;

use crate::Engine;
use crate::committer::Shared;
use crate::duties::Duty;

/// Tasks removed in one commit; live tasks wait no longer than it takes.
const BATCH: usize = 100;
/// How often ended tasks are looked for while there are none old enough.
const LOOK: Duration = Duration::from_secs(60);
/// Share of the time that is left to others: nothing is removed for this many times as long as a removal took.
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

/// Removes a few tasks that ended more than `days` ago, and more as long as there are any.
pub(crate) fn duty(days: u32) -> Option<Duty> {
    let run = move |shared: &Shared| {
        if !shared.clock.is_trusted() {
            return None;
        }
        let started = Instant::now();
        match prune(shared, shared.clock.now() - i64::from(days) * DAY_MS) {
            Ok(Pruned { tasks, events, has_more }) => {
                if tasks + events > 0 {
                    tracing::info!(tasks, events, days, "removed what ended long ago");
                }
                has_more.then(|| started.elapsed() * REST)
            }
            Err(error) => {
                tracing::warn!(%error, "old tasks cannot be removed; trying again later");
                None
            }
        }
    };
    (days > 0).then(|| Duty { name: "retention", every: LOOK, needs_workers: false, run: Box::new(run) })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use tasker_core::id;
    use tasker_store::sqlite::Sqlite;
    use tasker_store::{NewTask, Order, Store, TemplateSource, compile};
    use tasker_wire::TaskFilter;
    use uuid::Uuid;

    use super::*;
    use crate::clock::Clock;
    use crate::committer;

    const NOW: i64 = 1_800_000_000_000;

    /// Does something in a process with a clock.
    fn at<T>(store: &Arc<dyn Store>, clock: Clock, work: impl FnOnce(&Shared) -> T) -> T {
        let shared = Shared::new(store.clone(), clock, false, 3);
        thread::scope(|scope| {
            scope.spawn(|| committer::run(&shared));
            let done = work(&shared);
            shared.close();
            done
        })
    }

    fn ended_task(shared: &Shared) {
        let yaml = "name: t\nsteps: [{name: a, handler: h}]";
        let workflow = Arc::new(compile(yaml, "t.yaml", None).expect("a template"));
        let t = &workflow.template;
        let identity = (t.namespace.clone(), t.name.clone(), t.version.clone());
        let source = TemplateSource { path: "t.yaml".into(), source: yaml.into(), environment: None, identity };
        let added = shared.commit(vec![Op::AddTemplate(source)]).remove(0);
        let Ok(Done::Template(template)) = added else { panic!("{added:?}") };
        let task = id::task_uuid(Uuid::now_v7());
        let new = NewTask {
            uuid: task,
            template,
            workflow,
            context: "{}".into(),
            details: "{}".into(),
            priority: 0,
            start_at: None,
            idempotency: None,
        };
        let cancel = Op::Act { task, order: Order::Cancel, actor: "a".into(), reason: "r".into() };
        let done = shared.commit(vec![Op::Create(Box::new(new)), cancel]);
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }

    #[test]
    fn a_clock_that_is_ahead_of_the_store_removes_nothing_until_it_has_stood_for_a_while() {
        let store: Arc<dyn Store> = Arc::new(Sqlite::open("sqlite::memory:").expect("a store"));
        at(&store, Clock::standing(0, NOW, 0), |shared| (ended_task(shared), ended_task(shared)));
        let left = || store.tasks(&TaskFilter::default()).expect("a list").1;
        let mut duty = duty(30).expect("a duty");
        // Forty days ahead of what was written last; and set forward while the process runs.
        let jumped = Clock::standing(0, NOW, NOW);
        jumped.follow(NOW + 40 * DAY_MS);
        for clock in [Clock::standing(0, NOW + 40 * DAY_MS, NOW), jumped] {
            at(&store, clock, |shared| assert_eq!((duty.run)(shared), None));
            assert_eq!(left(), 2);
        }
        let ahead = Clock::standing(0, NOW + 40 * DAY_MS, NOW);
        ahead.pass(600_000);
        at(&store, ahead, |shared| (duty.run)(shared));
        assert_eq!(left(), 1, "clocks have agreed for ten minutes, and the newest always stays");
    }
}
