//! `tasker run`: create a task, lend it a worker if it has none, follow it to its end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use tasker_core::load::Severity;
use tasker_core::template::Template;
use tasker_runtime::{Created, Engine};
use tasker_wire::{Error, Json, Kind, StepView, TaskRequest, TaskView, json_of};
use uuid::Uuid;

use crate::args::Run;
use crate::output::{self, Colour};
use crate::project::{self, Checked, Handlers, Project, Start, WorkerProcess};
use crate::watch::{self, Change, Drawing, Tracker};
use crate::{Context, INTERRUPTED, actor, interrupt, template};

/// Longest time between two looks at the task.
const LOOK: Duration = Duration::from_millis(50);
/// Time between two looks for a worker that has the handlers. One that was there at first may have been dying, or die later.
const LOOK_FOR_WORKERS: Duration = Duration::from_secs(1);
/// How long a lent worker gets to end once `--timeout` is over.
const STOP_MAX: Duration = Duration::from_secs(1);

/// Runs the command.
pub(crate) fn run(args: &Run, ctx: &Context) -> Result<i32> {
    let context = input(args)?;
    let engine = ctx.engine()?;
    let prepared = Prepared::new(args, &engine)?;
    let mut request = TaskRequest::new(&prepared.namespace, &args.name, context);
    request.version = args.version.clone();
    request.initiator = actor();
    request.source_system = "cli".into();
    request.idempotency_key = args.key.clone();
    request.priority = args.priority;
    request.tags = args.tags.clone();
    let created = engine.create(&[request]).pop().context("the engine gave no answer")??;
    if args.no_wait {
        return announce(&engine, &created, ctx);
    }
    if created.existing {
        output::note(&format!("task {} exists already", created.task_uuid));
    }
    interrupt::watch()?;
    let mut follow = Follow::new(args, ctx, &engine, created.task_uuid);
    // An existing task may have ended long ago.
    let mut worker = match engine.wait(created.task_uuid, Duration::ZERO) {
        Ok(_) => None,
        Err(_) => {
            let lent = prepared.lend_worker(args, ctx, &engine)?;
            if lent.is_none() {
                prepared.note_who_is_missing(args, &engine)?;
            }
            lent
        }
    };
    let task = match follow.until_rest(&prepared, &mut worker)? {
        Some(task) => task,
        None => {
            output::note(&format!("interrupted; task {} goes on when a worker runs", created.task_uuid));
            return Ok(INTERRUPTED);
        }
    };
    follow.summary(&task, &created)?;
    Ok(if task.status == "complete" { 0 } else { 1 })
}

fn announce(engine: &Engine, created: &Created, ctx: &Context) -> Result<i32> {
    if ctx.json {
        let task = engine.task(created.task_uuid)?;
        output::json(&json!({"task": json_of(&task), "existing": created.existing}));
    } else {
        output::line(&created.task_uuid.to_string());
    }
    Ok(0)
}

/// The task's context: `--input` as it was written, or with the single fields over it.
fn input(args: &Run) -> Result<Json, Error> {
    let whole = args.input.as_deref().map(crate::json_of).transpose()?;
    if args.input_fields.is_empty() {
        return Ok(whole.unwrap_or_else(|| json_of(&json!({}))));
    }
    let mut fields: Map<String, Value> = match &whole {
        Some(whole) => serde_json::from_str(whole.get()).map_err(|_| {
            Error::new(Kind::Invalid, "invalid_request", "--input must be a JSON object if there are -i fields as well")
        })?,
        None => Map::new(),
    };
    for (key, value) in &args.input_fields {
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.clone()));
        fields.insert(key.clone(), value);
    }
    Ok(json_of(&fields))
}

/// What is known before the task is created.
struct Prepared {
    namespace: String,
    project: Project,
    /// Files of the template that a lent worker registers.
    files: Vec<String>,
    /// Namespaces of the project's templates, which a lent worker takes from.
    namespaces: Vec<String>,
    /// Warnings about these files, as they were printed.
    warnings: Vec<String>,
    /// The template, if a file of it could be read.
    template: Option<Template>,
}

/// What no live worker serves.
struct Unserved<'a> {
    /// A queue or a handler of the template.
    any: bool,
    /// A queue from which nobody takes at all.
    queue: Option<&'a str>,
}

impl Prepared {
    /// Registers the project's templates and finds the one meant.
    fn new(args: &Run, engine: &Engine) -> Result<Prepared, Error> {
        if !args.dir.is_dir() {
            let message = format!("there is no folder {}", args.dir.display());
            return Err(Error::new(Kind::NotFound, "folder_not_found", message));
        }
        let project = Project::find(&args.dir, args.lang);
        let mut checked = project.load();
        if project.templates.is_none() {
            // YAML found anywhere may belong to anything; only what was asked for is taken.
            checked.retain(|c| c.template.as_ref().is_some_and(|t| t.name == args.name));
        }
        let mut broken = 0;
        for file in checked.iter().filter(|c| c.count(Severity::Error) > 0) {
            broken += 1;
            file.diagnostics.iter().for_each(|d| output::note(&format!("{d}\n")));
        }
        checked.retain(|c| c.template.is_some());
        let is_shared = !project::is_of_this_machine(engine.url());
        let mut files = Vec::new();
        for file in &checked {
            if !is_shared || !is_known(engine, file)? {
                files.push(file.file.clone());
            }
        }
        let registered_files = engine.register_templates(&files, false).into_iter().collect::<Result<Vec<_>, _>>()?;
        let registered = engine.templates(None)?;
        let mut spaces: Vec<&str> =
            registered.iter().filter(|t| t.name == args.name).map(|t| t.namespace.as_str()).collect();
        spaces.dedup();
        let namespace = match (&args.namespace, spaces.as_slice()) {
            (Some(namespace), _) => namespace.clone(),
            (None, [one]) => (*one).to_string(),
            (None, []) if broken > 0 => {
                let message = format!("there is no template named `{}` without errors", args.name);
                return Err(
                    Error::new(Kind::Unprocessable, "invalid_template", message).hint("correct the files named above")
                );
            }
            (None, []) => return Err(template::unknown(&args.name, registered.iter().map(|t| t.name.as_str()))),
            (None, many) => {
                let message = format!("{} namespaces have a template named `{}`", many.len(), args.name);
                return Err(Error::new(Kind::Invalid, "ambiguous_template", message)
                    .hint(format!("choose one with --namespace: {}", many.join(", "))));
            }
        };
        let meant = |t: &Template| {
            t.name == args.name && t.namespace == namespace && args.version.as_ref().is_none_or(|v| *v == t.version)
        };
        let spaces_of = checked.iter().filter_map(|c| c.template.as_ref()).map(|t| t.namespace.clone());
        let mut namespaces: Vec<String> = spaces_of.collect();
        namespaces.sort();
        namespaces.dedup();
        // A project may have many templates; what is wrong with others is of no concern to this run.
        let (mut files, mut warnings) = (Vec::new(), Vec::new());
        for (view, warned) in registered_files {
            if (view.name.as_str(), view.namespace.as_str()) == (args.name.as_str(), namespace.as_str()) {
                // What is new to a shared store has been registered above; nothing is left to a lent worker.
                files.extend((!is_shared).then_some(view.path));
                warnings.extend(warned);
            }
        }
        warnings.iter().for_each(|warning| output::note(warning));
        let template = checked.into_iter().filter_map(|c| c.template).find(meant);
        Ok(Prepared { namespace, project, files, namespaces, warnings, template })
    }

    /// The queue and handler of a step that no live worker has, if there is one.
    fn unserved(&self, engine: &Engine) -> Result<Unserved<'_>, Error> {
        let wanted: Vec<(&str, Option<&str>)> = match &self.template {
            Some(t) => t
                .steps
                .iter()
                .map(|s| (s.queue.as_deref().unwrap_or(&t.namespace), Some(s.handler.callable.as_str())))
                .collect(),
            None => vec![(&self.namespace, None)],
        };
        let alive: Vec<_> = engine.workers()?.into_iter().filter(|w| project::lives(engine.url(), w)).collect();
        let served = |queue: &str, handler: Option<&str>| {
            alive.iter().any(|w| {
                w.queues.iter().any(|q| q == queue) && handler.is_none_or(|h| w.handlers.iter().any(|has| has == h))
            })
        };
        Ok(Unserved {
            any: !wanted.iter().all(|(queue, handler)| served(queue, *handler)),
            queue: wanted.iter().map(|(queue, _)| *queue).find(|queue| !served(queue, None)),
        })
    }

    /// Starts a worker for the time of the run, if no live one has the handlers and the project has some.
    fn lend_worker(&self, args: &Run, ctx: &Context, engine: &Engine) -> Result<Option<WorkerProcess>, Error> {
        let (Some(handlers), Some(_)) = (&self.project.handlers, &self.template) else { return Ok(None) };
        if !self.unserved(engine)?.any {
            return Ok(None);
        }
        let hold = args.watch && output::styled() && !ctx.json;
        let start =
            Start { url: &ctx.url, templates: &self.files, namespaces: &self.namespaces, told: &self.warnings, hold };
        WorkerProcess::start(handlers, &start).map(Some)
    }

    /// Says that the task waits, where nothing can be lent.
    fn note_who_is_missing(&self, args: &Run, engine: &Engine) -> Result<(), Error> {
        if let Some(queue) = self.unserved(engine)?.queue {
            let dir = project::shown(&args.dir.join("handlers"));
            output::note(&format!(
                "no live worker takes from `{queue}` and there is no folder {dir}: the task waits until one does"
            ));
        }
        Ok(())
    }
}

/// Whether a store that others work on has a template of this name and version. It stays as it is there: a checkout, and the
/// `TASKER_ENV` of whoever runs one task, change nobody else's tasks.
fn is_known(engine: &Engine, file: &Checked) -> Result<bool, Error> {
    let Some(template) = &file.template else { return Ok(false) };
    let store = engine.shared_store();
    let Some(known) = store.find_template(&template.namespace, &template.name, Some(&template.version))? else {
        return Ok(false);
    };
    let (source, ..) = store.template_source(known.id)?;
    if source != file.file.source {
        output::note(&format!(
            "{} has another text of {}/{} {} than {}, and uses its own; raise the version to run this one",
            engine.url(),
            template.namespace,
            template.name,
            template.version,
            file.file.path,
        ));
    }
    Ok(true)
}

/// A task being followed.
struct Follow<'a> {
    args: &'a Run,
    ctx: &'a Context,
    engine: &'a Engine,
    uuid: Uuid,
    started: Instant,
    tracker: Tracker,
    /// Where the task is drawn in place.
    drawing: Option<Drawing>,
}

impl<'a> Follow<'a> {
    fn new(args: &'a Run, ctx: &'a Context, engine: &'a Engine, uuid: Uuid) -> Follow<'a> {
        let draws = args.watch && output::styled() && !ctx.json;
        let drawing = draws.then(Drawing::default);
        Follow { args, ctx, engine, uuid, started: Instant::now(), tracker: Tracker::default(), drawing }
    }

    /// Prints what happens until the task rests; `None` if interrupted.
    fn until_rest(&mut self, prepared: &Prepared, worker: &mut Option<WorkerProcess>) -> Result<Option<TaskView>> {
        let mut look = LOOK;
        let mut looked_for_workers = Instant::now();
        loop {
            let rests = match self.engine.wait(self.uuid, look) {
                Ok(task) => Some(task),
                Err(error) if error.kind == Kind::Timeout => None,
                Err(error) => return Err(error.into()),
            };
            let read = Instant::now();
            let steps = self.engine.steps(self.uuid)?;
            let task = match &rests {
                Some(task) => task.clone(),
                None => self.engine.task(self.uuid)?,
            };
            // A task of thousands of steps is not read all the time.
            look = LOOK.max(read.elapsed() * 4);
            let said = worker.as_ref().map(WorkerProcess::said).unwrap_or_default();
            self.show(&task, &steps, &said);
            if rests.is_some() {
                output::clear_progress();
                return Ok(rests);
            }
            if interrupt::asked() > 0 {
                return Ok(None);
            }
            if let Some(lent) = worker
                && let Some(status) = lent.ended()
            {
                lent.settle();
                let ready = lent.is_ready();
                *worker = None;
                return Err(self.worker_ended(&status.to_string(), ready).into());
            }
            if worker.is_none() && looked_for_workers.elapsed() >= LOOK_FOR_WORKERS {
                *worker = prepared.lend_worker(self.args, self.ctx, self.engine)?;
                looked_for_workers = Instant::now();
            }
            if self.args.timeout.is_some_and(|limit| self.started.elapsed().as_secs_f64() >= limit) {
                // The time is over for what the worker runs, too.
                if let Some(lent) = worker {
                    lent.end_within(STOP_MAX);
                }
                return Err(self.timed_out(&task, &steps).into());
            }
        }
    }

    fn worker_ended(&self, status: &str, ready: bool) -> Error {
        let handlers = Handlers::find(&self.args.dir, self.args.lang);
        if !ready && let Some(Err(error)) = handlers.map(|h| h.sdk()) {
            return error;
        }
        Error::new(Kind::Unavailable, "worker_ended", format!("the worker ended ({status}); task {} waits", self.uuid))
            .hint("what it said stands above; the task goes on when a worker runs")
    }

    fn timed_out(&self, task: &TaskView, steps: &[StepView]) -> Error {
        let open: Vec<String> = steps
            .iter()
            .filter(|s| !watch::is_final(s.status) && s.status != "pending")
            .take(5)
            .map(|s| format!("`{}` is {}", s.name, s.status))
            .collect();
        let limit = output::duration(self.args.timeout.unwrap_or_default() * 1_000.0);
        let open = if open.is_empty() { String::new() } else { format!(": {}", open.join(", ")) };
        let message = format!("task {} has not ended within {limit}; it is {}{open}", self.uuid, task.status);
        Error::new(Kind::Timeout, "timeout", message)
            .hint("it goes on when a worker runs; look at it with `tasker show`")
    }

    fn show(&mut self, task: &TaskView, steps: &[StepView], said: &[String]) {
        let now = self.engine.now();
        if let Some(drawing) = &mut self.drawing {
            if drawing.draw(task, steps, now, said) {
                return;
            }
            self.drawing = None;
        }
        said.iter().for_each(|line| output::note(line));
        let width = steps.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).min(40);
        for change in self.tracker.changes(steps) {
            match (&change, self.args.watch, self.ctx.json) {
                (_, true, true) => output::json(&watch::document(&change)),
                (_, true, false) => watch::describe(&change, now).iter().for_each(|line| output::line(line)),
                (Change::Finished(step), false, false) => output::line(&finished(step, width, now)),
                _ => {}
            }
        }
        let active: Vec<String> = steps
            .iter()
            .filter(|s| matches!(s.status, "in_progress" | "waiting_for_retry"))
            .take(3)
            .map(|s| match s.history.last().filter(|_| s.status == "waiting_for_retry") {
                Some(attempt) => format!("{} will be retried after {}", s.name, watch::reason(attempt)),
                None => s.name.clone(),
            })
            .collect();
        let took = output::duration(self.started.elapsed().as_secs_f64() * 1_000.0);
        output::progress(&format!("{}/{} steps, {took}  {}", task.steps.complete, task.steps.total, active.join(", ")));
    }

    fn summary(&self, task: &TaskView, created: &Created) -> Result<(), Error> {
        if self.ctx.json {
            let steps = self.engine.steps(self.uuid)?;
            output::json(&json!({
                "task": json_of(task), "existing": created.existing, "steps": steps.iter().map(json_of).collect::<Vec<_>>(),
            }));
            return Ok(());
        }
        let end = task.completed_at.as_deref().unwrap_or(&task.updated_at);
        output::line(&format!(
            "{}{}  {}  {}  {}/{} steps  {}",
            output::icon(&task.status),
            output::paint(output::colour_of(&task.status), &task.status),
            task.name,
            task.task_uuid,
            task.steps.complete,
            task.steps.total,
            output::duration(output::between(&task.created_at, end)),
        ));
        if !task.failed_batches.is_empty() {
            output::line(&format!("failed batches: {}", task.failed_batches.join(", ")));
        }
        if task.status == "blocked_by_failures" {
            let at = url_flag(self.ctx);
            output::note(&format!(
                "what failed:        tasker{at} show {0}\nrun it again:       tasker{at} retry {0}\nleave it failed:    tasker{at} give-up {0}",
                task.task_uuid
            ));
        }
        Ok(())
    }
}

/// `--url …`, if a command needs it to find the same store.
fn url_flag(ctx: &Context) -> String {
    url_of_hint(&ctx.url, &tasker_runtime::default_url())
}

/// A URL with a secret in it is not printed: who runs the command has it at hand.
fn url_of_hint(url: &str, default: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let who = rest.split_once('?').map_or(rest, |(rest, _)| rest).rsplit_once('@').map(|(who, _)| who);
    let has_secret = who.is_some_and(|who| who.contains(':') || url.starts_with("tasker")) || url.contains("password=");
    match (url == default, has_secret) {
        (true, _) => String::new(),
        (false, true) => " --url \"$TASKER_URL\"".into(),
        (false, false) => format!(" --url {url}"),
    }
}

/// The line of a step that has ended.
fn finished(step: &StepView, width: usize, now: i64) -> String {
    let took = step.history.last().map_or("-".into(), |a| output::duration(watch::took(a, now)));
    let what = match (&step.error, &step.result) {
        (Some(error), _) => {
            let code = error.error_code.as_deref().map(|c| format!(" {c}")).unwrap_or_default();
            output::paint(Colour::Red, &format!("{}{code}: {}", error.error_type, error.message))
        }
        (None, Some(result)) => result.get().to_string(),
        (None, None) => String::new(),
    };
    let line = format!(
        "{}{}  {}  {}  {}  {what}",
        output::icon(step.status),
        output::pad(&step.name, width),
        output::pad(&output::paint(output::colour_of(step.status), step.status), 8),
        output::pad(&output::count(step.attempts, "attempt"), 10),
        output::pad(&took, 7),
    );
    let line = line.trim_end();
    if output::styled() { output::cut(line, output::columns()) } else { line.replace('\n', " ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_gives_no_secret_away() {
        let shown = |url| url_of_hint(url, "sqlite://default.db");
        assert_eq!(shown("sqlite://default.db"), "");
        assert_eq!(shown("sqlite:///tmp/a@b:c.db"), " --url sqlite:///tmp/a@b:c.db");
        assert_eq!(shown("postgres://me@db/x"), " --url postgres://me@db/x");
        for secret in ["postgres://me:secret@db/x", "postgres://db/x?password=secret", "tasker://secret@host:7420"] {
            assert_eq!(shown(secret), " --url \"$TASKER_URL\"");
        }
    }
}
