"""The subscribers of this process."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Optional, Union

from tasker_core._current import wake_workers
from tasker_core.domain_events.base_subscriber import BaseSubscriber
from tasker_core.types.domain_event import (
    InProcessDomainEvent,
)

__all__ = ["SubscriberRegistry"]

_log = logging.getLogger("tasker_core.domain_events")


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
        wake_workers()

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
