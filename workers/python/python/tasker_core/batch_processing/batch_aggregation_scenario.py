"""What an aggregating step finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BatchAggregationScenario"]


@dataclass(frozen=True)
class BatchAggregationScenario:
    """What an aggregating step finds: workers' results, or that there was nothing to do."""

    is_no_batches: bool
    #: The analyzer's result.
    batchable_result: Any
    #: By worker name; only workers that have one.
    batch_results: dict[str, Any]
    worker_count: int

    @classmethod
    def detect(cls, dependency_results: Any, batchable_step: str, worker_prefix: str) -> BatchAggregationScenario:
        """Looks at the results of a step's dependencies.

        Args:
            dependency_results: Of the context, or a mapping of names to values.
            batchable_step: Name of the analyzer.
            worker_prefix: What the workers' names begin with.
        """
        value = getattr(dependency_results, "get_results", None) or dependency_results.get
        names = dependency_results.keys()
        analyzed = value(batchable_step)
        results = {
            name: value(name) for name in sorted(names) if name.startswith(worker_prefix) and name != batchable_step
        }
        outcome = analyzed.get("batch_processing_outcome") if isinstance(analyzed, Mapping) else None
        said_none = isinstance(outcome, Mapping) and outcome.get("type") == "no_batches"
        placeholder = len(results) == 1 and all(isinstance(r, Mapping) and r.get("no_op") for r in results.values())
        if said_none or placeholder:
            return cls(True, analyzed, {}, 0)
        return cls(False, analyzed, results, len(results))
