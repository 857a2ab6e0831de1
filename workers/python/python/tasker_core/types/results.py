"""Results of handlers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Callable, Optional, Union

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr

from tasker_core.serialization import as_mapping
from tasker_core.types.model import Model

__all__ = [
    "CheckpointYield",
    "ErrorType",
    "ExecutionResult",
    "StepHandlerCallResult",
    "StepHandlerResult",
    "seconds",
    "status_is_retryable",
]

#: Statuses other than 5xx that are worth another attempt.
_RETRYABLE_STATUSES = frozenset({408, 425, 429})
#: Server errors that are not.
_PERMANENT_STATUSES = frozenset({501, 505})


class ErrorType(str, Enum):
    """Standard error types, as stored."""

    PERMANENT_ERROR = "permanent_error"
    RETRYABLE_ERROR = "retryable_error"
    VALIDATION_ERROR = "validation_error"
    TIMEOUT = "timeout"
    HANDLER_ERROR = "handler_error"

    @classmethod
    def is_standard(cls, error_type: Any) -> bool:
        """Whether it is one of these."""
        return str(getattr(error_type, "value", error_type)) in {kind.value for kind in cls}

    @classmethod
    def is_typically_retryable(cls, error_type: Any) -> bool:
        """Whether another attempt helps as a rule."""
        return str(getattr(error_type, "value", error_type)) in (cls.RETRYABLE_ERROR.value, cls.TIMEOUT.value)


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
    # What a function raised, so that its backtrace is not lost on the way to the worker.
    _raised: Optional[BaseException] = PrivateAttr(default=None)

    @classmethod
    def success(cls, result: Any = None, metadata: Optional[dict[str, Any]] = None) -> StepHandlerResult:
        """A success with any JSON value; nothing is an empty mapping."""
        return StepHandlerResult(is_success=True, result={} if result is None else result, metadata=metadata or {})

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
        return StepHandlerResult(
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


class CheckpointYield(StepHandlerResult):
    """Progress to keep; the handler is called again with it, and no attempt is used."""

    def __init__(self, cursor: Any = None, items_processed: int = 0, accumulated_results: Any = None) -> None:
        if not isinstance(items_processed, int) or items_processed < 0:
            raise ValueError(f"items_processed is {items_processed!r}; it must be a whole number from 0 up")
        said = {"type": "checkpoint_yield", "cursor": cursor, "items_processed": items_processed}
        if accumulated_results is not None:
            said["accumulated_results"] = accumulated_results
        super().__init__(is_success=True, result=said, metadata={"checkpoint_yield": True, "batch_worker": True})

    @property
    def cursor(self) -> Any:
        """Where to go on."""
        return self.result["cursor"]

    @property
    def items_processed(self) -> int:
        """Items done so far."""
        return int(self.result["items_processed"])

    @property
    def accumulated_results(self) -> Any:
        """What has been gathered so far."""
        return self.result.get("accumulated_results")

    @classmethod
    def of(cls, result: StepHandlerResult) -> Optional[CheckpointYield]:
        """The checkpoint a success stands for: its metadata says ``checkpoint_yield: True``."""
        if isinstance(result, CheckpointYield):
            return result
        said = result.result
        if not (result.is_success and result.metadata.get("checkpoint_yield") is True and isinstance(said, Mapping)):
            return None
        return cls(said.get("cursor"), said.get("items_processed") or 0, said.get("accumulated_results"))


class ExecutionResult(Model):
    """What came of an attempt, as it is published to the bridge's listeners."""

    success: bool
    result: Any = None
    error_message: Optional[str] = None
    error_type: Optional[str] = None
    execution_time_ms: Optional[float] = None
    event_id: Optional[str] = None
    step_uuid: Optional[str] = None


class _Two:
    """An attribute that is a function of the class and a value of its objects."""

    def __init__(self, function: Callable[..., Any], value: Callable[[Any], Any]) -> None:
        self._function = function
        self._value = value

    def __get__(self, made: Any, owner: Any = None) -> Any:
        return self._function if made is None else self._value(made)


# The class below has an attribute of the same name.
_Checkpoint = CheckpointYield


class StepHandlerCallResult(BaseModel):
    """A result as it crosses to the core; and makes results of every kind, under the names all languages share."""

    model_config = ConfigDict(arbitrary_types_allowed=True, ignored_types=(_Two, type))

    is_success: bool = Field(validation_alias=AliasChoices("success", "is_success"), serialization_alias="success")
    result: Any = Field(default_factory=dict)
    error_message: Optional[str] = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    Success = StepHandlerResult
    Error = StepHandlerResult
    CheckpointYield = CheckpointYield

    success = _Two(StepHandlerResult.success, lambda made: made.is_success)
    error = staticmethod(StepHandlerResult.failure)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Its fields, under the names of the wire."""
        return super().model_dump(**{"by_alias": True, **options})

    @staticmethod
    def checkpoint_yield(cursor: Any, items_processed: int = 0, accumulated_results: Any = None) -> _Checkpoint:
        """Progress to keep."""
        return CheckpointYield(cursor, items_processed, accumulated_results)

    @staticmethod
    def from_handler_output(output: Any) -> StepHandlerResult:
        """The result a handler's return value stands for."""
        if isinstance(output, StepHandlerResult):
            return CheckpointYield.of(output) or output
        if isinstance(output, StepHandlerCallResult):
            if output.is_success:
                made = StepHandlerResult.success(output.result, output.metadata)
                return CheckpointYield.of(made) or made
            return StepHandlerResult.failure(output.error_message or "the handler failed", metadata=output.metadata)
        said = as_mapping(output)
        if said is not None and said.get("success") is True and "result" in said:
            metadata = said.get("metadata")
            made = StepHandlerResult.success(said["result"], metadata if isinstance(metadata, dict) else None)
            return CheckpointYield.of(made) or made
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
        """The failure an exception stands for, by the classifier. A group is judged by its parts."""
        from tasker_core.errors.error_classifier import get_classifier, kind_of

        parts = _parts(error)
        classified = [(part, get_classifier().classify(part)) for part in parts]
        # Nothing helps if one part is permanent, and that part says why.
        part, verdict = next((c for c in classified if not c[1]["retryable"]), classified[0])
        message = str(part) or type(part).__name__
        others = [f"{type(p).__name__}: {p}" for p in parts if p is not part]
        if others:
            message = f"{message} (and: {'; '.join(others)})"
        own = getattr(part, "own_metadata", None)
        metadata = own() if callable(own) else getattr(part, "metadata", None)
        waits = [w for w in (seconds(getattr(p, "retry_after", None)) for p in parts) if w is not None]
        code = getattr(part, "error_code", None)
        failure = StepHandlerResult.failure(
            message,
            kind_of(part),
            verdict["retryable"],
            metadata if isinstance(metadata, dict) else None,
            str(code) if isinstance(code, (str, int)) else None,
            max(waits, default=None),
            _status(getattr(part, "status_code", None)),
        )
        failure._raised = error
        return failure


def _parts(error: BaseException) -> list[BaseException]:
    """An exception, or all there are in a group of them, however deep."""
    inner = getattr(error, "exceptions", None)
    if not isinstance(inner, tuple) or not inner or not all(isinstance(e, BaseException) for e in inner):
        return [error]
    return [part for e in inner for part in _parts(e)]


def seconds(given: Any) -> Optional[float]:
    """Seconds to wait, from a number, its text or an HTTP date; ``None`` if it says no usable time."""
    if given is None or isinstance(given, bool):
        return None
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        return _until(given) if isinstance(given, str) else None
    return max(0.0, number) if math.isfinite(number) else None


def _until(date: str) -> Optional[float]:
    import time
    from email.utils import mktime_tz, parsedate_tz

    try:
        parsed = parsedate_tz(date)
        return None if parsed is None else max(0.0, mktime_tz(parsed) - time.time())
    # A date outside of the calendar.
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def status_is_retryable(status: int) -> bool:
    """Whether another attempt may help after an HTTP status: 408, 425, 429 and 5xx except 501 and 505."""
    return status in _RETRYABLE_STATUSES or (500 <= status < 600 and status not in _PERMANENT_STATUSES)


def _status(given: Any) -> Optional[int]:
    return given if isinstance(given, int) and 100 <= given <= 599 else None
