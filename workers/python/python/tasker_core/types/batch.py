"""What batches are made of: cursors, outcomes, the worker's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Callable, Optional, Union

__all__ = [
    "Aggregate",
    "BatchAggregationResult",
    "BatchAnalyzerOutcome",
    "BatchMetadata",
    "BatchWorkerConfig",
    "BatchWorkerOutcome",
    "CreateBatchesOutcome",
    "CursorConfig",
    "FailureStrategy",
    "NoBatchesOutcome",
    "RustBatchWorkerInputs",
    "RustCursorConfig",
    "aggregate_batch_results",
    "create_batches",
    "cursor_ranges",
    "even_ranges",
    "no_batches",
]

#: Batch id of the placeholder worker that stands for "nothing to do".
NO_OP_BATCH_ID = "000"


class FailureStrategy(str, Enum):
    """What a failed worker means for the others; set in the template's ``batch_config``."""

    CONTINUE_ON_FAILURE = "continue_on_failure"
    FAIL_FAST = "fail_fast"
    ISOLATE = "isolate"


@dataclass(frozen=True)
class CursorConfig:
    """A part of the work: from ``start_cursor`` (inclusive) to ``end_cursor`` (exclusive)."""

    start_cursor: Any
    end_cursor: Any
    step_size: int = 1
    batch_id: str = ""
    batch_size: Optional[int] = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As the core stores it and the worker gets it."""
        size = self.batch_size
        if size is None and isinstance(self.start_cursor, int) and isinstance(self.end_cursor, int):
            size = self.end_cursor - self.start_cursor
        cursor = {
            "batch_id": self.batch_id,
            "start_cursor": self.start_cursor,
            "end_cursor": self.end_cursor,
            "batch_size": size,
        }
        more = {"step_size": self.step_size} if self.step_size != 1 else {}
        return {**cursor, **more, **({"metadata": self.metadata} if self.metadata else {})}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CursorConfig:
        """From a worker's ``inputs.cursor``."""
        known = {k: data[k] for k in cls.__dataclass_fields__ if data.get(k) is not None}
        known.setdefault("start_cursor", None)
        known.setdefault("end_cursor", None)
        return cls(**known)


#: The wire form has the same fields.
RustCursorConfig = CursorConfig


def cursor_ranges(
    total_items: int, batch_size: int, step_size: int = 1, max_batches: Optional[int] = None
) -> list[CursorConfig]:
    """Ranges of at most ``batch_size`` items that cover every item once; ``max_batches`` makes them larger instead.

    Raises:
        ValueError: a size below 1, or a negative total.
    """
    if total_items < 0 or batch_size < 1 or step_size < 1 or (max_batches is not None and max_batches < 1):
        raise ValueError("total_items must be 0 or more; batch_size, step_size and max_batches 1 or more")
    if max_batches is not None:
        batch_size = max(batch_size, -(-total_items // max_batches))
    starts = range(0, total_items, batch_size)
    return [
        CursorConfig(start, min(start + batch_size, total_items), step_size, f"{number:03}")
        for number, start in enumerate(starts, 1)
    ]


def even_ranges(total: int, worker_count: int) -> list[CursorConfig]:
    """As many ranges as workers, sizes differing by one at most; fewer when there are fewer items.

    Raises:
        ValueError: a negative total, or no worker.
    """
    if total < 0 or worker_count < 1:
        raise ValueError("total must be 0 or more, worker_count 1 or more")
    count = min(worker_count, total)
    bounds = [total * i // count for i in range(count + 1)] if count else [0]
    return [CursorConfig(bounds[i], bounds[i + 1], 1, f"{i + 1:03}") for i in range(count)]


@dataclass(frozen=True)
class NoBatchesOutcome:
    """There is nothing to do: one placeholder worker runs."""

    def to_dict(self) -> dict[str, Any]:
        """As the core reads it, under ``batch_processing_outcome`` of the result."""
        return {"type": "no_batches"}


@dataclass(frozen=True)
class CreateBatchesOutcome:
    """One worker a cursor."""

    cursor_configs: list[Union[CursorConfig, dict[str, Any], Any]]
    total_items: int
    #: Template step of the workers; that of the step's ``batch_config`` when absent.
    worker_template_name: Optional[str] = None

    @property
    def worker_count(self) -> int:
        """How many workers it makes."""
        return len(self.cursor_configs)

    def to_dict(self) -> dict[str, Any]:
        """As the core reads it, under ``batch_processing_outcome`` of the result."""
        cursors = [c.to_dict() if isinstance(c, CursorConfig) else c for c in self.cursor_configs]
        named = {} if self.worker_template_name is None else {"worker_template_name": self.worker_template_name}
        counts = {"worker_count": len(cursors), "cursor_configs": cursors, "total_items": self.total_items}
        return {"type": "create_batches", **named, **counts}


def no_batches() -> NoBatchesOutcome:
    """There is nothing to do."""
    return NoBatchesOutcome()


def create_batches(
    worker_template_name: Optional[str], cursor_configs: Sequence[Any], total_items: int
) -> CreateBatchesOutcome:
    """One worker a cursor."""
    return CreateBatchesOutcome(list(cursor_configs), total_items, worker_template_name)


@dataclass(frozen=True)
class BatchAnalyzerOutcome:
    """What an analyzer found, before it is an outcome."""

    cursor_configs: list[CursorConfig]
    total_items: int
    batch_metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_ranges(cls, total_items: int, batch_size: int, **options: Any) -> BatchAnalyzerOutcome:
        """From :func:`cursor_ranges`."""
        return cls(cursor_ranges(total_items, batch_size, **options), total_items)

    def to_outcome(self, worker_template_name: Optional[str] = None) -> Union[CreateBatchesOutcome, NoBatchesOutcome]:
        """The outcome: none when there are no cursors."""
        if not self.cursor_configs:
            return NoBatchesOutcome()
        return CreateBatchesOutcome(list(self.cursor_configs), self.total_items, worker_template_name)


@dataclass(frozen=True)
class BatchMetadata:
    """The template's ``batch_config``, as a worker gets it."""

    batch_size: Optional[int] = None
    parallelism: Optional[int] = None
    cursor_field: Optional[str] = None
    checkpoint_interval: Optional[int] = None
    failure_strategy: FailureStrategy = FailureStrategy.CONTINUE_ON_FAILURE

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BatchMetadata:
        """From a worker's ``inputs.batch_metadata``."""
        known = {k: data[k] for k in cls.__dataclass_fields__ if k in data}
        if "failure_strategy" in known:
            known["failure_strategy"] = FailureStrategy(known["failure_strategy"])
        return cls(**known)


@dataclass(frozen=True)
class RustBatchWorkerInputs:
    """A batch worker's ``inputs``."""

    cursor: Any
    batch_metadata: BatchMetadata
    is_no_op: bool

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RustBatchWorkerInputs:
        """From ``context.step_inputs``."""
        metadata = BatchMetadata.from_dict(data.get("batch_metadata") or {})
        return cls(data.get("cursor"), metadata, bool(data.get("is_no_op")))

    @property
    def cursor_config(self) -> CursorConfig:
        """The cursor, where it is a mapping; any other cursor as ``start_cursor``."""
        if isinstance(self.cursor, Mapping):
            return CursorConfig.from_dict(self.cursor)
        return CursorConfig(self.cursor, None)


@dataclass(frozen=True)
class BatchWorkerConfig:
    """Settings of a worker that come from the template."""

    batch_size: Optional[int] = None
    checkpoint_interval: Optional[int] = None


@dataclass(frozen=True)
class BatchWorkerOutcome:
    """What a worker did with its part. Explicit zeros are kept."""

    items_processed: int
    items_succeeded: Optional[int] = None
    items_failed: int = 0
    items_skipped: int = 0
    last_cursor: Any = None
    batch_metadata: dict[str, Any] = field(default_factory=dict)
    results: Optional[list[Any]] = None
    errors: Optional[list[Any]] = None

    def to_dict(self) -> dict[str, Any]:
        """As the step's result."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.items_succeeded is None:
            data["items_succeeded"] = self.items_processed - self.items_failed - self.items_skipped
        return {k: v for k, v in data.items() if v is not None or k == "last_cursor"}


@dataclass(frozen=True)
class BatchAggregationResult:
    """Sums over all workers."""

    worker_count: int = 0
    total_processed: int = 0
    total_succeeded: int = 0
    total_failed: int = 0
    total_skipped: int = 0
    results: list[Any] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)

    @property
    def success_rate(self) -> float:
        """Share of items that succeeded, 0–1; 1 when there were none."""
        return self.total_succeeded / self.total_processed if self.total_processed else 1.0

    def to_dict(self) -> dict[str, Any]:
        """As a step's result."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "success_rate": self.success_rate}


def aggregate_batch_results(results: Union[Mapping[str, Any], Sequence[Any]]) -> BatchAggregationResult:
    """Sums the outcomes of workers; those without a result count as workers that did nothing."""
    outcomes = list(results.values() if isinstance(results, Mapping) else results)
    found = [o for o in outcomes if isinstance(o, Mapping)]

    def total(key: str) -> int:
        return sum(int(outcome.get(key) or 0) for outcome in found)

    return BatchAggregationResult(
        worker_count=len(outcomes),
        total_processed=total("items_processed"),
        total_succeeded=total("items_succeeded"),
        total_failed=total("items_failed"),
        total_skipped=total("items_skipped"),
        results=[r for outcome in found for r in outcome.get("results") or []],
        errors=[e for outcome in found for e in outcome.get("errors") or []],
    )


#: Turns the workers' results into one.
Aggregate = Callable[[dict[str, Any]], Any]
