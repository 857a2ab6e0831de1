//! SQLite: one writer connection, readers beside it, write-ahead log with `synchronous=FULL`.
//!
//! Several processes may open one file. Writers take turns by SQLite's own lock (waited for, never shown to a user);
//! a process notices another's commits by `PRAGMA data_version`. Network file systems do not keep SQLite's locks and
//! are not supported.

mod backup;
mod read;
mod rows;
mod tables;
mod transfer;

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};
use tasker_core::graph::Workflow;
use tasker_core::state::StepState;
use tasker_wire::{DeadLetterFilter, DoctorReport, DutyView, Error, EventFilter, Kind, TaskFilter};
use uuid::Uuid;

pub use backup::{Backup, backup, restore};

use crate::attempt::{self, Attempt, Blame};
use crate::clock::{monotonic_ms, wall_ms};
use crate::tables::{step_id, version_key};
use crate::workflows::Workflows;
use crate::{
    AttemptRecord, AuditRecord, Batch, CommitError, Committed, DeadLetterRecord, EventRecord, StepRecord, Store,
    TaskRecord, TemplateRecord, WatchedRecord, WorkerRecord,
};

macro_rules! query {
    ($name:literal) => {
        include_str!(concat!("queries/", $name, ".sql"))
    };
}
pub(crate) use query;

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/001_initial.sql"),
    include_str!("migrations/002_events.sql"),
    include_str!("migrations/003_retention.sql"),
    include_str!("migrations/004_liveness.sql"),
];
/// Changes nothing, and needs everything that a commit does.
const PROBE: &str = "UPDATE tasks SET id = id WHERE false; UPDATE steps SET id = id WHERE false; \
     DELETE FROM ready WHERE false; INSERT INTO attempts SELECT * FROM attempts WHERE false;";
/// Readers kept open when idle.
const READERS_MAX: usize = 4;
/// Longest wait for another process's write before it is called trouble.
const BUSY_WAIT: Duration = Duration::from_secs(60);

/// A store in one SQLite file.
pub struct Sqlite {
    url: String,
    path: PathBuf,
    in_memory: bool,
    workflows: Workflows,
    // The only connection that writes; commits take turns on it.
    writer: Mutex<Writer>,
    // Idle readers; one is taken out for each read, so that reads never wait for each other.
    readers: Mutex<Vec<Connection>>,
    wall: Wall,
}

/// Unix milliseconds of the machine.
type Wall = Arc<dyn Fn() -> i64 + Send + Sync>;

struct Writer {
    conn: Connection,
    /// Stored high-water mark of time, Unix milliseconds.
    high_water: i64,
}

impl Sqlite {
    /// Opens or creates the store of a URL: `sqlite:///absolute.db`, `sqlite://relative.db` or `sqlite::memory:`.
    ///
    /// `sqlite::memory:` is a temporary file without durability, private to this handle and deleted with it.
    pub fn open(url: &str) -> Result<Sqlite, Error> {
        let in_memory = is_in_memory(url);
        let path = if in_memory {
            // Nobody else's name: a number of a process comes again, in a container at once.
            std::env::temp_dir().join(format!("tasker-memory-{}.db", Uuid::now_v7().simple()))
        } else {
            Sqlite::file_of(url).ok_or_else(|| {
                Error::new(Kind::Invalid, "invalid_url", format!("`{url}` is not a SQLite URL"))
                    .hint("use sqlite:///absolute/path.db, sqlite://relative/path.db or sqlite::memory:")
            })?
        };
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| {
                Error::new(
                    Kind::Unavailable,
                    "store_cannot_open",
                    format!("cannot create the folder {}: {e}", folder.display()),
                )
                .hint("choose another path with --url or TASKER_URL")
            })?;
        }
        if in_memory {
            create_for_oneself(&path)?;
        }
        let trouble = |e| trouble(e, &path);
        let mut conn = connect(&path, in_memory).map_err(trouble)?;
        migrate(&mut conn, &path)?;
        let high_water =
            conn.query_row(query!("high_water_load"), [], |r| r.get(0)).or_else(none_is(0)).map_err(trouble)?;
        Ok(Sqlite {
            url: if in_memory { "sqlite::memory:".into() } else { url.into() },
            path,
            in_memory,
            workflows: Workflows::default(),
            writer: Mutex::new(Writer { conn, high_water }),
            readers: Mutex::new(Vec::new()),
            wall: Arc::new(wall_ms),
        })
    }

    /// The same store on a machine whose clock shows `wall` (Unix milliseconds), for tests.
    pub fn with_wall(self, wall: impl Fn() -> i64 + Send + Sync + 'static) -> Sqlite {
        let mut store = self;
        store.wall = Arc::new(wall);
        store
    }

    /// The file a URL names; none if it is not the URL of a file.
    pub fn file_of(url: &str) -> Option<PathBuf> {
        let rest = url.strip_prefix("sqlite:").filter(|_| !is_in_memory(url))?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        // Both spellings of a relative path are common: sqlite://.tasker/t.db and sqlite:///.tasker/t.db.
        let path = path.strip_prefix("/.").map_or(path.to_string(), |p| format!(".{p}"));
        let path = path.split('?').next().unwrap_or_default();
        (!path.is_empty()).then(|| PathBuf::from(path))
    }

    /// Creates or upgrades the tables of a URL; gives the version they had and the one they have.
    pub fn migrate(url: &str) -> Result<(usize, usize), Error> {
        let found = match Sqlite::file_of(url).filter(|path| path.exists()) {
            Some(path) => {
                let conn = connect(&path, false).map_err(|e| trouble(e, &path))?;
                schema(&conn).map_err(|e| trouble(e, &path))?
            }
            None => 0,
        };
        Sqlite::open(url).map(|_| (found, MIGRATIONS.len()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn trouble(&self, error: rusqlite::Error) -> Error {
        trouble(error, &self.path)
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let idle = self.readers.lock().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => connect(&self.path, self.in_memory).map_err(|e| self.trouble(e))?,
        };
        let result = read(&conn).map_err(|e| self.trouble(e));
        let mut readers = self.readers.lock();
        if readers.len() < READERS_MAX {
            readers.push(conn);
        }
        result
    }

    fn workflow_by(&self, conn: &Connection, template: i64) -> Result<Arc<Workflow>, Error> {
        self.workflows.get(template, || source_of(conn, template).map_err(|e| self.trouble(e)))
    }
}

fn source_of(conn: &Connection, template: i64) -> rusqlite::Result<(String, String, Option<String>)> {
    conn.prepare_cached(query!("template_source"))?.query_row([template], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if self.in_memory {
            self.readers.lock().clear();
            for suffix in ["", "-wal", "-shm"] {
                let mut file = self.path.clone().into_os_string();
                file.push(suffix);
                // A file that is gone already is as good as deleted.
                let _ = std::fs::remove_file(file);
            }
        }
    }
}

/// Creates the file of a store in memory. The folder is everybody's: nobody else may have made it, nobody else may read it.
/// SQLite gives the files beside it the same mode.
fn create_for_oneself(path: &Path) -> Result<(), Error> {
    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.map(drop).map_err(|e| {
        let message = format!("cannot create the temporary file {}: {e}", path.display());
        Error::new(Kind::Unavailable, "store_cannot_open", message)
            .hint("name a folder that can be written to with TMPDIR")
    })
}

fn connect(path: &Path, in_memory: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_handler(Some(|tries: i32| {
        std::thread::sleep(Duration::from_micros(200 + 100 * tries.clamp(0, 48) as u64));
        tries < (BUSY_WAIT.as_millis() / 5) as i32
    }))?;
    conn.set_prepared_statement_cache_capacity(128);
    into_wal(&conn)?;
    conn.pragma_update(None, "synchronous", if in_memory { "OFF" } else { "FULL" })?;
    conn.pragma_update(None, "cache_size", -32_768)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // Pages that change often are copied back once a checkpoint: rarer checkpoints write less.
    conn.pragma_update(None, "wal_autocheckpoint", 8_000)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(conn)
}

/// The change of mode does not ask the busy handler when two connections to a new file want it at once.
fn into_wal(conn: &Connection) -> rusqlite::Result<()> {
    let deadline = std::time::Instant::now() + BUSY_WAIT;
    loop {
        match conn.pragma_update(None, "journal_mode", "WAL") {
            Err(e)
                if matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
                    && std::time::Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

fn is_in_memory(url: &str) -> bool {
    matches!(url, "sqlite::memory:" | "sqlite://:memory:")
}

/// Version of the tables.
fn schema(conn: &Connection) -> rusqlite::Result<usize> {
    conn.pragma_query_value(None, "user_version", |r| r.get(0))
}

fn too_new(path: &Path, found: usize) -> Error {
    let newest = MIGRATIONS.len();
    let what = format!("{} was written by a newer Tasker (schema {found}, this one knows {newest})", path.display());
    Error::new(Kind::Conflict, "store_too_new", what).hint("upgrade Tasker, or open another file")
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), Error> {
    let trouble = |e| trouble(e, path);
    let found = schema(conn).map_err(trouble)?;
    if found > MIGRATIONS.len() {
        return Err(too_new(path, found));
    }
    if found == MIGRATIONS.len() {
        return Ok(());
    }
    let tx = Transaction::new(conn, TransactionBehavior::Immediate).map_err(trouble)?;
    // Another process may have migrated while this one waited for the lock.
    let found = schema(&tx).map_err(trouble)?;
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        tx.execute_batch(migration).map_err(trouble)?;
        tx.pragma_update(None, "user_version", number + 1).map_err(trouble)?;
    }
    tx.commit().map_err(trouble)
}

/// A commit on the one connection that writes.
struct Commit<'a> {
    store: &'a Sqlite,
    writer: std::sync::MutexGuard<'a, Writer>,
}

impl Attempt for Commit<'_> {
    type Trouble = rusqlite::Error;

    fn attempt(&mut self, batch: &Batch, _hurried: bool) -> rusqlite::Result<Committed> {
        tables::attempt(self.store, &mut self.writer, batch)
    }

    fn works(&mut self) -> bool {
        let written = Transaction::new(&mut self.writer.conn, TransactionBehavior::Immediate)
            .and_then(|tx| tx.execute_batch(PROBE));
        written.is_ok()
    }

    fn blame(&self, error: &rusqlite::Error) -> Blame {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::NotADatabase
                | ErrorCode::FileLockingProtocolFailed,
            ) => Blame::Store,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::OutOfMemory) => Blame::Either,
            _ => Blame::Operation,
        }
    }

    fn error(&self, error: rusqlite::Error) -> Error {
        self.store.trouble(error)
    }
}

fn trouble(error: rusqlite::Error, path: &Path) -> Error {
    let at = path.display();
    let say = |code, what: String, hint: &str| Error::new(Kind::Unavailable, code, what).hint(hint);
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => say(
            "store_full",
            format!("the disk that holds {at} is full; nothing acknowledged was lost"),
            "free some space; Tasker goes on by itself",
        ),
        Some(ErrorCode::SystemIoFailure) => say(
            "store_io",
            format!("reading or writing {at} failed: {error}"),
            "check the disk; Tasker tries again by itself",
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => say(
            "store_busy",
            format!("another process has been writing to {at} for over {} s", BUSY_WAIT.as_secs()),
            "see who has it open (`fuser FILE`); stop what hangs",
        ),
        Some(ErrorCode::ReadOnly) => say(
            "store_read_only",
            format!("{at} cannot be written"),
            "check the permissions of the file and of its folder",
        ),
        Some(ErrorCode::CannotOpen) => {
            say("store_cannot_open", format!("{at} cannot be opened: {error}"), "check the path and its permissions")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => say(
            "store_corrupt",
            format!("{at} is not a healthy Tasker database: {error}"),
            "move the file away and restore a backup, or name another file",
        ),
        _ => Error::new(Kind::Bug, "store_error", format!("the store at {at} refused a statement: {error}"))
            .hint("this is a fault of Tasker's; please report it with this message"),
    }
}

fn none_is<T>(value: T) -> impl FnOnce(rusqlite::Error) -> rusqlite::Result<T> {
    |e| if matches!(e, rusqlite::Error::QueryReturnedNoRows) { Ok(value) } else { Err(e) }
}

impl Store for Sqlite {
    fn url(&self) -> &str {
        &self.url
    }

    fn durability(&self) -> String {
        let version = rusqlite::version();
        if self.in_memory {
            format!("sqlite {version}, temporary file, synchronous=OFF (not durable)")
        } else {
            format!("sqlite {version}, WAL, synchronous=FULL")
        }
    }

    fn commit(&self, batch: &Batch) -> Result<Committed, CommitError> {
        attempt::commit(&mut Commit { store: self, writer: self.writer.lock() }, batch)
    }

    fn version(&self) -> Result<u64, Error> {
        let writer = self.writer.lock();
        let mut statement = writer.conn.prepare_cached("PRAGMA data_version").map_err(|e| self.trouble(e))?;
        statement.query_row([], |r| r.get(0)).map_err(|e| self.trouble(e))
    }

    fn clock_offset(&self) -> i64 {
        (self.wall)() - monotonic_ms()
    }

    fn watched(&self) -> Result<Vec<WatchedRecord>, Error> {
        self.read(|conn| {
            let mut watched: Vec<WatchedRecord> = conn
                .prepare_cached(query!("workers_watched"))?
                .query_map([], rows::watched)?
                .collect::<rusqlite::Result<_>>()?;
            // And who holds steps though it is gone.
            let holding: Vec<i64> = conn
                .prepare_cached(query!("workers_holding"))?
                .query_map([], |r| r.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut one = conn.prepare_cached(query!("worker_watched"))?;
            for worker in holding {
                if !watched.iter().any(|w| w.id == worker) {
                    watched.extend(one.query_row([worker], |r| rows::watched(r).map(Some)).or_else(none_is(None))?);
                }
            }
            Ok(watched)
        })
    }

    fn next_wake(&self) -> Result<Option<i64>, Error> {
        self.read(|conn| {
            let one =
                |sql| conn.prepare_cached(sql)?.query_row([], |r| r.get::<_, Option<i64>>(0)).or_else(none_is(None));
            let (step, task) = (one(query!("step_next_wake"))?, one(query!("task_next_wake"))?);
            Ok(step.into_iter().chain(task).min())
        })
    }

    fn high_water(&self) -> Result<i64, Error> {
        Ok(self.writer.lock().high_water)
    }

    fn workflow(&self, template: i64) -> Result<Arc<Workflow>, Error> {
        let mut found = None;
        self.read(|conn| {
            found = Some(self.workflow_by(conn, template));
            Ok(())
        })?;
        found.unwrap_or_else(|| Err(Error::new(Kind::NotFound, "template_not_found", "no such template row")))
    }

    fn template_source(&self, template: i64) -> Result<(String, String, Option<String>), Error> {
        self.read(|conn| source_of(conn, template))
    }

    fn find_template(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<TemplateRecord>, Error> {
        let mut rows: Vec<TemplateRecord> = self.read(|conn| {
            conn.prepare_cached(query!("template_versions"))?
                .query_map(params![namespace, name, version], rows::template_record)?
                .collect()
        })?;
        // `max_by_key` takes the last of equals, and the rows come newest first.
        rows.reverse();
        Ok(rows.into_iter().max_by_key(|r| version_key(&r.version)))
    }

    fn templates(&self) -> Result<Vec<TemplateRecord>, Error> {
        let mut rows: Vec<TemplateRecord> = self.read(|conn| {
            conn.prepare_cached(query!("template_records"))?.query_map([], rows::template_record)?.collect()
        })?;
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
        self.read(|conn| read::steps(conn, task))
    }

    fn attempts(&self, task: i64) -> Result<Vec<AttemptRecord>, Error> {
        self.read(|conn| read::attempts(conn, task))
    }

    fn history(&self, task: i64) -> Result<(Vec<StepRecord>, Vec<AttemptRecord>), Error> {
        self.read(|conn| {
            let moment = conn.unchecked_transaction()?;
            let both = (read::steps(&moment, task)?, read::attempts(&moment, task)?);
            moment.commit()?;
            Ok(both)
        })
    }

    fn results(&self, task: i64, steps: &[u16]) -> Result<Vec<Option<String>>, Error> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(query!("step_result"))?;
            steps
                .iter()
                .map(|no| statement.query_row([step_id(task, *no)], |r| r.get(0)).or_else(none_is(None)))
                .collect()
        })
    }

    fn lost(&self, held: &[(i64, u16, u32)]) -> Result<Vec<(i64, u16, u32)>, Error> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(query!("step_load"))?;
            let mut lost = Vec::new();
            for (task, no, fence) in held {
                let step = statement
                    .query_row([step_id(*task, *no)], |r| rows::step(r).map(|(s, _)| Some(s)))
                    .or_else(none_is(None))?;
                if !step.is_some_and(|s| s.state == StepState::InProgress && s.fence == *fence) {
                    lost.push((*task, *no, *fence));
                }
            }
            Ok(lost)
        })
    }

    fn inputs(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(query!("inputs_load"))?;
            statement.query_row([step_id(task, no)], |r| r.get(0)).or_else(none_is(None))
        })
    }

    fn checkpoint(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(query!("checkpoint_load"))?;
            statement.query_row([step_id(task, no)], |r| r.get(0)).or_else(none_is(None))
        })
    }

    fn audit(&self, task: i64) -> Result<Vec<AuditRecord>, Error> {
        self.read(|conn| conn.prepare_cached(query!("audit_records"))?.query_map([task], rows::audit_record)?.collect())
    }

    fn task_uuids(&self, filter: &TaskFilter) -> Result<Vec<Uuid>, Error> {
        self.read(|conn| read::task_uuids(conn, filter))
    }

    fn prunable(&self, before: i64) -> Result<u64, Error> {
        self.read(|conn| conn.prepare_cached(query!("prune_count"))?.query_row([before], |r| r.get(0)))
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
        self.read(|conn| read::events(conn, filter))
    }

    fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.read(|conn| conn.prepare_cached(query!("worker_records"))?.query_map([], rows::worker_record)?.collect())
    }

    fn doctor(&self, now: i64) -> Result<DoctorReport, Error> {
        let (findings, tasks, steps, rejected) = self.read(|conn| read::doctor(conn, now))?;
        let duty = |r: &rusqlite::Row| Ok(DutyView { name: r.get(0)?, last_ran_at: crate::time(r.get(1)?) });
        let duties = self.read(|conn| conn.prepare_cached(query!("duties"))?.query_map([], duty)?.collect())?;
        Ok(DoctorReport {
            healthy: findings.iter().all(|f| f.violations == 0),
            url: self.url.clone(),
            durability: self.durability(),
            tasks,
            steps,
            rejected,
            findings,
            duties,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_in_memory_takes_no_file_that_is_there_already() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file.db"), folder.path().join("link.db"));
        std::fs::write(&file, "another's").expect("a file");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).expect("a link");
        for taken in [&file, &link] {
            let error = create_for_oneself(taken).expect_err("it is there");
            assert_eq!(error.code, "store_cannot_open");
            assert!(error.message.contains(&taken.display().to_string()), "{error}");
        }
        assert_eq!(std::fs::read(&file).expect("a file"), b"another's");
    }
}
