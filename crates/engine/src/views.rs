//! Stored rows as clients see them.

use std::collections::HashMap;

use serde_json::Value;
use tasker_core::graph::Workflow;
use tasker_core::id;
use tasker_core::state::{AttemptEnd, Counts, StepState, Task, TaskState};
use tasker_core::template::Template;
use tasker_store::{
    AttemptRecord, AuditRecord, DeadLetterRecord, EventRecord, StepRecord, TaskRecord, WorkerRecord, time,
};
use tasker_wire::{
    AttemptView, AuditView, DeadLetterView, EventView, Json, StepCounts, StepError, StepView, TaskView, TemplateView,
    WorkerView, json_of, json_text,
};

/// The public state, `paused` included.
pub(crate) fn status(task: &Task) -> &'static str {
    if task.paused && !task.state.is_final() { "paused" } else { task.state.as_str() }
}

fn execution_status(task: &Task) -> &'static str {
    let Counts { total, done, failed, isolated, active, waiting, cancelled } = task.counts;
    let left_to_run = active + waiting > 0;
    if failed > 0 && !left_to_run {
        "blocked_by_failures"
    } else if task.paused && done + failed + isolated + cancelled + waiting < total && active == 0 {
        "has_ready_steps"
    } else if active > 0 {
        "processing"
    } else if done + isolated == total {
        "all_complete"
    } else {
        "waiting_for_dependencies"
    }
}

fn health(task: &Task) -> (&'static str, Option<&'static str>) {
    match task.state {
        state if state.is_final() && state != TaskState::Error => ("ended", None),
        TaskState::Error => ("ended", Some("look at the failed steps; retry_failed runs them again")),
        TaskState::BlockedByFailures => {
            ("blocked", Some("fix the cause, then retry_failed; or resolve the step, or give_up"))
        }
        _ if task.paused => ("paused", Some("resume")),
        TaskState::WaitingForRetry => ("retrying", None),
        _ => ("healthy", None),
    }
}

pub(crate) fn counts(counts: &Counts) -> StepCounts {
    let Counts { total, done, failed, isolated, active, waiting, cancelled } = *counts;
    StepCounts {
        total,
        pending: total.saturating_sub(done + failed + isolated + active + waiting + cancelled),
        active,
        waiting_for_retry: waiting,
        complete: done,
        error: failed + isolated,
        cancelled,
    }
}

/// A task view; `failed_batches` are the names of batch workers in error.
pub(crate) fn task(record: &TaskRecord, workflow: &Workflow, failed_batches: Vec<String>) -> TaskView {
    let details: Value = serde_json::from_str(&record.details).unwrap_or_default();
    let text = |key: &str| details[key].as_str().map(str::to_string);
    let (health_status, recommended_action) = health(&record.task);
    let counts = counts(&record.task.counts);
    let template = &workflow.template;
    TaskView {
        task_uuid: record.uuid.to_string(),
        name: template.name.clone(),
        namespace: template.namespace.clone(),
        version: template.version.clone(),
        status: status(&record.task).into(),
        execution_status: execution_status(&record.task),
        health_status,
        recommended_action,
        completion_percentage: (counts.complete * 10_000)
            .checked_div(counts.total)
            .map_or(100.0, |share| f64::from(share) / 100.0),
        steps: counts,
        context: json_text(record.context.clone()),
        initiator: text("initiator").unwrap_or_default(),
        source_system: text("source_system").unwrap_or_default(),
        reason: text("reason").unwrap_or_default(),
        tags: details["tags"].as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_string)).collect(),
        priority: record.priority,
        correlation_id: text("correlation_id").unwrap_or_default(),
        parent_correlation_id: text("parent_correlation_id"),
        idempotency_key: text("idempotency_key"),
        requested_at: text("requested_at").unwrap_or_default(),
        created_at: time(record.task.created_at),
        updated_at: time(record.updated_at),
        completed_at: record.ended_at.map(time),
        run_at: text("run_at"),
        failed_batches,
    }
}

fn error(json: Option<&str>) -> Option<StepError> {
    json.and_then(|text| serde_json::from_str(text).ok())
}

fn attempt(record: &AttemptRecord) -> AttemptView {
    AttemptView {
        attempt: record.attempt,
        fence: record.fence,
        outcome: record.end.as_str(),
        accepted: record.end != AttemptEnd::Rejected,
        worker_id: record.worker.clone(),
        started_at: time(record.started_at),
        completed_at: Some(time(record.ended_at)),
        execution_time_ms: record.execution_us.map(|us| us as f64 / 1_000.0),
        error: error(record.error.as_deref()),
        rejected_result: record.result.clone().map(json_text),
        metadata: record.metadata.clone().map(json_text),
        next_retry_at: record.retry_at.map(time),
    }
}

/// Metadata of the latest accepted attempt in the shape every language sends: timing, worker, the user's under `custom`.
fn metadata(record: &AttemptRecord) -> Json {
    let custom: Value =
        record.metadata.as_deref().and_then(|m| serde_json::from_str(m).ok()).unwrap_or_else(|| serde_json::json!({}));
    let retryable = error(record.error.as_deref()).map(|e| e.retryable);
    json_of(&serde_json::json!({
        "execution_time_ms": record.execution_us.map(|us| us as f64 / 1_000.0),
        "worker_id": record.worker,
        "started_at": time(record.started_at),
        "completed_at": time(record.ended_at),
        "retryable": retryable,
        "retry_after_seconds": record.retry_at.filter(|_| retryable == Some(true)).map(|at| (at - record.ended_at) as f64 / 1_000.0),
        "custom": custom,
    }))
}

/// All steps of a task, in the order of the template, batch workers after their step.
pub(crate) fn steps(
    record: &TaskRecord,
    workflow: &Workflow,
    steps: Vec<StepRecord>,
    attempts: &[AttemptRecord],
) -> Vec<StepView> {
    let mut histories: HashMap<u16, Vec<&AttemptRecord>> = HashMap::new();
    for attempt in attempts {
        histories.entry(attempt.no).or_default().push(attempt);
    }
    let mut steps = steps;
    steps.sort_by_key(|s| (s.step.template, s.step.no));
    steps
        .into_iter()
        .map(|row| {
            let template = &workflow.template.steps[usize::from(row.step.template)];
            let history = histories.remove(&row.step.no).unwrap_or_default();
            let latest = history.iter().rev().find(|a| a.end != AttemptEnd::Rejected);
            let mut shown: Vec<AttemptView> = history.iter().map(|a| attempt(a)).collect();
            if row.step.state == StepState::InProgress {
                shown.push(AttemptView {
                    attempt: row.step.attempts_shown() + 1,
                    fence: row.step.fence,
                    outcome: "running",
                    accepted: false,
                    worker_id: row.worker.clone(),
                    started_at: time(row.step.started_at),
                    completed_at: None,
                    execution_time_ms: None,
                    error: None,
                    rejected_result: None,
                    metadata: None,
                    next_retry_at: None,
                });
            }
            let failing = !row.step.state.is_done();
            StepView {
                step_uuid: id::step_uuid(record.uuid, row.step.no).to_string(),
                task_uuid: record.uuid.to_string(),
                name: row.name.unwrap_or_else(|| template.name.clone()),
                template_step_name: template.name.clone(),
                kind: template.kind.as_str(),
                dependencies: template.dependencies.clone(),
                status: row.step.state.as_str(),
                attempts: row.step.attempts_shown(),
                crashes: row.step.crashes,
                max_attempts: template.retry.max_attempts,
                retryable: template.retry.retryable,
                result: row.result.map(json_text),
                error: latest.filter(|_| failing).and_then(|a| error(a.error.as_deref())),
                metadata: latest.map(|a| metadata(a)),
                inputs: row.inputs.map(json_text),
                checkpoint: row.checkpoint.map(json_text),
                next_retry_at: row.step.wake_at.filter(|_| row.step.state == StepState::WaitingForRetry).map(time),
                last_attempted_at: (row.step.started_at > 0).then(|| time(row.step.started_at)),
                completed_at: row.ended_at.map(time),
                history: shown,
            }
        })
        .collect()
}

pub(crate) fn audit(
    record: AuditRecord,
    record_of: &TaskRecord,
    workflow: &Workflow,
    steps: &[StepRecord],
) -> AuditView {
    let step = record.no.map(|no| {
        let row = steps.iter().find(|s| s.step.no == no);
        row.and_then(|s| s.name.clone())
            .or_else(|| row.map(|s| workflow.template.steps[usize::from(s.step.template)].name.clone()))
            .unwrap_or_else(|| id::step_uuid(record_of.uuid, no).to_string())
    });
    AuditView {
        action: record.action,
        step,
        actor: record.actor,
        reason: record.reason,
        before: record.before,
        after: record.after,
        at: time(record.at),
    }
}

pub(crate) fn dead_letter(record: DeadLetterRecord) -> DeadLetterView {
    DeadLetterView {
        id: record.id,
        namespace: record.namespace,
        name: record.name,
        step: record.step,
        error_type: record.error_type,
        message: record.message,
        fingerprint: record.fingerprint,
        note: record.note,
        resolution: record.resolution,
        task_uuid: record.task.to_string(),
        reason: record.reason.as_str(),
        opened_at: time(record.opened_at),
        resolved_at: record.resolved_at.map(time),
    }
}

pub(crate) fn template(template: &Template, path: String) -> TemplateView {
    TemplateView {
        namespace: template.namespace.clone(),
        name: template.name.clone(),
        version: template.version.clone(),
        description: template.description.clone(),
        metadata: template.metadata.clone(),
        system_dependencies: serde_json::json!({
            "primary": template.system_dependencies.primary,
            "secondary": template.system_dependencies.secondary,
        }),
        domain_events: template.domain_events.iter().map(|e| e.name.clone()).collect(),
        path,
        steps: template.steps.iter().map(|s| s.name.clone()).collect(),
    }
}

pub(crate) fn event(record: EventRecord) -> EventView {
    EventView {
        msg_id: record.msg_id,
        read_ct: record.read_ct,
        enqueued_at: time(record.enqueued_at),
        visible_at: time(record.visible_at),
        archived_at: record.archived_at.map(time),
        message: json_text(record.message),
    }
}

pub(crate) fn worker(record: WorkerRecord, now: i64) -> WorkerView {
    WorkerView {
        alive: !record.gone && record.seen_at + record.lease_ms >= now,
        worker_id: record.name,
        language: record.language,
        sdk_version: record.sdk_version,
        queues: record.queues,
        handlers: record.handlers,
        slots: record.slots,
        pid: record.pid,
        started_at: time(record.started_at),
        last_seen_at: time(record.seen_at),
    }
}
