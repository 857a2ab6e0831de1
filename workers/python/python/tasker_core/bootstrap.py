"""One worker a process, by plain functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from tasker_core.errors import WorkerNotInitializedError
from tasker_core.worker import Worker, WorkerConfig, require_none_running

__all__ = [
    "BootstrapConfig",
    "BootstrapResult",
    "bootstrap_worker",
    "get_worker_status",
    "is_worker_running",
    "stop_worker",
    "transition_to_graceful_shutdown",
]

_worker: Optional[Worker] = None


@dataclass
class BootstrapConfig:
    """Settings. ``config_path`` is accepted and not needed: there is no configuration file."""

    worker_id: Optional[str] = None
    namespace: str = "default"
    config_path: Optional[str] = None
    log_level: Optional[str] = None
    url: Optional[str] = None
    handler_packages: list[str] = field(default_factory=list)
    templates: Optional[list[str]] = None


@dataclass
class BootstrapResult:
    """A started worker."""

    success: bool
    worker_id: str
    status: str
    url: str
    namespaces: list[str]


def bootstrap_worker(config: Optional[BootstrapConfig] = None) -> BootstrapResult:
    """Starts the worker of this process.

    Raises:
        WorkerAlreadyRunningError: one is running.
        WorkerBootstrapError: it cannot start.
    """
    global _worker
    require_none_running()
    config = config or BootstrapConfig()
    if config.log_level:
        from tasker_core.logging import set_level

        set_level(config.log_level)
    _worker = Worker.start(
        config.handler_packages,
        WorkerConfig(worker_id=config.worker_id),
        url=config.url,
        namespaces=[config.namespace],
        templates=config.templates,
    )
    return BootstrapResult(True, _worker.worker_id, "running", _worker.url, list(_worker.info["namespaces"]))


def stop_worker(timeout: Optional[float] = None) -> str:
    """Stops the worker of this process; ``stopped``, or ``not_running``."""
    global _worker
    worker, _worker = _worker, None
    if worker is None or not worker.is_running:
        return "not_running"
    worker.stop(timeout)
    return "stopped"


def get_worker_status() -> dict[str, Any]:
    """The worker's numbers; ``{"running": False}`` without one."""
    if _worker is None or not _worker.is_running:
        return {"running": False}
    return _worker.status()


def is_worker_running() -> bool:
    """Whether this process runs a worker started by ``bootstrap_worker``."""
    return _worker is not None and _worker.is_running


def transition_to_graceful_shutdown() -> str:
    """Stops claiming and waits for running handlers.

    Raises:
        WorkerNotInitializedError: no worker is running.
    """
    if _worker is None or not _worker.is_running:
        raise WorkerNotInitializedError("no worker is running in this process; call bootstrap_worker() first")
    return stop_worker()
