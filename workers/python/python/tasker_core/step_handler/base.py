"""Base of class handlers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Optional, Union

from tasker_core.types.results import CheckpointYield, ErrorType, StepHandlerResult

if TYPE_CHECKING:
    from tasker_core.types.step_context import StepContext

__all__ = ["StepHandler", "StepHandlerCallResult"]

#: What `call` gives.
StepHandlerCallResult = Union[StepHandlerResult, Awaitable[StepHandlerResult]]


class StepHandler(ABC):
    """Code that runs a step. A fresh object is made for every attempt.

    Example:
        >>> class Double(StepHandler):
        ...     handler_name = "math.double"
        ...     def call(self, context):
        ...         return self.success(context.get_input("n") * 2)
    """

    #: Name templates use as ``handler.callable``; the class name when empty.
    handler_name: str = ""
    handler_version: str = "1.0.0"

    @abstractmethod
    def call(self, context: StepContext) -> Any:
        """Runs one attempt; may be ``async``.

        The form ``call(task, dependency_results, workflow_step)`` works too.
        """

    @property
    def name(self) -> str:
        """The handler's name."""
        return self.handler_name or type(self).__name__

    @property
    def version(self) -> str:
        """The handler's version."""
        return self.handler_version

    @property
    def capabilities(self) -> list[str]:
        """What it can do."""
        return ["process"]

    def config_schema(self) -> Optional[dict[str, Any]]:
        """JSON Schema of ``handler.initialization``, if it has one."""
        return None

    def success(self, result: Any = None, metadata: Optional[dict[str, Any]] = None) -> StepHandlerResult:
        """A success with any JSON value; nothing is an empty mapping."""
        return StepHandlerResult.success(result, metadata)

    def failure(
        self,
        message: str,
        error_type: Union[str, ErrorType] = ErrorType.HANDLER_ERROR,
        retryable: bool = True,
        metadata: Optional[dict[str, Any]] = None,
        error_code: Optional[str] = None,
    ) -> StepHandlerResult:
        """A failure; retryable unless you say otherwise."""
        return StepHandlerResult.failure(message, error_type, retryable, metadata, error_code)

    def checkpoint_yield(
        self, cursor: Any, items_processed: int = 0, accumulated_results: Any = None
    ) -> CheckpointYield:
        """Progress to keep; return it, and the handler is called again with ``context.checkpoint`` set."""
        return CheckpointYield(cursor=cursor, items_processed=items_processed, accumulated_results=accumulated_results)
