"""Publishers shape or hold back the payload of an event."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Optional

from tasker_core.types.domain_event import (
    Emit,
    EventDeclaration,
    InProcessDomainEvent,
    PublishContext,
    StepEventContext,
    StepResult,
)

__all__ = ["BasePublisher", "DefaultPublisher"]


class BasePublisher(ABC):
    """Shapes the events of declarations that name it; a failing one never fails the step.

    Example:
        >>> class Receipts(BasePublisher):
        ...     publisher_name = "receipts"
        ...     def transform_payload(self, step_result, event_declaration, step_context):
        ...         return {"total": step_result.result["total"]}
        >>> PublisherRegistry.instance().register(Receipts())
    """

    @property
    @abstractmethod
    def publisher_name(self) -> str:
        """The name declarations use."""

    def should_publish(
        self,
        step_result: StepResult,
        event_declaration: Optional[EventDeclaration],
        step_context: Optional[StepEventContext],
    ) -> bool:
        """Whether the event is published at all."""
        return True

    def transform_payload(
        self,
        step_result: StepResult,
        event_declaration: Optional[EventDeclaration],
        step_context: Optional[StepEventContext],
    ) -> Any:
        """The payload; the step's result, or its error."""
        if step_result.success:
            return step_result.result
        error = {
            "message": step_result.error_message,
            "error_type": step_result.error_type,
            "error_code": step_result.error_code,
            "retryable": step_result.retryable,
        }
        return {k: v for k, v in error.items() if v is not None}

    def additional_metadata(
        self,
        step_result: StepResult,
        event_declaration: Optional[EventDeclaration],
        step_context: Optional[StepEventContext],
    ) -> dict[str, Any]:
        """Merged into the event's metadata."""
        return {}

    def before_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> Optional[bool]:
        """Called before the event is handed over; ``False`` stops it."""
        return True

    def after_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> None:
        """Called once the event is published, which is after the commit of its step."""

    def on_publish_error(self, event_name: str, error: Exception, payload: Any) -> None:
        """Called when one of the other methods raised; the event is not published."""

    def publish(self, ctx: PublishContext) -> bool:
        """Takes an event through all of the above; whether it was handed over."""
        payload: Any = None
        seen = (ctx.step_result, ctx.event_declaration, ctx.step_context)
        try:
            if not self.should_publish(*seen):
                return False
            payload = self.transform_payload(*seen)
            metadata = self.additional_metadata(*seen)
            if self.before_publish(ctx.event_name, payload, metadata) is False:
                return False
            emit = ctx.emit or _to_subscribers(self.publisher_name, ctx)
            if emit(ctx.event_name, payload, metadata):
                self.after_publish(ctx.event_name, payload, metadata)
            return True
        except Exception as error:
            from tasker_core.domain_events.publisher_registry import PublisherRegistry

            PublisherRegistry.instance().failed(self, ctx.event_name, error, payload)
            return False


class DefaultPublisher(BasePublisher):
    """Publishes the step's result, or its error."""

    publisher_name = "default"


def _to_subscribers(publisher: str, ctx: PublishContext) -> Emit:
    def emit(name: str, payload: Any, metadata: dict[str, Any]) -> bool:
        import datetime
        import uuid

        step = ctx.step_context
        where = {} if step is None else {k: getattr(step, k) for k in ("task_uuid", "step_uuid", "step_name")}
        if step is not None:
            where.update(namespace=step.namespace, correlation_id=step.correlation_id)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {
            "event_id": str(uuid.uuid4()),
            "event_name": name,
            "event_version": step.task_version if step is not None else "",
            "payload": payload,
            "metadata": {**where, "fired_at": now, "fired_by": publisher, **metadata},
        }
        from tasker_core.domain_events.subscriber_registry import SubscriberRegistry

        SubscriberRegistry.instance().dispatch(InProcessDomainEvent.from_dict(event))
        return True

    return emit
