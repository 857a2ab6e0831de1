"""Worker processes of every language: killed, told to end, and three of them on one task."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tasker_core import TaskerClient

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent / "runner"))
from parity import HOSTS
from run import milliseconds

PROGRAM = "{callable: conformance.program, initialization: {program: %s}}"


class Fleet:
    """A store, and hosts on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite://{folder}/t.db"
        self.hosts: list[subprocess.Popen[str]] = []
        self.client = TaskerClient(self.url)

    def host(self, language: str, template: str, name: str = "t") -> subprocess.Popen[str]:
        templates = self.folder / f"{language}-{name}"
        templates.mkdir(exist_ok=True)
        (templates / "t.yaml").write_text(template)
        process = subprocess.Popen(
            [*HOSTS[language], "--url", self.url, "--templates", str(templates)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TASKER_ENV": "test"},
        )
        self.hosts.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip() == "ready":
                return process
        raise AssertionError(f"the {language} host did not start")

    def until(self, task: str, step: str, status: str) -> None:
        while self.client.get_step(task, step)["status"] != status:
            pass

    def until_begun(self) -> None:
        """Until the handler of a ``waiting`` step runs: a step that is claimed may still lie in its worker's hands."""
        while not (self.folder / "begun").exists():
            pass

    def close(self) -> None:
        for process in self.hosts:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
        self.client.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    report = made.client.doctor()
    made.close()
    assert report["healthy"], report


def waiting(folder: Path, first_attempt_only: bool) -> str:
    """A step that says it has begun and waits for a file; with ``first_attempt_only`` any later attempt does not."""
    wait = f'{{set: {{begun: {{$touch: "{folder}/begun"}}, seen: {{$file: "{folder}/go"}}}}}}'
    if first_attempt_only:
        wait = f"{{if: {{$eq: [{{$attempt: null}}, 0]}}, then: [{wait}]}}"
    program = PROGRAM % f"[{wait}, {{return: {{attempt: {{$attempt: null}}}}}}]"
    return f"name: t\nnamespace_name: t\nsteps: [{{name: s, handler: {program}}}]\n"


@pytest.mark.parametrize("language", list(HOSTS))
def test_a_killed_workers_step_is_run_by_another(fleet: Fleet, language: str) -> None:
    template = waiting(fleet.folder, first_attempt_only=True)
    first = fleet.host(language, template)
    task = fleet.client.create_task("t", "t")["task_uuid"]
    fleet.until(task, "s", "in_progress")
    first.kill()
    first.wait()
    fleet.host(language, template)
    assert fleet.client.wait(task, 30)["status"] == "complete"
    step = fleet.client.get_step(task, "s")
    assert [a["outcome"] for a in step["history"]] == ["lease_expired", "completed"]
    assert (step["result"], step["crashes"]) == ({"attempt": 1}, 1)


@pytest.mark.parametrize("language", list(HOSTS))
def test_sigterm_lets_a_running_handler_finish(fleet: Fleet, language: str) -> None:
    worker = fleet.host(language, waiting(fleet.folder, first_attempt_only=False))
    task = fleet.client.create_task("t", "t")["task_uuid"]
    fleet.until_begun()
    worker.send_signal(signal.SIGTERM)
    (fleet.folder / "go").touch()
    assert worker.wait(30) == 0
    step = fleet.client.get_step(task, "s")
    assert (step["status"], [a["outcome"] for a in step["history"]]) == ("complete", ["completed"])


@pytest.mark.parametrize("language", list(HOSTS))
def test_a_second_signal_ends_a_worker_at_once(fleet: Fleet, language: str) -> None:
    worker = fleet.host(language, waiting(fleet.folder, first_attempt_only=True))
    task = fleet.client.create_task("t", "t")["task_uuid"]
    fleet.until_begun()
    worker.send_signal(signal.SIGTERM)
    deadline = 200
    while worker.poll() is None and deadline:
        # Whoever is still draining hears the next one; the first may not have been taken yet.
        worker.send_signal(signal.SIGTERM)
        deadline -= 1
        try:
            worker.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    assert worker.returncode in (143, -signal.SIGTERM)
    # Whether the attempt was handed back or lost with its process: another worker runs the step again.
    (fleet.folder / "go").touch()
    fleet.host(language, waiting(fleet.folder, first_attempt_only=True))
    assert fleet.client.wait(task, 30)["status"] == "complete"


def polyglot(order: tuple[str, ...]) -> str:
    """n squared, plus 10, times 3, over 2: each step in a queue named after its language."""
    programs = [
        ("square", "{$mul: [{$input: n}, {$input: n}]}"),
        ("add", "{$add: [{$dep: [square]}, 10]}"),
        ("triple", "{$mul: [{$dep: [add]}, 3]}"),
        ("halve", "{$div: [{$dep: [triple]}, 2]}"),
    ]
    lines = ["name: poly", "namespace_name: NAMESPACE", "steps:"]
    for index, (name, value) in enumerate(programs):
        after = f"[{programs[index - 1][0]}]" if index else "[]"
        handler = PROGRAM % f"[{{return: {value}}}]"
        queue = order[index % len(order)]
        lines.append(f"  - {{name: {name}, queue: {queue}, depends_on: {after}, handler: {handler}}}")
    return "\n".join(lines)


def test_a_task_may_mix_languages_in_any_order(fleet: Fleet) -> None:
    # A worker takes from its template's namespace: each host gets a template in the namespace its language is called.
    for language in HOSTS:
        idle = f"name: idle\nnamespace_name: {language}\nsteps: [{{name: s, handler: {PROGRAM % '[{return: 1}]'}}}]\n"
        fleet.host(language, idle)
    answers: dict[str, Any] = {}
    for order in itertools.permutations(HOSTS):
        namespace = "-".join(order)
        source = polyglot(order).replace("NAMESPACE", namespace)
        fleet.client._call("register_templates", {"templates": [{"path": "poly.yaml", "source": source}]})
        task = fleet.client.create_task("poly", namespace, {"n": 6})["task_uuid"]
        assert fleet.client.wait(task, 30)["status"] == "complete"
        steps = fleet.client.list_task_steps(task)
        workers = [step["history"][0]["worker_id"].split("-")[0] for step in steps]
        assert workers == [order[i % 3] for i in range(4)]
        answers[namespace] = [step["result"] for step in steps]
    assert set(map(json.dumps, answers.values())) == {"[36, 46, 138, 69.0]"}, answers


def test_an_error_arrives_the_same_from_every_language(fleet: Fleet) -> None:
    said = "{kind: rate_limit, message: slow, error_code: E7, retry_after: 2, metadata: {quota: 5}, context: {at: [1]}}"
    program = PROGRAM % f"[{{if: {{$eq: [{{$attempt: null}}, 0]}}, then: [{{raise: {said}}}]}}, {{return: 1}}]"
    seen = {}
    for language in HOSTS:
        fleet.host(language, f"name: t\nnamespace_name: {language}\nsteps: [{{name: s, handler: {program}}}]\n")
        task = fleet.client.create_task("t", language)["task_uuid"]
        assert fleet.client.wait(task, 30)["status"] == "complete"
        first = fleet.client.get_step(task, "s")["history"][0]
        error = {key: value for key, value in first["error"].items() if key != "backtrace"}
        waited = milliseconds(first["next_retry_at"]) - milliseconds(first["completed_at"])
        seen[language] = json.dumps([error, first["metadata"], waited], sort_keys=True)
    assert len(set(seen.values())) == 1, seen
    assert json.loads(seen["python"])[2] == 2000


def random_value(random: Random, depth: int = 0) -> Any:
    """Any JSON value; floats are short decimals, which every language writes alike."""
    kinds = ["int", "big", "float", "text", "bool", "null"] + (["list", "dict"] * 2 if depth < 4 else [])
    kind = random.choice(kinds)
    if kind == "int":
        return random.randint(-1000, 1000)
    if kind == "big":
        return random.choice([1, -1]) * (2 ** random.choice([31, 53, 63, 64]) + random.randint(-2, 2))
    if kind == "float":
        return random.randint(-10_000, 10_000) / 8
    if kind == "text":
        alphabet = 'aZ09 "\\/\n\t\u0000\u001fäß漢𝄞\u2028'
        return "".join(random.choice(alphabet) for _ in range(random.randint(0, 12)))
    if kind == "list":
        return [random_value(random, depth + 1) for _ in range(random.randint(0, 4))]
    if kind == "dict":
        return {f"k{n}": random_value(random, depth + 1) for n in range(random.randint(0, 4))}
    return {"bool": random.random() < 0.5, "null": None}[kind]


def test_random_values_cross_every_language_unchanged(fleet: Fleet) -> None:
    random = Random(20261123)
    values = [random_value(random) for _ in range(300)]
    echo = PROGRAM % "[{return: {$input: value}}]"
    for language in HOSTS:
        fleet.host(language, f"name: echo\nnamespace_name: {language}\nsteps: [{{name: s, handler: {echo}}}]\n")
        requests = [{"name": "echo", "namespace": language, "context": {"value": value}} for value in values]
        for created, value in zip(fleet.client.create_tasks(requests), values):
            fleet.client.wait(created["task_uuid"], 30)
            result = fleet.client.get_step(created["task_uuid"], "s")["result"]
            # A step that returns nothing has an empty result.
            assert json.dumps(result) == json.dumps({} if value is None else value), language
