//! What the tests of workers share: an engine of their own, tasks, and waiting for what is sure to come.

#![allow(dead_code)] // each test file uses its part

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tasker_runtime::{Engine, Options, TemplateFile};
use tasker_wire::{AttemptView, StepView, TaskRequest, TaskView, json_of};
use tasker_worker::{StepContext, StepError, StepOutcome, Worker, WorkerBuilder};
use uuid::Uuid;

/// Ends a test that hangs; nothing is expected to take this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn options() -> Options {
    Options { environment: Some("test".into()), max_crashes: 3, retention_days: 0 }
}

/// A private engine, without jitter.
pub(crate) fn engine() -> Engine {
    Engine::open("sqlite::memory:", options()).unwrap()
}

/// A worker to be started on an engine.
pub(crate) fn worker(yaml: &str) -> WorkerBuilder {
    Worker::builder("sqlite::memory:").template("test.yaml", yaml)
}

pub(crate) fn register(engine: &Engine, yaml: &str) {
    let file = TemplateFile { path: "test.yaml".into(), source: yaml.into() };
    engine.register_templates(&[file], true).pop().unwrap().unwrap();
}

pub(crate) fn request(name: &str, context: Value) -> TaskRequest {
    TaskRequest::new("test", name, json_of(&context))
}

pub(crate) fn create(engine: &Engine, name: &str, context: Value) -> Uuid {
    engine.create(&[request(name, context)]).pop().unwrap().unwrap().task_uuid
}

/// How long workers whose others take them for gone may be silent: they hear of it in a third of that.
pub(crate) const SHORT_LEASE_MS: i64 = 300;

/// Another process takes a worker for gone.
pub(crate) fn declare_gone(engine: &Engine, worker: &Worker) {
    tasker_runtime::stepper::declare_gone(engine, worker.core().worker_id()).unwrap();
}

/// Waits until the task ended or rests.
pub(crate) fn wait(engine: &Engine, task: Uuid) -> TaskView {
    engine.wait(task, PATIENCE).unwrap()
}

/// Creates a task and waits for it.
pub(crate) fn run(engine: &Engine, name: &str, context: Value) -> (Uuid, TaskView) {
    let task = create(engine, name, context);
    (task, wait(engine, task))
}

pub(crate) fn result(engine: &Engine, task: Uuid, step: &str) -> Value {
    let step = engine.step(task, step).unwrap();
    step.result.as_ref().map_or(Value::Null, |r| serde_json::from_str(r.get()).unwrap())
}

/// The result as stored, digit by digit.
pub(crate) fn text(engine: &Engine, task: Uuid, step: &str) -> String {
    engine.step(task, step).unwrap().result.unwrap().get().to_string()
}

pub(crate) fn names(engine: &Engine, task: Uuid) -> Vec<String> {
    engine.steps(task).unwrap().into_iter().map(|s| s.name).collect()
}

pub(crate) fn outcomes(step: &StepView) -> Vec<&'static str> {
    step.history.iter().map(|a| a.outcome).collect()
}

/// Milliseconds from the end of an attempt to the time its successor is due.
pub(crate) fn wait_ms(attempt: &AttemptView) -> i64 {
    let of_day = |time: &str| -> i64 {
        let part = |range: std::ops::Range<usize>| time[range].parse::<i64>().unwrap();
        ((part(11..13) * 60 + part(14..16)) * 60 + part(17..19)) * 1_000 + part(20..23)
    };
    let (ended, due) = (attempt.completed_at.as_ref().unwrap(), attempt.next_retry_at.as_ref().unwrap());
    (of_day(due) - of_day(ended)).rem_euclid(86_400_000)
}

/// Waits for a condition that the engine brings about without a word to the test.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The next word of a handler.
#[track_caller]
pub(crate) fn hear<T>(from: &Receiver<T>) -> T {
    match from.recv_timeout(PATIENCE) {
        Ok(word) => word,
        Err(RecvTimeoutError::Timeout) => panic!("no word from the handler"),
        Err(RecvTimeoutError::Disconnected) => panic!("the handler is gone"),
    }
}

pub(crate) fn ok(value: Value) -> Result<StepOutcome, StepError> {
    Ok(StepOutcome::from(value))
}

/// A handler that returns its step's name.
pub(crate) async fn name(context: StepContext) -> Result<StepOutcome, StepError> {
    ok(json!(context.job().step_name()))
}

pub(crate) fn healthy(engine: &Engine) {
    let report = engine.doctor().unwrap();
    assert!(report.healthy, "{report:?}");
}

/// Another process: this test binary, running one of its tests with a variable set.
pub(crate) struct Other {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

const MARK: &str = "tasker-test: ";

impl Other {
    pub(crate) fn start(test: &str, variable: &str, value: &str) -> Other {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(variable, value)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Other { child, lines }
    }

    /// The next line it says.
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let line = self.lines.next().expect("the other process ended").unwrap();
            // The test harness writes to the same pipe.
            if let Some((_, said)) = line.split_once(MARK) {
                return said.to_string();
            }
        }
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(&mut self) {
        self.child.wait().unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says a line to the process that started this one.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").unwrap();
    out.flush().unwrap();
}
