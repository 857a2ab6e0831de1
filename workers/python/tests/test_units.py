"""The SDK's parts without an engine."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest
import tasker_core
from tasker_core import (
    EventBridge,
    EventNames,
    HandlerDefinition,
    HandlerRegistry,
    MethodDispatchWrapper,
    RegistryResolver,
    ResolutionError,
    ResolverNotFoundError,
    StepContext,
    StepHandler,
    StepHandlerCallResult,
    StepHandlerResult,
    TaskSequenceStepWrapper,
    errors,
)
from tasker_core.discovery import HandlerDiscovery, TemplateParser, TemplatePath
from tasker_core.serialization import SerializationError, dump


class Explicit(ValueError):
    retryable = True


@pytest.mark.parametrize(
    ("error", "error_type", "retryable", "by"),
    [
        (Explicit("x"), "Explicit", True, "explicit_attribute"),
        (errors.PermanentError("x"), "permanent_error", False, "explicit_attribute"),
        (errors.PermanentError("x", retryable=True), "permanent_error", True, "explicit_attribute"),
        (errors.TimeoutError("x"), "timeout", True, "explicit_attribute"),
        (errors.BusinessLogicError("x"), "business_logic_error", False, "explicit_attribute"),
        (ValueError("x"), "ValueError", False, "permanent_class"),
        (TypeError("x"), "TypeError", False, "permanent_class"),
        (KeyError("x"), "KeyError", False, "permanent_class"),
        (IndexError("x"), "IndexError", False, "permanent_class"),
        (AttributeError("x"), "AttributeError", False, "permanent_class"),
        (NameError("x"), "NameError", False, "permanent_class"),
        (NotImplementedError("x"), "NotImplementedError", False, "permanent_class"),
        (AssertionError("x"), "AssertionError", False, "permanent_class"),
        (ImportError("x"), "ImportError", False, "permanent_class"),
        (json.JSONDecodeError("x", "y", 0), "JSONDecodeError", False, "permanent_class"),
        (ConnectionResetError("x"), "ConnectionResetError", True, "retryable_class"),
        (BrokenPipeError("x"), "BrokenPipeError", True, "retryable_class"),
        (socket.gaierror("x"), "gaierror", True, "retryable_class"),
        (TimeoutError("x"), "TimeoutError", True, "retryable_class"),
        (OSError("x"), "OSError", True, "retryable_class"),
        (RuntimeError("x"), "RuntimeError", True, "default"),
        (ZeroDivisionError("x"), "ZeroDivisionError", False, "permanent_class"),
        (OverflowError("x"), "OverflowError", False, "permanent_class"),
        (re.error("x"), "error", False, "permanent_class"),
        (RecursionError("x"), "RecursionError", False, "permanent_class"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "x"), "UnicodeDecodeError", False, "permanent_class"),
        (MemoryError("x"), "MemoryError", True, "default"),
    ],
)
def test_classifier(error: Exception, error_type: str, retryable: bool, by: str) -> None:
    found = errors.get_classifier().classify(error)
    assert found == {"error_type": error_type, "retryable": retryable, "classification": by}
    assert errors.is_retryable(error) is retryable
    assert errors.is_permanent(error) is not retryable


def test_errors_carry_everything() -> None:
    error = errors.RateLimitError("slow", error_code="E", retry_after=2.5, metadata={"a": 1}, context={"b": 2})
    assert error.to_dict() == {
        "message": "slow",
        "error_type": "RateLimitError",
        "error_code": "E",
        "retryable": True,
        "retry_after": 2.5,
        "metadata": {"a": 1, "error_code": "E", "retry_after": 2.5, "b": 2},
        "context": {"b": 2},
    }
    failure = StepHandlerCallResult.from_exception(error)
    assert (failure.error_message, failure.retry_after, failure.metadata) == ("slow", 2.5, {"a": 1})


def test_every_exported_name_exists_and_is_documented() -> None:
    for name in tasker_core.__all__:
        value = getattr(tasker_core, name)
        if callable(value):
            assert value.__doc__, name
    with pytest.raises(AttributeError):
        _ = tasker_core.no_such_name


def test_results() -> None:
    assert StepHandlerResult(success=True, result=1).is_success  # type: ignore[call-arg]
    assert StepHandlerResult.success().is_success_result()
    failed = StepHandlerResult.failure("no")
    assert failed.is_failure_result() and failed.retryable and failed.error_type == "handler_error"
    assert StepHandlerResult.failure("no", tasker_core.ErrorType.TIMEOUT).error_type == "timeout"
    assert StepHandlerCallResult.from_handler_output({"success": True}).is_success  # type: ignore[union-attr]
    assert not StepHandlerCallResult.from_handler_output({"success": False}).is_success  # type: ignore[union-attr]


DOCUMENT: dict[str, Any] = {
    "event_id": "e",
    "task_uuid": "t",
    "step_uuid": "s",
    "correlation_id": "c",
    "task_sequence_step": {
        "task": {"task": {"task_uuid": "t", "context": {"n": 0, "none": None}, "tags": ["x"]}, "task_name": "name"},
        "workflow_step": {
            "name": "second",
            "attempts": 2,
            "max_attempts": 3,
            "inputs": {"cursor": 5},
            "checkpoint": {"cursor": 9, "items_processed": 4, "accumulated_results": [1]},
        },
        "dependency_results": {
            "first": {"result": {"a": {"b": 1}}, "metadata": {}},
            "fan_1": {"result": 10, "metadata": {}},
            "fan_2": {"result": 20, "metadata": {}},
        },
        "step_definition": {
            "name": "second",
            "handler": {"callable": "h", "method": "m", "initialization": {"k": "v"}},
            "timeout_seconds": 30,
        },
    },
}


def test_context() -> None:
    context = StepContext.from_ffi_event(DOCUMENT, "h")
    assert (context.task_uuid, context.step_uuid, context.correlation_id, context.handler_name) == ("t", "s", "c", "h")
    assert (context.get_input("n"), context.get_input_or("n", 5), context.get_input_or("none", 5)) == (0, 0, 5)
    assert context.get_config("k") == "v"
    assert context.get_dependency_result("first") == {"a": {"b": 1}}
    assert context.get_dependency_field("first", "a", "b") == 1
    assert context.get_dependency_field("first", "a", "b", "c") is None
    assert context.get_dependency_result("nothing") is None
    assert context.get_all_dependency_results("fan_") == [10, 20]
    assert (context.is_retry(), context.is_last_retry()) == (True, True)
    assert context.step_inputs == {"cursor": 5}
    assert (context.checkpoint_cursor, context.checkpoint_items_processed) == (9, 4)
    assert (context.accumulated_results, context.has_checkpoint()) == ([1], True)
    assert context.idempotency_key == "s"


def test_wrappers() -> None:
    step = TaskSequenceStepWrapper.from_dict(DOCUMENT["task_sequence_step"])
    assert (step.task.context, step.task.tags, step.task.task_name) == ({"n": 0, "none": None}, ["x"], "name")
    assert (step.workflow_step.name, step.workflow_step.attempts) == ("second", 2)
    with pytest.raises(AttributeError):
        _ = step.workflow_step.unknown
    results = step.dependency_results
    assert results.get_result("first") == {"result": {"a": {"b": 1}}, "metadata": {}}
    assert (results.get_results("first"), results["fan_1"]) == ({"a": {"b": 1}}, {"result": 10, "metadata": {}})
    assert "first" in results and list(results) == results.keys() == ["first", "fan_1", "fan_2"]
    handler = step.step_definition.handler
    assert (handler.callable, handler.handler_method, handler.resolver) == ("h", "m", None)
    assert (handler.initialization, step.step_definition.timeout_seconds) == ({"k": "v"}, 30)


class Double(StepHandler):
    handler_name = "double"

    def call(self, context: Any) -> Any:
        return 2

    def twice(self, context: Any) -> Any:
        return 4


def test_registry() -> None:
    registry = HandlerRegistry()
    registry.register(Double)
    assert registry.is_registered("double") and registry.list_handlers() == ["double"]
    assert registry.get_handler_class("double") is Double
    assert isinstance(registry.resolve("double"), Double)
    assert registry.resolve("nobody") is None
    dispatched = registry.resolve(HandlerDefinition("double", method="twice"))
    assert isinstance(dispatched, MethodDispatchWrapper) and dispatched.call(None) == 4
    with pytest.raises(ResolutionError, match=r"has no method `thrice`; it has call, twice"):
        registry.resolve(HandlerDefinition("double", method="thrice"))
    with pytest.raises(errors.ConfigurationError):
        registry.register("nothing", None)
    assert registry.unregister("double") and registry.handler_count() == 0


def test_resolver_chain() -> None:
    class Math(RegistryResolver):
        name = "math"

        def resolve(self, definition: HandlerDefinition) -> Any:
            return Double

    registry = HandlerRegistry()
    chain = registry.chain
    chain.add_resolver(Math(prefix="math."))
    assert chain.list_resolvers() == [("explicit_mapping", 10), ("math", 50), ("class_lookup", 100)]
    assert isinstance(registry.resolve("math.double"), Double)
    assert registry.resolve("other.double") is None
    assert registry.resolve(HandlerDefinition("math.x", resolver="explicit_mapping")) is None
    with pytest.raises(ResolverNotFoundError, match="the chain has explicit_mapping, math, class_lookup"):
        registry.resolve(HandlerDefinition("math.x", resolver="maths"))
    assert chain.remove_resolver("math") and not chain.remove_resolver("math")
    # Class paths only under packages that were named.
    path = f"{Double.__module__}.Double"
    assert registry.resolve(path) is None
    registry.allow_package(Double.__module__)
    assert isinstance(registry.resolve(path), Double)


def test_bridge() -> None:
    bridge = EventBridge()
    heard: list[Any] = []
    bridge.subscribe("a", heard.append)
    assert not bridge.publish("a", 0), "a bridge that was not started lets nothing through"
    bridge.start()
    bridge.subscribe_once("a", lambda value: heard.append(("once", value)))

    def broken(value: Any) -> None:
        raise ValueError("broken listener")

    bridge.subscribe("a", broken)
    troubles: list[BaseException] = []
    bridge.subscribe(EventNames.BRIDGE_ERROR, troubles.append)
    assert bridge.publish("a", 1) and bridge.publish("a", 2)
    assert heard == [1, ("once", 1), 2]
    assert [str(t) for t in troubles] == ["broken listener"] * 2
    assert bridge.listener_count("a") == 2
    bridge.unsubscribe("a", broken)
    assert bridge.listeners("a") == [heard.append]
    bridge.stop()
    assert not bridge.is_active and not bridge.publish("a", 3)


def test_serialization_names_the_place() -> None:
    assert dump({"a": (1, 2.5), "ä": None}) == '{"a":[1,2.5],"ä":null}'.encode()
    with pytest.raises(SerializationError, match=r"the result cannot be stored as JSON: result.a\[1\].b: nan"):
        dump({"a": [0, {"b": float("nan")}]})
    with pytest.raises(SerializationError, match="a key of type tuple"):
        dump({"a": {(1, 2): 3}})


def test_discovery(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "config" / "tasks"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(
        "name: a\nnamespace_name: n\nsteps:\n  - {name: s, handler: x}\n  - {name: t, handler: x}\n"
    )
    (folder / "deep").mkdir()
    (folder / "deep" / "b.yml").write_text("name: b\nsteps: [{name: s, handler: y}]\n")
    (folder / "note.txt").write_text("no template")
    monkeypatch.delenv("TASKER_TEMPLATE_PATH", raising=False)
    monkeypatch.setenv("WORKSPACE_PATH", str(tmp_path))
    assert TemplatePath.find_template_config_directory() == folder
    assert [f.name for f in TemplatePath.discover_template_files()] == ["a.yaml", "b.yml"]
    assert TemplateParser.extract_handler_callables(folder / "a.yaml") == ["x"]
    assert TemplateParser.extract_template_metadata(folder / "a.yaml")["steps"] == ["s", "t"]
    assert HandlerDiscovery.discover_all_handlers() == ["x", "y"]
    assert HandlerDiscovery.discover_handlers_by_namespace() == {"n": ["x"], "default": ["y"]}
    monkeypatch.setenv("TASKER_TEMPLATE_PATH", str(folder / "deep"))
    assert [m["name"] for m in HandlerDiscovery.discover_template_metadata()] == ["b"]
    (folder / "deep" / "b.yml").write_text("name: b\nsteps: [{name: s, handler: y, depend_on: [s]}, {name: s}]\n")
    assert HandlerDiscovery.discover_all_handlers() == []
