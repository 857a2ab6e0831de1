//! Handlers of the checkout workflow: each names the fields it needs by a type.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tasker_engine::{StepContext, StepError, StepOutcome, Worker};

type Outcome = Result<StepOutcome, StepError>;

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    cart: Vec<Line>,
    tax_rate: f64,
    shipping: f64,
}

#[derive(Deserialize)]
struct Line {
    sku: String,
    quantity: i64,
    price: f64,
}

#[derive(Serialize, Deserialize)]
struct Cart {
    subtotal: f64,
    tax: f64,
    shipping: f64,
    total: f64,
    lines: usize,
}

#[derive(Serialize, Deserialize)]
struct Order {
    order: String,
    total: f64,
    payment: Value,
    email: Value,
}

fn cents(amount: f64) -> i64 {
    (amount * 100.0).round_ties_even() as i64
}

fn money(cents: i64) -> f64 {
    cents as f64 / 100.0
}

/// The same for every attempt of a step: other systems see one request, however often we try.
fn reference(prefix: &str, context: &StepContext) -> String {
    format!("{prefix}-{}", context.idempotency_key())
}

async fn validate_cart(context: StepContext) -> Outcome {
    let Input { cart, tax_rate, shipping } = context.input()?;
    if cart.is_empty() {
        return Err(StepError::permanent("the cart is empty").code("EMPTY_CART"));
    }
    let subtotal: i64 = cart.iter().map(|line| line.quantity * cents(line.price)).sum();
    let tax = (subtotal as f64 * tax_rate).round_ties_even() as i64;
    let shipping = cents(shipping);
    StepOutcome::success(Cart {
        subtotal: money(subtotal),
        tax: money(tax),
        shipping: money(shipping),
        total: money(subtotal + tax + shipping),
        lines: cart.len(),
    })
}

async fn process_payment(context: StepContext) -> Outcome {
    let cart: Cart = context.dependency("validate_cart")?;
    if context.get_input("card")? == "declined" {
        return Err(StepError::permanent("the card was declined").code("CARD_DECLINED"));
    }
    StepOutcome::success(json!({"payment": reference("PAY", &context), "charged": cart.total}))
}

async fn update_inventory(context: StepContext) -> Outcome {
    let Input { cart, .. } = context.input()?;
    let taken: Map<String, Value> = cart.into_iter().map(|line| (line.sku, line.quantity.into())).collect();
    StepOutcome::success(json!({"taken": taken}))
}

async fn create_order(context: StepContext) -> Outcome {
    let cart: Cart = context.dependency("validate_cart")?;
    StepOutcome::success(Order {
        order: reference("ORD", &context),
        total: cart.total,
        payment: context.get_dependency_field("process_payment", &["payment"])?,
        email: context.get_input("email")?,
    })
}

async fn send_confirmation(context: StepContext) -> Outcome {
    let order: Order = context.dependency("create_order")?;
    let subject = format!("{}: thank you, {:.2} paid", order.order, order.total);
    StepOutcome::success(json!({"sent_to": order.email, "subject": subject}))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Worker::from_args()?
        .handler("validate_cart", validate_cart)
        .handler("process_payment", process_payment)
        .handler("update_inventory", update_inventory)
        .handler("create_order", create_order)
        .handler("send_confirmation", send_confirmation)
        .start()?
        .run()?;
    Ok(())
}
