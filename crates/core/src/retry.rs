//! Delays between attempts, and which HTTP answers are worth another one.

use crate::template::{Backoff, RetryPolicy};

/// Longest delay a handler may ask for by `retry_after`, milliseconds.
pub const RETRY_AFTER_MS_MAX: i64 = 3_600_000;

/// Delay after the `failures`-th failure, milliseconds, before jitter.
///
/// none: 0; linear: `base * n`; exponential: `base * 2^(n-1)`; fibonacci: `base * fib(n)` with
/// fib(1) = fib(2) = 1; all capped by `max_backoff_ms`.
pub fn delay_ms(policy: &RetryPolicy, failures: u32) -> i64 {
    let n = failures.max(1);
    let factor = match policy.backoff {
        Backoff::None => return 0,
        Backoff::Linear => i64::from(n),
        Backoff::Exponential => 1_i64.checked_shl(n - 1).filter(|f| *f > 0).unwrap_or(i64::MAX),
        Backoff::Fibonacci => {
            let (mut a, mut b) = (0_i64, 1_i64);
            for _ in 0..n.min(90) {
                (a, b) = (b, a.saturating_add(b));
            }
            a
        }
    };
    policy.backoff_base_ms.saturating_mul(factor).min(policy.max_backoff_ms).max(0)
}

/// `delay_ms` moved by `jitter_permille` thousandths (the engine draws −100…100; tests pass 0).
pub fn with_jitter(delay_ms: i64, jitter_permille: i32) -> i64 {
    delay_ms.saturating_add(delay_ms.saturating_mul(i64::from(jitter_permille)) / 1_000)
}

/// Whether an HTTP status other than 2xx is worth another attempt.
///
/// 408, 425, 429 and 5xx except 501 and 505 are; everything else is permanent.
pub fn http_status_is_retryable(status: u16) -> bool {
    matches!(status, 408 | 425 | 429) || (status >= 500 && !matches!(status, 501 | 505))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(backoff: Backoff, expected: [i64; 6]) {
        let policy = RetryPolicy { backoff, backoff_base_ms: 50, max_backoff_ms: 400, ..RetryPolicy::default() };
        let delays: Vec<i64> = (1..=6).map(|n| delay_ms(&policy, n)).collect();
        assert_eq!(delays, expected, "{backoff:?}");
    }

    #[test]
    fn delays_follow_the_named_series_up_to_the_cap() {
        check(Backoff::None, [0; 6]);
        check(Backoff::Linear, [50, 100, 150, 200, 250, 300]);
        check(Backoff::Exponential, [50, 100, 200, 400, 400, 400]);
        check(Backoff::Fibonacci, [50, 50, 100, 150, 250, 400]);
    }

    #[test]
    fn a_thousandth_failure_does_not_overflow() {
        for backoff in [Backoff::Linear, Backoff::Exponential, Backoff::Fibonacci] {
            let policy = RetryPolicy {
                backoff,
                backoff_base_ms: i64::MAX / 2,
                max_backoff_ms: 30_000,
                ..RetryPolicy::default()
            };
            assert_eq!(delay_ms(&policy, 1_000), 30_000);
        }
    }

    #[test]
    fn jitter_moves_by_thousandths() {
        assert_eq!((with_jitter(1_000, 100), with_jitter(1_000, -100), with_jitter(1_000, 0)), (1_100, 900, 1_000));
    }

    #[test]
    fn http_statuses() {
        for retryable in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(http_status_is_retryable(retryable), "{retryable}");
        }
        for permanent in [300, 400, 401, 403, 404, 409, 422, 501, 505] {
            assert!(!http_status_is_retryable(permanent), "{permanent}");
        }
    }
}
