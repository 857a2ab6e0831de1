"""Finds templates and handlers in files and folders."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

from tasker_core.errors import ConfigurationError
from tasker_core.registry import HandlerRegistry

__all__ = ["HandlerDiscovery", "TemplateParser", "TemplatePath", "find_templates", "import_handlers"]

#: Files that mark the root of a project.
MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", ".git", "Cargo.toml", "Gemfile", "package.json")

_OURS = os.path.dirname(os.path.abspath(__file__))
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__))


class TemplatePath:
    """Where templates lie: ``TASKER_TEMPLATE_PATH``, then ``WORKSPACE_PATH/config/tasks``, then ``config/tasks`` of the
    project's root, then ``./config/tasks``."""

    @staticmethod
    def find_template_config_directory() -> Optional[Path]:
        """The folder of templates, if there is one."""
        candidates: list[Path] = []
        named = os.environ.get("TASKER_TEMPLATE_PATH")
        if named:
            candidates.append(Path(named))
        workspace = os.environ.get("WORKSPACE_PATH")
        if workspace:
            candidates.append(Path(workspace) / "config" / "tasks")
        here = Path.cwd()
        for folder in (here, *here.parents):
            if any((folder / marker).exists() for marker in MARKERS):
                candidates.append(folder / "config" / "tasks")
                break
        candidates.append(here / "config" / "tasks")
        return next((c for c in candidates if c.is_dir()), None)

    @staticmethod
    def discover_template_files(directory: Optional[Union[str, Path]] = None) -> list[Path]:
        """All ``**/*.{yml,yaml}`` of a folder; of the found one when absent."""
        folder = TemplatePath.find_template_config_directory() if directory is None else Path(directory)
        if folder is None or not folder.is_dir():
            return []
        return sorted(f for f in folder.rglob("*") if f.suffix in (".yml", ".yaml") and f.is_file())


class TemplateParser:
    """Reads what the SDK needs of a template; the core checks it."""

    @staticmethod
    def extract_handlers_from_template(path: Union[str, Path]) -> list[dict[str, Any]]:
        """``{step, callable}`` of every step of a file, in order."""
        handlers: list[dict[str, Any]] = TemplateParser._summary(path)["handlers"]
        return handlers

    @staticmethod
    def extract_handler_callables(path: Union[str, Path]) -> list[str]:
        """Names of the handlers a file asks for, without repetition."""
        seen = (h["callable"] for h in TemplateParser.extract_handlers_from_template(path))
        return list(dict.fromkeys(seen))

    @staticmethod
    def extract_template_metadata(path: Union[str, Path]) -> dict[str, Any]:
        """``name namespace version description path steps`` of a file."""
        summary = TemplateParser._summary(path)
        return {k: summary[k] for k in ("name", "namespace", "version", "description", "path", "steps")}

    @staticmethod
    def _summary(path: Union[str, Path]) -> dict[str, Any]:
        from tasker_core._native import validate_template
        from tasker_core.serialization import load

        checked = load(validate_template(Path(path).read_text(encoding="utf-8"), str(path)))
        if not checked["ok"]:
            raise ConfigurationError("\n".join(d["text"] for d in checked["diagnostics"]))
        summary: dict[str, Any] = {**checked["template"], "path": str(path)}
        return summary


class HandlerDiscovery:
    """What the templates of a folder ask for."""

    @staticmethod
    def discover_all_handlers(directory: Optional[Union[str, Path]] = None) -> list[str]:
        """Names of all handlers, without repetition."""
        names: dict[str, None] = {}
        for path in TemplatePath.discover_template_files(directory):
            names.update(dict.fromkeys(TemplateParser.extract_handler_callables(path)))
        return list(names)

    @staticmethod
    def discover_template_metadata(directory: Optional[Union[str, Path]] = None) -> list[dict[str, Any]]:
        """Metadata of all templates."""
        files = TemplatePath.discover_template_files(directory)
        return [TemplateParser.extract_template_metadata(path) for path in files]

    @staticmethod
    def discover_handlers_by_namespace(directory: Optional[Union[str, Path]] = None) -> dict[str, list[str]]:
        """Names of handlers by namespace."""
        spaces: dict[str, dict[str, None]] = {}
        for path in TemplatePath.discover_template_files(directory):
            namespace = TemplateParser.extract_template_metadata(path)["namespace"]
            callables = TemplateParser.extract_handler_callables(path)
            spaces.setdefault(namespace, {}).update(dict.fromkeys(callables))
        return {namespace: list(names) for namespace, names in spaces.items()}


def find_templates(given: Optional[Sequence[Union[str, Path]]]) -> list[dict[str, str]]:
    """``{path, source}`` of every template: of files, folders and YAML texts given, else of the found folder."""
    if given is None:
        return [_template(f) for f in TemplatePath.discover_template_files()]
    found = []
    for number, item in enumerate(given):
        if isinstance(item, str) and "\n" in item:
            found.append({"path": f"template {number + 1}", "source": item})
            continue
        path = Path(item)
        files = TemplatePath.discover_template_files(path) if path.is_dir() else [path]
        found.extend(_template(f) for f in files)
    return found


def _template(file: Path) -> dict[str, str]:
    try:
        return {"path": str(file), "source": file.read_text(encoding="utf-8")}
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8 text: {error}") from None


def import_handlers(registry: HandlerRegistry, packages: Optional[Sequence[str]]) -> list[str]:
    """Imports packages, modules and folders and registers their handlers; what went wrong, as sentences."""
    problems: list[str] = []

    def wrong(name: str, error: BaseException) -> None:
        problems.append(_say(name, error))

    wanted = [str(p) for p in packages or []]
    wanted += [p for p in os.environ.get("PYTHON_HANDLER_PATH", "").split(os.pathsep) if p]
    for item in wanted:
        path = Path(item)
        if path.is_dir() or path.suffix == ".py":
            for name, file in _modules(path, wrong):
                try:
                    module = _load(name, file)
                # A script may even call `sys.exit` when it is imported.
                except (Exception, SystemExit) as error:
                    wrong(str(file), error)
                    continue
                registry.allow_package(module.__name__)
                registry.register_module(module)
        elif os.sep in item:
            wrong(item, FileNotFoundError("there is no such folder or file"))
        else:
            registry.discover_handlers(item, wrong)
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
    for file in files:
        inner = file.relative_to(folder).parts
        if any(p.startswith(".") or p in ("__pycache__", "__main__.py", "tests") for p in inner):
            continue
        if not file.name.startswith("test_"):
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
