"""Results of handlers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional, Union

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from tasker_core.serialization import as_mapping

__all__ = [
    "CheckpointYield",
    "ErrorType",
    "ExecutionResult",
    "StepHandlerCallResult",
    "StepHandlerResult",
]


class ErrorType(str, Enum):
    """Standard error types, as stored."""

    PERMANENT_ERROR = "permanent_error"
    RETRYABLE_ERROR = "retryable_error"
    VALIDATION_ERROR = "validation_error"
    TIMEOUT = "timeout"
    HANDLER_ERROR = "handler_error"


# Every standard type by its PascalCase spelling, which is taken as well.
_STANDARD = {
    re.sub("(^|_)([a-z])", lambda found: found[2].upper(), name): name
    for name in (
        *(kind.value for kind in ErrorType),
        "handler_not_found",
        "network_error",
        "rate_limit_error",
        "service_unavailable_error",
        "resource_contention_error",
        "not_found_error",
        "authentication_error",
        "authorization_error",
        "configuration_error",
        "business_logic_error",
        "serialization_error",
    )
}
_STANDARD["TimeoutError"] = ErrorType.TIMEOUT.value


def _error_type(given: Any) -> str:
    text = given.value if isinstance(given, Enum) else given
    return _STANDARD.get(str(text), str(text)) if text else ErrorType.HANDLER_ERROR.value


class StepHandlerResult(BaseModel):
    """What a handler returns.

    Example:
        >>> StepHandlerResult.success({"total": 3}).is_success
        True
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    is_success: bool = Field(validation_alias=AliasChoices("is_success", "success"))
    result: Any = None
    error_message: Optional[str] = None
    error_type: Optional[str] = None
    error_code: Optional[str] = None
    retryable: bool = True
    metadata: dict[str, Any] = Field(default_factory=dict)
    #: Seconds to wait before the next attempt.
    retry_after: Optional[float] = None
    #: HTTP status that caused the failure.
    status_code: Optional[int] = None

    @classmethod
    def success(cls, result: Any = None, metadata: Optional[dict[str, Any]] = None) -> StepHandlerResult:
        """A success with any JSON value."""
        return cls(is_success=True, result=result, metadata=metadata or {})

    @classmethod
    def failure(
        cls,
        message: str,
        error_type: Union[str, ErrorType] = ErrorType.HANDLER_ERROR,
        retryable: bool = True,
        metadata: Optional[dict[str, Any]] = None,
        error_code: Optional[str] = None,
        retry_after: Optional[float] = None,
        status_code: Optional[int] = None,
    ) -> StepHandlerResult:
        """A failure; retryable unless you say otherwise."""
        return cls(
            is_success=False,
            error_message=str(message),
            error_type=_error_type(error_type),
            error_code=None if error_code is None else str(error_code),
            retryable=retryable,
            metadata=metadata or {},
            retry_after=retry_after,
            status_code=status_code,
        )

    def is_success_result(self) -> bool:
        """Whether it is a success."""
        return self.is_success

    def is_failure_result(self) -> bool:
        """Whether it is a failure."""
        return not self.is_success


@dataclass(frozen=True)
class CheckpointYield:
    """Progress to keep; the handler is called again with it, and no attempt is used."""

    cursor: Any = None
    items_processed: int = 0
    accumulated_results: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.items_processed, int) or self.items_processed < 0:
            raise ValueError(f"items_processed is {self.items_processed!r}; it must be a whole number from 0 up")


@dataclass(frozen=True)
class ExecutionResult:
    """What became of one attempt, as published in ``step.completion.sent``."""

    event_id: str
    step_uuid: str
    success: bool
    execution_time_ms: float
    error_message: Optional[str] = None


# The class below has an attribute of the same name.
_Checkpoint = CheckpointYield


class StepHandlerCallResult:
    """Makes results of every kind, under the names all languages share."""

    Success = StepHandlerResult
    Error = StepHandlerResult
    CheckpointYield = CheckpointYield

    success = StepHandlerResult.success
    error = StepHandlerResult.failure

    @staticmethod
    def checkpoint_yield(cursor: Any, items_processed: int = 0, accumulated_results: Any = None) -> _Checkpoint:
        """Progress to keep."""
        return CheckpointYield(cursor, items_processed, accumulated_results)

    @staticmethod
    def from_handler_output(output: Any) -> Union[StepHandlerResult, _Checkpoint]:
        """The result a handler's return value stands for."""
        if isinstance(output, (StepHandlerResult, CheckpointYield)):
            return output
        said = as_mapping(output)
        if said is None or said.get("success") is not False:
            return StepHandlerResult.success(output if said is None else said)
        error = said.get("error")
        # The error may be a sentence or an object of its own.
        inner = error if isinstance(error, Mapping) else {"message": error}

        def field(name: str) -> Any:
            value = said.get(name)
            return inner.get(name) if value is None else value

        message = said.get("error_message") or inner.get("message") or said.get("message")
        metadata, retryable = said.get("metadata"), field("retryable")
        return StepHandlerResult.failure(
            message or "the handler returned success: false",
            _error_type(field("error_type")),
            retryable is None or bool(retryable),
            metadata if isinstance(metadata, dict) else None,
            field("error_code"),
            seconds(field("retry_after")),
            _status(field("status_code")),
        )

    @staticmethod
    def from_exception(error: BaseException) -> StepHandlerResult:
        """The failure an exception stands for, by the classifier."""
        from tasker_core.errors.error_classifier import get_classifier

        classified = get_classifier().classify(error)
        metadata = getattr(error, "metadata", None)
        return StepHandlerResult.failure(
            str(error) or type(error).__name__,
            classified["error_type"],
            classified["retryable"],
            metadata if isinstance(metadata, dict) else None,
            getattr(error, "error_code", None),
            seconds(getattr(error, "retry_after", None)),
            _status(getattr(error, "status_code", None)),
        )


def seconds(given: Any) -> Optional[float]:
    """Seconds to wait, from a number, its text or an HTTP date; ``None`` if it says nothing of the kind."""
    if given is None or isinstance(given, bool):
        return None
    try:
        number = float(given)
    except (TypeError, ValueError):
        return _until(given) if isinstance(given, str) else None
    return max(0.0, number) if math.isfinite(number) else None


def _until(date: str) -> Optional[float]:
    import time
    from email.utils import mktime_tz, parsedate_tz

    parsed = parsedate_tz(date)
    return None if parsed is None else max(0.0, mktime_tz(parsed) - time.time())


def _status(given: Any) -> Optional[int]:
    return given if isinstance(given, int) and 100 <= given <= 599 else None
