//! Rows to values and back.

use rusqlite::{Row, types::Type};
use tasker_core::state::{AttemptEnd, Counts, DeadLetterReason, Step, StepState, Task, TaskState};
use uuid::Uuid;

use crate::tables::{TaskRow, batches_from, given_name, split};
use crate::{
    AttemptRecord, AuditRecord, DeadLetterRecord, EventRecord, StepRecord, TaskRecord, TemplateRecord, WatchedRecord,
    WorkerRecord,
};

type Result<T> = rusqlite::Result<T>;

pub(super) fn coded<T>(row: &Row, column: usize, from: impl Fn(i64) -> Option<T>) -> Result<T> {
    let code: i64 = row.get(column)?;
    from(code)
        .ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, format!("code {code}").into()))
}

/// The columns every query of tasks names, in that order.
pub(super) fn task(row: &Row) -> Result<TaskRow> {
    let uuid: [u8; 16] = row.get(1)?;
    Ok(TaskRow {
        id: row.get(0)?,
        uuid: Uuid::from_bytes(uuid),
        template: row.get(2)?,
        priority: row.get(3)?,
        task: Task {
            state: coded(row, 4, TaskState::from_code)?,
            paused: row.get(5)?,
            counts: Counts {
                total: row.get(6)?,
                done: row.get(7)?,
                failed: row.get(8)?,
                isolated: row.get(9)?,
                cancelled: row.get(10)?,
                active: row.get(11)?,
                waiting: row.get(12)?,
            },
            batches: batches_from(row.get::<_, Option<String>>(13)?.as_deref()),
            fence_base: row.get(14)?,
            start_at: row.get(15)?,
            created_at: row.get(16)?,
            state_since: row.get(17)?,
            wake_at: row.get(20)?,
        },
        updated_at: row.get(18)?,
        ended_at: row.get(19)?,
    })
}

/// A task row followed by its context and details.
pub(super) fn task_record(row: &Row) -> Result<TaskRecord> {
    let TaskRow { id, uuid, template, priority, task, updated_at, ended_at } = task(row)?;
    Ok(TaskRecord {
        id,
        uuid,
        template,
        priority,
        task,
        updated_at,
        ended_at,
        context: row.get(21)?,
        details: row.get(22)?,
    })
}

/// The first fourteen columns of a step, in the order every query of steps names them.
pub(super) fn step(row: &Row) -> Result<(Step, Option<String>)> {
    let (_, no) = split(row.get(0)?);
    let step = Step {
        no,
        template: row.get(1)?,
        state: coded(row, 2, StepState::from_code)?,
        remaining: row.get(3)?,
        fence: row.get(4)?,
        attempts: row.get(5)?,
        crashes: row.get(6)?,
        enqueued_at: row.get(7)?,
        started_at: row.get(8)?,
        wake_at: row.get(9)?,
        worker: row.get(10)?,
        has_checkpoint: row.get(11)?,
        suspect: row.get(12)?,
    };
    Ok((step, row.get(13)?))
}

pub(super) fn step_record(row: &Row) -> Result<StepRecord> {
    let (step, name) = step(row)?;
    Ok(StepRecord {
        step,
        name,
        result: row.get(14)?,
        inputs: row.get(15)?,
        checkpoint: row.get(16)?,
        ended_at: row.get(17)?,
        worker: row.get::<_, Option<String>>(18)?.map(given_name),
    })
}

pub(super) fn attempt_record(row: &Row) -> Result<AttemptRecord> {
    Ok(AttemptRecord {
        no: split(row.get(0)?).1,
        fence: row.get(1)?,
        attempt: row.get(2)?,
        end: coded(row, 3, AttemptEnd::from_code)?,
        worker: row.get::<_, Option<String>>(4)?.map(given_name),
        started_at: row.get(5)?,
        ended_at: row.get(6)?,
        execution_us: row.get(7)?,
        error: row.get(8)?,
        metadata: row.get(9)?,
        result: row.get(10)?,
        retry_at: row.get(11)?,
    })
}

pub(super) fn template_record(row: &Row) -> Result<TemplateRecord> {
    Ok(TemplateRecord {
        id: row.get(0)?,
        namespace: row.get(1)?,
        name: row.get(2)?,
        version: row.get(3)?,
        path: row.get(4)?,
    })
}

pub(super) fn audit_record(row: &Row) -> Result<AuditRecord> {
    Ok(AuditRecord {
        action: row.get(0)?,
        no: row.get(1)?,
        actor: row.get(2)?,
        reason: row.get(3)?,
        before: row.get(4)?,
        after: row.get(5)?,
        at: row.get(6)?,
    })
}

pub(super) fn dead_letter_record(row: &Row) -> Result<DeadLetterRecord> {
    let uuid: [u8; 16] = row.get(0)?;
    Ok(DeadLetterRecord {
        task: Uuid::from_bytes(uuid),
        reason: coded(row, 1, DeadLetterReason::from_code)?,
        opened_at: row.get(2)?,
        resolved_at: row.get(3)?,
        id: row.get(4)?,
        namespace: row.get(5)?,
        name: row.get(6)?,
        step: None,
        error_type: row.get(7)?,
        message: row.get(8)?,
        fingerprint: row.get(9)?,
        note: row.get(10)?,
        resolution: row.get(11)?,
    })
}

pub(super) fn event_record(row: &Row) -> Result<EventRecord> {
    Ok(EventRecord {
        msg_id: row.get(0)?,
        read_ct: row.get(1)?,
        enqueued_at: row.get(2)?,
        visible_at: row.get(3)?,
        archived_at: row.get(4)?,
        message: row.get(5)?,
    })
}

pub(super) fn watched(row: &Row) -> Result<WatchedRecord> {
    Ok(WatchedRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        beat: row.get(2)?,
        lease_ms: row.get(3)?,
        gone: row.get(4)?,
    })
}

pub(super) fn worker_record(row: &Row) -> Result<WorkerRecord> {
    let list = |column| -> Result<Vec<String>> {
        let text: String = row.get(column)?;
        serde_json::from_str(&text)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
    };
    Ok(WorkerRecord {
        id: row.get(0)?,
        name: given_name(row.get(1)?),
        language: row.get(2)?,
        sdk_version: row.get(3)?,
        queues: list(4)?,
        handlers: list(5)?,
        slots: row.get(6)?,
        pid: row.get(7)?,
        started_at: row.get(8)?,
        seen_at: row.get(9)?,
        lease_ms: row.get(10)?,
        gone: row.get(11)?,
    })
}
