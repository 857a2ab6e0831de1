//! The `tasker` command: a thin face of the engine. Data goes to standard output, everything else to standard error.
//!
//! A library, so that the Python wheel and the Ruby gem carry the same command as the binary: each calls [`main`] with its arguments.

mod act;
mod args;
mod bench;
mod conformance;
mod dev;
mod dlq;
mod doctor;
mod interrupt;
mod keep;
mod list;
mod output;
mod project;
mod run;
mod scaffold;
mod serve;
mod show;
mod template;
mod tree;
mod watch;

use std::ffi::OsString;
use std::io::Read;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use serde_json::json;
use tasker_runtime::{Engine, Options};
use tasker_wire::{Error, Json, Kind, TaskFilter};
use uuid::Uuid;

use args::{Cli, Command, Conformance, Template};
use output::Colour;
pub use project::Host;

/// Exit code of an interrupted command: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// What every command is given.
pub(crate) struct Context {
    /// Where the store is.
    pub(crate) url: String,
    /// Print JSON.
    pub(crate) json: bool,
}

impl Context {
    /// Opens the store.
    pub(crate) fn engine(&self) -> Result<Engine, Error> {
        Engine::open(&self.url, Options::default())
    }
}

/// Runs the command; gives its exit code, 0 to 255.
///
/// `args` are those after the program's name. The caller has left SIGINT and SIGTERM as the system has them: what must end in order
/// takes them over, the rest ends at once.
pub fn main(args: impl IntoIterator<Item = OsString>, host: Host) -> u8 {
    tasker_worker::logging::start();
    project::hosted_by(host);
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(std::iter::once("tasker".into()).chain(args.iter().cloned())) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, args.iter().any(|a| a == "--json")),
    };
    let json = cli.json;
    let outcome = std::panic::catch_unwind(|| dispatch(cli));
    output::clear_progress();
    let code = match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => report(&error, json),
        // `tasker ls | head`: whoever read has what it wanted.
        Err(panic) if panic.is::<output::ReaderGone>() => 0,
        Err(_) => 1,
    };
    code.clamp(0, 255) as u8
}

/// Help and version as clap prints them; errors as JSON if asked for.
fn usage(error: &clap::Error, json: bool) -> u8 {
    if error.use_stderr() && json {
        let message = error.render().to_string();
        let message = message.trim_end().trim_start_matches("error: ");
        output::note(&json!({"error": {"code": "usage", "message": message}}).to_string());
    } else {
        // Nothing to do about a closed terminal.
        let _ = error.print();
    }
    error.exit_code().clamp(0, 255) as u8
}

fn dispatch(cli: Cli) -> Result<i32> {
    let ctx =
        Context { url: cli.url.filter(|u| !u.is_empty()).unwrap_or_else(tasker_runtime::default_url), json: cli.json };
    match cli.command {
        Command::New(args) => scaffold::run(&args, &ctx),
        Command::Dev(args) => dev::run(&args, &ctx),
        Command::Run(args) => run::run(&args, &ctx),
        Command::Ls(args) => list::tasks(&args, &ctx),
        Command::Show(args) => show::run(&args, &ctx),
        Command::Cancel(args) => act::tasks(&args, "cancel", None, None, &ctx),
        Command::Retry(args) => match &args.from {
            Some(step) => act::tasks(&args.tasks, "reset_for_retry", Some(step), None, &ctx),
            None => {
                let mut tasks = args.tasks;
                tasks.bulk.all |= args.failed;
                act::tasks(&tasks, "retry_failed", None, Some("blocked_by_failures"), &ctx)
            }
        },
        Command::Pause(args) => act::tasks(&args, "pause", None, None, &ctx),
        Command::Resume(args) => act::tasks(&args, "resume", None, Some("paused"), &ctx),
        Command::Resolve(args) => act::step(&args, "resolve_manually", None, &ctx),
        Command::Complete(args) => act::step(&args.step, "complete_manually", Some(json_of(&args.result)?), &ctx),
        Command::GiveUp(args) => act::tasks(&args, "give_up", None, Some("blocked_by_failures"), &ctx),
        Command::Dlq(command) => dlq::run(command, &ctx),
        Command::Events(command) => dlq::events(command, &ctx),
        Command::Template(Template::Validate { paths, strict, env }) => template::validate(&paths, strict, env, &ctx),
        Command::Template(Template::Ls { tag }) => template::ls(tag.as_deref(), &ctx),
        Command::Template(Template::Show { name, dir }) => template::show(&name, &dir, &ctx),
        Command::Serve(args) => serve::run(&args, &ctx),
        Command::Workers => list::workers(&ctx),
        Command::Doctor(args) => doctor::run(&args, &ctx),
        Command::Migrate => keep::migrate(&ctx),
        Command::Backup { file } => keep::backup(&file, &ctx),
        Command::Restore { file, force } => keep::restore(&file, force, &ctx),
        Command::MigrateStore { from, to, force } => keep::move_store(&from, &to, force, &ctx),
        Command::Prune { older_than, dry_run } => keep::prune(older_than, dry_run, &ctx),
        Command::Conformance(Conformance::Run(args)) => conformance::run(&args),
        Command::Bench(args) => bench::run(&args, ctx.json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tasker", &mut script);
            output::write(&String::from_utf8_lossy(&script));
            Ok(0)
        }
    }
}

/// Prints an error; gives its exit code.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> i32 {
    let known = error.downcast_ref::<Error>();
    if json {
        let body = match known {
            Some(error) => json!({"error": error.body()}),
            None => json!({"error": {"code": "failed", "message": format!("{error:#}")}}),
        };
        output::note(&body.to_string());
    } else {
        let text = known.map_or_else(|| format!("{error:#}"), ToString::to_string);
        output::note(&format!("{} {text}", output::paint_err(Colour::Red, "error:")));
    }
    match known.map(|e| e.kind) {
        Some(Kind::NotFound) => 3,
        Some(Kind::Invalid | Kind::Unprocessable | Kind::Conflict | Kind::TooLarge) => 4,
        Some(Kind::Timeout) => 5,
        Some(Kind::Unavailable) if known.is_some_and(|e| !project::is_ours(e)) => 6,
        Some(Kind::Unavailable | Kind::Bug) | None => 1,
    }
}

/// The JSON of an argument: itself, `@FILE`, or `-` for standard input.
pub(crate) fn json_of(arg: &str) -> Result<Json, Error> {
    let invalid = |why: String| Error::new(Kind::Invalid, "invalid_json", why);
    let (place, text) = if arg == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|e| invalid(format!("cannot read standard input: {e}")))?;
        ("standard input", text)
    } else if let Some(path) = arg.strip_prefix('@') {
        let read = std::fs::read_to_string(path);
        (path, read.map_err(|e| Error::new(Kind::NotFound, "file_not_found", format!("cannot read {path}: {e}")))?)
    } else {
        ("the argument", arg.to_string())
    };
    serde_json::from_str(&text).map_err(|e| {
        invalid(format!("{place} is not valid JSON: {e}")).hint("quote it for the shell, or pass a file as @FILE")
    })
}

/// The task a user means by a UUID or the beginning of one.
pub(crate) fn find_task(engine: &Engine, text: &str) -> Result<Uuid, Error> {
    if let Ok(uuid) = text.parse() {
        return Ok(uuid);
    }
    let wanted = text.replace('-', "").to_lowercase();
    if wanted.len() < 4 || !wanted.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(Error::new(Kind::Invalid, "invalid_request", format!("`{text}` is not a UUID"))
            .hint("copy it from `tasker ls`; its first characters are enough"));
    }
    let page = engine.tasks(&TaskFilter { q: Some(wanted.clone()), limit: Some(1_000), ..TaskFilter::default() })?;
    // The filter also looks at names.
    let fits = |uuid: &&String| uuid.replace('-', "").starts_with(&wanted);
    let found: Vec<&String> = page.tasks.iter().map(|t| &t.task_uuid).filter(fits).collect();
    match found.as_slice() {
        [one] => one.parse().map_err(|_| Error::new(Kind::Bug, "store_error", format!("`{one}` is not a UUID"))),
        [] => {
            Err(Error::new(Kind::NotFound, "task_not_found", format!("there is no task whose UUID starts with {text}"))
                .hint("list tasks with `tasker ls`"))
        }
        many => {
            let some: Vec<&str> = many.iter().take(5).map(|u| u.as_str()).collect();
            let message = format!("the UUIDs of {} tasks start with {text}", many.len());
            Err(Error::new(Kind::Invalid, "ambiguous_task", message).hint(format!("such as {}", some.join(", "))))
        }
    }
}

/// Who acts, for the audit trail.
pub(crate) fn actor() -> String {
    std::env::var("USER").ok().filter(|u| !u.is_empty()).unwrap_or_else(|| "cli".into())
}
