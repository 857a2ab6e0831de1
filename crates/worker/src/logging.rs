//! Where the core's log goes: to standard error, warnings and worse, unless `TASKER_LOG` says otherwise.

use tracing_subscriber::EnvFilter;

/// Starts logging once a process; later calls, and processes that log otherwise already, are left alone.
///
/// `TASKER_LOG` takes a level or a filter (`info`, `tasker_runtime=debug`); `TASKER_LOG_FORMAT=json` writes JSON lines.
pub fn start() {
    let filter = EnvFilter::try_from_env("TASKER_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let json = std::env::var("TASKER_LOG_FORMAT").is_ok_and(|f| f == "json");
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A subscriber that is there already stays.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
}

/// Writes a line for a host's logger. `level`: `error`, `warn`, `info`, `debug`, else the finest; `fields`: JSON, left out if there are none.
pub fn line(level: &str, message: &str, fields: Option<&str>) {
    let fields = fields.filter(|f| !f.is_empty());
    match level {
        "error" => tracing::error!(fields, "{message}"),
        "warn" | "warning" => tracing::warn!(fields, "{message}"),
        "info" => tracing::info!(fields, "{message}"),
        "debug" => tracing::debug!(fields, "{message}"),
        _ => tracing::trace!(fields, "{message}"),
    }
}
