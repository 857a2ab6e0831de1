//! Handlers of the registration workflow: three of its steps run side by side.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tasker_engine::{StepContext, StepError, StepOutcome, Worker};

type Outcome = Result<StepOutcome, StepError>;

const MONTHLY: [(&str, f64); 3] = [("free", 0.0), ("pro", 29.0), ("team", 99.5)];

#[derive(Deserialize)]
struct User {
    name: String,
    email: String,
    plan: String,
    preferences: Map<String, Value>,
}

async fn create_account(context: StepContext) -> Outcome {
    let User { email, .. } = context.input()?;
    if !email.contains('@') {
        return Err(StepError::validation(format!("{email} is no email address")).code("INVALID_EMAIL"));
    }
    let account = format!("ACC-{}", context.idempotency_key());
    StepOutcome::success(json!({"account": account, "email": email}))
}

async fn set_up_billing(context: StepContext) -> Outcome {
    let User { plan, .. } = context.input()?;
    let Some((_, monthly)) = MONTHLY.iter().find(|(name, _)| *name == plan) else {
        return Err(StepError::permanent(format!("there is no plan {plan}")).code("UNKNOWN_PLAN"));
    };
    let account = context.get_dependency_field("create_account", &["account"])?;
    StepOutcome::success(json!({"account": account, "plan": plan, "monthly": monthly}))
}

async fn save_preferences(context: StepContext) -> Outcome {
    let User { preferences, .. } = context.input()?;
    let mut saved = json!({"language": "en", "newsletter": true});
    for (key, value) in preferences {
        saved[key] = value;
    }
    StepOutcome::success(saved)
}

async fn send_welcome(context: StepContext) -> Outcome {
    let User { name, .. } = context.input()?;
    let email = context.get_dependency_field("create_account", &["email"])?;
    StepOutcome::success(json!({"sent_to": email, "subject": format!("Welcome, {name}")}))
}

async fn activate(context: StepContext) -> Outcome {
    StepOutcome::success(json!({
        "account": context.get_dependency_field("create_account", &["account"])?,
        "status": "active",
        "plan": context.get_dependency_field("set_up_billing", &["plan"])?,
        "language": context.get_dependency_field("save_preferences", &["language"])?,
        "welcomed": context.get_dependency_field("send_welcome", &["sent_to"])?,
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Worker::from_args()?
        .handler("users.create_account", create_account)
        .handler("users.set_up_billing", set_up_billing)
        .handler("users.save_preferences", save_preferences)
        .handler("users.send_welcome", send_welcome)
        .handler("users.activate", activate)
        .start()?
        .run()?;
    Ok(())
}
