"""Tasker for Python: handlers, workers and clients of a durable workflow engine.

Importing this package does no work; each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tasker_core._tasker_core import (
        check_starvation_warnings as check_starvation_warnings,
        checkpoint_yield_step_event as checkpoint_yield_step_event,
        cleanup_timeouts as cleanup_timeouts,
        client_cancel_task as client_cancel_task,
        client_create_task as client_create_task,
        client_get_step as client_get_step,
        client_get_step_audit_history as client_get_step_audit_history,
        client_get_task as client_get_task,
        client_health_check as client_health_check,
        client_list_task_steps as client_list_task_steps,
        client_list_tasks as client_list_tasks,
        complete_step_event as complete_step_event,
        get_ffi_dispatch_metrics as get_ffi_dispatch_metrics,
        get_rust_version as get_rust_version,
        get_version as get_version,
        health_check as health_check,
        log_debug as log_debug,
        log_error as log_error,
        log_info as log_info,
        log_trace as log_trace,
        log_warn as log_warn,
        poll_in_process_events as poll_in_process_events,
        poll_step_events as poll_step_events,
    )
    from tasker_core.batch_processing import (
        BatchAggregationResult as BatchAggregationResult,
        BatchAggregationScenario as BatchAggregationScenario,
        BatchAnalyzerOutcome as BatchAnalyzerOutcome,
        BatchMetadata as BatchMetadata,
        BatchWorkerConfig as BatchWorkerConfig,
        BatchWorkerContext as BatchWorkerContext,
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
    from tasker_core.bootstrap import (
        BootstrapConfig as BootstrapConfig,
        BootstrapResult as BootstrapResult,
        bootstrap_worker as bootstrap_worker,
        get_worker_status as get_worker_status,
        is_worker_running as is_worker_running,
        stop_worker as stop_worker,
        transition_to_graceful_shutdown as transition_to_graceful_shutdown,
    )
    from tasker_core.client import ClientError as ClientError, TaskerClient as TaskerClient
    from tasker_core.discovery import (
        HandlerDiscovery as HandlerDiscovery,
        TemplateParser as TemplateParser,
        TemplatePath as TemplatePath,
    )
    from tasker_core.domain_events import (
        BasePublisher as BasePublisher,
        BaseSubscriber as BaseSubscriber,
        DefaultPublisher as DefaultPublisher,
        DomainEventMetadata as DomainEventMetadata,
        EventDeclaration as EventDeclaration,
        InProcessDomainEvent as InProcessDomainEvent,
        InProcessDomainEventPoller as InProcessDomainEventPoller,
        PublishContext as PublishContext,
        PublisherRegistry as PublisherRegistry,
        StepEventContext as StepEventContext,
        StepResult as StepResult,
        SubscriberRegistry as SubscriberRegistry,
    )
    from tasker_core.errors import (
        AuthenticationError as AuthenticationError,
        AuthorizationError as AuthorizationError,
        BusinessLogicError as BusinessLogicError,
        ConfigurationError as ConfigurationError,
        ConversionError as ConversionError,
        ErrorClassifier as ErrorClassifier,
        FFIError as FFIError,
        NetworkError as NetworkError,
        NotFoundError as NotFoundError,
        PermanentError as PermanentError,
        RateLimitError as RateLimitError,
        ResourceContentionError as ResourceContentionError,
        RetryableError as RetryableError,
        ServiceUnavailableError as ServiceUnavailableError,
        StepTimeoutError as StepTimeoutError,
        StepValidationError as StepValidationError,
        TaskerError as TaskerError,
        ValidationError as ValidationError,
        WorkerAlreadyRunningError as WorkerAlreadyRunningError,
        WorkerBootstrapError as WorkerBootstrapError,
        WorkerNotInitializedError as WorkerNotInitializedError,
        get_classifier as get_classifier,
        is_permanent as is_permanent,
        is_retryable as is_retryable,
    )
    from tasker_core.event_bridge import EventBridge as EventBridge, EventNames as EventNames
    from tasker_core.event_poller import EventPoller as EventPoller
    from tasker_core.models import (
        DependencyResultsWrapper as DependencyResultsWrapper,
        HandlerWrapper as HandlerWrapper,
        StepDefinitionWrapper as StepDefinitionWrapper,
        TaskSequenceStepWrapper as TaskSequenceStepWrapper,
        TaskWrapper as TaskWrapper,
        WorkflowStepWrapper as WorkflowStepWrapper,
    )
    from tasker_core.observability import (
        ComponentHealth as ComponentHealth,
        HealthCheck as HealthCheck,
        WorkerMetrics as WorkerMetrics,
        WorkerSettings as WorkerSettings,
        get_health_check as get_health_check,
        get_metrics as get_metrics,
        get_worker_config as get_worker_config,
    )
    from tasker_core.registry import (
        BaseResolver as BaseResolver,
        ClassLookupResolver as ClassLookupResolver,
        ExplicitMappingResolver as ExplicitMappingResolver,
        HandlerDefinition as HandlerDefinition,
        HandlerRegistry as HandlerRegistry,
        MethodDispatchWrapper as MethodDispatchWrapper,
        RegistryResolver as RegistryResolver,
        ResolutionError as ResolutionError,
        ResolverChain as ResolverChain,
        ResolverNotFoundError as ResolverNotFoundError,
    )
    from tasker_core.step_execution_subscriber import StepExecutionSubscriber as StepExecutionSubscriber
    from tasker_core.step_handler import StepHandler as StepHandler
    from tasker_core.step_handler.api import ApiHandler as ApiHandler, APIMixin as APIMixin, ApiResponse as ApiResponse
    from tasker_core.step_handler.batchable import Batchable as Batchable, BatchableMixin as BatchableMixin
    from tasker_core.step_handler.decision import (
        DecisionHandler as DecisionHandler,
        DecisionMixin as DecisionMixin,
        DecisionPointOutcome as DecisionPointOutcome,
        DecisionType as DecisionType,
    )
    from tasker_core.types import (
        CheckpointYield as CheckpointYield,
        ErrorType as ErrorType,
        ExecutionResult as ExecutionResult,
        StepHandlerCallResult as StepHandlerCallResult,
        StepHandlerResult as StepHandlerResult,
    )
    from tasker_core.types.step_context import StepContext as StepContext
    from tasker_core.worker import Worker as Worker, WorkerConfig as WorkerConfig

_MODULES = {
    "tasker_core._tasker_core": (
        "check_starvation_warnings checkpoint_yield_step_event cleanup_timeouts client_cancel_task "
        "client_create_task client_get_step client_get_step_audit_history client_get_task "
        "client_health_check client_list_task_steps client_list_tasks complete_step_event "
        "get_ffi_dispatch_metrics get_rust_version get_version health_check log_debug log_error log_info "
        "log_trace log_warn poll_in_process_events poll_step_events"
    ),
    "tasker_core.batch_processing": (
        "BatchAggregationResult BatchAggregationScenario BatchAnalyzerOutcome BatchMetadata "
        "BatchWorkerConfig BatchWorkerContext BatchWorkerOutcome CreateBatchesOutcome CursorConfig "
        "FailureStrategy NoBatchesOutcome RustBatchWorkerInputs RustCursorConfig aggregate_batch_results "
        "create_batches no_batches"
    ),
    "tasker_core.bootstrap": (
        "BootstrapConfig BootstrapResult bootstrap_worker get_worker_status is_worker_running "
        "stop_worker transition_to_graceful_shutdown"
    ),
    "tasker_core.client": "ClientError TaskerClient",
    "tasker_core.discovery": "HandlerDiscovery TemplateParser TemplatePath",
    "tasker_core.domain_events": (
        "BasePublisher BaseSubscriber DefaultPublisher DomainEventMetadata EventDeclaration "
        "InProcessDomainEvent InProcessDomainEventPoller PublishContext PublisherRegistry "
        "StepEventContext StepResult SubscriberRegistry"
    ),
    "tasker_core.errors": (
        "AuthenticationError AuthorizationError BusinessLogicError ConfigurationError ConversionError "
        "ErrorClassifier FFIError NetworkError NotFoundError PermanentError RateLimitError "
        "ResourceContentionError RetryableError ServiceUnavailableError StepTimeoutError "
        "StepValidationError TaskerError ValidationError WorkerAlreadyRunningError WorkerBootstrapError "
        "WorkerNotInitializedError get_classifier is_permanent is_retryable"
    ),
    "tasker_core.event_bridge": "EventBridge EventNames",
    "tasker_core.event_poller": "EventPoller",
    "tasker_core.models": (
        "DependencyResultsWrapper HandlerWrapper StepDefinitionWrapper "
        "TaskSequenceStepWrapper TaskWrapper WorkflowStepWrapper"
    ),
    "tasker_core.observability": (
        "ComponentHealth HealthCheck WorkerMetrics WorkerSettings get_health_check get_metrics get_worker_config"
    ),
    "tasker_core.registry": (
        "BaseResolver ClassLookupResolver ExplicitMappingResolver HandlerDefinition HandlerRegistry "
        "MethodDispatchWrapper RegistryResolver ResolutionError ResolverChain ResolverNotFoundError"
    ),
    "tasker_core.step_execution_subscriber": "StepExecutionSubscriber",
    "tasker_core.step_handler": "StepHandler",
    "tasker_core.step_handler.api": "APIMixin ApiHandler ApiResponse",
    "tasker_core.step_handler.batchable": "Batchable BatchableMixin",
    "tasker_core.step_handler.decision": "DecisionHandler DecisionMixin DecisionPointOutcome DecisionType",
    "tasker_core.types": "CheckpointYield ErrorType ExecutionResult StepHandlerCallResult StepHandlerResult",
    "tasker_core.types.step_context": "StepContext",
    "tasker_core.worker": "Worker WorkerConfig",
}
_EXPORTS = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
