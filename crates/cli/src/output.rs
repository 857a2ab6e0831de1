//! How things are printed: data to standard output, the rest to standard error, colours only on a terminal.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

/// Width assumed where there is no terminal.
const COLUMNS: usize = 100;
/// Lines of a long value that are shown.
const LINES_MAX: usize = 12;

static PLAIN: LazyLock<bool> = LazyLock::new(|| {
    std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || std::env::var_os("TERM").is_some_and(|t| t == "dumb")
});
static STYLED: LazyLock<bool> = LazyLock::new(|| std::io::stdout().is_terminal() && !*PLAIN);
static STYLED_ERR: LazyLock<bool> = LazyLock::new(|| std::io::stderr().is_terminal() && !*PLAIN);
/// A progress line stands on the terminal and must go before anything else is printed.
static PROGRESS: AtomicBool = AtomicBool::new(false);

/// Thrown when nobody reads standard output any more; ends the command quietly, running every destructor.
pub(crate) struct ReaderGone;

/// Colours of the sixteen every terminal has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

/// Whether standard output takes colours, icons and redrawing.
pub(crate) fn styled() -> bool {
    *STYLED
}

/// Text in a colour, if standard output takes them.
pub(crate) fn paint(colour: Colour, text: &str) -> String {
    coloured(*STYLED, colour, text)
}

/// Text in a colour, if standard error takes them.
pub(crate) fn paint_err(colour: Colour, text: &str) -> String {
    coloured(*STYLED_ERR, colour, text)
}

fn coloured(on: bool, colour: Colour, text: &str) -> String {
    if !on || text.is_empty() {
        return text.to_string();
    }
    let code = match colour {
        Colour::Bold => 1,
        Colour::Dim => 2,
        Colour::Red => 31,
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Cyan => 36,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// The colour of a task or step state, or of an attempt's outcome.
pub(crate) fn colour_of(status: &str) -> Colour {
    match status {
        "complete" | "completed" | "resolved_manually" => Colour::Green,
        "error" | "blocked_by_failures" | "failed" | "timed_out" | "lease_expired" => Colour::Red,
        "waiting_for_retry" | "paused" | "rejected" | "released" => Colour::Yellow,
        "in_progress" | "steps_in_process" | "enqueued" | "running" => Colour::Cyan,
        _ => Colour::Dim,
    }
}

/// An icon for a state and a space; nothing where icons do not belong.
pub(crate) fn icon(status: &str) -> String {
    if !*STYLED {
        return String::new();
    }
    let icon = match status {
        "complete" | "completed" => "✓",
        "resolved_manually" => "☑",
        "error" | "blocked_by_failures" | "failed" | "timed_out" | "lease_expired" => "✗",
        "waiting_for_retry" => "↻",
        "paused" => "⏸",
        "in_progress" | "steps_in_process" | "running" => "●",
        "enqueued" => "◌",
        "cancelled" => "⊘",
        _ => "○",
    };
    format!("{} ", paint(colour_of(status), icon))
}

/// Prints a line of data.
pub(crate) fn line(text: &str) {
    write(&format!("{text}\n"));
}

/// Prints text as it is.
pub(crate) fn write(text: &str) {
    clear_progress();
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        if error.kind() != ErrorKind::BrokenPipe {
            note(&format!("error: cannot write the output: {error}"));
        }
        std::panic::resume_unwind(Box::new(ReaderGone));
    }
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) {
    line(tasker_wire::json_of(value).get());
}

/// Prints a line that is not data.
pub(crate) fn note(text: &str) {
    clear_progress();
    // Nobody to tell when standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows what is going on, in one line that the next output replaces. Only on a terminal.
pub(crate) fn progress(text: &str) {
    if !*STYLED_ERR {
        return;
    }
    PROGRESS.store(true, Ordering::Relaxed);
    let text = cut(text, columns().saturating_sub(1));
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "\r\x1b[2K{}", coloured(true, Colour::Dim, &text)).and_then(|()| err.flush());
}

/// Tells how far a long action is: in place on a terminal, else a line a tenth.
pub(crate) struct Meter<'a> {
    what: &'a str,
    told: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(what: &'a str) -> Meter<'a> {
        Meter { what, told: 0 }
    }

    pub(crate) fn show(&mut self, done: u64, of: u64) {
        let text = format!("{}: {done} of {of}", self.what.replace('_', " "));
        if std::io::stderr().is_terminal() {
            progress(&text);
        } else if done * 10 / of.max(1) > self.told {
            self.told = done * 10 / of.max(1);
            note(&text);
        }
    }
}

/// Takes the progress line away.
pub(crate) fn clear_progress() {
    if PROGRESS.swap(false, Ordering::Relaxed) {
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "\r\x1b[2K").and_then(|()| err.flush());
    }
}

/// Columns and rows of the terminal.
pub(crate) fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// Columns of the terminal, or a usual width.
pub(crate) fn columns() -> usize {
    size().map_or(COLUMNS, |(columns, _)| columns)
}

/// Text cut to a width; escape sequences take no room.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let (mut cut, mut shown, mut escape) = (String::with_capacity(text.len()), 0, false);
    let visible = visible(text);
    for c in text.chars() {
        if escape || c == '\x1b' {
            escape = c != 'm';
            cut.push(c);
        } else if visible <= width || shown + 1 < width {
            shown += 1;
            cut.push(if c.is_control() { ' ' } else { c });
        } else if shown + 1 == width {
            shown += 1;
            cut.push('…');
        }
    }
    cut
}

/// Characters a terminal shows.
fn visible(text: &str) -> usize {
    let mut escape = false;
    let seen = text.chars().filter(|c| {
        let hidden = escape || *c == '\x1b';
        escape = hidden && *c != 'm';
        !hidden
    });
    seen.count()
}

/// Text filled up to a width.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(visible(text))))
}

/// Prints columns under a heading.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = heads.iter().map(|h| visible(h)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = visible(cell).max(*width);
        }
    }
    let print = |cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.zip(&widths).map(|(cell, width)| pad(&cell, *width)).collect();
        line(cells.join("  ").trim_end());
    };
    print(&mut heads.iter().map(|h| paint(Colour::Dim, h)));
    for row in rows {
        print(&mut row.iter().cloned());
    }
}

/// A number and its word.
pub(crate) fn count(number: impl Into<u64>, word: &str) -> String {
    let number = number.into();
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// A length of time for people.
pub(crate) fn duration(ms: f64) -> String {
    let s = ms / 1_000.0;
    let whole = s as u64;
    match () {
        () if ms < 10.0 => format!("{ms:.1} ms"),
        () if ms < 1_000.0 => format!("{ms:.0} ms"),
        () if s < 60.0 => format!("{s:.1} s"),
        () if s < 3_600.0 => format!("{} min {} s", whole / 60, whole % 60),
        () if s < 86_400.0 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        () => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// Unix milliseconds of a time on the wire.
pub(crate) fn ms_of(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Milliseconds from one time on the wire to another.
pub(crate) fn between(from: &str, to: &str) -> f64 {
    ms_of(from).zip(ms_of(to)).map_or(0.0, |(from, to)| (to - from).max(0) as f64)
}

/// How long ago a time on the wire was, coarsely.
pub(crate) fn age(time: &str, now: i64) -> String {
    let s = ms_of(time).map_or(0, |at| (now - at).max(0) / 1_000);
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min", s / 60),
        3_600..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

/// A time on the wire as the clock of this place shows it.
pub(crate) fn clock(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(at) => at.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string(),
        Err(_) => time.to_string(),
    }
}

/// JSON over several lines, if it is not short; cut with a note unless `full`.
pub(crate) fn pretty(text: &str, full: bool) -> Vec<String> {
    if text.len() <= 80 {
        return vec![text.to_string()];
    }
    let parsed = serde_json::from_str::<Value>(text).and_then(|value| serde_json::to_string_pretty(&value));
    let mut lines: Vec<String> = parsed.unwrap_or_else(|_| text.to_string()).lines().map(str::to_string).collect();
    if !full && lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(paint(Colour::Dim, &format!("… {}; --full shows all", count(more as u64, "more line"))));
    }
    if !full {
        lines = lines.iter().map(|l| cut(l, 200)).collect();
    }
    lines
}

/// Most memory this process has had, in MB.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kb: f64 = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()?;
    Some((kb / 102.4).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let shown: Vec<String> =
            [0.04, 9.96, 12.3, 999.0, 1_500.0, 61_000.0, 3_700_000.0, 90_000_000.0].map(duration).to_vec();
        assert_eq!(shown, ["0.0 ms", "10.0 ms", "12 ms", "999 ms", "1.5 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn cutting_counts_what_is_seen() {
        assert_eq!(cut("\x1b[31mabcdef\x1b[0m", 4), "\x1b[31mabc…\x1b[0m");
        assert_eq!(cut("abc\n", 4), "abc ");
        assert_eq!(pad("\x1b[31mab\x1b[0m", 3), "\x1b[31mab\x1b[0m ");
    }
}
