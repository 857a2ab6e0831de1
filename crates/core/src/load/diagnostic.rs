//! What the loader has to say about a file, and the place where it is collected.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter, Write};

/// Most diagnostics of one severity that are kept; the rest is counted.
const KEPT_MAX: usize = 100;
/// Widest excerpt of one line, in characters.
const EXCERPT_CHARS_MAX: usize = 160;
/// Longest name repeated in a message, in characters.
const SHOWN_CHARS_MAX: usize = 80;
/// Work spent on finding similar names in one file, in compared pairs of characters.
const SIMILAR_PAIRS_MAX: usize = 20_000_000;
/// How alike (0 to 1) two names must be for one to be suggested in place of the other.
const SIMILAR_MIN: f64 = 0.75;

/// Whether a file with this diagnostic can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but probably does not say what its author means.
    Warning,
}

impl Display for Severity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One thing the loader has to say about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the file can be used nevertheless.
    pub severity: Severity,
    /// Stable snake_case code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line of YAML with its number, and under it a caret below the column.
    pub excerpt: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Display for Diagnostic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let gutter = " ".repeat(self.line.to_string().len());
        write!(f, "{}: {}\n{gutter}--> {}:{}:{}", self.severity, self.message, self.file, self.line, self.column)?;
        if !self.excerpt.is_empty() {
            write!(f, "\n{gutter} |\n{}", self.excerpt)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n{gutter} = help: {hint}"),
            None => Ok(()),
        }
    }
}

/// All errors and warnings of a file that cannot be used, in file order; at least one is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n\n"))]
pub struct LoadError {
    /// The errors and warnings, in file order.
    pub diagnostics: Vec<Diagnostic>,
}

/// A place in the source, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Collects the diagnostics of one file.
pub(crate) struct Sink<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    kept: Vec<Diagnostic>,
    /// Errors and warnings so far, the ones not kept included.
    counts: [usize; 2],
    similar_pairs: usize,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(source: &'a str, file: &'a str) -> Sink<'a> {
        // YAML breaks lines at "\r\n", "\n" and "\r".
        let lines = source.split('\n').flat_map(|l| l.strip_suffix('\r').unwrap_or(l).split('\r')).collect();
        Sink { file, lines, kept: Vec::new(), counts: [0; 2], similar_pairs: 0 }
    }

    pub(crate) fn error(&mut self, code: &'static str, at: Mark, message: impl Into<String>, hint: Option<String>) {
        self.push(Severity::Error, code, at, message.into(), hint);
    }

    pub(crate) fn warning(&mut self, code: &'static str, at: Mark, message: impl Into<String>, hint: Option<String>) {
        self.push(Severity::Warning, code, at, message.into(), hint);
    }

    pub(crate) fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        at: Mark,
        message: String,
        hint: Option<String>,
    ) {
        let count = &mut self.counts[usize::from(severity == Severity::Warning)];
        *count += 1;
        if *count <= KEPT_MAX {
            let (line, column) = (at.line.max(1), at.column.max(1));
            let file = self.file.to_owned();
            let excerpt = self.excerpt(line, column);
            self.kept.push(Diagnostic { severity, code, message, file, line, column, excerpt, hint });
        }
    }

    /// Ends the collection: the diagnostics in file order, and whether one is an error.
    pub(crate) fn finish(mut self) -> (Vec<Diagnostic>, bool) {
        self.kept.sort_by_key(|d| (d.line, d.column));
        self.say_once();
        for (severity, count) in [Severity::Error, Severity::Warning].into_iter().zip(self.counts) {
            let last = self.kept.iter().rfind(|d| d.severity == severity).cloned();
            if let (Some(last), Some(more @ 1..)) = (last, count.checked_sub(KEPT_MAX)) {
                let message = format!("and {more} more {severity}s of this file");
                self.kept.push(Diagnostic { code: "more", message, excerpt: String::new(), hint: None, ..last });
            }
        }
        (self.kept, self.counts[0] > 0)
    }

    /// Keeps the first of warnings that say the same, with the number of the others: a habit of the author's is one thing to read.
    fn say_once(&mut self) {
        let mut again: HashMap<String, usize> = HashMap::new();
        self.kept.retain(|d| {
            let times = again.entry(d.message.clone()).or_default();
            *times += usize::from(d.severity == Severity::Warning);
            d.severity == Severity::Error || *times == 1
        });
        for d in self.kept.iter_mut().filter(|d| d.severity == Severity::Warning) {
            if let Some(times @ 2..) = again.get(&d.message) {
                d.message = format!("{}, in {times} places of this file", d.message);
            }
        }
    }

    /// The text of a line, or nothing beyond the end of the file.
    pub(crate) fn line(&self, line: usize) -> &'a str {
        self.lines.get(line - 1).copied().unwrap_or_default()
    }

    /// The place itself, or the end of the text if only blank lines follow.
    pub(crate) fn within_text(&self, at: Mark) -> Mark {
        let last = self.lines.iter().rposition(|line| !line.trim().is_empty()).unwrap_or_default() + 1;
        if at.line > last { Mark { line: last, column: self.line(last).chars().count() + 1 } } else { at }
    }

    /// Finds the candidate most like `name`.
    pub(crate) fn similar<'n>(&mut self, name: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        let mut best: Option<(f64, &str)> = None;
        for candidate in candidates {
            self.similar_pairs += name.len().saturating_mul(candidate.len());
            if self.similar_pairs > SIMILAR_PAIRS_MAX {
                break;
            }
            let score = strsim::jaro_winkler(&name.to_ascii_lowercase(), &candidate.to_ascii_lowercase());
            if score >= SIMILAR_MIN && best.is_none_or(|(top, _)| score > top) {
                best = Some((score, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    /// A hint that names the candidate most like `name`, or all of them if there are few and none is like it.
    pub(crate) fn did_you_mean<'n>(
        &mut self,
        name: &str,
        candidates: impl IntoIterator<Item = &'n str> + Clone,
    ) -> Option<String> {
        if let Some(similar) = self.similar(name, candidates.clone()) {
            return Some(format!("did you mean {}?", shown(similar)));
        }
        let all: Vec<String> = candidates.into_iter().take(21).map(shown).collect();
        (1..=20).contains(&all.len()).then(|| format!("possible here: {}", all.join(", ")))
    }

    fn excerpt(&self, line: usize, column: usize) -> String {
        let number = line.to_string();
        let chars: Vec<char> = self.line(line).chars().collect();
        let column = (column - 1).min(chars.len());
        let skipped = if chars.len() > EXCERPT_CHARS_MAX { column.saturating_sub(EXCERPT_CHARS_MAX / 2) } else { 0 };
        let end = chars.len().min(skipped + EXCERPT_CHARS_MAX);
        let mut text = String::new();
        let mut pad = String::new();
        if skipped > 0 {
            text.push('…');
            pad.push(' ');
        }
        for (i, c) in chars.iter().enumerate().take(end).skip(skipped) {
            text.push(if c.is_control() && *c != '\t' { '\u{fffd}' } else { *c });
            if i < column {
                pad.push(if *c == '\t' { '\t' } else { ' ' });
            }
        }
        if end < chars.len() {
            text.push('…');
        }
        let row = format!("{number} | {text}");
        format!("{}\n{} | {pad}^", row.trim_end(), " ".repeat(number.len()))
    }
}

/// A name as messages repeat it: in backticks, without control characters, cut when long.
pub(crate) fn shown(name: &str) -> String {
    let mut text = String::from("`");
    for (i, c) in name.chars().enumerate() {
        if i == SHOWN_CHARS_MAX {
            text.push('…');
            break;
        }
        if c.is_control() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", c.escape_default());
        } else {
            text.push(c);
        }
    }
    text.push('`');
    text
}
