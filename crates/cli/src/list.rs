//! `tasker ls` and `tasker workers`.

use anyhow::Result;
use serde_json::json;
use tasker_wire::{TaskFilter, TaskView, json_of};

use crate::args::Ls;
use crate::output::{self, Colour};
use crate::{Context, project};

/// Lists tasks.
pub(crate) fn tasks(args: &Ls, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    let page = engine.tasks(&TaskFilter { limit: Some(args.limit), offset: args.offset, ..args.filter.wire() })?;
    if ctx.json {
        output::json(&page);
        return Ok(0);
    }
    if page.tasks.is_empty() {
        let fitting = if page.total > 0 { "no more tasks" } else { "no such tasks" };
        output::note(&format!("{fitting} in {}", engine.url()));
        return Ok(0);
    }
    let now = engine.now();
    let row = |task: &TaskView| {
        let rests = task.status == "blocked_by_failures";
        let end = task.completed_at.clone().or_else(|| rests.then(|| task.updated_at.clone()));
        let end = end.unwrap_or_else(|| tasker_runtime::time(now));
        vec![
            task.task_uuid.clone(),
            task.name.clone(),
            format!("{}{}", output::icon(&task.status), output::paint(output::colour_of(&task.status), &task.status)),
            format!("{}/{}", task.steps.complete, task.steps.total),
            output::age(&task.created_at, now),
            output::duration(output::between(&task.created_at, &end)),
        ]
    };
    let rows: Vec<Vec<String>> = page.tasks.iter().map(row).collect();
    output::table(&["TASK", "NAME", "STATUS", "STEPS", "AGE", "DURATION"], &rows);
    let shown = args.offset as u64 + page.tasks.len() as u64;
    if shown < page.total {
        output::note(&format!(
            "{} of {}; go on with --offset {shown}",
            page.tasks.len(),
            output::count(page.total, "task")
        ));
    }
    Ok(0)
}

/// Lists workers.
pub(crate) fn workers(ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    let workers = engine.workers()?;
    if ctx.json {
        output::json(&json!({"workers": workers.iter().map(json_of).collect::<Vec<_>>()}));
        return Ok(0);
    }
    if workers.is_empty() {
        output::note(&format!("no worker has been seen in {}; start one with `tasker dev`", engine.url()));
        return Ok(0);
    }
    let now = engine.now();
    let rows: Vec<Vec<String>> = workers
        .iter()
        .map(|w| {
            let alive = project::lives(engine.url(), w);
            vec![
                w.worker_id.clone(),
                if alive { output::paint(Colour::Green, "alive") } else { output::paint(Colour::Dim, "gone") },
                format!("{} {}", w.language, w.sdk_version),
                w.queues.join(","),
                w.handlers.len().to_string(),
                w.slots.to_string(),
                w.pid.to_string(),
                format!("{} ago", output::age(&w.last_seen_at, now)),
            ]
        })
        .collect();
    output::table(&["WORKER", "STATE", "SDK", "QUEUES", "HANDLERS", "SLOTS", "PID", "SEEN"], &rows);
    Ok(0)
}
