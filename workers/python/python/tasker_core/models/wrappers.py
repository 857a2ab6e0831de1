"""The step event as objects: wrappers over the document the core writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

__all__ = [
    "DependencyResultsWrapper",
    "HandlerWrapper",
    "StepDefinitionWrapper",
    "TaskSequenceStepWrapper",
    "TaskWrapper",
    "WorkflowStepWrapper",
]


class _Wrapper:
    """Fields of a dictionary as attributes; absent ones are ``None``."""

    __slots__ = ("_data",)

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """Wraps a part of the step event."""
        return cls(data)

    def to_dict(self) -> dict[str, Any]:
        """The wrapped dictionary itself."""
        return self._data

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._data.get(name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._data!r})"


class TaskWrapper(_Wrapper):
    """The task: ``task_uuid context correlation_id tags priority initiator source_system reason requested_at``,
    and ``task_name task_version namespace_name``."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        inner = self._data.get("task", self._data)
        return inner[name] if name in inner else self._data.get(name)

    @property
    def context(self) -> dict[str, Any]:
        """The task's input."""
        inner = self._data.get("task", self._data)
        return inner.get("context") or {}


class WorkflowStepWrapper(_Wrapper):
    """The step: ``workflow_step_uuid name template_step_name attempts max_attempts retryable inputs checkpoint …``."""

    __slots__ = ()

    @property
    def inputs(self) -> dict[str, Any]:
        """Inputs of a batch worker; empty for other steps."""
        return self._data.get("inputs") or {}

    @property
    def results(self) -> dict[str, Any]:
        """Reserved; empty."""
        return self._data.get("results") or {}


class DependencyResultsWrapper(_Wrapper):
    """Results of all direct and indirect dependencies, by step name."""

    __slots__ = ()

    def get_result(self, step: str) -> Optional[dict[str, Any]]:
        """The envelope ``{"result": …, "metadata": …}`` of a dependency."""
        envelope = self._data.get(step)
        return envelope if isinstance(envelope, dict) else None

    def get_results(self, step: str) -> Any:
        """The computed value of a dependency, unwrapped."""
        envelope = self._data.get(step)
        return envelope.get("result") if isinstance(envelope, dict) else envelope

    def __getitem__(self, step: str) -> Any:
        return self.get_results(step)

    def __contains__(self, step: object) -> bool:
        return step in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def keys(self) -> list[str]:
        """Names of the dependencies that have a result."""
        return list(self._data)


class HandlerWrapper(_Wrapper):
    """Which code runs a step: ``callable initialization handler_method resolver``."""

    __slots__ = ()

    def __init__(
        self,
        callable: str,
        initialization: Optional[dict[str, Any]] = None,
        handler_method: Optional[str] = None,
        resolver: Optional[str] = None,
    ) -> None:
        super().__init__(
            {"callable": callable, "initialization": initialization, "method": handler_method, "resolver": resolver}
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HandlerWrapper:
        """Wraps the ``handler`` of a step definition."""
        return cls(data.get("callable", ""), data.get("initialization"), data.get("method"), data.get("resolver"))

    @property
    def initialization(self) -> dict[str, Any]:
        """Free configuration of the step."""
        return self._data.get("initialization") or {}

    @property
    def handler_method(self) -> Optional[str]:
        """Method called on the handler."""
        return self._data.get("method")


class StepDefinitionWrapper(_Wrapper):
    """The step in the template: ``name description type dependencies retry timeout_seconds …``."""

    __slots__ = ()

    @property
    def handler(self) -> HandlerWrapper:
        """Which code runs it."""
        return HandlerWrapper.from_dict(self._data.get("handler") or {})


class TaskSequenceStepWrapper(_Wrapper):
    """Task, step, dependency results and definition together."""

    __slots__ = ()

    @property
    def task(self) -> TaskWrapper:
        """The task."""
        return TaskWrapper(self._data.get("task") or {})

    @property
    def workflow_step(self) -> WorkflowStepWrapper:
        """The step."""
        return WorkflowStepWrapper(self._data.get("workflow_step") or {})

    @property
    def dependency_results(self) -> DependencyResultsWrapper:
        """Results of its dependencies."""
        return DependencyResultsWrapper(self._data.get("dependency_results") or {})

    @property
    def step_definition(self) -> StepDefinitionWrapper:
        """The step in the template."""
        return StepDefinitionWrapper(self._data.get("step_definition") or {})
