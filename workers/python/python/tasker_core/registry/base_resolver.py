"""What every resolver is."""

from __future__ import annotations

from typing import Any

from tasker_core.registry.handler_definition import HandlerDefinition

__all__ = ["BaseResolver"]


class BaseResolver:
    """Turns a callable's name into a handler class or object; subclass it for names of your own."""

    name = "base"
    #: The lowest is asked first.
    priority = 50

    def can_resolve(self, definition: HandlerDefinition) -> bool:
        """Whether the name is this resolver's business."""
        raise NotImplementedError

    def resolve(self, definition: HandlerDefinition) -> Any:
        """The handler class, object or function; ``None`` if there is none."""
        raise NotImplementedError
