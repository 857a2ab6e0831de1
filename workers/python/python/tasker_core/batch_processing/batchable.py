"""The mixin of batch handlers, with what it works on."""

from __future__ import annotations

from tasker_core.batch_processing.batch_aggregation_scenario import BatchAggregationScenario
from tasker_core.step_handler.mixins.batchable import Batchable
from tasker_core.types.batch import BatchWorkerConfig

__all__ = ["BatchAggregationScenario", "BatchWorkerConfig", "Batchable"]
