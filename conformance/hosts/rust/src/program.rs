//! Runs the program of a step.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Number, Value, json};
use tasker_worker::{StepContext, StepError, StepHandler, StepOutcome, document};

use crate::News;
use crate::trouble::trouble;

pub(crate) struct Program {
    pub(crate) method: &'static str,
    pub(crate) heard: Arc<News>,
    pub(crate) after: Arc<News>,
}

/// One run of a program.
struct Run<'a> {
    program: &'a Program,
    context: &'a StepContext,
    variables: HashMap<String, Value>,
}

type Ended = Option<Result<StepOutcome, StepError>>;

#[async_trait]
impl StepHandler for Program {
    async fn call(&self, context: &StepContext) -> Result<StepOutcome, StepError> {
        let statements = context.get_config("program");
        if statements[0].get("until_cancelled").is_some() {
            // The handler is dropped at this await when the attempt is cut short.
            return std::future::pending().await;
        }
        let (program, context) = (Arc::new(self.clone_parts()), context.clone());
        // A program may wait for events, which would block the runtime's thread.
        tokio::task::spawn_blocking(move || {
            let mut run = Run { program: &program, context: &context, variables: HashMap::new() };
            run.run(&statements)?.unwrap_or_else(|| Ok(StepOutcome::from(Value::Null)))
        })
        .await
        .unwrap_or_else(|e| match e.try_into_panic() {
            // A panic of the program is one of the handler.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(e) => Err(StepError::permanent(e.to_string())),
        })
    }
}

impl Program {
    fn clone_parts(&self) -> Program {
        Program { method: self.method, heard: self.heard.clone(), after: self.after.clone() }
    }
}

impl Run<'_> {
    fn run(&mut self, statements: &Value) -> Result<Ended, StepError> {
        for statement in statements.as_array().into_iter().flatten() {
            let (name, argument) = first(statement);
            match name {
                "set" => {
                    for (name, expression) in argument.as_object().into_iter().flatten() {
                        let value = self.value(expression)?;
                        self.variables.insert(name.clone(), value);
                    }
                }
                "if" => {
                    let branch = if truthy(&self.value(argument)?) { "then" } else { "else" };
                    if let Some(ended) = self.run(&statement[branch])? {
                        return Ok(Some(ended));
                    }
                }
                "for" => {
                    let (from, to) = (self.value(&statement["from"])?, self.value(&statement["to"])?);
                    for i in whole(&from)?..whole(&to)? {
                        self.variables.insert(text(argument), i.into());
                        if let Some(ended) = self.run(&statement["do"])? {
                            return Ok(Some(ended));
                        }
                    }
                }
                "trouble" => return Ok(Some(trouble(&text(argument)))),
                "until_cancelled" => {
                    while !self.context.is_cancelled() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                _ => return Ok(Some(self.end(name, statement))),
            }
        }
        Ok(None)
    }

    fn end(&self, name: &str, statement: &Value) -> Result<StepOutcome, StepError> {
        match name {
            "return" => {
                let metadata = self.value(&statement["metadata"])?;
                let result = self.value(&statement["return"])?;
                Ok(StepOutcome::Success { result, metadata: Some(metadata).filter(|m| !m.is_null()) })
            }
            "checkpoint" => {
                let said = self.value(&statement["checkpoint"])?;
                let items = said["items_processed"].as_u64().unwrap_or(0);
                Ok(StepOutcome::checkpoint(said["cursor"].clone(), items, said["accumulated_results"].clone()))
            }
            "fail" => {
                let said = self.value(&statement["fail"])?;
                let error = StepError::retryable(text(&said["message"])).error_type("handler_error");
                Err(described(error, &said))
            }
            _ => {
                let said = self.value(&statement["raise"])?;
                let message = text(&said["message"]);
                let error = match said["kind"].as_str().unwrap_or_default() {
                    "permanent" => StepError::permanent(message),
                    "retryable" => StepError::retryable(message),
                    "validation" => StepError::validation(message),
                    "timeout" => StepError::timeout(message),
                    "network" => StepError::network(message),
                    "rate_limit" => StepError::rate_limit(message),
                    "not_found" => StepError::not_found(message),
                    // What a Rust handler has instead of exceptions: errors of the standard library, turned by `?`.
                    "wrong_value" | "wrong_type" | "missing_key" => StepError::validation(message),
                    "connection" => std::io::Error::new(std::io::ErrorKind::ConnectionRefused, message).into(),
                    "os" => std::io::Error::other(message).into(),
                    _ => StepError::retryable(message).error_type("UnheardOf"),
                };
                Err(described(error, &said))
            }
        }
    }

    fn value(&self, expression: &Value) -> Result<Value, StepError> {
        match expression {
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                let (name, argument) = first(expression);
                if fields.len() != 1 || !name.starts_with('$') {
                    let each = fields.iter().map(|(key, item)| Ok((key.clone(), self.value(item)?)));
                    return each.collect::<Result<Map<_, _>, StepError>>().map(Value::Object);
                }
                match name {
                    "$raw" => Ok(argument.clone()),
                    _ => self.operation(name, &self.value(argument)?),
                }
            }
            other => Ok(other.clone()),
        }
    }

    fn operation(&self, name: &str, given: &Value) -> Result<Value, StepError> {
        let context = self.context;
        let (a, b) = (&given[0], &given[1]);
        let news = |news: &News| json!(news.heard(&context.task_uuid(), &text(a), b.as_u64().unwrap_or(0) as usize));
        Ok(match name {
            "$input" => context.get_input(&text(given))?,
            "$dep" => get(context.get_dependency_result(&text(a))?, given.as_array().map_or(&[][..], |g| &g[1..])),
            "$deps" => json!(context.get_all_dependency_results(&text(given))?),
            "$config" => context.get_config(&text(given)),
            "$inputs" => get(context.step_inputs()?, given.as_array().map_or(&[][..], |g| g)),
            "$checkpoint" => context.checkpoint()?.map(|c| c[text(given)].clone()).unwrap_or_default(),
            "$attempt" => context.retry_count().into(),
            "$step" => context.step_name().into(),
            "$method" => self.program.method.into(),
            "$var" => self.variables.get(&text(given)).cloned().unwrap_or_default(),
            "$event" => serde_json::from_str::<Value>(&document(context.job())?)?["task_sequence_step"].take(),
            "$file" => {
                while !std::path::Path::new(&text(given)).exists() {
                    std::thread::sleep(Duration::from_millis(2));
                }
                true.into()
            }
            "$touch" => std::fs::write(text(given), "").is_ok().into(),
            "$heard" => news(&self.program.heard),
            "$after" => news(&self.program.after),
            "$add" => arithmetic(a, b, i128::checked_add, |x, y| x + y)?,
            "$sub" => arithmetic(a, b, i128::checked_sub, |x, y| x - y)?,
            "$mul" => arithmetic(a, b, i128::checked_mul, |x, y| x * y)?,
            "$div" => float(real(a)? / real(b)?),
            "$mod" => arithmetic(a, b, i128::checked_rem_euclid, f64::rem_euclid)?,
            "$eq" => (a == b).into(),
            "$lt" => (real(a)? < real(b)?).into(),
            "$ge" => (real(a)? >= real(b)?).into(),
            "$and" => given.as_array().is_some_and(|all| all.iter().all(truthy)).into(),
            "$not" => (!truthy(given)).into(),
            "$len" => match given {
                Value::Array(items) => items.len(),
                Value::Object(fields) => fields.len(),
                other => text(other).chars().count(),
            }
            .into(),
            "$sum" => {
                let items = given.as_array().map_or(&[][..], |g| g);
                let mut sum = json!(0);
                for item in items {
                    sum = arithmetic(&sum, item, i128::checked_add, |x, y| x + y)?;
                }
                sum
            }
            "$round" => {
                let scale = 10_f64.powi(b.as_i64().unwrap_or(0) as i32);
                float((real(a)? * scale).round() / scale)
            }
            "$keys" => {
                let mut keys: Vec<&String> = given.as_object().into_iter().flat_map(Map::keys).collect();
                keys.sort();
                json!(keys)
            }
            "$values" => {
                let mut fields: Vec<_> = given.as_object().into_iter().flatten().collect();
                fields.sort_by_key(|(key, _)| *key);
                fields.into_iter().map(|(_, value)| value.clone()).collect()
            }
            "$get" => get(a.clone(), given.as_array().map_or(&[][..], |g| &g[1..])),
            other => return Err(StepError::permanent(format!("unknown operation {other}"))),
        })
    }
}

fn described(mut error: StepError, said: &Value) -> StepError {
    let given = |key: &str| Some(said[key].clone()).filter(|v| !v.is_null());
    if let Some(kind) = given("error_type") {
        error.error_type = text(&kind);
    }
    if let Some(retryable) = said["retryable"].as_bool() {
        error.retryable = retryable;
    }
    error.error_code = given("error_code").map(|code| text(&code));
    error.metadata = given("metadata");
    error.context = given("context");
    error.retry_after = said["retry_after"].as_f64().map(Duration::from_secs_f64);
    error
}

fn first(statement: &Value) -> (&str, &Value) {
    let entry = statement.as_object().and_then(|fields| fields.iter().next());
    entry.map_or(("", &Value::Null), |(key, value)| (key.as_str(), value))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn get(mut value: Value, path: &[Value]) -> Value {
    for key in path {
        value = match key {
            Value::String(key) => value.get_mut(key).map(Value::take).unwrap_or_default(),
            index => index.as_u64().and_then(|i| value.get_mut(i as usize)).map(Value::take).unwrap_or_default(),
        };
    }
    value
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn real(value: &Value) -> Result<f64, StepError> {
    value.as_f64().ok_or_else(|| StepError::validation(format!("{value} is not a number")))
}

fn whole(value: &Value) -> Result<i64, StepError> {
    value.as_i64().ok_or_else(|| StepError::validation(format!("{value} is not a whole number")))
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Exact for whole numbers, as in the other hosts; a float as soon as one is.
fn arithmetic(
    a: &Value,
    b: &Value,
    exact: fn(i128, i128) -> Option<i128>,
    rough: fn(f64, f64) -> f64,
) -> Result<Value, StepError> {
    let integer = |v: &Value| v.as_number().and_then(|n| n.to_string().parse::<i128>().ok());
    if let (Some(x), Some(y)) = (integer(a), integer(b)) {
        let number = exact(x, y).ok_or_else(|| StepError::validation("the number is out of bounds"))?;
        return Ok(serde_json::from_str(&number.to_string())?);
    }
    Ok(float(rough(real(a)?, real(b)?)))
}
