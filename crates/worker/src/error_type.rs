//! The words for kinds of errors that every language stores.

/// An error type as it is stored: standard ones in snake_case, whatever their spelling, and by the same words for what an exception
/// says and what the status of an HTTP answer does.
pub(crate) fn standard(error_type: &str) -> &str {
    match error_type {
        "" | "HandlerError" => "handler_error",
        "PermanentError" => "permanent_error",
        "RetryableError" => "retryable_error",
        "ValidationError" => "validation_error",
        "Timeout" | "TimeoutError" => "timeout",
        "HandlerNotFound" => "handler_not_found",
        "NetworkError" => "network_error",
        "RateLimitError" | "rate_limited" => "rate_limit_error",
        "ServiceUnavailableError" | "service_unavailable" => "service_unavailable_error",
        "ResourceContentionError" => "resource_contention_error",
        "NotFoundError" | "not_found" => "not_found_error",
        "AuthenticationError" => "authentication_error",
        "AuthorizationError" => "authorization_error",
        "ConfigurationError" => "configuration_error",
        "BusinessLogicError" => "business_logic_error",
        "SerializationError" => "serialization_error",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::standard;

    #[test]
    fn one_word_for_one_kind_of_error() {
        for (said, stored) in [
            ("PermanentError", "permanent_error"),
            ("rate_limited", "rate_limit_error"),
            ("RateLimitError", "rate_limit_error"),
            ("rate_limit_error", "rate_limit_error"),
            ("TimeoutError", "timeout"),
            ("", "handler_error"),
            ("PaymentError", "PaymentError"),
        ] {
            assert_eq!(standard(said), stored, "{said}");
        }
    }
}
