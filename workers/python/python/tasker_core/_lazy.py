"""Names of a package that are loaded when they are first used, so that importing stays quick and goes in no circle."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Callable

__all__ = ["attach"]


def attach(package: str, modules: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package assigns to ``__getattr__``, ``__dir__`` and ``__all__``.

    Args:
        package: Its ``__name__``.
        modules: Names, separated by blanks, by the module that defines them.
    """
    exports = {name: module for module, names in modules.items() for name in names.split()}

    def get(name: str) -> Any:
        module = exports.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted([*vars(sys.modules[package]), *exports])

    return get, names, list(exports)
