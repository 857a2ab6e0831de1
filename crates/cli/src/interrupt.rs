//! Ctrl-C and its like: counted, so that a command can end in order, and at once when asked twice.

use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Starts counting instead of ending the process.
pub(crate) fn watch() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        signals.forever().for_each(|_| {
            ASKED.fetch_add(1, Ordering::AcqRel);
        })
    });
    Ok(())
}

/// How often the command was asked to end.
pub(crate) fn asked() -> usize {
    ASKED.load(Ordering::Acquire)
}
