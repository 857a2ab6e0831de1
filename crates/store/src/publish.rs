//! Domain events and dead letters, written in the commit that causes them.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tasker_core::event;
use tasker_core::graph::{Index, Workflow};
use tasker_core::machine::Neighbourhood;
use tasker_core::state::{DeadLetterReason, TaskState};
use tasker_wire::{Error, Kind, StepError};

use crate::commit::{Result, Work};
use crate::message::{self, Source};
use crate::tables::{Letter, NewDeadLetter, Tables};
use crate::{Done, LetterOrder, Order};

impl<T: Tables> Work<'_, T> {
    /// Stores the durable ones of the events a step publishes, and has the worker that ran it told of the others.
    pub(crate) fn publish(&mut self, task: i64, hood: &Neighbourhood, source: Source) -> Result<(), T::Trouble> {
        let details: Arc<str> = match self.fresh.get(&task) {
            Some(info) => info.details.clone(),
            None => self.tables.details(task)?.unwrap_or_else(|| "{}".into()),
        };
        for event in message::published(hood, &source, &details) {
            if let Some(queue) = &event.queue {
                self.tables.insert_event(queue, task, &event.name, self.batch.now, &event.message)?;
            }
            self.out.published.push(event);
        }
        Ok(())
    }

    /// Opens a dead letter on the step that failed last. `own`: the step that just did, template index and error.
    pub(crate) fn open_dead_letter(
        &mut self,
        task: i64,
        workflow: &Workflow,
        reason: DeadLetterReason,
        own: Option<(Index, &str)>,
    ) -> Result<(), T::Trouble> {
        let (step, error) = match own {
            Some((step, error)) => (Some(usize::from(step)), Some(error.to_string())),
            None => self.tables.last_error(task)?,
        };
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
        self.tables.open_dead_letter(&NewDeadLetter {
            task,
            reason,
            step,
            error_type: error_type.as_deref(),
            message: message.as_deref(),
            fingerprint: &fingerprint,
            opened_at: self.batch.now,
        })
    }

    pub(crate) fn dead_letter(
        &mut self,
        id: i64,
        order: &LetterOrder,
        actor: &str,
        reason: &str,
    ) -> Result<Done, T::Trouble> {
        let Some(Letter { task, state, resolved_at }) = self.tables.dead_letter(id)? else {
            return Err(Error::new(Kind::NotFound, "dead_letter_not_found", format!("there is no dead letter {id}"))
                .hint("list them with `tasker dlq ls`")
                .into());
        };
        if let LetterOrder::Annotate(note) = order {
            self.tables.note_dead_letter(id, note)?;
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
        let resolution = match order {
            LetterOrder::Replay => {
                self.act(task, &Order::RetryFailed, actor, reason)?;
                "replayed"
            }
            _ => {
                if state == TaskState::BlockedByFailures {
                    self.act(task, &Order::GiveUp, actor, reason)?;
                }
                "discarded"
            }
        };
        self.tables.close_dead_letter(id, self.batch.now, resolution)?;
        Ok(Done::Acted)
    }
}
