//! What operators and consumers of events do: many tasks at once, dead letters, domain events.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use tasker_core::state::{DeadLetterReason, TaskState};
use tasker_store::{Done, LetterOrder, Op, Order, events_queue};
use tasker_wire::{
    BulkView, DeadLetterFilter, DeadLetterGroup, DeadLetterView, Error, EventFilter, EventView, Kind, TaskFilter,
};
use uuid::Uuid;

use crate::{Engine, create, views};

/// Actions in one commit.
const CHUNK: usize = 100;
/// Refusals that are told.
const REFUSALS_MAX: usize = 20;
/// Events in one read.
pub(crate) const EVENTS_MAX: u32 = 1_000;

fn unknown(what: &str, known: impl Iterator<Item = &'static str>) -> Error {
    Error::new(Kind::Invalid, "invalid_request", what)
        .hint(format!("use one of {}", known.collect::<Vec<_>>().join(", ")))
}

/// Refuses a filter whose words mean nothing.
pub(crate) fn check(filter: &TaskFilter) -> Result<(), Error> {
    if let Some(status) = filter.status.as_ref().filter(|s| *s != "paused" && TaskState::parse(s).is_none()) {
        let known = TaskState::ALL.iter().map(|s| s.as_str()).chain(["paused"]);
        return Err(unknown(&format!("`{status}` is not a task status"), known));
    }
    for (field, time) in [("created_after", &filter.created_after), ("created_before", &filter.created_before)] {
        if let Some(time) = time {
            create::parse_time(field, time)?;
        }
    }
    Ok(())
}

fn check_letters(filter: &DeadLetterFilter) -> Result<(), Error> {
    match filter.reason.as_ref().filter(|r| DeadLetterReason::parse(r).is_none()) {
        None => Ok(()),
        Some(reason) => {
            let known = DeadLetterReason::ALL.iter().map(|r| r.as_str());
            Err(unknown(&format!("`{reason}` is not a reason of dead letters"), known))
        }
    }
}

impl Engine {
    /// Does an action on every task a filter matches, [`CHUNK`] in a commit; those it does not fit refuse it.
    ///
    /// `order` gives the action for a task (steps have other numbers in other templates); `progress` hears
    /// `(handled, matched)` after each commit. A dry run only counts.
    pub fn act_all(
        &self,
        filter: &TaskFilter,
        order: &dyn Fn(Uuid) -> Result<Order, Error>,
        actor: &str,
        reason: &str,
        dry_run: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BulkView, Error> {
        check(filter)?;
        let tasks = self.store().task_uuids(filter)?;
        let act =
            |task: &Uuid| Ok(Op::Act { task: *task, order: order(*task)?, actor: actor.into(), reason: reason.into() });
        Ok(self.bulk(&tasks, &act, dry_run, progress))
    }

    fn bulk<T>(
        &self,
        targets: &[T],
        op: &dyn Fn(&T) -> Result<Op, Error>,
        dry_run: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> BulkView {
        let mut view = BulkView { matched: targets.len() as u64, ..BulkView::default() };
        if dry_run {
            return view;
        }
        for chunk in targets.chunks(CHUNK) {
            let (mut ops, mut results) = (Vec::new(), Vec::new());
            for target in chunk {
                match op(target) {
                    Ok(op) => ops.push(op),
                    Err(error) => results.push(Err(error)),
                }
            }
            results.extend(self.inner.shared.commit(ops));
            for result in results {
                match result {
                    Ok(_) => view.done += 1,
                    Err(error) => {
                        view.refused += 1;
                        if view.refusals.len() < REFUSALS_MAX {
                            view.refusals.push(error.message);
                        }
                    }
                }
            }
            progress(view.done + view.refused, view.matched);
        }
        view
    }

    /// Dead letters, newest first; at most 50 unless the filter says otherwise.
    pub fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterView>, Error> {
        check_letters(filter)?;
        let filter = DeadLetterFilter { limit: filter.limit.or(Some(50)), ..filter.clone() };
        Ok(self.store().dead_letters(&filter)?.into_iter().map(views::dead_letter).collect())
    }

    /// A dead letter by its number.
    pub fn dead_letter(&self, id: i64) -> Result<DeadLetterView, Error> {
        let filter = DeadLetterFilter { all: true, ..DeadLetterFilter::default() };
        let found = self.store().dead_letters(&filter)?.into_iter().find(|l| l.id == id);
        found.map(views::dead_letter).ok_or_else(|| {
            Error::new(Kind::NotFound, "dead_letter_not_found", format!("there is no dead letter {id}"))
                .hint("list them with `tasker dlq ls`")
        })
    }

    /// Dead letters by kind of error, the most frequent first.
    pub fn dead_letter_groups(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterGroup>, Error> {
        check_letters(filter)?;
        let mut groups: IndexMap<String, DeadLetterGroup> = IndexMap::new();
        for letter in self.store().dead_letters(&DeadLetterFilter { limit: None, ..filter.clone() })? {
            let group = groups.entry(letter.fingerprint.clone()).or_insert_with(|| DeadLetterGroup {
                fingerprint: letter.fingerprint,
                count: 0,
                template: format!("{}/{}", letter.namespace, letter.name),
                step: letter.step,
                error_type: letter.error_type,
                message: letter.message,
            });
            group.count += 1;
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|g| std::cmp::Reverse(g.count));
        Ok(groups)
    }

    /// Acts on one dead letter and gives it as it is then.
    pub fn settle(&self, id: i64, order: LetterOrder, actor: &str, reason: &str) -> Result<DeadLetterView, Error> {
        self.commit_one(Op::DeadLetter { id, order, actor: actor.into(), reason: reason.into() })?;
        self.dead_letter(id)
    }

    /// Acts on every dead letter a filter matches; see [`Engine::act_all`].
    pub fn settle_all(
        &self,
        filter: &DeadLetterFilter,
        order: &LetterOrder,
        actor: &str,
        reason: &str,
        dry_run: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BulkView, Error> {
        check_letters(filter)?;
        // Oldest first: who has waited longest runs first.
        let mut ids: Vec<i64> = self.store().dead_letters(filter)?.iter().map(|l| l.id).collect();
        ids.reverse();
        let act =
            |id: &i64| Ok(Op::DeadLetter { id: *id, order: order.clone(), actor: actor.into(), reason: reason.into() });
        Ok(self.bulk(&ids, &act, dry_run, progress))
    }

    /// Stored domain events, oldest first; at most [`EVENTS_MAX`] unless the filter says otherwise.
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<EventView>, Error> {
        let filter = EventFilter { limit: filter.limit.or(Some(EVENTS_MAX)), ..filter.clone() };
        Ok(self.store().events(&filter)?.into_iter().map(views::event).collect())
    }

    /// Takes durable events of a namespace: invisible to other readers for `visibility`, then read again unless
    /// acknowledged. Waits at most `wait` for the first one.
    pub fn read_events(
        &self,
        namespace: &str,
        limit: u32,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<EventView>, Error> {
        let deadline = Instant::now() + wait;
        let queue = events_queue(namespace);
        loop {
            let seen = self.inner.shared.events_seen();
            let visible_at = self.now().saturating_add(visibility.as_millis().min(1 << 40) as i64);
            let limit = limit.clamp(1, EVENTS_MAX) as usize;
            let read = self.commit_one(Op::ReadEvents { queue: queue.clone(), limit, visible_at })?;
            let events = if let Done::Events(events) = read { events } else { Vec::new() };
            if !events.is_empty() || Instant::now() >= deadline {
                return Ok(events.into_iter().map(views::event).collect());
            }
            self.inner.shared.wait_for_events(seen, deadline);
        }
    }

    /// Acknowledges events by their numbers; how many were not before.
    pub fn acknowledge_events(&self, ids: Vec<i64>) -> Result<u64, Error> {
        self.count(Op::ArchiveEvents { ids })
    }

    /// Makes the events a filter matches readable again, acknowledged or not; how many.
    pub fn replay_events(&self, filter: &EventFilter, dry_run: bool) -> Result<u64, Error> {
        let ids: Vec<i64> = self.store().events(filter)?.iter().map(|e| e.msg_id).collect();
        if dry_run {
            return Ok(ids.len() as u64);
        }
        let mut count = 0;
        for chunk in ids.chunks(EVENTS_MAX as usize) {
            count += self.count(Op::ReplayEvents { ids: chunk.to_vec() })?;
        }
        Ok(count)
    }

    fn count(&self, op: Op) -> Result<u64, Error> {
        Ok(if let Done::Due(count) = self.commit_one(op)? { count as u64 } else { 0 })
    }
}
