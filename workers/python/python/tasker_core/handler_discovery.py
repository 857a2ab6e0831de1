"""Finds handlers in files and folders."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Union

from tasker_core.registry import HandlerRegistry

__all__ = ["import_handlers"]

_OURS = os.path.dirname(os.path.abspath(__file__))


_LIBRARY = os.path.dirname(os.path.abspath(os.__file__))


def import_handlers(registry: HandlerRegistry, packages: Union[str, Sequence[str], None]) -> list[str]:
    """Imports packages, modules and folders and registers their handlers; what went wrong, as sentences."""
    problems: list[str] = []

    def wrong(name: str, error: BaseException) -> None:
        problems.append(_say(name, error))

    wanted = [str(p) for p in ([packages] if isinstance(packages, str) else packages or [])]
    wanted += [p for p in os.environ.get("PYTHON_HANDLER_PATH", "").split(os.pathsep) if p]
    for item in wanted:
        path = Path(item)
        if path.is_dir() or path.suffix == ".py":
            for name, file in _modules(path, wrong):
                try:
                    module = _load(name, file)
                    registry.allow_package(module.__name__)
                    registry.register_module(module)
                # A script may even call `sys.exit` when it is imported.
                except (Exception, SystemExit) as error:
                    wrong(str(file), error)
        elif os.sep in item:
            wrong(item, FileNotFoundError("there is no such folder or file"))
        else:
            registry.discover_handlers(item, on_error=wrong)
    return problems


def _modules(path: Path, wrong: Callable[[str, BaseException], None]) -> Iterator[tuple[str, Path]]:
    """Name and file of every module of a folder, as Python would import it; tests and hidden files left out."""
    folder = path.resolve() if path.is_dir() else path.resolve().parent
    files = sorted(folder.rglob("*.py")) if path.is_dir() else [path.resolve()]
    if path.is_dir() and not files:
        wrong(str(path), FileNotFoundError("the folder holds no Python files"))
    # Files of a handler folder may import each other, by their own names or through the folder as a package.
    root = folder
    while (root / "__init__.py").exists():
        root = root.parent
    for place in (folder, folder.parent, root):
        if str(place) not in sys.path:
            sys.path.append(str(place))
    left_out: set[str] = set()
    for file in files:
        inner = file.relative_to(folder).parts
        if any(p.startswith(".") or p in ("__pycache__", "__main__.py") for p in inner):
            continue
        tests = [p for p in inner[:-1] if p in ("tests", "spec")]
        if tests:
            if tests[0] not in left_out:
                left_out.add(tests[0])
                print(f"tasker: {folder / tests[0]} is left out: it holds tests, not handlers", file=sys.stderr)
            continue
        named = file.parent if file.name == "__init__.py" else file.with_suffix("")
        yield ".".join(named.relative_to(root).parts), file


def _load(name: str, file: Path) -> Any:
    """The module of a file, under the name other modules import it by; under one of its own if that is taken."""
    try:
        spec = importlib.util.find_spec(name)
        taken = spec is None or spec.origin is None or Path(spec.origin).resolve() != file
    # What stands in the way is another module, or a package that cannot be imported.
    except (ImportError, ValueError, AttributeError):
        taken = True
    if not taken:
        return importlib.import_module(name)
    name = f"tasker_handlers_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _say(what: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{what} cannot be imported: {error.filename}:{error.lineno}: {error.msg}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(("<frozen", _OURS))]
    # The last line of the user's own, not that of a library below it.
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith(_LIBRARY)]
    at = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return f"{what} cannot be imported: {type(error).__name__}: {error}{at}; its handlers are missing"
