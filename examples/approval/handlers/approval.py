"""Handlers of the approval workflow: the amount decides who must approve."""

from __future__ import annotations

from typing import Any

from tasker_core.errors import ValidationError
from tasker_core.step_handler.functional import Decision, decision_handler, depends_on, inputs, step_handler

MANAGER_FROM = 1000
FINANCE_FROM = 5000


@step_handler("approval.validate")
@inputs("amount", "requester")
def validate(amount: Any, requester: Any) -> dict[str, Any]:
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or amount <= 0:
        raise ValidationError("the amount must be a number above 0", error_code="INVALID_AMOUNT")
    return {"amount": amount, "requester": requester}


@decision_handler("approval.route")
@depends_on(request="validate")
def route(request: dict[str, Any]) -> Decision:
    amount = request["amount"]
    if amount < MANAGER_FROM:
        steps = ["auto"]
    elif amount < FINANCE_FROM:
        steps = ["manager"]
    else:
        steps = ["manager", "finance"]
    return Decision.route(steps, amount=amount)


@step_handler("approval.approve")
def approve(context: Any) -> dict[str, Any]:
    return {"approved_by": context.get_config("approver")}


@step_handler("approval.finalize")
@depends_on(request="validate")
def finalize(request: dict[str, Any], context: Any) -> dict[str, Any]:
    approvals = [context.get_dependency_field(step, "approved_by") for step in ("auto", "manager", "finance")]
    return {**request, "approved_by": [name for name in approvals if name is not None]}
