//! The Rust half of `examples/polyglot`: a worker is about ten lines.

use serde_json::json;
use tasker_engine::{StepOutcome, Worker};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("TASKER_URL").unwrap_or_else(|_| "sqlite://.tasker/tasker.db".into());
    Worker::builder(&url)
        .configure(|config| config.namespaces = Some(vec!["rust".into()]))
        .handler(
            "polyglot.triple",
            |ctx| async move { Ok(StepOutcome::from(json!(ctx.dependency::<i64>("add")? * 3))) },
        )
        .start()?
        .run()?;
    Ok(())
}
