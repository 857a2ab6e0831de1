//! Nothing of the engine ends in silence: a thread that panics answers everybody who waits.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::thread;

use common::{Faulty, PATIENCE, away, create, engine, succeed, take, word, worker};
use tasker_store::CommitError;
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
