//! Moving a store: every row, read from one database and written to an empty one, on whatever drivers.
//!
//! The tables are listed once, here; a driver turns their rows into [`Cell`]s and back. Where a driver keeps a table in
//! a form of its own (PGMQ's queues), it gives and takes the rows in the form listed here.

use tasker_wire::{DoctorReport, Error, Kind};
use uuid::Uuid;

use crate::Store;
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;

/// A value on its way.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Null,
    /// Numbers, and truth as 0 or 1.
    Int(i64),
    Text(String),
    Uuid(Uuid),
}

/// What a column holds, as the narrower of the drivers stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Big,
    Int,
    Small,
    Bool,
    Text,
    Uuid,
}

pub(crate) type Row = Vec<Cell>;

/// A table.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, Type)],
    /// Its primary key: rows are read and written in its order.
    pub(crate) key: &'static str,
}

macro_rules! table {
    ($name:ident by $key:literal: $($type:ident $($column:ident),+;)+) => {
        Table { name: stringify!($name), key: $key, columns: &[$($((stringify!($column), Type::$type)),+),+] }
    };
}

pub(crate) const TEMPLATES: &Table = &table!(templates by "id": Big id, registered_at; Text namespace, name, version, environment, digest, path, source;);
pub(crate) const WORKERS: &Table = &table!(workers by "id": Big id, pid, lease_ms, started_at, seen_at, beat; Int slots; Bool gone, draining;
    Text name, language, sdk_version, queues, handlers;);
/// Places of queued steps.
pub(crate) const READY: &Table =
    &table!(ready by "queue, rank, enqueued_at, step": Text queue; Big rank, enqueued_at, step;);
/// Durable events with their tasks' UUIDs: they outlive the tasks' rows.
pub(crate) const EVENTS: &Table = &table!(events by "msg_id": Big msg_id, read_ct, enqueued_at, vt, archived_at; Uuid task;
    Text queue, name, message;);

/// Every table, those that others point to first.
const TABLES: &[&Table] = &[
    TEMPLATES,
    WORKERS,
    &table!(tasks by "id": Big id, template, start_at, created_at, state_since, updated_at, ended_at, wake_at; Uuid uuid;
        Int priority, total, done, failed, isolated, cancelled, active, waiting, fence_base; Small state; Bool paused;
        Text batches;),
    &table!(requests by "task": Big task; Text context, details;),
    &table!(idempotency by "key": Text key, digest; Big task;),
    &table!(steps by "id": Big id, enqueued_at, started_at, wake_at, worker, ended_at; Int remaining, fence, attempts, crashes;
        Small template, state; Bool has_checkpoint, suspect; Text name, result;),
    &table!(inputs by "step": Big step; Text inputs;),
    &table!(checkpoints by "step": Big step; Text checkpoint;),
    &table!(attempts by "step, fence, seq": Big step, seq, worker, started_at, ended_at, execution_us, retry_at;
        Int fence, attempt; Small outcome; Text error, metadata, result;),
    &table!(audit by "id": Big id, task, at; Int step; Text action, actor, reason, before, after;),
    &table!(dead_letters by "id": Big id, task, opened_at, resolved_at; Small reason; Int step;
        Text error_type, message, fingerprint, note, resolution;),
    READY,
    EVENTS,
];

impl Table {
    /// `a, b, c`.
    pub(crate) fn columns(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Place of a column.
    pub(crate) fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|(name, _)| *name == column)
    }

    fn set(&self, row: &mut Row, column: &str, cell: Cell) {
        if let Some(place) = self.place(column) {
            row[place] = cell;
        }
    }
}

/// Numbers that were given out, and must not be given again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Marks {
    pub(crate) tasks: i64,
    pub(crate) events: i64,
    /// Latest time of a commit, Unix milliseconds.
    pub(crate) high_water: i64,
}

/// A store that is read as it is at one moment, while nobody writes to it.
pub(crate) trait Source {
    /// Hands over the rows of a table, a few at a time.
    fn each(&mut self, table: &Table, take: &mut dyn FnMut(Vec<Row>) -> Result<(), Error>) -> Result<(), Error>;
    fn marks(&mut self) -> Result<Marks, Error>;
}

/// A store that is filled in one transaction.
pub(crate) trait Target {
    fn insert(&mut self, table: &Table, rows: Vec<Row>) -> Result<(), Error>;
    fn count(&mut self, table: &Table) -> Result<u64, Error>;
    /// Makes what follows from the rows.
    fn seal(&mut self, marks: Marks) -> Result<(), Error>;
}

/// A driver that moves.
pub(crate) trait Movable: Store {
    fn read_all(&self, work: &mut dyn FnMut(&mut dyn Source) -> Result<(), Error>) -> Result<(), Error>;
    /// Commits if the work ends well.
    fn write_all(&self, work: &mut dyn FnMut(&mut dyn Target) -> Result<(), Error>) -> Result<(), Error>;
}

fn open(url: &str) -> Result<Box<dyn Movable>, Error> {
    match url.split(':').next().unwrap_or_default() {
        "sqlite" if url.ends_with(":memory:") => Err(Error::new(
            Kind::Invalid,
            "unsupported_url",
            "a store in memory is private to its process and cannot be moved",
        )),
        "sqlite" => Ok(Box::new(Sqlite::open(url)?)),
        "postgres" | "postgresql" => Ok(Box::new(Postgres::open(url)?)),
        scheme => Err(Error::new(Kind::Invalid, "unsupported_url", format!("no store answers to `{scheme}:`"))
            .hint("use sqlite:///path/to/file.db or postgres://host/database")),
    }
}

/// What was moved.
#[derive(Debug)]
pub struct Moved {
    /// Tables and how many rows of each.
    pub rows: Vec<(&'static str, u64)>,
    /// Steps that a worker held: they are queued again as soon as a worker looks at the target.
    pub leased: u64,
    /// The target's doctor, after the move.
    pub report: DoctorReport,
}

/// Copies everything from one store into an empty one, in one transaction, and leaves the first as it is. Task numbers,
/// step ids, fencing tokens and event numbers stay.
///
/// `force`: also while workers of the source are alive. What they finish after the copy is known to the source only,
/// and done again by the target. `progress` hears how many rows have been copied.
pub fn copy(
    from: &str,
    to: &str,
    now: i64,
    force: bool,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<Moved, Error> {
    if let Some(path) = Sqlite::file_of(from).filter(|path| !path.exists()) {
        let what = format!("there is no store at {}", path.display());
        return Err(Error::new(Kind::NotFound, "store_not_found", what).hint("the store to move from comes first"));
    }
    let (from, to) = (open(from)?, open(to)?);
    let alive = |w: &crate::WorkerRecord| !w.gone && w.seen_at + w.lease_ms >= now;
    let alive: Vec<String> = from.workers()?.into_iter().filter(alive).map(|w| w.name).collect();
    if !alive.is_empty() && !force {
        let what = format!("{} workers of {} are alive, such as `{}`", alive.len(), from.url(), alive[0]);
        return Err(Error::new(Kind::Conflict, "store_in_use", what).hint(
            "stop all workers and servers of the store first; with --force their steps run again at the target",
        ));
    }
    let before = from.doctor(now)?;
    let mut rows = Vec::new();
    let mut leased = 0;
    from.read_all(&mut |source| {
        to.write_all(&mut |target| {
            for table in [TEMPLATES, WORKERS, TABLES[2], EVENTS] {
                if target.count(table)? > 0 {
                    let what = format!("{} is not empty: it has {}", to.url(), table.name);
                    return Err(Error::new(Kind::Conflict, "store_not_empty", what)
                        .hint("name a database, a schema (`?schema=NAME`) or a file without tasks"));
                }
            }
            (rows, leased) = copy_tables(source, target, progress)?;
            target.seal(source.marks()?)?;
            for (table, (name, count)) in TABLES.iter().zip(&rows) {
                let found = target.count(table)?;
                if found != *count {
                    let what = format!("{count} rows of {name} were read and {found} arrived; nothing was stored");
                    return Err(Error::new(Kind::Bug, "store_error", what));
                }
            }
            Ok(())
        })
    })?;
    let report = to.doctor(now)?;
    // What is overdue waits for a worker, in either store.
    let worse = report.findings.iter().find(|f| {
        let was = before.findings.iter().find(|b| b.check == f.check).map_or(0, |b| b.violations);
        f.violations > was && !f.check.contains("overdue")
    });
    match worse {
        None => Ok(Moved { rows, leased, report }),
        Some(finding) => {
            let what =
                format!("{}, as moved, breaks a rule: {} ({} rows)", to.url(), finding.check, finding.violations);
            Err(Error::new(Kind::Bug, "store_error", what).hint("go on with the store you moved from, and report this"))
        }
    }
}

type Counts = Vec<(&'static str, u64)>;

fn copy_tables(
    source: &mut dyn Source,
    target: &mut dyn Target,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<(Counts, u64), Error> {
    let (mut counts, mut leased, mut copied) = (Vec::new(), 0, 0);
    let in_progress = tasker_core::state::StepState::InProgress.code();
    for table in TABLES {
        let mut count = 0;
        source.each(table, &mut |mut rows| {
            for row in &mut rows {
                match table.name {
                    // None of them works on the target.
                    "workers" => table.set(row, "gone", Cell::Int(1)),
                    "steps" => {
                        let state = table.place("state").map(|place| &row[place]);
                        leased += u64::from(matches!(state, Some(Cell::Int(code)) if *code == in_progress));
                    }
                    _ => {}
                }
            }
            count += rows.len() as u64;
            copied += rows.len() as u64;
            target.insert(table, rows)?;
            progress(table.name, copied);
            Ok(())
        })?;
        counts.push((table.name, count));
    }
    Ok((counts, leased))
}
