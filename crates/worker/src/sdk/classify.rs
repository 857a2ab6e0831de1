//! What errors of the standard library and of libraries mean to a step when a handler hands them on with `?`: the same words and the
//! same chances of another attempt as the exceptions of other languages have.

use std::io;

use super::StepError;

/// No attempt will help: the same input fails the same way again.
macro_rules! permanent {
    ($($kind:ty => $error_type:literal),+ $(,)?) => {
        $(impl From<$kind> for StepError {
            fn from(error: $kind) -> StepError {
                StepError::new(error.to_string(), $error_type, false)
            }
        })+
    };
}

/// Another attempt may help.
macro_rules! retryable {
    ($($kind:ty => $error_type:literal),+ $(,)?) => {
        $(impl From<$kind> for StepError {
            fn from(error: $kind) -> StepError {
                StepError::new(error.to_string(), $error_type, true)
            }
        })+
    };
}

permanent! {
    std::num::ParseIntError => "value_error",
    std::num::ParseFloatError => "value_error",
    std::str::ParseBoolError => "value_error",
    std::char::ParseCharError => "value_error",
    std::net::AddrParseError => "value_error",
    std::array::TryFromSliceError => "value_error",
    std::time::SystemTimeError => "value_error",
    uuid::Error => "value_error",
    ureq::http::uri::InvalidUri => "value_error",
    std::num::TryFromIntError => "arithmetic_error",
    std::char::CharTryFromError => "encoding_error",
    std::str::Utf8Error => "encoding_error",
    std::string::FromUtf8Error => "encoding_error",
    std::string::FromUtf16Error => "encoding_error",
    std::fmt::Error => "encoding_error",
}

retryable! {
    std::sync::mpsc::RecvTimeoutError => "timeout",
    tokio::time::error::Elapsed => "timeout",
    std::collections::TryReserveError => "out_of_memory",
}

impl From<io::Error> for StepError {
    fn from(error: io::Error) -> StepError {
        use io::ErrorKind::*;
        let error_type = match error.kind() {
            TimedOut => "timeout",
            ConnectionRefused | ConnectionReset | ConnectionAborted | NotConnected | BrokenPipe | AddrInUse
            | AddrNotAvailable | HostUnreachable | NetworkUnreachable | NetworkDown => "network_error",
            OutOfMemory => "out_of_memory",
            _ => "io_error",
        };
        StepError::new(error.to_string(), error_type, true)
    }
}

impl From<serde_json::Error> for StepError {
    fn from(error: serde_json::Error) -> StepError {
        use serde_json::error::Category::*;
        match error.classify() {
            Io => io::Error::from(error).into(),
            Syntax | Eof => StepError::new(error.to_string(), "json_error", false),
            // JSON, but not what was asked for.
            Data => StepError::validation(error.to_string()),
        }
    }
}

impl From<std::env::VarError> for StepError {
    fn from(error: std::env::VarError) -> StepError {
        let error_type = match &error {
            std::env::VarError::NotPresent => "key_error",
            std::env::VarError::NotUnicode(_) => "encoding_error",
        };
        StepError::new(error.to_string(), error_type, false)
    }
}

impl From<ureq::Error> for StepError {
    fn from(error: ureq::Error) -> StepError {
        match error {
            ureq::Error::StatusCode(status) => StepError::http(status, error.to_string()),
            ureq::Error::Timeout(_) => StepError::timeout(error.to_string()),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => StepError::new(error.to_string(), "value_error", false),
            ureq::Error::Io(cause) => cause.into(),
            other => StepError::network(other.to_string()),
        }
    }
}
