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
from typing import Any, Callable, Optional, Protocol, TypeVar, Union, cast

from tasker_core.batch_processing import BatchWorkerOutcome
from tasker_core.errors import ValidationError
from tasker_core.step_handler.api import ApiHandler, ApiResponse
from tasker_core.step_handler.base import StepHandler
from tasker_core.step_handler.batchable import Batchable
from tasker_core.step_handler.decision import DecisionHandler
from tasker_core.types.decision import DecisionPointOutcome
from tasker_core.types.results import StepHandlerCallResult, StepHandlerResult

__all__ = [
    "BatchConfig",
    "Decision",
    "FunctionalHandler",
    "HandlerDecorator",
    "api_handler",
    "batch_analyzer",
    "batch_worker",
    "decision_handler",
    "depends_on",
    "inputs",
    "step_handler",
]

Function = Callable[..., Any]
#: A function keeps its own type when it is decorated.
F = TypeVar("F", bound=Callable[..., Any])


class FunctionalHandler(Protocol):
    """A decorated function: callable as before, and the handler class that calls it."""

    __name__: str
    _handler_class: type[StepHandler]

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Calls the function itself."""


#: What the decorators of handlers give.
HandlerDecorator = Callable[[Function], FunctionalHandler]


class _FunctionHandler(StepHandler):
    """What every functional handler is."""


class _BatchFunctionHandler(StepHandler, Batchable):
    """What functions of batches are."""


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


def depends_on(**parameters: Union[str, tuple[str, Any]]) -> Callable[[F], F]:
    """Injects results of dependencies: ``param="step"``, or ``param=("step", Model)`` to have it validated."""

    def decorate(function: F) -> F:
        needs = _needs(function)
        for name, wanted in parameters.items():
            needs.dependencies[name] = (wanted, None) if isinstance(wanted, str) else wanted
        return function

    return decorate


def inputs(*names: Union[str, Any]) -> Callable[[F], F]:
    """Injects fields of the task's context by name, absent ones as ``None``.

    A model class gets the whole context, validated; fields it wants and the context lacks are given as ``None``.
    """

    def decorate(function: F) -> F:
        needs = _needs(function)
        for name in names:
            if isinstance(name, str):
                needs.inputs[name] = None
            else:
                needs.models.append(name)
        return function

    return decorate


def build_input(model: Any, context: Any) -> Any:
    """An object of a model from the task's context; what it wants and the context lacks is ``None``."""
    given = dict(context)
    fields = getattr(model, "model_fields", None)
    if isinstance(fields, dict):
        for name, field in fields.items():
            if field.is_required() and name not in given and (field.alias is None or field.alias not in given):
                given[field.alias or name] = None
    elif dataclasses.is_dataclass(model):
        for item in dataclasses.fields(model):
            missing = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if item.init and missing:
                given.setdefault(item.name, None)
    return build_model(model, given)


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


def step_handler(name: str, version: str = "1.0.0") -> HandlerDecorator:
    """Registers a function as the handler of a name."""
    return handler_decorator(name, version, _FunctionHandler)


@dataclass(frozen=True)
class Decision:
    """What a decision function returns."""

    outcome: DecisionPointOutcome

    @staticmethod
    def route(steps: Union[str, list[str]], **routing_context: Any) -> Decision:
        """Creates the named steps; the context is kept beside the outcome."""
        return Decision(DecisionPointOutcome.create_steps(steps, routing_context=routing_context))

    @staticmethod
    def skip(reason: str, **routing_context: Any) -> Decision:
        """Creates nothing, and says why."""
        return Decision(DecisionPointOutcome.no_branches(reason, routing_context))

    @property
    def steps(self) -> list[str]:
        """The steps to create."""
        return self.outcome.next_step_names

    @property
    def reason(self) -> Optional[str]:
        """Why nothing is created."""
        return self.outcome.reason

    @property
    def routing_context(self) -> dict[str, Any]:
        """What is kept beside the outcome."""
        return self.outcome.routing_context


@dataclass(frozen=True)
class BatchConfig:
    """What an analyzer function returns: how much there is, and how it is cut."""

    total_items: int
    batch_size: int
    #: Kept in the analyzer's result, also under ``batch_metadata``, and in every worker's inputs.
    metadata: dict[str, Any] = field(default_factory=dict)
    max_batches: Optional[int] = None


def decision_handler(name: str, version: str = "1.0.0") -> HandlerDecorator:
    """Registers a function that returns a ``Decision``, the names of steps, or a result."""

    def finish(handler: StepHandler, _context: Any, output: Any) -> Any:
        if isinstance(output, (str, list)):
            output = Decision.route(output)
        if not isinstance(output, Decision):
            return output
        return cast("DecisionHandler", handler).decision_success_with_outcome(output.outcome)

    return handler_decorator(name, version, DecisionHandler, finish=finish)


def batch_analyzer(name: str, worker_template: Optional[str] = None, version: str = "1.0.0") -> HandlerDecorator:
    """Registers a function that returns a ``BatchConfig``, the number of items 0 for nothing to do, or a result.

    Args:
        worker_template: Template step of the workers; that of the step's ``batch_config`` when absent.
    """

    def finish(handler: StepHandler, context: Any, output: Any) -> Any:
        batches = cast("Batchable", handler)
        if not isinstance(output, BatchConfig):
            return output
        outcome = batches.create_batch_outcome_from_ranges(
            output.total_items, batch_size=output.batch_size, max_batches=output.max_batches
        )
        outcome.batch_metadata = dict(output.metadata)
        return batches.batch_analyzer_success(outcome, worker_template_name=worker_template)

    return handler_decorator(name, version, _BatchFunctionHandler, finish=finish)


def batch_worker(name: str, version: str = "1.0.0") -> HandlerDecorator:
    """Registers a function that gets ``batch_context``; placeholder workers never reach it."""

    def extra(handler: StepHandler, context: Any) -> dict[str, Any]:
        return {"batch_context": cast("Batchable", handler).get_batch_context(context)}

    def instead(handler: StepHandler, context: Any) -> Any:
        return cast("Batchable", handler).handle_no_op_worker(context)

    def finish(_handler: StepHandler, _context: Any, output: Any) -> Any:
        return output.to_dict() if isinstance(output, BatchWorkerOutcome) else output

    return handler_decorator(name, version, _BatchFunctionHandler, extra, finish, instead)


def api_handler(
    name: str,
    base_url: str = "",
    version: Any = "1.0.0",
    timeout: Any = 30.0,
    default_headers: Any = None,
) -> HandlerDecorator:
    """Registers a function that gets ``api``: an ``ApiHandler`` with ``get post … api_success api_failure``.

    An ``ApiResponse`` it returns becomes a success or failure by its status.

    Args:
        timeout: Seconds.
    """
    if isinstance(version, (int, float)):
        # The form (name, base_url, timeout, default_headers, version).
        version, timeout, default_headers = (
            default_headers or "1.0.0",
            version,
            timeout if isinstance(timeout, dict) else None,
        )
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
    base: Any,
    extra: Callable[[StepHandler, Any], dict[str, Any]] | None = None,
    finish: Callable[[StepHandler, Any, Any], Any] | None = None,
    instead: Callable[[StepHandler, Any], Any] | None = None,
) -> HandlerDecorator:
    """The decorator all kinds of functional handlers share.

    ``extra`` gives further parameters of a call; ``finish`` turns what the function returned into a result; what
    ``instead`` gives, unless ``None``, stands for a call.
    """

    def decorate(function: Function) -> FunctionalHandler:
        needs = _needs(function)
        parameters = inspect.signature(function).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for model in needs.models:
            fitting = [p for p, v in parameters.items() if v.annotation in (model, model.__name__)]
            name_of_it = "inputs" if "inputs" in parameters or not fitting else fitting[0]
            needs.inputs[name_of_it] = model
        optional = {p for p, v in parameters.items() if v.default is not v.empty}

        def arguments(handler: StepHandler, context: Any) -> dict[str, Any]:
            values: dict[str, Any] = {}
            for parameter, (step, model) in needs.dependencies.items():
                values[parameter] = build_model(model, context.get_dependency_result(step))
            for parameter, model in needs.inputs.items():
                if model is not None:
                    values[parameter] = build_input(model, context.input_data)
                elif parameter in context.input_data or parameter not in optional:
                    values[parameter] = context.get_input(parameter)
            if extra is not None:
                given = extra(handler, context)
                values.update({k: v for k, v in given.items() if takes_all or k in parameters})
            if "context" in parameters or takes_all:
                values["context"] = context
            if "_context" in parameters:
                values["_context"] = context
            return values

        def result(handler: StepHandler, context: Any, output: Any) -> StepHandlerResult:
            made = output if finish is None else finish(handler, context, output)
            return StepHandlerCallResult.from_handler_output(made)

        if inspect.iscoroutinefunction(function):

            async def call(self: StepHandler, context: Any) -> StepHandlerResult:
                try:
                    settled = None if instead is None else instead(self, context)
                    if settled is not None:
                        return StepHandlerCallResult.from_handler_output(settled)
                    return result(self, context, await function(**arguments(self, context)))
                except Exception as error:
                    return StepHandlerCallResult.from_exception(error)

        else:

            def call(self: StepHandler, context: Any) -> StepHandlerResult:  # type: ignore[misc]
                try:
                    settled = None if instead is None else instead(self, context)
                    if settled is not None:
                        return StepHandlerCallResult.from_handler_output(settled)
                    output = function(**arguments(self, context))
                    if inspect.isawaitable(output):
                        return later(self, context, output)  # type: ignore[return-value]
                    return result(self, context, output)
                except Exception as error:
                    return StepHandlerCallResult.from_exception(error)

            async def later(self: StepHandler, context: Any, output: Any) -> StepHandlerResult:
                try:
                    return result(self, context, await output)
                except Exception as error:
                    return StepHandlerCallResult.from_exception(error)

        members = {
            "handler_name": name,
            "handler_version": version,
            "call": call,
            "__doc__": function.__doc__,
            "__module__": function.__module__,
        }
        handler = type(base)(f"{function.__name__}_handler", (base,), members)
        made = cast("FunctionalHandler", function)
        made._handler_class = handler
        from tasker_core.registry.handler_registry import HandlerRegistry

        HandlerRegistry.instance(skip_bootstrap=True).register(name, handler)
        return made

    return decorate
