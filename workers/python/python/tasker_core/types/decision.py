"""What a decision says."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Optional, Union

from pydantic import Field

from tasker_core.types.model import Model

__all__ = ["DecisionPointOutcome", "DecisionType"]


class DecisionType(str, Enum):
    """What a decision may say."""

    CREATE_STEPS = "create_steps"
    NO_BRANCHES = "no_branches"


class DecisionPointOutcome(Model):
    """What a decision says: the steps to create, or none."""

    decision_type: DecisionType
    next_step_names: list[str] = Field(default_factory=list)
    #: Descriptions of steps, kept in the result; the core creates the steps of the template only.
    dynamic_steps: Optional[list[dict[str, Any]]] = None
    reason: Optional[str] = None
    routing_context: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def create_steps(
        cls,
        step_names: Union[str, Sequence[str]],
        dynamic_steps: Optional[list[dict[str, Any]]] = None,
        routing_context: Optional[dict[str, Any]] = None,
    ) -> DecisionPointOutcome:
        """Creates the named steps and what follows from them.

        Raises:
            ValueError: no name, or something that is not a name.
        """
        names = [step_names] if isinstance(step_names, str) else list(step_names)
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"{step_names!r} names no steps; use no_branches when nothing is to be created")
        return cls(
            decision_type=DecisionType.CREATE_STEPS,
            next_step_names=names,
            dynamic_steps=dynamic_steps,
            routing_context=routing_context or {},
        )

    @classmethod
    def no_branches(
        cls, reason: Optional[str] = None, routing_context: Optional[dict[str, Any]] = None
    ) -> DecisionPointOutcome:
        """Creates nothing, and says why."""
        return cls(decision_type=DecisionType.NO_BRANCHES, reason=reason, routing_context=routing_context or {})

    @property
    def step_names(self) -> list[str]:
        """The steps to create."""
        return self.next_step_names

    def to_dict(self) -> dict[str, Any]:
        """As the core reads it, under ``decision_point_outcome`` of the result."""
        names = {"step_names": self.next_step_names} if self.next_step_names else {}
        return {"type": self.decision_type.value, **names}
