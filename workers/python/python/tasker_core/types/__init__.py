"""Results and what they are made of."""

from __future__ import annotations

from tasker_core.types.results import (
    CheckpointYield,
    ErrorType,
    ExecutionResult,
    StepHandlerCallResult,
    StepHandlerResult,
    seconds,
)

__all__ = ["CheckpointYield", "ErrorType", "ExecutionResult", "StepHandlerCallResult", "StepHandlerResult", "seconds"]
