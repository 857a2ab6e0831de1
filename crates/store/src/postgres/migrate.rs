//! Tables, created and upgraded in order.

use tasker_wire::{Error, Kind};
use tokio_postgres::error::SqlState;

use super::config::{Settings, Transport};
use super::connection::{Conn, Result, call};

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/001_initial.sql"),
    include_str!("migrations/002_events.sql"),
    include_str!("migrations/003_retention.sql"),
    include_str!("migrations/004_liveness.sql"),
];

/// Oldest version of the tables whose programs work on the newest: while a fleet is upgraded, workers of the release
/// before go on. A migration that they could not live with raises it, and waits a release for that.
const WORKS_FROM: usize = 3;

/// How long an upgrade waits for a table that others use, seconds. Whoever uses it next waits behind the upgrade.
const LOCK_S: u64 = 5;
/// Sessions named when one is in the way.
const NAMED_MAX: usize = 3;

/// Brings the tables up to date; gives the version they had and the one they have.
pub(super) fn migrate(conn: &mut Conn, settings: &mut Settings) -> std::result::Result<(usize, usize), Error> {
    let newest = MIGRATIONS.len();
    let (found, works_from) = version(conn, settings).map_err(|e| super::trouble(settings, e))?;
    if found > newest && works_from <= newest {
        tracing::info!(found, newest, "the tables are those of a newer Tasker, which this one still works with");
    } else if found > newest {
        let what =
            format!("{} was written by a newer Tasker (schema {found}, this one knows {newest})", settings.shown);
        return Err(Error::new(Kind::Conflict, "store_too_new", what).hint("upgrade Tasker, or name another database"));
    }
    if found < newest {
        upgrade(conn, settings).map_err(|e| {
            // Whatever failed, the connection must not stay in its transaction.
            let _ = conn.script("ROLLBACK");
            match e.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
                true => held_up(conn, settings, found),
                false => super::trouble(settings, e),
            }
        })?;
    }
    let stored = conn
        .rows(call!("SELECT value FROM meta WHERE key = 'transport'"))
        .and_then(|rows| Ok(rows.first().map(|r| r.try_get::<_, i64>(0)).transpose()?))
        .map_err(|e| super::trouble(settings, e))?;
    let stored = if stored == Some(Transport::Pgmq as i64) { Transport::Pgmq } else { Transport::Ready };
    if settings.names_transport && settings.transport != stored {
        let (has, asked) = match stored {
            Transport::Pgmq => ("pgmq", "ready"),
            Transport::Ready => ("ready", "pgmq"),
        };
        let what = format!("{} was created with `queue={has}` and cannot be used with `queue={asked}`", settings.shown);
        return Err(Error::new(Kind::Conflict, "transport_differs", what)
            .hint("leave `queue` out of the URL, or name another schema and move with `tasker migrate-store`"));
    }
    settings.transport = stored;
    Ok((found, found.max(newest)))
}

/// Version of the tables, and the oldest one whose programs work on them.
fn version(conn: &mut Conn, settings: &Settings) -> Result<(usize, usize)> {
    let schema = settings.schema.clone();
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'meta')";
    if !conn.one::<bool>(sql, vec![Box::new(schema)])? {
        return Ok((0, 0));
    }
    let rows = conn.rows(call!("SELECT key, value FROM meta WHERE key IN ('schema', 'works_from')"))?;
    let of = |key: &str| rows.iter().find(|r| r.get::<_, &str>(0) == key).map(|r| r.get::<_, i64>(1) as usize);
    Ok((of("schema").unwrap_or(0), of("works_from").unwrap_or(usize::MAX)))
}

/// Says who uses a table that an upgrade waited for.
fn held_up(conn: &mut Conn, settings: &Settings, found: usize) -> Error {
    let sessions = conn.rows(call!(
        "SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, '?'), coalesce(a.state, 'at work'),
           coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, 0)
         FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid() AND a.pid IN
           (SELECT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE l.granted
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1))
         ORDER BY a.xact_start LIMIT $2",
        settings.schema.clone(),
        NAMED_MAX as i64
    ));
    let sessions = sessions.unwrap_or_default();
    let named = sessions.iter().map(|row| {
        let (pid, application, user) = (row.get::<_, i32>(0), row.get::<_, String>(1), row.get::<_, String>(2));
        let by = if application.is_empty() { String::new() } else { format!("{application}, ") };
        format!("{pid} ({by}user {user}, {}, its transaction is {} s old)", row.get::<_, &str>(3), row.get::<_, i64>(4))
    });
    let named: Vec<String> = named.collect();
    let who = if named.is_empty() { "they are free by now".into() } else { format!("session {}", named.join(", ")) };
    let what = format!(
        "the tables at {} are to be upgraded from schema {found} to {}, and one of them was in use for longer than \
         {LOCK_S} s: {who}. Nothing was changed",
        settings.shown,
        MIGRATIONS.len()
    );
    Error::new(Kind::Unavailable, "store_busy", what)
        .hint("start again when that session has ended; `SELECT pg_terminate_backend(PID)` ends it")
}

fn upgrade(conn: &mut Conn, settings: &Settings) -> Result<()> {
    let schema = &settings.schema;
    // One process upgrades, the others wait and find it done.
    conn.script(&format!(
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 60000; SET LOCAL statement_timeout = 0;
         SET LOCAL lock_timeout = 0;
         SELECT pg_advisory_xact_lock(hashtextextended('tasker migrates {schema}', 0));"
    ))?;
    let is_there = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)";
    let rows = conn.pipeline(super::Bounds::Inside, &[call!(is_there, schema.clone())])?;
    if !rows[0][0].try_get::<_, bool>(0)? {
        conn.script(&format!("CREATE SCHEMA \"{schema}\""))?;
    }
    conn.script(&format!(
        "SET LOCAL search_path TO \"{schema}\"; CREATE TABLE IF NOT EXISTS meta (key text PRIMARY KEY, value bigint NOT NULL)"
    ))?;
    let sql = "SELECT coalesce(max(value), 0) FROM meta WHERE key = 'schema'";
    let found: i64 = conn.pipeline(super::Bounds::Inside, &[call!(sql)])?[0][0].try_get(0)?;
    if found == 0 {
        conn.script(&format!("INSERT INTO meta VALUES ('transport', {})", settings.transport as i64))?;
    }
    if found < 2 {
        super::pgmq::install(conn)?;
        conn.script(&format!("SET LOCAL search_path TO \"{schema}\""))?;
    }
    // From here on tables that a running fleet uses are locked.
    conn.script(&format!("SET LOCAL lock_timeout = '{LOCK_S}s'"))?;
    for migration in &MIGRATIONS[(found as usize).min(MIGRATIONS.len())..] {
        conn.script(migration)?;
    }
    conn.script(&format!(
        "INSERT INTO meta VALUES ('schema', {}), ('works_from', {WORKS_FROM})
         ON CONFLICT (key) DO UPDATE SET value = excluded.value; COMMIT",
        MIGRATIONS.len()
    ))
}
