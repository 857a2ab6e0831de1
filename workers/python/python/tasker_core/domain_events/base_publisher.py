"""Publishers shape or hold back the payload of an event."""

from __future__ import annotations

import datetime
import inspect
import uuid
from abc import ABC, abstractmethod
from typing import Any, Optional, Union

from tasker_core.types.domain_event import (
    Emit,
    EventDeclaration,
    InProcessDomainEvent,
    PublishContext,
    StepEventContext,
    StepResult,
)

__all__ = ["BasePublisher", "DefaultPublisher", "default_payload"]


def default_payload(step_result: StepResult) -> Any:
    """The step's result, or its error."""
    if step_result.success:
        return {} if step_result.result is None else step_result.result
    error = {
        "message": step_result.error_message,
        "error_message": step_result.error_message,
        "error_type": step_result.error_type,
        "error_code": step_result.error_code,
        "retryable": step_result.retryable,
    }
    return {k: v for k, v in error.items() if v is not None}


class BasePublisher(ABC):
    """Shapes the events of declarations that name it; a failing one never fails the step.

    Hooks get one ``StepEventContext``. A hook may also be defined with three parameters, ``(step_result,
    event_declaration, step_context)``.

    Example:
        >>> class Receipts(BasePublisher):
        ...     publisher_name = "receipts"
        ...     def transform_payload(self, ctx):
        ...         return {"total": ctx.result["total"]}
        >>> PublisherRegistry.instance().register(Receipts())
    """

    @property
    @abstractmethod
    def publisher_name(self) -> str:
        """The name declarations use."""

    def should_publish(self, ctx: Any, event_declaration: Any = None, step_context: Any = None) -> bool:
        """Whether the event is published at all."""
        return True

    def transform_payload(self, ctx: Any, event_declaration: Any = None, step_context: Any = None) -> Any:
        """The payload; the step's result, or its error."""
        if isinstance(ctx, StepResult):
            return default_payload(ctx)
        if getattr(ctx, "step_result", None) is not None:
            return default_payload(ctx.step_result)
        return ctx.result or {}

    def additional_metadata(self, ctx: Any, event_declaration: Any = None, step_context: Any = None) -> dict[str, Any]:
        """Merged into the event's metadata."""
        return {}

    def before_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> Optional[bool]:
        """Called before the event is handed over; ``False`` stops it."""
        return True

    def after_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> None:
        """Called once the event is published, which is after the commit of its step."""

    def on_publish_error(self, event_name: str, error: Exception, payload: Any) -> None:
        """Called when one of the other methods raised; the event is then published with the default payload."""

    def publish(self, ctx: Union[StepEventContext, PublishContext], event_name: Optional[str] = None) -> bool:
        """Takes an event through all of the above; whether it was handed over.

        Args:
            ctx: The step; or a ``PublishContext``, which names the event itself.
            event_name: The publisher's name when absent.
        """
        from tasker_core.domain_events.publisher_registry import PublisherRegistry

        if isinstance(ctx, PublishContext):
            event, result, declared, step = ctx.event_name, ctx.step_result, ctx.event_declaration, ctx.step_context
            emit = ctx.emit
        else:
            event, declared, step, emit = event_name or self.publisher_name, None, ctx, None
            result = ctx.step_result or StepResult(success=True, result=ctx.result, metadata=ctx.metadata)
        payload: Any = None
        try:
            given = (_stepless(result) if step is None else step, result, declared, step)
            if not self._ask("should_publish", *given):
                return False
            payload = self._ask("transform_payload", *given)
            base = self._base_metadata(step)
            extra = self._ask("additional_metadata", *given) or {}
            metadata = {**base, **(getattr(step, "metadata", None) or {}), **extra}
            if self.before_publish(event, payload, metadata) is False:
                return False
            # What the core adds by itself need not be handed over.
            own = {k: v for k, v in metadata.items() if k not in base or base[k] != v}
            if (emit or _to_subscribers(self.publisher_name, step))(event, payload, own if emit else metadata):
                self.after_publish(event, payload, metadata)
            return True
        # A publisher must fail no step, whatever it raises.
        except BaseException as error:
            PublisherRegistry.instance().failed(self, event, error, payload)
            return False

    def _base_metadata(self, step: Optional[StepEventContext]) -> dict[str, Any]:
        about: dict[str, Any] = {"publisher": self.publisher_name, "published_at": _now()}
        if step is not None:
            names = ("task_uuid", "step_uuid", "step_name", "namespace", "correlation_id")
            about.update({name: getattr(step, name) for name in names})
        return about

    def _ask(
        self,
        hook: str,
        ctx: Any,
        result: StepResult,
        declared: Optional[EventDeclaration],
        step: Optional[StepEventContext],
    ) -> Any:
        """Calls a hook in the form it is defined in: with one context, or with three parameters."""
        method = getattr(self, hook)
        if getattr(type(self), hook) is not getattr(BasePublisher, hook) and _takes_three(method):
            return method(result, declared, step)
        return method(ctx)


class DefaultPublisher(BasePublisher):
    """Publishes the step's result, or its error."""

    publisher_name = "default"


def _takes_three(method: Any) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return False
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in plain if p.default is p.empty]
    return len(required) > 1 or len(plain) >= 3 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _stepless(result: StepResult) -> StepEventContext:
    """What a hook gets for an event that is about no step."""
    return StepEventContext(
        task_uuid="",
        step_uuid="",
        step_name="",
        namespace="",
        correlation_id="",
        result=result.result,
        metadata=result.metadata or {},
        step_result=result,
    )


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _to_subscribers(publisher: str, step: Optional[StepEventContext]) -> Emit:
    def emit(name: str, payload: Any, metadata: dict[str, Any]) -> bool:
        from tasker_core.domain_events.subscriber_registry import SubscriberRegistry

        event = {
            "event_id": str(uuid.uuid4()),
            "event_name": name,
            "event_version": step.task_version if step is not None else "",
            "payload": payload,
            "metadata": {"fired_at": _now(), "fired_by": publisher, **metadata},
        }
        SubscriberRegistry.instance().dispatch(InProcessDomainEvent.from_dict(event))
        return True

    return emit
