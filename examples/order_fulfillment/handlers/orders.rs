//! Handlers of the order workflow: one function a step, typed inputs.

use serde::Deserialize;
use serde_json::{Value, json};
use tasker_engine::{StepContext, StepError, StepOutcome, Worker};

type Outcome = Result<StepOutcome, StepError>;

const STOCK: [(&str, u64); 2] = [("TEA-1", 100), ("POT-7", 12)];

#[derive(Deserialize)]
struct Order {
    customer: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    sku: String,
    quantity: u64,
    price: f64,
}

impl Item {
    fn cents(&self) -> u64 {
        self.quantity * (self.price * 100.0).round_ties_even() as u64
    }
}

/// The same for every attempt of a step: other systems see one request, however often we try.
fn reference(prefix: &str, context: &StepContext) -> String {
    format!("{prefix}-{}", context.idempotency_key())
}

async fn validate_order(context: StepContext) -> Outcome {
    let Order { customer, items } = context.input()?;
    if items.is_empty() {
        return Err(StepError::validation("the order has no items").code("EMPTY_ORDER"));
    }
    let total = items.iter().map(Item::cents).sum::<u64>() as f64 / 100.0;
    StepOutcome::success(json!({"order_total": total, "item_count": items.len(), "customer": customer}))
}

async fn reserve_inventory(context: StepContext) -> Outcome {
    let Order { items, .. } = context.input()?;
    let stock = |sku: &str| STOCK.iter().find(|(name, _)| *name == sku).map_or(0, |(_, count)| *count);
    if let Some(item) = items.iter().find(|item| stock(&item.sku) < item.quantity) {
        return Err(StepError::permanent(format!("{} is out of stock", item.sku)).code("OUT_OF_STOCK"));
    }
    let reserved: Vec<Value> = items.iter().map(|i| json!({"sku": i.sku, "quantity": i.quantity})).collect();
    StepOutcome::success(json!({"reservation": reference("RES", &context), "items": reserved}))
}

async fn process_payment(context: StepContext) -> Outcome {
    let amount = context.get_dependency_field("validate_order", &["order_total"])?;
    let currency = context.get_config("currency");
    Ok(StepOutcome::Success {
        result: json!({"payment": reference("PAY", &context), "amount": amount, "currency": currency}),
        metadata: Some(json!({"provider": "example-pay"})),
    })
}

#[derive(Deserialize)]
struct Reservation {
    items: Vec<Value>,
}

async fn ship_order(context: StepContext) -> Outcome {
    let reservation: Reservation = context.dependency("reserve_inventory")?;
    StepOutcome::success(json!({
        "tracking": reference("TRK", &context),
        "to": context.get_dependency_field("validate_order", &["customer"])?,
        "parcels": reservation.items.len(),
        "paid": context.get_dependency_field("process_payment", &["amount"])?,
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Worker::from_args()?
        .handler("orders.validate_order", validate_order)
        .handler("orders.reserve_inventory", reserve_inventory)
        .handler("orders.process_payment", process_payment)
        .handler("orders.ship_order", ship_order)
        .start()?
        .run()?;
    Ok(())
}
