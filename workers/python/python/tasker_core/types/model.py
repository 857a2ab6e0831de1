"""Base of the SDK's models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["Items", "Model"]


class Items(dict):  # type: ignore[type-arg]
    """A dictionary whose items are attributes as well; an unknown name raises ``AttributeError``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}") from None

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """A plain dictionary of it."""
        return {k: v.model_dump() if isinstance(v, Items) else v for k, v in self.items()}

    @classmethod
    def model_validate(cls, data: Any) -> Any:
        """One of these from a mapping."""
        return cls(**data)


class Model(BaseModel):
    """A pydantic model whose fields may also be given in order, and read as items (``model["field"]``)."""

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    def __init__(self, *values: Any, **fields: Any) -> None:
        names = list(type(self).model_fields)
        if len(values) > len(names):
            raise TypeError(f"{type(self).__name__} takes at most {len(names)} values")
        super().__init__(**dict(zip(names, values)), **fields)

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(self.keys())

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or the default if there is none of that name."""
        return getattr(self, name) if name in self.keys() else default

    def keys(self) -> list[str]:
        """Names of the fields."""
        return [*type(self).model_fields, *(self.model_extra or {})]

    def items(self) -> list[tuple[str, Any]]:
        """Names and values of the fields."""
        return [(name, getattr(self, name)) for name in self.keys()]
