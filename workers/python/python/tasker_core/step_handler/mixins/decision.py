"""Results of decisions, for any handler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from tasker_core.types.decision import DecisionPointOutcome, DecisionType
from tasker_core.types.results import StepHandlerResult

__all__ = ["DecisionMixin"]


class DecisionMixin:
    """Results of decisions; mix it into any handler."""

    @property
    def decision_capabilities(self) -> list[str]:
        """What the mixin adds to a handler's capabilities."""
        return ["decision", "routing"]

    def decision_success(
        self,
        steps: Union[str, Sequence[str]],
        routing_context: Optional[dict[str, Any]] = None,
        metadata: Optional[dict[str, Any]] = None,
    ) -> StepHandlerResult:
        """Creates the named steps; ``routing_context`` is kept beside the outcome."""
        return self.decision_success_with_outcome(
            DecisionPointOutcome.create_steps(steps, routing_context=routing_context), metadata
        )

    def route_to_steps(
        self,
        step_names: Union[str, Sequence[str]],
        routing_context: Optional[dict[str, Any]] = None,
        metadata: Optional[dict[str, Any]] = None,
    ) -> StepHandlerResult:
        """As :meth:`decision_success`."""
        return self.decision_success(step_names, routing_context, metadata)

    def decision_success_with_outcome(
        self,
        outcome: DecisionPointOutcome,
        metadata: Optional[dict[str, Any]] = None,
        *,
        routing_context: Optional[dict[str, Any]] = None,
        **result: Any,
    ) -> StepHandlerResult:
        """A success that carries an outcome, and whatever else the result shall hold."""
        context = {**outcome.routing_context, **(routing_context or {})}
        said: dict[str, Any] = {"decision_point_outcome": outcome.to_dict()}
        if outcome.reason and outcome.decision_type is DecisionType.NO_BRANCHES:
            said["reason"] = outcome.reason
        if outcome.dynamic_steps:
            said["dynamic_steps"] = outcome.dynamic_steps
        said.update(result)
        if context:
            said["routing_context"] = context
        about = {
            "decision_handler": str(getattr(self, "name", type(self).__name__)),
            "decision_version": str(getattr(self, "version", "1.0.0")),
        }
        return StepHandlerResult.success(said, {**about, **(metadata or {})})

    def decision_no_branches(
        self,
        outcome: Union[DecisionPointOutcome, dict[str, Any], None] = None,
        metadata: Optional[dict[str, Any]] = None,
        *,
        routing_context: Optional[dict[str, Any]] = None,
    ) -> StepHandlerResult:
        """Creates nothing; takes an outcome, or the routing context in its place."""
        if isinstance(outcome, Mapping):
            routing_context, outcome = {**outcome, **(routing_context or {})}, None
        nothing = outcome if isinstance(outcome, DecisionPointOutcome) else DecisionPointOutcome.no_branches()
        return self.decision_success_with_outcome(nothing, metadata, routing_context=routing_context)

    def skip_branches(
        self,
        reason: str,
        routing_context: Optional[dict[str, Any]] = None,
        metadata: Optional[dict[str, Any]] = None,
    ) -> StepHandlerResult:
        """Creates nothing, and says why."""
        return self.decision_success_with_outcome(DecisionPointOutcome.no_branches(reason, routing_context), metadata)

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
