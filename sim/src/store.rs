//! One process's view of the shared store: everything it commits is written down, and goes wrong when it is told to.

use std::path::Path;
use std::sync::Arc;

use tasker_store::sync::Mutex;
use tasker_store::{
    AttemptRecord, AuditRecord, Batch, ClaimRequest, CommitError, Committed, DeadLetterRecord, Done, EventRecord, Op,
    StepRecord, Store, TaskRecord, TemplateRecord, WatchedRecord, WorkerRecord,
};
use tasker_wire::{DeadLetterFilter, DoctorReport, Error, EventFilter, Kind, Report, TaskFilter};
use uuid::Uuid;

use crate::dice::Dice;

/// What a process's next commit meets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// Nothing out of the ordinary.
    #[default]
    Fine,
    /// The process dies before it.
    DiesBefore,
    /// The process dies after it, before it hears of it.
    DiesAfter,
    /// The store takes it, and the process does not hear what became of it.
    LosesAnswer,
    /// The process has died.
    Dead,
}

/// Faults built in on purpose, to show that they are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A report is acknowledged and not stored.
    SwallowedReport,
    /// A creation is acknowledged and not stored.
    SwallowedTask,
    /// A report that comes too late is taken for the current attempt's.
    StaleFence,
    /// A step is given to a second worker while the first holds it.
    GivenTwice,
    /// Nobody is ever declared gone.
    DeafToDeath,
    /// Beats are not read, and verdicts hold whatever the beat is.
    BlindVerdict,
    /// Idempotency keys are forgotten.
    ForgottenKey,
    /// A step's result is stored, its child's place in the queue is not.
    LostChild,
}

/// A step as it was given to a worker.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    pub(crate) worker: i64,
    pub(crate) task: i64,
    pub(crate) no: u16,
    pub(crate) fence: u32,
}

/// A commit as the store answered it.
#[derive(Debug)]
pub struct Entry {
    pub(crate) process: usize,
    pub(crate) now: i64,
    pub(crate) ops: Vec<Op>,
    pub(crate) results: Vec<Result<Done, CommitError>>,
    pub(crate) given: Vec<Given>,
}

#[derive(Default)]
struct Seat {
    fate: Fate,
    /// Commits of its own.
    commits: u64,
    /// By how much the store's time is ahead of its monotonic clock.
    clock_offset: i64,
    /// Times its connection came about anew.
    connections: u64,
}

/// What all views share.
pub struct Book {
    entries: Vec<Entry>,
    /// Workers whose heartbeats were stored.
    beats: Vec<i64>,
    seats: Vec<Seat>,
    commits: u64,
    /// Commits that were tried.
    tried: u64,
    /// Commits by their number, and what the process meets that tries them.
    kills: Vec<(u64, Fate)>,
    unavailable: bool,
    /// Workers whose connections were seen to end.
    cut_off: Vec<i64>,
    /// Reads fail, one by one, so many in a hundred.
    flaky: Option<(Dice, u64)>,
    jitter: Dice,
    sabotage: Option<Sabotage>,
    sabotaged: u64,
    /// A way around the store, for sabotage.
    back_door: Option<rusqlite::Connection>,
}

impl Book {
    /// An empty book on the store in `file`.
    pub fn new(seed: u64, sabotage: Option<Sabotage>, file: &Path) -> Book {
        let back_door = sabotage.filter(|s| *s == Sabotage::LostChild);
        Book {
            entries: Vec::new(),
            beats: Vec::new(),
            seats: Vec::new(),
            commits: 0,
            tried: 0,
            kills: Vec::new(),
            unavailable: false,
            cut_off: Vec::new(),
            flaky: None,
            jitter: Dice::new(seed, 2),
            sabotage,
            sabotaged: 0,
            back_door: back_door.and_then(|_| rusqlite::Connection::open(file).ok()),
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }

    pub(crate) fn take_beats(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.beats)
    }

    pub(crate) fn set_fate(&mut self, process: usize, fate: Fate) {
        self.seats[process].fate = fate;
    }

    pub(crate) fn set_kills(&mut self, kills: Vec<(u64, Fate)>) {
        self.kills = kills;
    }

    /// By how much the time of the store is ahead of a process's monotonic clock from now on, milliseconds.
    pub fn set_clock_offset(&mut self, process: usize, offset: i64) {
        self.seats[process].clock_offset = offset;
    }

    pub(crate) fn fate(&self, process: usize) -> Fate {
        self.seats[process].fate
    }

    /// Whether the store refuses everything from now on.
    pub fn set_unavailable(&mut self, unavailable: bool) {
        self.unavailable = unavailable;
        // Everybody's connections end with it, which tells nothing.
        self.cut_off.clear();
    }

    pub(crate) fn set_cut_off(&mut self, worker: i64, is_cut: bool) {
        self.cut_off.retain(|w| *w != worker);
        if is_cut {
            self.cut_off.push(worker);
        }
    }

    pub(crate) fn is_cut_off(&self, worker: i64) -> bool {
        self.cut_off.contains(&worker)
    }

    /// The process looks after its connection, and lets its workers beat.
    pub(crate) fn connects(&mut self, process: usize) {
        self.seats[process].connections += 1;
    }

    pub(crate) fn set_flaky(&mut self, flaky: Option<(Dice, u64)>) {
        self.flaky = flaky;
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }
}

/// A process's view.
pub struct View {
    inner: Arc<dyn Store>,
    book: Arc<Mutex<Book>>,
    process: usize,
}

impl View {
    /// The view of one more process, and its number.
    pub fn new(inner: Arc<dyn Store>, book: &Arc<Mutex<Book>>) -> (View, usize) {
        let mut open = book.lock();
        open.seats.push(Seat::default());
        let process = open.seats.len() - 1;
        drop(open);
        (View { inner, book: book.clone(), process }, process)
    }

    fn reach(&self) -> Result<(), Error> {
        let book = self.book.lock();
        let gone = book.unavailable || book.seats[self.process].fate == Fate::Dead;
        if gone { Err(unavailable()) } else { Ok(()) }
    }

    /// Commits with one operation done wrong, if this is the time for it.
    fn sabotaged(&self, sabotage: Sabotage, batch: &Batch) -> Result<Committed, CommitError> {
        let mut ops: Vec<Op> = batch.ops.to_vec();
        let claims: Vec<ClaimRequest> = batch.claims.to_vec();
        let mut swallowed = Vec::new();
        let often = {
            let mut book = self.book.lock();
            book.sabotaged += 1;
            book.sabotaged.is_multiple_of(3)
        };
        match sabotage {
            Sabotage::SwallowedReport if often => {
                let lost = ops.iter().position(|op| matches!(op, Op::Finish { report: Report::Success { .. }, .. }));
                swallowed.extend(lost.map(|at| (at, Done::Finished { accepted: true })));
            }
            Sabotage::SwallowedTask if often => {
                let lost = ops.iter().position(|op| matches!(op, Op::Create(_)));
                swallowed.extend(lost.and_then(|at| {
                    let Op::Create(new) = &ops[at] else { return None };
                    Some((at, Done::Created { task: i64::MAX >> 20, uuid: new.uuid, existing: false }))
                }));
            }
            Sabotage::StaleFence => {
                for op in &mut ops {
                    if let Op::Finish { task, no, fence, .. } = op
                        && let Some(step) =
                            self.inner.steps(*task).map_err(CommitError::NotStored)?.iter().find(|s| s.step.no == *no)
                    {
                        *fence = step.step.fence;
                    }
                }
            }
            Sabotage::DeafToDeath => {
                let lost = ops.iter().position(|op| matches!(op, Op::WorkerGone { stopped: false, .. }));
                swallowed.extend(lost.map(|at| (at, Done::Gone(None))));
            }
            Sabotage::BlindVerdict => {
                for op in &mut ops {
                    if let Op::WorkerGone { beat, .. } = op {
                        *beat = None;
                    }
                }
            }
            Sabotage::ForgottenKey => {
                for op in &mut ops {
                    if let Op::Create(new) = op
                        && let Some(identity) = &mut new.idempotency
                    {
                        identity.key = new.uuid.to_string();
                    }
                }
            }
            _ => {}
        }
        for (at, _) in &swallowed {
            ops.remove(*at);
        }
        let mut committed = self.inner.commit(&Batch { ops: &ops, claims: &claims, ..*batch })?;
        for (at, done) in swallowed {
            committed.results.insert(at, Ok(done));
        }
        if sabotage == Sabotage::GivenTwice
            && let Some(twice) = committed.claimed.iter().find_map(|c| c.first()).cloned()
            && often
            && let Some(last) = committed.claimed.last_mut()
        {
            last.push(twice);
        }
        Ok(committed)
    }
}

fn unavailable() -> Error {
    Error::new(Kind::Unavailable, "store_unavailable", "the store is out of reach, as the simulation wants it")
        .hint("wait")
}

impl Store for View {
    fn url(&self) -> &str {
        self.inner.url()
    }

    fn durability(&self) -> String {
        self.inner.durability()
    }

    fn commit(&self, batch: &Batch) -> Result<Committed, CommitError> {
        self.reach().map_err(CommitError::NotStored)?;
        let (fate, sabotage, jitter) = {
            let mut book = self.book.lock();
            book.tried += 1;
            let tried = book.tried;
            let kill = book.kills.iter().find(|(commit, _)| *commit == tried).map(|(_, fate)| *fate);
            let fate = kill.unwrap_or(book.seats[self.process].fate);
            if fate == Fate::DiesBefore {
                book.seats[self.process].fate = Fate::Dead;
                return Err(CommitError::NotStored(unavailable()));
            }
            (fate, book.sabotage, book.jitter.any())
        };
        let batch = Batch { jitter_seed: batch.jitter_seed.map(|_| jitter), ..*batch };
        let committed = match sabotage {
            Some(sabotage) => self.sabotaged(sabotage, &batch)?,
            None => self.inner.commit(&batch)?,
        };
        if fate == Fate::DiesAfter
            && let Some(door) = &self.book.lock().back_door
        {
            // Whatever this commit queued is forgotten with its process.
            door.execute("DELETE FROM ready WHERE enqueued_at = ?1", [batch.now])
                .map_err(|_| CommitError::NotStored(unavailable()))?;
        }
        let mut given = Vec::new();
        for (claim, claimed) in batch.claims.iter().zip(&committed.claimed) {
            given.extend(claimed.iter().map(|c| Given {
                worker: claim.worker,
                task: c.task,
                no: c.no,
                fence: c.fence,
            }));
        }
        let is_idle = |r: &Result<Done, CommitError>| {
            matches!(r, Ok(Done::Due(0) | Done::Beat { alive: true } | Done::Gone(None)))
        };
        let hands_back = batch.ops.iter().any(|op| matches!(op, Op::Heartbeat { held: Some(_), .. }));
        let idle = committed.results.iter().all(is_idle) && given.is_empty() && !hands_back;
        let mut book = self.book.lock();
        for (op, result) in batch.ops.iter().zip(&committed.results) {
            if let (Op::Heartbeat { worker, .. }, Ok(Done::Beat { alive: true })) = (op, result) {
                book.beats.push(*worker);
            }
        }
        if !idle {
            book.commits += 1;
            book.seats[self.process].commits += 1;
            let (ops, results) = (batch.ops.to_vec(), committed.results.clone());
            book.entries.push(Entry { process: self.process, now: batch.now, ops, results, given });
        }
        if fate == Fate::DiesAfter {
            book.seats[self.process].fate = Fate::Dead;
            return Err(CommitError::NotStored(unavailable()));
        }
        if fate == Fate::LosesAnswer {
            book.seats[self.process].fate = Fate::Fine;
            return Err(CommitError::Unknown(unavailable()));
        }
        Ok(committed)
    }

    fn version(&self) -> Result<u64, Error> {
        self.reach()?;
        let book = self.book.lock();
        Ok(book.commits - book.seats[self.process].commits)
    }

    fn clock_offset(&self) -> i64 {
        self.book.lock().seats[self.process].clock_offset
    }

    fn watched(&self) -> Result<Vec<WatchedRecord>, Error> {
        self.reach()?;
        let mut rows = self.inner.watched()?;
        if self.book.lock().sabotage == Some(Sabotage::BlindVerdict) {
            rows.iter_mut().for_each(|row| row.beat = 0);
        }
        Ok(rows)
    }

    fn cut_off(&self) -> Vec<i64> {
        self.book.lock().cut_off.clone()
    }

    fn connections(&self) -> u64 {
        self.book.lock().seats[self.process].connections
    }

    fn next_wake(&self) -> Result<Option<i64>, Error> {
        self.reach()?;
        if self.book.lock().flaky.as_mut().is_some_and(|(dice, percent)| dice.often(*percent)) {
            return Err(unavailable());
        }
        self.inner.next_wake()
    }

    fn high_water(&self) -> Result<i64, Error> {
        self.inner.high_water()
    }

    fn workflow(&self, template: i64) -> Result<Arc<tasker_core::graph::Workflow>, Error> {
        self.inner.workflow(template)
    }

    fn template_source(&self, template: i64) -> Result<(String, String, Option<String>), Error> {
        self.inner.template_source(template)
    }

    fn prunable(&self, before: i64) -> Result<u64, Error> {
        self.reach()?;
        self.inner.prunable(before)
    }

    fn find_template(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<TemplateRecord>, Error> {
        self.reach()?;
        self.inner.find_template(namespace, name, version)
    }

    fn templates(&self) -> Result<Vec<TemplateRecord>, Error> {
        self.inner.templates()
    }

    fn task(&self, uuid: Uuid) -> Result<Option<TaskRecord>, Error> {
        self.inner.task(uuid)
    }

    fn tasks(&self, filter: &TaskFilter) -> Result<(Vec<TaskRecord>, u64), Error> {
        self.inner.tasks(filter)
    }

    fn steps(&self, task: i64) -> Result<Vec<StepRecord>, Error> {
        self.inner.steps(task)
    }

    fn attempts(&self, task: i64) -> Result<Vec<AttemptRecord>, Error> {
        self.inner.attempts(task)
    }

    fn history(&self, task: i64) -> Result<(Vec<StepRecord>, Vec<AttemptRecord>), Error> {
        self.inner.history(task)
    }

    fn results(&self, task: i64, steps: &[u16]) -> Result<Vec<Option<String>>, Error> {
        self.reach()?;
        self.inner.results(task, steps)
    }

    fn lost(&self, held: &[(i64, u16, u32)]) -> Result<Vec<(i64, u16, u32)>, Error> {
        self.reach()?;
        self.inner.lost(held)
    }

    fn inputs(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.inner.inputs(task, no)
    }

    fn checkpoint(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.inner.checkpoint(task, no)
    }

    fn audit(&self, task: i64) -> Result<Vec<AuditRecord>, Error> {
        self.inner.audit(task)
    }

    fn task_uuids(&self, filter: &TaskFilter) -> Result<Vec<Uuid>, Error> {
        self.inner.task_uuids(filter)
    }

    fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRecord>, Error> {
        self.inner.dead_letters(filter)
    }

    fn events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>, Error> {
        self.inner.events(filter)
    }

    fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.inner.workers()
    }

    fn doctor(&self, now: i64) -> Result<DoctorReport, Error> {
        self.inner.doctor(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::NAMESPACE;
    use crate::world::Ground;
    use tasker_core::state::TaskState;
    use tasker_runtime::stepper::Stepper;
    use tasker_wire::{TaskRequest, json_text};

    #[test]
    fn a_process_that_could_not_read_when_the_next_row_is_due_looks_again() {
        let ground = Ground::new().expect("a store in memory opens");
        let book = Arc::new(Mutex::new(Book::new(1, None, Path::new(""))));
        let now = ground.store().high_water().expect("it is read") + 1_000;
        let stepper = || {
            let (view, number) = View::new(ground.store().clone(), &book);
            book.lock().set_clock_offset(number, now);
            let stepper = Stepper::new(Arc::new(view), 0, 3).expect("an engine opens");
            stepper.serve();
            stepper
        };
        let (mut other, mut reader) = (stepper(), stepper());
        let mut request = TaskRequest::new(NAMESPACE, "chain", json_text("{}".into()));
        request.run_at = Some(tasker_store::time(now + 5_000));
        let uuid = uuid::Builder::from_unix_timestamp_millis(now as u64, &[7; 10]).into_uuid();
        let new = other.new_task(&request, uuid).expect("the request is valid");
        let task = new.uuid;
        other.send(Op::Create(Box::new(new)));
        other.turn();
        drop(other);
        // It notices the commit, and cannot read what follows from it.
        book.lock().set_flaky(Some((Dice::new(1, 1), 100)));
        reader.advance(20);
        reader.turn();
        book.lock().set_flaky(None);
        for _ in 0..10 {
            reader.advance(1_000);
            reader.turn();
        }
        let state = ground.store().task(task).expect("it is read").expect("it exists").task.state;
        assert_eq!(state, TaskState::StepsInProcess);
    }
}
