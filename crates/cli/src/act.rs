//! Operator actions, on single tasks and on all that a filter matches.

use anyhow::Result;
use tasker_runtime::Engine;
use tasker_wire::{BulkView, Error, Json, Kind, TaskView, json_of};
use tasker_worker::client;

use crate::args::{Bulk, Resolve, Tasks};
use crate::{Context, actor, find_task, output, report};

/// Does one action on several tasks; those that can be done are done. Gives the exit code of the first that cannot.
///
/// `only`: state of the tasks the action is for, when it is done by filter.
pub(crate) fn tasks(args: &Tasks, action: &str, step: Option<&str>, only: Option<&str>, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    if args.tasks.is_empty() {
        return by_filter(&engine, &args.bulk, action, step, None, only, &args.reason, ctx);
    }
    let (mut done, mut code) = (Vec::new(), 0);
    for task in &args.tasks {
        match act(&engine, task, action, step, None, &args.reason) {
            Ok(view) => done.push(view),
            Err(error) => {
                let failed = report(&error.into(), ctx.json);
                code = if code == 0 { failed } else { code };
            }
        }
    }
    print(&done, ctx);
    Ok(code)
}

/// Does one action on one step, of one task or of all that a filter matches.
pub(crate) fn step(args: &Resolve, action: &str, result: Option<Json>, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    let (Some(task), Some(step)) = (&args.task, &args.step) else {
        let step = args.every.as_deref();
        return by_filter(&engine, &args.bulk, action, step, result, None, &args.reason, ctx);
    };
    let view = act(&engine, task, action, Some(step), result, &args.reason)?;
    print(&[view], ctx);
    Ok(0)
}

#[allow(clippy::too_many_arguments)] // an action has that many parts
fn by_filter(
    engine: &Engine,
    bulk: &Bulk,
    action: &str,
    step: Option<&str>,
    result: Option<Json>,
    only: Option<&str>,
    reason: &str,
    ctx: &Context,
) -> Result<i32> {
    let mut filter = bulk.filter.wire();
    if !bulk.all && filter.is_open() {
        return Err(Error::new(Kind::Invalid, "invalid_request", "no task is named")
            .hint("name tasks, or say which ones with filters such as --status and --namespace, or --all for all")
            .into());
    }
    filter.status = filter.status.or_else(|| only.map(Into::into));
    let result = result.map(|r| r.get().to_string());
    let order = |task| client::order(engine, task, action, step, result.clone());
    let mut meter = output::Meter::new(action);
    let mut progress = |done, of| meter.show(done, of);
    let view = engine.act_all(&filter, &order, &actor(), reason, bulk.dry_run, &mut progress)?;
    Ok(finished(&view, action, "task", bulk.dry_run, ctx))
}

/// Prints what a bulk action did; gives its exit code.
pub(crate) fn finished(view: &BulkView, action: &str, word: &str, dry_run: bool, ctx: &Context) -> i32 {
    output::clear_progress();
    let action = action.replace('_', " ");
    if ctx.json {
        output::json(view);
    } else if dry_run {
        output::line(&format!("{action}: {} would be tried; nothing was done", output::count(view.matched, word)));
    } else {
        output::line(&format!("{action}: {} of {} done", view.done, output::count(view.matched, word)));
        for refusal in &view.refusals {
            output::note(&format!("refused: {refusal}"));
        }
        if view.refused > view.refusals.len() as u64 {
            output::note(&format!("and {} more were refused", view.refused - view.refusals.len() as u64));
        }
    }
    if view.refused > 0 { 4 } else { 0 }
}

fn act(
    engine: &Engine,
    task: &str,
    action: &str,
    step: Option<&str>,
    result: Option<Json>,
    reason: &str,
) -> Result<TaskView, Error> {
    let task = find_task(engine, task)?;
    let order = client::order(engine, task, action, step, result.map(|r| r.get().to_string()))?;
    engine.act(task, order, &actor(), reason)
}

fn print(done: &[TaskView], ctx: &Context) {
    if ctx.json {
        output::json(&serde_json::json!({"tasks": done.iter().map(json_of).collect::<Vec<_>>()}));
        return;
    }
    for task in done {
        let status = output::paint(output::colour_of(&task.status), &task.status);
        output::line(&format!("{}{}  {}  {status}", output::icon(&task.status), task.task_uuid, task.name));
    }
}
