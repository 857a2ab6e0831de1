"""A handler whose `call` is another of its methods."""

from __future__ import annotations

import inspect
from typing import Any, Callable

from tasker_core.errors import ConfigurationError
from tasker_core.step_handler.base import StepHandler

__all__ = ["MethodDispatchWrapper", "ResolutionError", "ResolverNotFoundError", "no_method"]


class MethodDispatchWrapper:
    """A handler whose ``call`` is another of its methods."""

    def __init__(self, handler: Any, target_method: str) -> None:
        self.handler = handler
        self.target_method = target_method
        target = getattr(handler, target_method, None)
        if not callable(target):
            raise ResolutionError(no_method(handler, target_method))
        self.call: Callable[..., Any] = target

    @property
    def method(self) -> str:
        """The method called in the place of ``call``."""
        return self.target_method

    def unwrap(self) -> Any:
        """The handler itself."""
        return self.handler

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handler, name)


def no_method(handler: Any, method: str) -> str:
    """What is wrong, and which methods the handler has."""
    owner = handler if inspect.isclass(handler) else type(handler)
    known = [n for n in dir(owner) if not n.startswith("_") and callable(getattr(owner, n))]
    own = [n for n in known if not hasattr(StepHandler, n) or n == "call"]
    return f"handler {owner.__name__} has no method `{method}`; it has {', '.join(own)}"


class ResolutionError(ConfigurationError):
    """A handler was found but cannot be used: no such method, or its construction failed."""

    error_type = "handler_resolution_error"


class ResolverNotFoundError(ResolutionError):
    """The template names a resolver that is not in the chain."""
