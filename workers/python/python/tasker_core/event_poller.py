"""Takes steps from the core, in a pool of threads that grows with the work."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Optional

__all__ = ["EventPoller"]

StepCallback = Callable[[Any], None]


class EventPoller:
    """Polls the core and calls back with each step, in the thread that took it.

    Args:
        polling_interval_ms: Longest wait in one poll, milliseconds; a step that arrives ends the wait at once.
        starvation_check_interval: Polls between two looks for steps that wait too long.
        cleanup_interval: Polls between two clean-ups; the core cleans up by itself, kept for compatibility.
        native: The core; that of the running worker when absent.
    """

    def __init__(
        self,
        polling_interval_ms: int = 1000,
        starvation_check_interval: int = 100,
        cleanup_interval: int = 1000,
        *,
        native: Any = None,
    ) -> None:
        self.polling_interval_ms = polling_interval_ms
        self.starvation_check_interval = starvation_check_interval
        self.cleanup_interval = cleanup_interval
        self._native = native
        self._step_callbacks: list[StepCallback] = []
        self._metrics_callbacks: list[Callable[[dict[str, Any]], None]] = []
        self._error_callbacks: list[Callable[[BaseException], None]] = []
        self._signal_callbacks: list[Callable[[Any], None]] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._running = False
        self._polls = 0
        self._received = 0

    def on_step_event(self, callback: StepCallback) -> None:
        """Calls back with each step."""
        self._step_callbacks.append(callback)

    def on_metrics(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Calls back with metrics, every ``starvation_check_interval`` polls."""
        self._metrics_callbacks.append(callback)

    def on_error(self, callback: Callable[[BaseException], None]) -> None:
        """Calls back with what a callback or the core raised."""
        self._error_callbacks.append(callback)

    def on_signal(self, callback: Callable[[Any], None]) -> None:
        """Calls back with the core's signals: cancel, drain, fatal, shutdown."""
        self._signal_callbacks.append(callback)

    @property
    def is_running(self) -> bool:
        """Whether it polls."""
        return self._running

    def start(self) -> None:
        """Starts the first thread."""
        if self._native is None:
            from tasker_core._tasker_core import current_worker

            self._native = current_worker()
        self._running = True
        self._grow()

    def stop(self, timeout: float = 5.0) -> None:
        """Stops polling and waits for the threads, at most ``timeout`` seconds in all."""
        self._running = False
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = [t for t in self._threads if t.is_alive()]

    def get_metrics(self) -> dict[str, Any]:
        """Polls and steps so far, threads, and the core's own numbers."""
        from tasker_core.serialization import load

        core: dict[str, Any] = load(self._native.status()) if self._native is not None and self._running else {}
        return {"polls": self._polls, "received": self._received, "threads": len(self._threads), **core}

    def _grow(self) -> None:
        with self._lock:
            self._threads = [t for t in self._threads if t.is_alive()]
            if not self._running or len(self._threads) >= self._native.thread_limit():
                return
            name = f"tasker-worker-{len(self._threads)}"
            thread = threading.Thread(target=self._loop, name=name, daemon=True)
            self._threads.append(thread)
        thread.start()

    def _loop(self) -> None:
        native = self._native
        signal_type = _signal_type()
        while self._running:
            try:
                event = native.poll(self.polling_interval_ms)
            except BaseException as error:
                self._report(error)
                if not self._running:
                    return
                continue
            self._polls += 1
            if self._polls % self.starvation_check_interval == 0 and self._metrics_callbacks:
                self._tell_metrics()
            if event is None:
                continue
            if isinstance(event, signal_type):
                if not self._told(event):
                    return
                continue
            self._received += 1
            # Someone must be there for the next step while this one runs.
            if native.waiting() == 0 and len(self._threads) < native.thread_limit():
                self._grow()
            for callback in self._step_callbacks:
                try:
                    callback(event)
                except BaseException as error:
                    self._report(error)

    def _told(self, signal: Any) -> bool:
        """Passes a signal on; whether to go on polling."""
        for callback in self._signal_callbacks:
            try:
                callback(signal)
            except BaseException as error:
                self._report(error)
        if signal.kind in ("shutdown", "fatal"):
            self._running = False
            return False
        return True

    def _tell_metrics(self) -> None:
        try:
            metrics = self.get_metrics()
            for callback in self._metrics_callbacks:
                callback(metrics)
        except BaseException as error:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        for callback in self._error_callbacks:
            callback(error)


def _signal_type() -> Any:
    from tasker_core._native import Signal

    return Signal
