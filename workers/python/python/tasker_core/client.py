"""Creates tasks, reads them, waits for them, acts on them."""

from __future__ import annotations

import datetime
import os
import re
import threading
import time
import weakref
from typing import Any, Optional

from tasker_core._url import default_url
from tasker_core.serialization import dump, load
from tasker_core.types.client import (
    HealthResponse,
    PaginationInfo,
    StepAuditResponse,
    StepResponse,
    TaskListResponse,
    TaskResponse,
)

__all__ = [
    "ClientError",
    "HealthResponse",
    "PaginationInfo",
    "StepAuditResponse",
    "StepResponse",
    "TaskListResponse",
    "TaskResponse",
    "TaskerClient",
]

#: Longest wait without a look at signals, seconds.
WAIT_SLICE = 0.25


class ClientError(RuntimeError):
    """The engine refused a request.

    Attributes:
        code: Stable snake_case code, the same in every language.
        hint: What to do next.
        details: More, such as the violations of a schema.
    """

    def __init__(self, message: str, code: str, hint: Optional[str] = None, details: Any = None) -> None:
        super().__init__(f"{message}\n  help: {hint}" if hint else message)
        self.message = message
        self.code = code
        self.hint = hint
        self.details = details


#: What a text that says where work comes from begins with.
_URL = re.compile(r"^(sqlite|postgres|postgresql|tasker|https?)[+:]")


class TaskerClient:
    """A client of the engine at a URL; shares the engine of a worker on the same URL in this process.

    Answers are objects with the published attributes, and dictionaries.

    Args:
        initiator: Who asks, kept with each task.
        source_system: From where, kept with each task.
        url: As for ``Worker.start``; ``TASKER_URL`` when absent. Given first, it is taken as such:
            ``TaskerClient("sqlite:///shop.db", "me", "here")``.

    Example:
        >>> client = TaskerClient(url="sqlite:///shop.db")
        >>> task = client.create_task("order", namespace="shop", context={"items": []})
        >>> client.wait(task.task_uuid).status
    """

    def __init__(
        self,
        initiator: Optional[str] = None,
        source_system: Optional[str] = None,
        url: Optional[str] = None,
        *,
        native: Any = None,
    ) -> None:
        if initiator is not None and _URL.match(initiator):
            initiator, source_system, url = (
                (source_system, url, initiator) if url is None or not _URL.match(url) else (source_system, None, url)
            )
        self.url = url or default_url()
        self.initiator = initiator or "tasker-core-python"
        self.source_system = source_system or "tasker-core"
        self._native = native
        self._closed = False
        self._lock = threading.Lock()
        if native is None:
            with _OPENERS_LOCK:
                _OPENERS.add(self)

    def _call(self, op: str, args: dict[str, Any]) -> Any:
        from tasker_core import _native

        try:
            with self._lock:
                if self._closed:
                    raise ClientError("the client has been closed", "client_closed", "make a new one")
                native = self._native = self._native or _native.NativeClient(self.url)
            return load(native.call(op, dump(args, "request")))
        except _native.TaskerNativeError as error:
            details = getattr(error, "details", None)
            raise ClientError(
                getattr(error, "message", str(error)),
                getattr(error, "code", "error"),
                getattr(error, "hint", None),
                None if details is None else load(details),
            ) from None

    def create_task(
        self,
        name: str,
        namespace: str = "default",
        context: Optional[dict[str, Any]] = None,
        version: Optional[str] = None,
        reason: Optional[str] = "Task requested",
        **options: Any,
    ) -> TaskResponse:
        """Creates a task and gives it as stored.

        Args:
            version: The newest when absent.

        Options: ``tags priority correlation_id parent_correlation_id idempotency_key run_at requested_at
        options initiator source_system``.

        Raises:
            ClientError: no such template, a context that violates its schema, a conflict.
        """
        options.update(version=version, reason=reason)
        given = {k: v for k, v in options.items() if v is not None}
        created = self.create_tasks([{"name": name, "namespace": namespace, "context": context or {}, **given}])[0]
        return self.get_task(created["task_uuid"])

    def create_tasks(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Creates up to 1,000 tasks in one commit; gives ``{"task_uuid", "existing"}`` of each.

        Raises:
            ClientError: of the first request that was refused; the others are created all the same.
        """
        answers = self.try_create_tasks(requests)
        for answer in answers:
            error = answer.get("error")
            if error is not None:
                raise ClientError(error["message"], error["code"], error.get("hint"), error.get("details"))
        return [answer["task"] for answer in answers]

    def try_create_tasks(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As ``create_tasks``, but gives ``{"task": …}`` or ``{"error": …}`` for each and raises for none."""
        filled = [{"initiator": self.initiator, "source_system": self.source_system, **request} for request in requests]
        answers: list[dict[str, Any]] = self._call("create_tasks", {"tasks": filled})["tasks"]
        return answers

    def get_task(self, task_uuid: str) -> TaskResponse:
        """A task."""
        return TaskResponse.from_dict(self._call("get_task", {"task_uuid": str(task_uuid)}))

    def list_tasks(
        self,
        limit: int = 50,
        offset: int = 0,
        namespace: Optional[str] = None,
        status: Optional[str] = None,
        **filters: Any,
    ) -> TaskListResponse:
        """A page of tasks, newest first; its ``pagination`` has the total."""
        args = {"limit": limit, "offset": offset, "namespace": namespace, "status": status, **filters}
        page = self._call("list_tasks", args)
        pages = PaginationInfo.of(page["total"], limit, offset)
        return TaskListResponse.from_dict({**page, "pagination": pages})

    def cancel_task(self, task_uuid: str, reason: str = "") -> TaskResponse:
        """Cancels a task; running handlers are told."""
        args = {"task_uuid": str(task_uuid), "reason": reason, "actor": self.initiator}
        return TaskResponse.from_dict(self._call("cancel_task", args))

    def act(
        self, task_uuid: str, action: str, step: Optional[str] = None, result: Any = None, reason: str = ""
    ) -> TaskResponse:
        """Does an operator's action: ``pause resume retry_failed reset_for_retry resolve_manually complete_manually
        give_up resolve_task cancel``."""
        args = {"task_uuid": task_uuid, "action": action, "step": step, "result": result, "reason": reason}
        return TaskResponse.from_dict(self._call("act", {**args, "actor": self.initiator}))

    def list_task_steps(self, task_uuid: str) -> list[StepResponse]:
        """The steps of a task with results and history."""
        steps = self._call("list_task_steps", {"task_uuid": str(task_uuid)})["steps"]
        states = {step["name"]: step["status"] for step in steps}
        return [StepResponse.from_dict(step, states) for step in steps]

    def get_step(self, task_uuid: str, step_uuid: str) -> StepResponse:
        """One step, by UUID or name."""
        return StepResponse.from_dict(self._step(task_uuid, step_uuid))

    def get_step_audit_history(self, task_uuid: str, step_uuid: str) -> list[StepAuditResponse]:
        """The attempts of a step (by UUID or name), oldest first."""
        args = {"task_uuid": str(task_uuid), "step": str(step_uuid)}
        attempts = self._call("get_step_audit_history", args)["attempts"]
        step = self._step(task_uuid, step_uuid)
        return [StepAuditResponse.from_dict(attempt, step) for attempt in attempts]

    def _step(self, task_uuid: str, step: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("get_step", {"task_uuid": str(task_uuid), "step": str(step)})
        return found

    def get_audit(self, task_uuid: str) -> list[dict[str, Any]]:
        """Operator actions on a task, oldest first."""
        audit: list[dict[str, Any]] = self._call("get_audit", {"task_uuid": task_uuid})["audit"]
        return audit

    def act_all(
        self, action: str, *, step: Optional[str] = None, dry_run: bool = False, reason: str = "", **filters: Any
    ) -> dict[str, Any]:
        """Does an operator's action on every task the filters match: ``{"matched", "done", "refused", "refusals"}``.

        Filters: those of ``list_tasks``. A dry run only counts.
        """
        args = {"filter": filters, "action": action, "step": step, "dry_run": dry_run, "reason": reason}
        view: dict[str, Any] = self._call("act_all", {**args, "actor": self.initiator})
        return view

    def list_dead_letters(self, **filters: Any) -> list[dict[str, Any]]:
        """Open dead letters, newest first. Filters: ``reason namespace name fingerprint task_uuid limit``, and
        ``all=True`` for settled ones too."""
        letters: list[dict[str, Any]] = self._call("list_dead_letters", filters)["dead_letters"]
        return letters

    def group_dead_letters(self, **filters: Any) -> list[dict[str, Any]]:
        """Open dead letters by kind of error, the most frequent first."""
        groups: list[dict[str, Any]] = self._call("group_dead_letters", filters)["groups"]
        return groups

    def settle_dead_letters(
        self,
        action: str,
        id: Optional[int] = None,
        *,
        note: Optional[str] = None,
        dry_run: bool = False,
        reason: str = "",
        **filters: Any,
    ) -> dict[str, Any]:
        """Does ``replay``, ``discard`` or ``annotate`` on one dead letter, or on all that the filters match."""
        args = {"action": action, "id": id, "note": note, "dry_run": dry_run, "reason": reason, "filter": filters}
        view: dict[str, Any] = self._call("settle_dead_letters", {**args, "actor": self.initiator})
        return view

    def list_events(self, **filters: Any) -> list[dict[str, Any]]:
        """Stored domain events, oldest first. Filters: ``namespace name task_uuid archived after limit``."""
        events: list[dict[str, Any]] = self._call("list_events", filters)["events"]
        return events

    def read_events(
        self, namespace: str = "default", limit: int = 10, visibility: float = 30.0, wait: float = 0.0
    ) -> list[dict[str, Any]]:
        """Takes durable events from a namespace's queue: no other reader gets them for ``visibility`` seconds, nor
        later once they are acknowledged. Events of one task come in order.

        Args:
            wait: Seconds to wait for the first one.
        """
        deadline = time.monotonic() + wait
        while True:
            left = max(0.0, deadline - time.monotonic())
            args = {"namespace": namespace, "limit": limit, "visibility_ms": int(visibility * 1000)}
            # In slices, so that Ctrl-C is heard between them.
            answer = self._call("read_events", {**args, "wait_ms": int(min(left, WAIT_SLICE) * 1000)})
            events: list[dict[str, Any]] = answer["events"]
            if events or left <= WAIT_SLICE:
                return events

    def acknowledge_events(self, ids: list[int]) -> int:
        """Acknowledges events by their ``msg_id``; how many were not before."""
        count: int = self._call("acknowledge_events", {"ids": ids})["acknowledged"]
        return count

    def replay_events(self, dry_run: bool = False, **filters: Any) -> int:
        """Makes the events that the filters of ``list_events`` match readable again; how many."""
        count: int = self._call("replay_events", {**filters, "dry_run": dry_run})["replayed"]
        return count

    def health_check(self) -> HealthResponse:
        """Whether the store answers."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return HealthResponse.from_dict({"timestamp": now, **self._call("health_check", {})})

    def doctor(self) -> dict[str, Any]:
        """Checks every invariant of the store."""
        report: dict[str, Any] = self._call("doctor", {})
        return report

    def wait(self, task_uuid: str, timeout: float = 60.0) -> TaskResponse:
        """Waits until the task ended or rests in ``blocked_by_failures``, and gives it.

        Raises:
            TimeoutError: it did neither within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                # In slices, so that Ctrl-C is heard between them.
                args = {"task_uuid": str(task_uuid), "timeout_ms": int(min(left, WAIT_SLICE) * 1000)}
                return TaskResponse.from_dict(self._call("wait", args))
            except ClientError as error:
                if error.code != "timeout":
                    raise
                if left <= WAIT_SLICE:
                    raise TimeoutError(
                        f"task {task_uuid} has not ended within {timeout} seconds; does a worker run?"
                    ) from None

    def close(self) -> None:
        """Lets the engine go; calls are refused from then on."""
        with self._lock:
            self._closed = True
            if self._native is not None:
                self._native.close()
                self._native = None

    def _park(self) -> None:
        """Lets the engine go until the next call."""
        with self._lock:
            if self._native is not None:
                self._native.close()
                self._native = None

    def _begin_anew(self) -> None:
        """In a forked child: what was opened, and whoever held the lock, is in the parent."""
        self._lock = threading.Lock()
        self._native = None

    def __enter__(self) -> TaskerClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


# Clients that open an engine by themselves, as web servers do before they fork. SQLite's locks do not survive it, so
# files are let go before it; both sides open theirs with their next call. A running worker keeps its file, and children
# are refused it.
_OPENERS: weakref.WeakSet[TaskerClient] = weakref.WeakSet()
_OPENERS_LOCK = threading.Lock()


def _before_fork() -> None:
    _OPENERS_LOCK.acquire()
    for client in list(_OPENERS):
        if client.url.startswith("sqlite:") and client.url != "sqlite::memory:":
            client._park()


def _after_fork_in_parent() -> None:
    _OPENERS_LOCK.release()


def _after_fork_in_child() -> None:
    _OPENERS_LOCK.release()
    for client in list(_OPENERS):
        client._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
