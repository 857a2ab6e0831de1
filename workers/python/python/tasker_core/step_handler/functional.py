"""Handlers as functions: parameters name what they need.

Example:
    >>> @step_handler("shop.total")
    ... @depends_on(cart="load_cart")
    ... @inputs("tax_rate")
    ... def total(cart, tax_rate, context):
    ...     return cart["sum"] * (1 + tax_rate)
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union, cast

from tasker_core.batch_processing import BatchWorkerOutcome
from tasker_core.errors import ValidationError
from tasker_core.step_handler.api import ApiHandler, ApiResponse
from tasker_core.step_handler.base import StepHandler
from tasker_core.step_handler.batchable import Batchable
from tasker_core.step_handler.decision import DecisionHandler

__all__ = [
    "BatchConfig",
    "Decision",
    "api_handler",
    "batch_analyzer",
    "batch_worker",
    "decision_handler",
    "depends_on",
    "inputs",
    "step_handler",
]

Function = Callable[..., Any]


class _Needs:
    """What a function wants injected."""

    def __init__(self) -> None:
        self.dependencies: dict[str, tuple[str, Any]] = {}
        self.inputs: dict[str, Any] = {}
        self.models: list[Any] = []


def _needs(function: Function) -> _Needs:
    needs = getattr(function, "_tasker_needs", None)
    if needs is None:
        needs = _Needs()
        function._tasker_needs = needs  # type: ignore[attr-defined]
    return needs


def depends_on(**parameters: Union[str, tuple[str, Any]]) -> Callable[[Function], Function]:
    """Injects results of dependencies: ``param="step"``, or ``param=("step", Model)`` to have it validated."""

    def decorate(function: Function) -> Function:
        needs = _needs(function)
        for name, wanted in parameters.items():
            needs.dependencies[name] = (wanted, None) if isinstance(wanted, str) else wanted
        return function

    return decorate


def inputs(*names: Union[str, Any]) -> Callable[[Function], Function]:
    """Injects fields of the task's context by name; a model class gets the whole context, validated."""

    def decorate(function: Function) -> Function:
        needs = _needs(function)
        for name in names:
            if isinstance(name, str):
                needs.inputs[name] = None
            else:
                needs.models.append(name)
        return function

    return decorate


def build_model(model: Any, value: Any) -> Any:
    """An object of a pydantic model or data class from a JSON value; further fields of the value are left out.

    Raises:
        ValidationError: the value does not fit.
    """
    if model is None or value is None:
        return value
    validate = getattr(model, "model_validate", None)
    try:
        if callable(validate):
            return validate(value)
        if dataclasses.is_dataclass(model) and isinstance(value, dict):
            value = {f.name: value[f.name] for f in dataclasses.fields(model) if f.init and f.name in value}
        return model(**value) if isinstance(value, dict) else model(value)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"the value does not fit {model.__name__}: {error}") from error


def step_handler(name: str, version: str = "1.0.0") -> Callable[[Function], Function]:
    """Registers a function as the handler of a name."""
    return handler_decorator(name, version, StepHandler)  # type: ignore[type-abstract]


@dataclass(frozen=True)
class Decision:
    """What a decision function returns."""

    steps: list[str] = field(default_factory=list)
    reason: Optional[str] = None
    routing_context: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def route(cls, steps: Union[str, list[str]], **routing_context: Any) -> Decision:
        """Creates the named steps; the context is kept beside the outcome."""
        return cls([steps] if isinstance(steps, str) else list(steps), None, routing_context)

    @classmethod
    def skip(cls, reason: str, **routing_context: Any) -> Decision:
        """Creates nothing, and says why."""
        return cls([], reason, routing_context)


@dataclass(frozen=True)
class BatchConfig:
    """What an analyzer function returns: how much there is, and how it is cut."""

    total_items: int
    batch_size: int
    metadata: dict[str, Any] = field(default_factory=dict)
    max_batches: Optional[int] = None


def decision_handler(name: str, version: str = "1.0.0") -> Callable[[Function], Function]:
    """Registers a function that returns a ``Decision``, the names of steps, or a result."""

    def finish(handler: StepHandler, _context: Any, output: Any) -> Any:
        decision = cast("DecisionHandler", handler)
        if isinstance(output, (str, list)):
            output = Decision.route(output)
        if not isinstance(output, Decision):
            return output
        context = output.routing_context or None
        if output.reason is not None:
            return decision.skip_branches(output.reason, context)
        return decision.decision_success(output.steps, context)

    return handler_decorator(name, version, DecisionHandler, finish=finish)  # type: ignore[type-abstract]


def batch_analyzer(
    name: str, worker_template: Optional[str] = None, version: str = "1.0.0"
) -> Callable[[Function], Function]:
    """Registers a function that returns a ``BatchConfig``, the number of items 0 for nothing to do, or a result.

    Args:
        worker_template: Template step of the workers; that of the step's ``batch_config`` when absent.
    """

    def finish(handler: StepHandler, context: Any, output: Any) -> Any:
        batches = cast("Batchable", handler)
        if not isinstance(output, BatchConfig):
            return output
        if output.total_items == 0:
            return batches.no_batches_outcome("no items")
        outcome = batches.create_batch_outcome_from_ranges(
            output.total_items, output.batch_size, max_batches=output.max_batches
        )
        return batches.batch_analyzer_success(outcome, worker_template, output.metadata or None)

    return handler_decorator(name, version, Batchable, finish=finish)  # type: ignore[type-abstract]


def batch_worker(name: str, version: str = "1.0.0") -> Callable[[Function], Function]:
    """Registers a function that gets ``batch_context``; placeholder workers never reach it."""

    def extra(handler: StepHandler, context: Any) -> dict[str, Any]:
        return {"batch_context": cast("Batchable", handler).get_batch_context(context)}

    def instead(handler: StepHandler, context: Any) -> Any:
        return cast("Batchable", handler).handle_no_op_worker(context)

    def finish(_handler: StepHandler, _context: Any, output: Any) -> Any:
        return output.to_dict() if isinstance(output, BatchWorkerOutcome) else output

    return handler_decorator(name, version, Batchable, extra, finish, instead)  # type: ignore[type-abstract]


def api_handler(
    name: str,
    base_url: str = "",
    timeout: float = 30.0,
    default_headers: Optional[dict[str, str]] = None,
    version: str = "1.0.0",
) -> Callable[[Function], Function]:
    """Registers a function that gets ``api``: an ``ApiHandler`` with ``get post … api_success api_failure``.

    An ``ApiResponse`` it returns becomes a success or failure by its status.
    """
    settings = {"base_url": base_url, "default_timeout": timeout, "default_headers": default_headers or {}}
    base = type("FunctionalApiHandler", (ApiHandler,), settings)

    def finish(handler: StepHandler, _context: Any, output: Any) -> Any:
        if not isinstance(output, ApiResponse):
            return output
        api = cast("ApiHandler", handler)
        return api.api_success(output) if output.ok else api.api_failure(output)

    return handler_decorator(name, version, base, lambda handler, _context: {"api": handler}, finish)


def handler_decorator(
    name: str,
    version: str,
    base: type[StepHandler],
    extra: Callable[[StepHandler, Any], dict[str, Any]] | None = None,
    finish: Callable[[StepHandler, Any, Any], Any] | None = None,
    instead: Callable[[StepHandler, Any], Any] | None = None,
) -> Callable[[Function], Function]:
    """The decorator all kinds of functional handlers share.

    ``extra`` gives further parameters of a call; ``finish`` turns what the function returned into a result; what
    ``instead`` gives, unless ``None``, stands for a call.
    """

    def decorate(function: Function) -> Function:
        needs = _needs(function)
        parameters = inspect.signature(function).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for model in needs.models:
            fitting = [p for p, v in parameters.items() if v.annotation in (model, model.__name__)]
            needs.inputs[fitting[0] if fitting else "inputs"] = model
        optional = {p for p, v in parameters.items() if v.default is not v.empty}

        def arguments(handler: StepHandler, context: Any) -> dict[str, Any]:
            values: dict[str, Any] = {}
            for parameter, (step, model) in needs.dependencies.items():
                values[parameter] = build_model(model, context.get_dependency_result(step))
            for parameter, model in needs.inputs.items():
                if model is not None:
                    values[parameter] = build_model(model, context.input_data)
                elif parameter in context.input_data or parameter not in optional:
                    values[parameter] = context.get_input(parameter)
            if extra is not None:
                given = extra(handler, context)
                values.update({k: v for k, v in given.items() if takes_all or k in parameters})
            if "context" in parameters or takes_all:
                values["context"] = context
            return values

        if inspect.iscoroutinefunction(function):

            async def call(self: StepHandler, context: Any) -> Any:
                settled = None if instead is None else instead(self, context)
                if settled is not None:
                    return settled
                output = await function(**arguments(self, context))
                return output if finish is None else finish(self, context, output)

        else:

            def call(self: StepHandler, context: Any) -> Any:  # type: ignore[misc]
                settled = None if instead is None else instead(self, context)
                if settled is not None:
                    return settled
                output = function(**arguments(self, context))
                return output if finish is None else finish(self, context, output)

        members = {
            "handler_name": name,
            "handler_version": version,
            "call": call,
            "__doc__": function.__doc__,
            "__module__": function.__module__,
        }
        handler = type(f"{function.__name__}_handler", (base,), members)
        function._handler_class = handler  # type: ignore[attr-defined]
        from tasker_core.registry import HandlerRegistry

        HandlerRegistry.instance().register(name, handler)
        return function

    return decorate
