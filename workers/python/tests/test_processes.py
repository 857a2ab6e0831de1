"""Real worker processes: killed, stopped, forked, left running at exit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tasker_core import TaskerClient

HANDLERS = """
import os, pathlib, signal, time
from tasker_core import StepHandler

class Mark(StepHandler):
    '''Says that it started, then works until it is told to go on.'''
    handler_name = "mark"
    def call(self, context):
        folder = pathlib.Path(context.get_input("folder"))
        name = f"{context.step_name}-{context.get_input('n')}"
        with open(folder / "started", "a") as file:
            file.write(f"{name} {os.getpid()}\\n")
        time.sleep(context.get_input("work_seconds") or 0)
        while context.get_input("wait") and not (folder / "go").exists() and not context.cancelled:
            time.sleep(0.002)
        return {"n": context.get_input("n"), "step": context.step_name}

class Items(StepHandler):
    '''A hundred items, 25 to a checkpoint; its process is killed when it comes back for the third part.'''
    handler_name = "items"
    def call(self, context):
        folder = pathlib.Path(context.get_input("folder"))
        start = context.checkpoint_cursor or 0
        if start == 50 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if start == 100:
            return {"total": context.accumulated_results["total"], "processed": context.checkpoint_items_processed}
        with open(folder / "items", "a") as file:
            file.writelines(f"{item}\\n" for item in range(start, start + 25))
        total = (context.accumulated_results or {"total": 0})["total"] + sum(range(start + 1, start + 26))
        return self.checkpoint_yield(start + 25, start + 25, {"total": total})
"""

TEMPLATE = """
name: marks
namespace_name: marks
steps:
  - {name: one, handler: mark}
  - {name: two, handler: mark, depends_on: [one]}
"""


class Fleet:
    """A folder with a store, and worker processes on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "handlers").mkdir()
        (folder / "handlers" / "marks.py").write_text(HANDLERS)
        (folder / "workflows").mkdir()
        (folder / "workflows" / "marks.yaml").write_text(TEMPLATE)
        self.url = f"sqlite://{folder}/t.db"
        self.workers: list[subprocess.Popen[str]] = []
        self.client = TaskerClient(self.url)

    def worker(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tasker_core", "worker", "--url", self.url]
        command += ["--templates", str(self.folder / "workflows"), "--handlers", str(self.folder / "handlers")]
        process = subprocess.Popen(
            [*command, *arguments], stderr=subprocess.PIPE, text=True, env={**os.environ, "TASKER_ENV": "test"}
        )
        self.workers.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if "worker ready" in line:
                return process
        raise AssertionError("the worker did not start")

    def create(self, count: int, wait: bool, work_seconds: float = 0) -> list[str]:
        shared = {"folder": str(self.folder), "wait": wait, "work_seconds": work_seconds}
        requests = [{"name": "marks", "namespace": "marks", "context": {**shared, "n": n}} for n in range(count)]
        return [t["task_uuid"] for t in self.client.create_tasks(requests)]

    def wait_for_start(self, count: int) -> list[str]:
        """Waits until that many steps have said that they started; gives what they said."""
        import time

        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                lines = (self.folder / "started").read_text().splitlines()
            except FileNotFoundError:
                lines = []
            if len(lines) >= count:
                return lines
            time.sleep(0.005)
        raise AssertionError(f"{count} steps did not start")

    def go(self) -> None:
        (self.folder / "go").touch()

    def close(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
        self.client.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.close()


def test_a_killed_process_goes_on_from_its_checkpoint_and_does_each_item_once(fleet: Fleet) -> None:
    (fleet.folder / "workflows" / "items.yaml").write_text(
        "name: items\nnamespace_name: marks\nsteps: [{name: walk, handler: items}]\n"
    )
    fleet.worker()
    fleet.worker()
    created = fleet.client.create_task("items", "marks", {"folder": str(fleet.folder)})
    task = fleet.client.wait(created["task_uuid"], 60)
    assert task["status"] == "complete"
    step = fleet.client.get_step(task["task_uuid"], "walk")
    assert step["result"] == {"total": 5050, "processed": 100}
    assert (fleet.folder / "items").read_text().split() == [str(n) for n in range(100)]
    outcomes = [a["outcome"] for a in step["history"]]
    assert outcomes == ["checkpointed"] * 2 + ["lease_expired"] + ["checkpointed"] * 2 + ["completed"]
    # What went on after a death shows that the step was not to blame for it.
    assert (step["crashes"], doctor(fleet.client)) == (0, [])
    assert [w.poll() for w in fleet.workers].count(-signal.SIGKILL) == 1


def doctor(client: TaskerClient) -> list[Any]:
    return [f for f in client.doctor()["findings"] if f["violations"]]


def test_a_killed_workers_step_is_run_by_another(fleet: Fleet) -> None:
    first = fleet.worker("--lease-ms", "1000")
    (uuid,) = fleet.create(1, wait=True)
    fleet.wait_for_start(1)
    first.kill()
    first.wait()
    fleet.go()
    fleet.worker("--lease-ms", "1000")
    assert fleet.client.wait(uuid, 30)["status"] == "complete"
    one = fleet.client.get_step(uuid, "one")
    assert [a["outcome"] for a in one["history"]] == ["lease_expired", "completed"]
    assert (one["attempts"], one["crashes"]) == (2, 1)
    assert len({a["worker_id"] for a in one["history"]}) == 2
    assert doctor(fleet.client) == []


def test_a_frozen_worker_loses_its_lease_and_its_late_result(fleet: Fleet) -> None:
    first = fleet.worker("--lease-ms", "300")
    (uuid,) = fleet.create(1, wait=True)
    fleet.wait_for_start(1)
    first.send_signal(signal.SIGSTOP)
    fleet.go()
    fleet.worker("--lease-ms", "300")
    assert fleet.client.wait(uuid, 30)["status"] == "complete"
    first.send_signal(signal.SIGCONT)
    # The late report arrives when the process goes on; a drain makes sure that it has.
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    one = fleet.client.get_step(uuid, "one")
    outcomes = sorted(a["outcome"] for a in one["history"])
    assert outcomes in (["completed", "lease_expired", "rejected"], ["completed", "lease_expired"])
    assert [a["outcome"] for a in one["history"]].count("completed") == 1
    assert doctor(fleet.client) == []


def test_ten_kills_over_two_hundred_tasks_lose_and_repeat_nothing(fleet: Fleet) -> None:
    worker = fleet.worker("--lease-ms", "1000")
    uuids = fleet.create(200, wait=False, work_seconds=0.02)
    kills = 0
    for kill in range(10):
        # In mid-step: more steps have said that they started than at the last kill.
        fleet.wait_for_start(25 * (kill + 1))
        worker.kill()
        worker.wait()
        kills += 1
        worker = fleet.worker("--lease-ms", "1000")
    for uuid in uuids:
        assert fleet.client.wait(uuid, 60)["status"] == "complete"
    for number, uuid in enumerate(uuids):
        for step in fleet.client.list_task_steps(uuid):
            accepted = [a for a in step["history"] if a["outcome"] == "completed"]
            assert len(accepted) == 1
            assert step["result"] == {"n": number, "step": step["name"]}
    assert kills == 10
    assert doctor(fleet.client) == []


def test_sigterm_lets_running_handlers_finish(fleet: Fleet) -> None:
    worker = fleet.worker()
    (uuid,) = fleet.create(1, wait=True)
    fleet.wait_for_start(1)
    worker.send_signal(signal.SIGTERM)
    fleet.go()
    assert worker.wait(30) == 0
    one = fleet.client.get_step(uuid, "one")
    assert [a["outcome"] for a in one["history"]] == ["completed"]
    assert fleet.client.get_step(uuid, "two")["status"] == "enqueued"
    assert doctor(fleet.client) == []


def test_a_second_signal_ends_at_once(fleet: Fleet) -> None:
    worker = fleet.worker()
    (uuid,) = fleet.create(1, wait=True)
    fleet.wait_for_start(1)
    worker.send_signal(signal.SIGINT)
    # It drains; only the second signal ends it while the handler runs.
    assert worker.stderr is not None
    assert "a second signal ends at once" in worker.stderr.readline()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 128 + signal.SIGTERM
    fleet.go()
    fleet.worker()
    assert fleet.client.wait(uuid, 30)["status"] == "complete"
    # Handed back by the worker, not lost with it: not counted as an attempt.
    assert fleet.client.get_step(uuid, "one")["crashes"] == 0


def test_a_handler_that_exits_fails_its_step_for_good_and_its_worker_goes_on(fleet: Fleet) -> None:
    (fleet.folder / "handlers" / "marks.py").write_text(
        HANDLERS.replace("name = f", "raise SystemExit(3)\n        name = f")
    )
    worker = fleet.worker()
    (uuid,) = fleet.create(1, wait=False)
    assert fleet.client.wait(uuid, 30)["status"] == "blocked_by_failures"
    (attempt,) = fleet.client.get_step(uuid, "one")["history"]
    assert (attempt["outcome"], attempt["error"]["retryable"]) == ("failed", False)
    assert "SystemExit(3)" in attempt["error"]["message"]
    assert worker.poll() is None
    assert doctor(fleet.client) == []


def test_two_processes_share_one_store(fleet: Fleet) -> None:
    fleet.worker("--slots", "2")
    fleet.worker("--slots", "2")
    uuids = fleet.create(4, wait=True)
    started = fleet.wait_for_start(4)
    assert len({line.split()[1] for line in started}) == 2, "both processes took steps"
    fleet.go()
    for uuid in uuids:
        assert fleet.client.wait(uuid, 30)["status"] == "complete"
    assert doctor(fleet.client) == []


def python(code: str, *arguments: str, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore:.*fork:DeprecationWarning", "-c", textwrap.dedent(code), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


START = """
from tasker_core import HandlerRegistry, StepHandler, TaskerClient, Worker
import os, sys, threading
class H(StepHandler):
    handler_name = "h"
    def call(self, context):
        return context.get_input("n")
registry = HandlerRegistry()
registry.register(H)
TEMPLATE = "name: t\\nsteps:\\n  - {name: s, handler: h}\\n"
def start(url="sqlite://t.db"):
    return Worker.start(url=url, templates=[TEMPLATE], registry=registry)
"""


def test_importing_prints_nothing_and_loads_little(tmp_path: Path) -> None:
    done = python("import tasker_core, sys; assert 'pydantic' not in sys.modules", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_log_lines_without_fields_are_written_as_they_are(tmp_path: Path) -> None:
    code = (
        START
        + "from tasker_core import log_warn\nw = start()\nlog_warn('plain')\nlog_warn('rich', {'n': 1})\nw.stop()\n"
    )
    plain, rich = python(code, cwd=tmp_path).stderr.splitlines()
    assert plain.partition("WARN")[2].strip() == "plain"
    assert "rich" in rich and '"n":1' in rich.replace("\\", "").replace(" ", "")


def test_exit_with_a_running_worker_is_clean(tmp_path: Path) -> None:
    done = python(START + "w = start()\nTaskerClient(w.url).create_task('t', 'default', {'n': 1})\n", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_starting_and_stopping_many_times_grows_no_threads(tmp_path: Path) -> None:
    done = python(
        START
        + """
def threads():
    return len(os.listdir("/proc/self/task"))
for i in range(50):
    w = start()
    w.stop()
    w.stop()
    if i == 4:
        before = threads()
print(before, threads())
""",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert after <= before


PREFORK = (
    START
    + """
url = sys.argv[1]
Worker.start(url=url, templates=[TEMPLATE], registry=registry).stop()
client = TaskerClient(url=url)
client.create_task("t", "default", {"n": 1})
pid = os.fork()
if pid == 0:
    client.create_task("t", "default", {"n": 2})
    TaskerClient(url=url).create_task("t", "default", {"n": 3})
    print(client.list_tasks().pagination.total_count, file=sys.stderr, flush=True)
    os._exit(0)
_, status = os.waitpid(pid, 0)
client.create_task("t", "default", {"n": 4})
print(os.waitstatus_to_exitcode(status), client.list_tasks().pagination.total_count)
"""
)


@pytest.fixture(params=["sqlite", "postgres", "tasker"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store of its own, of every kind."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/t.db"
    elif request.param == "postgres":
        server = os.environ.get("TASKER_TEST_POSTGRES")
        if not server:
            pytest.skip("name a PostgreSQL server with TASKER_TEST_POSTGRES")
        yield f"{server}?schema=fork_{os.getpid()}"
    else:
        command = [os.environ["TASKER_BIN"]]
        command += ["serve", "--url", f"sqlite://{tmp_path}/t.db", "--listen", "127.0.0.1:0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server_process:
            assert server_process.stdout is not None
            yield json.loads(server_process.stdout.readline())["url"]
            server_process.terminate()


def test_a_client_that_was_used_before_a_fork_goes_on_in_both_processes(served: str, tmp_path: Path) -> None:
    done = python(PREFORK, served, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 4\n", "3\n")


def test_ctrl_c_is_heard_while_a_client_waits_for_a_server(tmp_path: Path) -> None:
    done = python(
        """
import os, signal, socket, threading
from tasker_core import TaskerClient
signal.signal(signal.SIGINT, signal.default_int_handler)
mute = socket.create_server(("127.0.0.1", 0))
heard = []
def interrupt():
    heard.append(mute.accept())
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
try:
    TaskerClient(url=f"tasker://127.0.0.1:{mute.getsockname()[1]}").health_check()
except BaseException as error:
    print(type(error).__name__)
""",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "KeyboardInterrupt\n"), done.stderr


def test_a_forked_child_gets_clear_errors_and_leaves_the_parent_alone(tmp_path: Path) -> None:
    done = python(
        START
        + """
w = start()
client = TaskerClient(w.url)
client.health_check()
pid = os.fork()
if pid == 0:
    for attempt in (lambda: w.native.poll(0), start, client.health_check):
        try:
            attempt()
        except RuntimeError as error:
            print(getattr(error, "code", None) or error.error_code, file=sys.stderr)
    other = start("sqlite://other.db")
    task = other.client().create_task("t", "default", {"n": 7})
    print(other.client().wait(task["task_uuid"], 20)["status"], file=sys.stderr)
    sys.exit(0)
_, status = os.waitpid(pid, 0)
task = client.create_task("t", "default", {"n": 7})
print(os.waitstatus_to_exitcode(status), client.wait(task["task_uuid"], 20)["status"])
""",
        cwd=tmp_path,
    )
    assert done.stderr.split() == ["forked", "forked", "forked", "complete"]
    assert (done.returncode, done.stdout) == (0, "0 complete\n"), done.stderr


def test_ctrl_c_ends_a_wait_in_poll(tmp_path: Path) -> None:
    done = python(
        START
        + """
import signal
w = start()
w.poller.stop()
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    w.native.poll(60_000)
except KeyboardInterrupt:
    print("interrupted")
""",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_ctrl_c_ends_a_wait_for_a_task(tmp_path: Path) -> None:
    done = python(
        START
        + """
import signal
client = TaskerClient("sqlite://t.db")
w = start()
w.stop()
task = client.create_task("t", "default", {"n": 1})
threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    client.wait(task["task_uuid"], 3600)
except KeyboardInterrupt:
    print("interrupted")
try:
    client.wait(task["task_uuid"], 0.01)
except TimeoutError as error:
    print(error)
""",
        cwd=tmp_path,
    )
    first, second = done.stdout.splitlines()
    assert (done.returncode, first) == (0, "interrupted"), done.stderr
    assert "has not ended within 0.01 seconds" in second


def test_a_broken_handler_file_stops_no_other(fleet: Fleet) -> None:
    (fleet.folder / "handlers" / "broken.py").write_text("import nothing_of_that_name\n")
    (fleet.folder / "handlers" / "wrong.py").write_text("def f(:\n")
    command = [sys.executable, "-m", "tasker_core", "worker", "--url", fleet.url]
    command += ["--templates", str(fleet.folder / "workflows"), "--handlers", str(fleet.folder / "handlers")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    fleet.workers.append(process)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "worker ready" in line:
            break
    text = "".join(said)
    assert "broken.py" in text and "nothing_of_that_name" in text
    assert "wrong.py:1" in text
    assert "2 handlers" in text


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("name: t\nsteps:\n  - {name: a, handler: h, depends_on: [b]}\n")
    command = [sys.executable, "-m", "tasker_core", "worker", "--url", f"sqlite://{tmp_path}/t.db"]
    done = subprocess.run([*command, "--templates", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "t.yaml:3:" in done.stderr
    broken = tmp_path / "broken.db"
    broken.write_text("this is no database, though it is long enough to be taken for one" * 20)
    command[-1] = f"sqlite://{broken}"
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "is not a healthy Tasker database" in done.stderr
    assert "help:" in done.stderr


def test_the_published_functions_drive_a_step_by_hand(tmp_path: Path) -> None:
    done = python(
        START
        + """
import json
import tasker_core
from tasker_core import _tasker_core as ffi
try:
    ffi.poll_step_events()
except RuntimeError as error:
    print("no worker" in str(error))
w = start()
w.poller.stop()
client = TaskerClient(w.url)
task = client.create_task("t", "default", {"n": 5})
event = None
while event is None:
    event = ffi.poll_step_events()
step = event["task_sequence_step"]
print(step["task"]["task"]["context"], step["workflow_step"]["name"], step["step_definition"]["handler"]["callable"])
done = {"success": True, "result": {"by": "hand"}, "metadata": {"custom": {"k": 1}, "execution_time_ms": 2}}
print(ffi.complete_step_event(event["event_id"], done), ffi.complete_step_event(event["event_id"], done))
print(client.wait(task["task_uuid"], 20)["status"], client.get_step(task["task_uuid"], "s")["result"])
print(ffi.get_ffi_dispatch_metrics()["completed"], ffi.get_worker_config()["namespaces"], ffi.health_check())
""",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "True",
        "{'n': 5} s h",
        "True False",
        "complete {'by': 'hand'}",
        "1 ['default'] True",
    ]


def test_the_published_pipeline_is_put_together_by_hand(tmp_path: Path) -> None:
    done = python(
        START
        + """
from tasker_core import (
    BootstrapConfig, EventBridge, EventNames, EventPoller, StepExecutionSubscriber, bootstrap_worker, get_worker_status,
    is_worker_running, stop_worker, transition_to_graceful_shutdown,
)
from tasker_core import _tasker_core as ffi
from tasker_core.errors import WorkerAlreadyRunningError, WorkerNotInitializedError
print(is_worker_running(), get_worker_status().running, stop_worker())
result = ffi.bootstrap_worker(BootstrapConfig(worker_id="me", url="sqlite://t.db", templates=[TEMPLATE]))
print(result.success, result.worker_id, result.namespaces, ffi.is_worker_running())
try:
    bootstrap_worker()
except WorkerAlreadyRunningError:
    print("already running")
bridge = EventBridge.instance()
bridge.start()
seen = []
for name in ("step.execution.received", "step.completion.sent", "poller.metrics"):
    bridge.subscribe(name, lambda *_, name=name: seen.append(name))
subscriber = StepExecutionSubscriber(bridge, registry, result.worker_id)
subscriber.start()
poller = EventPoller(polling_interval_ms=10, starvation_check_interval=1)
poller.on_step_event(lambda event: bridge.publish(EventNames.STEP_EXECUTION_RECEIVED, event))
poller.on_metrics(lambda metrics: bridge.publish(EventNames.POLLER_METRICS, metrics))
poller.start()
client = TaskerClient("sqlite://t.db")
task = client.create_task("t", "default", {"n": 7})
print(client.wait(task["task_uuid"], 20)["status"], get_worker_status()["claimed"])
poller.stop()
print(sorted(set(seen)))
print(transition_to_graceful_shutdown(), is_worker_running(), stop_worker())
try:
    transition_to_graceful_shutdown()
except WorkerNotInitializedError:
    print("not running")
""",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "False False not_running",
        "True me ['default'] True",
        "already running",
        "complete 1",
        "['poller.metrics', 'step.completion.sent', 'step.execution.received']",
        "stopped False not_running",
        "not running",
    ]


def test_bench_checks_and_prints_every_figure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tasker_core", "bench", "--url", f"sqlite://{tmp_path}/t.db", "--json"]
    for workload, steps in [("linear-4", 80), ("diamond-4", 80), ("fan-out-50", 1000)]:
        done = subprocess.run(
            [*command, "--workload", workload, "--tasks", "20"], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert figures["steps"] == steps
        assert figures["checked"] == 60
        assert figures["warm_up"] == 20
        assert figures["p50_ms"] > 0 and figures["steps_per_second"] > 0
