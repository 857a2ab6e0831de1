//! `tasker dev`: a worker that follows the files, and a running account of what it does.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::json;
use tasker_core::load::Severity;
use tasker_runtime::Engine;
use tasker_wire::{Error, Kind, TaskFilter, TaskView, json_of};

use crate::args::Dev;
use crate::output::{self, Colour};
use crate::project::{self, Handlers, Project, Start, WorkerProcess};
use crate::watch::{self, Tracker};
use crate::{Context, interrupt};

/// Quiet time after a change before it is acted on, and time between two looks at the store.
const QUIET: Duration = Duration::from_millis(200);
/// Tasks the account follows, newest first.
const FOLLOWED_MAX: u32 = 200;
/// Folders whose changes mean nothing.
const IGNORED: &[&str] = &["__pycache__", "node_modules", "target", "venv", "site-packages"];

/// Runs until interrupted.
pub(crate) fn run(args: &Dev, ctx: &Context) -> Result<i32> {
    if !args.dir.is_dir() {
        let message = format!("there is no folder {}", args.dir.display());
        return Err(Error::new(Kind::NotFound, "folder_not_found", message).hint("make one with `tasker new`").into());
    }
    let sdk = match Handlers::find(&args.dir, args.lang) {
        Some(handlers) => {
            let (program, version) = handlers.sdk()?;
            format!("; {program}, tasker_core {version}")
        }
        None => String::new(),
    };
    let engine = ctx.engine()?;
    interrupt::watch()?;
    let mut watched = Watched::new()?;
    let mut team = Team { dir: &args.dir, url: &ctx.url, current: None, leaving: Vec::new(), ready: false };
    let mut feed = Feed::new(&engine, ctx.json)?;
    let (dir, url) = (project::shown(&args.dir), engine.url());
    output::note(&format!("working on {url}, watching {dir}{sdk}"));
    let project = Project::find(&args.dir, args.lang);
    watched.follow(&args.dir, &project);
    let has_files = !project.files.is_empty();
    team.reload(&project);
    if !has_files {
        output::note("there is no template yet: put one into workflows/, and its handlers into handlers/");
    }
    while interrupt::asked() == 0 {
        if watched.changed() {
            let project = Project::find(&args.dir, args.lang);
            watched.follow(&args.dir, &project);
            team.reload(&project);
        }
        team.look();
        feed.print(&engine);
    }
    output::note("stopping; running handlers may end (Ctrl-C again: at once)");
    drop(team);
    Ok(0)
}

/// Changes of files, told once they have come to rest.
struct Watched {
    watcher: RecommendedWatcher,
    events: Receiver<notify::Result<Event>>,
    changed_at: Option<Instant>,
}

impl Watched {
    fn new() -> Result<Watched> {
        let (send, events) = channel();
        let watcher = notify::recommended_watcher(move |event| {
            // Nobody listens any more while the command ends.
            let _ = send.send(event);
        })
        .context("cannot watch files")?;
        Ok(Watched { watcher, events, changed_at: None })
    }

    /// Watches the folders of a project.
    fn follow(&mut self, dir: &Path, project: &Project) {
        let mut folders: Vec<(PathBuf, RecursiveMode)> = vec![(dir.into(), RecursiveMode::NonRecursive)];
        let whole = [project.templates.as_ref(), project.handlers.as_ref().map(|h| &h.folder)].into_iter().flatten();
        folders.extend(whole.map(|f| (f.clone(), RecursiveMode::Recursive)));
        if project.templates.is_none() {
            let parents = project.files.iter().filter_map(|f| Path::new(&f.path).parent()).map(Path::to_path_buf);
            let parents = parents.map(|p| if p.as_os_str().is_empty() { ".".into() } else { p });
            folders.extend(parents.map(|p| (p, RecursiveMode::NonRecursive)));
        }
        // Again each time, as a folder may have been removed and made anew.
        for (folder, mode) in folders {
            if let Err(error) = self.watcher.watch(&folder, mode) {
                output::note(&format!("cannot watch {}: {error}", folder.display()));
            }
        }
    }

    /// Waits a moment; true if files have changed and are quiet again.
    fn changed(&mut self) -> bool {
        let until = Instant::now() + QUIET;
        loop {
            match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Ok(event)) if matters(&event) => self.changed_at = Some(Instant::now()),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let quiet = self.changed_at.is_some_and(|at| at.elapsed() >= QUIET);
        if quiet {
            self.changed_at = None;
        }
        quiet
    }
}

/// Whether an event is about a template, a handler or a folder of them.
fn matters(event: &Event) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.paths.iter().any(|path| {
        let hidden = |name: &str| (name.starts_with('.') && name != "." && name != "..") || IGNORED.contains(&name);
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let parent = path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
        let kind = path.extension().and_then(|e| e.to_str());
        let source = matches!(kind, Some("yaml" | "yml" | "py" | "rb" | "rs")) || name == "Cargo.toml";
        let folder = matches!(name.as_str(), "workflows" | "handlers" | "config" | "tasks");
        (source || folder) && !hidden(&name) && !parent.is_some_and(|p| hidden(&p))
    })
}

/// The worker that runs, and former ones that still drain.
struct Team<'a> {
    dir: &'a Path,
    url: &'a str,
    current: Option<WorkerProcess>,
    leaving: Vec<WorkerProcess>,
    ready: bool,
}

impl Team<'_> {
    /// Replaces the worker, unless a template is broken.
    fn reload(&mut self, project: &Project) {
        let checked = project.load();
        for diagnostic in checked.iter().flat_map(|c| &c.diagnostics) {
            output::note(&format!("{diagnostic}\n"));
        }
        let broken = checked.iter().filter(|c| c.count(Severity::Error) > 0).count();
        if broken > 0 {
            output::note(&format!("{} with errors; {}", output::count(broken as u64, "template"), self.then()));
            return;
        }
        if checked.is_empty() {
            return;
        }
        let Some(handlers) = &project.handlers else {
            output::note(&format!("there is no folder {}; waiting for one", self.dir.join("handlers").display()));
            return;
        };
        // A worker without its handlers would fail every task it takes.
        let problems = handlers.check();
        if !problems.is_empty() {
            problems.iter().for_each(|p| output::note(&format!("{} {p}", output::paint_err(Colour::Red, "error:"))));
            output::note(&self.then());
            return;
        }
        if let Some(mut former) = self.current.take() {
            output::note("files changed; starting a new worker");
            former.ask_to_stop();
            self.leaving.push(former);
        }
        self.ready = false;
        let templates: Vec<String> = match &project.templates {
            Some(folder) => vec![folder.display().to_string()],
            None => project.files.iter().map(|f| f.path.clone()).collect(),
        };
        match WorkerProcess::start(
            handlers,
            &Start { url: self.url, templates: &templates, namespaces: &[], told: &[], hold: false },
        ) {
            Ok(worker) => self.current = Some(worker),
            Err(error) => output::note(&format!("{} {error}", output::paint_err(Colour::Red, "error:"))),
        }
    }

    /// What happens while something is broken.
    fn then(&self) -> String {
        let goes_on = self.current.is_some();
        if goes_on { "the former worker goes on" } else { "waiting for a correction" }.into()
    }

    /// Notices a worker that became ready or ended.
    fn look(&mut self) {
        self.leaving.retain_mut(|worker| worker.ended().is_none());
        let Some(worker) = &mut self.current else { return };
        if let Some(status) = worker.ended() {
            worker.settle();
            self.current = None;
            output::note(&format!("the worker ended ({status}); change a file to start another"));
        } else if !self.ready && worker.is_ready() {
            self.ready = true;
            output::note("worker ready");
        }
    }
}

impl Drop for Team<'_> {
    fn drop(&mut self) {
        // All are asked before any is waited for.
        self.current.iter_mut().for_each(WorkerProcess::ask_to_stop);
        self.leaving.extend(self.current.take());
        let asked = interrupt::asked();
        self.leaving.iter_mut().for_each(|worker| worker.wait(asked));
    }
}

/// The account of what happens in the store.
struct Feed {
    json: bool,
    /// Every task seen: its state when last looked at, and its steps.
    seen: HashMap<String, (String, Tracker)>,
    /// A failing store is mentioned once.
    failing: bool,
}

impl Feed {
    /// An account that begins now: what has happened before is not told.
    fn new(engine: &Engine, json: bool) -> Result<Feed, Error> {
        let mut seen = HashMap::new();
        for task in newest(engine)? {
            let mut tracker = Tracker::default();
            if !ended(&task) {
                tracker.changes(&engine.steps(uuid(&task)?)?);
            }
            seen.insert(task.task_uuid, (task.status, tracker));
        }
        Ok(Feed { json, seen, failing: false })
    }

    fn print(&mut self, engine: &Engine) {
        match self.changes(engine) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                output::note(&format!("{} {error}", output::paint_err(Colour::Red, "error:")));
            }
            Err(_) => {}
        }
    }

    fn changes(&mut self, engine: &Engine) -> Result<(), Error> {
        let tasks = newest(engine)?;
        for task in tasks.iter().rev() {
            let known = self.seen.contains_key(&task.task_uuid);
            if !known {
                self.tell(task, "created");
            }
            let (before, tracker) = self.seen.entry(task.task_uuid.clone()).or_default();
            if known && ended(task) && *before == task.status {
                continue;
            }
            let (steps, now) = (engine.steps(uuid(task)?)?, engine.now());
            for change in tracker.changes(&steps) {
                if self.json {
                    output::json(&watch::document(&change));
                } else if let Some(line) = watch::describe(&change, now) {
                    let (at, rest) = line.split_once("  ").unwrap_or(("", &line));
                    let line = format!("{at}  {}  {rest}", short(task));
                    output::line(&if output::styled() { output::cut(&line, output::columns()) } else { line });
                }
            }
            let changed = *before != task.status;
            before.clone_from(&task.status);
            if changed && (ended(task) || task.status == "paused") {
                self.tell(task, &task.status);
            }
        }
        let listed: HashSet<&str> = tasks.iter().map(|t| t.task_uuid.as_str()).collect();
        self.seen.retain(|uuid, _| listed.contains(uuid.as_str()));
        Ok(())
    }

    fn tell(&self, task: &TaskView, what: &str) {
        if self.json {
            output::json(&json!({"event": format!("task_{what}"), "task": json_of(task)}));
            return;
        }
        let (at, took) = if what == "created" {
            (&task.created_at, String::new())
        } else {
            (&task.updated_at, format!("  {}", output::duration(output::between(&task.created_at, &task.updated_at))))
        };
        let at = output::paint(Colour::Dim, &output::clock(at));
        let what = output::paint(output::colour_of(what), what);
        output::line(&format!("{at}  {}  {}task {what}{took}", short(task), output::icon(&task.status)));
    }
}

fn newest(engine: &Engine) -> Result<Vec<TaskView>, Error> {
    Ok(engine.tasks(&TaskFilter { limit: Some(FOLLOWED_MAX), ..TaskFilter::default() })?.tasks)
}

/// Whether the task's steps rest.
fn ended(task: &TaskView) -> bool {
    matches!(task.status.as_str(), "complete" | "error" | "cancelled" | "resolved_manually" | "blocked_by_failures")
}

/// A task in a few characters: its name and as much of its UUID as `tasker show` needs to find it.
fn short(task: &TaskView) -> String {
    format!("{} {}", task.name, task.task_uuid.get(..18).unwrap_or(&task.task_uuid))
}

fn uuid(task: &TaskView) -> Result<uuid::Uuid, Error> {
    tasker_worker::client::parse_uuid(&task.task_uuid)
}
