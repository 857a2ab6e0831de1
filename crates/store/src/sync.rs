//! Locks that survive a fork, and a panic of whoever held one.
//!
//! The standard library's locks are bare futexes. Locks with a queue of waiters in process-wide memory (parking_lot)
//! are not safe in a forked child: the queue points at threads that live in the parent.

use std::sync::PoisonError;
use std::sync::{self, MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// A mutual exclusion lock.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around a value.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock with many readers or one writer.
#[derive(Debug, Default)]
pub struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    /// Waits until nobody writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else reads or writes.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition to wait for under a [`Mutex`].
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

impl Condvar {
    /// A condition nobody waits for.
    pub fn new() -> Condvar {
        Condvar::default()
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes every waiter.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits for a word; may also wake without one.
    pub fn wait<'m, T>(&self, held: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
        self.0.wait(held).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a word, at most `time`; may also wake without one.
    pub fn wait_for<'m, T>(&self, held: MutexGuard<'m, T>, time: Duration) -> MutexGuard<'m, T> {
        self.0.wait_timeout(held, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits while `waiting` says so, at most until `deadline`.
    pub fn wait_while<'m, T>(
        &self,
        held: MutexGuard<'m, T>,
        deadline: Instant,
        waiting: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'m, T> {
        let time = deadline.saturating_duration_since(Instant::now());
        self.0.wait_timeout_while(held, time, waiting).unwrap_or_else(PoisonError::into_inner).0
    }
}
