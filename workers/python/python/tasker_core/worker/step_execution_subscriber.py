"""Runs the handler of a received step and hands in what came of it."""

from __future__ import annotations

import contextvars
import decimal
import inspect
import logging
import os
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any, Callable, Optional, cast

from tasker_core.domain_events import PublisherRegistry, StepResult
from tasker_core.registry import HandlerDefinition, HandlerRegistry, ResolutionError
from tasker_core.registry.method_dispatch_wrapper import no_method
from tasker_core.registry.resolver_chain import made, takes_config
from tasker_core.serialization import SerializationError, dump, load
from tasker_core.types.results import CheckpointYield, ExecutionResult, StepHandlerCallResult, StepHandlerResult
from tasker_core.types.step_context import StepContext
from tasker_core.worker.event_bridge import EventBridge, EventNames

__all__ = ["StepExecutionSubscriber"]

#: Frames of a backtrace that are kept.
FRAMES_MAX = 50
#: Characters of an error message that are kept.
MESSAGE_MAX = 10_000
#: Longest wait before the next attempt, seconds.
RETRY_AFTER_MAX = 3600.0

_log = logging.getLogger("tasker_core.worker")

_Invoke = Callable[[StepContext], Any]
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


class _Loop:
    """The one thread on which ``async`` handlers run; started with the first of them, replaced if it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Any = None
        self._stopped = False
        # Running handlers by event id, so that one whose attempt was cut short can be cancelled; with what to do if
        # the loop is stopped under them.
        self._running: dict[str, tuple[Any, Any, Callable[[], None]]] = {}

    def submit(self, event_id: str, coroutine: Any, lost: Callable[[], None]) -> None:
        """Runs a coroutine; calls ``lost`` if its loop ends before it does."""
        import asyncio

        with self._lock:
            if self._stopped:
                coroutine.close()
                return
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._run, args=(self._loop,), name="tasker-async", daemon=True).start()
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._running[event_id] = (future, self._loop, lost)
        future.add_done_callback(lambda _: self._running.pop(event_id, None))

    def cancel(self, event_id: str) -> None:
        running = self._running.get(event_id)
        if running is not None:
            running[0].cancel()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            loop, self._loop = self._loop, None
        if loop is not None:
            try:
                loop.call_soon_threadsafe(loop.stop)
            except RuntimeError:
                # A handler has stopped it before.
                pass

    def _run(self, loop: Any) -> None:
        import asyncio

        asyncio.set_event_loop(loop)
        while True:
            try:
                loop.run_forever()
                break
            # Whatever a handler lets out: its attempt has been reported, the others go on.
            except (SystemExit, KeyboardInterrupt) as error:
                _log.error("an async handler asked the process to end: %r", error)
        with self._lock:
            by_a_handler = self._loop is loop
            if by_a_handler:
                self._loop = None
        if by_a_handler:
            _log.error("an async handler stopped the event loop; others get a new one")
            for _future, its, lost in list(self._running.values()):
                if its is loop:
                    lost()
        # Their attempts are handed back or failed; they may clean up.
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


class StepExecutionSubscriber:
    """Listens for ``step.execution.received``, runs the handler, finishes the step.

    Args:
        event_bridge: Where steps arrive and outcomes are published.
        handler_registry: Which code answers to which name.
        worker_id: For people.
        native: The core the steps came from; that of the running worker when absent.
    """

    #: For the bridge: two of these must not run the same step.
    runs_steps = True

    def __init__(
        self,
        event_bridge: EventBridge,
        handler_registry: HandlerRegistry,
        worker_id: str = "",
        *,
        native: Any = None,
    ) -> None:
        self.event_bridge = event_bridge
        self.handler_registry = handler_registry
        self.worker_id = worker_id
        self._native = native
        # Every attempt begins with the context variables of this moment; what it sets ends with it.
        self._variables = contextvars.copy_context()
        # The decimal context is an object in such a variable: to be its own, it must be copied.
        self._decimals = decimal.getcontext().copy()
        self._active = False
        # Answers of the chain at one generation; replaced as a whole, so that no thread keeps an old answer.
        self._resolved: tuple[int, dict[tuple[str, str, Optional[str]], _Invoke]] = (-1, {})
        self._loop = _Loop()

    @property
    def native(self) -> Any:
        """The core the steps came from."""
        if self._native is None:
            from tasker_core._current import current_worker

            self._native = current_worker()
        return self._native

    def start(self) -> None:
        """Starts listening."""
        self._active = True
        self.event_bridge.subscribe(EventNames.STEP_EXECUTION_RECEIVED, self.handle)

    def stop(self) -> None:
        """Stops listening."""
        self._active = False
        self.event_bridge.unsubscribe(EventNames.STEP_EXECUTION_RECEIVED, self.handle)
        self._loop.stop()

    @property
    def is_active(self) -> bool:
        """Whether it listens."""
        return self._active

    def cancel(self, event_id: str) -> None:
        """Cancels the ``async`` handler of an attempt that was cut short; others see ``context.cancelled``."""
        self._loop.cancel(event_id)

    def handle(self, event: Any) -> None:
        """Runs the handler of one step; an ``async`` one is only scheduled."""
        self._variables.copy().run(self._handle, event)

    def _handle(self, event: Any) -> None:
        started = time.perf_counter_ns()
        decimal.setcontext(self._decimals.copy())
        try:
            invoke = self._resolve(event)
            if invoke is None:
                self.native.finish_handler_not_found(event, None)
                return
            output = invoke(StepContext(event, handler_name=event.handler_callable))
            if inspect.isawaitable(output):
                ended = threading.Event()

                def lost() -> None:
                    if not ended.is_set():
                        ended.set()
                        self._failed(event, RuntimeError("the event loop was stopped by an async handler"), started)

                self._loop.submit(event.event_id, self._await(event, output, started, ended), lost)
                return
        except BaseException as error:
            self._failed(event, error, started)
            return
        self._finish(event, output, started)

    async def _await(self, event: Any, output: Any, started: int, ended: threading.Event) -> None:
        try:
            output = await output
        except BaseException as error:
            if not ended.is_set():
                ended.set()
                self._failed(event, error, started)
            return
        if not ended.is_set():
            ended.set()
            self._finish(event, output, started)

    def _resolve(self, event: Any) -> Optional[_Invoke]:
        chain = self.handler_registry.chain
        generation, resolved = self._resolved
        if generation != chain.generation:
            self._resolved = (chain.generation, resolved := {})
        key = (event.handler_callable, event.handler_method, event.handler_resolver)
        invoke = resolved.get(key)
        if invoke is None:
            definition = HandlerDefinition(*key, initialization=load(event.initialization_json()))
            handler = chain.find(definition)
            if handler is None:
                return None
            invoke = _invoker(handler, definition.method)
            # An object may have been made for this step's configuration: only classes and functions are kept, as the
            # next step with this name may have another.
            if inspect.isclass(handler) or inspect.isfunction(handler) or chain_keeps(chain, definition, handler):
                resolved[key] = invoke
        return invoke

    def _finish(self, event: Any, output: Any, started: int) -> None:
        try:
            result = StepHandlerCallResult.from_handler_output(output)
            if isinstance(result, CheckpointYield):
                self._checkpointed(event, result, started)
            elif result._raised is not None:
                self._failed(event, result._raised, started)
            elif result.is_success:
                self._succeeded(event, result, started)
            else:
                self._send_failure(event, result, [], None, started)
        except BaseException as error:
            self._failed(event, error, started)

    def _succeeded(self, event: Any, result: StepHandlerResult, started: int) -> None:
        value = {} if result.result is None else result.result
        payload = dump(value)
        metadata = dump(result.metadata, "metadata") if result.metadata else None
        events = None
        if event.has_publishers:
            told = StepResult(success=True, result=value, metadata=result.metadata or {})
            events = PublisherRegistry.instance().prepared_json(event, told)
        self.native.finish_success(event, payload, metadata, _us(started), events)
        if self.event_bridge.has_listeners(EventNames.STEP_COMPLETION_SENT):
            self._completed(event, True, None, started)

    def _checkpointed(self, event: Any, checkpoint: CheckpointYield, started: int) -> None:
        cursor = dump(checkpoint.cursor, "cursor")
        accumulated = None
        if checkpoint.accumulated_results is not None:
            accumulated = dump(checkpoint.accumulated_results, "accumulated results")
        self.native.finish_checkpoint(event, cursor, checkpoint.items_processed, accumulated, _us(started))
        if self.event_bridge.has_listeners(EventNames.STEP_CHECKPOINT_YIELD):
            self.event_bridge.publish(EventNames.STEP_CHECKPOINT_YIELD, event, checkpoint)

    def _failed(self, event: Any, error: BaseException, started: int) -> None:
        """An exception as the failure of the attempt; the worker goes on, also when it was asked to end."""
        try:
            failure = StepHandlerCallResult.from_exception(error)
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                said = f"the handler asked its process to end: {error!r}"
                failure = failure.model_copy(update={"error_message": said})
            context = getattr(error, "context", None)
            # Other libraries' errors have a `context` as well, of whatever kind.
            self._send_failure(
                event, failure, _frames(error), context if isinstance(context, Mapping) else None, started
            )
            if self.event_bridge.has_listeners(EventNames.HANDLER_ERROR):
                self.event_bridge.publish(EventNames.HANDLER_ERROR, event, error)
        except BaseException as trouble:
            self._unreportable(event, error, trouble, started)

    def _unreportable(self, event: Any, error: BaseException, trouble: BaseException, started: int) -> None:
        """Whatever an error holds, its attempt must not hang until the lease ends."""
        message = (
            f"{type(error).__name__}: {_text(error)} (not reported in full: {type(trouble).__name__}: {_text(trouble)})"
        )
        try:
            self.native.finish_failure(event, _short(message), "handler_error", None, True, execution_us=_us(started))
        except RuntimeError:
            # The worker was closed meanwhile: the attempt has been handed back.
            _log.debug("step %s ended after its worker: %s", event.step_name, message)

    def _send_failure(
        self, event: Any, failure: StepHandlerResult, backtrace: list[str], context: Any, started: int
    ) -> None:
        message = _short(failure.error_message or "the handler gave no message")
        # The core keeps to an hour anyway; the bound keeps the number a number.
        retry_after = None if failure.retry_after is None else int(min(failure.retry_after, RETRY_AFTER_MAX) * 1000)
        self.native.finish_failure(
            event,
            message,
            failure.error_type or "handler_error",
            failure.error_code,
            failure.retryable,
            backtrace,
            retry_after,
            failure.status_code,
            _dump_or_note(context) if context else None,
            _dump_or_note(failure.metadata) if failure.metadata else None,
            _us(started),
            PublisherRegistry.instance().prepared_json(event, _told(failure, message)),
        )
        if self.event_bridge.has_listeners(EventNames.STEP_COMPLETION_SENT):
            self._completed(event, False, message, started)

    def _completed(self, event: Any, success: bool, message: Optional[str], started: int) -> None:
        self.event_bridge.publish(
            EventNames.STEP_COMPLETION_SENT,
            ExecutionResult(
                event_id=event.event_id,
                step_uuid=event.step_uuid,
                success=success,
                execution_time_ms=_us(started) / 1000,
                error_message=message,
            ),
        )


def _told(failure: StepHandlerResult, message: str) -> StepResult:
    return StepResult(
        success=False,
        metadata=failure.metadata or {},
        error_message=message,
        error_type=failure.error_type,
        error_code=failure.error_code,
        retryable=failure.retryable,
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "its text cannot be had"


def chain_keeps(chain: Any, definition: HandlerDefinition, handler: Any) -> bool:
    """Whether an object was registered by name, rather than made by a resolver."""
    explicit = chain.explicit_resolver
    return explicit is not None and explicit.handlers.get(definition.callable) is handler


def _us(started: int) -> int:
    return (time.perf_counter_ns() - started) // 1000


def _short(message: str) -> str:
    if len(message) > MESSAGE_MAX:
        message = f"{message[:MESSAGE_MAX]}… ({len(message) - MESSAGE_MAX} more characters)"
    # What cannot be written as UTF-8 is spelled out rather than lost.
    return message.encode("utf-8", "backslashreplace").decode()


def _dump_or_note(value: Any) -> bytes:
    try:
        return dump(value, "metadata")
    except SerializationError as error:
        return dump({"note": str(error), "repr": repr(value)[:1000]})


def _frames(error: BaseException) -> list[str]:
    """The way to the error, last call last, without the SDK's own frames; then its notes, its causes, its parts."""
    said = _way(error)
    seen = {id(error)}
    said += _notes(error)
    for part in getattr(error, "exceptions", None) or ():
        if isinstance(part, BaseException):
            said.append(f"part: {type(part).__name__}: {_text(part)}")
            said += _frames(part)
    cause = error
    while True:
        inner = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if inner is None or id(inner) in seen:
            break
        word = "caused by" if cause.__cause__ is not None else "while handling"
        seen.add(id(inner))
        said.append(f"{word} {type(inner).__name__}: {_text(inner)}")
        said += _way(inner) + _notes(inner)
        cause = inner
    return said[: 2 * FRAMES_MAX]


def _way(error: BaseException) -> list[str]:
    frames = [(t.f_code.co_filename, line, t.f_code.co_name) for t, line in traceback.walk_tb(error.__traceback__)]
    shown = [f for f in frames if not f[0].startswith(_PACKAGE)] or frames
    return [f"{file}:{line} in {name}" for file, line, name in shown[-FRAMES_MAX:]]


def _notes(error: BaseException) -> list[str]:
    return [f"note: {note}" for note in getattr(error, "__notes__", None) or ()]


def _invoker(found: Any, method: str) -> _Invoke:
    """How to call what a resolver found: a class (a fresh object an attempt), an object, or a function."""
    target = getattr(found, method, None)
    if inspect.isclass(found):
        if not callable(target):
            raise ResolutionError(no_method(found, method))
        old = _is_three_argument(target, bound=False)
        configured = takes_config(found)

        def call(context: StepContext) -> Any:
            bound = getattr(made(found, context.step_config if configured else None), method)
            return _old(bound, context) if old else bound(context)

        return call
    if target is None and method == "call":
        target = found
    if not callable(target):
        raise ResolutionError(no_method(found, method))
    if _is_three_argument(target, bound=True):
        return lambda c: _old(target, c)
    return cast("_Invoke", target)


def _is_three_argument(target: Any, bound: bool) -> bool:
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return False
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return len(plain) == (3 if bound else 4)


def _old(target: Any, context: StepContext) -> Any:
    step = context.task_sequence_step
    return target(step.task, step.dependency_results, step.workflow_step)
