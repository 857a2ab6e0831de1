//! `tasker bench`: how long one task takes from create to complete, and how many steps a second many take.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use tasker_runtime::Engine;
use tasker_wire::{TaskFilter, TaskRequest, json_of};
use tasker_worker::{StepContext, StepOutcome, Worker};
use uuid::Uuid;

use crate::project::Language;
use crate::{output, project};

/// Tasks run one at a time for the latency figures, at most.
const SINGLE_MAX: usize = 200;
/// Items of a batch worker.
const BATCH_ITEMS: i64 = 100;
/// Tasks in one creation call.
const BULK: usize = 100;
/// Tasks in one listing.
const PAGE: usize = 1_000;
const WAIT: Duration = Duration::from_secs(600);

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Store to measure on; a fresh file in the temporary folder when absent.
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// Language of the handlers.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub(crate) lang: Language,
    /// linear-4, linear-4-events (each step publishes a durable event), diamond-4, fan-out-N (N steps in all: a source,
    /// N-2 branches, a join), or batch-N (N workers of 100 items each; handlers in Rust).
    #[arg(long, default_value = "linear-4")]
    pub(crate) workload: String,
    /// Tasks submitted at once for the throughput figure.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) tasks: usize,
    /// Handlers run at once.
    #[arg(long, default_value_t = 64)]
    pub(crate) slots: usize,
    /// Tasks run before measuring. A fresh store's log grows with each commit, which costs more than writing it anew;
    /// after some thousand tasks the figures are those of a store in use.
    #[arg(long, default_value_t = 20)]
    pub(crate) warm_up: usize,
}

/// A workload: its template, how many steps a task has, and the right answer for an input.
struct Workload {
    template: String,
    steps: usize,
    last: &'static str,
    expected: fn(i64, usize) -> f64,
}

fn workload(name: &str) -> Result<Workload> {
    let step = |name: &str, handler: &str, after: &str| {
        format!("  - {{name: {name}, handler: bench.{handler}, depends_on: [{after}]}}\n")
    };
    let head = "name: bench\nnamespace_name: bench\nsteps:\n";
    if let Some(count) = name.strip_prefix("fan-out-") {
        let steps: usize = count.parse().with_context(|| format!("`{count}` is not a number of steps"))?;
        ensure!((3..=10_000).contains(&steps), "fan-out-N needs N between 3 and 10000");
        let branches: Vec<String> = (0..steps - 2).map(|i| format!("branch_{i}")).collect();
        let mut template = format!("{head}{}", step("source", "square", ""));
        for branch in &branches {
            template.push_str(&step(branch, "branch", "source"));
        }
        template.push_str(&step("join", "join", &branches.join(", ")));
        return Ok(Workload {
            template,
            steps,
            last: "join",
            expected: |n, steps| ((n * n + 1) * (steps as i64 - 2)) as f64,
        });
    }
    if let Some(count) = name.strip_prefix("batch-") {
        let workers: usize = count.parse().with_context(|| format!("`{count}` is not a number of workers"))?;
        ensure!((1..=10_000).contains(&workers), "batch-N needs N between 1 and 10000");
        return Ok(Workload {
            template: format!(
                "{head}  - {{name: cut, type: batchable, handler: {{callable: bench.cut, initialization: {{workers: \
                 {workers}}}}}, batch_config: {{worker_template: work}}}}\n  - {{name: work, type: batch_worker, handler: \
                 bench.work, depends_on: [cut]}}\n  - {{name: join, type: deferred_convergence, handler: \
                 bench.aggregate, depends_on: [work]}}\n"
            ),
            steps: workers + 2,
            last: "join",
            expected: |_, steps| {
                let items = (steps as i64 - 2) * BATCH_ITEMS;
                (items * (items - 1) / 2) as f64
            },
        });
    }
    match name {
        "linear-4" | "linear-4-events" => Ok(Workload {
            template: {
                let told = |step: String, event: &str| match name {
                    "linear-4" => step,
                    _ => step.replace("}\n", &format!(", publishes_events: [{{name: bench.{event}}}]}}\n")),
                };
                format!(
                    "{head}{}{}{}{}",
                    told(step("square", "square", ""), "squared"),
                    told(step("add", "add_10", "square"), "added"),
                    told(step("triple", "triple", "add"), "tripled"),
                    told(step("half", "half", "triple"), "halved")
                )
            },
            steps: 4,
            last: "half",
            expected: |n, _| ((n * n + 10) * 3) as f64 / 2.0,
        }),
        "diamond-4" => Ok(Workload {
            template: format!(
                "{head}{}{}{}{}",
                step("square", "square", ""),
                step("plus", "plus", "square"),
                step("times", "times", "square"),
                step("mean", "mean", "plus, times")
            ),
            steps: 4,
            last: "mean",
            expected: |n, _| (n * n + 25 + n * n * 2) as f64 / 2.0,
        }),
        other => {
            bail!("there is no workload `{other}`; use linear-4, linear-4-events, diamond-4, fan-out-N or batch-N")
        }
    }
}

/// Measures and prints.
pub(crate) fn run(args: &BenchArgs, json: bool) -> Result<i32> {
    let folder = std::env::temp_dir().join(format!("tasker-bench-{}", std::process::id()));
    let url = args.store.clone().unwrap_or_else(|| format!("sqlite://{}/bench.db", folder.display()));
    let figures = match args.lang {
        Language::Rust => measure(args, &url),
        Language::Python => python(args, &url),
        Language::Ruby => ruby(args, &url),
    };
    if args.store.is_none() {
        // A folder in the temporary folder that stays behind does no harm.
        let _ = std::fs::remove_dir_all(&folder);
    }
    let figures = figures?;
    if json {
        output::line(&figures.to_string());
    } else {
        for (name, value) in figures.as_object().into_iter().flatten() {
            output::line(&format!("{name:<18} {}", value.as_str().map_or_else(|| value.to_string(), str::to_string)));
        }
    }
    Ok(0)
}

fn handlers(builder: tasker_worker::WorkerBuilder) -> tasker_worker::WorkerBuilder {
    let number = |c: &StepContext, step: &str| c.dependency::<f64>(step);
    let whole = |c: &StepContext, step: &str| c.dependency::<i64>(step);
    builder
        .handler("bench.square", |c| async move {
            let n = c.get_input("n")?.as_i64().unwrap_or_default();
            Ok(StepOutcome::from(json!(n * n)))
        })
        .handler("bench.add_10", move |c| async move { Ok(StepOutcome::from(json!(whole(&c, "square")? + 10))) })
        .handler("bench.triple", move |c| async move { Ok(StepOutcome::from(json!(whole(&c, "add")? * 3))) })
        .handler("bench.half", move |c| async move { Ok(StepOutcome::from(json!(number(&c, "triple")? / 2.0))) })
        .handler("bench.plus", move |c| async move { Ok(StepOutcome::from(json!(whole(&c, "square")? + 25))) })
        .handler("bench.times", move |c| async move { Ok(StepOutcome::from(json!(whole(&c, "square")? * 2))) })
        .handler("bench.mean", move |c| async move {
            Ok(StepOutcome::from(json!((number(&c, "plus")? + number(&c, "times")?) / 2.0)))
        })
        .handler("bench.branch", move |c| async move { Ok(StepOutcome::from(json!(whole(&c, "source")? + 1))) })
        .handler("bench.cut", |c| async move {
            let workers = c.config()["workers"].as_i64().unwrap_or_default();
            let cursors: Vec<Value> = (0..workers)
                .map(|w| json!({"start_cursor": w * BATCH_ITEMS, "end_cursor": (w + 1) * BATCH_ITEMS}))
                .collect();
            Ok(StepOutcome::from(json!({"batch_processing_outcome": {
                "type": "create_batches", "worker_template_name": "work", "worker_count": workers,
                "cursor_configs": cursors, "total_items": workers * BATCH_ITEMS,
            }})))
        })
        .handler("bench.work", |c| async move {
            let inputs = c.step_inputs()?;
            let cursor = |name: &str| inputs["cursor"][name].as_i64().unwrap_or_default();
            Ok(StepOutcome::from(json!((cursor("start_cursor")..cursor("end_cursor")).sum::<i64>())))
        })
        .handler("bench.aggregate", |c| async move {
            let mut sum = 0;
            for name in c.job().dependency_names()?.iter().filter(|n| n.starts_with("work_")) {
                sum += c.dependency::<i64>(name)?;
            }
            Ok(StepOutcome::from(json!(sum)))
        })
        .handler("bench.join", move |c| async move {
            let mut sum = 0;
            for name in &c.job().definition().dependencies {
                sum += whole(&c, name)?;
            }
            Ok(StepOutcome::from(json!(sum)))
        })
}

fn create(engine: &Engine, inputs: &[i64]) -> Result<Vec<Uuid>> {
    let requests: Vec<TaskRequest> =
        inputs.iter().map(|n| TaskRequest::new("bench", "bench", json_of(&json!({"n": n})))).collect();
    engine.create(&requests).into_iter().map(|created| Ok(created?.task_uuid)).collect()
}

/// Waits until all have ended, without a call for each: that would measure the calls.
fn settle(engine: &Engine, tasks: &[Uuid]) -> Result<()> {
    if let Some(last) = tasks.last() {
        engine.wait(*last, WAIT)?;
    }
    let mut ended = HashSet::with_capacity(tasks.len());
    for offset in (0..tasks.len()).step_by(PAGE) {
        let filter = TaskFilter { limit: Some(PAGE as u32), offset: offset as u32, ..TaskFilter::default() };
        let page = engine.tasks(&filter)?.tasks.into_iter();
        ended.extend(page.filter(|task| task.status == "complete").map(|task| task.task_uuid));
    }
    for task in tasks.iter().filter(|task| !ended.contains(&task.to_string())) {
        engine.wait(*task, WAIT)?;
    }
    Ok(())
}

fn check(engine: &Engine, workload: &Workload, task: Uuid, n: i64) -> Result<()> {
    let result = engine.step(task, workload.last)?.result.with_context(|| format!("task {task} has no result"))?;
    let found: f64 = serde_json::from_str(result.get())?;
    let expected = (workload.expected)(n, workload.steps);
    ensure!(found == expected, "task {task}: {found} where {expected} was expected");
    Ok(())
}

fn measure(args: &BenchArgs, url: &str) -> Result<Value> {
    let workload = workload(&args.workload)?;
    let builder = handlers(Worker::builder(url)).template("bench.yaml", &workload.template);
    let worker = builder.configure(|c| c.max_concurrent_handlers = args.slots).start()?;
    let engine = worker.engine();
    let single = SINGLE_MAX.min(args.tasks);
    let mut times_ms = Vec::with_capacity(single);
    for i in 0..single + args.warm_up {
        let n = 2 * (i % 1_000) as i64;
        let start = Instant::now();
        let task = create(engine, &[n])?[0];
        engine.wait(task, WAIT)?;
        times_ms.push(start.elapsed().as_secs_f64() * 1e3);
        check(engine, &workload, task, n)?;
    }
    let mut measured = times_ms.split_off(args.warm_up);
    measured.sort_by(f64::total_cmp);
    let inputs: Vec<i64> = (0..args.tasks as i64).map(|i| 2 * (i % 1_000)).collect();
    let start = Instant::now();
    let mut tasks = Vec::with_capacity(inputs.len());
    for some in inputs.chunks(BULK) {
        tasks.extend(create(engine, some)?);
    }
    settle(engine, &tasks)?;
    let seconds = start.elapsed().as_secs_f64();
    for (task, n) in tasks.iter().zip(&inputs) {
        check(engine, &workload, *task, *n)?;
    }
    let at = |share: f64| measured[((measured.len() as f64 * share) as usize).min(measured.len() - 1)];
    let round = |value: f64| (value * 1e3).round() / 1e3;
    Ok(json!({
        "lang": "rust",
        "workload": args.workload,
        "tasks": args.tasks,
        "steps": args.tasks * workload.steps,
        "slots": args.slots,
        "warm_up": args.warm_up,
        "p50_ms": round(at(0.50)),
        "p95_ms": round(at(0.95)),
        "p99_ms": round(at(0.99)),
        "steps_per_second": ((args.tasks * workload.steps) as f64 / seconds).round(),
        "seconds": round(seconds),
        "peak_rss_mb": output::peak_rss_mb(),
        "durability": engine.durability(),
        "checked": single + args.warm_up + args.tasks,
    }))
}

/// The same measurement inside a Python process: handlers, client and clock are Python's.
fn python(args: &BenchArgs, url: &str) -> Result<Value> {
    let mut command = project::python(std::path::Path::new("."));
    command.args(["-m", "tasker_core"]);
    hosted(command, args, url)
}

/// The same in a Ruby process.
fn ruby(args: &BenchArgs, url: &str) -> Result<Value> {
    hosted(project::ruby(), args, url)
}

fn hosted(mut command: std::process::Command, args: &BenchArgs, url: &str) -> Result<Value> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        // Not among the arguments, which are shown to everybody on the machine.
        .env("TASKER_URL", url)
        .args(["bench", "--json", "--workload", &args.workload])
        .args(["--tasks", &args.tasks.to_string(), "--slots", &args.slots.to_string()])
        .args(["--warm-up", &args.warm_up.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {program}; set TASKER_PYTHON or TASKER_RUBY"))?;
    ensure!(output.status.success(), "the benchmark of {program} failed ({})", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("the benchmark of {program} printed no JSON"))
}
