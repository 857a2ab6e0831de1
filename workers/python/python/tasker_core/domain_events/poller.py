"""Hands domain events of this process to publishers and subscribers."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any, Callable, Optional

from tasker_core._current import current_worker
from tasker_core.domain_events.publisher_registry import PublisherRegistry
from tasker_core.domain_events.subscriber_registry import SubscriberRegistry
from tasker_core.serialization import load
from tasker_core.types.domain_event import (
    InProcessDomainEvent,
)

__all__ = ["InProcessDomainEventPoller"]


_log = logging.getLogger("tasker_core.domain_events")
# Pollers that run, guarded by the lock.
_hearing: list[InProcessDomainEventPoller] = []
_hearing_lock = threading.Lock()


class InProcessDomainEventPoller:
    """Takes domain events of steps that ran in this process and hands them to publishers and subscribers.

    Args:
        polling_interval_ms: Longest pause between two looks at whether to stop; an event that arrives ends it at once.
        max_events_per_poll: Events taken at once.
        native: The core; that of the running worker when absent.
    """

    DEFAULT_POLL_INTERVAL_MS = 10
    DEFAULT_MAX_EVENTS_PER_POLL = 100

    def __init__(
        self,
        polling_interval_ms: int = DEFAULT_POLL_INTERVAL_MS,
        max_events_per_poll: int = DEFAULT_MAX_EVENTS_PER_POLL,
        *,
        native: Any = None,
    ) -> None:
        self.polling_interval_ms = polling_interval_ms
        self.max_events_per_poll = max_events_per_poll
        self._native = native
        self._callbacks: list[Callable[[InProcessDomainEvent], Any]] = []
        self._error_callbacks: list[Callable[[Exception], Any]] = []
        self._thread: Optional[threading.Thread] = None
        self._stop = threading.Event()
        # One at a time, so that events are handled in the order they came.
        self._turn = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def stats(self) -> dict[str, int]:
        """``poll_count events_processed events_lagged``; and ``received errors``."""
        counts = self._counts
        known = {"poll_count": counts["polls"], "events_processed": counts["received"], "events_lagged": 0}
        return {**known, "received": counts["received"], "errors": counts["errors"]}

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
        """Starts its thread.

        Raises:
            RuntimeError: it runs, or there is no worker.
        """
        if self.is_running:
            raise RuntimeError("the poller of domain events is running already")
        if self._native is None:
            self._native = current_worker()
        self._stop.clear()
        with _hearing_lock:
            _hearing.append(self)
        self._thread = threading.Thread(target=self._loop, name="tasker-events", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Hands over what has arrived and stops, waiting for its thread ``timeout`` seconds at most."""
        self._stop.set()
        self.flush()
        with _hearing_lock:
            if self in _hearing:
                _hearing.remove(self)
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def flush(self) -> None:
        """Hands over what has arrived, in the caller's thread."""
        while self._native is not None and self._take(0):
            pass

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                if self._take(self.polling_interval_ms) is None:
                    return
            # Whatever goes wrong with one event, the next ones are heard.
            except BaseException as error:
                self._failed(error)
                self._stop.wait(0.1)

    def _take(self, timeout_ms: int) -> Optional[int]:
        """Handles what has arrived; how many events that were, ``None`` once the worker is closed."""
        with self._turn:
            self._counts["polls"] += 1
            try:
                messages = self._native.poll_in_process_events(self.max_events_per_poll, timeout_ms)
            except RuntimeError:
                return None
            for message in messages:
                self._hand_over(load(message))
            return len(messages)

    def _hand_over(self, message: dict[str, Any]) -> None:
        event = InProcessDomainEvent.from_dict(message)
        self._counts["received"] += 1
        PublisherRegistry.instance().published(event, message["metadata"])
        if event.metadata.delivery_mode == "durable":
            return
        SubscriberRegistry.instance().dispatch(event)
        # An event is taken by one poller and heard by the callbacks of all that poll the same core.
        with _hearing_lock:
            pollers = [self, *(p for p in _hearing if p is not self and p._native is self._native)]
        for poller in pollers:
            poller._call_back(event)

    def _call_back(self, event: InProcessDomainEvent) -> None:
        for callback in list(self._callbacks):
            try:
                callback(event)
            except BaseException as error:
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._counts["errors"] += 1
        for told in list(self._error_callbacks):
            try:
                told(error)  # type: ignore[arg-type]
            except BaseException:
                _log.exception("a callback for errors of domain events raised")
        if not self._error_callbacks:
            _log.error("a callback of a domain event raised", exc_info=error)
