"""What publishers and subscribers get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Optional

from pydantic import Field

from tasker_core.types.model import Items, Model

__all__ = [
    "DomainEventMetadata",
    "Emit",
    "EventDeclaration",
    "InProcessDomainEvent",
    "PublishContext",
    "StepEventContext",
    "StepResult",
]


class EventDeclaration(Model):
    """An event as the template declares it."""

    name: str
    publisher: Optional[str] = None
    #: ``durable``, ``fast`` or ``broadcast``.
    delivery_mode: Optional[str] = None
    #: JSON Schema of the payload; the core checks it.
    schema_: Optional[dict[str, Any]] = Field(default=None, alias="schema")
    #: ``success``, ``failure``, ``retryable_failure``, ``permanent_failure`` or ``always``.
    condition: Optional[str] = None

    @property
    def schema(self) -> Optional[dict[str, Any]]:  # type: ignore[override]
        """JSON Schema of the payload."""
        return self.schema_


class StepResult(Model):
    """What a step came to, as publishers see it."""

    success: bool
    result: Any = None
    metadata: Optional[dict[str, Any]] = None
    error_message: Optional[str] = None
    error_type: Optional[str] = None
    error_code: Optional[str] = None
    retryable: Optional[bool] = None


class StepEventContext(Model):
    """The step an event is about, with what it came to."""

    task_uuid: str
    step_uuid: str
    step_name: str
    namespace: str
    correlation_id: str
    #: ``None`` if the step failed.
    result: Any = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    task_name: str = ""
    task_version: str = ""
    #: Attempts started before this one.
    attempts: int = 0
    #: Whether the step succeeded, with its error if not; absent outside of a worker.
    step_result: Optional[StepResult] = Field(default=None, repr=False)

    @classmethod
    def from_event(cls, event: Any, step_result: Optional[StepResult] = None) -> StepEventContext:
        """From a step event of the core."""
        return cls(
            task_uuid=str(event.task_uuid),
            step_uuid=str(event.step_uuid),
            step_name=event.step_name,
            namespace=event.namespace,
            correlation_id=str(event.correlation_id),
            result=None if step_result is None else step_result.result,
            metadata=(None if step_result is None else step_result.metadata) or {},
            task_name=event.task_name,
            task_version=event.task_version,
            attempts=event.attempts,
            step_result=step_result,
        )

    @classmethod
    def from_step_context(
        cls, step_context: Any, result: Any = None, metadata: Optional[dict[str, Any]] = None
    ) -> StepEventContext:
        """From the context a handler is called with."""
        return cls(
            task_uuid=str(step_context.task_uuid),
            step_uuid=str(step_context.step_uuid),
            step_name=step_context.step_name,
            namespace=step_context.namespace_name,
            correlation_id=str(step_context.correlation_id),
            result=result,
            metadata=metadata or {},
            attempts=step_context.retry_count,
        )


#: Takes an event's name, payload and metadata; true if it is published already, false if with the step's commit.
Emit = Callable[[str, Any, dict[str, Any]], bool]


class PublishContext(Model):
    """Everything a publisher may look at."""

    event_name: str
    step_result: StepResult
    event_declaration: Optional[EventDeclaration] = None
    step_context: Any = None
    #: Where the event goes; to the subscribers of this process when absent.
    emit: Optional[Emit] = None


class DomainEventMetadata(Items):
    """Where an event came from, and whatever a publisher added: a mapping, its items attributes as well."""

    _KNOWN = {
        "task_uuid": "",
        "step_uuid": None,
        "step_name": None,
        "namespace": None,
        "correlation_id": "",
        "fired_at": "",
        "fired_by": "default",
    }

    @property
    def delivery_mode(self) -> str:
        """``durable``, ``fast`` or ``broadcast``."""
        return str(self.get("delivery_mode") or "fast")

    @property
    def extra(self) -> dict[str, Any]:
        """What a publisher added."""
        return {k: v for k, v in self.items() if k not in self._KNOWN and k != "delivery_mode"}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DomainEventMetadata:
        """From an event's ``metadata``."""
        return cls({**cls._KNOWN, **data})


class InProcessDomainEvent(Items):
    """A published event: a mapping, its items attributes as well."""

    event_id: str
    event_name: str
    event_version: str
    metadata: DomainEventMetadata
    payload: Any
    execution_result: Any

    def __init__(
        self,
        *given: Any,
        event_id: str = "",
        event_name: str = "",
        event_version: str = "",
        metadata: Optional[Mapping[str, Any]] = None,
        payload: Any = None,
        execution_result: Any = None,
        **more: Any,
    ) -> None:
        super().__init__(
            event_id=event_id,
            event_name=event_name,
            event_version=event_version,
            metadata=DomainEventMetadata.from_dict(metadata or {}),
            payload={} if payload is None and not given else payload,
            execution_result=execution_result,
            **more,
        )
        for mapping in given:
            self.update(mapping)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InProcessDomainEvent:
        """From the document of the core, or any mapping of its shape."""
        if isinstance(data, cls):
            return data
        metadata = DomainEventMetadata.from_dict(data.get("metadata") or {})
        return cls({**data, "metadata": metadata})
