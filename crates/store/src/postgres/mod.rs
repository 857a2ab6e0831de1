//! PostgreSQL 13 and later, without any extension.
//!
//! Commits and reads have connections of their own. Any number of processes, and of commits in one, share a database:
//! rows are locked in the order of their numbers, claims skip what others hold.

mod config;
mod connection;
mod listen;
mod migrate;
mod pgmq;
mod read;
mod rows;
mod tables;
mod transfer;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use tasker_core::graph::Workflow;
use tasker_wire::{DeadLetterFilter, DoctorReport, DutyView, Error, EventFilter, Kind, TaskFilter};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::attempt::{self, Attempt, Blame};
use crate::clock::{ServerTime, monotonic_ms};
use crate::sync::{Condvar, Mutex};
use crate::tables::{STEP_MAX, split, step_id, version_key};
use crate::threads;
use crate::workflows::Workflows;
use crate::{
    AttemptRecord, AuditRecord, Batch, CommitError, Committed, DeadLetterRecord, Done, EventRecord, Op, StepRecord,
    Store, TaskRecord, TemplateRecord, WatchedRecord, WorkerRecord,
};
use config::{Settings, Transport};
use connection::{Bounds, Call, Conn, Role, Trouble, call};
use listen::Listener;

macro_rules! query {
    ($name:literal) => {
        include_str!(concat!("queries/", $name, ".sql"))
    };
}
pub(crate) use query;

/// Commits at the same time. An engine has one on its way; a server has those of its workers.
const WRITERS_MAX: usize = 4;
/// Changes nothing, and needs everything that a commit does.
const PROBE: &str = "UPDATE tasks SET id = id WHERE false; UPDATE steps SET id = id WHERE false; \
     DELETE FROM ready WHERE false; INSERT INTO attempts SELECT * FROM attempts WHERE false;";
/// Reading connections kept open when idle.
const READERS_MAX: usize = 4;
/// Times a batch is tried that lost a race to another process.
const RACES_MAX: u32 = 8;
/// How long the outcome of a commit is looked for whose connection broke.
const OUTCOME_WAIT: Duration = Duration::from_secs(30);
/// How long the server may still be at work on a commit that arrived.
const STILL_AT_WORK: Duration = Duration::from_millis(300);
/// How often queues that do not exist are looked for.
const QUEUES_EVERY: Duration = Duration::from_millis(200);
/// How often the high-water mark of time is stored, milliseconds.
const HIGH_WATER_EVERY_MS: i64 = 1_000;
/// How often the server's clock is looked at when a store is opened.
const CLOCK_LOOKS: usize = 3;
/// Tasks whose template is remembered; when there are more, all are forgotten.
const KNOWN_MAX: usize = 200_000;

/// A store in a PostgreSQL database.
pub struct Postgres {
    settings: Arc<Settings>,
    durability: String,
    workflows: Workflows,
    // Each commit takes one out, or waits for one.
    writers: Mutex<Writers>,
    writer_free: Condvar,
    // High-water mark of time as this process stored it last, Unix milliseconds.
    high_water: AtomicI64,
    // Idle readers; one is taken out for each read, so that reads never wait for each other.
    readers: Mutex<Vec<Conn>>,
    // Template of live tasks, by which a report's rows are foreseen; touched a few times a step.
    known: Mutex<FxHashMap<i64, i64>>,
    // Queues of steps that are known to exist in PGMQ; grows with the templates.
    queues: Mutex<FxHashSet<String>>,
    // When unknown queues were looked for.
    looked: Mutex<Option<Instant>>,
    time: Arc<ServerTime>,
    listener: Listener,
    /// Connections to commit over that were opened so far.
    reconnections: AtomicU64,
}

#[derive(Default)]
struct Writers {
    idle: Vec<Conn>,
    busy: usize,
}

/// One of the connections that commit; goes back when dropped.
struct Writer<'a> {
    store: &'a Postgres,
    conn: Option<Conn>,
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut writers = self.store.writers.lock();
        writers.busy -= 1;
        writers.idle.extend(self.conn.take());
        drop(writers);
        self.store.writer_free.notify_one();
    }
}

/// The server's time, from [`CLOCK_LOOKS`] looks.
fn measured(conn: &mut Conn) -> connection::Result<ServerTime> {
    let mut looks = Vec::new();
    for _ in 0..CLOCK_LOOKS {
        let sent_ms = monotonic_ms();
        let server_ms = conn.one(query!("clock"), Vec::new())?;
        looks.push((sent_ms, monotonic_ms(), server_ms));
    }
    Ok(ServerTime::measured(&looks))
}

fn no_template(template: i64) -> Error {
    Error::new(Kind::NotFound, "template_not_found", format!("there is no template row {template}"))
}

impl Postgres {
    /// Opens the store of a URL: `postgres://user:password@host:port/database`, with libpq's parameters and
    ///
    /// - `schema=NAME`: schema of the tables, `tasker` by default;
    /// - `pooler=transaction`: connections go through a pooler that lends a server connection for one transaction;
    /// - `queue=pgmq`: steps travel by PGMQ queues; a database keeps the transport it was created with;
    /// - `sslmode=disable|prefer|require|verify-full`, `sslrootcert=FILE`.
    ///
    /// Creates or upgrades its tables where that is needed and allowed.
    pub fn open(url: &str) -> Result<Postgres, Error> {
        threads::blocking(|| Postgres::open_here(url))
    }

    fn open_here(url: &str) -> Result<Postgres, Error> {
        let mut settings = Settings::read(url)?;
        let mut conn = Conn::open(&settings, Role::Reader).map_err(|e| trouble(&settings, e))?;
        migrate::migrate(&mut conn, &mut settings)?;
        let settings = Arc::new(settings);
        let about = |conn: &mut Conn| -> connection::Result<(i64, String)> {
            let high_water = conn.rows(call!(query!("high_water_load")))?.first().map_or(Ok(0), |r| r.try_get(0))?;
            let version: String = conn.one("SELECT current_setting('server_version')", Vec::new())?;
            let sync: String = conn.one("SELECT current_setting('synchronous_commit')", Vec::new())?;
            let fsync: String = conn.one("SELECT current_setting('fsync')", Vec::new())?;
            let word = if sync == "off" || fsync == "off" { " (not durable)" } else { "" };
            Ok((high_water, format!("postgresql {version}, synchronous_commit={sync}, fsync={fsync}{word}")))
        };
        let (high_water, durability) = about(&mut conn).map_err(|e| trouble(&settings, e))?;
        // Before anything asks for the time.
        let time = Arc::new(measured(&mut conn).map_err(|e| trouble(&settings, e))?);
        let listener = Listener::start(settings.clone(), time.clone())?;
        Ok(Postgres {
            settings,
            durability,
            workflows: Workflows::default(),
            writers: Mutex::default(),
            writer_free: Condvar::new(),
            high_water: AtomicI64::new(high_water),
            readers: Mutex::new(vec![conn]),
            known: Mutex::default(),
            queues: Mutex::default(),
            looked: Mutex::default(),
            time,
            listener,
            reconnections: AtomicU64::new(0),
        })
    }

    /// Creates or upgrades the tables of a URL; gives the version they had and the one they have.
    pub fn migrate(url: &str) -> Result<(usize, usize), Error> {
        threads::blocking(|| {
            let mut settings = Settings::read(url)?;
            let mut conn = Conn::open(&settings, Role::Reader).map_err(|e| trouble(&settings, e))?;
            migrate::migrate(&mut conn, &mut settings)
        })
    }

    fn trouble(&self, error: Trouble) -> Error {
        trouble(&self.settings, error)
    }

    /// The workflow of a task, if it can be had without asking the server.
    fn workflow_of(&self, task: i64) -> Option<Arc<Workflow>> {
        let template = *self.known.lock().get(&task)?;
        self.workflows.cached(template)
    }

    fn know(&self, task: i64, template: i64) {
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(task, template);
    }

    fn forget(&self, task: i64) {
        self.known.lock().remove(&task);
    }

    /// Reads over an idle connection, or a new one. Whoever calls may be within a runtime of their own.
    fn read<T: Send>(&self, read: impl FnMut(&mut Conn) -> connection::Result<T> + Send) -> Result<T, Error> {
        threads::blocking(|| self.read_here(read))
    }

    fn read_here<T>(&self, mut read: impl FnMut(&mut Conn) -> connection::Result<T>) -> Result<T, Error> {
        let idle = self.readers.lock().pop();
        let is_fresh = idle.is_none();
        let open = || Conn::open(&self.settings, Role::Reader);
        let mut conn = match idle.filter(|c| !c.is_closed()) {
            Some(conn) => conn,
            None => open().map_err(|e| self.trouble(e))?,
        };
        let mut result = read(&mut conn);
        // An idle connection may have died of a restarted server, or know statements of tables that were upgraded; a new
        // one tells.
        if !is_fresh && result.as_ref().is_err_and(|e| e.is_lost() || is_stale(e)) {
            self.readers.lock().clear();
            conn = open().map_err(|e| self.trouble(e))?;
            result = read(&mut conn);
        }
        if !result.as_ref().is_err_and(Trouble::is_lost) {
            let mut readers = self.readers.lock();
            if readers.len() < READERS_MAX {
                readers.push(conn);
            }
        }
        result.map_err(|e| self.trouble(e))
    }

    fn rows<T: Send>(
        &self,
        call: impl Fn() -> Call + Sync,
        row: impl Fn(&Row) -> connection::Result<T> + Sync,
    ) -> Result<Vec<T>, Error> {
        self.read(|conn| conn.rows(call())?.iter().map(&row).collect())
    }

    /// A connection to commit over, if one is open; to be opened otherwise.
    fn take_writer(&self) -> Writer<'_> {
        let mut writers = self.writers.lock();
        while writers.busy >= WRITERS_MAX {
            writers = self.writer_free.wait(writers);
        }
        writers.busy += 1;
        Writer { store: self, conn: writers.idle.pop() }
    }

    fn attempt(&self, slot: &mut Option<Conn>, batch: &Batch, hurried: bool) -> Result<Committed, Trouble> {
        let mut races = 0;
        loop {
            // Out of its place while it is in use: what panics half-way through a transaction must not come back.
            let mut conn = match slot.take().filter(|conn| !conn.is_closed()) {
                Some(conn) => conn,
                None => {
                    let conn = Conn::open(&self.settings, Role::Writer)?;
                    // What a former server knew may be lost with it.
                    self.reconnections.fetch_add(1, Ordering::Relaxed);
                    conn
                }
            };
            conn.hurry(hurried);
            let trouble = match self.attempt_on(&mut conn, batch) {
                Ok(committed) => {
                    *slot = Some(conn);
                    return Ok(committed);
                }
                Err(trouble) => trouble,
            };
            if trouble.is_lost() {
                return Err(trouble);
            }
            if conn.script("ROLLBACK").is_ok() && !is_stale(&trouble) {
                *slot = Some(conn);
            }
            races += 1;
            if !is_race(&trouble) || races >= RACES_MAX {
                return Err(trouble);
            }
        }
    }

    fn attempt_on(&self, conn: &mut Conn, batch: &Batch) -> Result<Committed, Trouble> {
        if self.settings.transport == Transport::Pgmq {
            self.look_for_queues(conn, batch)?;
        }
        let high_water = self.high_water.load(Ordering::Relaxed);
        let marks = !batch.ops.is_empty() && (batch.now - high_water).abs() >= HIGH_WATER_EVERY_MS;
        let (out, rows) = tables::prepare(self, conn, batch)?;
        let xid = rows.xid.clone();
        match rows.commit(marks.then_some(batch.now)) {
            Ok(()) => {}
            Err(trouble) if trouble.is_lost() => {
                // The commit may have reached the server although its answer did not reach us.
                let Some(xid) = xid else { return Err(trouble) };
                return if self.was_committed(&xid, batch, &out)? { Ok(out) } else { Err(trouble) };
            }
            Err(trouble) => return Err(trouble),
        }
        if marks {
            self.high_water.store(batch.now, Ordering::Relaxed);
        }
        if out.is_news() {
            self.listener.ring();
        }
        Ok(out)
    }

    /// Finds out which of the queues that are claimed from exist by now.
    fn look_for_queues(&self, conn: &mut Conn, batch: &Batch) -> Result<(), Trouble> {
        let wanted =
            |known: &FxHashSet<String>| batch.claims.iter().any(|c| c.queues.iter().any(|q| !known.contains(q)));
        if !wanted(&self.queues.lock()) || self.looked.lock().is_some_and(|at| at.elapsed() < QUEUES_EVERY) {
            return Ok(());
        }
        for row in conn.rows(call!(query!("queues_of_kind"), pgmq::Kind::Steps as i16))? {
            self.queues.lock().insert(row.try_get(0)?);
        }
        *self.looked.lock() = Some(Instant::now());
        Ok(())
    }

    /// PGMQ's names of the queues of a kind; of one queue, if its name is given.
    fn queues(conn: &mut Conn, kind: pgmq::Kind, only: Option<&str>) -> connection::Result<Vec<String>> {
        let mut found = Vec::new();
        for row in conn.rows(call!(query!("queues_of_kind"), kind as i16))? {
            if only.is_none_or(|only| row.get::<_, &str>(0) == only) {
                found.push(row.try_get(1)?);
            }
        }
        Ok(found)
    }

    /// Whether a transaction was committed whose connection broke. Asks until the server knows.
    ///
    /// A server that crashed gives numbers again whose transactions had not reached its disk, and one that took over after a
    /// failover gives those that never reached it: of another transaction of that number it says `committed` too. That counts
    /// only if something is there that this one alone has written.
    fn was_committed(&self, xid: &str, batch: &Batch, out: &Committed) -> Result<bool, Trouble> {
        let unknown = || {
            let what = "the connection broke during a commit, and its outcome cannot be found out";
            Trouble::Unknown(format!("{what} (transaction {xid})"))
        };
        let asked_at = Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            let asked = Conn::open(&self.settings, Role::Reader).and_then(|mut conn| {
                let status: Option<String> = conn.one(query!("xact_status"), vec![Box::new(xid.to_string())])?;
                if status.as_deref() == Some("committed") {
                    return Ok(Status::Committed(written(&mut conn, batch, out)?));
                }
                if status.as_deref() == Some("in progress") && asked_at.elapsed() >= STILL_AT_WORK {
                    // Its server process waits for a client that is gone; it must let go of its locks.
                    conn.rows(call!(query!("terminate"), xid.to_string()))?;
                }
                Ok(if status.as_deref() == Some("aborted") { Status::Aborted } else { Status::Open })
            });
            match asked {
                Ok(Status::Committed(is_written)) => return is_written.ok_or_else(unknown),
                Ok(Status::Aborted) => return Ok(false),
                // A number from the future: the server has lost the transaction with a failover.
                Err(trouble) if trouble.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => return Ok(false),
                _ if asked_at.elapsed() >= OUTCOME_WAIT => {
                    return Err(unknown());
                }
                _ => {}
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }
}

/// What a server says of a transaction.
enum Status {
    /// One of that number was committed; whether that was this one, if it left anything to know it by.
    Committed(Option<bool>),
    Aborted,
    Open,
}

/// Whether what a batch writes is there; `None` if it writes nothing that tells it from others.
fn written(conn: &mut Conn, batch: &Batch, out: &Committed) -> connection::Result<Option<bool>> {
    for (op, result) in batch.ops.iter().zip(&out.results) {
        let call = match (op, result) {
            (_, Ok(Done::Created { uuid, existing: false, .. })) => call!(query!("wrote_task"), *uuid),
            (Op::Finish { task, no, fence, worker, .. }, Ok(Done::Finished { accepted: true })) => {
                call!(query!("wrote_attempt"), step_id(*task, *no), *fence as i32, *worker, batch.now)
            }
            (Op::Act { task, actor, .. }, Ok(Done::Acted)) => {
                call!(query!("wrote_audit"), *task, tables::text(actor), batch.now)
            }
            (Op::AddWorker(new), Ok(Done::Worker(worker))) => {
                call!(query!("wrote_worker"), *worker, tables::text(&new.name))
            }
            _ => continue,
        };
        return Ok(Some(!conn.rows(call)?.is_empty()));
    }
    for (claim, claimed) in batch.claims.iter().zip(&out.claimed) {
        let Some(first) = claimed.first() else { continue };
        let rows = conn.rows(call!(query!("wrote_claim"), step_id(first.task, first.no)))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (fence, worker): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
        return Ok(match fence.cmp(&(first.fence as i32)) {
            std::cmp::Ordering::Less => Some(false),
            std::cmp::Ordering::Equal => Some(worker == claim.worker),
            std::cmp::Ordering::Greater => None,
        });
    }
    Ok(None)
}

/// Whether a statement was prepared before the tables were upgraded, or on another server connection: that connection is
/// of no more use.
fn is_stale(trouble: &Trouble) -> bool {
    let stale = [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_SQL_STATEMENT_NAME];
    trouble.code().is_some_and(|code| stale.contains(code))
}

/// Whether the batch lost a race to another process and will win it when tried again.
fn is_race(trouble: &Trouble) -> bool {
    // Another process has just stored the same idempotency key.
    if trouble.constraint() == Some("idempotency_pkey") {
        return true;
    }
    match trouble.code() {
        Some(code) if [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code) => true,
        // The next attempt has another connection.
        _ => is_stale(trouble),
    }
}

/// A commit on one of the connections that write.
struct Commit<'a> {
    writer: Writer<'a>,
}

impl Attempt for Commit<'_> {
    type Trouble = Trouble;

    fn attempt(&mut self, batch: &Batch, hurried: bool) -> Result<Committed, Trouble> {
        self.writer.store.attempt(&mut self.writer.conn, batch, hurried)
    }

    fn works(&mut self) -> bool {
        let store = self.writer.store;
        let conn = match self.writer.conn.take() {
            Some(conn) => Ok(conn),
            None => Conn::open(&store.settings, Role::Writer),
        };
        let written = conn.and_then(|mut conn| conn.probe(PROBE).map(|()| conn));
        self.writer.conn = written.ok();
        self.writer.conn.is_some()
    }

    fn blame(&self, trouble: &Trouble) -> Blame {
        blame(trouble)
    }

    fn error(&self, trouble: Trouble) -> Error {
        self.writer.store.trouble(trouble)
    }
}

fn blame(trouble: &Trouble) -> Blame {
    if matches!(trouble, Trouble::Unknown(_)) {
        return Blame::Unknown;
    }
    if trouble.is_lost() || is_race(trouble) {
        return Blame::Store;
    }
    let Some(code) = trouble.code() else { return Blame::Operation };
    let is_of = |classes: &[&str]| classes.iter().any(|class| code.code().starts_with(class));
    if [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED].contains(code) {
        Blame::Held
    } else if [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::DISK_FULL, SqlState::TOO_MANY_CONNECTIONS].contains(code)
        || is_of(&["57", "58", "28", "3D", "F0"])
    {
        // Operator intervention, system errors, authorisation; a standby, a full disk.
        Blame::Store
    } else if [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::UNDEFINED_TABLE].contains(code) || is_of(&["53", "XX"]) {
        // The tables are not there or may not be used, or only those of one queue; memory; internal errors.
        Blame::Either
    } else {
        Blame::Operation
    }
}

fn trouble(settings: &Settings, trouble: Trouble) -> Error {
    let at = &settings.shown;
    let say = |code, what: String, hint: &str| Error::new(Kind::Unavailable, code, what).hint(hint);
    let class = trouble.code().map(|c| c.code().to_string()).unwrap_or_default();
    match (&trouble, class.as_str()) {
        (Trouble::Unknown(_), _) => say(
            "commit_unknown",
            format!("{at}: {trouble}"),
            "look whether it was done before doing it again, or repeat it with an idempotency key",
        ),
        (Trouble::Unsendable(_), _) => Error::new(
            Kind::Unprocessable,
            "cannot_be_stored",
            format!("a value cannot be sent to the store at {at}: {trouble}"),
        )
        .hint("store less, or store it elsewhere and pass a reference"),
        (Trouble::Foreign(_), _) => {
            Error::new(Kind::Bug, "store_error", format!("the store at {at} holds a foreign row: {trouble}"))
                .hint("was it written by a newer Tasker? otherwise please report it with this message")
        }
        (_, "53100") => say(
            "store_full",
            format!("the disk of the server at {at} is full; nothing acknowledged was lost"),
            "free some space; Tasker goes on by itself",
        ),
        (_, "53300") => say(
            "store_busy",
            format!("the server at {at} takes no more connections"),
            "raise max_connections, or use a pooler with `pooler=transaction`",
        ),
        (_, "57014" | "55P03") => say(
            "store_busy",
            format!("a statement at {at} took too long and was stopped"),
            "see what holds it up (`pg_stat_activity`, `pg_locks`)",
        ),
        (_, "25006") => say(
            "store_read_only",
            format!("{at} cannot be written; it is a standby, or read-only"),
            "name the primary: list the hosts and add target_session_attrs=read-write",
        ),
        (_, "42501") => say(
            "store_denied",
            format!("{at}: {trouble}"),
            "grant the role what docs/guide/operations.md lists, or run `tasker migrate` as the owner",
        ),
        (_, "3D000") => say("store_cannot_open", format!("{at}: {trouble}"), "create the database with `createdb`"),
        (_, "42P01") => say("store_cannot_open", format!("{at}: {trouble}"), "run `tasker migrate`"),
        (_, code) if code.starts_with("28") => {
            say("store_denied", format!("{at}: {trouble}"), "check user and password of the URL")
        }
        _ if trouble.is_lost() => say(
            "store_unreachable",
            format!("the PostgreSQL server at {at} cannot be reached: {trouble}"),
            "check that it runs and that the URL is right; Tasker tries again by itself",
        ),
        _ => Error::new(Kind::Bug, "store_error", format!("the store at {at} refused a statement: {trouble}"))
            .hint("this is a fault of Tasker's; please report it with this message"),
    }
}

impl Store for Postgres {
    fn url(&self) -> &str {
        &self.settings.shown
    }

    fn durability(&self) -> String {
        self.durability.clone()
    }

    fn commit(&self, batch: &Batch) -> Result<Committed, CommitError> {
        attempt::commit(&mut Commit { writer: self.take_writer() }, batch)
    }

    fn version(&self) -> Result<u64, Error> {
        Ok(self.listener.version())
    }

    fn watch(&self, told: Arc<dyn Fn() + Send + Sync>) {
        self.listener.tell(told);
    }

    fn clock_offset(&self) -> i64 {
        self.time.offset_ms()
    }

    fn watched(&self) -> Result<Vec<WatchedRecord>, Error> {
        self.rows(|| call!(query!("workers_watched")), rows::watched)
    }

    fn announce(&self, worker: i64) {
        self.listener.announce(worker);
    }

    fn withdraw(&self, worker: i64) {
        self.listener.withdraw(worker);
    }

    fn cut_off(&self) -> Vec<i64> {
        self.listener.cut_off()
    }

    fn connections(&self) -> u64 {
        self.listener.connections() + self.reconnections.load(Ordering::Relaxed)
    }

    fn next_wake(&self) -> Result<Option<i64>, Error> {
        self.read(|conn| conn.one(query!("next_wake"), Vec::new()))
    }

    fn high_water(&self) -> Result<i64, Error> {
        Ok(self.high_water.load(Ordering::Relaxed))
    }

    fn workflow(&self, template: i64) -> Result<Arc<Workflow>, Error> {
        self.workflows.get(template, || self.template_source(template))
    }

    fn template_source(&self, template: i64) -> Result<(String, String, Option<String>), Error> {
        let source = |r: &Row| Ok((r.try_get(0)?, r.try_get(1)?, r.try_get(2)?));
        let found = self.rows(|| call!(query!("template_source"), template), source)?.pop();
        found.ok_or_else(|| no_template(template))
    }

    fn find_template(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<TemplateRecord>, Error> {
        let text = tables::text;
        let call = || call!(query!("template_versions"), text(namespace), text(name), version.map(text));
        let mut rows = self.rows(call, rows::template_record)?;
        // `max_by_key` takes the last of equals, and the rows come newest first.
        rows.reverse();
        Ok(rows.into_iter().max_by_key(|r| version_key(&r.version)))
    }

    fn templates(&self) -> Result<Vec<TemplateRecord>, Error> {
        let mut rows = self.rows(|| call!(query!("template_records")), rows::template_record)?;
        rows.dedup_by(|b, a| (&a.namespace, &a.name, &a.version) == (&b.namespace, &b.name, &b.version));
        Ok(rows)
    }

    fn task(&self, uuid: Uuid) -> Result<Option<TaskRecord>, Error> {
        self.read(|conn| read::task(conn, uuid))
    }

    fn tasks(&self, filter: &TaskFilter) -> Result<(Vec<TaskRecord>, u64), Error> {
        self.read(|conn| read::tasks(conn, filter))
    }

    fn steps(&self, task: i64) -> Result<Vec<StepRecord>, Error> {
        self.rows(|| of_task(query!("step_records"), task), rows::step_record)
    }

    fn attempts(&self, task: i64) -> Result<Vec<AttemptRecord>, Error> {
        self.rows(|| of_task(query!("attempt_records"), task), rows::attempt_record)
    }

    fn history(&self, task: i64) -> Result<(Vec<StepRecord>, Vec<AttemptRecord>), Error> {
        self.read(|conn| {
            let calls = [of_task(query!("step_records"), task), of_task(query!("attempt_records"), task)];
            let mut both = conn.at_one_moment(&calls)?.into_iter();
            let (steps, attempts) = (both.next().unwrap_or_default(), both.next().unwrap_or_default());
            Ok((
                steps.iter().map(rows::step_record).collect::<connection::Result<_>>()?,
                attempts.iter().map(rows::attempt_record).collect::<connection::Result<_>>()?,
            ))
        })
    }

    fn results(&self, task: i64, steps: &[u16]) -> Result<Vec<Option<String>>, Error> {
        let ids: Vec<i64> = steps.iter().map(|no| step_id(task, *no)).collect();
        let found = self.rows(|| call!(query!("step_results"), ids.clone()), |r| Ok((r.try_get(0)?, r.try_get(1)?)))?;
        let found: FxHashMap<i64, Option<String>> = found.into_iter().collect();
        Ok(ids.iter().map(|id| found.get(id).cloned().flatten()).collect())
    }

    fn lost(&self, held: &[(i64, u16, u32)]) -> Result<Vec<(i64, u16, u32)>, Error> {
        let ids: Vec<i64> = held.iter().map(|(task, no, _)| step_id(*task, *no)).collect();
        let row = |r: &Row| Ok((split(r.try_get(0)?), r.try_get::<_, i32>(1)? as u32));
        let still = self.rows(|| call!(query!("steps_held"), ids.clone()), row)?;
        let is_held = |(task, no, fence): &&(i64, u16, u32)| !still.contains(&((*task, *no), *fence));
        Ok(held.iter().filter(is_held).copied().collect())
    }

    fn inputs(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        let call = || call!(query!("inputs_load"), step_id(task, no));
        Ok(self.rows(call, |r| Ok(r.try_get(0)?))?.pop())
    }

    fn checkpoint(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        let call = || call!(query!("checkpoint_load"), step_id(task, no));
        Ok(self.rows(call, |r| Ok(r.try_get(0)?))?.pop())
    }

    fn audit(&self, task: i64) -> Result<Vec<AuditRecord>, Error> {
        self.rows(|| call!(query!("audit_records"), task), rows::audit_record)
    }

    fn task_uuids(&self, filter: &TaskFilter) -> Result<Vec<Uuid>, Error> {
        self.read(|conn| read::task_uuids(conn, filter))
    }

    fn prunable(&self, before: i64) -> Result<u64, Error> {
        Ok(self.read(|conn| conn.one::<i64>(query!("prune_count"), vec![Box::new(before)]))? as u64)
    }

    fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRecord>, Error> {
        let records = self.read(|conn| read::dead_letters(conn, filter))?;
        records
            .into_iter()
            .map(|(template, step, mut record)| {
                let workflow = self.workflow(template)?;
                record.step = step.and_then(|s| workflow.template.steps.get(s)).map(|s| s.name.clone());
                Ok(record)
            })
            .collect()
    }

    fn events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>, Error> {
        self.read(|conn| {
            let of_task = match (&filter.namespace, &filter.task_uuid) {
                (None, Some(task)) => read::namespace_of(conn, task)?,
                _ => None,
            };
            // One queue instead of all: a statement on hundreds of tables takes longer to plan than to run.
            let namespace = filter.namespace.as_deref().or(of_task.as_deref());
            let only = namespace.map(|n| tables::text(&crate::events_queue(n)));
            let queues = Postgres::queues(conn, pgmq::Kind::Events, only.as_deref())?;
            read::events(conn, filter, &queues)
        })
    }

    fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.rows(|| call!(query!("worker_records")), rows::worker_record)
    }

    fn doctor(&self, now: i64) -> Result<DoctorReport, Error> {
        let (findings, tasks, steps, rejected) = self.read(|conn| {
            let ready = match self.settings.transport {
                Transport::Ready => "SELECT step FROM ready".into(),
                Transport::Pgmq => pgmq::all_steps(&Postgres::queues(conn, pgmq::Kind::Steps, None)?),
            };
            read::doctor(conn, now, &ready)
        })?;
        let duty = |r: &Row| Ok(DutyView { name: r.try_get(0)?, last_ran_at: crate::time(r.try_get(1)?) });
        let duties = self.rows(|| call!(query!("duties")), duty)?;
        Ok(DoctorReport {
            healthy: findings.iter().all(|f| f.violations == 0),
            url: self.settings.shown.clone(),
            durability: self.durability(),
            tasks,
            steps,
            rejected,
            findings,
            duties,
        })
    }
}

fn of_task(sql: &'static str, task: i64) -> Call {
    call!(sql, step_id(task, 0), step_id(task, STEP_MAX))
}
