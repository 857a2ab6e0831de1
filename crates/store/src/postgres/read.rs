//! The read side: what people and dashboards ask for.

use tasker_core::state::{AttemptEnd, DeadLetterReason, StepState, TaskState};
use tasker_wire::{DeadLetterFilter, EventFilter, Finding, TaskFilter};
use uuid::Uuid;

use super::connection::{Call, Conn, Result, Value};
use super::tables::text;
use super::{pgmq, rows};
use crate::tables::split;
use crate::{DeadLetterRecord, EventRecord, TaskRecord};

/// How long a due row may wait before it counts as overdue, milliseconds.
const OVERDUE_GRACE_MS: i64 = 5_000;

const TASK_COLUMNS: &str =
    "t.id, t.uuid, t.template, t.priority, t.state, t.paused, t.total, t.done, t.failed, t.isolated,
 t.cancelled, t.active, t.waiting, t.batches, t.fence_base, t.start_at, t.created_at, t.state_since, t.updated_at,
 t.ended_at, t.wake_at, r.context, r.details";

pub(super) fn task(conn: &mut Conn, uuid: Uuid) -> Result<Option<TaskRecord>> {
    let sql = format!("SELECT {TASK_COLUMNS} FROM tasks t JOIN requests r ON r.task = t.id WHERE t.uuid = $1");
    conn.rows(Call::new(sql, vec![Box::new(uuid)]))?.first().map(rows::task_record).transpose()
}

/// Conditions of a query and their values, in step.
#[derive(Default)]
struct Wheres {
    conditions: Vec<String>,
    values: Vec<Box<dyn Value>>,
}

impl Wheres {
    /// `condition` with `?` for the value.
    fn add(&mut self, condition: &str, value: impl Value + 'static) {
        self.values.push(Box::new(value));
        self.conditions.push(condition.replace('?', &format!("${}", self.values.len())));
    }

    fn add_if(&mut self, condition: &str, value: Option<impl Value + 'static>) {
        if let Some(value) = value {
            self.add(condition, value);
        }
    }

    fn plain(&mut self, condition: &str) {
        self.conditions.push(condition.into());
    }

    fn sql(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }
}

fn wheres(filter: &TaskFilter) -> Wheres {
    let mut wheres = Wheres::default();
    let own = |value: &Option<String>| value.as_deref().map(text);
    wheres.add_if("p.namespace = ?", own(&filter.namespace));
    wheres.add_if("p.name = ?", own(&filter.name));
    wheres.add_if("r.details::json->>'initiator' = ?", own(&filter.initiator));
    wheres.add_if("r.details::json->>'source_system' = ?", own(&filter.source_system));
    wheres.add_if("r.details::json->>'correlation_id' = ?", own(&filter.correlation_id));
    let time = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    wheres.add_if("t.created_at >= ?", time(&filter.created_after).map(|t| t.as_millisecond()));
    wheres.add_if("t.created_at < ?", time(&filter.created_before).map(|t| t.as_millisecond()));
    wheres.add_if(
        "json_typeof(r.details::json->'tags') = 'array'
         AND EXISTS (SELECT 1 FROM json_array_elements_text(r.details::json->'tags') AS tag WHERE tag = ?)",
        own(&filter.tag),
    );
    let q = filter.q.as_ref().map(|q| text(&q.replace('-', "").to_lowercase()));
    wheres
        .add_if("(strpos(lower(replace(p.name, '-', '')), ?) > 0 OR strpos(replace(t.uuid::text, '-', ''), ?) = 1)", q);
    match filter.status.as_deref() {
        None => {}
        Some("paused") => wheres.plain("t.paused AND t.ended_at IS NULL"),
        Some(status) => {
            let code = TaskState::parse(status).map_or(-1, TaskState::code);
            let live = TaskState::from_code(code).is_some_and(|s| !s.is_final());
            // The partial index of live tasks serves every state that is not an end.
            let condition = if live { "t.ended_at IS NULL AND NOT t.paused AND t.state = ?" } else { "t.state = ?" };
            wheres.add(condition, code as i16);
        }
    }
    wheres
}

const FROM: &str = "FROM tasks t JOIN requests r ON r.task = t.id JOIN templates p ON p.id = t.template";

pub(super) fn tasks(conn: &mut Conn, filter: &TaskFilter) -> Result<(Vec<TaskRecord>, u64)> {
    let wheres = wheres(filter);
    let from = format!("{FROM} {}", wheres.sql());
    let limit = filter.limit.unwrap_or(50).min(1_000);
    let sql = format!("SELECT {TASK_COLUMNS} {from} ORDER BY t.id DESC LIMIT {limit} OFFSET {}", filter.offset);
    let page = conn.query(&sql, &wheres.values)?.iter().map(rows::task_record).collect::<Result<_>>()?;
    let from = if wheres.conditions.is_empty() { "FROM tasks".into() } else { from };
    let total: i64 = conn.query(&format!("SELECT count(*) {from}"), &wheres.values)?[0].try_get(0)?;
    Ok((page, total as u64))
}

pub(super) fn task_uuids(conn: &mut Conn, filter: &TaskFilter) -> Result<Vec<Uuid>> {
    let wheres = wheres(filter);
    let sql = format!("SELECT t.uuid {FROM} {} ORDER BY t.id", wheres.sql());
    conn.query(&sql, &wheres.values)?.iter().map(|r| Ok(r.try_get(0)?)).collect()
}

fn limit(limit: Option<u32>) -> String {
    limit.map_or("ALL".into(), |l| l.to_string())
}

/// Dead letters with their template row and the index of the step that failed.
pub(super) fn dead_letters(
    conn: &mut Conn,
    filter: &DeadLetterFilter,
) -> Result<Vec<(i64, Option<usize>, DeadLetterRecord)>> {
    let mut wheres = Wheres::default();
    if !filter.all {
        wheres.plain("d.resolved_at IS NULL");
    }
    let code = |reason: &String| DeadLetterReason::parse(reason).map_or(-1, DeadLetterReason::code) as i16;
    wheres.add_if("d.reason = ?", filter.reason.as_ref().map(code));
    wheres.add_if("p.namespace = ?", filter.namespace.as_deref().map(text));
    wheres.add_if("p.name = ?", filter.name.as_deref().map(text));
    wheres.add_if("d.fingerprint = ?", filter.fingerprint.as_deref().map(text));
    wheres.add_if("t.uuid = ?", filter.task_uuid.as_ref().map(|u| uuid(u)));
    let sql = format!(
        "SELECT t.uuid, d.reason, d.opened_at, d.resolved_at, d.id, p.namespace, p.name, d.error_type, d.message,
                d.fingerprint, d.note, d.resolution, t.template, d.step
         FROM dead_letters d JOIN tasks t ON t.id = d.task JOIN templates p ON p.id = t.template
         {} ORDER BY d.id DESC LIMIT {}",
        wheres.sql(),
        limit(filter.limit)
    );
    conn.query(&sql, &wheres.values)?.iter().map(rows::dead_letter_record).collect()
}

/// Namespace of a task that exists, by its UUID.
pub(super) fn namespace_of(conn: &mut Conn, task: &str) -> Result<Option<String>> {
    let sql = "SELECT p.namespace FROM tasks t JOIN templates p ON p.id = t.template WHERE t.uuid = $1";
    let rows = conn.query(sql, &[Box::new(uuid(task))])?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

/// `queues`: PGMQ's names of the queues to look into.
pub(super) fn events(conn: &mut Conn, filter: &EventFilter, queues: &[String]) -> Result<Vec<EventRecord>> {
    let mut wheres = Wheres::default();
    match filter.name.as_deref() {
        None | Some("*") => {}
        Some(name) => match name.strip_suffix(".*") {
            Some(prefix) => wheres.add("starts_with(m.name, ?)", text(&format!("{prefix}."))),
            None => wheres.add("m.name = ?", text(name)),
        },
    }
    if let Some(task) = &filter.task_uuid {
        wheres.add("m.task = ?", uuid(task).to_string());
    }
    match filter.archived {
        None => {}
        Some(true) => wheres.plain("m.archived_at IS NOT NULL"),
        Some(false) => wheres.plain("m.archived_at IS NULL"),
    }
    wheres.add_if("m.msg_id > ?", filter.after);
    let sql = format!(
        "SELECT m.msg_id, m.read_ct, m.enqueued_at, m.vt, m.archived_at, m.message
         FROM ({}) m (msg_id, read_ct, enqueued_at, vt, archived_at, message, task, name) {} ORDER BY m.msg_id LIMIT {}",
        pgmq::all_events(queues),
        wheres.sql(),
        limit(filter.limit)
    );
    conn.query(&sql, &wheres.values)?.iter().map(rows::event_record).collect()
}

/// A UUID; of anything else the nil one, which no row has.
fn uuid(text: &str) -> Uuid {
    text.parse().unwrap_or_default()
}

/// Findings, tasks, steps, rejected reports. `ready`: a query of the queued steps.
pub(super) fn doctor(conn: &mut Conn, now: i64, ready: &str) -> Result<(Vec<Finding>, u64, u64, u64)> {
    let mut findings = Vec::new();
    let enqueued = StepState::Enqueued.code();
    let complete = StepState::Complete.code();
    let in_progress = StepState::InProgress.code();
    let retry = StepState::WaitingForRetry.code();
    let pending = StepState::Pending.code();
    let completed = AttemptEnd::Completed.code();
    let blocked = TaskState::BlockedByFailures.code();
    let late = now - OVERDUE_GRACE_MS;
    // Each query yields the step ids (or, shifted, the task ids) that break the invariant.
    let checks: [(&str, String); 10] = [
        ("nothing is overdue (steps)", format!("SELECT step AS id FROM wakes WHERE wake_at <= {late}")),
        ("nothing is overdue (tasks)", format!("SELECT id << 14 AS id FROM tasks WHERE wake_at <= {late}")),
        (
            "retrying steps have a time at which they wake",
            format!("SELECT id FROM steps WHERE state = {retry} AND wake_at IS NULL"),
        ),
        (
            "every time at which a step wakes is known",
            "SELECT coalesce(s.id, k.step) AS id FROM wakes k
             FULL JOIN (SELECT id, wake_at FROM steps WHERE wake_at IS NOT NULL) s ON s.id = k.step AND s.wake_at = k.wake_at
             WHERE s.id IS NULL OR k.step IS NULL"
                .into(),
        ),
        (
            "every running step has a worker that is known to hold it",
            format!(
                "SELECT s.id FROM steps s LEFT JOIN workers w ON w.id = s.worker LEFT JOIN held h ON h.worker = s.worker AND h.step = s.id
                 WHERE s.state = {in_progress} AND (w.id IS NULL OR w.beat > 0 AND h.step IS NULL)"
            ),
        ),
        (
            "every enqueued step is in its queue",
            format!("SELECT id FROM steps s WHERE state = {enqueued} AND id NOT IN ({ready})"),
        ),
        (
            "every queued row is an enqueued step",
            format!(
                "SELECT r.step AS id FROM ({ready}) r LEFT JOIN steps s ON s.id = r.step WHERE s.state IS DISTINCT FROM {enqueued}"
            ),
        ),
        (
            "no ready step is left out of its queue",
            format!(
                "SELECT s.id FROM tasks t JOIN steps s ON s.id BETWEEN t.id << 14 AND (t.id << 14) + 16383
                 WHERE t.ended_at IS NULL AND NOT t.paused AND t.start_at IS NULL AND s.state = {pending} AND s.remaining = 0"
            ),
        ),
        (
            "every complete step has one accepted result",
            format!(
                "SELECT s.id FROM steps s
                 LEFT JOIN (SELECT step, fence, count(*) AS ends FROM attempts WHERE outcome = {completed} GROUP BY step, fence) a
                   ON a.step = s.id AND a.fence = s.fence
                 WHERE s.state = {complete} AND a.ends IS DISTINCT FROM 1
                 AND NOT EXISTS (SELECT 1 FROM audit d WHERE d.task = s.id >> 14 AND d.step = (s.id & 16383)
                                 AND d.action = 'complete_manually')"
            ),
        ),
        (
            "every live task has something to wait for",
            format!(
                "SELECT t.id << 14 AS id FROM tasks t WHERE t.ended_at IS NULL AND NOT t.paused AND t.start_at IS NULL
                 AND t.state <> {blocked} AND t.active + t.waiting = 0"
            ),
        ),
    ];
    for (check, sql) in &checks {
        let violations: i64 = conn.query(&format!("SELECT count(*) FROM ({sql}) v"), &[])?[0].try_get(0)?;
        let mut examples = Vec::new();
        if violations > 0 {
            let named = format!("SELECT v.id, t.uuid FROM ({sql} LIMIT 5) v LEFT JOIN tasks t ON t.id = v.id >> 14");
            for row in conn.query(&named, &[])? {
                let (task, no) = split(row.try_get(0)?);
                let uuid: Option<Uuid> = row.try_get(1)?;
                let task = uuid.map_or_else(|| format!("task row {task}"), |u| format!("task {u}"));
                examples.push(format!("{task} step number {no}"));
            }
        }
        findings.push(Finding { check: (*check).into(), violations: violations as u64, examples });
    }
    let mut count = |sql: &str| -> Result<u64> { Ok(conn.query(sql, &[])?[0].try_get::<_, i64>(0)? as u64) };
    let tasks = count("SELECT count(*) FROM tasks")?;
    let steps = count("SELECT count(*) FROM steps")?;
    let rejected = count(&format!("SELECT count(*) FROM attempts WHERE outcome = {}", AttemptEnd::Rejected.code()))?;
    Ok((findings, tasks, steps, rejected))
}
