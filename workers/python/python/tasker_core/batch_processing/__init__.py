"""Batches: cursors, outcomes, the worker's view and the aggregation's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasker_core._lazy import attach

if TYPE_CHECKING:
    from tasker_core.batch_processing.batch_aggregation_scenario import (
        BatchAggregationScenario as BatchAggregationScenario,
    )
    from tasker_core.batch_processing.batch_worker_context import BatchWorkerContext as BatchWorkerContext
    from tasker_core.step_handler.mixins.batchable import Batchable as Batchable
    from tasker_core.types.batch import (
        Aggregate as Aggregate,
        BatchAggregationResult as BatchAggregationResult,
        BatchAnalyzerOutcome as BatchAnalyzerOutcome,
        BatchMetadata as BatchMetadata,
        BatchProcessingOutcome as BatchProcessingOutcome,
        BatchWorkerConfig as BatchWorkerConfig,
        BatchWorkerOutcome as BatchWorkerOutcome,
        CreateBatchesOutcome as CreateBatchesOutcome,
        CursorConfig as CursorConfig,
        FailureStrategy as FailureStrategy,
        NoBatchesOutcome as NoBatchesOutcome,
        RustBatchWorkerInputs as RustBatchWorkerInputs,
        RustCursorConfig as RustCursorConfig,
        aggregate_batch_results as aggregate_batch_results,
        create_batches as create_batches,
        cursor_ranges as cursor_ranges,
        even_ranges as even_ranges,
        no_batches as no_batches,
    )
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "tasker_core.batch_processing.batch_aggregation_scenario": "BatchAggregationScenario",
            "tasker_core.batch_processing.batch_worker_context": "BatchWorkerContext",
            "tasker_core.step_handler.mixins.batchable": "Batchable",
            "tasker_core.types.batch": (
                "Aggregate BatchAggregationResult BatchAnalyzerOutcome BatchMetadata BatchProcessingOutcome "
                "BatchWorkerConfig BatchWorkerOutcome CreateBatchesOutcome CursorConfig FailureStrategy "
                "NoBatchesOutcome RustBatchWorkerInputs RustCursorConfig aggregate_batch_results create_batches "
                "cursor_ranges even_ranges no_batches"
            ),
        },
    )
