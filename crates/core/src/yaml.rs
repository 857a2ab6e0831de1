//! YAML 1.2 (core schema) as a tree whose values know where they stand.
//!
//! Aliases share their node, so a tree is never larger than its text. What the tree would be if written out is
//! counted, and refused when it explodes; so whoever walks a tree does bounded work.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use indexmap::IndexMap;
use indexmap::map::Entry as Slot;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Number, Value};

use crate::load::diagnostic::{Mark, Sink, shown};

/// Deepest nesting of lists and maps.
pub(crate) const DEPTH_MAX: usize = 64;
/// Largest weight that aliases may add to a file.
pub(crate) const EXPANSION_MAX: usize = 250_000;

/// A value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) at: Mark,
    /// Nodes in it when written out, long texts counting more.
    pub(crate) weight: usize,
    /// Levels of lists and maps in it.
    height: usize,
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Rc<Node>>),
    Map(Map),
}

/// Keys in file order; merged ones (`<<`) last.
pub(crate) type Map = IndexMap<String, Entry>;

/// A value with the place of its key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) at: Mark,
    pub(crate) value: Rc<Node>,
}

impl Node {
    /// What it is, as messages name it.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// The node as JSON. The recursion ends: nesting is limited.
    pub(crate) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(|item| item.to_json()).collect(),
            Kind::Map(map) => Value::Object(object(map)),
        }
    }
}

/// A map as a JSON object.
pub(crate) fn object(map: &Map) -> serde_json::Map<String, Value> {
    map.iter().map(|(key, entry)| (key.clone(), entry.value.to_json())).collect()
}

fn text_weight(text: &str) -> usize {
    1 + text.len() / 32
}

/// Reads the only document of a file. `None` after an error that leaves nothing to look at; other errors are reported
/// and what they are about is left out.
pub(crate) fn parse(source: &str, sink: &mut Sink) -> Option<Rc<Node>> {
    let mut builder =
        Builder { sink, open: Vec::new(), anchors: HashMap::new(), root: None, documents: 0, expanded: 0 };
    for event in Parser::new_from_str(source) {
        match event {
            Ok((event, span)) => builder.event(event, mark(&span.start))?,
            Err(error) => {
                let at = builder.sink.within_text(mark(error.marker()));
                if error.info() == "recursion limit exceeded" {
                    // The parser looks ahead up to 1,024 characters on a line that could be a key.
                    return builder.fatal("yaml_too_deep", at, too_deep());
                }
                let line = builder.sink.line(at.line);
                let tab = line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
                let hint = tab.then(|| "indent with spaces: YAML does not allow tabs there".to_owned());
                builder.sink.error("yaml_syntax", at, format!("not valid YAML: {}", error.info()), hint);
                return None;
            }
        }
    }
    let start = Mark { line: 1, column: 1 };
    match builder.root {
        Some(root) if !matches!(root.kind, Kind::Null) => Some(root),
        _ => {
            let hint = "a template is a map that begins with `name: …` and has a list of `steps`";
            builder.sink.error("yaml_empty", start, "the file holds no template", Some(hint.to_owned()));
            None
        }
    }
}

fn too_deep() -> String {
    format!("lists and maps are nested over {DEPTH_MAX} levels deep")
}

fn mark(marker: &Marker) -> Mark {
    Mark { line: marker.line(), column: marker.col() + 1 }
}

/// A list or map whose end has not been seen.
struct Open {
    at: Mark,
    anchor: usize,
    weight: usize,
    height: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map {
        map: Map,
        /// The key whose value comes next.
        key: Option<Key>,
        merge: Option<Entry>,
    },
}

struct Key {
    at: Mark,
    role: Role,
}

enum Role {
    Named(String),
    Merge,
    /// The key was refused; its value is dropped.
    Refused,
}

struct Builder<'s, 'a> {
    sink: &'s mut Sink<'a>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    documents: usize,
    /// Weight that aliases have added so far.
    expanded: usize,
}

impl Builder<'_, '_> {
    /// Takes the next event; `None` ends the reading.
    fn event(&mut self, event: Event, at: Mark) -> Option<()> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.fatal(
                        "yaml_documents",
                        at,
                        "a file holds one template: a second YAML document starts here",
                    );
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let kind = self.scalar(&text, plain, tag.as_deref(), at);
                let null = matches!(kind, Kind::Null) && text.is_empty();
                let node = Rc::new(Node { kind, at, weight: text_weight(&text), height: 0 });
                self.anchor(anchor, &node);
                if self.awaits_key() {
                    let role = match tag {
                        _ if null => self.refuse_key(at, "a key is missing before this `:`"),
                        None if plain && text == "<<" => Role::Merge,
                        _ => Role::Named(text.into_owned()),
                    };
                    self.key(at, role);
                } else {
                    self.value(node);
                }
            }
            Event::SequenceStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", at);
                self.start(anchor, at, Content::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", at);
                self.start(anchor, at, Content::Map { map: Map::new(), key: None, merge: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, at)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn fatal<T>(&mut self, code: &'static str, at: Mark, message: impl Into<String>) -> Option<T> {
        self.sink.error(code, at, message, None);
        None
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    fn refuse_key(&mut self, at: Mark, message: &str) -> Role {
        self.sink.error("yaml_key", at, message, None);
        Role::Refused
    }

    fn key(&mut self, at: Mark, role: Role) {
        if let Some(Open { content: Content::Map { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(Key { at, role });
        }
    }

    fn anchor(&mut self, id: usize, node: &Rc<Node>) {
        if id > 0 {
            self.anchors.insert(id, Rc::clone(node));
        }
    }

    fn alias(&mut self, id: usize, at: Mark) -> Option<()> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return self.fatal("yaml_alias", at, "this alias stands inside the value it repeats");
        };
        self.expanded = self.expanded.saturating_add(node.weight);
        if self.expanded > EXPANSION_MAX {
            let message = format!("the aliases of this file repeat more than {EXPANSION_MAX} values (an alias bomb?)");
            return self.fatal("yaml_alias_bomb", at, message);
        }
        if self.open.len() + node.height > DEPTH_MAX {
            return self.fatal("yaml_too_deep", at, too_deep());
        }
        if self.awaits_key() {
            let role = match &node.kind {
                Kind::Text(text) => Role::Named(text.clone()),
                _ => self.refuse_key(at, "an alias used as a key must stand for a text"),
            };
            self.key(at, role);
        } else {
            self.value(node);
        }
        Some(())
    }

    fn start(&mut self, anchor: usize, at: Mark, content: Content) -> Option<()> {
        if self.open.len() == DEPTH_MAX {
            return self.fatal("yaml_too_deep", at, too_deep());
        }
        if self.awaits_key() {
            return self.fatal("yaml_key", at, "a key must be a text, not a list or a map");
        }
        self.open.push(Open { at, anchor, weight: 1, height: 1, content });
        Some(())
    }

    fn end(&mut self) {
        let Some(Open { at, anchor, mut weight, height, content }) = self.open.pop() else { return };
        let kind = match content {
            Content::List(items) => Kind::List(items),
            Content::Map { mut map, merge, .. } => {
                if let Some(merge) = merge {
                    self.merge(&mut map, &mut weight, &merge);
                }
                Kind::Map(map)
            }
        };
        let node = Rc::new(Node { kind, at, weight, height });
        self.anchor(anchor, &node);
        self.value(node);
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, node: Rc<Node>) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        open.weight = open.weight.saturating_add(node.weight);
        open.height = open.height.max(node.height + 1);
        let duplicate = match &mut open.content {
            Content::List(items) => {
                items.push(node);
                None
            }
            Content::Map { map, key, merge } => match key.take() {
                None | Some(Key { role: Role::Refused, .. }) => None,
                Some(Key { role: Role::Merge, at }) => {
                    merge.replace(Entry { at, value: node }).map(|first| ("<<".to_owned(), at, first.at))
                }
                Some(Key { role: Role::Named(name), at }) => {
                    open.weight = open.weight.saturating_add(name.len() / 32);
                    match map.entry(name) {
                        Slot::Occupied(first) => Some((first.key().clone(), at, first.get().at)),
                        Slot::Vacant(slot) => {
                            slot.insert(Entry { at, value: node });
                            None
                        }
                    }
                }
            },
        };
        if let Some((name, at, first)) = duplicate {
            let hint = format!("it is first given in line {}", first.line);
            self.sink.error("yaml_duplicate_key", at, format!("the key {} is given twice", shown(&name)), Some(hint));
        }
    }

    /// Adds the keys of `<<: *map` or `<<: [*map, …]` that the map does not have itself; earlier maps win.
    fn merge(&mut self, map: &mut Map, weight: &mut usize, merge: &Entry) {
        let sources = match &merge.value.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&merge.value),
        };
        // The same map merged a thousand times is looked at once.
        let mut seen = HashSet::new();
        for source in sources.iter().filter(|source| seen.insert(Rc::as_ptr(source))) {
            let Kind::Map(source) = &source.kind else {
                let message = format!("`<<` merges a map or a list of maps, not {}", source.kind_name());
                self.sink.error("yaml_merge", merge.at, message, None);
                return;
            };
            for (name, entry) in source {
                if !map.contains_key(name) {
                    *weight = weight.saturating_add(entry.value.weight + name.len() / 32);
                    map.insert(name.clone(), entry.clone());
                }
            }
        }
    }

    fn scalar(&mut self, text: &str, plain: bool, tag: Option<&Tag>, at: Mark) -> Kind {
        let parsed = match tag.map(|tag| (tag.handle.as_str(), tag.suffix.as_str())) {
            None if plain => resolve(text),
            // "!" alone says: not resolved, a text.
            None | Some(("", "!") | ("tag:yaml.org,2002:", "str")) => Ok(Kind::Text(text.to_owned())),
            Some(("tag:yaml.org,2002:", core @ ("null" | "bool" | "int" | "float"))) => match (core, resolve(text)) {
                (_, Err(problem)) => Err(problem),
                (_, Ok(kind @ (Kind::Null | Kind::Bool(_) | Kind::Number(_)))) if fits(core, text, &kind) => Ok(kind),
                _ => Err(format!("{} is not what its tag `!!{core}` says", shown(text))),
            },
            Some(_) => {
                self.refuse_tag(tag, at);
                return Kind::Null;
            }
        };
        parsed.unwrap_or_else(|problem| {
            self.sink.error("yaml_value", at, problem, Some("put it in quotes if it is meant as a text".to_owned()));
            Kind::Null
        })
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, expected: &str, at: Mark) {
        if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && tag.suffix == expected)) {
            self.refuse_tag(tag, at);
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, at: Mark) {
        let name = tag.map_or_else(String::new, |tag| match tag.is_yaml_core_schema() {
            true => format!("!!{}", tag.suffix),
            false => format!("{}{}", tag.handle, tag.suffix),
        });
        let hint = "possible here: `!!str`, `!!int`, `!!float`, `!!bool`, `!!null`, `!!seq`, `!!map`, or no tag";
        self.sink.error("yaml_tag", at, format!("the tag {} cannot be used", shown(&name)), Some(hint.to_owned()));
    }
}

fn fits(core: &str, text: &str, kind: &Kind) -> bool {
    match kind {
        Kind::Null => core == "null",
        Kind::Bool(_) => core == "bool",
        Kind::Number(_) => {
            core == "float" || (core == "int" && !text.contains('.') && (is_radix(text) || !text.contains(['e', 'E'])))
        }
        _ => false,
    }
}

fn is_radix(text: &str) -> bool {
    text.starts_with("0x") || text.starts_with("0o")
}

/// What a plain scalar means in the core schema.
fn resolve(text: &str) -> Result<Kind, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Err(format!("{} is not a number that can be stored", shown(text))),
        _ if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF") && text.len() < 6 => {
            return Err(format!("{} is not a number that can be stored", shown(text)));
        }
        _ => match radix(text)? {
            Some(number) => Kind::Number(number),
            None => decimal(text).map_or_else(|| Kind::Text(text.to_owned()), Kind::Number),
        },
    })
}

/// `0x…` and `0o…`, exact.
fn radix(text: &str) -> Result<Option<Number>, String> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 16),
        (_, Some(digits)) => (digits, 8),
        _ => return Ok(None),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Ok(None);
    }
    match u128::from_str_radix(digits, radix) {
        Ok(number) => Ok(number.to_string().parse().ok()),
        Err(_) => Err(format!("{} has more than 128 bits", shown(text))),
    }
}

/// A decimal number in JSON's spelling with all its digits, or nothing if the text is none.
fn decimal(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => unsigned.split_at(at),
        None => (unsigned, ""),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction.unwrap_or("")) || (whole.is_empty() && fraction.is_none_or(str::is_empty)) {
        return None;
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_some() { "." } else { "" };
    let fraction = fraction.map_or("", |digits| if digits.is_empty() { "0" } else { digits });
    // The exponent, if there is one, is checked here: JSON and YAML spell it alike.
    format!("{sign}{whole}{point}{fraction}{exponent}").parse().ok()
}
