"""Everything handlers get and give: results, the context, batches, decisions, events, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasker_core._lazy import attach

if TYPE_CHECKING:
    from tasker_core.batch_processing.batch_worker_context import (
        BatchWorkerContext as BatchWorkerContext,
    )
    from tasker_core.compat.client_models import (
        ClientHealthResponse as ClientHealthResponse,
        ClientPaginationInfo as ClientPaginationInfo,
        ClientStepAuditResponse as ClientStepAuditResponse,
        ClientStepReadiness as ClientStepReadiness,
        ClientStepResponse as ClientStepResponse,
        ClientTaskListResponse as ClientTaskListResponse,
        ClientTaskResponse as ClientTaskResponse,
    )
    from tasker_core.compat.wire import (
        FfiDispatchMetrics as FfiDispatchMetrics,
        FfiStepEvent as FfiStepEvent,
        LogContext as LogContext,
        ResultStatus as ResultStatus,
        StarvationWarning as StarvationWarning,
        StepError as StepError,
        StepExecutionResult as StepExecutionResult,
    )
    from tasker_core.types.batch import (
        BatchAggregationResult as BatchAggregationResult,
        BatchAnalyzerOutcome as BatchAnalyzerOutcome,
        BatchMetadata as BatchMetadata,
        BatchProcessingOutcome as BatchProcessingOutcome,
        BatchWorkerOutcome as BatchWorkerOutcome,
        CreateBatchesOutcome as CreateBatchesOutcome,
        CursorConfig as CursorConfig,
        FailureStrategy as FailureStrategy,
        NoBatchesOutcome as NoBatchesOutcome,
        RustBatchWorkerInputs as RustBatchWorkerInputs,
        RustCursorConfig as RustCursorConfig,
        aggregate_batch_results as aggregate_batch_results,
        create_batches as create_batches,
        no_batches as no_batches,
    )
    from tasker_core.types.decision import (
        DecisionPointOutcome as DecisionPointOutcome,
        DecisionType as DecisionType,
    )
    from tasker_core.types.domain_event import (
        DomainEventMetadata as DomainEventMetadata,
        InProcessDomainEvent as InProcessDomainEvent,
    )
    from tasker_core.types.results import (
        CheckpointYield as CheckpointYield,
        ErrorType as ErrorType,
        ExecutionResult as ExecutionResult,
        StepHandlerCallResult as StepHandlerCallResult,
        StepHandlerResult as StepHandlerResult,
        seconds as seconds,
    )
    from tasker_core.types.step_context import (
        StepContext as StepContext,
    )
    from tasker_core.types.worker import (
        BootstrapConfig as BootstrapConfig,
        BootstrapResult as BootstrapResult,
        ComponentHealth as ComponentHealth,
        HealthCheck as HealthCheck,
        WorkerConfig as WorkerConfig,
        WorkerMetrics as WorkerMetrics,
        WorkerState as WorkerState,
        WorkerStatus as WorkerStatus,
    )
else:
    # Loaded when used: some of these need each other's package.
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "tasker_core.compat.client_models": (
                "ClientHealthResponse ClientPaginationInfo ClientStepAuditResponse ClientStepReadiness "
                "ClientStepResponse ClientTaskListResponse ClientTaskResponse"
            ),
            "tasker_core.compat.wire": (
                "FfiDispatchMetrics FfiStepEvent LogContext ResultStatus StarvationWarning StepError "
                "StepExecutionResult"
            ),
            "tasker_core.batch_processing.batch_worker_context": "BatchWorkerContext",
            "tasker_core.types.batch": (
                "BatchAggregationResult BatchAnalyzerOutcome BatchMetadata BatchProcessingOutcome "
                "BatchWorkerOutcome CreateBatchesOutcome CursorConfig FailureStrategy NoBatchesOutcome "
                "RustBatchWorkerInputs RustCursorConfig aggregate_batch_results create_batches no_batches"
            ),
            "tasker_core.types.decision": "DecisionPointOutcome DecisionType",
            "tasker_core.types.domain_event": "DomainEventMetadata InProcessDomainEvent",
            "tasker_core.types.results": (
                "CheckpointYield ErrorType ExecutionResult StepHandlerCallResult StepHandlerResult seconds"
            ),
            "tasker_core.types.step_context": "StepContext",
            "tasker_core.types.worker": (
                "BootstrapConfig BootstrapResult ComponentHealth HealthCheck WorkerConfig WorkerMetrics "
                "WorkerState WorkerStatus"
            ),
        },
    )
