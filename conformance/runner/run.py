"""Runs the conformance cases against a host process and compares what is stored with what each case expects."""

from __future__ import annotations

import argparse
import datetime
import functools
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from tasker_core import ClientError, TaskerClient
from tasker_core._native import NativeClient

sys.path.insert(0, str(Path(__file__).resolve().parent))
from service import Service

ROOT = Path(__file__).resolve().parent.parent
WAIT_SECONDS = 30
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def load_cases(only: str | None) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for file in sorted((ROOT / "cases").glob("*.yaml")):
        for case in yaml.safe_load(file.read_text(encoding="utf-8")):
            case["file"] = file.name
            cases.append(case)
    names = [case["name"] for case in cases]
    doubled = {n for n in names if names.count(n) > 1}
    if doubled:
        raise SystemExit(f"cases of the same name: {', '.join(sorted(doubled))}")
    return [case for case in cases if only is None or only in case["name"]]


def classification_cases(language: str, only: str | None) -> list[dict[str, Any]]:
    """A case for each kind of trouble a language has."""
    cases = []
    for row in yaml.safe_load((ROOT / "classification.yaml").read_text(encoding="utf-8")):
        name = f"trouble-{row['kind'].replace('_', '-')}"
        if row[language].startswith("-") or (only is not None and only not in name):
            continue
        retryable = row["retryable"]
        error = {key: row[key] for key in ("error_type", "retryable", "message", "error_code") if key in row}
        outcomes = ["failed"] * (2 if retryable else 1)
        step = {"status": "error", "attempts": len(outcomes), "outcomes": outcomes, "error": error, "has_message": True}
        program = f"initialization: {{program: [{{trouble: {row['kind']}}}]}}"
        template = "name: trouble\nsteps:\n  - name: s\n    retry: {max_attempts: 2, backoff: none}\n"
        template += f'    handler: {{callable: "{{{{program}}}}", {program}}}\n'
        expect = {"status": "blocked_by_failures", "steps": {"s": step}}
        cases.append({"name": name, "file": "classification.yaml", "template": template, "expect": expect})
    return cases


# Bad conditions: one slot, leases about as short as two looks at the clock,
# every report sent twice, the newest step first.
NASTY = "slots=1,lease_ms=50,twice,shuffle"
# Attempts that bad conditions add and that change nothing: doubled reports, leases lost by a slow machine.
BY_NASTINESS = {"rejected", "lease_expired"}


STORES = ["sqlite", "postgres", "pgmq"]
STORES_MADE = itertools.count()


def fresh_store(kind: str, folder: Path) -> str:
    """The URL of a store of its own; on PostgreSQL a schema of the server that TASKER_TEST_POSTGRES names."""
    if kind == "sqlite":
        return f"sqlite://{folder}/t.db"
    server = os.environ.get("TASKER_TEST_POSTGRES")
    if not server:
        raise SystemExit("name a PostgreSQL server with TASKER_TEST_POSTGRES, or run this by scripts/with-postgres")
    transport = "pgmq" if kind == "pgmq" else "ready"
    return f"{server}?schema=c{os.getpid()}_{next(STORES_MADE)}&queue={transport}"


class Server:
    """`tasker serve` before a store."""

    def __init__(self, store: str, environment: str) -> None:
        command = [os.environ.get("TASKER_BIN", "tasker"), "serve", "--url", store, "--listen", "127.0.0.1:0", "--json"]
        variables = {**os.environ, "TASKER_ENV": environment}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)
        assert self.process.stdout is not None
        self.url: str = json.loads(self.process.stdout.readline())["url"]

    def close(self) -> int:
        self.process.terminate()
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Host:
    """A host process on a fresh store, with the templates of some cases."""

    def __init__(
        self,
        command: list[str],
        environment: str,
        cases: list[dict[str, Any]],
        folder: Path,
        store: str,
        disturb: str = "",
        remote: bool = False,
    ) -> None:
        self.url = fresh_store(store, folder)
        self.server = Server(self.url, environment) if remote else None
        if self.server is not None:
            self.url = self.server.url
        templates = folder / "templates"
        templates.mkdir()
        for case in cases:
            for number, text in enumerate(case_templates(case)):
                (templates / f"{case['name']}-{number}.yaml").write_text(text, encoding="utf-8")
        variables = {**os.environ, "TASKER_ENV": environment, "TASKER_DISTURB": disturb}
        self.process = subprocess.Popen(
            [*command, "--url", self.url, "--templates", str(templates)],
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
        )
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            if line.strip() == "ready":
                break
        else:
            raise SystemExit(f"the host did not start:\n{''.join(said)}")
        self.client = TaskerClient(self.url)

    def close(self) -> int:
        self.client.close()
        self.process.terminate()
        code = self.process.wait(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        served = self.server.close() if self.server is not None else 0
        return code or served


UNIQUE = itertools.count()


@functools.cache
def service() -> Service:
    """The HTTP service of the cases that want one, until this program ends."""
    return Service()


def case_templates(case: dict[str, Any]) -> list[str]:
    """The YAML of a case, its namespace filled in where it has none."""
    texts = case.get("templates") or [case["template"]]
    filled = []
    for text in texts:
        text = text.replace("{{program}}", "conformance.program")
        if "{{http}}" in text:
            text = text.replace("{{http}}", service().url).replace("{{unique}}", f"n{next(UNIQUE)}")
        for word, other in case.get("replace", {}).items():
            text = text.replace(word, other)
        if "namespace_name:" not in text:
            text += f"\nnamespace_name: {case['name']}\n"
        filled.append(text)
    return filled


def subset(expected: Any, found: Any, place: str, wrong: list[str]) -> None:
    """Every key of an expected mapping must be there and fit; anything else must be equal, type included."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.get("$contains") is None:
        for key, value in expected.items():
            if key not in found:
                wrong.append(f"{place}.{key} is missing")
            else:
                subset(value, found[key], f"{place}.{key}", wrong)
    elif isinstance(expected, dict) and "$contains" in expected:
        for part in expected["$contains"]:
            if part not in str(found):
                wrong.append(f"{place} does not contain {part!r}: {found!r}")
    elif isinstance(expected, list) and isinstance(found, list) and any(isinstance(e, dict) for e in expected):
        if len(expected) != len(found):
            wrong.append(
                f"{place} has {len(found)} entries where {len(expected)} were expected: {json.dumps(found)[:300]}"
            )
        for index, (one, other) in enumerate(zip(expected, found)):
            subset(one, other, f"{place}[{index}]", wrong)
    elif json.dumps(expected, sort_keys=True) != json.dumps(found, sort_keys=True):
        wrong.append(f"{place} is {json.dumps(found)[:300]} where {json.dumps(expected)[:300]} was expected")


def milliseconds(text: str) -> int:
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def observe(client: TaskerClient, uuid: str, nasty: bool = False) -> dict[str, Any]:
    """A task as cases speak of it; without the attempts that only bad conditions add."""
    task = client.wait(uuid, WAIT_SECONDS)
    steps = {}
    for step in client.list_task_steps(uuid):
        history = [a for a in step["history"] if not (nasty and a["outcome"] in BY_NASTINESS)]
        waits = [
            milliseconds(a["next_retry_at"]) - milliseconds(a["completed_at"])
            for a in history
            if a.get("next_retry_at")
        ]
        steps[step["name"]] = {
            **step,
            "outcomes": [a["outcome"] for a in history],
            "has_message": bool((step["error"] or {}).get("message")),
            "waits_ms": waits,
            "custom": (step["metadata"] or {}).get("custom"),
            "first_error": next((a["error"] for a in history if a["error"]), None),
            "rejected": [a.get("rejected_result") for a in history if a["outcome"] == "rejected"],
        }
    messages = [e["message"] for e in client.list_events(task_uuid=uuid)]
    templates = client._call("list_templates", {})["templates"]
    return {
        **task,
        "events": [[m["event_name"], m["payload"]] for m in messages],
        "event_names": [m["event_name"] for m in messages],
        "event_names_sorted": sorted(m["event_name"] for m in messages),
        **{f"event_{number}": message for number, message in enumerate(messages)},
        "dead_letters": client.list_dead_letters(all=True, task_uuid=uuid),
        "audit": client.get_audit(uuid),
        "template": next(t for t in templates if (t["namespace"], t["name"]) == (task["namespace"], task["name"])),
        "step_count": len(steps),
        "step_names": sorted(steps),
        "by_name": steps,
    }


def again(client: TaskerClient, request: dict[str, Any], uuid: str, twice: dict[str, Any], wrong: list[str]) -> None:
    """Sends the request a second time, with another context."""
    try:
        second = client.create_tasks([{**request, "context": twice["context"]}])[0]
    except ClientError as error:
        subset(twice.get("refused", "not refused"), error.code, "the second request", wrong)
    else:
        subset(twice.get("existing"), second["existing"], "the second request's existing", wrong)
        subset(second["existing"], second["task_uuid"] == uuid, "whether the second request found the task", wrong)


def operate(client: TaskerClient, uuid: str, action: dict[str, Any], wrong: list[str]) -> None:
    """Does one action: an operator's, one on the task's newest dead letter, or any call of the client."""
    refused = action.pop("refused", None)
    action.pop("rests", None)
    what = json.dumps(action)
    try:
        if "call" in action:
            args = json.loads(json.dumps(action.get("args", {})).replace("$task", uuid))
            subset(action.get("answer", {}), client._call(action["call"], args), what, wrong)
        elif "letter" in action:
            letter = client.list_dead_letters(all=True, task_uuid=uuid)[0]
            client.settle_dead_letters(action.pop("letter"), letter["id"], **action)
        else:
            client.act(uuid, **action)
    except ClientError as error:
        subset(refused or "no refusal", error.code, what, wrong)
    else:
        if refused:
            wrong.append(f"{what} was not refused")


def check(client: TaskerClient, case: dict[str, Any], nasty: bool) -> list[str]:
    """What is wrong; nothing, when the case passes."""
    name = (yaml.safe_load(case_templates(case)[0]) or {}).get("name")
    namespace = case.get("namespace", case["name"])
    request = {
        "name": name,
        "namespace": namespace,
        "context": case.get("input", {}),
        **case.get("request", {}),
    }
    wrong: list[str] = []
    if "refused" in case:
        before = client.list_tasks()["total"]
        try:
            client.create_tasks([request])
        except ClientError as error:
            subset(case["refused"]["code"], error.code, "code", wrong)
            if "details" in case["refused"]:
                subset(
                    case["refused"]["details"],
                    len(error.details or []),
                    "details",
                    wrong,
                )
        else:
            wrong.append("the creation was not refused")
        if client.list_tasks()["total"] != before:
            wrong.append("something was stored")
        return wrong
    uuid = client.create_tasks([request])[0]["task_uuid"]
    found = observe(client, uuid, nasty)
    if "twice" in case:
        again(client, request, uuid, case["twice"], wrong)
    for action in case.get("then", []):
        operate(client, uuid, dict(action), wrong)
        if action.get("rests", True):
            found = observe(client, uuid, nasty)
    expect = dict(case["expect"])
    for tag, names in expect.pop("templates_tagged", {}).items():
        tagged = [t["name"] for t in client._call("list_templates", {"tag": tag})["templates"]]
        subset(names, tagged, f"templates tagged {tag}", wrong)
    steps = expect.pop("steps", {})
    order = expect.pop("order", [])
    subset(expect, found, "task", wrong)
    for step, expected in steps.items():
        if step not in found["by_name"]:
            wrong.append(f"there is no step {step}; there are {', '.join(found['step_names'])}")
            continue
        subset(expected, found["by_name"][step], step, wrong)
    for first, second in order:
        ended = found["by_name"][first]["completed_at"]
        started = found["by_name"][second]["history"][0]["started_at"]
        if ended > started:
            wrong.append(f"{second} started at {started}, before {first} ended at {ended}")
    return wrong


def attempt(client: TaskerClient, case: dict[str, Any], nasty: bool) -> list[str]:
    try:
        return check(client, case, nasty)
    except (ClientError, TimeoutError) as error:
        return [str(error)]


def lost_a_lease(client: TaskerClient, case: dict[str, Any]) -> bool:
    tasks = client.list_tasks(namespace=case.get("namespace", case["name"]))["tasks"]
    steps = [step for task in tasks for step in client.list_task_steps(task["task_uuid"])]
    return any(a["outcome"] == "lease_expired" for step in steps for a in step["history"])


def check_vectors(client: TaskerClient) -> list[tuple[str, list[str]]]:
    """Values that must cross a host byte for byte, and the step event itself."""
    outcomes = []
    # Below the client, which would parse the values on their way.
    native = NativeClient(client.url)
    for line in (ROOT / "vectors" / "values.jsonl").read_text(encoding="utf-8").splitlines():
        vector = json.loads(line)
        sent = f'"{vector["json"] * vector["times"]}"' if "times" in vector else vector["json"]
        request = f'{{"tasks":[{{"name":"echo","namespace":"vectors","context":{{"value":{sent}}}}}]}}'
        uuid = json.loads(native.call("create_tasks", request.encode()))["tasks"][0]["task"]["task_uuid"]
        client.wait(uuid, WAIT_SECONDS)
        answer = native.call("get_step", json.dumps({"task_uuid": uuid, "step": "echo"}).encode()).decode()
        found = re.search(r'"result":(.*?),"error":null,"metadata":', answer, re.DOTALL)
        got = found.group(1) if found else answer
        wanted = vector.get("back", sent)
        wrong = [] if got == wanted else [f"{sent[:200]} came back as {got[:200]}"]
        outcomes.append((f"vector {vector['name']}", wrong))
    # By whom it is asked for is up to each client, and not to the hosts.
    request = {"name": "event", "namespace": "vectors", "context": {"n": 1}, "tags": ["a"]}
    uuid = client.create_tasks([{**request, "initiator": "api", "source_system": "api"}])[0]["task_uuid"]
    client.wait(uuid, WAIT_SECONDS)
    event = client.get_step(uuid, "second")["result"]
    # What differs from run to run; that it is there counts.
    for envelope in event["dependency_results"].values():
        known = {"execution_time_ms": "MS", "worker_id": "WORKER"}
        envelope["metadata"].update(
            {key: word for key, word in known.items() if envelope["metadata"].get(key) is not None}
        )
    event = json.dumps(
        event,
        indent=1,
        ensure_ascii=False,
        sort_keys=True,
    )
    event = TIME.sub("TIME", UUID.sub("UUID", event)) + "\n"
    golden = (ROOT / "vectors" / "step_event.json").read_text(encoding="utf-8")
    wrong = [] if event == golden else [f"the step event differs from vectors/step_event.json:\n{event}"]
    return [*outcomes, ("vector step event", wrong)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker-cmd", help="command of the host; gets --url and --templates")
    parser.add_argument(
        "--language", choices=["python", "ruby", "rust"], help="of the host: runs classification.yaml as well"
    )
    parser.add_argument("--nasty", action="store_true", help="under bad conditions: see NASTY")
    parser.add_argument("--store", choices=STORES, default=STORES[0], help="what the cases run on")
    parser.add_argument("--remote", action="store_true", help="through `tasker serve` before the store")
    parser.add_argument("--only", help="run cases whose name contains this")
    parser.add_argument("--json", type=Path, help="write what is wrong with each check here")
    given = parser.parse_args()
    python_host = [sys.executable, str(ROOT / "hosts" / "python" / "host.py")]
    command = shlex.split(given.worker_cmd) if given.worker_cmd else python_host
    cases = load_cases(given.only)
    language = given.language or (None if given.worker_cmd else "python")
    if language is not None:
        cases += classification_cases(language, given.only)
    told: dict[str, list[str]] = {}

    def tell(name: str, wrong: list[str]) -> None:
        told[name] = wrong
        for line in wrong:
            print(f"FAIL {name}: {line}")

    for environment in sorted({case.get("environment", "test") for case in cases}):
        group = [case for case in cases if case.get("environment", "test") == environment]
        with tempfile.TemporaryDirectory() as folder:
            with_vectors = environment == "test" and given.only is None
            vectors = [{"name": "vectors", "templates": VECTOR_TEMPLATES}] if with_vectors else []
            disturb = NASTY if given.nasty else ""
            host = Host(command, environment, [*group, *vectors], Path(folder), given.store, disturb, given.remote)
            try:
                for case in group:
                    wrong = attempt(host.client, case, given.nasty)
                    # A lease that short may end on a busy machine, which costs an attempt that cases may count.
                    if wrong and given.nasty and lost_a_lease(host.client, case):
                        wrong = attempt(host.client, case, True)
                    tell(f"{case['file']} {case['name']}", wrong)
                if with_vectors:
                    for name, wrong in check_vectors(host.client):
                        tell(name, wrong)
                broken = [f["check"] for f in host.client.doctor()["findings"] if f["violations"]]
                tell(f"the store afterwards ({environment})", broken)
            finally:
                code = host.close()
            tell(
                f"the host's exit ({environment})",
                [] if code == 0 else [f"code {code}"],
            )
    failed = sum(1 for wrong in told.values() if wrong)
    if given.json is not None:
        given.json.write_text(json.dumps(told), encoding="utf-8")
    print(f"conformance: {len(told) - failed} passed, {failed} failed")
    return 1 if failed else 0


VECTOR_TEMPLATES = [
    """
name: echo
namespace_name: vectors
steps:
  - name: echo
    handler: {callable: conformance.program, initialization: {program: [{return: {$input: value}}]}}
""",
    """
name: event
namespace_name: vectors
version: 1.2.3
steps:
  - name: first
    handler:
      callable: conformance.program
      initialization: {program: [{return: {x: [1, 2.50]}, metadata: {kept: true}}]}
  - name: second
    description: gives its own event
    depends_on: [first]
    timeout_seconds: 12.5
    priority: 3
    retry: {max_attempts: 4, backoff: linear, backoff_base_ms: 20, max_backoff_ms: 500}
    handler: {callable: conformance.program, initialization: {program: [{return: {$event: null}}]}}
""",
]


if __name__ == "__main__":
    sys.exit(main())
