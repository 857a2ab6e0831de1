"""The wire's shapes as models."""

from __future__ import annotations

from enum import Enum
from typing import Any, Optional, Union
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "FfiDispatchMetrics",
    "FfiStepEvent",
    "LogContext",
    "ResultStatus",
    "StarvationWarning",
    "StepError",
    "StepExecutionError",
    "StepExecutionResult",
]

Id = Union[UUID, str]


class FfiStepEvent(BaseModel):
    """A step as it is handed to a worker; ``task_sequence_step`` is the plain mapping of the wire."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    task_uuid: str
    step_uuid: str
    correlation_id: str
    task_correlation_id: Optional[str] = None
    parent_correlation_id: Optional[str] = None
    task_sequence_step: dict[str, Any]
    trace_id: Optional[str] = None
    span_id: Optional[str] = None


class ResultStatus(str, Enum):
    """How an attempt ended."""

    SUCCESS = "completed"
    FAILURE = "error"
    RETRYABLE_ERROR = "retryable_error"
    PERMANENT_ERROR = "permanent_error"


class StepError(BaseModel):
    """Why an attempt failed."""

    error_type: str
    message: str
    stack_trace: Optional[str] = None
    retryable: bool = True
    metadata: dict[str, Any] = Field(default_factory=dict)


class StepExecutionResult(BaseModel):
    """What came of an attempt, for ``complete_step_event``."""

    step_uuid: Id
    task_uuid: Id
    success: bool
    status: str
    execution_time_ms: Union[int, float]
    result: Any = None
    error: Optional[StepError] = None
    worker_id: Optional[str] = None
    correlation_id: Optional[Id] = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def success_result(
        cls,
        step_uuid: Id,
        task_uuid: Id,
        result: Any,
        execution_time_ms: Union[int, float],
        worker_id: str,
        correlation_id: Optional[Id] = None,
        metadata: Optional[dict[str, Any]] = None,
    ) -> StepExecutionResult:
        """A success."""
        return cls(
            step_uuid=step_uuid,
            task_uuid=task_uuid,
            success=True,
            status=ResultStatus.SUCCESS.value,
            result=result,
            execution_time_ms=execution_time_ms,
            worker_id=worker_id,
            correlation_id=correlation_id,
            metadata=metadata or {},
        )

    @classmethod
    def failure_result(
        cls,
        step_uuid: Id,
        task_uuid: Id,
        error: StepError,
        execution_time_ms: Union[int, float],
        worker_id: str,
        correlation_id: Optional[Id] = None,
        metadata: Optional[dict[str, Any]] = None,
    ) -> StepExecutionResult:
        """A failure, retryable or not as the error says."""
        status = ResultStatus.RETRYABLE_ERROR if error.retryable else ResultStatus.PERMANENT_ERROR
        return cls(
            step_uuid=step_uuid,
            task_uuid=task_uuid,
            success=False,
            status=status.value,
            error=error,
            execution_time_ms=execution_time_ms,
            worker_id=worker_id,
            correlation_id=correlation_id,
            metadata=metadata or {},
        )


class StepExecutionError(Exception):
    """A step could not be run."""

    def __init__(self, message: str, error_type: str = "step_execution_error", retryable: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.error_type = error_type
        self.retryable = retryable


class LogContext(BaseModel):
    """Fields of a line of log."""

    correlation_id: Optional[str] = None
    task_uuid: Optional[str] = None
    step_uuid: Optional[str] = None
    namespace: Optional[str] = None
    operation: Optional[str] = None


class FfiDispatchMetrics(BaseModel):
    """Steps that wait to be handled."""

    pending_count: int
    oldest_pending_age_ms: Optional[int] = None
    newest_pending_age_ms: Optional[int] = None
    oldest_event_id: Optional[str] = None
    starvation_detected: bool = False
    starving_event_count: int = 0


class StarvationWarning(BaseModel):
    """A step that waits too long."""

    event_id: str
    step_uuid: str
    #: Milliseconds.
    pending_duration_ms: int
    #: Milliseconds.
    threshold_ms: int
