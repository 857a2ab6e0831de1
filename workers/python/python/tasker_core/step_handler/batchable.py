"""Batches: an analyzer cuts the work, workers do it side by side, a convergence adds it up."""

from __future__ import annotations

from tasker_core.step_handler.base import StepHandler
from tasker_core.step_handler.mixins.batchable import BatchableMixin

__all__ = ["Batchable", "BatchableMixin"]


class Batchable(BatchableMixin, StepHandler):
    """Base of analyzers, batch workers and aggregating steps.

    Example:
        >>> class Analyze(Batchable):
        ...     handler_name = "csv.analyze"
        ...     def call(self, context):
        ...         return self.batch_analyzer_success(self.create_batch_outcome_from_ranges(1000, 200), "import")
    """

    @property
    def capabilities(self) -> list[str]:
        """What it can do."""
        return ["process", "batchable"]
