"""Handlers."""

from __future__ import annotations

from tasker_core.step_handler.base import StepHandler

__all__ = ["StepHandler"]
