"""The publishers of this process."""

from __future__ import annotations

import inspect
import logging
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any, Optional, Union

from tasker_core._current import wake_workers
from tasker_core.domain_events.base_publisher import BasePublisher, DefaultPublisher, default_payload
from tasker_core.serialization import SerializationError, dump, load
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
        self._default = DefaultPublisher()
        self._publishers: dict[str, BasePublisher] = {}
        self._frozen = False
        self._missed: set[str] = set()
        # What a publisher raised last, in this thread.
        self._failure = threading.local()
        #: Publications: ``published``, ``skipped``, ``failed``.
        self.stats: Counter[str] = Counter()

    @classmethod
    def instance(cls) -> PublisherRegistry:
        """The one of this process."""
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    @classmethod
    def reset(cls) -> None:
        """Forgets the registry; for tests."""
        cls._instance = None

    def register(
        self, publisher: Union[BasePublisher, type[BasePublisher]], name: Optional[str] = None
    ) -> BasePublisher:
        """Makes a publisher known by its name, or by another.

        Raises:
            ValueError: it is no publisher.
            RuntimeError: the registry is frozen.
        """
        self._thaw()
        made = publisher() if inspect.isclass(publisher) else publisher
        if not isinstance(made, BasePublisher):
            raise ValueError(f"{publisher!r} is no BasePublisher")
        self._publishers[name or made.publisher_name] = made
        wake_workers()
        return made

    def get(self, name: str) -> Optional[BasePublisher]:
        """The publisher of a name; ``None`` if there is none."""
        return self._publishers.get(name) or (self._default if name == "default" else None)

    def get_or_default(self, name: str) -> BasePublisher:
        """The publisher of a name; the default one if there is none."""
        return self._publishers.get(name) or self._default

    def list_publishers(self) -> list[str]:
        """All names but the default's, in the order of their registration."""
        return list(self._publishers)

    def names(self) -> list[str]:
        """All names."""
        return sorted({"default", *self._publishers})

    def validate_required(self, names: Iterable[str]) -> list[str]:
        """Which of the names no publisher has."""
        return [name for name in names if self.get(name) is None]

    @property
    def is_frozen(self) -> bool:
        """Whether it takes no more publishers."""
        return self._frozen

    def freeze(self) -> None:
        """Takes no more publishers."""
        self._frozen = True

    def unfreeze(self) -> None:
        """Takes publishers again."""
        self._frozen = False

    def clear(self) -> None:
        """Forgets all but the default.

        Raises:
            RuntimeError: the registry is frozen.
        """
        self._thaw()
        self._publishers = {}
        self.stats.clear()

    def _thaw(self) -> None:
        if self._frozen:
            raise RuntimeError("the registry of publishers is frozen; unfreeze() it first")

    def prepare(self, event: Any, result: StepResult) -> list[dict[str, Any]]:
        """What the publishers make of the events a step will publish, for the core."""
        prepared = []
        step = StepEventContext.from_event(event, result)
        for index, name, publisher_name, delivery, schema in event.publications(
            result.success, result.retryable is not False
        ):
            publisher = self.get(publisher_name)
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
            declared = EventDeclaration(
                name=name,
                publisher=publisher_name,
                delivery_mode=delivery,
                schema=None if schema is None else load(schema),
            )
            handed: list[dict[str, Any]] = []

            def emit(
                _name: str, payload: Any, metadata: dict[str, Any], index: int = index, handed: Any = handed
            ) -> bool:
                handed.append({"index": index, "payload": payload, "metadata": metadata or None})
                return False

            self._failure.error = None
            context = PublishContext(
                event_name=name, step_result=result, event_declaration=declared, step_context=step, emit=emit
            )
            if not publisher.publish(context):
                error = self._failure.error
                if error is not None:
                    # Nothing is lost because a publisher fails.
                    handed = [_by_default(index, result, error)]
                else:
                    self.stats["skipped"] += 1
            prepared.extend(handed or [{"index": index, "skip": True}])
        return prepared

    def prepared_json(self, event: Any, result: StepResult) -> Optional[bytes]:
        """As :meth:`prepare`, as JSON; ``None`` if no event of the step names a publisher."""
        if not event.has_publishers:
            return None
        made = []
        for prepared in self.prepare(event, result):
            try:
                made.append(dump(prepared, "event"))
            except SerializationError as error:
                _log.error("the payload of an event of step %s cannot be stored: %s", event.step_name, error)
                made.append(dump(_by_default(prepared["index"], result, error)))
        return b"[" + b",".join(made) + b"]"

    def published(self, event: InProcessDomainEvent, metadata: dict[str, Any]) -> None:
        """Tells the publisher of an event that it has been published."""
        publisher = self._publishers.get(str(event["metadata"].get("fired_by")))
        if publisher is None or "publisher_error" in metadata:
            return
        self.stats["published"] += 1
        about = {"publisher": metadata.get("fired_by"), "published_at": metadata.get("fired_at"), **metadata}
        try:
            publisher.after_publish(event["event_name"], event["payload"], about)
        except BaseException as error:
            self.failed(publisher, event["event_name"], error, event["payload"])

    def failed(self, publisher: BasePublisher, event_name: str, error: BaseException, payload: Any) -> None:
        """Counts and logs what a publisher raised, and tells it."""
        self.stats["failed"] += 1
        self._failure.error = error
        _log.error("publisher %s failed on %s", publisher.publisher_name, event_name, exc_info=error)
        try:
            publisher.on_publish_error(event_name, error, payload)  # type: ignore[arg-type]
        except BaseException:
            _log.exception("publisher %s failed on its own failure", publisher.publisher_name)


def _by_default(index: int, result: StepResult, error: BaseException) -> dict[str, Any]:
    note = {"publisher_error": f"{type(error).__name__}: {error}"}
    return {"index": index, "payload": default_payload(result), "metadata": note}
