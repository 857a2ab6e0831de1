"""The core's log. It goes to standard error; ``TASKER_LOG`` chooses what is written."""

from __future__ import annotations

import os

from tasker_core._tasker_core import log_debug, log_error, log_info, log_trace, log_warn

__all__ = ["log_debug", "log_error", "log_info", "log_trace", "log_warn", "set_level"]


def set_level(level: str) -> None:
    """Chooses the level of the core's log for this process; takes effect until the first worker or line of log."""
    os.environ["TASKER_LOG"] = level
