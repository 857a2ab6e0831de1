"""Handlers that call HTTP services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasker_core.step_handler.base import StepHandler

if TYPE_CHECKING:
    pass
from tasker_core.step_handler.mixins.api import APIMixin, ApiResponse

__all__ = ["APIMixin", "ApiHandler", "ApiResponse"]


class ApiHandler(APIMixin, StepHandler):
    """Base of handlers that call HTTP services.

    Example:
        >>> class Charge(ApiHandler):
        ...     handler_name = "shop.charge"
        ...     base_url = "https://pay.example.com"
        ...     def call(self, context):
        ...         response = self.post("/charges", json={"amount": context.get_input("amount")})
        ...         return self.api_success(response) if response.ok else self.api_failure(response)
    """

    @property
    def capabilities(self) -> list[str]:
        """What it can do."""
        return ["process", "http", "api"]
