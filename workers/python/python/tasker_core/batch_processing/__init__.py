"""Batches: cursors, outcomes, the worker's view and the aggregation's."""

from __future__ import annotations

from tasker_core.batch_processing.batch_aggregation_scenario import BatchAggregationScenario
from tasker_core.batch_processing.batch_worker_context import BatchWorkerContext
from tasker_core.types.batch import (
    Aggregate,
    BatchAggregationResult,
    BatchAnalyzerOutcome,
    BatchMetadata,
    BatchWorkerConfig,
    BatchWorkerOutcome,
    CreateBatchesOutcome,
    CursorConfig,
    FailureStrategy,
    NoBatchesOutcome,
    RustBatchWorkerInputs,
    RustCursorConfig,
    aggregate_batch_results,
    create_batches,
    cursor_ranges,
    even_ranges,
    no_batches,
)

__all__ = [
    "Aggregate",
    "BatchAggregationResult",
    "BatchAggregationScenario",
    "BatchAnalyzerOutcome",
    "BatchMetadata",
    "BatchWorkerConfig",
    "BatchWorkerContext",
    "BatchWorkerOutcome",
    "CreateBatchesOutcome",
    "CursorConfig",
    "FailureStrategy",
    "NoBatchesOutcome",
    "RustBatchWorkerInputs",
    "RustCursorConfig",
    "aggregate_batch_results",
    "create_batches",
    "cursor_ranges",
    "even_ranges",
    "no_batches",
]
