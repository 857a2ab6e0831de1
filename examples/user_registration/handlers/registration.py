"""Handlers of the registration workflow: three of its steps run side by side."""

from __future__ import annotations

from typing import Any

from tasker_core import StepContext, StepHandler
from tasker_core.errors import PermanentError, ValidationError

MONTHLY = {"free": 0.0, "pro": 29.0, "team": 99.5}
PREFERENCES = {"language": "en", "newsletter": True}


class CreateAccount(StepHandler):
    handler_name = "users.create_account"

    def call(self, context: StepContext) -> dict[str, Any]:
        email = context.get_input("email")
        if "@" not in email:
            raise ValidationError(f"{email} is no email address", error_code="INVALID_EMAIL")
        return {"account": f"ACC-{context.idempotency_key}", "email": email}


class SetUpBilling(StepHandler):
    handler_name = "users.set_up_billing"

    def call(self, context: StepContext) -> dict[str, Any]:
        plan = context.get_input("plan")
        if plan not in MONTHLY:
            raise PermanentError(f"there is no plan {plan}", error_code="UNKNOWN_PLAN")
        account = context.get_dependency_field("create_account", "account")
        return {"account": account, "plan": plan, "monthly": MONTHLY[plan]}


class SavePreferences(StepHandler):
    handler_name = "users.save_preferences"

    def call(self, context: StepContext) -> dict[str, Any]:
        return {**PREFERENCES, **context.get_input("preferences")}


class SendWelcome(StepHandler):
    handler_name = "users.send_welcome"

    def call(self, context: StepContext) -> dict[str, Any]:
        email = context.get_dependency_field("create_account", "email")
        return {"sent_to": email, "subject": f"Welcome, {context.get_input('name')}"}


class Activate(StepHandler):
    handler_name = "users.activate"

    def call(self, context: StepContext) -> dict[str, Any]:
        return {
            "account": context.get_dependency_field("create_account", "account"),
            "status": "active",
            "plan": context.get_dependency_field("set_up_billing", "plan"),
            "language": context.get_dependency_field("save_preferences", "language"),
            "welcomed": context.get_dependency_field("send_welcome", "sent_to"),
        }
