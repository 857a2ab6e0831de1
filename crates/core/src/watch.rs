//! Who is still alive: what an observer concludes from the heartbeats of others.
//!
//! A worker's row has a counter, its *beat*. An observer remembers by its own monotonic clock how long it has seen the
//! same beat, and compares no two clocks. Only watching counts: while nothing could be read, or the observer itself
//! stood still, nobody was silent.

use std::collections::HashMap;

/// How long a worker whose connection was seen to end may take to come back by another, milliseconds.
pub const RETURN_MS: i64 = 2_000;
/// Length of a lease unless a worker has another, milliseconds.
pub const LEASE_MS: i64 = 20_000;
/// Looks in a lease.
const LOOKS_A_LEASE: i64 = 4;

/// A worker as it was read from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Number of its row.
    pub worker: i64,
    /// Its counter.
    pub beat: i64,
    /// How long it may be silent, milliseconds.
    pub lease_ms: i64,
}

/// What an observer knows of a worker besides its beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Nothing.
    None,
    /// Its connection was seen to end, while the observer's own stood.
    CutOff,
    /// Its process was seen to have ended.
    Dead,
}

/// A worker that is gone, provided its beat is still this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Number of its row.
    pub worker: i64,
    /// The beat it stopped at.
    pub beat: i64,
    /// Why.
    pub why: Why,
}

/// Why a worker is held to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its beat did not change for a whole lease.
    Silent,
    /// Its connection ended, and it did not come back.
    CutOff,
    /// Its process ended.
    Dead,
}

impl Why {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Silent => "it was silent for a whole lease",
            Why::CutOff => "its connection ended and it did not come back",
            Why::Dead => "its process ended",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    beat: i64,
    lease_ms: i64,
    /// When the look ended that first saw the beat, in a watch without a break.
    since_ms: i64,
    /// When the look ended that first saw its connection gone.
    cut_off_ms: Option<i64>,
}

/// An observer's memory. All times are milliseconds of the observer's monotonic clock.
#[derive(Debug, Default)]
pub struct Watch {
    /// When the latest successful look began.
    looked_ms: Option<i64>,
    looks: u64,
    seen: HashMap<i64, Seen>,
}

impl Watch {
    /// Forgets for how long anybody has been silent: what was seen until now proves nothing.
    pub fn restart(&mut self) {
        self.looked_ms = None;
        self.seen.clear();
    }

    /// Takes in a successful look at all workers, which lasted from `began_ms` to `ended_ms`, and says who is gone.
    pub fn look(
        &mut self,
        (began_ms, ended_ms): (i64, i64),
        beats: &[Beat],
        sign: impl Fn(&Beat) -> Sign,
    ) -> Vec<Verdict> {
        let gap_ms = self.looked_ms.map_or(i64::MAX, |at| ended_ms - at);
        self.looked_ms = Some(began_ms);
        self.looks += 1;
        let mut verdicts = Vec::new();
        let mut seen = HashMap::with_capacity(beats.len());
        for row in beats {
            let Beat { worker, beat, lease_ms } = *row;
            let fresh = Seen { beat, lease_ms, since_ms: ended_ms, cut_off_ms: None };
            let known = self.seen.get(&worker).copied().filter(|s| s.beat == beat);
            let mut now = known.filter(|_| gap_ms <= lease_ms / 2).unwrap_or(fresh);
            let sign = sign(row);
            // Between two looks that lie far apart nobody knows whether it could have come back.
            now.cut_off_ms = now.cut_off_ms.filter(|_| gap_ms <= RETURN_MS);
            if sign == Sign::CutOff {
                now.cut_off_ms.get_or_insert(ended_ms);
            } else {
                now.cut_off_ms = None;
            }
            let why = if sign == Sign::Dead {
                Some(Why::Dead)
            } else if now.cut_off_ms.is_some_and(|since| began_ms - since >= RETURN_MS) {
                Some(Why::CutOff)
            } else if began_ms - now.since_ms >= lease_ms {
                Some(Why::Silent)
            } else {
                None
            };
            verdicts.extend(why.map(|why| Verdict { worker, beat, why }));
            seen.insert(worker, now);
        }
        self.seen = seen;
        verdicts
    }

    /// Whether it has looked once.
    pub fn is_new(&self) -> bool {
        self.looks == 1
    }

    /// How long after a look the next one should begin: a quarter of the shortest lease, sooner while somebody is missed.
    pub fn pause_ms(&self) -> i64 {
        let lease_ms = self.seen.values().map(|s| s.lease_ms).min().unwrap_or(LEASE_MS);
        let pause_ms = (lease_ms / LOOKS_A_LEASE).max(1);
        if self.seen.values().any(|s| s.cut_off_ms.is_some()) { pause_ms.min(RETURN_MS / 4) } else { pause_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: i64 = 1_000;

    /// Looks at one worker, each look instantaneous: time, beat, sign, and whether it is found gone.
    fn check(looks: &[(i64, i64, Sign, Option<Why>)]) {
        let mut watch = Watch::default();
        for (at, beat, sign, expected) in looks {
            let row = Beat { worker: 7, beat: *beat, lease_ms: LEASE };
            let why = watch.look((*at, *at), &[row], |_| *sign).first().map(|v| v.why);
            assert_eq!(why, *expected, "at {at}");
        }
    }

    #[test]
    fn a_worker_is_silent_when_its_beat_was_the_same_for_a_whole_lease() {
        check(&[
            (0, 1, Sign::None, None),
            (400, 1, Sign::None, None),
            (800, 2, Sign::None, None),
            (1_200, 2, Sign::None, None),
            (1_600, 2, Sign::None, None),
            (1_799, 2, Sign::None, None),
            (1_800, 2, Sign::None, Some(Why::Silent)),
        ]);
    }

    #[test]
    fn only_watching_counts() {
        check(&[
            (0, 1, Sign::None, None),
            (400, 1, Sign::None, None),
            // The store was away, or the observer stood still.
            (5_000, 1, Sign::None, None),
            (5_500, 1, Sign::None, None),
            (5_999, 1, Sign::None, None),
            (6_000, 1, Sign::None, Some(Why::Silent)),
        ]);
    }

    #[test]
    fn a_look_that_takes_long_proves_only_its_ends() {
        let mut watch = Watch::default();
        let row = [Beat { worker: 7, beat: 1, lease_ms: LEASE }];
        assert!(watch.look((0, 300), &row, |_| Sign::None).is_empty());
        assert!(watch.look((400, 500), &row, |_| Sign::None).is_empty());
        assert!(watch.look((800, 900), &row, |_| Sign::None).is_empty());
        assert!(watch.look((1_200, 1_300), &row, |_| Sign::None).is_empty(), "seen from 300 to 1,200");
        assert_eq!(watch.look((1_300, 1_301), &row, |_| Sign::None).len(), 1);
    }

    #[test]
    fn who_comes_back_in_time_is_not_gone() {
        check(&[
            (0, 1, Sign::None, None),
            (100, 1, Sign::CutOff, None),
            (500, 2, Sign::CutOff, None),
            (900, 2, Sign::None, None),
            (1_300, 2, Sign::CutOff, None),
            (1_499, 3, Sign::CutOff, None),
        ]);
    }

    #[test]
    fn who_does_not_come_back_is_gone_before_its_lease() {
        let mut watch = Watch::default();
        let row = [Beat { worker: 7, beat: 4, lease_ms: LEASE_MS }];
        for at in [0, 500, 1_000, 1_500, 1_999] {
            assert!(watch.look((at, at), &row, |_| Sign::CutOff).is_empty());
        }
        let gone = watch.look((2_000, 2_000), &row, |_| Sign::CutOff);
        assert_eq!(gone, [Verdict { worker: 7, beat: 4, why: Why::CutOff }]);
    }

    #[test]
    fn a_process_that_was_seen_to_end_is_gone_at_once() {
        check(&[(0, 1, Sign::Dead, Some(Why::Dead))]);
    }

    #[test]
    fn a_watch_that_is_restarted_knows_nothing() {
        let mut watch = Watch::default();
        let row = [Beat { worker: 7, beat: 1, lease_ms: LEASE }];
        assert!(watch.look((0, 0), &row, |_| Sign::None).is_empty());
        assert!(watch.look((500, 500), &row, |_| Sign::None).is_empty());
        watch.restart();
        assert!(watch.look((1_000, 1_000), &row, |_| Sign::None).is_empty());
        assert_eq!(watch.pause_ms(), LEASE / 4);
    }
}
