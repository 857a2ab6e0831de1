//! Handlers of the approval workflow: the amount decides who must approve.

use serde_json::{Map, Value, json};
use tasker_engine::{DecisionOutcome, StepContext, StepError, StepOutcome, Worker};

type Outcome = Result<StepOutcome, StepError>;

const MANAGER_FROM: f64 = 1000.0;
const FINANCE_FROM: f64 = 5000.0;

async fn validate(context: StepContext) -> Outcome {
    let amount = context.get_input("amount")?;
    if !amount.as_f64().is_some_and(|amount| amount > 0.0) {
        return Err(StepError::validation("the amount must be a number above 0").code("INVALID_AMOUNT"));
    }
    StepOutcome::success(json!({"amount": amount, "requester": context.get_input("requester")?}))
}

async fn route(context: StepContext) -> Outcome {
    let amount = context.get_dependency_field("validate", &["amount"])?;
    let steps: &[&str] = match amount.as_f64().unwrap_or_default() {
        ..MANAGER_FROM => &["auto"],
        ..FINANCE_FROM => &["manager"],
        _ => &["manager", "finance"],
    };
    let decision = DecisionOutcome::create_steps(steps.iter().copied())?;
    Ok(decision.routing_context(json!({"amount": amount})).into())
}

async fn approve(context: StepContext) -> Outcome {
    StepOutcome::success(json!({"approved_by": context.get_config("approver")}))
}

async fn finalize(context: StepContext) -> Outcome {
    let mut request: Map<String, Value> = context.dependency("validate")?;
    let mut approvals = Vec::new();
    for step in ["auto", "manager", "finance"] {
        approvals.push(context.get_dependency_field(step, &["approved_by"])?);
    }
    approvals.retain(|name| !name.is_null());
    request.insert("approved_by".into(), approvals.into());
    StepOutcome::success(request)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Worker::from_args()?
        .handler("approval.validate", validate)
        .handler("approval.route", route)
        .handler("approval.approve", approve)
        .handler("approval.finalize", finalize)
        .start()?
        .run()?;
    Ok(())
}
