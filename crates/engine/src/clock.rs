//! Time that never goes back.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix milliseconds that follow the wall clock forward and ignore it when it jumps back.
///
/// Within a process the monotonic clock carries it; over a restart the store's high-water mark does. So a clock set
/// back by an hour delays no lease and no retry. Where machines share a database, its clock is followed, so that they
/// agree on when a lease ends.
#[derive(Debug)]
pub(crate) struct Clock {
    /// `None`: time passes by [`Clock::advance`] alone.
    started: Option<Instant>,
    /// Unix milliseconds at `started`.
    base: i64,
    /// `base`, or the high-water mark if that is later.
    floor: i64,
    /// What `now` has been moved by with [`Clock::advance`].
    skew: AtomicI64,
    /// By how much the database's clock is ahead of this machine's.
    offset: AtomicI64,
    /// Latest time given out.
    last: AtomicI64,
    wall: fn() -> i64,
}

impl Clock {
    /// A clock that starts no earlier than `high_water` (Unix milliseconds).
    pub(crate) fn new(high_water: i64) -> Clock {
        Clock::with_wall(high_water, wall)
    }

    fn with_wall(high_water: i64, wall: fn() -> i64) -> Clock {
        Clock::starting(wall(), high_water, wall)
    }

    fn starting(base: i64, high_water: i64, wall: fn() -> i64) -> Clock {
        let floor = base.max(high_water);
        let (skew, offset, last) = (AtomicI64::new(0), AtomicI64::new(0), AtomicI64::new(high_water));
        Clock { started: Some(Instant::now()), base, floor, skew, offset, last, wall }
    }

    /// A clock that stands at `base` (Unix milliseconds) until it is advanced.
    pub(crate) fn standing(base: i64, high_water: i64) -> Clock {
        Clock { started: None, ..Clock::starting(base, high_water, || 0) }
    }

    /// How long it has been running; unlike [`Clock::now`] it follows no other clock.
    pub(crate) fn uptime(&self) -> Duration {
        let advanced = || Duration::from_millis(self.skew.load(Ordering::Relaxed).unsigned_abs());
        self.started.map_or_else(advanced, |started| started.elapsed())
    }

    /// Unix milliseconds.
    pub(crate) fn now(&self) -> i64 {
        let offset = self.offset.load(Ordering::Relaxed);
        // A database's clock has seen the high-water mark: what this machine's is behind must not count twice.
        let base = if offset == 0 { self.floor } else { self.base };
        let carried = base + self.started.map_or(0, |started| started.elapsed().as_millis() as i64);
        // Forward jumps (a machine that slept) are taken over; the base of the monotonic clock stays behind them.
        let wall = carried.max((self.wall)());
        let now = wall + offset + self.skew.load(Ordering::Relaxed);
        self.last.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Follows a clock that is ahead of this machine's by `offset` milliseconds.
    pub(crate) fn follow(&self, offset: i64) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// Moves time forward, for tests that do not want to wait.
    pub(crate) fn advance(&self, ms: i64) {
        self.skew.fetch_add(ms.max(0), Ordering::Relaxed);
    }
}

fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicI64;

    static WALL: AtomicI64 = AtomicI64::new(10_000_000);

    #[test]
    fn a_wall_clock_that_jumps_back_an_hour_does_not_take_time_with_it() {
        let clock = Clock::with_wall(0, || WALL.load(Ordering::Relaxed));
        let before = clock.now();
        WALL.fetch_sub(3_600_000, Ordering::Relaxed);
        assert!(clock.now() >= before, "within the process");
        let after_restart = Clock::with_wall(before, || WALL.load(Ordering::Relaxed));
        assert!(after_restart.now() >= before, "over a restart");
        WALL.fetch_add(2 * 3_600_000, Ordering::Relaxed);
        assert!(clock.now() >= before + 3_600_000, "forward jumps are followed");
        let before = clock.now();
        clock.follow(-60_000);
        assert!(clock.now() >= before, "a slower clock is waited for");
        clock.follow(60_000);
        assert!(clock.now() >= before + 60_000, "a faster clock is followed");
    }

    #[test]
    fn a_machine_that_is_behind_its_database_does_not_end_up_ahead_of_it() {
        let (machine, database) = (1_000_000, 1_005_000);
        let clock = Clock::standing(machine, database);
        clock.follow(database - machine);
        assert_eq!(clock.now(), database);
        clock.advance(10);
        assert_eq!(clock.now(), database + 10);
    }

    #[test]
    fn without_another_clock_the_high_water_mark_carries_time_on() {
        let clock = Clock::standing(1_000_000, 1_005_000);
        clock.advance(10);
        assert_eq!(clock.now(), 1_005_010);
    }
}
