//! Nothing of the engine ends in silence: a thread that panics answers everybody who waits.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::thread;

use common::{Faulty, PATIENCE, away, create, engine, succeed, take, try_again, word, worker};
use tasker_store::{Batch, CommitError, Op};
use tasker_wire::{TaskRequest, json_text};

#[test]
fn a_committer_that_panics_leaves_nobody_waiting() {
    let store = Faulty::new();
    let engine = engine(store.clone());
    let session = worker(&engine, 1);
    let task = create(&engine);
    let waits = {
        let engine = engine.clone();
        thread::spawn(move || engine.wait(task, PATIENCE))
    };
    take(&session);
    store.panic_when_asked_for_its_version();
    let error = waits.join().unwrap().unwrap_err();
    assert_eq!(error.code, "engine_failed", "{error}");
    assert!(error.message.contains("as the test wants it"), "{error}");
    let request = TaskRequest::new("test", "chain", json_text("{}".into()));
    assert_eq!(engine.create(&[request]).remove(0).unwrap_err().code, "engine_failed");
    session.wait(PATIENCE);
    assert!(session.is_closed());
    assert!(session.failure().unwrap().contains("as the test wants it"));
    engine.detach(&session);
}

#[test]
fn an_engine_closes_though_more_reports_are_kept_than_one_commit_holds() {
    let store = Faulty::new();
    let engine = engine(store.clone());
    let session = worker(&engine, 300);
    for _ in 0..300 {
        create(&engine);
    }
    let given: Vec<_> = (0..300).map(|_| take(&session)).collect();
    let (says, refused) = word();
    store.when_it_commits(move |_, batch| {
        // Nobody may listen any more.
        let _ = says.send(batch.ops.len());
        Err(CommitError::NotStored(away()))
    });
    given.iter().for_each(|given| succeed(&engine, &session, given, "1".into()));
    refused.recv_timeout(PATIENCE).unwrap();
    drop(engine);
}

#[test]
fn a_due_step_that_cannot_be_handled_holds_up_no_other() {
    let store = Faulty::new();
    let engine = engine(store.clone());
    let session = worker(&engine, 2);
    let (bad, good) = (create(&engine), create(&engine));
    let given = [take(&session), take(&session)];
    // Whatever the first of the due steps is in, is refused.
    store.when_it_commits(|store, batch| {
        let Some(at) = batch.ops.iter().position(|op| matches!(op, Op::Due { skip: 0, .. })) else {
            return store.commit(batch);
        };
        let others: Vec<Op> = batch.ops.iter().filter(|op| !matches!(op, Op::Due { .. })).cloned().collect();
        let mut done = store.commit(&Batch { ops: &others, ..*batch })?;
        done.results.insert(at, Err(CommitError::Refused(away())));
        Ok(done)
    });
    for given in &given {
        session.free_slots(1);
        engine.report(&session, &given.info, &given.claimed, try_again(), Vec::new());
    }
    let first = given.iter().find(|given| given.info.uuid == bad).unwrap().claimed.task;
    let again = take(&session);
    assert_ne!(again.claimed.task, first);
    assert_eq!(again.info.uuid, good);
}
