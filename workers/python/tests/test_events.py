"""Domain events: declared in the template, published with the commit, shaped by publishers, heard by subscribers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Bench
from tasker_core import TaskerClient
from tasker_core.domain_events import (
    BasePublisher,
    BaseSubscriber,
    InProcessDomainEvent,
    InProcessDomainEventPoller,
    PublishContext,
    PublisherRegistry,
    StepResult,
    SubscriberRegistry,
)

ORDER = """
name: t
steps:
  - name: pay
    handler: pay
    retry: {max_attempts: 2, backoff: none}
    publishes_events:
      - {name: order.paid}
      - {name: order.refused, condition: permanent_failure, publisher: %s}
      - {name: order.retried, condition: retryable_failure, delivery_mode: fast}
      - {name: order.seen, condition: always, delivery_mode: broadcast}
"""


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    yield
    PublisherRegistry.instance().clear()
    SubscriberRegistry.instance().clear()


class Heard(BaseSubscriber):
    subscribes_to = ("order.*",)

    def __init__(self) -> None:
        super().__init__()
        self.events: list[InProcessDomainEvent] = []
        self.said: list[Any] = []

    def handle(self, event: InProcessDomainEvent) -> None:
        self.events.append(event)
        if event.payload == "trouble":
            raise ValueError("cannot hear that")

    def before_handle(self, event: InProcessDomainEvent) -> bool:
        return event.payload != "skip"

    def after_handle(self, event: InProcessDomainEvent) -> None:
        self.said.append(("after", event.event_name))

    def on_handle_error(self, event: InProcessDomainEvent, error: Exception) -> None:
        self.said.append(("error", str(error)))


class Recorder(BasePublisher):
    publisher_name = "recorder"

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.published = threading.Event()

    def should_publish(self, step_result: StepResult, *_: Any) -> bool:
        self.said.append(("should", step_result.success, step_result.error_type))
        return step_result.error_code != "QUIET"

    def transform_payload(self, step_result: StepResult, event_declaration: Any, step_context: Any) -> Any:
        if step_result.error_code == "BROKEN":
            raise RuntimeError("cannot shape that")
        return {"said": step_result.error_message, "event": event_declaration.name, "step": step_context.step_name}

    def additional_metadata(self, *_: Any) -> dict[str, Any]:
        return {"region": "eu"}

    def before_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> bool:
        self.said.append(("before", event_name, metadata["region"], metadata.get("step_name")))
        return payload["said"] != "stop"

    def after_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> None:
        self.said.append(("after", event_name, payload["said"], metadata["region"]))
        self.published.set()

    def on_publish_error(self, event_name: str, error: Exception, payload: Any) -> None:
        self.said.append(("error", event_name, str(error)))


def stored(client: TaskerClient) -> list[tuple[str, Any]]:
    return [(e["message"]["event_name"], e["message"]["payload"]) for e in client.list_events()]


def test_fast_and_broadcast_events_reach_subscribers_and_durable_ones_do_not(bench: Bench) -> None:
    heard = SubscriberRegistry.instance().register(Heard).start()
    assert isinstance(heard, Heard)
    calls = iter([ConnectionError("down"), None])

    def pay(context: Any) -> Any:
        error = next(calls)
        if error is not None:
            raise error
        return {"paid": 5}

    bench.registry.register("pay", pay)
    worker = bench.start(ORDER % "default")
    bench.task()
    worker.stop()
    names = [e.event_name for e in heard.events]
    assert names == ["order.retried", "order.seen", "order.seen"]
    last = heard.events[-1]
    assert last.payload == {"paid": 5}
    assert (last.metadata.step_name, last.metadata.delivery_mode) == ("pay", "broadcast")
    assert heard.said == [("after", name) for name in names]
    assert [name for name, _ in stored(bench.client)] == ["order.seen", "order.paid", "order.seen"]


def test_a_failing_subscriber_is_told_and_stops_no_other(bench: Bench) -> None:
    heard = SubscriberRegistry.instance().register(Heard())
    late = SubscriberRegistry.instance().register(Heard())
    assert isinstance(heard, Heard) and isinstance(late, Heard)
    heard.start()
    late.start()
    late.stop()
    outputs = iter(["trouble", "skip", "fine"])
    bench.registry.register("pay", lambda context: next(outputs))
    worker = bench.start(ORDER % "default")
    for _ in range(3):
        assert bench.task()["status"] == "complete"
    worker.stop()
    assert [e.payload for e in heard.events] == ["trouble", "fine"]
    assert heard.said == [("error", "cannot hear that"), ("after", "order.seen")]
    assert late.events == []
    assert SubscriberRegistry.instance().stats == {"failed": 1, "skipped": 1, "handled": 1}


def test_patterns() -> None:
    heard = Heard()
    fits = [name for name in ("order.paid", "order.a.b", "order", "orders.x") if heard.matches(name)]
    assert fits == ["order.paid", "order.a.b"]
    heard.subscribes_to = "*"
    assert heard.matches("anything") and heard.subscriptions == []
    assert heard.start().subscriptions == ["*"]


def failing(bench: Bench, code: str, message: str) -> None:
    from tasker_core.errors import PermanentError

    def pay(context: Any) -> Any:
        raise PermanentError(message, error_code=code)

    bench.registry.register("pay", pay)


def test_a_publisher_shapes_the_event_and_hears_of_its_publication(bench: Bench) -> None:
    recorder = Recorder()
    PublisherRegistry.instance().register(recorder)
    failing(bench, "NO_FUNDS", "no money")
    bench.start(ORDER % "recorder")
    bench.task()
    assert recorder.published.wait(10)
    assert dict(stored(bench.client))["order.refused"] == {"said": "no money", "event": "order.refused", "step": "pay"}
    message = next(e["message"] for e in bench.client.list_events(name="order.refused"))
    assert (message["metadata"]["region"], message["metadata"]["fired_by"]) == ("eu", "recorder")
    assert recorder.said == [
        ("should", False, "permanent_error"),
        ("before", "order.refused", "eu", "pay"),
        ("after", "order.refused", "no money", "eu"),
    ]


@pytest.mark.parametrize(
    ("code", "message", "heard"),
    [
        ("QUIET", "x", [("should", False, "permanent_error")]),
        ("BROKEN", "x", [("should", False, "permanent_error"), ("error", "order.refused", "cannot shape that")]),
        ("N", "stop", [("should", False, "permanent_error"), ("before", "order.refused", "eu", "pay")]),
    ],
)
def test_a_publisher_that_declines_or_fails_holds_the_event_back(
    bench: Bench, code: str, message: str, heard: list[Any]
) -> None:
    recorder = Recorder()
    PublisherRegistry.instance().register(recorder)
    failing(bench, code, message)
    bench.start(ORDER % "recorder")
    task = bench.task()
    assert task["by_name"]["pay"]["status"] == "error"
    published = bench.client.list_events(name="order.refused")
    if code == "BROKEN":
        # Nothing is lost because a publisher fails.
        message = published[0]["message"]
        assert message["payload"]["error_message"] == "x"
        assert message["metadata"]["publisher_error"] == "RuntimeError: cannot shape that"
    else:
        assert published == []
    assert recorder.said == heard


def test_an_event_of_an_unknown_publisher_is_published_as_it_is(bench: Bench) -> None:
    failing(bench, "X", "no money")
    bench.start(ORDER % "nobody")
    bench.task()
    assert dict(stored(bench.client))["order.refused"]["message"] == "no money"


def test_publish_outside_of_a_step_reaches_subscribers_at_once() -> None:
    heard = SubscriberRegistry.instance().register(Heard).start()
    recorder = Recorder()

    class Plain(Recorder):
        def transform_payload(self, step_result: StepResult, *_: Any) -> Any:
            return {"said": step_result.result}

    recorder = Plain()
    assert recorder.publish(PublishContext("order.made", StepResult(True, "hello")))
    assert isinstance(heard, Heard)
    assert [e.payload for e in heard.events] == [{"said": "hello"}]
    assert recorder.said[-1] == ("after", "order.made", "hello", "eu")


def test_a_payload_that_breaks_its_schema_is_not_published(bench: Bench) -> None:
    outputs = iter([{"total": "much"}, {"total": 5}])
    bench.registry.register("pay", lambda context: next(outputs))
    schema = "{type: object, properties: {total: {type: integer}}}"
    bench.start(
        f"name: t\ndomain_events: [{{name: b.done, schema: {schema}}}]\nsteps:\n  - name: s\n    handler: pay\n"
        f"    publishes_events: [{{name: a.done, schema: {schema}}}, {{name: b.done}}, {{name: c.done}}]\n"
    )
    assert bench.task()["status"] == "complete"
    assert [name for name, _ in stored(bench.client)] == ["c.done"]
    assert bench.task()["status"] == "complete"
    assert [name for name, _ in stored(bench.client)] == ["c.done", "a.done", "b.done", "c.done"]


def test_two_consumers_read_each_event_once(bench: Bench) -> None:
    bench.registry.register("pay", lambda context: context.input_data["n"])
    worker = bench.start(ORDER % "default")
    requests = [{"name": "t", "namespace": "default", "context": {"n": n}} for n in range(100)]
    tasks = [t["task_uuid"] for t in bench.client.create_tasks(requests)]
    read: list[list[Any]] = [[], []]
    both = threading.Barrier(2)

    def consume(mine: list[Any]) -> None:
        client = TaskerClient(worker.url)
        both.wait()
        while events := client.read_events("default", limit=7, visibility=60, wait=1):
            mine.extend(events)
            assert client.acknowledge_events([e["msg_id"] for e in events]) == len(events)
        client.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(consume, read))
    for task in tasks:
        bench.client.wait(task)
    everything = [e["message"]["event_id"] for e in read[0] + read[1]]
    assert len(everything) == len(set(everything)) == 200
    for mine in read:
        by_task: dict[str, list[int]] = {}
        for event in mine:
            by_task.setdefault(event["message"]["metadata"]["task_uuid"], []).append(event["msg_id"])
        assert all(ids == sorted(ids) for ids in by_task.values())
    assert all(e["archived_at"] for e in bench.client.list_events())
    assert bench.client.replay_events(name="order.paid", dry_run=True) == 100
    assert bench.client.replay_events(name="order.paid") == 100
    assert len(bench.client.read_events("default", limit=200)) == 100


def test_a_durable_event_survives_the_death_of_the_process_that_published_it(tmp_path: Path) -> None:
    program = """
import sys
from tasker_core import HandlerRegistry, TaskerClient, Worker
registry = HandlerRegistry()
registry.register("pay", lambda context: {"paid": 5})
worker = Worker.start(url=sys.argv[1], templates=[sys.argv[2]], registry=registry)
client = worker.client()
client.wait(client.create_task("t", "default", {})["task_uuid"])
print("done", flush=True)
sys.stdin.read()
"""
    url = f"sqlite://{tmp_path}/t.db"
    process = subprocess.Popen(
        [sys.executable, "-c", program, url, ORDER % "default"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == "done\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    with TaskerClient(url) as client:
        assert [e["message"]["event_name"] for e in client.read_events("default")] == ["order.paid", "order.seen"]


def test_a_poller_of_ones_own(bench: Bench) -> None:
    bench.registry.register("pay", lambda context: 1)
    worker = bench.start(ORDER % "default")
    seen: list[str] = []
    errors: list[Exception] = []
    poller = InProcessDomainEventPoller(native=worker.native)

    def see(event: InProcessDomainEvent) -> None:
        seen.append(event.event_name)
        raise ValueError("no")

    poller.on_event(see)
    poller.on_error(errors.append)
    bench.task()
    poller.flush()
    assert seen == ["order.seen"]
    assert [str(e) for e in errors] == ["no"]
