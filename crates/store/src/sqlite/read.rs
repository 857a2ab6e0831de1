//! The read side: what people and dashboards ask for.

use rusqlite::{Connection, ToSql, params};
use tasker_core::state::{AttemptEnd, StepState, TaskState};
use tasker_wire::{Finding, TaskFilter};
use uuid::Uuid;

use super::rows::{self, split, step_id};
use super::{none_is, query};
use crate::{AttemptRecord, StepRecord, TaskRecord};

/// How long a due row may wait before it counts as overdue, milliseconds.
const OVERDUE_GRACE_MS: i64 = 5_000;

const TASK_COLUMNS: &str =
    "t.id, t.uuid, t.template, t.priority, t.state, t.paused, t.total, t.done, t.failed, t.isolated,
 t.cancelled, t.active, t.waiting, t.batches, t.fence_base, t.start_at, t.created_at, t.state_since, t.updated_at,
 t.ended_at, t.wake_at, r.context, r.details";

pub(super) fn task(conn: &Connection, uuid: Uuid) -> rusqlite::Result<Option<TaskRecord>> {
    let sql = format!("SELECT {TASK_COLUMNS} FROM tasks t JOIN requests r ON r.task = t.id WHERE t.uuid = ?1");
    conn.prepare_cached(&sql)?.query_row([uuid.as_bytes()], |r| rows::task_record(r).map(Some)).or_else(none_is(None))
}

pub(super) fn tasks(conn: &Connection, filter: &TaskFilter) -> rusqlite::Result<(Vec<TaskRecord>, u64)> {
    let mut wheres: Vec<String> = Vec::new();
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut add = |condition: &str, value: Box<dyn ToSql>| {
        values.push(value);
        wheres.push(condition.replace('?', &format!("?{}", values.len())));
    };
    if let Some(namespace) = &filter.namespace {
        add("p.namespace = ?", Box::new(namespace.clone()));
    }
    if let Some(name) = &filter.name {
        add("p.name = ?", Box::new(name.clone()));
    }
    if let Some(tag) = &filter.tag {
        add("EXISTS (SELECT 1 FROM json_each(r.details, '$.tags') WHERE value = ?)", Box::new(tag.clone()));
    }
    if let Some(q) = &filter.q {
        let q = q.replace('-', "").to_lowercase();
        add("(instr(lower(replace(p.name, '-', '')), ?) > 0 OR instr(lower(hex(t.uuid)), ?) = 1)", Box::new(q));
    }
    match filter.status.as_deref() {
        None => {}
        Some("paused") => add("t.paused = 1 AND t.ended_at IS ?", Box::new(None::<i64>)),
        Some(status) => {
            let code = TaskState::parse(status).map_or(-1, TaskState::code);
            let live = TaskState::from_code(code).is_some_and(|s| !s.is_final());
            // The partial index of live tasks serves every state that is not an end.
            add(
                if live { "t.ended_at IS NULL AND t.paused = 0 AND t.state = ?" } else { "t.state = ?" },
                Box::new(code),
            );
        }
    }
    let wheres = if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
    let from = format!("FROM tasks t JOIN requests r ON r.task = t.id JOIN templates p ON p.id = t.template {wheres}");
    let values: Vec<&dyn ToSql> = values.iter().map(|v| &**v).collect();
    let limit = filter.limit.unwrap_or(50).min(1_000);
    let sql = format!("SELECT {TASK_COLUMNS} {from} ORDER BY t.id DESC LIMIT {limit} OFFSET {}", filter.offset);
    let page = conn.prepare(&sql)?.query_map(&*values, rows::task_record)?.collect::<rusqlite::Result<_>>()?;
    let total = if wheres.is_empty() {
        conn.query_row("SELECT count(*) FROM tasks", [], |r| r.get(0))?
    } else {
        conn.prepare(&format!("SELECT count(*) {from}"))?.query_row(&*values, |r| r.get(0))?
    };
    Ok((page, total))
}

pub(super) fn steps(conn: &Connection, task: i64) -> rusqlite::Result<Vec<StepRecord>> {
    conn.prepare_cached(query!("step_records"))?
        .query_map([step_id(task, 0), step_id(task, 0x3fff)], rows::step_record)?
        .collect()
}

pub(super) fn attempts(conn: &Connection, task: i64) -> rusqlite::Result<Vec<AttemptRecord>> {
    conn.prepare_cached(query!("attempt_records"))?
        .query_map([step_id(task, 0), step_id(task, 0x3fff)], rows::attempt_record)?
        .collect()
}

/// Findings, tasks, steps, rejected reports.
pub(super) fn doctor(conn: &Connection, now: i64) -> rusqlite::Result<(Vec<Finding>, u64, u64, u64)> {
    let mut findings = Vec::new();
    let integrity: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    findings.push(Finding {
        check: "the file is intact".into(),
        violations: u64::from(integrity != "ok"),
        examples: if integrity == "ok" { Vec::new() } else { vec![integrity] },
    });
    let enqueued = StepState::Enqueued.code();
    let complete = StepState::Complete.code();
    let in_progress = StepState::InProgress.code();
    let retry = StepState::WaitingForRetry.code();
    let pending = StepState::Pending.code();
    let completed = AttemptEnd::Completed.code();
    let blocked = TaskState::BlockedByFailures.code();
    let late = now - OVERDUE_GRACE_MS;
    // Each query yields the step ids (or, shifted, the task ids) that break the invariant.
    let checks: [(&str, String); 8] = [
        ("nothing is overdue (steps)", format!("SELECT id FROM steps WHERE wake_at <= {late}")),
        ("nothing is overdue (tasks)", format!("SELECT id << 14 FROM tasks WHERE wake_at <= {late}")),
        (
            "running and retrying steps have a time at which they wake",
            format!("SELECT id FROM steps WHERE state IN ({in_progress}, {retry}) AND wake_at IS NULL"),
        ),
        (
            "every enqueued step is in its queue",
            format!("SELECT id FROM steps WHERE state = {enqueued} AND id NOT IN (SELECT step FROM ready)"),
        ),
        (
            "every queued row is an enqueued step",
            format!("SELECT r.step FROM ready r LEFT JOIN steps s ON s.id = r.step WHERE s.state IS NOT {enqueued}"),
        ),
        (
            "no ready step is left out of its queue",
            format!(
                "SELECT s.id FROM tasks t JOIN steps s ON s.id BETWEEN t.id << 14 AND (t.id << 14) + 16383
                 WHERE t.ended_at IS NULL AND t.paused = 0 AND t.start_at IS NULL AND s.state = {pending} AND s.remaining = 0"
            ),
        ),
        (
            "every complete step has one accepted result",
            format!(
                "SELECT s.id FROM steps s WHERE s.state = {complete}
                 AND s.id NOT IN (SELECT (task << 14) + step FROM audit WHERE action = 'complete_manually')
                 AND (SELECT count(*) FROM attempts a WHERE a.step = s.id AND a.fence = s.fence AND a.outcome = {completed}) <> 1"
            ),
        ),
        (
            "every live task has something to wait for",
            format!(
                "SELECT t.id << 14 FROM tasks t WHERE t.ended_at IS NULL AND t.paused = 0 AND t.start_at IS NULL
                 AND t.state <> {blocked} AND t.active + t.waiting = 0"
            ),
        ),
    ];
    for (check, sql) in checks {
        let violations: u64 = conn.query_row(&format!("SELECT count(*) FROM ({sql})"), [], |r| r.get(0))?;
        let ids: Vec<i64> =
            conn.prepare(&format!("{sql} LIMIT 5"))?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        let mut examples = Vec::new();
        for id in ids {
            let (task, no) = split(id);
            let uuid: Option<[u8; 16]> = conn
                .query_row("SELECT uuid FROM tasks WHERE id = ?1", params![task], |r| r.get(0))
                .or_else(none_is(None))?;
            let task = uuid.map_or_else(|| format!("task row {task}"), |u| format!("task {}", Uuid::from_bytes(u)));
            examples.push(format!("{task} step number {no}"));
        }
        findings.push(Finding { check: check.into(), violations, examples });
    }
    let count = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, u64>(0));
    Ok((
        findings,
        count("SELECT count(*) FROM tasks")?,
        count("SELECT count(*) FROM steps")?,
        count(&format!("SELECT count(*) FROM attempts WHERE outcome = {}", AttemptEnd::Rejected.code()))?,
    ))
}
