"""Which code a template asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

__all__ = ["HandlerDefinition"]


@dataclass
class HandlerDefinition:
    """Which code a template asks for."""

    callable: str
    method: str = "call"
    resolver: Optional[str] = None
    initialization: dict[str, Any] = field(default_factory=dict)
