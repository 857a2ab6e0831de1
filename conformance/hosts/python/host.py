"""The Python host: one interpreter handler, run by a plain worker."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from tasker_core import (
    ApiHandler,
    HandlerRegistry,
    StepContext,
    StepHandler,
    Worker,
    WorkerConfig,
    errors,
)
from tasker_core.domain_events import (
    BasePublisher,
    BaseSubscriber,
    InProcessDomainEvent,
    PublisherRegistry,
    StepResult,
    SubscriberRegistry,
)

TROUBLE = yaml.safe_load((Path(__file__).parents[2] / "classification.yaml").read_text(encoding="utf-8"))

RAISES: dict[str, Any] = {
    "permanent": errors.PermanentError,
    "retryable": errors.RetryableError,
    "validation": errors.ValidationError,
    "timeout": errors.TimeoutError,
    "network": errors.NetworkError,
    "rate_limit": errors.RateLimitError,
    "not_found": errors.NotFoundError,
    "wrong_value": ValueError,
    "wrong_type": TypeError,
    "missing_key": KeyError,
    "connection": ConnectionError,
    "os": OSError,
    "unknown": type("UnheardOf", (Exception,), {}),
}


def get(value: Any, path: list[Any]) -> Any:
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
            value = value[key]
        else:
            return None
    return value


class Program(StepHandler):
    """Runs the program of its step."""

    handler_name = "conformance.program"

    def call(self, context: StepContext) -> Any:
        return self._start(context, "call")

    def validate(self, context: StepContext) -> Any:
        return self._start(context, "validate")

    def process(self, context: StepContext) -> Any:
        return self._start(context, "process")

    def refund(self, context: StepContext) -> Any:
        return self._start(context, "refund")

    def _start(self, context: StepContext, method: str) -> Any:
        self.context = context
        self.method = method
        self.variables: dict[str, Any] = {}
        return self._run(context.step_config["program"])

    def _run(self, statements: list[dict[str, Any]]) -> Any | None:
        for statement in statements:
            if "set" in statement:
                for name, expression in statement["set"].items():
                    self.variables[name] = self._value(expression)
            elif "if" in statement:
                branch = "then" if self._value(statement["if"]) else "else"
                done = self._run(statement.get(branch, []))
                if done is not None:
                    return done
            elif "for" in statement:
                for i in range(self._value(statement["from"]), self._value(statement["to"])):
                    self.variables[statement["for"]] = i
                    done = self._run(statement["do"])
                    if done is not None:
                        return done
            elif "trouble" in statement:
                return self._trouble(statement["trouble"])
            elif "until_cancelled" in statement:
                while not self.context.cancelled:
                    time.sleep(0.001)
            else:
                return self._end(statement)
        return None

    def _end(self, statement: dict[str, Any]) -> Any:
        if "return" in statement:
            return self.success(self._value(statement["return"]), self._value(statement.get("metadata")))
        if "fail" in statement:
            return self.failure(**{k: self._value(v) for k, v in statement["fail"].items()})
        if "checkpoint" in statement:
            return self.checkpoint_yield(**{k: self._value(v) for k, v in statement["checkpoint"].items()})
        if "raise" in statement:
            said = {k: self._value(v) for k, v in statement["raise"].items()}
            kind, message = RAISES[said.pop("kind")], said.pop("message")
            raise kind(message, **said)
        raise AssertionError(f"unknown statement {statement}")

    def _trouble(self, kind: str) -> Any:
        code = next(row["python"] for row in TROUBLE if row["kind"] == kind)
        names: dict[str, Any] = {"errors": errors, "self": self}
        exec(compile(f"def trouble(self):\n    {code}\n", "trouble", "exec"), names)
        return names["trouble"](self)

    def _value(self, expression: Any) -> Any:
        if isinstance(expression, list):
            return [self._value(item) for item in expression]
        if not isinstance(expression, dict):
            return expression
        key = next(iter(expression), "")
        if len(expression) != 1 or not key.startswith("$"):
            return {k: self._value(v) for k, v in expression.items()}
        argument = expression[key]
        if key == "$raw":
            return argument
        return self._operation(key, self._value(argument))

    def _operation(self, name: str, given: Any) -> Any:
        context = self.context
        simple = {
            "$input": lambda: context.get_input(given),
            "$dep": lambda: get(context.get_dependency_result(given[0]), given[1:]),
            "$deps": lambda: {
                name: context.get_dependency_result(name)
                for name in context.get_dependency_result_keys()
                if name.startswith(given)
            },
            "$config": lambda: context.get_config(given),
            "$inputs": lambda: get(context.step_inputs, given),
            "$checkpoint": lambda: (context.checkpoint or {}).get(given),
            "$attempt": lambda: context.retry_count,
            "$step": lambda: context.step_name,
            "$method": lambda: self.method,
            "$var": lambda: self.variables[given],
            "$event": lambda: context.task_sequence_step.to_dict(),
            "$add": lambda: given[0] + given[1],
            "$sub": lambda: given[0] - given[1],
            "$mul": lambda: given[0] * given[1],
            "$div": lambda: given[0] / given[1],
            "$mod": lambda: given[0] % given[1],
            "$eq": lambda: given[0] == given[1],
            "$lt": lambda: given[0] < given[1],
            "$ge": lambda: given[0] >= given[1],
            "$and": lambda: all(given),
            "$not": lambda: not given,
            "$len": lambda: len(given),
            "$sum": lambda: sum(given),
            "$round": lambda: round(given[0], given[1]),
            "$keys": lambda: sorted(given),
            "$get": lambda: get(given[0], given[1:]),
            "$file": lambda: wait_for_file(given),
            "$touch": lambda: Path(given).write_text("") == 0,
            "$heard": lambda: heard(HEARD, context.task_uuid, *given),
            "$after": lambda: heard(AFTER, context.task_uuid, *given),
            "$values": lambda: [given[k] for k in sorted(given)],
        }
        return simple[name]()


class Service(ApiHandler):
    """Makes the request of its step and gives what came of it."""

    handler_name = "conformance.api"

    def call(self, context: StepContext) -> Any:
        self.base_url = context.get_config("base_url")
        self.default_timeout = context.get_config("timeout") or 30.0
        body = context.get_config("body")
        options = {} if body is None else {"json": body}
        send = getattr(self, context.get_config("method").lower())
        response = send(context.get_config("path"), **options)
        return self.api_success(response) if response.ok else self.api_failure(response)


HEARD: dict[tuple[str, str], list[Any]] = {}
AFTER: dict[tuple[str, str], list[Any]] = {}
NEWS = threading.Condition()


def wait_for_file(path: str) -> bool:
    """True once the file is there."""
    while not os.path.exists(path):
        time.sleep(0.002)
    return True


def heard(where: dict[tuple[str, str], list[Any]], task: str, name: str, count: int) -> list[Any]:
    """Payloads of a task's events of a name, once there are at least so many."""
    with NEWS:
        NEWS.wait_for(lambda: len(where.get((task, name), [])) >= count, 20)
        return list(where.get((task, name), []))


class Listener(BaseSubscriber):
    """Remembers what it hears."""

    subscribes_to = "*"

    def handle(self, event: InProcessDomainEvent) -> None:
        with NEWS:
            HEARD.setdefault((event.metadata.task_uuid, event.event_name), []).append(event.payload)
            NEWS.notify_all()


class Wrap(BasePublisher):
    """Wraps the result; holds it back, stops or fails when it says so."""

    publisher_name = "conformance.wrap"

    def should_publish(self, step_result: StepResult, *_: Any) -> bool:
        return step_result.result != "quiet"

    def transform_payload(self, step_result: StepResult, event_declaration: Any, step_context: Any) -> Any:
        if step_result.result == "broken":
            raise ValueError("cannot wrap that")
        return {"wrapped": step_result.result, "step": step_context.step_name}

    def additional_metadata(self, *_: Any) -> dict[str, Any]:
        return {"added": "by the publisher"}

    def before_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> bool:
        return payload["wrapped"] != "stop"

    def after_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> None:
        with NEWS:
            AFTER.setdefault((metadata["task_uuid"], event_name), []).append(payload)
            NEWS.notify_all()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--templates", required=True)
    given = parser.parse_args()
    registry = HandlerRegistry()
    registry.register(Program)
    registry.register(Service)
    SubscriberRegistry.instance().register(Listener).start()
    PublisherRegistry.instance().register(Wrap)
    worker = Worker.start(
        config=WorkerConfig(max_concurrent_handlers=16),
        url=given.url,
        templates=[given.templates],
        registry=registry,
    )
    print("ready", file=sys.stderr, flush=True)
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
