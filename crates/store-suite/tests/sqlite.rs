//! The conformance suite on SQLite: one test a scenario, on a file and in memory.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use tasker_store::sqlite::Sqlite;
use tasker_store_suite::SCENARIOS;

fn on_a_file(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("tasker.db").display());
    tasker_store_suite::run(name, Arc::new(Sqlite::open(&url).unwrap()));
}

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        $(#[test] fn $name() { on_a_file(stringify!($name)); })+

        #[test]
        fn every_scenario_has_its_test() {
            let tested = [$(stringify!($name)),+];
            let missing: Vec<_> = SCENARIOS.iter().map(|(name, _)| *name).filter(|n| !tested.contains(n)).collect();
            assert!(missing.is_empty(), "add to the list below: {missing:?}");
        }
    };
}

#[test]
fn all_of_it_in_memory() {
    tasker_store_suite::exercise(&|| Arc::new(Sqlite::open("sqlite::memory:").unwrap()));
}

scenarios![
    creation_and_claim_in_one_commit,
    creation_stores_all_that_was_sent,
    finish_and_the_next_claim_in_one_commit,
    a_report_that_comes_twice_is_kept_as_rejected,
    a_report_with_an_old_fence_changes_nothing,
    a_report_on_what_does_not_exist_changes_nothing,
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
