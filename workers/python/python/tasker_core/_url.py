"""Where work comes from unless it is said."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

__all__ = ["default_url"]


def default_url() -> str:
    """``TASKER_URL``, or a file in the current folder."""
    return os.environ.get("TASKER_URL") or "sqlite://.tasker/tasker.db"
