"""Subscribers hear events of this process."""

from __future__ import annotations

import fnmatch
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Optional

from tasker_core.types.domain_event import InProcessDomainEvent

__all__ = ["BaseSubscriber"]

_log = logging.getLogger("tasker_core.domain_events")


class BaseSubscriber(ABC):
    """Hears events of this process; a failing one stops no other.

    Events are mappings, ``event_id event_name event_version metadata payload execution_result``, whose items are
    attributes as well.

    Example:
        >>> class Mailer(BaseSubscriber):
        ...     @classmethod
        ...     def subscribes_to(cls):
        ...         return ["order.*"]
        ...     def handle(self, event):
        ...         print(event["event_name"], event["payload"])
        >>> SubscriberRegistry.instance().register(Mailer)
    """

    _active = False

    #: Exact names, or patterns (``order.*``, ``*``): a class method that gives the list, or the list itself.
    subscribes_to: Any = ()

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

    def _patterns(self) -> list[str]:
        patterns = self.subscribes_to() if callable(self.subscribes_to) else self.subscribes_to
        return [patterns] if isinstance(patterns, str) else list(patterns)

    @property
    def subscriptions(self) -> list[str]:
        """The patterns it hears; none while it is stopped."""
        return self._patterns() if self._active else []

    def matches(self, event_name: str) -> bool:
        """Whether it hears events of that name."""
        return any(fnmatch.fnmatchcase(event_name, pattern) for pattern in self._patterns())

    @property
    def active(self) -> bool:
        """Whether it hears events now."""
        return self._active

    def start(self, poller: Any = None) -> BaseSubscriber:
        """Starts hearing.

        Args:
            poller: Accepted and not needed: whichever poller takes an event, it is heard once.
        """
        from tasker_core.domain_events.subscriber_registry import SubscriberRegistry

        self._active = True
        SubscriberRegistry.instance().hear(self)
        return self

    def stop(self) -> None:
        """Stops hearing."""
        self._active = False

    def handle_event_safely(self, event: Mapping[str, Any]) -> str:
        """Handles an event unless it is stopped, and raises nothing.

        Returns:
            ``handled``, ``skipped`` or ``failed``.
        """
        if not self._active:
            return "skipped"
        told = InProcessDomainEvent.from_dict(event)
        try:
            if self.before_handle(told) is False:
                return "skipped"
            self.handle(told)
            self.after_handle(told)
            return "handled"
        # A subscriber that calls `sys.exit` must not end the thread all others hear from.
        except BaseException as error:
            _log.error("subscriber %s failed on %s", type(self).__name__, told.get("event_name"), exc_info=error)
            try:
                self.on_handle_error(told, error)  # type: ignore[arg-type]
            except BaseException:
                _log.exception("subscriber %s failed on its own failure", type(self).__name__)
            return "failed"
