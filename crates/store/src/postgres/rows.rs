//! Rows to values.

use tasker_core::state::{AttemptEnd, Counts, DeadLetterReason, Step, StepState, Task, TaskState};
use tokio_postgres::Row;

use super::connection::{Result, Trouble};
use crate::tables::{Head, TaskRow, batches_from, given_name, split};
use crate::{
    AttemptRecord, AuditRecord, DeadLetterRecord, EventRecord, StepRecord, TaskRecord, TemplateRecord, WatchedRecord,
    WorkerRecord,
};

/// A value kept as a small number.
pub(super) fn coded<T>(row: &Row, column: usize, from: impl Fn(i64) -> Option<T>) -> Result<T> {
    let code: i16 = row.try_get(column)?;
    from(i64::from(code)).ok_or_else(|| Trouble::Foreign(format!("column {column} holds the unknown code {code}")))
}

fn count(row: &Row, column: usize) -> Result<u32> {
    Ok(row.try_get::<_, i32>(column)? as u32)
}

/// The columns every query of tasks names, in that order.
pub(super) fn task(row: &Row) -> Result<TaskRow> {
    Ok(TaskRow {
        id: row.try_get(0)?,
        uuid: row.try_get(1)?,
        template: row.try_get(2)?,
        priority: row.try_get(3)?,
        task: Task {
            state: coded(row, 4, TaskState::from_code)?,
            paused: row.try_get(5)?,
            counts: Counts {
                total: count(row, 6)?,
                done: count(row, 7)?,
                failed: count(row, 8)?,
                isolated: count(row, 9)?,
                cancelled: count(row, 10)?,
                active: count(row, 11)?,
                waiting: count(row, 12)?,
            },
            batches: batches_from(row.try_get(13)?),
            fence_base: count(row, 14)?,
            start_at: row.try_get(15)?,
            created_at: row.try_get(16)?,
            state_since: row.try_get(17)?,
            wake_at: row.try_get(20)?,
        },
        updated_at: row.try_get(18)?,
        ended_at: row.try_get(19)?,
    })
}

/// A task row followed by its context and details.
pub(super) fn task_record(row: &Row) -> Result<TaskRecord> {
    let TaskRow { id, uuid, template, priority, task, updated_at, ended_at } = task(row)?;
    let (context, details) = (row.try_get(21)?, row.try_get(22)?);
    Ok(TaskRecord { id, uuid, template, priority, task, updated_at, ended_at, context, details })
}

/// The first fourteen columns of a step, in the order every query of steps names them.
pub(super) fn step(row: &Row) -> Result<(Step, Option<String>)> {
    let (_, no) = split(row.try_get(0)?);
    let step = Step {
        no,
        template: row.try_get::<_, i16>(1)? as u16,
        state: coded(row, 2, StepState::from_code)?,
        remaining: count(row, 3)?,
        enqueued_at: row.try_get(4)?,
        fence: count(row, 5)?,
        attempts: count(row, 6)?,
        crashes: count(row, 7)?,
        started_at: row.try_get(8)?,
        wake_at: row.try_get(9)?,
        worker: row.try_get(10)?,
        has_checkpoint: row.try_get(11)?,
        suspect: row.try_get(12)?,
    };
    Ok((step, row.try_get(13)?))
}

pub(super) fn step_record(row: &Row) -> Result<StepRecord> {
    let (step, name) = step(row)?;
    Ok(StepRecord {
        step,
        name,
        ended_at: row.try_get(14)?,
        result: row.try_get(15)?,
        inputs: row.try_get(16)?,
        checkpoint: row.try_get(17)?,
        worker: row.try_get::<_, Option<String>>(18)?.map(given_name),
    })
}

pub(super) fn head(row: &Row) -> Result<Head> {
    Ok(Head {
        uuid: row.try_get(0)?,
        template: row.try_get(1)?,
        priority: row.try_get(2)?,
        created_at: row.try_get(3)?,
        context: row.try_get::<_, String>(4)?.into(),
        details: row.try_get::<_, String>(5)?.into(),
    })
}

pub(super) fn attempt_record(row: &Row) -> Result<AttemptRecord> {
    Ok(AttemptRecord {
        no: split(row.try_get(0)?).1,
        fence: count(row, 1)?,
        attempt: count(row, 2)?,
        end: coded(row, 3, AttemptEnd::from_code)?,
        worker: row.try_get::<_, Option<String>>(4)?.map(given_name),
        started_at: row.try_get(5)?,
        ended_at: row.try_get(6)?,
        execution_us: row.try_get(7)?,
        error: row.try_get(8)?,
        metadata: row.try_get(9)?,
        result: row.try_get(10)?,
        retry_at: row.try_get(11)?,
    })
}

pub(super) fn template_record(row: &Row) -> Result<TemplateRecord> {
    Ok(TemplateRecord {
        id: row.try_get(0)?,
        namespace: row.try_get(1)?,
        name: row.try_get(2)?,
        version: row.try_get(3)?,
        path: row.try_get(4)?,
    })
}

pub(super) fn audit_record(row: &Row) -> Result<AuditRecord> {
    Ok(AuditRecord {
        action: row.try_get(0)?,
        no: row.try_get::<_, Option<i32>>(1)?.map(|no| no as u16),
        actor: row.try_get(2)?,
        reason: row.try_get(3)?,
        before: row.try_get(4)?,
        after: row.try_get(5)?,
        at: row.try_get(6)?,
    })
}

/// A dead letter with its template row and the index of the step that failed.
pub(super) fn dead_letter_record(row: &Row) -> Result<(i64, Option<usize>, DeadLetterRecord)> {
    let record = DeadLetterRecord {
        task: row.try_get(0)?,
        reason: coded(row, 1, DeadLetterReason::from_code)?,
        opened_at: row.try_get(2)?,
        resolved_at: row.try_get(3)?,
        id: row.try_get(4)?,
        namespace: row.try_get(5)?,
        name: row.try_get(6)?,
        step: None,
        error_type: row.try_get(7)?,
        message: row.try_get(8)?,
        fingerprint: row.try_get(9)?,
        note: row.try_get(10)?,
        resolution: row.try_get(11)?,
    };
    Ok((row.try_get(12)?, row.try_get::<_, Option<i32>>(13)?.map(|s| s as usize), record))
}

pub(super) fn event_record(row: &Row) -> Result<EventRecord> {
    Ok(EventRecord {
        msg_id: row.try_get(0)?,
        read_ct: row.try_get(1)?,
        enqueued_at: row.try_get(2)?,
        visible_at: row.try_get(3)?,
        archived_at: row.try_get(4)?,
        message: row.try_get(5)?,
    })
}

pub(super) fn watched(row: &Row) -> Result<WatchedRecord> {
    Ok(WatchedRecord {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        beat: row.try_get(2)?,
        lease_ms: row.try_get(3)?,
        gone: row.try_get(4)?,
    })
}

pub(super) fn worker_record(row: &Row) -> Result<WorkerRecord> {
    let list = |column| -> Result<Vec<String>> {
        serde_json::from_str(row.try_get(column)?)
            .map_err(|e| Trouble::Foreign(format!("a worker's row is not readable: {e}")))
    };
    Ok(WorkerRecord {
        id: row.try_get(0)?,
        name: given_name(row.try_get(1)?),
        language: row.try_get(2)?,
        sdk_version: row.try_get(3)?,
        queues: list(4)?,
        handlers: list(5)?,
        slots: count(row, 6)?,
        pid: row.try_get::<_, i64>(7)? as u32,
        started_at: row.try_get(8)?,
        seen_at: row.try_get(9)?,
        lease_ms: row.try_get(10)?,
        gone: row.try_get(11)?,
    })
}
