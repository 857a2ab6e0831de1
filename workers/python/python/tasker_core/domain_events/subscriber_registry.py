"""The subscribers of this process."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from typing import Any, Optional, Union

from tasker_core._current import wake_workers
from tasker_core.domain_events.base_subscriber import BaseSubscriber
from tasker_core.types.domain_event import InProcessDomainEvent

__all__ = ["SubscriberRegistry"]


class _Stats(Counter):  # type: ignore[type-arg]
    """Counts of events; called, it also says who is registered."""

    def __init__(self, registry: SubscriberRegistry) -> None:
        super().__init__()
        self._registry = registry

    def __call__(self) -> dict[str, Any]:
        registry = self._registry
        listed = registry.list_registered()
        return {
            "registered_classes": len(listed["classes"]),
            "registered_instances": len(listed["instances"]),
            "active_subscribers": registry.active_count,
            "subscriptions": [
                {"class": type(s).__name__, "patterns": s._patterns(), "active": s.active} for s in registry.subscribers
            ],
            **self,
        }


class SubscriberRegistry:
    """The subscribers of this process."""

    _instance: Optional[SubscriberRegistry] = None

    def __init__(self) -> None:
        # Guards the lists; events are handled outside of it.
        self._lock = threading.Lock()
        # By name: those registered as classes, those registered as objects; and all that hear, registered or not.
        self._classes: dict[str, BaseSubscriber] = {}
        self._instances: dict[str, BaseSubscriber] = {}
        self._subscribers: list[BaseSubscriber] = []
        #: Events: ``handled``, ``skipped``, ``failed``; called, numbers of subscribers too.
        self.stats = _Stats(self)

    @classmethod
    def instance(cls) -> SubscriberRegistry:
        """The one of this process."""
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    @classmethod
    def reset(cls) -> None:
        """Stops all subscribers and forgets the registry; for tests."""
        before, cls._instance = cls._instance, None
        if before is not None:
            before.clear()

    def register(self, subscriber_class: Union[type[BaseSubscriber], BaseSubscriber]) -> BaseSubscriber:
        """Makes a class or object known; it hears once it is started. Gives the object.

        Raises:
            ValueError: it is no subscriber.
        """
        if not inspect.isclass(subscriber_class):
            return self.register_instance(subscriber_class)
        if not issubclass(subscriber_class, BaseSubscriber):
            raise ValueError(f"{subscriber_class.__name__} is no subclass of BaseSubscriber")
        made = subscriber_class()
        with self._lock:
            key, number = subscriber_class.__name__, 1
            while key in self._classes:
                number += 1
                key = f"{subscriber_class.__name__}_{number}"
            self._classes[key] = made
        self.hear(made)
        return made

    def register_instance(self, subscriber: BaseSubscriber, name: Optional[str] = None) -> BaseSubscriber:
        """Makes an object known, under its class's name when none is given.

        Raises:
            ValueError: it is no subscriber.
        """
        if not isinstance(subscriber, BaseSubscriber):
            raise ValueError(f"{subscriber!r} is no BaseSubscriber")
        with self._lock:
            self._instances[name or type(subscriber).__name__] = subscriber
        self.hear(subscriber)
        return subscriber

    def list_registered(self) -> dict[str, list[str]]:
        """Names of the classes and of the objects."""
        with self._lock:
            return {"classes": list(self._classes), "instances": list(self._instances)}

    def hear(self, subscriber: BaseSubscriber) -> None:
        """Lets a subscriber hear of events while it is started."""
        with self._lock:
            if not any(s is subscriber for s in self._subscribers):
                self._subscribers.append(subscriber)
        wake_workers()

    @property
    def subscribers(self) -> list[BaseSubscriber]:
        """All, started or not."""
        with self._lock:
            return list(self._subscribers)

    @property
    def active_count(self) -> int:
        """How many are started."""
        return sum(s.active for s in self.subscribers)

    def start_all(self, poller: Any = None) -> int:
        """Starts every subscriber; how many were started."""
        waiting = [s for s in self.subscribers if not s.active]
        for subscriber in waiting:
            # A subscriber of one's own may be started without a poller, or only with one.
            if inspect.signature(subscriber.start).parameters:
                subscriber.start(poller)
            else:
                subscriber.start()
        return len(waiting)

    def stop_all(self) -> int:
        """Stops every subscriber; how many were stopped."""
        running = [s for s in self.subscribers if s.active]
        for subscriber in running:
            subscriber.stop()
        return len(running)

    def clear(self) -> None:
        """Stops and forgets all."""
        self.stop_all()
        with self._lock:
            self._subscribers, self._classes, self._instances = [], {}, {}
        self.stats.clear()

    def dispatch(self, event: InProcessDomainEvent) -> int:
        """Hands an event to every started subscriber that hears its name; to how many."""
        heard = 0
        for subscriber in self.subscribers:
            if not subscriber.active or not subscriber.matches(event["event_name"]):
                continue
            heard += 1
            self.stats[subscriber.handle_event_safely(event)] += 1
        return heard
