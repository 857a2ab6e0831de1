"""Handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasker_core._lazy import attach

if TYPE_CHECKING:
    from tasker_core.step_handler import mixins as mixins
    from tasker_core.step_handler.api import ApiHandler as ApiHandler, ApiResponse as ApiResponse
    from tasker_core.step_handler.base import StepHandler as StepHandler
    from tasker_core.step_handler.decision import DecisionHandler as DecisionHandler
    from tasker_core.step_handler.functional import (
        BatchConfig as BatchConfig,
        Decision as Decision,
        FunctionalHandler as FunctionalHandler,
        HandlerDecorator as HandlerDecorator,
        api_handler as api_handler,
        batch_analyzer as batch_analyzer,
        batch_worker as batch_worker,
        decision_handler as decision_handler,
        depends_on as depends_on,
        inputs as inputs,
        step_handler as step_handler,
    )
else:
    _get, __dir__, __all__ = attach(
        __name__,
        {
            "tasker_core.step_handler.api": "ApiHandler ApiResponse",
            "tasker_core.step_handler.base": "StepHandler",
            "tasker_core.step_handler.decision": "DecisionHandler",
            "tasker_core.step_handler.functional": (
                "BatchConfig Decision FunctionalHandler HandlerDecorator api_handler batch_analyzer batch_worker "
                "decision_handler depends_on inputs step_handler"
            ),
        },
    )

    def __getattr__(name):
        if name == "mixins":
            import importlib

            return importlib.import_module(__name__ + ".mixins")
        return _get(name)
