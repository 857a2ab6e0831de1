//! The engine for callers that must not block their thread.

use std::time::{Duration, Instant};

use tasker_wire::{Error, StepView, TaskFilter, TaskList, TaskRequest, TaskView};
use tokio::sync::mpsc::channel;
use uuid::Uuid;

use crate::committer::Waiter;
use crate::{Created, Engine, Looked, Options, Order};

/// A handle on an engine whose calls are futures, for use within a tokio runtime.
///
/// ```no_run
/// # async fn example(request: tasker_wire::TaskRequest) -> Result<(), tasker_wire::Error> {
/// use std::time::Duration;
/// use tasker_runtime::{AsyncEngine, Options};
///
/// let engine = AsyncEngine::open("postgres://localhost/shop", Options::default()).await?;
/// let created = engine.create(vec![request]).await.remove(0)?;
/// let task = engine.wait(created.task_uuid, Duration::from_secs(30)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct AsyncEngine {
    engine: Engine,
}

impl Engine {
    /// The same engine for asynchronous callers.
    pub fn asynchronous(&self) -> AsyncEngine {
        AsyncEngine { engine: self.clone() }
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody polls this again.
            Err(_) => std::future::pending().await,
        },
    }
}

impl AsyncEngine {
    /// See [`Engine::open`].
    pub async fn open(url: &str, options: Options) -> Result<AsyncEngine, Error> {
        let url = url.to_string();
        blocking(move || Engine::open(&url, options)).await.map(|engine| AsyncEngine { engine })
    }

    /// The engine itself, whose calls block.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Does anything else with the engine, on a thread that may block.
    pub async fn with<T: Send + 'static>(&self, work: impl FnOnce(&Engine) -> T + Send + 'static) -> T {
        let engine = self.engine.clone();
        blocking(move || work(&engine)).await
    }

    /// See [`Engine::create`].
    pub async fn create(&self, requests: Vec<TaskRequest>) -> Vec<Result<Created, Error>> {
        self.with(move |engine| engine.create(&requests)).await
    }

    /// See [`Engine::task`].
    pub async fn task(&self, task: Uuid) -> Result<TaskView, Error> {
        self.with(move |engine| engine.task(task)).await
    }

    /// See [`Engine::tasks`].
    pub async fn tasks(&self, filter: TaskFilter) -> Result<TaskList, Error> {
        self.with(move |engine| engine.tasks(&filter)).await
    }

    /// See [`Engine::steps`].
    pub async fn steps(&self, task: Uuid) -> Result<Vec<StepView>, Error> {
        self.with(move |engine| engine.steps(task)).await
    }

    /// See [`Engine::act`].
    pub async fn act(&self, task: Uuid, order: Order, actor: &str, reason: &str) -> Result<TaskView, Error> {
        let (actor, reason) = (actor.to_string(), reason.to_string());
        self.with(move |engine| engine.act(task, order, &actor, &reason)).await
    }

    /// See [`Engine::wait`]. It takes no thread while it waits.
    pub async fn wait(&self, task: Uuid, timeout: Duration) -> Result<TaskView, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let (send, receive) = channel(1);
            let looked =
                self.with(move |engine| engine.look_or_wait(task, deadline, timeout, Waiter::Task(send))).await?;
            match looked {
                Looked::Rests(view) => return Ok(*view),
                Looked::Waits(number, left) => {
                    // Whoever awaits this may give up: the place among the waiters is given back in any case, after the
                    // channel was closed.
                    let _place = Place { engine: &self.engine, task: number };
                    let mut receive = receive;
                    // A word, silence or a closed engine all lead to another look.
                    let _ = tokio::time::timeout(left, receive.recv()).await;
                }
            }
        }
    }
}

/// A place among those who wait for a task.
struct Place<'a> {
    engine: &'a Engine,
    task: i64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.engine.stop_waiting(self.task);
    }
}
