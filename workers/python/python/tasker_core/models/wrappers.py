"""The step event as objects: wrappers over the document the core writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

__all__ = [
    "DependencyResults",
    "DependencyResultsWrapper",
    "HandlerWrapper",
    "StepDefinitionWrapper",
    "TaskSequenceStepWrapper",
    "TaskWrapper",
    "WorkflowStepWrapper",
    "unwrapped",
]

Document = Optional[Mapping[str, Any]]


def unwrapped(envelope: Any) -> Any:
    """The computed value inside of an envelope ``{"result": …}``; what is no envelope as it is."""
    return envelope["result"] if isinstance(envelope, Mapping) and "result" in envelope else envelope


def _known(kind: Any, data: Document) -> dict[str, Any]:
    """The fields of a data class that a document has; ``null`` counts as absent where there is a default."""
    given = data or {}
    return {f.name: given[f.name] for f in dataclasses.fields(kind) if given.get(f.name) is not None}


class _Wrapper:
    def to_dict(self) -> dict[str, Any]:
        """The document it was made from; of one made by hand, its fields as dictionaries."""
        document = vars(self).get("_document")
        if document is not None:
            return dict(document)
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: v.to_dict() if hasattr(v, "to_dict") else v for name, v in fields.items()}

    def _of(self, document: Document) -> Any:
        # Beside the fields, so that it counts neither for equality nor for the constructor.
        vars(self)["_document"] = document
        return self


@dataclass
class TaskWrapper(_Wrapper):
    """The task."""

    task_uuid: str = ""
    #: The task's input.
    context: dict[str, Any] = field(default_factory=dict)
    namespace_name: str = ""
    task_name: str = ""
    task_version: str = ""
    correlation_id: Optional[str] = None
    parent_correlation_id: Optional[str] = None
    tags: Any = None
    priority: int = 0
    initiator: Optional[str] = None
    source_system: Optional[str] = None
    reason: Optional[str] = None
    requested_at: Optional[str] = None
    created_at: Optional[str] = None
    options: Any = None

    @classmethod
    def from_dict(cls, data: Document) -> TaskWrapper:
        """From ``task`` of a step event, or from the task inside of it."""
        outer = data or {}
        inner = outer.get("task")
        given = {**outer, **inner} if isinstance(inner, Mapping) else outer
        made: TaskWrapper = cls(**_known(cls, given))._of(data)
        return made


@dataclass
class WorkflowStepWrapper(_Wrapper):
    """The step."""

    workflow_step_uuid: str = ""
    task_uuid: str = ""
    #: Name of the step; of a batch worker its own.
    name: str = ""
    named_step_uuid: Optional[str] = None
    retryable: bool = True
    max_attempts: int = 3
    in_process: bool = False
    processed: bool = False
    processed_at: Optional[str] = None
    #: Attempts before this one.
    attempts: int = 0
    last_attempted_at: Optional[str] = None
    #: Seconds.
    backoff_request_seconds: Optional[float] = 0
    #: Inputs of a batch worker; empty for other steps.
    inputs: dict[str, Any] = field(default_factory=dict)
    #: Reserved; empty.
    results: dict[str, Any] = field(default_factory=dict)
    created_at: Optional[str] = None
    updated_at: Optional[str] = None
    template_step_name: str = ""
    #: ``{cursor, items_processed, accumulated_results}``, once there is one.
    checkpoint: Optional[dict[str, Any]] = None

    @classmethod
    def from_dict(cls, data: Document) -> WorkflowStepWrapper:
        """From ``workflow_step`` of a step event."""
        made: WorkflowStepWrapper = cls(**_known(cls, data))._of(data)
        return made


class _Results:
    """What both forms of the dependencies' results can do."""

    def get_result(self, step_name: str) -> Optional[dict[str, Any]]:
        """The envelope ``{"result": …, "metadata": …}`` of a dependency; ``None`` if absent."""
        envelope = self._envelope(step_name)
        return dict(envelope) if isinstance(envelope, Mapping) else None

    def get_results(self, step_name: str) -> Any:
        """The computed value of a dependency, unwrapped; ``None`` if absent."""
        return unwrapped(self._envelope(step_name))

    def _envelope(self, step_name: str) -> Any:
        raise NotImplementedError


class DependencyResults(_Results, dict):  # type: ignore[type-arg]
    """Envelopes of all direct and indirect dependencies by step name: a dictionary."""

    def _envelope(self, step_name: str) -> Any:
        return self.get(step_name)


class DependencyResultsWrapper(_Results):
    """Results of all direct and indirect dependencies, by step name; absent ones are ``None``."""

    def __init__(self, _results: Document = None) -> None:
        self._results: dict[str, Any] = dict(_results or {})

    @classmethod
    def from_dict(cls, data: Document) -> DependencyResultsWrapper:
        """From ``dependency_results`` of a step event."""
        return cls(data)

    def to_dict(self) -> dict[str, Any]:
        """The envelopes by name."""
        return self._results

    def _envelope(self, step_name: str) -> Any:
        return self._results.get(step_name)

    def __getitem__(self, step_name: str) -> Any:
        return self._results.get(step_name)

    def __contains__(self, step_name: object) -> bool:
        return step_name in self._results

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DependencyResultsWrapper) and self._results == other._results

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._results!r})"

    def get(self, step_name: str, default: Any = None) -> Any:
        """The envelope of a dependency, or the default if absent."""
        return self._results.get(step_name, default)

    def keys(self) -> list[str]:
        """Names of the dependencies that have a result."""
        return list(self._results)

    def items(self) -> list[tuple[str, Any]]:
        """Names and envelopes."""
        return list(self._results.items())

    def values(self) -> list[Any]:
        """The envelopes."""
        return list(self._results.values())


@dataclass
class HandlerWrapper(_Wrapper):
    """Which code runs a step."""

    callable: str = ""
    #: Free configuration of the step.
    initialization: dict[str, Any] = field(default_factory=dict)
    #: Method called on the handler.
    handler_method: Optional[str] = None
    resolver: Optional[str] = None

    @classmethod
    def from_dict(cls, data: Document) -> HandlerWrapper:
        """From ``handler`` of a step definition."""
        given = data or {}
        method = given.get("handler_method") or given.get("method")
        made: HandlerWrapper = cls(**{**_known(cls, given), "handler_method": method})._of(data)
        return made


@dataclass
class StepDefinitionWrapper(_Wrapper):
    """The step in the template."""

    name: str = ""
    description: str = ""
    handler: HandlerWrapper = field(default_factory=HandlerWrapper)
    dependencies: list[str] = field(default_factory=list)
    retry: dict[str, Any] = field(default_factory=dict)
    #: The handler's budget, seconds.
    timeout_seconds: float = 30
    publishes_events: list[Any] = field(default_factory=list)
    type: str = "standard"
    system_dependency: Optional[str] = None
    priority: int = 0
    queue: str = ""

    @classmethod
    def from_dict(cls, data: Document) -> StepDefinitionWrapper:
        """From ``step_definition`` of a step event."""
        known = _known(cls, data)
        known["handler"] = HandlerWrapper.from_dict(known.get("handler"))
        made: StepDefinitionWrapper = cls(**known)._of(data)
        return made


@dataclass
class TaskSequenceStepWrapper(_Wrapper):
    """Task, step, dependency results and definition together."""

    task: TaskWrapper = field(default_factory=TaskWrapper)
    workflow_step: WorkflowStepWrapper = field(default_factory=WorkflowStepWrapper)
    dependency_results: DependencyResultsWrapper = field(default_factory=DependencyResultsWrapper)
    step_definition: StepDefinitionWrapper = field(default_factory=StepDefinitionWrapper)

    @classmethod
    def from_dict(cls, data: Document) -> TaskSequenceStepWrapper:
        """From ``task_sequence_step`` of a step event."""
        given = data or {}
        made: TaskSequenceStepWrapper = cls(
            TaskWrapper.from_dict(given.get("task")),
            WorkflowStepWrapper.from_dict(given.get("workflow_step")),
            DependencyResultsWrapper.from_dict(given.get("dependency_results")),
            StepDefinitionWrapper.from_dict(given.get("step_definition")),
        )._of(data)
        return made

    def get_task_field(self, field_name: str) -> Any:
        """A field of the task's context; ``None`` if absent."""
        return self.task.context.get(field_name)

    def get_dependency_result(self, step_name: str) -> Any:
        """The computed value of a dependency, unwrapped; ``None`` if absent."""
        return self.dependency_results.get_results(step_name)

    def get_results(self, step_name: str) -> Any:
        """As :meth:`get_dependency_result`."""
        return self.dependency_results.get_results(step_name)
