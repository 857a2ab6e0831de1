//! Which declared events an attempt's end publishes, and how errors are grouped.

use crate::template::{EventCondition, EventDeclaration, RetryPolicy, StepTemplate, Template};

/// What the end of an attempt was, as event conditions see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A result was recorded.
    Success,
    /// It failed and another attempt follows.
    RetryableFailure,
    /// It failed and the step is in error.
    PermanentFailure,
}

impl Occasion {
    /// The occasion of a handler's failure. `failures`: attempts counted before this one.
    pub fn of_failure(policy: &RetryPolicy, failures: u32, retryable: bool) -> Occasion {
        if retryable && policy.retryable && failures + 1 < policy.max_attempts {
            Occasion::RetryableFailure
        } else {
            Occasion::PermanentFailure
        }
    }

    /// The spelling in an event's metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Occasion::Success => "success",
            Occasion::RetryableFailure => "retryable_failure",
            Occasion::PermanentFailure => "permanent_failure",
        }
    }
}

fn fits(condition: EventCondition, occasion: Occasion) -> bool {
    match condition {
        EventCondition::Always => true,
        EventCondition::Success => occasion == Occasion::Success,
        EventCondition::Failure => occasion != Occasion::Success,
        EventCondition::RetryableFailure => occasion == Occasion::RetryableFailure,
        EventCondition::PermanentFailure => occasion == Occasion::PermanentFailure,
    }
}

/// Declarations of a step that fit an occasion, with their place in `publishes_events`.
pub fn published(step: &StepTemplate, occasion: Occasion) -> impl Iterator<Item = (usize, &EventDeclaration)> {
    step.publishes_events.iter().enumerate().filter(move |(_, e)| fits(e.condition, occasion))
}

/// The schema of a declared event's payload: its own, or that of the template's catalogue.
pub fn schema<'t>(template: &'t Template, event: &'t EventDeclaration) -> Option<&'t serde_json::Value> {
    event
        .schema
        .as_ref()
        .or_else(|| template.domain_events.iter().find(|e| e.name == event.name).and_then(|e| e.schema.as_ref()))
}

/// An error message with what differs from case to case (numbers, identifiers, quoted values) taken out.
///
/// Runs of letters, digits, `_` and `-` that hold a digit become `#`; text within quotes becomes `?`.
pub fn fingerprint(message: &str) -> String {
    let mut out = String::with_capacity(message.len().min(256));
    let mut chars = message.chars().peekable();
    while let Some(c) = chars.next() {
        if matches!(c, '"' | '\'' | '`') {
            let rest: String = chars.clone().take(200).collect();
            if let Some(end) = rest.find(c) {
                for _ in 0..rest[..end].chars().count() + 1 {
                    chars.next();
                }
                out.push('?');
                continue;
            }
        }
        if c.is_alphanumeric() {
            let mut word = String::from(c);
            while let Some(next) = chars.peek().filter(|n| n.is_alphanumeric() || matches!(n, '_' | '-')) {
                word.push(*next);
                chars.next();
            }
            out.push_str(if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { &word });
        } else {
            out.push(c);
        }
        if out.len() > 240 {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn what_differs_from_case_to_case_is_taken_out() {
        assert_eq!(fingerprint("order 17 not found in 3 ms"), "order # not found in # ms");
        assert_eq!(fingerprint("no user 'bob' (id 01f0-aa)"), "no user ? (id #)");
        assert_eq!(fingerprint("it isn't there"), "it isn't there");
        assert_eq!(fingerprint("täglich 2 × ä"), "täglich # × ä");
    }
}
