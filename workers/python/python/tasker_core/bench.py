"""Latency and throughput with Python handlers, client and clock; ``tasker bench --lang python`` runs this."""

from __future__ import annotations

import json
import resource
import time
from typing import Any, Callable

from tasker_core.client import TaskerClient
from tasker_core.registry import HandlerRegistry
from tasker_core.step_handler.base import StepHandler
from tasker_core.worker import Worker, WorkerConfig

__all__ = ["run"]

SINGLE_MAX = 200
BULK = 100
PAGE = 1000


class Square(StepHandler):
    handler_name = "bench.square"

    def call(self, context: Any) -> Any:
        n = context.get_input("n")
        return self.success(n * n)


class Add(StepHandler):
    handler_name = "bench.add_10"

    def call(self, context: Any) -> Any:
        return self.success(context.get_dependency_result("square") + 10)


class Triple(StepHandler):
    handler_name = "bench.triple"

    def call(self, context: Any) -> Any:
        return self.success(context.get_dependency_result("add") * 3)


class Half(StepHandler):
    handler_name = "bench.half"

    def call(self, context: Any) -> Any:
        return self.success(context.get_dependency_result("triple") / 2)


class Plus(StepHandler):
    handler_name = "bench.plus"

    def call(self, context: Any) -> Any:
        return self.success(context.get_dependency_result("square") + 25)


class Times(StepHandler):
    handler_name = "bench.times"

    def call(self, context: Any) -> Any:
        return self.success(context.get_dependency_result("square") * 2)


class Mean(StepHandler):
    handler_name = "bench.mean"

    def call(self, context: Any) -> Any:
        return self.success((context.get_dependency_result("plus") + context.get_dependency_result("times")) / 2)


class Branch(StepHandler):
    handler_name = "bench.branch"

    def call(self, context: Any) -> Any:
        return self.success(context.get_dependency_result("source") + 1)


class Join(StepHandler):
    handler_name = "bench.join"

    def call(self, context: Any) -> Any:
        return self.success(sum(context.get_all_dependency_results("branch_")))


HANDLERS = (Square, Add, Triple, Half, Plus, Times, Mean, Branch, Join)


def _workload(name: str) -> tuple[str, int, str, Callable[[int], float]]:
    """Template, steps a task, last step, right answer."""
    steps: list[tuple[str, str, str]]
    answer: Callable[[int], float]
    if name == "linear-4":
        steps = [
            ("square", "square", ""),
            ("add", "add_10", "square"),
            ("triple", "triple", "add"),
            ("half", "half", "triple"),
        ]

        def answer(n: int) -> float:
            return (n * n + 10) * 3 / 2
    elif name == "diamond-4":
        steps = [
            ("square", "square", ""),
            ("plus", "plus", "square"),
            ("times", "times", "square"),
            ("mean", "mean", "plus, times"),
        ]

        def answer(n: int) -> float:
            return ((n * n + 25) + n * n * 2) / 2
    elif name.startswith("fan-out-"):
        count = int(name[len("fan-out-") :])
        if not 3 <= count <= 10_000:
            raise SystemExit("fan-out-N needs N between 3 and 10000")
        branches = [f"branch_{i}" for i in range(count - 2)]
        steps = [("source", "square", ""), *((b, "branch", "source") for b in branches)]
        steps.append(("join", "join", ", ".join(branches)))

        def answer(n: int) -> float:
            return (n * n + 1) * (count - 2)
    else:
        raise SystemExit(f"there is no workload `{name}`; use linear-4, diamond-4 or fan-out-N")
    lines = [f"  - {{name: {n}, handler: bench.{h}, depends_on: [{after}]}}" for n, h, after in steps]
    template = "name: bench\nnamespace_name: bench\nsteps:\n" + "\n".join(lines) + "\n"
    return template, len(steps), steps[-1][0], answer


def run(workload: str, tasks: int, url: str, slots: int, warm_up: int) -> dict[str, Any]:
    """Measures; raises if any result is wrong."""
    template, steps, last, answer = _workload(workload)
    registry = HandlerRegistry()
    for handler in HANDLERS:
        registry.register(handler)
    config = WorkerConfig(max_concurrent_handlers=slots)
    with Worker.start(config=config, url=url, templates=[template], registry=registry) as worker:
        client = worker.client()
        durability = worker.status()["durability"]
        times = _one_by_one(client, min(SINGLE_MAX, tasks), warm_up, last, answer)
        inputs = [2 * (i % 1000) for i in range(tasks)]
        start = time.perf_counter()
        uuids: list[str] = []
        for first in range(0, tasks, BULK):
            requests = [_request(n) for n in inputs[first : first + BULK]]
            uuids += [t["task_uuid"] for t in client.create_tasks(requests)]
        _settle(client, uuids)
        seconds = time.perf_counter() - start
        for uuid, n in zip(uuids, inputs):
            _check(client, uuid, last, answer(n))
    times.sort()

    def at(share: float) -> float:
        return round(times[min(int(len(times) * share), len(times) - 1)], 3)

    return {
        "lang": "python",
        "workload": workload,
        "tasks": tasks,
        "steps": tasks * steps,
        "slots": slots,
        "warm_up": warm_up,
        "p50_ms": at(0.5),
        "p95_ms": at(0.95),
        "p99_ms": at(0.99),
        "steps_per_second": round(tasks * steps / seconds),
        "seconds": round(seconds, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "durability": durability,
        "checked": tasks + len(times) + warm_up,
    }


def _request(n: int) -> dict[str, Any]:
    return {"name": "bench", "namespace": "bench", "context": {"n": n}}


def _one_by_one(
    client: TaskerClient, count: int, warm_up: int, last: str, answer: Callable[[int], float]
) -> list[float]:
    times: list[float] = []
    for i in range(count + warm_up):
        n = 2 * (i % 1000)
        start = time.perf_counter()
        uuid = client.create_tasks([_request(n)])[0]["task_uuid"]
        client.wait(uuid, 600)
        times.append((time.perf_counter() - start) * 1e3)
        _check(client, uuid, last, answer(n))
    return times[-count:]


def _settle(client: TaskerClient, uuids: list[str]) -> None:
    # Not a call for each: that would measure the calls.
    client.wait(uuids[-1], 600)
    ended: set[str] = set()
    for offset in range(0, len(uuids), PAGE):
        page = client.list_tasks(limit=PAGE, offset=offset)["tasks"]
        ended.update(task["task_uuid"] for task in page if task["status"] == "complete")
    for uuid in uuids:
        if uuid not in ended:
            client.wait(uuid, 600)


def _check(client: TaskerClient, uuid: str, last: str, expected: float) -> None:
    found = client.get_step(uuid, last)["result"]
    if found != expected:
        raise SystemExit(f"task {uuid}: {found} where {expected} was expected")


def print_figures(figures: dict[str, Any], as_json: bool) -> None:
    """Prints the figures."""
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<18} {value}")
