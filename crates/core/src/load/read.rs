//! Typed reading of YAML nodes: each function reports what does not fit and then returns nothing.

use std::rc::Rc;

use serde_json::{Map as Object, Value};

use super::diagnostic::{Mark, Severity, Sink, shown};
use crate::yaml::{Entry, Kind, Map, Node, object};

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest time a template may name: 100 years of 365 days.
pub(crate) const DURATION_MS_MAX: i64 = 100 * 365 * 24 * 60 * 60 * 1_000;

/// Keys of a structure that tools leave in templates and that say nothing here.
const IGNORED: [(&str, &str); 2] = [("template", "task_handler"), ("template", "loaded_from")];

/// What to write instead of a key that belongs elsewhere or has another name and unit here.
fn instead(what: &str, key: &str) -> Option<&'static str> {
    match (what, key) {
        ("retry", "initial_delay") => Some("write `backoff_base_ms`, in milliseconds"),
        ("retry", "max_delay") => Some("write `max_backoff_ms`, in milliseconds"),
        ("step", "lifecycle") => Some("`lifecycle` belongs to the template, beside `steps`"),
        _ => None,
    }
}

/// Reads the nodes of one file.
pub(crate) struct Reader<'a> {
    pub(crate) sink: Sink<'a>,
    pub(crate) strict: bool,
}

/// A map whose keys have been compared with the known ones.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    map: &'n Map,
    what: &'static str,
    pub(crate) at: Mark,
}

impl<'n> Fields<'n> {
    /// The value of a key; a key without value counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Entry> {
        self.map.get(key).filter(|entry| !matches!(entry.value.kind, Kind::Null))
    }
}

impl Reader<'_> {
    /// Opens a known structure: unknown keys are warned of, or refused when strict.
    pub(crate) fn fields<'n>(&mut self, what: &'static str, node: &'n Node, known: &[&str]) -> Option<Fields<'n>> {
        let Kind::Map(map) = &node.kind else {
            return self.mismatch(what, "a map", node);
        };
        let is_known = |key: &str| known.contains(&key) || IGNORED.contains(&(what, key));
        for (key, entry) in map.iter().filter(|(key, _)| !is_known(key)) {
            let severity = if self.strict { Severity::Error } else { Severity::Warning };
            let hint = match instead(what, key) {
                Some(hint) => Some(hint.to_owned()),
                None => self.sink.did_you_mean(key, known.iter().copied()),
            };
            let message = format!("unknown key {} in {what}", shown(key));
            self.sink.push(severity, "unknown_key", entry.at, message, hint);
        }
        Some(Fields { map, what, at: node.at })
    }

    /// Reads the value of a key if it is given.
    pub(crate) fn optional<'n, T>(
        &mut self,
        fields: &Fields<'n>,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'static str, &'n Node) -> Option<T>,
    ) -> Option<T> {
        fields.get(key).and_then(|entry| read(self, key, &entry.value))
    }

    /// Reads the value of a key that must be given.
    pub(crate) fn required<'n, T>(
        &mut self,
        fields: &Fields<'n>,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'static str, &'n Node) -> Option<T>,
    ) -> Option<T> {
        if fields.get(key).is_none() {
            self.missing(fields, key);
        }
        self.optional(fields, key, read)
    }

    pub(crate) fn missing(&mut self, fields: &Fields, key: &str) {
        // A key without value is pointed at, a missing one at the start of its structure.
        let at = fields.map.get(key).map_or(fields.at, |entry| entry.at);
        self.sink.error("missing_key", at, format!("{} needs a value for `{key}`", fields.what), None);
    }

    /// Finds a key that has two spellings.
    pub(crate) fn either<'n>(&mut self, fields: &Fields<'n>, key: &str, other: &str) -> Option<&'n Entry> {
        let (first, second) = (fields.get(key), fields.get(other));
        if let (Some(_), Some(second)) = (first, second) {
            let message = format!("`{other}` is another name of `{key}`, and both are given");
            self.sink.error("both_spellings", second.at, message, Some(format!("keep `{key}`")));
        }
        first.or(second)
    }

    pub(crate) fn mismatch<T>(&mut self, what: &str, expected: &str, node: &Node) -> Option<T> {
        let hint = match (&node.kind, expected) {
            (Kind::Number(_) | Kind::Bool(_), "a text") => Some("put it in quotes".to_owned()),
            (Kind::Text(text), "a boolean") if matches!(text.to_ascii_lowercase().as_str(), "yes" | "on" | "y") => {
                Some("write `true`".to_owned())
            }
            (Kind::Text(text), "a boolean") if matches!(text.to_ascii_lowercase().as_str(), "no" | "off" | "n") => {
                Some("write `false`".to_owned())
            }
            (Kind::Text(text), "a list") => Some(format!("write `[{}]`", shown(text).trim_matches('`'))),
            _ => None,
        };
        let message = format!("{} must be {expected}, not {}", shown(what), node.kind_name());
        self.sink.error("wrong_type", node.at, message, hint);
        None
    }

    pub(crate) fn out_of_range<T>(&mut self, at: Mark, message: String) -> Option<T> {
        self.sink.error("out_of_range", at, message, None);
        None
    }

    pub(crate) fn text(&mut self, key: &'static str, node: &Node) -> Option<String> {
        match &node.kind {
            Kind::Text(text) => Some(text.clone()),
            _ => self.mismatch(key, "a text", node),
        }
    }

    /// A text that is not blank.
    pub(crate) fn word(&mut self, key: &'static str, node: &Node) -> Option<String> {
        let text = self.text(key, node)?;
        if text.trim().is_empty() {
            self.sink.error("bad_name", node.at, format!("`{key}` is empty"), None);
        }
        Some(text)
    }

    /// A name of a template, namespace, step, queue or environment; a bad one is reported and returned nevertheless.
    pub(crate) fn name(&mut self, key: &'static str, node: &Node) -> Option<String> {
        let name = self.text(key, node)?;
        self.check_name(key, &name, node.at);
        Some(name)
    }

    pub(crate) fn check_name(&mut self, key: &str, name: &str, at: Mark) {
        let problem = if name.is_empty() {
            format!("`{key}` is empty")
        } else if name.len() > NAME_BYTES_MAX {
            format!("{} is {} bytes long; `{key}` may have {NAME_BYTES_MAX}", shown(name), name.len())
        } else if let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))) {
            format!("{} cannot be used in `{key}`", shown(bad.encode_utf8(&mut [0; 4])))
        } else if !name.contains(|c: char| c.is_ascii_alphanumeric()) {
            format!("{} holds no letter and no digit", shown(name))
        } else {
            return;
        };
        let hint = "names are made of the letters a-z and A-Z, digits, `_`, `-` and `.`";
        self.sink.error("bad_name", at, problem, Some(hint.to_owned()));
    }

    /// A dotted name of an event.
    pub(crate) fn event_name(&mut self, key: &'static str, node: &Node) -> Option<String> {
        let name = self.name(key, node)?;
        if !name.is_empty() && name.split('.').any(str::is_empty) {
            let message = format!("the event name {} has an empty part", shown(&name));
            self.sink.error("bad_name", node.at, message, Some("write it like `order.paid`".to_owned()));
        }
        Some(name)
    }

    pub(crate) fn version(&mut self, key: &'static str, node: &Node) -> Option<String> {
        let part = |part: &str| part.parse::<u32>().is_ok_and(|number| number.to_string() == part);
        let spelled = match &node.kind {
            Kind::Text(text) => text.clone(),
            Kind::Number(number) => number.to_string(),
            _ => return self.mismatch(key, "a text", node),
        };
        if !(spelled.split('.').count() == 3 && spelled.split('.').all(part)) {
            let message = format!("the version {} is not of the form x.y.z", shown(&spelled));
            self.sink.error("bad_version", node.at, message, Some("three whole numbers, like `1.0.0`".to_owned()));
        }
        Some(spelled)
    }

    pub(crate) fn flag(&mut self, key: &'static str, node: &Node) -> Option<bool> {
        match node.kind {
            Kind::Bool(value) => Some(value),
            _ => self.mismatch(key, "a boolean", node),
        }
    }

    /// A whole number between two limits, both allowed.
    pub(crate) fn integer<T: TryFrom<i128>>(&mut self, key: &str, node: &Node, from: i128, to: i128) -> Option<T> {
        let Kind::Number(number) = &node.kind else {
            return self.mismatch(key, "a whole number", node);
        };
        let digits = number.to_string();
        if digits.contains(['.', 'e', 'E']) {
            let message = format!("`{key}` must be a whole number, not {}", shown(&digits));
            self.sink.error("wrong_type", node.at, message, None);
            return None;
        }
        match digits.parse().ok().filter(|number| (from..=to).contains(number)).and_then(|n| T::try_from(n).ok()) {
            None => {
                let limits = if digits.starts_with('-') || digits.parse().is_ok_and(|number: i128| number < from) {
                    format!("at least {from}")
                } else {
                    format!("at most {to}")
                };
                self.out_of_range(node.at, format!("`{key}` must be {limits}, not {}", shown(&digits)))
            }
            number => number,
        }
    }

    /// A time of more than zero in units of `unit_ms`, as milliseconds: rounded up, so at least 1.
    pub(crate) fn duration(&mut self, key: &str, node: &Node, unit_ms: u32) -> Option<i64> {
        let Kind::Number(number) = &node.kind else {
            return self.mismatch(key, "a number", node);
        };
        let digits = number.to_string();
        let exact = digits.parse::<f64>().unwrap_or(f64::NAN) * f64::from(unit_ms);
        // 0.07 s are 70.00000000000001 ms as floats go; that is not 71.
        let nearest = exact.round();
        let ms = if (exact - nearest).abs() < 1e-6 * exact.abs() { nearest } else { exact.ceil() };
        if ms.is_nan() || ms <= 0.0 {
            return self.out_of_range(node.at, format!("`{key}` must be more than 0, not {}", shown(&digits)));
        }
        if ms > DURATION_MS_MAX as f64 {
            let most = DURATION_MS_MAX / i64::from(unit_ms);
            return self.out_of_range(node.at, format!("`{key}` must be at most {most}, not {}", shown(&digits)));
        }
        Some(ms as i64)
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &str, node: &Node, choices: &[(&str, T)]) -> Option<T> {
        let Kind::Text(text) = &node.kind else {
            return self.mismatch(key, "a text", node);
        };
        if let Some((_, value)) = choices.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let hint = self.sink.did_you_mean(text, choices.iter().map(|(word, _)| *word));
        self.sink.error("unknown_value", node.at, format!("`{key}` cannot be {}", shown(text)), hint);
        None
    }

    /// A map of anything.
    pub(crate) fn object(&mut self, key: &'static str, node: &Node) -> Option<Object<String, Value>> {
        match &node.kind {
            Kind::Map(map) => Some(object(map)),
            _ => self.mismatch(key, "a map", node),
        }
    }

    /// A JSON Schema: a map, or a boolean.
    pub(crate) fn schema(&mut self, key: &'static str, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::Map(_) | Kind::Bool(_) => Some(node.to_json()),
            _ => self.mismatch(key, "a JSON Schema (a map or a boolean)", node),
        }
    }

    pub(crate) fn list<'n>(&mut self, key: &'static str, node: &'n Node) -> Option<&'n [Rc<Node>]> {
        match &node.kind {
            Kind::List(items) => Some(items),
            _ => self.mismatch(key, "a list", node),
        }
    }

    /// A list of texts with their places.
    pub(crate) fn texts(&mut self, key: &'static str, node: &Node) -> Option<Vec<(String, Mark)>> {
        let items = self.list(key, node)?;
        Some(items.iter().filter_map(|item| Some((self.word(key, item)?, item.at))).collect())
    }
}
