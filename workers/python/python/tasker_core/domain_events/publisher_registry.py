"""The publishers of this process."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Optional, Union

from tasker_core._current import wake_workers
from tasker_core.domain_events.base_publisher import BasePublisher, DefaultPublisher
from tasker_core.serialization import load
from tasker_core.types.domain_event import (
    EventDeclaration,
    InProcessDomainEvent,
    PublishContext,
    StepEventContext,
    StepResult,
)

__all__ = ["PublisherRegistry"]

_log = logging.getLogger("tasker_core.domain_events")


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
        wake_workers()
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
