"""Health, metrics and settings of the running worker, as typed objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from tasker_core import _tasker_core

__all__ = [
    "ComponentHealth",
    "HealthCheck",
    "WorkerMetrics",
    "WorkerSettings",
    "get_health_check",
    "get_metrics",
    "get_worker_config",
]


@dataclass(frozen=True)
class ComponentHealth:
    """Health of one part."""

    name: str
    status: str
    message: Optional[str] = None


@dataclass(frozen=True)
class HealthCheck:
    """Health of the worker."""

    status: str
    components: list[ComponentHealth]

    @property
    def is_healthy(self) -> bool:
        """Whether every part is."""
        return self.status == "healthy"


@dataclass(frozen=True)
class WorkerMetrics:
    """Numbers of the worker since its start."""

    claimed: int
    completed: int
    failed: int
    busy: int
    slots: int
    pending_events: int
    uptime_ms: int


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of the worker."""

    worker_id: str
    url: str
    namespaces: list[str]
    slots: int


def get_health_check() -> HealthCheck:
    """Health of worker and store."""
    status: dict[str, Any] = _tasker_core.get_ffi_dispatch_metrics()
    worker = "healthy" if status["running"] and not status["draining"] else "unhealthy"
    try:
        _tasker_core.client_health_check()
        store = ComponentHealth("store", "healthy")
    except RuntimeError as error:
        store = ComponentHealth("store", "unhealthy", str(error))
    parts = [ComponentHealth("worker", worker), store]
    healthy = all(p.status == "healthy" for p in parts)
    return HealthCheck("healthy" if healthy else "unhealthy", parts)


def get_metrics() -> WorkerMetrics:
    """Numbers of the worker."""
    status = _tasker_core.get_ffi_dispatch_metrics()
    return WorkerMetrics(**{name: status[name] for name in WorkerMetrics.__dataclass_fields__})


def get_worker_config() -> WorkerSettings:
    """Settings of the worker."""
    return WorkerSettings(**_tasker_core.get_worker_config())
