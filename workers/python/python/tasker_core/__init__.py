"""Tasker for Python: handlers, workers and clients of a durable workflow engine.

Importing this package does no work; each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasker_core._lazy import attach

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
        version as version,
    )
    from tasker_core.batch_processing.batch_aggregation_scenario import (
        BatchAggregationScenario as BatchAggregationScenario,
    )
    from tasker_core.batch_processing.batch_worker_context import (
        BatchWorkerContext as BatchWorkerContext,
    )
    from tasker_core.client import (
        ClientError as ClientError,
        TaskerClient as TaskerClient,
    )
    from tasker_core.compat.answers import (
        ClientHealthResponse as ClientHealthResponse,
        ClientPaginationInfo as ClientPaginationInfo,
        ClientStepAuditResponse as ClientStepAuditResponse,
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
        StepExecutionError as StepExecutionError,
        StepExecutionResult as StepExecutionResult,
    )
    from tasker_core.domain_events.base_publisher import (
        BasePublisher as BasePublisher,
        DefaultPublisher as DefaultPublisher,
    )
    from tasker_core.domain_events.base_subscriber import (
        BaseSubscriber as BaseSubscriber,
    )
    from tasker_core.domain_events.poller import (
        InProcessDomainEventPoller as InProcessDomainEventPoller,
    )
    from tasker_core.domain_events.publisher_registry import (
        PublisherRegistry as PublisherRegistry,
    )
    from tasker_core.domain_events.subscriber_registry import (
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
    from tasker_core.models import (
        DependencyResultsWrapper as DependencyResultsWrapper,
        HandlerWrapper as HandlerWrapper,
        StepDefinitionWrapper as StepDefinitionWrapper,
        TaskSequenceStepWrapper as TaskSequenceStepWrapper,
        TaskWrapper as TaskWrapper,
        WorkflowStepWrapper as WorkflowStepWrapper,
    )
    from tasker_core.observability import (
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
    from tasker_core.step_handler.api import (
        ApiHandler as ApiHandler,
        APIMixin as APIMixin,
        ApiResponse as ApiResponse,
    )
    from tasker_core.step_handler.base import (
        StepHandler as StepHandler,
    )
    from tasker_core.step_handler.decision import (
        DecisionHandler as DecisionHandler,
        DecisionMixin as DecisionMixin,
    )
    from tasker_core.step_handler.mixins.batchable import (
        Batchable as Batchable,
        BatchableMixin as BatchableMixin,
    )
    from tasker_core.template_discovery import (
        HandlerDiscovery as HandlerDiscovery,
        TemplateParser as TemplateParser,
        TemplatePath as TemplatePath,
    )
    from tasker_core.types.batch import (
        BatchAggregationResult as BatchAggregationResult,
        BatchAnalyzerOutcome as BatchAnalyzerOutcome,
        BatchMetadata as BatchMetadata,
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
        no_batches as no_batches,
    )
    from tasker_core.types.decision import (
        DecisionPointOutcome as DecisionPointOutcome,
        DecisionType as DecisionType,
    )
    from tasker_core.types.domain_event import (
        DomainEventMetadata as DomainEventMetadata,
        EventDeclaration as EventDeclaration,
        InProcessDomainEvent as InProcessDomainEvent,
        PublishContext as PublishContext,
        StepEventContext as StepEventContext,
        StepResult as StepResult,
    )
    from tasker_core.types.results import (
        CheckpointYield as CheckpointYield,
        ErrorType as ErrorType,
        ExecutionResult as ExecutionResult,
        StepHandlerCallResult as StepHandlerCallResult,
        StepHandlerResult as StepHandlerResult,
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
    from tasker_core.worker.bootstrap import (
        bootstrap_worker as bootstrap_worker,
        get_worker_status as get_worker_status,
        is_worker_running as is_worker_running,
        stop_worker as stop_worker,
        transition_to_graceful_shutdown as transition_to_graceful_shutdown,
    )
    from tasker_core.worker.event_bridge import (
        EventBridge as EventBridge,
        EventNames as EventNames,
    )
    from tasker_core.worker.event_poller import (
        EventPoller as EventPoller,
    )
    from tasker_core.worker.step_execution_subscriber import (
        StepExecutionSubscriber as StepExecutionSubscriber,
    )
    from tasker_core.worker.worker import (
        Worker as Worker,
    )
else:
    __getattr__, __dir__, _names = attach(
        __name__,
        {
            "tasker_core._tasker_core": (
                "check_starvation_warnings checkpoint_yield_step_event cleanup_timeouts client_cancel_task "
                "client_create_task client_get_step client_get_step_audit_history client_get_task "
                "client_health_check client_list_task_steps client_list_tasks complete_step_event "
                "get_ffi_dispatch_metrics get_rust_version get_version health_check log_debug log_error "
                "log_info log_trace log_warn poll_in_process_events poll_step_events version"
            ),
            "tasker_core.batch_processing.batch_aggregation_scenario": "BatchAggregationScenario",
            "tasker_core.batch_processing.batch_worker_context": "BatchWorkerContext",
            "tasker_core.client": "ClientError TaskerClient",
            "tasker_core.compat.answers": (
                "ClientHealthResponse ClientPaginationInfo ClientStepAuditResponse ClientStepResponse "
                "ClientTaskListResponse ClientTaskResponse"
            ),
            "tasker_core.compat.wire": (
                "FfiDispatchMetrics FfiStepEvent LogContext ResultStatus StarvationWarning StepError "
                "StepExecutionError StepExecutionResult"
            ),
            "tasker_core.domain_events.base_publisher": "BasePublisher DefaultPublisher",
            "tasker_core.domain_events.base_subscriber": "BaseSubscriber",
            "tasker_core.domain_events.poller": "InProcessDomainEventPoller",
            "tasker_core.domain_events.publisher_registry": "PublisherRegistry",
            "tasker_core.domain_events.subscriber_registry": "SubscriberRegistry",
            "tasker_core.errors": (
                "AuthenticationError AuthorizationError BusinessLogicError ConfigurationError "
                "ConversionError ErrorClassifier FFIError NetworkError NotFoundError PermanentError "
                "RateLimitError ResourceContentionError RetryableError ServiceUnavailableError "
                "StepTimeoutError StepValidationError TaskerError ValidationError WorkerAlreadyRunningError "
                "WorkerBootstrapError WorkerNotInitializedError get_classifier is_permanent is_retryable"
            ),
            "tasker_core.models": (
                "DependencyResultsWrapper HandlerWrapper StepDefinitionWrapper TaskSequenceStepWrapper "
                "TaskWrapper WorkflowStepWrapper"
            ),
            "tasker_core.observability": "WorkerSettings get_health_check get_metrics get_worker_config",
            "tasker_core.registry": (
                "BaseResolver ClassLookupResolver ExplicitMappingResolver HandlerDefinition HandlerRegistry "
                "MethodDispatchWrapper RegistryResolver ResolutionError ResolverChain ResolverNotFoundError"
            ),
            "tasker_core.step_handler.api": "APIMixin ApiHandler ApiResponse",
            "tasker_core.step_handler.base": "StepHandler",
            "tasker_core.step_handler.decision": "DecisionHandler DecisionMixin",
            "tasker_core.step_handler.mixins.batchable": "Batchable BatchableMixin",
            "tasker_core.template_discovery": "HandlerDiscovery TemplateParser TemplatePath",
            "tasker_core.types.batch": (
                "BatchAggregationResult BatchAnalyzerOutcome BatchMetadata BatchWorkerConfig "
                "BatchWorkerOutcome CreateBatchesOutcome CursorConfig FailureStrategy NoBatchesOutcome "
                "RustBatchWorkerInputs RustCursorConfig aggregate_batch_results create_batches no_batches"
            ),
            "tasker_core.types.decision": "DecisionPointOutcome DecisionType",
            "tasker_core.types.domain_event": (
                "DomainEventMetadata EventDeclaration InProcessDomainEvent PublishContext StepEventContext StepResult"
            ),
            "tasker_core.types.results": (
                "CheckpointYield ErrorType ExecutionResult StepHandlerCallResult StepHandlerResult"
            ),
            "tasker_core.types.step_context": "StepContext",
            "tasker_core.types.worker": (
                "BootstrapConfig BootstrapResult ComponentHealth HealthCheck WorkerConfig WorkerMetrics "
                "WorkerState WorkerStatus"
            ),
            "tasker_core.worker.bootstrap": (
                "bootstrap_worker get_worker_status is_worker_running stop_worker transition_to_graceful_shutdown"
            ),
            "tasker_core.worker.event_bridge": "EventBridge EventNames",
            "tasker_core.worker.event_poller": "EventPoller",
            "tasker_core.worker.step_execution_subscriber": "StepExecutionSubscriber",
            "tasker_core.worker.worker": "Worker",
        },
    )
    __all__ = ["__version__", *_names]
