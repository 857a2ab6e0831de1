"""Health, metrics and settings of the running worker, as typed objects."""

from __future__ import annotations

from typing import Any

from tasker_core._current import current_worker
from tasker_core.serialization import load
from tasker_core.types.worker import ComponentHealth, HealthCheck, WorkerConfig, WorkerMetrics

__all__ = [
    "ComponentHealth",
    "HealthCheck",
    "WorkerMetrics",
    "WorkerSettings",
    "get_health_check",
    "get_metrics",
    "get_worker_config",
]


class WorkerSettings(WorkerConfig):
    """Settings of a running worker, with where its work comes from."""

    url: str = ""
    namespaces: list[str] = []
    slots: int = 0


def _status() -> dict[str, Any]:
    status: dict[str, Any] = load(current_worker().status())
    return status


def get_health_check() -> HealthCheck:
    """Health of worker and store.

    Raises:
        WorkerNotInitializedError: no worker is running.
    """
    from tasker_core.client import TaskerClient

    status = _status()
    worker = "healthy" if status["running"] and not status["draining"] else "unhealthy"
    try:
        # Through the worker itself: its URL as it is shown has no password, and a store in memory no second door.
        TaskerClient(url=status["url"], native=current_worker().client()).health_check()
        store = ComponentHealth(name="store", status="healthy")
    except RuntimeError as error:
        store = ComponentHealth(name="store", status="unhealthy", message=str(error))
    parts = {"worker": ComponentHealth(name="worker", status=worker), "store": store}
    healthy = all(p.status == "healthy" for p in parts.values())
    return HealthCheck(
        status="healthy" if healthy else "unhealthy",
        is_running=bool(status["running"]),
        components=parts,
        rust=status,
        python={"slots": status["slots"], "busy": status["busy"]},
    )


def get_metrics() -> WorkerMetrics:
    """Numbers of the worker.

    Raises:
        WorkerNotInitializedError: no worker is running.
    """
    status = _status()
    known = {name: status[name] for name in WorkerMetrics.model_fields if name in status}
    return WorkerMetrics(
        **known,
        dispatch_channel_pending=status["pending_events"],
        oldest_pending_age_ms=status.get("oldest_event_age_ms"),
        steps_processed=status["completed"] + status["failed"],
        steps_succeeded=status["completed"],
        steps_failed=status["failed"],
        steps_in_progress=status["busy"],
    )


def get_worker_config() -> WorkerSettings:
    """Settings of the worker.

    Raises:
        WorkerNotInitializedError: no worker is running.
    """
    from tasker_core._current import started

    status = _status()
    given = dict(started[-1].config.items()) if started else {}
    return WorkerSettings(
        **{
            **given,
            "worker_id": status["worker_id"],
            "url": status["url"],
            "namespaces": status["namespaces"],
            "supported_namespaces": status["namespaces"],
            "slots": status["slots"],
            "max_concurrent_handlers": status["slots"],
        }
    )
