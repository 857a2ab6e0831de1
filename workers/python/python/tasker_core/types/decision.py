"""What a decision says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Union

__all__ = ["DecisionPointOutcome", "DecisionType"]


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
