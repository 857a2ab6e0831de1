"""The core's functions under their published names: thin forms over the compiled module.

With no worker running they raise ``RuntimeError``.
"""

from __future__ import annotations

from typing import Any, Optional, cast

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
        from tasker_core import bootstrap

        return getattr(bootstrap, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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


def complete_step_event(event_id: str, result: dict[str, Any]) -> bool:
    """Hands in a result of the wire shape (``StepExecutionResult``); whether the event was still open."""
    worker = current_worker()
    event = worker.find(event_id)
    if event is None:
        return False
    metadata = result.get("metadata") or {}
    custom = metadata.get("custom") or None
    execution_us = int(float(metadata.get("execution_time_ms") or 0) * 1000)
    custom_json = None if custom is None else dump(custom, "metadata")
    if result.get("success"):
        worker.finish_success(event, dump(result.get("result")), custom_json, execution_us)
        return True
    error = result.get("error") or {}
    retry_after = metadata.get("retry_after_seconds")
    context = error.get("context")
    worker.finish_failure(
        event,
        str(error.get("message") or "the handler gave no message"),
        str(error.get("error_type") or "handler_error"),
        error.get("error_code"),
        bool(error.get("retryable", True)),
        error.get("backtrace"),
        None if retry_after is None else int(float(retry_after) * 1000),
        error.get("status_code"),
        dump(context, "context") if context else None,
        custom_json,
        execution_us,
    )
    return True


def checkpoint_yield_step_event(event_id: str, checkpoint: dict[str, Any]) -> bool:
    """Hands in a checkpoint ``{cursor, items_processed, accumulated_results}``; whether the event was still open."""
    worker = current_worker()
    event = worker.find(event_id)
    if event is None:
        return False
    accumulated = checkpoint.get("accumulated_results")
    worker.finish_checkpoint(
        event,
        dump(checkpoint.get("cursor"), "cursor"),
        int(checkpoint.get("items_processed") or 0),
        None if accumulated is None else dump(accumulated, "accumulated results"),
    )
    return True


def get_ffi_dispatch_metrics() -> dict[str, Any]:
    """Steps waiting, running, done."""
    return cast("dict[str, Any]", load(current_worker().status()))


def check_starvation_warnings() -> list[str]:
    """Steps that have been running for over ten seconds, as sentences."""
    status = get_ffi_dispatch_metrics()
    age = int(status["oldest_event_age_ms"])
    return [f"a step has been running for {age} ms"] if age > 10_000 else []


def cleanup_timeouts() -> None:
    """The core enforces time limits by itself; kept for compatibility."""
    current_worker()


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


def _log(level: str, message: str, fields: Optional[dict[str, Any]]) -> None:
    from tasker_core._native import log

    log(level, message, None if fields is None else dump(fields, "fields"))


def log_error(message: str, fields: Optional[dict[str, Any]] = None) -> None:
    """Writes an error to the core's log."""
    _log("error", message, fields)


def log_warn(message: str, fields: Optional[dict[str, Any]] = None) -> None:
    """Writes a warning to the core's log."""
    _log("warn", message, fields)


def log_info(message: str, fields: Optional[dict[str, Any]] = None) -> None:
    """Writes a line to the core's log."""
    _log("info", message, fields)


def log_debug(message: str, fields: Optional[dict[str, Any]] = None) -> None:
    """Writes a detail to the core's log."""
    _log("debug", message, fields)


def log_trace(message: str, fields: Optional[dict[str, Any]] = None) -> None:
    """Writes the finest detail to the core's log."""
    _log("trace", message, fields)


def _client() -> Any:
    from tasker_core.client import TaskerClient

    return TaskerClient(get_ffi_dispatch_metrics()["url"])


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


def client_get_step(task_uuid: str, step: str) -> dict[str, Any]:
    """One step, by name or UUID."""
    return cast("dict[str, Any]", _client().get_step(task_uuid, step))


def client_get_step_audit_history(task_uuid: str, step: str) -> list[dict[str, Any]]:
    """The attempts of a step."""
    return cast("list[dict[str, Any]]", _client().get_step_audit_history(task_uuid, step))


def client_health_check() -> dict[str, Any]:
    """Whether the store answers."""
    return cast("dict[str, Any]", _client().health_check())
