//! What a project folder holds, and the worker process that runs its handlers.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tasker_core::load::{self, Diagnostic, Options, Severity};
use tasker_core::template::Template;
use tasker_runtime::TemplateFile;
use tasker_wire::{Error, Kind, WorkerView};
use tempfile::TempDir;

use crate::{interrupt, output};

/// Folders that never hold templates.
const SKIPPED: &[&str] = &["node_modules", "target", "__pycache__", "venv", "site-packages"];
/// Deepest folder that is searched.
const DEPTH_MAX: usize = 8;
/// Files and folders that are looked at, at most: a home folder is no project.
const ENTRIES_MAX: usize = 20_000;
/// Longest time a worker gets to drain; its own limit is shorter.
const DRAIN_MAX: Duration = Duration::from_secs(40);
/// Longest wait for the last words of a process that has ended, and for one that was asked twice.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// How often a leaving process is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// What a worker says once it takes steps.
const READY: &[u8] = b"tasker worker ready";

/// A folder with templates and handlers.
#[derive(Debug, Default)]
pub(crate) struct Project {
    /// Template files, readable ones.
    pub(crate) files: Vec<TemplateFile>,
    /// Folder of the templates; none if they lie anywhere.
    pub(crate) templates: Option<PathBuf>,
    /// The handlers.
    pub(crate) handlers: Option<Handlers>,
}

impl Project {
    /// Looks into a folder: `workflows/`, else `config/tasks/`, else whatever loads as a template.
    pub(crate) fn find(dir: &Path, language: Option<Language>) -> Project {
        let templates = ["workflows", "config/tasks"].map(|f| dir.join(f)).into_iter().find(|f| f.is_dir());
        let handlers = Handlers::find(dir, language);
        let mut files: Vec<TemplateFile> = yaml_files(templates.as_deref().unwrap_or(dir))
            .iter()
            .filter_map(|path| Some(TemplateFile { path: shown(path), source: std::fs::read_to_string(path).ok()? }))
            .collect();
        if templates.is_none() {
            files.retain(|f| load::load(&f.source, &f.path, &Options::default()).is_ok());
        }
        Project { files, templates, handlers }
    }

    /// Loads every file, for the environment of `TASKER_ENV`.
    pub(crate) fn load(&self) -> Vec<Checked> {
        let environment = std::env::var("TASKER_ENV").ok().filter(|e| !e.is_empty());
        self.files.iter().map(|f| check(f, environment.as_deref(), false)).collect()
    }
}

/// A template file and what the loader says about it.
pub(crate) struct Checked {
    /// The file.
    pub(crate) file: TemplateFile,
    /// The template, if it has no errors.
    pub(crate) template: Option<Template>,
    /// Errors and warnings in file order.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Checked {
    /// Diagnostics of one severity.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }
}

/// Loads one file.
pub(crate) fn check(file: &TemplateFile, environment: Option<&str>, strict: bool) -> Checked {
    let (template, diagnostics) = match load::load(&file.source, &file.path, &Options { environment, strict }) {
        Ok(loaded) => (Some(loaded.template), loaded.warnings),
        Err(error) => (None, error.diagnostics),
    };
    Checked { file: file.clone(), template, diagnostics }
}

/// All YAML files below a folder, sorted; hidden folders and those of tools are left out.
pub(crate) fn yaml_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = files_below(dir, &["yaml", "yml"]);
    found.sort();
    found
}

/// All files below a folder with one of some endings; hidden folders and those of tools are left out.
fn files_below(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(dir, endings, 0, &mut 0, &mut found);
    found
}

fn walk(dir: &Path, endings: &[&str], depth: usize, seen: &mut usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        *seen += 1;
        if *seen > ENTRIES_MAX {
            return;
        }
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || SKIPPED.contains(&&*name) {
            continue;
        }
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            if depth < DEPTH_MAX {
                walk(&path, endings, depth + 1, seen, found);
            }
        } else if path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending)) {
            found.push(path);
        }
    }
}

/// A path as messages show it, without a leading `./`.
pub(crate) fn shown(path: &Path) -> String {
    match path.strip_prefix("./") {
        Ok(rest) if !rest.as_os_str().is_empty() => rest.display().to_string(),
        _ => path.display().to_string(),
    }
}

/// The language whose package carries this command, and how to start it.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// The Python interpreter that runs this command, if one does.
    pub python: Option<OsString>,
    /// The Ruby program and arguments that start the gem's `tasker-ruby`, if Ruby runs this command.
    pub ruby: Option<Vec<OsString>>,
}

static HOST: OnceLock<Host> = OnceLock::new();

/// Says what runs this command; only the first call in a process counts.
pub(crate) fn hosted_by(host: Host) {
    // A second call would be the same host again.
    let _ = HOST.set(host);
}

fn host() -> &'static Host {
    HOST.get_or_init(Host::default)
}

/// A setting of the environment; empty means none.
fn named(variable: &str) -> Option<OsString> {
    std::env::var_os(variable).filter(|value| !value.is_empty())
}

/// The Python of a project: `TASKER_PYTHON`, else the one that runs this command, else the folder's virtual environment, else `python3`.
pub(crate) fn python(dir: &Path) -> Command {
    // A relative program with a folder in it is looked up from here, not from the child's folder.
    let own = dir.join(".venv/bin/python");
    let program = named("TASKER_PYTHON").or_else(|| host().python.clone());
    Command::new(program.unwrap_or_else(|| if own.exists() { own.into() } else { "python3".into() }))
}

/// The Python of a project and the version of `tasker_core` in it.
pub(crate) fn tasker_of_python(dir: &Path) -> Result<(String, String), Error> {
    let mut command = python(dir);
    let program = command.get_program().to_string_lossy().into_owned();
    let trouble = |why: String| {
        Error::new(Kind::Unavailable, "python_unusable", why).hint(format!(
            "install the package `tasker-engine` for {program} (`{program} -m pip install tasker-engine`), or name another Python with TASKER_PYTHON or {}",
            shown(&dir.join(".venv"))
        ))
    };
    let script =
        "import sys, tasker_core, tasker_core._native; print(sys.executable, tasker_core.__version__, sep='\\n')";
    let output = command.args(["-c", script]).output().map_err(|e| trouble(format!("cannot start {program}: {e}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim_end().lines().last().unwrap_or("no reason given").to_string();
        return Err(trouble(format!("{program} cannot import tasker_core: {last}")));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.lines().map(str::to_string);
    Ok((lines.next().unwrap_or(program), lines.next().unwrap_or_default()))
}

/// Language of handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    Python,
    Ruby,
    Rust,
}

impl Language {
    /// Ending of its files.
    fn extension(self) -> &'static str {
        match self {
            Language::Python => "py",
            Language::Ruby => "rb",
            Language::Rust => "rs",
        }
    }
}

/// Handlers of a project: the folder `handlers` in one of its languages.
#[derive(Debug, Clone)]
pub(crate) struct Handlers {
    /// The project's folder.
    dir: PathBuf,
    /// The folder of the handlers.
    pub(crate) folder: PathBuf,
    language: Language,
}

impl Handlers {
    /// Those of a project's folder, in the language asked for or else the first there are files of, in folders within it as well:
    /// workers look there too.
    pub(crate) fn find(dir: &Path, language: Option<Language>) -> Option<Handlers> {
        let folder = dir.join("handlers");
        if !folder.is_dir() {
            return None;
        }
        let has = |language: &Language| !files_below(&folder, &[language.extension()]).is_empty();
        let language = language
            .or_else(|| [Language::Python, Language::Ruby, Language::Rust].into_iter().find(has))
            .unwrap_or(Language::Python);
        Some(Handlers { dir: dir.into(), folder, language })
    }

    /// The command that runs a worker, to which the rest is added.
    fn worker(&self) -> Command {
        match self.language {
            Language::Python => {
                let mut command = python(&self.dir);
                command.args(["-m", "tasker_core", "worker", "--handlers"]).arg(&self.folder);
                command
            }
            Language::Ruby => {
                let mut command = ruby();
                command.args(["worker", "--handlers"]).arg(&self.folder);
                command
            }
            Language::Rust => {
                let mut command = self.cargo("run");
                command.arg("--");
                command
            }
        }
    }

    fn cargo(&self, what: &str) -> Command {
        let mut command = Command::new(named("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args([what, "--quiet", "--manifest-path"]).arg(self.dir.join("Cargo.toml"));
        command
    }

    /// What runs them, for people: program and version of the SDK.
    pub(crate) fn sdk(&self) -> Result<(String, String), Error> {
        let (mut command, code, hint) = match self.language {
            Language::Python => return tasker_of_python(&self.dir),
            Language::Ruby => {
                let mut command = ruby();
                command.arg("version");
                (
                    command,
                    "ruby_unusable",
                    "install the gem `tasker-engine`, or name its `tasker-ruby` with TASKER_RUBY",
                )
            }
            Language::Rust => {
                let mut command = self.cargo("pkgid");
                command.args(["--package", "tasker-engine"]);
                (
                    command,
                    "cargo_unusable",
                    "install Rust, and give the project a Cargo.toml that depends on tasker-engine",
                )
            }
        };
        let program = command.get_program().to_string_lossy().into_owned();
        let trouble = |why: String| Error::new(Kind::Unavailable, code, why).hint(hint);
        let output = command.output().map_err(|e| trouble(format!("cannot start {program}: {e}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(trouble(format!("{program} does not work: {}", said.trim_end())));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        // `cargo pkgid` ends in `#0.1.0` or `#tasker-engine@0.1.0`.
        let version = said.trim().rsplit(['#', '@']).next().unwrap_or_default().to_string();
        Ok((program, version))
    }

    /// Loads the handlers in a process of its own; what went wrong, as sentences.
    pub(crate) fn check(&self) -> Vec<String> {
        let mut command = match self.language {
            Language::Python => {
                let script = "import sys; from tasker_core.discovery import import_handlers; \
                              from tasker_core.registry import HandlerRegistry; \
                              sys.exit('\\n'.join(import_handlers(HandlerRegistry.instance(), sys.argv[1:])) or 0)";
                let mut command = python(&self.dir);
                command.args(["-c", script]).arg(&self.folder);
                command
            }
            Language::Ruby => {
                let mut command = ruby();
                command.args(["check", "--handlers"]).arg(&self.folder);
                command
            }
            Language::Rust => self.cargo("build"),
        };
        let program = command.get_program().to_string_lossy().into_owned();
        let output = match command.stdin(Stdio::null()).output() {
            Ok(output) => output,
            Err(error) => return vec![format!("cannot start {program}: {error}")],
        };
        if output.status.success() {
            return Vec::new();
        }
        let said = String::from_utf8_lossy(&output.stderr).trim_end().to_string();
        vec![if said.is_empty() {
            format!("loading {} ended {program} ({})", self.folder.display(), output.status)
        } else {
            said
        }]
    }
}

/// The Ruby worker's command: `TASKER_RUBY`, else that of the gem that runs this command, else `tasker-ruby` on the PATH.
pub(crate) fn ruby() -> Command {
    let program = named("TASKER_RUBY").map(|program| vec![program]).or_else(|| host().ruby.clone());
    let mut words = program.unwrap_or_else(|| vec!["tasker-ruby".into()]).into_iter();
    let mut command = Command::new(words.next().unwrap_or_else(|| "tasker-ruby".into()));
    command.args(words);
    command
}

/// Whether an error is about a worker process, not about the store.
pub(crate) fn is_ours(error: &Error) -> bool {
    matches!(error.code, "python_unusable" | "ruby_unusable" | "cargo_unusable" | "worker_ended")
}

/// Whether a process of this machine runs. One that has ended may be listed for long where nobody takes note of its end, as in a
/// container whose first program is none that does.
pub(crate) fn is_running(pid: u32) -> bool {
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // After the name, which may hold anything, stands the state.
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        return !matches!(state, Some('Z' | 'X'));
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Whether only processes of this machine work on a store.
pub(crate) fn is_of_this_machine(url: &str) -> bool {
    url.starts_with("sqlite:")
}

/// Whether a worker of a store lives. One of this machine whose process has ended is known to be dead before the store says so;
/// elsewhere a pid says nothing.
pub(crate) fn lives(url: &str, worker: &WorkerView) -> bool {
    worker.alive && (!is_of_this_machine(url) || is_running(worker.pid))
}

/// What a worker process is started with.
pub(crate) struct Start<'a> {
    /// The store.
    pub(crate) url: &'a str,
    /// Files and folders of templates that it registers.
    pub(crate) templates: &'a [String],
    /// Queues it takes from; those of its templates if there are none.
    pub(crate) namespaces: &'a [String],
    /// Warnings about its templates that the user has read already.
    pub(crate) told: &'a [String],
    /// Whether what it says is kept for [`WorkerProcess::said`] instead of being printed.
    pub(crate) hold: bool,
}

/// A worker in a process of its own; dropping it drains and ends it.
pub(crate) struct WorkerProcess {
    child: Child,
    /// The folder it is to find no templates in.
    _empty: Option<TempDir>,
    ready: Arc<AtomicBool>,
    lines: Receiver<String>,
    readers: Vec<JoinHandle<()>>,
}

impl WorkerProcess {
    /// Starts a worker. It finds the URL in its environment: its arguments are shown to everybody on the machine.
    pub(crate) fn start(handlers: &Handlers, start: &Start) -> Result<WorkerProcess, Error> {
        let hold = start.hold;
        let mut command = handlers.worker();
        command.env("TASKER_URL", start.url);
        for template in start.templates {
            command.args(["--templates", template]);
        }
        for namespace in start.namespaces {
            command.args(["--namespace", namespace]);
        }
        // A worker that is given no place looks for templates itself.
        let empty = start.templates.is_empty().then(tempfile::tempdir).transpose().map_err(|e| {
            Error::new(Kind::Unavailable, "worker_ended", format!("cannot create a temporary folder: {e}"))
                .hint("name a folder that can be written to with TMPDIR")
        })?;
        if let Some(folder) = &empty {
            command.arg("--templates").arg(folder.path());
        }
        command.env("PYTHONUNBUFFERED", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C on the terminal reaches only this process, which then asks the worker to drain once.
        let child = command.process_group(0).spawn().map_err(|e| {
            let program = command.get_program().to_string_lossy().into_owned();
            handlers.sdk().err().unwrap_or_else(|| {
                Error::new(Kind::Unavailable, "worker_ended", format!("cannot start {program}: {e}"))
            })
        })?;
        let ready = Arc::new(AtomicBool::new(false));
        let (send, lines) = channel();
        let mut worker = WorkerProcess { child, _empty: empty, ready, lines, readers: Vec::new() };
        let (stdout, stderr) = (worker.child.stdout.take(), worker.child.stderr.take());
        // Workers print `tasker: ` before the first line of each.
        let told: HashSet<String> = start
            .told
            .iter()
            .flat_map(|text| text.lines().flat_map(|l| [l.to_string(), format!("tasker: {l}")]))
            .collect();
        worker.readers.extend(stdout.map(|from| worker.forward(from, send.clone(), HashSet::new(), hold)));
        worker.readers.extend(stderr.map(|from| worker.forward(from, send, told, hold)));
        Ok(worker)
    }

    fn forward(
        &self,
        from: impl Read + Send + 'static,
        to: Sender<String>,
        told: HashSet<String>,
        hold: bool,
    ) -> JoinHandle<()> {
        let ready = self.ready.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if line.starts_with(READY) {
                    ready.store(true, Ordering::Release);
                } else {
                    let text = String::from_utf8_lossy(&line);
                    let text = text.trim_end_matches('\n');
                    // Once it is ready, the words are its handlers'.
                    let is_told = !ready.load(Ordering::Acquire) && told.contains(text);
                    if is_told {
                        // Said once is enough.
                    } else if !hold || to.send(text.to_string()).is_err() {
                        output::note(text);
                    }
                }
                line.clear();
            }
        })
    }

    /// Whether it takes steps.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// What it has said since the last call.
    pub(crate) fn said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Gives its last words time to arrive. What it left running may hold its output open for ever.
    pub(crate) fn settle(&self) {
        let deadline = Instant::now() + SETTLE_MAX;
        while self.readers.iter().any(|r| !r.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }

    /// Asks it to drain and end; asked twice, it ends at once.
    pub(crate) fn ask_to_stop(&mut self) {
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), Pid::from_raw(self.child.id() as i32)) {
            // It may have ended in between.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Asks it to drain and ends it once `limit` is over. A worker stores that it drains before anything else, so that what it then
    /// still holds counts as handed back.
    pub(crate) fn end_within(&mut self, limit: Duration) {
        self.ask_to_stop();
        let deadline = Instant::now() + limit;
        while self.ended().is_none() {
            if Instant::now() >= deadline {
                // It may have ended in between.
                let _ = self.child.kill();
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for its end, however long the drain takes; no longer once the user has asked more than `asked` times.
    pub(crate) fn wait(&mut self, mut asked: usize) {
        let mut deadline = Instant::now() + DRAIN_MAX;
        while self.ended().is_none() {
            if interrupt::asked() > asked {
                asked = usize::MAX;
                self.ask_to_stop();
                deadline = Instant::now() + SETTLE_MAX;
            }
            if Instant::now() >= deadline {
                // Its steps go back to their queues when the store sees it gone.
                let _ = self.child.kill();
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.ask_to_stop();
            self.wait(interrupt::asked());
        }
        self.settle();
        self.said().iter().for_each(|line| output::note(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_says_something_only_about_workers_of_this_machine() {
        let mut child = Command::new("true").spawn().expect("a process");
        child.wait().expect("its end");
        let worker = |alive, pid| WorkerView {
            worker_id: "w".into(),
            alive,
            language: "python".into(),
            sdk_version: "1".into(),
            queues: Vec::new(),
            handlers: Vec::new(),
            slots: 1,
            pid,
            started_at: String::new(),
            last_seen_at: String::new(),
        };
        let (ended, own) = (child.id(), std::process::id());
        assert!(lives("sqlite:///tmp/t.db", &worker(true, own)));
        assert!(!lives("sqlite:///tmp/t.db", &worker(true, ended)));
        for shared in ["postgres://db/x", "postgresql://db/x", "tasker://host:7420"] {
            assert!(lives(shared, &worker(true, ended)), "{shared}");
            assert!(!lives(shared, &worker(false, own)), "{shared}");
        }
    }
}
