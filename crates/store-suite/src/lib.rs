//! Every behaviour a driver must have, as scenarios that run on any store.
//!
//! Time is a number the scenario moves; nothing here sleeps. After each scenario the store's own doctor must find
//! nothing wrong.

#![allow(clippy::unwrap_used)] // a suite of tests: what cannot be unwrapped is a failure

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use serde_json::{Value, json};
use tasker_core::graph::Workflow;
use tasker_core::id;
use tasker_core::machine::{Holding, SUSPECT_WAITS_MS};
use tasker_core::state::{AttemptEnd, DeadLetterReason, StepState, TaskState};
use tasker_wire::{DeadLetterFilter, Error, EventFilter, Failure, Kind, Report, StepError, TaskFilter};
use uuid::Uuid;

use tasker_store::{
    AttemptRecord, Batch, ClaimRequest, Claimed, Committed, CutShort, Done, EventRecord, Idempotency, LetterOrder,
    NewTask, NewWorker, Op, Order, PreparedEvent, Pruned, StepRecord, Store, TaskRecord, TemplateSource, WatchedRecord,
    compile,
};

/// Runs every scenario, each on a store of its own. The panic of a failing one names it.
pub fn exercise(make: &dyn Fn() -> Arc<dyn Store>) {
    for (name, _) in SCENARIOS {
        run(name, make());
    }
}

/// Runs the scenario of a name on a fresh store.
pub fn run(name: &str, store: Arc<dyn Store>) {
    let (name, scenario) =
        SCENARIOS.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("there is no scenario `{name}`"));
    let setup = Setup::new(store);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        scenario(&setup);
        setup.healthy();
    }));
    if let Err(panic) = ended {
        tracing::error!(scenario = name, "a conformance scenario failed");
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        match said {
            Some(said) => panic!("scenario `{name}`: {said}"),
            None => resume_unwind(panic),
        }
    }
}

/// A scenario by name.
pub type Scenario = (&'static str, fn(&Setup));

/// Calls a macro with the names of all scenarios: `each_scenario!(tests)` is `tests![one, another, …];`.
#[macro_export]
macro_rules! each_scenario {
    ($then:ident) => {
        $then![
            creation_and_claim_in_one_commit,
            creation_stores_all_that_was_sent,
            finish_and_the_next_claim_in_one_commit,
            a_report_that_comes_twice_is_kept_as_rejected,
            a_report_with_an_old_fence_changes_nothing,
            a_report_on_what_does_not_exist_changes_nothing,
            a_report_of_a_claim_that_the_store_has_lost_does_not_hinder_the_next,
            the_history_keeps_everything_a_handler_said,
            a_retry_waits_until_it_is_due,
            jitter_stays_within_a_tenth,
            a_silent_worker_loses_its_step_to_another,
            a_running_step_has_no_deadline_and_lost_ones_are_named,
            a_released_step_is_claimed_again_without_an_attempt,
            a_released_step_can_rest_for_a_while,
            a_checkpoint_is_delivered_with_the_next_claim,
            a_checkpoint_of_a_lost_attempt_is_not_stored,
            a_worker_that_died_with_one_step_costs_it_a_crash,
            steps_whose_worker_died_with_several_run_alone,
            a_busy_worker_reserves_a_suspect_that_no_idle_one_took,
            a_worker_that_stopped_costs_nothing,
            a_verdict_holds_only_if_the_beat_is_still_that,
            a_drain_that_was_cut_is_a_hand_back,
            what_was_given_and_never_arrived_goes_back,
            what_a_gone_worker_claims_is_found_and_handed_back,
            a_result_comes_before_what_is_due,
            a_step_that_kills_its_workers_is_given_up,
            a_delayed_task_starts_at_its_time,
            a_stale_task_becomes_a_dead_letter,
            due_rows_are_handled_up_to_the_limit,
            next_wake_is_the_earliest_of_all,
            a_repeated_request_finds_its_task,
            a_repeated_request_in_one_batch_finds_its_task,
            claims_follow_priority_then_age,
            a_step_priority_adds_to_the_tasks,
            a_new_task_does_not_overtake_the_queue,
            claims_keep_to_their_queues_and_slots,
            several_claims_share_a_queue_without_overlap,
            a_bad_operation_stops_no_other,
            pause_takes_from_the_queue_and_resume_puts_back,
            cancel_names_the_attempts_it_cut_short,
            operators_complete_resolve_and_reset,
            a_refused_action_leaves_no_trace,
            a_failed_task_opens_a_dead_letter_and_a_retry_settles_it,
            dead_letters_are_grouped_and_annotated_and_replayed,
            declared_events_are_stored_with_the_result,
            a_failure_and_the_completion_that_follows_it_are_two_events,
            events_of_a_task_are_read_in_order_and_by_one_reader,
            events_are_acknowledged_and_replayed,
            ended_tasks_are_removed_with_all_that_is_theirs,
            removal_leaves_what_somebody_may_still_need,
            removal_keeps_to_its_limit,
            a_decision_creates_steps_and_its_reset_removes_them,
            a_batch_stores_the_inputs_of_its_workers,
            a_batch_runs_no_more_workers_than_allowed,
            a_failed_fast_batch_keeps_the_history_of_what_it_stopped,
            a_step_that_is_removed_while_it_runs_keeps_its_history,
            results_come_in_the_order_asked,
            templates_are_stored_once_and_the_newest_is_found,
            listings_filter_sort_and_page,
            workers_are_seen_and_a_name_has_one_life_at_a_time,
            time_is_remembered,
            payloads_come_back_byte_for_byte,
            a_thousand_tasks_in_one_commit,
        ];
    };
}

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        /// Every scenario.
        pub const SCENARIOS: &[Scenario] = &[$((stringify!($name), $name)),+];
    };
}

each_scenario!(scenarios);

const NOW: i64 = 1_800_000_000_000;
const LEASE_MS: i64 = 30_000;

const ONE: &str = "name: one\nnamespace_name: shop\nversion: 1.0.0\nsteps: [{name: a, handler: shop.a}]";
const CHAIN: &str = "
name: chain
namespace_name: shop
version: 1.0.0
steps:
  - {name: a, handler: shop.a, retry: {max_attempts: 3, backoff_base_ms: 50}}
  - {name: b, handler: shop.b, depends_on: [a]}
";
const TOLD: &str = "
name: told
namespace_name: shop
version: 1.0.0
steps:
  - name: a
    handler: shop.a
    retry: {max_attempts: 2, backoff: none}
    publishes_events:
      - {name: a.done}
      - {name: a.seen, condition: always}
      - {name: a.again, condition: retryable_failure}
      - {name: a.over, condition: permanent_failure, publisher: p}
      - {name: a.felt, condition: failure, delivery_mode: fast}
  - {name: b, handler: shop.a, depends_on: [a], publishes_events: [{name: b.done, delivery_mode: broadcast}]}
";
const WIDE: &str = "
name: wide
namespace_name: shop
version: 1.0.0
steps:
  - {name: a, handler: shop.a}
  - {name: b, handler: shop.a}
  - {name: c, handler: shop.a}
";
const ROUTED: &str = "
name: routed
namespace_name: shop
version: 1.0.0
steps:
  - {name: start, handler: h}
  - {name: route, type: decision, handler: h, depends_on: [start]}
  - {name: left, handler: h, depends_on: [route]}
  - {name: right, handler: h, depends_on: [route]}
  - {name: end, type: deferred_convergence, handler: h, depends_on: [left, right]}
";

const ALL_LETTERS: DeadLetterFilter = DeadLetterFilter {
    all: true,
    reason: None,
    namespace: None,
    name: None,
    fingerprint: None,
    task_uuid: None,
    limit: None,
};

fn batch(config: &str) -> String {
    format!(
        "
name: batch
namespace_name: shop
version: 1.0.0
steps:
  - {{name: analyze, type: batchable, handler: h, batch_config: {{worker_template: rows{config}}}}}
  - {{name: rows, type: batch_worker, handler: h, depends_on: [analyze], retry: {{max_attempts: 1}}}}
  - {{name: join, type: deferred_convergence, handler: h, depends_on: [rows]}}
"
    )
}

/// A store under test, its clock, and what scenarios do with them.
pub struct Setup {
    /// The store.
    pub store: Arc<dyn Store>,
    now: Cell<i64>,
    jitter_seed: Cell<Option<u64>>,
    holding: Cell<Holding>,
}

#[derive(Debug, Clone, Copy)]
struct Made {
    id: i64,
    uuid: Uuid,
}

impl Setup {
    fn new(store: Arc<dyn Store>) -> Setup {
        Setup { store, now: Cell::new(NOW), jitter_seed: Cell::new(None), holding: Cell::default() }
    }

    fn pass(&self, ms: i64) {
        self.now.set(self.now.get() + ms);
    }

    fn commit(&self, ops: &[Op], claims: &[ClaimRequest]) -> Committed {
        let batch = Batch {
            ops,
            claims,
            now: self.now.get(),
            jitter_seed: self.jitter_seed.get(),
            max_crashes: 3,
            holding: self.holding.get(),
            knows: &|_| false,
        };
        let committed = self.store.commit(&batch).unwrap();
        assert_eq!((committed.results.len(), committed.claimed.len()), (ops.len(), claims.len()));
        committed
    }

    fn one(&self, op: Op) -> Result<Done, Error> {
        self.commit(&[op], &[]).results.pop().unwrap().map_err(Error::from)
    }

    fn template(&self, yaml: &str) -> (i64, Arc<Workflow>) {
        let workflow = Arc::new(compile(yaml, "test.yaml", None).unwrap());
        let t = &workflow.template;
        let source = TemplateSource {
            path: "test.yaml".into(),
            source: yaml.into(),
            environment: None,
            identity: (t.namespace.clone(), t.name.clone(), t.version.clone()),
        };
        match self.one(Op::AddTemplate(source)).unwrap() {
            Done::Template(id) => (id, workflow),
            other => panic!("a template gave {other:?}"),
        }
    }

    fn new_task(&self, yaml: &str) -> NewTask {
        let (template, workflow) = self.template(yaml);
        NewTask {
            uuid: id::task_uuid(Uuid::now_v7()),
            template,
            workflow,
            context: "{}".into(),
            details: r#"{"tags":[]}"#.into(),
            priority: 0,
            start_at: None,
            idempotency: None,
        }
    }

    fn create(&self, new: NewTask) -> Made {
        made(self.one(Op::Create(Box::new(new))).unwrap())
    }

    fn task_of(&self, yaml: &str) -> Made {
        self.create(self.new_task(yaml))
    }

    fn worker(&self, name: &str, queues: &[&str]) -> ClaimRequest {
        let worker = NewWorker {
            name: name.into(),
            language: "rust".into(),
            sdk_version: "1".into(),
            queues: queues.iter().map(ToString::to_string).collect(),
            handlers: vec!["shop.a".into()],
            slots: 10,
            pid: 42,
            lease_ms: LEASE_MS,
        };
        let Ok(Done::Worker(worker)) = self.one(Op::AddWorker(Box::new(worker))) else { panic!("no worker") };
        ClaimRequest { worker, queues: queues.iter().map(ToString::to_string).collect(), slots: 10 }
    }

    /// A worker dies, or has been silent for too long.
    fn lose(&self, worker: &ClaimRequest) -> Committed {
        self.commit(&[Op::WorkerGone { worker: worker.worker, beat: None, stopped: false }], &[])
    }

    fn watched(&self, worker: &ClaimRequest) -> Option<WatchedRecord> {
        self.store.watched().unwrap().into_iter().find(|w| w.id == worker.worker)
    }

    fn claim(&self, by: &ClaimRequest, slots: usize) -> Vec<Claimed> {
        self.commit(&[], &[ClaimRequest { slots, ..by.clone() }]).claimed.pop().unwrap()
    }

    /// Claims the only step there is.
    fn take(&self, by: &ClaimRequest) -> Claimed {
        let mut claimed = self.claim(by, 10);
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        claimed.pop().unwrap()
    }

    fn finish(&self, by: &ClaimRequest, claimed: &Claimed, report: Report) -> bool {
        match self.one(finish(by, claimed, report)).unwrap() {
            Done::Finished { accepted } => accepted,
            other => panic!("a report gave {other:?}"),
        }
    }

    /// Claims the only step there is and completes it.
    fn do_one(&self, by: &ClaimRequest, result: Value) -> Claimed {
        let claimed = self.take(by);
        assert!(self.finish(by, &claimed, success(&result.to_string())));
        claimed
    }

    fn act(&self, task: Made, order: Order) -> Result<Done, Error> {
        self.one(Op::Act { task: task.uuid, order, actor: "ann".into(), reason: "because".into() })
    }

    fn due(&self) -> usize {
        match self.one(Op::Due { limit: 100, skip: 0 }).unwrap() {
            Done::Due(count) => count,
            other => panic!("due gave {other:?}"),
        }
    }

    fn record(&self, task: Made) -> TaskRecord {
        self.store.task(task.uuid).unwrap().unwrap()
    }

    fn state(&self, task: Made) -> TaskState {
        self.record(task).task.state
    }

    fn steps(&self, task: Made) -> BTreeMap<String, StepRecord> {
        let workflow = self.store.workflow(self.record(task).template).unwrap();
        let name = |s: &StepRecord| {
            s.name.clone().unwrap_or_else(|| workflow.template.steps[usize::from(s.step.template)].name.clone())
        };
        self.store.steps(task.id).unwrap().into_iter().map(|s| (name(&s), s)).collect()
    }

    fn step(&self, task: Made, name: &str) -> StepRecord {
        self.steps(task).remove(name).unwrap_or_else(|| panic!("no step `{name}`"))
    }

    fn names(&self, task: Made) -> Vec<String> {
        self.steps(task).into_keys().collect()
    }

    fn history(&self, task: Made, no: u16) -> Vec<AttemptRecord> {
        self.store.attempts(task.id).unwrap().into_iter().filter(|a| a.no == no).collect()
    }

    fn ends(&self, task: Made, no: u16) -> Vec<AttemptEnd> {
        self.history(task, no).into_iter().map(|a| a.end).collect()
    }

    fn healthy(&self) {
        let report = self.store.doctor(self.now.get()).unwrap();
        let wrong: Vec<_> = report.findings.iter().filter(|f| f.violations > 0).collect();
        assert!(report.healthy && wrong.is_empty(), "the doctor finds {wrong:?}");
    }
}

fn made(done: Done) -> Made {
    match done {
        Done::Created { task, uuid, .. } => Made { id: task, uuid },
        other => panic!("a creation gave {other:?}"),
    }
}

fn success(result: &str) -> Report {
    Report::Success { result: result.into(), metadata: None, execution_us: 1_500 }
}

fn failure(retryable: bool) -> Report {
    Report::Failure(Box::new(Failure {
        error: StepError {
            message: "no".into(),
            error_type: "custom".into(),
            error_code: None,
            backtrace: Vec::new(),
            retryable,
            status_code: None,
            context: None,
        },
        retry_after_ms: None,
        timed_out: false,
        metadata: None,
        execution_us: 10,
    }))
}

fn finish(by: &ClaimRequest, claimed: &Claimed, report: Report) -> Op {
    Op::Finish {
        task: claimed.task,
        no: claimed.no,
        fence: claimed.fence,
        worker: by.worker,
        report,
        events: Vec::new(),
    }
}

fn key(claimed: &Claimed) -> (i64, u16, u32) {
    (claimed.task, claimed.no, claimed.fence)
}

fn decision(steps: &[&str]) -> Value {
    json!({"decision_point_outcome": {"type": "create_steps", "step_names": steps}})
}

fn batches(count: u64) -> Value {
    json!({"batch_processing_outcome": {
        "type": "create_batches", "worker_template_name": "rows", "worker_count": count,
        "cursor_configs": (0..count).map(|i| json!({"batch_id": i, "start_cursor": i * 10})).collect::<Vec<_>>(),
    }})
}

// --- creation, claim, finish -----------------------------------------------------------------------------------------

fn creation_and_claim_in_one_commit(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let new = s.new_task(CHAIN);
    let uuid = new.uuid;
    let committed = s.commit(&[Op::Create(Box::new(new))], std::slice::from_ref(&worker));
    let task = made(committed.results[0].clone().unwrap());
    assert_eq!(task.uuid, uuid);
    let claimed = &committed.claimed[0];
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].task, claimed[0].no, claimed[0].fence, claimed[0].attempts), (task.id, 0, 1, 0));
    let info = claimed[0].info.as_ref().unwrap();
    assert_eq!((info.id, info.uuid, &*info.context), (task.id, uuid, "{}"));
    assert_eq!(committed.next_wake, None, "a running step has no deadline");
    let a = s.step(task, "a");
    assert_eq!((a.step.state, a.step.wake_at), (StepState::InProgress, None));
    assert_eq!(a.worker.as_deref(), Some("w"));
    assert_eq!(s.step(task, "b").step.state, StepState::Pending);
    assert!(s.claim(&worker, 10).is_empty(), "nothing is handed out twice");
}

fn creation_stores_all_that_was_sent(s: &Setup) {
    let new = NewTask {
        context: r#"{"n": 1.50, "big": 9223372036854775808}"#.into(),
        details: r#"{"initiator":"me","tags":["x"]}"#.into(),
        priority: -7,
        ..s.new_task(CHAIN)
    };
    let template = new.template;
    let task = s.create(new);
    let record = s.record(task);
    assert_eq!((record.id, record.uuid, record.template, record.priority), (task.id, task.uuid, template, -7));
    assert_eq!(record.context, r#"{"n": 1.50, "big": 9223372036854775808}"#, "digits stay as sent");
    assert_eq!(record.details, r#"{"initiator":"me","tags":["x"]}"#);
    assert_eq!((record.task.created_at, record.updated_at, record.ended_at), (NOW, NOW, None));
    assert_eq!((record.task.counts.total, record.task.counts.active), (2, 1));
    assert!(s.store.task(id::task_uuid(Uuid::now_v7())).unwrap().is_none());
}

fn finish_and_the_next_claim_in_one_commit(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let a = s.take(&worker);
    s.pass(5);
    let committed = s.commit(&[finish(&worker, &a, success("36.0"))], std::slice::from_ref(&worker));
    assert_eq!(committed.results, [Ok(Done::Finished { accepted: true })]);
    let b = &committed.claimed[0][0];
    assert_eq!((b.task, b.no, b.fence), (task.id, 1, 1));
    assert!(committed.rested.is_empty());
    let a = s.step(task, "a");
    assert_eq!((a.step.state, a.result.as_deref(), a.ended_at), (StepState::Complete, Some("36.0"), Some(NOW + 5)));
    s.pass(5);
    let committed = s.commit(&[finish(&worker, b, success("null"))], std::slice::from_ref(&worker));
    assert_eq!(committed.rested, [(task.id, TaskState::Complete)]);
    let record = s.record(task);
    assert_eq!((record.task.state, record.ended_at), (TaskState::Complete, Some(NOW + 10)));
    assert_eq!(s.step(task, "b").result.as_deref(), Some("null"), "null is a result");
}

fn a_report_that_comes_twice_is_kept_as_rejected(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let a = s.take(&worker);
    // In one commit, and again later.
    let twice = [finish(&worker, &a, success("1")), finish(&worker, &a, success("2"))];
    let results = s.commit(&twice, &[]).results;
    assert_eq!(results, [Ok(Done::Finished { accepted: true }), Ok(Done::Finished { accepted: false })]);
    assert!(!s.finish(&worker, &a, success("3")));
    assert!(!s.finish(&worker, &a, failure(true)));
    let history = s.history(task, 0);
    let ends: Vec<_> = history.iter().map(|h| (h.end, h.result.as_deref())).collect();
    use AttemptEnd::{Completed, Rejected};
    assert_eq!(ends, [(Completed, None), (Rejected, Some("2")), (Rejected, Some("3")), (Rejected, None)]);
    assert!(history[3].error.as_deref().is_some_and(|e| e.contains("custom")), "a late failure is kept too");
    assert_eq!(s.step(task, "a").result.as_deref(), Some("1"));
    assert_eq!(s.step(task, "a").step.attempts, 1);
    assert_eq!(s.store.doctor(s.now.get()).unwrap().rejected, 3);
}

fn a_report_with_an_old_fence_changes_nothing(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let old = s.take(&worker);
    assert!(s.finish(&worker, &old, Report::Release { delay_ms: 0 }));
    let new = s.take(&worker);
    assert!(new.fence > old.fence);
    for late in [success("1"), failure(false), Report::Release { delay_ms: 0 }] {
        assert!(!s.finish(&worker, &old, late));
    }
    assert!(!s.finish(&worker, &old, Report::Checkpoint { checkpoint: "{}".into(), execution_us: 1 }));
    let a = s.step(task, "a");
    assert_eq!((a.step.state, a.step.fence, a.checkpoint), (StepState::InProgress, new.fence, None));
    assert!(s.finish(&worker, &new, success("2")));
    assert_eq!(s.step(task, "a").result.as_deref(), Some("2"));
}

fn a_report_of_a_claim_that_the_store_has_lost_does_not_hinder_the_next(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let lost =
        Op::Finish { task: task.id, no: 0, fence: 1, worker: worker.worker, report: success("1"), events: Vec::new() };
    assert_eq!(s.one(lost), Ok(Done::Finished { accepted: false }));
    let again = s.take(&worker);
    assert_eq!(again.fence, 1, "the number is given again");
    assert!(s.finish(&worker, &again, success("2")));
    let ends: Vec<_> = s.history(task, 0).iter().map(|h| h.end).collect();
    assert_eq!(ends, [AttemptEnd::Completed, AttemptEnd::Rejected]);
    assert_eq!(s.step(task, "a").result.as_deref(), Some("2"));
}

fn a_report_on_what_does_not_exist_changes_nothing(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let report =
        |task, no| Op::Finish { task, no, fence: 1, worker: worker.worker, report: success("1"), events: Vec::new() };
    for op in [report(task.id + 1_000, 0), report(task.id, 9)] {
        assert_eq!(s.one(op), Ok(Done::Finished { accepted: false }));
    }
    assert!(s.store.attempts(task.id).unwrap().is_empty());
}

fn the_history_keeps_everything_a_handler_said(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let a = s.take(&worker);
    s.pass(20);
    let error = json!({
        "message": "card declined", "error_type": "PaymentError", "error_code": "CARD_42", "backtrace": ["x.rb:1", "y.rb:2"],
        "retryable": true, "status_code": 402, "context": {"card": 1.50},
    });
    let said = Report::Failure(Box::new(Failure {
        error: serde_json::from_value(error.clone()).unwrap(),
        retry_after_ms: Some(7_000),
        timed_out: true,
        metadata: Some(r#"{"k":1}"#.into()),
        execution_us: 19_500,
    }));
    assert!(s.finish(&worker, &a, said));
    let h = s.history(task, 0).pop().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&h.error.unwrap()).unwrap(), error);
    assert_eq!((h.end, h.attempt, h.fence, h.worker.as_deref()), (AttemptEnd::TimedOut, 1, 1, Some("w")));
    assert_eq!((h.started_at, h.ended_at, h.execution_us), (NOW, NOW + 20, Some(19_500)));
    assert_eq!((h.metadata.as_deref(), h.retry_at), (Some(r#"{"k":1}"#), Some(NOW + 20 + 7_000)));
    s.pass(7_000);
    assert_eq!(s.due(), 1);
    let a = s.take(&worker);
    let report = Report::Success { result: "1".into(), metadata: Some(r#"{"m":2}"#.into()), execution_us: 3 };
    assert!(s.finish(&worker, &a, report));
    let h = s.history(task, 0).pop().unwrap();
    assert_eq!((h.end, h.attempt, h.metadata.as_deref()), (AttemptEnd::Completed, 2, Some(r#"{"m":2}"#)));
}

// --- time ------------------------------------------------------------------------------------------------------------

fn a_retry_waits_until_it_is_due(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    for (attempts, delay) in [(0, 50), (1, 100)] {
        let a = s.take(&worker);
        assert_eq!(a.attempts, attempts);
        let committed = s.commit(&[finish(&worker, &a, failure(true))], &[]);
        assert_eq!(committed.next_wake, Some(s.now.get() + delay));
        assert_eq!(s.state(task), TaskState::WaitingForRetry);
        assert_eq!(s.store.next_wake().unwrap(), Some(s.now.get() + delay));
        s.pass(delay - 1);
        assert_eq!(s.due(), 0);
        assert!(s.claim(&worker, 10).is_empty());
        s.pass(1);
        // What falls due can be claimed in the same commit.
        let committed = s.commit(&[Op::Due { limit: 10, skip: 0 }], std::slice::from_ref(&worker));
        assert_eq!((&committed.results[0], committed.claimed[0].len()), (&Ok(Done::Due(1)), 1));
        assert!(s.finish(&worker, &committed.claimed[0][0], Report::Release { delay_ms: 0 }));
    }
    let a = s.take(&worker);
    let committed = s.commit(&[finish(&worker, &a, failure(true))], &[]);
    assert_eq!(committed.rested, [(task.id, TaskState::BlockedByFailures)]);
    let a = s.step(task, "a");
    assert_eq!((a.step.state, a.step.attempts, a.ended_at), (StepState::Error, 3, Some(s.now.get())));
}

fn jitter_stays_within_a_tenth(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let (template, workflow) =
        s.template("name: j\nnamespace_name: shop\nsteps: [{name: a, handler: h, retry: {backoff_base_ms: 1000}}]");
    let created: Vec<Op> = (0..100)
        .map(|_| Op::Create(Box::new(NewTask { template, workflow: workflow.clone(), ..s.new_task(ONE) })))
        .collect();
    s.commit(&created, &[]);
    s.jitter_seed.set(Some(7));
    let claimed = s.claim(&worker, 100);
    assert_eq!(claimed.len(), 100);
    let reports: Vec<Op> = claimed.iter().map(|c| finish(&worker, c, failure(true))).collect();
    s.commit(&reports, &[]);
    let mut delays: Vec<i64> =
        claimed.iter().map(|c| s.store.steps(c.task).unwrap()[0].step.wake_at.unwrap() - NOW).collect();
    assert!(delays.iter().all(|d| (900..=1_100).contains(d)), "{delays:?}");
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 20, "delays differ: {delays:?}");
}

fn a_silent_worker_loses_its_step_to_another(s: &Setup) {
    let (first, second) = (s.worker("first", &["shop"]), s.worker("second", &["shop"]));
    let task = s.task_of(CHAIN);
    let lost = s.take(&first);
    let beat = s.watched(&first).unwrap().beat;
    let gone = Op::WorkerGone { worker: first.worker, beat: Some(beat), stopped: false };
    let committed = s.commit(&[gone], std::slice::from_ref(&second));
    assert_eq!(committed.results, [Ok(Done::Gone(Some(1)))]);
    let cut = CutShort { worker: first.worker, task: task.id, no: 0, fence: 1 };
    assert_eq!(committed.cut_short, [cut], "the first worker is told, if it lives");
    let taken = &committed.claimed[0][0];
    assert_eq!((taken.fence, taken.attempts), (2, 1));
    assert!(s.finish(&second, taken, success("2")));
    assert!(!s.finish(&first, &lost, success("1")), "the late result is rejected");
    let history = s.history(task, 0);
    let ends: Vec<_> = history.iter().map(|h| (h.end, h.worker.as_deref(), h.attempt)).collect();
    assert_eq!(ends.len(), 3);
    assert!(ends.contains(&(AttemptEnd::LeaseExpired, Some("first"), 1)), "{ends:?}");
    assert!(ends.contains(&(AttemptEnd::Completed, Some("second"), 2)), "{ends:?}");
    assert!(ends.iter().any(|(end, by, _)| (*end, *by) == (AttemptEnd::Rejected, Some("first"))), "{ends:?}");
    assert_eq!(s.step(task, "a").result.as_deref(), Some("2"));
    assert_eq!((s.step(task, "a").step.attempts, s.step(task, "a").step.crashes), (1, 1));
}

fn a_running_step_has_no_deadline_and_lost_ones_are_named(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(WIDE);
    let held = s.claim(&worker, 3);
    assert!(s.finish(&worker, &held[1], success("1")));
    let keys: Vec<_> = held.iter().map(key).chain([(task.id, 9, 1), (task.id + 99, 0, 1)]).collect();
    let lost = vec![key(&held[1]), (task.id, 9, 1), (task.id + 99, 0, 1)];
    assert_eq!(s.store.lost(&keys).unwrap(), lost);
    s.pass(365 * 86_400_000);
    assert_eq!((s.due(), s.store.next_wake().unwrap()), (0, None), "no time ends what runs");
    assert_eq!(s.store.lost(&keys).unwrap(), lost);
    assert!(s.finish(&worker, &held[0], success("1")));
}

fn a_released_step_is_claimed_again_without_an_attempt(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    for fence in 1..=5 {
        let a = s.take(&worker);
        assert_eq!((a.fence, a.attempts), (fence, 0));
        assert!(s.finish(&worker, &a, Report::Release { delay_ms: 0 }));
    }
    assert_eq!(s.step(task, "a").step.attempts_shown(), 0);
    assert_eq!(s.ends(task, 0), [AttemptEnd::Released; 5]);
}

fn a_released_step_can_rest_for_a_while(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let a = s.take(&worker);
    assert!(s.finish(&worker, &a, Report::Release { delay_ms: 200 }));
    assert!(s.claim(&worker, 1).is_empty());
    s.pass(200);
    assert_eq!(s.due(), 1);
    assert_eq!(s.take(&worker).attempts, 0);
    assert_eq!(s.step(task, "a").step.state, StepState::InProgress);
}

fn a_checkpoint_is_delivered_with_the_next_claim(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let checkpoint = |at: u32| Report::Checkpoint { checkpoint: format!(r#"{{"cursor":{at}}}"#), execution_us: 5 };
    let a = s.take(&worker);
    assert!(!a.has_checkpoint);
    let committed = s.commit(&[finish(&worker, &a, checkpoint(25))], std::slice::from_ref(&worker));
    let a = &committed.claimed[0][0];
    assert!(a.has_checkpoint);
    assert_eq!((a.fence, a.attempts), (2, 0), "no attempt was used");
    assert_eq!(s.store.checkpoint(task.id, 0).unwrap().as_deref(), Some(r#"{"cursor":25}"#));
    assert!(s.finish(&worker, a, checkpoint(50)));
    // It outlives a failure and a crash.
    let a = s.take(&worker);
    assert!(s.finish(&worker, &a, failure(true)));
    s.pass(50);
    s.due();
    let a = s.take(&worker);
    assert!(a.has_checkpoint);
    s.lose(&worker);
    let worker = s.worker("w", &["shop"]);
    let a = s.take(&worker);
    assert!(a.has_checkpoint);
    assert_eq!(s.store.checkpoint(task.id, 0).unwrap().as_deref(), Some(r#"{"cursor":50}"#));
    assert!(s.finish(&worker, &a, success("100")));
    use AttemptEnd::{Checkpointed, Completed, Failed, LeaseExpired};
    assert_eq!(s.ends(task, 0), [Checkpointed, Checkpointed, Failed, LeaseExpired, Completed]);
}

fn a_checkpoint_of_a_lost_attempt_is_not_stored(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let lost = s.take(&worker);
    s.lose(&worker);
    assert!(!s.finish(&worker, &lost, Report::Checkpoint { checkpoint: "{}".into(), execution_us: 1 }));
    assert_eq!(s.store.checkpoint(task.id, 0).unwrap(), None);
    assert!(!s.take(&worker).has_checkpoint);
}

fn a_worker_that_died_with_one_step_costs_it_a_crash(s: &Setup) {
    let (dead, other) = (s.worker("dead", &["shop"]), s.worker("other", &["shop"]));
    let task = s.task_of(WIDE);
    assert_eq!(s.claim(&dead, 1).len(), 1);
    let kept = s.claim(&other, 2);
    let gone = Op::WorkerGone { worker: dead.worker, beat: None, stopped: false };
    let committed = s.commit(std::slice::from_ref(&gone), std::slice::from_ref(&other));
    assert_eq!(committed.claimed[0].len(), 1, "handed on in the same commit");
    let c = s.step(task, "c");
    assert_eq!((c.step.state, c.step.fence), (StepState::InProgress, kept[1].fence), "another's step is left alone");
    let a = s.step(task, "a").step;
    assert_eq!((a.crashes, a.attempts, a.suspect), (1, 0, false));
    assert_eq!(s.ends(task, 0), [AttemptEnd::LeaseExpired]);
    assert!(s.store.workers().unwrap().iter().any(|w| w.name == "dead" && w.gone));
    assert_eq!(s.one(gone), Ok(Done::Gone(None)), "once");
    assert_eq!(s.one(Op::WorkerGone { worker: 99, beat: None, stopped: false }), Ok(Done::Gone(None)));
}

fn steps_whose_worker_died_with_several_run_alone(s: &Setup) {
    let (dead, other) = (s.worker("dead", &["shop"]), s.worker("other", &["shop"]));
    let task = s.task_of(WIDE);
    assert_eq!(s.claim(&dead, 10).len(), 3);
    s.lose(&dead);
    for name in ["a", "b", "c"] {
        let step = s.step(task, name).step;
        assert_eq!((step.crashes, step.attempts, step.suspect), (0, 0, true), "{name} is not blamed");
    }
    let alone = s.take(&other);
    assert!(alone.suspect);
    s.holding.set(Holding { steps: 1, suspect: true });
    s.pass(60_000);
    assert!(s.claim(&other, 9).is_empty(), "nothing beside a suspect");
    s.holding.set(Holding::default());
    assert!(s.finish(&other, &alone, success("1")));
    assert!(!s.step(task, "a").step.suspect, "it has ended once");
    // Alone when its worker died, a step is to blame.
    let killer = s.take(&other);
    s.lose(&other);
    let b = s.step(task, "b").step;
    assert_eq!((killer.no, b.crashes, b.suspect), (1, 1, true));
}

fn a_busy_worker_reserves_a_suspect_that_no_idle_one_took(s: &Setup) {
    let (dead, busy) = (s.worker("dead", &["shop"]), s.worker("busy", &["shop"]));
    s.task_of(WIDE);
    assert_eq!(s.claim(&dead, 2).len(), 2);
    let own = s.take(&busy);
    s.lose(&dead);
    s.holding.set(Holding { steps: 1, suspect: false });
    assert!(s.claim(&busy, 9).is_empty(), "it is left to an idle worker");
    s.pass(SUSPECT_WAITS_MS);
    let reserved = s.take(&busy);
    assert!(reserved.suspect && !own.suspect);
}

fn a_worker_that_stopped_costs_nothing(s: &Setup) {
    let (stopped, other) = (s.worker("stopped", &["shop"]), s.worker("other", &["shop"]));
    let task = s.task_of(CHAIN);
    s.take(&stopped);
    let stops = Op::WorkerGone { worker: stopped.worker, beat: None, stopped: true };
    let committed = s.commit(&[stops], std::slice::from_ref(&other));
    assert_eq!((committed.claimed[0][0].fence, committed.claimed[0][0].attempts), (2, 0));
    assert_eq!(s.step(task, "a").step.crashes, 0);
    assert_eq!(s.ends(task, 0), [AttemptEnd::Released]);
}

fn a_verdict_holds_only_if_the_beat_is_still_that(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let a = s.take(&worker);
    let beat = s.watched(&worker).unwrap().beat;
    let verdict = Op::WorkerGone { worker: worker.worker, beat: Some(beat), stopped: false };
    let beats = Op::Heartbeat { worker: worker.worker, held: None };
    let both = s.commit(&[beats.clone(), verdict.clone()], &[]).results;
    assert_eq!(both, [Ok(Done::Beat { alive: true }), Ok(Done::Gone(None))]);
    assert!(s.watched(&worker).unwrap().beat > beat);
    assert_eq!(s.one(verdict), Ok(Done::Gone(None)));
    assert_eq!(s.step(task, "a").step.state, StepState::InProgress);
    assert!(s.finish(&worker, &a, success("1")));
    s.lose(&worker);
    assert_eq!(s.one(beats), Ok(Done::Beat { alive: false }), "it learns that it was declared gone");
}

fn a_drain_that_was_cut_is_a_hand_back(s: &Setup) {
    let (dead, other) = (s.worker("dead", &["shop"]), s.worker("other", &["shop"]));
    let task = s.task_of(WIDE);
    assert_eq!(s.claim(&dead, 2).len(), 2);
    s.one(Op::Draining { worker: dead.worker }).unwrap();
    s.lose(&dead);
    let a = s.step(task, "a").step;
    assert_eq!((a.state, a.crashes, a.attempts, a.suspect), (StepState::Enqueued, 0, 0, false));
    assert_eq!(s.ends(task, 0), [AttemptEnd::Released]);
    assert_eq!(s.claim(&other, 10).len(), 3);
}

fn what_was_given_and_never_arrived_goes_back(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(WIDE);
    let given = s.claim(&worker, 3);
    let held = Some(vec![key(&given[0]), key(&given[2])]);
    assert_eq!(s.one(Op::Heartbeat { worker: worker.worker, held }), Ok(Done::Beat { alive: true }));
    assert_eq!(s.ends(task, 1), [AttemptEnd::Released]);
    let states: Vec<StepState> = ["a", "b", "c"].iter().map(|name| s.step(task, name).step.state).collect();
    assert_eq!(states, [StepState::InProgress, StepState::Enqueued, StepState::InProgress]);
    assert!(s.finish(&worker, &given[0], success("1")));
}

fn what_a_gone_worker_claims_is_found_and_handed_back(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    s.lose(&worker);
    assert!(s.watched(&worker).is_none());
    let task = s.task_of(CHAIN);
    let beats = Op::Heartbeat { worker: worker.worker, held: None };
    let committed = s.commit(&[beats], std::slice::from_ref(&worker));
    assert!(committed.claimed[0].is_empty(), "who learns that it is gone claims nothing");
    // It has not heard of it yet.
    s.take(&worker);
    let watched = s.watched(&worker).unwrap();
    assert!(watched.gone);
    s.lose(&worker);
    let a = s.step(task, "a").step;
    assert_eq!((a.state, a.crashes, a.suspect), (StepState::Enqueued, 0, false));
    assert!(s.watched(&worker).is_none());
}

fn a_result_comes_before_what_is_due(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(
        "name: slow\nnamespace_name: shop\nlifecycle: {max_duration_minutes: 1, staleness_action: error}\nsteps: [{name: a, handler: h}]",
    );
    let a = s.take(&worker);
    s.pass(3_600_000);
    let committed = s.commit(&[Op::Due { limit: 10, skip: 0 }, finish(&worker, &a, success("1"))], &[]);
    assert_eq!(committed.results[1], Ok(Done::Finished { accepted: true }));
    assert_eq!(s.state(task), TaskState::Complete);
}

fn a_step_that_kills_its_workers_is_given_up(s: &Setup) {
    let task = s.task_of(CHAIN);
    for _ in 0..3 {
        let worker = s.worker("w", &["shop"]);
        s.take(&worker);
        s.lose(&worker);
    }
    assert_eq!((s.step(task, "a").step.state, s.state(task)), (StepState::Error, TaskState::BlockedByFailures));
    let last = s.history(task, 0).pop().unwrap();
    assert!(last.error.unwrap().contains("poison_step"));
    assert_eq!(s.store.dead_letters(&ALL_LETTERS).unwrap()[0].reason, DeadLetterReason::PoisonStep);
}

fn a_delayed_task_starts_at_its_time(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let new = NewTask { start_at: Some(NOW + 1_000), ..s.new_task(CHAIN) };
    let committed = s.commit(&[Op::Create(Box::new(new))], std::slice::from_ref(&worker));
    let task = made(committed.results[0].clone().unwrap());
    assert!(committed.claimed[0].is_empty());
    assert_eq!((s.state(task), committed.next_wake), (TaskState::Pending, Some(NOW + 1_000)));
    assert_eq!(s.store.next_wake().unwrap(), Some(NOW + 1_000));
    s.pass(999);
    assert_eq!(s.due(), 0);
    s.pass(1);
    let committed = s.commit(&[Op::Due { limit: 1, skip: 0 }], std::slice::from_ref(&worker));
    assert_eq!(committed.claimed[0].len(), 1);
    assert_eq!(s.state(task), TaskState::StepsInProcess);
}

fn a_stale_task_becomes_a_dead_letter(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let yaml = |action: &str| {
        format!(
            "name: slow{action}\nnamespace_name: shop\nlifecycle: {{max_duration_minutes: 1, staleness_action: {action}}}\nsteps: [{{name: a, handler: h}}, {{name: b, handler: h, depends_on: [a]}}]"
        )
    };
    let (letter, error, none) = (s.task_of(&yaml("dlq")), s.task_of(&yaml("error")), s.task_of(&yaml("none")));
    assert_eq!(s.claim(&worker, 3).len(), 3);
    s.pass(60_000);
    let committed = s.commit(&[Op::Due { limit: 10, skip: 0 }], &[]);
    assert_eq!(committed.results, [Ok(Done::Due(2))]);
    let mut rested = committed.rested.clone();
    rested.sort_by_key(|(task, _)| *task);
    assert_eq!(rested, [(letter.id, TaskState::Error), (error.id, TaskState::Error)]);
    assert_eq!(committed.cut_short.len(), 2);
    assert_eq!(s.state(none), TaskState::StepsInProcess);
    assert_eq!(s.step(letter, "b").step.state, StepState::Cancelled);
    assert_eq!(s.ends(letter, 0), [AttemptEnd::Cancelled]);
    let letters = s.store.dead_letters(&ALL_LETTERS).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].task, letters[0].reason), (letter.uuid, DeadLetterReason::StalenessTimeout));
    assert_eq!((letters[0].opened_at, letters[0].resolved_at), (NOW + 60_000, None));
}

fn due_rows_are_handled_up_to_the_limit(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    for _ in 0..5 {
        s.task_of(ONE);
    }
    let claimed = s.claim(&worker, 5);
    let failed: Vec<Op> = claimed.iter().map(|c| finish(&worker, c, failure(true))).collect();
    assert_eq!(s.commit(&failed, &[]).results.len(), 5);
    s.pass(3_600_000);
    for handled in [2, 2, 1, 0] {
        assert_eq!(s.one(Op::Due { limit: 2, skip: 0 }), Ok(Done::Due(handled)));
    }
}

fn next_wake_is_the_earliest_of_all(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    assert_eq!(s.store.next_wake().unwrap(), None);
    s.create(NewTask { start_at: Some(NOW + 90_000), ..s.new_task(ONE) });
    assert_eq!(s.store.next_wake().unwrap(), Some(NOW + 90_000));
    s.task_of(CHAIN);
    let a = s.take(&worker);
    assert_eq!(s.store.next_wake().unwrap(), Some(NOW + 90_000), "what runs has no deadline");
    assert!(s.finish(&worker, &a, failure(true)));
    assert_eq!(s.store.next_wake().unwrap(), Some(NOW + 50));
}

// --- idempotency, queues, batches of operations ----------------------------------------------------------------------

fn identified(s: &Setup, key: &str, digest: &str, strict: bool) -> NewTask {
    NewTask { idempotency: Some(Idempotency { key: key.into(), digest: digest.into(), strict }), ..s.new_task(ONE) }
}

#[track_caller]
fn conflicts(result: Result<Done, Error>, existing: Made) {
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Conflict, "task_exists"));
    assert_eq!(error.details, Some(json!({"task_uuid": existing.uuid.to_string()})));
}

fn a_repeated_request_finds_its_task(s: &Setup) {
    let first = s.create(identified(s, "k", "d", false));
    let again = s.one(Op::Create(Box::new(identified(s, "k", "d", false))));
    assert_eq!(again, Ok(Done::Created { task: first.id, uuid: first.uuid, existing: true }));
    conflicts(s.one(Op::Create(Box::new(identified(s, "k", "other", false)))), first);
    let strict = s.create(identified(s, "strict", "d", true));
    conflicts(s.one(Op::Create(Box::new(identified(s, "strict", "d", true)))), strict);
    s.create(identified(s, "another", "d", false));
    assert_eq!(s.store.tasks(&TaskFilter::default()).unwrap().1, 3);
}

fn a_repeated_request_in_one_batch_finds_its_task(s: &Setup) {
    let ops: Vec<Op> = ["d", "d", "other"].iter().map(|d| Op::Create(Box::new(identified(s, "k", d, false)))).collect();
    let results = s.commit(&ops, &[]).results;
    let first = made(results[0].clone().unwrap());
    assert_eq!(results[1], Ok(Done::Created { task: first.id, uuid: first.uuid, existing: true }));
    conflicts(results[2].clone().map_err(Error::from), first);
}

fn claims_follow_priority_then_age(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let mut made = Vec::new();
    for priority in [0, 100, -100, 0, 100, 1] {
        made.push(s.create(NewTask { priority, ..s.new_task(ONE) }).id);
        s.pass(1);
    }
    let order: Vec<i64> = (0..6).map(|_| s.claim(&worker, 1)[0].task).collect();
    assert_eq!(order, [made[1], made[4], made[5], made[0], made[3], made[2]]);
}

fn a_step_priority_adds_to_the_tasks(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(
        "name: p\nnamespace_name: shop\nsteps: [{name: low, handler: h, priority: -5}, {name: mid, handler: h}, {name: high, handler: h, priority: 5}]",
    );
    let urgent = s.create(NewTask { priority: 3, ..s.new_task(ONE) });
    let order: Vec<(i64, u16)> = s.claim(&worker, 10).iter().map(|c| (c.task, c.no)).collect();
    assert_eq!(order, [(task.id, 2), (urgent.id, 0), (task.id, 1), (task.id, 0)]);
}

fn a_new_task_does_not_overtake_the_queue(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let (first, second) = (s.task_of(ONE), s.task_of(ONE));
    s.pass(1);
    let new = s.new_task(ONE);
    let one_slot = [ClaimRequest { slots: 1, ..worker.clone() }];
    let committed = s.commit(&[Op::Create(Box::new(new))], &one_slot);
    assert_eq!(committed.claimed[0][0].task, first.id);
    assert!(committed.left_ready);
    assert_eq!(s.claim(&worker, 1)[0].task, second.id);
    // A more urgent one does.
    let urgent = NewTask { priority: 50, ..s.new_task(ONE) };
    let committed = s.commit(&[Op::Create(Box::new(urgent))], &one_slot);
    assert_eq!(committed.claimed[0][0].task, made(committed.results[0].clone().unwrap()).id);
}

fn claims_keep_to_their_queues_and_slots(s: &Setup) {
    let task = s.task_of(
        "name: q\nnamespace_name: shop\nsteps: [{name: a, handler: h}, {name: b, handler: h, queue: gpu}, {name: c, handler: h, queue: gpu}, {name: d, handler: h, queue: none}]",
    );
    let (shop, gpu, both) = (s.worker("s", &["shop"]), s.worker("g", &["gpu"]), s.worker("b", &["gpu", "shop"]));
    let taken = |by: &ClaimRequest, slots| -> Vec<u16> { s.claim(by, slots).iter().map(|c| c.no).collect() };
    assert!(taken(&gpu, 0).is_empty());
    assert_eq!(taken(&gpu, 1), [1]);
    assert_eq!(taken(&both, 10), [2, 0], "the first queue is asked first");
    assert!(taken(&shop, 10).is_empty());
    assert_eq!(s.step(task, "d").step.state, StepState::Enqueued, "nobody serves its queue");
}

fn several_claims_share_a_queue_without_overlap(s: &Setup) {
    let (x, y) = (s.worker("x", &["shop"]), s.worker("y", &["shop"]));
    let creations: Vec<Op> = (0..7).map(|_| Op::Create(Box::new(s.new_task(ONE)))).collect();
    let claims = [ClaimRequest { slots: 3, ..x }, ClaimRequest { slots: 3, ..y }];
    let committed = s.commit(&creations, &claims);
    let mut tasks: Vec<i64> = committed.claimed.iter().flatten().map(|c| c.task).collect();
    assert_eq!(committed.claimed.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    tasks.sort_unstable();
    tasks.dedup();
    assert_eq!(tasks.len(), 6);
    for (claim, claimed) in claims.iter().zip(&committed.claimed) {
        for c in claimed {
            let holder = s.store.steps(c.task).unwrap()[0].step.worker;
            assert_eq!(holder, claim.worker);
        }
    }
}

fn a_bad_operation_stops_no_other(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let held_by = s.task_of(CHAIN);
    let held = s.take(&worker);
    let new = s.new_task(ONE);
    let same_uuid = NewTask { uuid: new.uuid, ..s.new_task(ONE) };
    let ops = [
        Op::Create(Box::new(new)),
        Op::Act { task: Uuid::now_v7(), order: Order::Cancel, actor: "ann".into(), reason: String::new() },
        // Refused by the database itself: the UUID exists.
        Op::Create(Box::new(same_uuid)),
        finish(&worker, &held, success("1")),
        Op::Act { task: held_by.uuid, order: Order::GiveUp, actor: "ann".into(), reason: String::new() },
        Op::Create(Box::new(s.new_task(ONE))),
        Op::Heartbeat { worker: worker.worker, held: None },
    ];
    let committed = s.commit(&ops, std::slice::from_ref(&worker));
    let kinds: Vec<Result<(), Kind>> =
        committed.results.iter().map(|r| r.as_ref().map(drop).map_err(|e| e.error().kind)).collect();
    assert_eq!(kinds, [Ok(()), Err(Kind::NotFound), Err(Kind::Bug), Ok(()), Err(Kind::Conflict), Ok(()), Ok(())]);
    let code = |i: usize| committed.results[i].as_ref().unwrap_err().error().code;
    assert_eq!((code(1), code(4)), ("task_not_found", "action_refused"));
    assert_eq!(s.store.tasks(&TaskFilter::default()).unwrap().1, 3);
    assert_eq!(committed.claimed[0].len(), 3, "what follows the result, and the first steps of two new tasks");
    assert_eq!(s.step(held_by, "a").step.state, StepState::Complete);
    // Alone, a bad operation spoils nothing either.
    assert!(s.act(Made { id: 0, uuid: Uuid::now_v7() }, Order::Pause).is_err());
}

// --- operators -------------------------------------------------------------------------------------------------------

fn pause_takes_from_the_queue_and_resume_puts_back(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(WIDE);
    let held = s.claim(&worker, 1).pop().unwrap();
    assert_eq!(s.act(task, Order::Pause), Ok(Done::Acted));
    assert!(s.record(task).task.paused);
    assert!(s.claim(&worker, 10).is_empty());
    s.healthy();
    assert!(s.finish(&worker, &held, success("1")), "what runs may end");
    let resume = Op::Act { task: task.uuid, order: Order::Resume, actor: "bob".into(), reason: "go".into() };
    let committed = s.commit(&[resume], std::slice::from_ref(&worker));
    assert_eq!(committed.claimed[0].len(), 2);
    let audit = s.store.audit(task.id).unwrap();
    let rows: Vec<_> = audit
        .iter()
        .map(|a| (a.action.as_str(), a.actor.as_str(), a.reason.as_str(), a.before.as_str(), a.after.as_str()))
        .collect();
    assert_eq!(rows[0], ("pause", "ann", "because", "steps_in_process", "paused"));
    assert_eq!(rows[1], ("resume", "bob", "go", "paused", "steps_in_process"));
}

fn cancel_names_the_attempts_it_cut_short(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(WIDE);
    let held = s.claim(&worker, 2);
    s.pass(10);
    let cancel = Op::Act { task: task.uuid, order: Order::Cancel, actor: "ann".into(), reason: String::new() };
    let committed = s.commit(&[cancel], std::slice::from_ref(&worker));
    let cut: Vec<CutShort> =
        held.iter().map(|c| CutShort { worker: worker.worker, task: task.id, no: c.no, fence: c.fence }).collect();
    assert_eq!(committed.cut_short, cut);
    assert_eq!(committed.rested, [(task.id, TaskState::Cancelled)]);
    assert!(committed.claimed[0].is_empty(), "what was queued is gone");
    assert!(s.steps(task).values().all(|r| r.step.state == StepState::Cancelled && r.ended_at == Some(NOW + 10)));
    assert_eq!(s.record(task).ended_at, Some(NOW + 10));
    assert!(!s.finish(&worker, &held[0], success("1")));
    let history = s.history(task, 0);
    assert_eq!(history.iter().map(|h| h.end).collect::<Vec<_>>(), [AttemptEnd::Cancelled, AttemptEnd::Rejected]);
    assert_eq!((history[0].started_at, history[0].attempt), (NOW, 1));
    assert_eq!(s.store.next_wake().unwrap(), None);
}

fn operators_complete_resolve_and_reset(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(CHAIN);
    let held = s.take(&worker);
    let complete = Op::Act {
        task: task.uuid,
        order: Order::CompleteStep(0, "42".into()),
        actor: "ann".into(),
        reason: String::new(),
    };
    let committed = s.commit(&[complete], std::slice::from_ref(&worker));
    assert_eq!(committed.cut_short.len(), 1);
    assert_eq!((committed.claimed[0].len(), committed.claimed[0][0].no), (1, 1));
    assert_eq!(s.step(task, "a").result.as_deref(), Some("42"));
    assert!(!s.finish(&worker, &held, success("1")));
    assert_eq!(s.act(task, Order::ResolveStep(1)), Ok(Done::Acted));
    assert_eq!(s.state(task), TaskState::Complete);
    assert_eq!(s.step(task, "b").step.state, StepState::ResolvedManually);
    s.healthy();
    assert_eq!(s.act(task, Order::Reset(0)), Ok(Done::Acted));
    let (a, record) = (s.step(task, "a"), s.record(task));
    assert_eq!((a.step.state, a.result, a.ended_at), (StepState::Enqueued, None, None));
    assert_eq!((record.task.state, record.ended_at), (TaskState::StepsInProcess, None));
    s.do_one(&worker, json!(1));
    s.do_one(&worker, json!(2));
    assert_eq!((s.state(task), s.step(task, "a").result.as_deref()), (TaskState::Complete, Some("1")));
    let actions: Vec<_> = s.store.audit(task.id).unwrap().into_iter().map(|a| (a.action, a.no)).collect();
    let expected = [("complete_manually", Some(0)), ("resolve_manually", Some(1)), ("reset_for_retry", Some(0))];
    assert_eq!(actions, expected.map(|(action, no)| (action.to_string(), no)));
}

fn a_refused_action_leaves_no_trace(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(ONE);
    s.do_one(&worker, json!(1));
    let before = s.record(task);
    for order in [Order::Cancel, Order::Pause, Order::Resume, Order::RetryFailed, Order::GiveUp, Order::Reset(7)] {
        let error = s.act(task, order).unwrap_err();
        assert_eq!((error.kind, error.code), (Kind::Conflict, "action_refused"));
        assert!(error.message.contains(&task.uuid.to_string()));
    }
    let after = s.record(task);
    assert_eq!((after.task, after.updated_at), (before.task, before.updated_at));
    assert!(s.store.audit(task.id).unwrap().is_empty());
}

fn a_failed_task_opens_a_dead_letter_and_a_retry_settles_it(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(ONE);
    let a = s.take(&worker);
    assert!(s.finish(&worker, &a, failure(false)));
    let letter = s.store.dead_letters(&ALL_LETTERS).unwrap().pop().unwrap();
    assert_eq!((letter.task, letter.reason), (task.uuid, DeadLetterReason::PermanentFailure));
    s.pass(7);
    assert_eq!(s.act(task, Order::RetryFailed), Ok(Done::Acted));
    assert_eq!(s.store.dead_letters(&ALL_LETTERS).unwrap()[0].resolved_at, Some(NOW + 7));
    let a = s.take(&worker);
    assert_eq!(a.attempts, 0, "attempts are fresh");
    assert!(a.fence > 2, "what a cache holds of the step is void");
    assert!(s.finish(&worker, &a, failure(false)));
    assert_eq!(s.store.dead_letters(&ALL_LETTERS).unwrap().len(), 2);
    assert_eq!(s.act(task, Order::GiveUp), Ok(Done::Acted));
    assert_eq!(s.state(task), TaskState::Error);
    assert_eq!(s.act(task, Order::ResolveTask), Ok(Done::Acted));
    assert_eq!(s.state(task), TaskState::ResolvedManually);
}

// --- decisions and batches -------------------------------------------------------------------------------------------

fn dead_letters_are_grouped_and_annotated_and_replayed(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let failed_with = |message: &str| {
        let task = s.task_of(ONE);
        let mut report = failure(false);
        if let Report::Failure(failure) = &mut report {
            failure.error.message = message.into();
        }
        assert!(s.finish(&worker, &s.take(&worker), report));
        task
    };
    let first = failed_with("no order 17");
    failed_with("no order 18");
    failed_with("no customer");
    let letters = |filter: &DeadLetterFilter| s.store.dead_letters(filter).unwrap();
    let open = letters(&DeadLetterFilter::default());
    assert_eq!(open.len(), 3);
    let of_first = open.last().unwrap();
    assert_eq!((of_first.task, of_first.step.as_deref()), (first.uuid, Some("a")));
    assert_eq!((of_first.error_type.as_deref(), of_first.message.as_deref()), (Some("custom"), Some("no order 17")));
    let alike = DeadLetterFilter { fingerprint: Some(of_first.fingerprint.clone()), ..DeadLetterFilter::default() };
    assert_eq!(letters(&alike).len(), 2, "numbers do not matter");
    let act = |id, order| s.one(Op::DeadLetter { id, order, actor: "ann".into(), reason: String::new() });
    assert_eq!(act(of_first.id, LetterOrder::Annotate("looked at".into())), Ok(Done::Acted));
    assert_eq!(letters(&alike).pop().unwrap().note.as_deref(), Some("looked at"));
    assert_eq!(act(of_first.id, LetterOrder::Replay), Ok(Done::Acted));
    assert_eq!(act(of_first.id, LetterOrder::Replay).unwrap_err().kind, Kind::Conflict);
    assert_eq!(act(99, LetterOrder::Discard).unwrap_err().kind, Kind::NotFound);
    assert_eq!(s.do_one(&worker, json!(1)).task, first.id, "a replayed task runs");
    assert_eq!(s.state(first), TaskState::Complete);
    let discarded = open.first().unwrap();
    assert_eq!(act(discarded.id, LetterOrder::Discard), Ok(Done::Acted));
    assert_eq!(s.store.task(discarded.task).unwrap().unwrap().task.state, TaskState::Error);
    let all = DeadLetterFilter { all: true, ..DeadLetterFilter::default() };
    let ends: Vec<_> = letters(&all).into_iter().map(|l| l.resolution).collect();
    assert_eq!(ends, [Some("discarded".to_string()), None, Some("replayed".into())]);
    let audit: Vec<String> = s.store.audit(first.id).unwrap().into_iter().map(|a| a.action).collect();
    assert_eq!(audit, ["retry_failed"]);
}

fn all_events(s: &Setup) -> Vec<(String, Value)> {
    let read = |e: EventRecord| {
        let message: Value = serde_json::from_str(&e.message).unwrap();
        (message["event_name"].as_str().unwrap().to_string(), message)
    };
    s.store.events(&EventFilter::default()).unwrap().into_iter().map(read).collect()
}

fn declared_events_are_stored_with_the_result(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let new = NewTask { details: r#"{"correlation_id":"c"}"#.into(), ..s.new_task(TOLD) };
    let task = s.create(new);
    let a = s.take(&worker);
    let committed = s.commit(&[finish(&worker, &a, failure(true)), finish(&worker, &a, success("1"))], &[]);
    let told: Vec<(&str, bool)> = committed.published.iter().map(|e| (e.name.as_str(), e.queue.is_some())).collect();
    assert_eq!(told, [("a.seen", true), ("a.again", true), ("a.felt", false)], "a rejected report publishes nothing");
    assert_eq!(committed.published.iter().filter(|e| e.is_told).count(), 1);
    assert_eq!(committed.published[0].worker, worker.worker);
    let (names, messages): (Vec<String>, Vec<Value>) = all_events(s).into_iter().unzip();
    assert_eq!(names, ["a.seen", "a.again"]);
    assert_eq!(messages[0]["payload"]["message"], "no");
    let metadata = &messages[1]["metadata"];
    assert_eq!(metadata["task_uuid"], task.uuid.to_string());
    assert_eq!(metadata["step_uuid"], id::step_uuid(task.uuid, 0).to_string());
    let said = ["step_name", "namespace", "correlation_id", "condition", "delivery_mode", "fired_by"];
    let said: Vec<&str> = said.iter().map(|k| metadata[*k].as_str().unwrap()).collect();
    assert_eq!(said, ["a", "shop", "c", "retryable_failure", "durable", "default"]);
    // The last attempt, with what publishers made of it.
    let a = s.take(&worker);
    assert_eq!(a.failures, 1);
    let prepared = vec![
        PreparedEvent { index: 1, payload: None, metadata: None },
        PreparedEvent { index: 3, payload: Some("[3]".into()), metadata: Some(r#"{"by":"me"}"#.into()) },
        PreparedEvent { index: 2, payload: Some("0".into()), metadata: None },
    ];
    let Op::Finish { task: t, no, fence, worker: w, report, .. } = finish(&worker, &a, failure(true)) else { return };
    let committed = s.commit(&[Op::Finish { task: t, no, fence, worker: w, report, events: prepared }], &[]);
    let told: Vec<(&str, bool)> = committed.published.iter().map(|e| (e.name.as_str(), e.is_told)).collect();
    assert_eq!(told, [("a.over", true), ("a.felt", true)], "what does not fit is not published, prepared or not");
    let (name, over) = all_events(s).pop().unwrap();
    assert_eq!((name.as_str(), &over["payload"], &over["metadata"]["by"]), ("a.over", &json!([3]), &json!("me")));
    assert_eq!(over["metadata"]["fired_by"], "p");
    // An operator's completion is a success.
    assert_eq!(s.act(task, Order::CompleteStep(0, "7".into())), Ok(Done::Acted));
    let names: Vec<(String, Value)> =
        all_events(s).into_iter().map(|(n, m)| (n, m["payload"].clone())).skip(3).collect();
    assert_eq!(names, [("a.done".to_string(), json!(7)), ("a.seen".into(), json!(7))]);
    let ids: std::collections::BTreeSet<String> =
        all_events(s).into_iter().map(|(_, m)| m["event_id"].to_string()).collect();
    assert_eq!(ids.len(), 5, "every event has its own id");
}

fn a_failure_and_the_completion_that_follows_it_are_two_events(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.create(s.new_task(TOLD));
    let a = s.take(&worker);
    s.commit(&[finish(&worker, &a, failure(false))], &[]);
    assert_eq!(s.act(task, Order::CompleteStep(0, "7".into())), Ok(Done::Acted));
    let seen: Vec<Value> = all_events(s).into_iter().filter(|(name, _)| name == "a.seen").map(|(_, m)| m).collect();
    let conditions: Vec<&Value> = seen.iter().map(|m| &m["metadata"]["condition"]).collect();
    assert_eq!(conditions, ["permanent_failure", "success"]);
    assert_ne!(seen[0]["event_id"], seen[1]["event_id"], "consumers drop what they have seen");
}

fn read(s: &Setup, limit: usize) -> Vec<(i64, i64)> {
    let op = Op::ReadEvents { queue: "shop_domain_events".into(), limit, visible_at: s.now.get() + 1_000 };
    match s.one(op).unwrap() {
        Done::Events(events) => events.into_iter().map(|e| (e.msg_id, e.read_ct)).collect(),
        other => panic!("a read gave {other:?}"),
    }
}

fn events_of_a_task_are_read_in_order_and_by_one_reader(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    for _ in 0..2 {
        s.task_of(TOLD);
        s.do_one(&worker, json!(1));
        s.do_one(&worker, json!(2));
    }
    // Three events of each task: a.done, a.seen, b.done.
    assert_eq!(read(s, 2), [(1, 1), (2, 1)]);
    assert_eq!(read(s, 10), [(4, 1), (5, 1), (6, 1)], "3 waits behind 1 and 2, which another reader holds");
    assert!(read(s, 10).is_empty());
    assert_eq!(s.one(Op::ArchiveEvents { ids: vec![1, 2] }), Ok(Done::Due(2)));
    assert_eq!(read(s, 10), [(3, 1)]);
    s.pass(1_000);
    assert_eq!(read(s, 10), [(3, 2), (4, 2), (5, 2), (6, 2)], "what nobody acknowledged is read again");
}

fn events_are_acknowledged_and_replayed(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(TOLD);
    s.do_one(&worker, json!(1));
    s.do_one(&worker, json!(2));
    let ids: Vec<i64> = read(s, 10).into_iter().map(|(id, _)| id).collect();
    assert_eq!(s.one(Op::ArchiveEvents { ids: ids.clone() }), Ok(Done::Due(3)));
    assert_eq!(s.one(Op::ArchiveEvents { ids }), Ok(Done::Due(0)), "acknowledging twice does no harm");
    s.pass(5_000);
    assert!(read(s, 10).is_empty());
    let named = |name: &str, archived| EventFilter {
        namespace: Some("shop".into()),
        name: Some(name.into()),
        task_uuid: Some(task.uuid.to_string()),
        archived: Some(archived),
        ..EventFilter::default()
    };
    let found: Vec<i64> = s.store.events(&named("a.*", true)).unwrap().into_iter().map(|e| e.msg_id).collect();
    assert_eq!(found, [1, 2]);
    assert_eq!(s.one(Op::ReplayEvents { ids: found }), Ok(Done::Due(2)));
    assert_eq!(read(s, 10), [(1, 1), (2, 1)]);
    assert_eq!(s.store.events(&named("b.done", true)).unwrap().len(), 1);
    let elsewhere = EventFilter { namespace: Some("other".into()), ..EventFilter::default() };
    assert!(s.store.events(&elsewhere).unwrap().is_empty());
}

// --- retention -------------------------------------------------------------------------------------------------------

fn prune(s: &Setup, before: i64, limit: usize) -> Pruned {
    match s.one(Op::Prune { before, limit }).unwrap() {
        Done::Pruned(pruned) => pruned,
        other => panic!("removal gave {other:?}"),
    }
}

fn ended_tasks_are_removed_with_all_that_is_theirs(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let old = s.create(identified(s, "k", "d", false));
    s.do_one(&worker, json!(1));
    let failed = s.task_of(ONE);
    let a = s.take(&worker);
    assert!(s.finish(&worker, &a, failure(false)));
    assert_eq!(s.act(failed, Order::GiveUp), Ok(Done::Acted));
    let batch = s.task_of(&batch(""));
    let wants = json!({"batch_processing_outcome": {"type": "create_batches", "worker_template_name": "rows",
        "worker_count": 2, "total_items": 2, "cursor_configs": [
            {"batch_id": "1", "start_cursor": 0, "end_cursor": 1, "batch_size": 1},
            {"batch_id": "2", "start_cursor": 1, "end_cursor": 2, "batch_size": 1}]}});
    s.do_one(&worker, wants);
    let held = s.claim(&worker, 1).pop().unwrap();
    let checkpoint = Report::Checkpoint { checkpoint: "{}".into(), execution_us: 1 };
    assert!(s.finish(&worker, &held, checkpoint));
    assert_eq!(s.act(batch, Order::Cancel), Ok(Done::Acted));
    s.pass(1_000);
    let young = s.task_of(CHAIN);
    s.do_one(&worker, json!(1));
    s.do_one(&worker, json!(2));
    let live = s.task_of(CHAIN);
    s.do_one(&worker, json!(1));
    assert_eq!(s.store.prunable(NOW + 500), Ok(3));
    assert_eq!(prune(s, NOW, 10).tasks, 0, "they ended at that time, not before it");
    assert_eq!(prune(s, NOW + 500, 10), Pruned { tasks: 3, events: 0, has_more: false });
    assert_eq!(s.store.prunable(NOW + 500), Ok(0));
    for gone in [old, failed, batch] {
        assert!(s.store.task(gone.uuid).unwrap().is_none());
        assert!(s.store.steps(gone.id).unwrap().is_empty());
        assert!(s.store.attempts(gone.id).unwrap().is_empty());
        assert!(s.store.audit(gone.id).unwrap().is_empty());
        assert_eq!(s.store.checkpoint(gone.id, held.no), Ok(None));
        assert_eq!(s.store.inputs(gone.id, held.no), Ok(None));
    }
    assert!(s.store.dead_letters(&ALL_LETTERS).unwrap().is_empty());
    assert!(!s.finish(&worker, &held, success("1")), "a late report finds nothing to change");
    assert_eq!(s.state(young), TaskState::Complete);
    assert_eq!(s.steps(young).len(), 2);
    assert_eq!(s.steps(young)["b"].result.as_deref(), Some("2"));
    let again = s.create(identified(s, "k", "other", false));
    assert!(again.id > live.id, "its key is free again, its number is not");
    assert!(s.claim(&worker, 10).iter().any(|c| c.task == live.id));
    s.act(live, Order::Cancel).unwrap();
}

fn removal_leaves_what_somebody_may_still_need(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let stale = "
name: stale
namespace_name: shop
version: 1.0.0
lifecycle: {max_waiting_for_dependencies_minutes: 1, max_duration_minutes: 1, staleness_action: dlq}
steps: [{name: a, handler: shop.a}]";
    let letter = s.task_of(stale);
    s.pass(61_000);
    assert_eq!(s.due(), 1);
    assert_eq!(s.state(letter), TaskState::Error);
    let told = s.task_of(TOLD);
    s.do_one(&worker, json!(1));
    s.do_one(&worker, json!(2));
    let waiting = s.create(NewTask { start_at: Some(s.now.get() + 1), ..s.new_task(ONE) });
    let ids: Vec<i64> = read(s, 1).into_iter().map(|(id, _)| id).collect();
    assert_eq!(s.one(Op::ArchiveEvents { ids: ids.clone() }), Ok(Done::Due(1)));
    // PostgreSQL stamps acknowledgements by its own clock.
    let later = s.now.get() + 100 * 365 * 86_400_000;
    assert_eq!(s.store.prunable(later), Ok(1));
    assert_eq!(prune(s, later, 10), Pruned { tasks: 1, events: 1, has_more: false });
    assert!(s.store.task(told.uuid).unwrap().is_none());
    assert_eq!(s.state(letter), TaskState::Error, "its dead letter is open");
    assert_eq!(s.store.dead_letters(&ALL_LETTERS).unwrap().len(), 1);
    assert_eq!(s.state(waiting), TaskState::Pending);
    s.pass(1_000_000);
    let left: Vec<i64> = read(s, 10).into_iter().map(|(id, _)| id).collect();
    assert_eq!(
        (left.len(), left.contains(&ids[0])),
        (2, false),
        "events outlive their task until they are acknowledged"
    );
    let id = s.store.dead_letters(&ALL_LETTERS).unwrap()[0].id;
    let discard = Op::DeadLetter { id, order: LetterOrder::Discard, actor: "ann".into(), reason: "known".into() };
    s.one(discard).unwrap();
    assert_eq!(prune(s, later, 10).tasks, 1);
    assert!(s.store.task(letter.uuid).unwrap().is_none());
    assert_eq!(s.due(), 1, "the task that waited for its time");
}

fn removal_keeps_to_its_limit(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(s.task_of(ONE));
        s.do_one(&worker, json!(1));
        s.pass(10);
    }
    let last = s.task_of(ONE);
    let left = |s: &Setup| made.iter().filter(|t| s.store.task(t.uuid).unwrap().is_some()).map(|t| t.id).collect();
    let later = s.now.get() + 1;
    assert_eq!(prune(s, later, 2), Pruned { tasks: 2, events: 0, has_more: true });
    let ids: Vec<i64> = left(s);
    assert_eq!(ids, [made[2].id, made[3].id, made[4].id], "those that ended first go first");
    // In one commit with a task's end: each stands as if it had come alone.
    let a = s.take(&worker);
    let committed = s.commit(&[finish(&worker, &a, success("1")), Op::Prune { before: later, limit: 10 }], &[]);
    assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
    assert_eq!(s.state(last), TaskState::Complete);
    let ids: Vec<i64> = left(s);
    assert!(ids.is_empty());
}

fn a_decision_creates_steps_and_its_reset_removes_them(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(ROUTED);
    assert_eq!(s.names(task), ["route", "start"]);
    s.do_one(&worker, json!(1));
    let route = s.do_one(&worker, decision(&["left", "right"]));
    assert_eq!(s.names(task), ["end", "left", "right", "route", "start"]);
    let held = s.claim(&worker, 1).pop().unwrap();
    assert_eq!(s.act(task, Order::Reset(route.no)), Ok(Done::Acted));
    assert_eq!(s.names(task), ["route", "start"]);
    s.healthy();
    assert!(!s.finish(&worker, &held, success("1")), "its step no longer exists");
    s.do_one(&worker, decision(&["left"]));
    assert_eq!(s.names(task), ["end", "left", "route", "start"]);
    let left = s.do_one(&worker, json!(1));
    assert!(left.fence > held.fence);
    s.do_one(&worker, json!(1));
    assert_eq!(s.state(task), TaskState::Complete);
}

fn a_batch_stores_the_inputs_of_its_workers(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(&batch(", batch_size: 10"));
    s.do_one(&worker, batches(3));
    assert_eq!(s.names(task), ["analyze", "join", "rows_001", "rows_002", "rows_003"]);
    let claimed = s.claim(&worker, 10);
    assert_eq!(
        claimed.iter().map(|c| c.name.clone().unwrap()).collect::<Vec<_>>(),
        ["rows_001", "rows_002", "rows_003"]
    );
    for (i, c) in claimed.iter().enumerate() {
        let inputs: Value = serde_json::from_str(&s.store.inputs(task.id, c.no).unwrap().unwrap()).unwrap();
        assert_eq!(inputs["cursor"], json!({"batch_id": i, "start_cursor": i * 10}));
        assert_eq!((&inputs["is_no_op"], &inputs["batch_metadata"]["batch_size"]), (&json!(false), &json!(10)));
        assert!(s.finish(&worker, c, success("1")));
    }
    assert_eq!(s.store.inputs(task.id, 0).unwrap(), None);
    s.do_one(&worker, json!(3));
    assert_eq!(s.state(task), TaskState::Complete);
    assert_eq!(s.act(task, Order::Reset(0)), Ok(Done::Acted));
    assert_eq!(s.store.inputs(task.id, claimed[0].no).unwrap(), None, "they go with their worker");
}

fn a_batch_runs_no_more_workers_than_allowed(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(&batch(", parallelism: 2"));
    s.do_one(&worker, batches(5));
    let mut held = s.claim(&worker, 10);
    let mut done = 0;
    while !held.is_empty() {
        assert!(held.len() <= 2);
        let ended = held.remove(0);
        done += 1;
        let committed = s.commit(&[finish(&worker, &ended, success("1"))], std::slice::from_ref(&worker));
        if done < 5 {
            held.extend(committed.claimed.into_iter().flatten());
        } else {
            assert_eq!(committed.claimed[0].len(), 1, "the convergence");
            assert!(s.finish(&worker, &committed.claimed[0][0], success("5")));
        }
    }
    assert_eq!((done, s.state(task)), (5, TaskState::Complete));
}

fn a_failed_fast_batch_keeps_the_history_of_what_it_stopped(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(&batch(", failure_strategy: fail_fast"));
    s.do_one(&worker, batches(3));
    let held = s.claim(&worker, 2);
    let committed = s.commit(&[finish(&worker, &held[0], failure(false))], std::slice::from_ref(&worker));
    let cut = CutShort { worker: worker.worker, task: task.id, no: held[1].no, fence: 1 };
    assert_eq!(committed.cut_short, [cut]);
    assert!(committed.claimed[0].is_empty());
    assert!(!s.finish(&worker, &held[1], success("1")));
    assert_eq!(s.ends(task, held[0].no), [AttemptEnd::Failed]);
    assert_eq!(s.ends(task, held[1].no), [AttemptEnd::Cancelled, AttemptEnd::Rejected]);
}

fn a_step_that_is_removed_while_it_runs_keeps_its_history(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(&batch(""));
    s.do_one(&worker, batches(3));
    let held = s.claim(&worker, 1).remove(0);
    s.pass(10);
    assert_eq!(s.act(task, Order::Reset(0)), Ok(Done::Acted));
    let history = s.store.attempts(task.id).unwrap();
    let last = history.iter().rfind(|a| a.no == held.no && a.end == AttemptEnd::Cancelled).unwrap();
    assert_eq!((last.started_at, last.ended_at, last.attempt), (held.started_at, held.started_at + 10, 1));
}

// --- reads -----------------------------------------------------------------------------------------------------------

fn results_come_in_the_order_asked(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let task = s.task_of(WIDE);
    let held = s.claim(&worker, 2);
    let reports = [finish(&worker, &held[0], success("\"a\"")), finish(&worker, &held[1], success("\"b\""))];
    s.commit(&reports, &[]);
    let (a, b) = (Some("\"a\"".to_string()), Some("\"b\"".to_string()));
    let asked = [held[1].no, 77, held[0].no, 2, held[1].no];
    assert_eq!(s.store.results(task.id, &asked).unwrap(), [b.clone(), None, a, None, b]);
    assert!(s.store.results(task.id, &[]).unwrap().is_empty());
    assert_eq!(s.store.results(task.id + 99, &[0]).unwrap(), [None]);
}

fn templates_are_stored_once_and_the_newest_is_found(s: &Setup) {
    let versioned = |version: &str, handler: &str| {
        format!("name: t\nnamespace_name: n\nversion: {version}\nsteps: [{{name: a, handler: {handler}}}]")
    };
    let (old, _) = s.template(&versioned("1.9.0", "h"));
    let (new, _) = s.template(&versioned("1.10.0", "h"));
    assert_eq!(s.template(&versioned("1.9.0", "h")).0, old, "the same text is one row");
    let (other, _) = s.template(&versioned("1.9.0", "other"));
    assert_ne!(other, old);
    let find = |version: Option<&str>| s.store.find_template("n", "t", version).unwrap().map(|t| t.id);
    assert_eq!(find(None), Some(new), "1.10.0 is newer than 1.9.0");
    assert_eq!(find(Some("1.9.0")), Some(other), "the row registered last");
    s.pass(1);
    s.template(&versioned("1.9.0", "h"));
    assert_eq!(find(Some("1.9.0")), Some(old), "registered again, it is the last");
    assert_eq!((find(Some("2.0.0")), s.store.find_template("m", "t", None).unwrap().is_none()), (None, true));
    let listed: Vec<_> = s.store.templates().unwrap().into_iter().map(|t| (t.version, t.id)).collect();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&("1.9.0".into(), old)) && listed.contains(&("1.10.0".into(), new)), "{listed:?}");
    assert_eq!(s.store.workflow(other).unwrap().template.steps[0].handler.callable, "other");
    assert!(s.store.workflow(999).is_err());
}

fn listings_filter_sort_and_page(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let tagged = |tags: Value, yaml: &str| NewTask {
        details: json!({"tags": tags, "note": "50%_off"}).to_string().into(),
        ..s.new_task(yaml)
    };
    let done = s.create(tagged(json!(["red"]), ONE));
    s.do_one(&worker, json!(1));
    let paused = s.create(tagged(json!(["red", "blue"]), ONE));
    s.act(paused, Order::Pause).unwrap();
    let chain = s.create(tagged(json!([]), CHAIN));
    let elsewhere =
        s.create(tagged(json!(["gr'een"]), "name: one\nnamespace_name: other\nsteps: [{name: a, handler: h}]"));
    let list = |filter: TaskFilter| -> (Vec<i64>, u64) {
        let (records, total) = s.store.tasks(&filter).unwrap();
        (records.into_iter().map(|r| r.id).collect(), total)
    };
    let text = |t: &str| Some(t.to_string());
    let all = TaskFilter::default;
    assert_eq!(list(all()), (vec![elsewhere.id, chain.id, paused.id, done.id], 4), "newest first");
    assert_eq!(list(TaskFilter { namespace: text("shop"), ..all() }).0, [chain.id, paused.id, done.id]);
    assert_eq!(list(TaskFilter { name: text("one"), ..all() }).0, [elsewhere.id, paused.id, done.id]);
    assert_eq!(list(TaskFilter { name: text("one"), namespace: text("other"), ..all() }).0, [elsewhere.id]);
    assert_eq!(list(TaskFilter { tag: text("red"), ..all() }).0, [paused.id, done.id]);
    assert_eq!(list(TaskFilter { tag: text("gr'een"), ..all() }).0, [elsewhere.id]);
    assert_eq!(list(TaskFilter { tag: text("re"), ..all() }).0, Vec::<i64>::new());
    assert_eq!(list(TaskFilter { status: text("complete"), ..all() }).0, [done.id]);
    assert_eq!(list(TaskFilter { status: text("paused"), ..all() }).0, [paused.id]);
    assert_eq!(list(TaskFilter { status: text("steps_in_process"), ..all() }).0, [elsewhere.id, chain.id]);
    assert_eq!(list(TaskFilter { q: text("CHA"), ..all() }).0, [chain.id], "part of the name, any case");
    assert_eq!(list(TaskFilter { q: text(&done.uuid.to_string()), ..all() }).0, [done.id]);
    assert_eq!(list(TaskFilter { q: text(&done.uuid.to_string()[..8]), ..all() }).1, list(all()).1, "a common start");
    for wild in ["%", "_", "o%e"] {
        assert_eq!(list(TaskFilter { q: text(wild), ..all() }).0, Vec::<i64>::new(), "`{wild}` is no wildcard");
    }
    assert_eq!(list(TaskFilter { limit: Some(2), ..all() }), (vec![elsewhere.id, chain.id], 4));
    assert_eq!(list(TaskFilter { limit: Some(2), offset: 3, ..all() }), (vec![done.id], 4));
    assert_eq!(list(TaskFilter { offset: 9, ..all() }), (Vec::new(), 4));
}

fn workers_are_seen_and_a_name_has_one_life_at_a_time(s: &Setup) {
    let first = s.worker("w", &["shop", "gpu"]);
    s.pass(1_000);
    let second = s.worker("v", &["shop"]);
    s.pass(1_000);
    s.one(Op::Heartbeat { worker: first.worker, held: None }).unwrap();
    let workers = s.store.workers().unwrap();
    assert_eq!(workers.iter().map(|w| w.id).collect::<Vec<_>>(), [first.worker, second.worker], "seen last first");
    let w = &workers[0];
    assert_eq!((w.started_at, w.seen_at, w.lease_ms, w.gone), (NOW, NOW + 2_000, LEASE_MS, false));
    assert_eq!((&w.queues, &w.handlers), (&vec!["shop".to_string(), "gpu".into()], &vec!["shop.a".to_string()]));
    let twin = NewWorker {
        name: "w".into(),
        language: "rust".into(),
        sdk_version: "1".into(),
        queues: vec!["shop".into()],
        handlers: Vec::new(),
        slots: 1,
        pid: 43,
        lease_ms: LEASE_MS,
    };
    let refused = s.one(Op::AddWorker(Box::new(twin))).unwrap_err();
    assert_eq!((refused.kind, refused.code), (Kind::Conflict, "worker_exists"));
    assert!(refused.message.contains("process 42"), "it names the first: {}", refused.message);
    s.one(Op::WorkerGone { worker: first.worker, beat: None, stopped: true }).unwrap();
    assert!(s.store.workers().unwrap().iter().any(|w| w.id == first.worker && w.gone));
    let again = s.worker("w", &["shop"]);
    assert_ne!(again.worker, first.worker, "a new life has a row of its own");
    let named: Vec<_> = s.store.workers().unwrap().into_iter().filter(|w| w.name == "w").collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named.iter().all(|w| w.gone == (w.id == first.worker)));
}

fn time_is_remembered(s: &Setup) {
    s.task_of(ONE);
    assert!(s.store.high_water().unwrap() >= NOW - 1_000);
    s.pass(3_600_000);
    s.task_of(ONE);
    assert!(s.store.high_water().unwrap() >= NOW + 3_600_000 - 1_000, "to the second");
}

fn payloads_come_back_byte_for_byte(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let wide: String = "ж\u{10ffff}漢\u{1}é\"\\ ".chars().cycle().take(600_000).collect();
    assert!(wide.len() > 1 << 20);
    for payload in [
        "",
        "\u{7f}",
        "a\u{1}b\u{1f}",
        "{\"nul\": \"\\u0000\"}",
        " { } ",
        "1e400",
        "-0.0",
        "'; DROP TABLE steps; --",
        &wide,
    ] {
        let new = NewTask { context: payload.into(), details: r#"{"tags":["\u0000"]}"#.into(), ..s.new_task(CHAIN) };
        let task = s.create(new);
        let a = s.take(&worker);
        assert_eq!(&*a.info.as_ref().unwrap().context, payload);
        let checkpoint = Report::Checkpoint { checkpoint: payload.into(), execution_us: 1 };
        assert!(s.finish(&worker, &a, checkpoint));
        let a = s.take(&worker);
        let report = Report::Success { result: payload.into(), metadata: Some(payload.into()), execution_us: 1 };
        assert!(s.finish(&worker, &a, report));
        assert!(!s.finish(&worker, &a, success(payload)));
        assert_eq!(s.record(task).context, payload);
        assert_eq!(s.step(task, "a").result.as_deref(), Some(payload));
        assert_eq!(s.store.results(task.id, &[0]).unwrap(), [Some(payload.to_string())]);
        assert_eq!(s.store.checkpoint(task.id, 0).unwrap().as_deref(), Some(payload));
        let history = s.history(task, 0);
        assert_eq!(history[1].metadata.as_deref(), Some(payload));
        assert_eq!(history[2].result.as_deref(), Some(payload), "of the rejected report");
        s.do_one(&worker, json!(1));
    }
}

fn a_thousand_tasks_in_one_commit(s: &Setup) {
    let worker = s.worker("w", &["shop"]);
    let (template, workflow) = s.template(CHAIN);
    let creations: Vec<Op> = (0..1_000)
        .map(|_| {
            Op::Create(Box::new(NewTask {
                uuid: id::task_uuid(Uuid::now_v7()),
                template,
                workflow: workflow.clone(),
                context: "{}".into(),
                details: "{}".into(),
                priority: 0,
                start_at: None,
                idempotency: None,
            }))
        })
        .collect();
    let made = s.commit(&creations, &[]).results.into_iter().map(|r| made(r.unwrap()).uuid);
    let mut uuids: Vec<Uuid> = made.collect();
    let mut claimed = s.claim(&worker, 2_000);
    assert_eq!(claimed.len(), 1_000);
    for last in [false, true] {
        let reports: Vec<Op> = claimed.iter().map(|c| finish(&worker, c, success("1"))).collect();
        let committed = s.commit(&reports, &[ClaimRequest { slots: 2_000, ..worker.clone() }]);
        assert!(committed.results.iter().all(|r| *r == Ok(Done::Finished { accepted: true })));
        claimed = committed.claimed.into_iter().next().unwrap();
        assert_eq!((claimed.len(), committed.rested.len()), if last { (0, 1_000) } else { (1_000, 0) });
    }
    assert_eq!(
        s.store.tasks(&TaskFilter { status: Some("complete".into()), ..TaskFilter::default() }).unwrap().1,
        1_000
    );
    uuids.sort_unstable();
    uuids.dedup();
    assert_eq!(uuids.len(), 1_000);
}
