"""Workflows through real workers on a real store."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import Bench, one_step
from pydantic import BaseModel
from tasker_core import (
    ClientError,
    EventBridge,
    EventNames,
    ExecutionResult,
    PermanentError,
    RateLimitError,
    StepContext,
    StepHandler,
    StepHandlerResult,
    ValidationError,
)
from tasker_core.step_handler.functional import depends_on, inputs

LINEAR = """
name: t
steps:
  - {name: square, handler: square}
  - {name: add, handler: add, depends_on: [square]}
  - {name: triple, handler: triple, depends_on: [add]}
  - {name: half, handler: half, depends_on: [triple]}
"""


def function(bench: Bench, name: str, body: Any) -> None:
    """Registers ``body(context)`` as the handler of a name."""
    bench.registry.register(name, type(name.title(), (StepHandler,), {"call": lambda self, context: body(context)}))


@pytest.mark.parametrize(("n", "expected"), [(6, 69.0), (10, 165.0), (8, 111.0)])
def test_linear(bench: Bench, n: int, expected: float) -> None:
    function(bench, "square", lambda c: c.get_input("n") ** 2)
    function(bench, "add", lambda c: c.get_dependency_result("square") + 10)
    function(bench, "triple", lambda c: c.get_dependency_result("add") * 3)
    function(bench, "half", lambda c: c.get_dependency_result("triple") / 2)
    task = bench.run(LINEAR, {"n": n})
    assert task["status"] == "complete"
    assert task["by_name"]["half"]["result"] == expected
    assert [len(s["history"]) for s in task["by_name"].values()] == [1, 1, 1, 1]


DIAMOND = """
name: t
steps:
  - {name: start, handler: start}
  - {name: b, handler: b, depends_on: [start]}
  - {name: c, handler: c, depends_on: [start]}
  - {name: end, handler: end, depends_on: [b, c]}
"""


@pytest.mark.parametrize("is_async", [False, True])
def test_diamond_branches_overlap(bench: Bench, is_async: bool) -> None:
    # Each branch waits for the other: run one after the other, they would never end.
    together = threading.Barrier(2, timeout=20)
    arrived = {"b": threading.Event(), "c": threading.Event()}

    def branch(name: str, value: Any) -> Any:
        if not is_async:

            def body(context: StepContext) -> Any:
                together.wait()
                return value(context.get_dependency_result("start"))

            return type(name, (StepHandler,), {"call": lambda self, context: body(context)})

        async def call(self: Any, context: StepContext) -> Any:
            arrived[name].set()
            other = arrived["c" if name == "b" else "b"]
            while not other.is_set():
                await asyncio.sleep(0)
            return value(context.get_dependency_result("start"))

        return type(name, (StepHandler,), {"call": call})

    function(bench, "start", lambda c: c.get_input("n") ** 2)
    bench.registry.register("b", branch("b", lambda s: s + 25))
    bench.registry.register("c", branch("c", lambda s: s * 2))
    function(bench, "end", lambda c: (c.get_dependency_result("b") + c.get_dependency_result("c")) / 2)
    task = bench.run(DIAMOND, {"n": 6})
    assert task["by_name"]["end"]["result"] == 66.5


def test_a_value_error_fails_at_once(bench: Bench) -> None:
    def body(context: StepContext) -> Any:
        raise ValueError("not a number")

    function(bench, "h", body)
    task = bench.run(one_step())
    step = task["by_name"]["s"]
    assert (task["status"], step["status"], len(step["history"])) == ("blocked_by_failures", "error", 1)
    assert step["error"]["message"] == "not a number"
    assert step["error"]["error_type"] == "value_error"
    assert step["error"]["retryable"] is False
    assert any("test_worker.py" in frame for frame in step["error"]["backtrace"])


def test_a_connection_error_is_retried_with_the_templates_backoff(bench: Bench) -> None:
    def body(context: StepContext) -> Any:
        raise ConnectionError("refused")

    function(bench, "h", body)
    task = bench.run(one_step(retry="{max_attempts: 3, backoff: exponential, backoff_base_ms: 50}"))
    history = task["by_name"]["s"]["history"]
    assert [a["outcome"] for a in history] == ["failed"] * 3

    def ms(text: str) -> int:
        from datetime import datetime

        return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)

    waits = [ms(a["next_retry_at"]) - ms(a["completed_at"]) for a in history[:2]]
    assert waits == [50, 100]
    assert task["status"] == "blocked_by_failures"


def test_it_completes_when_a_later_attempt_succeeds(bench: Bench) -> None:
    seen: list[tuple[int, bool, bool]] = []

    def body(context: StepContext) -> Any:
        seen.append((context.retry_count, context.is_retry(), context.is_last_retry()))
        if context.retry_count < 2:
            raise OSError("flaky")
        return "done"

    function(bench, "h", body)
    task = bench.run(one_step(retry="{max_attempts: 5, backoff: none}"))
    assert task["status"] == "complete"
    assert seen == [(0, False, False), (1, True, False), (2, True, False)]
    assert [a["outcome"] for a in task["by_name"]["s"]["history"]] == ["failed", "failed", "completed"]


def test_nothing_a_handler_says_is_dropped(bench: Bench) -> None:
    def body(context: StepContext) -> Any:
        raise RateLimitError(
            "slow down", error_code="RL-1", retry_after=0.02, metadata={"quota": 7}, context={"path": "/x"}
        )

    function(bench, "h", body)
    task = bench.run(one_step(retry="{max_attempts: 2}"))
    step = task["by_name"]["s"]
    first = step["history"][0]
    assert first["error"]["message"] == "slow down"
    assert first["error"]["error_type"] == "rate_limit_error"
    assert first["error"]["error_code"] == "RL-1"
    assert first["error"]["context"] == {"path": "/x"}
    assert first["metadata"] == {"quota": 7}
    assert step["metadata"]["custom"] == {"quota": 7}
    assert step["metadata"]["worker_id"] == first["worker_id"]
    assert first["execution_time_ms"] >= 0


def test_success_metadata_is_kept(bench: Bench) -> None:
    function(bench, "h", lambda c: StepHandlerResult.success({"a": 1}, {"rows": 3}))
    step = bench.run(one_step())["by_name"]["s"]
    assert (step["result"], step["metadata"]["custom"]) == ({"a": 1}, {"rows": 3})


def test_method_dispatch(bench: Bench) -> None:
    class Payments(StepHandler):
        handler_name = "payments"

        def call(self, context: StepContext) -> Any:
            return {"called": "call"}

        def validate(self, context: StepContext) -> Any:
            return {"amount": context.get_input("amount")}

        def process(self, context: StepContext) -> Any:
            amount = context.get_dependency_field("validate", "amount")
            return {"charged": round(amount * (1 + context.get_config("fee")), 2)}

        async def refund(self, context: StepContext) -> Any:
            return context.get_dependency_field("validate", "amount")

    bench.registry.register(Payments)
    task = bench.run(
        """
name: t
steps:
  - {name: validate, handler: {callable: payments, method: validate}}
  - {name: process, handler: {callable: payments, method: process, initialization: {fee: 0.1}}, depends_on: [validate]}
  - {name: refund, handler: {callable: payments, method: refund}, depends_on: [process]}
  - {name: last, handler: payments, depends_on: [refund]}
""",
        {"amount": 100},
    )
    results = {name: step["result"] for name, step in task["by_name"].items()}
    assert results == {
        "validate": {"amount": 100},
        "process": {"charged": 110.0},
        "refund": 100,
        "last": {"called": "call"},
    }


def test_a_method_that_does_not_exist_is_named_with_those_that_do(bench: Bench) -> None:
    class Payments(StepHandler):
        handler_name = "payments"

        def call(self, context: StepContext) -> Any:
            return None

        def charge(self, context: StepContext) -> Any:
            return None

    bench.registry.register(Payments)
    step = bench.run(one_step("{callable: payments, method: chrge}"))["by_name"]["s"]
    assert step["status"] == "error"
    assert "has no method `chrge`" in step["error"]["message"]
    assert "charge" in step["error"]["message"]


def test_the_three_argument_form(bench: Bench) -> None:
    class Old(StepHandler):
        def call(self, task: Any, dependency_results: Any, workflow_step: Any) -> Any:  # type: ignore[override]
            return {
                "context": task.context,
                "first": dependency_results.get_results("first"),
                "envelope": dependency_results.get_result("first")["result"],
                "kept": dependency_results.get_result("first")["metadata"]["custom"],
                "keys": dependency_results.keys(),
                "name": workflow_step.name,
                "attempts": workflow_step.attempts,
            }

    function(bench, "first", lambda c: StepHandlerResult.success([1, 2], {"source": "cache"}))
    bench.registry.register("old", Old)
    task = bench.run(
        "name: t\nsteps:\n  - {name: first, handler: first}\n  - {name: s, handler: old, depends_on: [first]}\n",
        {"x": 1},
    )
    assert task["by_name"]["s"]["result"] == {
        "context": {"x": 1},
        "first": [1, 2],
        "envelope": [1, 2],
        "kept": {"source": "cache"},
        "keys": ["first"],
        "name": "s",
        "attempts": 0,
    }


def test_functional_handlers_get_what_they_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasker_core import HandlerRegistry
    from tasker_core.step_handler.functional import step_handler

    class Cart(BaseModel):
        total: float

    @dataclass
    class Order:
        customer: str
        rate: float

    monkeypatch.setattr(HandlerRegistry, "_instance", bench.registry)

    @step_handler("cart")
    @inputs("rate")
    def cart(rate: float, context: Any) -> Any:
        return {"total": 100 * (1 + rate)}

    @step_handler("pay")
    @depends_on(cart=("cart", Cart), raw="cart")
    @inputs(Order)
    async def pay(cart: Cart, raw: dict[str, Any], order: Order) -> Any:
        return {"paid": cart.total, "same": raw["total"] == cart.total, "by": order.customer}

    assert pay._handler_class.handler_name == "pay"  # type: ignore[attr-defined]
    task = bench.run(
        "name: t\nsteps:\n  - {name: cart, handler: cart}\n  - {name: pay, handler: pay, depends_on: [cart]}\n",
        {"rate": 0.5, "customer": "Ada"},
    )
    assert task["by_name"]["pay"]["result"] == {"paid": 150.0, "same": True, "by": "Ada"}


def test_a_functional_handlers_error_goes_through_the_classifier(bench: Bench) -> None:
    from tasker_core import HandlerRegistry
    from tasker_core.step_handler.functional import step_handler

    before, HandlerRegistry._instance = HandlerRegistry._instance, bench.registry
    try:

        @step_handler("h")
        def h() -> Any:
            raise KeyError("missing")
    finally:
        HandlerRegistry._instance = before
    step = bench.run(one_step())["by_name"]["s"]
    assert (step["status"], len(step["history"]), step["error"]["error_type"]) == ("error", 1, "key_error")


def _loop() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (lambda: {"items": [1, float("nan")]}, "result.items[1]: nan"),
        (lambda: {"a": float("inf")}, "result.a: inf"),
        (lambda: {"tags": {1, 2}}, "result.tags: a value of type set"),
        (lambda: b"raw", "result: a value of type bytes"),
        (lambda: "\ud800", "lone surrogate"),
        (_loop, "contains itself"),
        (lambda: object(), "a value of type object"),
    ],
)
def test_what_json_cannot_hold_fails_the_step_for_good(bench: Bench, value: Any, place: str) -> None:
    function(bench, "h", lambda c: value())
    step = bench.run(one_step())["by_name"]["s"]
    assert (step["status"], len(step["history"])) == ("error", 1)
    assert step["error"]["error_type"] == "serialization_error"
    assert place in step["error"]["message"]


@pytest.mark.parametrize(
    "value",
    [None, "", "a\x00b", "x" * 10_000_000, [], {}, 0, -1.5, True, 2**63, 2**53 + 1, {"ä": "𝄞"}, [[[]]]],
    ids=lambda v: type(v).__name__,
)
def test_any_json_value_comes_back_as_it_was(bench: Bench, value: Any) -> None:
    function(bench, "h", lambda c: value)
    function(bench, "echo", lambda c: c.get_dependency_result("s"))
    task = bench.run(one_step() + "  - {name: e, handler: echo, depends_on: [s]}\n")
    assert task["status"] == "complete"
    # Who returns nothing has an empty mapping for a result.
    expected = {} if value is None else value
    assert task["by_name"]["s"]["result"] == expected
    assert task["by_name"]["e"]["result"] == expected


def test_models_and_mappings(bench: Bench) -> None:
    @dataclass
    class Point:
        x: int

    class Model(BaseModel):
        points: list[int]

    function(bench, "h", lambda c: {"p": Point(1), "m": Model(points=[1]), "t": (1, 2)})
    assert bench.run(one_step())["by_name"]["s"]["result"] == {"p": {"x": 1}, "m": {"points": [1]}, "t": [1, 2]}


def test_a_mapping_that_says_success_false_is_a_failure(bench: Bench) -> None:
    function(bench, "h", lambda c: {"success": False, "error": "no stock", "retryable": False, "error_code": "S1"})
    step = bench.run(one_step())["by_name"]["s"]
    assert (step["status"], step["error"]["message"], step["error"]["error_code"]) == ("error", "no stock", "S1")


@pytest.mark.parametrize(
    "error", [MemoryError("big"), RecursionError("deep"), SystemExit(3), Exception(), BaseException("odd")]
)
def test_whatever_a_handler_raises_fails_only_its_attempt(bench: Bench, error: BaseException) -> None:
    def body(context: StepContext) -> Any:
        raise error

    function(bench, "h", body)
    step = bench.run(one_step(retry="{max_attempts: 1}"))["by_name"]["s"]
    assert (step["status"], len(step["history"])) == ("error", 1)
    assert step["error"]["message"]


def test_an_unknown_handler_is_named_with_the_nearest(bench: Bench) -> None:
    function(bench, "shop.reserve", lambda c: None)
    function(bench, "shop.refund", lambda c: None)
    step = bench.run(one_step("shop.reserv"))["by_name"]["s"]
    assert step["status"] == "error"
    assert step["error"]["error_type"] == "handler_not_found"
    assert step["error"]["retryable"] is False
    assert "`shop.reserve`" in step["error"]["message"]
    assert step["history"][0]["worker_id"] in step["error"]["message"]


def test_a_callable_is_never_an_arbitrary_import(bench: Bench) -> None:
    step = bench.run(one_step("os.system"))["by_name"]["s"]
    assert step["error"]["error_type"] == "handler_not_found"


def test_a_checkpoint_is_stored_and_resumed(bench: Bench) -> None:
    calls: list[int] = []

    class Walk(StepHandler):
        def call(self, context: StepContext) -> Any:
            at = context.checkpoint_cursor or 0
            total = context.accumulated_results or 0
            calls.append(at)
            for item in range(at, min(at + 25, 100)):
                total += item + 1
            if at + 25 < 100:
                return self.checkpoint_yield(at + 25, at + 25, total)
            return {"processed": at + 25, "total": total}

    bench.registry.register("h", Walk)
    step = bench.run(one_step(retry="{max_attempts: 1}"))["by_name"]["s"]
    assert step["result"] == {"processed": 100, "total": 5050}
    assert calls == [0, 25, 50, 75]
    assert step["attempts"] == 1
    assert [a["outcome"] for a in step["history"]] == ["checkpointed"] * 3 + ["completed"]


def test_timeout_is_retryable_and_the_late_result_is_rejected(bench: Bench) -> None:
    late, sent = threading.Event(), threading.Event()

    def body(context: StepContext) -> Any:
        if context.retry_count == 0:
            while not context.cancelled:
                late.wait(0.005)
            return "too late"
        # Not before the late result is on its way, so that both are in the history when the task ends.
        assert sent.wait(20)
        return "in time"

    function(bench, "h", body)
    worker = bench.start(one_step(timeout_seconds=0.2, retry="{max_attempts: 3, backoff: none}"))
    worker.event_bridge.subscribe(EventNames.STEP_COMPLETION_SENT, lambda result: sent.set())
    task = bench.task()
    assert task["by_name"]["s"]["result"] == "in time"
    history = bench.client.list_task_steps(task["task_uuid"])[0]["history"]
    assert history[0]["outcome"] == "timed_out"
    assert history[0]["error"]["error_type"] == "timeout"
    rejected = [a for a in history if a["outcome"] == "rejected"]
    assert [a["rejected_result"] for a in rejected] == ["too late"]


def test_an_async_handler_whose_attempt_was_cut_short_is_cancelled(bench: Bench) -> None:
    ended = threading.Event()

    class Wait(StepHandler):
        async def call(self, context: StepContext) -> Any:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ended.set()
                raise

    bench.registry.register("h", Wait)
    task = bench.run(one_step(timeout_seconds=0.1, retry="{max_attempts: 1}"))
    assert task["by_name"]["s"]["error"]["error_type"] == "timeout"
    assert ended.wait(20)


def test_a_hung_handler_does_not_keep_its_slot(bench: Bench) -> None:
    hung, go = threading.Event(), threading.Event()

    def body(context: StepContext) -> Any:
        if context.retry_count == 0:
            hung.set()
            go.wait(60)
        return context.retry_count

    function(bench, "h", body)
    task = bench.run(one_step(timeout_seconds=0.1, retry="{max_attempts: 2, backoff: none}"), max_concurrent_handlers=1)
    assert hung.is_set() and task["by_name"]["s"]["result"] == 1
    go.set()


def test_threads_follow_the_work(bench: Bench) -> None:
    # Quick handlers need few threads however many slots there are.
    function(bench, "h", lambda c: 1)
    worker = bench.start(one_step(), max_concurrent_handlers=100)
    created = bench.client.create_tasks([{"name": "t"}] * 300)
    for task in created:
        bench.client.wait(task["task_uuid"], 30)
    assert worker.poller.get_metrics()["threads"] < 20
    # Handlers that wait for each other need as many as there are slots.
    together = threading.Barrier(100, timeout=30)
    function(bench, "h", lambda c: together.wait() >= 0)
    for task in bench.client.create_tasks([{"name": "t"}] * 100):
        assert bench.client.wait(task["task_uuid"], 30)["status"] == "complete"


def test_the_bridge_of_the_process_hears_every_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = EventBridge()
    monkeypatch.setattr(EventBridge, "_instance", everyone)
    heard: list[Any] = []
    everyone.subscribe(EventNames.STEP_COMPLETION_SENT, heard.append)
    everyone.subscribe(EventNames.HANDLER_ERROR, lambda event, error: heard.append((event.step_name, str(error))))
    everyone.subscribe(EventNames.HANDLER_REGISTERED, heard.append)
    everyone.start()

    def body(context: StepContext) -> Any:
        raise PermanentError("no")

    function(bench, "h", body)
    bench.start(one_step())
    bench.start(one_step())
    bench.task()
    everyone.stop()
    assert heard[0] == "h"
    assert [h.success for h in heard if isinstance(h, ExecutionResult)] == [False]
    assert ("s", "no") in heard


def test_a_handler_may_return_an_awaitable(bench: Bench) -> None:
    async def later() -> Any:
        return 5

    function(bench, "h", lambda c: later())
    assert bench.run(one_step())["by_name"]["s"]["result"] == 5


def test_cancelling_a_task_tells_its_handler(bench: Bench) -> None:
    running, ended = threading.Event(), threading.Event()

    def body(context: StepContext) -> Any:
        running.set()
        while not context.cancelled:
            ended.wait(0.005)
        ended.set()

    function(bench, "h", body)
    bench.start(one_step())
    uuid = bench.client.create_task("t", "default")["task_uuid"]
    assert running.wait(20)
    task = bench.client.cancel_task(uuid, "changed my mind")
    assert task["status"] == "cancelled"
    assert ended.wait(20)
    assert [a["action"] for a in bench.client.get_audit(uuid)] == ["cancel"]


def test_a_failed_step_can_be_retried_by_an_operator(bench: Bench) -> None:
    broken = [True]

    def body(context: StepContext) -> Any:
        if broken[0]:
            raise PermanentError("broken")
        return "fixed"

    function(bench, "h", body)
    task = bench.run(one_step())
    assert task["status"] == "blocked_by_failures"
    broken[0] = False
    bench.client.act(task["task_uuid"], "retry_failed", reason="fixed it")
    assert bench.client.wait(task["task_uuid"], 20)["status"] == "complete"


def test_a_context_that_violates_the_schema_is_refused_with_every_violation(bench: Bench) -> None:
    template = one_step() + "input_schema:\n  required: [a]\n  properties: {a: {type: integer}, b: {type: string}}\n"
    function(bench, "h", lambda c: None)
    bench.start(template)
    with pytest.raises(ClientError) as refused:
        bench.client.create_task("t", "default", {"b": 1})
    assert refused.value.code == "context_violates_schema"
    assert [v["pointer"] for v in refused.value.details] == ["", "/b"] or len(refused.value.details) == 2
    assert bench.client.list_tasks()["total"] == 0


def test_one_bad_request_in_a_bulk_stops_no_other(bench: Bench) -> None:
    function(bench, "h", lambda c: 1)
    bench.start(one_step())
    answers = bench.client.try_create_tasks(
        [{"name": "t"}, {"name": "nope"}, {"name": "t", "priority": 900}, {"name": "t", "kontext": {}}, {"name": "t"}]
    )
    assert ["task" in a for a in answers] == [True, False, False, False, True]
    assert [a["error"]["code"] for a in answers if "error" in a] == [
        "template_not_found",
        "invalid_request",
        "invalid_request",
    ]


def test_validation_error_carries_its_standard_type(bench: Bench) -> None:
    def body(context: StepContext) -> Any:
        raise ValidationError("n must be even", error_code="ODD")

    function(bench, "h", body)
    error = bench.run(one_step())["by_name"]["s"]["error"]
    assert (error["error_type"], error["error_code"], error["retryable"]) == ("validation_error", "ODD", False)


def test_client_reads(bench: Bench) -> None:
    function(bench, "h", lambda c: 1)
    task = bench.run(one_step())
    uuid = task["task_uuid"]
    assert bench.client.get_task(uuid)["status"] == "complete"
    assert bench.client.list_tasks(status="complete")["total"] == 1
    assert bench.client.list_tasks(status="error")["total"] == 0
    step = bench.client.get_step(uuid, "s")
    assert bench.client.get_step(uuid, step["step_uuid"])["name"] == "s"
    assert bench.client.get_step_audit_history(uuid, "s")[0]["outcome"] == "completed"
    assert bench.client.health_check()["status"] == "healthy"
    with pytest.raises(ClientError) as unknown:
        bench.client.get_task("019346cf-0000-7000-8000-000000000000")
    assert unknown.value.code == "task_not_found"
    with pytest.raises(ClientError) as bad:
        bench.client.list_tasks(status="finished")
    assert "blocked_by_failures" in str(bad.value)
