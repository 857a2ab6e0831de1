"""Settings and states of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    pass

__all__ = ["WorkerConfig"]


@dataclass
class WorkerConfig:
    """Settings of a worker."""

    worker_id: Optional[str] = None
    #: Handlers run at once.
    max_concurrent_handlers: int = 10
    #: Milliseconds a claim holds without renewal; the core renews it.
    lease_ms: int = 30_000
    #: Milliseconds a stop waits for running handlers.
    drain_timeout_ms: int = 30_000
    #: Unknown template keys are errors.
    strict: bool = False
    #: Chooses the overrides of templates; ``TASKER_ENV`` when absent. ``test`` switches retry jitter off.
    environment: Optional[str] = None
