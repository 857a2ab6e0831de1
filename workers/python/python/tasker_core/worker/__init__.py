"""The worker and its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasker_core._lazy import attach

if TYPE_CHECKING:
    from tasker_core._url import default_url as default_url
    from tasker_core.types.worker import WorkerConfig as WorkerConfig
    from tasker_core.worker.worker import Worker as Worker
else:
    # The worker imports nearly everything; its parts are imported without it.
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "tasker_core._url": "default_url",
            "tasker_core.types.worker": "WorkerConfig",
            "tasker_core.worker.worker": "Worker",
        },
    )
