"""Kills workers, servers and PostgreSQL at random under load, then accounts for every step from the history.

scripts/with-postgres --durable python conformance/chaos/run.py --tasks 20000 --kills 200

Workers of three languages work on one database, half of them through two `tasker serve` processes, some over
connections that are cut now and then. Workers are killed (SIGKILL) and frozen (SIGSTOP), servers are killed, PostgreSQL
loses single backends or all of itself. Whatever dies is started again at once. The last line is JSON.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

from tasker_core import ClientError, TaskerClient

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from parity import HOSTS

LEASE_MS = 2_000
# A step is queued again this long after its lease ended, at most.
SWEEP_MS = 1_000
PAUSE = 0.35
# What must be zero, or empty, at the end.
FAULTS = ("lost", "accepted_twice", "executions_unexplained", "crashes_unexplained", "broken_invariants")
BACKLOG = 2_000
BATCH = 100
FROZEN = 3.5
PROGRAM = "{callable: conformance.program, initialization: {program: [{return: %s}]}}"
TEMPLATE = f"""
name: chaos
namespace_name: chaos
steps:
  - {{name: a, handler: {PROGRAM % "{$mul: [{$input: n}, 2]}"}}}
  - {{name: b, depends_on: [a], handler: {PROGRAM % "{$add: [{$dep: [a]}, 1]}"}}}
  - {{name: c, depends_on: [b], handler: {PROGRAM % "{$add: [{$dep: [b]}, {$input: n}]}"}}}
"""


def now_ms() -> int:
    return round(time.time() * 1000)


def milliseconds(text: str) -> int:
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


class Proxy:
    """Passes bytes between a port of its own and another until it is cut."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            near, _ = self.listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self) -> None:
        cut, self.open = self.open, []
        for end in cut:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Part:
    """A process that is started again whenever it is killed."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name, self.command, self.log = name, command, log
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        variables = {**os.environ, "TASKER_ENV": "test", "TASKER_DISTURB": f"lease_ms={LEASE_MS}"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.DEVNULL, stderr=log, env=variables, start_new_session=True
            )

    def kill(self) -> int:
        pid = self.process.pid
        os.killpg(pid, signal.SIGKILL)
        self.process.wait()
        self.start()
        return pid


class Database:
    """The server that TASKER_TEST_POSTGRES names."""

    def __init__(self) -> None:
        self.url = os.environ["TASKER_TEST_POSTGRES"]
        self.data = Path(os.environ["TASKER_TEST_POSTGRES_DATA"])
        self.port = int(self.url.rsplit(":", 1)[1].split("/")[0])
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.outages: list[tuple[int, int]] = []

    def run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
        return subprocess.run([*user, *command], capture_output=True, cwd=self.data.parent, check=False)

    def answers(self) -> bool:
        return self.run(str(self.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)).returncode == 0

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def kill(self) -> None:
        """Kills all of it and starts it again."""
        began = now_ms()
        os.kill(self.postmaster(), signal.SIGKILL)
        # Its children notice by themselves; until then the memory they share is in use.
        while self.run(str(self.bin / "pg_ctl"), "-D", str(self.data), "-l", "server.log", "-w", "start").returncode:
            time.sleep(0.05)
        self.outages.append((began, now_ms()))

    def kill_backend(self, dice: random.Random) -> bool:
        """Kills one backend; PostgreSQL ends all others and recovers."""
        task = Path(f"/proc/{self.postmaster()}/task/{self.postmaster()}/children")
        began = now_ms()
        try:
            children = task.read_text().split()
            backends = [pid for pid in children if b"tasker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            os.kill(int(dice.choice(backends)), signal.SIGKILL)
        except (OSError, IndexError):
            # It went by itself, or there is none.
            return False
        time.sleep(0.05)
        while not self.answers():
            time.sleep(0.02)
        self.outages.append((began, now_ms()))
        return True

    def without_outages(self, start: int, end: int) -> int:
        """Milliseconds from one time to another in which the database was there."""
        return max(0, end - start - sum(max(0, min(end, b) - max(start, a)) for a, b in self.outages))


class Chaos:
    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.dice = random.Random(given.seed)
        self.given, self.folder = given, folder
        self.database = Database()
        self.schema = f"chaos_{os.getpid()}"
        direct = f"{self.database.url}?schema={self.schema}"
        templates = folder / "templates"
        templates.mkdir()
        (templates / "chaos.yaml").write_text(TEMPLATE, encoding="utf-8")
        # The tables exist before anybody is killed.
        TaskerClient(direct).list_tasks()
        self.direct = direct
        ports = [free_port(), free_port()]
        tasker = os.environ.get("TASKER_BIN", "tasker")
        self.servers = [
            Part(
                f"server-{i}",
                [tasker, "serve", "--url", direct, "--listen", f"127.0.0.1:{port}"],
                folder / f"server-{i}.log",
            )
            for i, port in enumerate(ports)
        ]
        self.proxies = [Proxy(self.database.port), *(Proxy(port) for port in ports)]
        served = [f"tasker://127.0.0.1:{a},127.0.0.1:{b}" for a, b in (ports, ports[::-1])]
        cut = ",".join(f"127.0.0.1:{p.port}" for p in self.proxies[1:])
        urls = [
            ("rust", direct),
            ("rust", direct.replace(f":{self.database.port}/", f":{self.proxies[0].port}/")),
            ("rust", f"tasker://{cut}"),
            ("python", served[0]),
            ("python", direct),
            ("ruby", served[1]),
        ]
        self.workers = [
            Part(
                f"{language}-{i}",
                [*HOSTS[language], "--url", url, "--templates", str(templates)],
                folder / f"{language}-{i}.log",
            )
            for i, (language, url) in enumerate(urls)
        ]
        self.client = TaskerClient(served[0])
        self.tasks: list[str] = []
        self.kills = {"worker": 0, "server": 0, "postgres": 0, "backend": 0}
        self.frozen = self.cuts = self.unsure = 0
        # When each worker process that is no more was killed, or frozen for the first time.
        self.dead: dict[int, int] = {}
        self.stop = threading.Event()

    def create(self) -> None:
        """Creates all tasks; whatever is unsure is asked for again, under the same key."""
        while len(self.tasks) < self.given.tasks and not self.stop.is_set():
            first = len(self.tasks)
            numbers = range(first, min(first + BATCH, self.given.tasks))
            requests = [
                {"name": "chaos", "namespace": "chaos", "context": {"n": n}, "idempotency_key": f"n{n}"}
                for n in numbers
            ]
            try:
                self.tasks += [task["task_uuid"] for task in self.client.create_tasks(requests)]
                while not self.stop.is_set() and self.waiting() > BACKLOG:
                    time.sleep(0.1)
            except ClientError as error:
                if error.code not in (
                    "commit_unknown",
                    "server_unreachable",
                    "store_unavailable",
                    "template_not_found",
                ):
                    self.unsure += 1
                time.sleep(0.05)

    def waiting(self) -> int:
        complete: int = self.client.list_tasks(limit=1, status="complete")["total"]
        return len(self.tasks) - complete

    def freeze(self, part: Part) -> None:
        pid = part.process.pid
        os.killpg(pid, signal.SIGSTOP)
        self.dead.setdefault(pid, now_ms())
        self.frozen += 1

        def thaw() -> None:
            try:
                os.killpg(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

        threading.Timer(FROZEN, thaw).start()

    def strike(self) -> None:
        """One stroke of chaos."""
        what = self.dice.choices(
            ["worker", "server", "postgres", "backend", "freeze", "cut"], weights=[60, 14, 3, 5, 6, 12]
        )[0]
        if what == "worker":
            # Known as dead from before it dies: nothing it still gets done counts as recovery.
            part = self.dice.choice(self.workers)
            self.dead.setdefault(part.process.pid, now_ms())
            part.kill()
        elif what == "server":
            self.dice.choice(self.servers).kill()
        elif what == "postgres":
            self.database.kill()
        elif what == "backend":
            if not self.database.kill_backend(self.dice):
                return
        elif what == "freeze":
            return self.freeze(self.dice.choice(self.workers))
        else:
            self.cuts += 1
            return self.dice.choice(self.proxies).cut()
        self.kills[what] += 1

    def patiently(self, ask: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 60
        while True:
            try:
                return ask()
            except ClientError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def open_tasks(self, client: TaskerClient) -> int:
        total: int = self.patiently(lambda: client.list_tasks(limit=1)["total"])
        done: int = self.patiently(lambda: client.list_tasks(limit=1, status="complete")["total"])
        poisoned: int = self.patiently(lambda: client.list_tasks(limit=1, status="blocked_by_failures")["total"])
        return total - done - poisoned

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        creator = threading.Thread(target=self.create)
        creator.start()
        told = began
        try:
            while creator.is_alive() or sum(self.kills.values()) < self.given.kills:
                if time.monotonic() - began > self.given.seconds:
                    print("the time is over", file=sys.stderr)
                    break
                enough = sum(self.kills.values()) >= self.given.kills
                time.sleep(self.dice.uniform(0, 2 * PAUSE * (6 if enough else 1)))
                self.strike()
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    print(f"{len(self.tasks)} tasks created, kills {self.kills}", file=sys.stderr)
        finally:
            self.stop.set()
            creator.join()
        client = TaskerClient(self.direct)
        deadline = time.monotonic() + 180
        while self.open_tasks(client) > 0 and time.monotonic() < deadline:
            time.sleep(0.2)
        # A step that three dead workers held is given up, and waits for an operator.
        poisoned = client.list_tasks(limit=1_000, status="blocked_by_failures")["tasks"]
        for task in poisoned:
            client.act(task["task_uuid"], "retry_failed", reason="its workers were killed")
        while self.open_tasks(client) > 0 and time.monotonic() < deadline:
            time.sleep(0.2)
        took = time.monotonic() - began
        if self.open_tasks(client) > 0:
            self.explain()
        report = self.account(client)
        return {**report, "poisoned": len(poisoned), "seconds": round(took, 1)}

    def explain(self) -> None:
        """What the database looks like while tasks are left that nobody goes on with."""
        for question in (
            f"SELECT * FROM {self.schema}.steps WHERE state = 2 LIMIT 20",
            f"SELECT * FROM {self.schema}.held LIMIT 20",
            f"SELECT * FROM {self.schema}.wakes LIMIT 20",
            f"SELECT * FROM {self.schema}.workers WHERE NOT gone",
            "SELECT pid, state, wait_event, now() - xact_start AS since, left(query, 200) FROM pg_stat_activity",
        ):
            psql = self.database.run(str(self.database.bin / "psql"), "-x", "-d", self.database.url, "-c", question)
            print(question, (psql.stdout + psql.stderr).decode(), file=sys.stderr)
        log = (self.database.data.parent / "server.log").read_text(errors="replace").splitlines()
        print("\n".join(log[-60:]), file=sys.stderr)

    def account(self, client: TaskerClient) -> dict[str, Any]:
        """Every task, step and attempt, from the history."""
        lost = twice = rejected = worst = attempts = crashes = executions = 0

        def steps_of(n: int) -> tuple[int, list[dict[str, Any]]]:
            return n, client.list_task_steps(self.tasks[n])

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for n, steps in pool.map(steps_of, range(len(self.tasks))):
                results = {step["name"]: step["result"] for step in steps if step["status"] == "complete"}
                if results != {"a": 2 * n, "b": 2 * n + 1, "c": 3 * n + 1}:
                    lost += 1
                    print(f"task {self.tasks[n]} ({n}): {results}", file=sys.stderr)
                for step in steps:
                    ends = [attempt["outcome"] for attempt in step["history"]]
                    attempts += len(ends)
                    twice += ends.count("completed") > 1
                    rejected += ends.count("rejected")
                    for attempt in step["history"]:
                        # Who was neither killed nor frozen loses nothing, whatever became of servers and connections.
                        lived = self.pid(attempt) not in self.dead
                        if attempt["outcome"] == "lease_expired":
                            crashes += lived
                            worst = max(worst, self.recovery(attempt))
                        elif attempt["outcome"] == "rejected":
                            executions += lived
                        if lived and attempt["outcome"] in ("lease_expired", "rejected"):
                            print(f"unexplained: {step['name']} of {self.tasks[n]}: {attempt}", file=sys.stderr)
        existing: int = client.list_tasks(limit=1)["total"]
        findings = [f["check"] for f in client.doctor()["findings"] if f["violations"]]
        return {
            "tasks": len(self.tasks),
            "kills": sum(self.kills.values()),
            "lost": lost + abs(existing - len(self.tasks)),
            "accepted_twice": twice,
            "rejected_stale": rejected,
            "executions_unexplained": executions,
            "crashes_unexplained": crashes,
            "worst_recovery_ms": worst,
            "attempts": attempts,
            "killed": self.kills,
            "frozen": self.frozen,
            "cut": self.cuts,
            "refused": self.unsure,
            "broken_invariants": findings,
        }

    def pid(self, attempt: dict[str, Any]) -> int:
        """The process of an attempt; 0 if none had it."""
        worker: Optional[str] = attempt["worker_id"]
        return int(worker.split("-")[1]) if worker else 0

    def recovery(self, attempt: dict[str, Any]) -> int:
        """From the moment nobody worked on a step any more until it was queued again, outages of the database aside."""
        start = max(milliseconds(attempt["started_at"]), self.dead.get(self.pid(attempt), 0))
        return self.database.without_outages(start, milliseconds(attempt["completed_at"]))

    def close(self) -> None:
        for part in [*self.workers, *self.servers]:
            try:
                os.killpg(part.process.pid, signal.SIGCONT)
                os.killpg(part.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            part.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=200, help="at least this many")
    parser.add_argument("--seconds", type=int, default=900, help="after which nothing more is killed or created")
    parser.add_argument(
        "--recovery-ms", type=int, default=LEASE_MS + SWEEP_MS, help="the longest recovery that passes; 0: any"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--logs", type=Path, help="keep the logs of all processes here")
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(given, Path(folder))
        try:
            report = chaos.run()
        finally:
            chaos.close()
            if given.logs is not None:
                shutil.copytree(folder, given.logs, dirs_exist_ok=True)
    ok = (
        report["tasks"] >= given.tasks
        and report["kills"] >= given.kills
        and not any(report[fault] for fault in FAULTS)
        and (given.recovery_ms == 0 or report["worst_recovery_ms"] <= given.recovery_ms)
    )
    print(json.dumps(report))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
