//! What must hold of every task at every moment, worked out from the template's text and all rows, without the
//! machine's own arithmetic.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tasker_core::state::{BatchSpan, Counts, Step, StepState, TaskState};
use tasker_core::template::{FailureStrategy, StepKind, StepTemplate};

use super::World;

fn template(world: &World, t: u16) -> &StepTemplate {
    &world.workflow.template.steps[usize::from(t)]
}

fn find(world: &World, name: &str) -> u16 {
    world.workflow.template.steps.iter().position(|s| s.name == name).unwrap() as u16
}

fn parents(world: &World, t: u16) -> Vec<u16> {
    template(world, t).dependencies.iter().map(|d| find(world, d)).collect()
}

/// Template steps on which `t` depends, directly or not.
fn ancestors(world: &World, t: u16) -> BTreeSet<u16> {
    let mut found = BTreeSet::new();
    let mut open = parents(world, t);
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(parents(world, next));
        }
    }
    found
}

/// Template steps that depend on `t`, directly or not.
pub(crate) fn descendants(world: &World, t: u16) -> Vec<u16> {
    (0..world.workflow.template.steps.len() as u16).filter(|s| ancestors(world, *s).contains(&t)).collect()
}

pub(crate) fn is(world: &World, t: u16, kind: StepKind) -> bool {
    template(world, t).kind == kind
}

fn is_expander(world: &World, t: u16) -> bool {
    is(world, t, StepKind::Decision) || is(world, t, StepKind::Batchable)
}

fn span(world: &World, no: u16) -> Option<&BatchSpan> {
    world.task.batches.iter().find(|b| (b.first..b.first + b.count).contains(&no))
}

fn strategy(world: &World, span: &BatchSpan) -> FailureStrategy {
    template(world, span.analyzer).batch.as_ref().map(|b| b.failure_strategy).unwrap_or_default()
}

fn done(step: &Step) -> bool {
    matches!(step.state, StepState::Complete | StepState::ResolvedManually)
}

/// Done, or a batch worker whose failure the batch tolerates.
fn settled(world: &World, step: &Step) -> bool {
    done(step)
        || step.state == StepState::Error
            && span(world, step.no).is_some_and(|s| strategy(world, s) != FailureStrategy::FailFast)
}

fn under_decision(world: &World, t: u16) -> bool {
    ancestors(world, t).into_iter().any(|a| is(world, a, StepKind::Decision))
}

/// Decisions and batchable steps above `t` that exist and may still create something.
fn undecided_above(world: &World, t: u16) -> Vec<u16> {
    let open = |a: &u16| is_expander(world, *a) && world.steps.get(a).is_some_and(|s| !done(s));
    ancestors(world, t).into_iter().filter(open).collect()
}

/// Why a step that is no batch worker may not start; empty when it may.
pub(crate) fn waits_for(world: &World, t: u16) -> Vec<String> {
    let mut reasons = Vec::new();
    for parent in parents(world, t) {
        let name = &template(world, parent).name;
        let workers = || world.task.batches.iter().filter(move |b| b.worker == parent);
        if is(world, parent, StepKind::BatchWorker) {
            for no in workers().flat_map(|b| b.first..b.first + b.count) {
                if !world.steps.get(&no).is_some_and(|w| settled(world, w)) {
                    reasons.push(format!("batch worker {}", world.name(no)));
                }
            }
            if !undecided_above(world, parent).is_empty() {
                reasons.push(format!("workers of {name} that may still come"));
            }
        } else {
            match world.steps.get(&parent) {
                Some(step) if done(step) => {}
                Some(_) => reasons.push(name.clone()),
                None if undecided_above(world, parent).is_empty() => {}
                None => reasons.push(format!("{name}, which may still come")),
            }
        }
    }
    if is(world, t, StepKind::DeferredConvergence) {
        for above in undecided_above(world, t) {
            reasons.push(format!("{} to be decided", template(world, above).name));
        }
    }
    reasons
}

/// Dependencies of a batch worker, besides its batchable step, that are not done.
fn worker_waits_for(world: &World, span: &BatchSpan) -> Vec<String> {
    let mut reasons = Vec::new();
    for parent in parents(world, span.worker).into_iter().filter(|p| *p != span.analyzer) {
        let is_open = match world.steps.get(&parent) {
            // Another batchable step of the same worker makes its own batch.
            _ if is(world, parent, StepKind::Batchable) => false,
            _ if is(world, parent, StepKind::BatchWorker) => {
                world
                    .task
                    .batches
                    .iter()
                    .filter(|b| b.worker == parent)
                    .flat_map(|b| b.first..b.first + b.count)
                    .any(|no| !world.steps.get(&no).is_some_and(|w| settled(world, w)))
                    || !undecided_above(world, parent).is_empty()
            }
            Some(step) => !done(step),
            None => !undecided_above(world, parent).is_empty(),
        };
        if is_open {
            reasons.push(template(world, parent).name.clone());
        }
    }
    reasons
}

/// Template steps that must exist, given what the finished decisions and batches asked for.
fn expected(world: &World) -> BTreeSet<u16> {
    let count = world.workflow.template.steps.len() as u16;
    let mut named = BTreeSet::new();
    for (no, result) in &world.results {
        if *no < count && is(world, *no, StepKind::Decision) {
            let result: Value = serde_json::from_str(result).unwrap();
            let names = result["decision_point_outcome"]["step_names"].as_array().cloned().unwrap_or_default();
            named.extend(names.iter().map(|n| find(world, n.as_str().unwrap())));
        }
    }
    let mut exists: BTreeSet<u16> = BTreeSet::new();
    loop {
        let before = exists.len();
        for t in 0..count {
            if is(world, t, StepKind::BatchWorker) || exists.contains(&t) {
                continue;
            }
            let above = parents(world, t);
            let is_worker = |p: &u16| is(world, *p, StepKind::BatchWorker);
            let present = |p: &u16| {
                if is_worker(p) { world.task.batches.iter().any(|b| b.worker == *p) } else { exists.contains(p) }
            };
            let at_creation = !under_decision(world, t) && !above.iter().any(is_worker);
            let follows = if is(world, t, StepKind::DeferredConvergence) {
                above.iter().any(|p| {
                    present(p) && !is(world, *p, StepKind::Decision) && (is_worker(p) || under_decision(world, *p))
                })
            } else {
                above.iter().all(present) && !above.iter().any(|p| is(world, *p, StepKind::Decision))
            };
            if at_creation || follows || named.contains(&t) {
                exists.insert(t);
            }
        }
        if exists.len() == before {
            return exists;
        }
    }
}

/// Whether a finished decision named a step that also lies below a decision or batchable step that is not above that
/// decision: after a reset of the latter it is for the former's result to say whether the step exists.
pub(crate) fn named_across_branches(world: &World) -> bool {
    world.results.keys().filter(|no| world.steps[no].template == **no && is(world, **no, StepKind::Decision)).any(|d| {
        let result: Value = serde_json::from_str(&world.results[d]).unwrap();
        let names = result["decision_point_outcome"]["step_names"].as_array().cloned().unwrap_or_default();
        let above = ancestors(world, *d);
        names
            .iter()
            .map(|n| find(world, n.as_str().unwrap()))
            .any(|named| ancestors(world, named).iter().any(|a| is_expander(world, *a) && a != d && !above.contains(a)))
    })
}

fn recounted(world: &World) -> Counts {
    let mut counts = Counts::default();
    for step in world.steps.values() {
        counts.total += 1;
        let isolated = span(world, step.no).is_some_and(|s| strategy(world, s) == FailureStrategy::Isolate);
        match step.state {
            StepState::Pending => {}
            StepState::Enqueued | StepState::InProgress => counts.active += 1,
            StepState::WaitingForRetry => counts.waiting += 1,
            StepState::Complete | StepState::ResolvedManually => counts.done += 1,
            StepState::Error if isolated => counts.isolated += 1,
            StepState::Error => counts.failed += 1,
            StepState::Cancelled => counts.cancelled += 1,
        }
    }
    counts
}

/// Panics with the whole story if anything that must hold does not.
pub(crate) fn check(world: &World) {
    if let Err(what) = holds(world) {
        panic!("{what}\n{}", world.story());
    }
}

fn holds(world: &World) -> Result<(), String> {
    let task = &world.task;
    let recounted = recounted(world);
    if task.counts != recounted {
        return Err(format!("stored counts {:?}, counted {recounted:?}", task.counts));
    }
    let plain = world.workflow.template.steps.len() as u16;
    let exists: BTreeSet<u16> = world.steps.keys().copied().filter(|no| *no < plain).collect();
    let expected = expected(world);
    // What a reset removed may be absent until the decisions above it have been taken again.
    let settled = |t: &&u16| undecided_above(world, **t).is_empty();
    let wrong: Vec<&u16> = exists.difference(&expected).chain(expected.difference(&exists).filter(settled)).collect();
    if !wrong.is_empty() {
        let named = |t: &u16| template(world, *t).name.clone();
        let [exists, expected] = [&exists, &expected].map(|set| set.iter().map(named).collect::<Vec<_>>());
        return Err(format!("steps that exist: {exists:?}, that should: {expected:?}"));
    }
    let runnable = !task.paused && task.start_at.is_none() && !task.state.is_final();
    for step in world.steps.values() {
        each_step(world, step, runnable)?;
    }
    let mut spans: BTreeMap<u16, usize> = BTreeMap::new();
    for span in &task.batches {
        each_batch(world, span, runnable)?;
        *spans.entry(span.analyzer).or_default() += 1;
    }
    if let Some((analyzer, _)) = spans.iter().find(|(_, count)| **count > 1) {
        return Err(format!("{} has several batches at once", template(world, *analyzer).name));
    }
    each_task(world)
}

fn each_step(world: &World, step: &Step, runnable: bool) -> Result<(), String> {
    let name = world.name(step.no);
    let policy = &template(world, step.template).retry;
    if step.attempts > policy.max_attempts {
        return Err(format!("{name}: {} attempts of {}", step.attempts, policy.max_attempts));
    }
    if step.crashes > world.max_crashes {
        return Err(format!("{name}: {} crashes of {}", step.crashes, world.max_crashes));
    }
    let wakes = step.state == StepState::WaitingForRetry;
    if wakes != step.wake_at.is_some() {
        return Err(format!("{name}: {} with wake_at {:?}", step.state.as_str(), step.wake_at));
    }
    let active = matches!(step.state, StepState::Enqueued | StepState::InProgress | StepState::WaitingForRetry);
    if active && world.task.state.is_final() {
        return Err(format!("{name} is {} in a task that has ended", step.state.as_str()));
    }
    if step.state == StepState::Enqueued && !runnable {
        return Err(format!("{name} is queued though its task may not run"));
    }
    let reasons = match span(world, step.no) {
        Some(span) => worker_waits_for(world, span),
        None => waits_for(world, step.template),
    };
    if active && !reasons.is_empty() {
        return Err(format!("{name} is {} but must wait for {reasons:?}", step.state.as_str()));
    }
    if step.state != StepState::Pending || span(world, step.no).is_some() {
        return Ok(());
    }
    if (step.remaining == 0) != reasons.is_empty() {
        return Err(format!("{name}: stored remaining {}, counted {reasons:?}", step.remaining));
    }
    let above = ancestors(world, step.template);
    if !above.iter().any(|a| is_expander(world, *a)) && step.remaining as usize != reasons.len() {
        return Err(format!("{name}: stored remaining {}, counted {reasons:?}", step.remaining));
    }
    if runnable && reasons.is_empty() {
        return Err(format!("{name} is ready and left pending"));
    }
    Ok(())
}

fn each_batch(world: &World, span: &BatchSpan, runnable: bool) -> Result<(), String> {
    let name = &template(world, span.worker).name;
    let cap = template(world, span.analyzer).batch.as_ref().and_then(|b| b.parallelism);
    let cap = cap.map_or(usize::from(span.count), |p| p.max(1) as usize);
    let in_states = |states: &[StepState]| {
        (span.first..span.first + span.count)
            .filter(|no| world.steps.get(no).is_some_and(|w| states.contains(&w.state)))
            .count()
    };
    let existing = (span.first..span.first + span.count).filter(|no| world.steps.contains_key(no)).count();
    if existing != usize::from(span.count) {
        return Err(format!("{existing} of {} workers of {name} exist", span.count));
    }
    let running = in_states(&[StepState::Enqueued, StepState::InProgress]);
    if running > cap {
        return Err(format!("{running} workers of {name} may run at once; the cap is {cap}"));
    }
    let held = running + in_states(&[StepState::WaitingForRetry]);
    let pending = in_states(&[StepState::Pending]);
    if runnable && pending > 0 && held < cap && worker_waits_for(world, span).is_empty() {
        return Err(format!("{held} workers of {name} run, {pending} are left pending, the cap is {cap}"));
    }
    Ok(())
}

fn each_task(world: &World) -> Result<(), String> {
    let task = &world.task;
    let Counts { total, done, failed, isolated, cancelled, active, waiting } = task.counts;
    let state = task.state.as_str();
    if task.state == TaskState::Complete && done + isolated != total {
        return Err("complete with steps left".into());
    }
    if !task.state.is_final() && done + isolated == total {
        return Err(format!("every step is done, yet the task is {state}"));
    }
    if task.state.is_final() {
        return if active + waiting > 0 { Err(format!("{state} with steps under way")) } else { Ok(()) };
    }
    if task.state == TaskState::BlockedByFailures && (active + waiting > 0 || failed + cancelled == 0) {
        return Err("blocked, but not by failures".into());
    }
    let rests = task.paused || task.start_at.is_some() || task.state == TaskState::BlockedByFailures;
    if !rests && active + waiting == 0 {
        return Err(format!("{state}, and nothing will ever happen"));
    }
    if task.paused && task.wake_at.is_some() {
        return Err("a paused task wakes by itself".into());
    }
    if !task.paused && task.start_at.is_some() && task.wake_at != task.start_at {
        return Err("a delayed task without a time to wake".into());
    }
    Ok(())
}
