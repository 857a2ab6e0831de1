"""A resolver of names by pattern or prefix."""

from __future__ import annotations

import re
from typing import Optional

from tasker_core.registry.base_resolver import BaseResolver
from tasker_core.registry.handler_definition import HandlerDefinition

__all__ = ["RegistryResolver"]


class RegistryResolver(BaseResolver):
    """Names that match a pattern or start with a prefix; subclass and give ``resolve``."""

    name = "registry"

    def __init__(self, pattern: Optional[str] = None, prefix: Optional[str] = None, priority: int = 50) -> None:
        self.pattern = re.compile(pattern) if pattern else None
        self.prefix = prefix
        self.priority = priority

    def can_resolve(self, definition: HandlerDefinition) -> bool:
        """Whether pattern or prefix fits."""
        if self.pattern is not None and self.pattern.match(definition.callable):
            return True
        return self.prefix is not None and definition.callable.startswith(self.prefix)
