"""Cursors, outcomes and aggregation, for any handler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Union

from tasker_core.batch_processing import (
    Aggregate,
    BatchAggregationResult,
    BatchAggregationScenario,
    BatchAnalyzerOutcome,
    BatchWorkerContext,
    BatchWorkerOutcome,
    CreateBatchesOutcome,
    CursorConfig,
    NoBatchesOutcome,
    RustBatchWorkerInputs,
    aggregate_batch_results,
    cursor_ranges,
    even_ranges,
)
from tasker_core.types.batch import NO_OP_BATCH_ID
from tasker_core.types.results import StepHandlerResult

__all__ = ["BatchableMixin"]

Metadata = Optional[dict[str, Any]]


class BatchableMixin:
    """Cursors, outcomes and aggregation; mix it into analyzers, workers and convergences."""

    def create_cursor_config(
        self, start_cursor: Any, end_cursor: Any, batch_id: str = "", **fields: Any
    ) -> CursorConfig:
        """A part from ``start_cursor`` (inclusive) to ``end_cursor`` (exclusive); any JSON."""
        return CursorConfig(start_cursor, end_cursor, batch_id=batch_id, **fields)

    def create_cursor_ranges(
        self, total_items: int, batch_size: int, step_size: int = 1, max_batches: Optional[int] = None
    ) -> list[CursorConfig]:
        """Ranges of at most ``batch_size`` items that cover every item once; ``max_batches`` makes them larger."""
        return cursor_ranges(total_items, batch_size, step_size, max_batches)

    def create_cursor_configs(
        self,
        total: int,
        worker_count: int,
        customise: Optional[Callable[[CursorConfig, int], Optional[CursorConfig]]] = None,
    ) -> list[CursorConfig]:
        """As many ranges as workers, sizes differing by one at most; fewer when there are fewer items."""
        cursors = even_ranges(total, worker_count)
        if customise is None:
            return cursors
        return [customise(cursor, index) or cursor for index, cursor in enumerate(cursors)]

    def create_batch_outcome(
        self, total_items: int, cursor_configs: Sequence[CursorConfig], batch_metadata: Metadata = None
    ) -> BatchAnalyzerOutcome:
        """What an analyzer found."""
        return BatchAnalyzerOutcome(list(cursor_configs), total_items, batch_metadata or {})

    def create_batch_outcome_from_ranges(
        self, total_items: int, batch_size: int, step_size: int = 1, max_batches: Optional[int] = None
    ) -> BatchAnalyzerOutcome:
        """What an analyzer found, cut by :meth:`create_cursor_ranges`."""
        return BatchAnalyzerOutcome(cursor_ranges(total_items, batch_size, step_size, max_batches), total_items)

    def batch_analyzer_success(
        self,
        outcome: Union[BatchAnalyzerOutcome, CreateBatchesOutcome, NoBatchesOutcome],
        worker_template_name: Optional[str] = None,
        metadata: Metadata = None,
        **result: Any,
    ) -> StepHandlerResult:
        """A success that creates the workers; without a name those of the step's ``batch_config``."""
        if isinstance(outcome, BatchAnalyzerOutcome):
            result = {**outcome.batch_metadata, **result}
            outcome = outcome.to_outcome(worker_template_name)
        return StepHandlerResult.success({"batch_processing_outcome": outcome.to_dict(), **result}, metadata)

    def no_batches_outcome(self, reason: Optional[str] = None, metadata: Metadata = None) -> StepHandlerResult:
        """A success that says there is nothing to do; one placeholder worker runs."""
        said = {} if reason is None else {"reason": reason}
        return self.batch_analyzer_success(NoBatchesOutcome(), metadata=metadata, **said)

    def get_batch_worker_inputs(self, context: Any) -> RustBatchWorkerInputs:
        """The worker's ``inputs``."""
        return RustBatchWorkerInputs.from_dict(context.step_inputs)

    def get_batch_context(self, context: Any) -> Optional[BatchWorkerContext]:
        """The worker's view of its part; ``None`` if the step is no batch worker."""
        return BatchWorkerContext.from_step_context(context)

    def handle_no_op_worker(self, context: Any) -> Optional[StepHandlerResult]:
        """The result of a placeholder worker; ``None`` for any other, which has work to do."""
        if not context.step_inputs.get("is_no_op"):
            return None
        outcome = BatchWorkerOutcome(0, 0).to_dict()
        return StepHandlerResult.success({"batch_id": NO_OP_BATCH_ID, "no_op": True, **outcome})

    def create_worker_outcome(self, items_processed: int, **fields: Any) -> BatchWorkerOutcome:
        """What a worker did; ``fields`` are those of ``BatchWorkerOutcome``."""
        return BatchWorkerOutcome(items_processed, **fields)

    def batch_worker_success(
        self, outcome: Union[BatchWorkerOutcome, Mapping[str, Any]], metadata: Metadata = None
    ) -> StepHandlerResult:
        """A success of a worker."""
        result = outcome.to_dict() if isinstance(outcome, BatchWorkerOutcome) else dict(outcome)
        return StepHandlerResult.success(result, metadata)

    def batch_worker_partial_failure(
        self, outcome: Union[BatchWorkerOutcome, Mapping[str, Any]], metadata: Metadata = None
    ) -> StepHandlerResult:
        """A success of a worker some of whose items failed; they are in the outcome's ``errors``."""
        return self.batch_worker_success(outcome, {"partial_failure": True, **(metadata or {})})

    def detect_aggregation_scenario(
        self, context: Any, batchable_step: str, worker_prefix: str
    ) -> BatchAggregationScenario:
        """What an aggregating step finds; takes the context, or its dependency results."""
        results = getattr(context, "dependency_results", context)
        return BatchAggregationScenario.detect(results, batchable_step, worker_prefix)

    def no_batches_aggregation_result(self, zero_metrics: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """The result of an aggregation over nothing."""
        return {"worker_count": 0, "scenario": "no_batches", **(zero_metrics or {})}

    def aggregate_batch_worker_results(
        self,
        scenario: BatchAggregationScenario,
        zero_metrics: Optional[Mapping[str, Any]] = None,
        aggregate: Optional[Aggregate] = None,
    ) -> StepHandlerResult:
        """The aggregating step's result: ``aggregate`` of the workers' results, or ``zero_metrics``.

        Without ``aggregate`` the standard keys are summed.
        """
        if scenario.is_no_batches:
            return StepHandlerResult.success(self.no_batches_aggregation_result(zero_metrics))
        added = (aggregate or _sums)(scenario.batch_results)
        counted = {"worker_count": scenario.worker_count, "scenario": "with_batches"}
        return StepHandlerResult.success({**counted, **(added if isinstance(added, Mapping) else {"result": added})})

    @staticmethod
    def aggregate_worker_results(results: Union[Mapping[str, Any], Sequence[Any]]) -> BatchAggregationResult:
        """Sums the standard keys of workers' results."""
        return aggregate_batch_results(results)


def _sums(results: dict[str, Any]) -> dict[str, Any]:
    return aggregate_batch_results(results).to_dict()
