//! One transaction's rows: cached statements, one row at a time.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, ToSql, Transaction, TransactionBehavior, params};
use tasker_core::graph::Workflow;
use tasker_core::state::{AttemptEnd, Step, StepState, Task, TaskState};
use uuid::Uuid;

use super::{Sqlite, Writer, none_is, query, rows};
use crate::commit::{self, Result as Outcome};
use crate::tables::{
    AuditRow, Found, Head, Letter, Namesake, NewAttempt, NewDeadLetter, Ready, STEP_MAX, Stop, Tables, TaskRow,
    batches_to, prunable, step_id,
};
use crate::{Batch, Committed, EventRecord, NewTask, NewWorker, Pruned, TemplateSource};

/// How often the high-water mark of time is stored, milliseconds.
const HIGH_WATER_EVERY_MS: i64 = 1_000;

/// What is removed with a task, by its steps and by its number.
const PRUNED_BY_STEP: [(&str, &str); 4] =
    [("steps", "id"), ("attempts", "step"), ("inputs", "step"), ("checkpoints", "step")];
const PRUNED_BY_TASK: [(&str, &str); 5] =
    [("requests", "task"), ("idempotency", "task"), ("audit", "task"), ("dead_letters", "task"), ("tasks", "id")];

type Result<T> = Outcome<T, rusqlite::Error>;

impl From<rusqlite::Error> for Stop<rusqlite::Error> {
    fn from(error: rusqlite::Error) -> Self {
        Stop::Trouble(error)
    }
}

/// Does a batch in one transaction.
pub(super) fn attempt(store: &Sqlite, writer: &mut Writer, batch: &Batch) -> rusqlite::Result<Committed> {
    let tx = Transaction::new(&mut writer.conn, TransactionBehavior::Immediate)?;
    let out = commit::apply(batch, &mut Rows { store, conn: &tx })?;
    let mut high_water = None;
    if !batch.ops.is_empty() && (batch.now - writer.high_water).abs() >= HIGH_WATER_EVERY_MS {
        tx.prepare_cached(query!("high_water_store"))?.execute([batch.now])?;
        high_water = Some(batch.now);
    }
    tx.commit()?;
    writer.high_water = high_water.unwrap_or(writer.high_water);
    Ok(out)
}

struct Rows<'a> {
    store: &'a Sqlite,
    conn: &'a Connection,
}

impl Rows<'_> {
    fn run(&self, sql: &str, params: &[&dyn ToSql]) -> Result<usize> {
        Ok(self.statement(sql)?.execute(params)?)
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.conn.prepare_cached(sql)
    }

    fn each(&self, sql: &str, ids: &[i64], now: i64) -> Result<usize> {
        let mut changed = 0;
        for id in ids {
            changed += self.run(sql, params![id, now])?;
        }
        Ok(changed)
    }
}

impl Tables for Rows<'_> {
    type Trouble = rusqlite::Error;

    fn workflow(&mut self, template: i64) -> Result<Arc<Workflow>> {
        Ok(self.store.workflow_by(self.conn, template)?)
    }

    fn idempotency(&mut self, key: &str) -> Result<Option<(String, i64, Uuid)>> {
        let found = |r: &rusqlite::Row| Ok(Some((r.get(0)?, r.get(1)?, Uuid::from_bytes(r.get(2)?))));
        Ok(self.statement(query!("idempotency_load"))?.query_row([key], found).or_else(none_is(None))?)
    }

    fn task(&mut self, id: i64) -> Result<Option<TaskRow>> {
        Ok(self.statement(query!("task_load"))?.query_row([id], |r| rows::task(r).map(Some)).or_else(none_is(None))?)
    }

    fn task_by_uuid(&mut self, uuid: Uuid) -> Result<Option<TaskRow>> {
        let mut statement = self.statement(query!("task_by_uuid"))?;
        Ok(statement.query_row([uuid.as_bytes()], |r| rows::task(r).map(Some)).or_else(none_is(None))?)
    }

    fn head(&mut self, task: i64) -> Result<Option<Head>> {
        let found = |r: &rusqlite::Row| {
            let (context, details): (String, String) = (r.get(4)?, r.get(5)?);
            Ok(Some(Head {
                uuid: Uuid::from_bytes(r.get(0)?),
                template: r.get(1)?,
                priority: r.get(2)?,
                created_at: r.get(3)?,
                context: context.into(),
                details: details.into(),
            }))
        };
        Ok(self.statement(query!("task_head"))?.query_row([task], found).or_else(none_is(None))?)
    }

    fn details(&mut self, task: i64) -> Result<Option<Arc<str>>> {
        let found = |r: &rusqlite::Row| r.get::<_, String>(0).map(|d| Some(d.into()));
        Ok(self.statement(query!("task_details"))?.query_row([task], found).or_else(none_is(None))?)
    }

    fn insert_task(&mut self, new: &NewTask, t: &Task, now: i64) -> Result<i64> {
        self.run(
            query!("task_insert"),
            params![
                new.uuid.as_bytes(),
                new.template,
                new.priority,
                t.state.code(),
                t.paused,
                t.counts.total,
                t.counts.done,
                t.counts.failed,
                t.counts.isolated,
                t.counts.cancelled,
                t.counts.active,
                t.counts.waiting,
                batches_to(&t.batches),
                t.fence_base,
                t.start_at,
                t.created_at,
                t.state_since,
                now,
                t.state.is_final().then_some(now),
                t.wake_at,
            ],
        )?;
        let id = self.conn.last_insert_rowid();
        self.run(query!("request_insert"), params![id, &*new.context, &*new.details])?;
        if let Some(identity) = &new.idempotency {
            self.run(query!("idempotency_insert"), params![identity.key, identity.digest, id])?;
        }
        Ok(id)
    }

    fn update_task(&mut self, id: i64, task: &Task, now: i64, ended_at: Option<i64>) -> Result<()> {
        self.run(
            query!("task_update"),
            params![
                id,
                task.state.code(),
                task.paused,
                task.counts.total,
                task.counts.done,
                task.counts.failed,
                task.counts.isolated,
                task.counts.cancelled,
                task.counts.active,
                task.counts.waiting,
                batches_to(&task.batches),
                task.fence_base,
                task.start_at,
                task.state_since,
                now,
                ended_at,
                task.wake_at,
            ],
        )?;
        Ok(())
    }

    fn wake_task_at(&mut self, id: i64, at: i64) -> Result<()> {
        self.run(query!("task_set_aside"), params![id, at]).map(drop)
    }

    fn step(&mut self, id: i64) -> Result<Option<(Step, Option<String>)>> {
        Ok(self.statement(query!("step_load"))?.query_row([id], |r| rows::step(r).map(Some)).or_else(none_is(None))?)
    }

    fn steps(&mut self, task: i64) -> Result<Vec<Step>> {
        let mut statement = self.statement(query!("steps_of_task"))?;
        let range = [step_id(task, 0), step_id(task, STEP_MAX)];
        Ok(statement.query_map(range, |r| rows::step(r).map(|(s, _)| s))?.collect::<rusqlite::Result<_>>()?)
    }

    fn insert_step(&mut self, id: i64, step: &Step, name: Option<&str>) -> Result<()> {
        self.run(
            query!("step_insert"),
            params![
                id,
                step.template,
                step.state.code(),
                step.remaining,
                step.fence,
                step.attempts,
                step.crashes,
                step.enqueued_at,
                step.started_at,
                step.wake_at,
                step.worker,
                step.has_checkpoint,
                step.suspect,
                name
            ],
        )?;
        Ok(())
    }

    fn update_step(&mut self, id: i64, step: &Step, ended_at: Option<i64>, result: Option<&str>) -> Result<()> {
        let state = step.state.code();
        let mut values: [&dyn ToSql; 14] = [
            &id,
            &state,
            &step.remaining,
            &step.fence,
            &step.attempts,
            &step.crashes,
            &step.enqueued_at,
            &step.started_at,
            &step.wake_at,
            &step.worker,
            &step.has_checkpoint,
            &step.suspect,
            &ended_at,
            &result,
        ];
        match &result {
            Some(result) => {
                values[13] = result;
                self.run(query!("step_complete"), &values)?
            }
            None => self.run(query!("step_update"), &values[..13])?,
        };
        Ok(())
    }

    fn wake_step_at(&mut self, id: i64, at: i64) -> Result<()> {
        self.run(query!("step_set_aside"), params![id, at]).map(drop)
    }

    fn clear_step(&mut self, id: i64) -> Result<()> {
        self.run(query!("step_clear"), params![id])?;
        self.run(query!("checkpoint_delete"), params![id]).map(drop)
    }

    fn delete_step(&mut self, id: i64) -> Result<()> {
        for sql in [query!("step_delete"), query!("inputs_delete"), query!("checkpoint_delete")] {
            self.run(sql, params![id])?;
        }
        Ok(())
    }

    fn store_inputs(&mut self, step: i64, inputs: &str) -> Result<()> {
        self.run(query!("inputs_insert"), params![step, inputs]).map(drop)
    }

    fn store_checkpoint(&mut self, step: i64, checkpoint: &str) -> Result<()> {
        self.run(query!("checkpoint_store"), params![step, checkpoint]).map(drop)
    }

    fn ready(&mut self, queue: &str, limit: usize) -> Result<Vec<Ready>> {
        let ready = |r: &rusqlite::Row| Ok(Ready { rank: r.get(0)?, enqueued_at: r.get(1)?, step: r.get(2)? });
        let mut statement = self.statement(query!("ready_best"))?;
        Ok(statement.query_map(params![queue, limit as i64], ready)?.collect::<rusqlite::Result<_>>()?)
    }

    fn enqueue(&mut self, queue: &str, ready: Ready) -> Result<()> {
        self.run(query!("ready_insert"), params![queue, ready.rank, ready.enqueued_at, ready.step]).map(drop)
    }

    fn dequeue(&mut self, queue: &str, ready: Ready) -> Result<()> {
        self.run(query!("ready_delete"), params![queue, ready.rank, ready.enqueued_at, ready.step]).map(drop)
    }

    fn due(&mut self, now: i64, limit: usize, skip: usize) -> Result<(Vec<i64>, Vec<i64>)> {
        let list = |sql: &str, skip: usize| -> rusqlite::Result<Vec<i64>> {
            self.statement(sql)?.query_map(params![now, limit as i64, skip as i64], |r| r.get(0))?.collect()
        };
        Ok((list(query!("step_due"), skip)?, list(query!("task_due"), 0)?))
    }

    fn next_seq(&mut self, step: i64, fence: u32) -> Result<i64> {
        Ok(self.statement(query!("attempt_next_seq"))?.query_row(params![step, fence], |r| r.get(0))?)
    }

    fn insert_attempt(&mut self, a: &NewAttempt) -> Result<()> {
        self.run(
            query!("attempt_insert"),
            params![
                a.step,
                a.fence,
                a.seq,
                a.attempt,
                a.end.code(),
                a.worker,
                a.started_at,
                a.ended_at,
                a.execution_us,
                a.retry_at,
                a.error,
                a.metadata,
                a.result
            ],
        )?;
        Ok(())
    }

    fn insert_audit(&mut self, a: &AuditRow) -> Result<()> {
        let params = params![a.task, a.no, a.action, a.actor, a.reason, a.before, a.after, a.at];
        self.run(query!("audit_insert"), params).map(drop)
    }

    fn last_error(&mut self, task: i64) -> Result<(Option<usize>, Option<String>)> {
        let (first, last) = (step_id(task, 0), step_id(task, STEP_MAX));
        let params = params![first, last, StepState::Error.code(), AttemptEnd::Rejected.code()];
        Ok(self.statement(query!("step_in_error"))?.query_row(params, |r| Ok((r.get(0)?, r.get(1)?)))?)
    }

    fn open_dead_letter(&mut self, l: &NewDeadLetter) -> Result<()> {
        let params = params![l.task, l.reason.code(), l.step, l.error_type, l.message, l.fingerprint, l.opened_at];
        self.run(query!("dead_letter_open"), params).map(drop)
    }

    fn resolve_dead_letters(&mut self, task: i64, at: i64, resolution: &str) -> Result<()> {
        self.run(query!("dead_letter_resolve"), params![task, at, resolution]).map(drop)
    }

    fn dead_letter(&mut self, id: i64) -> Result<Option<Letter>> {
        let found = |r: &rusqlite::Row| {
            let (task, state) = (Uuid::from_bytes(r.get(0)?), rows::coded(r, 2, TaskState::from_code)?);
            Ok(Some(Letter { task, state, resolved_at: r.get(3)? }))
        };
        Ok(self.statement(query!("dead_letter_load"))?.query_row([id], found).or_else(none_is(None))?)
    }

    fn note_dead_letter(&mut self, id: i64, note: &str) -> Result<()> {
        self.run(query!("dead_letter_note"), params![id, note]).map(drop)
    }

    fn close_dead_letter(&mut self, id: i64, at: i64, resolution: &str) -> Result<()> {
        self.run(query!("dead_letter_close"), params![id, at, resolution]).map(drop)
    }

    fn insert_event(&mut self, queue: &str, task: i64, name: &str, now: i64, message: &str) -> Result<()> {
        self.run(query!("event_insert"), params![queue, task, name, now, message]).map(drop)
    }

    fn read_events(&mut self, queue: &str, limit: usize, now: i64, visible_at: i64) -> Result<Vec<EventRecord>> {
        let events: Vec<_> = self
            .statement(query!("events_visible"))?
            .query_map(params![queue, now, visible_at, limit as i64], rows::event_record)?
            .collect::<rusqlite::Result<_>>()?;
        for event in &events {
            self.run(query!("event_hide"), params![event.msg_id, visible_at])?;
        }
        Ok(events)
    }

    fn archive_events(&mut self, ids: &[i64], now: i64) -> Result<usize> {
        self.each(query!("event_archive"), ids, now)
    }

    fn replay_events(&mut self, ids: &[i64], now: i64) -> Result<usize> {
        self.each(query!("event_replay"), ids, now)
    }

    fn duty_ran(&mut self, name: &str, now: i64) -> Result<()> {
        self.run(query!("duty_ran"), params![name, now]).map(drop)
    }

    fn prune(&mut self, before: i64, limit: usize) -> Result<Pruned> {
        let found: Vec<(i64, i64)> = self
            .statement(query!("prune_find"))?
            .query_map(params![before, limit as i64], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let tasks = prunable(&found);
        for (task, _) in &found[..tasks] {
            for (table, key) in PRUNED_BY_STEP {
                let sql = format!("DELETE FROM {table} WHERE {key} BETWEEN ?1 AND ?2");
                self.run(&sql, params![step_id(*task, 0), step_id(*task, STEP_MAX)])?;
            }
            for (table, key) in PRUNED_BY_TASK {
                self.run(&format!("DELETE FROM {table} WHERE {key} = ?1"), params![task])?;
            }
        }
        let events = self.run(query!("prune_events"), params![before, limit as i64])?;
        self.run(query!("prune_workers"), params![before])?;
        let has_more = tasks < found.len() || found.len() >= limit || events >= limit;
        Ok(Pruned { tasks, events, has_more })
    }

    fn add_template(&mut self, t: &TemplateSource, digest: &str, now: i64) -> Result<i64> {
        let found: Option<i64> =
            self.statement(query!("template_by_digest"))?.query_row([digest], |r| r.get(0)).or_else(none_is(None))?;
        if let Some(id) = found {
            self.run(query!("template_touch"), params![id, now, t.path])?;
            return Ok(id);
        }
        let (namespace, name, version) = &t.identity;
        self.run(
            query!("template_insert"),
            params![namespace, name, version, t.environment, digest, t.path, t.source, now],
        )?;
        Ok(self.conn.last_insert_rowid())
    }

    fn namesake(&mut self, name: &str) -> Result<Option<Namesake>> {
        let found = |r: &rusqlite::Row| {
            Ok(Some(Namesake {
                worker: r.get(0)?,
                gone: r.get(1)?,
                language: r.get(2)?,
                pid: r.get(3)?,
                started_at: r.get(4)?,
            }))
        };
        Ok(self.statement(query!("worker_namesake"))?.query_row([name], found).or_else(none_is(None))?)
    }

    fn rename_worker(&mut self, worker: i64, name: &str) -> Result<()> {
        self.run(query!("worker_rename"), params![worker, name]).map(drop)
    }

    fn add_worker(&mut self, w: &NewWorker, now: i64) -> Result<Option<i64>> {
        let (queues, handlers) = (tasker_wire::json_of(&w.queues), tasker_wire::json_of(&w.handlers));
        let added = self.run(
            query!("worker_insert"),
            params![w.name, w.language, w.sdk_version, queues.get(), handlers.get(), w.slots, w.pid, w.lease_ms, now],
        )?;
        Ok((added > 0).then(|| self.conn.last_insert_rowid()))
    }

    fn worker_beats(&mut self, worker: i64, now: i64) -> Result<bool> {
        Ok(self.run(query!("worker_beats"), params![worker, now])? > 0)
    }

    fn worker_drains(&mut self, worker: i64) -> Result<()> {
        self.run(query!("worker_drains"), params![worker]).map(drop)
    }

    fn worker(&mut self, worker: i64) -> Result<Option<Found>> {
        let found = |r: &rusqlite::Row| {
            Ok(Some(Found { beat: r.get(0)?, draining: r.get(1)?, gone: r.get(2)?, held: Vec::new() }))
        };
        let found = self.statement(query!("worker_load"))?.query_row([worker], found).or_else(none_is(None))?;
        let Some(found) = found else { return Ok(None) };
        let mut statement = self.statement(query!("steps_of_worker"))?;
        let held = statement.query_map([worker], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        Ok(Some(Found { held, ..found }))
    }

    fn worker_gone(&mut self, worker: i64) -> Result<()> {
        self.run(query!("worker_gone"), params![worker]).map(drop)
    }
}
