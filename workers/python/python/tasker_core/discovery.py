"""The former place of template and handler discovery."""

from __future__ import annotations

from tasker_core.handler_discovery import import_handlers
from tasker_core.template_discovery import HandlerDiscovery, TemplateParser, TemplatePath, find_templates

__all__ = ["HandlerDiscovery", "TemplateParser", "TemplatePath", "find_templates", "import_handlers"]
