"""A batch worker's view of its part."""

from __future__ import annotations

from typing import Any, Optional

from pydantic import Field, field_validator

from tasker_core.types.batch import BatchSettings, CursorConfig, RustBatchWorkerInputs
from tasker_core.types.model import Model

__all__ = ["BatchWorkerContext"]


class BatchWorkerContext(Model):
    """A batch worker's view of its part."""

    batch_id: str
    cursor_config: CursorConfig
    #: 0 for the first worker.
    batch_index: int
    total_batches: int
    batch_metadata: dict[str, Any] = Field(default_factory=dict)
    #: ``{cursor, items_processed, accumulated_results}``, once there is one.
    checkpoint: dict[str, Any] = Field(default_factory=dict)
    is_no_op: bool = False

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _checkpoint(cls, value: Any) -> Any:
        return value or {}

    @classmethod
    def from_step_context(cls, step_context: Any) -> Optional[BatchWorkerContext]:
        """The view of a step; ``None`` if it is no batch worker.

        Without inputs of a worker, ``batch_context`` of the step's configuration or of the task's context is taken.
        """
        data = step_context.step_inputs or {}
        if "cursor" not in data:
            given = step_context.step_config.get("batch_context") or step_context.input_data.get("batch_context")
            return cls._from_mapping(given, step_context) if isinstance(given, dict) else None
        inputs = RustBatchWorkerInputs.from_dict(data)
        cursor = inputs.cursor_config
        number = step_context.step_name.rpartition("_")[2]
        if not number.isdigit():
            number = cursor.batch_id
        index = max(int(number) - 1, 0) if number.isdigit() else 0
        return cls(
            batch_id=cursor.batch_id or f"{index + 1:03}",
            cursor_config=cursor,
            batch_index=index,
            total_batches=int((data.get("batch_metadata") or {}).get("total_batches") or 0),
            batch_metadata=dict(data.get("batch_metadata") or {}),
            checkpoint=step_context.checkpoint,
            is_no_op=inputs.is_no_op,
        )

    @classmethod
    def _from_mapping(cls, given: dict[str, Any], step_context: Any) -> BatchWorkerContext:
        cursor = CursorConfig.from_dict(given.get("cursor_config") or given.get("cursor") or given)
        return cls(
            batch_id=str(given.get("batch_id") or cursor.batch_id),
            cursor_config=cursor,
            batch_index=int(given.get("batch_index") or 0),
            total_batches=int(given.get("total_batches") or 1),
            batch_metadata=dict(given.get("batch_metadata") or {}),
            checkpoint=step_context.checkpoint,
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
    def config(self) -> BatchSettings:
        """Settings from the template."""
        metadata = self.batch_metadata
        return BatchSettings(metadata.get("batch_size"), metadata.get("checkpoint_interval"))

    def has_checkpoint(self) -> bool:
        """Whether a former attempt left one."""
        return bool(self.checkpoint)

    @property
    def checkpoint_cursor(self) -> Any:
        """Where the former attempt stood; ``None`` without a checkpoint."""
        return self.checkpoint.get("cursor")

    @property
    def checkpoint_items_processed(self) -> int:
        """Items done by former attempts."""
        return int(self.checkpoint.get("items_processed") or 0)

    @property
    def accumulated_results(self) -> Any:
        """What former attempts gathered."""
        return self.checkpoint.get("accumulated_results")
