"""Each test has its own store, registry and worker."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

import pytest
from tasker_core import HandlerRegistry, TaskerClient, Worker, WorkerConfig

# A shell that starts something in the background has it ignore Ctrl-C, and everything below inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Bench:
    """A store, a registry, and workers started on them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.url = f"sqlite://{folder}/t.db"
        self.registry = HandlerRegistry()
        self.client = TaskerClient(self.url)
        self._stack = stack

    def start(self, template: str, **settings: Any) -> Worker:
        config = WorkerConfig(**settings)
        worker = Worker.start(config=config, url=self.url, templates=[template], registry=self.registry)
        self._stack.callback(worker.stop, 0)
        return worker

    def run(self, template: str, context: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
        """Runs one task of a template named ``t`` to its rest; gives it with its steps by name."""
        self.start(template, **settings)
        return self.task(context)

    def task(self, context: dict[str, Any] | None = None) -> dict[str, Any]:
        created = self.client.create_task("t", "default", context or {})
        task = self.client.wait(created["task_uuid"], 30)
        task["by_name"] = {s["name"]: s for s in self.client.list_task_steps(task["task_uuid"])}
        return task


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("TASKER_ENV", "test")
    with ExitStack() as stack:
        made = Bench(tmp_path, stack)
        stack.callback(made.client.close)
        yield made
        # Whatever a test did, the store must be in order.
        report = made.client.doctor()
        bad = [f for f in report["findings"] if f["violations"]]
        assert not bad, bad


def one_step(handler: str = "h", **keys: Any) -> str:
    """A template of one step."""
    extra = "".join(f"\n    {k}: {v}" for k, v in keys.items())
    return f"name: t\nsteps:\n  - name: s\n    handler: {handler}{extra}\n"


Start = Callable[..., Worker]
