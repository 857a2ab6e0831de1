"""What a handler is called with."""

from __future__ import annotations

import logging
from typing import Any, Optional

from tasker_core.models.wrappers import (
    DependencyResultsWrapper,
    StepDefinitionWrapper,
    TaskSequenceStepWrapper,
    TaskWrapper,
    WorkflowStepWrapper,
)
from tasker_core.serialization import load

__all__ = ["StepContext"]

_handler_log = logging.getLogger("tasker_core.handler")


class _StepLogger(logging.LoggerAdapter):  # type: ignore[type-arg]
    """Puts task, step and attempt into every line of a handler."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        extra = self.extra or {}
        place = " ".join(f"{k}={v}" for k, v in extra.items())
        kwargs["extra"] = {**extra, **kwargs.get("extra", {})}
        return f"{msg} [{place}]", kwargs


class StepContext:
    """What a handler is called with. Payloads are parsed when first asked for.

    Example:
        >>> def call(self, context):
        ...     n = context.get_input("n")
        ...     return context.get_dependency_result("square") + n
    """

    __slots__ = ("_checkpoint", "_config", "_document", "_input", "_inputs", "_results", "_source", "handler_name")

    def __init__(self, source: Any, handler_name: str = "") -> None:
        self._source = source
        self.handler_name = handler_name
        self._input: Any = None
        self._inputs: Any = None
        self._checkpoint: Any = None
        self._config: Any = None
        self._document: Any = None
        self._results: dict[str, Any] = {}

    @classmethod
    def from_ffi_event(cls, event: Any, handler_name: str = "") -> StepContext:
        """A context over an event: the native one, or the wire document as a dictionary."""
        if isinstance(event, dict):
            from tasker_core.models.document_event import DocumentEvent

            event = DocumentEvent(event)
        return cls(event, handler_name)

    @property
    def event(self) -> Any:
        """The event itself."""
        return self._source

    @property
    def task_uuid(self) -> str:
        """UUID of the task."""
        return str(self._source.task_uuid)

    @property
    def step_uuid(self) -> str:
        """UUID of the step."""
        return str(self._source.step_uuid)

    @property
    def correlation_id(self) -> str:
        """Follows the task through logs and events."""
        return str(self._source.correlation_id)

    @property
    def step_name(self) -> str:
        """Name of the step; of a batch worker its own."""
        return str(self._source.step_name)

    @property
    def namespace_name(self) -> str:
        """Namespace of the template."""
        return str(self._source.namespace)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of the step: a fit key for calls to other systems."""
        return str(self._source.step_uuid)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt has lost its right to report; stop working then."""
        return bool(self._source.cancelled)

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Writes lines that carry task, step and attempt."""
        return _StepLogger(
            _handler_log,
            {
                "task_uuid": self.task_uuid,
                "step": self.step_name,
                "attempt": self.retry_count + 1,
                "correlation_id": self.correlation_id,
            },
        )

    @property
    def input_data(self) -> dict[str, Any]:
        """The task's context."""
        if self._input is None:
            self._input = load(self._source.context_json())
        data: dict[str, Any] = self._input
        return data

    @property
    def step_config(self) -> dict[str, Any]:
        """``handler.initialization`` of the step."""
        if self._config is None:
            self._config = load(self._source.initialization_json())
        config: dict[str, Any] = self._config
        return config

    @property
    def step_inputs(self) -> dict[str, Any]:
        """Inputs of a batch worker; empty for other steps."""
        if self._inputs is None:
            self._inputs = load(self._source.inputs_json())
        inputs: dict[str, Any] = self._inputs
        return inputs

    @property
    def retry_count(self) -> int:
        """Attempts before this one."""
        return int(self._source.attempts)

    @property
    def max_retries(self) -> int:
        """Attempts the step may have in all."""
        return int(self._source.max_attempts)

    def is_retry(self) -> bool:
        """Whether this is not the first attempt."""
        return self.retry_count > 0

    def is_last_retry(self) -> bool:
        """Whether no attempt follows this one."""
        return self.retry_count >= self.max_retries - 1

    def get_input(self, key: str) -> Any:
        """A field of the task's context; ``None`` if absent."""
        return self.input_data.get(key)

    def get_input_or(self, key: str, default: Any) -> Any:
        """A field of the task's context, or the default if absent or null."""
        value = self.input_data.get(key)
        return default if value is None else value

    def get_config(self, key: str) -> Any:
        """A field of ``handler.initialization``; ``None`` if absent."""
        return self.step_config.get(key)

    def get_dependency_result(self, step: str) -> Any:
        """The computed value of a direct or indirect dependency; ``None`` if there is none."""
        results = self._results
        if step not in results:
            raw = self._source.dependency_json(step)
            results[step] = None if raw is None else load(raw)
        return results[step]

    def get_dependency_field(self, step: str, *path: str) -> Any:
        """A field inside the value of a dependency; ``None`` if any part is absent."""
        value = self.get_dependency_result(step)
        for key in path:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value

    def get_dependency_result_keys(self) -> list[str]:
        """Names of all dependencies that have a result."""
        return list(self._source.dependency_names())

    def get_all_dependency_results(self, prefix: str = "") -> dict[str, Any]:
        """Values of all dependencies whose names start with the prefix, by name."""
        names = (n for n in self.get_dependency_result_keys() if n.startswith(prefix))
        return {name: self.get_dependency_result(name) for name in names}

    @property
    def dependency_results(self) -> DependencyResultsWrapper:
        """All dependencies, by name."""
        return self.task_sequence_step.dependency_results

    @property
    def task_sequence_step(self) -> TaskSequenceStepWrapper:
        """The whole event as objects."""
        if self._document is None:
            self._document = load(self._source.to_json())
        return TaskSequenceStepWrapper(self._document.get("task_sequence_step") or {})

    @property
    def task(self) -> TaskWrapper:
        """The task."""
        return self.task_sequence_step.task

    @property
    def workflow_step(self) -> WorkflowStepWrapper:
        """The step."""
        return self.task_sequence_step.workflow_step

    @property
    def step_definition(self) -> StepDefinitionWrapper:
        """The step in the template."""
        return self.task_sequence_step.step_definition

    @property
    def checkpoint(self) -> Optional[dict[str, Any]]:
        """The stored checkpoint ``{cursor, items_processed, accumulated_results}``, if any."""
        if self._checkpoint is None and self._source.has_checkpoint:
            raw = self._source.checkpoint_json()
            self._checkpoint = None if raw is None else load(raw)
        checkpoint: Optional[dict[str, Any]] = self._checkpoint
        return checkpoint

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return bool(self._source.has_checkpoint)

    @property
    def checkpoint_cursor(self) -> Any:
        """Where to go on; ``None`` at the start."""
        checkpoint = self.checkpoint
        return None if checkpoint is None else checkpoint.get("cursor")

    @property
    def checkpoint_items_processed(self) -> int:
        """Items done before; 0 at the start."""
        checkpoint = self.checkpoint
        return 0 if checkpoint is None else int(checkpoint.get("items_processed") or 0)

    @property
    def accumulated_results(self) -> Any:
        """What the checkpoint carries; ``None`` at the start."""
        checkpoint = self.checkpoint
        return None if checkpoint is None else checkpoint.get("accumulated_results")
