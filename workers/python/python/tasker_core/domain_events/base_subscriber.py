"""Subscribers hear events of this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Optional

from tasker_core.types.domain_event import (
    InProcessDomainEvent,
)

__all__ = ["BaseSubscriber"]


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
        from tasker_core.domain_events.subscriber_registry import SubscriberRegistry

        SubscriberRegistry.instance().add(self)
        return self

    def stop(self) -> None:
        """Stops hearing."""
        self._active = False
