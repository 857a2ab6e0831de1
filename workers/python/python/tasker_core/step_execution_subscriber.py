"""The published path of :mod:`tasker_core.worker.step_execution_subscriber`."""

from __future__ import annotations

from tasker_core.compat.wire import StepExecutionError
from tasker_core.worker.step_execution_subscriber import StepExecutionSubscriber

__all__ = ["StepExecutionError", "StepExecutionSubscriber"]
