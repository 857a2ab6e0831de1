//! The engine within a tokio runtime: its blocking calls, and its asynchronous face.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use tasker_runtime::{AsyncEngine, Attach, Engine, Options, TemplateFile};
use tasker_wire::{Report, TaskRequest, json_text};

const PATIENCE: Duration = Duration::from_secs(60);
const ONE: &str = "name: one\nnamespace_name: test\nsteps: [{name: a, handler: h}]";

/// A store in memory, and one of this test's own at the server.
fn urls(name: &str) -> Vec<String> {
    let server = std::env::var("TASKER_TEST_POSTGRES")
        .expect("a PostgreSQL server: run the tests by `scripts/with-postgres cargo test …` or `make test`");
    vec!["sqlite::memory:".into(), format!("{server}?schema=a{:x}_{name}", std::process::id())]
}

fn options() -> Options {
    Options { environment: Some("test".into()), retention_days: 0, ..Options::default() }
}

fn request() -> TaskRequest {
    TaskRequest::new("test", "one", json_text("{}".into()))
}

fn register(engine: &Engine) {
    let file = TemplateFile { path: "one.yaml".into(), source: ONE.into() };
    engine.register_templates(&[file], true).remove(0).unwrap();
}

/// Completes one step, on a thread of its own.
fn work(engine: &Engine) -> std::thread::JoinHandle<()> {
    let attach = Attach {
        name: None,
        language: "rust",
        sdk_version: "0".into(),
        queues: vec!["test".into()],
        handlers: vec!["h".into()],
        slots: 1,
        lease_ms: 3_600_000,
    };
    let (engine, session) = (engine.clone(), engine.attach(attach).unwrap());
    std::thread::spawn(move || {
        session.wait(PATIENCE);
        let given = session.try_take().unwrap();
        let report = Report::Success { result: "1".into(), metadata: None, execution_us: 1 };
        engine.report(&session, &given.info, &given.claimed, report, Vec::new());
        engine.poke();
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main_that_blocks(url: &str) {
    let engine = Engine::open(url, options()).unwrap();
    register(&engine);
    let worker = work(&engine);
    let task = engine.create(&[request()]).remove(0).unwrap().task_uuid;
    assert_eq!(engine.wait(task, PATIENCE).unwrap().status, "complete");
    assert_eq!(engine.steps(task).unwrap()[0].result.as_ref().unwrap().get(), "1");
    assert!(engine.doctor().unwrap().healthy);
    worker.join().unwrap();
    // The last handle goes within the runtime too.
    drop(engine);
}

#[test]
fn blocking_calls_work_within_a_main_that_is_asynchronous() {
    urls("main").iter().for_each(|url| main_that_blocks(url));
}

#[tokio::main]
async fn main_that_awaits(url: &str) {
    let engine = AsyncEngine::open(url, options()).await.unwrap();
    engine.with(register).await;
    let task = engine.create(vec![request()]).await.remove(0).unwrap().task_uuid;
    let early = engine.wait(task, Duration::ZERO).await.unwrap_err();
    assert_eq!(early.code, "timeout");
    let waits = tokio::spawn({
        let engine = engine.clone();
        async move { engine.wait(task, PATIENCE).await }
    });
    let worker = engine.with(work).await;
    assert_eq!(waits.await.unwrap().unwrap().status, "complete");
    assert_eq!(engine.task(task).await.unwrap().status, "complete");
    assert_eq!(engine.steps(task).await.unwrap().len(), 1);
    tokio::task::spawn_blocking(|| worker.join().unwrap()).await.unwrap();
}

#[test]
fn nothing_blocks_that_is_awaited() {
    urls("awaits").iter().for_each(|url| main_that_awaits(url));
}

/// One task a request, once by each face.
async fn handle(State(engine): State<AsyncEngine>) -> String {
    let blocking = engine.engine().create(&[request()]).remove(0).unwrap();
    let awaited = engine.create(vec![request()]).await.remove(0).unwrap();
    let found = engine.engine().task(awaited.task_uuid).unwrap();
    assert_eq!(engine.task(blocking.task_uuid).await.unwrap().status, found.status);
    found.status
}

#[tokio::main]
async fn serve(url: &str) {
    let engine = AsyncEngine::open(url, options()).await.unwrap();
    engine.with(register).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/", post(handle)).with_state(engine);
    let serves = tokio::spawn(async move { axum::serve(listener, app).await });
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = asked.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("steps_in_process"), "{answer}");
    serves.abort();
}

#[test]
fn a_handler_of_axum_uses_either_face() {
    urls("axum").iter().for_each(|url| serve(url));
}
