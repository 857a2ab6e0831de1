"""Which workers of this process were started and not stopped; who wants to know of domain events tells them here."""

from __future__ import annotations

from typing import Any

__all__ = ["current_worker", "started", "wake_workers"]

#: Started workers, oldest first. Here, so that what needs the current worker need not know its class.
started: list[Any] = []


def current_worker() -> Any:
    """The running worker's core.

    Raises:
        WorkerNotInitializedError: there is none.
    """
    if not started:
        from tasker_core.errors import WorkerNotInitializedError

        raise WorkerNotInitializedError(
            "no worker is running in this process; start one with Worker.start() or bootstrap_worker()"
        )
    return started[-1].native


def wake_workers() -> None:
    """Workers take domain events only once there is someone to hear them."""
    for worker in list(started):
        worker.hear_domain_events()
