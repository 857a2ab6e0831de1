"""The worker of a process by plain functions.

They start the core without taking steps: take them with ``poll_step_events``, or put an ``EventPoller``, an
``EventBridge`` and a ``StepExecutionSubscriber`` together. ``Worker.start`` does all of that at once.
"""

from __future__ import annotations

from typing import Optional

from tasker_core.errors import WorkerAlreadyRunningError, WorkerNotInitializedError
from tasker_core.types.worker import BootstrapConfig, BootstrapResult, WorkerStatus
from tasker_core.worker.worker import Worker

__all__ = [
    "BootstrapConfig",
    "BootstrapResult",
    "bootstrap_worker",
    "get_worker_status",
    "is_worker_running",
    "stop_worker",
    "transition_to_graceful_shutdown",
]


def bootstrap_worker(config: Optional[BootstrapConfig] = None) -> BootstrapResult:
    """Starts the worker of this process; taking steps is yours to do.

    Raises:
        WorkerAlreadyRunningError: one is running.
        WorkerBootstrapError: it cannot start.
    """
    if is_worker_running():
        raise WorkerAlreadyRunningError("a worker is already running in this process; stop it first")
    return Worker.start(config=config or BootstrapConfig(), poll=False).bootstrap_result


def stop_worker(timeout: Optional[float] = None) -> str:
    """Stops the worker of this process; ``stopped``, or ``not_running``.

    Args:
        timeout: Seconds to wait for running handlers; the configured time when absent.
    """
    worker = Worker.instance()
    if worker is None:
        return "not_running"
    worker.stop(timeout)
    return "stopped"


def get_worker_status() -> WorkerStatus:
    """Whether a worker runs; its numbers are items (``status["claimed"]``)."""
    worker = Worker.instance()
    if worker is None:
        return WorkerStatus(running=False)
    status = worker.status()
    return WorkerStatus(
        **{
            **status,
            "environment": worker.config.environment,
            "worker_core_status": "shutting_down" if status["draining"] else "running",
            "supported_namespaces": list(status["namespaces"]),
            "web_api_enabled": False,
        }
    )


def is_worker_running() -> bool:
    """Whether this process runs a worker."""
    return Worker.instance() is not None


def transition_to_graceful_shutdown() -> str:
    """Stops claiming and waits for running handlers.

    Raises:
        WorkerNotInitializedError: no worker is running.
    """
    if not is_worker_running():
        raise WorkerNotInitializedError("no worker is running in this process; call bootstrap_worker() first")
    return stop_worker()
