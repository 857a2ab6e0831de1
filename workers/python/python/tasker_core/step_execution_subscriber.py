"""Runs the handler of a received step and hands in what came of it."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
import traceback
from concurrent.futures import Future
from typing import Any, Callable, Optional

from tasker_core.errors import TaskerError
from tasker_core.event_bridge import EventBridge, EventNames
from tasker_core.models import StepContext
from tasker_core.registry import HandlerDefinition, HandlerRegistry, ResolutionError
from tasker_core.serialization import SerializationError, dump, load
from tasker_core.types import CheckpointYield, ExecutionResult, StepHandlerCallResult, StepHandlerResult

__all__ = ["StepExecutionSubscriber"]

#: Frames of a backtrace that are kept.
FRAMES_MAX = 50
#: Characters of an error message that are kept.
MESSAGE_MAX = 10_000

_Invoke = Callable[[StepContext], Any]
_PACKAGE = os.path.dirname(__file__) + os.sep


class _Loop:
    """The one thread on which ``async`` handlers run; started with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    def submit(self, coroutine: Any) -> Future[Any]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="tasker-async", daemon=True).start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def stop(self) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None


class StepExecutionSubscriber:
    """Listens for ``step.execution.received``, runs the handler, finishes the step.

    Args:
        event_bridge: Where steps arrive and outcomes are published.
        handler_registry: Which code answers to which name.
        worker_id: For people.
        native: The core the steps came from; that of the running worker when absent.
        on_exit: Called when a handler asks the process to end (``SystemExit``, ``KeyboardInterrupt``).
    """

    def __init__(
        self,
        event_bridge: EventBridge,
        handler_registry: HandlerRegistry,
        worker_id: str = "",
        *,
        native: Any = None,
        on_exit: Optional[Callable[[BaseException], None]] = None,
    ) -> None:
        self.event_bridge = event_bridge
        self.handler_registry = handler_registry
        self.worker_id = worker_id
        self._native = native
        self._on_exit = on_exit
        self._resolved: dict[tuple[str, str, Optional[str]], tuple[_Invoke, bool]] = {}
        self._generation = -1
        self._loop = _Loop()

    @property
    def native(self) -> Any:
        """The core the steps came from."""
        if self._native is None:
            from tasker_core._tasker_core import current_worker

            self._native = current_worker()
        return self._native

    def start(self) -> None:
        """Starts listening."""
        self.event_bridge.subscribe(EventNames.STEP_EXECUTION_RECEIVED, self.handle)

    def stop(self) -> None:
        """Stops listening."""
        if self.handle in self.event_bridge.listeners(EventNames.STEP_EXECUTION_RECEIVED):
            self.event_bridge.unsubscribe(EventNames.STEP_EXECUTION_RECEIVED, self.handle)
        self._loop.stop()

    def handle(self, event: Any) -> None:
        """Runs the handler of one step; an ``async`` one is only scheduled."""
        started = time.perf_counter_ns()
        try:
            found = self._resolve(event)
            if found is None:
                self.native.finish_handler_not_found(event, None)
                return
            invoke, is_async = found
            context = StepContext(event, event.handler_callable)
            if is_async:
                self._loop.submit(self._run_async(event, invoke, context, started))
                return
            output = invoke(context)
        except BaseException as error:
            self._failed(event, error, started)
            return
        self._finish(event, output, started)

    async def _run_async(self, event: Any, invoke: _Invoke, context: StepContext, started: int) -> None:
        try:
            output = await invoke(context)
        except BaseException as error:
            self._failed(event, error, started)
            return
        self._finish(event, output, started)

    def _resolve(self, event: Any) -> Optional[tuple[_Invoke, bool]]:
        chain = self.handler_registry.chain
        if chain.generation != self._generation:
            self._resolved = {}
            self._generation = chain.generation
        key = (event.handler_callable, event.handler_method, event.handler_resolver)
        found = self._resolved.get(key)
        if found is None:
            definition = HandlerDefinition(*key, initialization=load(event.initialization_json()))
            handler = chain.resolve(definition)
            if handler is None:
                return None
            found = _invoker(handler, definition.method)
            self._resolved[key] = found
        return found

    def _finish(self, event: Any, output: Any, started: int) -> None:
        try:
            self._finish_success(event, output, started)
        except BaseException as error:
            self._failed(event, error, started)

    def _finish_success(self, event: Any, output: Any, started: int) -> None:
        result = StepHandlerCallResult.from_handler_output(output)
        native = self.native
        if isinstance(result, CheckpointYield):
            accumulated = None
            if result.accumulated_results is not None:
                accumulated = dump(result.accumulated_results, "accumulated results")
            cursor = dump(result.cursor, "cursor")
            native.finish_checkpoint(event, cursor, result.items_processed, accumulated, _us(started))
            self.event_bridge.publish(EventNames.STEP_CHECKPOINT_YIELD_SENT, event, result)
            return
        if not result.is_success:
            self._send_failure(event, result, [], None, started)
            return
        payload = dump(result.result)
        metadata = dump(result.metadata, "metadata") if result.metadata else None
        native.finish_success(event, payload, metadata, _us(started))
        if self.event_bridge.has_listeners(EventNames.STEP_COMPLETION_SENT):
            self._completed(event, True, None, started)

    def _failed(self, event: Any, error: BaseException, started: int) -> None:
        """An exception as the failure of the attempt; the worker goes on, unless it was asked to end."""
        leaving = isinstance(error, (SystemExit, KeyboardInterrupt, GeneratorExit))
        try:
            failure = StepHandlerCallResult.from_exception(error)
            if leaving:
                failure = failure.model_copy(update={"error_message": f"the handler ended its worker: {error!r}"})
            context = getattr(error, "context", None)
            self._send_failure(event, failure, _frames(error), context, started)
            self.event_bridge.publish(EventNames.HANDLER_ERROR, event, error)
        except BaseException as trouble:
            # Whatever the error holds, the attempt must not hang until its lease ends.
            message = f"{type(error).__name__} could not be reported: {type(trouble).__name__}: {trouble}"
            self.native.finish_failure(event, _short(message), "handler_error", None, True, execution_us=_us(started))
        if leaving and self._on_exit is not None:
            self._on_exit(error)

    def _send_failure(
        self, event: Any, failure: StepHandlerResult, backtrace: list[str], context: Any, started: int
    ) -> None:
        retry_after = failure.retry_after
        message = _short(failure.error_message or "the handler gave no message")
        self.native.finish_failure(
            event,
            message,
            failure.error_type or "handler_error",
            failure.error_code,
            failure.retryable,
            backtrace,
            None if retry_after is None else max(0, int(retry_after * 1000)),
            failure.status_code,
            _dump_or_note(context) if context else None,
            _dump_or_note(failure.metadata) if failure.metadata else None,
            _us(started),
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
    """The way to the error, last call last, without the SDK's own frames."""
    frames = traceback.extract_tb(error.__traceback__)
    shown = [f for f in frames if not f.filename.startswith(_PACKAGE)] or list(frames)
    return [f"{f.filename}:{f.lineno} in {f.name}" for f in shown[-FRAMES_MAX:]]


def _invoker(found: Any, method: str) -> tuple[_Invoke, bool]:
    """How to call what a resolver found: a class (a fresh object an attempt), an object, or a function."""
    if inspect.isclass(found):
        target = getattr(found, method, None)
        if not callable(target):
            from tasker_core.registry import MethodDispatchWrapper

            MethodDispatchWrapper(_made(found), method)
        old_form = _is_three_argument(target, bound=False)
        if old_form:
            return (lambda c: _old(getattr(_made(found), method), c)), inspect.iscoroutinefunction(target)
        return (lambda c: getattr(_made(found), method)(c)), inspect.iscoroutinefunction(target)
    target = getattr(found, method, None)
    if target is None and method == "call" and callable(found):
        target = found
    if not callable(target):
        raise ResolutionError(f"handler {found!r} has no method `{method}`")
    if _is_three_argument(target, bound=True):
        return (lambda c: _old(target, c)), inspect.iscoroutinefunction(target)
    return target, inspect.iscoroutinefunction(target)


def _made(handler: Any) -> Any:
    try:
        return handler()
    except TaskerError:
        raise
    except Exception as error:
        raise ResolutionError(f"handler {handler.__name__} cannot be constructed without arguments: {error}") from error


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
