//! Workers and clients that reach their store through `tasker serve`.

mod common;

use std::io::{BufRead, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Place, eventually};
use serde_json::json;
use tasker_runtime::{Engine, Options, TemplateFile};
use tasker_server::Server;
use tasker_wire::{TaskRequest, json_of};
use tasker_worker::{StepContext, StepError, StepOutcome, Worker};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const CHAIN: &str = "\
name: chain
namespace_name: shop
steps:
  - {name: first, handler: first}
  - {name: second, handler: second, dependencies: [first], retry: {max_attempts: 3, backoff_base_ms: 1}}
  - {name: third, handler: third, dependencies: [second]}
";
const ONE: &str = "name: one\nnamespace_name: shop\nsteps: [{name: a, handler: a}]";

fn options() -> Options {
    Options { environment: Some("test".into()), ..Options::default() }
}

fn open(url: &str) -> Engine {
    Engine::open(url, options()).expect("an engine")
}

fn refused(url: &str) -> tasker_wire::Error {
    Engine::open(url, options()).expect_err("no engine")
}

fn any() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn url(server: &Server) -> String {
    format!("tasker://{}", server.address())
}

fn serve(engine: &Engine) -> Server {
    Server::start(engine.clone(), any(), None).expect("a server")
}

fn create(engine: &Engine, name: &str) -> Uuid {
    let request = TaskRequest::new("shop", name, json_of(&json!({"n": 6})));
    engine.create(&[request]).pop().expect("an answer").expect("a task").task_uuid
}

fn outcomes(engine: &Engine, task: Uuid, step: &str) -> Vec<&'static str> {
    engine.step(task, step).expect("a step").history.iter().map(|a| a.outcome).collect()
}

fn ends_well(engine: &Engine, task: Uuid) {
    assert_eq!(engine.wait(task, PATIENCE).expect("an end").status, "complete");
    let report = engine.doctor().expect("a report");
    assert!(report.healthy, "{report:?}");
}

/// Runs the chain: the second step fails the first time.
fn chain_worker(url: &str) -> Worker {
    Worker::builder(url)
        .template("chain.yaml", CHAIN)
        .handler("first", |c: StepContext| async move { Ok(StepOutcome::from(json!({"n": c.get_input("n")?}))) })
        .handler("second", |c: StepContext| async move {
            if c.retry_count() == 0 {
                return Err(StepError::retryable("once more"));
            }
            Ok(StepOutcome::from(json!({"got": c.get_dependency_result("first")?})))
        })
        .handler("third", |c: StepContext| async move { Ok(StepOutcome::from(c.get_dependency_result("second")?)) })
        .start()
        .expect("a worker")
}

/// A worker whose step runs until `go`, and says when it begins.
fn held_worker(url: &str, begun: std::sync::mpsc::Sender<u32>, go: Arc<AtomicBool>) -> Worker {
    Worker::builder(url)
        .template("one.yaml", ONE)
        .configure(|c| c.lease_ms = 3_600_000)
        .handler("a", move |c: StepContext| {
            let (begun, go) = (begun.clone(), go.clone());
            async move {
                begun.send(c.job().claimed().fence).expect("the test listens");
                while !go.load(Ordering::Acquire) && !c.is_cancelled() {
                    std::thread::yield_now();
                }
                Ok(StepOutcome::from(json!(c.job().claimed().fence)))
            }
        })
        .start()
        .expect("a worker")
}

#[test]
fn a_server_removes_what_ended_long_ago() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!("sqlite://{}/served.db", folder.path().display());
    let options = Options { retention_days: 30, ..options() };
    let engine = Engine::open(&file, options).expect("an engine");
    let server = serve(&engine);
    let _worker = chain_worker(&url(&server));
    let client = open(&url(&server));
    let old = create(&client, "chain");
    ends_well(&client, old);
    engine.advance_clock(40 * 86_400_000);
    // The newest task is never removed.
    ends_well(&client, create(&client, "chain"));
    eventually(|| client.task(old).err().map(|error| assert_eq!(error.code, "task_not_found")).is_some());
    let last = || client.doctor().expect("a report").duties.into_iter().find(|duty| duty.name == "retention");
    eventually(|| last().is_some());
}

#[test]
fn a_chain_with_a_retry_runs_through_a_server_as_it_does_without() {
    let engine = open("sqlite::memory:");
    let server = serve(&engine);
    let _worker = chain_worker(&url(&server));
    let client = open(&url(&server));
    let task = create(&client, "chain");
    ends_well(&client, task);
    let step = client.step(task, "third").expect("a step");
    assert_eq!(step.result.expect("a result").get(), r#"{"got":{"n":6}}"#);
    assert_eq!(outcomes(&client, task, "second"), ["failed", "completed"]);
    assert_eq!(outcomes(&engine, task, "second"), ["failed", "completed"]);
    let workers = client.workers().expect("workers");
    assert_eq!(workers.len(), 1);
    assert_eq!(client.durability(), engine.durability());
}

#[test]
fn what_is_created_at_one_server_runs_at_a_worker_of_another() {
    let place = Place::empty();
    let (here, there) = (Process::start(&place, "127.0.0.1:0"), Process::start(&place, "127.0.0.1:0"));
    let _worker = chain_worker(&format!("tasker://{}", here.address));
    let client = open(&format!("tasker://{}", there.address));
    for _ in 0..5 {
        let task = create(&client, "chain");
        ends_well(&client, task);
    }
}

/// Passes bytes between its own address and another until it is cut.
struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
    refuses: Arc<AtomicBool>,
}

impl Proxy {
    fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind(any()).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (open, refuses) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, shut) = (open.clone(), refuses.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if shut.load(Ordering::Acquire) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(target) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                kept.lock().expect("a list").extend([near, far]);
            }
        });
        Proxy { address, open, refuses }
    }

    fn cut(&self) {
        for stream in self.open.lock().expect("a list").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_connection_that_does_not_come_back_gives_its_steps_to_another_worker() {
    let engine = open("sqlite::memory:");
    let server = serve(&engine);
    let proxy = Proxy::to(server.address());
    let (say, begun) = channel();
    let go = Arc::new(AtomicBool::new(false));
    let _far = held_worker(&format!("tasker://{}", proxy.address), say, go.clone());
    let client = open(&url(&server));
    let task = create(&client, "one");
    assert_eq!(begun.recv_timeout(PATIENCE), Ok(1));
    proxy.refuses.store(true, Ordering::Release);
    proxy.cut();
    let (say, again) = channel();
    let _near = held_worker(&url(&server), say, go.clone());
    // The lease is an hour long.
    assert_eq!(again.recv_timeout(PATIENCE), Ok(2));
    go.store(true, Ordering::Release);
    ends_well(&client, task);
    // The attempt that was cut off reports when it can, and is too late.
    proxy.refuses.store(false, Ordering::Release);
    eventually(|| outcomes(&client, task, "a").len() == 3);
    let mut ends = outcomes(&client, task, "a");
    ends.sort_unstable();
    assert_eq!(ends, ["completed", "lease_expired", "rejected"]);
    ends_well(&client, task);
}

#[test]
fn a_worker_whose_connection_broke_and_came_back_keeps_what_it_runs() {
    let engine = open("sqlite::memory:");
    let server = serve(&engine);
    let proxy = Proxy::to(server.address());
    let (say, begun) = channel();
    let go = Arc::new(AtomicBool::new(false));
    let _far = held_worker(&format!("tasker://{}", proxy.address), say, go.clone());
    let task = create(&engine, "one");
    assert_eq!(begun.recv_timeout(PATIENCE), Ok(1));
    let beat = |engine: &Engine| engine.shared_store().watched().expect("workers are read")[0].beat;
    for _ in 0..5 {
        let before = beat(&engine);
        proxy.cut();
        // It says who it is, and beats at once.
        eventually(|| beat(&engine) > before);
    }
    go.store(true, Ordering::Release);
    ends_well(&engine, task);
    assert_eq!(outcomes(&engine, task, "a"), ["completed"]);
    assert_eq!(engine.step(task, "a").expect("a step").crashes, 0);
}

#[test]
fn a_worker_whose_connection_was_cut_comes_back_by_itself() {
    let engine = open("sqlite::memory:");
    let server = serve(&engine);
    let proxy = Proxy::to(server.address());
    let far = format!("tasker://{}", proxy.address);
    let _worker = chain_worker(&far);
    let client = open(&url(&server));
    for _ in 0..5 {
        let tasks: Vec<Uuid> = (0..20).map(|_| create(&client, "chain")).collect();
        proxy.cut();
        tasks.into_iter().for_each(|task| ends_well(&client, task));
    }
}

#[test]
fn a_server_that_drains_leaves_running_steps_to_their_workers() {
    let engine = open("sqlite::memory:");
    let mut server = serve(&engine);
    let address = server.address();
    let (say, begun) = channel();
    let go = Arc::new(AtomicBool::new(false));
    let mut successor = None;
    let _worker = held_worker(&url(&server), say, go.clone());
    let task = create(&engine, "one");
    assert_eq!(begun.recv_timeout(PATIENCE), Ok(1));
    server.drain();
    eventually(|| {
        successor = Server::start(engine.clone(), address, None).ok();
        successor.is_some()
    });
    go.store(true, Ordering::Release);
    ends_well(&engine, task);
    assert_eq!(outcomes(&engine, task, "a"), ["completed"]);
}

#[test]
fn who_does_not_send_the_token_is_refused_and_told_so() {
    let engine = open("sqlite::memory:");
    let server = Server::start(engine, any(), Some("open sesame".replace(' ', "-"))).expect("a server");
    for who in ["", "wrong@", "open-sesam@", "open-sesame2@"] {
        let error = refused(&format!("tasker://{who}{}", server.address()));
        assert_eq!(error.code, "unauthorized", "{who}");
        assert!(error.hint.expect("a hint").contains("TASKER_TOKEN"));
        assert!(!error.message.contains("sesam"), "{}", error.message);
    }
    let client = open(&format!("tasker://open-sesame@{}", server.address()));
    assert_eq!(client.url(), url(&server));
    assert!(client.doctor().expect("a report").healthy);
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let free = TcpListener::bind(any()).expect("a port").local_addr().expect("an address");
    let error = refused(&format!("tasker://{free}"));
    assert_eq!(error.code, "server_unreachable");
    assert!(error.message.contains(&free.to_string()), "{}", error.message);
    assert!(error.hint.expect("a hint").contains("tasker serve"));
    for bad in ["tasker://", "tasker://host:99999999", "tasker://:1"] {
        assert_eq!(refused(bad).code, "invalid_url", "{bad}");
    }
}

/// A real server process.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(place: &Place, listen: &str) -> Process {
        Process::of(place.command(&["serve", "--listen", listen, "--json"]))
    }

    fn of(mut command: Command) -> Process {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a server");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        Process { child, address: said["listening"].as_str().expect("an address").into() }
    }

    fn again(place: &Place, address: &str) -> Process {
        Process::start(place, address)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What each accepted attempt did, counted outside of Tasker.
fn counting_worker(url: &str, runs: Arc<AtomicUsize>) -> Worker {
    Worker::builder(url)
        .template("one.yaml", ONE)
        .handler("a", move |_| {
            runs.fetch_add(1, Ordering::Relaxed);
            async { Ok(StepOutcome::from(json!(1))) }
        })
        .start()
        .expect("a worker")
}

#[test]
fn a_killed_server_that_is_started_again_loses_nothing() {
    let place = Place::empty();
    let mut server = Process::start(&place, "127.0.0.1:0");
    let address = server.address.clone();
    let url = format!("tasker://{address}");
    let runs = Arc::new(AtomicUsize::new(0));
    let _worker = counting_worker(&url, runs.clone());
    let client = open(&url);
    let mut tasks = Vec::new();
    for round in 1..=5 {
        tasks.extend((0..40).map(|_| create(&client, "one")));
        server.child.kill().expect("killed");
        server.child.wait().expect("gone");
        server = Process::again(&place, &address);
        tasks.iter().for_each(|task| ends_well(&client, *task));
        assert!(runs.load(Ordering::Relaxed) >= 40 * round);
    }
    for task in tasks {
        let ends = outcomes(&client, task, "a");
        assert_eq!(ends.iter().filter(|end| **end == "completed").count(), 1, "{ends:?}");
    }
}

#[test]
fn of_two_servers_one_can_be_killed_under_load() {
    let place = Place::empty();
    let (first, second) = (Process::start(&place, "127.0.0.1:0"), Process::start(&place, "127.0.0.1:0"));
    let both = format!("tasker://{},{}", first.address, second.address);
    let runs = Arc::new(AtomicUsize::new(0));
    let _worker = counting_worker(&both, runs.clone());
    let client = open(&format!("tasker://{}", second.address));
    let tasks: Vec<Uuid> = (0..200).map(|_| create(&client, "one")).collect();
    eventually(|| runs.load(Ordering::Relaxed) > 20);
    drop(first);
    tasks.iter().for_each(|task| ends_well(&client, *task));
    for task in tasks {
        let ends = outcomes(&client, task, "a");
        assert_eq!(ends.iter().filter(|end| **end == "completed").count(), 1, "{ends:?}");
    }
}

#[test]
fn a_server_is_told_to_stop_by_a_signal_and_says_where_it_listens() {
    let place = Place::empty();
    let mut server = Process::start(&place, "127.0.0.1:0");
    let said = place.tasker(&["ls", "--url", &format!("tasker://{}", server.address), "--json"]);
    assert_eq!((said.code, said.json()["total"].as_u64()), (0, Some(0)));
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    assert_eq!(server.child.wait().expect("an end").code(), Some(0));
    let taken = TcpListener::bind(any()).expect("a port");
    let said = place.tasker(&["serve", "--listen", &taken.local_addr().expect("an address").to_string(), "--json"]);
    assert_eq!(common::code(&said), (6, "cannot_listen".into()));
    let said = place.tasker(&["serve", "--listen", "nonsense", "--json"]);
    assert_eq!(common::code(&said), (4, "invalid_address".into()));
}

#[test]
fn a_server_that_others_can_reach_needs_a_token_or_the_word_that_it_is_open() {
    let place = Place::empty();
    let open = ["serve", "--listen", "0.0.0.0:0", "--json"];
    let said = place.tasker(&open);
    assert_eq!(common::code(&said), (4, "open_server".into()));
    let hint = said.error()["error"]["hint"].as_str().expect("a hint").to_string();
    assert!(hint.contains("TASKER_TOKEN") && hint.contains("--insecure"), "{hint}");
    assert_eq!(std::fs::read_dir(place.dir.path()).expect("a folder").count(), 0, "no store was made");
    let said = place.command(&open).env("TASKER_TOKEN", "").output().expect("the command runs");
    assert_eq!(said.status.code(), Some(4), "an empty token is none");
    let reached = |server: &Process, token: &str| {
        let port = server.address.rsplit(':').next().expect("a port").to_string();
        let said = place.tasker(&["ls", "--url", &format!("tasker://{token}127.0.0.1:{port}"), "--json"]);
        said.code == 0
    };
    let mut guarded = place.command(&open);
    guarded.env("TASKER_TOKEN", "sesame");
    let guarded = Process::of(guarded);
    assert!(reached(&guarded, "sesame@") && !reached(&guarded, ""));
    drop(guarded);
    assert!(reached(&Process::of(place.command(&[&open[..], &["--insecure"][..]].concat())), ""));
}

#[test]
fn a_run_leaves_the_templates_of_a_store_that_others_work_on_as_they_are() {
    let engine = open("sqlite::memory:");
    let server = serve(&engine);
    let file = TemplateFile { path: "theirs.yaml".into(), source: ONE.into() };
    engine.register_templates(&[file], true).remove(0).expect("a template");
    let place = Place::with(&ONE.replace("handler: a", "handler: mine"));
    place.write("workflows/new.yaml", &ONE.replace("name: one", "name: new"));
    place.write("handlers/one.py", "");
    let python = place.program("python", "#!/bin/sh\nprintf '%s\\n' \"$@\" >> arguments\nexit 1\n");
    let run = ["run", "one", "--timeout", "60", "--url", &url(&server)];
    let said = place.command(&run).env("TASKER_PYTHON", &python).output().expect("the command runs");
    let said = String::from_utf8_lossy(&said.stderr);
    let note = "has another text of shop/one 1.0.0 than workflows/pair.yaml, and uses its own; raise the version";
    assert!(said.contains(note) && !said.contains("new.yaml"), "{said}");
    let store = engine.shared_store();
    let source_of = |name| {
        let known = store.find_template("shop", name, None).expect("an answer").expect("a template");
        store.template_source(known.id).expect("a source").0
    };
    assert_eq!(source_of("one"), ONE);
    assert!(source_of("new").contains("name: new"), "what is new is registered");
    let arguments = std::fs::read_to_string(place.dir.path().join("arguments")).expect("a worker was lent");
    assert!(arguments.contains("--namespace\nshop\n") && !arguments.contains(".yaml"), "{arguments}");
}
