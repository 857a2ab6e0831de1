"""The published path of :mod:`tasker_core.worker.bootstrap`."""

from __future__ import annotations

from tasker_core.worker.bootstrap import (
    BootstrapConfig,
    BootstrapResult,
    bootstrap_worker,
    get_worker_status,
    is_worker_running,
    stop_worker,
    transition_to_graceful_shutdown,
)

__all__ = [
    "BootstrapConfig",
    "BootstrapResult",
    "bootstrap_worker",
    "get_worker_status",
    "is_worker_running",
    "stop_worker",
    "transition_to_graceful_shutdown",
]
