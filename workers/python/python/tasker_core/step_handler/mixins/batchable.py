"""Cursors, outcomes and aggregation, for any handler."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Union

from tasker_core.batch_processing.batch_aggregation_scenario import BatchAggregationScenario
from tasker_core.batch_processing.batch_worker_context import BatchWorkerContext
from tasker_core.types.batch import (
    NO_OP_BATCH_ID,
    Aggregate,
    BatchAnalyzerOutcome,
    BatchTotals,
    BatchWorkerConfig,
    BatchWorkerOutcome,
    CreateBatchesOutcome,
    CursorConfig,
    NoBatchesOutcome,
    RustBatchWorkerInputs,
    aggregate_batch_results,
    cursor_ranges,
    even_ranges,
)
from tasker_core.types.results import CheckpointYield, StepHandlerResult

__all__ = ["Batchable", "BatchableMixin"]

Metadata = Optional[dict[str, Any]]


class Batchable:
    """Cursors, outcomes and aggregation; mix it into analyzers, workers and aggregating steps.

    It is no handler itself: ``class Analyze(StepHandler, Batchable)``, in either order. It works alone as well.

    Example:
        >>> class Analyze(StepHandler, Batchable):
        ...     handler_name = "csv.analyze"
        ...     def call(self, context):
        ...         outcome = self.create_batch_outcome(total_items=1000, batch_size=200)
        ...         return self.batch_analyzer_success(outcome, worker_template_name="import")
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        from tasker_core.step_handler.base import StepHandler

        # `class Analyze(Batchable)` with a `call` of its own is a handler although it does not say so.
        if "call" in vars(cls) and not issubclass(cls, StepHandler):
            for name in ("handler_name", "handler_version", "name", "version", "config_schema", "success", "failure"):
                if not hasattr(cls, name):
                    setattr(cls, name, vars(StepHandler)[name])
            if not hasattr(cls, "capabilities"):
                cls.capabilities = property(lambda self: ["process", "batchable"])  # type: ignore[attr-defined]
            StepHandler.register(cls)

    def create_cursor_config(
        self, start: Any = None, end: Any = None, step_size: Any = 1, metadata: Metadata = None, **fields: Any
    ) -> CursorConfig:
        """A part from ``start`` (inclusive) to ``end`` (exclusive); any JSON.

        Args:
            fields: ``batch_id batch_size``, and ``start_cursor end_cursor`` for the first two.
        """
        if isinstance(step_size, str):
            fields.setdefault("batch_id", step_size)
            step_size = 1
        start, end = fields.pop("start_cursor", start), fields.pop("end_cursor", end)
        return CursorConfig(start_cursor=start, end_cursor=end, step_size=step_size, metadata=metadata or {}, **fields)

    def create_cursor_ranges(
        self, total_items: int, batch_size: int, step_size: int = 1, max_batches: Optional[int] = None
    ) -> list[CursorConfig]:
        """Ranges of at most ``batch_size`` items that cover every item once; ``max_batches`` makes them larger.

        Raises:
            ValueError: a size below 1, or a negative total.
        """
        return cursor_ranges(total_items, batch_size, step_size, max_batches)

    def create_cursor_configs(
        self,
        total_items: int,
        worker_count: int,
        customise: Optional[Callable[[Any, int], Any]] = None,
    ) -> list[Any]:
        """A ``BatchWorkerConfig`` a worker, sizes differing by one at most; fewer when there are fewer items.

        Raises:
            ValueError: a negative total, or no worker.
        """
        ranges = even_ranges(total_items, worker_count)
        configs = [
            BatchWorkerConfig(
                r.batch_id, r.start_cursor, r.end_cursor, r.end_cursor - r.start_cursor, index, len(ranges)
            )
            for index, r in enumerate(ranges)
        ]
        if customise is None:
            return configs
        return [customise(config, index) or config for index, config in enumerate(configs)]

    def create_batch_context(
        self, cursor_config: CursorConfig, batch_index: int, total_batches: int, batch_metadata: Metadata = None
    ) -> BatchWorkerContext:
        """A worker's view of a part, with a random ``batch_id``."""
        return BatchWorkerContext(
            batch_id=str(uuid.uuid4()),
            cursor_config=cursor_config,
            batch_index=batch_index,
            total_batches=total_batches,
            batch_metadata=batch_metadata or {},
        )

    def create_batch_outcome(
        self,
        total_items: int,
        batch_size: Any = None,
        step_size: Any = 1,
        batch_metadata: Metadata = None,
        *,
        cursor_configs: Optional[Sequence[Any]] = None,
    ) -> BatchAnalyzerOutcome:
        """What an analyzer found, cut into parts of ``batch_size``; or with cursors of one's own in its place."""
        if isinstance(step_size, Mapping):
            batch_metadata, step_size = dict(step_size), 1
        if cursor_configs is None and not isinstance(batch_size, int):
            cursor_configs = batch_size
        if cursor_configs is None:
            cursor_configs = cursor_ranges(total_items, batch_size, step_size)
        return BatchAnalyzerOutcome(
            cursor_configs=list(cursor_configs), total_items=total_items, batch_metadata=batch_metadata or {}
        )

    def create_batch_outcome_from_ranges(
        self,
        ranges: Any = None,
        step_size: int = 1,
        total_items: Optional[int] = None,
        batch_metadata: Any = None,
        *,
        batch_size: Optional[int] = None,
        max_batches: Optional[int] = None,
    ) -> BatchAnalyzerOutcome:
        """What an analyzer found, from ``[(start, end), …]``.

        Called ``(total_items, batch_size, step_size=1, max_batches=None)``, it is cut by :meth:`create_cursor_ranges`.
        """
        if isinstance(ranges, int) and batch_size is None:
            # Positional: total, size, step, most.
            batch_size, step_size, total_items = step_size, total_items or 1, ranges
            if isinstance(batch_metadata, int):
                batch_metadata, max_batches = None, batch_metadata
        elif isinstance(ranges, int):
            total_items = ranges
        if batch_size is not None:
            cursors = cursor_ranges(total_items or 0, batch_size, step_size, max_batches)
            return BatchAnalyzerOutcome(
                cursor_configs=cursors, total_items=total_items or 0, batch_metadata=batch_metadata or {}
            )
        return BatchAnalyzerOutcome.from_ranges(ranges, step_size, total_items, batch_metadata)

    def batch_analyzer_success(
        self,
        outcome: Union[BatchAnalyzerOutcome, CreateBatchesOutcome, NoBatchesOutcome, None] = None,
        metadata: Any = None,
        worker_template_name: Optional[str] = None,
        cursor_configs: Optional[Sequence[Any]] = None,
        total_items: Optional[int] = None,
        batch_metadata: Metadata = None,
        **result: Any,
    ) -> StepHandlerResult:
        """A success that creates the workers, from an outcome or from cursors.

        Args:
            worker_template_name: Template step of the workers; that of the step's ``batch_config`` when absent.
            batch_metadata: Kept in the result, where aggregation reads it, and in every worker's inputs.
            result: Whatever else the result shall hold.
        """
        if isinstance(metadata, str):
            # The form (outcome, worker_template_name, metadata).
            given = worker_template_name if isinstance(worker_template_name, dict) else None
            metadata, worker_template_name = given, metadata
        if outcome is None:
            outcome = BatchAnalyzerOutcome(
                cursor_configs=list(cursor_configs or []), total_items=total_items, batch_metadata=batch_metadata or {}
            )
        said: dict[str, Any] = {}
        if isinstance(outcome, BatchAnalyzerOutcome):
            kept = {**outcome.batch_metadata, **(batch_metadata or {})}
            outcome = outcome.to_outcome(worker_template_name)
            if isinstance(outcome, NoBatchesOutcome):
                return self.no_batches_outcome(
                    kept.pop("reason", None) or "empty_dataset", {**kept, **result}, metadata
                )
            said = {**kept, **({"batch_metadata": kept} if kept else {})}
        elif batch_metadata:
            said = {"batch_metadata": batch_metadata}
        if isinstance(outcome, CreateBatchesOutcome):
            if worker_template_name and outcome.worker_template_name is None:
                outcome = outcome.model_copy(update={"worker_template_name": worker_template_name})
            counts = {"worker_count": len(outcome.cursor_configs), "total_items": outcome.total_items}
            said = {
                **said,
                **counts,
                **({"batch_metadata": said["batch_metadata"]} if "batch_metadata" in said else {}),
            }
        body = {**said, **result, "batch_processing_outcome": outcome.to_dict()}
        return StepHandlerResult.success(body, {**(metadata or {}), "batch_analyzer": True})

    def no_batches_outcome(
        self, reason: Optional[str] = None, metadata: Metadata = None, attempt_metadata: Metadata = None
    ) -> StepHandlerResult:
        """A success that says there is nothing to do; one placeholder worker runs.

        Args:
            metadata: Kept in the result, beside the reason.
            attempt_metadata: Kept with the attempt.
        """
        said = {} if reason is None else {"reason": reason}
        body = {"batch_processing_outcome": NoBatchesOutcome().to_dict(), **said, **(metadata or {})}
        return StepHandlerResult.success(body, {**(attempt_metadata or {}), "batch_analyzer": True, "no_batches": True})

    def get_batch_worker_inputs(self, context: Any) -> Optional[RustBatchWorkerInputs]:
        """The worker's ``inputs``; ``None`` if the step has none, or they are not those of a worker."""
        inputs = context.step_inputs
        if not isinstance(inputs, Mapping) or "cursor" not in inputs:
            return None
        try:
            return RustBatchWorkerInputs.from_dict(inputs)
        except ValueError:
            return None

    def get_batch_context(self, context: Any) -> Optional[BatchWorkerContext]:
        """The worker's view of its part; ``None`` if the step is no batch worker."""
        return BatchWorkerContext.from_step_context(context)

    def handle_no_op_worker(self, context: Any) -> Optional[StepHandlerResult]:
        """The result of a placeholder worker; ``None`` for any other, which has work to do.

        Args:
            context: Of the step, or what :meth:`get_batch_context` gave.
        """
        if isinstance(context, BatchWorkerContext):
            no_op, batch_id = context.is_no_op, context.batch_id
        else:
            inputs = context.step_inputs or {}
            cursor = inputs.get("cursor")
            no_op = bool(inputs.get("is_no_op"))
            batch_id = (cursor.get("batch_id") if isinstance(cursor, Mapping) else None) or NO_OP_BATCH_ID
        if not no_op:
            return None
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = {"processed_count": 0, "message": "nothing to do", "processed_at": now}
        outcome = BatchWorkerOutcome(items_processed=0, items_succeeded=0).to_dict()
        return StepHandlerResult.success({"batch_id": batch_id, "no_op": True, **said, **outcome})

    def create_worker_outcome(
        self,
        items_processed: int,
        items_succeeded: Optional[int] = None,
        items_failed: int = 0,
        items_skipped: int = 0,
        results: Optional[list[Any]] = None,
        errors: Optional[list[Any]] = None,
        last_cursor: Any = None,
        batch_metadata: Metadata = None,
    ) -> BatchWorkerOutcome:
        """What a worker did; ``items_succeeded`` is what neither failed nor was skipped when absent."""
        return BatchWorkerOutcome(
            items_processed=items_processed,
            items_succeeded=items_succeeded,
            items_failed=items_failed,
            items_skipped=items_skipped,
            results=results,
            errors=errors,
            last_cursor=last_cursor,
            batch_metadata=batch_metadata or {},
        )

    def batch_worker_success(
        self,
        outcome: Union[BatchWorkerOutcome, Mapping[str, Any], None] = None,
        metadata: Metadata = None,
        items_processed: Optional[int] = None,
        items_succeeded: Optional[int] = None,
        items_failed: int = 0,
        items_skipped: int = 0,
        results: Optional[list[Any]] = None,
        errors: Optional[list[Any]] = None,
        last_cursor: Any = None,
        batch_metadata: Metadata = None,
    ) -> StepHandlerResult:
        """A success of a worker, from an outcome or from its counts (all succeeded when not said)."""
        if outcome is None:
            if items_processed is None:
                return StepHandlerResult.failure(
                    "batch_worker_success needs an outcome or items_processed", "invalid_args", retryable=False
                )
            outcome = self.create_worker_outcome(
                items_processed,
                items_processed if items_succeeded is None else items_succeeded,
                items_failed,
                items_skipped,
                results,
                errors,
                last_cursor,
                batch_metadata,
            )
        body = outcome.to_dict() if isinstance(outcome, BatchWorkerOutcome) else dict(outcome)
        return StepHandlerResult.success(body, {**(metadata or {}), "batch_worker": True})

    def batch_worker_partial_failure(
        self,
        outcome: Union[BatchWorkerOutcome, Mapping[str, Any]],
        message: Any = None,
        metadata: Metadata = None,
    ) -> StepHandlerResult:
        """A success of a worker some of whose items failed; they are in the outcome's ``errors``."""
        if isinstance(message, Mapping):
            message, metadata = None, dict(message)
        told = self.batch_worker_success(outcome, {**(metadata or {}), "partial_failure": True, "had_failures": True})
        told.result["partial_failure"] = True
        if message is not None:
            told.result["partial_failure_message"] = message
        return told

    def checkpoint_yield(
        self, cursor: Any, items_processed: int = 0, accumulated_results: Any = None
    ) -> CheckpointYield:
        """Progress to keep; return it, and the handler is called again with ``context.checkpoint`` set."""
        return CheckpointYield(cursor=cursor, items_processed=items_processed, accumulated_results=accumulated_results)

    def detect_aggregation_scenario(
        self, dependency_results: Any, batchable_step_name: str, batch_worker_prefix: str
    ) -> BatchAggregationScenario:
        """What an aggregating step finds.

        Args:
            dependency_results: Those of the context, or the context itself, or a mapping of envelopes.

        Raises:
            ValueError: the analyzer has no result.
        """
        results = dependency_results
        if not isinstance(results, Mapping):
            results = getattr(results, "dependency_results", results)
        return BatchAggregationScenario.detect(results, batchable_step_name, batch_worker_prefix)

    def no_batches_aggregation_result(self, zero_metrics: Optional[Mapping[str, Any]] = None) -> StepHandlerResult:
        """The result of an aggregation over nothing."""
        return StepHandlerResult.success({"worker_count": 0, "scenario": "no_batches", **(zero_metrics or {})})

    def aggregate_batch_worker_results(
        self,
        scenario: BatchAggregationScenario,
        zero_metrics: Optional[Mapping[str, Any]] = None,
        aggregation_fn: Optional[Aggregate] = None,
        *,
        aggregate: Optional[Aggregate] = None,
    ) -> StepHandlerResult:
        """The aggregating step's result: ``aggregation_fn`` of the workers' results, or ``zero_metrics``.

        Without a function it holds the workers' results as ``batch_results`` and the sums of the standard keys.
        """
        if scenario.is_no_batches:
            return self.no_batches_aggregation_result(zero_metrics)
        counted = {"worker_count": scenario.worker_count, "scenario": "with_batches"}
        function = aggregation_fn or aggregate
        if function is None:
            sums = aggregate_batch_results(scenario.batch_results).to_dict()
            return StepHandlerResult.success({**sums, "batch_results": scenario.batch_results, **counted})
        added = function(scenario.batch_results)
        return StepHandlerResult.success({**counted, **(added if isinstance(added, Mapping) else {"result": added})})

    @staticmethod
    def aggregate_worker_results(worker_results: Union[Mapping[str, Any], Sequence[Any]]) -> BatchTotals:
        """Sums the standard keys of workers' results."""
        return BatchTotals.of(aggregate_batch_results(worker_results))


#: The same mixin by the name other mixins have.
BatchableMixin = Batchable
