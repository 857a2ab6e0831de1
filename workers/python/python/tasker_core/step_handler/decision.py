"""Decision handlers: which of the steps below come to exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Optional, Union

from tasker_core.step_handler import StepHandler
from tasker_core.types import StepHandlerResult

__all__ = ["DecisionHandler", "DecisionMixin", "DecisionPointOutcome", "DecisionType"]


class DecisionType(str, Enum):
    """What a decision may say."""

    CREATE_STEPS = "create_steps"
    NO_BRANCHES = "no_branches"


@dataclass(frozen=True)
class DecisionPointOutcome:
    """What a decision says: the steps to create, or none."""

    decision_type: DecisionType
    step_names: list[str] = field(default_factory=list)

    @classmethod
    def create_steps(cls, step_names: Union[str, Sequence[str]]) -> DecisionPointOutcome:
        """Creates the named steps and what follows from them.

        Raises:
            ValueError: no name, or something that is not a name.
        """
        names = [step_names] if isinstance(step_names, str) else list(step_names)
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"{step_names!r} names no steps; use no_branches when nothing is to be created")
        return cls(DecisionType.CREATE_STEPS, names)

    @classmethod
    def no_branches(cls) -> DecisionPointOutcome:
        """Creates nothing."""
        return cls(DecisionType.NO_BRANCHES)

    def to_dict(self) -> dict[str, Any]:
        """As the core reads it, under ``decision_point_outcome`` of the result."""
        names = {"step_names": self.step_names} if self.step_names else {}
        return {"type": self.decision_type.value, **names}


class DecisionMixin:
    """Results of decisions; mix it into any handler."""

    def decision_success(
        self,
        steps: Union[str, Sequence[str]],
        routing_context: Optional[dict[str, Any]] = None,
        metadata: Optional[dict[str, Any]] = None,
    ) -> StepHandlerResult:
        """Creates the named steps; ``routing_context`` is kept beside the outcome."""
        return self.decision_success_with_outcome(DecisionPointOutcome.create_steps(steps), routing_context, metadata)

    route_to_steps = decision_success

    def decision_success_with_outcome(
        self,
        outcome: DecisionPointOutcome,
        routing_context: Optional[dict[str, Any]] = None,
        metadata: Optional[dict[str, Any]] = None,
        **result: Any,
    ) -> StepHandlerResult:
        """A success that carries an outcome, and whatever else the result shall hold."""
        context = {"routing_context": routing_context} if routing_context is not None else {}
        return StepHandlerResult.success({"decision_point_outcome": outcome.to_dict(), **result, **context}, metadata)

    def decision_no_branches(
        self, routing_context: Optional[dict[str, Any]] = None, metadata: Optional[dict[str, Any]] = None
    ) -> StepHandlerResult:
        """Creates nothing."""
        return self.decision_success_with_outcome(DecisionPointOutcome.no_branches(), routing_context, metadata)

    def skip_branches(
        self,
        reason: str,
        routing_context: Optional[dict[str, Any]] = None,
        metadata: Optional[dict[str, Any]] = None,
    ) -> StepHandlerResult:
        """Creates nothing, and says why."""
        return self.decision_success_with_outcome(
            DecisionPointOutcome.no_branches(), routing_context, metadata, reason=reason
        )

    def decision_failure(
        self,
        message: str,
        error_type: str = "decision_error",
        retryable: bool = False,
        metadata: Optional[dict[str, Any]] = None,
        error_code: Optional[str] = None,
    ) -> StepHandlerResult:
        """No decision could be made; permanent unless you say otherwise."""
        return StepHandlerResult.failure(message, error_type, retryable, metadata, error_code)


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
        return ["process", "decision"]
