//! What is hard about a server: answers that get lost, other processes, poolers, plans, round trips.
//!
//! `TASKER_TEST_POSTGRES` names the server; `scripts/with-postgres` starts one for the command that follows it.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use common::{NOW, commit, creation, healthy, register, register_as, success, total, worker, worker_named};
use tasker_core::state::{StepState, TaskState};
use tasker_store::clock::monotonic_ms;
use tasker_store::postgres::Postgres;
use tasker_store::{Batch, ClaimRequest, CommitError, Done, Idempotency, Op, Order, Store};
use tasker_wire::{Kind, Report, TaskFilter};

fn server() -> String {
    std::env::var("TASKER_TEST_POSTGRES")
        .expect("a PostgreSQL server: run the tests by `scripts/with-postgres cargo test …` or `make test`")
}

/// The server's URL with a schema that this test alone uses.
fn url(name: &str) -> String {
    format!("{}?schema=h{:x}_{name}", server(), std::process::id())
}

fn open(name: &str) -> Postgres {
    Postgres::open(&url(name)).unwrap()
}

/// A plain connection, to look at the server itself.
fn psql(name: &str) -> postgres::Client {
    let mut client = postgres::Client::connect(&server(), postgres::NoTls).unwrap();
    client.batch_execute(&format!("SET search_path TO h{:x}_{name}", std::process::id())).unwrap();
    client
}

// --- a network that breaks -------------------------------------------------------------------------------------------

/// What a [`Proxy`] does when a client commits.
const FORWARD: usize = 0;
const LOSE_ANSWER: usize = 1;
const LOSE_COMMIT: usize = 2;

/// Stands between the store and the server.
struct Proxy {
    port: u16,
    mode: Arc<AtomicUsize>,
    /// How often a client spoke after the server did.
    turns: Arc<AtomicU64>,
}

impl Proxy {
    fn start() -> Proxy {
        let target = server().rsplit('@').next().unwrap().split('/').next().unwrap().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, turns) = (Arc::new(AtomicUsize::new(FORWARD)), Arc::new(AtomicU64::new(0)));
        let (shared, counted) = (mode.clone(), turns.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, mode, turns) = (client.unwrap(), shared.clone(), counted.clone());
                let server = TcpStream::connect(&target).unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let answered = Arc::new(AtomicU64::new(1));
                let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let says = answered.clone();
                thread::spawn(move || {
                    let mut bytes = [0; 65_536];
                    while let Ok(count @ 1..) = from.read(&mut bytes) {
                        says.store(1, Ordering::SeqCst);
                        // What a client that was cut off does not take is read all the same: the server must not
                        // notice before it has done its work.
                        let _ = to.write_all(&bytes[..count]);
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
                thread::spawn(move || {
                    let (mut from, mut to) = (client, server);
                    let mut bytes = [0; 65_536];
                    while let Ok(count @ 1..) = from.read(&mut bytes) {
                        turns.fetch_add(answered.swap(0, Ordering::SeqCst), Ordering::SeqCst);
                        let commits = bytes[..count].windows(7).any(|w| w == b"COMMIT\0");
                        match mode.load(Ordering::SeqCst) {
                            LOSE_ANSWER if commits => {
                                mode.store(FORWARD, Ordering::SeqCst);
                                from.shutdown(Shutdown::Both).unwrap();
                                to.write_all(&bytes[..count]).unwrap();
                                break;
                            }
                            LOSE_COMMIT if commits => {
                                mode.store(FORWARD, Ordering::SeqCst);
                                from.shutdown(Shutdown::Both).unwrap();
                                break;
                            }
                            _ => to.write_all(&bytes[..count]).unwrap(),
                        }
                    }
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        });
        Proxy { port, mode, turns }
    }

    fn url(&self, name: &str) -> String {
        let url = url(name);
        let (before, after) = url.split_once('@').unwrap();
        let (_, path) = after.split_once('/').unwrap();
        format!("{before}@127.0.0.1:{}/{path}", self.port)
    }
}

#[test]
fn a_commit_whose_answer_is_lost_is_found_out() {
    let proxy = Proxy::start();
    let store = Postgres::open(&proxy.url("answer")).unwrap();
    let template = register(&store);
    let w = worker(&store, 10);
    let (uuid, op) = creation(&template, "{}");
    proxy.mode.store(LOSE_ANSWER, Ordering::SeqCst);
    let committed = commit(&store, std::slice::from_ref(&op), std::slice::from_ref(&w)).unwrap();
    assert!(matches!(&committed.results[..], [Ok(Done::Created { uuid: u, existing: false, .. })] if *u == uuid));
    assert_eq!(committed.claimed[0].len(), 1, "the claim of the lost answer is known too");
    assert_eq!(total(&store), 1);
    proxy.mode.store(LOSE_ANSWER, Ordering::SeqCst);
    let finished = commit(&store, &[success(&w, &committed.claimed[0][0])], std::slice::from_ref(&w)).unwrap();
    assert_eq!(finished.results, [Ok(Done::Finished { accepted: true })]);
    assert_eq!(finished.claimed[0].len(), 1);
    healthy(&store);
}

#[test]
fn a_commit_that_never_arrived_is_sent_again() {
    let proxy = Proxy::start();
    let store = Postgres::open(&proxy.url("commit")).unwrap();
    let template = register(&store);
    let w = worker(&store, 10);
    let (_, op) = creation(&template, "{}");
    proxy.mode.store(LOSE_COMMIT, Ordering::SeqCst);
    let error = commit(&store, std::slice::from_ref(&op), std::slice::from_ref(&w)).unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Unavailable, "store_unreachable"));
    assert_eq!(total(&store), 0, "nothing was stored");
    let again = commit(&store, &[op], &[w]).unwrap();
    assert_eq!(again.claimed[0].len(), 1);
    assert_eq!(total(&store), 1);
    healthy(&store);
}

#[test]
fn a_store_knows_the_servers_time_as_soon_as_it_is_open() {
    let pooler = std::env::var("TASKER_TEST_POOLER").expect("a pooler, which `scripts/with-postgres` starts");
    let pooled = url("timed").replace(&server(), &pooler) + "&pooler=transaction";
    let mut psql = psql("timed");
    let mut server_ms = || -> i64 {
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        psql.query_one(sql, &[]).unwrap().get(0)
    };
    for url in [url("timed"), pooled] {
        let store = Postgres::open(&url).unwrap();
        let before_ms = server_ms();
        let now_ms = store.clock_offset() + monotonic_ms();
        let after_ms = server_ms();
        assert!((before_ms - 1_000..after_ms + 1_000).contains(&now_ms), "{before_ms} {now_ms} {after_ms}");
    }
}

/// The reports of two workers' steps, and what else is in the commit with them.
fn two_reports(store: &Postgres, w: &ClaimRequest, template: &(i64, Arc<tasker_core::graph::Workflow>)) -> [Op; 2] {
    let created = [creation(template, "{}").1, creation(template, "{}").1];
    let claimed = commit(store, &created, std::slice::from_ref(w)).unwrap().claimed.remove(0);
    [success(w, &claimed[0]), success(w, &claimed[1])]
}

#[test]
fn a_row_that_another_client_holds_stops_no_other() {
    let store = open("held");
    let template = register(&store);
    let w = worker(&store, 2);
    let [locked, free] = two_reports(&store, &w, &template);
    let Op::Finish { task, .. } = &locked else { panic!("a report") };
    let mut psql = psql("held");
    let mut forgotten = psql.transaction().unwrap();
    forgotten.execute("SELECT id FROM tasks WHERE id = $1 FOR UPDATE", &[task]).unwrap();
    let ops = [locked.clone(), free, creation(&template, "{}").1];
    let committed = commit(&store, &ops, &[]).unwrap();
    let CommitError::NotStored(error) = committed.results[0].clone().unwrap_err() else { panic!("{committed:?}") };
    assert_eq!(error.code, "store_busy");
    assert!(committed.results[1..].iter().all(Result::is_ok), "{committed:?}");
    forgotten.rollback().unwrap();
    let again = commit(&store, &[locked], &[]).unwrap();
    assert_eq!(again.results, [Ok(Done::Finished { accepted: true })]);
    healthy(&store);
}

#[test]
fn a_statement_that_fails_for_one_operation_fails_that_one() {
    // Errors of a class that might as well be the whole store's: a table is missing, an internal error, out of memory.
    for (name, code) in [("missing", "42P01"), ("internal", "XX000"), ("memory", "53200"), ("denied", "42501")] {
        let store = open(name);
        let template = register(&store);
        let w = worker(&store, 2);
        let [bad, good] = two_reports(&store, &w, &template);
        let Op::Finish { task, .. } = &bad else { panic!("a report") };
        psql(name)
            .batch_execute(&format!(
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{code}'; END $$;
                 CREATE TRIGGER fail BEFORE INSERT ON attempts FOR EACH ROW WHEN (NEW.step >> 14 = {task})
                   EXECUTE FUNCTION fail()"
            ))
            .unwrap();
        let committed = commit(&store, &[bad, good, creation(&template, "{}").1], std::slice::from_ref(&w)).unwrap();
        assert!(matches!(committed.results[0], Err(CommitError::Refused(_))), "{code}: {committed:?}");
        assert!(committed.results[1..].iter().all(Result::is_ok), "{code}: {committed:?}");
        assert_eq!(committed.claimed[0].len(), 2, "{code}");
        // Where nothing can be stored, nothing is to blame.
        psql(name).batch_execute("ALTER TABLE attempts RENAME TO elsewhere").unwrap();
        let ops = [success(&w, &committed.claimed[0][0]), creation(&template, "{}").1];
        let batch = Batch {
            ops: &ops,
            claims: &[],
            holding: Default::default(),
            now: NOW,
            jitter_seed: None,
            max_crashes: 3,
            knows: &|_| false,
        };
        assert!(matches!(store.commit(&batch), Err(CommitError::NotStored(_))), "{code}");
    }
}

#[test]
fn a_queue_that_somebody_dropped_stops_no_other() {
    let store = open("dropped");
    let telling = |namespace: &str| {
        let events = "publishes_events: [{name: a.done, delivery_mode: durable}]";
        format!("name: told\nnamespace_name: {namespace}\nsteps: [{{name: a, handler: h, {events}}}]")
    };
    let w = ClaimRequest { queues: Arc::new(["test".to_string(), "other".into()]), ..worker(&store, 3) };
    let created = ["test", "other", "test"].map(|namespace| {
        let template = register_as(&store, &telling(namespace));
        creation(&template, "{}").1
    });
    let done = commit(&store, &created, std::slice::from_ref(&w)).unwrap();
    let Ok(Done::Created { task: other, .. }) = done.results[1] else { panic!("{done:?}") };
    let claimed = &done.claimed[0];
    assert_eq!(claimed.len(), 3);
    let mut psql = psql("dropped");
    let events = queue(&mut psql, "test_domain_events");
    psql.execute("SELECT pgmq.drop_queue($1)", &[&events]).unwrap();
    let ops: Vec<Op> = claimed.iter().map(|c| success(&w, c)).collect();
    let committed = commit(&store, &ops, &[]).unwrap();
    for (step, result) in claimed.iter().zip(&committed.results) {
        match result {
            Ok(Done::Finished { accepted: true }) => assert_eq!(step.task, other),
            Err(CommitError::Refused(_)) => assert_ne!(step.task, other),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_column_that_changes_its_type_between_two_commits_fails_neither() {
    let store = open("altered");
    let template = register(&store);
    let w = worker(&store, 1);
    let round = |store: &Postgres| {
        let done = commit(store, &[creation(&template, "{}").1], std::slice::from_ref(&w)).unwrap();
        assert!(done.results.iter().all(Result::is_ok), "{done:?}");
        commit(store, &[success(&w, &done.claimed[0][0])], &[]).unwrap().results.remove(0).unwrap();
    };
    round(&store);
    // The server then refuses what was prepared before: the plan must not change what it gives.
    psql("altered").batch_execute("ALTER TABLE steps ALTER COLUMN name TYPE varchar").unwrap();
    round(&store);
    round(&store);
    healthy(&store);
}

#[test]
fn who_waits_for_a_step_holds_no_place_in_a_queue() {
    let store = open("crossed");
    let template = register(&store);
    let w = worker(&store, 10);
    let (held, op) = creation(&template, "{}");
    commit(&store, &[op, creation(&template, "{}").1], &[]).unwrap();
    let held_id = store.task(held).unwrap().unwrap().id;
    let (mut holder, mut other) = (psql("crossed"), psql("crossed"));
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let mut forgotten = holder.transaction().unwrap();
    forgotten.execute("SELECT id FROM steps WHERE id = $1 FOR UPDATE", &[&(held_id << 14)]).unwrap();
    let cancel = Op::Act { task: held, order: Order::Cancel, actor: "a".into(), reason: "r".into() };
    let free = thread::scope(|scope| {
        let committer = scope.spawn(|| commit(&store, &[cancel], std::slice::from_ref(&w)));
        let is_waiting = |other: &mut postgres::Client| -> bool {
            let sql = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))";
            other.query_one(sql, &[&pid]).unwrap().get(0)
        };
        // Only what is seen between two looks that find the commit waiting was seen while it waited.
        let free = loop {
            assert!(!committer.is_finished(), "it was never seen waiting");
            if is_waiting(&mut other) {
                let free = other.query("SELECT step >> 14 FROM ready FOR UPDATE SKIP LOCKED", &[]).unwrap();
                if is_waiting(&mut other) {
                    break free.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>();
                }
            }
        };
        forgotten.rollback().unwrap();
        committer.join().unwrap().unwrap();
        free
    });
    assert!(free.iter().any(|task| *task != held_id), "the other task can be claimed meanwhile: {free:?}");
    healthy(&store);
}

#[test]
fn a_commit_takes_two_round_trips() {
    let proxy = Proxy::start();
    let store = Postgres::open(&proxy.url("trips")).unwrap();
    let template = register(&store);
    let w = worker(&store, 8);
    let turns = |work: &mut dyn FnMut()| {
        let before = proxy.turns.load(Ordering::SeqCst);
        work();
        proxy.turns.load(Ordering::SeqCst) - before
    };
    let mut claimed = Vec::new();
    for round in 0..3 {
        // Statements are prepared when a connection sees them first, which the first round does.
        let ops: Vec<Op> = (0..8).map(|_| creation(&template, "{}").1).collect();
        let create = turns(&mut || claimed = commit(&store, &ops, std::slice::from_ref(&w)).unwrap().claimed.remove(0));
        assert_eq!(claimed.len(), 8);
        let reports: Vec<Op> = claimed.iter().map(|c| success(&w, c)).collect();
        let chain = turns(&mut || {
            claimed = commit(&store, &reports, std::slice::from_ref(&w)).unwrap().claimed.remove(0);
        });
        assert_eq!(claimed.len(), 8, "the followers");
        let reports: Vec<Op> = claimed.iter().map(|c| success(&w, c)).collect();
        let end = turns(&mut || drop(commit(&store, &reports, std::slice::from_ref(&w)).unwrap()));
        if round > 0 {
            assert!(create <= 2 && chain <= 2 && end <= 2, "round {round}: {create}, {chain}, {end} round trips");
        }
    }
    healthy(&store);
}

#[test]
fn a_server_that_ends_sessions_is_come_back_to() {
    // Named, so that no other test loses its sessions.
    let store = Postgres::open(&format!("{}&application_name=sessions", url("sessions"))).unwrap();
    let template = register(&store);
    commit(&store, &[creation(&template, "{}").1], &[]).unwrap();
    let mut psql = psql("sessions");
    psql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sessions'", &[])
        .unwrap();
    assert_eq!(total(&store), 1, "a read opens another connection");
    let (_, op) = creation(&template, "{}");
    // The batch in whose way the end of the session comes may fail as a whole; it can be sent again as it is.
    if commit(&store, std::slice::from_ref(&op), &[]).is_err() {
        commit(&store, &[op], &[]).unwrap();
    }
    assert_eq!(total(&store), 2);
}

// --- other processes -------------------------------------------------------------------------------------------------

#[test]
fn processes_share_a_database() {
    let tasks = 300;
    let store = open("share");
    let template = register(&store);
    let uuids: Vec<_> = (0..tasks)
        .map(|_| {
            let (uuid, op) = creation(&template, "{}");
            commit(&store, &[op], &[]).unwrap();
            uuid
        })
        .collect();
    let left = AtomicUsize::new(tasks * 2);
    let twice = std::sync::Mutex::new(HashSet::new());
    thread::scope(|scope| {
        for process in 0..4 {
            let (left, twice) = (&left, &twice);
            scope.spawn(move || {
                let store = open("share");
                let w = worker_named(&store, &format!("w{process}"), 7);
                let mut reports: Vec<Op> = Vec::new();
                while left.load(Ordering::SeqCst) > 0 {
                    let done = commit(&store, &reports, std::slice::from_ref(&w)).unwrap();
                    for result in &done.results {
                        assert_eq!(*result, Ok(Done::Finished { accepted: true }));
                        left.fetch_sub(1, Ordering::SeqCst);
                    }
                    for claimed in &done.claimed[0] {
                        let lease = (claimed.task, claimed.no, claimed.fence);
                        assert!(twice.lock().unwrap().insert(lease), "{lease:?} was given to two workers");
                    }
                    reports = done.claimed[0].iter().map(|c| success(&w, c)).collect();
                }
            });
        }
    });
    assert_eq!(twice.lock().unwrap().len(), tasks * 2);
    for uuid in uuids {
        assert_eq!(store.task(uuid).unwrap().unwrap().task.state, TaskState::Complete);
    }
    healthy(&store);
}

#[test]
fn whatever_meets_on_a_task_takes_turns() {
    // Claims, reports, cancels, pauses, renewals and sweeps of one small set of tasks by several processes at once.
    let store = open("turns");
    let template = register(&store);
    let uuids: Vec<_> = (0..24)
        .map(|_| {
            let (uuid, op) = creation(&template, "{}");
            commit(&store, &[op], &[]).unwrap();
            uuid
        })
        .collect();
    thread::scope(|scope| {
        for process in 0..4_usize {
            let uuids = &uuids;
            scope.spawn(move || {
                let store = open("turns");
                let w = worker_named(&store, &format!("w{process}"), 5);
                let mut held = Vec::new();
                for round in 0..60_usize {
                    let mut ops: Vec<Op> = Vec::new();
                    for (index, claimed) in held.drain(..).enumerate() {
                        match (index + round) % 3 {
                            0 => ops.push(success(&w, &claimed)),
                            1 => ops.push(Op::Finish {
                                task: claimed.task,
                                no: claimed.no,
                                fence: claimed.fence,
                                worker: w.worker,
                                report: Report::Release { delay_ms: 0 },
                                events: Vec::new(),
                            }),
                            // It never heard of this one, nor of what the reports above did not end.
                            _ => ops.push(Op::Heartbeat { worker: w.worker, held: Some(Vec::new()) }),
                        }
                    }
                    ops.push(Op::Due { limit: 50, skip: 0 });
                    let of = |k: usize| uuids[(process * 7 + round * k) % uuids.len()];
                    let order = match round % 4 {
                        0 => Order::Pause,
                        1 | 2 => Order::Resume,
                        _ => Order::Cancel,
                    };
                    let task = of(if order == Order::Cancel { 11 } else { 5 });
                    if order != Order::Cancel || round % 20 == 3 {
                        ops.push(Op::Act { task, order, actor: "a".into(), reason: "r".into() });
                    }
                    held = commit(&store, &ops, std::slice::from_ref(&w)).unwrap().claimed.remove(0);
                }
                let release = |c: &tasker_store::Claimed| Op::Finish {
                    task: c.task,
                    no: c.no,
                    fence: c.fence,
                    worker: w.worker,
                    report: Report::Release { delay_ms: 0 },
                    events: Vec::new(),
                };
                commit(&store, &held.iter().map(release).collect::<Vec<_>>(), &[]).unwrap();
            });
        }
    });
    let resume =
        |uuid: &uuid::Uuid| Op::Act { task: *uuid, order: Order::Resume, actor: "a".into(), reason: "r".into() };
    commit(&store, &uuids.iter().map(resume).collect::<Vec<_>>(), &[]).unwrap();
    let w = worker_named(&store, "last", 100);
    let mut reports = vec![Op::Due { limit: 1_000, skip: 0 }];
    while !reports.is_empty() {
        let done = commit(&store, &reports, std::slice::from_ref(&w)).unwrap();
        reports = done.claimed[0].iter().map(|c| success(&w, c)).collect();
    }
    for uuid in uuids {
        let state = store.task(uuid).unwrap().unwrap().task.state;
        // A lease that ended three times has spent its step.
        assert!(state.is_resting(), "{state:?}");
    }
    healthy(&store);
}

#[test]
fn a_key_that_two_processes_store_at_once_makes_one_task() {
    let store = open("key");
    let template = register(&store);
    let made = thread::scope(|scope| {
        let create = |_| {
            let template = &template;
            scope.spawn(move || {
                let store = open("key");
                let mut made = Vec::new();
                for round in 0..20 {
                    let (_, mut op) = creation(template, "{}");
                    let Op::Create(new) = &mut op else { unreachable!() };
                    new.idempotency = Some(Idempotency { key: format!("k{round}"), digest: "d".into(), strict: false });
                    match commit(&store, &[op], &[]).unwrap().results.remove(0) {
                        Ok(Done::Created { uuid, .. }) => made.push(uuid),
                        other => panic!("{other:?}"),
                    }
                }
                made
            })
        };
        let threads: Vec<_> = (0..4).map(create).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(made.iter().all(|uuids| *uuids == made[0]), "every process got the same task for a key");
    assert_eq!(total(&store), 20);
}

#[test]
fn another_process_is_heard_of() {
    let (one, other) = (open("heard"), open("heard"));
    let template = register(&one);
    let (told, hears) = std::sync::mpsc::channel();
    other.watch(Arc::new(move || {
        // The test may have ended.
        let _ = told.send(());
    }));
    // Listeners count each other once a second; until then nobody is told.
    loop {
        commit(&one, &[creation(&template, "{}").1], &[]).unwrap();
        if hears.recv_timeout(std::time::Duration::from_millis(100)).is_ok() {
            break;
        }
    }
    assert!(other.version().unwrap() > 0);
}

// --- the server's side -----------------------------------------------------------------------------------------------

#[test]
fn no_statement_of_a_commit_scans_a_table() {
    let name = "plans";
    let store = open(name);
    let template = register(&store);
    let mut psql = psql(name);
    // A hundred thousand ended steps, and queues of many waiting ones.
    psql.batch_execute(
        "INSERT INTO tasks (id, uuid, template, created_at, state_since, updated_at, ended_at, priority, total, done, failed,
           isolated, cancelled, active, waiting, fence_base, state, paused)
         SELECT i, gen_random_uuid(), 1, 0, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 5, false FROM generate_series(1000, 51000) i;
         INSERT INTO requests SELECT i, '{}', '{}' FROM generate_series(1000, 51000) i;
         INSERT INTO steps (id, enqueued_at, started_at, worker, ended_at, remaining, fence, attempts, crashes, template,
           state, has_checkpoint, result)
         SELECT (i << 14) + no, 0, 0, 0, 0, 0, 1, 1, 0, no, 4, false, '1' FROM generate_series(1000, 51000) i, generate_series(0, 1) no;
         INSERT INTO attempts (step, seq, worker, started_at, ended_at, fence, attempt, outcome)
         SELECT id, 0, 0, 0, 0, 1, 1, 0 FROM steps;
         SELECT setval('task_ids', 100000); ANALYZE;",
    )
    .unwrap();
    let scans = |psql: &mut postgres::Client| -> std::collections::BTreeMap<String, i64> {
        psql.batch_execute("SELECT pg_stat_clear_snapshot()").unwrap();
        let rows = psql
            .query(
                "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = current_schema()
                 AND relname IN ('tasks', 'steps', 'attempts', 'requests', 'ready', 'wakes', 'idempotency')",
                &[],
            )
            .unwrap();
        rows.iter().map(|r| (r.get(0), r.get(1))).collect()
    };
    let before = scans(&mut psql);
    let writer = open(name);
    let w = worker(&writer, 50);
    let mut ops: Vec<Op> = (0..100).map(|_| creation(&template, "{}").1).collect();
    let first = creation(&template, "{}").0;
    for _ in 0..12 {
        ops.push(Op::Due { limit: 100, skip: 0 });
        ops.push(Op::WorkerGone { worker: 99, beat: None, stopped: false });
        ops.push(Op::Act { task: first, order: Order::Pause, actor: "a".into(), reason: "r".into() });
        let done = commit(&writer, &ops, std::slice::from_ref(&w)).unwrap();
        ops = done.claimed[0].iter().map(|c| success(&w, c)).collect();
    }
    // The statistics of a session are complete once it has ended.
    drop(writer);
    let ended = |psql: &mut postgres::Client| -> bool {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tasker' AND query LIKE '%COMMIT%' AND state = 'idle'
                   AND pid IN (SELECT pid FROM pg_locks)";
        psql.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 0
    };
    while !ended(&mut psql) {
        thread::yield_now();
    }
    assert_eq!(scans(&mut psql), before, "scans by twelve commits");
}

#[test]
fn a_worker_of_the_release_before_is_watched_by_when_it_was_seen_and_its_steps_are_found_by_their_deadlines() {
    let name = "before";
    let store = open(name);
    let template = register(&store);
    let mut psql = psql(name);
    let (uuid, create) = creation(&template, "{}");
    let w = worker_named(&store, "now", 1);
    let done = commit(&store, &[create], std::slice::from_ref(&w)).unwrap();
    let claimed = done.claimed[0][0].clone();
    // What that release's worker would have written in its place.
    psql.batch_execute(&format!(
        "INSERT INTO workers (name, language, sdk_version, queues, handlers, slots, pid, lease_ms, started_at, seen_at)
           VALUES ('before', 'ruby', '0', '[]', '[]', 1, 1, 30000, {NOW}, {NOW});
         UPDATE steps SET worker = (SELECT id FROM workers WHERE name = 'before'), wake_at = {NOW} + 1 WHERE state = 2;
         DELETE FROM held; INSERT INTO wakes SELECT {NOW} + 1, id FROM steps WHERE state = 2"
    ))
    .unwrap();
    let watched = || store.watched().unwrap().into_iter().find(|w| w.name == "before").unwrap();
    let first = watched();
    psql.execute("UPDATE workers SET seen_at = seen_at + 5000 WHERE name = 'before'", &[]).unwrap();
    assert_ne!(watched().beat, first.beat, "that it was seen is its beat");
    let lost = |beat| Op::WorkerGone { worker: first.id, beat: Some(beat), stopped: false };
    let results = commit(&store, &[lost(first.beat)], &[]).unwrap().results;
    assert_eq!(results, [Ok(Done::Gone(None))]);
    let state = |store: &Postgres| store.steps(claimed.task).unwrap()[0].step;
    assert_eq!((state(&store).state, state(&store).crashes), (StepState::InProgress, 0));
    let results = commit(&store, &[lost(watched().beat)], &[]).unwrap().results;
    assert_eq!(results, [Ok(Done::Gone(Some(1)))]);
    assert_eq!((state(&store).state, state(&store).crashes), (StepState::Enqueued, 1));
    assert!(!store.task(uuid).unwrap().unwrap().task.state.is_resting());
    healthy(&store);
}

/// Makes the tables those of the release before.
const TO_RELEASE_BEFORE: &str =
    "DROP INDEX workers_live; DROP INDEX workers_gone; DROP TABLE held; ALTER TABLE steps DROP COLUMN suspect;
    ALTER TABLE workers DROP COLUMN beat; ALTER TABLE workers DROP COLUMN draining;
    UPDATE meta SET value = 3 WHERE key = 'schema'";

#[test]
fn what_runs_while_the_tables_are_upgraded_goes_on() {
    let name = "upgraded";
    let store = open(name);
    let template = register(&store);
    let w = worker(&store, 1);
    let done = commit(&store, &[creation(&template, "{}").1], std::slice::from_ref(&w)).unwrap();
    let claimed = &done.claimed[0][0];
    drop(store);
    // As the release before left it, whose leases end now.
    psql(name)
        .batch_execute(&format!(
            "{TO_RELEASE_BEFORE};
             UPDATE steps SET wake_at = {NOW} WHERE state = 2; INSERT INTO wakes SELECT {NOW}, id FROM steps WHERE state = 2"
        ))
        .unwrap();
    let store = open(name);
    assert!(store.watched().unwrap().iter().any(|watched| watched.id == w.worker));
    let results = commit(&store, &[Op::Due { limit: 10, skip: 0 }, success(&w, claimed)], &[]).unwrap().results;
    assert_eq!(results, [Ok(Done::Due(0)), Ok(Done::Finished { accepted: true })]);
    healthy(&store);
}

#[test]
fn a_worker_is_cut_off_when_the_connection_that_announced_it_ends_while_the_watchers_stands() {
    let name = "cutoff";
    let (watcher, first) = (open(name), open(name));
    let w = worker_named(&first, "first", 1);
    let eventually = |what: &str, holds: &dyn Fn() -> bool| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !holds() {
            assert!(std::time::Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    };
    first.announce(w.worker);
    let locks = format!(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = {} AND objsubid = 2 AND mode = 'ExclusiveLock'
           AND classid = (hashtext(current_schema() || ' workers')::bigint & 4294967295)::oid",
        w.worker
    );
    let asked = std::cell::RefCell::new(psql(name));
    eventually("its connection is announced", &|| !asked.borrow_mut().query(&locks, &[]).unwrap().is_empty());
    let connections = watcher.version().unwrap();
    // A look of the watcher's own lies in between.
    eventually("the watcher looks", &|| watcher.version().unwrap() > connections + 1);
    assert!(watcher.cut_off().is_empty());
    drop(first);
    eventually("it is missed", &|| watcher.cut_off() == [w.worker]);
    // One whose connection is younger than that knows nothing.
    let late = open(name);
    let looks = late.version().unwrap();
    eventually("the late one looks", &|| late.version().unwrap() > looks + 1);
    assert!(late.cut_off().is_empty());
    let again = open(name);
    again.announce(w.worker);
    eventually("it is back", &|| watcher.cut_off().is_empty());
}

#[test]
fn every_statement_fits_the_schema() {
    drop(open("fits"));
    let mut psql = psql("fits");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/postgres/queries");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if let Err(error) = psql.prepare(&std::fs::read_to_string(&path).unwrap()) {
            panic!("{}: {error}", path.display());
        }
        count += 1;
    }
    assert!(count > 50, "{count} statements");
}

#[test]
fn a_newer_schema_is_used_if_it_allows_that_and_an_older_one_upgraded() {
    let name = "schema";
    drop(open(name));
    let mut psql = psql(name);
    // The release after this one, whose tables this one still works with, and the one after that.
    psql.execute("UPDATE meta SET value = value + 1 WHERE key = 'schema'", &[]).unwrap();
    assert!(open(name).workers().unwrap().is_empty());
    psql.execute("UPDATE meta SET value = 99 WHERE key IN ('schema', 'works_from')", &[]).unwrap();
    let error = Postgres::open(&url(name)).err().unwrap();
    assert_eq!(error.code, "store_too_new");
    psql.execute("DELETE FROM meta", &[]).unwrap();
    psql.batch_execute(&format!(
        "DROP SCHEMA h{0:x}_{name} CASCADE; CREATE SCHEMA h{0:x}_{name}; CREATE TABLE meta (key text PRIMARY KEY, value bigint NOT NULL)",
        std::process::id()
    ))
    .unwrap();
    psql.batch_execute(include_str!("../src/postgres/migrations/001_initial.sql")).unwrap();
    psql.execute("INSERT INTO meta VALUES ('schema', 1)", &[]).unwrap();
    let (from, to) = Postgres::migrate(&url(name)).unwrap();
    assert_eq!((from, to > 1), (1, true));
    register(&open(name));
}

#[test]
fn an_upgrade_that_is_held_up_says_by_whom_and_changes_nothing() {
    let name = "heldup";
    drop(open(name));
    let mut reader = psql(name);
    reader.batch_execute(&format!("SET application_name = 'report'; {TO_RELEASE_BEFORE}")).unwrap();
    let pid: i32 = reader.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let mut forgotten = reader.transaction().unwrap();
    forgotten.query("SELECT id FROM steps", &[]).unwrap();
    let error = Postgres::open(&url(name)).err().unwrap();
    assert_eq!((error.kind, error.code), (Kind::Unavailable, "store_busy"));
    assert!(error.message.contains(&format!("session {pid} (report, user tasker, idle in transaction")), "{error:?}");
    assert!(error.message.contains("from schema 3 to"), "{error:?}");
    assert!(error.hint.unwrap().contains("pg_terminate_backend"));
    forgotten.rollback().unwrap();
    healthy(&open(name));
}

#[test]
fn processes_that_start_together_migrate_once() {
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| drop(open("together")));
        }
    });
    healthy(&open("together"));
}

#[test]
fn a_worker_needs_few_rights() {
    let name = "rights";
    // The owner makes the tables, and the queues of new namespaces.
    register(&open(name));
    let mut psql = psql(name);
    let (role, schema) = (format!("worker_{:x}", std::process::id()), format!("h{:x}_{name}", std::process::id()));
    psql.batch_execute(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role};
         GRANT USAGE ON SCHEMA pgmq TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgmq TO {role};"
    ))
    .unwrap();
    let store = Postgres::open(&url(name).replace("tasker@", &format!("{role}@"))).unwrap();
    let template = register(&store);
    let w = worker(&store, 1);
    let done = commit(&store, &[creation(&template, "{}").1], std::slice::from_ref(&w)).unwrap();
    commit(&store, &[success(&w, &done.claimed[0][0])], &[w]).unwrap();
    healthy(&store);
}

#[test]
fn trouble_says_what_to_do() {
    let base = server();
    let port = base.rsplit(':').next().unwrap().split('/').next().unwrap().to_string();
    let cases = [
        (base.replace(&port, "1"), "store_unreachable"),
        (base.replace("/postgres", "/nowhere"), "store_cannot_open"),
        (base.replace("tasker@", "nobody:secret@"), "store_denied"),
    ];
    for (url, code) in cases {
        let error = Postgres::open(&url).err().expect(&url);
        assert_eq!((error.kind, error.code), (Kind::Unavailable, code), "{error:?}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        assert!(error.hint.is_some());
    }
}

// --- PGMQ ------------------------------------------------------------------------------------------------------------

fn open_pgmq(name: &str) -> Postgres {
    Postgres::open(&format!("{}&queue=pgmq", url(name))).unwrap()
}

/// PGMQ's name of a queue.
fn queue(psql: &mut postgres::Client, name: &str) -> String {
    psql.query_one("SELECT pgmq FROM queues WHERE name = $1", &[&name]).unwrap().get(0)
}

#[test]
fn a_pgmq_client_sees_the_steps() {
    let store = open_pgmq("client");
    let template = register(&store);
    commit(&store, &(0..3).map(|_| creation(&template, "{}").1).collect::<Vec<_>>(), &[]).unwrap();
    let mut psql = psql("client");
    let steps = queue(&mut psql, "test");
    let length = |psql: &mut postgres::Client| -> i64 {
        psql.query_one("SELECT queue_length FROM pgmq.metrics($1)", &[&steps]).unwrap().get(0)
    };
    assert_eq!(length(&mut psql), 3);
    let w = worker(&store, 2);
    let done = commit(&store, &[], std::slice::from_ref(&w)).unwrap();
    assert_eq!((done.claimed[0].len(), length(&mut psql)), (2, 1), "a claim deletes its message");
    assert!(done.left_ready, "there is more");
    healthy(&store);
    // The transport is the database's: who does not ask for it gets it too.
    let other = open("client");
    let w = worker_named(&other, "other", 5);
    assert_eq!(commit(&other, &[], &[w]).unwrap().claimed[0].len(), 1);
    let error = Postgres::open(&format!("{}&queue=ready", url("client"))).err().unwrap();
    assert_eq!((error.kind, error.code), (Kind::Conflict, "transport_differs"));
}

#[test]
fn messages_that_are_no_steps_stop_no_queue() {
    let store = open_pgmq("foreign");
    let template = register(&store);
    let mut psql = psql("foreign");
    let steps = queue(&mut psql, "test");
    for message in [r#"{"hello": 1}"#, r#"{"step_id": "x"}"#, r#"{"step_id": 99}"#, "[]", r#"{"step_id": 1e30}"#] {
        psql.execute("SELECT pgmq.send($1, $2::text::jsonb)", &[&steps, &message]).unwrap();
    }
    let w = worker(&store, 3);
    let mut claimed =
        commit(&store, &[creation(&template, "{}").1], std::slice::from_ref(&w)).unwrap().claimed.remove(0);
    while claimed.is_empty() {
        claimed = commit(&store, &[], std::slice::from_ref(&w)).unwrap().claimed.remove(0);
    }
    commit(&store, &[], &[w]).unwrap();
    let archived: i64 = psql.query_one(&format!("SELECT count(*) FROM pgmq.a_{steps}"), &[]).unwrap().get(0);
    assert_eq!(archived, 5, "kept where people can look at them");
}

#[test]
fn a_queued_step_that_is_cancelled_takes_its_message_along() {
    let store = open_pgmq("withdraw");
    let template = register(&store);
    let (uuid, op) = creation(&template, "{}");
    commit(&store, &[op], &[]).unwrap();
    let mut psql = psql("withdraw");
    let steps = queue(&mut psql, "test");
    let act = |order| Op::Act { task: uuid, order, actor: "a".into(), reason: "r".into() };
    let count = |psql: &mut postgres::Client| -> i64 {
        psql.query_one(&format!("SELECT count(*) FROM pgmq.q_{steps}"), &[]).unwrap().get(0)
    };
    commit(&store, &[act(Order::Pause)], &[]).unwrap().results.remove(0).unwrap();
    assert_eq!(count(&mut psql), 0);
    commit(&store, &[act(Order::Resume)], &[]).unwrap().results.remove(0).unwrap();
    assert_eq!(count(&mut psql), 1);
    commit(&store, &[act(Order::Cancel)], &[]).unwrap().results.remove(0).unwrap();
    assert_eq!(count(&mut psql), 0);
    healthy(&store);
}

#[test]
fn listings_of_a_page_are_counted() {
    let store = open("pages");
    let template = register(&store);
    let batch = |ops: &[Op], claims: &[ClaimRequest]| {
        store
            .commit(&Batch {
                ops,
                claims,
                now: NOW,
                jitter_seed: Some(1),
                max_crashes: 3,
                holding: Default::default(),
                knows: &|_| true,
            })
            .unwrap()
    };
    batch(&(0..5).map(|_| creation(&template, "{}").1).collect::<Vec<_>>(), &[]);
    let filter =
        TaskFilter { limit: Some(2), offset: 1, status: Some("steps_in_process".into()), ..TaskFilter::default() };
    let (page, count) = store.tasks(&filter).unwrap();
    assert_eq!((page.len(), count), (2, 5));
    assert!(page[0].id > page[1].id, "newest first");
}
