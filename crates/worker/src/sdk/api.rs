//! HTTP services: a client, and outcomes made of its answers.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tasker_core::retry;

use super::{StepError, StepOutcome};

/// Statuses whose Retry-After header counts.
const RETRY_AFTER: [u16; 2] = [429, 503];

/// Fields of a body that may say what went wrong.
const MESSAGE_FIELDS: [&str; 5] = ["error", "message", "detail", "error_message", "msg"];

/// An HTTP client with settings of its own; cheap to clone, and it keeps its connections.
#[derive(Debug, Clone)]
pub struct ApiHandler {
    base_url: String,
    headers: Vec<(String, String)>,
    agent: ureq::Agent,
}

/// An answer of any status; the body is JSON where the server says so, else a string.
#[derive(Debug, Clone)]
pub struct ApiResponse {
    /// Status.
    pub status_code: u16,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Value,
}

impl ApiHandler {
    /// A client whose paths are put behind `base_url`; 30 seconds for an answer.
    pub fn new(base_url: &str) -> ApiHandler {
        ApiHandler { base_url: base_url.into(), headers: Vec::new(), agent: agent(Duration::from_secs(30)) }
    }

    /// Sets the time for an answer.
    pub fn timeout(mut self, timeout: Duration) -> ApiHandler {
        self.agent = agent(timeout);
        self
    }

    /// Sends a header with every request.
    pub fn header(mut self, name: &str, value: &str) -> ApiHandler {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The client underneath.
    pub fn client(&self) -> &ureq::Agent {
        &self.agent
    }

    /// Sends a GET request; the path may carry a query.
    pub async fn get(&self, path: &str) -> Result<ApiResponse, StepError> {
        self.request("GET", path, None).await
    }

    /// Sends a POST request with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<ApiResponse, StepError> {
        self.request("POST", path, Some(body)).await
    }

    /// Sends a PUT request with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Result<ApiResponse, StepError> {
        self.request("PUT", path, Some(body)).await
    }

    /// Sends a PATCH request with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<ApiResponse, StepError> {
        self.request("PATCH", path, Some(body)).await
    }

    /// Sends a DELETE request.
    pub async fn delete(&self, path: &str) -> Result<ApiResponse, StepError> {
        self.request("DELETE", path, None).await
    }

    /// Sends a request. No answer at all is a retryable error: `timeout` or `network_error`.
    pub async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<ApiResponse, StepError> {
        let url = format!("{}{path}", self.base_url);
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request
            .body(body.map(Value::to_string).unwrap_or_default())
            .map_err(|e| StepError::permanent(format!("{method} {url} is no request: {e}")))?;
        let agent = self.agent.clone();
        // The client blocks; the runtime keeps threads for that.
        let sent = tokio::task::spawn_blocking(move || {
            let mut response = agent.run(request)?;
            let text = response.body_mut().with_config().limit(64 << 20).read_to_string()?;
            Ok((response, text))
        })
        .await
        .unwrap_or(Err(ureq::Error::ConnectionFailed));
        let (response, text) = sent.map_err(|e: ureq::Error| match e {
            ureq::Error::Timeout(_) => StepError::timeout(format!("{method} {url}: no answer in time: {e}")),
            other => StepError::network(format!("{method} {url}: no answer: {other}")),
        })?;
        let said = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: BTreeMap<String, String> =
            response.headers().iter().map(|(n, v)| (n.as_str().to_string(), said(v))).collect();
        let is_json = headers.get("content-type").is_some_and(|t| t.contains("json"));
        let body = if is_json { serde_json::from_str(&text).ok() } else { None };
        Ok(ApiResponse {
            status_code: response.status().as_u16(),
            headers,
            body: body.unwrap_or_else(|| Value::String(text)),
        })
    }

    /// A success with the body, under `data` unless it is an object.
    pub fn api_success(response: ApiResponse) -> StepOutcome {
        let metadata = Some(json!({"status_code": response.status_code}));
        let result = if response.body.is_object() { response.body } else { json!({"data": response.body}) };
        StepOutcome::Success { result, metadata }
    }

    /// A failure that is tried again as the status says; Retry-After of a 429 or 503 is kept to.
    pub fn api_failure(response: &ApiResponse, message: Option<&str>) -> StepError {
        let status = response.status_code;
        let default = response.error_message();
        let mut error = StepError::http(status, message.unwrap_or(&default)).code(format!("HTTP_{status}"));
        error.retry_after = response.retry_after();
        error.metadata = Some(json!({"status_code": status, "body": response.body}));
        error
    }
}

impl ApiResponse {
    /// Whether the status is 2xx.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status_code)
    }

    /// Whether the status is 4xx.
    pub fn is_client_error(&self) -> bool {
        (400..500).contains(&self.status_code)
    }

    /// Whether the status is 5xx.
    pub fn is_server_error(&self) -> bool {
        (500..600).contains(&self.status_code)
    }

    /// Whether another attempt may help: 408, 425, 429 and 5xx except 501 and 505.
    pub fn is_retryable(&self) -> bool {
        retry::http_status_is_retryable(self.status_code)
    }

    /// The status with what the body says went wrong, or else what the status is called.
    fn error_message(&self) -> String {
        let status = self.status_code;
        let said = MESSAGE_FIELDS.iter().map(|name| &self.body[name]).find(|value| is_said(value));
        let said = said.map(|value| if is_said(&value["message"]) { &value["message"] } else { value });
        let said = said.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string));
        let reason = || ureq::http::StatusCode::from_u16(status).ok()?.canonical_reason().map(str::to_string);
        said.or_else(reason).map_or_else(|| format!("HTTP {status}"), |said| format!("HTTP {status}: {said}"))
    }

    /// How long a 429 or 503 asks to wait, by a number of seconds or a date.
    pub fn retry_after(&self) -> Option<Duration> {
        let said = self.headers.get("retry-after").filter(|_| RETRY_AFTER.contains(&self.status_code))?;
        if let Ok(seconds) = said.trim().parse::<f64>() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        let date = httpdate::parse_http_date(said).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// The outcome the status stands for.
    pub fn into_outcome(self) -> Result<StepOutcome, StepError> {
        if self.ok() { Ok(ApiHandler::api_success(self)) } else { Err(ApiHandler::api_failure(&self, None)) }
    }
}

fn is_said(value: &Value) -> bool {
    !(value.is_null() || *value == "" || *value == false)
}

fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .allow_non_standard_methods(true)
        .build()
        .new_agent()
}
