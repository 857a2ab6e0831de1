"""Finds templates in files and folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

from tasker_core.errors import ConfigurationError

__all__ = ["HandlerDiscovery", "TemplateParser", "TemplatePath", "find_templates"]

#: Files that mark the root of a project.
MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", ".git", "Cargo.toml", "Gemfile", "package.json")


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
