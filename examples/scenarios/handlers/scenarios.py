"""The smallest workflows: one of each way a task can go."""

from __future__ import annotations

from typing import Any

from tasker_core import StepContext, StepHandler
from tasker_core.errors import PermanentError, ValidationError
from tasker_core.step_handler.functional import inputs, step_handler


@step_handler("scenarios.greet")
@inputs("message")
def greet(message: str) -> dict[str, Any]:
    return {"said": message}


@step_handler("scenarios.refuse")
def refuse() -> None:
    raise PermanentError("this can never work", error_code="NEVER", metadata={"asked": 1})


@step_handler("scenarios.call_service")
def call_service() -> None:
    raise ConnectionError("the service refused the connection")


class Math(StepHandler):
    """Several steps on one class, by ``method`` in the template."""

    handler_name = "scenarios.math"

    def call(self, context: StepContext) -> Any:
        raise NotImplementedError("each step names its method")

    def square(self, context: StepContext) -> Any:
        n = context.get_input("n")
        if not isinstance(n, int) or n % 2:
            raise ValidationError("n must be an even whole number")
        return n * n

    def add(self, context: StepContext) -> Any:
        return context.get_dependency_result("square") + 10

    def triple(self, context: StepContext) -> Any:
        return context.get_dependency_result("add") * 3

    def halve(self, context: StepContext) -> Any:
        return context.get_dependency_result("triple") / 2

    def plus(self, context: StepContext) -> Any:
        return context.get_dependency_result("square") + 25

    def times(self, context: StepContext) -> Any:
        return context.get_dependency_result("square") * 2

    def mean(self, context: StepContext) -> Any:
        return (context.get_dependency_result("plus") + context.get_dependency_result("times")) / 2
