"""The published path of the handlers' base and registry."""

from __future__ import annotations

from tasker_core.registry.handler_registry import HandlerRegistry
from tasker_core.step_handler.base import StepHandler

__all__ = ["HandlerRegistry", "StepHandler"]
