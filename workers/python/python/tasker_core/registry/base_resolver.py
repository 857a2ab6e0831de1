"""What every resolver is."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, Callable, Optional

from tasker_core.registry.handler_definition import HandlerDefinition

__all__ = ["BaseResolver", "asked"]


class BaseResolver(ABC):
    """Turns a callable's name into a handler class or object; subclass it for names of your own.

    ``can_resolve`` and ``resolve`` may also be defined without ``config``.
    """

    @property
    def name(self) -> str:
        """The name templates may use as ``handler.resolver``."""
        return "base"

    @property
    def priority(self) -> int:
        """The lowest is asked first; default 50."""
        return 50

    @abstractmethod
    def can_resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> bool:
        """Whether the name is this resolver's business."""

    @abstractmethod
    def resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> Any:
        """The handler class, object or function; ``None`` if there is none."""

    def registered_callables(self) -> list[str]:
        """The names it can list; empty if it goes by patterns."""
        return []


def asked(method: Callable[..., Any], definition: HandlerDefinition, config: Optional[dict[str, Any]]) -> Any:
    """Calls a resolver's method with the configuration if it takes one."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return method(definition, config)
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    takes = len(plain) > 1 or any(p.kind is p.VAR_POSITIONAL for p in plain)
    return method(definition, config) if takes else method(definition)
