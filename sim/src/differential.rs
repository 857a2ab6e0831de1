//! The same operations on two stores: both must answer alike and hold the same afterwards.
//!
//! Numbers that a store gives out (rows of tasks, workers, templates, letters, events) may differ; everything else may
//! not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use tasker_core::state::TaskState;
use tasker_store::{
    Batch, ClaimRequest, Claimed, Committed, Done, Holding, Idempotency, LetterOrder, NewTask, NewWorker, Op, Order,
    Store, TaskRecord, events_queue,
};
use tasker_wire::{DeadLetterFilter, EventFilter, Report, TaskFilter};
use uuid::Uuid;

use crate::dice::Dice;
use crate::script::{self, Attempt};
use crate::templates::{self, NAMESPACE, SIDE_QUEUE};

/// How the second store is given what the first is given in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In the same batches.
    Alike,
    /// One operation a batch, and claims by themselves, on both sides.
    OneByOne,
}

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
pub struct Compared {
    /// Batches.
    pub batches: u64,
    /// Operations.
    pub ops: u64,
    /// Claims that took a step.
    pub claims: u64,
    /// Task rows.
    pub tasks: u64,
    /// Claims that needed a second commit.
    pub late: u64,
}

/// Numbers of the one store by those of the other.
#[derive(Default)]
struct Map(BTreeMap<i64, i64>);

impl Map {
    fn put(&mut self, left: i64, right: i64) -> Result<(), String> {
        match self.0.insert(left, right) {
            Some(before) if before != right => Err(format!("row {left} was {before} and is {right}")),
            _ => Ok(()),
        }
    }

    fn right(&self, left: i64) -> i64 {
        self.0.get(&left).copied().unwrap_or(left)
    }
}

struct Task {
    id: i64,
    uuid: Uuid,
    steps: BTreeSet<u16>,
}

struct Pair<'a> {
    left: &'a dyn Store,
    right: &'a dyn Store,
    way: Way,
    now: i64,
    tasks: Map,
    workers: Map,
    templates: Map,
    messages: Map,
    letters: Map,
    known: Vec<Task>,
    seats: Vec<(ClaimRequest, String)>,
    /// Claims ever given on the left: who, what, its script.
    given: Vec<(i64, Claimed)>,
    compared: Compared,
}

/// Does `batches` random batches on both stores, which must be empty; the first difference.
pub fn differ(left: &dyn Store, right: &dyn Store, seed: u64, batches: u64, way: Way) -> Result<Compared, String> {
    let mut pair = Pair {
        left,
        right,
        way,
        now: 1_800_000_000_000,
        tasks: Map::default(),
        workers: Map::default(),
        templates: Map::default(),
        messages: Map::default(),
        letters: Map::default(),
        known: Vec::new(),
        seats: Vec::new(),
        given: Vec::new(),
        compared: Compared::default(),
    };
    let dice = &mut Dice::new(seed, 40);
    let told = |at: u64| move |what: String| format!("seed {seed}, batch {at}, {way:?}: {what}");
    pair.set_up().map_err(told(0))?;
    for batch in 1..=batches {
        pair.step(dice, batch).map_err(told(batch))?;
    }
    pair.everything().map_err(told(batches))?;
    Ok(pair.compared)
}

/// The first row in which two tables differ.
fn equal_rows(what: &str, left: Vec<String>, right: Vec<String>) -> Result<(), String> {
    let at = (0..left.len().max(right.len())).find(|at| left.get(*at) != right.get(*at));
    at.map_or(Ok(()), |at| equal(&format!("row {at} of {what}"), left.get(at), right.get(at)))
}

fn equal<T: Debug + PartialEq>(what: &str, left: T, right: T) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}:\n  left  {left:?}\n  right {right:?}")) }
}

impl Pair<'_> {
    fn set_up(&mut self) -> Result<(), String> {
        let mut ops: Vec<Op> = templates::all().into_iter().map(|(_, op)| op).collect();
        for number in 0..4 {
            let both = [NAMESPACE.to_string(), SIDE_QUEUE.to_string()];
            let queues = if number == 1 { both[1..].to_vec() } else { both.to_vec() };
            ops.push(Op::AddWorker(Box::new(NewWorker {
                name: format!("w{number}"),
                language: "rust".into(),
                sdk_version: "0".into(),
                queues,
                handlers: vec!["h".into()],
                slots: 3,
                pid: 1,
                lease_ms: 2_000,
            })));
        }
        self.both(&ops, &[], None, 3, Holding::default())
    }

    fn step(&mut self, dice: &mut Dice, batch: u64) -> Result<(), String> {
        self.now += *dice.one(&[0, 1, 30, 400, 3_000]);
        let mut ops = Vec::new();
        for _ in 0..dice.below(6) {
            ops.extend(self.op(dice)?);
        }
        if self.way == Way::OneByOne {
            // What is due comes last in a commit.
            ops.sort_by_key(|op| matches!(op, Op::Due { .. }));
        }
        // Each row that is looked at draws, needed or not.
        let looks = ops
            .iter()
            .any(|op| matches!(op, Op::Due { .. } | Op::WorkerGone { .. } | Op::Heartbeat { held: Some(_), .. }));
        let seed = dice.often(50).then(|| dice.any()).filter(|_| self.way == Way::Alike && !looks);
        let mut claims = Vec::new();
        for (claim, _) in &self.seats {
            if dice.often(50) {
                claims.push(ClaimRequest { slots: 1 + dice.below(3) as usize, ..claim.clone() });
            }
        }
        if !ops.is_empty() && self.way == Way::Alike {
            // See below: what a claim leaves, a second one may take, and its own next queue.
            claims.truncate(1);
            for claim in &mut claims {
                claim.queues = vec![dice.one(&claim.queues).clone()].into();
            }
        }
        if self.way == Way::OneByOne {
            // A claim beside an operation may take what it makes ready before what waits: not the same order.
            self.both(&ops, &[], None, 3, Holding::default())?;
            ops.clear();
        }
        // A busy worker passes fresh suspects by, and a store that reads its queues ahead of the operations sees fewer places
        // behind them.
        let busy = if self.way == Way::OneByOne { dice.below(2) as usize } else { 0 };
        let holding = Holding { steps: busy, suspect: dice.often(5) };
        self.both(&ops, &claims, seed, 3, holding)?;
        if batch.is_multiple_of(16) { self.everything() } else { Ok(()) }
    }

    fn op(&mut self, dice: &mut Dice) -> Result<Option<Op>, String> {
        let any_task = |dice: &mut Dice| {
            (!self.known.is_empty()).then(|| &self.known[dice.below(self.known.len() as u64) as usize])
        };
        Ok(match dice.below(20) {
            0..3 if self.known.len() < 24 => {
                let records = self.left.templates().map_err(|e| e.to_string())?;
                let record = dice.one(&records);
                let workflow = self.left.workflow(record.id).map_err(|e| e.to_string())?;
                let mut random = [0; 10];
                random[..8].copy_from_slice(&dice.any().to_be_bytes());
                let uuid = uuid::Builder::from_unix_timestamp_millis(self.now as u64, &random).into_uuid();
                let key = dice.below(6);
                Some(Op::Create(Box::new(NewTask {
                    uuid: tasker_core::id::task_uuid(uuid),
                    template: record.id,
                    workflow,
                    context: format!("{{\"script\": {}}}", dice.below(1_000_000)).into(),
                    details: format!(
                        "{{\"initiator\": \"i{key}\", \"tags\": [\"t{key}\"], \"correlation_id\": \"c\"}}"
                    )
                    .into(),
                    priority: dice.between(-2, 2) as i32,
                    start_at: dice.often(15).then(|| self.now + dice.between(1, 5_000)),
                    idempotency: dice.often(40).then(|| Idempotency {
                        key: format!("key {key}"),
                        digest: dice.below(2).to_string(),
                        strict: dice.often(20),
                    }),
                })))
            }
            0..10 => {
                // Mostly what was given last, which is mostly still held.
                let last = self.given.len().min(if dice.often(85) { 8 } else { usize::MAX });
                if last == 0 {
                    return Ok(None);
                }
                let (worker, c) = self.given[self.given.len() - 1 - dice.below(last as u64) as usize].clone();
                let Some(info) = &c.info else { return Ok(None) };
                let script = info.context.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
                let cursor = u32::from(c.has_checkpoint) * 2;
                let attempt = Attempt { no: c.no, step: c.step, fence: c.fence, failures: c.failures, cursor };
                let mut report = script::report(&info.workflow, script, script::plan(script, c.no), &attempt);
                if dice.often(5) {
                    report = Report::Release { delay_ms: dice.between(0, 1) * 200 };
                }
                Some(Op::Finish { task: c.task, no: c.no, fence: c.fence, worker, report, events: Vec::new() })
            }
            10 | 11 => {
                let worker = dice.one(&self.seats).0.worker;
                let own = self.given.iter().rev().filter(|(by, _)| *by == worker);
                let held = own.take(4).filter(|_| dice.often(80)).map(|(_, c)| (c.task, c.no, c.fence)).collect();
                Some(Op::Heartbeat { worker, held: Some(held) })
            }
            // Which of many are taken first is open.
            12 | 13 => Some(Op::Due { limit: 1_000, skip: 0 }),
            14 => {
                let worker = dice.one(&self.seats).0.worker;
                let beat = dice.often(50).then(|| dice.between(1, 4));
                Some(Op::WorkerGone { worker, beat, stopped: dice.often(50) })
            }
            15 => {
                let (claim, name) = dice.one(&self.seats).clone();
                Some(match dice.below(4) {
                    0 | 1 => Op::Heartbeat { worker: claim.worker, held: None },
                    2 => Op::Draining { worker: claim.worker },
                    _ => Op::AddWorker(Box::new(NewWorker {
                        name,
                        language: "rust".into(),
                        sdk_version: "0".into(),
                        queues: claim.queues.to_vec(),
                        handlers: vec!["h".into()],
                        slots: 3,
                        pid: 1,
                        lease_ms: 2_000,
                    })),
                })
            }
            16 => {
                let Some(task) = any_task(dice) else { return Ok(None) };
                let filter = DeadLetterFilter { task_uuid: Some(task.uuid.to_string()), ..DeadLetterFilter::default() };
                let letters = self.left.dead_letters(&filter).map_err(|e| e.to_string())?;
                let order = match dice.below(3) {
                    0 => LetterOrder::Replay,
                    1 => LetterOrder::Discard,
                    _ => LetterOrder::Annotate("a note".into()),
                };
                letters.first().map(|l| Op::DeadLetter { id: l.id, order, actor: "a".into(), reason: "r".into() })
            }
            17 => Some(match dice.below(3) {
                0 => Op::ReadEvents { queue: events_queue(NAMESPACE), limit: 3, visible_at: self.now + 1_000 },
                kind => {
                    let events = self.left.events(&EventFilter::default()).map_err(|e| e.to_string())?;
                    let ids = events.iter().map(|e| e.msg_id).filter(|_| dice.often(20)).collect();
                    if kind == 1 { Op::ArchiveEvents { ids } } else { Op::ReplayEvents { ids } }
                }
            }),
            _ => {
                let Some(task) = any_task(dice) else { return Ok(None) };
                let steps: Vec<u16> = task.steps.iter().copied().collect();
                let no = if steps.is_empty() { 0 } else { *dice.one(&steps) };
                let order = match dice.below(12) {
                    0 => Order::Cancel,
                    1 | 2 => Order::Pause,
                    3..6 => Order::Resume,
                    6 => Order::RetryFailed,
                    7 | 8 => Order::Reset(no),
                    9 => Order::ResolveStep(no),
                    10 => Order::CompleteStep(no, "{\"by\": \"hand\"}".into()),
                    _ => {
                        if dice.often(50) {
                            Order::GiveUp
                        } else {
                            Order::ResolveTask
                        }
                    }
                };
                Some(Op::Act { task: task.uuid, order, actor: "a".into(), reason: "r".into() })
            }
        })
    }

    /// An operation in the other store's numbers.
    fn translated(&self, op: &Op) -> Op {
        let mut op = op.clone();
        match &mut op {
            Op::Create(new) => new.template = self.templates.right(new.template),
            Op::Finish { task, worker, .. } => {
                *task = self.tasks.right(*task);
                *worker = self.workers.right(*worker);
            }
            Op::Heartbeat { worker, held } => {
                *worker = self.workers.right(*worker);
                held.iter_mut().flatten().for_each(|h| h.0 = self.tasks.right(h.0));
            }
            Op::Draining { worker } | Op::WorkerGone { worker, .. } => *worker = self.workers.right(*worker),
            Op::DeadLetter { id, .. } => *id = self.letters.right(*id),
            Op::ArchiveEvents { ids } | Op::ReplayEvents { ids } => {
                ids.iter_mut().for_each(|id| *id = self.messages.right(*id))
            }
            _ => {}
        }
        op
    }

    fn both(
        &mut self,
        ops: &[Op],
        claims: &[ClaimRequest],
        jitter_seed: Option<u64>,
        max_crashes: u32,
        mut holding: Holding,
    ) -> Result<(), String> {
        self.compared.batches += 1;
        self.compared.ops += ops.len() as u64;
        let batch = |ops, claims, holding| Batch {
            ops,
            claims,
            holding,
            now: self.now,
            jitter_seed,
            max_crashes,
            knows: &|_| false,
        };
        let left = self.left.commit(&batch(ops, claims, holding)).map_err(|e| format!("left: {e}"))?;
        let right_claims: Vec<ClaimRequest> =
            claims.iter().map(|c| ClaimRequest { worker: self.workers.right(c.worker), ..c.clone() }).collect();
        let right_ops: Vec<Op> = ops.iter().map(|op| self.translated(op)).collect();
        let right = if self.way == Way::OneByOne && claims.is_empty() {
            let mut all = Committed::default();
            for op in &right_ops {
                let one = self
                    .right
                    .commit(&batch(std::slice::from_ref(op), &[], holding))
                    .map_err(|e| format!("right: {e}"))?;
                all.results.extend(one.results);
                all.rested.extend(one.rested);
                all.cut_short.extend(one.cut_short);
                all.published.extend(one.published);
                all.next_wake = all.next_wake.into_iter().chain(one.next_wake).min();
                all.left_ready |= one.left_ready;
            }
            all
        } else {
            let mut all =
                self.right.commit(&batch(&right_ops, &right_claims, holding)).map_err(|e| format!("right: {e}"))?;
            // A store that reads its queues before the operations are done may leave ready steps for the next claim, if it
            // says so.
            if let ([claim], [taken]) = (right_claims.as_slice(), all.claimed.as_mut_slice())
                && taken.len() < left.claimed[0].len()
                && all.left_ready
            {
                let rest = ClaimRequest { slots: claim.slots - taken.len(), ..claim.clone() };
                holding.steps += taken.len();
                holding.suspect |= taken.iter().any(|c| c.suspect);
                let more = self
                    .right
                    .commit(&batch(&[], std::slice::from_ref(&rest), holding))
                    .map_err(|e| format!("right: {e}"))?;
                taken.extend(more.claimed.into_iter().flatten());
                all.next_wake = all.next_wake.into_iter().chain(more.next_wake).min();
                self.compared.late += 1;
            }
            all
        };
        self.answers(ops, claims, &left, &right).map_err(|what| format!("{what}\n  after {}", shown(ops)))?;
        let mut touched: BTreeSet<i64> = left.claimed.iter().flatten().map(|c| c.task).collect();
        for (op, result) in ops.iter().zip(&left.results) {
            match (op, result) {
                (_, Ok(Done::Created { task, .. })) | (Op::Finish { task, .. }, _) => drop(touched.insert(*task)),
                (Op::Act { task, .. }, _) => touched.extend(self.known.iter().find(|k| k.uuid == *task).map(|k| k.id)),
                _ => {}
            }
        }
        for id in touched {
            self.task(id).map_err(|what| format!("{what}\n  after {}", shown(ops)))?;
        }
        Ok(())
    }

    fn answers(
        &mut self,
        ops: &[Op],
        claims: &[ClaimRequest],
        left: &Committed,
        right: &Committed,
    ) -> Result<(), String> {
        equal("answers", left.results.len(), right.results.len())?;
        for ((op, l), r) in ops.iter().zip(&left.results).zip(&right.results) {
            match (l, r) {
                (Err(l), Err(r)) => {
                    let (l, r) = (l.error(), r.error());
                    equal("errors", (l.kind, l.code, &l.message), (r.kind, r.code, &r.message)).or_else(|e| {
                        if matches!(op, Op::DeadLetter { .. }) && l.code == r.code { Ok(()) } else { Err(e) }
                    })?
                }
                (
                    Ok(Done::Created { task, uuid, existing }),
                    Ok(Done::Created { task: other, uuid: u, existing: e }),
                ) => {
                    equal("created", (uuid, existing), (u, e))?;
                    self.tasks.put(*task, *other)?;
                    if !existing {
                        self.known.push(Task { id: *task, uuid: *uuid, steps: BTreeSet::new() });
                    }
                }
                (Ok(Done::Template(l)), Ok(Done::Template(r))) => self.templates.put(*l, *r)?,
                (Ok(Done::Worker(l)), Ok(Done::Worker(r))) => {
                    self.workers.put(*l, *r)?;
                    if let Op::AddWorker(new) = op {
                        let claim = ClaimRequest { worker: *l, queues: new.queues.clone().into(), slots: 1 };
                        self.seats.push((claim, new.name.clone()));
                    }
                }
                (Ok(Done::Events(l)), Ok(Done::Events(r))) => {
                    let shown = |e: &tasker_store::EventRecord| {
                        (e.read_ct, e.enqueued_at, e.visible_at, e.archived_at.is_some(), sorted(&e.message))
                    };
                    equal("events read", l.iter().map(shown).collect::<Vec<_>>(), r.iter().map(shown).collect())?;
                }
                // How many rows were looked at; what became of them is compared as rows.
                (Ok(Done::Due(_)), Ok(Done::Due(_))) if matches!(op, Op::Due { .. }) => {}
                (Ok(l), Ok(r)) => equal("done", l, r)?,
                (l, r) => return equal("answer", format!("{l:?}"), format!("{r:?}")),
            }
        }
        let tasks = |t: &i64| self.tasks.right(*t);
        let workers = |w: &i64| if *w == 0 { 0 } else { self.workers.right(*w) };
        equal(
            "rested",
            left.rested.iter().map(|(t, s)| (tasks(t), *s)).collect::<Vec<(i64, TaskState)>>(),
            right.rested.clone(),
        )?;
        let cut =
            left.cut_short.iter().map(|c| (workers(&c.worker), tasks(&c.task), c.no, c.fence)).collect::<BTreeSet<_>>();
        equal("cut short", cut, right.cut_short.iter().map(|c| (c.worker, c.task, c.no, c.fence)).collect())?;
        equal("next wake", left.next_wake, right.next_wake)?;
        // A hint: it may be given for nothing, not be missing.
        equal("left ready", left.left_ready, left.left_ready && right.left_ready)?;
        let published = left.published.iter().map(|p| (workers(&p.worker), &p.name, &p.queue, p.is_told, &p.message));
        let others = right.published.iter().map(|p| (p.worker, &p.name, &p.queue, p.is_told, &p.message));
        equal("published", published.collect::<Vec<_>>(), others.collect())?;
        for ((claim, l), r) in claims.iter().zip(&left.claimed).zip(&right.claimed) {
            let shown = |c: &Claimed, task: i64| {
                let info =
                    c.info.as_ref().map(|i| (i.uuid, i.context.clone(), i.details.clone(), i.priority, i.created_at));
                let times = (c.started_at, c.enqueued_at);
                (task, c.no, c.step, c.failures, c.fence, c.attempts, times, c.name.clone(), c.has_checkpoint, info)
            };
            let lefts = l.iter().map(|c| shown(c, tasks(&c.task))).collect::<Vec<_>>();
            equal("claimed", lefts, r.iter().map(|c| shown(c, c.task)).collect())?;
            self.compared.claims += l.len() as u64;
            self.given.extend(l.iter().map(|c| (claim.worker, c.clone())));
        }
        Ok(())
    }

    /// One task's rows on both sides.
    fn task(&mut self, id: i64) -> Result<(), String> {
        let other = self.tasks.right(id);
        let Some(at) = self.known.iter().position(|k| k.id == id) else { return Ok(()) };
        let uuid = self.known[at].uuid;
        self.compared.tasks += 1;
        let read = |store: &dyn Store, id: i64| {
            let task = store.task(uuid)?;
            Ok::<_, tasker_wire::Error>((task, store.steps(id)?, store.attempts(id)?, store.audit(id)?))
        };
        let (task, mut steps, attempts, audit) = read(self.left, id).map_err(|e| e.to_string())?;
        let (task_r, mut steps_r, attempts_r, audit_r) = read(self.right, other).map_err(|e| e.to_string())?;
        equal("task", task.map(told), task_r.map(told))?;
        // Whoever holds it is named besides.
        steps.iter_mut().chain(&mut steps_r).for_each(|s| s.step.worker = 0);
        self.known[at].steps = steps.iter().map(|s| s.step.no).collect();
        equal_rows("steps", lines(&steps), lines(&steps_r))?;
        equal_rows("attempts", lines(&attempts), lines(&attempts_r))?;
        equal_rows("audit", lines(&audit), lines(&audit_r))?;
        let numbers: Vec<u16> = self.known[at].steps.iter().copied().collect();
        let results = |store: &dyn Store, id| store.results(id, &numbers).map_err(|e| e.to_string());
        equal("results", results(self.left, id)?, results(self.right, other)?)?;
        for no in numbers {
            let parts =
                |store: &dyn Store, id| Ok::<_, tasker_wire::Error>((store.inputs(id, no)?, store.checkpoint(id, no)?));
            let parts = |store, id| parts(store, id).map_err(|e| e.to_string());
            equal("inputs and checkpoint", parts(self.left, id)?, parts(self.right, other)?)?;
        }
        Ok(())
    }

    /// Everything that can be read.
    fn everything(&mut self) -> Result<(), String> {
        for id in self.known.iter().map(|k| k.id).collect::<Vec<_>>() {
            self.task(id)?;
        }
        let said = |e: tasker_wire::Error| e.to_string();
        equal("next wake", self.left.next_wake().map_err(said)?, self.right.next_wake().map_err(said)?)?;
        for status in [None, Some("blocked_by_failures"), Some("paused"), Some("complete")] {
            let filter =
                TaskFilter { status: status.map(str::to_string), limit: Some(7), offset: 2, ..TaskFilter::default() };
            let page = |store: &dyn Store| {
                store.tasks(&filter).map_err(said).map(|(t, n)| (t.into_iter().map(told).collect::<Vec<_>>(), n))
            };
            equal("a page of tasks", page(self.left)?, page(self.right)?)?;
            equal(
                "UUIDs",
                self.left.task_uuids(&filter).map_err(said)?,
                self.right.task_uuids(&filter).map_err(said)?,
            )?;
        }
        let all = DeadLetterFilter { all: true, ..DeadLetterFilter::default() };
        let (mut letters, mut others) =
            (self.left.dead_letters(&all).map_err(said)?, self.right.dead_letters(&all).map_err(said)?);
        for (left, right) in letters.iter().zip(&others) {
            self.letters.put(left.id, right.id)?;
        }
        letters.iter_mut().chain(&mut others).for_each(|l| l.id = 0);
        equal_rows("dead letters", lines(&letters), lines(&others))?;
        let every = EventFilter::default();
        let (mut events, mut others) =
            (self.left.events(&every).map_err(said)?, self.right.events(&every).map_err(said)?);
        for (left, right) in events.iter().zip(&others) {
            self.messages.put(left.msg_id, right.msg_id)?;
        }
        for event in events.iter_mut().chain(&mut others) {
            event.msg_id = 0;
            // PGMQ's own function stamps it with the server's time.
            event.archived_at = event.archived_at.map(|_| 0);
            event.message = sorted(&event.message);
        }
        equal_rows("events", lines(&events), lines(&others))?;
        let held: Vec<_> = self.given.iter().map(|(_, c)| (c.task, c.no, c.fence)).collect();
        let held_right: Vec<_> = held.iter().map(|(t, no, f)| (self.tasks.right(*t), *no, *f)).collect();
        let lost: Vec<_> =
            self.left.lost(&held).map_err(said)?.into_iter().map(|(t, no, f)| (self.tasks.right(t), no, f)).collect();
        equal("lost", lost, self.right.lost(&held_right).map_err(said)?)?;
        let workers = |store: &dyn Store| {
            let mut workers = store.workers().map_err(said)?;
            workers.iter_mut().for_each(|w| w.id = 0);
            workers.sort_by(|a, b| a.name.cmp(&b.name));
            Ok::<_, String>(lines(&workers))
        };
        equal_rows("workers", workers(self.left)?, workers(self.right)?)?;
        let doctor = |store: &dyn Store| {
            let report = store.doctor(self.now).map_err(said)?;
            let broken: Vec<String> = report
                .findings
                .iter()
                .filter(|f| f.violations > 0 && !f.check.contains("overdue"))
                .map(|f| f.check.clone())
                .collect();
            Ok::<_, String>((report.tasks, report.steps, report.rejected, broken))
        };
        equal("doctor", doctor(self.left)?, doctor(self.right)?)
    }
}

fn shown(ops: &[Op]) -> String {
    let one = |op: &Op| match op {
        Op::Create(new) => format!("Create {} {}", new.workflow.template.name, new.uuid),
        op => format!("{op:?}"),
    };
    ops.iter().map(one).collect::<Vec<_>>().join("\n        ")
}

/// JSON with its keys in order; a store may keep it parsed.
fn sorted(json: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    value.sort_all_objects();
    value.to_string()
}

fn told(record: TaskRecord) -> String {
    format!("{:?}", TaskRecord { id: 0, template: 0, ..record })
}

fn lines<T: Debug>(of: &[T]) -> Vec<String> {
    of.iter().map(|one| format!("{one:?}")).collect()
}
