"""What batches are made of: cursors, outcomes, the worker's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable, Optional, Union

from pydantic import Field, field_validator

from tasker_core.types.model import Items, Model

__all__ = [
    "Aggregate",
    "BatchAggregationResult",
    "BatchAnalyzerOutcome",
    "BatchMetadata",
    "BatchProcessingOutcome",
    "BatchSettings",
    "BatchTotals",
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
    "cursor_dict",
    "cursor_ranges",
    "even_ranges",
    "no_batches",
]

#: Batch id of the placeholder worker that stands for "nothing to do".
NO_OP_BATCH_ID = "000"
#: Errors of workers that an aggregation keeps.
ERRORS_MAX = 100


class FailureStrategy(str, Enum):
    """What a failed worker means for the others; set in the template's ``batch_config``."""

    CONTINUE_ON_FAILURE = "continue_on_failure"
    FAIL_FAST = "fail_fast"
    ISOLATE = "isolate"

    @classmethod
    def _missing_(cls, value: object) -> Optional[FailureStrategy]:
        # The PascalCase spelling (`ContinueOnFailure`) is taken as well.
        plain = str(value).replace("_", "").lower()
        return next((s for s in cls if s.value.replace("_", "") == plain), None)


class CursorConfig(Model):
    """A part of the work: from ``start_cursor`` (inclusive) to ``end_cursor`` (exclusive); any JSON."""

    start_cursor: Any
    end_cursor: Any
    step_size: int = 1
    batch_id: str = ""
    batch_size: Optional[int] = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As the core stores it and the worker gets it."""
        stored: dict[str, Any] = cursor_dict(self)
        return stored

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CursorConfig:
        """From a worker's ``inputs.cursor``."""
        known = {k: data[k] for k in cls.model_fields if data.get(k) is not None}
        return cls(**{"start_cursor": None, "end_cursor": None, **known})


class RustCursorConfig(CursorConfig):
    """A cursor as a worker gets it in its inputs."""


def cursor_dict(cursor: Any, number: int = 0) -> Any:
    """A cursor as the core stores it: of a ``CursorConfig`` or ``BatchWorkerConfig``, or the value itself.

    Args:
        number: Place of the cursor, from 1; names the batch where it has no id. 0 for none.
    """
    if not isinstance(cursor, (CursorConfig, BatchWorkerConfig)):
        return cursor
    start, end, size = cursor.start_cursor, cursor.end_cursor, cursor.batch_size
    if size is None and isinstance(start, int) and isinstance(end, int):
        size = end - start
    batch_id = cursor.batch_id or (f"{number:03}" if number else "")
    data = {"batch_id": batch_id, "start_cursor": start, "end_cursor": end, "batch_size": size}
    more = {"step_size": cursor.step_size} if cursor.step_size != 1 else {}
    return {**data, **more, **({"metadata": cursor.metadata} if cursor.metadata else {})}


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
    return [
        CursorConfig(
            start_cursor=start,
            end_cursor=min(start + batch_size, total_items),
            step_size=step_size,
            batch_id=f"{number:03}",
        )
        for number, start in enumerate(range(0, total_items, batch_size), 1)
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
    return [
        CursorConfig(start_cursor=bounds[i], end_cursor=bounds[i + 1], batch_id=f"{i + 1:03}") for i in range(count)
    ]


@dataclass
class BatchWorkerConfig:
    """A worker's part as numbers: rows ``cursor_start`` (inclusive) to ``cursor_end`` (exclusive)."""

    batch_id: str
    cursor_start: Any
    cursor_end: Any
    row_count: int = 0
    #: 0 for the first worker.
    worker_index: int = 0
    total_workers: int = 1

    step_size = 1
    metadata: Any = None

    def to_dict(self) -> dict[str, Any]:
        """All of it as a dictionary."""
        names = ("batch_id", "cursor_start", "cursor_end", "row_count", "worker_index", "total_workers")
        return {name: getattr(self, name) for name in names}

    @property
    def start_cursor(self) -> Any:
        """First item."""
        return self.cursor_start

    @property
    def end_cursor(self) -> Any:
        """One past the last item."""
        return self.cursor_end

    @property
    def batch_size(self) -> int:
        """How many items it is."""
        return self.row_count


@dataclass(frozen=True)
class BatchSettings:
    """Settings of a worker that come from the template's ``batch_config``."""

    batch_size: Optional[int] = None
    checkpoint_interval: Optional[int] = None


class NoBatchesOutcome(Model):
    """There is nothing to do: one placeholder worker runs."""

    type: str = "no_batches"

    def to_dict(self) -> dict[str, Any]:
        """As the core reads it, under ``batch_processing_outcome`` of the result."""
        return {"type": "no_batches"}


class CreateBatchesOutcome(Model):
    """One worker a cursor."""

    cursor_configs: list[Any]
    total_items: int
    #: Template step of the workers; that of the step's ``batch_config`` when absent.
    worker_template_name: Optional[str] = None
    #: As many as cursors when absent.
    worker_count: int = 0
    type: str = "create_batches"

    def model_post_init(self, _context: Any) -> None:
        """Counts the workers."""
        self.worker_count = self.worker_count or len(self.cursor_configs)

    def to_dict(self) -> dict[str, Any]:
        """As the core reads it, under ``batch_processing_outcome`` of the result."""
        cursors = [cursor_dict(c, n) for n, c in enumerate(self.cursor_configs, 1)]
        named = {} if self.worker_template_name is None else {"worker_template_name": self.worker_template_name}
        counts = {"worker_count": len(cursors), "cursor_configs": cursors, "total_items": self.total_items}
        return {"type": "create_batches", **named, **counts}


#: What an analyzer's result says to the core.
BatchProcessingOutcome = Union[NoBatchesOutcome, CreateBatchesOutcome]


def no_batches() -> NoBatchesOutcome:
    """There is nothing to do."""
    return NoBatchesOutcome()


def create_batches(
    worker_template_name: Optional[str],
    worker_count: Any = None,
    cursor_configs: Any = None,
    total_items: Optional[int] = None,
) -> CreateBatchesOutcome:
    """One worker a cursor. ``worker_count`` may be left out: ``create_batches(name, cursors, total)``.

    Raises:
        ValueError: as many workers as there are cursors must be asked for, at least one.
    """
    if worker_count is not None and not isinstance(worker_count, int):
        worker_count, cursor_configs, total_items = (
            None,
            worker_count,
            cursor_configs if total_items is None else total_items,
        )
    cursors = list(cursor_configs or [])
    if worker_count is not None and (worker_count < 1 or worker_count != len(cursors)):
        raise ValueError(f"{worker_count} workers cannot share {len(cursors)} cursors; it must be one each")
    return CreateBatchesOutcome(
        cursor_configs=cursors, total_items=total_items or 0, worker_template_name=worker_template_name
    )


class BatchAnalyzerOutcome(Model):
    """What an analyzer found, before it is an outcome."""

    cursor_configs: list[Any] = Field(default_factory=list)
    total_items: Optional[int] = None
    #: Kept in the analyzer's result, where workers read it.
    batch_metadata: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_ranges(
        cls,
        ranges: Any = None,
        step_size: int = 1,
        total_items: Optional[int] = None,
        batch_metadata: Optional[dict[str, Any]] = None,
        *,
        batch_size: Optional[int] = None,
        max_batches: Optional[int] = None,
    ) -> BatchAnalyzerOutcome:
        """From ``[(start, end), …]``; or cut, when called ``from_ranges(total_items, batch_size)``."""
        if batch_size is not None or isinstance(ranges, int):
            if batch_size is None:
                batch_size, step_size = step_size, 1
            total = ranges if isinstance(ranges, int) else total_items or 0
            cursors = cursor_ranges(total, batch_size, step_size, max_batches)
            return cls(cursor_configs=cursors, total_items=total, batch_metadata=batch_metadata or {})
        cursors = [
            CursorConfig(start_cursor=start, end_cursor=end, step_size=step_size, batch_id=f"{number:03}")
            for number, (start, end) in enumerate(ranges or [], 1)
        ]
        return cls(cursor_configs=cursors, total_items=total_items, batch_metadata=batch_metadata or {})

    def to_outcome(self, worker_template_name: Optional[str] = None) -> Union[CreateBatchesOutcome, NoBatchesOutcome]:
        """The outcome: none when there are no cursors."""
        if not self.cursor_configs:
            return NoBatchesOutcome()
        total = self.total_items
        if total is None:
            sizes = [(cursor_dict(c) or {}).get("batch_size") for c in self.cursor_configs if not isinstance(c, str)]
            total = sum(size or 0 for size in sizes)
        return CreateBatchesOutcome(
            cursor_configs=list(self.cursor_configs), total_items=total, worker_template_name=worker_template_name
        )


class BatchMetadata(Model):
    """The template's ``batch_config``, as a worker gets it."""

    batch_size: Optional[int] = None
    parallelism: Optional[int] = None
    cursor_field: Optional[str] = None
    checkpoint_interval: Optional[int] = None
    failure_strategy: FailureStrategy = FailureStrategy.CONTINUE_ON_FAILURE

    @field_validator("failure_strategy", mode="before")
    @classmethod
    def _strategy(cls, value: Any) -> Any:
        return FailureStrategy(value)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BatchMetadata:
        """From a worker's ``inputs.batch_metadata``."""
        return cls(**{k: data[k] for k in cls.model_fields if data.get(k) is not None})


class RustBatchWorkerInputs(Model):
    """A batch worker's ``inputs``."""

    #: With attributes and items where it is a mapping; else as it is.
    cursor: Any
    batch_metadata: BatchMetadata
    is_no_op: bool

    @field_validator("cursor", mode="before")
    @classmethod
    def _cursor(cls, value: Any) -> Any:
        return RustCursorConfig.from_dict(value) if isinstance(value, Mapping) else value

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RustBatchWorkerInputs:
        """From ``context.step_inputs``."""
        metadata = BatchMetadata.from_dict(data.get("batch_metadata") or {})
        return cls(cursor=data.get("cursor"), batch_metadata=metadata, is_no_op=bool(data.get("is_no_op")))

    @property
    def cursor_config(self) -> CursorConfig:
        """The cursor, where it is a mapping; any other cursor as ``start_cursor``."""
        if isinstance(self.cursor, CursorConfig):
            return self.cursor
        return CursorConfig(start_cursor=self.cursor, end_cursor=None)


class BatchWorkerOutcome(Model):
    """What a worker did with its part. Explicit zeros are kept."""

    items_processed: int = 0
    #: What was neither failed nor skipped when absent.
    items_succeeded: Optional[int] = None
    items_failed: int = 0
    items_skipped: int = 0
    last_cursor: Any = None
    batch_metadata: dict[str, Any] = Field(default_factory=dict)
    results: Optional[list[Any]] = None
    errors: Optional[list[Any]] = None

    def to_dict(self) -> dict[str, Any]:
        """As the step's result."""
        data = {name: getattr(self, name) for name in type(self).model_fields}
        if self.items_succeeded is None:
            data["items_succeeded"] = self.items_processed - self.items_failed - self.items_skipped
        return {k: v for k, v in data.items() if v is not None or k == "last_cursor"}


class BatchAggregationResult(Model):
    """Sums over all workers."""

    total_processed: int = 0
    total_succeeded: int = 0
    total_failed: int = 0
    total_skipped: int = 0
    batch_count: int = 0
    #: Share of items that succeeded, 0–1; 0 when there were none.
    success_rate: float = 0.0
    errors: list[Any] = Field(default_factory=list)
    error_count: int = 0
    results: list[Any] = Field(default_factory=list)

    @property
    def worker_count(self) -> int:
        """How many workers had a result."""
        return self.batch_count

    def to_dict(self) -> dict[str, Any]:
        """As a step's result."""
        return {"worker_count": self.worker_count, **dict(self.items())}


class BatchTotals(Items):
    """The sums over all workers as a dictionary, whose items are attributes too."""

    #: What the workers gave as ``results``, in order.
    results: list[Any]

    @property
    def worker_count(self) -> int:
        """How many workers had a result."""
        return int(self["batch_count"])

    def to_dict(self) -> dict[str, Any]:
        """As a step's result."""
        return {"worker_count": self.worker_count, **self, "results": self.results}

    @classmethod
    def of(cls, summed: BatchAggregationResult) -> BatchTotals:
        """Of sums."""
        totals = cls({name: value for name, value in summed.items() if name != "results"})
        totals.__dict__["results"] = summed.results
        return totals


def aggregate_batch_results(
    worker_results: Union[Mapping[str, Any], Sequence[Any]], max_errors: int = ERRORS_MAX
) -> BatchAggregationResult:
    """Sums the outcomes of workers; what is no outcome is left out.

    Args:
        max_errors: Errors that are kept; ``error_count`` counts all.
    """
    outcomes = list(worker_results.values() if isinstance(worker_results, Mapping) else worker_results)
    dumped = [o.to_dict() if isinstance(o, BatchWorkerOutcome) else o for o in outcomes]
    found = [o for o in dumped if isinstance(o, Mapping)]

    def total(key: str) -> int:
        return sum(int(outcome.get(key) or 0) for outcome in found)

    processed, succeeded = total("items_processed"), total("items_succeeded")
    errors = [e for outcome in found for e in outcome.get("errors") or []]
    return BatchAggregationResult(
        total_processed=processed,
        total_succeeded=succeeded,
        total_failed=total("items_failed"),
        total_skipped=total("items_skipped"),
        batch_count=len(found),
        success_rate=succeeded / processed if processed else 0.0,
        errors=errors[:max_errors],
        error_count=len(errors),
        results=[r for outcome in found for r in outcome.get("results") or []],
    )


#: Turns the workers' results into one.
Aggregate = Callable[[dict[str, Any]], Any]
