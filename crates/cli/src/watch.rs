//! What changes in a task while it runs: as lines, or as a drawing that is renewed in place.

use std::collections::HashMap;

use serde_json::{Value, json};
use tasker_wire::{AttemptView, StepView, TaskView, json_of};

use crate::output::{self, Colour};
use crate::tree::{self, Node};

/// Attempts of one step that the drawing shows.
const ATTEMPTS_SHOWN: usize = 3;

/// Something that happened to a step.
pub(crate) enum Change<'a> {
    /// An attempt runs.
    Started(&'a StepView, &'a AttemptView),
    /// An attempt ended.
    Ended(&'a StepView, &'a AttemptView),
    /// The step reached a state that only an operator changes.
    Finished(&'a StepView),
}

/// Remembers what has been seen of one task.
#[derive(Default)]
pub(crate) struct Tracker {
    seen: HashMap<String, Seen>,
}

#[derive(Default)]
struct Seen {
    ended: usize,
    running: u32,
    status: &'static str,
}

impl Tracker {
    /// What happened since the last call, step by step.
    pub(crate) fn changes<'a>(&mut self, steps: &'a [StepView]) -> Vec<Change<'a>> {
        let mut changes = Vec::new();
        for step in steps {
            if !self.seen.contains_key(&step.step_uuid) {
                self.seen.insert(step.step_uuid.clone(), Seen::default());
            }
            let Some(seen) = self.seen.get_mut(&step.step_uuid) else { continue };
            let (running, ended): (Vec<&AttemptView>, Vec<&AttemptView>) =
                step.history.iter().partition(|a| a.outcome == "running");
            if running.iter().any(|r| ended.iter().any(|e| e.fence == r.fence)) {
                // The step and its history were read around a commit; the next look is whole.
                continue;
            }
            changes.extend(ended.iter().skip(seen.ended).map(|a| Change::Ended(step, a)));
            seen.ended = ended.len();
            if let Some(attempt) = running.last()
                && seen.running != attempt.fence
            {
                seen.running = attempt.fence;
                changes.push(Change::Started(step, attempt));
            }
            if seen.status != step.status {
                seen.status = step.status;
                if is_final(step.status) {
                    changes.push(Change::Finished(step));
                }
            }
        }
        changes
    }
}

/// Whether only an operator changes this state of a step.
pub(crate) fn is_final(status: &str) -> bool {
    matches!(status, "complete" | "error" | "cancelled" | "resolved_manually")
}

/// How long an attempt took, or has taken up to `now`, milliseconds.
pub(crate) fn took(attempt: &AttemptView, now: i64) -> f64 {
    let end = attempt.completed_at.clone().unwrap_or_else(|| tasker_runtime::time(now));
    attempt.execution_time_ms.unwrap_or_else(|| output::between(&attempt.started_at, &end))
}

/// Why an attempt failed, in one line.
pub(crate) fn reason(attempt: &AttemptView) -> String {
    let Some(error) = &attempt.error else { return String::new() };
    let code = error.error_code.as_deref().map(|c| format!(" {c}")).unwrap_or_default();
    format!("{}{code}: {}", error.error_type, error.message.lines().next().unwrap_or_default())
}

/// When the next attempt is due, seen from `now`.
fn next_try(attempt: &AttemptView, now: i64) -> String {
    let Some(at) = attempt.next_retry_at.as_deref().and_then(output::ms_of) else { return String::new() };
    if at > now { format!("next try in {}", output::duration((at - now) as f64)) } else { "next try now".into() }
}

/// Joins what is not empty.
fn join(parts: &[String], between: &str) -> String {
    parts.iter().filter(|p| !p.is_empty()).map(String::as_str).collect::<Vec<_>>().join(between)
}

/// A change as a line; `None` if another line has said it.
pub(crate) fn describe(change: &Change, now: i64) -> Option<String> {
    let colour = |status: &str| output::paint(output::colour_of(status), status);
    let line = |at: &str, status: &str, what: String| {
        format!("{}  {}{what}", output::paint(Colour::Dim, &output::clock(at)), output::icon(status))
    };
    match change {
        Change::Started(step, attempt) => {
            let worker = attempt.worker_id.as_deref().unwrap_or("a worker");
            let what = format!("{}  attempt {} started on {worker}", step.name, attempt.attempt);
            Some(line(&attempt.started_at, "running", what))
        }
        Change::Ended(step, attempt) => {
            let at = attempt.completed_at.as_deref().unwrap_or(&attempt.started_at);
            let head = format!("{}  attempt {} {}", step.name, attempt.attempt, colour(attempt.outcome));
            let result = step.result.as_ref().filter(|_| attempt.outcome == "completed");
            let parts = [
                head,
                output::duration(took(attempt, now)),
                result.map(|r| r.get().to_string()).unwrap_or_default(),
                reason(attempt),
                next_try(attempt, now),
            ];
            Some(line(at, attempt.outcome, join(&parts, "  ")))
        }
        Change::Finished(step) if step.status == "complete" && !step.history.is_empty() => None,
        Change::Finished(step) => {
            let at = step.completed_at.clone().unwrap_or_else(|| tasker_runtime::time(now));
            Some(line(&at, step.status, format!("{}  {}", step.name, colour(step.status))))
        }
    }
}

/// A change for machines.
pub(crate) fn document(change: &Change) -> Value {
    let of = |step: &StepView, event: &str, attempt: Option<&AttemptView>| {
        json!({
            "event": event, "task_uuid": step.task_uuid, "step_uuid": step.step_uuid, "step": step.name,
            "status": step.status, "attempt": attempt.map(json_of),
        })
    };
    match change {
        Change::Started(step, attempt) => of(step, "attempt_started", Some(attempt)),
        Change::Ended(step, attempt) => of(step, "attempt_ended", Some(attempt)),
        Change::Finished(step) => of(step, "step_finished", None),
    }
}

/// A drawing of a task that is renewed in place.
#[derive(Default)]
pub(crate) struct Drawing {
    last: String,
    lines: usize,
}

impl Drawing {
    /// Draws the task anew, below `above`, which scrolls away. False if the terminal is too small for it.
    pub(crate) fn draw(&mut self, task: &TaskView, steps: &[StepView], now: i64, above: &[String]) -> bool {
        let Some((columns, rows)) = output::size() else { return false };
        if steps.len() + 2 > rows {
            self.wipe();
            return false;
        }
        let drawn: Vec<String> = draw(task, steps, now).iter().map(|l| output::cut(l, columns)).collect();
        if drawn.len() + 1 > rows {
            self.wipe();
            return false;
        }
        let text = drawn.join("\n");
        if text != self.last || !above.is_empty() {
            let back = if self.lines > 0 { format!("\x1b[{}A\r\x1b[J", self.lines) } else { String::new() };
            let above: String = above.iter().map(|l| format!("{l}\n")).collect();
            output::write(&format!("{back}{above}{text}\n"));
            self.lines = drawn.len();
            self.last = text;
        }
        true
    }

    fn wipe(&mut self) {
        if self.lines > 0 {
            output::write(&format!("\x1b[{}A\r\x1b[J", self.lines));
            self.lines = 0;
            self.last.clear();
        }
    }
}

/// The lines of a drawing.
fn draw(task: &TaskView, steps: &[StepView], now: i64) -> Vec<String> {
    let nodes: Vec<Node> =
        steps.iter().map(|s| Node { template: &s.template_step_name, dependencies: &s.dependencies }).collect();
    let rows = tree::rows(&nodes);
    let width = rows.iter().map(|r| r.prefix.chars().count() + steps[r.node].name.chars().count()).max().unwrap_or(0);
    let mut lines = vec![format!(
        "{}  {}  {}  {}/{} steps",
        output::paint(Colour::Bold, &task.name),
        output::paint(Colour::Dim, &task.task_uuid),
        output::paint(output::colour_of(&task.status), &task.status),
        task.steps.complete,
        task.steps.total,
    )];
    for row in &rows {
        let step = &steps[row.node];
        let name = output::pad(
            &format!("{}{}{}", output::paint(Colour::Dim, &row.prefix), output::icon(step.status), step.name),
            width + 2,
        );
        let status = output::pad(&output::paint(output::colour_of(step.status), step.status), 17);
        let last = step.history.last().filter(|_| step.status != "waiting_for_retry");
        let parts = [
            name,
            status,
            last.map(|a| output::duration(took(a, now))).unwrap_or_default(),
            step.result.as_ref().map(|r| r.get().to_string()).unwrap_or_default(),
            output::paint(Colour::Dim, &row.remark()),
        ];
        lines.push(join(&parts, "  ").trim_end().to_string());
        // The attempts tell something once one of them did not simply succeed.
        let several =
            step.history.len() > 1 || step.history.iter().any(|a| !matches!(a.outcome, "running" | "completed"));
        let hidden = step.history.len().saturating_sub(ATTEMPTS_SHOWN);
        for attempt in step.history.iter().skip(hidden).filter(|_| several) {
            let waits = step.status == "waiting_for_retry";
            let parts = [
                format!("attempt {} {}", attempt.attempt, attempt.outcome),
                output::duration(took(attempt, now)),
                reason(attempt),
                if waits { next_try(attempt, now) } else { String::new() },
            ];
            let said = output::paint(output::colour_of(attempt.outcome), &join(&parts, "  "));
            lines.push(format!("{}  {said}", output::paint(Colour::Dim, &row.under)));
        }
    }
    lines
}
