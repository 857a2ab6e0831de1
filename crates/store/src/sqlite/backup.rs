//! Backups of the embedded store: one file, made while others write, and put back while nobody does.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup as Copy, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tasker_wire::{Error, Kind};

use super::{MIGRATIONS, connect, trouble};

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Version of its tables.
    pub schema: usize,
    /// Tasks in it.
    pub tasks: u64,
    /// Size of the file.
    pub bytes: u64,
}

fn not_a_file(file: &Path, error: &io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Unavailable };
    let code = if kind == Kind::NotFound { "file_not_found" } else { "store_io" };
    Error::new(kind, code, format!("{}: {error}", file.display()))
}

/// Checks a file that nobody writes to, and says what it holds.
fn examine(file: &Path) -> Result<Backup, Error> {
    let size = fs::metadata(file).map_err(|e| not_a_file(file, &e))?;
    let foreign = |why: String| {
        Error::new(Kind::Unprocessable, "not_a_backup", format!("{} is not a sound backup: {why}", file.display()))
            .hint("use a file that `tasker backup` wrote")
    };
    let look = || -> rusqlite::Result<(usize, String, u64)> {
        let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let schema = conn.pragma_query_value(None, "user_version", |r| r.get(0))?;
        let integrity = conn.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('tasks', 'steps', 'templates', 'meta')";
        let tables: u64 = conn.query_row(tables, [], |r| r.get(0))?;
        if tables < 4 {
            return Ok((0, integrity, 0));
        }
        Ok((schema, integrity, conn.query_row("SELECT count(*) FROM tasks", [], |r| r.get(0))?))
    };
    match look() {
        Err(error) => Err(foreign(error.to_string())),
        Ok((_, integrity, _)) if integrity != "ok" => Err(foreign(integrity)),
        Ok((0, ..)) => Err(foreign("it has no tables of Tasker's".into())),
        Ok((schema, ..)) if schema > MIGRATIONS.len() => Err(super::too_new(file, schema)),
        Ok((schema, _, tasks)) => Ok(Backup { schema, tasks, bytes: size.len() }),
    }
}

/// Copies the store in `store`, as it is at one moment, to the new file `file`. The copy stands under its name once it
/// is whole and on the disk.
pub fn backup(store: &Path, file: &Path) -> Result<Backup, Error> {
    if !store.exists() {
        let what = format!("there is no store at {}", store.display());
        return Err(Error::new(Kind::NotFound, "store_not_found", what).hint("choose it with --url or TASKER_URL"));
    }
    if file.exists() {
        let what = format!("{} exists already", file.display());
        return Err(
            Error::new(Kind::Conflict, "file_exists", what).hint("choose another name; backups are not replaced")
        );
    }
    let mut part = file.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let made = write(store, &part, file);
    if made.is_err() {
        // Nothing to do about a part that cannot be removed.
        let _ = fs::remove_file(&part);
    }
    made
}

fn write(store: &Path, part: &Path, file: &Path) -> Result<Backup, Error> {
    let name = part
        .to_str()
        .ok_or_else(|| Error::new(Kind::Invalid, "invalid_request", format!("{} is not UTF-8", file.display())))?;
    let conn = connect(store, false).map_err(|e| trouble(e, store))?;
    conn.execute("VACUUM INTO ?1", [name]).map_err(|e| trouble(e, part))?;
    let made = examine(part)?;
    let folder = file.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let on_disk = || -> io::Result<()> {
        File::open(part)?.sync_all()?;
        fs::rename(part, file)?;
        File::open(folder)?.sync_all()
    };
    on_disk().map_err(|e| not_a_file(file, &e))?;
    Ok(made)
}

/// Puts a backup in the place of the store in `store`, in one transaction. Refused while any process has the store open,
/// and, unless by `force`, if there are tasks or templates in it.
pub fn restore(store: &Path, file: &Path, force: bool) -> Result<Backup, Error> {
    let backup = examine(file)?;
    if let Some(folder) = store.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|e| not_a_file(folder, &e))?;
    }
    let at = |e| trouble(e, store);
    let mut target = Connection::open(store).map_err(at)?;
    target.busy_timeout(Duration::ZERO).map_err(at)?;
    // Leaving the write-ahead log takes the file for oneself: it fails while another connection is open, idle or not.
    let alone = target
        .pragma_update(None, "locking_mode", "EXCLUSIVE")
        .and_then(|()| target.pragma_update_and_check(None, "journal_mode", "DELETE", |r| r.get::<_, String>(0)));
    match alone {
        Ok(mode) if mode == "delete" => {}
        Err(e) if !is_locked(&e) => return Err(at(e)),
        _ => return Err(in_use(store)),
    }
    let held: u64 = target
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name IN ('tasks', 'templates')", [], |r| r.get(0))
        .map_err(at)?;
    if held > 0 && !force {
        let count = "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM templates)";
        let (tasks, templates): (u64, u64) = target.query_row(count, [], |r| Ok((r.get(0)?, r.get(1)?))).map_err(at)?;
        if tasks + templates > 0 {
            let what = format!("{} has {tasks} tasks and {templates} templates", store.display());
            return Err(Error::new(Kind::Conflict, "store_not_empty", what).hint(
                "back it up, then restore with --force, which replaces all of it; or name another file with --url",
            ));
        }
    }
    let source = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| trouble(e, file))?;
    let step = Copy::new(&source, &mut target).and_then(|copy| copy.step(-1)).map_err(at)?;
    if !matches!(step, StepResult::Done) {
        return Err(in_use(store));
    }
    Ok(backup)
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn in_use(store: &Path) -> Error {
    Error::new(Kind::Conflict, "store_in_use", format!("a process has {} open", store.display()))
        .hint("stop every worker, server and `tasker` command on it (`fuser FILE` names them)")
}
