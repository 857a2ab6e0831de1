"""Errors that handlers raise, and how any exception is classified."""

from __future__ import annotations

from typing import Any, Optional

from tasker_core.errors.error_classifier import ErrorClassifier, get_classifier, is_permanent, is_retryable

__all__ = [
    "AuthenticationError",
    "AuthorizationError",
    "BusinessLogicError",
    "ConfigurationError",
    "ErrorClassifier",
    "FFIError",
    "NetworkError",
    "NotFoundError",
    "PermanentError",
    "RateLimitError",
    "ResourceContentionError",
    "RetryableError",
    "ServiceUnavailableError",
    "TaskerError",
    "TimeoutError",
    "ValidationError",
    "get_classifier",
    "is_permanent",
    "is_retryable",
]


class TaskerError(Exception):
    """Base of all errors a handler may raise on purpose.

    Args:
        message: What happened.
        retryable: Whether another attempt may help; each family has its default.
        metadata: Kept with the attempt.
        error_code: Your own code, shown in the step's error.
        retry_after: Seconds to wait before the next attempt, at most 3600.
        context: Kept with the error.

    Example:
        >>> RetryableError("busy", retry_after=5).to_dict()["retryable"]
        True
    """

    error_type = "handler_error"
    default_retryable: bool = True

    def __init__(
        self,
        message: str = "",
        *,
        retryable: Optional[bool] = None,
        metadata: Optional[dict[str, Any]] = None,
        error_code: Optional[str] = None,
        retry_after: Optional[float] = None,
        context: Optional[dict[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = self.default_retryable if retryable is None else retryable
        self.metadata = metadata or {}
        self.error_code = error_code
        self.retry_after = retry_after
        self.context = context or {}

    def to_dict(self) -> dict[str, Any]:
        """All of it as a dictionary."""
        return {
            "message": self.message,
            "error_type": self.error_type,
            "error_code": self.error_code,
            "retryable": self.retryable,
            "retry_after": self.retry_after,
            "metadata": self.metadata,
            "context": self.context,
        }


class RetryableError(TaskerError):
    """Another attempt may help."""

    error_type = "retryable_error"


class TimeoutError(RetryableError):
    """Something took too long."""

    error_type = "timeout"


class NetworkError(RetryableError):
    """Another system could not be reached."""

    error_type = "network_error"


class RateLimitError(RetryableError):
    """Another system asks for fewer requests; set ``retry_after``."""

    error_type = "rate_limit_error"


class ServiceUnavailableError(RetryableError):
    """Another system is down for now."""

    error_type = "service_unavailable_error"


class ResourceContentionError(RetryableError):
    """Something is locked or used by another for now."""

    error_type = "resource_contention_error"


class PermanentError(TaskerError):
    """No attempt will help."""

    error_type = "permanent_error"
    default_retryable = False


class ValidationError(PermanentError):
    """The input cannot be worked with."""

    error_type = "validation_error"


class NotFoundError(PermanentError):
    """What the step needs does not exist."""

    error_type = "not_found_error"


class AuthenticationError(PermanentError):
    """Another system does not know who asks."""

    error_type = "authentication_error"


class AuthorizationError(PermanentError):
    """Another system does not allow it."""

    error_type = "authorization_error"


class ConfigurationError(PermanentError):
    """The step or the worker is set up wrongly."""

    error_type = "configuration_error"


class BusinessLogicError(PermanentError):
    """A rule of the business forbids it."""

    error_type = "business_logic_error"


class FFIError(TaskerError):
    """The compiled core refused a call."""

    error_type = "ffi_error"


class StepTimeoutError(TimeoutError):
    """The step's own work took too long."""


class StepValidationError(ValidationError):
    """The step's input cannot be worked with."""


class WorkerNotInitializedError(TaskerError, RuntimeError):
    """No worker is running in this process."""

    error_type = "worker_not_running"


class WorkerBootstrapError(TaskerError, RuntimeError):
    """The worker could not start."""

    error_type = "worker_bootstrap_error"


class WorkerAlreadyRunningError(TaskerError, RuntimeError):
    """A worker is running already in this process."""

    error_type = "worker_already_running"


class ConversionError(TaskerError, ValueError):
    """A value cannot cross between Python and JSON."""

    error_type = "conversion_error"
    default_retryable = False
