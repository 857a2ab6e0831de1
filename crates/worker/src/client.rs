//! The one client call of the bindings: an operation by name, JSON in, JSON out.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tasker_core::load;
use tasker_runtime::{Engine, LetterOrder, Order, TemplateFile};
use tasker_wire::{DeadLetterFilter, Error, EventFilter, Json, Kind, TaskFilter, TaskRequest, json_of};
use uuid::Uuid;

#[derive(Deserialize)]
struct OfTask {
    task_uuid: String,
}

#[derive(Deserialize)]
struct OfStep {
    task_uuid: String,
    #[serde(alias = "step_uuid", alias = "step_name")]
    step: String,
}

#[derive(Deserialize)]
struct Wait {
    task_uuid: String,
    timeout_ms: u64,
}

#[derive(Deserialize)]
struct Act {
    task_uuid: String,
    action: String,
    #[serde(default, alias = "step_uuid", alias = "step_name")]
    step: Option<String>,
    #[serde(default)]
    result: Option<Json>,
    #[serde(default)]
    actor: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct ActAll {
    #[serde(default)]
    filter: TaskFilter,
    action: String,
    #[serde(default, alias = "step_name")]
    step: Option<String>,
    #[serde(default)]
    result: Option<Json>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default = "client")]
    actor: String,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Settle {
    /// One dead letter; else those of the filter.
    #[serde(default)]
    id: Option<i64>,
    #[serde(default)]
    filter: DeadLetterFilter,
    /// `replay`, `discard`, `annotate`.
    action: String,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default = "client")]
    actor: String,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct ReadEvents {
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default = "ten")]
    limit: u32,
    #[serde(default = "visibility_ms")]
    visibility_ms: u64,
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
struct Acknowledge {
    ids: Vec<i64>,
}

#[derive(Deserialize)]
struct ReplayEvents {
    #[serde(flatten)]
    filter: EventFilter,
    #[serde(default)]
    dry_run: bool,
}

/// Work that may wait for a server, in a thread of its own: whoever wants the answer can look up between, and may go without it.
pub struct Pending<T>(Receiver<Result<T, Error>>);

impl<T: Send + 'static> Pending<T> {
    /// Begins.
    pub fn begin(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<Pending<T>, Error> {
        let (send, answer) = channel();
        std::thread::Builder::new()
            .name("tasker-call".into())
            // Nobody may be there to hear the answer.
            .spawn(move || drop(send.send(work())))
            .map_err(|e| Error::new(Kind::Unavailable, "no_thread", format!("cannot start a thread: {e}")))?;
        Ok(Pending(answer))
    }

    /// The answer, if it comes within `time`.
    pub fn wait(&mut self, time: Duration) -> Option<Result<T, Error>> {
        match self.0.recv_timeout(time) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err(Error::new(Kind::Bug, "panic", "the core panicked; see the log")
                    .hint("this is a fault of Tasker's; please report it with the log")))
            }
        }
    }
}

/// Whether a store answers at once or not at all, as files do: nothing that it is asked need be given up.
pub fn is_near(url: &str) -> bool {
    url.starts_with("sqlite:")
}

/// The error of a handle that was inherited over a fork. `what`: `worker` or `client`.
pub fn forked(what: &str) -> Error {
    let message = format!("this {what} was opened before a fork; its threads live in the parent process");
    Error::new(Kind::Conflict, "forked", message).hint(format!(
        "make a new {what} in the child, or use a fresh process (Python: the spawn method of multiprocessing)"
    ))
}

fn client() -> String {
    "client".into()
}

fn default_namespace() -> String {
    "default".into()
}

fn ten() -> u32 {
    10
}

fn visibility_ms() -> u64 {
    30_000
}

#[derive(Deserialize)]
struct Templates {
    templates: Vec<Template>,
    #[serde(default)]
    strict: bool,
}

#[derive(Deserialize)]
struct Template {
    path: String,
    source: String,
}

#[derive(Deserialize)]
struct Create {
    tasks: Vec<Json>,
}

/// Actions that [`order`] knows.
pub const ACTIONS: &[&str] = &[
    "cancel",
    "pause",
    "resume",
    "retry_failed",
    "reset_for_retry",
    "resolve_manually",
    "complete_manually",
    "give_up",
    "resolve_task",
];

/// The operator's order of a name; `step` is a name or UUID.
pub fn order(
    engine: &Engine,
    task: Uuid,
    action: &str,
    step: Option<&str>,
    result: Option<String>,
) -> Result<Order, Error> {
    let number = || match step {
        Some(step) => engine.step_number(task, step),
        None => {
            Err(Error::new(Kind::Invalid, "invalid_request", format!("`{action}` needs a step")).hint("name the step"))
        }
    };
    Ok(match action {
        "cancel" => Order::Cancel,
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        "retry_failed" => Order::RetryFailed,
        "reset_for_retry" => Order::Reset(number()?),
        "resolve_manually" => Order::ResolveStep(number()?),
        "complete_manually" => Order::CompleteStep(number()?, result.unwrap_or_else(|| "null".into())),
        "give_up" => Order::GiveUp,
        "resolve_task" => Order::ResolveTask,
        other => {
            return Err(Error::new(Kind::Invalid, "invalid_request", format!("there is no action `{other}`"))
                .hint(format!("use one of {}", ACTIONS.join(", "))));
        }
    })
}

/// What an operator does with dead letters, by name.
pub fn letter_order(action: &str, note: Option<&str>) -> Result<LetterOrder, Error> {
    match (action, note) {
        ("replay", _) => Ok(LetterOrder::Replay),
        ("discard", _) => Ok(LetterOrder::Discard),
        ("annotate", Some(note)) => Ok(LetterOrder::Annotate(note.into())),
        ("annotate", None) => Err(Error::new(Kind::Invalid, "invalid_request", "`annotate` needs a note")),
        (other, _) => Err(Error::new(Kind::Invalid, "invalid_request", format!("there is no action `{other}`"))
            .hint("use one of replay, discard, annotate")),
    }
}

/// Parses a UUID a user typed.
pub fn parse_uuid(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| {
        Error::new(Kind::Invalid, "invalid_request", format!("`{text}` is not a UUID")).hint("copy it from `tasker ls`")
    })
}

fn args<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text)
        .map_err(|e| Error::new(Kind::Invalid, "invalid_request", format!("the request cannot be read: {e}")))
}

/// Does one client operation and gives its JSON answer.
pub fn call(engine: &Engine, op: &str, text: &str) -> Result<String, Error> {
    let answer = match op {
        "create_tasks" => create(engine, &args::<Create>(text)?.tasks)?,
        "get_task" => json_of(&engine.task(parse_uuid(&args::<OfTask>(text)?.task_uuid)?)?),
        "list_tasks" => json_of(&engine.tasks(&args::<TaskFilter>(text)?)?),
        "list_task_steps" => json_of(&json!({"steps": engine.steps(parse_uuid(&args::<OfTask>(text)?.task_uuid)?)?})),
        "get_step" => {
            let OfStep { task_uuid, step } = args(text)?;
            json_of(&engine.step(parse_uuid(&task_uuid)?, &step)?)
        }
        "get_step_audit_history" => {
            let OfStep { task_uuid, step } = args(text)?;
            json_of(&json!({"attempts": engine.step(parse_uuid(&task_uuid)?, &step)?.history}))
        }
        "get_audit" => json_of(&json!({"audit": engine.audit(parse_uuid(&args::<OfTask>(text)?.task_uuid)?)?})),
        "cancel_task" => {
            #[derive(Deserialize)]
            struct Cancel {
                task_uuid: String,
                #[serde(default)]
                reason: Option<String>,
                #[serde(default)]
                actor: Option<String>,
            }
            let Cancel { task_uuid, reason, actor } = args(text)?;
            json_of(&engine.act(
                parse_uuid(&task_uuid)?,
                Order::Cancel,
                actor.as_deref().unwrap_or("client"),
                reason.as_deref().unwrap_or(""),
            )?)
        }
        "act" => {
            let Act { task_uuid, action, step, result, actor, reason } = args(text)?;
            let task = parse_uuid(&task_uuid)?;
            let order = order(engine, task, &action, step.as_deref(), result.map(|r| r.get().to_string()))?;
            json_of(&engine.act(task, order, actor.as_deref().unwrap_or("client"), reason.as_deref().unwrap_or(""))?)
        }
        "act_all" => {
            let ActAll { filter, action, step, result, dry_run, actor, reason } = args(text)?;
            let result = result.map(|r| r.get().to_string());
            let order = |task| order(engine, task, &action, step.as_deref(), result.clone());
            json_of(&engine.act_all(&filter, &order, &actor, &reason, dry_run, &mut |_, _| ())?)
        }
        "list_dead_letters" => json_of(&json!({"dead_letters": engine.dead_letters(&args(text)?)?})),
        "group_dead_letters" => json_of(&json!({"groups": engine.dead_letter_groups(&args(text)?)?})),
        "settle_dead_letters" => {
            let Settle { id, filter, action, note, dry_run, actor, reason } = args(text)?;
            let order = letter_order(&action, note.as_deref())?;
            match id {
                Some(id) => json_of(&engine.settle(id, order, &actor, &reason)?),
                None => json_of(&engine.settle_all(&filter, &order, &actor, &reason, dry_run, &mut |_, _| ())?),
            }
        }
        "list_events" => json_of(&json!({"events": engine.events(&args(text)?)?})),
        "read_events" => {
            let ReadEvents { namespace, limit, visibility_ms, wait_ms } = args(text)?;
            let (visibility, wait) = (Duration::from_millis(visibility_ms), Duration::from_millis(wait_ms));
            json_of(&json!({"events": engine.read_events(&namespace, limit, visibility, wait)?}))
        }
        "acknowledge_events" => {
            json_of(&json!({"acknowledged": engine.acknowledge_events(args::<Acknowledge>(text)?.ids)?}))
        }
        "replay_events" => {
            let ReplayEvents { filter, dry_run } = args(text)?;
            json_of(&json!({"replayed": engine.replay_events(&filter, dry_run)?}))
        }
        "wait" => {
            let Wait { task_uuid, timeout_ms } = args(text)?;
            json_of(&engine.wait(parse_uuid(&task_uuid)?, Duration::from_millis(timeout_ms))?)
        }
        "skip_to_rest" => {
            if engine.url() != "sqlite::memory:" {
                let refused = "the clock moves only over a store in memory";
                return Err(Error::new(Kind::Conflict, "not_in_memory", refused).hint("use sqlite::memory:"));
            }
            let Wait { task_uuid, timeout_ms } = args(text)?;
            json_of(&engine.skip_to_rest(parse_uuid(&task_uuid)?, Duration::from_millis(timeout_ms))?)
        }
        "health_check" => {
            // A listing proves that the store answers.
            let listed = engine.tasks(&TaskFilter { limit: Some(1), ..TaskFilter::default() })?;
            json_of(&json!({
                "status": "healthy", "url": engine.url(), "durability": engine.durability(), "tasks": listed.total,
                "version": env!("CARGO_PKG_VERSION"),
            }))
        }
        "list_templates" => {
            #[derive(Deserialize)]
            struct Tagged {
                #[serde(default)]
                tag: Option<String>,
            }
            json_of(&json!({"templates": engine.templates(args::<Tagged>(text)?.tag.as_deref())?}))
        }
        "list_workers" => json_of(&json!({"workers": engine.workers()?})),
        "doctor" => json_of(&engine.doctor()?),
        "register_templates" => {
            let Templates { templates, strict } = args(text)?;
            let files: Vec<TemplateFile> =
                templates.into_iter().map(|t| TemplateFile { path: t.path, source: t.source }).collect();
            let mut views = Vec::new();
            let mut warnings = Vec::new();
            for registered in engine.register_templates(&files, strict) {
                let (view, warned) = registered?;
                views.push(view);
                warnings.extend(warned);
            }
            json_of(&json!({"templates": views, "warnings": warnings}))
        }
        other => return Err(Error::new(Kind::Invalid, "invalid_request", format!("there is no operation `{other}`"))),
    };
    Ok(answer.get().to_string())
}

/// One answer a request: `{"task": …}` or `{"error": …}`. A request that cannot be read stops no other.
fn create(engine: &Engine, requests: &[Json]) -> Result<Json, Error> {
    let read: Vec<Result<TaskRequest, Error>> = requests.iter().map(|r| args(r.get())).collect();
    let good: Vec<TaskRequest> = read.iter().filter_map(|r| r.as_ref().ok().cloned()).collect();
    let mut created = engine.create(&good).into_iter();
    let answers: Vec<Value> = read
        .into_iter()
        .map(|read| {
            let created = read
                .and_then(|_| created.next().unwrap_or_else(|| Err(Error::new(Kind::Bug, "store_error", "no answer"))));
            match created {
                Ok(created) => {
                    json!({"task": {"task_uuid": created.task_uuid.to_string(), "existing": created.existing}})
                }
                Err(error) => json!({"error": error.body()}),
            }
        })
        .collect();
    Ok(json_of(&json!({"tasks": answers})))
}

/// Checks a template; JSON `{"ok", "template": {…}?, "diagnostics": [{severity, message, file, line, column, text}]}`.
pub fn validate_template(source: &str, path: &str, environment: Option<&str>, strict: bool) -> String {
    let (template, diagnostics) = match load::load(source, path, &load::Options { environment, strict }) {
        Ok(loaded) => (Some(loaded.template), loaded.warnings),
        Err(error) => (None, error.diagnostics),
    };
    let ok = template.is_some();
    let template = template.map(|t| {
        let handlers: Vec<_> =
            t.steps.iter().map(|s| json!({"step": s.name, "callable": s.handler.callable})).collect();
        let steps: Vec<_> = t.steps.iter().map(|s| &s.name).collect();
        json!({
            "name": t.name, "namespace": t.namespace, "version": t.version, "description": t.description,
            "steps": steps, "handlers": handlers,
        })
    });
    let diagnostics: Vec<_> = diagnostics
        .iter()
        .map(|d| {
            json!({
                "severity": if d.severity == load::Severity::Error { "error" } else { "warning" },
                "message": d.message, "file": d.file, "line": d.line, "column": d.column, "text": d.to_string(),
            })
        })
        .collect();
    json!({"ok": ok, "template": template, "diagnostics": diagnostics}).to_string()
}
