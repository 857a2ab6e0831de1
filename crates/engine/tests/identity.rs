//! Requests that come again, and requests that only look like it.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Faulty, engine};
use tasker_wire::{TaskRequest, json_text};

#[test]
fn a_key_with_another_payload_is_a_conflict_whatever_differs() {
    let engine = engine(Faulty::new());
    let base = || TaskRequest {
        idempotency_key: Some("k".into()),
        ..TaskRequest::new("test", "chain", json_text("{}".into()))
    };
    let create = |request: TaskRequest| engine.create(&[request]).remove(0);
    let first = create(base()).unwrap();
    assert!(create(base()).unwrap().existing);
    let others = [
        TaskRequest { run_at: Some("2030-01-01T00:00:00Z".into()), ..base() },
        TaskRequest { options: Some(json_text("{\"a\":1}".into())), ..base() },
        TaskRequest { parent_correlation_id: Some("p".into()), ..base() },
        TaskRequest { reason: "another".into(), ..base() },
    ];
    for other in others {
        let error = create(other).unwrap_err();
        assert_eq!(error.code, "task_exists");
        assert_eq!(error.details.unwrap()["task_uuid"], first.task_uuid.to_string());
    }
}
