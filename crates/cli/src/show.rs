//! `tasker show`: all that is known about a task.

use anyhow::Result;
use serde_json::json;
use tasker_wire::{AttemptView, AuditView, StepError, StepView, TaskView, json_of};

use crate::args::Show;
use crate::output::{self, Colour};
use crate::{Context, find_task, watch};

/// Frames of a backtrace that are shown, the innermost ones.
const FRAMES_SHOWN: usize = 6;

/// Prints a task, its steps and what operators did to it.
pub(crate) fn run(args: &Show, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    let uuid = find_task(&engine, &args.task)?;
    let task = engine.task(uuid)?;
    let steps = match &args.step {
        Some(step) => vec![engine.step(uuid, step)?],
        None => engine.steps(uuid)?,
    };
    let audit = engine.audit(uuid)?;
    if ctx.json {
        output::json(&json!({
            "task": json_of(&task),
            "steps": steps.iter().map(json_of).collect::<Vec<_>>(),
            "audit": audit.iter().map(json_of).collect::<Vec<_>>(),
        }));
        return Ok(0);
    }
    let now = engine.now();
    head(&task, now, args.full);
    for view in &steps {
        output::line("");
        step(view, now, args.full);
    }
    if !audit.is_empty() {
        output::line(&format!("\n{}", output::paint(Colour::Bold, "what operators did")));
        audit.iter().for_each(|a| output::line(&format!("  {}", audited(a))));
    }
    Ok(0)
}

fn field(name: &str, value: &str) {
    if !value.is_empty() {
        output::line(&format!("{}{value}", output::paint(Colour::Dim, &output::pad(name, 13))));
    }
}

fn head(task: &TaskView, now: i64, full: bool) {
    let status = output::paint(output::colour_of(&task.status), &task.status);
    let rests = task.status == "blocked_by_failures";
    let end = task.completed_at.clone().or_else(|| rests.then(|| task.updated_at.clone()));
    let end = end.unwrap_or_else(|| tasker_runtime::time(now));
    field("task", &output::paint(Colour::Bold, &task.task_uuid));
    field("template", &format!("{}/{} {}", task.namespace, task.name, task.version));
    field("status", &format!("{status}, {} of {} done", task.steps.complete, output::count(task.steps.total, "step")));
    field("to do", task.recommended_action.unwrap_or_default());
    field("created", &format!("{} ({} ago)", task.created_at, output::age(&task.created_at, now)));
    field("not before", task.run_at.as_deref().unwrap_or_default());
    field("ended", task.completed_at.as_deref().unwrap_or_default());
    field("duration", &output::duration(output::between(&task.created_at, &end)));
    field("created by", &format!("{} from {}: {}", task.initiator, task.source_system, task.reason));
    field("tags", &task.tags.join(", "));
    field("priority", &if task.priority == 0 { String::new() } else { task.priority.to_string() });
    field("key", task.idempotency_key.as_deref().unwrap_or_default());
    field("correlation", &task.correlation_id);
    field("caused by", task.parent_correlation_id.as_deref().unwrap_or_default());
    field("failed", &task.failed_batches.join(", "));
    value("input", 13, task.context.get(), full);
}

/// A named JSON value; further lines stand below the first.
fn value(name: &str, width: usize, text: &str, full: bool) {
    let mut name = output::paint(Colour::Dim, &output::pad(name, width));
    for line in output::pretty(text, full) {
        output::line(&format!("{name}{line}"));
        name = " ".repeat(width);
    }
}

fn step(step: &StepView, now: i64, full: bool) {
    let mut parts = vec![
        format!("{}{}", output::icon(step.status), output::paint(Colour::Bold, &step.name)),
        output::paint(output::colour_of(step.status), step.status),
        format!("{} of {}", step.attempts, output::count(step.max_attempts, "attempt")),
    ];
    if step.crashes > 0 {
        parts.push(output::paint(Colour::Red, &output::count(step.crashes, "worker death")));
    }
    if step.kind != "standard" {
        parts.push(step.kind.replace('_', " "));
    }
    if !step.dependencies.is_empty() {
        parts.push(output::paint(Colour::Dim, &format!("after {}", step.dependencies.join(", "))));
    }
    output::line(&parts.join("  "));
    for (name, json) in [("  inputs", &step.inputs), ("  checkpoint", &step.checkpoint), ("  result", &step.result)] {
        json.iter().for_each(|json| value(name, 14, json.get(), full));
    }
    step.error.iter().for_each(|e| error(e, full));
    step.history.iter().for_each(|a| attempt(a, now));
}

fn error(error: &StepError, full: bool) {
    let code = error.error_code.as_deref().map(|c| format!(" {c}")).unwrap_or_default();
    let http = error.status_code.map(|s| format!(" (HTTP {s})")).unwrap_or_default();
    let kind = if error.retryable { "retryable" } else { "permanent" };
    let text = format!("{}{code}{http}, {kind}: {}", error.error_type, error.message);
    let mut name = output::pad("  error", 14);
    for line in text.lines() {
        output::line(&format!("{name}{}", output::paint(Colour::Red, line)));
        name = " ".repeat(14);
    }
    let hidden = if full { 0 } else { error.backtrace.len().saturating_sub(FRAMES_SHOWN) };
    if hidden > 0 {
        let more = output::count(hidden as u64, "outer frame");
        output::line(&format!("{name}{}", output::paint(Colour::Dim, &format!("… {more}; --full shows all"))));
    }
    for frame in error.backtrace.iter().skip(hidden).flat_map(|f| f.lines()) {
        output::line(&format!("{name}{}", output::paint(Colour::Dim, frame)));
    }
    error.context.iter().for_each(|c| value("  context", 14, c.get(), full));
}

fn attempt(attempt: &AttemptView, now: i64) {
    let mut parts = vec![
        output::pad(&format!("  attempt {}", attempt.attempt), 14),
        output::paint(output::colour_of(attempt.outcome), attempt.outcome),
        output::duration(watch::took(attempt, now)),
        format!("started {}", attempt.started_at),
    ];
    parts.extend(attempt.worker_id.iter().map(|w| format!("on {w}")));
    parts.extend(Some(watch::reason(attempt)).filter(|r| !r.is_empty()));
    parts.extend(attempt.next_retry_at.iter().map(|at| format!("next {at}")));
    parts.extend(attempt.metadata.iter().map(|m| m.get().to_string()).filter(|m| m != "{}"));
    let first = parts.remove(0);
    output::line(&format!("{first}{}", parts.join("  ")));
}

fn audited(audit: &AuditView) -> String {
    let step = audit.step.as_deref().map(|s| format!(" {s}")).unwrap_or_default();
    let reason = if audit.reason.is_empty() { String::new() } else { format!(": {}", audit.reason) };
    format!("{}  {}{step} by {}, {} → {}{reason}", audit.at, audit.action, audit.actor, audit.before, audit.after)
}
