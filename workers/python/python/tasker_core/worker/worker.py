"""A worker: takes steps from the engine at a URL and runs their handlers."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from tasker_core.domain_events import InProcessDomainEventPoller, PublisherRegistry, SubscriberRegistry
from tasker_core.errors import WorkerBootstrapError
from tasker_core.registry import HandlerRegistry
from tasker_core.serialization import dump, load
from tasker_core.worker.event_bridge import EventBridge, EventNames
from tasker_core.worker.event_poller import EventPoller
from tasker_core.worker.step_execution_subscriber import StepExecutionSubscriber

if TYPE_CHECKING:
    from tasker_core.client import TaskerClient
from tasker_core._current import started
from tasker_core._url import default_url
from tasker_core.types.worker import BootstrapConfig, BootstrapResult, WorkerConfig

__all__ = ["Worker", "WorkerConfig", "default_url"]


#: Longest wait of a worker's own pollers in the core, milliseconds; what arrives ends it at once.
POLL_MS = 1000


def _listed(given: Any) -> list[Any]:
    """A list of what may be one or several."""
    return [] if given is None else [given] if isinstance(given, (str, Path)) else list(given)


class Worker:
    """A running worker.

    Example:
        >>> with Worker.start(["handlers"], url="sqlite:///shop.db", templates=["workflows"]) as worker:
        ...     worker.run()
    """

    def __init__(
        self,
        native: Any = None,
        info: Optional[dict[str, Any]] = None,
        registry: Optional[HandlerRegistry] = None,
        config: Optional[WorkerConfig] = None,
    ) -> None:
        self._native = native
        self._pid = os.getpid()
        self._stopped = threading.Event()
        # Re-entrant: a handler of signals may stop the worker while the main thread is stopping it.
        self._stop_lock = threading.RLock()
        self._exit = threading.Event()
        self._failure: Optional[BaseException] = None
        self.info = info or {"worker_id": "", "url": "", "namespaces": [], "templates": [], "warnings": []}
        self.config = config or WorkerConfig()
        self.registry = registry or HandlerRegistry.instance()
        if native is None:
            # Made by hand and never started.
            self._stopped.set()
            return
        # A bridge of its own, or the workers of a process would run each other's steps.
        self.event_bridge = EventBridge(parent=EventBridge.instance())
        self.event_bridge.start()
        EventBridge.instance().start()
        self.subscriber = StepExecutionSubscriber(self.event_bridge, self.registry, self.worker_id, native=native)
        self.subscriber.start()
        self.poller = EventPoller(POLL_MS, native=native)
        self.poller.on_step_event(partial(self.event_bridge.publish, EventNames.STEP_EXECUTION_RECEIVED))
        self.poller.on_error(partial(self.event_bridge.publish, EventNames.POLLER_ERROR))
        self.poller.on_metrics(partial(self.event_bridge.publish, EventNames.POLLER_METRICS))
        self.poller.on_signal(self._signalled)
        self.domain_events = InProcessDomainEventPoller(POLL_MS, native=native)
        if SubscriberRegistry.instance().subscribers or len(PublisherRegistry.instance().names()) > 1:
            self.hear_domain_events()

    @classmethod
    def start(
        cls,
        handler_packages: Union[str, Sequence[str], None] = None,
        config: Union[WorkerConfig, BootstrapConfig, None] = None,
        *,
        url: Optional[str] = None,
        namespaces: Union[str, Iterable[str], None] = None,
        templates: Union[str, Path, Sequence[Union[str, Path]], None] = None,
        registry: Optional[HandlerRegistry] = None,
        poll: bool = True,
    ) -> Worker:
        """Discovers handlers and templates, opens the engine and starts.

        Called with packages and a ``BootstrapConfig`` alone while a worker runs, it gives that worker.

        Args:
            handler_packages: Packages, modules or folders that hold handlers; ``PYTHON_HANDLER_PATH`` is added.
            config: Settings: a ``WorkerConfig``, or a ``BootstrapConfig``.
            url: Where work comes from; ``TASKER_URL`` or ``sqlite://.tasker/tasker.db`` when absent.
            namespaces: Queues to take from; the namespaces of the templates when absent.
            templates: Files, folders or YAML texts; found by the discovery rules when absent.
            registry: Handlers; those of this process when absent.
            poll: Whether to take steps. If not, take them yourself, with ``poll_step_events`` or an ``EventPoller``.

        Raises:
            WorkerBootstrapError: it cannot start.
        """
        from tasker_core import __version__, _native
        from tasker_core.handler_discovery import import_handlers
        from tasker_core.template_discovery import find_templates

        said = (url, namespaces, templates, registry)
        running = cls.instance()
        if running is not None and poll and all(s is None for s in said) and not isinstance(config, WorkerConfig):
            return running
        if isinstance(config, BootstrapConfig):
            if config.log_level and "log_level" in config.model_fields_set:
                from tasker_core.logging import set_level

                set_level(config.log_level)
            handler_packages = [*_listed(handler_packages), *config.handler_packages]
            url, templates = url or config.url, config.templates if templates is None else templates
            if namespaces is None and "namespace" in config.model_fields_set:
                namespaces = [config.namespace]
            config = WorkerConfig(worker_id=config.worker_id)
        config = config or WorkerConfig()
        registry = registry or HandlerRegistry.instance()
        problems = import_handlers(registry, _listed(handler_packages))
        for problem in problems:
            print(f"tasker: {problem}", file=sys.stderr)
        settings = {
            "url": url or default_url(),
            "worker_id": config.worker_id,
            "namespaces": None if namespaces is None else _listed(namespaces),
            "templates": find_templates(None if templates is None else _listed(templates)),
            "handlers": registry.callables(),
            "max_concurrent_handlers": config.max_concurrent_handlers,
            "lease_ms": config.lease_ms,
            "drain_timeout_ms": config.drain_timeout_ms,
            "sdk_version": __version__,
            "strict": config.strict,
            "environment": config.environment,
        }
        try:
            native = _native.NativeWorker(dump(settings, "configuration"))
            info = load(native.start())
        except _native.TaskerNativeError as error:
            raise WorkerBootstrapError(str(error), error_code=getattr(error, "code", None)) from None
        worker = cls(native, info, registry, config)
        worker.problems = problems
        started.append(worker)
        if poll:
            worker.poller.start()
        return worker

    @classmethod
    def current(cls) -> Optional[Worker]:
        """The worker of this process that was started last; ``None`` if all have been stopped."""
        return started[-1] if started else None

    @classmethod
    def instance(cls) -> Optional[Worker]:
        """The running worker of this process; ``None`` if there is none."""
        return next((w for w in reversed(started) if w.is_running), None)

    @classmethod
    def reset_instance(cls) -> None:
        """Stops every worker of this process; for tests."""
        for worker in list(started):
            worker.stop()

    @property
    def bootstrap_result(self) -> BootstrapResult:
        """What came of the start.

        Raises:
            RuntimeError: it was not started.
        """
        if self._native is None:
            raise RuntimeError("the worker has not been started; use Worker.start()")
        return BootstrapResult(
            success=True,
            handle_id=self.worker_id,
            worker_id=self.worker_id,
            status="running",
            url=self.url,
            namespaces=list(self.info["namespaces"]),
        )

    #: What went wrong while handlers were imported.
    problems: list[str] = []

    @property
    def native(self) -> Any:
        """The core's side."""
        return self._native

    @property
    def worker_id(self) -> str:
        """Unique name."""
        return str(self.info["worker_id"])

    @property
    def url(self) -> str:
        """Where work comes from."""
        return str(self.info["url"])

    @property
    def is_running(self) -> bool:
        """Whether it takes steps."""
        return not self._stopped.is_set() and self._pid == os.getpid()

    def hear_domain_events(self) -> None:
        """Starts handing domain events to publishers and subscribers; done by itself once there are any."""
        with self._stop_lock:
            if self.is_running and not self.domain_events.is_running:
                self.domain_events.start()

    def status(self) -> dict[str, Any]:
        """Slots, running handlers, steps so far."""
        status: dict[str, Any] = load(self._native.status())
        return status

    def client(self) -> TaskerClient:
        """A client of the same engine."""
        from tasker_core.client import TaskerClient

        return TaskerClient(url=self.url, native=self._native.client())

    #: Whether a stop is under way, perhaps in a frame below this one.
    _stopping = False

    def stop(self, timeout: Optional[float] = None) -> bool:
        """Stops claiming, waits for running handlers, hands back the rest. True if all ended in time.

        Args:
            timeout: Seconds to wait; the configured ``drain_timeout_ms`` when absent, 0 for none.
        """
        if self._pid != os.getpid():
            return True
        with self._stop_lock:
            if self._stopped.is_set() or self._stopping:
                return True
            self._stopping = True
            finished: bool = self._native.drain(None if timeout is None else int(timeout * 1000))
            self._stopped.set()
            self._exit.set()
            self.domain_events.stop()
            self._native.close()
            # A handler that still runs ends in its own time, in a thread that keeps no process alive.
            self.poller.stop(timeout=0.2 if timeout == 0 else 1.0)
            self.subscriber.stop()
            self.event_bridge.stop()
            started.remove(self)
            return finished

    def run(self) -> int:
        """Works until SIGINT or SIGTERM, then drains; a second signal ends at once. Gives an exit code."""
        seen: list[int] = []

        def on_signal(number: int, _frame: Any) -> None:
            seen.append(number)
            self._exit.set()
            if len(seen) > 1:
                self._native.close()
                os._exit(128 + number)

        # Only the main thread may say what signals do.
        hear = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        before = {s: signal.signal(s, on_signal) for s in hear}
        try:
            # Short waits, so that a signal's handler runs at once in the main thread.
            while not self._exit.wait(0.1):
                pass
            with suppress(RuntimeError):
                if seen and not self._native.drain(0):
                    print("tasker: waiting for running handlers; a second signal ends at once", file=sys.stderr)
            self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return 1 if self._failure is not None else 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def _signalled(self, told: Any) -> None:
        if told.kind == "cancel":
            self.subscriber.cancel(told.event_id)
        elif told.kind == "fatal":
            self._leave(WorkerBootstrapError(told.message), f"the worker cannot go on: {told.message}")
        elif told.kind == "shutdown":
            self._exit.set()

    def _leave(self, error: BaseException, why: str) -> None:
        """Drains and stops, whether or not anyone is in ``run``."""
        if self._failure is None:
            self._failure = error
            print(f"tasker: {why}", file=sys.stderr)
            self._exit.set()
            threading.Thread(target=self.stop, name="tasker-stop", daemon=True).start()


def _at_exit() -> None:
    """Hands steps back at once, so that the process ends quickly and cleanly with a worker running."""
    for worker in list(started):
        worker.stop(timeout=0)
