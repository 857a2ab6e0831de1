"""Takes steps from the core, in a pool of threads that grows with the work."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Callable

__all__ = ["EventPoller"]

#: Threads that wait for steps at once.
SEARCHING_MAX = 2

StepCallback = Callable[[Any], Any]

_log = logging.getLogger("tasker_core.poller")


class EventPoller:
    """Polls the core and calls back with each step, in the thread that took it.

    Args:
        polling_interval_ms: Longest wait in one poll, milliseconds; a step that arrives ends the wait at once.
        starvation_check_interval: Polls between two looks for steps that wait too long.
        cleanup_interval: Polls between two clean-ups; the core cleans up by itself, kept for compatibility.
        native: The core; that of the running worker when absent.
    """

    DEFAULT_POLL_INTERVAL_MS = 10
    DEFAULT_STARVATION_CHECK_INTERVAL = 100
    DEFAULT_CLEANUP_INTERVAL = 1000

    def __init__(
        self,
        polling_interval_ms: int = DEFAULT_POLL_INTERVAL_MS,
        starvation_check_interval: int = DEFAULT_STARVATION_CHECK_INTERVAL,
        cleanup_interval: int = DEFAULT_CLEANUP_INTERVAL,
        *,
        native: Any = None,
    ) -> None:
        self.polling_interval_ms = polling_interval_ms
        self.starvation_check_interval = starvation_check_interval
        self.cleanup_interval = cleanup_interval
        self._native = native
        self._step_callbacks: list[StepCallback] = []
        self._metrics_callbacks: list[Callable[[dict[str, Any]], Any]] = []
        self._error_callbacks: list[Callable[[BaseException], Any]] = []
        self._signal_callbacks: list[StepCallback] = []
        # Guards the counters and lists below: taken twice a step, for a few instructions.
        self._lock = threading.Lock()
        # Threads that wait for a step, or are on their way to.
        self._searching = 0
        # Locks of the threads that have nothing to do; releasing one sends its thread to look for steps.
        self._parked: list[threading.Lock] = []
        self._threads: list[threading.Thread] = []
        self._running = False
        self._polls = 0
        self._received = 0

    def on_step_event(self, callback: StepCallback) -> None:
        """Calls back with each step."""
        self._step_callbacks.append(callback)

    def on_metrics(self, callback: Callable[[dict[str, Any]], Any]) -> None:
        """Calls back with metrics, every ``starvation_check_interval`` polls."""
        self._metrics_callbacks.append(callback)

    def on_error(self, callback: Callable[[BaseException], Any]) -> None:
        """Calls back with what a callback or the core raised."""
        self._error_callbacks.append(callback)

    def on_signal(self, callback: StepCallback) -> None:
        """Calls back with the core's signals: cancel, drain, fatal, shutdown."""
        self._signal_callbacks.append(callback)

    @property
    def is_running(self) -> bool:
        """Whether it polls."""
        return self._running

    def start(self) -> None:
        """Starts the first thread.

        Raises:
            RuntimeError: it runs, or there is no worker.
        """
        if self._running:
            raise RuntimeError("the poller is running already")
        if self._native is None:
            from tasker_core._current import current_worker

            self._native = current_worker()
        with self._lock:
            self._running = True
            self._searching = 0
        self._another()

    def stop(self, timeout: float = 5.0) -> None:
        """Stops polling and waits for the threads, at most ``timeout`` seconds in all."""
        self._end()
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = [t for t in self._threads if t.is_alive()]

    def _end(self) -> None:
        with self._lock:
            self._running = False
            while self._parked:
                self._parked.pop().release()

    def get_metrics(self) -> Any:
        """Polls and steps so far, threads, and the core's own numbers; ``None`` if there is no worker."""
        from tasker_core.serialization import load

        if self._native is None:
            return None
        core: dict[str, Any] = load(self._native.status()) if self._native is not None and self._running else {}
        return {"polls": self._polls, "received": self._received, "threads": len(self._threads), **core}

    def _another(self) -> None:
        """Sends one more thread to look for steps: a parked one, or a new one while the core allows it."""
        with self._lock:
            if not self._running:
                return
            if self._parked:
                self._searching += 1
                self._parked.pop().release()
                return
            self._threads = [t for t in self._threads if t.is_alive()]
            # One more than there are slots: with all of them busy someone must still hear the core's signals.
            if len(self._threads) > self._native.thread_limit():
                return
            thread = threading.Thread(target=self._loop, name=f"tasker-worker-{len(self._threads)}", daemon=True)
            thread.start()
            self._searching += 1
            self._threads.append(thread)

    def _loop(self) -> None:
        native = self._native
        step_type = _step_type()
        lock = self._lock
        place = threading.Lock()
        place.acquire()
        while self._running:
            event = None
            try:
                event = native.poll(self.polling_interval_ms)
            except BaseException as error:
                self._report(error)
                # Whatever it is, it must not become a busy loop.
                time.sleep(0.1)
            with lock:
                self._searching -= 1
                alone = self._searching <= 0
                self._polls += 1
                polls = self._polls
            if polls % self.starvation_check_interval == 0 and self._metrics_callbacks:
                self._call(self._tell_metrics)
            if isinstance(event, step_type):
                self._received += 1
                # Someone must be there for the next step while this one runs.
                if alone:
                    self._call(self._another)
                for callback in self._step_callbacks:
                    self._call(callback, event)
                event = None
            elif event is not None and not self._told(event):
                return
            with lock:
                # Two look for steps; more would only wake each other up.
                park = self._searching >= SEARCHING_MAX and self._running
                if park:
                    self._parked.append(place)
                else:
                    self._searching += 1
            if park:
                place.acquire()

    def _told(self, signal: Any) -> bool:
        """Passes a signal on; whether to go on polling."""
        for callback in self._signal_callbacks:
            self._call(callback, signal)
        if signal.kind in ("shutdown", "fatal"):
            self._end()
            return False
        return True

    def _tell_metrics(self) -> None:
        metrics = self.get_metrics()
        for callback in self._metrics_callbacks:
            callback(metrics)

    def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Calls what must not end a polling thread, whatever it raises."""
        try:
            callback(*arguments)
        except BaseException as error:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        for callback in self._error_callbacks:
            try:
                callback(error)
            except BaseException:
                _log.exception("an error callback raised")
        if not self._error_callbacks:
            _log.error("a polling thread met an error", exc_info=error)


def _step_type() -> Any:
    from tasker_core._native import StepEvent

    return StepEvent
