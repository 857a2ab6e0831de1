"""The published path of :mod:`tasker_core.worker.event_poller`."""

from __future__ import annotations

from tasker_core.worker.event_poller import EventPoller

__all__ = ["EventPoller"]
