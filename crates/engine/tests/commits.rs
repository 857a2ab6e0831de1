//! What the engine does about commits that fail, and about operations that spoil one.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Faulty, PATIENCE, away, create, engine, succeed, take, word, worker};
use tasker_store::{CommitError, Op};
use tasker_wire::{Error, Kind, Report};

#[test]
fn a_commit_of_unknown_outcome_is_looked_up_before_it_is_sent_again() {
    let store = Faulty::new();
    let engine = engine(store.clone());
    let session = worker(&engine, 1);
    let task = create(&engine);
    let first = take(&session);
    // Stored, and nobody hears of it: neither that the report was taken nor that the next step was given.
    let mut is_lost = false;
    store.when_it_commits(move |store, batch| {
        let committed = store.commit(batch)?;
        if std::mem::replace(&mut is_lost, true) || !matches!(batch.ops, [Op::Finish { .. }]) {
            return Ok(committed);
        }
        Err(CommitError::Unknown(away()))
    });
    succeed(&engine, &session, &first, "1".into());
    let second = take(&session);
    assert_eq!((second.claimed.no, second.claimed.failures), (1, 0), "its lease nobody knew of was given back");
    succeed(&engine, &session, &second, "2".into());
    assert_eq!(engine.wait(task, PATIENCE).unwrap().status, "complete");
    let outcomes = |name| engine.step(task, name).unwrap().history.iter().map(|a| a.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes("one"), ["completed"]);
    assert_eq!(outcomes("two"), ["released", "completed"]);
}

#[test]
fn a_report_of_a_commit_that_was_not_stored_is_sent_again() {
    for is_unknown in [false, true] {
        let store = Faulty::new();
        let engine = engine(store.clone());
        let session = worker(&engine, 1);
        let task = create(&engine);
        let first = take(&session);
        let mut left = 3;
        store.when_it_commits(move |store, batch| {
            if left == 0 {
                return store.commit(batch);
            }
            left -= 1;
            Err(match is_unknown {
                true => CommitError::Unknown(away()),
                false => CommitError::NotStored(away()),
            })
        });
        succeed(&engine, &session, &first, "1".into());
        let second = take(&session);
        succeed(&engine, &session, &second, "2".into());
        assert_eq!(engine.wait(task, PATIENCE).unwrap().status, "complete");
        assert_eq!(engine.step(task, "one").unwrap().history.len(), 1);
    }
}

#[test]
fn a_report_that_is_refused_fails_its_step_with_the_reason() {
    let store = Faulty::new();
    let engine = engine(store.clone());
    let session = worker(&engine, 1);
    let task = create(&engine);
    let first = take(&session);
    store.when_it_commits(|store, batch| {
        let is_bad = |op: &Op| matches!(op, Op::Finish { report: Report::Checkpoint { .. }, .. });
        let Some(at) = batch.ops.iter().position(is_bad) else { return store.commit(batch) };
        let others: Vec<Op> = batch.ops.iter().filter(|op| !is_bad(op)).cloned().collect();
        let mut committed = store.commit(&tasker_store::Batch { ops: &others, ..*batch })?;
        let error = Error::new(Kind::Bug, "store_error", "the digits were too long");
        committed.results.insert(at, Err(CommitError::Refused(error)));
        Ok(committed)
    });
    let report = Report::Checkpoint { checkpoint: "{}".into(), execution_us: 1 };
    engine.report(&session, &first.info, &first.claimed, report, Vec::new());
    assert_eq!(engine.wait(task, PATIENCE).unwrap().status, "blocked_by_failures");
    let error = engine.step(task, "one").unwrap().error.unwrap();
    assert!(error.message.contains("the digits were too long"), "{}", error.message);
}

#[test]
fn an_operation_that_is_kept_out_does_not_keep_others_out() {
    let store = Faulty::new();
    let engine = engine(store.clone());
    let session = worker(&engine, 2);
    let (held, free) = (create(&engine), create(&engine));
    let (first, second) = (take(&session), take(&session));
    assert_eq!((first.info.uuid, second.info.uuid), (held, free));
    let kept_out = first.claimed.task;
    let (release, is_released) = word::<()>();
    let mut lets = false;
    store.when_it_commits(move |store, batch| {
        lets |= is_released.try_recv().is_ok();
        let is_held = |op: &Op| !lets && matches!(op, Op::Finish { task, .. } if *task == kept_out);
        let Some(at) = batch.ops.iter().position(is_held) else { return store.commit(batch) };
        let others: Vec<Op> = batch.ops.iter().filter(|op| !is_held(op)).cloned().collect();
        let mut committed = store.commit(&tasker_store::Batch { ops: &others, ..*batch })?;
        committed.results.insert(at, Err(CommitError::NotStored(away())));
        Ok(committed)
    });
    succeed(&engine, &session, &first, "1".into());
    succeed(&engine, &session, &second, "1".into());
    let next = take(&session);
    assert_eq!(next.info.uuid, free, "the other goes on");
    succeed(&engine, &session, &next, "2".into());
    assert_eq!(engine.wait(free, PATIENCE).unwrap().status, "complete");
    release.send(()).unwrap();
    succeed(&engine, &session, &take(&session), "2".into());
    assert_eq!(engine.wait(held, PATIENCE).unwrap().status, "complete");
}

#[test]
fn large_reports_do_not_meet_in_one_commit() {
    let store = Faulty::new();
    let engine = engine(store.clone());
    let session = worker(&engine, 20);
    let tasks: Vec<_> = (0..20).map(|_| create(&engine)).collect();
    let given: Vec<_> = tasks.iter().map(|_| take(&session)).collect();
    let (says, sizes) = word();
    let (go, begins) = word::<()>();
    let mut is_held = true;
    store.when_it_commits(move |store, batch| {
        // The first commit takes its time, so that the others queue up behind it.
        if std::mem::replace(&mut is_held, false) {
            begins.recv().unwrap();
        }
        says.send(batch.ops.iter().map(Op::payload_bytes).collect::<Vec<_>>()).unwrap();
        store.commit(batch)
    });
    let result = format!("\"{}\"", "x".repeat(3 << 20));
    given.iter().for_each(|given| succeed(&engine, &session, given, result.clone()));
    go.send(()).unwrap();
    for _ in &tasks {
        let next = take(&session);
        succeed(&engine, &session, &next, "2".into());
    }
    tasks.iter().for_each(|task| assert_eq!(engine.wait(*task, PATIENCE).unwrap().status, "complete"));
    for sizes in sizes.try_iter() {
        assert!(sizes.len() == 1 || sizes.iter().sum::<usize>() <= 8 << 20, "{sizes:?}");
    }
}
