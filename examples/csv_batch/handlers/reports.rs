//! Adds up a CSV file of `id,category,price,stock`, plain fields without quotes; a cursor is a row number.
//!
//! The analyzer remembers where each part begins in the file, so that no worker reads the parts before its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};

use serde::Deserialize;
use serde_json::{Map, json};
use tasker_engine::{
    BatchAggregationScenario, BatchOutcome, BatchWorkerContext, BatchWorkerOutcome, StepContext, StepError,
    StepOutcome, Worker,
};

type Outcome = Result<StepOutcome, StepError>;
type Categories = BTreeMap<String, u64>;

#[derive(Deserialize)]
struct Input {
    file: String,
    batch_size: u64,
}

fn open(path: &str) -> Result<BufReader<File>, StepError> {
    File::open(path).map(BufReader::new).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StepError::not_found(format!("there is no file {path}")).code("FILE_NOT_FOUND"),
        _ => error.into(),
    })
}

async fn analyze(context: StepContext) -> Outcome {
    let Input { file, batch_size } = context.input()?;
    let mut file = open(&file)?;
    let mut offset = file.skip_until(b'\n')?;
    let (mut rows, mut offsets) = (0, Vec::new());
    loop {
        let length = file.skip_until(b'\n')?;
        if length == 0 {
            break;
        }
        if rows % batch_size == 0 {
            offsets.push(offset);
        }
        offset += length;
        rows += 1;
    }
    if rows == 0 {
        return Ok(BatchOutcome::no_batches().with("reason", "the file has no rows").into_outcome());
    }
    let mut cursors = BatchOutcome::create_cursor_ranges(rows, batch_size, None);
    for (cursor, offset) in cursors.iter_mut().zip(offsets) {
        cursor["metadata"] = json!({"offset": offset});
    }
    Ok(BatchOutcome::create_batches(cursors, rows).into_outcome())
}

#[derive(Deserialize)]
struct Cursor {
    start_cursor: usize,
    end_cursor: usize,
    metadata: Place,
}

#[derive(Deserialize)]
struct Place {
    offset: u64,
}

async fn add_up(context: StepContext) -> Outcome {
    let part = BatchWorkerContext::from_context(&context)?
        .ok_or_else(|| StepError::configuration("the step is no batch worker"))?;
    if let Some(nothing) = part.no_op_result() {
        return Ok(nothing);
    }
    let Cursor { start_cursor, end_cursor, metadata } = serde_json::from_value(part.cursor)?;
    let mut file = open(&context.input::<Input>()?.file)?;
    file.seek(SeekFrom::Start(metadata.offset))?;
    let (mut stock, mut value, mut categories) = (0, 0, Categories::new());
    for (number, row) in (start_cursor + 1..=end_cursor).zip(file.lines()) {
        let row = row?;
        let (category, price, count) = product(&row)
            .ok_or_else(|| StepError::validation(format!("row {number} is no product")).code("BAD_ROW"))?;
        stock += count;
        value += count * price;
        *categories.entry(category.to_string()).or_default() += 1;
    }
    let outcome = BatchWorkerOutcome::new((end_cursor - start_cursor) as u64);
    Ok(BatchWorkerOutcome {
        last_cursor: end_cursor.into(),
        results: Some(vec![json!([stock, value, categories])]),
        ..outcome
    }
    .into_outcome())
}

fn product(row: &str) -> Option<(&str, i64, i64)> {
    let fields: Vec<&str> = row.split(',').collect();
    let [_, category, price, stock] = fields[..] else { return None };
    Some((category, price.trim().parse().ok()?, stock.trim().parse().ok()?))
}

async fn aggregate(context: StepContext) -> Outcome {
    let scenario = BatchAggregationScenario::detect(&context, "analyze", "add_up_")?;
    if scenario.is_no_batches() {
        let zero = json!({"total_processed": 0, "stock": 0, "value": 0, "categories": {}});
        return StepOutcome::success(scenario.aggregate(serde_json::from_value(zero)?));
    }
    let sums = scenario.aggregate(Map::new());
    let results: Vec<(i64, i64, Categories)> = serde_json::from_value(sums["results"].clone())?;
    let mut categories = Categories::new();
    for (category, count) in results.iter().flat_map(|(_, _, counted)| counted) {
        *categories.entry(category.clone()).or_default() += count;
    }
    StepOutcome::success(json!({
        "worker_count": sums["worker_count"],
        "scenario": sums["scenario"],
        "total_processed": sums["total_processed"],
        "stock": results.iter().map(|(stock, _, _)| stock).sum::<i64>(),
        "value": results.iter().map(|(_, value, _)| value).sum::<i64>(),
        "categories": categories,
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Worker::from_args()?
        .handler("reports.analyze", analyze)
        .handler("reports.add_up", add_up)
        .handler("reports.aggregate", aggregate)
        .start()?
        .run()?;
    Ok(())
}
