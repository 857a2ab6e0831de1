//! The worker's surface: create, start, poll, finish, checkpoint, log, drain, close.

use std::sync::Arc;
use std::time::{Duration, Instant};

use magnus::{Error, IntoValue, Module, Object, RModule, Ruby, Value, function, method};
use serde_json::json;
use tasker_wire::{Error as Fault, Failure, Kind, Report, StepError, json_text};
use tasker_worker::sync::Mutex;
use tasker_worker::{Config, WorkerCore, prepared_events, takes_long};

use crate::client::NativeClient;
use crate::error::{SLICE, check_interrupts, foreign, guarded, raise, released, without_gvl, without_gvl_or_with};
use crate::event::{Signal, StepEvent};

/// A worker without its handlers. Creating one starts no thread and opens nothing.
#[magnus::wrap(class = "TaskerCore::Native::NativeWorker", free_immediately)]
pub struct NativeWorker {
    config: Config,
    // Set by `start`, taken by `close`; polls clone the handle out and hold no lock while they wait.
    core: Mutex<Option<Arc<WorkerCore>>>,
}

impl NativeWorker {
    fn running(&self, ruby: &Ruby) -> Result<Arc<WorkerCore>, Error> {
        let core = self.core.lock().clone();
        match core {
            Some(core) if core.is_foreign() => {
                // Dropping the last handle would join threads that live in the parent.
                std::mem::forget(core);
                Err(foreign(ruby, "worker"))
            }
            Some(core) => Ok(core),
            None => {
                let fault = Fault::new(Kind::Conflict, "worker_not_running", "the worker is not running");
                Err(raise(ruby, &fault.hint("start it first")))
            }
        }
    }

    fn finish(&self, ruby: &Ruby, event: &StepEvent, report: Report, events: Option<String>) -> Result<bool, Error> {
        let core = self.running(ruby)?;
        let long = takes_long(&event.job, &report, events.as_deref().map(str::as_bytes));
        let finish = move || {
            let events = events.map(|e| prepared_events(e.as_bytes())).transpose()?.unwrap_or_default();
            Ok(core.finish_with(&event.job, report, events))
        };
        // Looking through a large payload takes long; giving the lock away and asking for it back takes longer than a small one.
        let finished = if long { without_gvl_or_with(finish) } else { finish() };
        finished.map_err(|fault| raise(ruby, &fault))
    }

    fn new(ruby: &Ruby, config_json: String) -> Result<NativeWorker, Error> {
        guarded(ruby, || {
            let config = Config::from_json(config_json.as_bytes(), "ruby").map_err(|fault| raise(ruby, &fault))?;
            Ok(NativeWorker { config, core: Mutex::new(None) })
        })
    }

    fn start(ruby: &Ruby, worker: &NativeWorker) -> Result<String, Error> {
        guarded(ruby, || {
            if worker.core.lock().is_some() {
                let running = Fault::new(Kind::Conflict, "worker_already_running", "the worker is already running");
                return Err(raise(ruby, &running));
            }
            tasker_worker::logging::start();
            let config = worker.config.clone();
            let core = released(ruby, move || WorkerCore::start(config))?;
            let info = json!({
                "worker_id": core.worker_id(), "url": core.engine().url(), "namespaces": core.queues(),
                "templates": core.templates(), "warnings": core.warnings(),
            });
            *worker.core.lock() = Some(core);
            Ok(info.to_string())
        })
    }

    /// Takes what waits; else waits in slices with the interpreter lock released, hearing interrupts between them.
    fn poll(ruby: &Ruby, worker: &NativeWorker, timeout_ms: u64) -> Result<Option<Value>, Error> {
        guarded(ruby, || {
            let Ok(core) = worker.running(ruby) else {
                if worker.core.lock().is_some() {
                    return Err(foreign(ruby, "worker"));
                }
                return Ok(Some(Signal::from(tasker_worker::Signal::Shutdown).into_value_with(ruby)));
            };
            let deadline = Instant::now() + Duration::from_millis(timeout_ms);
            loop {
                if let Some(job) = core.try_take() {
                    return Ok(Some(StepEvent { job }.into_value_with(ruby)));
                }
                if let Some(told) = core.try_signal() {
                    return Ok(Some(Signal::from(told).into_value_with(ruby)));
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                without_gvl(|| core.wait(left.min(SLICE)))?;
                check_interrupts()?;
            }
        })
    }

    fn client(ruby: &Ruby, worker: &NativeWorker) -> Result<NativeClient, Error> {
        Ok(NativeClient::on(worker.running(ruby)?.engine().clone()))
    }

    fn waiting(ruby: &Ruby, worker: &NativeWorker) -> Result<usize, Error> {
        Ok(worker.running(ruby)?.waiting())
    }

    fn thread_limit(ruby: &Ruby, worker: &NativeWorker) -> Result<usize, Error> {
        Ok(worker.running(ruby)?.thread_limit())
    }

    fn finish_success(
        ruby: &Ruby,
        worker: &NativeWorker,
        event: &StepEvent,
        result: String,
        metadata: Option<String>,
        execution_us: i64,
        events: Option<String>,
    ) -> Result<bool, Error> {
        guarded(ruby, || worker.finish(ruby, event, Report::Success { result, metadata, execution_us }, events))
    }

    /// `failure`: JSON `{message, error_type, error_code?, retryable, backtrace?, status_code?, context?}`.
    #[allow(clippy::too_many_arguments)] // one argument a part of the report
    fn finish_failure(
        ruby: &Ruby,
        worker: &NativeWorker,
        event: &StepEvent,
        failure: String,
        retry_after_ms: Option<i64>,
        metadata: Option<String>,
        execution_us: i64,
        events: Option<String>,
    ) -> Result<bool, Error> {
        guarded(ruby, || {
            let error: StepError = serde_json::from_str(&failure)
                .map_err(|e| Error::new(ruby.exception_arg_error(), format!("the failure cannot be read: {e}")))?;
            let failure = Failure { error, retry_after_ms, timed_out: false, metadata, execution_us };
            worker.finish(ruby, event, Report::Failure(Box::new(failure)), events)
        })
    }

    fn finish_checkpoint(
        ruby: &Ruby,
        worker: &NativeWorker,
        event: &StepEvent,
        cursor: String,
        items_processed: u64,
        accumulated: Option<String>,
        execution_us: i64,
    ) -> Result<bool, Error> {
        let checkpoint = json!({
            "cursor": json_text(cursor), "items_processed": items_processed,
            "accumulated_results": json_text(accumulated.unwrap_or_else(|| "null".into())),
        });
        let checkpoint = checkpoint.to_string();
        guarded(ruby, || worker.finish(ruby, event, Report::Checkpoint { checkpoint, execution_us }, None))
    }

    fn finish_handler_not_found(
        ruby: &Ruby,
        worker: &NativeWorker,
        event: &StepEvent,
        detail: Option<String>,
    ) -> Result<(), Error> {
        guarded(ruby, || {
            let core = worker.running(ruby)?;
            without_gvl(|| core.finish_not_found(&event.job, detail.as_deref()))
        })
    }

    /// Domain events of steps that ran here, JSON; waits in slices with the interpreter lock released.
    fn poll_in_process_events(
        ruby: &Ruby,
        worker: &NativeWorker,
        max: usize,
        timeout_ms: u64,
    ) -> Result<Vec<String>, Error> {
        guarded(ruby, || {
            let core = worker.running(ruby)?;
            let deadline = Instant::now() + Duration::from_millis(timeout_ms);
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let events = without_gvl(|| core.take_events(max, left.min(SLICE)))?;
                check_interrupts()?;
                if !events.is_empty() || left.is_zero() || core.is_closed() {
                    return Ok(events.iter().map(ToString::to_string).collect());
                }
            }
        })
    }

    fn log(worker: &NativeWorker, event: Option<&StepEvent>, level: String, message: String, fields: Option<String>) {
        let _ = worker;
        let prefix = event.map(|e| format!("step={} attempt={} ", e.job.step_name(), e.job.claimed().attempts + 1));
        log(level, format!("{}{message}", prefix.unwrap_or_default()), fields);
    }

    fn find(ruby: &Ruby, worker: &NativeWorker, event_id: String) -> Result<Option<StepEvent>, Error> {
        Ok(worker.running(ruby)?.find(&event_id).map(|job| StepEvent { job }))
    }

    fn drain(ruby: &Ruby, worker: &NativeWorker, timeout_ms: Option<u64>) -> Result<bool, Error> {
        guarded(ruby, || {
            let core = worker.running(ruby)?;
            let timeout = Duration::from_millis(timeout_ms.unwrap_or(core.config().drain_timeout_ms));
            let deadline = Instant::now() + timeout;
            without_gvl(|| core.begin_drain())?;
            // In slices, so that a second signal is heard.
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if without_gvl(|| core.wait_idle(left.min(SLICE)))? {
                    return Ok(true);
                }
                if left.is_zero() {
                    return Ok(false);
                }
                check_interrupts()?;
            }
        })
    }

    fn close(ruby: &Ruby, worker: &NativeWorker) -> Result<(), Error> {
        guarded(ruby, || {
            let core = worker.core.lock().take();
            match core {
                Some(core) if core.is_foreign() => std::mem::forget(core),
                Some(core) => without_gvl(|| {
                    core.close();
                    drop(core);
                })?,
                None => {}
            }
            Ok(())
        })
    }

    fn status(ruby: &Ruby, worker: &NativeWorker) -> Result<String, Error> {
        Ok(worker.running(ruby)?.status().to_string())
    }
}

impl Drop for NativeWorker {
    fn drop(&mut self) {
        if let Some(core) = self.core.lock().take()
            && core.is_foreign()
        {
            std::mem::forget(core);
        }
    }
}

/// Writes a line to the core's log.
pub fn log(level: String, message: String, fields: Option<String>) {
    tasker_worker::logging::line(&level, &message, fields.as_deref());
}

pub fn define(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = native.define_class("NativeWorker", ruby.class_object())?;
    class.define_singleton_method("new", function!(NativeWorker::new, 1))?;
    class.define_method("start", method!(NativeWorker::start, 0))?;
    class.define_method("poll", method!(NativeWorker::poll, 1))?;
    class.define_method("client", method!(NativeWorker::client, 0))?;
    class.define_method("waiting", method!(NativeWorker::waiting, 0))?;
    class.define_method("thread_limit", method!(NativeWorker::thread_limit, 0))?;
    class.define_method("finish_success", method!(NativeWorker::finish_success, 5))?;
    class.define_method("finish_failure", method!(NativeWorker::finish_failure, 6))?;
    class.define_method("finish_checkpoint", method!(NativeWorker::finish_checkpoint, 5))?;
    class.define_method("finish_handler_not_found", method!(NativeWorker::finish_handler_not_found, 2))?;
    class.define_method("poll_in_process_events", method!(NativeWorker::poll_in_process_events, 2))?;
    class.define_method("log", method!(NativeWorker::log, 4))?;
    class.define_method("find", method!(NativeWorker::find, 1))?;
    class.define_method("drain", method!(NativeWorker::drain, 1))?;
    class.define_method("close", method!(NativeWorker::close, 0))?;
    class.define_method("status", method!(NativeWorker::status, 0))?;
    Ok(())
}
