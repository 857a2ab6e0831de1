"""Errors that handlers raise, and how any exception is classified."""

from __future__ import annotations

from typing import Any, Optional

from tasker_core.errors.error_classifier import ErrorClassifier, get_classifier, is_permanent, is_retryable, kind_of

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
    "kind_of",
]


class TaskerError(Exception):
    """Base of all errors a handler may raise on purpose.

    Args:
        message: What happened.
        retryable: Whether another attempt may help; each family has its default.
        metadata: Kept with the attempt.
        error_code: Your own code, shown in the step's error; also in ``metadata``.
        retry_after: Seconds to wait before the next attempt, at most 3600; also in ``metadata``.
        context: Kept with the error; also in ``metadata``.

    Example:
        >>> RetryableError("busy", retry_after=5).to_dict()["retryable"]
        True
    """

    error_type = "handler_error"
    #: What an error of this family is unless it says otherwise.
    retryable: bool = True
    #: The same, for subclasses that set it under this name.
    default_retryable: Optional[bool] = None

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
        if retryable is None:
            retryable = type(self).retryable if self.default_retryable is None else self.default_retryable
        self.retryable = retryable
        self.error_code = error_code
        self.retry_after = retry_after
        self.context = context or {}
        said = {"error_code": error_code, "retry_after": retry_after}
        self._added = {**{k: v for k, v in said.items() if v is not None}, **self.context}
        self._given = set(metadata or {})
        self.metadata: dict[str, Any] = {**(metadata or {}), **self._added}

    def own_metadata(self) -> dict[str, Any]:
        """``metadata`` without what has a place of its own in the stored error."""
        added = {k for k, v in self._added.items() if k not in self._given and self.metadata.get(k) == v}
        return {k: v for k, v in self.metadata.items() if k not in added}

    def to_dict(self) -> dict[str, Any]:
        """All of it as a dictionary; ``error_type`` is the class's name."""
        return {
            "error_type": type(self).__name__,
            "message": self.message,
            "retryable": self.retryable,
            "metadata": self.metadata,
            "error_code": self.error_code,
            "retry_after": self.retry_after,
            "context": self.context,
        }


class RetryableError(TaskerError):
    """Another attempt may help."""

    error_type = "retryable_error"
    retryable = True


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
    retryable = False


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
    retryable = True


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
    retryable = False
