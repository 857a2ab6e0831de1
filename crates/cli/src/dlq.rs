//! `tasker dlq` and `tasker events`.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tasker_runtime::LetterOrder;
use tasker_wire::{BulkView, DeadLetterFilter, DeadLetterView, Error, EventView, Kind};

use crate::args::{self, Dlq, Events};
use crate::{Context, act, actor, output, report, show};

/// Runs a dead-letter command.
pub(crate) fn run(command: Dlq, ctx: &Context) -> Result<i32> {
    match command {
        Dlq::Ls { letters, group: true, settled, .. } => {
            groups(&DeadLetterFilter { all: settled, ..letters.wire() }, ctx)
        }
        Dlq::Ls { letters, settled, limit, .. } => {
            list(&DeadLetterFilter { all: settled, limit: Some(limit), ..letters.wire() }, ctx)
        }
        Dlq::Show { id } => show(id, ctx),
        Dlq::Replay(args) => settle(&args, &LetterOrder::Replay, "replay", ctx),
        Dlq::Discard(args) => settle(&args, &LetterOrder::Discard, "discard", ctx),
        Dlq::Note { id, text } => {
            let letter = ctx.engine()?.settle(id, LetterOrder::Annotate(text), &actor(), "")?;
            print(&letter, ctx);
            Ok(0)
        }
    }
}

fn list(filter: &DeadLetterFilter, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    let letters = engine.dead_letters(filter)?;
    if ctx.json {
        output::json(&json!({"dead_letters": letters}));
        return Ok(0);
    }
    if letters.is_empty() {
        output::note(&format!("no such dead letters in {}", engine.url()));
        return Ok(0);
    }
    let now = engine.now();
    let row = |l: &DeadLetterView| {
        vec![
            l.id.to_string(),
            l.resolution.clone().unwrap_or_else(|| "open".into()),
            l.reason.to_string(),
            format!("{}/{}", l.namespace, l.name),
            l.step.clone().unwrap_or_default(),
            output::age(&l.opened_at, now),
            l.fingerprint.clone(),
            output::cut(&first_line(l.message.as_deref()), 60),
        ]
    };
    let heads = ["ID", "STATE", "REASON", "TEMPLATE", "STEP", "AGE", "KIND", "ERROR"];
    output::table(&heads, &letters.iter().map(row).collect::<Vec<_>>());
    Ok(0)
}

fn groups(filter: &DeadLetterFilter, ctx: &Context) -> Result<i32> {
    let groups = ctx.engine()?.dead_letter_groups(filter)?;
    if ctx.json {
        output::json(&json!({"groups": groups}));
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|g| {
            vec![
                g.count.to_string(),
                g.fingerprint.clone(),
                g.template.clone(),
                g.step.clone().unwrap_or_default(),
                g.error_type.clone().unwrap_or_default(),
                output::cut(&first_line(g.message.as_deref()), 60),
            ]
        })
        .collect();
    output::table(&["COUNT", "KIND", "TEMPLATE", "STEP", "TYPE", "ERROR"], &rows);
    Ok(0)
}

fn first_line(text: Option<&str>) -> String {
    text.and_then(|t| t.lines().next()).unwrap_or_default().to_string()
}

fn show(id: i64, ctx: &Context) -> Result<i32> {
    let letter = ctx.engine()?.dead_letter(id)?;
    print(&letter, ctx);
    if ctx.json {
        return Ok(0);
    }
    output::line("");
    show::run(&args::Show { task: letter.task_uuid, step: None, full: false }, ctx)?;
    Ok(0)
}

fn print(letter: &DeadLetterView, ctx: &Context) {
    if ctx.json {
        return output::json(letter);
    }
    let state = match (&letter.resolution, &letter.resolved_at) {
        (Some(how), Some(at)) => format!("{how} at {at}"),
        _ => "open".into(),
    };
    let rows = [
        ("dead letter", letter.id.to_string()),
        ("state", state),
        ("reason", letter.reason.to_string()),
        ("template", format!("{}/{}", letter.namespace, letter.name)),
        ("task", letter.task_uuid.clone()),
        ("step", letter.step.clone().unwrap_or_default()),
        ("opened", letter.opened_at.clone()),
        ("kind", letter.fingerprint.clone()),
        ("error", letter.message.clone().unwrap_or_default()),
        ("note", letter.note.clone().unwrap_or_default()),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        output::line(&format!("{} {value}", output::pad(name, 12)));
    }
}

fn settle(args: &args::Settle, order: &LetterOrder, verb: &str, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    let filter = args.letters.wire();
    if !args.ids.is_empty() {
        let mut code = 0;
        let mut view = BulkView { matched: args.ids.len() as u64, ..BulkView::default() };
        for id in args.ids.iter().filter(|_| !args.dry_run) {
            match engine.settle(*id, order.clone(), &actor(), &args.reason) {
                Ok(_) => view.done += 1,
                Err(error) => {
                    view.refused += 1;
                    let failed = report(&error.into(), ctx.json);
                    code = if code == 0 { failed } else { code };
                }
            }
        }
        act::finished(&view, verb, "dead letter", args.dry_run, ctx);
        return Ok(code);
    }
    if !args.all && filter.is_open() {
        return Err(Error::new(Kind::Invalid, "invalid_request", "no dead letter is named")
            .hint("name their numbers, or say which ones with filters such as --fingerprint, or --all for all")
            .into());
    }
    let mut meter = output::Meter::new(verb);
    let mut progress = |done, of| meter.show(done, of);
    let view = engine.settle_all(&filter, order, &actor(), &args.reason, args.dry_run, &mut progress)?;
    Ok(act::finished(&view, verb, "dead letter", args.dry_run, ctx))
}

/// Runs a command on domain events.
pub(crate) fn events(command: Events, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    match command {
        Events::Ls(args) => {
            let events = engine.events(&args.wire())?;
            if ctx.json {
                output::json(&json!({"events": events}));
                return Ok(0);
            }
            let now = engine.now();
            let row = |e: &EventView| {
                let message: serde_json::Value = serde_json::from_str(e.message.get()).unwrap_or_default();
                let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_string();
                vec![
                    e.msg_id.to_string(),
                    if e.archived_at.is_some() { "acknowledged".into() } else { "waiting".to_string() },
                    text(&message["event_name"]),
                    text(&message["metadata"]["task_uuid"]),
                    text(&message["metadata"]["step_name"]),
                    e.read_ct.to_string(),
                    output::age(&e.enqueued_at, now),
                    output::cut(&message["payload"].to_string(), 48),
                ]
            };
            let heads = ["NUMBER", "STATE", "EVENT", "TASK", "STEP", "READS", "AGE", "PAYLOAD"];
            output::table(&heads, &events.iter().map(row).collect::<Vec<_>>());
            Ok(0)
        }
        Events::Read { namespace, limit, visibility, wait, ack } => {
            let (visibility, wait) = (Duration::from_secs_f64(visibility), Duration::from_secs_f64(wait));
            let events = engine.read_events(&namespace, limit, visibility, wait)?;
            for event in &events {
                output::line(tasker_wire::json_of(event).get());
            }
            if ack {
                engine.acknowledge_events(events.iter().map(|e| e.msg_id).collect())?;
            }
            Ok(0)
        }
        Events::Ack { ids } => told(engine.acknowledge_events(ids)?, "acknowledged", ctx),
        Events::Replay { events, all, dry_run } => {
            let filter = events.wire();
            if !all && filter.is_open() {
                return Err(Error::new(Kind::Invalid, "invalid_request", "no event is named")
                    .hint("say which ones with filters such as --name and --task, or --all for all")
                    .into());
            }
            told(engine.replay_events(&filter, dry_run)?, if dry_run { "would be replayed" } else { "replayed" }, ctx)
        }
    }
}

fn told(count: u64, what: &str, ctx: &Context) -> Result<i32> {
    if ctx.json {
        output::json(&json!({"count": count}));
    } else {
        output::line(&format!("{} {what}", output::count(count, "event")));
    }
    Ok(0)
}
