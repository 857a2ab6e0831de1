//! Queues of PGMQ: durable events always, steps where the database was set up so.
//!
//! Messages are sent, read, deleted and archived by PGMQ's own functions, in the transaction of the state they go with;
//! whatever client knows PGMQ can look at them. Two things are done on its tables directly, because they go by Tasker's
//! clock and its order: reading events, and making archived ones readable again. Numbers of events come from one
//! sequence, so that a number names one event of the store.

use sha2::{Digest, Sha256};
use tasker_core::graph::Workflow;

use super::config::{Settings, Transport};
use super::connection::{Bounds, Call, Conn, Result, call};
use super::query;
use crate::tables::Ready;

/// PGMQ as plain SQL, for servers without the extension.
const INSTALL: &str = include_str!("vendor/pgmq.sql");
/// Longest name PGMQ takes.
const NAME_MAX: usize = 47;

/// Which kind of queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Steps,
    Events,
}

impl Kind {
    fn code(self) -> i16 {
        self as i16
    }
}

/// The name PGMQ knows a queue by. PGMQ's queues belong to the whole database, so that those of a schema other than
/// the default carry its name; what PGMQ does not take is replaced, and told apart by a digest.
pub(super) fn name(settings: &Settings, queue: &str) -> String {
    let full = if settings.has_default_schema() { queue.to_string() } else { format!("{}_{queue}", settings.schema) };
    let plain: String =
        full.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' }).collect();
    if plain == full && plain.len() <= NAME_MAX {
        return plain;
    }
    let digest: String = Sha256::digest(&full).iter().take(6).map(|b| format!("{b:02x}")).collect();
    let kept: String = plain.chars().take(NAME_MAX - 1 - digest.len()).collect();
    format!("{kept}_{digest}")
}

/// Installs PGMQ where it is missing: the extension if the server has it, else as plain SQL. Within a transaction.
pub(super) fn install(conn: &mut Conn) -> Result<()> {
    let ask = |conn: &mut Conn, sql: &'static str| -> Result<bool> {
        Ok(conn.pipeline(Bounds::Inside, &[call!(sql)])?[0][0].try_get(0)?)
    };
    // Several schemas of one database may come up at once.
    conn.script("SELECT pg_advisory_xact_lock(hashtextextended('tasker installs pgmq', 0))")?;
    if ask(conn, "SELECT to_regclass('pgmq.meta') IS NOT NULL")? {
        return Ok(());
    }
    let available = "SELECT EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'pgmq')";
    if ask(conn, available)? {
        conn.script("SAVEPOINT extension")?;
        match conn.script("CREATE EXTENSION pgmq") {
            Ok(()) => return conn.script("RELEASE extension"),
            // Not everyone may create extensions.
            Err(trouble) if !trouble.is_lost() => conn.script("ROLLBACK TO extension")?,
            Err(trouble) => return Err(trouble),
        }
    }
    conn.script(INSTALL)
}

/// The queues a workflow needs that exist not yet, as far as this process knows.
pub(super) fn needed(settings: &Settings, workflow: &Workflow) -> Vec<(Kind, String)> {
    let mut needed = vec![(Kind::Events, crate::events_queue(&workflow.template.namespace))];
    if settings.transport == Transport::Pgmq {
        let steps = 0..workflow.template.steps.len();
        needed.extend(steps.map(|step| (Kind::Steps, workflow.queue(step as u16).to_string())));
    }
    needed.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    needed.dedup();
    needed
}

/// Creates a queue unless it exists. Within a transaction.
pub(super) fn create(conn: &mut Conn, settings: &Settings, kind: Kind, queue: &str) -> Result<()> {
    let pgmq = name(settings, queue);
    let known = conn.pipeline(Bounds::Inside, &[call!(query!("queue_known"), queue.to_string())])?;
    if !known[0].is_empty() {
        return Ok(());
    }
    conn.pipeline(
        Bounds::Inside,
        &[
            call!("SELECT pg_advisory_xact_lock(hashtextextended('tasker queue ' || $1, 0))", pgmq.clone()),
            call!("SELECT pgmq.create($1)", pgmq.clone()),
            call!(query!("queue_add"), queue.to_string(), pgmq.clone(), kind.code()),
        ],
    )?;
    match kind {
        Kind::Events => conn.script(&format!(
            "ALTER TABLE pgmq.\"q_{pgmq}\" ALTER COLUMN msg_id DROP IDENTITY IF EXISTS;
             ALTER TABLE pgmq.\"q_{pgmq}\" ALTER COLUMN msg_id SET DEFAULT nextval('\"{schema}\".event_ids');
             CREATE INDEX IF NOT EXISTS \"q_{pgmq}_group\" ON pgmq.\"q_{pgmq}\" ((headers->>'x-pgmq-group'), msg_id);
             CREATE INDEX IF NOT EXISTS \"a_{pgmq}_group\" ON pgmq.\"a_{pgmq}\" ((headers->>'x-pgmq-group'), msg_id)",
            schema = settings.schema
        )),
        Kind::Steps => conn.script(&format!(
            "CREATE INDEX IF NOT EXISTS \"q_{pgmq}_step\" ON pgmq.\"q_{pgmq}\" ((message->>'step_id'));
             ALTER TABLE pgmq.\"q_{pgmq}\" SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
               autovacuum_vacuum_cost_delay = 0)"
        )),
    }
}

/// Sends steps to their queue.
pub(super) fn send(settings: &Settings, queue: &str, places: &[Ready]) -> Call {
    let message = |r: &Ready| format!(r#"{{"step_id":{},"rank":{},"enqueued_at":{}}}"#, r.step, r.rank, r.enqueued_at);
    call!(query!("pgmq_send"), name(settings, queue), places.iter().map(message).collect::<Vec<_>>())
}

/// Deletes messages that were read.
pub(super) fn delete(settings: &Settings, queue: &str, messages: Vec<i64>) -> Call {
    call!(query!("pgmq_delete"), name(settings, queue), messages)
}

/// Deletes the messages of steps that nobody read.
pub(super) fn withdraw(settings: &Settings, queue: &str, steps: &[i64]) -> Call {
    let pgmq = name(settings, queue);
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    Call::new(
        format!(
            "SELECT pgmq.delete($1, ARRAY(SELECT msg_id FROM pgmq.\"q_{pgmq}\" WHERE message->>'step_id' = ANY ($2)))"
        ),
        vec![Box::new(pgmq), Box::new(steps)],
    )
}

/// Columns of an event, from either table of its queue.
const EVENT: &str = "msg_id, read_ct::bigint, (headers->>'at')::bigint, (extract(epoch FROM vt) * 1000)::bigint";

/// Takes events: those whose time has come, but none behind an earlier one of its task that is not readable.
pub(super) fn read_events(settings: &Settings, queue: &str, now: i64, visible_at: i64, limit: i64) -> Call {
    let q = format!("pgmq.\"q_{}\"", name(settings, queue));
    let sql = format!(
        "UPDATE {q} SET vt = to_timestamp($2 / 1000.0), read_ct = read_ct + 1, last_read_at = to_timestamp($1 / 1000.0)
         WHERE msg_id IN (
           SELECT m.msg_id FROM {q} m WHERE m.vt <= to_timestamp($1 / 1000.0)
             AND NOT EXISTS (SELECT 1 FROM {q} e WHERE e.headers->>'x-pgmq-group' = m.headers->>'x-pgmq-group'
                             AND e.msg_id < m.msg_id AND e.vt > to_timestamp($1 / 1000.0))
           ORDER BY m.msg_id LIMIT $3)
         RETURNING {EVENT}, NULL::bigint, message::text"
    );
    Call::new(sql, vec![Box::new(now), Box::new(visible_at), Box::new(limit)])
}

/// Makes events readable again, archived or not; one row an event.
pub(super) fn replay_events(pgmq: &str, ids: &[i64], now: i64) -> Call {
    let sql = format!(
        "WITH back AS (DELETE FROM pgmq.\"a_{pgmq}\" WHERE msg_id = ANY ($1)
                       RETURNING msg_id, enqueued_at, message, headers),
              again AS (INSERT INTO pgmq.\"q_{pgmq}\" (msg_id, read_ct, enqueued_at, vt, message, headers)
                        SELECT msg_id, 0, enqueued_at, to_timestamp($2 / 1000.0), message, headers FROM back RETURNING 1),
              still AS (UPDATE pgmq.\"q_{pgmq}\" SET vt = to_timestamp($2 / 1000.0), read_ct = 0
                        WHERE msg_id = ANY ($1) RETURNING 1)
         SELECT 1 FROM again UNION ALL SELECT 1 FROM still"
    );
    Call::new(sql, vec![Box::new(ids.to_vec()), Box::new(now)])
}

/// Removes events that were archived before a time; one row an event.
pub(super) fn prune_events(pgmq: &str, before: i64, limit: i64) -> Call {
    let sql = format!(
        "DELETE FROM pgmq.\"a_{pgmq}\" WHERE msg_id IN (
           SELECT msg_id FROM pgmq.\"a_{pgmq}\" WHERE archived_at < to_timestamp($1 / 1000.0)
           ORDER BY archived_at LIMIT $2 FOR UPDATE SKIP LOCKED)
         RETURNING 1"
    );
    Call::new(sql, vec![Box::new(before), Box::new(limit)])
}

/// Every event of some queues, for listings: the columns of an event, its task, name and queue.
pub(super) fn all_events(pgmq: &[String]) -> String {
    if pgmq.is_empty() {
        return format!(
            "SELECT {EVENT}, NULL::bigint AS archived_at, message::text, NULL::text, NULL::text
             FROM (SELECT 0::bigint AS msg_id, 0 AS read_ct, '{{}}'::jsonb AS headers, now() AS vt, ''::text AS message) e WHERE false"
        );
    }
    let one = |name: &String| {
        let more = "headers->>'x-pgmq-group', headers->>'name'";
        format!(
            "SELECT {EVENT}, NULL::bigint, message::text, {more} FROM pgmq.\"q_{name}\"
             UNION ALL
             SELECT {EVENT}, (extract(epoch FROM archived_at) * 1000)::bigint, message::text, {more} FROM pgmq.\"a_{name}\""
        )
    };
    pgmq.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Every queued step of some queues, as `ready` holds them for the other transport.
pub(super) fn all_steps(pgmq: &[String]) -> String {
    if pgmq.is_empty() {
        return "SELECT NULL::bigint AS step WHERE false".into();
    }
    let one = |name: &String| format!("SELECT (message->>'step_id')::bigint AS step FROM pgmq.\"q_{name}\"");
    pgmq.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ")
}

/// JSON as `jsonb` takes it: any text but the NUL character.
pub(super) fn storable(message: &str) -> String {
    if !message.contains("\\u0000") {
        return super::tables::text(message);
    }
    // An escaped backslash before `u0000` is no escape of a NUL.
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        if let Some(after) = escape.strip_prefix("\\u0000") {
            out.push_str("\\ufffd");
            rest = after;
        } else {
            let next = escape.char_indices().nth(2).map_or(escape.len(), |(i, _)| i);
            out.push_str(&escape[..next]);
            rest = &escape[next..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_a_name_that_pgmq_takes() {
        let settings = |schema: &str| Settings::read(&format!("postgres://db/x{schema}")).expect("a URL");
        assert_eq!(name(&settings(""), "shop_domain_events"), "shop_domain_events");
        assert_eq!(name(&settings("?schema=other"), "shop"), "other_shop");
        for hard in ["Shop-1", "a b", "x'; --", &"long".repeat(30), "Ж"] {
            let name = name(&settings(""), hard);
            assert!(name.len() <= NAME_MAX && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
        }
        assert_ne!(name(&settings(""), "shop-1"), name(&settings(""), "shop.1"));
    }

    #[test]
    fn a_nul_is_replaced_and_nothing_else() {
        assert_eq!(storable(r#"{"a":"x\u0000y\\u0000\n"}"#), r#"{"a":"x\ufffdy\\u0000\n"}"#);
        assert_eq!(storable(r#"{"a":"\\\u0000"}"#), r#"{"a":"\\\ufffd"}"#);
    }
}
