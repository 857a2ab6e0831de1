"""What a handler is called with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Optional
from uuid import UUID

from tasker_core.models.document_event import readable
from tasker_core.models.wrappers import (
    DependencyResults,
    StepDefinitionWrapper,
    TaskSequenceStepWrapper,
    TaskWrapper,
    WorkflowStepWrapper,
)
from tasker_core.serialization import load

__all__ = ["StepContext", "Uuid"]

_handler_log = logging.getLogger("tasker_core.handler")


class _StepLogger(logging.LoggerAdapter):  # type: ignore[type-arg]
    """Puts task, step and attempt into every line of a handler."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        extra = self.extra or {}
        place = " ".join(f"{k}={v}" for k, v in extra.items())
        kwargs["extra"] = {**extra, **kwargs.get("extra", {})}
        return f"{msg} [{place}]", kwargs

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Writes a line; the arguments are put in before the place is, which may hold a ``%`` of its own."""
        if self.isEnabledFor(level):
            if args:
                values = args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else args
                msg = str(msg) % values
            line, kwargs = self.process(msg, kwargs)
            # One frame is this method's, which is not where the line comes from.
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            self.logger.log(level, line, **kwargs)


class Uuid(str):
    """A UUID as text, which is equal to the ``uuid.UUID`` of the same number and has its parts."""

    __slots__ = ()

    @property
    def uuid(self) -> UUID:
        """As ``uuid.UUID``."""
        return UUID(self)

    @property
    def hex(self) -> str:
        """The 32 digits."""
        return self.uuid.hex

    @property
    def int(self) -> Any:
        """The number."""
        return self.uuid.int

    @property
    def bytes(self) -> Any:
        """The 16 bytes."""
        return self.uuid.bytes

    @property
    def version(self) -> Any:
        """Which kind of UUID it is."""
        return self.uuid.version

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, str(other) if isinstance(other, UUID) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class StepContext:
    """What a handler is called with. Payloads are parsed when first asked for.

    Made by the worker; or for a test, by hand or from an event (:meth:`from_ffi_event`).

    Args:
        event: The event it is about.
        task_uuid: Of the event when absent; so are all others.
        input_data: The task's context.
        dependency_results: Envelopes ``{"result": …}`` by step name.
        step_config: ``handler.initialization`` of the step.
        step_inputs: Inputs of a batch worker.
        retry_count: Attempts before this one.
        max_retries: Attempts the step may have in all.

    Example:
        >>> def call(self, context):
        ...     n = context.get_input("n")
        ...     return context.get_dependency_result("square") + n
    """

    __slots__ = (
        "__dict__",
        "_checkpoint",
        "_config",
        "_document",
        "_input",
        "_inputs",
        "_results",
        "_source",
        "handler_name",
    )

    def __init__(
        self,
        event: Any = None,
        task_uuid: Any = None,
        step_uuid: Any = None,
        correlation_id: Any = None,
        handler_name: str = "",
        input_data: Optional[dict[str, Any]] = None,
        dependency_results: Optional[Mapping[str, Any]] = None,
        step_config: Optional[dict[str, Any]] = None,
        step_inputs: Optional[dict[str, Any]] = None,
        retry_count: Optional[int] = None,
        max_retries: Optional[int] = None,
        *,
        source: Any = None,
    ) -> None:
        by_hand = task_uuid is not None
        self._source = readable(event if source is None else source)
        self.handler_name = handler_name
        # What is given by hand stands; in a context made by hand whatever is not given is empty.
        self._input: Any = input_data if input_data is not None or not by_hand else {}
        self._config: Any = step_config if step_config is not None or not by_hand else {}
        self._inputs: Any = step_inputs if step_inputs is not None or not by_hand else {}
        self._checkpoint: Any = None
        self._document: Any = None
        self._results: dict[str, Any] = {}
        if by_hand:
            self._given = {
                "task_uuid": Uuid(task_uuid),
                "step_uuid": Uuid(step_uuid),
                "correlation_id": Uuid(correlation_id),
                "retry_count": retry_count or 0,
                "max_retries": 3 if max_retries is None else max_retries,
                "dependency_results": DependencyResults(dependency_results or {}),
            }

    #: What was given by hand and stands for the event's own.
    _given: Mapping[str, Any] = {}

    @classmethod
    def from_ffi_event(cls, event: Any, handler_name: str = "") -> StepContext:
        """A context over an event: the native one, an ``FfiStepEvent``, or the wire document as a dictionary."""
        return cls(event, handler_name=handler_name)

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """Its parts as a dictionary."""
        names = ("task_uuid", "step_uuid", "correlation_id", "handler_name", "input_data", "dependency_results")
        more = ("step_config", "step_inputs", "retry_count", "max_retries")
        return {name: getattr(self, name) for name in (*names, *more)}

    @property
    def event(self) -> Any:
        """The event itself."""
        return getattr(self._source, "origin", self._source)

    @property
    def task_uuid(self) -> Uuid:
        """UUID of the task."""
        given: Uuid = self._given.get("task_uuid") or Uuid(self._source.task_uuid)
        return given

    @property
    def step_uuid(self) -> Uuid:
        """UUID of the step."""
        given: Uuid = self._given.get("step_uuid") or Uuid(self._source.step_uuid)
        return given

    @property
    def correlation_id(self) -> Uuid:
        """Follows the task through logs and events."""
        given: Uuid = self._given.get("correlation_id") or Uuid(self._source.correlation_id)
        return given

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
        return str(self.step_uuid)

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
        given = self._given.get("retry_count")
        return int(self._source.attempts if given is None else given)

    @property
    def max_retries(self) -> int:
        """Attempts the step may have in all."""
        given = self._given.get("max_retries")
        return int(self._source.max_attempts if given is None else given)

    def is_retry(self) -> bool:
        """Whether this is not the first attempt."""
        return self.retry_count > 0

    def is_last_retry(self) -> bool:
        """Whether no attempt follows this one."""
        return self.retry_count >= self.max_retries - 1

    def get_input(self, key: str) -> Any:
        """A field of the task's context; ``None`` if absent."""
        return self.input_data.get(key)

    def get_input_or(self, key: str, default: Any = None) -> Any:
        """A field of the task's context, or the default if absent or null."""
        value = self.input_data.get(key)
        return default if value is None else value

    def get_config(self, key: str) -> Any:
        """A field of ``handler.initialization``; ``None`` if absent."""
        return self.step_config.get(key)

    def get_task_field(self, field_name: str) -> Any:
        """A field of the task's context; ``None`` if absent."""
        return self.input_data.get(field_name)

    def get_dependency_result(self, step_name: str) -> Any:
        """The computed value of a direct or indirect dependency; ``None`` if there is none."""
        given = self._given.get("dependency_results")
        if given is not None:
            return given.get_results(step_name)
        results = self._results
        if step_name not in results:
            raw = self._source.dependency_json(step_name)
            results[step_name] = None if raw is None else load(raw)
        return results[step_name]

    def get_dependency_field(self, step_name: str, *path: Any) -> Any:
        """A field inside the value of a dependency; ``None`` if any part is absent or no mapping."""
        value = self.get_dependency_result(step_name)
        for key in path:
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value

    def get_dependency_result_keys(self) -> list[str]:
        """Names of all dependencies that have a result."""
        given = self._given.get("dependency_results")
        return list(self._source.dependency_names() if given is None else given)

    def get_all_dependency_results(self, prefix: str = "") -> list[Any]:
        """Values of all dependencies whose names start with the prefix, in the order of their names' listing."""
        return [self.get_dependency_result(n) for n in self.get_dependency_result_keys() if n.startswith(prefix)]

    @property
    def dependency_results(self) -> DependencyResults:
        """Envelopes ``{"result": …, "metadata": …}`` of all dependencies by name: a dictionary."""
        given = self._given.get("dependency_results")
        if given is None:
            given = DependencyResults(self._sequence().get("dependency_results") or {})
        results: DependencyResults = given
        return results

    @property
    def task_sequence_step(self) -> TaskSequenceStepWrapper:
        """The whole event as objects."""
        return TaskSequenceStepWrapper.from_dict(self._sequence())

    def _sequence(self) -> dict[str, Any]:
        if self._document is None:
            self._document = load(self._source.to_json())
        sequence: dict[str, Any] = self._document.get("task_sequence_step") or {}
        return sequence

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
