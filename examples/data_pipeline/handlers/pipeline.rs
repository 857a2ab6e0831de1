//! Handlers of the data pipeline; sums of money are made in whole cents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tasker_engine::{StepContext, StepError, StepOutcome, Worker};

type Outcome = Result<StepOutcome, StepError>;

fn cents(amount: f64) -> i64 {
    (amount * 100.0).round_ties_even() as i64
}

fn money(cents: i64) -> f64 {
    cents as f64 / 100.0
}

#[derive(Serialize, Deserialize)]
struct Extracted<T> {
    records: Vec<T>,
    count: usize,
}

async fn extract(context: StepContext) -> Outcome {
    let source = context.config()["source"].as_str().unwrap_or_default();
    let records: Vec<Value> = serde_json::from_value(context.get_input(source)?)?;
    if records.is_empty() {
        return Err(StepError::validation(format!("the source {source} has no records")).code("EMPTY_SOURCE"));
    }
    StepOutcome::success(Extracted { count: records.len(), records })
}

#[derive(Deserialize)]
struct Sale {
    product: String,
    quantity: i64,
    price: f64,
}

#[derive(Serialize, Deserialize)]
struct Sales {
    revenue: f64,
    units: i64,
    by_product: BTreeMap<String, f64>,
}

async fn transform_sales(context: StepContext) -> Outcome {
    let sales: Extracted<Sale> = context.dependency("extract_sales")?;
    let mut revenue: BTreeMap<&str, i64> = BTreeMap::new();
    for sale in &sales.records {
        *revenue.entry(&sale.product).or_default() += sale.quantity * cents(sale.price);
    }
    StepOutcome::success(Sales {
        revenue: money(revenue.values().sum()),
        units: sales.records.iter().map(|sale| sale.quantity).sum(),
        by_product: revenue.into_iter().map(|(product, amount)| (product.to_string(), money(amount))).collect(),
    })
}

#[derive(Deserialize)]
struct Item {
    product: String,
    stock: i64,
    reorder_at: i64,
}

#[derive(Serialize, Deserialize)]
struct Inventory {
    stock: i64,
    low: Vec<String>,
}

async fn transform_inventory(context: StepContext) -> Outcome {
    let Extracted::<Item> { records, .. } = context.dependency("extract_inventory")?;
    let stock = records.iter().map(|item| item.stock).sum();
    let low = records.into_iter().filter(|item| item.stock <= item.reorder_at).map(|item| item.product).collect();
    StepOutcome::success(Inventory { stock, low })
}

#[derive(Deserialize)]
struct Customer {
    country: String,
}

#[derive(Serialize, Deserialize)]
struct Customers {
    customers: usize,
    by_country: BTreeMap<String, u64>,
}

async fn transform_customers(context: StepContext) -> Outcome {
    let Extracted::<Customer> { records, count } = context.dependency("extract_customers")?;
    let mut by_country = BTreeMap::new();
    for customer in records {
        *by_country.entry(customer.country).or_default() += 1;
    }
    StepOutcome::success(Customers { customers: count, by_country })
}

#[derive(Serialize, Deserialize)]
struct Figures {
    revenue: f64,
    revenue_per_customer: f64,
    units: i64,
    best_seller: String,
    reorder: Vec<String>,
    countries: usize,
}

async fn aggregate(context: StepContext) -> Outcome {
    let Sales { revenue, units, by_product } = context.dependency("transform_sales")?;
    let inventory: Inventory = context.dependency("transform_inventory")?;
    let customers: Customers = context.dependency("transform_customers")?;
    // Of equals the first by name: `max_by` gives the last.
    let best = by_product.iter().rev().max_by(|a, b| a.1.total_cmp(b.1));
    let per_customer = cents(revenue) as f64 / customers.customers as f64;
    StepOutcome::success(Figures {
        revenue,
        revenue_per_customer: money(per_customer.round_ties_even() as i64),
        units,
        best_seller: best.map(|(product, _)| product.clone()).unwrap_or_default(),
        reorder: inventory.low.into_iter().filter(|product| by_product.contains_key(product)).collect(),
        countries: customers.by_country.len(),
    })
}

async fn load(context: StepContext) -> Outcome {
    let figures: Map<String, Value> = context.dependency("aggregate")?;
    // A warehouse that knows the key writes the row once, however often we try.
    let key = format!("ROW-{}", context.idempotency_key());
    let mut columns: Vec<&String> = figures.keys().collect();
    columns.sort();
    StepOutcome::success(json!({"table": context.get_config("table"), "key": key, "columns": columns}))
}

async fn insights(context: StepContext) -> Outcome {
    let figures: Figures = context.dependency("aggregate")?;
    let mut found = vec![
        format!("{} sells best", figures.best_seller),
        format!("a customer spends {:.2}", figures.revenue_per_customer),
    ];
    found.extend(figures.reorder.iter().map(|product| format!("{product} sells and runs low")));
    StepOutcome::success(found)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Worker::from_args()?
        .handler("pipeline.extract", extract)
        .handler("pipeline.transform_sales", transform_sales)
        .handler("pipeline.transform_inventory", transform_inventory)
        .handler("pipeline.transform_customers", transform_customers)
        .handler("pipeline.aggregate", aggregate)
        .handler("pipeline.load", load)
        .handler("pipeline.insights", insights)
        .start()?
        .run()?;
    Ok(())
}
