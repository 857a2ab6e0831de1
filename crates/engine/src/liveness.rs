//! Who is alive: lock files beside an embedded store, and the watch over the heartbeats of others.
//!
//! On one machine each worker holds a lock on a file of its own while its process lives. The kernel drops the lock with
//! the process, however it dies, so that another process on the same store can hand the dead worker's steps on at once.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use tasker_core::watch::{Beat, Sign, Watch};
use tasker_store::{Done, Op};
use tasker_wire::Error;

use crate::committer::Shared;

/// How often a worker's steps are asked for that is gone and holds some all the same, milliseconds.
const STRAYS_EVERY_MS: i64 = 60_000;
/// How often a lock is tried to be had that somebody holds.
const LOCK_TRIES: u32 = 10;
/// How long to wait in between.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The lock files beside one store.
#[derive(Debug)]
pub(crate) struct Liveness {
    folder: PathBuf,
    own: HashMap<String, File>,
}

/// What became of an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// No other process of the machine has a worker of that name.
    Alone,
    /// Another process has.
    Taken,
    /// There is no lock file to be had.
    Unknown,
}

impl Liveness {
    /// The lock files beside the store in `file`.
    pub(crate) fn beside(file: &Path) -> Liveness {
        let mut folder = file.as_os_str().to_owned();
        folder.push(".workers");
        Liveness { folder: folder.into(), own: HashMap::new() }
    }

    /// Announces a worker of this process. Failing only costs the shortcut.
    pub(crate) fn announce(&mut self, worker: &str) -> Announced {
        let opened = std::fs::create_dir_all(&self.folder)
            .and_then(|()| OpenOptions::new().create(true).truncate(false).write(true).open(self.folder.join(worker)));
        let locked = opened.map_err(TryLockError::Error).and_then(|file| {
            // Whoever looks whether a file is locked locks it for a moment.
            let mut tries = 0;
            while let Err(TryLockError::WouldBlock) = file.try_lock() {
                tries += 1;
                if tries == LOCK_TRIES {
                    return Err(TryLockError::WouldBlock);
                }
                std::thread::sleep(LOCK_PAUSE);
            }
            Ok(file)
        });
        match locked {
            Ok(file) => {
                self.own.insert(worker.into(), file);
                Announced::Alone
            }
            Err(TryLockError::WouldBlock) => Announced::Taken,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(worker, %error, "no lock file; a crash is noticed only after a lease of silence");
                Announced::Unknown
            }
        }
    }

    /// Takes a worker's announcement back.
    pub(crate) fn withdraw(&mut self, worker: &str) {
        if self.own.remove(worker).is_some() {
            // Left behind, it would only be found unlocked and removed by the next process.
            let _ = std::fs::remove_file(self.folder.join(worker));
        }
    }

    /// Workers that announced themselves and whose process is gone. Their files stay until [`Liveness::forget`].
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
    pub(crate) fn forget(&self, worker: &str) {
        // A new life may have taken the name, and the file, in this moment.
        if self.is_unlocked(worker) {
            let _ = std::fs::remove_file(self.folder.join(worker));
        }
    }

    /// Whether nobody holds the lock of a name.
    pub(crate) fn is_unlocked(&self, name: &str) -> bool {
        let Ok(file) = File::open(self.folder.join(name)) else { return false };
        match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        }
    }
}

/// Watches the workers of other processes and declares those gone that are.
#[derive(Default)]
pub(crate) struct Watcher {
    watch: Watch,
    /// When the next look is due, by the monotonic clock.
    next_ms: i64,
    /// Whose connections were gone at the last look.
    missed: Vec<i64>,
    /// Workers that are gone and hold steps all the same, and when, by the monotonic clock, these were asked for.
    strays: HashMap<i64, i64>,
    /// Verdicts on their way to the store.
    asked: Vec<Receiver<Result<Done, Error>>>,
}

impl Watcher {
    /// How long after a look the next one is due.
    pub(crate) fn pause_ms(&self) -> i64 {
        self.watch.pause_ms()
    }

    /// Looks if it is time to; at once if `dead` names workers whose processes were seen to end. Gives the names of all
    /// workers that it saw, if it looked.
    ///
    /// `is_dead` is asked again after the read: a new life may have taken the name in between.
    pub(crate) fn turn(
        &mut self,
        shared: &Shared,
        dead: &[String],
        is_dead: &dyn Fn(&str) -> bool,
    ) -> Option<Vec<String>> {
        let mut failed = false;
        self.asked.retain(|answer| match answer.try_recv() {
            Err(TryRecvError::Empty) => true,
            Ok(answer) => {
                failed |= answer.is_err();
                false
            }
            Err(TryRecvError::Disconnected) => false,
        });
        if failed || shared.is_failing() {
            // Who cannot write cannot beat either.
            self.watch.restart();
        }
        let began_ms = shared.clock.mono_ms();
        let cut_off = shared.store.cut_off();
        let alarm = cut_off.iter().any(|worker| !self.missed.contains(worker));
        if !shared.is_active() || (began_ms < self.next_ms && dead.is_empty() && !alarm) {
            return None;
        }
        self.missed.clone_from(&cut_off);
        // What cannot be read is looked at again with the next turn.
        let rows = shared.store.watched().ok()?;
        let ended_ms = shared.clock.mono_ms();
        let own: Vec<i64> = shared.sessions.lock().iter().map(|s| s.worker()).collect();
        let is_other = |id: &i64| !own.contains(id);
        let name = |id: i64| rows.iter().find(|r| r.id == id).map(|r| r.name.as_str()).unwrap_or_default();
        let beats: Vec<Beat> = rows
            .iter()
            .filter(|r| !r.gone && is_other(&r.id))
            .map(|r| Beat { worker: r.id, beat: r.beat, lease_ms: r.lease_ms })
            .collect();
        let sign = |beat: &Beat| {
            if dead.iter().any(|d| d == name(beat.worker)) && is_dead(name(beat.worker)) {
                Sign::Dead
            } else if cut_off.contains(&beat.worker) {
                Sign::CutOff
            } else {
                Sign::None
            }
        };
        let mut ops = Vec::new();
        for verdict in self.watch.look((began_ms, ended_ms), &beats, sign) {
            let why = verdict.why.as_str();
            tracing::warn!(worker = name(verdict.worker), "the worker is gone: {why}; its steps are queued again");
            ops.push(Op::WorkerGone { worker: verdict.worker, beat: Some(verdict.beat), stopped: false });
        }
        let strays: Vec<i64> = rows.iter().filter(|r| r.gone && is_other(&r.id)).map(|r| r.id).collect();
        self.strays.retain(|worker, asked_ms| strays.contains(worker) && began_ms - *asked_ms < STRAYS_EVERY_MS);
        for worker in strays {
            // A step that cannot be handed back is told of each time.
            if self.strays.insert(worker, self.strays.get(&worker).copied().unwrap_or(began_ms)).is_none() {
                ops.push(Op::WorkerGone { worker, beat: None, stopped: true });
            }
        }
        if !ops.is_empty() && self.asked.is_empty() {
            self.asked = shared.submit(ops);
        }
        self.next_ms = began_ms + self.watch.pause_ms();
        Some(rows.into_iter().map(|r| r.name).collect())
    }
}
