"""Results of handlers."""

from __future__ import annotations

from enum import Enum
from typing import Any, Optional, Union

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

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
        kind = error_type.value if isinstance(error_type, ErrorType) else error_type
        return cls(
            is_success=False,
            error_message=message,
            error_type=kind,
            error_code=error_code,
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


class CheckpointYield(BaseModel):
    """Progress to keep; the handler is called again with it, and no attempt is used."""

    cursor: Any = None
    items_processed: int = Field(default=0, ge=0)
    accumulated_results: Any = None


# The class below has an attribute of the same name.
_Checkpoint = CheckpointYield


class StepHandlerCallResult:
    """Makes results of every kind, under the names all languages share."""

    Success = StepHandlerResult
    Error = StepHandlerResult
    CheckpointYield = CheckpointYield

    @staticmethod
    def success(result: Any = None, metadata: Optional[dict[str, Any]] = None) -> StepHandlerResult:
        """A success with any JSON value."""
        return StepHandlerResult.success(result, metadata)

    @staticmethod
    def error(
        message: str,
        error_type: Union[str, ErrorType] = ErrorType.HANDLER_ERROR,
        retryable: bool = True,
        metadata: Optional[dict[str, Any]] = None,
        error_code: Optional[str] = None,
    ) -> StepHandlerResult:
        """A failure; retryable unless you say otherwise."""
        return StepHandlerResult.failure(message, error_type, retryable, metadata, error_code)

    @staticmethod
    def checkpoint_yield(cursor: Any, items_processed: int = 0, accumulated_results: Any = None) -> _Checkpoint:
        """Progress to keep."""
        return CheckpointYield(cursor=cursor, items_processed=items_processed, accumulated_results=accumulated_results)

    @staticmethod
    def from_handler_output(output: Any) -> Union[StepHandlerResult, _Checkpoint]:
        """The result a handler's return value stands for."""
        if isinstance(output, (StepHandlerResult, CheckpointYield)):
            return output
        if isinstance(output, dict) and output.get("success") is False:
            said = output.get("error_message") or output.get("message") or output.get("error")
            if isinstance(said, dict):
                said = said.get("message") or str(said)
            return StepHandlerResult.failure(
                str(said or "the handler returned success: false"),
                str(output.get("error_type") or ErrorType.HANDLER_ERROR.value),
                bool(output.get("retryable", True)),
                output.get("metadata") if isinstance(output.get("metadata"), dict) else None,
                output.get("error_code"),
            )
        return StepHandlerResult.success(output)

    @staticmethod
    def from_exception(error: BaseException) -> StepHandlerResult:
        """The failure an exception stands for, by the classifier."""
        from tasker_core.errors.classifier import get_classifier

        classified = get_classifier().classify(error)
        retry_after = getattr(error, "retry_after", None)
        code = getattr(error, "error_code", None)
        metadata = getattr(error, "metadata", None)
        status = getattr(error, "status_code", None)
        return StepHandlerResult.failure(
            str(error) or type(error).__name__,
            classified["error_type"],
            classified["retryable"],
            metadata if isinstance(metadata, dict) else None,
            None if code is None else str(code),
            float(retry_after) if isinstance(retry_after, (int, float)) else None,
            status if isinstance(status, int) else None,
        )


class ExecutionResult(BaseModel):
    """What became of one attempt, as published in ``step.completion.sent``."""

    event_id: str
    step_uuid: str
    success: bool
    execution_time_ms: float
    error_message: Optional[str] = None
