//! Domain events and dead letters, written in the commit that causes them.

use std::sync::Arc;

use rusqlite::params;
use sha2::{Digest, Sha256};
use tasker_core::event;
use tasker_core::graph::Workflow;
use tasker_core::machine::Neighbourhood;
use tasker_core::state::{AttemptEnd, DeadLetterReason, StepState, TaskState};
use tasker_wire::{Error, Kind, StepError};
use uuid::Uuid;

use super::commit::{Result, Work};
use super::rows::{self, step_id};
use super::{none_is, query};
use crate::message::{self, Source};
use crate::{Done, LetterOrder, Order};

impl Work<'_> {
    /// Stores the durable ones of the events a step publishes, and has the worker that ran it told of the others.
    pub(super) fn publish(&mut self, task: i64, hood: &Neighbourhood, source: Source) -> Result<()> {
        let details: Arc<str> = match self.fresh.get(&task) {
            Some(info) => info.details.clone(),
            None => self.statement(query!("request_load"))?.query_row([task], |r| r.get(1))?,
        };
        let now = self.batch.now;
        for event in message::published(hood, &source, &details) {
            if let Some(queue) = &event.queue {
                self.run(query!("event_insert"), params![queue, task, event.name, now, &*event.message])?;
            }
            self.out.published.push(event);
        }
        Ok(())
    }

    pub(super) fn read_events(&mut self, queue: &str, limit: usize, visible_at: i64) -> Result<Done> {
        let events: Vec<_> = self
            .statement(query!("events_visible"))?
            .query_map(params![queue, self.batch.now, visible_at, limit as i64], rows::event_record)?
            .collect::<rusqlite::Result<_>>()?;
        for event in &events {
            self.run(query!("event_hide"), params![event.msg_id, visible_at])?;
        }
        Ok(Done::Events(events))
    }

    pub(super) fn each_event(&mut self, sql: &str, ids: &[i64]) -> Result<Done> {
        let mut changed = 0;
        for id in ids {
            changed += self.run(sql, params![id, self.batch.now])?;
        }
        Ok(Done::Due(changed))
    }

    /// Opens a dead letter on the step that failed last.
    pub(super) fn open_dead_letter(&mut self, task: i64, workflow: &Workflow, reason: DeadLetterReason) -> Result<()> {
        let range =
            params![step_id(task, 0), step_id(task, 0x3fff), StepState::Error.code(), AttemptEnd::Rejected.code()];
        let (step, error): (Option<usize>, Option<String>) =
            self.statement(query!("step_in_error"))?.query_row(range, |r| Ok((r.get(0)?, r.get(1)?)))?;
        let error: Option<StepError> = error.and_then(|error| serde_json::from_str(&error).ok());
        let template = &workflow.template;
        let mut hash = Sha256::new();
        for part in [
            reason.as_str(),
            &template.namespace,
            &template.name,
            step.map_or("", |s| &template.steps[s].name),
            error.as_ref().map_or("", |e| &e.error_type),
            &error.as_ref().map_or(String::new(), |e| event::fingerprint(&e.message)),
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let fingerprint: String = hash.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect();
        let (error_type, message) = error.map(|e| (e.error_type, e.message)).unzip();
        self.run(
            query!("dead_letter_open"),
            params![task, reason.code(), step, error_type, message, fingerprint, self.batch.now],
        )?;
        Ok(())
    }

    pub(super) fn dead_letter(&mut self, id: i64, order: &LetterOrder, actor: &str, reason: &str) -> Result<Done> {
        let found: Option<([u8; 16], i64, Option<i64>)> = self
            .statement(query!("dead_letter_load"))?
            .query_row([id], |r| Ok(Some((r.get(0)?, r.get(2)?, r.get(3)?))))
            .or_else(none_is(None))?;
        let Some((uuid, state, resolved_at)) = found else {
            return Err(Error::new(Kind::NotFound, "dead_letter_not_found", format!("there is no dead letter {id}"))
                .hint("list them with `tasker dlq ls`")
                .into());
        };
        if let LetterOrder::Annotate(note) = order {
            self.run(query!("dead_letter_note"), params![id, note])?;
            return Ok(Done::Acted);
        }
        if resolved_at.is_some() {
            return Err(Error::new(
                Kind::Conflict,
                "action_refused",
                format!("dead letter {id} has been settled already"),
            )
            .into());
        }
        let task = Uuid::from_bytes(uuid);
        let resolution = match order {
            LetterOrder::Replay => {
                self.act(task, &Order::RetryFailed, actor, reason)?;
                "replayed"
            }
            _ => {
                if TaskState::from_code(state) == Some(TaskState::BlockedByFailures) {
                    self.act(task, &Order::GiveUp, actor, reason)?;
                }
                "discarded"
            }
        };
        self.run(query!("dead_letter_close"), params![id, self.batch.now, resolution])?;
        Ok(Done::Acted)
    }
}
