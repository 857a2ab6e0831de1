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

    def no_batches(self) -> bool:
        """Whether there was nothing to do."""
        return self.is_no_batches

    @classmethod
    def detect(
        cls, dependency_results: Any, batchable_step_name: str, batch_worker_prefix: str
    ) -> BatchAggregationScenario:
        """Looks at the results of a step's dependencies.

        Args:
            dependency_results: Of the context; or a mapping of names to envelopes (``{"result": …}``) or to values.
            batchable_step_name: Name of the analyzer.
            batch_worker_prefix: What the workers' names begin with.

        Raises:
            ValueError: the analyzer has no result.
        """
        names = list(dependency_results.keys())
        if batchable_step_name not in names:
            raise ValueError(
                f"there is no result of `{batchable_step_name}`; there are {', '.join(sorted(names)) or 'none'}"
            )
        analyzed = _value(dependency_results, batchable_step_name)
        results = {
            name: _value(dependency_results, name)
            for name in sorted(names)
            if name.startswith(batch_worker_prefix) and name != batchable_step_name
        }
        outcome = analyzed.get("batch_processing_outcome") if isinstance(analyzed, Mapping) else None
        said_none = isinstance(outcome, Mapping) and outcome.get("type") == "no_batches"
        placeholder = len(results) == 1 and all(isinstance(r, Mapping) and r.get("no_op") for r in results.values())
        if said_none or placeholder:
            return cls(True, analyzed, {}, 0)
        return cls(False, analyzed, results, len(results))


def _value(results: Any, name: str) -> Any:
    unwrapped = getattr(results, "get_results", None)
    if callable(unwrapped):
        return unwrapped(name)
    value = results.get(name)
    return value["result"] if isinstance(value, Mapping) and "result" in value else value
