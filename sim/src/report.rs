//! What is told of a run: totals, and the smallest form of one that failed.

use std::time::Duration;

use serde_json::json;

use crate::world::{Fault, Ground, Outcome, Setup, run};

/// Lines of a trace that are shown.
const LINES: usize = 40;

/// Sums over runs.
#[derive(Debug, Default)]
pub struct Totals {
    /// Runs.
    pub seeds: u64,
    /// Runs that broke an invariant.
    pub violations: u64,
    sum: Outcome,
}

impl Totals {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.violations += u64::from(outcome.violation.is_some());
        self.sum.events += outcome.events;
        self.sum.commits += outcome.commits;
        self.sum.crashes += outcome.crashes;
        self.sum.tasks += outcome.tasks;
        self.sum.rejected += outcome.rejected;
        self.sum.checks += outcome.checks;
        self.sum.digest = crate::dice::hash(&[self.sum.digest, outcome.digest]);
    }

    /// One line of JSON. `digest` is the same for every run of the same seeds.
    pub fn line(&self, took: Duration) -> String {
        let Outcome { events, commits, crashes, tasks, rejected, checks, digest, .. } = self.sum;
        json!({
            "seeds": self.seeds, "events": events, "tasks": tasks, "commits": commits, "crashes": crashes,
            "rejected_stale": rejected, "checks": checks, "violations": self.violations,
            "digest": format!("{digest:016x}"), "seconds": (took.as_secs_f64() * 10.0).round() / 10.0,
        })
        .to_string()
    }
}

/// The invariant that a violation is about.
fn invariant(outcome: &Outcome) -> Option<&str> {
    outcome.violation.as_ref().map(|v| v.what.split(':').next().unwrap_or(&v.what))
}

/// Leaves out what is not needed to break the same invariant: kinds of faults one by one, tasks, time.
pub fn shrink(setup: &Setup, found: &Outcome) -> (Setup, Outcome) {
    let mut best = (setup.clone(), found.clone());
    let attempt = |best: &mut (Setup, Outcome), smaller: Setup| {
        let Ok(ground) = Ground::new() else { return };
        let outcome = run(&ground, &smaller);
        if invariant(&outcome).is_some() && invariant(&outcome) == invariant(found) {
            *best = (smaller, outcome);
        }
    };
    for fault in Fault::ALL {
        if !best.0.without.contains(&fault) {
            let mut smaller = best.0.clone();
            smaller.without.push(fault);
            attempt(&mut best, smaller);
        }
    }
    for tasks_max in 1..4 {
        let smaller = Setup { tasks_max, ..best.0.clone() };
        if best.0.tasks_max > tasks_max {
            attempt(&mut best, smaller);
        }
    }
    for part in [1, 2, 4, 6] {
        let smaller = Setup { trouble_ms: setup.trouble_ms * part / 8, ..best.0.clone() };
        if best.0.trouble_ms > smaller.trouble_ms {
            attempt(&mut best, smaller);
        }
    }
    let traced = Setup { trace: true, ..best.0.clone() };
    attempt(&mut best, traced);
    best
}

/// Seed, invariant, the smallest setup that still breaks it, and the end of its trace.
pub fn story(setup: &Setup, found: &Outcome) -> String {
    let (smallest, outcome) = shrink(setup, found);
    let Some(violation) = &outcome.violation else { return String::new() };
    let left: Vec<&str> = Fault::ALL.iter().filter(|f| !smallest.without.contains(f)).map(|f| f.name()).collect();
    let about: Vec<&String> = outcome
        .trace
        .iter()
        .filter(|(task, _)| task.is_none() || violation.task.is_none() || *task == violation.task)
        .map(|(_, text)| text)
        .collect();
    let mut lines = vec![
        format!("seed {} breaks: {}", setup.seed, found.violation.as_ref().map_or("", |v| &v.what)),
        format!(
            "smallest: faults {left:?}, at most {} tasks, trouble for {} ms",
            smallest.tasks_max, smallest.trouble_ms
        ),
        format!("it breaks: {}", violation.what),
    ];
    lines.extend(about[about.len().saturating_sub(LINES)..].iter().map(|l| format!("  {l}")));
    lines.push(format!("again: tasker-sim --seed {} --trace", setup.seed));
    lines.join("\n")
}
