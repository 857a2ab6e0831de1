"""Runs the whole workflow on a store of its own. Start with: python -m pytest"""

from pathlib import Path

import pytest
from tasker_core import TaskerClient, Worker

PROJECT = Path(__file__).resolve().parent.parent
TEA = {"sku": "TEA-1", "quantity": 2, "price": 4.5}


@pytest.fixture
def client(tmp_path):
    url = f"sqlite://{tmp_path}/test.db"
    worker = Worker.start([str(PROJECT / "handlers")], url=url, templates=[PROJECT / "workflows"])
    with worker, TaskerClient(url) as client:
        yield client


def run(client, customer, items):
    task = client.create_task("order", "shop", {"customer": customer, "items": items})
    task = client.wait(task["task_uuid"], timeout=30)
    return task["status"], {step["name"]: step for step in client.list_task_steps(task["task_uuid"])}


def test_an_order_is_charged_and_confirmed(client):
    status, steps = run(client, "Ann", [TEA])
    assert status == "complete"
    assert steps["charge_customer"]["result"]["amount"] == 9.0
    assert steps["send_receipt"]["result"]["to"] == "Ann"


def test_a_bank_that_does_not_answer_is_asked_again(client):
    status, steps = run(client, "flaky", [TEA])
    assert status == "complete"
    assert [a["outcome"] for a in steps["charge_customer"]["history"]] == ["failed", "completed"]


def test_goods_out_of_stock_stop_the_order(client):
    status, steps = run(client, "Ann", [{"sku": "CUP-3", "quantity": 1, "price": 7}])
    assert status == "blocked_by_failures"
    assert steps["reserve_goods"]["error"]["error_code"] == "OUT_OF_STOCK"
    assert steps["send_receipt"]["status"] == "pending"
