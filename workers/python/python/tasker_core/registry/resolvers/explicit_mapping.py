"""Names that were registered one by one."""

from __future__ import annotations

import inspect
from typing import Any, Optional

from tasker_core.registry.base_resolver import BaseResolver
from tasker_core.registry.handler_definition import HandlerDefinition

__all__ = ["ExplicitMappingResolver", "is_factory"]


def is_factory(handler: Any) -> bool:
    """Whether it is a function ``f(config)`` that makes handlers, rather than one that is called with a context."""
    if inspect.isclass(handler) or not callable(handler) or hasattr(handler, "call"):
        return False
    try:
        names = list(inspect.signature(handler).parameters)
    except (TypeError, ValueError):
        return False
    return names in (["config"], ["_config"])


class ExplicitMappingResolver(BaseResolver):
    """Names that were registered one by one: classes, objects, functions, and factories ``f(config)``."""

    def __init__(self, name: str = "explicit_mapping") -> None:
        self._name = name
        self.handlers: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The name templates may use as ``handler.resolver``."""
        return self._name

    @property
    def priority(self) -> int:
        """The lowest is asked first."""
        return 10

    def register(self, key: str, handler: Any) -> None:
        """Adds or replaces a name."""
        self.handlers[key] = handler

    def unregister(self, key: str) -> bool:
        """Removes a name; whether it was there."""
        return self.handlers.pop(key, None) is not None

    def registered_callables(self) -> list[str]:
        """The names."""
        return sorted(self.handlers)

    def can_resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> bool:
        """Whether the name was registered."""
        return definition.callable in self.handlers

    def resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> Any:
        """What was registered; of a factory, what it makes."""
        found = self.handlers.get(definition.callable)
        if found is not None and is_factory(found):
            return found(config or definition.initialization)
        return found
