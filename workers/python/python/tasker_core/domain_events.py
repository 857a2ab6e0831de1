"""Domain events: publishers that make their payloads, subscribers that hear of them in this process.

An event is declared in the template (``publishes_events``) and published by the core once its step's outcome is
committed. A *publisher* shapes or holds back the payload just before; a *subscriber* gets events whose delivery is
``fast`` or ``broadcast``. Durable events wait in a queue: see ``TaskerClient.read_events``.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

from tasker_core.serialization import load

__all__ = [
    "BasePublisher",
    "BaseSubscriber",
    "DefaultPublisher",
    "DomainEventMetadata",
    "EventDeclaration",
    "InProcessDomainEvent",
    "InProcessDomainEventPoller",
    "PublishContext",
    "PublisherRegistry",
    "StepEventContext",
    "StepResult",
    "SubscriberRegistry",
]

_log = logging.getLogger("tasker_core.domain_events")


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
        SubscriberRegistry.instance().dispatch(InProcessDomainEvent.from_dict(event))
        return True

    return emit


class BaseSubscriber(ABC):
    """Hears events of this process; a failing one stops no other.

    Example:
        >>> class Mailer(BaseSubscriber):
        ...     subscribes_to = ["order.*"]
        ...     def handle(self, event):
        ...         print(event.event_name, event.payload)
        >>> SubscriberRegistry.instance().register(Mailer).start()
    """

    #: Exact names, ``prefix.*``, or ``*``; a class method that gives the list works too.
    subscribes_to: Any = ()

    def __init__(self) -> None:
        self._active = False

    @abstractmethod
    def handle(self, event: InProcessDomainEvent) -> Any:
        """Does what is to be done about the event."""

    def before_handle(self, event: InProcessDomainEvent) -> Optional[bool]:
        """Called first; ``False`` skips the event."""
        return True

    def after_handle(self, event: InProcessDomainEvent) -> None:
        """Called after ``handle`` returned."""

    def on_handle_error(self, event: InProcessDomainEvent, error: Exception) -> None:
        """Called when one of the other methods raised."""

    @property
    def subscriptions(self) -> list[str]:
        """The patterns it hears."""
        patterns = self.subscribes_to() if callable(self.subscribes_to) else self.subscribes_to
        return [patterns] if isinstance(patterns, str) else list(patterns)

    def matches(self, event_name: str) -> bool:
        """Whether it hears events of that name."""
        return any(
            pattern in ("*", event_name) or (pattern.endswith(".*") and event_name.startswith(pattern[:-1]))
            for pattern in self.subscriptions
        )

    @property
    def active(self) -> bool:
        """Whether it hears events now."""
        return self._active

    def start(self) -> BaseSubscriber:
        """Starts hearing."""
        self._active = True
        SubscriberRegistry.instance().add(self)
        return self

    def stop(self) -> None:
        """Stops hearing."""
        self._active = False


class PublisherRegistry:
    """The publishers of this process, by name."""

    _instance: Optional[PublisherRegistry] = None

    def __init__(self) -> None:
        self._publishers: dict[str, BasePublisher] = {"default": DefaultPublisher()}
        self._missed: set[str] = set()
        #: Publications: ``published``, ``skipped``, ``failed``.
        self.stats: Counter[str] = Counter()

    @classmethod
    def instance(cls) -> PublisherRegistry:
        """The one of this process."""
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    def register(self, publisher: Union[BasePublisher, type[BasePublisher]]) -> BasePublisher:
        """Makes a publisher known by its name."""
        made = publisher() if isinstance(publisher, type) else publisher
        self._publishers[made.publisher_name] = made
        _wake_workers()
        return made

    def get(self, name: str) -> Optional[BasePublisher]:
        """The publisher of a name."""
        return self._publishers.get(name)

    def names(self) -> list[str]:
        """All names."""
        return sorted(self._publishers)

    def clear(self) -> None:
        """Forgets all but the default."""
        self._publishers = {"default": DefaultPublisher()}
        self.stats.clear()

    def prepare(self, event: Any, result: StepResult) -> list[dict[str, Any]]:
        """What the publishers make of the events a step will publish, for the core."""
        prepared = []
        step = StepEventContext.from_event(event)
        for index, name, publisher_name, delivery, schema in event.publications(
            result.success, result.retryable is not False
        ):
            publisher = self._publishers.get(publisher_name)
            if publisher is None:
                if publisher_name not in self._missed:
                    self._missed.add(publisher_name)
                    _log.warning(
                        "no publisher `%s` is registered; event %s of step %s is published as it is",
                        publisher_name,
                        name,
                        event.step_name,
                    )
                continue
            declared = EventDeclaration(name, publisher_name, delivery, None if schema is None else load(schema))
            handed: list[dict[str, Any]] = []

            def emit(
                _name: str, payload: Any, metadata: dict[str, Any], index: int = index, handed: Any = handed
            ) -> bool:
                handed.append({"index": index, "payload": payload, "metadata": metadata or None})
                return False

            if not publisher.publish(PublishContext(name, result, declared, step, emit)):
                self.stats["skipped"] += 1
            prepared.extend(handed or [{"index": index, "skip": True}])
        return prepared

    def published(self, event: InProcessDomainEvent, metadata: dict[str, Any]) -> None:
        """Tells the publisher of an event that it has been published."""
        publisher = self._publishers.get(event.metadata.fired_by)
        if publisher is None:
            return
        self.stats["published"] += 1
        try:
            publisher.after_publish(event.event_name, event.payload, metadata)
        except Exception as error:
            self.failed(publisher, event.event_name, error, event.payload)

    def failed(self, publisher: BasePublisher, event_name: str, error: Exception, payload: Any) -> None:
        """Counts and logs what a publisher raised, and tells it."""
        self.stats["failed"] += 1
        _log.error("publisher %s failed on %s", publisher.publisher_name, event_name, exc_info=error)
        try:
            publisher.on_publish_error(event_name, error, payload)
        except Exception:
            _log.exception("publisher %s failed on its own failure", publisher.publisher_name)


class SubscriberRegistry:
    """The subscribers of this process."""

    _instance: Optional[SubscriberRegistry] = None

    def __init__(self) -> None:
        # Guards the list; events are handled outside of it.
        self._lock = threading.Lock()
        self._subscribers: list[BaseSubscriber] = []
        #: Events: ``handled``, ``skipped``, ``failed``.
        self.stats: Counter[str] = Counter()

    @classmethod
    def instance(cls) -> SubscriberRegistry:
        """The one of this process."""
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    def register(self, subscriber: Union[BaseSubscriber, type[BaseSubscriber]]) -> BaseSubscriber:
        """Makes a subscriber known; it hears once it is started."""
        made = subscriber() if isinstance(subscriber, type) else subscriber
        self.add(made)
        return made

    def add(self, subscriber: BaseSubscriber) -> None:
        """Adds a subscriber unless it is there."""
        with self._lock:
            if subscriber not in self._subscribers:
                self._subscribers.append(subscriber)
        _wake_workers()

    @property
    def subscribers(self) -> list[BaseSubscriber]:
        """All, started or not."""
        with self._lock:
            return list(self._subscribers)

    def start_all(self) -> None:
        """Starts every subscriber."""
        for subscriber in self.subscribers:
            subscriber.start()

    def stop_all(self) -> None:
        """Stops every subscriber."""
        for subscriber in self.subscribers:
            subscriber.stop()

    def clear(self) -> None:
        """Stops and forgets all."""
        self.stop_all()
        with self._lock:
            self._subscribers = []
        self.stats.clear()

    def dispatch(self, event: InProcessDomainEvent) -> int:
        """Hands an event to every started subscriber that hears its name; to how many."""
        heard = 0
        for subscriber in self.subscribers:
            if not subscriber.active or not subscriber.matches(event.event_name):
                continue
            heard += 1
            try:
                if subscriber.before_handle(event) is False:
                    self.stats["skipped"] += 1
                    continue
                subscriber.handle(event)
                subscriber.after_handle(event)
                self.stats["handled"] += 1
            except Exception as error:
                self.stats["failed"] += 1
                _log.error("subscriber %s failed on %s", type(subscriber).__name__, event.event_name, exc_info=error)
                try:
                    subscriber.on_handle_error(event, error)
                except Exception:
                    _log.exception("subscriber %s failed on its own failure", type(subscriber).__name__)
        return heard


def _wake_workers() -> None:
    """Workers take events only once there is someone to hear them."""
    import sys

    worker = sys.modules.get("tasker_core.worker")
    for started in list(worker._started) if worker is not None else ():
        started.hear_domain_events()


class InProcessDomainEventPoller:
    """Takes domain events of steps that ran in this process and hands them to publishers and subscribers.

    Args:
        polling_interval_ms: Longest pause between two looks at whether to stop; an event that arrives ends it at once.
        max_events_per_poll: Events taken at once.
        native: The core; that of the running worker when absent.
    """

    def __init__(self, polling_interval_ms: int = 1000, max_events_per_poll: int = 100, *, native: Any = None) -> None:
        self.polling_interval_ms = polling_interval_ms
        self.max_events_per_poll = max_events_per_poll
        self._native = native
        self._callbacks: list[Callable[[InProcessDomainEvent], Any]] = []
        self._error_callbacks: list[Callable[[Exception], Any]] = []
        self._thread: Optional[threading.Thread] = None
        self._stop = threading.Event()
        # One at a time, so that events are handled in the order they came.
        self._turn = threading.Lock()
        #: Events: ``received``, ``errors``.
        self.stats: Counter[str] = Counter()

    def on_event(self, callback: Callable[[InProcessDomainEvent], Any]) -> None:
        """Calls back with each ``fast`` or ``broadcast`` event, besides the subscribers."""
        self._callbacks.append(callback)

    def on_error(self, callback: Callable[[Exception], Any]) -> None:
        """Calls back with what a callback raised."""
        self._error_callbacks.append(callback)

    @property
    def is_running(self) -> bool:
        """Whether it polls."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Starts its thread; does nothing if it runs."""
        if self.is_running:
            return
        if self._native is None:
            from tasker_core._tasker_core import current_worker

            self._native = current_worker()
        self._stop.clear()
        self._thread = threading.Thread(target=self._loop, name="tasker-events", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Hands over what has arrived and stops."""
        self._stop.set()
        self.flush()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def flush(self) -> None:
        """Hands over what has arrived, in the caller's thread."""
        while self._native is not None and self._take(0):
            pass

    def _loop(self) -> None:
        while not self._stop.is_set():
            if self._take(self.polling_interval_ms) is None:
                return

    def _take(self, timeout_ms: int) -> Optional[int]:
        """Handles what has arrived; how many events that were, ``None`` once the worker is closed."""
        with self._turn:
            try:
                messages = self._native.poll_in_process_events(self.max_events_per_poll, timeout_ms)
            except RuntimeError:
                return None
            for message in messages:
                self._hand_over(load(message))
            return len(messages)

    def _hand_over(self, message: dict[str, Any]) -> None:
        event = InProcessDomainEvent.from_dict(message)
        self.stats["received"] += 1
        PublisherRegistry.instance().published(event, message["metadata"])
        if event.metadata.delivery_mode == "durable":
            return
        SubscriberRegistry.instance().dispatch(event)
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception as error:
                self.stats["errors"] += 1
                for told in self._error_callbacks:
                    told(error)
