"""The client's answers under the names they have at the top of the package."""

from __future__ import annotations

from tasker_core.types.client import (
    HealthResponse as ClientHealthResponse,
    PaginationInfo as ClientPaginationInfo,
    StepAuditResponse as ClientStepAuditResponse,
    StepResponse as ClientStepResponse,
    TaskListResponse as ClientTaskListResponse,
    TaskResponse as ClientTaskResponse,
)

__all__ = [
    "ClientHealthResponse",
    "ClientPaginationInfo",
    "ClientStepAuditResponse",
    "ClientStepResponse",
    "ClientTaskListResponse",
    "ClientTaskResponse",
]
