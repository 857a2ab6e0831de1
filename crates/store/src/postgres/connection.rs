//! One connection, driven by the thread that uses it.
//!
//! The protocol runs on a single-threaded runtime that turns only while a call waits, so a round trip wakes no other
//! thread. The statements of a pipeline are sent together and answered in order.

use std::borrow::Cow;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{join_all, maybe_done};
use futures_util::{FutureExt, StreamExt};
use rustc_hash::FxHashMap;
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSqlOwned, ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use super::config::{Settings, reasons};

/// Longest time a connection may take to open.
const CONNECT_WAIT: Duration = Duration::from_secs(6);
/// Longest time the server gives a statement. A pipeline that takes longer than this and a little has lost its server.
const STATEMENT_MS: u64 = 60_000;
const ANSWER_WAIT: Duration = Duration::from_millis(STATEMENT_MS + 5_000);
/// How long the server keeps the locks of a client that fell silent within a transaction, milliseconds. The machine runs
/// between the two round trips of a commit, up to ten thousand rows at a time and on a busy processor.
const SILENT_MS: u64 = 5_000;
/// How long a commit waits for a row that another client has locked, milliseconds; and how long once it is known that
/// something it needs is locked.
const LOCK_MS: u64 = 2_000;
const HURRIED_MS: u64 = 50;

/// What connections are for; decides how they plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Short statements over arrays, planned once, always by index.
    Writer,
    /// Anything people ask.
    Reader,
}

impl Role {
    /// Settings for a session, or, where another client may have the session next, for a transaction.
    fn settings(self, settings: &Settings) -> String {
        let set = if settings.pooled { "SET LOCAL" } else { "SET" };
        let mut all = format!(
            "{set} search_path TO \"{}\"; {set} statement_timeout = {STATEMENT_MS}; {set} jit = off; \
             {set} idle_in_transaction_session_timeout = {SILENT_MS}; {set} client_min_messages = warning;",
            settings.schema
        );
        if self == Role::Writer {
            // The planner knows nothing of the arrays; a plan made for ten rows by index serves a thousand as well,
            // one that scans or hashes a table does not.
            for off in ["seqscan", "hashjoin", "mergejoin", "bitmapscan", "material"] {
                all.push_str(&format!(" {set} enable_{off} = off;"));
            }
            all.push_str(&format!(" {set} plan_cache_mode = force_generic_plan; {set} lock_timeout = {LOCK_MS};"));
        }
        all
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server refused a statement, or the connection broke.
    Sql(tokio_postgres::Error),
    /// There is no answer, or no connection to be had.
    Lost(String),
    /// A commit was sent and nobody knows what became of it.
    Unknown(String),
    /// A row holds what this version cannot read.
    Foreign(String),
    /// A value could not be made a message of; nothing was sent of its statement.
    Unsendable(String),
}

/// A column that cannot be read. What a call gives is [`Trouble::Sql`].
impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Trouble {
        Trouble::Foreign(reasons(&error))
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Sql(error) => f.write_str(&reasons(error)),
            Trouble::Lost(what) | Trouble::Unknown(what) | Trouble::Foreign(what) | Trouble::Unsendable(what) => {
                f.write_str(what)
            }
        }
    }
}

impl Trouble {
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Trouble::Sql(error) => error.code(),
            _ => None,
        }
    }

    /// Name of the constraint that a statement broke.
    pub(super) fn constraint(&self) -> Option<&str> {
        match self {
            Trouble::Sql(error) => error.as_db_error()?.constraint(),
            _ => None,
        }
    }

    /// Whether the connection is of no more use.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Trouble::Sql(error) => {
                error.is_closed()
                    || error.as_db_error().is_none()
                    || self.code().is_some_and(|c| {
                        // Connection exceptions, shutdowns, sessions ended for their silence.
                        c.code().starts_with("08") || c.code().starts_with("57P") || c.code() == "25P03"
                    })
            }
            Trouble::Lost(_) | Trouble::Unknown(_) => true,
            Trouble::Foreign(_) | Trouble::Unsendable(_) => false,
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, Trouble>;

/// A value with the type it is sent as.
pub(super) trait Value: ToSql + Sync + Send {
    fn sql_type(&self) -> Type;
    fn as_sql(&self) -> &(dyn ToSql + Sync);
}

macro_rules! values {
    ($($rust:ty => $single:ident, $array:ident;)+) => {$(
        values!(@one $rust, $single);
        values!(@one Option<$rust>, $single);
        values!(@one Vec<$rust>, $array);
        values!(@one Vec<Option<$rust>>, $array);
    )+};
    (@one $rust:ty, $sql:ident) => {
        impl Value for $rust {
            fn sql_type(&self) -> Type {
                Type::$sql
            }
            fn as_sql(&self) -> &(dyn ToSql + Sync) {
                self
            }
        }
    };
}

values! {
    i64 => INT8, INT8_ARRAY;
    i32 => INT4, INT4_ARRAY;
    i16 => INT2, INT2_ARRAY;
    bool => BOOL, BOOL_ARRAY;
    String => TEXT, TEXT_ARRAY;
    uuid::Uuid => UUID, UUID_ARRAY;
}

/// A statement and its values.
pub(super) struct Call {
    sql: Cow<'static, str>,
    values: Vec<Box<dyn Value>>,
}

impl Call {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Box<dyn Value>>) -> Call {
        Call { sql: sql.into(), values }
    }
}

/// Statements that change different rows, as one: each of its own costs a message, a plan and an answer more. In what
/// order their changes happen is the server's choice.
pub(super) fn together(mut calls: Vec<Call>) -> Option<Call> {
    if calls.len() < 2 {
        return calls.pop();
    }
    let mut sql = String::new();
    let mut values = Vec::new();
    let last = calls.len() - 1;
    for (no, call) in calls.into_iter().enumerate() {
        let start = match no {
            0 => "WITH ",
            _ if no < last => ", ",
            _ => "\n",
        };
        sql.push_str(start);
        if no < last {
            sql.push_str(&format!("part{no} AS (\n"));
        }
        renumber(&call.sql, values.len(), &mut sql);
        if no < last {
            sql.push_str("\n)");
        }
        values.extend(call.values);
    }
    Some(Call::new(sql, values))
}

/// Appends a statement whose parameters come after `before` others.
fn renumber(sql: &str, before: usize, to: &mut String) {
    let mut parts = sql.trim_end().split('$');
    to.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = part[..digits].parse().unwrap_or_default();
        to.push_str(&format!("${}{}", number + before, &part[digits..]));
    }
}

/// `call!("sql", a, b)`: a [`Call`] with its values in order.
macro_rules! call {
    ($sql:expr $(, $value:expr)* $(,)?) => {
        $crate::postgres::connection::Call::new($sql, vec![$(Box::new($value) as Box<dyn $crate::postgres::connection::Value>),*])
    };
}
pub(super) use call;

/// What a pipeline does about transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Starts one before its first statement.
    Begin,
    /// Is within one.
    Inside,
    /// Commits after its last statement.
    Commit,
    /// Does both.
    Both,
    /// Is a transaction of its own.
    Whole,
}

/// The runtime of a connection. It does not wait for anything when it is dropped, which may be on a thread that drives
/// another runtime.
struct Driven(Option<Runtime>);

impl Driven {
    fn drive<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match &self.0 {
            Some(runtime) => runtime.block_on(work),
            None => Err(Trouble::Lost("the connection is closed".into())),
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A connection.
pub(super) struct Conn {
    runtime: Driven,
    client: Client,
    statements: FxHashMap<Cow<'static, str>, Statement>,
    /// Statements are not kept by name: behind a pooler the next transaction may run elsewhere.
    pooled: bool,
    begin: String,
    /// Locks have been waited for.
    hurried: bool,
}

impl Conn {
    /// Opens a connection.
    pub(super) fn open(settings: &Settings, role: Role) -> Result<Conn> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Trouble::Lost(format!("cannot start a connection: {e}")))?;
        let session = role.settings(settings);
        let runtime = Driven(Some(runtime));
        let client = runtime.drive(async {
            let opened = tokio::time::timeout(CONNECT_WAIT, async {
                let (client, drive) = settings.connect().await.map_err(Trouble::Sql)?;
                // Ends with its first error, which is the end of the connection.
                tokio::spawn(drive.take_while(|said| std::future::ready(said.is_ok())).for_each(|_| async {}));
                if !settings.pooled {
                    client.batch_execute(&session).await.map_err(Trouble::Sql)?;
                }
                Ok(client)
            });
            opened.await.unwrap_or_else(|_| Err(Trouble::Lost("the server does not answer".into())))
        })?;
        let begin = if settings.pooled { format!("BEGIN; {session}") } else { "BEGIN".into() };
        Ok(Conn { runtime, client, statements: FxHashMap::default(), pooled: settings.pooled, begin, hurried: false })
    }

    /// Whether the next transactions wait for locks no longer than for a moment.
    pub(super) fn hurry(&mut self, hurried: bool) {
        self.hurried = hurried;
    }

    /// Does and undoes what the server allows if it works.
    pub(super) fn probe(&mut self, sql: &str) -> Result<()> {
        let script = format!("{};\n{sql}\nROLLBACK", self.begin);
        self.script(&script)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs statements that may hold several commands and give nothing back.
    pub(super) fn script(&mut self, sql: &str) -> Result<()> {
        let client = &self.client;
        self.runtime.drive(answered(client.batch_execute(sql).map(|r| r.map_err(Trouble::Sql))))
    }

    /// Runs statements in one round trip (and one more for those this connection sees first). All rows, or the first
    /// error; within a transaction that is then good for nothing but a rollback.
    pub(super) fn pipeline(&mut self, bounds: Bounds, calls: &[Call]) -> Result<Vec<Vec<Row>>> {
        if !self.pooled {
            self.prepare(calls)?;
        }
        let begin = match self.hurried {
            true => Cow::from(format!("{}; SET LOCAL lock_timeout = {HURRIED_MS}", self.begin)),
            false => Cow::from(&self.begin),
        };
        let (client, statements, begin) = (&self.client, &self.statements, &*begin);
        let pooled = self.pooled;
        let whole = self.pooled && bounds == Bounds::Whole;
        self.runtime.drive(answered(async move {
            let first = async {
                match matches!(bounds, Bounds::Begin | Bounds::Both) || whole {
                    true => client.batch_execute(begin).await,
                    false => Ok(()),
                }
            };
            let query = async |call: &Call| {
                if pooled {
                    let values: Vec<(&(dyn ToSql + Sync), Type)> =
                        call.values.iter().map(|v| (v.as_sql(), v.sql_type())).collect();
                    client.query_typed(&call.sql, &values).await
                } else {
                    let values: Vec<&(dyn ToSql + Sync)> = call.values.iter().map(|v| v.as_sql()).collect();
                    client.query(&statements[&call.sql], &values).await
                }
            };
            let mut first = Box::pin(maybe_done(first));
            let mut all: Vec<_> = calls.iter().map(|call| Box::pin(maybe_done(query(call)))).collect();
            // Each is polled once in this order before any waits, which makes a message of each and sends it.
            poll_fn(|cx| {
                let _ = first.as_mut().poll(cx);
                for call in &mut all {
                    let _ = call.as_mut().poll(cx);
                }
                Poll::Ready(())
            })
            .await;
            // One that failed before anything can have been answered was never sent: then nothing is committed.
            let mut unsent = None;
            if !client.is_closed() {
                unsent = all.iter_mut().find_map(|call| match call.as_mut().output_mut() {
                    Some(Err(error)) => Some(reasons(error)),
                    _ => None,
                });
            }
            let end = if unsent.is_none() { "COMMIT" } else { "ROLLBACK" };
            let last = async {
                match matches!(bounds, Bounds::Commit | Bounds::Both) || whole {
                    true => client.batch_execute(end).await,
                    false => Ok(()),
                }
            };
            let ((), _, last) = futures_util::join!(first.as_mut(), join_all(all.iter_mut()), last);
            if let Some(what) = unsent {
                return Err(Trouble::Unsendable(what));
            }
            first.as_mut().take_output().unwrap_or(Ok(())).map_err(Trouble::Sql)?;
            let rows = all.iter_mut().filter_map(|call| call.as_mut().take_output());
            let rows = rows.collect::<std::result::Result<Vec<_>, _>>().map_err(Trouble::Sql)?;
            last.map_err(Trouble::Sql)?;
            Ok(rows)
        }))
    }

    /// The rows of one statement, in a transaction of its own.
    pub(super) fn rows(&mut self, call: Call) -> Result<Vec<Row>> {
        Ok(self.pipeline(Bounds::Whole, &[call])?.pop().unwrap_or_default())
    }

    /// The rows of statements that see one moment.
    pub(super) fn at_one_moment(&mut self, calls: &[Call]) -> Result<Vec<Vec<Row>>> {
        // The isolation is a property of this transaction, whatever the connection does next.
        let begin = self.begin.clone();
        self.begin = begin.replacen("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", 1);
        let rows = self.pipeline(Bounds::Both, calls);
        self.begin = begin;
        rows
    }

    /// The rows of a statement that is asked once.
    pub(super) fn query(&mut self, sql: &str, values: &[Box<dyn Value>]) -> Result<Vec<Row>> {
        let (client, begin, pooled) = (&self.client, &*self.begin, self.pooled);
        self.runtime.drive(answered(async move {
            if pooled {
                client.batch_execute(begin).await.map_err(Trouble::Sql)?;
            }
            let values: Vec<(&(dyn ToSql + Sync), Type)> = values.iter().map(|v| (v.as_sql(), v.sql_type())).collect();
            let rows = client.query_typed(sql, &values).await;
            if pooled {
                client.batch_execute("COMMIT").await.map_err(Trouble::Sql)?;
            }
            rows.map_err(Trouble::Sql)
        }))
    }

    /// The first column of the first row of one statement.
    pub(super) fn one<T: FromSqlOwned>(&mut self, sql: &'static str, values: Vec<Box<dyn Value>>) -> Result<T> {
        let rows = self.rows(Call::new(sql, values))?;
        let row = rows.first().ok_or_else(|| Trouble::Lost("the server gave no row".into()))?;
        Ok(row.try_get(0)?)
    }

    fn prepare(&mut self, calls: &[Call]) -> Result<()> {
        let mut missing: Vec<&Call> = Vec::new();
        for call in calls {
            if !self.statements.contains_key(&call.sql) && missing.iter().all(|m| m.sql != call.sql) {
                missing.push(call);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let client = &self.client;
        let prepared = self.runtime.drive(answered(async {
            let all = join_all(missing.iter().map(|call| async {
                let types: Vec<Type> = call.values.iter().map(|v| v.sql_type()).collect();
                client.prepare_typed(&call.sql, &types).await
            }));
            all.await.into_iter().collect::<std::result::Result<Vec<_>, _>>().map_err(Trouble::Sql)
        }))?;
        self.statements.extend(missing.iter().map(|c| c.sql.clone()).zip(prepared));
        Ok(())
    }
}

async fn answered<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(ANSWER_WAIT, work)
        .await
        .unwrap_or_else(|_| Err(Trouble::Lost("the server does not answer any more".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_together_keep_their_values() {
        assert!(together(Vec::new()).is_none());
        let one = together(vec![call!("DELETE FROM a WHERE b = $1", 1_i64)]).expect("a statement");
        assert_eq!(one.sql, "DELETE FROM a WHERE b = $1");
        let three = [
            call!("DELETE FROM a WHERE b = $1", 1_i64),
            call!("UPDATE c SET d = $2 WHERE e = $1\n", 2_i64, true),
            call!("INSERT INTO f SELECT $1, $12", 3_i64),
        ];
        let all = together(three.into()).expect("a statement");
        assert_eq!(
            all.sql,
            "WITH part0 AS (\nDELETE FROM a WHERE b = $1\n), part1 AS (\nUPDATE c SET d = $3 WHERE e = $2\n)\n\
             INSERT INTO f SELECT $4, $15"
        );
        assert_eq!(all.values.len(), 4);
    }

    /// A value that cannot be made a message of.
    #[derive(Debug)]
    struct Unsendable;

    impl ToSql for Unsendable {
        fn to_sql(
            &self,
            _: &Type,
            _: &mut bytes::BytesMut,
        ) -> std::result::Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
            Err("larger than a message may be".into())
        }

        fn accepts(_: &Type) -> bool {
            true
        }

        tokio_postgres::types::to_sql_checked!();
    }

    impl Value for Unsendable {
        fn sql_type(&self) -> Type {
            Type::TEXT
        }

        fn as_sql(&self) -> &(dyn ToSql + Sync) {
            self
        }
    }

    #[test]
    fn what_cannot_be_sent_is_not_committed_around() {
        let Ok(url) = std::env::var("TASKER_TEST_POSTGRES") else {
            panic!("a PostgreSQL server: run the tests by `scripts/with-postgres cargo test …` or `make test`")
        };
        let settings = Settings::read(&url).expect("a URL");
        for pooled in [false, true] {
            let mut other_way = Settings::read(&url).expect("a URL");
            other_way.pooled = pooled;
            let mut conn = Conn::open(&other_way, Role::Writer).expect("a connection");
            let table = format!("unsendable_{}_{pooled}", std::process::id());
            conn.script(&format!("CREATE TABLE public.{table} (n text)")).expect("a table");
            let insert = format!("INSERT INTO public.{table} VALUES ($1)");
            let calls = [call!(insert.clone(), "first".to_string()), call!(insert, Unsendable)];
            let error = conn.pipeline(Bounds::Both, &calls).expect_err("a value that cannot be sent");
            assert!(matches!(&error, Trouble::Unsendable(_)), "{error}");
            assert!(!error.is_lost(), "the connection is of use");
            conn.script("ROLLBACK").expect("an answer");
            let mut other = Conn::open(&settings, Role::Reader).expect("a connection");
            let rows = other.rows(Call::new(format!("SELECT n FROM public.{table}"), Vec::new())).expect("rows");
            assert!(rows.is_empty(), "nothing is committed when a part of it was not sent");
            conn.script(&format!("DROP TABLE public.{table}")).expect("no table");
        }
    }
}
