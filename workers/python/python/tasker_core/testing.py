"""A harness for tests of workflows: a real worker on a store in memory, in which no time is waited for.

Example:
    >>> from tasker_core.testing import Harness
    >>> with Harness("workflows/order.yaml", handlers=[Validate, Reserve]) as harness:
    ...     harness.fail("reserve", times=2)
    ...     task = harness.run("order", {"items": [1]})
    ...     assert task.status == "complete"
    ...     assert task.step("reserve").attempts == 3
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Union

from tasker_core.errors import RetryableError
from tasker_core.registry import HandlerRegistry
from tasker_core.worker import Worker, WorkerConfig

__all__ = ["Harness", "StepOutcome", "TaskOutcome"]

#: No lease ends while the clock moves over retries, milliseconds.
LEASE_MS = 10_000_000_000


@dataclass(frozen=True)
class StepOutcome:
    """A step as it is stored; everything the API says of it is in ``data``."""

    name: str
    status: str
    result: Any
    attempts: int
    error: Optional[dict[str, Any]]
    history: list[dict[str, Any]]
    data: dict[str, Any] = field(repr=False)

    @property
    def outcomes(self) -> list[str]:
        """How its attempts ended, oldest first."""
        return [attempt["outcome"] for attempt in self.history]


@dataclass(frozen=True)
class TaskOutcome:
    """A task at rest; everything the API says of it is in ``data``."""

    task_uuid: str
    status: str
    steps: dict[str, StepOutcome]
    data: dict[str, Any] = field(repr=False)

    def step(self, name: str) -> StepOutcome:
        """A step by its name.

        Raises:
            KeyError: there is none; the message names those there are.
        """
        if name not in self.steps:
            raise KeyError(f"no step `{name}`; there are {', '.join(sorted(self.steps))}")
        return self.steps[name]

    def result(self, name: str) -> Any:
        """A step's result."""
        return self.step(name).result

    def assert_complete(self) -> TaskOutcome:
        """Fails with every step's error unless the task is complete."""
        failed = [f"{s.name}: {s.error['message']}" for s in self.steps.values() if s.error]
        # Raised rather than asserted, so that it holds under `python -O`.
        if self.status != "complete":
            raise AssertionError(f"the task is {self.status}; {'; '.join(failed) or 'no step failed'}")
        return self


class Harness:
    """A worker with handlers on a store in memory. Retries, delayed starts and lifecycle limits take no time.

    Args:
        templates: Files, folders or YAML texts.
        handlers: Classes, functions made by the decorators, or a mapping of names to either; the registry of this
            process when absent.
        environment: Chooses the templates' overrides; ``test`` switches jitter off.
    """

    def __init__(
        self,
        templates: Union[str, Path, Sequence[Union[str, Path]]],
        handlers: Union[Iterable[Any], Mapping[str, Any], None] = None,
        *,
        environment: str = "test",
        max_concurrent_handlers: int = 10,
    ) -> None:
        self.registry = HandlerRegistry.instance() if handlers is None else HandlerRegistry()
        if isinstance(handlers, Mapping):
            for name, handler in handlers.items():
                self.registry.register(name, getattr(handler, "_handler_class", handler))
        else:
            for handler in handlers or ():
                made: Any = getattr(handler, "_handler_class", handler)
                self.registry.register(getattr(made, "handler_name", "") or made.__name__, made)
        self._faults: dict[str, list[BaseException]] = {}
        self._lock = threading.Lock()
        listed = [templates] if isinstance(templates, (str, Path)) else list(templates)
        self.worker = Worker.start(
            config=WorkerConfig(
                lease_ms=LEASE_MS, environment=environment, max_concurrent_handlers=max_concurrent_handlers
            ),
            url="sqlite::memory:",
            templates=listed,
            registry=self.registry,
        )
        self._resolve = self.worker.subscriber._resolve
        self.worker.subscriber._resolve = self._resolve_or_fail  # type: ignore[method-assign]
        self.client = self.worker.client()

    def fail(self, step: str, times: int = 1, error: Optional[BaseException] = None) -> None:
        """Makes the next attempts of a step raise ``error`` (a retryable one when absent) instead of its handler."""
        with self._lock:
            given = error or RetryableError(f"injected into {step}")
            self._faults.setdefault(step, []).extend([given] * times)

    def run(
        self,
        name: str,
        context: Optional[dict[str, Any]] = None,
        *,
        namespace: Optional[str] = None,
        timeout: float = 30.0,
        **options: Any,
    ) -> TaskOutcome:
        """Creates a task and waits until it rests.

        Args:
            namespace: Of the template; that of the only template of this name when absent.
            timeout: Seconds of real time.
        """
        return self.outcome(self.start(name, context, namespace=namespace, **options), timeout=timeout)

    def start(
        self, name: str, context: Optional[dict[str, Any]] = None, *, namespace: Optional[str] = None, **options: Any
    ) -> str:
        """Creates a task; gives its UUID."""
        if namespace is None:
            found = sorted({t["namespace"] for t in self.worker.info["templates"] if t["name"] == name})
            namespace = found[0] if found else "default"
        created = self.client.create_task(name, namespace, context, **options)
        return str(created["task_uuid"])

    def outcome(self, task_uuid: str, timeout: float = 30.0) -> TaskOutcome:
        """Waits until a task rests; gives it."""
        args = {"task_uuid": task_uuid, "timeout_ms": int(timeout * 1000)}
        task = self.client._call("skip_to_rest", args)
        steps = {
            s["name"]: StepOutcome(s["name"], s["status"], s["result"], s["attempts"], s["error"], s["history"], s)
            for s in self.client.list_task_steps(task_uuid)
        }
        return TaskOutcome(task_uuid, task["status"], steps, task)

    def events(self, name: str = "*") -> list[dict[str, Any]]:
        """Durable domain events published so far, oldest first."""
        return [event["message"] for event in self.client.list_events(name=name)]

    def close(self) -> None:
        """Stops the worker; the store is gone."""
        self.client.close()
        self.worker.stop(timeout=1)

    def __enter__(self) -> Harness:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def _resolve_or_fail(self, event: Any) -> Any:
        with self._lock:
            faults = self._faults.get(event.step_name) or self._faults.get(event.template_step_name)
            fault = faults.pop(0) if faults else None
        if fault is not None:
            raise fault
        return self._resolve(event)
