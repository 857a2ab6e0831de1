//! What is hard about one file: query plans, broken files, other processes, SIGKILL in a commit, a full disk.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

mod common;

use common::{NOW, commit, creation, healthy, register, register_as, success, total, worker, worker_named};
use rusqlite::Connection;
use tasker_core::state::StepState;
use tasker_store::sqlite::Sqlite;
use tasker_store::{Done, Op, Store};
use tasker_wire::{Error, Kind, Report, TaskFilter};
use uuid::Uuid;

fn url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("tasker.db").display())
}

fn open(folder: &Path) -> Sqlite {
    Sqlite::open(&url(folder)).unwrap()
}

// --- statements ------------------------------------------------------------------------------------------------------

/// Every statement file with its text.
fn queries() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite/queries");
    let mut found: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    found.sort();
    assert!(found.len() > 40, "{} statements", found.len());
    found
}

#[test]
fn every_statement_fits_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let conn = Connection::open(store.path()).unwrap();
    for (name, sql) in queries() {
        if let Err(error) = conn.prepare(&sql) {
            panic!("{name}.sql: {error}");
        }
    }
}

/// Statements people and start-ups wait for; they may look at every row of a small table.
const MAY_SCAN: &[(&str, &str)] = &[
    ("template_records", "SCAN templates"),
    ("template_records", "USE TEMP B-TREE"),
    ("template_versions", "USE TEMP B-TREE"),
    ("worker_records", "SCAN workers"),
    ("worker_records", "USE TEMP B-TREE"),
    // The living are few, and so is what runs, whatever the tables hold.
    ("workers_watched", "SCAN workers USING INDEX workers_live"),
    ("workers_holding", "SCAN steps USING INDEX steps_held"),
    ("workers_holding", "SCAN steps USING COVERING INDEX steps_held"),
    // Ends at the first row.
    ("step_next_wake", "SCAN steps USING COVERING INDEX steps_wake"),
    ("task_next_wake", "SCAN tasks USING COVERING INDEX tasks_wake"),
    ("dead_letter_records", "SCAN d"),
    // Workers are few, and their names lie in an index.
    ("attempt_records", "SCAN w USING COVERING INDEX"),
    ("step_records", "SCAN w USING COVERING INDEX"),
    // One step's attempts lie side by side already.
    ("attempt_records", "USE TEMP B-TREE"),
];

#[test]
fn no_statement_scans_a_table_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let template = register(&store);
    let worker = worker(&store, 2_000);
    // 20,000 steps: done, running, queued and pending ones.
    for _ in 0..10 {
        let created: Vec<Op> = (0..1_000).map(|_| creation(&template, "{}").1).collect();
        commit(&store, &created, &[]).unwrap();
    }
    let claimed = commit(&store, &[], std::slice::from_ref(&worker)).unwrap().claimed.remove(0);
    assert_eq!(claimed.len(), 2_000);
    let finished: Vec<Op> = claimed[..1_000]
        .iter()
        .map(|c| Op::Finish {
            task: c.task,
            no: c.no,
            fence: c.fence,
            worker: worker.worker,
            report: Report::Success { result: "1".into(), metadata: None, execution_us: 1 },
            events: Vec::new(),
        })
        .collect();
    commit(&store, &finished, &[]).unwrap();
    let conn = Connection::open(store.path()).unwrap();
    assert_eq!(conn.query_row("SELECT count(*) FROM steps", [], |r| r.get::<_, i64>(0)).unwrap(), 20_000);
    // With and without statistics: nobody promises that `ANALYZE` was run, or was not.
    for analyzed in [false, true] {
        if analyzed {
            conn.execute_batch("ANALYZE").unwrap();
        }
        let conn = Connection::open(store.path()).unwrap();
        for (name, sql) in queries() {
            for line in plan(&conn, &sql) {
                let expensive = line.contains("SCAN") || line.contains("TEMP B-TREE") || line.contains("AUTOMATIC");
                let allowed = MAY_SCAN.iter().any(|(n, what)| *n == name && line.starts_with(what));
                assert!(!expensive || allowed, "{name}.sql (analyzed: {analyzed}): {line}\n{sql}");
            }
        }
    }
}

#[test]
fn what_runs_while_the_tables_are_upgraded_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let template = register(&store);
    let w = worker(&store, 1);
    let done = commit(&store, &[creation(&template, "{}").1], std::slice::from_ref(&w)).unwrap();
    let claimed = &done.claimed[0][0];
    let path = store.path().to_path_buf();
    drop(store);
    // As the release before left it, whose leases end now.
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&format!(
        "DROP INDEX steps_held; DROP INDEX workers_live; DROP INDEX workers_gone; ALTER TABLE steps DROP COLUMN suspect;
         ALTER TABLE workers DROP COLUMN beat; ALTER TABLE workers DROP COLUMN draining;
         UPDATE steps SET wake_at = {NOW} WHERE state = 2; PRAGMA user_version = 3"
    ))
    .unwrap();
    drop(conn);
    let store = open(folder.path());
    let watched = store.watched().unwrap();
    // Whoever moves no beat lives while it is seen.
    assert_eq!(watched.iter().map(|w| (w.id, w.beat)).collect::<Vec<_>>(), [(w.worker, NOW)]);
    let results = commit(&store, &[Op::Due { limit: 10, skip: 0 }, success(&w, claimed)], &[]).unwrap().results;
    assert_eq!(results, [Ok(Done::Due(0)), Ok(Done::Finished { accepted: true })]);
    healthy(&store);
}

#[test]
fn a_step_whose_template_cannot_be_read_any_more_holds_up_no_other_of_a_lost_worker() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let broken = register_as(&store, "name: broken\nnamespace_name: test\nsteps: [{name: a, handler: h}]");
    let sound = register(&store);
    let w = worker(&store, 2);
    let created = [creation(&broken, "{}"), creation(&sound, "{}")];
    let ops = created.clone().map(|(_, op)| op);
    assert_eq!(commit(&store, &ops, std::slice::from_ref(&w)).unwrap().claimed[0].len(), 2);
    let path = store.path().to_path_buf();
    drop(store);
    let conn = Connection::open(&path).unwrap();
    assert_eq!(conn.execute("UPDATE templates SET source = '{' WHERE id = ?1", [broken.0]).unwrap(), 1);
    drop(conn);
    let store = open(folder.path());
    let lost = Op::WorkerGone { worker: w.worker, beat: None, stopped: false };
    let results = commit(&store, &[lost], &[]).unwrap().results;
    assert!(matches!(results[..], [Ok(Done::Gone(Some(_)))]), "{results:?}");
    let task = store.task(created[1].0).unwrap().unwrap();
    assert_eq!(store.steps(task.id).unwrap()[0].step.state, StepState::Enqueued);
}

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let unbound = vec![rusqlite::types::Null; statement.parameter_count()];
    statement
        .query_map(rusqlite::params_from_iter(unbound), |r| r.get::<_, String>(3))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap()
}

// --- files that cannot be used ---------------------------------------------------------------------------------------

#[track_caller]
fn refused(url: &str, code: &str, says: &[&str]) {
    let Err(error) = Sqlite::open(url) else { panic!("{url} was opened") };
    assert_eq!(error.code, code, "{error}");
    for words in says {
        assert!(error.message.contains(words), "{error}");
    }
    assert!(error.hint.is_some(), "{error}");
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = open(folder.path()).path().to_path_buf();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    refused(&url(folder.path()), "store_too_new", &["newer Tasker", "99", "tasker.db"]);
    let kept: i64 = Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
    assert_eq!(kept, 99);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = "this is a letter to my aunt\n".repeat(100);
    fs::write(folder.path().join("tasker.db"), &text).unwrap();
    refused(&url(folder.path()), "store_corrupt", &["tasker.db"]);
    assert_eq!(fs::read_to_string(folder.path().join("tasker.db")).unwrap(), text);
}

#[test]
fn a_damaged_file_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = {
        let store = open(folder.path());
        let template = register(&store);
        let created: Vec<Op> = (0..1_000).map(|_| creation(&template, "{}").1).collect();
        commit(&store, &created, &[]).unwrap();
        store.path().to_path_buf()
    };
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 100_000, "the log was folded into the file when it was closed");
    for byte in &mut bytes[8_192..] {
        *byte = 0xa5;
    }
    fs::write(&path, &bytes).unwrap();
    let error = match Sqlite::open(&url(folder.path())) {
        Err(error) => error,
        Ok(store) => match store.tasks(&TaskFilter::default()) {
            Err(error) => error,
            Ok(listed) => panic!("a damaged file answered with {} tasks", listed.1),
        },
    };
    assert_eq!((error.kind, error.code), (Kind::Unavailable, "store_corrupt"), "{error}");
}

#[test]
fn paths_that_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("folder.db")).unwrap();
    refused(&format!("sqlite://{at}/file/tasker.db"), "store_cannot_open", &["file"]);
    refused(&format!("sqlite://{at}/folder.db"), "store_cannot_open", &["folder.db"]);
    for bad in ["sqlite:", "sqlite://", "postgres://x", "tasker.db"] {
        refused(bad, "invalid_url", &[bad]);
    }
    let made = format!("sqlite://{at}/new/folders/tasker.db");
    assert!(Sqlite::open(&made).is_ok(), "missing folders are made");
}

#[test]
fn nobody_else_may_read_a_store_in_memory() {
    let store = Sqlite::open("sqlite::memory:").unwrap();
    let template = register(&store);
    commit(&store, &[creation(&template, "{}").1], &[]).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", store.path().display());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

/// Runs one test of this file as a child. Without `shell` directly, else by `sh -c`, with `$0` for the command.
fn child(test: &str, variables: &[(&str, &str)], shell: Option<&str>) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut command = match shell {
        None => Command::new(binary),
        Some(script) => {
            let mut sh = Command::new("sh");
            sh.args(["-c", script]).arg(binary);
            sh
        }
    };
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.envs(variables.iter().copied()).stdout(Stdio::piped());
    command
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{MARK}{line}").unwrap();
    out.flush().unwrap();
}

const MARK: &str = "tasker-test: ";

/// What a child says, until it ends.
fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix(MARK).map(String::from))
}

const READ_ONLY: &str = "TASKER_TEST_READ_ONLY";

/// The other process of the test below; nothing by itself.
#[test]
fn child_that_may_not_write() {
    let Ok(folder) = std::env::var(READ_ONLY) else { return };
    let folder = PathBuf::from(folder);
    let outcome = Sqlite::open(&url(&folder)).and_then(|store| {
        let worker = tasker_store::NewWorker {
            name: "w".into(),
            language: "rust".into(),
            sdk_version: "1".into(),
            queues: Vec::new(),
            handlers: Vec::new(),
            slots: 1,
            pid: 1,
            lease_ms: 1,
        };
        commit(&store, &[Op::AddWorker(Box::new(worker))], &[])
    });
    say(&outcome.map_or_else(|e| format!("{} {}", e.code, e.hint.unwrap_or_default()), |_| "written".into()));
}

#[test]
fn a_store_that_may_not_be_written_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = open(folder.path()).path().to_path_buf();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write anything: as nobody, where that can be done.
    let is_root = fs::write(folder.path().join("probe"), "").is_ok();
    let script = if is_root {
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" \"$@\""
    } else {
        "exec \"$0\" \"$@\""
    };
    // The binary may lie where nobody else can reach it.
    let copy = std::env::temp_dir().join(format!("tasker-sqlite-hard-{}", std::process::id()));
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(&copy).args(["child_that_may_not_write", "--exact", "--nocapture"]);
    let mut running = command.env(READ_ONLY, folder.path()).current_dir("/").stdout(Stdio::piped()).spawn().unwrap();
    let said: Vec<String> = said(&mut running).collect();
    running.wait().unwrap();
    fs::remove_file(copy).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("store_read_only ") || said[0].starts_with("store_cannot_open "), "{said:?}");
    assert!(said[0].contains("permissions"), "{said:?}");
}

// --- other processes -------------------------------------------------------------------------------------------------

const WRITER: &str = "TASKER_TEST_WRITER";

/// The other process of the test below; nothing by itself.
#[test]
fn child_that_writes_two_hundred_tasks() {
    let Ok(folder) = std::env::var(WRITER) else { return };
    write_two_hundred(Path::new(&folder));
}

fn write_two_hundred(folder: &Path) {
    let store = open(folder);
    let template = register(&store);
    for _ in 0..200 {
        let (uuid, op) = creation(&template, "{}");
        let committed = commit(&store, &[op], &[]).unwrap();
        assert!(committed.results[0].is_ok(), "{:?}", committed.results);
        say(&uuid.to_string());
    }
}

#[test]
fn two_processes_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    let spawn = || child("child_that_writes_two_hundred_tasks", &[(WRITER, at)], None).spawn().unwrap();
    // All of them find no file, and make it.
    let mut others = [spawn(), spawn()];
    write_two_hundred(folder.path());
    let store = open(folder.path());
    for other in &mut others {
        let acknowledged: Vec<Uuid> = said(other).map(|line| line.parse().unwrap()).collect();
        assert!(other.wait().unwrap().success());
        assert_eq!(acknowledged.len(), 200);
        for uuid in acknowledged {
            assert!(store.task(uuid).unwrap().is_some());
        }
    }
    assert_eq!(total(&store), 600);
    healthy(&store);
}

#[test]
fn two_processes_never_claim_the_same_step() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (open(folder.path()), open(folder.path()));
    let template = register(&first);
    let created: Vec<Op> = (0..500).map(|_| creation(&template, "{}").1).collect();
    let before = second.version().unwrap();
    commit(&first, &created, &[]).unwrap();
    assert_ne!(second.version().unwrap(), before, "another's commit is noticed");
    let claim = worker(&first, 7);
    let claims = |store: Sqlite| {
        let claim = claim.clone();
        std::thread::spawn(move || {
            let mut mine = Vec::new();
            loop {
                let claimed = commit(&store, &[], std::slice::from_ref(&claim)).unwrap().claimed.remove(0);
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed.into_iter().map(|c| (c.task, c.no)));
            }
        })
    };
    let (a, b) = (claims(first), claims(second));
    let mut all = a.join().unwrap();
    all.extend(b.join().unwrap());
    assert_eq!(all.len(), 500);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 500);
}

const KILLED: &str = "TASKER_TEST_KILLED";

/// The other process of the test below; nothing by itself.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Ok(folder) = std::env::var(KILLED) else { return };
    let store = open(Path::new(&folder));
    let template = register(&store);
    let worker = worker_named(&store, &format!("w{}", std::process::id()), 100);
    let filler = format!("{{\"x\":\"{}\"}}", "y".repeat(3_000));
    loop {
        // Creations, claims and results in one commit each, as an engine sends them.
        let (uuids, mut ops): (Vec<Uuid>, Vec<Op>) = (0..3).map(|_| creation(&template, &filler)).unzip();
        let claimed = commit(&store, &[], std::slice::from_ref(&worker)).unwrap().claimed.remove(0);
        ops.extend(claimed.iter().map(|c| Op::Finish {
            task: c.task,
            no: c.no,
            fence: c.fence,
            worker: worker.worker,
            report: Report::Success { result: filler.clone(), metadata: None, execution_us: 1 },
            events: Vec::new(),
        }));
        let committed = commit(&store, &ops, &[]).unwrap();
        assert!(committed.results.iter().all(Result::is_ok));
        say(&uuids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" "));
    }
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    let mut acknowledged: Vec<Uuid> = Vec::new();
    for round in 1..=5 {
        let mut running = child("child_that_commits_until_it_is_killed", &[(KILLED, at)], None).spawn().unwrap();
        let mut lines = said(&mut running);
        for _ in 0..round * 17 {
            let line = lines.next().expect("the child ended");
            acknowledged.extend(line.split(' ').map(|u| u.parse::<Uuid>().unwrap()));
        }
        running.kill().unwrap();
        running.wait().unwrap();
        // What it said before it died counts too.
        for line in lines {
            acknowledged.extend(line.split(' ').filter_map(|u| u.parse::<Uuid>().ok()));
        }
        let store = open(folder.path());
        for uuid in &acknowledged {
            assert!(store.task(*uuid).unwrap().is_some(), "round {round}: {uuid} was acknowledged");
        }
        let report = store.doctor(NOW).unwrap();
        assert!(report.healthy, "round {round}: {report:?}");
    }
    assert!(acknowledged.len() >= 17 * 15 * 3);
}

// --- a full disk -----------------------------------------------------------------------------------------------------

const FULL: &str = "TASKER_TEST_FULL";

/// Commits until the store refuses; the acknowledged tasks and the error.
fn fill(store: &Sqlite, template: &(i64, Arc<tasker_core::graph::Workflow>)) -> (Vec<Uuid>, Error) {
    let filler = format!("{{\"x\":\"{}\"}}", "y".repeat(20_000));
    let mut acknowledged = Vec::new();
    for _ in 0..10_000 {
        let (uuid, op) = creation(template, &filler);
        match commit(store, &[op], &[]) {
            Ok(committed) => {
                assert!(committed.results[0].is_ok(), "{:?}", committed.results);
                acknowledged.push(uuid);
            }
            Err(error) => return (acknowledged, error),
        }
    }
    panic!("the disk never fills");
}

#[track_caller]
fn all_there(store: &Sqlite, acknowledged: &[Uuid]) {
    for uuid in acknowledged {
        assert!(store.task(*uuid).unwrap().is_some(), "{uuid} was acknowledged");
    }
    assert_eq!(total(store), acknowledged.len() as u64, "and nothing else is there");
    healthy(store);
}

/// The other process of the test below: its files may not grow beyond a size. Nothing by itself.
#[test]
fn child_whose_files_may_not_grow() {
    let Ok(folder) = std::env::var(FULL) else { return };
    let store = open(Path::new(&folder));
    let template = register(&store);
    let (acknowledged, error) = fill(&store, &template);
    all_there(&store, &acknowledged);
    say(error.code);
    for uuid in acknowledged {
        say(&uuid.to_string());
    }
}

#[test]
fn a_file_that_may_not_grow_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    // Units of 512 or 1,024 bytes, by shell: 1 to 2 MiB either way.
    let limited = "ulimit -f 2048; trap '' XFSZ; exec \"$0\" \"$@\"";
    let mut running = child("child_whose_files_may_not_grow", &[(FULL, at)], Some(limited)).spawn().unwrap();
    let mut lines = said(&mut running);
    let code = lines.next().expect("the child failed");
    assert!(["store_full", "store_io"].contains(&code.as_str()), "{code}");
    let mut acknowledged: Vec<Uuid> = lines.map(|line| line.parse().unwrap()).collect();
    assert!(running.wait().unwrap().success());
    assert!(acknowledged.len() > 10);
    // Without the limit everything goes on.
    let store = open(folder.path());
    all_there(&store, &acknowledged);
    let template = register(&store);
    let (uuid, op) = creation(&template, "{}");
    commit(&store, &[op], &[]).unwrap();
    acknowledged.push(uuid);
    all_there(&store, &acknowledged);
}

/// A file system of its own, two megabytes large, where this process may mount one.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn mount() -> Option<TinyDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tasker-test"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(TinyDisk(folder))
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // A mount left behind would only be noticed by the next who cleans up.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_goes_on_once_there_is_room() {
    // Not everywhere may a test mount; the limit on file size above stands in.
    let Some(disk) = TinyDisk::mount() else { return };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 512 << 10]).unwrap();
    let store = open(disk.0.path());
    let template = register(&store);
    let (mut acknowledged, error) = fill(&store, &template);
    assert_eq!((error.kind, error.code), (Kind::Unavailable, "store_full"), "{error}");
    assert!(error.message.contains("nothing acknowledged was lost") && error.hint.is_some(), "{error}");
    all_there(&store, &acknowledged);
    assert_eq!(fill(&store, &template).1.code, "store_full", "still");
    fs::remove_file(&ballast).unwrap();
    let (more, _) = fill(&store, &template);
    assert!(more.len() > 5, "there was room for {}", more.len());
    acknowledged.extend(more);
    all_there(&store, &acknowledged);
    drop(store);
    all_there(&open(disk.0.path()), &acknowledged);
}
