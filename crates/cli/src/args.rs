//! The command line: one definition feeds parsing, help and completion.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use tasker_wire::{DeadLetterFilter, EventFilter, TaskFilter};

use crate::bench;
use crate::project::Language;

/// Durable workflows on a database you have.
#[derive(Debug, Parser)]
#[command(name = "tasker", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Store to work on [default: sqlite://.tasker/tasker.db]
    #[arg(long, global = true, env = "TASKER_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// Print JSON for machines
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// See [`Command::Serve`].
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen at; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7420")]
    pub(crate) listen: String,
    /// Serve only who sends this token
    #[arg(long, env = "TASKER_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Serve everybody who reaches an address beyond this machine, without a token
    #[arg(long)]
    pub(crate) insecure: bool,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the task failed, or something is wrong; 2 wrong usage; 3 not found; 4 invalid or refused;
5 timeout; 6 the store is not available; 130 interrupted";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a small working project
    New(New),
    /// Run a project's worker, restart it when files change, print what happens
    Dev(Dev),
    /// Create a task and wait for its end
    Run(Run),
    /// List tasks, newest first
    Ls(Ls),
    /// Show a task: its steps, their results, errors and attempts
    Show(Show),
    /// Cancel tasks; running handlers are told
    Cancel(Tasks),
    /// Run failed steps again, or a step and all that follows
    Retry(Retry),
    /// Pause tasks: what runs ends, nothing more starts
    Pause(Tasks),
    /// Let paused tasks go on
    Resume(Tasks),
    /// Declare a step done, without a result
    Resolve(Resolve),
    /// Declare a step done, with a result
    Complete(Complete),
    /// End tasks that are blocked by failures in error
    GiveUp(Tasks),
    /// Dead letters: tasks that need a person
    #[command(subcommand)]
    Dlq(Dlq),
    /// Durable domain events
    #[command(subcommand)]
    Events(Events),
    /// Check and show templates
    #[command(subcommand)]
    Template(Template),
    /// List workers
    Workers,
    /// Serve the store to workers and clients on other machines
    Serve(Serve),
    /// Check every invariant of the store, and the environment
    Doctor(Doctor),
    /// Bring the store's tables up to date
    Migrate,
    /// Copy the embedded store to a file while it is in use
    Backup {
        /// File to write; it must not exist
        file: PathBuf,
    },
    /// Put a backup in the place of the embedded store
    Restore {
        /// File that `backup` wrote
        file: PathBuf,
        /// Replace a store that has tasks
        #[arg(long)]
        force: bool,
    },
    /// Copy everything from one store to an empty one
    MigrateStore {
        /// URL of the store to copy
        from: String,
        /// URL of the store to fill
        to: String,
        /// Also while workers are alive: what they hold runs again
        #[arg(long)]
        force: bool,
    },
    /// Remove tasks that ended long ago
    Prune {
        /// Ended more than this many days ago [default: TASKER_RETENTION_DAYS, else 30]
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u32>,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
    },
    /// Certify a worker in any language
    #[command(subcommand)]
    Conformance(Conformance),
    /// Measure latency and throughput
    Bench(bench::BenchArgs),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Conformance {
    /// Run every case against a worker
    Run(ConformanceRun),
}

#[derive(Debug, Args)]
pub(crate) struct ConformanceRun {
    /// Command that starts the worker; --url and --templates are added to it
    #[arg(long, value_name = "COMMAND")]
    pub(crate) worker_cmd: String,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Under bad conditions: one slot, leases of 50 ms, every report twice, the newest step first
    #[arg(long)]
    pub(crate) nasty: bool,
    /// Write what is wrong with each check to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// Folder to create
    pub(crate) dir: PathBuf,
    /// Language of the handlers
    #[arg(long, value_enum, default_value_t = Language::Python)]
    pub(crate) lang: Language,
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Folder of the project
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Language of the handlers [default: that of the files in handlers/]
    #[arg(long, value_enum)]
    pub(crate) lang: Option<Language>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Name of the template
    pub(crate) name: String,
    /// A field of the input; the value is JSON if it reads as JSON, else text
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) input_fields: Vec<(String, String)>,
    /// The input: a JSON object, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// Namespace of the template [default: that of the only template of this name]
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// Version of the template [default: the newest]
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// Draw the steps and every attempt as they happen
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) watch: bool,
    /// Print the task's UUID and do not wait
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait at most this long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<f64>,
    /// Folder of the project: its templates are registered, its handlers run if no worker does
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Language of the handlers that are run [default: that of the files in handlers/]
    #[arg(long, value_enum)]
    pub(crate) lang: Option<Language>,
    /// Idempotency key: the same key and input give the same task
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// -100 to 100; higher runs first
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// A label; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("write a number of seconds".into()),
    }
}

/// Which tasks are meant.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only tasks in this state
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only tasks of this namespace
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// Only tasks of this template
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only tasks with this label
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Part of the template's name, or the start of the UUID
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) query: Option<String>,
    /// Only tasks asked for by this person or system
    #[arg(long)]
    pub(crate) initiator: Option<String>,
    /// Only tasks asked for from this system
    #[arg(long)]
    pub(crate) source_system: Option<String>,
    /// Only tasks with this correlation id
    #[arg(long)]
    pub(crate) correlation_id: Option<String>,
    /// Only tasks created at this time or later (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) created_after: Option<String>,
    /// Only tasks created before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) created_before: Option<String>,
}

impl Filter {
    pub(crate) fn wire(&self) -> TaskFilter {
        TaskFilter {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            status: self.status.clone(),
            initiator: self.initiator.clone(),
            source_system: self.source_system.clone(),
            correlation_id: self.correlation_id.clone(),
            created_after: self.created_after.clone(),
            created_before: self.created_before.clone(),
            tag: self.tag.clone(),
            q: self.query.clone(),
            limit: None,
            offset: 0,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Skip this many
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// UUID of the task, or its beginning
    pub(crate) task: String,
    /// Only this step, by name or UUID
    #[arg(long)]
    pub(crate) step: Option<String>,
    /// Cut nothing
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tasks {
    /// UUIDs of tasks, or their beginnings
    #[arg(value_name = "TASK")]
    pub(crate) tasks: Vec<String>,
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// Kept in the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

/// Many tasks at once.
#[derive(Debug, Args)]
pub(crate) struct Bulk {
    /// Every task the filters match that the action is for
    #[arg(long)]
    pub(crate) all: bool,
    /// Only count them
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) filter: Filter,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    pub(crate) tasks: Tasks,
    /// Every failed step; without a TASK, of every task blocked by failures
    #[arg(long, conflicts_with = "from")]
    pub(crate) failed: bool,
    /// This step and all that follows, as if they had never run
    #[arg(long, value_name = "STEP")]
    pub(crate) from: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// UUID of the task, or its beginning
    #[arg(requires = "step_of_task")]
    pub(crate) task: Option<String>,
    /// The step, by name or UUID
    #[arg(id = "step_of_task", value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// This step of every task the filters match
    #[arg(long = "step", value_name = "STEP", conflicts_with = "task", required_unless_present = "task")]
    pub(crate) every: Option<String>,
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// Kept in the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Complete {
    #[command(flatten)]
    pub(crate) step: Resolve,
    /// The result: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    pub(crate) result: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Template {
    /// Check template files and say everything that is wrong with them
    Validate {
        /// Files, or folders of them
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        /// Unknown keys are errors
        #[arg(long)]
        strict: bool,
        /// Environment whose overrides apply [default: TASKER_ENV]
        #[arg(long)]
        env: Option<String>,
    },
    /// List the templates the store knows
    Ls {
        /// Only those with this tag in their metadata
        #[arg(long)]
        tag: Option<String>,
    },
    /// Draw the steps of a template
    Show {
        /// Name of the template, or its file
        name: String,
        /// Folder of the project, where its file is looked for first
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
}

/// Which dead letters are meant.
#[derive(Debug, Args)]
pub(crate) struct Letters {
    /// Only those opened for this reason
    #[arg(long, id = "why", value_name = "REASON")]
    pub(crate) because: Option<String>,
    /// Only of this namespace
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// Only of this template
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only of this kind of error
    #[arg(long)]
    pub(crate) fingerprint: Option<String>,
    /// Only of this task (UUID)
    #[arg(long, value_name = "UUID")]
    pub(crate) task: Option<String>,
}

impl Letters {
    pub(crate) fn wire(&self) -> DeadLetterFilter {
        DeadLetterFilter {
            all: false,
            reason: self.because.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            fingerprint: self.fingerprint.clone(),
            task_uuid: self.task.clone(),
            limit: None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List open dead letters, newest first
    Ls {
        #[command(flatten)]
        letters: Letters,
        /// One line a kind of error
        #[arg(long)]
        group: bool,
        /// Settled ones too
        #[arg(long)]
        settled: bool,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show a dead letter and its task
    Show {
        /// Its number
        id: i64,
    },
    /// Run the failed steps of their tasks again
    Replay(Settle),
    /// Settle them; tasks that are blocked end in error
    Discard(Settle),
    /// Keep a note on a dead letter
    Note {
        /// Its number
        id: i64,
        /// The note
        text: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Settle {
    /// Numbers of dead letters
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<i64>,
    /// Every open one the filters match
    #[arg(long)]
    pub(crate) all: bool,
    /// Only count them
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) letters: Letters,
    /// Kept in the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

/// Which events are meant.
#[derive(Debug, Args)]
pub(crate) struct EventArgs {
    /// Only of this namespace
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// Only of this name; `order.*` for all that start so
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only of this task (UUID)
    #[arg(long, value_name = "UUID")]
    pub(crate) task: Option<String>,
    /// Only acknowledged ones
    #[arg(long, conflicts_with = "waiting")]
    pub(crate) acknowledged: bool,
    /// Only those not acknowledged
    #[arg(long)]
    pub(crate) waiting: bool,
    /// Only those with a higher number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) after: Option<i64>,
    /// At most this many
    #[arg(long)]
    pub(crate) limit: Option<u32>,
}

impl EventArgs {
    pub(crate) fn wire(&self) -> EventFilter {
        EventFilter {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            task_uuid: self.task.clone(),
            archived: (self.acknowledged || self.waiting).then_some(self.acknowledged),
            after: self.after,
            limit: self.limit,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// List events, oldest first
    Ls(EventArgs),
    /// Take events from a namespace's queue, as a consumer does; JSON, one a line
    Read {
        /// Whose events
        #[arg(long, default_value = "default")]
        namespace: String,
        /// At most this many
        #[arg(long, default_value_t = 10)]
        limit: u32,
        /// Hidden from other consumers for this long, unless acknowledged
        #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
        visibility: f64,
        /// Wait this long for the first
        #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
        wait: f64,
        /// Acknowledge them once they are printed
        #[arg(long)]
        ack: bool,
    },
    /// Acknowledge events by their numbers
    Ack {
        /// Numbers, as `read` prints them
        #[arg(required = true, value_name = "NUMBER")]
        ids: Vec<i64>,
    },
    /// Make events readable again
    Replay {
        #[command(flatten)]
        events: EventArgs,
        /// Every event of the store
        #[arg(long)]
        all: bool,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Folder of the project, whose Python is looked at
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
}
