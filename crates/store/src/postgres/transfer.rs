//! A PostgreSQL store as one end of a move.

use std::collections::{BTreeMap, BTreeSet};

use tasker_core::state::StepState;
use tasker_wire::Error;
use uuid::Uuid;

use super::config::Transport;
use super::connection::{self, Bounds, Call, Conn, Role, Trouble, Value, call};
use super::tables::text;
use super::{Postgres, pgmq, query};
use crate::tables::Ready;
use crate::transfer::{Cell, EVENTS, Marks, Movable, READY, Row, Source, TEMPLATES, Table, Target, Type};
use crate::workflows::compile;

/// Rows read at once.
const ROWS: usize = 200;
/// A move reads and writes for longer than any other transaction, and waits for the other end.
const PATIENCE: &str = "SET LOCAL idle_in_transaction_session_timeout = 600000; SET LOCAL statement_timeout = 0;
  SET LOCAL lock_timeout = 30000;";

type Result<T> = connection::Result<T>;

struct End<'a> {
    store: &'a Postgres,
    conn: Conn,
    /// Queues that exist on a target.
    queues: BTreeSet<String>,
}

impl Type {
    fn sql(self) -> &'static str {
        match self {
            Type::Big => "bigint",
            Type::Int => "integer",
            Type::Small => "smallint",
            Type::Bool => "boolean",
            Type::Text => "text",
            Type::Uuid => "uuid",
        }
    }

    fn cell(self, row: &tokio_postgres::Row, i: usize) -> Result<Cell> {
        let number = |n: Option<i64>| n.map_or(Cell::Null, Cell::Int);
        Ok(match self {
            Type::Big => number(row.try_get(i)?),
            Type::Int => number(row.try_get::<_, Option<i32>>(i)?.map(i64::from)),
            Type::Small => number(row.try_get::<_, Option<i16>>(i)?.map(i64::from)),
            Type::Bool => number(row.try_get::<_, Option<bool>>(i)?.map(i64::from)),
            Type::Text => row.try_get::<_, Option<String>>(i)?.map_or(Cell::Null, Cell::Text),
            Type::Uuid => row.try_get::<_, Option<Uuid>>(i)?.map_or(Cell::Null, Cell::Uuid),
        })
    }

    /// A column of rows as the array it is sent as.
    fn array(self, rows: &mut [Row], i: usize) -> Box<dyn Value> {
        fn column<T>(rows: &mut [Row], i: usize, value: impl Fn(&mut Cell) -> Option<T>) -> Vec<Option<T>> {
            rows.iter_mut().map(|row| value(&mut row[i])).collect()
        }
        let number = |cell: &mut Cell| if let Cell::Int(number) = cell { Some(*number) } else { None };
        match self {
            Type::Big => Box::new(column(rows, i, number)),
            Type::Int => Box::new(column(rows, i, |c| number(c).map(|n| n as i32))),
            Type::Small => Box::new(column(rows, i, |c| number(c).map(|n| n as i16))),
            Type::Bool => Box::new(column(rows, i, |c| number(c).map(|n| n != 0))),
            Type::Text => Box::new(column(rows, i, |c| if let Cell::Text(t) = c { Some(text(t)) } else { None })),
            Type::Uuid => Box::new(column(rows, i, |c| if let Cell::Uuid(u) = c { Some(*u) } else { None })),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn string(cell: &Cell) -> String {
    if let Cell::Text(text) = cell { text.clone() } else { String::new() }
}

impl End<'_> {
    fn ask(&mut self, call: Call) -> Result<Vec<tokio_postgres::Row>> {
        Ok(self.conn.pipeline(Bounds::Inside, &[call])?.pop().unwrap_or_default())
    }

    fn number(&mut self, sql: String) -> Result<i64> {
        let rows = self.ask(Call::new(sql, Vec::new()))?;
        rows.first().map_or(Ok(0), |row| Ok(row.try_get::<_, Option<i64>>(0)?.unwrap_or(0)))
    }

    /// Queues of a kind: Tasker's name and PGMQ's.
    fn queues_of(&mut self, kind: pgmq::Kind) -> Result<Vec<(String, String)>> {
        let rows = self.ask(call!(query!("queues_of_kind"), kind as i16))?;
        rows.iter().map(|r| Ok((r.try_get(0)?, r.try_get(1)?))).collect()
    }

    fn select(&mut self, table: &Table) -> Result<String> {
        let own = format!("SELECT {} FROM {} ORDER BY {}", table.columns(), table.name, table.key);
        let queues = match (table.name, self.store.settings.transport) {
            ("events", _) => self.queues_of(pgmq::Kind::Events)?,
            ("ready", Transport::Pgmq) => self.queues_of(pgmq::Kind::Steps)?,
            _ => return Ok(own),
        };
        let part = |(queue, pgmq): &(String, String)| {
            let queue = quoted(queue);
            if table.name == READY.name {
                return format!(
                    "SELECT {queue}::text AS queue, CASE WHEN message->>'rank' ~ '^-?[0-9]{{1,9}}$' THEN (message->>'rank')::bigint ELSE 0 END AS rank,
                       s.enqueued_at, s.id AS step
                     FROM pgmq.\"q_{pgmq}\" JOIN steps s ON s.id =
                       CASE WHEN message->>'step_id' ~ '^[0-9]{{1,18}}$' THEN (message->>'step_id')::bigint END
                     WHERE s.state = {}",
                    StepState::Enqueued.code()
                );
            }
            let one = |letter: char, archived: &str| {
                format!(
                    "SELECT msg_id, read_ct::bigint AS read_ct,
                       coalesce((headers->>'at')::bigint, (extract(epoch FROM enqueued_at) * 1000)::bigint) AS enqueued_at,
                       (extract(epoch FROM vt) * 1000)::bigint AS vt, {archived} AS archived_at,
                       CASE WHEN headers->>'x-pgmq-group' ~* '^[0-9a-f-]{{36}}$' THEN (headers->>'x-pgmq-group')::uuid END AS task,
                       {queue}::text AS queue, coalesce(headers->>'name', '') AS name, message::text AS message
                     FROM pgmq.\"{letter}_{pgmq}\""
                )
            };
            let archived = one('a', "(extract(epoch FROM archived_at) * 1000)::bigint");
            format!("{} UNION ALL {archived}", one('q', "NULL::bigint"))
        };
        if queues.is_empty() {
            let empty = |(name, kind): &(&str, Type)| format!("NULL::{} AS {name}", kind.sql());
            return Ok(format!(
                "SELECT {} WHERE false",
                table.columns.iter().map(empty).collect::<Vec<_>>().join(", ")
            ));
        }
        let all: Vec<String> = queues.iter().map(part).collect();
        Ok(format!("SELECT {} FROM ({}) x ORDER BY {}", table.columns(), all.join(" UNION ALL "), table.key))
    }

    fn read(&mut self, table: &Table) -> Result<Vec<Row>> {
        let rows = self.ask(Call::new(format!("FETCH {ROWS} FROM moved_{}", table.name), Vec::new()))?;
        let row = |row: &tokio_postgres::Row| {
            table.columns.iter().enumerate().map(|(i, (_, kind))| kind.cell(row, i)).collect::<Result<Row>>()
        };
        rows.iter().map(row).collect()
    }

    fn create_queue(&mut self, kind: pgmq::Kind, queue: &str) -> Result<()> {
        if self.queues.insert(queue.into()) {
            pgmq::create(&mut self.conn, &self.store.settings, kind, queue)?;
        }
        Ok(())
    }

    fn write(&mut self, table: &Table, mut rows: Vec<Row>) -> Result<()> {
        if table.name == EVENTS.name {
            return self.write_events(table, rows);
        }
        if table.name == READY.name && self.store.settings.transport == Transport::Pgmq {
            return self.send(rows);
        }
        if table.name == TEMPLATES.name {
            self.create_queues_of(table, &rows)?;
        }
        let arrays: Vec<String> =
            table.columns.iter().enumerate().map(|(i, (_, kind))| format!("${}::{}[]", i + 1, kind.sql())).collect();
        let sql =
            format!("INSERT INTO {} ({}) SELECT * FROM unnest({})", table.name, table.columns(), arrays.join(", "));
        let values = table.columns.iter().enumerate().map(|(i, (_, kind))| kind.array(&mut rows, i)).collect();
        self.ask(Call::new(sql, values)).map(drop)
    }

    /// Makes the queues that tasks of some templates use.
    fn create_queues_of(&mut self, table: &Table, rows: &[Row]) -> Result<()> {
        let field = |row: &Row, name: &str| table.place(name).map(|i| string(&row[i])).unwrap_or_default();
        for row in rows {
            let environment = Some(field(row, "environment")).filter(|e| !e.is_empty());
            // One that cannot be compiled has no tasks that run.
            let Ok(workflow) = compile(&field(row, "source"), &field(row, "path"), environment.as_deref()) else {
                continue;
            };
            for (kind, queue) in pgmq::needed(&self.store.settings, &workflow) {
                self.create_queue(kind, &queue)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, rows: Vec<Row>) -> Result<()> {
        let mut places: BTreeMap<String, Vec<Ready>> = BTreeMap::new();
        for row in rows {
            if let [Cell::Text(queue), Cell::Int(rank), Cell::Int(enqueued_at), Cell::Int(step)] = row.as_slice() {
                let ready = Ready { rank: *rank, enqueued_at: *enqueued_at, step: *step };
                places.entry(queue.clone()).or_default().push(ready);
            }
        }
        for (queue, places) in places {
            self.create_queue(pgmq::Kind::Steps, &queue)?;
            self.ask(pgmq::send(&self.store.settings, &queue, &places))?;
        }
        Ok(())
    }

    fn write_events(&mut self, table: &Table, rows: Vec<Row>) -> Result<()> {
        let place = |name: &str| table.place(name).unwrap_or_default();
        let number = |row: &Row, name: &str| if let Cell::Int(n) = row[place(name)] { Some(n) } else { None };
        let mut parts: BTreeMap<(String, bool), Vec<Row>> = BTreeMap::new();
        for row in rows {
            let archived = number(&row, "archived_at").is_some();
            parts.entry((string(&row[place("queue")]), archived)).or_default().push(row);
        }
        for ((queue, archived), rows) in parts {
            self.create_queue(pgmq::Kind::Events, &queue)?;
            let pgmq = pgmq::name(&self.store.settings, &queue);
            let header = |row: &Row| {
                let group = if let Cell::Uuid(uuid) = row[place("task")] { uuid } else { Uuid::default() };
                let (name, at) = (string(&row[place("name")]), number(row, "enqueued_at"));
                let headers = serde_json::json!({"x-pgmq-group": group.to_string(), "name": name, "at": at});
                pgmq::storable(&headers.to_string())
            };
            let numbers = |name: &str| rows.iter().map(|r| number(r, name)).collect::<Vec<Option<i64>>>();
            let (letter, column, value) =
                if archived { ('a', ", archived_at", ", to_timestamp(d / 1000.0)") } else { ('q', "", "") };
            let sql = format!(
                "INSERT INTO pgmq.\"{letter}_{pgmq}\" (msg_id, read_ct, enqueued_at, vt, message, headers{column})
                 SELECT i, r, to_timestamp(e / 1000.0), to_timestamp(v / 1000.0), m::jsonb, h::jsonb{value}
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[])
                   AS x (i, r, e, v, d, m, h)"
            );
            let messages: Vec<String> = rows.iter().map(|r| pgmq::storable(&string(&r[place("message")]))).collect();
            self.ask(Call::new(
                sql,
                vec![
                    Box::new(numbers("msg_id")),
                    Box::new(numbers("read_ct")),
                    Box::new(numbers("enqueued_at")),
                    Box::new(numbers("vt")),
                    Box::new(numbers("archived_at")),
                    Box::new(messages),
                    Box::new(rows.iter().map(header).collect::<Vec<String>>()),
                ],
            ))?;
        }
        Ok(())
    }

    fn counted(&mut self, table: &Table) -> Result<u64> {
        let select = self.select(table)?;
        let select = select.rsplit_once(" ORDER BY ").map_or(select.clone(), |(all, _)| all.into());
        Ok(self.number(format!("SELECT count(*) FROM ({select}) x"))? as u64)
    }

    fn sealed(&mut self, marks: Marks) -> Result<()> {
        self.conn.script(
            "INSERT INTO wakes (wake_at, step) SELECT wake_at, id FROM steps WHERE wake_at IS NOT NULL AND state <> 2",
        )?;
        self.conn.script("INSERT INTO held (worker, step) SELECT worker, id FROM steps WHERE state = 2")?;
        for (sequence, last) in [("task_ids", marks.tasks), ("event_ids", marks.events)] {
            if last > 0 {
                self.ask(call!("SELECT setval($1::text::regclass, $2)", sequence.to_string(), last))?;
            }
        }
        for table in ["templates", "workers", "audit", "dead_letters"] {
            let last = self.number(format!("SELECT max(id) FROM {table}"))?;
            if last > 0 {
                self.number(format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last})"))?;
            }
        }
        self.ask(call!(query!("high_water_store"), marks.high_water))?;
        self.conn.script("ANALYZE tasks, requests, steps, attempts, idempotency, ready, wakes, held")
    }
}

impl Source for End<'_> {
    fn each(
        &mut self,
        table: &Table,
        take: &mut dyn FnMut(Vec<Row>) -> std::result::Result<(), Error>,
    ) -> std::result::Result<(), Error> {
        let store = self.store;
        let trouble = |e: Trouble| store.trouble(e);
        let select = self.select(table).map_err(trouble)?;
        self.conn.script(&format!("DECLARE moved_{} NO SCROLL CURSOR FOR {select}", table.name)).map_err(trouble)?;
        loop {
            let rows = self.read(table).map_err(trouble)?;
            if rows.is_empty() {
                return Ok(());
            }
            take(rows)?;
        }
    }

    fn marks(&mut self) -> std::result::Result<Marks, Error> {
        let marks = |end: &mut Self| -> Result<Marks> {
            let last =
                |sequence: &str| format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}");
            Ok(Marks {
                tasks: end.number(last("task_ids"))?,
                events: end.number(last("event_ids"))?,
                high_water: end.number(query!("high_water_load").into())?,
            })
        };
        marks(self).map_err(|e| self.store.trouble(e))
    }
}

impl Target for End<'_> {
    fn insert(&mut self, table: &Table, rows: Vec<Row>) -> std::result::Result<(), Error> {
        self.write(table, rows).map_err(|e| self.store.trouble(e))
    }

    fn count(&mut self, table: &Table) -> std::result::Result<u64, Error> {
        self.counted(table).map_err(|e| self.store.trouble(e))
    }

    fn seal(&mut self, marks: Marks) -> std::result::Result<(), Error> {
        self.sealed(marks).map_err(|e| self.store.trouble(e))
    }
}

impl Postgres {
    /// Starts a transaction that holds some tables.
    fn end(&self, isolation: &str, lock: &str) -> std::result::Result<End<'_>, Error> {
        let open = || -> Result<Conn> {
            let mut conn = Conn::open(&self.settings, Role::Reader)?;
            conn.pipeline(Bounds::Begin, &[])?;
            conn.script(&format!("{isolation} {PATIENCE} LOCK TABLE templates, workers, tasks, steps IN {lock} MODE"))?;
            Ok(conn)
        };
        Ok(End { store: self, conn: open().map_err(|e| self.trouble(e))?, queues: BTreeSet::new() })
    }
}

impl Movable for Postgres {
    fn read_all(
        &self,
        work: &mut dyn FnMut(&mut dyn Source) -> std::result::Result<(), Error>,
    ) -> std::result::Result<(), Error> {
        // The lock comes before the moment that is read: nobody writes from then on until the copy is made.
        work(&mut self.end("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;", "SHARE")?)
    }

    fn write_all(
        &self,
        work: &mut dyn FnMut(&mut dyn Target) -> std::result::Result<(), Error>,
    ) -> std::result::Result<(), Error> {
        let mut end = self.end("", "EXCLUSIVE")?;
        work(&mut end)?;
        end.conn.script("COMMIT").map_err(|e| self.trouble(e))
    }
}
