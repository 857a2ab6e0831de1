"""The harness users test their workflows with."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tasker_core.errors import PermanentError
from tasker_core.step_handler import StepHandler
from tasker_core.testing import Harness

TEMPLATE = """
name: shop
namespace_name: sales
steps:
  - {name: first, handler: First, retry: {max_attempts: 5, backoff_base_ms: 600000, max_backoff_ms: 3600000}}
  - {name: second, handler: second, depends_on: [first], publishes_events: [{name: shop.sold}]}
"""


class First(StepHandler):
    def call(self, context: Any) -> Any:
        return context.get_input("n") * 2


def second(context: Any) -> Any:
    return context.get_dependency_result("first") + 1


def harness() -> Harness:
    return Harness(TEMPLATE, {"First": First, "second": second})


def test_a_task_runs_to_its_end() -> None:
    with harness() as shop:
        task = shop.run("shop", {"n": 4}).assert_complete()
        assert (task.result("first"), task.result("second")) == (8, 9)
        assert [e["event_name"] for e in shop.events()] == ["shop.sold"]
        with pytest.raises(KeyError, match="there are first, second"):
            task.step("third")


def test_hours_of_retries_take_no_time() -> None:
    with harness() as shop:
        shop.fail("first", times=3)
        started = time.monotonic()
        task = shop.run("shop", {"n": 1})
        # Ten, twenty and forty minutes by the clock of the store.
        assert time.monotonic() - started < 60
        assert task.step("first").outcomes == ["failed", "failed", "failed", "completed"]
        assert task.step("first").attempts == 4
        assert task.status == "complete"


def test_an_injected_permanent_error_blocks_the_task() -> None:
    with harness() as shop:
        shop.fail("second", error=PermanentError("no", error_code="E1"))
        task = shop.run("shop", {"n": 1})
        assert task.status == "blocked_by_failures"
        error = task.step("second").error
        assert error is not None and error["error_code"] == "E1"
        with pytest.raises(AssertionError, match="second: no"):
            task.assert_complete()


def test_a_delayed_task_starts_at_once() -> None:
    with harness() as shop:
        assert shop.run("shop", {"n": 1}, run_at="2100-01-01T00:00:00Z").status == "complete"


def test_two_harnesses_do_not_meet() -> None:
    with harness() as one, harness() as other:
        one.run("shop", {"n": 1})
        assert other.client.list_tasks()["total"] == 0
