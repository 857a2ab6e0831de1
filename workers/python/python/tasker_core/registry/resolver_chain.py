"""Resolvers in order of priority."""

from __future__ import annotations

import inspect
from typing import Any, Optional, Union

from tasker_core.errors import TaskerError
from tasker_core.registry.base_resolver import BaseResolver, asked
from tasker_core.registry.handler_definition import HandlerDefinition
from tasker_core.registry.method_dispatch_wrapper import (
    MethodDispatchWrapper,
    ResolutionError,
    ResolverNotFoundError,
)
from tasker_core.registry.resolvers import ClassLookupResolver, ExplicitMappingResolver

__all__ = ["ResolutionError", "ResolverChain", "ResolverNotFoundError", "made", "takes_config"]


class _Names(list):  # type: ignore[type-arg]
    """A list that also answers to a call, for those who take it for a method."""

    def __call__(self) -> list[str]:
        return list(self)


class ResolverChain:
    """Asks resolvers in order of priority; the first that has an answer wins."""

    def __init__(self) -> None:
        self._resolvers: list[BaseResolver] = []
        #: Rises with every change, so that answers may be kept until then.
        self.generation = 0

    @classmethod
    def default(cls) -> ResolverChain:
        """Registered names, then classes under allowed packages."""
        chain = cls()
        chain.add_resolver(ExplicitMappingResolver())
        chain.add_resolver(ClassLookupResolver())
        return chain

    def add_resolver(self, resolver: BaseResolver) -> ResolverChain:
        """Adds a resolver."""
        self._resolvers.append(resolver)
        self._resolvers.sort(key=lambda r: r.priority)
        self.generation += 1
        return self

    def remove_resolver(self, name: str) -> Optional[BaseResolver]:
        """Removes a resolver by name and gives it; ``None`` if there was none."""
        found = self.get_resolver(name)
        self._resolvers = [r for r in self._resolvers if r is not found]
        self.generation += 1
        return found

    def get_resolver(self, name: str) -> Optional[BaseResolver]:
        """A resolver by name."""
        return next((r for r in self._resolvers if r.name == name), None)

    @property
    def explicit_resolver(self) -> Optional[ExplicitMappingResolver]:
        """The one that names are registered with; ``None`` if the chain has none."""
        found = self.get_resolver("explicit_mapping")
        return found if isinstance(found, ExplicitMappingResolver) else None

    def __len__(self) -> int:
        return len(self._resolvers)

    def register(self, key: str, handler: Any) -> ResolverChain:
        """Registers a handler by name with the explicit mapping.

        Raises:
            ResolverNotFoundError: the chain has none.
        """
        explicit = self.explicit_resolver
        if explicit is None:
            raise ResolverNotFoundError("the chain has no explicit_mapping resolver")
        explicit.register(key, handler)
        self.generation += 1
        return self

    def registered_callables(self) -> list[str]:
        """Every name that resolvers can list."""
        return sorted({name for r in self._resolvers for name in _callables(r)})

    def can_resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> bool:
        """Whether any resolver would take it."""
        return any(asked(r.can_resolve, definition, config) for r in self._resolvers)

    def find(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> Any:
        """The handler class, object or function, as the resolver has it; ``None`` if nobody has it.

        Raises:
            ResolverNotFoundError: the definition names a resolver that is not there.
        """
        config = definition.initialization if config is None else config
        resolvers = self._resolvers
        if definition.resolver:
            only = self.get_resolver(definition.resolver)
            if only is None:
                known = ", ".join(self.resolver_names)
                raise ResolverNotFoundError(f"there is no resolver `{definition.resolver}`; the chain has {known}")
            resolvers = [only]
        for resolver in resolvers:
            if asked(resolver.can_resolve, definition, config):
                found = asked(resolver.resolve, definition, config)
                if found is not None:
                    return found
        return None

    def resolve(self, definition: HandlerDefinition, config: Optional[dict[str, Any]] = None) -> Any:
        """A handler object, made if a class was found; ``None`` if nobody has it.

        Raises:
            ResolverNotFoundError: the definition names a resolver that is not there.
            ResolutionError: the class cannot be constructed.
        """
        found = self.find(definition, config)
        config = definition.initialization if config is None else config
        return made(found, config) if inspect.isclass(found) else found

    def wrap_for_method_dispatch(self, handler: Any, definition: Union[HandlerDefinition, str, None]) -> Any:
        """The handler, with the method asked for in the place of ``call``; ``None`` if it has no such method."""
        method = definition.method if isinstance(definition, HandlerDefinition) else definition or "call"
        if method == "call":
            return handler
        return MethodDispatchWrapper(handler, method) if callable(getattr(handler, method, None)) else None

    def chain_info(self) -> list[dict[str, Any]]:
        """Name, priority and names of each resolver, first asked first."""
        return [
            {"name": r.name, "priority": r.priority, "callables": _callables(r), "type": type(r).__name__}
            for r in self._resolvers
        ]

    @property
    def resolver_names(self) -> _Names:
        """Names, first asked first."""
        return _Names(r.name for r in self._resolvers)

    def list_resolvers(self) -> list[tuple[str, int]]:
        """Names with priorities, first asked first."""
        return [(r.name, r.priority) for r in self._resolvers]


def _callables(resolver: Any) -> list[str]:
    listed = getattr(resolver, "registered_callables", None)
    return list(listed()) if callable(listed) else []


def made(handler: Any, config: Optional[dict[str, Any]] = None) -> Any:
    """An object of a handler class, with ``config`` if its constructor takes one.

    Raises:
        ResolutionError: it cannot be constructed.
    """
    try:
        return handler(config=config or {}) if takes_config(handler) else handler()
    except TaskerError:
        raise
    except Exception as error:
        wants = "" if takes_config(handler) else " without arguments"
        raise ResolutionError(f"handler {handler.__name__} cannot be constructed{wants}: {error}") from error


def takes_config(handler: Any) -> bool:
    """Whether a class's constructor has a parameter ``config``."""
    if handler.__init__ is object.__init__:
        return False
    try:
        return "config" in inspect.signature(handler.__init__).parameters
    except (TypeError, ValueError):
        return False
