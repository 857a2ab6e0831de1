"""Names that were registered one by one."""

from __future__ import annotations

from typing import Any

from tasker_core.registry.base_resolver import BaseResolver
from tasker_core.registry.handler_definition import HandlerDefinition

__all__ = ["ExplicitMappingResolver"]


class ExplicitMappingResolver(BaseResolver):
    """Names that were registered one by one."""

    name = "explicit_mapping"
    priority = 10

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def register(self, name: str, handler: Any) -> None:
        """Adds or replaces a name."""
        self.handlers[name] = handler

    def unregister(self, name: str) -> bool:
        """Removes a name; whether it was there."""
        return self.handlers.pop(name, None) is not None

    def can_resolve(self, definition: HandlerDefinition) -> bool:
        """Whether the name was registered."""
        return definition.callable in self.handlers

    def resolve(self, definition: HandlerDefinition) -> Any:
        """What was registered."""
        return self.handlers.get(definition.callable)
