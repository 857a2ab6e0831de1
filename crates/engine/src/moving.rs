//! What is done with a store as a whole: upgrading, backing up, restoring, moving.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tasker_store::postgres::Postgres;
pub use tasker_store::sqlite::Backup;
use tasker_store::sqlite::{self, Sqlite};
use tasker_store::transfer;
pub use tasker_store::transfer::Moved;
use tasker_wire::{Error, Kind};

use crate::liveness::Liveness;

/// The file of a `sqlite:` URL; an error that says what to do instead for any other.
fn file_of(url: &str, what: &str, instead: &str) -> Result<PathBuf, Error> {
    match Sqlite::file_of(url) {
        Some(file) => Ok(file),
        None if url.starts_with("postgres:") || url.starts_with("postgresql:") => {
            let message = format!("PostgreSQL has tools of its own to {what}");
            Err(Error::new(Kind::Invalid, "unsupported_url", message).hint(instead))
        }
        None => Err(Error::new(Kind::Invalid, "unsupported_url", format!("there is no file to {what} for this URL"))
            .hint("use sqlite:///path/to/file.db")),
    }
}

/// Brings the tables of a URL up to date; gives the version they had (0: there were none) and the one they have.
pub fn migrate(url: &str) -> Result<(usize, usize), Error> {
    match url.split(':').next().unwrap_or_default() {
        "sqlite" => Sqlite::migrate(url),
        "postgres" | "postgresql" => Postgres::migrate(url),
        scheme => Err(Error::new(Kind::Invalid, "unsupported_url", format!("no store answers to `{scheme}:`"))
            .hint("use sqlite:///path/to/file.db or postgres://host/database; a server brings its store up to date when it starts")),
    }
}

/// Copies the embedded store of a URL, as it is at one moment, to a new file, while others go on working with it.
pub fn backup(url: &str, file: &Path) -> Result<Backup, Error> {
    let store = file_of(url, "back up", "use pg_dump, or base backups and archived WAL; see docs/guide/operations.md")?;
    sqlite::backup(&store, file)
}

/// Puts a backup in the place of the embedded store of a URL. `force`: also if there are tasks in it, which are gone then.
pub fn restore(url: &str, file: &Path, force: bool) -> Result<Backup, Error> {
    let store = file_of(url, "restore", "use pg_restore or psql; see docs/guide/operations.md")?;
    let alive = Liveness::beside(&store).alive();
    if !alive.is_empty() {
        let message = format!("{} has workers that are alive: {}", store.display(), alive.join(", "));
        return Err(Error::new(Kind::Conflict, "store_in_use", message).hint("stop them first"));
    }
    sqlite::restore(&store, file, force)
}

/// Copies everything from the store of one URL to the empty one of another; see [`transfer::copy`].
pub fn move_store(
    from: &str,
    to: &str,
    force: bool,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<Moved, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    transfer::copy(from, to, now, force, progress)
}
