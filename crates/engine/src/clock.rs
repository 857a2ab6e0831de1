//! A process's two clocks: the store's time, by which rows are stamped and deadlines kept, and its own monotonic one, by
//! which it judges how long something lasted.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tasker_store::clock::monotonic_ms;

/// Time does not go back by less than this; a clock that is set back further is followed, milliseconds.
const FOLLOWED_MS: i64 = 60_000;
/// Clocks that differ by more are not believed at once, milliseconds.
const DOUBTED_MS: i64 = 3_600_000;
/// For how long clocks must have agreed before anything is removed for its age, milliseconds.
const AGREED_MS: i64 = 600_000;

/// The store's time, carried by the monotonic clock from one look at it to the next.
#[derive(Debug)]
pub(crate) struct Clock {
    /// `None`: the machine's; else it stands until [`Clock::pass`].
    manual_ms: Option<AtomicI64>,
    /// By how much the store's time is ahead of the monotonic clock.
    offset_ms: AtomicI64,
    /// What the store's time has been moved by with [`Clock::advance`].
    skew_ms: AtomicI64,
    /// Latest time given out.
    last_ms: AtomicI64,
    /// When clocks differed by too much, by the monotonic one.
    doubted_ms: AtomicI64,
}

impl Clock {
    /// A clock on a store whose time is ahead of the monotonic clock by `offset_ms`, and which was last written at about
    /// `high_water` (Unix milliseconds; 0: never).
    pub(crate) fn new(offset_ms: i64, high_water: i64) -> Clock {
        Clock::starting(None, offset_ms, high_water)
    }

    /// The same with a monotonic clock that stands at `mono_ms`.
    pub(crate) fn standing(mono_ms: i64, offset_ms: i64, high_water: i64) -> Clock {
        Clock::starting(Some(AtomicI64::new(mono_ms)), offset_ms, high_water)
    }

    fn starting(manual_ms: Option<AtomicI64>, offset_ms: i64, high_water: i64) -> Clock {
        let clock = Clock {
            manual_ms,
            offset_ms: AtomicI64::new(offset_ms),
            skew_ms: AtomicI64::new(0),
            last_ms: AtomicI64::new(i64::MIN),
            doubted_ms: AtomicI64::new(i64::MIN),
        };
        let ahead_ms = high_water - clock.now();
        if (0..=FOLLOWED_MS).contains(&ahead_ms) {
            clock.last_ms.store(high_water, Ordering::Relaxed);
        }
        if high_water > 0 && ahead_ms < -DOUBTED_MS {
            // As after any quiet night; still nothing is removed before another clock has agreed.
            clock.doubted_ms.store(clock.mono_ms(), Ordering::Relaxed);
        }
        if ahead_ms > DOUBTED_MS {
            clock.doubt(ahead_ms, "the store was last written at another time than this machine's clock shows");
        }
        clock
    }

    fn doubt(&self, ahead_ms: i64, what: &str) {
        tracing::warn!(
            by_seconds = ahead_ms / 1_000,
            "{what}; nothing is removed for its age until clocks have agreed"
        );
        self.doubted_ms.store(self.mono_ms(), Ordering::Relaxed);
    }

    /// Milliseconds of the monotonic clock; only differences mean anything.
    pub(crate) fn mono_ms(&self) -> i64 {
        self.manual_ms.as_ref().map_or_else(monotonic_ms, |ms| ms.load(Ordering::Relaxed))
    }

    /// The same, for intervals.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_millis(self.mono_ms().max(0) as u64)
    }

    /// Unix milliseconds.
    pub(crate) fn now(&self) -> i64 {
        let now = self.mono_ms() + self.offset_ms.load(Ordering::Relaxed) + self.skew_ms.load(Ordering::Relaxed);
        let last = self.last_ms.fetch_max(now, Ordering::Relaxed);
        if last > now && last.saturating_sub(now) > FOLLOWED_MS {
            self.last_ms.store(now, Ordering::Relaxed);
            return now;
        }
        now.max(last)
    }

    /// The store's time is ahead of the monotonic clock by this much now.
    pub(crate) fn follow(&self, offset_ms: i64) {
        let moved_ms = offset_ms - self.offset_ms.swap(offset_ms, Ordering::Relaxed);
        if moved_ms.abs() > DOUBTED_MS {
            self.doubt(moved_ms, "the clock was set, or the machine was suspended");
        }
    }

    /// Whether what is old by this clock may be removed.
    pub(crate) fn is_trusted(&self) -> bool {
        self.mono_ms().saturating_sub(self.doubted_ms.load(Ordering::Relaxed)) >= AGREED_MS
    }

    /// Moves the store's time forward, for tests that do not want to wait.
    pub(crate) fn advance(&self, ms: i64) {
        self.skew_ms.fetch_add(ms.max(0), Ordering::Relaxed);
    }

    /// Lets time pass on a clock that stands.
    pub(crate) fn pass(&self, ms: i64) {
        if let Some(manual_ms) = &self.manual_ms {
            manual_ms.fetch_add(ms.max(0), Ordering::Relaxed);
        }
    }
}

/// Whether two readings of one time differ by more than clocks should.
pub(crate) fn differs(a_ms: i64, b_ms: i64) -> bool {
    a_ms.saturating_sub(b_ms).abs() > DOUBTED_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn time_does_not_go_back_by_less_than_a_minute() {
        let clock = Clock::standing(1_000, NOW, 0);
        let before = clock.now();
        clock.follow(NOW - 60_000);
        assert_eq!(clock.now(), before, "it stands until the store's clock has caught up");
        clock.pass(60_001);
        assert_eq!(clock.now(), before + 1);
    }

    #[test]
    fn a_clock_that_is_set_right_is_followed_back() {
        let clock = Clock::standing(1_000, NOW + 2 * HOUR_MS, 0);
        let before = clock.now();
        clock.follow(NOW);
        assert_eq!(clock.now(), before - 2 * HOUR_MS);
        clock.pass(5);
        assert_eq!(clock.now(), before - 2 * HOUR_MS + 5, "and it does not run ahead for ever");
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed() {
        let clock = Clock::standing(1_000, NOW, 0);
        clock.follow(NOW + HOUR_MS);
        assert_eq!(clock.now(), NOW + HOUR_MS + 1_000);
    }

    #[test]
    fn the_high_water_mark_is_followed_for_at_most_a_minute() {
        let started = |high_water: i64| Clock::standing(0, NOW, high_water).now();
        assert_eq!(started(NOW + 59_000), NOW + 59_000);
        assert_eq!(started(NOW + 61_000), NOW, "one far ahead was written by a clock that was wrong");
        assert_eq!(started(NOW - 61_000), NOW);
        let clock = Clock::standing(0, NOW, NOW + 59_000);
        clock.pass(59_010);
        assert_eq!(clock.now(), NOW + 59_010, "it never runs ahead by more");
    }

    #[test]
    fn nothing_is_old_until_clocks_have_agreed_for_ten_minutes() {
        assert!(Clock::standing(0, NOW, 0).is_trusted(), "a new store has no other time");
        assert!(Clock::standing(0, NOW, NOW - HOUR_MS).is_trusted());
        for high_water in [NOW - 40 * 24 * HOUR_MS, NOW + 40 * 24 * HOUR_MS] {
            let clock = Clock::standing(0, NOW, high_water);
            assert!(!clock.is_trusted());
            clock.pass(599_999);
            assert!(!clock.is_trusted());
            clock.pass(1);
            assert!(clock.is_trusted());
        }
        let clock = Clock::standing(0, NOW, NOW);
        clock.pass(HOUR_MS);
        clock.follow(NOW + 2 * HOUR_MS);
        assert!(!clock.is_trusted(), "the wall clock left the monotonic one");
    }
}
