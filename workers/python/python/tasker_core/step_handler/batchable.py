"""Batches: an analyzer cuts the work, workers do it side by side, a convergence adds it up."""

from __future__ import annotations

from tasker_core.step_handler.mixins.batchable import Batchable, BatchableMixin

__all__ = ["Batchable", "BatchableMixin"]
