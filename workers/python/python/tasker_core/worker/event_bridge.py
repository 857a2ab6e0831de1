"""In-process events of the worker, by name."""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Optional

from pyee.base import EventEmitter

__all__ = ["EventBridge", "EventNames"]

Listener = Callable[..., Any]

_log = logging.getLogger("tasker_core.events")


class EventNames:
    """Names of the worker's events."""

    STEP_EXECUTION_RECEIVED = "step.execution.received"
    STEP_COMPLETION_SENT = "step.completion.sent"
    STEP_CHECKPOINT_YIELD = "step.checkpoint_yield.sent"
    STEP_CHECKPOINT_YIELD_SENT = STEP_CHECKPOINT_YIELD
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


class _Schema(dict):  # type: ignore[type-arg]
    """What listeners are called with, by event; called, that of one event."""

    def __call__(self, event: str) -> Optional[str]:
        return self.get(event)


class EventBridge:
    """Publishes and listens, in the thread of the publisher. A listener that raises stops no other.

    Args:
        parent: Hears every event of this bridge too. Each worker has a bridge of its own, with that of the process
            as its parent: listen there for all workers.

    Example:
        >>> bridge = EventBridge.instance()
        >>> bridge.start()
        >>> bridge.subscribe(EventNames.HANDLER_ERROR, lambda event, error: print(error))
    """

    _instance: Optional[EventBridge] = None
    _lock = threading.Lock()

    def __init__(self, parent: Optional[EventBridge] = None) -> None:
        self._emitter = EventEmitter()
        self._active = False
        self._parent = parent
        # Listeners by event, as the emitter has them: what is published without a listener costs one look.
        self._listeners: dict[str, list[Listener]] = {}

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
        self._listeners.clear()

    @property
    def is_active(self) -> bool:
        """Whether events go through."""
        return self._active

    def subscribe(self, event: str, handler: Listener) -> None:
        """Calls the handler at every event of that name."""
        self._emitter.on(event, handler)
        self._changed(event)

    def subscribe_once(self, event: str, handler: Listener) -> None:
        """Calls the handler at the next event of that name only."""
        turn = threading.Lock()

        def once(*args: Any, **named: Any) -> None:
            # Two threads may publish at once; the first has it.
            if turn.acquire(blocking=False):
                self.unsubscribe(event, once)
                handler(*args, **named)

        self.subscribe(event, once)

    def unsubscribe(self, event: str, handler: Listener) -> None:
        """Stops calling the handler; does nothing if it was not called."""
        if handler in self._emitter.listeners(event):
            self._emitter.remove_listener(event, handler)
            self._changed(event)

    def publish(self, event: str, *args: Any, **kwargs: Any) -> bool:
        """Calls every listener; whether there was one. Until it is started, events are dropped with a warning."""
        if not self._active and self._parent is None:
            _log.warning("event %s is dropped: the event bridge is not started", event)
        return self._publish(event, args, kwargs, False)

    def _publish(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any], passed_on: bool) -> bool:
        heard = False
        if self._active:
            for listener in self._listeners.get(event, ()):
                # The worker whose step it is runs it; another one that listens to the process would run it again.
                if passed_on and getattr(getattr(listener, "__self__", None), "runs_steps", False):
                    continue
                heard = True
                try:
                    listener(*args, **kwargs)
                except Exception as error:
                    self._failed(event, error)
        if self._parent is not None and self._parent._publish(event, args, kwargs, True):
            heard = True
        return heard

    def has_listeners(self, event: str) -> bool:
        """Whether anyone would hear an event of that name; costs a look into a dictionary."""
        if self._active and event in self._listeners:
            return True
        return self._parent is not None and self._parent.has_listeners(event)

    def listener_count(self, event: str) -> int:
        """How many listen to that name."""
        return len(self._emitter.listeners(event))

    def listeners(self, event: str) -> list[Listener]:
        """Who listens to that name."""
        return list(self._emitter.listeners(event))

    @property
    def event_schema(self) -> _Schema:
        """What the listeners are called with, by the event's name; called with a name, that of one."""
        return _Schema(_SCHEMAS)

    def _changed(self, event: str) -> None:
        listeners = list(self._emitter.listeners(event))
        if listeners:
            self._listeners[event] = listeners
        else:
            self._listeners.pop(event, None)

    def _failed(self, event: str, error: Exception) -> None:
        # A listener of `bridge.error` that raises must not call itself.
        if event == EventNames.BRIDGE_ERROR or not self._publish(EventNames.BRIDGE_ERROR, (error,), {}, False):
            _log.error("a listener of %s raised", event, exc_info=error)
