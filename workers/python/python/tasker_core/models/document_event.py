"""An event read from its wire document instead of the core; for tests and other transports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from tasker_core.models.wrappers import unwrapped
from tasker_core.serialization import dump

__all__ = ["DocumentEvent", "readable"]


def readable(event: Any) -> Any:
    """An event of the core as it is; a document, plain or as a model, with the surface of one."""
    if event is None or isinstance(event, Mapping):
        return DocumentEvent(event or {})
    if hasattr(event, "context_json"):
        return event
    dumped = event.model_dump(mode="json") if hasattr(event, "model_dump") else vars(event)
    return DocumentEvent(dumped, event)


class DocumentEvent:
    """The surface of the native event over a dictionary of the wire shape."""

    def __init__(self, document: Mapping[str, Any], origin: Any = None) -> None:
        self._document = document
        #: The event as it was given.
        self.origin = document if origin is None else origin
        step = document.get("task_sequence_step") or {}
        self._task = step.get("task") or {}
        self._step = step.get("workflow_step") or {}
        self._results = step.get("dependency_results") or {}
        definition = step.get("step_definition") or {}
        self._handler = definition.get("handler") or {}
        self.cancelled = False
        self.event_id = str(document.get("event_id", ""))
        self.task_uuid = str(document.get("task_uuid", ""))
        self.step_uuid = str(document.get("step_uuid", ""))
        self.correlation_id = str(document.get("correlation_id", ""))
        self.step_name = str(self._step.get("name", ""))
        self.template_step_name = str(self._step.get("template_step_name", self.step_name))
        self.handler_callable = str(self._handler.get("callable", ""))
        self.handler_method = str(self._handler.get("method") or "call")
        self.handler_resolver: Optional[str] = self._handler.get("resolver")
        self.namespace = str(self._task.get("namespace_name", ""))
        self.task_name = str(self._task.get("task_name", ""))
        self.task_version = str(self._task.get("task_version", ""))
        self.attempts = int(self._step.get("attempts") or 0)
        self.max_attempts = int(self._step.get("max_attempts") or 3)
        self.has_checkpoint = self._step.get("checkpoint") is not None

    def context_json(self) -> bytes:
        """The task's context."""
        inner = self._task.get("task", self._task)
        return dump(inner.get("context") or {})

    def inputs_json(self) -> bytes:
        """Inputs of a batch worker."""
        return dump(self._step.get("inputs") or {})

    def initialization_json(self) -> bytes:
        """Configuration of the step."""
        return dump(self._handler.get("initialization") or {})

    def checkpoint_json(self) -> Optional[bytes]:
        """The stored checkpoint."""
        checkpoint = self._step.get("checkpoint")
        return None if checkpoint is None else dump(checkpoint)

    def dependency_names(self) -> list[str]:
        """Names of the dependencies that have a result."""
        return list(self._results)

    def dependency_json(self, name: str) -> Optional[bytes]:
        """The value of a dependency."""
        if name not in self._results:
            return None
        return dump(unwrapped(self._results[name]))

    def to_json(self) -> bytes:
        """The whole document."""
        return dump(self._document)
