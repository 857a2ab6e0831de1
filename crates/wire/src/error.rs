use serde::{Deserialize, Serialize};

/// What sort of trouble it is: picks the exit code of the command and, over HTTP, the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request is malformed (400).
    Invalid,
    /// The request is well formed but its content is refused (422).
    Unprocessable,
    /// A part of the request is too large (413).
    TooLarge,
    /// What it names does not exist (404).
    NotFound,
    /// It does not fit the present state (409).
    Conflict,
    /// The wait ended before the thing waited for (408).
    Timeout,
    /// The store cannot answer now: full disk, closed, unreachable (503).
    Unavailable,
    /// A fault of Tasker's own (500).
    Bug,
}

/// An error a user can meet: what happened, what to do next.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}{}", .hint.as_deref().map(|h| format!("\n  help: {h}")).unwrap_or_default())]
pub struct Error {
    /// What sort of trouble it is.
    pub kind: Kind,
    /// Stable snake_case code, the same in every language.
    pub code: &'static str,
    /// What happened and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// More, for machines; for schema violations a list of `{pointer, message}`.
    pub details: Option<serde_json::Value>,
}

impl Error {
    /// An error without hint or details.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Error {
        Error { kind, code, message: message.into(), hint: None, details: None }
    }

    /// Says what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Adds details for machines.
    pub fn details(mut self, details: serde_json::Value) -> Error {
        self.details = Some(details);
        self
    }

    /// The body sent to clients.
    pub fn body(&self) -> ErrorBody<'_> {
        ErrorBody {
            code: self.code,
            message: &self.message,
            hint: self.hint.as_deref(),
            details: self.details.as_ref(),
        }
    }
}

/// `{"code", "message", "hint"?, "details"?}`.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a serde_json::Value>,
}
