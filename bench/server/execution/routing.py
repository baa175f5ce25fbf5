"""Routing of each call: to the executor, answered at once, or to a thread that may wait."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from bench.server.api.health import WATCH, Health, Watcher
from bench.server.api.packed_numbers import Heavy, lightened
from bench.server.api.prediction import Executed, Predictions
from bench.server.caller import Caller
from bench.server.execution.continuous_batching import Call, CallBurst, Executor, Post
from bench.server.refusal import Code, Refusal
from bench.server.unforeseen import unforeseen
from bench.wire import messages
from bench.wire.request_rows import Burst
from bench.wire.unary import MessageError, Packed, Request

HandleRpc = Callable[[str, bytes, float | None], bytes]
"""(method path, serialised request, seconds to wait at most) -> serialised response; raises Refusal."""

_WAITING_METHODS: Final = frozenset(
    (messages.CLASSIFY, messages.REGRESS, messages.MULTI_INFERENCE, messages.RELOAD_CONFIG)
)
"""Methods that run a model, or wait for one to load, before they return."""
_THREADS: Final = 8
_READERS: Final = 2
"""Threads that wait for large requests to be read, by as many processes."""

OVERLOADED: Final = Refusal(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
"""What the original says when all its threads are busy (gRPC's thread manager)."""


class Calls:
    """Counts the calls in flight, refuses what is too many, and sends each on its way. I/O thread only."""

    def __init__(
        self,
        predictions: Predictions,
        executor: Executor,
        handle_rpc: HandleRpc,
        post: Post,
        most: int,
        *,
        health: Health | None = None,
        waiting: frozenset[str] = frozenset(),
        executed: Mapping[str, Executed] | None = None,
        lighten: Callable[[Any, bytes], bytes] = lightened,
    ) -> None:
        """health: takes those that watch it; None: there is none. waiting: paths of further methods that do not return at once.

        executed: by path, what the executor executes; None: Predict. lighten: makes another form of a request of this
        class with many integers, in a thread.
        """
        self.in_flight = 0
        predict = Executed(
            messages.PredictRequest,
            predictions.prepare,
            predictions.prepare_light,
            predictions.prepare_burst,
        )
        self._executed = executed or {messages.PREDICT: predict}
        self._submit = executor.submit
        self._submit_burst = executor.submit_burst
        self._handle_rpc = handle_rpc
        self._post = post
        self._most = most
        self._health = health
        self._waiting = _WAITING_METHODS | waiting
        self._lighten = lighten
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="call")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read")
        # one, so that no more than one message at a time is unpacked and waits for its reading
        self._unpacker = ThreadPoolExecutor(1, thread_name_prefix="unpack")
        # a reload may wait for ever, for a directory that stays empty: it must not use up the other threads
        self._reload = ThreadPoolExecutor(1, thread_name_prefix="reload")

    def take(self, caller: Watcher, requests: list[Request]) -> None:
        """Requests have been read."""
        if (room := self._most - self.in_flight) < len(requests):
            room = max(room, 0)
            self.in_flight += len(requests)
            for request in requests[room:]:
                caller.refuse(request.stream, OVERLOADED)
            requests = requests[:room]
        else:
            self.in_flight += len(requests)
        for request in requests:
            if executed := self._executed.get(request.path):
                timeout = request.timeout
                try:
                    prepared = executed.prepare(request.message)
                except Refusal as refusal:
                    caller.refuse(request.stream, refusal)
                except Heavy:
                    self._readers.submit(self._read_later, caller, request, executed, time.monotonic())
                except Exception as error:  # noqa: BLE001 - what was read with it is answered all the same
                    caller.refuse(request.stream, unforeseen(error, request.path))
                else:
                    deadline = None if timeout is None else time.monotonic() + timeout
                    self._submit(Call(prepared, caller, request.stream, deadline))
            else:
                self._other(caller, request)

    def take_burst(self, caller: Watcher, burst: Burst) -> None:
        """Requests have been read that came in a row."""
        head, count = burst.head, len(burst.streams)
        prepared = None
        executed = self._executed.get(head.path)
        if executed is not None and self.in_flight + count <= self._most:
            prepared = executed.prepare_burst(burst.messages)
        if prepared is None:
            self.take(caller, burst.each())
            return
        self.in_flight += count
        deadline = None if head.timeout is None else time.monotonic() + head.timeout
        self._submit_burst(CallBurst(prepared, caller, burst.streams, deadline))

    def take_packed(self, caller: Watcher, packed: list[Packed]) -> None:
        """Requests have been read that take long to unpack."""
        room = max(self._most - self.in_flight, 0)
        self.in_flight += len(packed)
        for each in packed[:room]:
            self._unpacker.submit(self._unpack_later, caller, each, time.monotonic())
        for each in packed[room:]:
            caller.refuse(each.request.stream, OVERLOADED)

    def answered(self, count: int = 1) -> None:
        """Calls have got their answers."""
        self.in_flight -= count

    def close(self) -> None:
        """End the threads; calls that have not begun are dropped."""
        for pool in (self._readers, self._unpacker):
            pool.shutdown(wait=False, cancel_futures=True)
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._reload.shutdown(wait=False, cancel_futures=True)

    def _unpack_later(self, caller: Watcher, packed: Packed, began: float) -> None:
        """In a thread: unpack a request, and go on with it."""
        stream, timeout = packed.request.stream, packed.request.timeout
        if not caller.wants(stream):
            return
        try:
            request = packed.unpacked()
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            refusal = (
                Refusal(Code(error.code), str(error))
                if isinstance(error, MessageError)
                else unforeseen(error, packed.request.path)
            )
            self._post(lambda: caller.refuse(stream, refusal))
            return
        if timeout is not None:
            request = request._replace(timeout=max(0.0, timeout - (time.monotonic() - began)))
        self._post(lambda: self._go_on(caller, request))

    def _go_on(self, caller: Watcher, request: Request) -> None:
        if caller.wants(request.stream):  # else it counts no more
            self.in_flight -= 1
            self.take(caller, [request])

    def _read_later(self, caller: Watcher, request: Request, executed: Executed, began: float) -> None:
        """In a thread: have a heavy request made light, and go on with it."""
        if not caller.wants(request.stream):
            return
        try:
            message = self._lighten(executed.kind, request.message)
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            refusal = error if isinstance(error, Refusal) else unforeseen(error, request.path)
            self._post(lambda: caller.refuse(request.stream, refusal))
        else:
            light = request._replace(message=message)
            self._post(lambda: self._begin(caller, light, executed, began))

    def _begin(self, caller: Watcher, request: Request, executed: Executed, began: float) -> None:
        try:
            prepared = executed.prepare_light(request.message)
        except Exception as error:  # noqa: BLE001 - as above
            refusal = error if isinstance(error, Refusal) else unforeseen(error, request.path)
            caller.refuse(request.stream, refusal)
            return
        deadline = None if request.timeout is None else began + request.timeout
        self._submit(Call(prepared, caller, request.stream, deadline))

    def _other(self, caller: Watcher, request: Request) -> None:
        if request.path == WATCH and self._health is not None:
            self._health.watch(caller, request.stream, request.message)
            return
        if request.path not in self._waiting:
            _finish(caller, request.stream, self._answer(request))
            return
        pool = self._reload if request.path == messages.RELOAD_CONFIG else self._threads
        pool.submit(self._answer_later, caller, request)

    def _answer_later(self, caller: Caller, request: Request) -> None:
        answer = self._answer(request)
        self._post(lambda: _finish(caller, request.stream, answer))

    def _answer(self, request: Request) -> bytes | Refusal:
        try:
            return self._handle_rpc(request.path, request.message, request.timeout)
        except Refusal as refusal:
            return refusal
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            return unforeseen(error, request.path)


def _finish(caller: Caller, stream: int, answer: bytes | Refusal) -> None:
    if isinstance(answer, Refusal):
        caller.refuse(stream, answer)
    else:
        caller.respond(stream, answer)
