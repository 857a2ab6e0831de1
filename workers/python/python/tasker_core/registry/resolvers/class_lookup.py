"""Dotted class paths under packages the user named."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any, Optional

from tasker_core.registry.base_resolver import BaseResolver
from tasker_core.registry.handler_definition import HandlerDefinition
from tasker_core.step_handler.base import StepHandler

__all__ = ["ClassLookupResolver"]


class ClassLookupResolver(BaseResolver):
    """Dotted class paths, but only under packages the user named; never an arbitrary import."""

    #: What a dotted class path looks like.
    CLASS_PATTERN = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")

    def __init__(self) -> None:
        self.packages: set[str] = set()

    @property
    def name(self) -> str:
        """The name templates may use as ``handler.resolver``."""
        return "class_lookup"

    @property
    def priority(self) -> int:
        """The lowest is asked first."""
        return 100

    def can_resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> bool:
        """Whether the name lies under an allowed package."""
        head = definition.callable.rpartition(".")[0]
        return bool(head) and any(head == p or head.startswith(p + ".") for p in self.packages)

    def resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> Any:
        """The class of that path."""
        module, _, name = definition.callable.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            # No such module: somebody else's name. One that imports something missing is a fault to be told.
            if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
                return None
            raise
        return found if inspect.isclass(found) and issubclass(found, StepHandler) else None
