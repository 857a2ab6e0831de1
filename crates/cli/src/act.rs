//! Operator actions: cancel, retry, pause, resume, resolve, complete, give up.

use anyhow::Result;
use tasker_engine::Engine;
use tasker_wire::{Error, Json, TaskView, json_of};
use tasker_worker::client;

use crate::args::{Resolve, Tasks};
use crate::{Context, actor, find_task, output, report};

/// Does one action on several tasks; those that can be done are done. Gives the exit code of the first that cannot.
pub(crate) fn tasks(args: &Tasks, action: &str, step: Option<&str>, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
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

/// Does one action on one step.
pub(crate) fn step(args: &Resolve, action: &str, result: Option<Json>, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    let view = act(&engine, &args.task, action, Some(&args.step), result, &args.reason)?;
    print(&[view], ctx);
    Ok(0)
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
