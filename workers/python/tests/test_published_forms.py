"""Handlers, events and clients in the published forms, and what must not go wrong with them."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import Bench, one_step
from tasker_core import (
    Batchable,
    BootstrapConfig,
    ClientError,
    EventBridge,
    HandlerRegistry,
    StepExecutionSubscriber,
    StepHandler,
    TaskerClient,
    Worker,
    errors,
)
from tasker_core.domain_events import BasePublisher, BaseSubscriber, PublisherRegistry, SubscriberRegistry
from tasker_core.errors import PermanentError, RetryableError
from tasker_core.serialization import dump
from tasker_core.step_handler.functional import inputs, step_handler
from tasker_core.step_handler.mixins.api import shown_headers
from tasker_core.types.results import StepHandlerCallResult, seconds
from tasker_core.types.step_context import _StepLogger
from test_api import Server


@pytest.fixture(autouse=True)
def own_registries(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
    yield
    PublisherRegistry.reset()
    SubscriberRegistry.reset()


def test_no_cookie_or_header_outlives_its_attempt() -> None:
    from tasker_core import ApiHandler

    server = Server()

    class Plain(ApiHandler):
        base_url = server.url

        def call(self, context: Any) -> Any: ...

    server.answer(200, {}, set_cookie="session=alice")
    first = Plain()
    first.get("/login")
    first.client.headers["Authorization"] = "Bearer alice"
    Plain().get("/next")
    assert server.seen[1]["headers"].get("Cookie") is None
    assert server.seen[1]["headers"].get("Authorization") is None
    server.http.shutdown()
    server.http.server_close()


def test_stored_headers_hold_no_secrets() -> None:
    said = shown_headers({"set-cookie": "a", "x-csrf-token": "b", "proxy-authenticate": "c", "etag": "d"})
    assert said == {"set-cookie": "[masked]", "x-csrf-token": "[masked]", "proxy-authenticate": "[masked]", "etag": "d"}


def test_a_retry_after_outside_of_the_calendar_is_none_at_all() -> None:
    for odd in ("Mon, 01 Jan 99999 00:00:00 GMT", "inf", "nan", "", "soon", 10**400, [], True):
        assert seconds(odd) is None
    assert seconds("2.5") == 2.5


def test_each_attempt_begins_with_the_context_of_the_start(bench: Bench) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="unset")

    def body(context: Any) -> Any:
        was = [tenant.get(), decimal.getcontext().prec]
        tenant.set("one")
        decimal.getcontext().prec = 3
        return was

    bench.registry.register("h", body)
    bench.start(one_step(), max_concurrent_handlers=1)
    for _ in range(3):
        assert bench.task()["by_name"]["s"]["result"] == ["unset", 28]


def test_a_group_of_errors_is_judged_by_its_parts() -> None:
    class Group(Exception):
        exceptions = (RetryableError("busy", retry_after=7), PermanentError("card declined", error_code="DECLINED"))

    failure = StepHandlerCallResult.from_exception(Group("two"))
    assert (failure.retryable, failure.error_code, failure.retry_after) == (False, "DECLINED", 7)
    assert "card declined" in str(failure.error_message) and "busy" in str(failure.error_message)


def test_the_cause_of_an_error_is_stored(bench: Bench) -> None:
    def body(context: Any) -> Any:
        try:
            {}["port"]
        except KeyError as error:
            raise PermanentError("could not load settings") from error

    bench.registry.register("h", body)
    error = bench.run(one_step())["by_name"]["s"]["error"]
    assert any(line == "caused by KeyError: 'port'" for line in error["backtrace"])


def test_an_error_with_an_odd_context_keeps_its_message(bench: Bench) -> None:
    class Odd(Exception):
        context = object()

    def body(context: Any) -> Any:
        raise Odd("no such bucket")

    bench.registry.register("h", body)
    error = bench.run(one_step(retry="{max_attempts: 1}"))["by_name"]["s"]["error"]
    assert error["message"] == "no such bucket"


def test_an_exception_in_a_function_keeps_its_backtrace(bench: Bench) -> None:
    @step_handler("h")
    def h(_context: Any) -> Any:
        raise ValueError("not today")

    bench.registry.register("h", h)
    error = bench.run(one_step())["by_name"]["s"]["error"]
    assert error["message"] == "not today"
    assert any("test_published_forms.py" in line for line in error["backtrace"])


def test_a_handler_that_stops_the_loop_fails_alone(bench: Bench) -> None:
    class Stops(StepHandler):
        async def call(self, context: Any) -> Any:
            if context.get_input("stop"):
                asyncio.get_running_loop().stop()
                await asyncio.sleep(3600)
            return 1

    bench.registry.register("h", Stops)
    worker = bench.start(one_step(retry="{max_attempts: 1}"))
    failed = bench.task({"stop": True})["by_name"]["s"]
    assert (failed["status"], "loop was stopped" in failed["error"]["message"]) == ("error", True)
    assert bench.task()["by_name"]["s"]["result"] == 1
    assert worker.stop()


def test_a_subscriber_of_the_process_runs_no_step_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = EventBridge()
    monkeypatch.setattr(EventBridge, "_instance", everyone)
    runs: list[int] = []
    bench.registry.register("h", lambda context: runs.append(1))
    heard: list[Any] = []
    everyone.start()
    everyone.subscribe("step.execution.received", heard.append)
    second = StepExecutionSubscriber(everyone, bench.registry, "second")
    second.start()
    bench.run(one_step())
    second.stop()
    assert (len(runs), len(heard)) == (1, 1)
    # A mapping, as the published event has it.
    assert heard[0].task_sequence_step["workflow_step"]["name"] == "s"


def test_texts_stand_for_lists_of_one(bench: Bench) -> None:
    bench.registry.register("h", lambda context: 1)
    worker = Worker.start(
        url=bench.url, namespaces="shop", templates=one_step().replace("name: t", "name: t\nnamespace_name: shop", 1)
    )
    assert worker.info["namespaces"] == ["shop"]
    worker.stop()


def test_bad_settings_are_told_as_such(bench: Bench) -> None:
    with pytest.raises(errors.WorkerBootstrapError):
        bench.start(one_step(), max_concurrent_handlers=-1)


def test_a_closed_client_stays_closed(bench: Bench) -> None:
    client = TaskerClient(bench.url)
    client.health_check()
    client.close()
    with pytest.raises(ClientError, match="closed"):
        client.health_check()


def test_the_client_of_the_low_level_calls_is_the_workers(bench: Bench) -> None:
    from tasker_core import _tasker_core, observability

    bench.registry.register("h", lambda context: 1)
    worker = Worker.start(url="sqlite::memory:", templates=[one_step()], registry=bench.registry)
    try:
        worker.client().create_task("t")
        assert _tasker_core.client_list_tasks()["total"] == 1
        assert observability.get_health_check().is_healthy
        assert observability.get_metrics().slots == 10
        assert observability.get_worker_config().worker_id == worker.worker_id
    finally:
        worker.stop()


def test_a_stop_within_a_stop_returns(bench: Bench) -> None:
    bench.registry.register("h", lambda context: 1)
    worker = bench.start(one_step())
    with worker._stop_lock:
        assert worker.stop()


def test_a_subscriber_that_exits_ends_no_thread(bench: Bench) -> None:
    heard: list[str] = []

    class Leaves(BaseSubscriber):
        @classmethod
        def subscribes_to(cls) -> list[str]:
            return ["*"]

        def handle(self, event: Any) -> None:
            heard.append(event["event_name"])
            sys.exit(3)

    SubscriberRegistry.instance().register(Leaves)
    SubscriberRegistry.instance().start_all()
    bench.registry.register("h", lambda context: 1)
    template = one_step() + "    publishes_events: [{name: a.b, delivery_mode: fast}]\n"
    worker = bench.start(template)
    bench.task()
    bench.task()
    worker.stop()
    assert heard == ["a.b", "a.b"]


def test_a_publisher_with_one_context_and_one_with_three_arguments(bench: Bench) -> None:
    class One(BasePublisher):
        publisher_name = "one"

        def transform_payload(self, ctx: Any) -> Any:
            return {"of": ctx.step_name, "result": ctx.result}

    class Three(BasePublisher):
        publisher_name = "three"

        def transform_payload(self, step_result: Any, event_declaration: Any, step_context: Any) -> Any:
            return {"event": event_declaration.name, "result": step_result.result}

    PublisherRegistry.instance().register(One())
    PublisherRegistry.instance().register(Three)
    bench.registry.register("h", lambda context: 5)
    bench.start(one_step() + "    publishes_events: [{name: a.x, publisher: one}, {name: a.y, publisher: three}]\n")
    bench.task()
    said = {e["message"]["event_name"]: e["message"]["payload"] for e in bench.client.list_events()}
    assert said == {"a.x": {"of": "s", "result": 5}, "a.y": {"event": "a.y", "result": 5}}


def test_numbers_of_other_libraries_are_numbers() -> None:
    class Scalar:
        def item(self) -> int:
            return 7

    class Index:
        def __index__(self) -> int:
            return 8

    assert json.loads(dump({"n": Scalar(), "m": [Index()]})) == {"n": 7, "m": [8]}


def test_a_percent_sign_in_a_correlation_id_breaks_no_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        _StepLogger(logging.getLogger("tasker_core.handler"), {"correlation_id": "100%s"}).info("took %d items", 3)
    assert caplog.messages == ["took 3 items [correlation_id=100%s]"]


def test_constructors_get_the_configuration_if_they_take_one(bench: Bench) -> None:
    class Configured(StepHandler):
        def __init__(self, config: dict[str, Any]) -> None:
            self.rate = config["rate"]

        def call(self, context: Any) -> Any:
            return self.rate

    bench.registry.register("h", Configured)
    assert bench.run(one_step("{callable: h, initialization: {rate: 3}}"))["by_name"]["s"]["result"] == 3


def test_a_batch_mixin_alone_with_a_call_is_a_handler(bench: Bench) -> None:
    class Alone(Batchable):
        handler_name = "h"

        def call(self, context: Any) -> Any:
            return self.success({"by": self.name})  # type: ignore[attr-defined]

    bench.registry.register(Alone)
    assert bench.run(one_step())["by_name"]["s"]["result"] == {"by": "h"}


def test_two_files_with_one_handler_name_are_told(tmp_path: Path) -> None:
    from tasker_core.handler_discovery import import_handlers

    for number in (1, 2):
        (tmp_path / f"twice_{tmp_path.name}_{number}.py").write_text(
            "from tasker_core import StepHandler\n\n\nclass H(StepHandler):\n    handler_name = 'twice'\n\n"
            "    def call(self, context):\n        return 1\n"
        )
    (problem,) = import_handlers(HandlerRegistry(), [str(tmp_path)])
    assert "two handlers have one name: `twice`" in problem


def test_files_called_like_tests_are_loaded_and_folders_of_tests_are_not(tmp_path: Path, capsys: Any) -> None:
    from tasker_core.handler_discovery import import_handlers

    code = (
        "from tasker_core import StepHandler\nclass {0}(StepHandler):\n    def call(self, context):\n        return 1\n"
    )
    (tmp_path / f"test_taste_{tmp_path.name}.py").write_text(code.format("Taste"))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "inner.py").write_text(code.format("Inner"))
    registry = HandlerRegistry()
    assert import_handlers(registry, str(tmp_path)) == []
    assert registry.list_handlers() == ["Taste"]
    assert "is left out" in capsys.readouterr().err


def test_a_started_worker_is_given_to_whoever_starts_it_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKER_URL", bench.url)
    first = Worker.start(config=BootstrapConfig(worker_id="only"))
    assert Worker.start() is first is Worker.instance()
    assert first.bootstrap_result.worker_id == "only"
    Worker.reset_instance()
    assert Worker.instance() is None


def test_inputs_that_are_absent_are_none() -> None:
    from tasker_core import StepContext

    @step_handler("absent")
    @inputs("lamp")
    def absent(lamp: Any, _context: Any) -> Any:
        return {"lamp": lamp, "same": _context.get_input("lamp")}

    context = StepContext.from_ffi_event({"task_uuid": "t"}, "absent")
    assert absent._handler_class().call(context).result == {"lamp": None, "same": None}


def test_importing_is_quick_and_loads_no_models() -> None:
    code = "import tasker_core, sys; print('pydantic' in sys.modules, 'httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False False\n", "")


def test_two_pollers_share_the_events_and_both_hear_all(bench: Bench) -> None:
    from tasker_core import InProcessDomainEventPoller

    bench.registry.register("h", lambda context: context.get_input("n"))
    worker = bench.start(one_step() + "    publishes_events: [{name: a.b, delivery_mode: fast}]\n")
    heard: dict[str, list[int]] = {"one": [], "two": []}
    done = threading.Event()
    pollers = [InProcessDomainEventPoller(native=worker.native) for _ in heard]
    for name, poller in zip(heard, pollers):
        poller.on_event(lambda event, name=name: heard[name].append(event["payload"]))
        poller.on_event(lambda event: done.set() if all(len(h) >= 20 for h in heard.values()) else None)
        poller.start()
    with pytest.raises(RuntimeError):
        pollers[0].start()
    for n in range(20):
        bench.client.create_task("t", "default", {"n": n})
    assert done.wait(20)
    for poller in pollers:
        poller.stop()
    assert sorted(heard["one"]) == sorted(heard["two"]) == list(range(20))
