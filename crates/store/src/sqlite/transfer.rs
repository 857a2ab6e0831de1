//! The embedded store as one end of a move.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior, params_from_iter};
use tasker_wire::Error;
use uuid::Uuid;

use super::{Sqlite, none_is, query};
use crate::transfer::{Cell, EVENTS, Marks, Movable, Row, Source, Table, Target};

/// Rows and bytes handed over at once; a single row may have more bytes.
const ROWS_MAX: usize = 500;
const BYTES_MAX: usize = 4 << 20;

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Cell::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Cell::Int(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Uuid(uuid) => ToSqlOutput::Borrowed(ValueRef::Blob(uuid.as_bytes())),
        })
    }
}

fn cell(value: ValueRef) -> rusqlite::Result<Cell> {
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Blob(bytes) => Uuid::from_slice(bytes).map_or(Cell::Null, Cell::Uuid),
        text => Cell::Text(text.as_str()?.into()),
    })
}

struct End<'a> {
    store: &'a Sqlite,
    conn: &'a Connection,
}

impl End<'_> {
    fn number(&self, sql: &str) -> Result<i64, Error> {
        self.conn.query_row(sql, [], |r| r.get(0)).or_else(none_is(0)).map_err(|e| self.store.trouble(e))
    }
}

impl Source for End<'_> {
    fn each(&mut self, table: &Table, take: &mut dyn FnMut(Vec<Row>) -> Result<(), Error>) -> Result<(), Error> {
        let trouble = |e| self.store.trouble(e);
        let sql = if table.name == EVENTS.name {
            let columns = table.columns().replace("task", "(SELECT t.uuid FROM tasks t WHERE t.id = e.task)");
            format!("SELECT {columns} FROM events e ORDER BY msg_id")
        } else {
            format!("SELECT {} FROM {} ORDER BY {}", table.columns(), table.name, table.key)
        };
        let mut statement = self.conn.prepare(&sql).map_err(trouble)?;
        let mut found = statement.query([]).map_err(trouble)?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = found.next().map_err(trouble)? {
            let cells: Row = (0..table.columns.len())
                .map(|i| row.get_ref(i).and_then(cell))
                .collect::<rusqlite::Result<_>>()
                .map_err(trouble)?;
            bytes += cells.iter().map(|c| if let Cell::Text(text) = c { text.len() } else { 8 }).sum::<usize>();
            rows.push(cells);
            if rows.len() >= ROWS_MAX || bytes >= BYTES_MAX {
                take(std::mem::take(&mut rows))?;
                bytes = 0;
            }
        }
        if rows.is_empty() { Ok(()) } else { take(rows) }
    }

    fn marks(&mut self) -> Result<Marks, Error> {
        Ok(Marks {
            tasks: self.number("SELECT coalesce(max(id), 0) FROM tasks")?,
            events: self.number("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?,
            high_water: self.number(query!("high_water_load"))?,
        })
    }
}

impl Target for End<'_> {
    fn insert(&mut self, table: &Table, rows: Vec<Row>) -> Result<(), Error> {
        let value = |(i, (name, _)): (usize, &(&str, _))| match *name {
            "task" if table.name == EVENTS.name => {
                format!("coalesce((SELECT id FROM tasks WHERE uuid = ?{}), 0)", i + 1)
            }
            _ => format!("?{}", i + 1),
        };
        let values: Vec<String> = table.columns.iter().enumerate().map(value).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", table.name, table.columns(), values.join(", "));
        let insert = || -> rusqlite::Result<()> {
            let mut statement = self.conn.prepare_cached(&sql)?;
            for row in &rows {
                statement.execute(params_from_iter(row))?;
            }
            Ok(())
        };
        insert().map_err(|e| self.store.trouble(e))
    }

    fn count(&mut self, table: &Table) -> Result<u64, Error> {
        Ok(self.number(&format!("SELECT count(*) FROM {}", table.name))? as u64)
    }

    fn seal(&mut self, marks: Marks) -> Result<(), Error> {
        let seal = || -> rusqlite::Result<()> {
            // A task's number is the one after the highest; events count on from what was ever given out.
            self.conn.execute("DELETE FROM sqlite_sequence WHERE name = 'events'", [])?;
            self.conn.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?1)", [marks.events])?;
            self.conn.execute(query!("high_water_store"), [marks.high_water]).map(drop)
        };
        seal().map_err(|e| self.store.trouble(e))
    }
}

impl Movable for Sqlite {
    fn read_all(&self, work: &mut dyn FnMut(&mut dyn Source) -> Result<(), Error>) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        // Who writes waits until the copy is made.
        let tx = Transaction::new(&mut writer.conn, TransactionBehavior::Immediate).map_err(|e| self.trouble(e))?;
        work(&mut End { store: self, conn: &tx })
    }

    fn write_all(&self, work: &mut dyn FnMut(&mut dyn Target) -> Result<(), Error>) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let tx = Transaction::new(&mut writer.conn, TransactionBehavior::Immediate).map_err(|e| self.trouble(e))?;
        work(&mut End { store: self, conn: &tx })?;
        tx.commit().map_err(|e| self.trouble(e))
    }
}
