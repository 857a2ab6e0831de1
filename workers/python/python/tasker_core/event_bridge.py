"""The published path of :mod:`tasker_core.worker.event_bridge`."""

from __future__ import annotations

from tasker_core.worker.event_bridge import EventBridge, EventNames

__all__ = ["EventBridge", "EventNames"]
