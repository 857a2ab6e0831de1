"""The core's functions under their published names: thin forms over the compiled module.

With no worker running they raise ``RuntimeError``.
"""

from __future__ import annotations

from typing import Any, Optional, cast

from tasker_core import __version__ as __version__
from tasker_core._current import current_worker
from tasker_core.serialization import dump, load

_LIFECYCLE = (
    "bootstrap_worker",
    "get_worker_status",
    "is_worker_running",
    "stop_worker",
    "transition_to_graceful_shutdown",
)


def __getattr__(name: str) -> Any:
    if name in _LIFECYCLE:
        from tasker_core.worker import bootstrap

        return getattr(bootstrap, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def version() -> str:
    """Version of the core."""
    return get_version()


def get_version() -> str:
    """Version of the core."""
    from tasker_core._native import version

    return version()


def get_rust_version() -> str:
    """Version of Rust the core needs at least."""
    from tasker_core._native import rust_version

    return rust_version()


def health_check() -> bool:
    """Whether the compiled module answers."""
    return bool(get_version())


def poll_step_events() -> Optional[dict[str, Any]]:
    """The next step as a dictionary of the wire shape; ``None`` if none waits."""
    worker = current_worker()
    event = worker.poll(0)
    while event is not None and not hasattr(event, "to_json"):
        if event.kind == "shutdown":
            return None
        event = worker.poll(0)
    return None if event is None else load(event.to_json())


def complete_step_event(event_id: str, completion_data: Any) -> bool:
    """Hands in a result of the wire shape (``StepExecutionResult``, or a dictionary of it).

    Returns:
        Whether the event was still open.
    """
    from tasker_core.domain_events.publisher_registry import PublisherRegistry
    from tasker_core.types.domain_event import StepResult
    from tasker_core.types.results import seconds

    worker = current_worker()
    event = worker.find(event_id)
    if event is None or event.cancelled:
        return False
    result = _plain(completion_data)
    metadata = result.get("metadata") or {}
    custom = metadata.get("custom") if "custom" in metadata else _custom(metadata)
    elapsed = seconds(result.get("execution_time_ms") or metadata.get("execution_time_ms")) or 0.0
    execution_us = int(elapsed * 1000)
    custom_json = dump(custom, "metadata") if custom else None
    error = result.get("error") or {}
    told = StepResult(
        success=bool(result.get("success")),
        result=result.get("result"),
        metadata=custom or {},
        error_message=error.get("message"),
        error_type=error.get("error_type"),
        error_code=error.get("error_code"),
        retryable=bool(error.get("retryable", True)),
    )
    events = PublisherRegistry.instance().prepared_json(event, told)
    if told.success:
        return bool(worker.finish_success(event, dump(result.get("result")), custom_json, execution_us, events))
    retry_after = seconds(metadata.get("retry_after_seconds"))
    context = error.get("context") or error.get("metadata")
    backtrace = error.get("backtrace") or (error.get("stack_trace") or "").splitlines() or None
    ended = worker.finish_failure(
        event,
        str(error.get("message") or "the handler gave no message"),
        str(error.get("error_type") or "handler_error"),
        error.get("error_code"),
        bool(error.get("retryable", True)),
        backtrace,
        None if retry_after is None else int(min(retry_after, 3600.0) * 1000),
        error.get("status_code"),
        dump(context, "context") if context else None,
        custom_json,
        execution_us,
        events,
    )
    return bool(ended)


def _plain(given: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", given.model_dump(mode="json") if hasattr(given, "model_dump") else given)


def _custom(metadata: dict[str, Any]) -> dict[str, Any]:
    """What of a result's metadata is the user's own."""
    ours = {"execution_time_ms", "worker_id", "started_at", "completed_at", "retryable", "retry_after_seconds"}
    return {k: v for k, v in metadata.items() if k not in ours}


def checkpoint_yield_step_event(event_id: str, checkpoint_data: Any) -> bool:
    """Hands in a checkpoint ``{cursor, items_processed, accumulated_results}``; whether the event was still open."""
    worker = current_worker()
    event = worker.find(event_id)
    if event is None or event.cancelled:
        return False
    checkpoint = _plain(checkpoint_data)
    accumulated = checkpoint.get("accumulated_results")
    ended = worker.finish_checkpoint(
        event,
        dump(checkpoint.get("cursor"), "cursor"),
        int(checkpoint.get("items_processed") or 0),
        None if accumulated is None else dump(accumulated, "accumulated results"),
    )
    return bool(ended)


def get_ffi_dispatch_metrics() -> dict[str, Any]:
    """Steps waiting, running, done."""
    return cast("dict[str, Any]", load(current_worker().status()))


def check_starvation_warnings() -> bool:
    """Whether a step has been waiting or running for over ten seconds."""
    return int(get_ffi_dispatch_metrics()["oldest_event_age_ms"]) > 10_000


def cleanup_timeouts() -> int:
    """Steps it timed out: none, as the core enforces time limits by itself."""
    current_worker()
    return 0


def poll_in_process_events() -> Optional[dict[str, Any]]:
    """The next domain event of a step that ran in this process; ``None`` if there is none."""
    events = current_worker().poll_in_process_events(1, 0)
    return load(events[0]) if events else None


def get_health_check() -> dict[str, Any]:
    """The worker's health."""
    status = get_ffi_dispatch_metrics()
    return {"status": "healthy" if status["running"] else "unhealthy", "worker": status}


def get_metrics() -> dict[str, Any]:
    """The worker's numbers."""
    return get_ffi_dispatch_metrics()


def get_worker_config() -> dict[str, Any]:
    """The worker's settings."""
    status = get_ffi_dispatch_metrics()
    return {k: status[k] for k in ("worker_id", "url", "namespaces", "slots")}


def _log(level: str, message: str, fields: Any) -> None:
    from tasker_core._native import log

    if hasattr(fields, "model_dump"):
        fields = fields.model_dump(exclude_none=True)
    log(level, message, None if fields is None else dump(fields, "fields"))


def log_error(message: str, fields: Any = None) -> None:
    """Writes an error to the core's log, with fields: a mapping or a ``LogContext``."""
    _log("error", message, fields)


def log_warn(message: str, fields: Any = None) -> None:
    """Writes a warning to the core's log, with fields: a mapping or a ``LogContext``."""
    _log("warn", message, fields)


def log_info(message: str, fields: Any = None) -> None:
    """Writes a line to the core's log, with fields: a mapping or a ``LogContext``."""
    _log("info", message, fields)


def log_debug(message: str, fields: Any = None) -> None:
    """Writes a detail to the core's log, with fields: a mapping or a ``LogContext``."""
    _log("debug", message, fields)


def log_trace(message: str, fields: Any = None) -> None:
    """Writes the finest detail to the core's log, with fields: a mapping or a ``LogContext``."""
    _log("trace", message, fields)


def _client() -> Any:
    from tasker_core.client import TaskerClient

    # The worker's own: its URL as it is shown has no password, and a store in memory no second door.
    return TaskerClient(url=get_ffi_dispatch_metrics()["url"], native=current_worker().client())


def client_create_task(request: dict[str, Any]) -> dict[str, Any]:
    """Creates a task."""
    return cast("dict[str, Any]", _client().create_task(**request))


def client_get_task(task_uuid: str) -> dict[str, Any]:
    """A task."""
    return cast("dict[str, Any]", _client().get_task(task_uuid))


def client_list_tasks(
    limit: int = 50, offset: int = 0, namespace: Optional[str] = None, status: Optional[str] = None
) -> dict[str, Any]:
    """A page of tasks."""
    return cast("dict[str, Any]", _client().list_tasks(limit, offset, namespace, status))


def client_cancel_task(task_uuid: str) -> dict[str, Any]:
    """Cancels a task."""
    return cast("dict[str, Any]", _client().cancel_task(task_uuid))


def client_list_task_steps(task_uuid: str) -> list[dict[str, Any]]:
    """The steps of a task."""
    return cast("list[dict[str, Any]]", _client().list_task_steps(task_uuid))


def client_get_step(task_uuid: str, step_uuid: str) -> dict[str, Any]:
    """One step, by name or UUID."""
    return cast("dict[str, Any]", _client().get_step(task_uuid, step_uuid))


def client_get_step_audit_history(task_uuid: str, step_uuid: str) -> list[dict[str, Any]]:
    """The attempts of a step."""
    return cast("list[dict[str, Any]]", _client().get_step_audit_history(task_uuid, step_uuid))


def client_health_check() -> dict[str, Any]:
    """Whether the store answers."""
    return cast("dict[str, Any]", _client().health_check())
