//! Handlers of the order workflow. Their names are what workflows/order.yaml calls `callable`.

use serde::Deserialize;
use serde_json::json;
use tasker_engine::{StepContext, StepError, StepOutcome, Worker, WorkerBuilder};

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

async fn check_order(context: StepContext) -> Result<StepOutcome, StepError> {
    let order: Order = context.input()?;
    let total: f64 = order.items.iter().map(|item| item.quantity as f64 * item.price).sum();
    StepOutcome::success(json!({"total": (total * 100.0).round() / 100.0, "items": order.items.len()}))
}

async fn reserve_goods(context: StepContext) -> Result<StepOutcome, StepError> {
    let order: Order = context.input()?;
    let stock = |sku: &str| STOCK.iter().find(|(has, _)| *has == sku).map_or(0, |(_, quantity)| *quantity);
    // No other attempt can help: the task stops here until someone acts (`tasker retry`, `tasker give-up`).
    if let Some(missing) = order.items.iter().find(|item| stock(&item.sku) < item.quantity) {
        return Err(StepError::permanent(format!("{} is out of stock", missing.sku)).code("OUT_OF_STOCK"));
    }
    StepOutcome::success(json!({"reservation": format!("RES-{}", context.idempotency_key())}))
}

async fn charge_customer(context: StepContext) -> Result<StepOutcome, StepError> {
    let order: Order = context.input()?;
    // A customer named "flaky" shows a retry: the first attempt fails, the next one succeeds.
    if order.customer == "flaky" && !context.is_retry() {
        return Err(StepError::retryable("the bank did not answer"));
    }
    // The same for every attempt of this step: the bank sees one payment, however often it is tried.
    let payment = format!("PAY-{}", context.idempotency_key());
    let amount = context.get_dependency_field("check_order", &["total"])?;
    StepOutcome::success(json!({"payment": payment, "currency": context.get_config("currency"), "amount": amount}))
}

#[derive(Deserialize)]
struct Payment {
    amount: f64,
    currency: String,
}

async fn send_receipt(context: StepContext) -> Result<StepOutcome, StepError> {
    let order: Order = context.input()?;
    let payment: Payment = context.dependency("charge_customer")?;
    let reservation = context.get_dependency_field("reserve_goods", &["reservation"])?;
    let text = format!("{:.2} {} for {}", payment.amount, payment.currency, reservation.as_str().unwrap_or("-"));
    StepOutcome::success(json!({"to": order.customer, "text": text}))
}

fn handlers(worker: WorkerBuilder) -> WorkerBuilder {
    worker
        .handler("shop.check_order", check_order)
        .handler("shop.reserve_goods", reserve_goods)
        .handler("shop.charge_customer", charge_customer)
        .handler("shop.send_receipt", send_receipt)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    handlers(Worker::from_args()?).start()?.run()?;
    Ok(())
}

/// Run the whole workflow on a store in memory, in which retries take no time. Start with: cargo test
#[cfg(test)]
mod tests {
    use super::*;
    use tasker_engine::testing::Harness;

    fn harness() -> Harness {
        let worker = Worker::builder("sqlite::memory:").templates("workflows".as_ref()).unwrap();
        Harness::start(handlers(worker)).unwrap()
    }

    #[test]
    fn an_order_is_charged_and_confirmed() {
        let tea = json!({"sku": "TEA-1", "quantity": 2, "price": 4.5});
        let task = harness().run("shop", "order", json!({"customer": "Ann", "items": [tea]})).unwrap();
        assert_eq!(task.view.status, "complete");
        assert_eq!(task.result("charge_customer")["amount"], json!(9.0));
        assert_eq!(task.result("send_receipt")["to"], json!("Ann"));
    }

    #[test]
    fn a_bank_that_does_not_answer_is_asked_again() {
        let task = harness().run("shop", "order", json!({"customer": "flaky"})).unwrap();
        assert_eq!((task.view.status.as_str(), task.step("charge_customer").attempts), ("complete", 2));
    }

    #[test]
    fn goods_out_of_stock_stop_the_order() {
        let cup = json!({"sku": "CUP-3", "quantity": 1, "price": 7});
        let task = harness().run("shop", "order", json!({"customer": "Ann", "items": [cup]})).unwrap();
        assert_eq!(task.view.status, "blocked_by_failures");
        let error = task.step("reserve_goods").error.as_ref().unwrap();
        assert_eq!(error.error_code.as_deref(), Some("OUT_OF_STOCK"));
    }
}
