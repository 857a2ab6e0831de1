//! The Rust host: one interpreter handler, run by a plain worker.

mod members;
mod program;
mod trouble;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tasker_worker::{
    ApiHandler, DomainEvent, EventPublisher, EventSubscriber, PublishContext, PublishError, StepContext, StepError,
    StepOutcome, Worker,
};

use program::Program;

type Payloads = HashMap<(String, String), Vec<Value>>;

/// Domain events of tasks, by task and name, as they were heard.
#[derive(Default)]
struct News {
    payloads: Mutex<Payloads>,
    arrived: Condvar,
}

impl News {
    fn remember(&self, event: &DomainEvent) {
        let task = event.metadata.get("task_uuid").and_then(Value::as_str).unwrap_or_default().to_string();
        let mut payloads = self.payloads.lock().unwrap_or_else(PoisonError::into_inner);
        payloads.entry((task, event.event_name.clone())).or_default().push(event.payload.clone());
        self.arrived.notify_all();
    }

    /// Payloads of a task's events of a name, once there are at least so many.
    fn heard(&self, task: &str, name: &str, count: usize) -> Vec<Value> {
        let key = (task.to_string(), name.to_string());
        let payloads = self.payloads.lock().unwrap_or_else(PoisonError::into_inner);
        let few = |p: &mut Payloads| p.get(&key).map_or(0, Vec::len) < count;
        let waited = self.arrived.wait_timeout_while(payloads, Duration::from_secs(20), few);
        waited.unwrap_or_else(PoisonError::into_inner).0.get(&key).cloned().unwrap_or_default()
    }
}

/// Remembers what it hears.
struct Listener(Arc<News>);

impl EventSubscriber for Listener {
    fn subscribes_to(&self) -> Vec<String> {
        vec!["*".into()]
    }

    fn handle(&self, event: &DomainEvent) {
        self.0.remember(event);
    }
}

/// Wraps the result; holds it back, stops or fails when it says so.
struct Wrap(Arc<News>);

impl EventPublisher for Wrap {
    fn publisher_name(&self) -> &str {
        "conformance.wrap"
    }

    fn should_publish(&self, context: &PublishContext) -> bool {
        context.step_result.result != "quiet"
    }

    fn transform_payload(&self, context: &PublishContext) -> Result<Value, PublishError> {
        match &context.step_result.result {
            broken if broken == "broken" => Err("cannot wrap that".into()),
            result => Ok(json!({"wrapped": result, "step": context.job.step_name()})),
        }
    }

    fn additional_metadata(&self, _context: &PublishContext) -> Map<String, Value> {
        Map::from_iter([("added".to_string(), json!("by the publisher"))])
    }

    fn before_publish(&self, _name: &str, payload: &Value, _metadata: &Map<String, Value>) -> bool {
        payload["wrapped"] != "stop"
    }

    fn after_publish(&self, event: &DomainEvent) {
        self.0.remember(event);
    }
}

/// Makes the request of a step and gives what came of it.
async fn call_service(context: StepContext) -> Result<StepOutcome, StepError> {
    let said = |key: &str| context.get_config(key).as_str().unwrap_or_default().to_string();
    let mut service = ApiHandler::new(&said("base_url"));
    if let Some(seconds) = context.get_config("timeout").as_f64() {
        service = service.timeout(Duration::from_secs_f64(seconds));
    }
    let (path, body) = (said("path"), context.get_config("body"));
    let response = match said("method").as_str() {
        "GET" => service.get(&path).await?,
        "POST" => service.post(&path, &body).await?,
        "PUT" => service.put(&path, &body).await?,
        "PATCH" => service.patch(&path, &body).await?,
        _ => service.delete(&path).await?,
    };
    response.into_outcome()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut url, mut templates) = (None, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--url" => url = args.next(),
            "--templates" => templates = args.next(),
            "--members" => return print_members(),
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let (Some(url), Some(templates)) = (url, templates) else { return Err("--url and --templates are needed".into()) };
    let (heard, after) = (Arc::new(News::default()), Arc::new(News::default()));
    let mut builder =
        Worker::builder(&url).templates(Path::new(&templates))?.configure(|c| c.max_concurrent_handlers = 16);
    for method in ["call", "validate", "process", "refund"] {
        let program = Program { method, heard: heard.clone(), after: after.clone() };
        builder = builder.method("conformance.program", method, program);
    }
    let builder = builder.handler("conformance.api", call_service);
    let worker = builder.subscriber(Listener(heard)).publisher(Wrap(after)).start()?;
    eprintln!("ready");
    worker.run()?;
    Ok(())
}

/// Says which of the SDK members named on standard input exist, as JSON.
fn print_members() -> Result<(), Box<dyn std::error::Error>> {
    let mut asked = String::new();
    std::io::stdin().read_to_string(&mut asked)?;
    let known = members::names();
    let found: Map<String, Value> =
        asked.lines().map(|name| (name.to_string(), known.contains(&name).into())).collect();
    writeln!(std::io::stdout(), "{}", Value::Object(found))?;
    Ok(())
}
