//! Requests that come again, and requests that only look like it.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{CHAIN, Faulty, engine};
use tasker_runtime::TemplateFile;
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

#[test]
fn a_version_that_is_registered_with_another_source_is_warned_of() {
    let engine = engine(Faulty::new());
    let register = |source: &str| {
        let file = TemplateFile { path: "chain.yaml".into(), source: source.into() };
        engine.register_templates(&[file], true).remove(0).unwrap().1
    };
    assert_eq!(register(CHAIN), Vec::<String>::new(), "the same again");
    let changed = format!("{CHAIN}  - {{name: three, handler: h, depends_on: [two]}}\n");
    for source in [&*changed, CHAIN] {
        let warnings = register(source);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("of test/chain was registered before with another source"), "{warnings:?}");
        assert!(warnings[0].contains("chain.yaml") && warnings[0].contains("raise `version`"), "{warnings:?}");
    }
    let raised = format!("version: 9.9.9{changed}");
    assert_eq!(register(&raised), Vec::<String>::new());
}
