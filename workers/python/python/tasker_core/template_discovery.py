"""Finds templates in files and folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
    def discover_template_files(template_dir: Optional[Union[str, Path]] = None) -> list[Path]:
        """All ``**/*.{yml,yaml}`` of a folder; of the found one when absent."""
        folder = TemplatePath.find_template_config_directory() if template_dir is None else Path(template_dir)
        if folder is None or not folder.is_dir():
            return []
        return sorted(f for f in folder.rglob("*") if f.suffix in (".yml", ".yaml") and f.is_file())


class TemplateParser:
    """Reads what the SDK needs of a template; the core checks it. What is not there or unreadable is empty."""

    @staticmethod
    def extract_handlers_from_template(template_data: Any) -> list[Any]:
        """Names of the handlers a parsed template asks for, in order.

        Of a file, given by its path: ``{step, callable}`` of every step.
        """
        if isinstance(template_data, Mapping):
            return _callables(template_data)
        summary = TemplateParser._summary(template_data)
        return [] if summary is None else list(summary["handlers"])

    @staticmethod
    def extract_handler_callables(template_file: Union[str, Path]) -> list[str]:
        """Names of the handlers a file asks for, in order, without repetition."""
        handlers = TemplateParser.extract_handlers_from_template(Path(template_file))
        return list(dict.fromkeys(h["callable"] for h in handlers))

    @staticmethod
    def extract_template_metadata(template_file: Union[str, Path]) -> dict[str, Any]:
        """``name namespace version description file_path handlers path steps`` of a file."""
        summary = TemplateParser._summary(template_file)
        if summary is None:
            return {}
        known = {k: summary[k] for k in ("name", "namespace", "version", "description", "path", "steps")}
        handlers = list(dict.fromkeys(h["callable"] for h in summary["handlers"]))
        return {**known, "file_path": str(template_file), "handlers": handlers}

    @staticmethod
    def _summary(path: Union[str, Path]) -> Optional[dict[str, Any]]:
        from tasker_core._native import validate_template
        from tasker_core.serialization import load

        try:
            source = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        checked = load(validate_template(source, str(path)))
        if not checked["ok"]:
            return None
        return {**checked["template"], "path": str(path)}


def _callables(template: Mapping[str, Any]) -> list[str]:
    steps = template.get("steps")
    found = []
    for step in steps if isinstance(steps, list) else []:
        handler = step.get("handler") if isinstance(step, Mapping) else None
        name = handler.get("callable") if isinstance(handler, Mapping) else handler
        if isinstance(name, str) and name:
            found.append(name)
    return found


class HandlerDiscovery:
    """What the templates of a folder ask for."""

    @staticmethod
    def discover_all_handlers(template_dir: Optional[Union[str, Path]] = None) -> list[str]:
        """Names of all handlers, sorted, without repetition."""
        files = TemplatePath.discover_template_files(template_dir)
        return sorted({name for path in files for name in TemplateParser.extract_handler_callables(path)})

    @staticmethod
    def discover_template_metadata(template_dir: Optional[Union[str, Path]] = None) -> list[dict[str, Any]]:
        """Metadata of all templates that can be read."""
        files = TemplatePath.discover_template_files(template_dir)
        return [m for m in (TemplateParser.extract_template_metadata(path) for path in files) if m]

    @staticmethod
    def discover_handlers_by_namespace(template_dir: Optional[Union[str, Path]] = None) -> dict[str, list[str]]:
        """Names of handlers by namespace, sorted."""
        spaces: dict[str, set[str]] = {}
        for metadata in HandlerDiscovery.discover_template_metadata(template_dir):
            spaces.setdefault(metadata["namespace"], set()).update(metadata["handlers"])
        return {namespace: sorted(names) for namespace, names in spaces.items()}


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
