//! The workflows that are simulated: the shapes users draw, and some that chance drew.

use tasker_core::template::StepKind;
use tasker_store::{Op, TemplateSource, compile};

use crate::dice::Dice;

/// Namespace of every template, and the queue of most steps.
pub const NAMESPACE: &str = "sim";
/// A second queue, as of workers in another language.
pub const SIDE_QUEUE: &str = "side";

/// Templates drawn by chance.
const DRAWN: usize = 12;

const HANDWRITTEN: &[&str] = &[
    "name: chain
steps:
  - {name: one, handler: h, publishes_events: [{name: chain.started}]}
  - {name: two, handler: h, depends_on: [one], queue: side}
  - {name: three, handler: h, depends_on: [two], retry: {backoff: none}}
  - {name: four, handler: h, depends_on: [three], publishes_events: [{name: chain.ended, condition: always}]}
",
    "name: diamond
steps:
  - {name: top, handler: h}
  - {name: left, handler: h, depends_on: [top], retry: {max_attempts: 4, backoff: linear, backoff_base_ms: 200}}
  - {name: right, handler: h, depends_on: [top], queue: side, retry: {max_attempts: 2, backoff: fibonacci}}
  - {name: bottom, handler: h, depends_on: [left, right], publishes_events: [{name: diamond.closed}]}
",
    "name: fan
steps:
  - {name: split, handler: h}
  - {name: a, handler: h, depends_on: [split], priority: 5}
  - {name: b, handler: h, depends_on: [split], queue: side}
  - {name: c, handler: h, depends_on: [split], retry: {retryable: false}}
  - {name: d, handler: h, depends_on: [split], priority: -5}
  - {name: join, handler: h, depends_on: [a, b, c, d]}
",
    "name: choice
steps:
  - {name: gather, handler: h}
  - {name: choose, type: decision, handler: h, depends_on: [gather]}
  - {name: small, handler: h, depends_on: [choose]}
  - {name: medium, handler: h, depends_on: [choose], queue: side}
  - {name: large, handler: h, depends_on: [choose]}
  - {name: after_large, handler: h, depends_on: [large]}
  - {name: meet, type: deferred_convergence, handler: h, depends_on: [small, medium, after_large]}
  - {name: close, handler: h, depends_on: [meet]}
",
    "name: choices
steps:
  - {name: first, handler: h}
  - {name: outer, type: decision, handler: h, depends_on: [first]}
  - {name: plain, handler: h, depends_on: [outer]}
  - {name: inner, type: decision, handler: h, depends_on: [outer]}
  - {name: x, handler: h, depends_on: [inner]}
  - {name: y, handler: h, depends_on: [inner]}
  - {name: meet, type: deferred_convergence, handler: h, depends_on: [plain, x, y]}
",
    "name: batch_continue
steps:
  - {name: cut, type: batchable, handler: h, batch_config: {worker_template: part, failure_strategy: continue_on_failure}}
  - {name: part, type: batch_worker, handler: h, depends_on: [cut], retry: {max_attempts: 2, backoff_base_ms: 100}}
  - {name: sum, type: deferred_convergence, handler: h, depends_on: [part]}
",
    "name: batch_fail_fast
steps:
  - {name: prepare, handler: h}
  - {name: cut, type: batchable, handler: h, depends_on: [prepare], batch_config: {worker_template: part, failure_strategy: fail_fast, parallelism: 2}}
  - {name: part, type: batch_worker, handler: h, depends_on: [cut], queue: side}
  - {name: sum, type: deferred_convergence, handler: h, depends_on: [part]}
",
    "name: batch_isolate
steps:
  - {name: cut, type: batchable, handler: h, batch_config: {worker_template: part, failure_strategy: isolate, parallelism: 1}}
  - {name: part, type: batch_worker, handler: h, depends_on: [cut], retry: {max_attempts: 1}}
  - {name: sum, type: deferred_convergence, handler: h, depends_on: [part]}
  - {name: tell, handler: h, depends_on: [sum]}
",
    "name: mortal
lifecycle: {max_duration_minutes: 1, max_waiting_for_retry_minutes: 0.1, staleness_action: dlq}
steps:
  - {name: one, handler: h, retry: {max_attempts: 9, backoff: linear, backoff_base_ms: 3000}}
  - {name: two, handler: h, depends_on: [one]}
",
];

/// A valid template of up to eight steps in which every decision names only its direct children.
fn drawn(number: usize) -> String {
    let dice = &mut Dice::new(number as u64, 1);
    let count = 2 + dice.below(7) as usize;
    let (mut steps, mut kinds): (Vec<String>, Vec<&str>) = (Vec::new(), Vec::new());
    while steps.len() < count {
        let no = steps.len();
        let mut above: Vec<usize> = Vec::new();
        if no > 0 {
            above.extend((0..dice.below(3)).map(|_| no - 1 - dice.below(no.min(4) as u64) as usize));
        }
        let kind = if kinds.last() == Some(&"batchable") {
            above = vec![no - 1];
            "batch_worker"
        } else {
            match dice.below(8) {
                3 if !above.is_empty() && !kinds.contains(&"decision") => "decision",
                5 | 6 if !above.is_empty() => "deferred_convergence",
                7 if no + 1 < count => "batchable",
                _ => "standard",
            }
        };
        above.sort_unstable();
        above.dedup();
        let mut more = String::new();
        if kind == "batchable" {
            let strategy = *dice.one(&["continue_on_failure", "fail_fast", "isolate"]);
            let cap = *dice.one(&["", "parallelism: 1, ", "parallelism: 2, "]);
            more = format!(", batch_config: {{{cap}failure_strategy: {strategy}, worker_template: s{}}}", no + 1);
        }
        if dice.often(30) {
            more.push_str(", queue: side");
        }
        let names: Vec<String> = above.iter().map(|d| format!("s{d}")).collect();
        let (attempts, backoff) = (1 + dice.below(4), *dice.one(&["none", "linear", "exponential", "fibonacci"]));
        steps.push(format!(
            "  - {{name: s{no}, type: {kind}, handler: h, depends_on: [{}], retry: {{max_attempts: {attempts}, backoff: {backoff}, backoff_base_ms: 100}}{more}}}",
            names.join(", ")
        ));
        kinds.push(kind);
    }
    format!("name: drawn_{number}\nsteps:\n{}\n", steps.join("\n"))
}

/// Whether a decision can name a step that also lies below an expander beside that decision. A reset of that expander takes
/// such a step back, and does not know that the decision named it: the limit that docs/guide/errors.md names.
fn is_named_across_branches(source: &str) -> bool {
    let Ok(workflow) = compile(source, "sim.yaml", None) else { return false };
    let graph = &workflow.graph;
    let decisions = (0..graph.len() as u16).filter(|s| graph.kinds[usize::from(*s)] == StepKind::Decision);
    decisions.into_iter().any(|decision| {
        let beside =
            |above: &u16| graph.is_expander(*above) && *above != decision && !graph.is_ancestor(*above, decision);
        graph.children[usize::from(decision)].iter().any(|child| graph.ancestors(*child).iter().any(beside))
    })
}

/// All templates: name and the operation that stores it.
pub fn all() -> Vec<(String, Op)> {
    let sources = HANDWRITTEN
        .iter()
        .map(ToString::to_string)
        .chain((0..).map(drawn).filter(|s| !is_named_across_branches(s)).take(DRAWN));
    sources
        .map(|source| {
            let name = source.lines().next().and_then(|l| l.strip_prefix("name: ")).unwrap_or_default().to_string();
            let source = format!("namespace_name: {NAMESPACE}\nversion: 1.0.0\n{source}");
            let identity = (NAMESPACE.into(), name.clone(), "1.0.0".into());
            (name, Op::AddTemplate(TemplateSource { path: "sim.yaml".into(), source, environment: None, identity }))
        })
        .collect()
}
