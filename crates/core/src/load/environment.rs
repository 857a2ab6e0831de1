//! Overrides of steps per environment.

use std::collections::{HashMap, HashSet};

use super::diagnostic::{Mark, shown};
use super::read::{Fields, Reader};
use crate::template::{StepOverride, StepTemplate};
use crate::yaml::{EXPANSION_MAX, Kind, Node};

/// The name that stands for every step.
pub(crate) const ALL: &str = "ALL";

/// One entry of an environment.
struct Override {
    /// Name of a step, or [`ALL`].
    name: String,
    at: Mark,
    change: StepOverride,
    /// Weight of what it puts into each step.
    weight: usize,
}

impl Reader<'_> {
    /// Checks the overrides of all environments and applies those of the chosen one.
    pub(super) fn environments(&mut self, fields: &Fields, steps: &mut [StepTemplate], chosen: Option<&str>) {
        let Some(entry) = fields.get("environments") else { return };
        let Kind::Map(environments) = &entry.value.kind else {
            self.mismatch::<()>("environments", "a map", &entry.value);
            return;
        };
        let places: HashMap<String, usize> = steps.iter().enumerate().map(|(i, s)| (s.name.clone(), i)).collect();
        for (name, entry) in environments {
            self.check_name("environments", name, entry.at);
            if matches!(entry.value.kind, Kind::Null) {
                continue;
            }
            let Some(fields) = self.fields("environment", &entry.value, &["steps"]) else { continue };
            let items = self.optional(&fields, "steps", Self::list).unwrap_or_default();
            let overrides: Vec<Override> = items.iter().filter_map(|item| self.step_override(item)).collect();
            let mut seen = HashSet::new();
            for Override { name, at, .. } in &overrides {
                if !seen.insert(name) {
                    let message = format!("{} is overridden twice in this environment", shown(name));
                    self.sink.error("duplicate_override", *at, message, None);
                } else if name != ALL && !places.contains_key(name) {
                    let hint = self.sink.did_you_mean(name, steps.iter().map(|step| step.name.as_str()));
                    let message = format!("this overrides the step {}, which does not exist", shown(name));
                    self.sink.error("unknown_override", *at, message, hint);
                }
            }
            if chosen == Some(name.as_str()) {
                self.apply(&overrides, steps, &places);
            }
        }
    }

    fn step_override(&mut self, node: &Node) -> Option<Override> {
        let fields = self.fields("override", node, &["name", "handler", "timeout_seconds", "retry"])?;
        let name = self.required(&fields, "name", Self::word)?;
        let handler = self.optional(&fields, "handler", |r, key, node| r.fields(key, node, &["initialization"]));
        let initialization = handler.and_then(|handler| self.optional(&handler, "initialization", Self::object));
        Some(Override {
            name,
            at: fields.get("name").map_or(node.at, |entry| entry.value.at),
            change: StepOverride {
                initialization: initialization.unwrap_or_default(),
                timeout_ms: self.timeout(&fields),
                retry: self.optional(&fields, "retry", Self::retry),
            },
            weight: node.weight,
        })
    }

    fn apply(&mut self, overrides: &[Override], steps: &mut [StepTemplate], places: &HashMap<String, usize>) {
        if let Some(all) = overrides.iter().find(|o| o.name == ALL) {
            // What each step gets is copied: a large file times many steps must not fill the memory.
            if all.weight.saturating_mul(steps.len()) > 4 * EXPANSION_MAX {
                let message = format!("this would be copied into {} steps, which is too much", steps.len());
                self.sink.error("override_too_large", all.at, message, None);
                return;
            }
            steps.iter_mut().for_each(|step| all.change.apply_to(step));
        }
        for Override { name, change, .. } in overrides {
            if let Some(step) = places.get(name).and_then(|place| steps.get_mut(*place)) {
                change.apply_to(step);
            }
        }
    }
}

impl StepOverride {
    fn apply_to(&self, step: &mut StepTemplate) {
        for (key, value) in &self.initialization {
            step.handler.initialization.insert(key.clone(), value.clone());
        }
        if let Some(timeout_ms) = self.timeout_ms {
            step.timeout_ms = timeout_ms;
        }
        if let Some(retry) = &self.retry {
            step.retry = retry.clone();
        }
    }
}
