//! Bad conditions on purpose, for tests of workers: chosen by `TASKER_DISTURB`, none by default.

use tasker_wire::{Error, Kind};

/// What is made worse than it need be. `TASKER_DISTURB` lists `slots=N`, `lease_ms=N`, `twice`, `shuffle`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disturb {
    /// Handlers run at once, whatever the worker was set up with.
    pub(crate) slots: Option<usize>,
    /// Length of a lease, whatever the worker was set up with, milliseconds.
    pub(crate) lease_ms: Option<i64>,
    /// Every report is sent twice.
    pub(crate) twice: bool,
    /// Steps are handed out in another order than they were claimed in: the newest first.
    pub(crate) shuffle: bool,
}

impl Disturb {
    /// What the environment asks for.
    pub(crate) fn from_env() -> Result<Disturb, Error> {
        Disturb::parse(&std::env::var("TASKER_DISTURB").unwrap_or_default())
    }

    fn parse(text: &str) -> Result<Disturb, Error> {
        let mut found = Disturb::default();
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            let (name, number) = word.split_once('=').unwrap_or((word, ""));
            let parsed = number.parse::<u32>().ok().filter(|n| *n > 0);
            match (name, parsed) {
                ("slots", Some(n)) => found.slots = Some(n as usize),
                ("lease_ms", Some(n)) => found.lease_ms = Some(i64::from(n)),
                ("twice", None) => found.twice = true,
                ("shuffle", None) => found.shuffle = true,
                _ => {
                    let message = format!("TASKER_DISTURB has `{word}`");
                    return Err(Error::new(Kind::Invalid, "invalid_config", message)
                        .hint("it takes slots=N, lease_ms=N, twice and shuffle, separated by commas"));
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_mistakes_named() {
        let all = Disturb::parse("slots=1, lease_ms=50,twice,shuffle").expect("it is well formed");
        let expected = Disturb { slots: Some(1), lease_ms: Some(50), twice: true, shuffle: true };
        assert_eq!((all, Disturb::parse("").expect("nothing is well formed")), (expected, Disturb::default()));
        for wrong in ["slots", "slots=0", "twice=1", "slow"] {
            assert!(Disturb::parse(wrong).expect_err("a mistake").to_string().contains(wrong));
        }
    }
}
