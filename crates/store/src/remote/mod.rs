//! A store that lies behind a server: `tasker://host:port`.
//!
//! The batch of each commit goes up a gRPC stream and comes back with what it did; reads are calls of their own. The
//! server stamps commits with its clock and sees to what falls due. The connection is kept up by a thread: after a
//! break it is made again, with pauses from 50 ms to 2 s, and the server hears which workers are still there.

mod link;
pub mod shapes;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use tasker_core::graph::Workflow;
use tasker_wire::{DeadLetterFilter, DoctorReport, Error, EventFilter, Kind, TaskFilter};
use uuid::Uuid;

use crate::attempt::{self, Attempt, Blame};
use crate::workflows::Workflows;
use crate::{
    AttemptRecord, AuditRecord, Batch, CommitError, Committed, DeadLetterRecord, EventRecord, Op, StepRecord, Store,
    TaskRecord, TemplateRecord, WatchedRecord, WorkerRecord,
};
use link::{Link, Outcome};
use shapes::{Ask, OpShape, Up};

/// Environment variable with the token that a server asks for.
pub const TOKEN_VARIABLE: &str = "TASKER_TOKEN";

/// Port of a server, if the URL names none.
const PORT: u16 = 7420;

/// A store behind a server.
pub struct Remote {
    url: String,
    workflows: Workflows,
    link: Link,
}

impl Remote {
    /// Connects to the server of a URL: `tasker://host:port`, or `tasker://token@host:port`. Without a token in the URL
    /// that of [`TOKEN_VARIABLE`] is sent, if any. Of several servers (`tasker://a:7420,b:7420`) the next is taken when
    /// one is lost.
    pub fn open(url: &str) -> Result<Remote, Error> {
        let bad = || {
            Error::new(Kind::Invalid, "invalid_url", "the URL of a Tasker server is tasker://host:port")
                .hint("the port is the one `tasker serve` prints, 7420 by default")
        };
        let rest = url.strip_prefix("tasker://").ok_or_else(bad)?.trim_end_matches('/');
        let (token, address) = match rest.rsplit_once('@') {
            Some((token, address)) => (Some(token.to_string()), address),
            None => (std::env::var(TOKEN_VARIABLE).ok().filter(|t| !t.is_empty()), rest),
        };
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        let complete = |address: &str| match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && is_port(port) => Ok(address.to_string()),
            None if !address.is_empty() => Ok(format!("{address}:{PORT}")),
            _ => Err(bad()),
        };
        let addresses = address.split(',').map(complete).collect::<Result<Vec<String>, Error>>()?;
        let link = Link::start(&addresses, token)?;
        Ok(Remote { url: format!("tasker://{}", addresses.join(",")), workflows: Workflows::default(), link })
    }

    /// Sends a batch to the server and waits for what becomes of it.
    fn send(&self, batch: &Batch) -> Result<Committed, CommitError> {
        let mut known: Vec<i64> = batch
            .ops
            .iter()
            .filter_map(|op| if let Op::Finish { task, .. } = op { Some(*task) } else { None })
            .filter(|task| (batch.knows)(*task))
            .collect();
        known.dedup();
        let commit = Up::Commit {
            ops: batch.ops.iter().map(OpShape::of).collect(),
            claims: batch.claims.to_vec(),
            holding: (batch.holding.steps, batch.holding.suspect),
            jitter_seed: batch.jitter_seed,
            max_crashes: batch.max_crashes,
            known,
        };
        let message = shapes::bytes(&commit);
        if message.len() > shapes::MESSAGE_MAX {
            let (size, max) = (message.len() >> 20, shapes::MESSAGE_MAX >> 20);
            let message = format!("{size} MiB in one request to {}; at most {max} MiB are taken", self.url);
            let error = Error::new(Kind::TooLarge, "message_too_large", message);
            return Err(CommitError::Refused(error.hint("store it elsewhere and pass a reference")));
        }
        loop {
            match self.link.commit(&message).map_err(CommitError::NotStored)? {
                Outcome::Done(answer) => {
                    let done: shapes::CommittedShape = *answer?;
                    self.link.note(batch.ops, done.results());
                    return done.into_committed(self).map_err(|error| {
                        // Stored all the same: to say otherwise would make the engine store it twice.
                        tracing::error!(%error, "what a commit did could not be read; its steps run again");
                        unknown(&self.url)
                    });
                }
                Outcome::NotStored => {}
                Outcome::Unknown => return Err(unknown(&self.url)),
            }
        }
    }

    fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, Error> {
        let answer = self.link.ask(shapes::bytes(ask))?;
        let answer: shapes::Answer = shapes::read(&answer)?;
        shapes::read(answer?.get().as_bytes())
    }
}

fn unknown(at: &str) -> CommitError {
    let error = Error::new(
        Kind::Unavailable,
        "commit_unknown",
        format!("the connection to {at} broke before it said whether this was done"),
    )
    .hint("look whether it was done before doing it again, or repeat it with an idempotency key");
    CommitError::Unknown(error)
}

/// A commit by way of the server.
struct Commit<'a>(&'a Remote);

impl Attempt for Commit<'_> {
    type Trouble = CommitError;

    fn attempt(&mut self, batch: &Batch, _hurried: bool) -> Result<Committed, CommitError> {
        self.0.send(batch)
    }

    fn works(&mut self) -> bool {
        // The server has looked.
        false
    }

    fn blame(&self, trouble: &CommitError) -> Blame {
        match trouble {
            CommitError::NotStored(_) => Blame::Store,
            CommitError::Unknown(_) => Blame::Unknown,
            CommitError::Refused(_) => Blame::Operation,
        }
    }

    fn error(&self, trouble: CommitError) -> Error {
        trouble.into()
    }
}

impl Store for Remote {
    fn url(&self) -> &str {
        &self.url
    }

    fn durability(&self) -> String {
        self.link.durability()
    }

    fn commit(&self, batch: &Batch) -> Result<Committed, CommitError> {
        attempt::commit(&mut Commit(self), batch)
    }

    fn version(&self) -> Result<u64, Error> {
        Ok(self.link.version())
    }

    fn watch(&self, told: Arc<dyn Fn() + Send + Sync>) {
        self.link.tell(told);
    }

    fn clock_offset(&self) -> i64 {
        self.link.clock_offset()
    }

    fn watched(&self) -> Result<Vec<WatchedRecord>, Error> {
        // The server watches.
        Ok(Vec::new())
    }

    fn is_connected(&self, worker: i64) -> Option<bool> {
        self.ask(&Ask::IsConnected { worker }).ok().flatten()
    }

    fn connections(&self) -> u64 {
        self.link.connections()
    }

    fn next_wake(&self) -> Result<Option<i64>, Error> {
        // The server sees to what falls due.
        Ok(None)
    }

    fn high_water(&self) -> Result<i64, Error> {
        Ok(self.link.high_water())
    }

    fn workflow(&self, template: i64) -> Result<Arc<Workflow>, Error> {
        self.workflows.get(template, || self.template_source(template))
    }

    fn template_source(&self, template: i64) -> Result<(String, String, Option<String>), Error> {
        self.ask(&Ask::TemplateSource { template })
    }

    fn find_template(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<TemplateRecord>, Error> {
        let (namespace, name, version) = (namespace.into(), name.into(), version.map(Into::into));
        self.ask(&Ask::FindTemplate { namespace, name, version })
    }

    fn templates(&self) -> Result<Vec<TemplateRecord>, Error> {
        self.ask(&Ask::Templates)
    }

    fn task(&self, uuid: Uuid) -> Result<Option<TaskRecord>, Error> {
        self.ask(&Ask::Task { uuid })
    }

    fn tasks(&self, filter: &TaskFilter) -> Result<(Vec<TaskRecord>, u64), Error> {
        self.ask(&Ask::Tasks { filter: filter.clone() })
    }

    fn steps(&self, task: i64) -> Result<Vec<StepRecord>, Error> {
        self.ask(&Ask::Steps { task })
    }

    fn attempts(&self, task: i64) -> Result<Vec<AttemptRecord>, Error> {
        self.ask(&Ask::Attempts { task })
    }

    fn history(&self, task: i64) -> Result<(Vec<StepRecord>, Vec<AttemptRecord>), Error> {
        self.ask(&Ask::History { task })
    }

    fn results(&self, task: i64, steps: &[u16]) -> Result<Vec<Option<String>>, Error> {
        self.ask(&Ask::Results { task, steps: steps.to_vec() })
    }

    fn lost(&self, held: &[(i64, u16, u32)]) -> Result<Vec<(i64, u16, u32)>, Error> {
        self.ask(&Ask::Lost { held: held.to_vec() })
    }

    fn inputs(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.ask(&Ask::Inputs { task, no })
    }

    fn checkpoint(&self, task: i64, no: u16) -> Result<Option<String>, Error> {
        self.ask(&Ask::Checkpoint { task, no })
    }

    fn audit(&self, task: i64) -> Result<Vec<AuditRecord>, Error> {
        self.ask(&Ask::Audit { task })
    }

    fn task_uuids(&self, filter: &TaskFilter) -> Result<Vec<Uuid>, Error> {
        self.ask(&Ask::TaskUuids { filter: filter.clone() })
    }

    fn prunable(&self, before: i64) -> Result<u64, Error> {
        self.ask(&Ask::Prunable { before })
    }

    fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRecord>, Error> {
        self.ask(&Ask::DeadLetters { filter: filter.clone() })
    }

    fn events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>, Error> {
        self.ask(&Ask::Events { filter: filter.clone() })
    }

    fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.ask(&Ask::Workers)
    }

    fn doctor(&self, _now: i64) -> Result<DoctorReport, Error> {
        self.ask(&Ask::Doctor)
    }
}
