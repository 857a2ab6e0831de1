"""A batch worker's view of its part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from tasker_core.types.batch import BatchWorkerConfig, CursorConfig, RustBatchWorkerInputs

__all__ = ["BatchWorkerContext"]


@dataclass(frozen=True)
class BatchWorkerContext:
    """A batch worker's view of its part."""

    batch_id: str
    cursor_config: CursorConfig
    #: 0 for the first worker.
    batch_index: int
    total_batches: int
    batch_metadata: dict[str, Any]
    #: ``{cursor, items_processed, accumulated_results}``, once there is one.
    checkpoint: Optional[dict[str, Any]] = None
    is_no_op: bool = False

    @classmethod
    def from_step_context(cls, context: Any) -> Optional[BatchWorkerContext]:
        """The view of a step; ``None`` if it is no batch worker."""
        data = context.step_inputs
        if "cursor" not in data:
            return None
        inputs = RustBatchWorkerInputs.from_dict(data)
        cursor = inputs.cursor_config
        number = context.step_name.rpartition("_")[2]
        index = int(number) - 1 if number.isdigit() else 0
        return cls(
            batch_id=cursor.batch_id or f"{index + 1:03}",
            cursor_config=cursor,
            batch_index=index,
            total_batches=int((data.get("batch_metadata") or {}).get("total_batches") or 0),
            batch_metadata=dict(data.get("batch_metadata") or {}),
            checkpoint=context.checkpoint,
            is_no_op=inputs.is_no_op,
        )

    @property
    def start_cursor(self) -> Any:
        """First item."""
        return self.cursor_config.start_cursor

    @property
    def end_cursor(self) -> Any:
        """One past the last item."""
        return self.cursor_config.end_cursor

    @property
    def step_size(self) -> int:
        """Distance of items."""
        return self.cursor_config.step_size

    @property
    def config(self) -> BatchWorkerConfig:
        """Settings from the template."""
        metadata = self.batch_metadata
        return BatchWorkerConfig(metadata.get("batch_size"), metadata.get("checkpoint_interval"))

    def has_checkpoint(self) -> bool:
        """Whether a former attempt left one."""
        return self.checkpoint is not None

    @property
    def checkpoint_cursor(self) -> Any:
        """Where the former attempt stood; ``None`` without a checkpoint."""
        return (self.checkpoint or {}).get("cursor")

    @property
    def checkpoint_items_processed(self) -> int:
        """Items done by former attempts."""
        return int((self.checkpoint or {}).get("items_processed") or 0)

    @property
    def accumulated_results(self) -> Any:
        """What former attempts gathered."""
        return (self.checkpoint or {}).get("accumulated_results")
