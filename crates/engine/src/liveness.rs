//! Which workers on this machine are alive: each holds a lock on a file of its own while its process lives.
//!
//! The kernel drops the lock with the process, however it dies, so that another process on the same store can hand
//! the dead worker's steps on at once instead of waiting for their leases to end.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// The lock files beside one store.
#[derive(Debug)]
pub(crate) struct Liveness {
    folder: PathBuf,
    own: HashMap<String, File>,
}

impl Liveness {
    /// The lock files beside the store in `file`.
    pub(crate) fn beside(file: &Path) -> Liveness {
        let mut folder = file.as_os_str().to_owned();
        folder.push(".workers");
        Liveness { folder: folder.into(), own: HashMap::new() }
    }

    /// Announces a worker of this process. Failing only costs the shortcut.
    pub(crate) fn announce(&mut self, worker: &str) {
        let held = std::fs::create_dir_all(&self.folder)
            .and_then(|()| OpenOptions::new().create(true).truncate(false).write(true).open(self.folder.join(worker)))
            .and_then(|file| file.lock().map(|()| file));
        match held {
            Ok(file) => drop(self.own.insert(worker.into(), file)),
            Err(error) => tracing::warn!(worker, %error, "no lock file; a crash is noticed only when leases end"),
        }
    }

    /// Takes a worker's announcement back.
    pub(crate) fn withdraw(&mut self, worker: &str) {
        if self.own.remove(worker).is_some() {
            // Left behind, it would only be found unlocked and removed by the next process.
            let _ = std::fs::remove_file(self.folder.join(worker));
        }
    }

    /// Workers that announced themselves and whose process is gone. Their files stay until [`Liveness::buried`].
    pub(crate) fn dead(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| !self.own.contains_key(name) && self.is_unlocked(name))
            .collect()
    }

    /// Workers of other processes that are alive.
    pub(crate) fn alive(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| !self.own.contains_key(name) && !self.is_unlocked(name)).collect()
    }

    /// A dead worker's steps have been handed on.
    pub(crate) fn buried(&self, worker: &str) {
        let _ = std::fs::remove_file(self.folder.join(worker));
    }

    fn is_unlocked(&self, name: &str) -> bool {
        let Ok(file) = File::open(self.folder.join(name)) else { return false };
        match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        }
    }
}
