"""The worker of a process by plain functions.

They start the core without taking steps: take them with ``poll_step_events``, or put an ``EventPoller``, an
``EventBridge`` and a ``StepExecutionSubscriber`` together. ``Worker.start`` does all of that at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from tasker_core.errors import WorkerAlreadyRunningError, WorkerNotInitializedError
from tasker_core.worker import Worker, WorkerConfig

__all__ = [
    "BootstrapConfig",
    "BootstrapResult",
    "bootstrap_worker",
    "get_worker_status",
    "is_worker_running",
    "stop_worker",
    "transition_to_graceful_shutdown",
]


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
    """Starts the worker of this process; taking steps is yours to do.

    Raises:
        WorkerAlreadyRunningError: one is running.
        WorkerBootstrapError: it cannot start.
    """
    if is_worker_running():
        raise WorkerAlreadyRunningError("a worker is already running in this process; stop it first")
    config = config or BootstrapConfig()
    if config.log_level:
        from tasker_core.logging import set_level

        set_level(config.log_level)
    worker = Worker.start(
        config.handler_packages,
        WorkerConfig(worker_id=config.worker_id),
        url=config.url,
        namespaces=[config.namespace],
        templates=config.templates,
        poll=False,
    )
    return BootstrapResult(True, worker.worker_id, "running", worker.url, list(worker.info["namespaces"]))


def stop_worker(timeout: Optional[float] = None) -> str:
    """Stops the worker of this process; ``stopped``, or ``not_running``."""
    worker = _running()
    if worker is None:
        return "not_running"
    worker.stop(timeout)
    return "stopped"


def get_worker_status() -> dict[str, Any]:
    """The worker's numbers; ``{"running": False}`` without one."""
    worker = _running()
    return {"running": False} if worker is None else worker.status()


def is_worker_running() -> bool:
    """Whether this process runs a worker."""
    return _running() is not None


def transition_to_graceful_shutdown() -> str:
    """Stops claiming and waits for running handlers.

    Raises:
        WorkerNotInitializedError: no worker is running.
    """
    if not is_worker_running():
        raise WorkerNotInitializedError("no worker is running in this process; call bootstrap_worker() first")
    return stop_worker()


def _running() -> Optional[Worker]:
    worker = Worker.current()
    return worker if worker is not None and worker.is_running else None
