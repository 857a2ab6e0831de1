"""Hands domain events of this process to publishers and subscribers."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Callable, Optional

from tasker_core.domain_events.publisher_registry import PublisherRegistry
from tasker_core.domain_events.subscriber_registry import SubscriberRegistry
from tasker_core.serialization import load
from tasker_core.types.domain_event import (
    InProcessDomainEvent,
)

__all__ = ["InProcessDomainEventPoller"]


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
            from tasker_core._current import current_worker

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
