"""Resolvers in order of priority."""

from __future__ import annotations

from typing import Any, Optional

from tasker_core.registry.base_resolver import BaseResolver
from tasker_core.registry.handler_definition import HandlerDefinition
from tasker_core.registry.method_dispatch_wrapper import (
    MethodDispatchWrapper,
    ResolverNotFoundError,
)
from tasker_core.registry.resolvers import ClassLookupResolver, ExplicitMappingResolver

__all__ = ["ResolverChain"]


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

    def remove_resolver(self, name: str) -> bool:
        """Removes a resolver by name; whether it was there."""
        before = len(self._resolvers)
        self._resolvers = [r for r in self._resolvers if r.name != name]
        self.generation += 1
        return len(self._resolvers) < before

    def get_resolver(self, name: str) -> Optional[BaseResolver]:
        """A resolver by name."""
        return next((r for r in self._resolvers if r.name == name), None)

    def register(self, name: str, handler: Any) -> None:
        """Registers a handler by name with the explicit mapping."""
        explicit = self.get_resolver("explicit_mapping")
        if not isinstance(explicit, ExplicitMappingResolver):
            raise ResolverNotFoundError("the chain has no explicit_mapping resolver")
        explicit.register(name, handler)
        self.generation += 1

    def can_resolve(self, definition: HandlerDefinition) -> bool:
        """Whether any resolver would take it."""
        return any(r.can_resolve(definition) for r in self._resolvers)

    def resolve(self, definition: HandlerDefinition) -> Any:
        """The handler class, object or function; ``None`` if nobody has it."""
        resolvers = self._resolvers
        if definition.resolver:
            only = self.get_resolver(definition.resolver)
            if only is None:
                known = ", ".join(self.resolver_names())
                raise ResolverNotFoundError(f"there is no resolver `{definition.resolver}`; the chain has {known}")
            resolvers = [only]
        for resolver in resolvers:
            if resolver.can_resolve(definition):
                found = resolver.resolve(definition)
                if found is not None:
                    return found
        return None

    def wrap_for_method_dispatch(self, handler: Any, method: Optional[str]) -> Any:
        """The handler, with ``method`` in the place of ``call``."""
        return handler if not method or method == "call" else MethodDispatchWrapper(handler, method)

    def chain_info(self) -> list[dict[str, Any]]:
        """Names and priorities, first asked first."""
        return [{"name": r.name, "priority": r.priority, "type": type(r).__name__} for r in self._resolvers]

    def resolver_names(self) -> list[str]:
        """Names, first asked first."""
        return [r.name for r in self._resolvers]

    def list_resolvers(self) -> list[tuple[str, int]]:
        """Names with priorities, first asked first."""
        return [(r.name, r.priority) for r in self._resolvers]
