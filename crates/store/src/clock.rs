//! A store's time as a process knows it: its clock against the process's monotonic one.
//!
//! The wall clocks of machines differ, and are set. Where a store has a clock of its own, every process goes by that,
//! carried by its monotonic clock from one look to the next.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds of this process's monotonic clock; only differences mean anything.
pub fn monotonic_ms() -> i64 {
    // Not 0, so that a difference to it is never taken for none.
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    1 + START.elapsed().as_millis() as i64
}

/// Unix milliseconds of this machine.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// By how much a server's clock is ahead of this process's monotonic one.
#[derive(Debug)]
pub(crate) struct ServerTime(AtomicI64);

impl ServerTime {
    /// From one or more looks: when each was sent and answered, and what the server's clock showed. The quickest counts.
    pub(crate) fn measured(looks: &[(i64, i64, i64)]) -> ServerTime {
        let quickest = looks.iter().min_by_key(|(sent_ms, answered_ms, _)| answered_ms - sent_ms);
        let offset_ms = quickest.map_or(0, |(sent_ms, answered_ms, server_ms)| server_ms - (sent_ms + answered_ms) / 2);
        ServerTime(AtomicI64::new(offset_ms))
    }

    pub(crate) fn offset_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes in one more look. It was somewhere between sending and answer that the server's clock was read: what is known
    /// already stays if it fits, else it is moved as little as makes it fit. So a slow answer spoils nothing.
    pub(crate) fn observe(&self, sent_ms: i64, answered_ms: i64, server_ms: i64) {
        let (least_ms, most_ms) = (server_ms - answered_ms, server_ms - sent_ms);
        let known_ms = self.offset_ms();
        self.0.store(known_ms.clamp(least_ms, most_ms.max(least_ms)), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_of_the_first_looks_counts() {
        let time = ServerTime::measured(&[(100, 300, 5_000), (400, 402, 5_401), (500, 900, 6_000)]);
        assert_eq!(time.offset_ms(), 5_000);
    }

    #[test]
    fn a_look_that_took_long_moves_nothing_that_fits_it() {
        let time = ServerTime::measured(&[(400, 402, 5_401)]);
        time.observe(1_000, 3_000, 6_100);
        assert_eq!(time.offset_ms(), 5_000);
        time.observe(4_000, 4_010, 9_050);
        assert_eq!(time.offset_ms(), 5_040, "the server is at least that much ahead");
    }

    #[test]
    fn a_clock_that_is_set_is_followed_at_the_next_look() {
        let time = ServerTime::measured(&[(0, 2, 60_001)]);
        assert_eq!(time.offset_ms(), 60_000);
        time.observe(1_000, 1_002, 1_001);
        assert!((0..=1).contains(&time.offset_ms()), "{}", time.offset_ms());
    }
}
