//! Threads that do not end in silence.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use tasker_wire::{Error, Kind};

/// Starts a thread. If its body panics, `lost` hears what the panic said, on that thread, after everything the body held
/// has been let go.
pub fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
    lost: impl FnOnce(&str) + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let thread = name.to_string();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
                let said = said(&*panic);
                tracing::error!(thread, said, "a thread of Tasker's ended in a panic");
                lost(&said);
            }
        })
        .map_err(|e| {
            Error::new(Kind::Unavailable, "no_thread", format!("cannot start a thread: {e}"))
                .hint("see the limits of processes and of memory of this user")
        })
}

/// The words of a panic.
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

/// Calls `body` where it may block: on this thread, or, if this thread drives a tokio runtime, on one of its own. Such a
/// thread must not drive another runtime.
pub fn blocking<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    if tokio::runtime::Handle::try_current().is_err() {
        return body();
    }
    match std::thread::scope(|scope| scope.spawn(body).join()) {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
