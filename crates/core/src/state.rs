//! Control rows of tasks and steps: what the machine reads and changes. Payloads are not here.

use crate::graph::Index;

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant = $code),+ }
        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The public spelling.
            pub fn as_str(self) -> &'static str { match self { $($name::$variant => $text),+ } }
            /// The number kept in stores.
            pub fn code(self) -> i64 { self as i64 }
            /// The value of a stored number.
            pub fn from_code(code: i64) -> Option<$name> { match code { $($code => Some($name::$variant),)+ _ => None } }
            /// The value of a public spelling.
            pub fn parse(text: &str) -> Option<$name> { match text { $($text => Some($name::$variant),)+ _ => None } }
        }
    };
}

vocabulary! {
    /// State of a step.
    StepState {
        /// Waits for its dependencies.
        Pending = 0 => "pending",
        /// Waits in its queue for a worker.
        Enqueued = 1 => "enqueued",
        /// Held by a worker.
        InProgress = 2 => "in_progress",
        /// Failed; waits for its next attempt.
        WaitingForRetry = 3 => "waiting_for_retry",
        /// Its result is recorded.
        Complete = 4 => "complete",
        /// Failed for good.
        Error = 5 => "error",
        /// Will not run.
        Cancelled = 6 => "cancelled",
        /// An operator declared it done.
        ResolvedManually = 7 => "resolved_manually",
    }
}

impl StepState {
    /// Whether its children may treat it as done.
    pub fn is_done(self) -> bool {
        matches!(self, StepState::Complete | StepState::ResolvedManually)
    }

    /// Whether nothing but an operator moves it.
    pub fn is_final(self) -> bool {
        !matches!(self, StepState::Pending | StepState::Enqueued | StepState::InProgress | StepState::WaitingForRetry)
    }
}

vocabulary! {
    /// State of a task.
    TaskState {
        /// Not started yet.
        Pending = 0 => "pending",
        /// Steps are queued or running.
        StepsInProcess = 1 => "steps_in_process",
        /// Nothing runs and nothing is due.
        WaitingForDependencies = 2 => "waiting_for_dependencies",
        /// Only retries are waited for.
        WaitingForRetry = 3 => "waiting_for_retry",
        /// A step failed for good and nothing is left to run.
        BlockedByFailures = 4 => "blocked_by_failures",
        /// Every step is done.
        Complete = 5 => "complete",
        /// Given up, or stale.
        Error = 6 => "error",
        /// Cancelled by an operator.
        Cancelled = 7 => "cancelled",
        /// An operator declared it done.
        ResolvedManually = 8 => "resolved_manually",
    }
}

impl TaskState {
    /// Whether the task has ended.
    pub fn is_final(self) -> bool {
        matches!(self, TaskState::Complete | TaskState::Error | TaskState::Cancelled | TaskState::ResolvedManually)
    }

    /// Whether it ended or rests until an operator acts.
    pub fn is_resting(self) -> bool {
        self.is_final() || self == TaskState::BlockedByFailures
    }
}

vocabulary! {
    /// How an attempt ended.
    AttemptEnd {
        /// Its result was recorded.
        Completed = 0 => "completed",
        /// The handler failed.
        Failed = 1 => "failed",
        /// The handler exceeded its budget.
        TimedOut = 2 => "timed_out",
        /// The worker died or fell silent.
        LeaseExpired = 3 => "lease_expired",
        /// A stopping worker handed it back.
        Released = 4 => "released",
        /// It stored a checkpoint and was queued again.
        Checkpointed = 5 => "checkpointed",
        /// It reported after it had been superseded; nothing was changed.
        Rejected = 6 => "rejected",
        /// The task or step was cancelled or reset while it ran.
        Cancelled = 7 => "cancelled",
    }
}

vocabulary! {
    /// Why a dead letter was opened.
    DeadLetterReason {
        /// A step failed and may not be retried.
        PermanentFailure = 0 => "permanent_failure",
        /// A step used up its attempts.
        MaxRetriesExceeded = 1 => "max_retries_exceeded",
        /// The task outlived its lifecycle limits.
        StalenessTimeout = 2 => "staleness_timeout",
        /// A handler killed its worker too often.
        PoisonStep = 3 => "poison_step",
        /// An operator opened it.
        Manual = 4 => "manual",
    }
}

/// Control row of a step. All times are Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Number within the task: the template index, or above all of them for batch workers.
    pub no: u16,
    /// Index in the template.
    pub template: Index,
    /// Where it stands.
    pub state: StepState,
    /// Unfinished parents, as counted by the machine.
    pub remaining: u32,
    /// Fencing token: the number of the latest claim.
    pub fence: u32,
    /// Attempts that count against `max_attempts`.
    pub attempts: u32,
    /// Deaths of workers that ran this step and nothing else, since it last made progress.
    pub crashes: u32,
    /// When it last entered its queue; orders the queue.
    pub enqueued_at: i64,
    /// When the current or latest attempt started.
    pub started_at: i64,
    /// End of the wait for a retry.
    pub wake_at: Option<i64>,
    /// Store's number of the worker that holds it, or held it last.
    pub worker: i64,
    /// A checkpoint is stored for it.
    pub has_checkpoint: bool,
    /// A worker died that ran it beside others: until it has ended once, it runs alone.
    pub suspect: bool,
}

impl Step {
    /// Attempts started so far, those of dead workers included; what users see as `attempts`.
    pub fn attempts_shown(&self) -> u32 {
        self.attempts + self.crashes
    }

    /// A step that waits for `remaining` parents; its first claim will carry `fence + 1`.
    pub fn new(no: u16, template: Index, remaining: u32, fence: u32) -> Step {
        Step {
            no,
            template,
            state: StepState::Pending,
            remaining,
            fence,
            attempts: 0,
            crashes: 0,
            enqueued_at: 0,
            started_at: 0,
            wake_at: None,
            worker: 0,
            has_checkpoint: false,
            suspect: false,
        }
    }
}

/// The workers one batchable step created: numbers `first .. first + count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSpan {
    /// Template index of the batchable step.
    pub analyzer: Index,
    /// Template index of the worker step.
    pub worker: Index,
    /// Number of the first worker.
    pub first: u16,
    /// How many there are.
    pub count: u16,
    /// How many have been let run so far (`parallelism`).
    pub released: u16,
}

impl BatchSpan {
    /// Whether step `no` is one of these workers.
    pub fn contains(&self, no: u16) -> bool {
        (self.first..self.first + self.count).contains(&no)
    }

    /// Name of worker `no`: the worker step's name and its place, `_001` for the first.
    pub fn worker_name(&self, template_name: &str, no: u16) -> String {
        format!("{template_name}_{:03}", no - self.first + 1)
    }
}

/// Steps of a task by where they stand; the rest are pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All steps.
    pub total: u32,
    /// Complete or resolved.
    pub done: u32,
    /// In error.
    pub failed: u32,
    /// In error, but isolated: the task completes all the same.
    pub isolated: u32,
    /// Cancelled.
    pub cancelled: u32,
    /// Enqueued or in progress.
    pub active: u32,
    /// Waiting for a retry.
    pub waiting: u32,
}

/// Control row of a task. All times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Where it stands.
    pub state: TaskState,
    /// Held by an operator.
    pub paused: bool,
    /// Its steps by state.
    pub counts: Counts,
    /// Batches created so far.
    pub batches: Vec<BatchSpan>,
    /// Fence of steps created from now on; above that of every removed step.
    pub fence_base: u32,
    /// Not before this time; `None` once started.
    pub start_at: Option<i64>,
    /// When it was created.
    pub created_at: i64,
    /// When `state` was entered.
    pub state_since: i64,
    /// Next time the task itself needs attention (start, lifecycle limit).
    pub wake_at: Option<i64>,
}

impl Task {
    /// Whether ready steps may enter their queues.
    pub fn is_runnable(&self) -> bool {
        !self.paused && self.start_at.is_none() && !self.state.is_final()
    }
}
