"""In-process events of the worker, by name."""

from __future__ import annotations

import threading
from typing import Any, Callable, Optional

from pyee.base import EventEmitter

__all__ = ["EventBridge", "EventNames"]

Listener = Callable[..., Any]


class EventNames:
    """Names of the worker's events."""

    STEP_EXECUTION_RECEIVED = "step.execution.received"
    STEP_COMPLETION_SENT = "step.completion.sent"
    STEP_CHECKPOINT_YIELD_SENT = "step.checkpoint_yield.sent"
    HANDLER_REGISTERED = "handler.registered"
    HANDLER_ERROR = "handler.error"
    POLLER_METRICS = "poller.metrics"
    POLLER_ERROR = "poller.error"
    BRIDGE_ERROR = "bridge.error"


_SCHEMAS: dict[str, str] = {
    EventNames.STEP_EXECUTION_RECEIVED: "event: StepEvent",
    EventNames.STEP_COMPLETION_SENT: "result: ExecutionResult",
    EventNames.STEP_CHECKPOINT_YIELD_SENT: "event: StepEvent, checkpoint: CheckpointYield",
    EventNames.HANDLER_REGISTERED: "name: str",
    EventNames.HANDLER_ERROR: "event: StepEvent, error: BaseException",
    EventNames.POLLER_METRICS: "metrics: dict",
    EventNames.POLLER_ERROR: "error: BaseException",
    EventNames.BRIDGE_ERROR: "error: BaseException",
}


class EventBridge:
    """Publishes and listens, in the thread of the publisher. A listener that raises stops no other.

    Example:
        >>> bridge = EventBridge.instance()
        >>> bridge.start()
        >>> bridge.subscribe(EventNames.HANDLER_ERROR, lambda event, error: print(error))
    """

    _instance: Optional[EventBridge] = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._emitter = EventEmitter()
        self._active = False
        self._counts: dict[str, int] = {}

    @classmethod
    def instance(cls) -> EventBridge:
        """The bridge of this process."""
        with cls._lock:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    @classmethod
    def reset_instance(cls) -> None:
        """Forgets the bridge with its listeners; for tests."""
        with cls._lock:
            cls._instance = None

    def start(self) -> None:
        """Lets events through."""
        self._active = True

    def stop(self) -> None:
        """Lets no event through and drops every listener."""
        self._active = False
        self._emitter.remove_all_listeners()
        self._counts.clear()

    @property
    def is_active(self) -> bool:
        """Whether events go through."""
        return self._active

    def subscribe(self, event: str, listener: Listener) -> None:
        """Calls the listener at every event of that name."""
        self._emitter.on(event, listener)
        self._recount(event)

    def subscribe_once(self, event: str, listener: Listener) -> None:
        """Calls the listener at the next event of that name only."""

        def once(*args: Any) -> None:
            self.unsubscribe(event, once)
            listener(*args)

        self.subscribe(event, once)

    def unsubscribe(self, event: str, listener: Listener) -> None:
        """Stops calling the listener."""
        self._emitter.remove_listener(event, listener)
        self._recount(event)

    def publish(self, event: str, *args: Any) -> bool:
        """Calls every listener; whether there was one."""
        # Most events have no listener: a look into a small dictionary is all they cost.
        if not self._active or not self._counts.get(event):
            return False
        for listener in list(self._emitter.listeners(event)):
            try:
                listener(*args)
            except Exception as error:
                if event != EventNames.BRIDGE_ERROR:
                    self.publish(EventNames.BRIDGE_ERROR, error)
        self._recount(event)
        return True

    def has_listeners(self, event: str) -> bool:
        """Whether anyone listens to that name; costs one look into a dictionary."""
        return bool(self._counts.get(event))

    def listener_count(self, event: str) -> int:
        """How many listen to that name."""
        return len(self._emitter.listeners(event))

    def listeners(self, event: str) -> list[Listener]:
        """Who listens to that name."""
        return list(self._emitter.listeners(event))

    def event_schema(self, event: str) -> Optional[str]:
        """What the listeners of a name are called with."""
        return _SCHEMAS.get(event)

    def _recount(self, event: str) -> None:
        self._counts[event] = len(self._emitter.listeners(event))
