"""Which code answers to which name: the handler registry and its chain of resolvers."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

from tasker_core.errors import ConfigurationError
from tasker_core.event_bridge import EventBridge, EventNames
from tasker_core.models import HandlerWrapper
from tasker_core.step_handler import StepHandler

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


class ResolutionError(ConfigurationError):
    """A handler was found but cannot be used: no such method, or its construction failed."""

    error_type = "handler_resolution_error"


class ResolverNotFoundError(ResolutionError):
    """The template names a resolver that is not in the chain."""


@dataclass
class HandlerDefinition:
    """Which code a template asks for."""

    callable: str
    method: str = "call"
    resolver: Optional[str] = None
    initialization: dict[str, Any] = field(default_factory=dict)


class BaseResolver:
    """Turns a callable's name into a handler class or object; subclass it for names of your own."""

    name = "base"
    #: The lowest is asked first.
    priority = 50

    def can_resolve(self, definition: HandlerDefinition) -> bool:
        """Whether the name is this resolver's business."""
        raise NotImplementedError

    def resolve(self, definition: HandlerDefinition) -> Any:
        """The handler class, object or function; ``None`` if there is none."""
        raise NotImplementedError


class ExplicitMappingResolver(BaseResolver):
    """Names that were registered one by one."""

    name = "explicit_mapping"
    priority = 10

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def register(self, name: str, handler: Any) -> None:
        """Adds or replaces a name."""
        self.handlers[name] = handler

    def unregister(self, name: str) -> bool:
        """Removes a name; whether it was there."""
        return self.handlers.pop(name, None) is not None

    def can_resolve(self, definition: HandlerDefinition) -> bool:
        """Whether the name was registered."""
        return definition.callable in self.handlers

    def resolve(self, definition: HandlerDefinition) -> Any:
        """What was registered."""
        return self.handlers.get(definition.callable)


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


class ClassLookupResolver(BaseResolver):
    """Dotted class paths, but only under packages the user named; never an arbitrary import."""

    name = "class_lookup"
    priority = 100

    def __init__(self) -> None:
        self.packages: set[str] = set()

    def can_resolve(self, definition: HandlerDefinition) -> bool:
        """Whether the name lies under an allowed package."""
        head = definition.callable.rpartition(".")[0]
        return bool(head) and any(head == p or head.startswith(p + ".") for p in self.packages)

    def resolve(self, definition: HandlerDefinition) -> Any:
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


class MethodDispatchWrapper:
    """A handler whose ``call`` is another of its methods."""

    def __init__(self, handler: Any, method: str) -> None:
        self.handler = handler
        self.method = method
        target = getattr(handler, method, None)
        if not callable(target):
            raise ResolutionError(no_method(handler, method))
        self.call: Callable[..., Any] = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handler, name)


def no_method(handler: Any, method: str) -> str:
    """What is wrong, and which methods the handler has."""
    owner = handler if inspect.isclass(handler) else type(handler)
    known = [n for n in dir(owner) if not n.startswith("_") and callable(getattr(owner, n))]
    own = [n for n in known if not hasattr(StepHandler, n) or n == "call"]
    return f"handler {owner.__name__} has no method `{method}`; it has {', '.join(own)}"


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
        from tasker_core.discovery import TemplatePath

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
