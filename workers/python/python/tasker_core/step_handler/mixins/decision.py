"""Results of decisions, for any handler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

from tasker_core.types.decision import DecisionPointOutcome
from tasker_core.types.results import StepHandlerResult

__all__ = ["DecisionMixin"]


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
