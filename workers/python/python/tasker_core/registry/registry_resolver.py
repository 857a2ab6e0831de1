"""A resolver of names by pattern or prefix."""

from __future__ import annotations

import re
from typing import Any, Optional, Union

from tasker_core.registry.base_resolver import BaseResolver
from tasker_core.registry.handler_definition import HandlerDefinition

__all__ = ["RegistryResolver"]


class RegistryResolver(BaseResolver):
    """Names that match a pattern or start with a prefix.

    Subclasses set ``_name``, ``_priority`` (default 50) and ``pattern`` or ``prefix``, and define ``resolve_handler``.

    Example:
        >>> class Instruments(RegistryResolver):
        ...     _name = "instruments"
        ...     prefix = "instrument:"
        ...     def resolve_handler(self, definition, config):
        ...         return KINDS[definition.callable.removeprefix("instrument:")]()
    """

    _name = "registry"
    _priority = 50
    #: Regular expression the name begins with.
    pattern: Union[str, re.Pattern[str], None] = None
    prefix: Optional[str] = None

    def __init__(
        self,
        pattern: Union[str, re.Pattern[str], None] = None,
        prefix: Optional[str] = None,
        priority: Optional[int] = None,
    ) -> None:
        if pattern is not None:
            self.pattern = pattern
        if prefix is not None:
            self.prefix = prefix
        if priority is not None:
            self._priority = priority

    @property
    def name(self) -> str:
        """The name templates may use as ``handler.resolver``."""
        return self._name

    @property
    def priority(self) -> int:
        """The lowest is asked first."""
        return self._priority

    def can_resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> bool:
        """Whether pattern or prefix fits."""
        if self.pattern is not None and re.match(self.pattern, definition.callable):
            return True
        return self.prefix is not None and definition.callable.startswith(self.prefix)

    def resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> Any:
        """What ``resolve_handler`` gives."""
        return self.resolve_handler(definition, config or {})

    def resolve_handler(self, definition: HandlerDefinition, config: dict[str, Any]) -> Any:
        """The handler class or object of a name that fits; ``None`` if there is none.

        Raises:
            NotImplementedError: a subclass must define it.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no resolve_handler")
