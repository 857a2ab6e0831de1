"""Decisions and batches, by class and by function; the CSV example over files of three sizes."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tasker_core import HandlerRegistry, TaskerClient, Worker
from tasker_core.batch_processing import (
    BatchAggregationScenario,
    BatchWorkerOutcome,
    CursorConfig,
    FailureStrategy,
    RustBatchWorkerInputs,
    aggregate_batch_results,
    create_batches,
    cursor_ranges,
    even_ranges,
    no_batches,
)
from tasker_core.step_handler.batchable import Batchable
from tasker_core.step_handler.decision import DecisionHandler, DecisionPointOutcome
from tasker_core.step_handler.functional import (
    BatchConfig,
    Decision,
    batch_analyzer,
    batch_worker,
    decision_handler,
    depends_on,
)
from tasker_core.testing import Harness

CSV = Path(__file__).resolve().parents[3] / "examples" / "csv_batch"


class Plain(Batchable, DecisionHandler):
    def call(self, context: Any) -> Any: ...


def bounds(cursors: list[CursorConfig]) -> list[tuple[int, int]]:
    return [(c.start_cursor, c.end_cursor) for c in cursors]


@pytest.mark.parametrize("total", [0, 1, 2, 7, 99, 100, 101, 1000])
@pytest.mark.parametrize("size", [1, 3, 100, 5000])
@pytest.mark.parametrize("most", [None, 1, 2, 7])
def test_ranges_cover_every_item_once(total: int, size: int, most: int | None) -> None:
    for cursors in (cursor_ranges(total, size, max_batches=most), even_ranges(total, size)):
        items = [item for start, end in bounds(cursors) for item in range(start, end)]
        assert items == list(range(total))
        assert all(end > start for start, end in bounds(cursors))
        assert [c.batch_id for c in cursors] == [f"{n:03}" for n in range(1, len(cursors) + 1)]
    by_size = [end - start for start, end in bounds(cursor_ranges(total, size))]
    assert all(n == size for n in by_size[:-1]) and all(n <= size for n in by_size)
    assert most is None or len(cursor_ranges(total, size, max_batches=most)) <= most
    even = [end - start for start, end in bounds(even_ranges(total, size))]
    assert not even or max(even) - min(even) <= 1


def test_sizes_that_make_no_sense_are_refused() -> None:
    for wrong in (lambda: cursor_ranges(-1, 1), lambda: cursor_ranges(1, 0), lambda: even_ranges(1, 0)):
        with pytest.raises(ValueError, match="or more"):
            wrong()


def test_outcomes_as_the_core_reads_them() -> None:
    assert no_batches().to_dict() == {"type": "no_batches"}
    cursor = {"batch_id": "001", "start_cursor": 0, "end_cursor": 2, "batch_size": 2}
    assert create_batches("work", cursor_ranges(2, 2), 2).to_dict() == {
        "type": "create_batches",
        "worker_template_name": "work",
        "worker_count": 1,
        "cursor_configs": [cursor],
        "total_items": 2,
    }
    plain = Plain()
    analyzed = plain.batch_analyzer_success(plain.create_batch_outcome(2, cursor_ranges(2, 2), {"file": "x"}))
    assert analyzed.result["file"] == "x"
    assert "worker_template_name" not in analyzed.result["batch_processing_outcome"]
    nothing = plain.batch_analyzer_success(plain.create_batch_outcome_from_ranges(0, 5), "work")
    assert nothing.result == {"batch_processing_outcome": {"type": "no_batches"}, "reason": "empty_dataset"}
    assert plain.no_batches_outcome("empty").result["reason"] == "empty"


def test_worker_outcomes_keep_explicit_zeros() -> None:
    plain = Plain()
    assert plain.create_worker_outcome(10, items_failed=3).to_dict() == {
        "items_processed": 10,
        "items_succeeded": 7,
        "items_failed": 3,
        "items_skipped": 0,
        "last_cursor": None,
        "batch_metadata": {},
    }
    assert BatchWorkerOutcome(10, items_succeeded=0).to_dict()["items_succeeded"] == 0
    partly = plain.batch_worker_partial_failure(plain.create_worker_outcome(1, errors=["x"]))
    assert (partly.is_success, partly.result["errors"], partly.metadata) == (
        True,
        ["x"],
        {"partial_failure": True, "had_failures": True, "batch_worker": True},
    )


def test_aggregation() -> None:
    results = {
        "w_001": {"items_processed": 4, "items_succeeded": 3, "items_failed": 1, "results": [1], "errors": ["e"]},
        "w_002": {"items_processed": 4, "items_succeeded": 0, "items_skipped": 4},
    }
    summed = aggregate_batch_results(results)
    assert summed.to_dict() == {
        "worker_count": 2,
        "total_processed": 8,
        "total_succeeded": 3,
        "total_failed": 1,
        "total_skipped": 4,
        "results": [1],
        "errors": ["e"],
        "success_rate": 0.375,
        "batch_count": 2,
        "error_count": 1,
    }
    assert aggregate_batch_results([]).success_rate == 0.0
    found = BatchAggregationScenario.detect({"cut": {"x": 1}, "other": 1, **results}, "cut", "w_")
    assert (found.is_no_batches, found.worker_count, list(found.batch_results)) == (False, 2, ["w_001", "w_002"])
    empty = {"cut": {"batch_processing_outcome": {"type": "no_batches"}}, "w_001": {"no_op": True}}
    assert BatchAggregationScenario.detect(empty, "cut", "w_").is_no_batches
    placeholder = BatchAggregationScenario.detect({"cut": {}, "w_001": {"no_op": True}}, "cut", "w_")
    assert (placeholder.is_no_batches, placeholder.worker_count) == (True, 0)
    plain = Plain()
    assert plain.aggregate_batch_worker_results(found).result["total_processed"] == 8
    assert plain.aggregate_batch_worker_results(found, None, len).result["result"] == 2
    nothing = plain.aggregate_batch_worker_results(placeholder, {"total": 0}).result
    assert nothing == {"worker_count": 0, "scenario": "no_batches", "total": 0}


def test_inputs_of_a_worker() -> None:
    inputs = RustBatchWorkerInputs.from_dict(
        {"cursor": "2026", "batch_metadata": {"failure_strategy": "isolate", "batch_size": 5}, "is_no_op": False}
    )
    assert inputs.batch_metadata.failure_strategy is FailureStrategy.ISOLATE
    assert inputs.cursor_config.start_cursor == "2026"


def test_decisions_as_the_core_reads_them() -> None:
    plain = Plain()
    assert plain.decision_success("a", {"why": 1}).result == {
        "decision_point_outcome": {"type": "create_steps", "step_names": ["a"]},
        "routing_context": {"why": 1},
    }
    assert plain.route_to_steps(["a", "b"]).result["decision_point_outcome"]["step_names"] == ["a", "b"]
    assert plain.decision_no_branches().result == {"decision_point_outcome": {"type": "no_branches"}}
    assert plain.skip_branches("closed").result["reason"] == "closed"
    failure = plain.decision_failure("cannot tell")
    assert (failure.is_success, failure.error_type, failure.retryable) == (False, "decision_error", False)
    for wrong in ([], [""], [1]):
        with pytest.raises(ValueError, match="no_branches"):
            DecisionPointOutcome.create_steps(wrong)


FLOW = """
name: flow
steps:
  - {name: start, handler: start}
  - {name: route, type: decision, handler: route, depends_on: [start]}
  - {name: cut, type: batchable, handler: cut, depends_on: [route], batch_config: {worker_template: work}}
  - {name: work, type: batch_worker, handler: work, depends_on: [cut]}
  - {name: single, handler: single, depends_on: [route]}
  - {name: end, type: deferred_convergence, handler: end, depends_on: [work, single]}
"""


def test_functions_of_every_kind_in_one_workflow() -> None:
    @decision_handler("route")
    @depends_on(start="start")
    def route(start: Any) -> Any:
        return Decision.route(["cut"], items=start) if start else Decision.skip("nothing there")

    @batch_analyzer("cut")
    @depends_on(start="start")
    def cut(start: Any) -> Any:
        return BatchConfig(start, 4)

    @batch_worker("work")
    def work(batch_context: Any, context: Any) -> Any:
        assert batch_context.total_batches == 3
        cursor = batch_context.checkpoint_cursor or batch_context.start_cursor
        if cursor == batch_context.start_cursor:
            return Plain().checkpoint_yield(cursor + 1, 1, {"sum": cursor})
        rest = sum(range(cursor, batch_context.end_cursor))
        count = batch_context.end_cursor - batch_context.start_cursor
        return BatchWorkerOutcome(count, results=[batch_context.accumulated_results["sum"] + rest])

    def end(context: Any) -> Any:
        scenario = BatchAggregationScenario.detect(context.dependency_results, "cut", "work_")
        return aggregate_batch_results(scenario.batch_results).to_dict()

    handlers = {
        "route": route,
        "cut": cut,
        "work": work,
        "start": lambda context: context.get_input("n"),
        "single": lambda context: 1,
        "end": end,
    }
    with Harness(FLOW, handlers) as flow:
        task = flow.run("flow", {"n": 10}).assert_complete()
        assert (sum(task.result("end")["results"]), task.result("end")["total_processed"]) == (45, 10)
        assert task.result("route")["routing_context"] == {"items": 10}
        assert task.step("work_002").outcomes == ["checkpointed", "completed"]
        skipped = flow.run("flow", {"n": 0}).assert_complete()
        assert (sorted(skipped.steps), skipped.result("route")["reason"]) == (["route", "start"], "nothing there")


@pytest.mark.parametrize(("rows", "batch_size", "workers"), [(1_000, 200, 5), (0, 200, 0), (1_000_000, 20_000, 50)])
def test_the_csv_example_adds_up_as_a_plain_loop_does(tmp_path: Path, rows: int, batch_size: int, workers: int) -> None:
    generate = runpy.run_path(str(CSV / "generate.py"))["rows"]
    file = tmp_path / "products.csv"
    file.write_text("".join(f"{row}\n" for row in generate(rows)))
    stock, value, categories = 0, 0, Counter[str]()
    for row in list(generate(rows))[1:]:
        _, category, price, count = row.split(",")
        stock, value = stock + int(count), value + int(count) * int(price)
        categories[category] += 1
    url = f"sqlite://{tmp_path}/t.db"
    registry = HandlerRegistry()
    templates = [CSV / "workflows"]
    with Worker.start([str(CSV / "handlers")], url=url, templates=templates, registry=registry) as worker:
        client = worker.client()
        created = client.create_task("csv_batch", "reports", {"file": str(file), "batch_size": batch_size})
        task = client.wait(created["task_uuid"], 300)
        assert task["status"] == "complete"
        result = client.get_step(task["task_uuid"], "aggregate")["result"]
    assert (result["worker_count"], result["total_processed"]) == (workers, rows)
    assert (result["stock"], result["value"], result["categories"]) == (stock, value, dict(categories))
    with TaskerClient(url) as client:
        assert client.doctor()["healthy"]
        assert len(client.list_task_steps(task["task_uuid"])) == 2 + max(workers, 1)
