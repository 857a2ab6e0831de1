"""The machine lets the store down: the disk is full, the process is killed in a commit."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tasker_core import TaskerClient

PREPARE = """
import os, resource, sys, threading
from tasker_core import ClientError, HandlerRegistry, StepHandler, TaskerClient, Worker
class H(StepHandler):
    handler_name = "h"
    def call(self, context):
        started.set()
        if context.get_input("wait"):
            assert go.wait(60)
        return context.get_input("n")
started, go = threading.Event(), threading.Event()
registry = HandlerRegistry()
registry.register(H)
TEMPLATE = "name: t\\nsteps:\\n  - {name: one, handler: h}\\n  - {name: two, handler: h, depends_on: [one]}\\n"
worker = Worker.start(url="sqlite://t.db", templates=[TEMPLATE], registry=registry)
client = TaskerClient(worker.url)
"""


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE + textwrap.dedent(code)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_full_disk_refuses_loses_nothing_and_is_left_behind(tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: the same failing write, and it can be lifted.
    process = start(
        """
        held = client.create_task("t", "default", {"n": 0, "wait": True})["task_uuid"]
        assert started.wait(20)
        size = max(os.path.getsize(f) for f in os.listdir(".") if f.startswith("t.db") and os.path.isfile(f))
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 2_000_000, unlimited[1]))
        accepted, refused = [], None
        for n in range(1, 3000):
            try:
                accepted.append((n, client.create_tasks([{"name": "t", "context": {"n": n, "pad": "x" * 2000}}])[0]))
            except ClientError as error:
                refused = error
                break
        assert refused is not None, "the disk never filled"
        print(refused.code, bool(refused.hint), len(accepted) > 10)
        # A handler ends while nothing can be written: its report has to wait.
        go.set()
        try:
            client.wait(held, 0.5)
            print("ended")
        except TimeoutError:
            print("waits")
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        print(client.wait(held, 30)["status"], client.get_step(held, "one")["result"])
        later = client.create_task("t", "default", {"n": 9999})["task_uuid"]
        accepted.append((9999, {"task_uuid": later}))
        for n, task in accepted:
            assert client.wait(task["task_uuid"], 30)["status"] == "complete"
            assert client.get_step(task["task_uuid"], "two")["result"] == n
        print(client.list_tasks()["total"] == len(accepted) + 1, client.doctor()["healthy"])
        """,
        tmp_path,
    )
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert out.splitlines() == ["store_io True True", "waits", "complete 0", "True True"]
    assert "cannot commit" in err


@pytest.mark.parametrize("acknowledged", [1, 7, 40, 90, 150])
def test_a_process_killed_in_a_commit_loses_nothing_it_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    process = start(
        """
        while True:
            for task in client.create_tasks([{"name": "t", "context": {"n": 1}}] * 3):
                print(task["task_uuid"], flush=True)
        """,
        tmp_path,
    )
    assert process.stdout is not None and process.stderr is not None
    seen = [process.stdout.readline().strip() for _ in range(acknowledged)]
    # It is always in a commit, or a moment before or after one.
    process.send_signal(signal.SIGKILL)
    seen += [line.strip() for line in process.stdout.read().splitlines() if len(line.strip()) == 36]
    process.wait()
    process.stderr.close()
    process.stdout.close()
    with TaskerClient(f"sqlite://{tmp_path}/t.db") as client:
        assert len(seen) >= acknowledged
        for uuid in seen:
            assert client.get_task(uuid)["task_uuid"] == uuid
        assert [f for f in client.doctor()["findings"] if f["violations"]] == []
