//! What the loader makes of a file: values in the model, errors, warnings, and their places.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tasker_core::load::{Diagnostic, LoadError, Loaded, Options, STEPS_MAX, Severity, load};
use tasker_core::template::*;

/// A template around the lines of its steps.
fn with_steps(steps: &str) -> String {
    format!("name: demo\nsteps:\n{steps}")
}

/// A template with one step, and more lines at the top.
fn with_top(lines: &str) -> String {
    format!("{lines}\nname: demo\nsteps: [{{name: a, handler: h}}]\n")
}

/// A template whose only step has more keys, as a flow map.
fn with_keys(keys: &str) -> String {
    with_steps(&format!("  - {{name: a, handler: h, {keys}}}\n"))
}

fn read(yaml: &str) -> Result<Loaded, LoadError> {
    load(yaml, "demo.yaml", &Options::default())
}

#[track_caller]
fn template(yaml: &str) -> Template {
    let loaded = read(yaml).unwrap_or_else(|error| panic!("{error}\n\n{yaml}"));
    assert_eq!(loaded.warnings, [], "{yaml}");
    loaded.template
}

#[track_caller]
fn step(yaml: &str) -> StepTemplate {
    template(yaml).steps.remove(0)
}

/// `severity code line:column message / hint` of each diagnostic.
fn summary(diagnostics: &[Diagnostic]) -> Vec<String> {
    let line = |d: &Diagnostic| {
        let hint = d.hint.as_deref().map(|hint| format!(" / {hint}")).unwrap_or_default();
        format!("{} {} {}:{} {}{hint}", d.severity, d.code, d.line, d.column, d.message)
    };
    diagnostics.iter().map(line).collect()
}

/// The file is refused with exactly these errors (and warnings).
#[track_caller]
fn refused(yaml: &str, expected: &[&str]) {
    match read(yaml) {
        Ok(loaded) => panic!("loaded: {:?}\n{yaml}", loaded.template),
        Err(error) => assert_eq!(summary(&error.diagnostics), expected, "{error}"),
    }
}

/// The file is loaded with exactly these warnings.
#[track_caller]
fn warned(yaml: &str, expected: &[&str]) -> Template {
    let loaded = read(yaml).unwrap_or_else(|error| panic!("{error}\n\n{yaml}"));
    assert_eq!(summary(&loaded.warnings), expected, "{yaml}");
    loaded.template
}

#[track_caller]
fn code(yaml: &str, expected: &str) {
    let error = read(yaml).expect_err(yaml);
    let codes: Vec<&str> = error.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, [expected], "{error}");
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

#[test]
fn defaults() {
    let template = template("name: demo\nsteps:\n  - name: a\n    handler: pkg.Handler\n");
    let handler =
        Handler { callable: "pkg.Handler".into(), method: "call".into(), resolver: None, initialization: Map::new() };
    let step = StepTemplate {
        name: "a".into(),
        description: None,
        kind: StepKind::Standard,
        handler,
        dependencies: vec![],
        queue: None,
        retry: RetryPolicy::default(),
        timeout_ms: 30_000,
        system_dependency: None,
        priority: 0,
        publishes_events: vec![],
        batch: None,
        result_schema: None,
        on_result_violation: ResultViolation::Warn,
    };
    let expected = Template {
        name: "demo".into(),
        namespace: "default".into(),
        version: "1.0.0".into(),
        description: None,
        metadata: Map::new(),
        system_dependencies: SystemDependencies::default(),
        domain_events: vec![],
        input_schema: None,
        identity: IdentityStrategy::AlwaysUnique,
        default_context: Map::new(),
        lifecycle: Lifecycle::default(),
        steps: vec![step],
    };
    assert_eq!(template, expected);
}

#[test]
fn every_key_lands_in_the_model() {
    let template = template(
        r#"
name: order.v2
namespace_name: shop-1
version: 2.10.3
description: Orders
metadata: {author: Ann, tags: [x, y], documentation_url: "https://d", custom: {deep: [1]}}
system_dependencies: {primary: db, secondary: [mail, sms]}
domain_events: [{name: order.paid, description: Paid, schema: {type: object}}]
input_schema: {type: object, required: [id]}
identity_strategy: caller_provided
default_context: {currency: EUR, big: 123456789012345678901234567890}
lifecycle:
  max_duration_minutes: 90
  max_waiting_for_dependencies_minutes: 0.5
  max_waiting_for_retry_minutes: 2
  max_steps_in_process_minutes: 0.00001
  staleness_action: none
environments: {prod: {steps: []}}
steps:
  - name: split
    description: Splits
    type: batchable
    handler: {callable: Shop::Split, method: run, resolver: shop, initialization: {rate: 0.10, on: true}}
    queue: ruby.shop
    retry: {retryable: false, max_attempts: 7, backoff: fibonacci, backoff_base_ms: 0, max_backoff_ms: 9}
    timeout_seconds: 0.07
    system_dependency: db
    priority: -5
    publishes_events:
      - {name: order.split, description: Split, condition: retryable_failure, schema: true, delivery_mode: broadcast, publisher: P}
    batch_config:
      {batch_size: 200, parallelism: 4, cursor_field: id, worker_template: work, failure_strategy: isolate, checkpoint_interval: 25}
    result_schema: {type: array}
    on_result_violation: fail
  - {name: work, type: batch_worker, handler: w, dependencies: [split]}
"#,
    );
    let handler = Handler {
        callable: "Shop::Split".into(),
        method: "run".into(),
        resolver: Some("shop".into()),
        initialization: [
            ("rate".to_owned(), Value::Number("0.10".parse().expect("a number"))),
            ("on".to_owned(), Value::Bool(true)),
        ]
        .into_iter()
        .collect(),
    };
    let split = StepTemplate {
        name: "split".into(),
        description: Some("Splits".into()),
        kind: StepKind::Batchable,
        handler,
        dependencies: vec![],
        queue: Some("ruby.shop".into()),
        retry: RetryPolicy {
            retryable: false,
            max_attempts: 7,
            backoff: Backoff::Fibonacci,
            backoff_base_ms: 0,
            max_backoff_ms: 9,
        },
        timeout_ms: 70,
        system_dependency: Some("db".into()),
        priority: -5,
        publishes_events: vec![EventDeclaration {
            name: "order.split".into(),
            description: Some("Split".into()),
            condition: EventCondition::RetryableFailure,
            schema: Some(json!(true)),
            delivery: DeliveryMode::Broadcast,
            publisher: Some("P".into()),
        }],
        batch: Some(BatchConfig {
            batch_size: Some(200),
            parallelism: Some(4),
            cursor_field: Some("id".into()),
            worker_template: Some("work".into()),
            failure_strategy: FailureStrategy::Isolate,
            checkpoint_interval: Some(25),
        }),
        result_schema: Some(json!({"type": "array"})),
        on_result_violation: ResultViolation::Fail,
    };
    assert_eq!(template.steps[0], split);
    assert_eq!(template.steps[1].kind, StepKind::BatchWorker);
    assert_eq!(template.steps[1].dependencies, ["split"]);
    assert_eq!((template.name.as_str(), template.namespace.as_str()), ("order.v2", "shop-1"));
    assert_eq!((template.version.as_str(), template.description.as_deref()), ("2.10.3", Some("Orders")));
    let metadata =
        json!({"author": "Ann", "tags": ["x", "y"], "documentation_url": "https://d", "custom": {"deep": [1]}});
    assert_eq!(template.metadata, object(metadata));
    let systems = SystemDependencies { primary: Some("db".into()), secondary: vec!["mail".into(), "sms".into()] };
    assert_eq!(template.system_dependencies, systems);
    let event = CatalogueEvent {
        name: "order.paid".into(),
        description: Some("Paid".into()),
        schema: Some(json!({"type": "object"})),
    };
    assert_eq!(template.domain_events, [event]);
    assert_eq!(template.input_schema, Some(json!({"type": "object", "required": ["id"]})));
    assert_eq!(template.identity, IdentityStrategy::CallerProvided);
    assert_eq!(
        Value::Object(template.default_context).to_string(),
        r#"{"currency":"EUR","big":123456789012345678901234567890}"#
    );
    let lifecycle = Lifecycle {
        max_duration_ms: Some(5_400_000),
        max_waiting_for_dependencies_ms: Some(30_000),
        max_waiting_for_retry_ms: Some(120_000),
        max_steps_in_process_ms: Some(1),
        staleness_action: StalenessAction::None,
    };
    assert_eq!(template.lifecycle, lifecycle);
}

#[test]
fn every_word_of_every_choice() {
    use EventCondition as C;
    for (word, kind) in [
        ("standard", StepKind::Standard),
        ("decision", StepKind::Decision),
        ("deferred_convergence", StepKind::DeferredConvergence),
        ("deferred", StepKind::DeferredConvergence),
        ("batchable", StepKind::Batchable),
        ("batch_worker", StepKind::BatchWorker),
    ] {
        for key in ["type", "step_type"] {
            let steps =
                format!("  - {{name: a, handler: h}}\n  - {{name: b, handler: h, {key}: {word}, depends_on: [a]}}\n");
            assert_eq!(template(&with_steps(&steps)).steps[1].kind, kind, "{key}: {word}");
        }
    }
    for (word, backoff) in [
        ("none", Backoff::None),
        ("linear", Backoff::Linear),
        ("exponential", Backoff::Exponential),
        ("fibonacci", Backoff::Fibonacci),
    ] {
        assert_eq!(step(&with_keys(&format!("retry: {{backoff: {word}}}"))).retry.backoff, backoff);
    }
    for (word, condition) in [
        ("success", C::Success),
        ("failure", C::Failure),
        ("retryable_failure", C::RetryableFailure),
        ("permanent_failure", C::PermanentFailure),
        ("always", C::Always),
    ] {
        let step = step(&with_keys(&format!("publishes_events: [{{name: e, condition: {word}}}]")));
        assert_eq!(step.publishes_events[0].condition, condition);
    }
    for (word, delivery) in
        [("durable", DeliveryMode::Durable), ("fast", DeliveryMode::Fast), ("broadcast", DeliveryMode::Broadcast)]
    {
        let step = step(&with_keys(&format!("publishes_events: [{{name: e, delivery_mode: {word}}}]")));
        assert_eq!(step.publishes_events[0].delivery, delivery);
    }
    for (word, strategy) in [
        ("continue_on_failure", FailureStrategy::ContinueOnFailure),
        ("fail_fast", FailureStrategy::FailFast),
        ("isolate", FailureStrategy::Isolate),
    ] {
        let step = step(&with_keys(&format!("type: batchable, batch_config: {{failure_strategy: {word}}}")));
        assert_eq!(step.batch.map(|batch| batch.failure_strategy), Some(strategy));
    }
    for (word, identity) in [
        ("always_unique", IdentityStrategy::AlwaysUnique),
        ("strict", IdentityStrategy::Strict),
        ("caller_provided", IdentityStrategy::CallerProvided),
    ] {
        assert_eq!(template(&with_top(&format!("identity_strategy: {word}"))).identity, identity);
    }
    for (word, action) in
        [("dlq", StalenessAction::Dlq), ("error", StalenessAction::Error), ("none", StalenessAction::None)]
    {
        let template = template(&with_top(&format!("lifecycle: {{staleness_action: {word}}}")));
        assert_eq!(template.lifecycle.staleness_action, action);
    }
}

#[test]
fn other_spellings() {
    assert_eq!(step(&with_keys("retry: {limit: 9}")).retry.max_attempts, 9);
    assert_eq!(step(&with_keys("retry: {max_attempts: 0x10}")).retry.max_attempts, 16);
    assert_eq!(step(&with_keys("timeout_seconds: 2")).timeout_ms, 2_000);
    assert_eq!(step(&with_keys("timeout_seconds: 0.0001")).timeout_ms, 1);
    assert_eq!(step(&with_keys("timeout_seconds: 1.0015")).timeout_ms, 1_002);
    // A key without value is an absent key.
    assert_eq!(step(&with_keys("timeout_seconds: ~, dependencies: , retry: null")), step(&with_keys("")));
    assert_eq!(template("\u{feff}name: demo\r\nsteps:\r\n- {name: a, handler: h}\r\n").name, "demo");
    assert_eq!(template("--- \nname: demo\nsteps: [{name: a, handler: h}]\n...\n").name, "demo");
}

#[test]
fn scalars_of_the_core_schema() {
    for (yaml, json) in [
        ("yes", r#""yes""#),
        ("True", "true"),
        ("NULL", "null"),
        ("~", "null"),
        ("'true'", r#""true""#),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("3.14159265358979323846264338327950288", "3.14159265358979323846264338327950288"),
        ("1.10", "1.10"),
        ("+7", "7"),
        ("007", "7"),
        ("-.5", "-0.5"),
        ("5.", "5.0"),
        ("0o17", "15"),
        ("0xFFFFFFFFFFFFFFFFFF", "4722366482869645213695"),
        ("0x", r#""0x""#),
        ("1_000", r#""1_000""#),
        (".", r#"".""#),
        ("1e", r#""1e""#),
        ("12:30:45", r#""12:30:45""#),
        ("2001-12-14", r#""2001-12-14""#),
        ("!!str 12", r#""12""#),
        ("! 12", r#""12""#),
        ("!!int '12'", "12"),
        ("!!float 1", "1"),
        ("!!map {a: !!seq []}", r#"{"a":[]}"#),
        ("{404: a}", r#"{"404":"a"}"#),
    ] {
        let context = template(&with_top(&format!("default_context: {{v: {yaml}}}"))).default_context;
        assert_eq!(Value::Object(context).to_string(), format!(r#"{{"v":{json}}}"#), "{yaml}");
    }
}

#[test]
fn anchors_and_merge_keys() {
    let template = template(
        "name: demo
default_context: {a: &list [1, 2], b: *list}
steps:
  - &base {name: a, handler: h, timeout_seconds: 5, retry: &retry {max_attempts: 4}}
  - {<<: *base, name: b, timeout_seconds: 6}
  - {<<: [{queue: q1}, {queue: q2, priority: 3}, *base], name: c}
  - {name: d, handler: h, retry: *retry}
",
    );
    assert_eq!(template.default_context, object(json!({"a": [1, 2], "b": [1, 2]})));
    let of = |i: usize| {
        let StepTemplate { name, timeout_ms, retry, queue, priority, .. } = &template.steps[i];
        (name.as_str(), *timeout_ms, retry.max_attempts, queue.as_deref(), *priority)
    };
    assert_eq!(of(1), ("b", 6_000, 4, None, 0));
    assert_eq!(of(2), ("c", 5_000, 4, Some("q1"), 3));
    assert_eq!(of(3), ("d", 30_000, 4, None, 0));
}

#[test]
fn refused_yaml() {
    for (yaml, expected) in [
        ("", "yaml_empty"),
        ("# only a comment\n", "yaml_empty"),
        ("~\n", "yaml_empty"),
        ("[a]\n", "wrong_type"),
        ("name: [a\n", "yaml_syntax"),
        ("name: a\n\tsteps: b\n", "yaml_syntax"),
        ("name: *nobody\n", "yaml_syntax"),
        ("name: a\0\nsteps: []\n", "yaml_syntax"),
        ("a: &a [*a]\n", "yaml_alias"),
        ("? [a]\n: b\n", "yaml_key"),
    ] {
        code(yaml, expected);
    }
    for (value, expected) in [
        ("!!binary aGk=", "yaml_tag"),
        ("!mine {a: 1}", "yaml_tag"),
        ("!!set {a: 1}", "yaml_tag"),
        ("!!int x", "yaml_value"),
        ("!!int 1e3", "yaml_value"),
        ("!!bool 1", "yaml_value"),
        (".inf", "yaml_value"),
        ("-.Inf", "yaml_value"),
        (".NaN", "yaml_value"),
        ("0x1ffffffffffffffffffffffffffffffff", "yaml_value"),
        ("{<<: 1}", "yaml_merge"),
        ("{<<: {a: 1}, <<: {b: 1}}", "yaml_duplicate_key"),
        ("{a: 1, 'a': 2}", "yaml_duplicate_key"),
        ("{1: x, '1': y}", "yaml_duplicate_key"),
        ("{: x}", "yaml_key"),
    ] {
        code(&with_top(&format!("default_context: {{v: {value}}}")), expected);
    }
    refused(
        "name: demo\nsteps: [{name: a, handler: h}]\n---\nname: b\n",
        &["error yaml_documents 3:1 a file holds one template: a second YAML document starts here"],
    );
    refused(
        "name: demo\nname: demo2\nsteps:\n  - name: a\n    handler: h\n    name: b\n",
        &[
            "error yaml_duplicate_key 2:1 the key `name` is given twice / it is first given in line 1",
            "error yaml_duplicate_key 6:5 the key `name` is given twice / it is first given in line 4",
        ],
    );
}

#[test]
fn nesting_has_a_limit() {
    // The root map and `default_context` are two of the levels.
    let flow = |depth: usize| with_top(&format!("default_context: {{v: {}{}}}", "[".repeat(depth), "]".repeat(depth)));
    template(&flow(62));
    code(&flow(63), "yaml_too_deep");
    code(&flow(100_000), "yaml_too_deep");
    code(&"- ".repeat(500_000), "yaml_too_deep");
    code(&"[".repeat(1_000_000), "yaml_too_deep");
    let alias = |depth: usize| {
        let (open, close) = ("[".repeat(31), "]".repeat(31));
        with_top(&format!(
            "metadata: {{v: &v {open}{close}}}\ndefault_context: {{v: {}*v{}}}",
            "[".repeat(depth),
            "]".repeat(depth)
        ))
    };
    template(&alias(31));
    code(&alias(32), "yaml_too_deep");
}

#[test]
fn alias_bombs_are_refused() {
    let mut lists = "default_context:\n  a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    let mut maps = "default_context:\n  a0: &a0 {x: 1, y: 2}\n".to_owned();
    for i in 1..40 {
        let p = i - 1;
        lists += &format!("  a{i}: &a{i} [*a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}]\n");
        maps += &format!("  a{i}: &a{i} {{<<: *a{p}, l{i}: *a{p}, r{i}: *a{p}}}\n");
    }
    let text = format!("default_context: {{a: &a {}, b: [{}]}}", "x".repeat(500_000), "*a, ".repeat(100_000));
    for bomb in [lists, maps, text] {
        code(&with_top(&bomb), "yaml_alias_bomb");
    }
    // A default shared by many steps is none.
    let mut shared =
        "  - &base {name: s, handler: {callable: h}, retry: {max_attempts: 2, backoff: linear}}\n".to_owned();
    for i in 1..STEPS_MAX {
        shared += &format!("  - {{<<: *base, name: s{i}}}\n");
    }
    assert_eq!(template(&with_steps(&shared)).steps.len(), STEPS_MAX);
}

#[test]
fn files_have_a_limit() {
    let file = |bytes: usize| {
        let yaml = with_keys("");
        format!("{yaml}#{}", "x".repeat(bytes - yaml.len() - 1))
    };
    template(&file(1 << 20));
    refused(
        &file((1 << 20) + 1),
        &["error yaml_too_large 1:1 the file has 1048577 bytes; a template may have 1048576"],
    );
}

#[test]
fn unknown_keys() {
    let yaml = "nmae: x
name: demo
namespace: n
system_dependencies: {primry: a}
domain_events: [{name: e, shema: {}}]
lifecycle: {max_duration: 1}
environments: {prod: {step: [], steps: [{name: a, handler: {callable: x}, time_out: 1}]}}
metadata: {anything: 1}
input_schema: {anything: 1}
default_context: {anything: 1}
steps:
  - name: a
    handler: {callable: h, initialisation: {}, initialization: {anything: 1}}
    handler_class: X
    retry: {max_attempt: 1}
    type: batchable
    batch_config: {batchsize: 1}
    publishes_events: [{name: e, delivery: fast}]
    zzz: 1
";
    let mut expected = vec![
        "unknown_key 1:1 unknown key `nmae` in template / did you mean `name`?",
        "unknown_key 3:1 unknown key `namespace` in template / did you mean `namespace_name`?",
        "unknown_key 4:23 unknown key `primry` in system_dependencies / did you mean `primary`?",
        "unknown_key 5:27 unknown key `shema` in domain event / did you mean `schema`?",
        "unknown_key 6:13 unknown key `max_duration` in lifecycle / did you mean `max_duration_minutes`?",
        "unknown_key 7:23 unknown key `step` in environment / did you mean `steps`?",
        "unknown_key 7:61 unknown key `callable` in handler / possible here: `initialization`",
        "unknown_key 7:75 unknown key `time_out` in override / did you mean `timeout_seconds`?",
        "unknown_key 13:28 unknown key `initialisation` in handler / did you mean `initialization`?",
        "unknown_key 14:5 unknown key `handler_class` in step / did you mean `handler`?",
        "unknown_key 15:13 unknown key `max_attempt` in retry / did you mean `max_attempts`?",
        "unknown_key 17:20 unknown key `batchsize` in batch_config / did you mean `batch_size`?",
        "unknown_key 18:34 unknown key `delivery` in event declaration / did you mean `delivery_mode`?",
        "unknown_key 19:5 unknown key `zzz` in step / possible here: `name`, `description`, `type`, `step_type`, \
         `handler`, `dependencies`, `depends_on`, `queue`, `retry`, `timeout_seconds`, `system_dependency`, \
         `priority`, `publishes_events`, `batch_config`, `result_schema`, `on_result_violation`",
    ];
    let warnings: Vec<String> = expected.iter().map(|line| format!("warning {line}")).collect();
    warned(yaml, &warnings.iter().map(String::as_str).collect::<Vec<_>>());
    let strict = load(yaml, "demo.yaml", &Options { strict: true, ..Options::default() }).expect_err("strict");
    expected
        .iter_mut()
        .zip(summary(&strict.diagnostics))
        .for_each(|(want, got)| assert_eq!(got, format!("error {want}")));
    assert_eq!(strict.diagnostics.len(), expected.len());
}

#[test]
fn other_warnings() {
    let zero = "warning zero_attempts 3:49 `max_attempts: 0` counts as 1 / \
                attempts include the first; `retryable: false` turns retries off";
    assert_eq!(warned(&with_keys("retry: {max_attempts: 0}"), &[zero]).steps[0].retry.max_attempts, 1);
    let zero = zero.replace("3:49", "3:42");
    assert_eq!(warned(&with_keys("retry: {limit: 0}"), &[&zero]).steps[0].retry.max_attempts, 1);
    let steps = "  - {name: a, handler: h}\n  - {name: b, handler: h, depends_on: [a, a]}\n";
    let twice = warned(&with_steps(steps), &["warning duplicate_dependency 4:43 `b` depends on `a` twice"]);
    assert_eq!(twice.steps[1].dependencies, ["a"]);
    let unused = "warning unused_key 3:27 `batch_config` has no effect on a step of type `standard` / \
                  is `type: batchable` missing?";
    warned(&with_keys("batch_config: {batch_size: 1}"), &[unused]);
    let unused = "warning unused_key 3:27 `on_result_violation` has no effect without a `result_schema`";
    warned(&with_keys("on_result_violation: fail"), &[unused]);
    // Warnings alone do not refuse a file, strict or not.
    let options = Options { strict: true, ..Options::default() };
    assert!(load(&with_keys("retry: {limit: 0}"), "demo.yaml", &options).is_ok());
}

#[test]
fn keys_of_other_places_and_units_are_told_what_to_write() {
    let yaml = "name: demo
task_handler: {callable: Shop::Handler, initialization: {a: 1}}
loaded_from: config/tasks/demo.yaml
steps:
  - {name: a, handler: h, lifecycle: {max_duration_minutes: 1}, retry: {initial_delay: 1, max_delay: 9}}
  - {name: b, handler: h, lifecycle: {max_duration_minutes: 1}, retry: {initial_delay: 1}}
  - {name: c, handler: h, retry: {initial_delay: 1}}
";
    let warnings = [
        "unknown_key 5:27 unknown key `lifecycle` in step, in 2 places of this file / \
         `lifecycle` belongs to the template, beside `steps`",
        "unknown_key 5:73 unknown key `initial_delay` in retry, in 3 places of this file / \
         write `backoff_base_ms`, in milliseconds",
        "unknown_key 5:91 unknown key `max_delay` in retry / write `max_backoff_ms`, in milliseconds",
    ];
    warned(yaml, &warnings.map(|line| format!("warning {line}")).each_ref().map(String::as_str));
    // Where they are errors, each has its place.
    let strict = load(yaml, "demo.yaml", &Options { strict: true, ..Options::default() }).expect_err("strict");
    assert_eq!(strict.diagnostics.len(), 6);
}

#[test]
fn keys_written_as_ruby_symbols_have_one_cause() {
    let error = read(":name: demo\n:steps:\n  - {name: a, handler: h}\n").expect_err("no key is known");
    assert_eq!(
        summary(&error.diagnostics),
        [
            "warning unknown_key 1:1 unknown key `:name` in template / did you mean `name`?",
            "error missing_key 1:1 template needs a value for `name`",
            "warning unknown_key 2:1 unknown key `:steps` in template / did you mean `steps`?",
            "error no_steps 2:1 a template's steps stand under `steps`, not `:steps` / \
             keys are plain texts: write `steps`, and so with the others",
        ]
    );
}

#[test]
fn refused_values() {
    for (keys, expected) in [
        ("description: 1", "wrong_type 3:40 `description` must be a text, not a number / put it in quotes"),
        ("retry: 3", "wrong_type 3:34 `retry` must be a map, not a number"),
        ("retry: {retryable: yes}", "wrong_type 3:46 `retryable` must be a boolean, not a text / write `true`"),
        ("retry: {max_attempts: -1}", "out_of_range 3:49 `max_attempts` must be at least 0, not `-1`"),
        ("retry: {max_attempts: 2.5}", "wrong_type 3:49 `max_attempts` must be a whole number, not `2.5`"),
        (
            "retry: {max_attempts: 99999999999999999999999999999999999999999}",
            "out_of_range 3:49 `max_attempts` must be at most 2147483647, not `99999999999999999999999999999999999999999`",
        ),
        ("retry: {max_attempts: '3'}", "wrong_type 3:49 `max_attempts` must be a whole number, not a text"),
        ("retry: {backoff_base_ms: -1}", "out_of_range 3:52 `backoff_base_ms` must be at least 0, not `-1`"),
        ("retry: {max_backoff_ms: -1}", "out_of_range 3:51 `max_backoff_ms` must be at least 0, not `-1`"),
        ("retry: {backoff: linaer}", "unknown_value 3:44 `backoff` cannot be `linaer` / did you mean `linear`?"),
        (
            "retry: {max_attempts: 3, limit: 3}",
            "both_spellings 3:52 `limit` is another name of `max_attempts`, and both are given / keep `max_attempts`",
        ),
        (
            "type: standard, step_type: standard",
            "both_spellings 3:43 `step_type` is another name of `type`, and both are given / keep `type`",
        ),
        (
            "dependencies: [], depends_on: []",
            "both_spellings 3:45 `depends_on` is another name of `dependencies`, and both are given / keep `dependencies`",
        ),
        ("timeout_seconds: -1", "out_of_range 3:44 `timeout_seconds` must be more than 0, not `-1`"),
        ("timeout_seconds: 0", "out_of_range 3:44 `timeout_seconds` must be more than 0, not `0`"),
        ("timeout_seconds: 1e300", "out_of_range 3:44 `timeout_seconds` must be at most 3153600000, not `1e+300`"),
        ("timeout_seconds: 5s", "wrong_type 3:44 `timeout_seconds` must be a number, not a text"),
        ("priority: 1000001", "out_of_range 3:37 `priority` must be at most 1000000, not `1000001`"),
        ("dependencies: b", "wrong_type 3:41 `dependencies` must be a list, not a text / write `[b]`"),
        ("dependencies: [1]", "wrong_type 3:42 `dependencies` must be a text, not a number / put it in quotes"),
        ("type: desicion", "unknown_value 3:33 `type` cannot be `desicion` / did you mean `decision`?"),
        ("result_schema: x", "wrong_type 3:42 `result_schema` must be a JSON Schema (a map or a boolean), not a text"),
        ("publishes_events: [e]", "wrong_type 3:46 `event declaration` must be a map, not a text"),
        ("publishes_events: [{}]", "missing_key 3:46 event declaration needs a value for `name`"),
        (
            "publishes_events: [{name: a..b}]",
            "bad_name 3:53 the event name `a..b` has an empty part / write it like `order.paid`",
        ),
        (
            "type: batchable, batch_config: {batch_size: 0}",
            "out_of_range 3:71 `batch_size` must be at least 1, not `0`",
        ),
        (
            "type: batchable, batch_config: {parallelism: 0}",
            "out_of_range 3:72 `parallelism` must be at least 1, not `0`",
        ),
        (
            "type: batchable, batch_config: {checkpoint_interval: 0}",
            "out_of_range 3:80 `checkpoint_interval` must be at least 1, not `0`",
        ),
        ("system_dependency: ' '", "bad_name 3:46 `system_dependency` is empty"),
    ] {
        refused(&with_keys(keys), &[&format!("error {expected}")]);
    }
    for (top, expected) in [
        (
            "version: 1.0",
            "bad_version 1:10 the version `1.0` is not of the form x.y.z / three whole numbers, like `1.0.0`",
        ),
        (
            "version: 1.0.x",
            "bad_version 1:10 the version `1.0.x` is not of the form x.y.z / three whole numbers, like `1.0.0`",
        ),
        (
            "version: 1.00.0",
            "bad_version 1:10 the version `1.00.0` is not of the form x.y.z / three whole numbers, like `1.0.0`",
        ),
        ("version: [1]", "wrong_type 1:10 `version` must be a text, not a list"),
        ("metadata: [1]", "wrong_type 1:11 `metadata` must be a map, not a list"),
        ("default_context: 1", "wrong_type 1:18 `default_context` must be a map, not a number"),
        (
            "lifecycle: {max_duration_minutes: -1}",
            "out_of_range 1:35 `max_duration_minutes` must be more than 0, not `-1`",
        ),
        (
            "identity_strategy: Strict",
            "unknown_value 1:20 `identity_strategy` cannot be `Strict` / did you mean `strict`?",
        ),
        (
            "lifecycle: {staleness_action: explode}",
            "unknown_value 1:31 `staleness_action` cannot be `explode` / possible here: `dlq`, `error`, `none`",
        ),
        ("domain_events: {a: 1}", "wrong_type 1:16 `domain_events` must be a list, not a map"),
    ] {
        refused(&with_top(top), &[&format!("error {expected}")]);
    }
}

#[test]
fn names() {
    let hint = "names are made of the letters a-z and A-Z, digits, `_`, `-` and `.`";
    for (name, problem) in [
        ("''", "`{key}` is empty".to_owned()),
        ("a b", "` ` cannot be used in `{key}`".to_owned()),
        ("a/b", "`/` cannot be used in `{key}`".to_owned()),
        ("größe", "`ö` cannot be used in `{key}`".to_owned()),
        (r#""a\eb""#, r"`\u{1b}` cannot be used in `{key}`".to_owned()),
        ("..", "`..` holds no letter and no digit".to_owned()),
        (&"x".repeat(129), format!("`{}…` is 129 bytes long; `{{key}}` may have 128", "x".repeat(80))),
    ] {
        let expected = |at: &str, key: &str| format!("error bad_name {at} {} / {hint}", problem.replace("{key}", key));
        refused(&format!("name: {name}\nsteps: [{{name: a, handler: h}}]\n"), &[&expected("1:7", "name")]);
        refused(&with_top(&format!("namespace_name: {name}")), &[&expected("1:17", "namespace_name")]);
        refused(&with_steps(&format!("  - {{name: {name}, handler: h}}\n")), &[&expected("3:12", "name")]);
        refused(&with_keys(&format!("queue: {name}")), &[&expected("3:34", "queue")]);
    }
    template(&format!("name: {}\nsteps: [{{name: A-1_b.c, handler: h}}]\n", "x".repeat(128)));
    code(&with_steps("  - {name: ALL, handler: h}\n"), "bad_name");
}

#[test]
fn refused_steps() {
    let batch = "  - {name: s, handler: h, type: batchable, batch_config: {worker_template: wrok}}\n";
    for (steps, expected) in [
        (
            "  - {name: a, handler: h}\n  - {name: a, handler: h}\n",
            &["duplicate_step 4:12 two steps are named `a` / the first is in line 3"][..],
        ),
        (
            "  - {name: validate, handler: h}\n  - {name: b, handler: h, depends_on: [valdate]}\n",
            &[
                "unknown_dependency 4:40 `b` depends on `valdate`, which is no step of this template / did you mean `validate`?",
            ],
        ),
        ("  - {name: a, handler: h, depends_on: [a]}\n", &["self_dependency 3:40 `a` depends on itself"]),
        (
            "  - {name: d, handler: h, type: decision}\n",
            &["decision_without_dependency 3:33 the decision step `d` depends on nothing / add `dependencies: […]`"],
        ),
        (
            "  - {name: c, handler: h, type: deferred}\n",
            &[
                "convergence_without_dependency 3:33 the convergence step `c` depends on nothing / add `dependencies: […]`",
            ],
        ),
        (
            &format!("{batch}  - {{name: work, handler: h, type: batch_worker}}\n"),
            &[
                "unknown_worker_template 3:76 `worker_template` `wrok` names no step of type `batch_worker` / did you mean `work`?",
            ],
        ),
        (
            &format!("{batch}  - {{name: wrok, handler: h}}\n"),
            &["unknown_worker_template 3:76 `worker_template` `wrok` names no step of type `batch_worker`"],
        ),
        ("  - {name: a}\n", &["missing_key 3:5 step needs a value for `handler`"]),
        ("  - {name: a, handler: }\n", &["missing_key 3:15 step needs a value for `handler`"]),
        ("  - {name: a, handler: {}}\n", &["missing_key 3:24 handler needs a value for `callable`"]),
        ("  - {name: a, handler: ''}\n", &["bad_name 3:24 `handler` is empty"]),
        ("  - {handler: h}\n", &["missing_key 3:5 step needs a value for `name`"]),
        ("  - a\n", &["wrong_type 3:5 `step` must be a map, not a text"]),
        ("  []\n", &["no_steps 2:1 a template needs at least one step under `steps`"]),
        ("", &["no_steps 1:1 a template needs at least one step under `steps`"]),
        ("  a: 1\n", &["wrong_type 3:3 `steps` must be a list, not a map"]),
    ] {
        let expected: Vec<String> = expected.iter().map(|line| format!("error {line}")).collect();
        refused(&with_steps(steps), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
    refused("steps: [{name: a, handler: h}]\n", &["error missing_key 1:1 template needs a value for `name`"]);
    // The outcome names the worker template where the step does not.
    template(&with_keys("type: batchable, batch_config: {batch_size: 2}"));
    template(&with_keys("type: batchable"));
}

#[test]
fn cycles_are_printed() {
    let after = |pairs: &[(&str, &str)]| -> String {
        pairs.iter().map(|(name, on)| format!("  - {{name: {name}, handler: h, depends_on: [{on}]}}\n")).collect()
    };
    let hint = "each step waits for the one before the arrow";
    for (steps, expected) in [
        (after(&[("a", "c"), ("b", "a"), ("c", "b")]), vec!["3:40 the dependencies form a cycle: a -> b -> c -> a"]),
        // Steps before and after a cycle are not part of it.
        (
            after(&[("start", ""), ("x", "'y', start"), ("y", "x"), ("end", "y")]),
            vec!["4:40 the dependencies form a cycle: x -> y -> x"],
        ),
        (
            after(&[("a", "b"), ("b", "a"), ("m", "'b'"), ("p", "'q', m"), ("q", "p")]),
            vec!["3:40 the dependencies form a cycle: a -> b -> a", "6:40 the dependencies form a cycle: p -> q -> p"],
        ),
    ] {
        let expected: Vec<String> = expected.iter().map(|c| format!("error dependency_cycle {c} / {hint}")).collect();
        refused(&with_steps(&steps), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn many_steps() {
    let chain = |count: usize, first: &str| {
        let mut yaml = format!("  - {{name: s0, handler: h, depends_on: [{first}]}}\n");
        for i in 1..count {
            yaml += &format!("  - {{name: s{i}, handler: h, depends_on: [s{}]}}\n", i - 1);
        }
        with_steps(&yaml)
    };
    let longest = template(&chain(STEPS_MAX, ""));
    assert_eq!(longest.steps.len(), STEPS_MAX);
    assert_eq!(longest.steps[STEPS_MAX - 1].dependencies, ["s9998"]);
    refused(
        &chain(STEPS_MAX + 1, ""),
        &["error too_many_steps 10003:5 the template has 10001 steps; 10000 are allowed"],
    );
    let error = read(&chain(STEPS_MAX, "s9999")).expect_err("a cycle of all steps");
    assert!(error.diagnostics[0].message.ends_with("s18 -> s19 -> … 9980 more … -> s0"), "{error}");
    // Every step mistyped: the search for similar names ends, and so does the list.
    let steps: String = (0..8_000)
        .map(|i| format!("  - {{name: step_number_{i}, handler: h, depends_on: [step_nubmer_{i}]}}\n"))
        .collect();
    let error = read(&with_steps(&steps)).expect_err("unknown dependencies");
    assert_eq!(error.diagnostics.len(), 101);
    assert_eq!(error.diagnostics[100].message, "and 7900 more errors of this file");
}

#[test]
fn environments() {
    let yaml = "name: demo
environments:
  test:
    steps:
      - {name: b, timeout_seconds: 1, handler: {initialization: {url: named}}}
      - {name: ALL, timeout_seconds: 2, retry: {max_attempts: 1}, handler: {initialization: {url: all, more: {x: 1}}}}
  prod: {steps: [{name: a, timeout_seconds: 60}]}
  empty:
steps:
  - {name: a, handler: {callable: h, initialization: {url: own, keep: 1, more: {y: 2}}}, retry: {backoff: none}}
  - {name: b, handler: h}
";
    let read =
        |environment| load(yaml, "demo.yaml", &Options { environment, strict: true }).expect("a template").template;
    let of = |step: &StepTemplate| (step.timeout_ms, step.retry.clone(), step.handler.initialization.clone());
    let own = json!({"url": "own", "keep": 1, "more": {"y": 2}});
    let without_delay = RetryPolicy { backoff: Backoff::None, ..RetryPolicy::default() };
    let plain = [(30_000, without_delay.clone(), object(own.clone())), (30_000, RetryPolicy::default(), Map::new())];
    for environment in [None, Some("staging"), Some("empty"), Some("Test")] {
        assert_eq!(read(environment).steps.iter().map(of).collect::<Vec<_>>(), plain, "{environment:?}");
    }
    // ALL first, wherever it stands; the retry policy is replaced, not merged.
    let once = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let test = [
        (2_000, once.clone(), object(json!({"url": "all", "keep": 1, "more": {"x": 1}}))),
        (1_000, once, object(json!({"url": "named", "more": {"x": 1}}))),
    ];
    assert_eq!(read(Some("test")).steps.iter().map(of).collect::<Vec<_>>(), test);
    let prod = [(60_000, without_delay, object(own)), (30_000, RetryPolicy::default(), Map::new())];
    assert_eq!(read(Some("prod")).steps.iter().map(of).collect::<Vec<_>>(), prod);
}

#[test]
fn refused_environments() {
    // None of them is the chosen one: they are checked all the same.
    for (environments, expected) in [
        ("[a]", "wrong_type 1:15 `environments` must be a map, not a list"),
        ("{e: [a]}", "wrong_type 1:19 `environment` must be a map, not a list"),
        ("{e: {steps: [{}]}}", "missing_key 1:28 override needs a value for `name`"),
        (
            "{e: {steps: [{name: aa}]}}",
            "unknown_override 1:35 this overrides the step `aa`, which does not exist / did you mean `a`?",
        ),
        ("{e: {steps: [{name: a}, {name: a}]}}", "duplicate_override 1:46 `a` is overridden twice in this environment"),
        (
            "{e: {steps: [{name: ALL, timeout_seconds: -1}]}}",
            "out_of_range 1:57 `timeout_seconds` must be more than 0, not `-1`",
        ),
        ("{e: {steps: [{name: ALL, handler: h}]}}", "wrong_type 1:49 `handler` must be a map, not a text"),
        (
            "{e: {steps: [{name: ALL, retry: {backoff: x}}]}}",
            "unknown_value 1:57 `backoff` cannot be `x` / possible here: `none`, `linear`, `exponential`, `fibonacci`",
        ),
    ] {
        refused(&with_top(&format!("environments: {environments}")), &[&format!("error {expected}")]);
    }
    let steps: String = (0..9_000).map(|i| format!("  - {{name: s{i}, handler: h}}\n")).collect();
    let top = format!(
        "environments: {{e: {{steps: [{{name: ALL, handler: {{initialization: {{v: [{}]}}}}}}]}}}}",
        "1,".repeat(5_000)
    );
    let yaml = format!("{top}\n{}", with_steps(&steps));
    assert!(read(&yaml).is_ok());
    let options = Options { environment: Some("e"), ..Options::default() };
    let error = load(&yaml, "demo.yaml", &options).expect_err("45 million values");
    assert_eq!(error.diagnostics[0].code, "override_too_large");
}

#[test]
fn all_errors_at_once() {
    refused(
        "name: 'a b'
version: one
steps:
  - name: a
    handler: {}
    timeout_seconds: -5
    dependson: []
  - name: b
    handler: h
    type: decision
  - name: b
    handler: h
    dependencies: [c]
",
        &[
            "error bad_name 1:7 ` ` cannot be used in `name` / names are made of the letters a-z and A-Z, digits, `_`, `-` and `.`",
            "error bad_version 2:10 the version `one` is not of the form x.y.z / three whole numbers, like `1.0.0`",
            "error missing_key 5:14 handler needs a value for `callable`",
            "error out_of_range 6:22 `timeout_seconds` must be more than 0, not `-5`",
            "warning unknown_key 7:5 unknown key `dependson` in step / did you mean `depends_on`?",
            "error decision_without_dependency 10:11 the decision step `b` depends on nothing / add `dependencies: […]`",
            "error duplicate_step 11:11 two steps are named `b` / the first is in line 8",
            "error unknown_dependency 13:20 `b` depends on `c`, which is no step of this template / possible here: `a`",
        ],
    );
}

#[track_caller]
fn printed(yaml: &str, expected: &str) {
    assert_eq!(read(yaml).expect_err(yaml).to_string(), expected);
}

#[test]
fn printed_as_rustc_does() {
    printed(
        "name: demo\nsteps:\n  - name: a\n    handler: h\n    retry:\n      backoff: linaer\n    timeout_seconds: 0\n",
        "error: `backoff` cannot be `linaer`
 --> demo.yaml:6:16
  |
6 |       backoff: linaer
  |                ^
  = help: did you mean `linear`?

error: `timeout_seconds` must be more than 0, not `0`
 --> demo.yaml:7:22
  |
7 |     timeout_seconds: 0
  |                      ^",
    );
    // A tab is kept under a tab, so that the caret stays below its column.
    printed(
        "name: demo\nsteps:\n\t- name: a\n",
        "error: not valid YAML: tabs disallowed within this context (block indentation)
 --> demo.yaml:3:2
  |
3 | \t- name: a
  | \t^
  = help: indent with spaces: YAML does not allow tabs there",
    );
    printed(
        &format!("{}{}", "#\n".repeat(9), with_top("metadata: {ä: 1,\tö: !x 2}")),
        "error: the tag `!x` cannot be used
  --> demo.yaml:10:21
   |
10 | metadata: {ä: 1,\tö: !x 2}
   |                 \t   ^
   = help: possible here: `!!str`, `!!int`, `!!float`, `!!bool`, `!!null`, `!!seq`, `!!map`, or no tag",
    );
    // What is missing at the end of a file is missing after its last text.
    for end in ["", "\n", "\n\n  \n"] {
        let error = read(&format!("name: demo\nsteps: [{{name: a}}{end}")).expect_err("cut off");
        let Diagnostic { severity, line, column, excerpt, .. } = &error.diagnostics[0];
        assert_eq!((*severity, *line, *column), (Severity::Error, 2, 18), "{end:?}");
        assert_eq!(excerpt, "2 | steps: [{name: a}\n  |                  ^");
    }
    // A line of any length gives a short excerpt.
    let long = format!(
        "{{{}a: 1, name: -1, steps: [{{name: a, handler: h}}]}}",
        "metadata: {}, #".replace('#', &" ".repeat(500_000))
    );
    let error = read(&long).expect_err("a number for a name");
    assert!(error.to_string().len() < 1_500, "{}", error.to_string().len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>(), environment in proptest::option::of("[a-c]")) {
        let _ = load(&text, "f", &Options { environment: environment.as_deref(), strict: true });
    }

    #[test]
    fn no_yaml_like_text_panics(text in "[-a:?,\\[\\]{}#&*!|>'\"%@`<~ \\n\\r\\t0.é\u{feff}]{0,80}") {
        if let Err(error) = read(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_template_like_text_panics(lines in proptest::collection::vec(
        "( |  |    ){0,2}(- )?(name|steps|handler|retry|type|environments|dependencies|<<|batch_config)?: ?(\\[[ab], \\*x\\]|&x|\\*x|ALL|decision|-1|\\{a: 1\\}|~)?", 0..12,
    )) {
        let _ = read(&format!("name: demo\n{}\n", lines.join("\n")));
    }

    #[test]
    fn a_cut_or_changed_template_does_not_panic(at in 0_usize..400, change in any::<char>(), cut in any::<bool>()) {
        let whole = "name: demo\nenvironments: {test: {steps: [{name: ALL, retry: &r {limit: 0}}]}}\nsteps:\n  - &b\n    name: a\n    handler: {callable: h}\n    retry: *r\n  - {<<: *b, name: b, depends_on: [a]}\n";
        let at = at.min(whole.len());
        let tail = if cut { "" } else { &whole[(at + 1).min(whole.len())..] };
        let _ = load(&format!("{}{change}{tail}", &whole[..at]), "f", &Options { environment: Some("test"), strict: false });
    }
}
