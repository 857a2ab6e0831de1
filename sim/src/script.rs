//! What handlers do, told by the task's number and the step alone: the same however often a worker dies meanwhile, so
//! that the end of a task can be foretold.

use serde_json::json;
use tasker_core::graph::{Index, Workflow};
use tasker_core::template::StepKind;
use tasker_wire::{Failure, Report, StepError};

use crate::dice::{Dice, hash};

/// How the attempts of one step go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Attempts that fail and may be tried again, before anything else.
    pub failures: u32,
    /// What comes then fails for good.
    pub permanent: bool,
    /// Checkpoints stored before the attempt that succeeds.
    pub checkpoints: u32,
    /// The outcome of a decision or batchable step asks for what cannot be.
    pub nonsense: bool,
}

/// Everything goes well.
pub const WELL: Plan = Plan { failures: 0, permanent: false, checkpoints: 0, nonsense: false };

/// The plan of step `no` of the task with this script.
pub fn plan(script: u64, no: u16) -> Plan {
    let dice = &mut Dice::new(script, 1_000 + u64::from(no));
    let mut plan = WELL;
    match dice.below(100) {
        0..60 => {}
        60..82 => plan.failures = 1 + dice.below(3) as u32,
        82..90 => {
            plan.permanent = true;
            plan.failures = dice.below(2) as u32;
        }
        _ => plan.checkpoints = 1 + dice.below(2) as u32,
    }
    plan.nonsense = !plan.permanent && dice.often(2);
    plan
}

/// What an attempt reports.
pub fn report(workflow: &Workflow, script: u64, plan: Plan, attempt: &Attempt) -> Report {
    let execution_us = 1_000;
    if attempt.failures < plan.failures {
        return failure(true, "it may work next time", hash(&[script, 5, u64::from(attempt.no)]).is_multiple_of(4));
    }
    if plan.permanent {
        return failure(false, "it will never work", false);
    }
    if attempt.cursor < plan.checkpoints {
        return Report::Checkpoint { checkpoint: json!({"cursor": attempt.cursor + 1}).to_string(), execution_us };
    }
    Report::Success { result: result(workflow, script, plan.nonsense, attempt), metadata: None, execution_us }
}

/// The attempt that reports.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Step number.
    pub no: u16,
    /// Template index.
    pub step: Index,
    /// Fencing token.
    pub fence: u32,
    /// Failed attempts before.
    pub failures: u32,
    /// From the latest checkpoint.
    pub cursor: u32,
}

/// A result that tells its attempt; a decision or batchable step's asks for steps, other ones at every attempt.
pub fn result(workflow: &Workflow, script: u64, nonsense: bool, attempt: &Attempt) -> String {
    let graph = &workflow.graph;
    let choice = hash(&[script, u64::from(attempt.no), u64::from(attempt.fence)]);
    let name = |t: &Index| workflow.template.steps[usize::from(*t)].name.as_str();
    let children = &graph.children[usize::from(attempt.step)];
    let mut result = json!({"no": attempt.no, "fence": attempt.fence});
    match graph.kinds[usize::from(attempt.step)] {
        StepKind::Decision if nonsense => {
            result["decision_point_outcome"] = json!({"type": "create_steps", "step_names": ["nowhere"]});
        }
        StepKind::Decision => {
            let chosen = children.iter().enumerate().filter(|(i, t)| {
                graph.kinds[usize::from(**t)] != StepKind::BatchWorker && !(choice >> (8 * i)).is_multiple_of(3)
            });
            let names: Vec<&str> = chosen.map(|(_, t)| name(t)).collect();
            result["decision_point_outcome"] = match names.as_slice() {
                [] => json!({"type": "no_branches"}),
                names => json!({"type": "create_steps", "step_names": names}),
            };
        }
        StepKind::Batchable => {
            let worker = workflow.template.steps[usize::from(attempt.step)].batch.as_ref();
            let worker = worker.and_then(|b| b.worker_template.as_deref()).unwrap_or_default();
            let count = choice % 4;
            let cursors: Vec<_> = (0..count)
                .map(|i| json!({"batch_id": i, "start_cursor": i, "end_cursor": i + 1, "batch_size": 1}))
                .collect();
            result["batch_processing_outcome"] = match count {
                0 if !nonsense => json!({"type": "no_batches", "worker_template_name": worker}),
                _ => json!({"type": "create_batches", "worker_template_name": worker,
                    "worker_count": count + u64::from(nonsense), "cursor_configs": cursors, "total_items": count}),
            };
        }
        _ => {}
    }
    result.to_string()
}

fn failure(retryable: bool, message: &str, timed_out: bool) -> Report {
    Report::Failure(Box::new(Failure {
        error: StepError {
            message: message.into(),
            error_type: "simulated".into(),
            error_code: None,
            backtrace: Vec::new(),
            retryable,
            status_code: None,
            context: None,
        },
        retry_after_ms: None,
        timed_out,
        metadata: None,
        execution_us: 1_000,
    }))
}
