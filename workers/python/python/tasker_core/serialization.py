"""From Python values to the JSON text the core takes."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import operator
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Optional
from uuid import UUID

__all__ = ["SerializationError", "as_mapping", "dump", "load"]

load = json.loads


class SerializationError(ValueError):
    """A value cannot be written as JSON. Permanent: the same handler would return it again."""

    error_type = "serialization_error"
    retryable = False


def as_mapping(value: Any) -> Optional[Mapping[str, Any]]:
    """A mapping, model or data class as a mapping; ``None`` for anything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (str, list, int, float, type)) or value is None:
        return None
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    dump_model = getattr(value, "model_dump", None)
    dumped = dump_model(mode="json") if callable(dump_model) else None
    return dumped if isinstance(dumped, Mapping) else None


def _default(value: Any) -> Any:
    mapping = as_mapping(value)
    if mapping is not None:
        return dict(mapping)
    root = getattr(value, "model_dump", None)
    if callable(root) and not isinstance(value, type):
        # A root model: any value at all.
        return root(mode="json")
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    plain = _scalar(value)
    if plain is not None:
        return plain
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def _scalar(value: Any) -> Any:
    """What a number of another library stands for (numpy's, torch's); ``None`` for anything else."""
    item = getattr(value, "item", None)
    if callable(item) and not isinstance(value, type):
        try:
            plain = item()
        except (TypeError, ValueError):
            plain = None
        if isinstance(plain, (bool, int, float, str)):
            return plain
    try:
        return operator.index(value)
    except TypeError:
        return None


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default)


def dump(value: Any, what: str = "result") -> bytes:
    """The value as UTF-8 JSON.

    Raises:
        SerializationError: naming the place of what cannot be written.
    """
    try:
        return _encoder.encode(value).encode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        place = _find(value, what, set())
        where = f"{place[0]}: {place[1]}" if place else f"{what}: {error}"
        raise SerializationError(
            f"the {what} cannot be stored as JSON: {where}. "
            "Return only dicts with string keys, lists, strings, finite numbers, booleans and None"
        ) from None


def _find(value: Any, path: str, above: set[int]) -> Optional[tuple[str, str]]:
    """The first place in a value that JSON cannot hold, and why."""
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, f"{value} is not a JSON number")
    if value is None or isinstance(value, (bool, int, Decimal, UUID, Enum)):
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return path, "a string with a lone surrogate is not valid Unicode"
        return None
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return None
    if id(value) in above:
        return path, f"a {type(value).__name__} that contains itself"
    if len(above) > 200:
        return path, "nested too deeply"
    above = above | {id(value)}
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool)) and key is not None:
                return path, f"a key of type {type(key).__name__}"
            found = _find(item, f"{path}.{key}", above)
            if found:
                return found
        return None
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            found = _find(item, f"{path}[{index}]", above)
            if found:
                return found
        return None
    try:
        return _find(_default(value), path, above)
    except (TypeError, ValueError):
        return path, f"a value of type {type(value).__name__}"
