//! One seed: processes, workers, clients and operators over one store, under faults, until everything rests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

use serde_json::Value;
use tasker_core::state::TaskState;
use tasker_runtime::stepper::Stepper;
use tasker_runtime::{Given, Session};
use tasker_store::postgres::Postgres;
use tasker_store::sqlite::Sqlite;
use tasker_store::sync::Mutex;
use tasker_store::{Batch, Done, Holding, LetterOrder, NewWorker, Op, Order, RETURN_MS, Store, time};
use tasker_wire::{DeadLetterFilter, Error, Kind, Report, TaskRequest, json_text};
use uuid::Uuid;

use crate::dice::Dice;
use crate::model::{Model, Violation};
use crate::script::{self, Attempt};
use crate::store::{Book, Entry, Fate, Sabotage, View};
use crate::templates::{self, NAMESPACE, SIDE_QUEUE};

/// Milliseconds in which a process notices another's commit.
const PEEK_MS: i64 = 20;
/// Milliseconds of trouble before everything is left to run dry.
const TROUBLE_MS: i64 = 12_000;
/// Simulated time in which everything must have come to rest, milliseconds.
const REST_MS_MAX: i64 = 4 * 3_600_000;
/// Worker deaths after which a step is given up: an engine's default.
const MAX_CRASHES: u32 = 3;
/// How often a process looks for dead ones, at least, milliseconds.
const WATCH_MS: i64 = 250;
/// How soon after it thaws a process is heard of again, milliseconds.
const THAW_MS: i64 = 30;
/// Events after which a seed is called endless.
const EVENTS_MAX: u64 = 100_000;

/// Kinds of faults, each of which can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process dies, before a commit, after one, or in between.
    Crash,
    /// A process stands still, for longer than its leases too.
    Freeze,
    /// Reports are delayed, doubled, out of order, or come through another process.
    Channel,
    /// The store refuses commits and reads for a while, or takes a commit and does not say so.
    Outage,
    /// Clocks are wrong from the start, drift, and are set forward and back.
    Clock,
    /// A worker stops, or its connection breaks and comes back.
    Parting,
    /// Workers hand steps back.
    Release,
    /// Operators act.
    Operator,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 8] = [
        Fault::Crash,
        Fault::Freeze,
        Fault::Channel,
        Fault::Outage,
        Fault::Clock,
        Fault::Parting,
        Fault::Release,
        Fault::Operator,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Crash => "crash",
            Fault::Freeze => "freeze",
            Fault::Channel => "channel",
            Fault::Outage => "outage",
            Fault::Clock => "clock",
            Fault::Parting => "parting",
            Fault::Release => "release",
            Fault::Operator => "operator",
        }
    }
}

/// What one run is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Decides everything else.
    pub seed: u64,
    /// Faults left out.
    pub without: Vec<Fault>,
    /// At most this many tasks.
    pub tasks_max: usize,
    /// Trouble and new tasks end after this time, milliseconds.
    pub trouble_ms: i64,
    /// Keep a trace.
    pub trace: bool,
    /// A fault of the store's own, to be found.
    pub sabotage: Option<Sabotage>,
    /// Only tasks of this template, whose handlers all succeed.
    pub only: Option<&'static str>,
    /// Commits by their number, and what the process meets that tries them.
    pub kills: Vec<(u64, Fate)>,
}

impl Setup {
    /// A seed with everything it has.
    pub fn new(seed: u64) -> Setup {
        Setup {
            seed,
            without: Vec::new(),
            tasks_max: usize::MAX,
            trouble_ms: TROUBLE_MS,
            trace: false,
            sabotage: None,
            only: None,
            kills: Vec::new(),
        }
    }
}

/// What one run came to.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// The first invariant broken.
    pub violation: Option<Violation>,
    /// What happened: task by order of creation, text.
    pub trace: Vec<(Option<usize>, String)>,
    /// Things that happened.
    pub events: u64,
    /// Commits of all processes.
    pub commits: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Tasks created.
    pub tasks: u64,
    /// Reports that came too late.
    pub rejected: u64,
    /// Times a task's rows were checked.
    pub checks: u64,
    /// The same for every run of a setup.
    pub digest: u64,
}

/// A store that seeds share, one after the other.
pub struct Ground {
    store: Arc<dyn Store>,
    file: PathBuf,
    templates: Vec<String>,
    /// Names of one run are not another's.
    runs: AtomicU64,
}

impl Ground {
    /// A fresh SQLite store in memory with all templates.
    pub fn new() -> Result<Ground, Error> {
        let sqlite = Sqlite::open("sqlite::memory:")?;
        let file = sqlite.path().to_path_buf();
        Ground::on(Arc::new(sqlite), file)
    }

    /// A schema with all templates on a PostgreSQL server; `schema` must not exist there, and stays.
    pub fn postgres(server: &str, schema: &str) -> Result<Ground, Error> {
        Ground::on(Arc::new(Postgres::open(&format!("{server}?schema={schema}"))?), PathBuf::new())
    }

    fn on(store: Arc<dyn Store>, file: PathBuf) -> Result<Ground, Error> {
        let (templates, ops): (Vec<String>, Vec<Op>) = templates::all().into_iter().unzip();
        let batch = Batch {
            ops: &ops,
            claims: &[],
            holding: Holding::default(),
            now: 1_700_000_000_000,
            jitter_seed: None,
            max_crashes: 1,
            knows: &|_| false,
        };
        for result in store.commit(&batch)?.results {
            result?;
        }
        Ok(Ground { store, file, templates, runs: AtomicU64::new(0) })
    }

    /// Checks the whole store.
    pub fn doctor(&self) -> Result<(), Violation> {
        let broken = |what: String| Violation { what, task: None };
        // Long after everything: nothing may be overdue.
        let report = self.store.doctor(i64::MAX >> 2).map_err(|e| broken(e.to_string()))?;
        match report.findings.iter().find(|f| f.violations > 0) {
            // An operator's completion by hand is no accepted result; the model looks at those itself.
            Some(finding) => Err(broken(format!("doctor: {}: {:?}", finding.check, finding.examples))),
            None => Ok(()),
        }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// A handler at work.
struct Job {
    id: u64,
    given: Given,
    /// From the latest checkpoint when it began.
    cursor: u32,
    lost: bool,
}

struct Worker {
    name: String,
    session: Arc<Session>,
    jobs: Vec<Job>,
    /// Reports that went through another process, which is named. They are kept until they are known to be stored.
    handed: Vec<(usize, Op)>,
}

impl Worker {
    /// Claims of steps at work, of those given and not begun, and of those whose reports are on their way.
    fn claims(&self) -> Vec<(i64, u16, u32)> {
        let at_work = self.jobs.iter().filter(|j| !j.lost).map(|j| &j.given.claimed);
        let mut claims: Vec<_> = at_work.map(|c| (c.task, c.no, c.fence)).collect();
        claims.extend(self.session.untaken());
        claims.extend(self.handed.iter().filter_map(|(_, op)| reported(op)));
        claims
    }
}

/// The claim that a report is on.
fn reported(op: &Op) -> Option<(i64, u16, u32)> {
    if let Op::Finish { task, no, fence, .. } = op { Some((*task, *no, *fence)) } else { None }
}

/// Who waits for an answer.
enum Ask {
    Join(Box<NewWorker>),
    Create(usize),
    Anything,
}

struct Process {
    stepper: Stepper,
    alive: bool,
    /// Simulated time up to which its clock has been moved.
    moved_to: i64,
    /// By how much its wall clock is wrong, or what it was told of the store's; and how fast that grows.
    skew_ms: i64,
    drift_ppm: i64,
    /// Since when its connection has been broken.
    cut_from: Option<i64>,
    frozen_from: i64,
    frozen_until: i64,
    turn_at: Option<i64>,
    workers: Vec<Worker>,
    asks: Vec<(Receiver<Result<Done, Error>>, Ask)>,
    /// Reports it was given and has not committed.
    reports: i64,
}

/// A task that a client wants.
struct Wish {
    request: TaskRequest,
    uuids: Vec<Uuid>,
    acknowledged: Option<Uuid>,
    tries: u32,
}

#[derive(Debug)]
enum Event {
    Turn(usize),
    Start {
        workers: bool,
    },
    Wish(usize),
    Work {
        process: usize,
        worker: String,
        job: u64,
    },
    Watch(usize),
    /// A process that died is missed: by its lock file, or by its connection.
    Missed {
        names: Vec<String>,
        rows: Vec<i64>,
        by_file: bool,
    },
    /// A broken connection is looked after, and is back at the time given.
    Mend {
        process: usize,
        row: i64,
        back_at: i64,
    },
    Deliver {
        process: usize,
        op: Box<Op>,
    },
    Ask {
        op: Box<Op>,
    },
    Trouble(Fault),
    Recover,
    Operate,
}

struct World<'a> {
    setup: &'a Setup,
    ground: &'a Ground,
    run: u64,
    book: Arc<Mutex<Book>>,
    model: Model,
    base: i64,
    now: i64,
    agenda: BTreeMap<(i64, u64, u64), Event>,
    ids: u64,
    processes: Vec<Process>,
    /// Process and lease of each worker row.
    rows: BTreeMap<i64, (usize, i64)>,
    /// When the beat of each worker row was moved on.
    beats: BTreeMap<i64, i64>,
    wishes: Vec<Wish>,
    /// Trouble is over.
    calm: bool,
    /// Every handler succeeds.
    healed: bool,
    under_way: i64,
    /// The store has no clock: each process goes by its machine's.
    lone_clocks: bool,
    /// By how much the store's clock has been set.
    shift_ms: i64,
    /// Workers whose lock files are free.
    dead: Vec<String>,
    order: Dice,
    work: Dice,
    faults: BTreeMap<&'static str, Dice>,
    active: Vec<Fault>,
    out: Outcome,
}

type Held<T = ()> = Result<T, Violation>;

/// Runs one seed.
pub fn run(ground: &Ground, setup: &Setup) -> Outcome {
    let mut world = match World::new(ground, setup) {
        Ok(world) => world,
        Err(error) => {
            let violation = Some(Violation { what: error.to_string(), task: None });
            return Outcome { violation, ..Outcome::default() };
        }
    };
    let held = world.live();
    world.leave();
    let mut out = world.out;
    out.violation = held.err();
    out.commits = world.book.lock().commits();
    out.tasks = world.model.tasks.len() as u64;
    out.rejected = world.model.rejected;
    out.checks = world.model.checks;
    out.digest = world.model.digest;
    out
}

impl<'a> World<'a> {
    fn new(ground: &'a Ground, setup: &'a Setup) -> Result<World<'a>, Error> {
        let seed = setup.seed;
        let mut dice = Dice::new(seed, 10);
        let mut book = Book::new(seed, setup.sabotage, &ground.file);
        book.set_kills(setup.kills.clone());
        let book = Arc::new(Mutex::new(book));
        let max_crashes = MAX_CRASHES;
        let active: Vec<Fault> = Fault::ALL.into_iter().filter(|_| dice.often(65)).collect();
        let active = active.into_iter().filter(|f| !setup.without.contains(f)).collect();
        let mut world = World {
            setup,
            ground,
            run: ground.runs.fetch_add(1, Ordering::Relaxed),
            model: Model::new(ground.store.clone(), max_crashes),
            book,
            base: ground.store.high_water()? + 86_400_000,
            now: 0,
            agenda: BTreeMap::new(),
            ids: 0,
            processes: Vec::new(),
            rows: BTreeMap::new(),
            beats: BTreeMap::new(),
            wishes: Vec::new(),
            calm: false,
            healed: setup.only.is_some(),
            under_way: 0,
            shift_ms: 0,
            dead: Vec::new(),
            lone_clocks: dice.often(40),
            order: Dice::new(seed, 11),
            work: Dice::new(seed, 12),
            faults: Fault::ALL.iter().enumerate().map(|(i, f)| (f.name(), Dice::new(seed, 20 + i as u64))).collect(),
            active,
            out: Outcome::default(),
        };
        if world.active.contains(&Fault::Outage) {
            world.book.lock().set_flaky(Some((Dice::new(seed, 13), 20)));
        }
        let lone = world.lone_clocks;
        world.note(None, || {
            format!("steps are given up after {max_crashes} worker deaths; clocks are on their own: {lone}")
        });
        for slot in 0..dice.between(1, 3) {
            world.at(slot, Event::Start { workers: slot == 0 || dice.often(70) });
        }
        for number in 0..(dice.between(1, 3) as usize) {
            let wish = world.wish(&mut dice, number);
            if number >= setup.tasks_max {
                continue;
            }
            world.wishes.push(wish);
            let mut at = dice.between(5, 1_500);
            let twice = dice.often(30);
            for _ in 0..=u64::from(twice) {
                if at < setup.trouble_ms {
                    world.at(at, Event::Wish(number));
                }
                at += dice.between(0, 30);
            }
        }
        for fault in Fault::ALL {
            let dice = world.faults.get_mut(fault.name()).map(|d| (d.between(1, 4), d.clone()));
            let Some((count, mut dice)) = dice.filter(|_| world.active.contains(&fault)) else { continue };
            for _ in 0..count {
                let at = dice.between(10, TROUBLE_MS / 2);
                if at >= setup.trouble_ms {
                    continue;
                }
                match fault {
                    Fault::Channel | Fault::Release => {}
                    Fault::Operator => world.at(at, Event::Operate),
                    _ => world.at(at, Event::Trouble(fault)),
                }
            }
        }
        Ok(world)
    }

    fn wish(&self, dice: &mut Dice, number: usize) -> Wish {
        let script = dice.below(1_000_000_000);
        let drawn = dice.one(&self.ground.templates).clone();
        let template = self.setup.only.map_or(drawn, str::to_string);
        let mut request = TaskRequest::new(NAMESPACE, &template, json_text(format!("{{\"script\": {script}}}")));
        request.priority = dice.between(-1, 1) as i32;
        if dice.often(50) {
            request.idempotency_key = Some(format!("{}-{}-{number}", self.setup.seed, self.run));
        }
        if dice.often(15) {
            request.run_at = Some(time(self.base + dice.between(1_000, 30_000)));
        }
        let uuid = |dice: &mut Dice| {
            uuid::Builder::from_unix_timestamp_millis(self.base as u64, &{
                let mut random = [0; 10];
                random[..8].copy_from_slice(&dice.any().to_be_bytes());
                random
            })
            .into_uuid()
        };
        Wish { request, uuids: (0..4).map(|_| uuid(dice)).collect(), acknowledged: None, tries: 0 }
    }

    fn at(&mut self, time: i64, event: Event) {
        self.ids += 1;
        // What happens at one moment happens in any order.
        let tie = self.order.any();
        self.agenda.insert((time.max(self.now), tie, self.ids), event);
    }

    fn dice(&mut self, fault: Fault) -> Option<&mut Dice> {
        let on = !self.calm && self.active.contains(&fault);
        self.faults.get_mut(fault.name()).filter(|_| on)
    }

    fn note(&mut self, task: Option<usize>, text: impl FnOnce() -> String) {
        if self.setup.trace {
            let text = format!("{:>7} ms  {}", self.now, text());
            self.out.trace.push((task, text));
        }
    }

    fn broken<T>(&self, what: impl Into<String>) -> Held<T> {
        Err(Violation { what: what.into(), task: None })
    }

    fn live(&mut self) -> Held {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= self.setup.trouble_ms
        {
            let ((at, ..), event) = entry.remove_entry();
            self.now = at;
            self.happen(event)?;
        }
        self.settle()?;
        for task in 0..self.model.tasks.len() {
            self.model.at_rest(task, self.healed)?;
        }
        for (number, wish) in self.wishes.iter().enumerate() {
            if let Some(uuid) = wish.acknowledged
                && self.model.by_uuid(uuid).is_none()
            {
                return self.broken(format!("an acknowledged creation is kept: wish {number}, {uuid}"));
            }
        }
        self.heal()
    }

    /// The next run finds nobody to watch.
    fn leave(&mut self) {
        let ops: Vec<Op> =
            self.rows.keys().map(|worker| Op::WorkerGone { worker: *worker, beat: None, stopped: true }).collect();
        let batch = Batch {
            ops: &ops,
            claims: &[],
            holding: Holding::default(),
            now: self.base + self.now,
            jitter_seed: None,
            max_crashes: MAX_CRASHES,
            knows: &|_| false,
        };
        if let Err(error) = self.ground.store.commit(&batch) {
            self.note(None, || format!("the workers cannot be taken leave of: {error}"));
        }
    }

    /// The store can be reached. A look that failed is repeated by the next one.
    fn reach(&mut self) {
        self.book.lock().set_unavailable(false);
        for process in self.alive() {
            self.turn_soon(process, PEEK_MS);
        }
    }

    /// No more trouble: everything must come to rest.
    fn settle(&mut self) -> Held {
        self.calm = true;
        self.reach();
        for process in 0..self.processes.len() {
            let p = &mut self.processes[process];
            p.frozen_until = p.frozen_until.min(self.now);
            if self.processes[process].alive {
                self.book.lock().set_fate(process, Fate::Fine);
            }
        }
        self.note(None, || "trouble is over".into());
        self.book.lock().set_flaky(None);
        // Whoever is left must manage alone, where that can be.
        let serves = |queue: &str| {
            let mut workers = self.processes.iter().flat_map(|p| &p.workers);
            workers.any(|w| w.session.queues.iter().any(|q| q == queue))
        };
        if self.setup.seed.is_multiple_of(2) || !serves(NAMESPACE) || !serves(SIDE_QUEUE) {
            self.start(true)?;
        }
        for task in 0..self.model.tasks.len() {
            if self.is_held(task) {
                self.resume(task);
            }
        }
        self.run_dry()
    }

    fn is_held(&self, task: usize) -> bool {
        self.model.tasks[task].paused && !self.model.state(task).is_some_and(TaskState::is_final)
    }

    fn resume(&mut self, task: usize) {
        let task = self.model.tasks[task].uuid;
        self.ask(Op::Act { task, order: Order::Resume, actor: "sim".into(), reason: "calm".into() });
    }

    fn run_dry(&mut self) -> Held {
        let deadline = self.now + REST_MS_MAX;
        let mut stalls = 0;
        loop {
            let asked = self.processes.iter().any(|p| p.alive && (p.reports > 0 || !p.asks.is_empty()));
            if self.model.is_at_rest() && !asked && self.under_way == 0 {
                // An operator's last word may have come late; a paused task rests although it could run.
                match (0..self.model.tasks.len()).find(|t| self.is_held(*t)) {
                    Some(task) => self.resume(task),
                    None => return Ok(()),
                }
            }
            // Somebody always looks at something, so that there always is a next event.
            if self.out.events.is_multiple_of(200)
                && let Some(task) = (0..self.model.tasks.len()).find(|t| self.is_held(*t))
            {
                self.resume(task);
            }
            if let Some(((at, ..), event)) = self.agenda.pop_first() {
                self.now = self.now.max(at);
                self.happen(event)?;
                if self.now > deadline || self.out.events > EVENTS_MAX {
                    return self.endless();
                }
            } else if let Some(task) = (0..self.model.tasks.len()).find(|t| self.is_held(*t)) {
                self.resume(task);
            } else {
                stalls += 1;
                if stalls > 3 {
                    return self.endless();
                }
                self.now += PEEK_MS;
                for process in 0..self.processes.len() {
                    self.turn_soon(process, 0);
                }
            }
        }
    }

    fn endless(&self) -> Held {
        let task = (0..self.model.tasks.len()).find(|t| !self.model.state(*t).is_some_and(TaskState::is_resting));
        let what = match task {
            Some(task) => format!("every task comes to rest: {}", self.model.told(task)),
            None => "every report and every question is answered: some never are".into(),
        };
        Err(Violation { what, task })
    }

    /// Handlers succeed from now on; operators retry what failed, and everything completes.
    fn heal(&mut self) -> Held {
        if !self.setup.seed.is_multiple_of(3) && !self.healed {
            return Ok(());
        }
        self.healed = true;
        for task in 0..self.model.tasks.len() {
            if self.model.state(task) == Some(TaskState::BlockedByFailures) {
                let uuid = self.model.tasks[task].uuid;
                self.ask(Op::Act { task: uuid, order: Order::RetryFailed, actor: "sim".into(), reason: "heal".into() });
            }
        }
        self.run_dry()?;
        match (0..self.model.tasks.len()).find(|t| !self.model.state(*t).is_some_and(TaskState::is_final)) {
            Some(task) => {
                let what = format!("a task whose handlers succeed in the end completes: {}", self.model.told(task));
                Err(Violation { what, task: Some(task) })
            }
            None => Ok(()),
        }
    }

    fn happen(&mut self, event: Event) -> Held {
        self.out.events += 1;
        match event {
            Event::Turn(process) => {
                // One that was brought forward has been taken already.
                if self.processes[process].turn_at == Some(self.now) { self.turn(process) } else { Ok(()) }
            }
            Event::Start { workers } => self.start(workers),
            Event::Wish(number) => {
                self.wish_for(number);
                Ok(())
            }
            Event::Work { process, worker, job } => {
                self.end_of_work(process, &worker, job);
                Ok(())
            }
            Event::Watch(process) => {
                self.watch(process);
                Ok(())
            }
            Event::Missed { names, rows, by_file } => {
                if by_file {
                    self.dead.extend(names);
                } else {
                    rows.iter().for_each(|row| self.book.lock().set_cut_off(*row, true));
                }
                Ok(())
            }
            Event::Mend { process, row, back_at } => {
                self.mend(process, row, back_at);
                Ok(())
            }
            Event::Deliver { process, op } => {
                self.under_way -= 1;
                self.deliver(process, *op);
                Ok(())
            }
            Event::Ask { op } => {
                self.ask(*op);
                Ok(())
            }
            Event::Trouble(fault) => {
                self.trouble(fault);
                Ok(())
            }
            Event::Recover => {
                self.note(None, || "the store can be reached again".into());
                self.reach();
                Ok(())
            }
            Event::Operate => self.operate(),
        }
    }

    /// A new process, with workers or without.
    fn start(&mut self, with_workers: bool) -> Held {
        let (view, number) = View::new(self.ground.store.clone(), &self.book);
        let lone = self.lone_clocks;
        let (mut skew_ms, mut drift_ppm) = (0, 0);
        if let Some(dice) = self.dice(Fault::Clock)
            && dice.often(60)
        {
            // A store's clock is known to within a round trip.
            let range = if lone { *dice.one(&[3_000, 90_000, 900_000]) } else { 19 };
            skew_ms = dice.between(-range, range);
            drift_ppm = if lone { dice.between(-20_000, 20_000) } else { 0 };
        }
        self.book.lock().set_clock_offset(number, self.base + skew_ms + if lone { 0 } else { self.shift_ms });
        let stepper = match Stepper::new(Arc::new(view), self.now, self.model.max_crashes) {
            Ok(stepper) => stepper,
            Err(error) => return self.broken(format!("an engine opens: {error}")),
        };
        let lease_ms = *self.work.one(&[400, 1_500, 5_000]);
        let mut asks = Vec::new();
        let count = if with_workers { self.work.between(1, 2) } else { 0 };
        for worker in 0..count {
            let both = vec![NAMESPACE.to_string(), SIDE_QUEUE.to_string()];
            let queues = match self.work.below(4) {
                0 if worker > 0 => vec![NAMESPACE.to_string()],
                1 => vec![SIDE_QUEUE.to_string(), NAMESPACE.to_string()],
                _ => both,
            };
            asks.push(NewWorker {
                name: format!("s{}-{}-p{number}-w{worker}", self.setup.seed, self.run),
                language: "rust".into(),
                sdk_version: "0".into(),
                queues,
                handlers: vec!["h".into()],
                slots: self.work.between(1, 4) as u32,
                pid: 1,
                lease_ms,
            });
        }
        self.note(None, || {
            format!(
                "process {number} starts with {count} workers, clock {skew_ms:+} ms {drift_ppm:+} ppm, lease {lease_ms}"
            )
        });
        let asks = asks
            .into_iter()
            .filter_map(|new| Some((stepper.submit(Op::AddWorker(Box::new(new.clone())))?, Ask::Join(Box::new(new)))))
            .collect();
        self.processes.push(Process {
            stepper,
            alive: true,
            moved_to: self.now,
            skew_ms,
            drift_ppm,
            cut_from: None,
            frozen_from: 0,
            frozen_until: 0,
            turn_at: None,
            workers: Vec::new(),
            asks,
            reports: 0,
        });
        self.turn_soon(number, 0);
        self.at(self.now, Event::Watch(number));
        Ok(())
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.processes.len()).filter(|p| self.processes[*p].alive).collect()
    }

    /// Moves a process's clock to now.
    fn wind(&mut self, process: usize) {
        let p = &mut self.processes[process];
        let passed_ms = self.now - p.moved_to;
        p.stepper.advance(passed_ms);
        p.moved_to = self.now;
        let drifted_ms = self.now * p.drift_ppm / 1_000_000;
        let set_ms = if self.lone_clocks { 0 } else { self.shift_ms };
        self.book.lock().set_clock_offset(process, self.base + p.skew_ms + drifted_ms + set_ms);
    }

    /// The house of a process looks who is alive.
    fn watch(&mut self, process: usize) {
        if !self.processes[process].alive {
            return;
        }
        let thaw = self.processes[process].frozen_until;
        if thaw > self.now {
            return self.at(thaw, Event::Watch(process));
        }
        self.wind(process);
        let p = &mut self.processes[process];
        p.stepper.watch(&self.dead);
        let every = p.stepper.watch_every_ms().min(WATCH_MS);
        self.at(self.now + every, Event::Watch(process));
        self.turn_soon(process, 0);
    }

    /// While its connection is broken a process tries each second to make another, and beats.
    fn mend(&mut self, process: usize, row: i64, back_at: i64) {
        if !self.processes[process].alive {
            return;
        }
        let thaw = self.processes[process].frozen_until;
        if thaw > self.now {
            return self.at(thaw, Event::Mend { process, row, back_at });
        }
        self.book.lock().connects(process);
        self.turn_soon(process, 0);
        if self.now >= back_at || self.calm {
            self.processes[process].cut_from = None;
            return self.book.lock().set_cut_off(row, false);
        }
        self.at((self.now + 1_000).min(back_at), Event::Mend { process, row, back_at });
    }

    fn turn_soon(&mut self, process: usize, delay: i64) {
        let at = self.now + delay;
        let p = &mut self.processes[process];
        if p.alive && p.turn_at.is_none_or(|t| t > at) {
            p.turn_at = Some(at);
            self.at(at, Event::Turn(process));
        }
    }

    fn turn(&mut self, process: usize) -> Held {
        if !self.processes[process].alive {
            return Ok(());
        }
        let thaw = self.processes[process].frozen_until;
        if thaw > self.now {
            self.processes[process].turn_at = Some(thaw);
            self.at(thaw, Event::Turn(process));
            return Ok(());
        }
        self.wind(process);
        self.processes[process].turn_at = None;
        self.processes[process].stepper.turn();
        let (entries, beaten) = {
            let mut book = self.book.lock();
            (book.take(), book.take_beats())
        };
        for entry in &entries {
            self.trace_entry(entry);
            for (op, result) in entry.ops.iter().zip(&entry.results) {
                if let (Op::AddWorker(new), Ok(Done::Worker(row))) = (op, result) {
                    self.rows.insert(*row, (entry.process, new.lease_ms));
                    self.beats.insert(*row, self.now);
                }
            }
            self.model.observe(entry)?;
            self.judge(entry)?;
            let reports = entry.ops.iter().filter(|op| matches!(op, Op::Finish { .. })).count() as i64;
            self.processes[entry.process].reports -= reports;
        }
        self.beats.extend(beaten.into_iter().map(|worker| (worker, self.now)));
        if self.book.lock().fate(process) == Fate::Dead {
            self.die(process);
        } else {
            self.hear(process)?;
            self.take_work(process)?;
        }
        if !entries.is_empty() {
            // Others look within the time of a peek.
            for other in self.alive() {
                let delay = PEEK_MS + self.order.between(0, 5);
                self.turn_soon(other, delay);
            }
        }
        self.plan_turn(process);
        Ok(())
    }

    /// Nothing but a death, or a silence as long as a lease, takes a step from its worker.
    fn judge(&mut self, entry: &Entry) -> Held {
        for loss in std::mem::take(&mut self.model.losses) {
            let Some((process, lease_ms)) = self.rows.get(&loss.worker).copied() else { continue };
            let p = &self.processes[process];
            let is_dead = !p.alive || self.book.lock().fate(process) == Fate::Dead;
            // It stood still, and its latest heartbeat is as long ago as that takes.
            let beaten = self.beats.get(&loss.worker).copied().unwrap_or_default();
            let silent_since = |from_ms: i64, for_ms: i64| {
                entry.process != process
                    && self.now >= from_ms + for_ms
                    && (p.frozen_from..=p.frozen_until + THAW_MS).contains(&self.now)
            };
            let silent =
                silent_since(beaten, lease_ms) || p.cut_from.is_some_and(|at| silent_since(at.max(beaten), RETURN_MS));
            if !is_dead && !silent {
                let what = format!(
                    "only a death or a silence takes a step from its worker: step {} fence {} was taken from process {process}, \
                     which lived, by process {}",
                    loss.no, loss.fence, entry.process
                );
                return Err(Violation { what, task: Some(loss.task) });
            }
        }
        Ok(())
    }

    /// When the committer would take its next turn by itself.
    fn plan_turn(&mut self, process: usize) {
        let p = &self.processes[process];
        if !p.alive {
            return;
        }
        let timeout = p.stepper.timeout().as_millis() as i64;
        if p.stepper.is_busy() {
            self.turn_soon(process, 0);
        } else if timeout != PEEK_MS {
            self.turn_soon(process, timeout.max(1));
        } else if let Some(wake) = p.stepper.next_wake() {
            // In between it would only look, and see nothing.
            let delay = (wake - p.stepper.now()).max(1);
            self.turn_soon(process, delay);
        }
        if let Some(at_ms) = self.processes[process].stepper.next_beat_ms() {
            self.turn_soon(process, (at_ms - self.now).max(1));
        }
    }

    fn trace_entry(&mut self, entry: &Entry) {
        if !self.setup.trace {
            return;
        }
        let process = entry.process;
        for (op, result) in entry.ops.iter().zip(&entry.results) {
            if matches!((op, result), (Op::Heartbeat { held: None, .. }, Ok(Done::Beat { alive: true }))) {
                continue;
            }
            let task = match (op, result) {
                (Op::Finish { task, .. }, _) | (_, Ok(Done::Created { task, .. })) => self.model.task_number(*task),
                (Op::Act { task, .. }, _) => self.model.by_uuid(*task),
                _ => None,
            };
            let what = match op {
                Op::Create(new) => format!("create {} {}", new.workflow.template.name, new.context),
                Op::Finish { no, fence, report, .. } => format!("finish step {no} fence {fence}: {}", shown(report)),
                Op::AddWorker(new) => format!("worker {}", new.name),
                op => format!("{op:?}"),
            };
            let answer = match result {
                Ok(done) => format!("{done:?}"),
                Err(error) => format!("{}: {}", error.error().code, error.error().message),
            };
            let at = entry.now - self.base;
            self.note(task, || format!("p{process} @{at}: {what} -> {answer}"));
        }
        for given in &entry.given {
            let task = self.model.task_number(given.task);
            self.note(task, || {
                format!("p{process}: given step {} fence {} to worker row {}", given.no, given.fence, given.worker)
            });
        }
    }

    fn die(&mut self, process: usize) {
        self.out.crashes += 1;
        self.note(None, || format!("process {process} is dead"));
        self.book.lock().set_fate(process, Fate::Dead);
        let p = &mut self.processes[process];
        p.alive = false;
        p.turn_at = None;
        p.reports = 0;
        let (names, rows): (Vec<String>, Vec<i64>) = p.workers.drain(..).map(|w| (w.name, w.session.worker())).unzip();
        let asks = std::mem::take(&mut p.asks);
        for (_, ask) in asks {
            if let Ask::Create(number) = ask {
                // Its client never learns whether the task exists.
                self.at(self.now + 50, Event::Wish(number));
            }
        }
        // What others sent through it they send again.
        let workers = self.processes.iter().enumerate().flat_map(|(own, p)| p.workers.iter().map(move |w| (own, w)));
        let sent: Vec<(usize, Op)> = workers
            .flat_map(|(own, w)| w.handed.iter().filter(|(by, _)| *by == process).map(move |(_, op)| (own, op.clone())))
            .collect();
        for (own, op) in sent {
            self.deliver(own, op);
        }
        // Where nobody sees it, its silence has to tell.
        if self.order.often(60) {
            let (delay, by_file) = (self.order.between(50, 300), self.order.often(50));
            self.at(self.now + delay, Event::Missed { names, rows, by_file });
        }
        // Nobody may come in its place, as long as someone is left.
        let delay = self.order.between(1, 1_000);
        if self.order.often(70) || self.alive().is_empty() {
            self.at(self.now + delay, Event::Start { workers: true });
        }
    }

    /// Takes answers in.
    fn hear(&mut self, process: usize) -> Held {
        let mut waiting = Vec::new();
        for (answer, ask) in std::mem::take(&mut self.processes[process].asks) {
            let answered = match answer.try_recv() {
                Err(TryRecvError::Empty) => {
                    waiting.push((answer, ask));
                    continue;
                }
                Err(TryRecvError::Disconnected) => return self.broken("every question is answered: one was dropped"),
                Ok(answered) => answered,
            };
            match (ask, answered) {
                (Ask::Join(new), Ok(Done::Worker(row))) => {
                    let session = self.processes[process].stepper.seat(row, &new);
                    let worker = Worker { name: new.name, session, jobs: Vec::new(), handed: Vec::new() };
                    self.processes[process].workers.push(worker);
                }
                (Ask::Join(mut new), Err(_)) => {
                    // Whether the first was registered, nobody knows; as it never beats, it will be missed.
                    self.ids += 1;
                    let name = new.name.split('~').next().unwrap_or_default();
                    new.name = format!("{name}~{}", self.ids);
                    let answer = self.processes[process].stepper.submit(Op::AddWorker(new.clone()));
                    waiting.extend(answer.map(|a| (a, Ask::Join(new))));
                }
                (Ask::Create(number), Ok(Done::Created { uuid, .. })) => {
                    let wish = &mut self.wishes[number];
                    let before = wish.acknowledged.replace(uuid);
                    let task = self.model.by_uuid(uuid);
                    let is_keyed = self.wishes[number].request.idempotency_key.is_some();
                    if task.is_none() {
                        return self.broken("what is acknowledged has been committed");
                    }
                    if is_keyed && before.is_some_and(|b| b != uuid) {
                        return self.broken("one task an idempotency key");
                    }
                }
                (Ask::Create(number), Err(error)) if error.kind == Kind::Unavailable => {
                    let delay = self.order.between(10, 200);
                    self.at(self.now + delay, Event::Wish(number));
                }
                (Ask::Create(_), other) => return self.broken(format!("a creation is answered: {other:?}")),
                _ => {}
            }
        }
        self.processes[process].asks.extend(waiting);
        Ok(())
    }

    fn lose(&mut self, process: usize, worker: &str, lost: &[(i64, u16, u32)]) {
        let Some(worker) = self.processes[process].workers.iter_mut().find(|w| w.name == worker) else { return };
        for job in &mut worker.jobs {
            let c = &job.given.claimed;
            job.lost |= lost.contains(&(c.task, c.no, c.fence));
        }
    }

    /// Workers take what they were given and are told of what they lost.
    fn take_work(&mut self, process: usize) -> Held {
        for index in 0..self.processes[process].workers.len() {
            let worker = &mut self.processes[process].workers[index];
            let (cut, changed_outside) = worker.session.take_notices();
            if changed_outside {
                // As a worker does: it looks which of its steps are still its own.
                let held = worker.claims();
                let (session, name) = (worker.session.clone(), worker.name.clone());
                let lost = self.ground.store.lost(&held).unwrap_or_default();
                for claim in &lost {
                    session.forget(*claim);
                }
                self.lose(process, &name, &lost);
                let handed = &mut self.processes[process].workers[index].handed;
                handed.retain(|(_, op)| reported(op).is_some_and(|claim| !lost.contains(&claim)));
            }
            let worker = &mut self.processes[process].workers[index];
            let taken = worker.session.try_take_many(64);
            let name = worker.name.clone();
            if !cut.is_empty() {
                let lost: Vec<_> = cut.iter().map(|c| (c.task, c.no, c.fence)).collect();
                self.lose(process, &name, &lost);
            }
            for given in taken {
                self.see_results(process, &given)?;
                let c = &given.claimed;
                let cursor = if c.has_checkpoint { self.cursor(c.task, c.no) } else { 0 };
                let span = match self.work.below(100) {
                    0..75 => self.work.between(1, 40),
                    75..93 => self.work.between(40, 800),
                    _ => self.work.between(800, 6_000),
                };
                self.ids += 1;
                let id = self.ids;
                self.at(self.now + span, Event::Work { process, worker: name.clone(), job: id });
                let worker = &mut self.processes[process].workers[index];
                if given.claimed.suspect && worker.jobs.iter().any(|j| !j.lost) {
                    return self.broken("a suspect runs with nothing beside it");
                }
                worker.jobs.push(Job { id, given, cursor, lost: false });
            }
        }
        Ok(())
    }

    fn cursor(&self, task: i64, no: u16) -> u32 {
        let checkpoint = self.ground.store.checkpoint(task, no).ok().flatten();
        let value: Value = checkpoint.and_then(|c| serde_json::from_str(&c).ok()).unwrap_or_default();
        value["cursor"].as_u64().unwrap_or(0) as u32
    }

    /// A handler asks for the results of everything above it.
    fn see_results(&mut self, process: usize, given: &Given) -> Held {
        let c = &given.claimed;
        let Some(task) = self.model.task_number(c.task) else { return Ok(()) };
        let above = given.info.workflow.graph.ancestors(c.step);
        if above.is_empty() || !self.model.is_live(task, c.no, c.fence) {
            return Ok(());
        }
        // A handler whose store is out of reach asks again later.
        let Ok(results) = self.processes[process].stepper.results(c.task, &above) else { return Ok(()) };
        for (no, result) in above.iter().zip(results) {
            if result.as_deref() != self.model.result(task, *no) {
                let what = format!(
                    "a step sees the current results of its ancestors: step {} sees of step {no} {result:?}, stored is {:?}",
                    c.no,
                    self.model.result(task, *no)
                );
                return Err(Violation { what, task: Some(task) });
            }
        }
        Ok(())
    }

    fn worker(&mut self, process: usize, name: &str) -> Option<&mut Worker> {
        self.processes[process].workers.iter_mut().find(|w| w.name == name)
    }

    fn end_of_work(&mut self, process: usize, name: &str, job: u64) {
        let thaw = self.processes[process].frozen_until;
        if thaw > self.now {
            return self.at(thaw, Event::Work { process, worker: name.into(), job });
        }
        let stops = self.work.often(50);
        let Some(worker) = self.worker(process, name) else { return };
        let Some(at) = worker.jobs.iter().position(|j| j.id == job) else { return };
        let Job { given, cursor, lost, .. } = worker.jobs.remove(at);
        let session = worker.session.clone();
        session.free_slots(1);
        let c = &given.claimed;
        let Some(task) = self.model.task_number(c.task) else { return };
        if lost && stops {
            // As workers do where no report follows.
            self.processes[process].stepper.poke();
            return self.turn_soon(process, 0);
        }
        let mut op = self.report(task, &session, &given, cursor);
        if let Op::Finish { report, .. } = &mut op
            && let Some(dice) = self.dice(Fault::Release)
            && dice.often(6)
        {
            *report = Report::Release { delay_ms: *dice.one(&[0, 0, 300]) };
        }
        let alive = self.alive();
        let mut copies = vec![(process, 0)];
        if let Some(dice) = self.dice(Fault::Channel) {
            let delay = |d: &mut Dice| if d.often(25) { d.between(1, 2_500) } else { 0 };
            copies[0].1 = delay(dice);
            if dice.often(10) {
                copies[0].0 = *dice.one(&alive);
            }
            if dice.often(15) {
                let copy = (*dice.one(&alive), delay(dice));
                copies.push(copy);
            }
        }
        if copies[0].0 != process
            && let Some(worker) = self.worker(process, name)
        {
            worker.handed.push((copies[0].0, op.clone()));
        }
        for (to, delay) in copies {
            if delay == 0 {
                self.deliver(to, op.clone());
            } else {
                self.under_way += 1;
                self.at(self.now + delay, Event::Deliver { process: to, op: Box::new(op.clone()) });
            }
        }
        self.turn_soon(process, PEEK_MS);
    }

    fn report(&self, task: usize, session: &Session, given: &Given, cursor: u32) -> Op {
        let (c, seen) = (&given.claimed, &self.model.tasks[task]);
        let attempt = Attempt { no: c.no, step: c.step, fence: c.fence, failures: c.failures, cursor };
        let plan = if self.healed { script::WELL } else { script::plan(seen.script, c.no) };
        let report = script::report(&seen.workflow, seen.script, plan, &attempt);
        Op::Finish { task: c.task, no: c.no, fence: c.fence, worker: session.worker(), report, events: Vec::new() }
    }

    fn deliver(&mut self, process: usize, op: Op) {
        if self.processes[process].alive {
            self.wind(process);
            self.processes[process].stepper.send(op);
            self.processes[process].reports += 1;
            let delay = self.order.between(0, 2);
            self.turn_soon(process, delay);
        }
    }

    /// A client or operator asks any process that answers.
    fn ask(&mut self, op: Op) {
        let alive: Vec<usize> =
            self.alive().into_iter().filter(|p| self.processes[*p].frozen_until <= self.now).collect();
        if alive.is_empty() {
            return self.at(self.now + 100, Event::Ask { op: Box::new(op) });
        }
        let process = *self.order.one(&alive);
        self.wind(process);
        let p = &mut self.processes[process];
        if let Some(answer) = p.stepper.submit(op) {
            p.asks.push((answer, Ask::Anything));
        }
        let delay = self.order.between(0, 2);
        self.turn_soon(process, delay);
    }

    fn wish_for(&mut self, number: usize) {
        let alive: Vec<usize> =
            self.alive().into_iter().filter(|p| self.processes[*p].frozen_until <= self.now).collect();
        if alive.is_empty() {
            return self.at(self.now + 100, Event::Wish(number));
        }
        let wish = &mut self.wishes[number];
        let uuid = wish.uuids[wish.tries as usize % wish.uuids.len()];
        wish.tries += 1;
        if wish.tries > wish.uuids.len() as u32 {
            return;
        }
        let process = *self.order.one(&alive);
        self.wind(process);
        let p = &mut self.processes[process];
        match p.stepper.new_task(&self.wishes[number].request, uuid) {
            Ok(new) => {
                if let Some(answer) = p.stepper.submit(Op::Create(Box::new(new))) {
                    p.asks.push((answer, Ask::Create(number)));
                }
                let delay = self.order.between(0, 2);
                self.turn_soon(process, delay);
            }
            Err(_) => {
                self.wishes[number].tries -= 1;
                self.at(self.now + 200, Event::Wish(number));
            }
        }
    }

    fn trouble(&mut self, fault: Fault) {
        let alive = self.alive();
        if self.calm || alive.is_empty() {
            return;
        }
        let Some(dice) = self.faults.get_mut(fault.name()) else { return };
        let process = *dice.one(&alive);
        match fault {
            Fault::Crash => {
                let fate = *dice.one(&[Fate::DiesBefore, Fate::DiesAfter, Fate::DiesAfter, Fate::Dead]);
                self.note(None, || format!("process {process} shall meet {fate:?}"));
                if fate == Fate::Dead {
                    self.die(process);
                } else {
                    self.book.lock().set_fate(process, fate);
                }
            }
            Fault::Freeze => {
                let longest = *dice.one(&[1_000, 4_000, 12_000]);
                let span = dice.between(100, longest);
                self.note(None, || format!("process {process} stands still for {span} ms"));
                let p = &mut self.processes[process];
                if p.frozen_until <= self.now {
                    p.frozen_from = self.now;
                }
                p.frozen_until = p.frozen_until.max(self.now + span);
            }
            Fault::Outage if dice.often(30) => {
                self.note(None, || format!("process {process} does not hear of its next commit"));
                self.book.lock().set_fate(process, Fate::LosesAnswer);
            }
            Fault::Outage => {
                let longest = *dice.one(&[1_500, 6_000, 20_000]);
                let span = dice.between(50, longest);
                self.note(None, || format!("the store cannot be reached for {span} ms"));
                self.book.lock().set_unavailable(true);
                self.at(self.now + span, Event::Recover);
            }
            Fault::Clock => {
                let jump_ms = *dice.one(&[700, 5_000, 45_000, 90_000]) * *dice.one(&[1, -1]);
                if self.lone_clocks {
                    self.note(None, || format!("the clock of process {process} is set by {jump_ms:+} ms"));
                    self.processes[process].skew_ms += jump_ms;
                    return self.turn_soon(process, 0);
                }
                self.note(None, || format!("the store's clock is set by {jump_ms:+} ms"));
                self.shift_ms += jump_ms;
                for process in alive {
                    self.turn_soon(process, 0);
                }
            }
            Fault::Parting => {
                let (stopped, back_ms) = (dice.often(50), dice.between(100, 5_000));
                let p = &mut self.processes[process];
                if !stopped {
                    let Some(worker) = p.workers.last() else { return };
                    let (name, row) = (worker.name.clone(), worker.session.worker());
                    if row == 0 || p.cut_from.is_some() || self.book.lock().is_cut_off(row) {
                        return;
                    }
                    p.cut_from = Some(self.now);
                    self.note(None, || format!("the connection of worker {name} breaks for {back_ms} ms"));
                    self.book.lock().set_cut_off(row, true);
                    return self.at(self.now, Event::Mend { process, row, back_at: self.now + back_ms });
                }
                let Some(worker) = p.workers.pop() else { return };
                p.stepper.unseat(&worker.session);
                let (name, jobs) = (worker.name.clone(), worker.jobs.len());
                self.note(None, || format!("worker {name} leaves, {jobs} at work"));
                let gone = Op::WorkerGone { worker: worker.session.worker(), beat: None, stopped };
                self.processes[process].stepper.send(gone);
                let new = NewWorker {
                    name: format!("{}-again{}", worker.name, self.ids),
                    language: "rust".into(),
                    sdk_version: "0".into(),
                    queues: worker.session.queues.to_vec(),
                    handlers: vec!["h".into()],
                    slots: 2,
                    pid: 1,
                    lease_ms: worker.session.lease_ms,
                };
                let p = &mut self.processes[process];
                let answer = p.stepper.submit(Op::AddWorker(Box::new(new.clone())));
                p.asks.extend(answer.map(|a| (a, Ask::Join(Box::new(new)))));
                self.turn_soon(process, 0);
            }
            Fault::Channel | Fault::Release | Fault::Operator => {}
        }
    }

    fn operate(&mut self) -> Held {
        if self.calm || self.model.tasks.is_empty() {
            return Ok(());
        }
        let count = self.model.tasks.len() as u64;
        let Some(dice) = self.faults.get_mut(Fault::Operator.name()) else { return Ok(()) };
        let task = dice.below(count) as usize;
        let (kind, choice) = (dice.below(11), dice.any());
        let steps = self.model.step_numbers(task);
        let Some(no) = steps.get(choice as usize % steps.len().max(1)).copied() else { return Ok(()) };
        let seen = &self.model.tasks[task];
        let order = match kind {
            0 => Order::Cancel,
            1 | 2 => Order::Pause,
            3 => Order::Resume,
            4 => Order::RetryFailed,
            5 | 6 => Order::Reset(no),
            7 => Order::ResolveStep(no),
            8 => {
                let step = if usize::from(no) < seen.workflow.graph.len() { no } else { 0 };
                let attempt = Attempt { no: step, step, fence: 0, failures: 0, cursor: 0 };
                Order::CompleteStep(step, script::result(&seen.workflow, seen.script, false, &attempt))
            }
            9 => Order::GiveUp,
            _ => {
                let filter = DeadLetterFilter { task_uuid: Some(seen.uuid.to_string()), ..DeadLetterFilter::default() };
                let letters = self.ground.store.dead_letters(&filter).unwrap_or_default();
                if let Some(letter) = letters.first() {
                    let order = if choice.is_multiple_of(2) { LetterOrder::Replay } else { LetterOrder::Discard };
                    let (actor, reason) = ("sim".into(), task.to_string());
                    self.ask(Op::DeadLetter { id: letter.id, order, actor, reason });
                }
                return Ok(());
            }
        };
        let uuid = seen.uuid;
        self.ask(Op::Act { task: uuid, order, actor: "sim".into(), reason: "chance".into() });
        Ok(())
    }
}

fn shown(report: &Report) -> String {
    match report {
        Report::Success { result, .. } => format!("success {result}"),
        Report::Failure(failure) => format!("failure, retryable {}", failure.error.retryable),
        Report::Checkpoint { checkpoint, .. } => format!("checkpoint {checkpoint}"),
        Report::Release { delay_ms } => format!("release, {delay_ms} ms"),
    }
}
