"""All handlers of this process."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import threading
from typing import Any, Callable, Optional, Union

from tasker_core.errors import ConfigurationError
from tasker_core.models import HandlerWrapper
from tasker_core.registry.handler_definition import HandlerDefinition
from tasker_core.registry.method_dispatch_wrapper import (
    ResolverNotFoundError,
)
from tasker_core.registry.resolver_chain import ResolverChain
from tasker_core.registry.resolvers import ClassLookupResolver, ExplicitMappingResolver
from tasker_core.step_handler.base import StepHandler
from tasker_core.worker.event_bridge import EventBridge, EventNames

__all__ = ["HandlerRegistry"]


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

    @classmethod
    def instance(cls) -> HandlerRegistry:
        """The registry functional handlers register with and workers use."""
        with cls._lock:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

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

    def register(self, name: Union[str, type[StepHandler]], handler: Any = None) -> None:
        """Registers a class, object or decorated function under a name, or a class under its own."""
        if inspect.isclass(name):
            name, handler = name.handler_name or name.__name__, name
        handler = getattr(handler, "_handler_class", handler)
        if handler is None or not (
            inspect.isclass(handler) or callable(getattr(handler, "call", None)) or callable(handler)
        ):
            raise ConfigurationError(f"`{name}` is registered with something that cannot be called")
        self.chain.register(str(name), handler)
        EventBridge.instance().publish(EventNames.HANDLER_REGISTERED, str(name))

    def unregister(self, name: str) -> bool:
        """Removes a name; whether it was there."""
        known = self._explicit.unregister(name)
        self.chain.generation += 1
        return known

    def resolve(self, wanted: Union[str, HandlerDefinition, HandlerWrapper]) -> Any:
        """A handler object for a name or definition, its method dispatched; ``None`` if nobody has it."""
        definition = _definition(wanted)
        found = self.chain.resolve(definition)
        if found is None:
            return None
        handler = found() if inspect.isclass(found) else found
        return self.chain.wrap_for_method_dispatch(handler, definition.method)

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
        """Every name a template may use: registered ones, and paths of registered classes under allowed packages."""
        names = set(self._explicit.handlers)
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
        self.chain.generation += 1

    def allow_package(self, package: str) -> None:
        """Lets templates name classes under a package by their dotted path."""
        lookup = self.chain.get_resolver("class_lookup")
        if isinstance(lookup, ClassLookupResolver):
            lookup.packages.add(package)
            self.chain.generation += 1

    def register_module(self, module: Any) -> int:
        """Registers every handler class a module defines; how many."""
        count = 0
        for value in list(vars(module).values()):
            if (
                inspect.isclass(value)
                and issubclass(value, StepHandler)
                and value.__module__ == module.__name__
                and not inspect.isabstract(value)
            ):
                self.register(value)
                count += 1
            elif hasattr(value, "_handler_class") and getattr(value, "__module__", "") == module.__name__:
                # Registered when it was decorated; again here in case the registry was reset since.
                self.register(value._handler_class.handler_name, value._handler_class)
                count += 1
        return count

    def discover_handlers(self, package: str, on_error: Optional[Callable[[str, BaseException], None]] = None) -> int:
        """Imports a package with all its modules and registers their handlers; how many.

        ``on_error`` hears of each module that cannot be imported, by name; without it the first one's error is raised.
        """
        self.allow_package(package)
        count, waiting = 0, [package]
        while waiting:
            name = waiting.pop()
            try:
                module = importlib.import_module(name)
            # A script may even call `sys.exit` when it is imported.
            except (Exception, SystemExit) as error:
                if on_error is None:
                    raise
                on_error(name, error)
                continue
            count += self.register_module(module)
            below = pkgutil.iter_modules(getattr(module, "__path__", []), prefix=f"{name}.")
            waiting.extend(found.name for found in below if not found.name.endswith(".__main__"))
        return count

    def bootstrap_handlers(self, packages: Optional[list[str]] = None) -> int:
        """Discovers handlers of packages; how many."""
        for package in packages or []:
            self.discover_handlers(package)
            self._bootstrapped.append(package)
        return self.handler_count()

    def template_discovery_info(self) -> dict[str, Any]:
        """Where templates are looked for, and what is registered."""
        from tasker_core.template_discovery import TemplatePath

        folder = TemplatePath.find_template_config_directory()
        return {
            "template_path": None if folder is None else str(folder),
            "template_files": [str(f) for f in TemplatePath.discover_template_files()],
            "handlers": self.list_handlers(),
            "packages": list(self._bootstrapped),
        }


def _definition(wanted: Union[str, HandlerDefinition, HandlerWrapper]) -> HandlerDefinition:
    if isinstance(wanted, HandlerDefinition):
        return wanted
    if isinstance(wanted, HandlerWrapper):
        return HandlerDefinition(
            str(wanted.callable), wanted.handler_method or "call", wanted.resolver, wanted.initialization
        )
    return HandlerDefinition(wanted)
