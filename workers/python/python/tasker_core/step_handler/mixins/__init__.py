"""What handlers mix in."""

from __future__ import annotations

from tasker_core.step_handler.mixins.api import APIMixin, ApiResponse
from tasker_core.step_handler.mixins.batchable import BatchableMixin
from tasker_core.step_handler.mixins.decision import DecisionMixin

__all__ = ["APIMixin", "ApiResponse", "BatchableMixin", "DecisionMixin"]
