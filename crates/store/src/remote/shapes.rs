//! Shapes of what crosses between a server and its workers, as JSON.
//!
//! The core's values carry no serialisation of their own; they get it here. Unknown fields are ignored, so that a
//! release can add some.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tasker_core::state::{Counts, Step, Task};
use tasker_wire::{DeadLetterFilter, Error, EventFilter, Kind, TaskFilter};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use uuid::Uuid;

use crate::sync::Mutex;
use crate::tables::{batches_from, batches_to};
use crate::{
    ClaimRequest, Claimed, CommitError, Committed, CutShort, Done, Idempotency, NewTask, Op, Published, Store, TaskInfo,
};

/// Version of the protocol, and the oldest one that a server still speaks: that of the release before, if there is one
/// whose workers have heartbeats.
pub const PROTOCOL: u32 = 2;
/// See [`PROTOCOL`].
pub const OLDEST_PROTOCOL: u32 = 2;
/// Largest message, bytes.
pub const MESSAGE_MAX: usize = 1 << 30;
/// Paths of the two calls.
pub const SESSION: &str = "/tasker.v1.Tasker/Session";
/// See [`SESSION`].
pub const ASK: &str = "/tasker.v1.Tasker/Ask";

/// A value as it crosses.
pub fn bytes(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// A value that came over.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|e| {
        Error::new(Kind::Bug, "protocol_error", format!("the other side sent what cannot be read: {e}"))
            .hint("use the same release of Tasker on both sides")
    })
}

/// Messages as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = BytesCodec;
    type Decoder = BytesCodec;

    fn encoder(&mut self) -> BytesCodec {
        BytesCodec
    }

    fn decoder(&mut self) -> BytesCodec {
        BytesCodec
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

macro_rules! coded {
    ($($module:ident: $name:ident),+ $(,)?) => {$(
        pub(crate) mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};
            use tasker_core::state::$name;

            pub(crate) fn serialize<S: Serializer>(value: &$name, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_i64(value.code())
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                let code = i64::deserialize(from)?;
                $name::from_code(code).ok_or_else(|| D::Error::custom(format!("unknown code {code}")))
            }
        }
    )+};
}

coded! {
    step_state: StepState,
    task_state: TaskState,
    attempt_end: AttemptEnd,
    dead_letter_reason: DeadLetterReason,
}

mod batches {
    use super::*;
    use tasker_core::state::BatchSpan;

    pub(super) fn serialize<S: Serializer>(value: &[BatchSpan], to: S) -> Result<S::Ok, S::Error> {
        batches_to(value).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<BatchSpan>, D::Error> {
        Ok(batches_from(Option::<String>::deserialize(from)?.as_deref()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Step")]
pub(crate) struct StepShape {
    no: u16,
    template: u16,
    #[serde(with = "step_state")]
    state: tasker_core::state::StepState,
    remaining: u32,
    fence: u32,
    attempts: u32,
    crashes: u32,
    enqueued_at: i64,
    started_at: i64,
    wake_at: Option<i64>,
    worker: i64,
    has_checkpoint: bool,
    suspect: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Counts")]
struct CountsShape {
    total: u32,
    done: u32,
    failed: u32,
    isolated: u32,
    cancelled: u32,
    active: u32,
    waiting: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Task")]
pub(crate) struct TaskShape {
    #[serde(with = "task_state")]
    state: tasker_core::state::TaskState,
    paused: bool,
    #[serde(with = "CountsShape")]
    counts: Counts,
    #[serde(with = "batches")]
    batches: Vec<tasker_core::state::BatchSpan>,
    fence_base: u32,
    start_at: Option<i64>,
    created_at: i64,
    state_since: i64,
    wake_at: Option<i64>,
}

/// An error as it crosses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorShape {
    kind: Kind,
    code: String,
    message: String,
    hint: Option<String>,
    details: Option<serde_json::Value>,
}

impl From<Error> for ErrorShape {
    fn from(e: Error) -> ErrorShape {
        ErrorShape { kind: e.kind, code: e.code.into(), message: e.message, hint: e.hint, details: e.details }
    }
}

impl From<ErrorShape> for Error {
    fn from(e: ErrorShape) -> Error {
        // Codes are few and the same for ever, so that a copy of each may stay.
        static CODES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
        let mut codes = CODES.lock();
        let code = match codes.get(e.code.as_str()) {
            Some(code) => code,
            None => {
                let code: &'static str = Box::leak(e.code.into_boxed_str());
                codes.insert(code);
                code
            }
        };
        Error { kind: e.kind, code, message: e.message, hint: e.hint, details: e.details }
    }
}

/// An operation; a task to create goes without its compiled workflow.
#[derive(Debug, Serialize, Deserialize)]
pub enum OpShape {
    /// [`Op::Create`].
    Create {
        /// See [`NewTask`].
        uuid: Uuid,
        /// See [`NewTask`].
        template: i64,
        /// See [`NewTask`].
        context: Arc<str>,
        /// See [`NewTask`].
        details: Arc<str>,
        /// See [`NewTask`].
        priority: i32,
        /// See [`NewTask`].
        start_at: Option<i64>,
        /// See [`NewTask`].
        idempotency: Option<Idempotency>,
    },
    /// Any other.
    Op(Op),
}

impl OpShape {
    pub(crate) fn of(op: &Op) -> OpShape {
        match op {
            Op::Create(new) => {
                let NewTask { uuid, template, workflow: _, context, details, priority, start_at, idempotency } = &**new;
                OpShape::Create {
                    uuid: *uuid,
                    template: *template,
                    context: context.clone(),
                    details: details.clone(),
                    priority: *priority,
                    start_at: *start_at,
                    idempotency: idempotency.clone(),
                }
            }
            other => OpShape::Op(other.clone()),
        }
    }

    /// The operation, with the workflow as `store` has it.
    pub fn into_op(self, store: &dyn Store) -> Result<Op, Error> {
        Ok(match self {
            OpShape::Op(op) => op,
            OpShape::Create { uuid, template, context, details, priority, start_at, idempotency } => {
                let workflow = store.workflow(template)?;
                let new = NewTask { uuid, template, workflow, context, details, priority, start_at, idempotency };
                Op::Create(Box::new(new))
            }
        })
    }
}

/// What a worker's process sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Up {
    /// Comes first; after a broken connection it names the workers that are still there. They keep what they hold.
    Hello {
        /// See [`PROTOCOL`].
        protocol: u32,
        /// Workers of the process, by the numbers of their rows.
        workers: Vec<i64>,
    },
    /// A batch to store. The next one comes after the answer to this one.
    Commit {
        /// See [`crate::Batch`].
        ops: Vec<OpShape>,
        /// See [`crate::Batch`].
        claims: Vec<ClaimRequest>,
        /// Steps that the process holds; whether one of them is a suspect.
        holding: (usize, bool),
        /// See [`crate::Batch`].
        jitter_seed: Option<u64>,
        /// See [`crate::Batch`].
        max_crashes: u32,
        /// Those tasks of the operations that the process knows.
        known: Vec<i64>,
    },
}

/// Version of the protocol and workers of a first message. Workers of other versions, which name theirs otherwise, are left
/// out: it is the version that is answered.
pub fn hello(bytes: &[u8]) -> Result<(u32, Vec<i64>), Error> {
    #[derive(Deserialize)]
    enum First {
        Hello { protocol: u32, workers: Vec<serde_json::Value> },
    }
    let First::Hello { protocol, workers } = read(bytes)?;
    Ok((protocol, workers.iter().filter_map(serde_json::Value::as_i64).collect()))
}

/// What a server sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Down {
    /// Answers the hello.
    Welcome {
        /// How durable a commit is.
        durability: String,
        /// Latest time any commit was stamped with.
        high_water: i64,
        /// The server's clock, Unix milliseconds.
        now: i64,
    },
    /// Answers a commit.
    Done {
        /// What it did.
        outcome: Result<Box<CommittedShape>, CommitErrorShape>,
        /// The server's clock, Unix milliseconds.
        now: i64,
    },
    /// Somebody else wrote to the store.
    Changed,
    /// The server is shutting down: batches without an answer will not be stored.
    Goodbye,
    /// The session cannot be had.
    Refused(ErrorShape),
}

/// What became of something that was neither done nor refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unsettled {
    /// See [`CommitError::NotStored`].
    NotStored,
    /// See [`CommitError::Unknown`].
    Unknown,
}

impl Unsettled {
    fn of(error: &CommitError) -> Option<Unsettled> {
        match error {
            CommitError::NotStored(_) => Some(Unsettled::NotStored),
            CommitError::Unknown(_) => Some(Unsettled::Unknown),
            CommitError::Refused(_) => None,
        }
    }
}

/// Why a batch was not done, as it crosses.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommitErrorShape {
    #[serde(flatten)]
    error: ErrorShape,
    #[serde(default)]
    unsettled: Option<Unsettled>,
}

impl From<CommitError> for CommitErrorShape {
    fn from(error: CommitError) -> CommitErrorShape {
        CommitErrorShape { unsettled: Unsettled::of(&error), error: Error::from(error).into() }
    }
}

impl From<CommitErrorShape> for CommitError {
    fn from(shape: CommitErrorShape) -> CommitError {
        settled(shape.error, shape.unsettled)
    }
}

fn settled(error: ErrorShape, unsettled: Option<Unsettled>) -> CommitError {
    let error = Error::from(error);
    match unsettled {
        Some(Unsettled::NotStored) => CommitError::NotStored(error),
        Some(Unsettled::Unknown) => CommitError::Unknown(error),
        None => CommitError::Refused(error),
    }
}

/// [`Committed`], each task's information once.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommittedShape {
    results: Vec<Result<Done, ErrorShape>>,
    /// Of those results that are errors, the ones that are no refusals.
    #[serde(default)]
    unsettled: Vec<(usize, Unsettled)>,
    claimed: Vec<Vec<ClaimedShape>>,
    infos: Vec<InfoShape>,
    rested: Vec<(i64, i64)>,
    cut_short: Vec<CutShort>,
    published: Vec<Published>,
    left_ready: bool,
    #[serde(default)]
    claimable_at: Option<i64>,
    #[serde(default)]
    claims_unknown: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClaimedShape {
    task: i64,
    no: u16,
    step: u16,
    failures: u32,
    fence: u32,
    attempts: u32,
    started_at: i64,
    enqueued_at: i64,
    name: Option<String>,
    has_checkpoint: bool,
    suspect: bool,
}

/// [`TaskInfo`] without the compiled workflow.
#[derive(Debug, Serialize, Deserialize)]
pub struct InfoShape {
    id: i64,
    uuid: Uuid,
    template: i64,
    context: Arc<str>,
    details: Arc<str>,
    priority: i32,
    created_at: i64,
}

impl InfoShape {
    fn of(info: &TaskInfo) -> InfoShape {
        let TaskInfo { id, uuid, template, workflow: _, context, details, priority, created_at } = info;
        InfoShape {
            id: *id,
            uuid: *uuid,
            template: *template,
            context: context.clone(),
            details: details.clone(),
            priority: *priority,
            created_at: *created_at,
        }
    }

    fn into_info(self, store: &dyn Store) -> Result<TaskInfo, Error> {
        let workflow = store.workflow(self.template)?;
        let InfoShape { id, uuid, template, context, details, priority, created_at } = self;
        Ok(TaskInfo { id, uuid, template, workflow, context, details, priority, created_at })
    }
}

impl CommittedShape {
    /// As it crosses. The time of the next wake-up stays with the server, which sees to it.
    pub fn of(committed: Committed) -> CommittedShape {
        let Committed {
            results,
            claimed,
            rested,
            cut_short,
            published,
            left_ready,
            claimable_at,
            claims_unknown,
            next_wake: _,
        } = committed;
        let mut infos: Vec<InfoShape> = Vec::new();
        let mut shape = |c: Claimed| {
            if let Some(info) = &c.info
                && infos.iter().all(|i| i.id != info.id)
            {
                infos.push(InfoShape::of(info));
            }
            ClaimedShape {
                task: c.task,
                no: c.no,
                step: c.step,
                failures: c.failures,
                fence: c.fence,
                attempts: c.attempts,
                started_at: c.started_at,
                enqueued_at: c.enqueued_at,
                name: c.name,
                has_checkpoint: c.has_checkpoint,
                suspect: c.suspect,
            }
        };
        let claimed = claimed.into_iter().map(|claim| claim.into_iter().map(&mut shape).collect()).collect();
        let unsettled = |(at, result): (usize, &Result<Done, CommitError>)| {
            result.as_ref().err().and_then(Unsettled::of).map(|unsettled| (at, unsettled))
        };
        CommittedShape {
            unsettled: results.iter().enumerate().filter_map(unsettled).collect(),
            results: results.into_iter().map(|r| r.map_err(|e| Error::from(e).into())).collect(),
            claimed,
            infos,
            rested: rested.into_iter().map(|(task, state)| (task, state.code())).collect(),
            cut_short,
            published,
            left_ready,
            claimable_at,
            claims_unknown,
        }
    }

    pub(crate) fn results(&self) -> &[Result<Done, ErrorShape>] {
        &self.results
    }

    pub(crate) fn into_committed(self, store: &dyn Store) -> Result<Committed, Error> {
        let infos: Vec<Arc<TaskInfo>> =
            self.infos.into_iter().map(|i| i.into_info(store).map(Arc::new)).collect::<Result<_, _>>()?;
        let claim = |c: ClaimedShape| Claimed {
            info: infos.iter().find(|i| i.id == c.task).cloned(),
            task: c.task,
            no: c.no,
            step: c.step,
            failures: c.failures,
            fence: c.fence,
            attempts: c.attempts,
            started_at: c.started_at,
            enqueued_at: c.enqueued_at,
            name: c.name,
            has_checkpoint: c.has_checkpoint,
            suspect: c.suspect,
        };
        let state = |(task, code)| Some((task, tasker_core::state::TaskState::from_code(code)?));
        let unsettled = self.unsettled;
        let class = |at| unsettled.iter().find(|(of, _)| *of == at).map(|(_, unsettled)| *unsettled);
        let results = self.results.into_iter().enumerate();
        Ok(Committed {
            results: results.map(|(at, result)| result.map_err(|error| settled(error, class(at)))).collect(),
            claimed: self.claimed.into_iter().map(|c| c.into_iter().map(claim).collect()).collect(),
            rested: self.rested.into_iter().filter_map(state).collect(),
            cut_short: self.cut_short,
            next_wake: None,
            published: self.published,
            left_ready: self.left_ready,
            claimable_at: self.claimable_at,
            claims_unknown: self.claims_unknown,
        })
    }
}

/// A question to the store; its answer is what the method of [`Store`] of that name gives.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // each is a method of `Store` with its arguments
pub enum Ask {
    TemplateSource { template: i64 },
    FindTemplate { namespace: String, name: String, version: Option<String> },
    Templates,
    Task { uuid: Uuid },
    Tasks { filter: TaskFilter },
    Steps { task: i64 },
    Attempts { task: i64 },
    History { task: i64 },
    Results { task: i64, steps: Vec<u16> },
    Lost { held: Vec<(i64, u16, u32)> },
    Inputs { task: i64, no: u16 },
    Checkpoint { task: i64, no: u16 },
    Audit { task: i64 },
    TaskUuids { filter: TaskFilter },
    DeadLetters { filter: DeadLetterFilter },
    Events { filter: EventFilter },
    Prunable { before: i64 },
    Workers,
    IsConnected { worker: i64 },
    Doctor,
}

/// The answer to a question, JSON.
pub type Answer = Result<Box<serde_json::value::RawValue>, ErrorShape>;

/// Answers a question from `store`. `now`: Unix milliseconds.
pub fn answer(store: &dyn Store, ask: Ask, now: i64) -> Answer {
    fn json(value: Result<impl Serialize, Error>) -> Answer {
        value.map(|v| tasker_wire::json_of(&v)).map_err(ErrorShape::from)
    }
    match ask {
        Ask::TemplateSource { template } => json(store.template_source(template)),
        Ask::FindTemplate { namespace, name, version } => {
            json(store.find_template(&namespace, &name, version.as_deref()))
        }
        Ask::Templates => json(store.templates()),
        Ask::Task { uuid } => json(store.task(uuid)),
        Ask::Tasks { filter } => json(store.tasks(&filter)),
        Ask::Steps { task } => json(store.steps(task)),
        Ask::Attempts { task } => json(store.attempts(task)),
        Ask::History { task } => json(store.history(task)),
        Ask::Results { task, steps } => json(store.results(task, &steps)),
        Ask::Lost { held } => json(store.lost(&held)),
        Ask::Inputs { task, no } => json(store.inputs(task, no)),
        Ask::Checkpoint { task, no } => json(store.checkpoint(task, no)),
        Ask::Audit { task } => json(store.audit(task)),
        Ask::TaskUuids { filter } => json(store.task_uuids(&filter)),
        Ask::DeadLetters { filter } => json(store.dead_letters(&filter)),
        Ask::Events { filter } => json(store.events(&filter)),
        Ask::Prunable { before } => json(store.prunable(before)),
        Ask::Workers => json(store.workers()),
        Ask::IsConnected { worker } => json(Ok(store.is_connected(worker))),
        Ask::Doctor => json(store.doctor(now)),
    }
}
