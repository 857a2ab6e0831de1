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
from typing import Any, Callable, Union

from tasker_core.errors import ValidationError
from tasker_core.step_handler import StepHandler

__all__ = ["depends_on", "inputs", "step_handler"]

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


def handler_decorator(
    name: str,
    version: str,
    base: type[StepHandler],
    extra: Callable[[StepHandler, Any], dict[str, Any]] | None = None,
    finish: Callable[[StepHandler, Any, Any], Any] | None = None,
) -> Callable[[Function], Function]:
    """The decorator all kinds of functional handlers share.

    ``extra`` gives further parameters of a call; ``finish`` turns what the function returned into a result.
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
                output = await function(**arguments(self, context))
                return output if finish is None else finish(self, context, output)

        else:

            def call(self: StepHandler, context: Any) -> Any:  # type: ignore[misc]
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
