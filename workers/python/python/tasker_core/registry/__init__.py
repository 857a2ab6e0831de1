"""Which code answers to which name: the handler registry and its chain of resolvers."""

from __future__ import annotations

from tasker_core.registry.base_resolver import BaseResolver
from tasker_core.registry.handler_definition import HandlerDefinition
from tasker_core.registry.handler_registry import HandlerRegistry
from tasker_core.registry.method_dispatch_wrapper import MethodDispatchWrapper, ResolutionError, ResolverNotFoundError
from tasker_core.registry.registry_resolver import RegistryResolver
from tasker_core.registry.resolver_chain import ResolverChain
from tasker_core.registry.resolvers import ClassLookupResolver, ExplicitMappingResolver

__all__ = [
    "BaseResolver",
    "ClassLookupResolver",
    "ExplicitMappingResolver",
    "HandlerDefinition",
    "HandlerRegistry",
    "MethodDispatchWrapper",
    "RegistryResolver",
    "ResolutionError",
    "ResolverChain",
    "ResolverNotFoundError",
]
