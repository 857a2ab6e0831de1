//! Where the core's log goes: to standard error, warnings and worse, unless `TASKER_LOG` says otherwise.

use tracing_subscriber::EnvFilter;

/// The filter of `TASKER_LOG`. The drivers of databases log the values of statements, which are the users' data: they do
/// so only where they are named.
fn filter(asked: Option<&str>) -> EnvFilter {
    const DRIVER: &str = "tokio_postgres";
    let filter = asked.and_then(|asked| EnvFilter::try_new(asked).ok()).unwrap_or_else(|| EnvFilter::new("warn"));
    match format!("{DRIVER}=info").parse() {
        Ok(quiet) if asked.is_some_and(|asked| !asked.contains(DRIVER)) => filter.add_directive(quiet),
        _ => filter,
    }
}

/// Starts logging once a process; later calls, and processes that log otherwise already, are left alone.
///
/// `TASKER_LOG` takes a level or a filter (`info`, `tasker_runtime=debug`); `TASKER_LOG_FORMAT=json` writes JSON lines.
pub fn start() {
    let asked = std::env::var("TASKER_LOG").ok();
    let filter = filter(asked.as_deref());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_statements_are_logged_only_where_that_is_asked_for() {
        assert!(filter(Some("debug")).to_string().contains("tokio_postgres=info"));
        assert!(filter(Some("trace,tasker_runtime=debug")).to_string().contains("tokio_postgres=info"));
        assert!(filter(Some("tokio_postgres=debug")).to_string().contains("tokio_postgres=debug"));
        assert_eq!(filter(None).to_string(), "warn");
    }
}
