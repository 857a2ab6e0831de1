//! The read side: what people and dashboards ask for.

use rusqlite::{Connection, ToSql, params};
use tasker_core::state::{AttemptEnd, DeadLetterReason, StepState, TaskState};
use tasker_wire::{DeadLetterFilter, EventFilter, Finding, TaskFilter};
use uuid::Uuid;

use super::{none_is, query, rows};
use crate::tables::{STEP_MAX, split, step_id};
use crate::{AttemptRecord, DeadLetterRecord, EventRecord, StepRecord, TaskRecord};

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

/// Conditions of a query and their values, in step.
#[derive(Default)]
struct Wheres {
    conditions: Vec<String>,
    values: Vec<Box<dyn ToSql>>,
}

impl Wheres {
    /// `condition` with `?` for the value.
    fn add(&mut self, condition: &str, value: impl ToSql + 'static) {
        self.values.push(Box::new(value));
        self.conditions.push(condition.replace('?', &format!("?{}", self.values.len())));
    }

    fn add_if(&mut self, condition: &str, value: Option<impl ToSql + 'static>) {
        if let Some(value) = value {
            self.add(condition, value);
        }
    }

    fn sql(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }

    fn values(&self) -> Vec<&dyn ToSql> {
        self.values.iter().map(|v| &**v).collect()
    }
}

fn wheres(filter: &TaskFilter) -> Wheres {
    let mut wheres = Wheres::default();
    wheres.add_if("p.namespace = ?", filter.namespace.clone());
    wheres.add_if("p.name = ?", filter.name.clone());
    wheres.add_if("json_extract(r.details, '$.initiator') = ?", filter.initiator.clone());
    wheres.add_if("json_extract(r.details, '$.source_system') = ?", filter.source_system.clone());
    wheres.add_if("json_extract(r.details, '$.correlation_id') = ?", filter.correlation_id.clone());
    let time = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    wheres.add_if("t.created_at >= ?", time(&filter.created_after).map(|t| t.as_millisecond()));
    wheres.add_if("t.created_at < ?", time(&filter.created_before).map(|t| t.as_millisecond()));
    wheres.add_if("EXISTS (SELECT 1 FROM json_each(r.details, '$.tags') WHERE value = ?)", filter.tag.clone());
    let q = filter.q.as_ref().map(|q| q.replace('-', "").to_lowercase());
    wheres.add_if("(instr(lower(replace(p.name, '-', '')), ?) > 0 OR instr(lower(hex(t.uuid)), ?) = 1)", q);
    match filter.status.as_deref() {
        None => {}
        Some("paused") => wheres.add("t.paused = 1 AND t.ended_at IS ?", None::<i64>),
        Some(status) => {
            let code = TaskState::parse(status).map_or(-1, TaskState::code);
            let live = TaskState::from_code(code).is_some_and(|s| !s.is_final());
            // The partial index of live tasks serves every state that is not an end.
            wheres.add(if live { "t.ended_at IS NULL AND t.paused = 0 AND t.state = ?" } else { "t.state = ?" }, code);
        }
    }
    wheres
}

const FROM: &str = "FROM tasks t JOIN requests r ON r.task = t.id JOIN templates p ON p.id = t.template";

pub(super) fn tasks(conn: &Connection, filter: &TaskFilter) -> rusqlite::Result<(Vec<TaskRecord>, u64)> {
    let wheres = wheres(filter);
    let from = format!("{FROM} {}", wheres.sql());
    let limit = filter.limit.unwrap_or(50).min(1_000);
    let sql = format!("SELECT {TASK_COLUMNS} {from} ORDER BY t.id DESC LIMIT {limit} OFFSET {}", filter.offset);
    let page = conn.prepare(&sql)?.query_map(&*wheres.values(), rows::task_record)?.collect::<rusqlite::Result<_>>()?;
    let total = if wheres.conditions.is_empty() {
        conn.query_row("SELECT count(*) FROM tasks", [], |r| r.get(0))?
    } else {
        conn.prepare(&format!("SELECT count(*) {from}"))?.query_row(&*wheres.values(), |r| r.get(0))?
    };
    Ok((page, total))
}

pub(super) fn task_uuids(conn: &Connection, filter: &TaskFilter) -> rusqlite::Result<Vec<Uuid>> {
    let wheres = wheres(filter);
    conn.prepare(&format!("SELECT t.uuid {FROM} {} ORDER BY t.id", wheres.sql()))?
        .query_map(&*wheres.values(), |r| r.get::<_, [u8; 16]>(0).map(Uuid::from_bytes))?
        .collect()
}

/// Dead letters with their template row and the index of the step that failed.
pub(super) fn dead_letters(
    conn: &Connection,
    filter: &DeadLetterFilter,
) -> rusqlite::Result<Vec<(i64, Option<usize>, DeadLetterRecord)>> {
    let mut wheres = Wheres::default();
    if !filter.all {
        wheres.add("d.resolved_at IS ?", None::<i64>);
    }
    let code = |reason: &String| DeadLetterReason::parse(reason).map_or(-1, DeadLetterReason::code);
    wheres.add_if("d.reason = ?", filter.reason.as_ref().map(code));
    wheres.add_if("p.namespace = ?", filter.namespace.clone());
    wheres.add_if("p.name = ?", filter.name.clone());
    wheres.add_if("d.fingerprint = ?", filter.fingerprint.clone());
    wheres.add_if("t.uuid = ?", filter.task_uuid.as_ref().map(|u| uuid_bytes(u)));
    // CROSS JOIN keeps the order of the loops: with statistics SQLite would start from `tasks` and read all of them.
    let sql = format!(
        "SELECT t.uuid, d.reason, d.opened_at, d.resolved_at, d.id, p.namespace, p.name, d.error_type, d.message,
                d.fingerprint, d.note, d.resolution, t.template, d.step
         FROM dead_letters d CROSS JOIN tasks t ON t.id = d.task JOIN templates p ON p.id = t.template
         {} ORDER BY d.id DESC LIMIT {}",
        wheres.sql(),
        filter.limit.map_or(-1, i64::from)
    );
    conn.prepare(&sql)?
        .query_map(&*wheres.values(), |r| Ok((r.get(12)?, r.get(13)?, rows::dead_letter_record(r)?)))?
        .collect()
}

pub(super) fn events(conn: &Connection, filter: &EventFilter) -> rusqlite::Result<Vec<EventRecord>> {
    let mut wheres = Wheres::default();
    wheres.add_if("m.queue = ?", filter.namespace.as_ref().map(|n| crate::events_queue(n)));
    match filter.name.as_deref() {
        None | Some("*") => {}
        Some(name) => match name.strip_suffix(".*") {
            Some(prefix) => wheres.add("substr(m.name, 1, length(?)) = ?", format!("{prefix}.")),
            None => wheres.add("m.name = ?", name.to_string()),
        },
    }
    if let Some(uuid) = &filter.task_uuid {
        wheres.add("m.task = (SELECT id FROM tasks WHERE uuid = ?)", uuid_bytes(uuid));
    }
    match filter.archived {
        None => {}
        Some(true) => wheres.add("m.archived_at IS NOT ?", None::<i64>),
        Some(false) => wheres.add("m.archived_at IS ?", None::<i64>),
    }
    wheres.add_if("m.msg_id > ?", filter.after);
    let sql = format!(
        "SELECT m.msg_id, m.read_ct, m.enqueued_at, m.vt, m.archived_at, m.message FROM events m {} ORDER BY m.msg_id LIMIT {}",
        wheres.sql(),
        filter.limit.map_or(-1, i64::from)
    );
    conn.prepare(&sql)?.query_map(&*wheres.values(), rows::event_record)?.collect()
}

/// The bytes of a UUID; of anything else none, which match no row.
fn uuid_bytes(text: &str) -> Vec<u8> {
    text.parse::<Uuid>().map(|u| u.as_bytes().to_vec()).unwrap_or_default()
}

pub(super) fn steps(conn: &Connection, task: i64) -> rusqlite::Result<Vec<StepRecord>> {
    conn.prepare_cached(query!("step_records"))?
        .query_map([step_id(task, 0), step_id(task, STEP_MAX)], rows::step_record)?
        .collect()
}

pub(super) fn attempts(conn: &Connection, task: i64) -> rusqlite::Result<Vec<AttemptRecord>> {
    conn.prepare_cached(query!("attempt_records"))?
        .query_map([step_id(task, 0), step_id(task, STEP_MAX)], rows::attempt_record)?
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
    let checks: [(&str, String); 9] = [
        ("nothing is overdue (steps)", format!("SELECT id FROM steps WHERE wake_at <= {late}")),
        ("nothing is overdue (tasks)", format!("SELECT id << 14 FROM tasks WHERE wake_at <= {late}")),
        (
            "retrying steps have a time at which they wake",
            format!("SELECT id FROM steps WHERE state = {retry} AND wake_at IS NULL"),
        ),
        (
            "every running step has a worker",
            format!("SELECT id FROM steps WHERE state = {in_progress} AND worker NOT IN (SELECT id FROM workers)"),
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
