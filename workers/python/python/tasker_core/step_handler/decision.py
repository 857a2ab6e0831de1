"""Decision handlers: which of the steps below come to exist."""

from __future__ import annotations

from tasker_core.step_handler.base import StepHandler
from tasker_core.step_handler.mixins.decision import DecisionMixin
from tasker_core.types.decision import DecisionPointOutcome, DecisionType

__all__ = ["DecisionHandler", "DecisionMixin", "DecisionPointOutcome", "DecisionType"]


class DecisionHandler(DecisionMixin, StepHandler):
    """Base of decision handlers.

    Example:
        >>> class Route(DecisionHandler):
        ...     handler_name = "approval.route"
        ...     def call(self, context):
        ...         if context.get_input("amount") < 1000:
        ...             return self.decision_success("auto_approve")
        ...         return self.decision_success(["manager", "finance"], {"amount": context.get_input("amount")})
    """

    @property
    def capabilities(self) -> list[str]:
        """What it can do."""
        return ["process", "decision", "routing"]
