//! Seeds hold, are the same every time, and break when the store is made to lie.

use tasker_sim::store::{Fate, Sabotage};
use tasker_sim::world::{Fault, Ground, Outcome, Setup, run};

fn ground() -> Ground {
    Ground::new().expect("a store in memory opens")
}

#[track_caller]
fn holds(setup: &Setup, outcome: &Outcome) {
    assert!(outcome.violation.is_none(), "{setup:?}\n{}", tasker_sim::report::story(setup, outcome));
}

#[test]
fn seeds_hold() {
    let ground = ground();
    let mut sum = Outcome::default();
    for seed in 1..=200 {
        let setup = Setup::new(seed);
        let outcome = run(&ground, &setup);
        holds(&setup, &outcome);
        sum.crashes += outcome.crashes;
        sum.rejected += outcome.rejected;
        sum.checks += outcome.checks;
    }
    assert!(ground.doctor().is_ok(), "{:?}", ground.doctor());
    assert!(sum.crashes > 100 && sum.rejected > 100 && sum.checks > 5_000, "too little happened: {sum:?}");
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let shared = ground();
    for seed in 500..520 {
        let setup = Setup { trace: true, ..Setup::new(seed) };
        let (first, second) = (run(&shared, &setup), run(&ground(), &setup));
        assert_eq!(
            (first.digest, first.events, first.commits, first.trace.len()),
            (second.digest, second.events, second.commits, second.trace.len()),
            "seed {seed}"
        );
    }
}

/// The invariant that gives a dishonest store away.
fn found(sabotage: Sabotage) -> String {
    for seed in 1..=60 {
        let setup = Setup { sabotage: Some(sabotage), ..Setup::new(seed) };
        if let Some(violation) = run(&ground(), &setup).violation {
            return violation.what;
        }
    }
    panic!("{sabotage:?} goes unnoticed for 60 seeds");
}

#[track_caller]
fn finds(sabotage: Sabotage, invariants: &[&str]) {
    let what = found(sabotage);
    assert!(invariants.iter().any(|i| what.starts_with(i)), "{sabotage:?} is called: {what}");
}

#[test]
fn a_store_that_loses_an_acknowledged_report_is_found() {
    finds(Sabotage::SwallowedReport, &["an accepted result is kept", "a claim ends", "one live lease"]);
}

#[test]
fn a_store_that_loses_an_acknowledged_task_is_found() {
    finds(
        Sabotage::SwallowedTask,
        // By its absence, or by the second one that a repeated request makes.
        &["a task whose creation was acknowledged exists", "one task an idempotency key"],
    );
}

#[test]
fn a_store_that_takes_a_stale_report_is_found() {
    finds(Sabotage::StaleFence, &["at most one result is accepted a claim"]);
}

#[test]
fn a_store_that_gives_a_step_twice_is_found() {
    finds(Sabotage::GivenTwice, &["a claim's fence is new"]);
}

#[test]
fn a_store_that_never_lets_go_of_the_dead_is_found() {
    finds(Sabotage::DeafToDeath, &["every task comes to rest"]);
}

#[test]
fn verdicts_on_the_living_are_found() {
    finds(Sabotage::BlindVerdict, &["only a death or a silence takes a step from its worker"]);
}

#[test]
fn a_store_that_forgets_idempotency_keys_is_found() {
    finds(Sabotage::ForgottenKey, &["one task an idempotency key"]);
}

#[test]
fn a_child_that_is_lost_in_a_crash_is_found() {
    finds(Sabotage::LostChild, &["every task comes to rest"]);
}

/// A chain of four under processes that die at chosen commits.
fn chain(ground: &Ground, kills: Vec<(u64, Fate)>) -> Outcome {
    let setup = Setup { without: Fault::ALL.to_vec(), tasks_max: 1, only: Some("chain"), kills, ..Setup::new(6) };
    let outcome = run(ground, &setup);
    holds(&setup, &outcome);
    outcome
}

/// A predecessor of this engine wrote a step's result and its child's place in the queue in two steps; a worker that died
/// in between left the rest of the chain waiting for ever.
#[test]
fn the_third_step_of_a_chain_runs_whichever_commits_its_processes_die_at() {
    let ground = ground();
    let commits = chain(&ground, Vec::new()).commits;
    assert!(commits >= 5, "a chain of four takes its commits: {commits}");
    let fates = [Fate::DiesBefore, Fate::DiesAfter];
    let mut died = 0;
    for first in 1..=commits + 4 {
        for fate in fates {
            died += chain(&ground, vec![(first, fate)]).crashes;
            for second in first + 1..=commits + 4 {
                for other in fates {
                    chain(&ground, vec![(first, fate), (second, other)]);
                }
            }
        }
    }
    assert!(died >= 2 * commits, "every commit has killed: {died} deaths, {commits} commits");
}
