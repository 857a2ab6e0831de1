"""All handlers of this process."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import pkgutil
import threading
from typing import Any, Callable, Optional, Union

from tasker_core.errors import ConfigurationError
from tasker_core.models.wrappers import HandlerWrapper
from tasker_core.registry.handler_definition import HandlerDefinition
from tasker_core.registry.method_dispatch_wrapper import MethodDispatchWrapper, ResolverNotFoundError
from tasker_core.registry.resolver_chain import ResolverChain, made
from tasker_core.registry.resolvers import ClassLookupResolver, ExplicitMappingResolver
from tasker_core.step_handler.base import StepHandler
from tasker_core.worker.event_bridge import EventBridge, EventNames

__all__ = ["HandlerRegistry", "InvalidHandlerError"]

_log = logging.getLogger("tasker_core.registry")


class InvalidHandlerError(ConfigurationError, ValueError):
    """Something that cannot be called was to be registered, or a name that another handler has."""


class HandlerRegistry:
    """All handlers of this process.

    Example:
        >>> HandlerRegistry.instance().register("math.double", Double)
    """

    _instance: Optional[HandlerRegistry] = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self.chain = ResolverChain.default()
        self._bootstrapped: list[str] = []
        # Where handlers found in files came from: the same name in two places is a mistake.
        self._found: dict[str, tuple[str, str]] = {}

    @classmethod
    def instance(cls, skip_bootstrap: bool = True) -> HandlerRegistry:
        """The registry functional handlers register with and workers use.

        Args:
            skip_bootstrap: Whether to leave out the handlers of ``PYTHON_HANDLER_PATH``; workers find them anyway.
        """
        with cls._lock:
            if cls._instance is None:
                cls._instance = cls()
            registry = cls._instance
        if not skip_bootstrap and not registry._bootstrapped:
            registry.bootstrap_handlers()
        return registry

    @property
    def resolver_chain(self) -> ResolverChain:
        """Who is asked for a handler."""
        return self.chain

    @classmethod
    def reset_instance(cls) -> None:
        """Forgets every handler; for tests."""
        with cls._lock:
            cls._instance = None

    @property
    def _explicit(self) -> ExplicitMappingResolver:
        explicit = self.chain.get_resolver("explicit_mapping")
        if not isinstance(explicit, ExplicitMappingResolver):
            raise ResolverNotFoundError("the chain has no explicit_mapping resolver")
        return explicit

    def register(self, name: Union[str, type[StepHandler]], handler_class: Any = None) -> None:
        """Registers a class, object or decorated function under a name, or a class under its own.

        Raises:
            ValueError: it is nothing that can be called.
        """
        if inspect.isclass(name):
            name, handler_class = name.handler_name or name.__name__, name
        handler = getattr(handler_class, "_handler_class", handler_class)
        if not _callable(handler):
            raise InvalidHandlerError(f"`{name}` is registered with something that cannot be called")
        self.chain.register(str(name), handler)
        bridge = EventBridge.instance()
        if bridge.is_active:
            bridge.publish(EventNames.HANDLER_REGISTERED, str(name))

    def unregister(self, name: str) -> bool:
        """Removes a name; whether it was there."""
        known = self._explicit.unregister(name)
        self.chain.generation += 1
        return known

    def resolve(self, handler_spec: Union[str, HandlerDefinition, HandlerWrapper]) -> Any:
        """A handler object for a name or definition, its method dispatched; ``None`` if nobody has it.

        Raises:
            ResolutionError: it has no such method, or cannot be constructed.
            ResolverNotFoundError: the definition names a resolver that is not there.
        """
        definition = _definition(handler_spec)
        found = self.chain.find(definition)
        if found is None:
            return None
        handler = made(found, definition.initialization) if inspect.isclass(found) else found
        return handler if definition.method == "call" else MethodDispatchWrapper(handler, definition.method)

    def get_handler_class(self, name: str) -> Optional[type]:
        """The class registered under a name."""
        found = self._explicit.handlers.get(name)
        return found if inspect.isclass(found) else (None if found is None else type(found))

    def is_registered(self, name: str) -> bool:
        """Whether a name was registered."""
        return name in self._explicit.handlers

    def list_handlers(self) -> list[str]:
        """Registered names, in order."""
        return sorted(self._explicit.handlers)

    def callables(self) -> list[str]:
        """Every name a template may use: what resolvers list, and paths of registered classes in allowed packages."""
        names = set(self.chain.registered_callables())
        lookup = self.chain.get_resolver("class_lookup")
        for handler in self._explicit.handlers.values():
            path = f"{handler.__module__}.{handler.__name__}" if inspect.isclass(handler) else ""
            if lookup is not None and lookup.can_resolve(HandlerDefinition(path)):
                names.add(path)
        return sorted(names)

    def handler_count(self) -> int:
        """How many names are registered."""
        return len(self._explicit.handlers)

    def clear(self) -> None:
        """Removes every name."""
        self._explicit.handlers.clear()
        self._found.clear()
        self.chain.generation += 1

    def allow_package(self, package: str) -> None:
        """Lets templates name classes under a package by their dotted path."""
        lookup = self.chain.get_resolver("class_lookup")
        if isinstance(lookup, ClassLookupResolver):
            lookup.packages.add(package)
            self.chain.generation += 1

    def register_module(self, module: Any, base_class: Optional[type] = None) -> int:
        """Registers every handler class a module defines; how many.

        Raises:
            ValueError: two modules define a handler of the same name; the first stays.
        """
        twice = []
        count = 0
        for value in list(vars(module).values()):
            if (
                inspect.isclass(value)
                and issubclass(value, base_class or StepHandler)
                and value.__module__ == module.__name__
                and not inspect.isabstract(value)
            ):
                name, handler = getattr(value, "handler_name", "") or value.__name__, value
            elif hasattr(value, "_handler_class") and getattr(value, "__module__", "") == module.__name__:
                # Registered when it was decorated; again here in case the registry was reset since.
                name, handler = value._handler_class.handler_name, value._handler_class
            else:
                continue
            place = (module.__name__, getattr(value, "__qualname__", str(value)))
            before = self._found.setdefault(name, place)
            # A subclass that has its parent's name is meant to stand in its place.
            known = self._explicit.handlers.get(name)
            if before != place and not (
                inspect.isclass(known) and inspect.isclass(handler) and issubclass(handler, known)
            ):
                twice.append(f"`{name}` is both {'.'.join(before)} and {'.'.join(place)}")
                continue
            self._found[name] = place
            self.register(name, handler)
            count += 1
        if twice:
            raise InvalidHandlerError("two handlers have one name: " + "; ".join(twice))
        return count

    def discover_handlers(
        self,
        package_name: str,
        base_class: Any = None,
        on_error: Optional[Callable[[str, BaseException], None]] = None,
    ) -> int:
        """Imports a package with all its modules and registers their handlers; how many.

        Args:
            base_class: What handler classes derive from; ``StepHandler`` when absent.
            on_error: Hears of each module that cannot be imported, by name; without it, that is logged.
        """
        if base_class is not None and not inspect.isclass(base_class):
            base_class, on_error = None, base_class
        self.allow_package(package_name)
        count, waiting = 0, [package_name]
        while waiting:
            name = waiting.pop()
            try:
                module = importlib.import_module(name)
                count += self.register_module(module, base_class)
            # A script may even call `sys.exit` when it is imported.
            except (Exception, SystemExit) as error:
                if on_error is None:
                    _log.error("%s cannot be imported; its handlers are missing", name, exc_info=error)
                else:
                    on_error(name, error)
                continue
            below = pkgutil.iter_modules(getattr(module, "__path__", []), prefix=f"{name}.")
            waiting.extend(found.name for found in below if not found.name.endswith(".__main__"))
        return count

    def bootstrap_handlers(self, packages: Optional[list[str]] = None) -> int:
        """Imports handlers of packages, and of ``PYTHON_HANDLER_PATH``; how many are registered then."""
        from tasker_core.handler_discovery import import_handlers

        for problem in import_handlers(self, packages):
            _log.error("%s", problem)
        self._bootstrapped.extend(packages or [os.environ.get("PYTHON_HANDLER_PATH", "")])
        return self.handler_count()

    def template_discovery_info(self) -> dict[str, Any]:
        """Where templates are looked for, what they ask for, and what is registered."""
        from tasker_core.template_discovery import HandlerDiscovery, TemplatePath

        folder = TemplatePath.find_template_config_directory()
        return {
            "template_path": None if folder is None else str(folder),
            "template_files": [str(f) for f in TemplatePath.discover_template_files()],
            "discovered_handlers": HandlerDiscovery.discover_all_handlers(),
            "handlers_by_namespace": HandlerDiscovery.discover_handlers_by_namespace(),
            "environment": os.environ.get("TASKER_ENV") or "development",
            "bootstrapped": bool(self._bootstrapped),
            "handlers": self.list_handlers(),
            "packages": [p for p in self._bootstrapped if p],
        }


def _callable(handler: Any) -> bool:
    if handler is None:
        return False
    if not inspect.isclass(handler):
        return callable(getattr(handler, "call", None)) or callable(handler)
    # Every class can be called; what counts is whether its objects can.
    return callable(getattr(handler, "call", None)) or any("__call__" in vars(k) for k in handler.__mro__)


def _definition(wanted: Union[str, HandlerDefinition, HandlerWrapper]) -> HandlerDefinition:
    if isinstance(wanted, HandlerDefinition):
        return wanted
    if isinstance(wanted, HandlerWrapper):
        return HandlerDefinition(wanted.callable, wanted.handler_method, wanted.resolver, wanted.initialization)
    return HandlerDefinition(wanted)
