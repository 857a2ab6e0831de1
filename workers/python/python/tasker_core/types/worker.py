"""Settings, states and numbers of a worker."""

from __future__ import annotations

from enum import Enum
from typing import Any, Optional

from pydantic import ConfigDict, Field

from tasker_core.types.model import Model

__all__ = [
    "BootstrapConfig",
    "BootstrapResult",
    "ComponentHealth",
    "HealthCheck",
    "WorkerConfig",
    "WorkerMetrics",
    "WorkerState",
    "WorkerStatus",
]


class WorkerConfig(Model):
    """Settings of a worker; of a running one, what it was started with."""

    worker_id: Optional[str] = None
    #: Handlers run at once.
    max_concurrent_handlers: int = 10
    #: Milliseconds the worker may be silent before others take it for gone; the core sees to its heartbeats.
    lease_ms: int = 20_000
    #: Milliseconds a stop waits for running handlers; ``TASKER_DRAIN_TIMEOUT`` (seconds) when absent, else 20 s.
    drain_timeout_ms: Optional[int] = None
    #: Unknown template keys are errors.
    strict: bool = False
    #: Chooses the overrides of templates; ``TASKER_ENV`` when absent. ``test`` switches retry jitter off.
    environment: Optional[str] = None
    #: Queues a running worker takes from.
    supported_namespaces: list[str] = Field(default_factory=list)
    #: Kept for code that reads it: a worker has no server.
    web_api_enabled: bool = False
    #: Kept for code that reads it.
    database_pool_size: int = 0
    #: Milliseconds; kept for code that reads it, the worker is told of steps.
    polling_interval_ms: int = 10
    #: Milliseconds; kept for code that reads it.
    starvation_threshold_ms: int = 1000
    #: Milliseconds; kept for code that reads it, a step's budget is its ``timeout_seconds``.
    handler_timeout_ms: int = 30_000


class BootstrapConfig(Model):
    """Settings of a worker's start. ``config_path`` is accepted and not needed: there is no configuration file."""

    model_config = ConfigDict(extra="forbid")

    worker_id: Optional[str] = None
    #: Queue to take from; the namespaces of the templates when not given.
    namespace: str = "default"
    config_path: Optional[str] = None
    log_level: Optional[str] = "info"
    url: Optional[str] = None
    handler_packages: list[str] = Field(default_factory=list)
    templates: Optional[list[str]] = None


class BootstrapResult(Model):
    """A started worker."""

    success: bool
    handle_id: str
    worker_id: str
    status: str
    message: Optional[str] = None
    error_message: Optional[str] = None
    url: str = ""
    namespaces: list[str] = Field(default_factory=list)


class WorkerState(str, Enum):
    """States of a worker."""

    STARTING = "starting"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting_down"
    STOPPED = "stopped"
    ERROR = "error"


class WorkerStatus(Model):
    """Whether a worker runs, and its numbers as further items."""

    model_config = ConfigDict(extra="allow")

    running: bool
    environment: Optional[str] = None
    worker_core_status: Optional[str] = None
    web_api_enabled: Optional[bool] = None
    supported_namespaces: Optional[list[str]] = None
    database_pool_size: Optional[int] = None
    database_pool_idle: Optional[int] = None
    error: Optional[str] = None


class ComponentHealth(Model):
    """Health of one part."""

    name: str
    status: str
    message: Optional[str] = None
    pool_size: Optional[int] = None
    pool_idle: Optional[int] = None


class HealthCheck(Model):
    """Health of the worker."""

    status: str
    is_running: bool = False
    #: By name.
    components: dict[str, ComponentHealth] = Field(default_factory=dict)
    rust: dict[str, Any] = Field(default_factory=dict)
    python: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_healthy(self) -> bool:
        """Whether every part is."""
        return self.status == "healthy"


class WorkerMetrics(Model):
    """Numbers of the worker since its start."""

    claimed: int = 0
    completed: int = 0
    failed: int = 0
    busy: int = 0
    slots: int = 0
    pending_events: int = 0
    uptime_ms: int = 0
    dispatch_channel_pending: int = 0
    oldest_pending_age_ms: Optional[int] = None
    newest_pending_age_ms: Optional[int] = None
    starvation_detected: bool = False
    starving_event_count: int = 0
    database_pool_size: int = 0
    database_pool_idle: int = 0
    environment: Optional[str] = None
    steps_processed: int = 0
    steps_succeeded: int = 0
    steps_failed: int = 0
    steps_in_progress: int = 0
