"""The Python half of the polyglot workflow."""

from tasker_core.step_handler.functional import depends_on, inputs, step_handler


@step_handler("polyglot.square")
@inputs("n")
def square(n):
    return n * n


@step_handler("polyglot.halve")
@depends_on(tripled="triple")
def halve(tripled):
    return tripled / 2
