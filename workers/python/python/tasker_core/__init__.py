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
    )
    from tasker_core._tasker_core import (
        checkpoint_yield_step_event as checkpoint_yield_step_event,
    )
    from tasker_core._tasker_core import (
        cleanup_timeouts as cleanup_timeouts,
    )
    from tasker_core._tasker_core import (
        client_cancel_task as client_cancel_task,
    )
    from tasker_core._tasker_core import (
        client_create_task as client_create_task,
    )
    from tasker_core._tasker_core import (
        client_get_step as client_get_step,
    )
    from tasker_core._tasker_core import (
        client_get_step_audit_history as client_get_step_audit_history,
    )
    from tasker_core._tasker_core import (
        client_get_task as client_get_task,
    )
    from tasker_core._tasker_core import (
        client_health_check as client_health_check,
    )
    from tasker_core._tasker_core import (
        client_list_task_steps as client_list_task_steps,
    )
    from tasker_core._tasker_core import (
        client_list_tasks as client_list_tasks,
    )
    from tasker_core._tasker_core import (
        complete_step_event as complete_step_event,
    )
    from tasker_core._tasker_core import (
        get_ffi_dispatch_metrics as get_ffi_dispatch_metrics,
    )
    from tasker_core._tasker_core import (
        get_rust_version as get_rust_version,
    )
    from tasker_core._tasker_core import (
        get_version as get_version,
    )
    from tasker_core._tasker_core import (
        health_check as health_check,
    )
    from tasker_core._tasker_core import (
        log_debug as log_debug,
    )
    from tasker_core._tasker_core import (
        log_error as log_error,
    )
    from tasker_core._tasker_core import (
        log_info as log_info,
    )
    from tasker_core._tasker_core import (
        log_trace as log_trace,
    )
    from tasker_core._tasker_core import (
        log_warn as log_warn,
    )
    from tasker_core._tasker_core import (
        poll_in_process_events as poll_in_process_events,
    )
    from tasker_core._tasker_core import (
        poll_step_events as poll_step_events,
    )
    from tasker_core.bootstrap import (
        BootstrapConfig as BootstrapConfig,
    )
    from tasker_core.bootstrap import (
        BootstrapResult as BootstrapResult,
    )
    from tasker_core.bootstrap import (
        bootstrap_worker as bootstrap_worker,
    )
    from tasker_core.bootstrap import (
        get_worker_status as get_worker_status,
    )
    from tasker_core.bootstrap import (
        is_worker_running as is_worker_running,
    )
    from tasker_core.bootstrap import (
        stop_worker as stop_worker,
    )
    from tasker_core.bootstrap import (
        transition_to_graceful_shutdown as transition_to_graceful_shutdown,
    )
    from tasker_core.client import (
        ClientError as ClientError,
    )
    from tasker_core.client import (
        TaskerClient as TaskerClient,
    )
    from tasker_core.discovery import (
        HandlerDiscovery as HandlerDiscovery,
    )
    from tasker_core.discovery import (
        TemplateParser as TemplateParser,
    )
    from tasker_core.discovery import (
        TemplatePath as TemplatePath,
    )
    from tasker_core.errors import (
        AuthenticationError as AuthenticationError,
    )
    from tasker_core.errors import (
        AuthorizationError as AuthorizationError,
    )
    from tasker_core.errors import (
        BusinessLogicError as BusinessLogicError,
    )
    from tasker_core.errors import (
        ConfigurationError as ConfigurationError,
    )
    from tasker_core.errors import (
        ConversionError as ConversionError,
    )
    from tasker_core.errors import (
        ErrorClassifier as ErrorClassifier,
    )
    from tasker_core.errors import (
        FFIError as FFIError,
    )
    from tasker_core.errors import (
        NetworkError as NetworkError,
    )
    from tasker_core.errors import (
        NotFoundError as NotFoundError,
    )
    from tasker_core.errors import (
        PermanentError as PermanentError,
    )
    from tasker_core.errors import (
        RateLimitError as RateLimitError,
    )
    from tasker_core.errors import (
        ResourceContentionError as ResourceContentionError,
    )
    from tasker_core.errors import (
        RetryableError as RetryableError,
    )
    from tasker_core.errors import (
        ServiceUnavailableError as ServiceUnavailableError,
    )
    from tasker_core.errors import (
        StepTimeoutError as StepTimeoutError,
    )
    from tasker_core.errors import (
        StepValidationError as StepValidationError,
    )
    from tasker_core.errors import (
        TaskerError as TaskerError,
    )
    from tasker_core.errors import (
        ValidationError as ValidationError,
    )
    from tasker_core.errors import (
        WorkerAlreadyRunningError as WorkerAlreadyRunningError,
    )
    from tasker_core.errors import (
        WorkerBootstrapError as WorkerBootstrapError,
    )
    from tasker_core.errors import (
        WorkerNotInitializedError as WorkerNotInitializedError,
    )
    from tasker_core.errors import (
        get_classifier as get_classifier,
    )
    from tasker_core.errors import (
        is_permanent as is_permanent,
    )
    from tasker_core.errors import (
        is_retryable as is_retryable,
    )
    from tasker_core.event_bridge import (
        EventBridge as EventBridge,
    )
    from tasker_core.event_bridge import (
        EventNames as EventNames,
    )
    from tasker_core.event_poller import (
        EventPoller as EventPoller,
    )
    from tasker_core.models import (
        DependencyResultsWrapper as DependencyResultsWrapper,
    )
    from tasker_core.models import (
        HandlerWrapper as HandlerWrapper,
    )
    from tasker_core.models import (
        StepContext as StepContext,
    )
    from tasker_core.models import (
        StepDefinitionWrapper as StepDefinitionWrapper,
    )
    from tasker_core.models import (
        TaskSequenceStepWrapper as TaskSequenceStepWrapper,
    )
    from tasker_core.models import (
        TaskWrapper as TaskWrapper,
    )
    from tasker_core.models import (
        WorkflowStepWrapper as WorkflowStepWrapper,
    )
    from tasker_core.observability import (
        ComponentHealth as ComponentHealth,
    )
    from tasker_core.observability import (
        HealthCheck as HealthCheck,
    )
    from tasker_core.observability import (
        WorkerMetrics as WorkerMetrics,
    )
    from tasker_core.observability import (
        WorkerSettings as WorkerSettings,
    )
    from tasker_core.observability import (
        get_health_check as get_health_check,
    )
    from tasker_core.observability import (
        get_metrics as get_metrics,
    )
    from tasker_core.observability import (
        get_worker_config as get_worker_config,
    )
    from tasker_core.registry import (
        BaseResolver as BaseResolver,
    )
    from tasker_core.registry import (
        ClassLookupResolver as ClassLookupResolver,
    )
    from tasker_core.registry import (
        ExplicitMappingResolver as ExplicitMappingResolver,
    )
    from tasker_core.registry import (
        HandlerDefinition as HandlerDefinition,
    )
    from tasker_core.registry import (
        HandlerRegistry as HandlerRegistry,
    )
    from tasker_core.registry import (
        MethodDispatchWrapper as MethodDispatchWrapper,
    )
    from tasker_core.registry import (
        RegistryResolver as RegistryResolver,
    )
    from tasker_core.registry import (
        ResolutionError as ResolutionError,
    )
    from tasker_core.registry import (
        ResolverChain as ResolverChain,
    )
    from tasker_core.registry import (
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
    )
    from tasker_core.types import (
        ErrorType as ErrorType,
    )
    from tasker_core.types import (
        ExecutionResult as ExecutionResult,
    )
    from tasker_core.types import (
        StepHandlerCallResult as StepHandlerCallResult,
    )
    from tasker_core.types import (
        StepHandlerResult as StepHandlerResult,
    )
    from tasker_core.worker import (
        Worker as Worker,
    )
    from tasker_core.worker import (
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
