//! A store without an engine: what the tests of both drivers do with one.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)] // each test file uses its part

use std::sync::Arc;

use tasker_core::graph::Workflow;
use tasker_core::id;
use tasker_store::{
    Batch, ClaimRequest, Claimed, Committed, Done, NewTask, NewWorker, Op, Store, TemplateSource, compile,
};
use tasker_wire::{Error, Report, TaskFilter};
use uuid::Uuid;

pub const NOW: i64 = 1_800_000_000_000;
pub const CHAIN: &str = "
name: chain
namespace_name: test
steps: [{name: a, handler: h}, {name: b, handler: h, depends_on: [a]}]
";

pub fn commit(store: &dyn Store, ops: &[Op], claims: &[ClaimRequest]) -> Result<Committed, Error> {
    store
        .commit(&Batch {
            ops,
            claims,
            now: NOW,
            jitter_seed: None,
            max_crashes: 3,
            holding: Default::default(),
            knows: &|_| false,
        })
        .map_err(Error::from)
}

pub fn register(store: &dyn Store) -> (i64, Arc<Workflow>) {
    register_as(store, CHAIN)
}

pub fn register_as(store: &dyn Store, source: &str) -> (i64, Arc<Workflow>) {
    let workflow = compile(source, "test.yaml", None).unwrap();
    let t = &workflow.template;
    let op = Op::AddTemplate(TemplateSource {
        path: "test.yaml".into(),
        source: source.into(),
        environment: None,
        identity: (t.namespace.clone(), t.name.clone(), t.version.clone()),
    });
    match commit(store, &[op], &[]).unwrap().results.pop() {
        Some(Ok(Done::Template(id))) => (id, Arc::new(workflow)),
        other => panic!("{other:?}"),
    }
}

pub fn creation((template, workflow): &(i64, Arc<Workflow>), context: &str) -> (Uuid, Op) {
    let uuid = id::task_uuid(Uuid::now_v7());
    let new = NewTask {
        uuid,
        template: *template,
        workflow: workflow.clone(),
        context: context.into(),
        details: "{}".into(),
        priority: 0,
        start_at: None,
        idempotency: None,
    };
    (uuid, Op::Create(Box::new(new)))
}

pub fn worker(store: &dyn Store, slots: usize) -> ClaimRequest {
    worker_named(store, "w", slots)
}

pub fn worker_named(store: &dyn Store, name: &str, slots: usize) -> ClaimRequest {
    let new = NewWorker {
        name: name.into(),
        language: "rust".into(),
        sdk_version: "1".into(),
        queues: vec!["test".into()],
        handlers: Vec::new(),
        slots: slots as u32,
        pid: 1,
        lease_ms: 60_000,
    };
    match commit(store, &[Op::AddWorker(Box::new(new))], &[]).unwrap().results.pop() {
        Some(Ok(Done::Worker(worker))) => ClaimRequest { worker, queues: Arc::new(["test".to_string()]), slots },
        other => panic!("{other:?}"),
    }
}

pub fn success(by: &ClaimRequest, claimed: &Claimed) -> Op {
    Op::Finish {
        task: claimed.task,
        no: claimed.no,
        fence: claimed.fence,
        worker: by.worker,
        report: Report::Success { result: "1".into(), metadata: None, execution_us: 1 },
        events: Vec::new(),
    }
}

pub fn healthy(store: &dyn Store) {
    let report = store.doctor(NOW).unwrap();
    assert!(report.healthy, "{report:?}");
}

pub fn total(store: &dyn Store) -> u64 {
    store.tasks(&TaskFilter { limit: Some(1), ..TaskFilter::default() }).unwrap().1
}
