"""What publishers and subscribers get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

__all__ = [
    "DomainEventMetadata",
    "Emit",
    "EventDeclaration",
    "InProcessDomainEvent",
    "PublishContext",
    "StepEventContext",
    "StepResult",
]


@dataclass(frozen=True)
class EventDeclaration:
    """An event as the template declares it."""

    name: str
    publisher: Optional[str] = None
    #: ``durable``, ``fast`` or ``broadcast``.
    delivery_mode: str = "durable"
    #: JSON Schema of the payload; the core checks it.
    schema: Optional[dict[str, Any]] = None


@dataclass(frozen=True)
class StepResult:
    """What a step came to, as publishers see it."""

    success: bool
    result: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)
    error_message: Optional[str] = None
    error_type: Optional[str] = None
    error_code: Optional[str] = None
    retryable: Optional[bool] = None


@dataclass(frozen=True)
class StepEventContext:
    """The step an event is about."""

    task_uuid: str
    step_uuid: str
    step_name: str
    namespace: str
    correlation_id: str
    task_name: str = ""
    task_version: str = ""
    #: Attempts started before this one.
    attempts: int = 0

    @classmethod
    def from_event(cls, event: Any) -> StepEventContext:
        """From a step event of the core."""
        return cls(
            task_uuid=event.task_uuid,
            step_uuid=event.step_uuid,
            step_name=event.step_name,
            namespace=event.namespace,
            correlation_id=event.correlation_id,
            task_name=event.task_name,
            task_version=event.task_version,
            attempts=event.attempts,
        )


#: Takes an event's name, payload and metadata; true if it is published already, false if with the step's commit.
Emit = Callable[[str, Any, dict[str, Any]], bool]


@dataclass(frozen=True)
class PublishContext:
    """Everything a publisher may look at."""

    event_name: str
    step_result: StepResult
    event_declaration: Optional[EventDeclaration] = None
    step_context: Optional[StepEventContext] = None
    #: Where the event goes; to the subscribers of this process when absent.
    emit: Optional[Emit] = None


@dataclass(frozen=True)
class DomainEventMetadata:
    """Where an event came from; whatever a publisher added is in ``extra``."""

    task_uuid: str = ""
    step_uuid: str = ""
    step_name: str = ""
    namespace: str = ""
    correlation_id: str = ""
    fired_at: str = ""
    fired_by: str = "default"
    delivery_mode: str = "fast"
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DomainEventMetadata:
        """From an event's ``metadata``."""
        known = {k: data[k] for k in cls.__dataclass_fields__ if k in data and k != "extra"}
        return cls(**known, extra={k: v for k, v in data.items() if k not in known})


@dataclass(frozen=True)
class InProcessDomainEvent:
    """A published event."""

    event_id: str
    event_name: str
    event_version: str
    payload: Any
    metadata: DomainEventMetadata

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InProcessDomainEvent:
        """From the document of the core."""
        return cls(
            event_id=data["event_id"],
            event_name=data["event_name"],
            event_version=data["event_version"],
            payload=data["payload"],
            metadata=DomainEventMetadata.from_dict(data["metadata"]),
        )
