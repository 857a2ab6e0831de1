use serde::{Deserialize, Serialize};

use crate::Json;

/// A request to create a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// Template name.
    pub name: String,
    /// Template namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Template version; the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Input of the task, a JSON object; `{}` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Json>,
    /// Who asked for it.
    #[serde(default = "api")]
    pub initiator: String,
    /// Which system asked for it.
    #[serde(default = "api")]
    pub source_system: String,
    /// Why.
    #[serde(default = "requested")]
    pub reason: String,
    /// Free labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// −100…100; higher runs first.
    #[serde(default)]
    pub priority: i32,
    /// Follows the task through logs and events; made up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Correlation id of what caused this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_correlation_id: Option<String>,
    /// Same key and same payload: the existing task is returned; another payload: conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Free options, kept and shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Json>,
    /// RFC 3339; kept and shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    /// RFC 3339; no step runs before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
}

impl TaskRequest {
    /// A request with defaults for everything but its template and context.
    pub fn new(namespace: &str, name: &str, context: Json) -> TaskRequest {
        TaskRequest {
            name: name.into(),
            namespace: namespace.into(),
            version: None,
            context: Some(context),
            initiator: api(),
            source_system: api(),
            reason: requested(),
            tags: Vec::new(),
            priority: 0,
            correlation_id: None,
            parent_correlation_id: None,
            idempotency_key: None,
            options: None,
            requested_at: None,
            run_at: None,
        }
    }
}

fn default_namespace() -> String {
    "default".into()
}

fn api() -> String {
    "api".into()
}

fn requested() -> String {
    "requested".into()
}

/// Which tasks a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskFilter {
    /// Template namespace.
    pub namespace: Option<String>,
    /// Template name.
    pub name: Option<String>,
    /// Public task state, or `paused`.
    pub status: Option<String>,
    /// Who asked for it.
    pub initiator: Option<String>,
    /// Which system asked for it.
    pub source_system: Option<String>,
    /// Correlation id.
    pub correlation_id: Option<String>,
    /// RFC 3339; created at this time or later.
    pub created_after: Option<String>,
    /// RFC 3339; created before this time.
    pub created_before: Option<String>,
    /// Label it must carry.
    pub tag: Option<String>,
    /// Part of the template name or the start of the UUID.
    pub q: Option<String>,
    /// At most this many.
    pub limit: Option<u32>,
    /// Skip this many.
    pub offset: u32,
}

impl TaskFilter {
    /// Whether it matches every task.
    pub fn is_open(&self) -> bool {
        *self == TaskFilter { limit: self.limit, offset: self.offset, ..TaskFilter::default() }
    }
}

/// Which dead letters a listing or an action is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadLetterFilter {
    /// Settled ones too.
    pub all: bool,
    /// Why they were opened.
    pub reason: Option<String>,
    /// Template namespace.
    pub namespace: Option<String>,
    /// Template name.
    pub name: Option<String>,
    /// Kind of error.
    pub fingerprint: Option<String>,
    /// Task UUID.
    pub task_uuid: Option<String>,
    /// At most this many.
    pub limit: Option<u32>,
}

impl DeadLetterFilter {
    /// Whether it matches every dead letter.
    pub fn is_open(&self) -> bool {
        *self == DeadLetterFilter { all: self.all, limit: self.limit, ..DeadLetterFilter::default() }
    }
}

/// Which stored domain events a listing or a replay is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    /// Namespace of the template; all when absent.
    pub namespace: Option<String>,
    /// Event name; `prefix.*` and `*` match as for subscribers.
    pub name: Option<String>,
    /// Task UUID.
    pub task_uuid: Option<String>,
    /// Only acknowledged ones (`true`) or only others (`false`).
    pub archived: Option<bool>,
    /// Number after which the listing starts.
    pub after: Option<i64>,
    /// At most this many.
    pub limit: Option<u32>,
}

impl EventFilter {
    /// Whether it matches every event.
    pub fn is_open(&self) -> bool {
        *self == EventFilter { limit: self.limit, ..EventFilter::default() }
    }
}
