"""The client's answers as pydantic models; those the client gives are in ``tasker_core.types.client``."""

from __future__ import annotations

from typing import Any, Optional

from pydantic import BaseModel, Field

__all__ = [
    "ClientHealthResponse",
    "ClientPaginationInfo",
    "ClientStepAuditResponse",
    "ClientStepReadiness",
    "ClientStepResponse",
    "ClientTaskListResponse",
    "ClientTaskResponse",
]


class ClientTaskResponse(BaseModel):
    """A task."""

    task_uuid: str
    name: str
    namespace: str
    version: str
    status: str
    created_at: str
    updated_at: str
    completed_at: Optional[str] = None
    context: dict[str, Any] = Field(default_factory=dict)
    initiator: str
    source_system: str
    reason: str
    priority: Optional[int] = None
    tags: Optional[list[str]] = None
    correlation_id: str
    parent_correlation_id: Optional[str] = None
    total_steps: int
    pending_steps: int
    in_progress_steps: int
    completed_steps: int
    failed_steps: int
    ready_steps: int
    execution_status: str
    recommended_action: str
    completion_percentage: float
    health_status: str
    steps: list[Any] = Field(default_factory=list)


class ClientPaginationInfo(BaseModel):
    """Which part of a list it is."""

    page: int
    per_page: int
    total_count: int
    total_pages: int
    has_next: bool
    has_previous: bool


class ClientTaskListResponse(BaseModel):
    """A page of tasks."""

    tasks: list[ClientTaskResponse]
    pagination: ClientPaginationInfo


class ClientStepResponse(BaseModel):
    """A step."""

    step_uuid: str
    task_uuid: str
    name: str
    created_at: str
    updated_at: str
    completed_at: Optional[str] = None
    results: Optional[dict[str, Any]] = None
    current_state: str
    dependencies_satisfied: bool
    retry_eligible: bool
    ready_for_execution: bool
    total_parents: int
    completed_parents: int
    attempts: int
    max_attempts: int
    last_failure_at: Optional[str] = None
    next_retry_at: Optional[str] = None
    last_attempted_at: Optional[str] = None


class ClientStepReadiness(BaseModel):
    """Whether a step may run."""

    workflow_step_uuid: str
    task_uuid: str
    named_step_uuid: str
    name: str
    current_state: str
    dependencies_satisfied: bool
    retry_eligible: bool
    ready_for_execution: bool
    last_failure_at: Optional[str] = None
    next_retry_at: Optional[str] = None
    total_parents: int
    completed_parents: int
    attempts: int
    max_attempts: int
    #: Seconds.
    backoff_request_seconds: Optional[float] = None
    last_attempted_at: Optional[str] = None


class ClientStepAuditResponse(BaseModel):
    """An attempt of a step."""

    audit_uuid: str
    workflow_step_uuid: str
    transition_uuid: str
    task_uuid: str
    recorded_at: str
    worker_uuid: Optional[str] = None
    correlation_id: Optional[str] = None
    success: bool
    execution_time_ms: Optional[float] = None
    result: Any = None
    step_name: str
    from_state: Optional[str] = None
    to_state: str


class ClientHealthResponse(BaseModel):
    """Whether the store answers."""

    status: str
    timestamp: str
