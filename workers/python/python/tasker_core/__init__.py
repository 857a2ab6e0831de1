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
    from tasker_core.bootstrap import (
        BootstrapConfig as BootstrapConfig,
        BootstrapResult as BootstrapResult,
        bootstrap_worker as bootstrap_worker,
        get_worker_status as get_worker_status,
        is_worker_running as is_worker_running,
        stop_worker as stop_worker,
        transition_to_graceful_shutdown as transition_to_graceful_shutdown,
    )
    from tasker_core.client import (
        ClientError as ClientError,
        TaskerClient as TaskerClient,
    )
    from tasker_core.discovery import (
        HandlerDiscovery as HandlerDiscovery,
        TemplateParser as TemplateParser,
        TemplatePath as TemplatePath,
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
    from tasker_core.event_bridge import (
        EventBridge as EventBridge,
        EventNames as EventNames,
    )
    from tasker_core.event_poller import (
        EventPoller as EventPoller,
    )
    from tasker_core.models import (
        DependencyResultsWrapper as DependencyResultsWrapper,
        HandlerWrapper as HandlerWrapper,
        StepContext as StepContext,
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
    from tasker_core.step_execution_subscriber import (
        StepExecutionSubscriber as StepExecutionSubscriber,
    )
    from tasker_core.step_handler import (
        StepHandler as StepHandler,
    )
    from tasker_core.types import (
        CheckpointYield as CheckpointYield,
        ErrorType as ErrorType,
        ExecutionResult as ExecutionResult,
        StepHandlerCallResult as StepHandlerCallResult,
        StepHandlerResult as StepHandlerResult,
    )
    from tasker_core.worker import (
        Worker as Worker,
        WorkerConfig as WorkerConfig,
    )

_EXPORTS = {
    "check_starvation_warnings": "tasker_core._tasker_core",
    "checkpoint_yield_step_event": "tasker_core._tasker_core",
    "cleanup_timeouts": "tasker_core._tasker_core",
    "client_cancel_task": "tasker_core._tasker_core",
    "client_create_task": "tasker_core._tasker_core",
    "client_get_step": "tasker_core._tasker_core",
    "client_get_step_audit_history": "tasker_core._tasker_core",
    "client_get_task": "tasker_core._tasker_core",
    "client_health_check": "tasker_core._tasker_core",
    "client_list_task_steps": "tasker_core._tasker_core",
    "client_list_tasks": "tasker_core._tasker_core",
    "complete_step_event": "tasker_core._tasker_core",
    "get_ffi_dispatch_metrics": "tasker_core._tasker_core",
    "get_rust_version": "tasker_core._tasker_core",
    "get_version": "tasker_core._tasker_core",
    "health_check": "tasker_core._tasker_core",
    "log_debug": "tasker_core._tasker_core",
    "log_error": "tasker_core._tasker_core",
    "log_info": "tasker_core._tasker_core",
    "log_trace": "tasker_core._tasker_core",
    "log_warn": "tasker_core._tasker_core",
    "poll_in_process_events": "tasker_core._tasker_core",
    "poll_step_events": "tasker_core._tasker_core",
    "BootstrapConfig": "tasker_core.bootstrap",
    "BootstrapResult": "tasker_core.bootstrap",
    "bootstrap_worker": "tasker_core.bootstrap",
    "get_worker_status": "tasker_core.bootstrap",
    "is_worker_running": "tasker_core.bootstrap",
    "stop_worker": "tasker_core.bootstrap",
    "transition_to_graceful_shutdown": "tasker_core.bootstrap",
    "ClientError": "tasker_core.client",
    "TaskerClient": "tasker_core.client",
    "HandlerDiscovery": "tasker_core.discovery",
    "TemplateParser": "tasker_core.discovery",
    "TemplatePath": "tasker_core.discovery",
    "AuthenticationError": "tasker_core.errors",
    "AuthorizationError": "tasker_core.errors",
    "BusinessLogicError": "tasker_core.errors",
    "ConfigurationError": "tasker_core.errors",
    "ConversionError": "tasker_core.errors",
    "ErrorClassifier": "tasker_core.errors",
    "FFIError": "tasker_core.errors",
    "NetworkError": "tasker_core.errors",
    "NotFoundError": "tasker_core.errors",
    "PermanentError": "tasker_core.errors",
    "RateLimitError": "tasker_core.errors",
    "ResourceContentionError": "tasker_core.errors",
    "RetryableError": "tasker_core.errors",
    "ServiceUnavailableError": "tasker_core.errors",
    "StepTimeoutError": "tasker_core.errors",
    "StepValidationError": "tasker_core.errors",
    "TaskerError": "tasker_core.errors",
    "ValidationError": "tasker_core.errors",
    "WorkerAlreadyRunningError": "tasker_core.errors",
    "WorkerBootstrapError": "tasker_core.errors",
    "WorkerNotInitializedError": "tasker_core.errors",
    "get_classifier": "tasker_core.errors",
    "is_permanent": "tasker_core.errors",
    "is_retryable": "tasker_core.errors",
    "EventBridge": "tasker_core.event_bridge",
    "EventNames": "tasker_core.event_bridge",
    "EventPoller": "tasker_core.event_poller",
    "DependencyResultsWrapper": "tasker_core.models",
    "HandlerWrapper": "tasker_core.models",
    "StepContext": "tasker_core.models",
    "StepDefinitionWrapper": "tasker_core.models",
    "TaskSequenceStepWrapper": "tasker_core.models",
    "TaskWrapper": "tasker_core.models",
    "WorkflowStepWrapper": "tasker_core.models",
    "ComponentHealth": "tasker_core.observability",
    "HealthCheck": "tasker_core.observability",
    "WorkerMetrics": "tasker_core.observability",
    "WorkerSettings": "tasker_core.observability",
    "get_health_check": "tasker_core.observability",
    "get_metrics": "tasker_core.observability",
    "get_worker_config": "tasker_core.observability",
    "BaseResolver": "tasker_core.registry",
    "ClassLookupResolver": "tasker_core.registry",
    "ExplicitMappingResolver": "tasker_core.registry",
    "HandlerDefinition": "tasker_core.registry",
    "HandlerRegistry": "tasker_core.registry",
    "MethodDispatchWrapper": "tasker_core.registry",
    "RegistryResolver": "tasker_core.registry",
    "ResolutionError": "tasker_core.registry",
    "ResolverChain": "tasker_core.registry",
    "ResolverNotFoundError": "tasker_core.registry",
    "StepExecutionSubscriber": "tasker_core.step_execution_subscriber",
    "StepHandler": "tasker_core.step_handler",
    "CheckpointYield": "tasker_core.types",
    "ErrorType": "tasker_core.types",
    "ExecutionResult": "tasker_core.types",
    "StepHandlerCallResult": "tasker_core.types",
    "StepHandlerResult": "tasker_core.types",
    "Worker": "tasker_core.worker",
    "WorkerConfig": "tasker_core.worker",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
