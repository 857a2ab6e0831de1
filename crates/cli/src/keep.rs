//! Keeping a store: `tasker migrate`, `backup`, `restore`, `migrate-store`, `prune`.

use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};
use tasker_runtime::Backup;
use tasker_wire::{Error, Kind};

use crate::{Context, output};

/// Brings the tables up to date.
pub(crate) fn migrate(ctx: &Context) -> Result<i32> {
    let (from, to) = tasker_runtime::migrate(&ctx.url)?;
    if ctx.json {
        output::json(&json!({"from": from, "to": to}));
    } else if from == to {
        output::line(&format!("schema {to}, up to date"));
    } else {
        output::line(&format!("schema {from} → {to}"));
    }
    Ok(0)
}

fn tell(what: &str, file: &Path, backup: &Backup, ctx: &Context) {
    let Backup { schema, tasks, bytes } = backup;
    if ctx.json {
        output::json(&json!({"file": file.display().to_string(), "schema": schema, "tasks": tasks, "bytes": bytes}));
    } else {
        let tasks = output::count(*tasks, "task");
        output::line(&format!("{what} {}: {tasks}, schema {schema}, {bytes} bytes", file.display()));
    }
}

/// Copies the embedded store to a file.
pub(crate) fn backup(file: &Path, ctx: &Context) -> Result<i32> {
    output::progress("copying the store …");
    let made = tasker_runtime::backup(&ctx.url, file)?;
    output::clear_progress();
    tell("wrote", file, &made, ctx);
    Ok(0)
}

/// Puts a backup in the place of the embedded store.
pub(crate) fn restore(file: &Path, force: bool, ctx: &Context) -> Result<i32> {
    output::progress("restoring the store …");
    let restored = tasker_runtime::restore(&ctx.url, file, force)?;
    output::clear_progress();
    tell("restored", file, &restored, ctx);
    Ok(0)
}

/// Copies one store to another.
pub(crate) fn move_store(from: &str, to: &str, force: bool, ctx: &Context) -> Result<i32> {
    let mut progress = |table: &str, rows: u64| output::progress(&format!("{rows} rows, {table} …"));
    let moved = tasker_runtime::move_store(from, to, force, &mut progress)?;
    output::clear_progress();
    if ctx.json {
        let rows: Map<String, Value> = moved.rows.iter().map(|(table, rows)| ((*table).into(), json!(rows))).collect();
        output::json(&json!({"url": moved.report.url, "rows": rows, "leased": moved.leased}));
        return Ok(0);
    }
    let rows: Vec<Vec<String>> =
        moved.rows.iter().map(|(table, rows)| vec![(*table).to_string(), rows.to_string()]).collect();
    output::table(&["TABLE", "ROWS"], &rows);
    if moved.leased > 0 {
        let steps = output::count(moved.leased, "step");
        output::note(&format!("{steps} held by workers of the former store will run again"));
    }
    output::note(&format!("moved; start workers with TASKER_URL naming {}", moved.report.url));
    Ok(0)
}

/// Removes tasks that ended long ago.
pub(crate) fn prune(older_than: Option<u32>, dry_run: bool, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    let days = match (older_than, engine.retention_days()) {
        (Some(days), _) => days,
        (None, 0) => {
            let message = "nothing here says for how long to keep tasks";
            return Err(Error::new(Kind::Invalid, "invalid_request", message)
                .hint("say what to remove with --older-than DAYS")
                .into());
        }
        (None, days) => days,
    };
    let (tasks, events) = if dry_run {
        (engine.prunable(days)?, 0)
    } else {
        engine.prune(days, &mut |tasks, events| output::progress(&format!("{tasks} tasks, {events} events …")))?
    };
    output::clear_progress();
    if ctx.json {
        output::json(&json!({"tasks": tasks, "events": events, "days": days, "dry_run": dry_run}));
    } else if dry_run {
        output::line(&format!("{} would be removed", output::count(tasks, "task")));
    } else {
        let (tasks, events) = (output::count(tasks, "task"), output::count(events, "event"));
        output::line(&format!("removed {tasks} and {events}"));
    }
    Ok(0)
}
