//! Core errors as a Ruby exception, panics kept at the edge, and blocking work without the interpreter lock.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use magnus::{Error, ExceptionClass, Module, RModule, Ruby};
use rb_sys::{rb_thread_call_without_gvl2, rb_thread_check_ints};
use tasker_wire::Error as Fault;
use tasker_worker::client::Pending;

/// Longest wait without a look at Ruby's interrupts.
pub const SLICE: Duration = Duration::from_millis(50);

/// The exception of a core error: `TaskerCore::Errors::NativeError`, made from the error's JSON body.
pub fn raise(ruby: &Ruby, fault: &Fault) -> Error {
    let mut body = serde_json::to_value(fault.body()).unwrap_or_default();
    body["text"] = fault.to_string().into();
    let class = ruby
        .class_object()
        .const_get::<_, RModule>("TaskerCore")
        .and_then(|m| m.const_get::<_, RModule>("Errors"))
        .and_then(|m| m.const_get::<_, ExceptionClass>("NativeError"));
    Error::new(class.unwrap_or_else(|_| ruby.exception_runtime_error()), body.to_string())
}

/// Runs an entry point; a panic becomes a RuntimeError, which Ruby can rescue.
pub fn guarded<T>(ruby: &Ruby, entry: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(entry)).unwrap_or_else(|_| {
        let said = "the core panicked; see the log. This is a fault of Tasker's; please report it with the log";
        Err(Error::new(ruby.exception_runtime_error(), said))
    })
}

/// Hears interrupts: Ctrl-C, `Thread#kill`, `Timeout`.
pub fn check_interrupts() -> Result<(), Error> {
    magnus::rb_sys::protect(|| {
        // SAFETY: called with the interpreter lock held, under `protect`, which catches the jump an interrupt makes.
        unsafe { rb_thread_check_ints() };
        rb_sys::Qnil as rb_sys::VALUE
    })
    .map(drop)
}

struct Call<'a, T> {
    work: Option<Box<dyn FnOnce() -> T + Send + 'a>>,
    done: Option<std::thread::Result<T>>,
}

extern "C" fn run<T>(call: *mut c_void) -> *mut c_void {
    // SAFETY: `without_gvl` passes a pointer to its own `Call<T>`, which outlives this call.
    let call = unsafe { &mut *call.cast::<Call<T>>() };
    if let Some(work) = call.work.take() {
        call.done = Some(catch_unwind(AssertUnwindSafe(work)));
    }
    std::ptr::null_mut()
}

/// Runs work with the interpreter lock released. It must not touch Ruby, and end soon: nothing can cut it short.
pub fn without_gvl<'a, T: Send + 'a>(work: impl FnOnce() -> T + Send + 'a) -> Result<T, Error> {
    let mut call = Call { work: Some(Box::new(work)), done: None };
    loop {
        // SAFETY: `run::<T>` gets the pointer it expects; the `2` variant makes no jump over these frames.
        unsafe {
            rb_thread_call_without_gvl2(Some(run::<T>), (&raw mut call).cast(), None, std::ptr::null_mut());
        }
        match call.done.take() {
            Some(Ok(value)) => return Ok(value),
            // Goes on as a panic with the lock held, where `guarded` turns it into an exception.
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            // Ruby did not even start it: an interrupt is pending.
            None => check_interrupts()?,
        }
    }
}

/// Runs work with the interpreter lock released, or at once with it where an interrupt is pending: the work is not to be given up
/// for that, and the interrupt is heard afterwards.
pub fn without_gvl_or_with<'a, T: Send + 'a>(work: impl FnOnce() -> T + Send + 'a) -> T {
    let mut call = Call { work: Some(Box::new(work)), done: None };
    // SAFETY: as in `without_gvl`.
    unsafe {
        rb_thread_call_without_gvl2(Some(run::<T>), (&raw mut call).cast(), None, std::ptr::null_mut());
    }
    if call.done.is_none() {
        run::<T>((&raw mut call).cast());
    }
    match call.done {
        Some(Ok(value)) => value,
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        None => unreachable!("the work has been run in one way or the other"),
    }
}

/// Runs blocking work with the interpreter lock released; a core error becomes an exception.
pub fn released<'a, T: Send + 'a>(
    ruby: &Ruby,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'a,
) -> Result<T, Error> {
    without_gvl(work)?.map_err(|fault| raise(ruby, &fault))
}

/// As [`released`], for work that may wait for a server: Ctrl-C, `Thread#raise` and `Timeout` are heard meanwhile.
pub fn interruptible<T: Send + 'static>(
    ruby: &Ruby,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Error> {
    let mut pending = Pending::begin(work).map_err(|fault| raise(ruby, &fault))?;
    loop {
        if let Some(answer) = without_gvl(|| pending.wait(SLICE))? {
            return answer.map_err(|fault| raise(ruby, &fault));
        }
        check_interrupts()?;
    }
}

/// The exception for a handle inherited over a fork; `what` it is: `worker` or `client`.
pub fn foreign(ruby: &Ruby, what: &str) -> Error {
    raise(ruby, &tasker_worker::client::forked(what))
}
