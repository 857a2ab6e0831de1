"""Answers of the client: data classes that are dictionaries as well.

Attributes have the published names; items have these and the names of the core's document.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

__all__ = [
    "HealthResponse",
    "PaginationInfo",
    "StepAuditResponse",
    "StepResponse",
    "TaskListResponse",
    "TaskResponse",
]


class _Answer(dict):  # type: ignore[type-arg]
    """What every answer is: built from a document, of which unknown keys stay readable as items."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            dict.__setitem__(self, item.name, getattr(self, item.name))

    @classmethod
    def _read(cls, document: Mapping[str, Any], **published: Any) -> Any:
        given = {**document, **{k: v for k, v in published.items() if v is not None}}
        names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        made = cls(**{k: v for k, v in given.items() if k in names and v is not None})
        # Where both use one name for different things, the item is the document's.
        for key, value in document.items():
            dict.__setitem__(made, key, value)
        return made


@dataclass(frozen=True, eq=False, repr=False)
class TaskResponse(_Answer):
    """A task."""

    task_uuid: str = ""
    name: str = ""
    namespace: str = ""
    version: str = ""
    status: str = ""
    created_at: str = ""
    updated_at: str = ""
    completed_at: Optional[str] = None
    context: dict[str, Any] = field(default_factory=dict)
    initiator: str = ""
    source_system: str = ""
    reason: str = ""
    priority: Optional[int] = None
    tags: Optional[list[str]] = None
    correlation_id: str = ""
    parent_correlation_id: Optional[str] = None
    total_steps: int = 0
    pending_steps: int = 0
    in_progress_steps: int = 0
    completed_steps: int = 0
    failed_steps: int = 0
    ready_steps: int = 0
    execution_status: str = ""
    recommended_action: str = ""
    #: 0–100.
    completion_percentage: float = 0.0
    health_status: str = ""
    #: Of a document that lists them; else see ``TaskerClient.list_task_steps``.
    steps: list[Any] = field(default_factory=list)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskResponse:
        """From the core's document, or one of the published shape."""
        counts = data.get("steps")
        more: dict[str, Any] = {}
        if isinstance(counts, Mapping):
            more = {
                "steps": [],
                "total_steps": counts.get("total"),
                "pending_steps": counts.get("pending"),
                "in_progress_steps": counts.get("active"),
                "completed_steps": counts.get("complete"),
                "failed_steps": counts.get("error"),
                "ready_steps": data.get("ready_steps"),
            }
        made: TaskResponse = cls._read(data, **more)
        return made


@dataclass(frozen=True, eq=False, repr=False)
class PaginationInfo(_Answer):
    """Which part of a list it is."""

    page: int = 0
    per_page: int = 50
    total_count: int = 0
    total_pages: int = 0
    has_next: bool = False
    has_previous: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PaginationInfo:
        """From a document."""
        made: PaginationInfo = cls._read(data)
        return made

    @classmethod
    def of(cls, total: int, limit: int, offset: int) -> PaginationInfo:
        """Of a page that begins at ``offset`` and holds ``limit`` at most."""
        size = max(limit, 1)
        return cls(
            page=offset // size + 1,
            per_page=limit,
            total_count=total,
            total_pages=-(-total // size),
            has_next=offset + limit < total,
            has_previous=offset > 0,
        )


@dataclass(frozen=True, eq=False, repr=False)
class TaskListResponse(_Answer):
    """A page of tasks."""

    tasks: list[TaskResponse] = field(default_factory=list)
    pagination: PaginationInfo = field(default_factory=PaginationInfo)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskListResponse:
        """From a document."""
        tasks = [TaskResponse.from_dict(task) for task in data.get("tasks") or []]
        pagination = PaginationInfo.from_dict(data.get("pagination") or {})
        made: TaskListResponse = cls._read({**data, "tasks": tasks, "pagination": pagination})
        return made


@dataclass(frozen=True, eq=False, repr=False)
class StepResponse(_Answer):
    """A step."""

    step_uuid: str = ""
    task_uuid: str = ""
    name: str = ""
    created_at: str = ""
    updated_at: str = ""
    completed_at: Optional[str] = None
    #: The envelope ``{result, success, metadata, error}``.
    results: Optional[dict[str, Any]] = None
    current_state: str = ""
    dependencies_satisfied: bool = False
    retry_eligible: bool = False
    ready_for_execution: bool = False
    total_parents: int = 0
    completed_parents: int = 0
    attempts: int = 0
    max_attempts: int = 0
    last_failure_at: Optional[str] = None
    next_retry_at: Optional[str] = None
    last_attempted_at: Optional[str] = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], states: Optional[Mapping[str, str]] = None) -> StepResponse:
        """From the core's document, or one of the published shape.

        Args:
            states: States of the task's steps by name, to tell how many parents are complete.
        """
        if "status" not in data:
            plain: StepResponse = cls._read(data)
            return plain
        status, history = data["status"], data.get("history") or []
        parents = [p for p in data.get("dependencies") or [] if states is None or p in states]
        done = [p for p in parents if states is not None and states[p] in ("complete", "resolved_manually")]
        satisfied = len(done) == len(parents) if states is not None else status not in ("pending",)
        failures = [a["completed_at"] for a in history if a.get("outcome") not in ("completed", "checkpointed")]
        times = [a.get("started_at") for a in history if a.get("started_at")]
        envelope = None
        if data.get("result") is not None or data.get("error") is not None or status == "complete":
            envelope = {
                "result": data.get("result"),
                "success": data.get("error") is None,
                "metadata": data.get("metadata") or {},
                "error": data.get("error"),
            }
        made: StepResponse = cls._read(
            data,
            current_state=status,
            results=data.get("results") or envelope,
            total_parents=len(parents),
            completed_parents=len(done) if states is not None else (len(parents) if satisfied else 0),
            dependencies_satisfied=satisfied,
            retry_eligible=bool(data.get("retryable")) and data.get("attempts", 0) < data.get("max_attempts", 0),
            ready_for_execution=status == "enqueued",
            last_failure_at=next((f for f in reversed(failures) if f), None),
            created_at=data.get("created_at") or next(iter(times), None),
            updated_at=data.get("updated_at") or data.get("completed_at") or data.get("last_attempted_at"),
        )
        return made


@dataclass(frozen=True, eq=False, repr=False)
class StepAuditResponse(_Answer):
    """An attempt of a step."""

    audit_uuid: str = ""
    workflow_step_uuid: str = ""
    transition_uuid: str = ""
    task_uuid: str = ""
    recorded_at: str = ""
    worker_uuid: Optional[str] = None
    correlation_id: Optional[str] = None
    success: bool = False
    execution_time_ms: Optional[float] = None
    result: Any = None
    step_name: str = ""
    from_state: Optional[str] = None
    to_state: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], step: Optional[Mapping[str, Any]] = None) -> StepAuditResponse:
        """From the core's document of an attempt, or one of the published shape.

        Args:
            step: The step it is of.
        """
        if "outcome" not in data:
            plain: StepAuditResponse = cls._read(data)
            return plain
        about, succeeded = step or {}, data["outcome"] == "completed"
        made: StepAuditResponse = cls._read(
            data,
            audit_uuid=f"{about.get('step_uuid', '')}:{data.get('fence', data.get('attempt'))}",
            workflow_step_uuid=about.get("step_uuid"),
            task_uuid=about.get("task_uuid"),
            step_name=about.get("name"),
            recorded_at=data.get("completed_at") or data.get("started_at"),
            worker_uuid=data.get("worker_id"),
            success=succeeded,
            result=about.get("result") if succeeded else None,
            from_state="in_progress",
            to_state="complete" if succeeded else ("waiting_for_retry" if data.get("next_retry_at") else "error"),
        )
        return made


@dataclass(frozen=True, eq=False, repr=False)
class HealthResponse(_Answer):
    """Whether the store answers."""

    healthy: bool = False
    status: str = ""
    timestamp: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HealthResponse:
        """From the core's document, or one of the published shape."""
        healthy = data.get("healthy")
        made: HealthResponse = cls._read(data, healthy=data.get("status") == "healthy" if healthy is None else healthy)
        return made
