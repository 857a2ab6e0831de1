"""Which code a template asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

__all__ = ["HandlerDefinition"]


@dataclass(init=False)
class HandlerDefinition:
    """Which code a template asks for.

    Args:
        callable: Name of the handler.
        handler_method: Method that runs the step; ``call`` when absent. ``method`` is taken as well.
        resolver: Name of the only resolver to ask.
        initialization: Free configuration of the step.
    """

    callable: str
    handler_method: Optional[str] = None
    resolver: Optional[str] = None
    initialization: dict[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        callable: str,
        handler_method: Optional[str] = None,
        resolver: Optional[str] = None,
        initialization: Optional[dict[str, Any]] = None,
        *,
        method: Optional[str] = None,
    ) -> None:
        self.callable = callable
        self.handler_method = handler_method or method
        self.resolver = resolver
        self.initialization = initialization or {}

    @classmethod
    def from_callable(cls, callable_str: str) -> HandlerDefinition:
        """One with a name alone."""
        return cls(callable_str)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HandlerDefinition:
        """From ``handler`` of a step."""
        method = data.get("handler_method") or data.get("method")
        return cls(str(data.get("callable") or ""), method, data.get("resolver"), data.get("initialization"))

    @property
    def method(self) -> str:
        """Method that runs the step."""
        return self.handler_method or "call"

    def effective_method(self) -> str:
        """Method that runs the step."""
        return self.method

    def uses_method_dispatch(self) -> bool:
        """Whether another method than ``call`` runs the step."""
        return self.method != "call"

    def has_resolver_hint(self) -> bool:
        """Whether only one resolver is to be asked."""
        return bool(self.resolver)
