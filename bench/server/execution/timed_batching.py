"""Batching as the original does it, with its timer, limits and errors (batching/batching_session.cc).

Requests for one signature wait in a queue until a batch is full or its first request has waited long enough; a
batch thread then runs it. Two things are done better than by the original: a request that the model refuses fails
alone, and requests with different inner shapes form batches of their own instead of failing each other.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from bench.server.api.prediction import Group, Predictions, Prepared, divide, divisible, stack
from bench.server.api.tensors import Array
from bench.server.execution.batching_parameters import Parameters
from bench.server.execution.continuous_batching import Call, CallBurst, Outcome, Post, deliver, expired
from bench.server.metrics import Metrics
from bench.server.refusal import Code, Refusal
from bench.server.unforeseen import unforeseen

Outputs = Mapping[str, Array]


class _Task:
    """A request in a queue; either a call of a client or a thread that waits for the outputs."""

    __slots__ = ("call", "enqueued", "finished", "prepared", "result")

    def __init__(self, prepared: Prepared, call: Call | None) -> None:
        self.prepared = prepared
        self.call = call
        self.enqueued = time.perf_counter()
        self.finished = None if call is not None else threading.Event()
        self.result: Outputs | Refusal | None = None


class _Queue:
    """The batches of one group: the last one is open, those before it are full."""

    def __init__(self) -> None:
        self.batches: deque[list[_Task]] = deque([[]])
        self.rows = 0
        """Of the open batch."""
        self.opened = 0.0
        """Instant of `time.monotonic` at which the open batch got its first task."""


class Timed:
    """The original's batch scheduler as an executor."""

    def __init__(
        self, predictions: Predictions, metrics: Metrics, post: Post, parameters: Parameters
    ) -> None:
        self._predictions = predictions
        self._metrics = metrics
        self._post = post
        self._parameters = parameters
        self._queues: dict[Group, _Queue] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{parameters.pool}-{n}", daemon=True)
            for n in range(parameters.threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Call) -> None:
        """See `batching.Executor`."""
        try:
            self._enqueue(_Task(call.prepared, call))
        except Refusal as refusal:
            self._predictions.give_up(call.prepared, refusal)
            call.caller.refuse(call.number, refusal)

    def submit_burst(self, burst: CallBurst) -> None:
        """See `batching.Executor`."""
        for call in burst.each():
            self.submit(call)

    def flush(self) -> None:
        """See `batching.Executor`: batches leave by their own clock."""

    def execute(self, prepared: Prepared) -> Outputs:
        """The outputs of one request, waited for in the calling thread; its version stays held. Raises Refusal."""
        task = _Task(prepared, None)
        self._enqueue(task)
        assert task.finished is not None  # noqa: S101 - it has no call: for the type checker
        task.finished.wait()
        if isinstance(task.result, Refusal):
            raise task.result
        assert task.result is not None  # noqa: S101 - set before `finished`
        return task.result

    def close(self) -> None:
        """See `batching.Executor`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        left = [task for queue in self._queues.values() for batch in queue.batches for task in batch]
        self._queues.clear()
        self._finish(
            left, [Refusal(Code.UNAVAILABLE, "the server is shutting down")] * len(left), on_io_thread=True
        )

    def _enqueue(self, task: _Task) -> None:
        """Put the task into its group's open batch. Raises Refusal with the original's texts."""
        prepared, limits = task.prepared, self._parameters
        _check_batchable(prepared)
        if prepared.rows > limits.max_batch_size:
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"Task size {prepared.rows} is larger than maximum input batch size {limits.max_batch_size}",
            )
        with self._changed:
            queue = self._queues.get(prepared.group)
            if queue is None:
                queue = self._queues[prepared.group] = _Queue()
            if queue.rows and queue.rows + prepared.rows > limits.execution_size:
                if len(queue.batches) >= limits.max_enqueued_batches:
                    raise Refusal(
                        Code.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full; currently "
                        f"{len(queue.batches)} batches enqueued and max_enqueued_batches is "
                        f"{limits.max_enqueued_batches}",
                    )
                queue.batches.append([])
                queue.rows = 0
            if not queue.batches[-1]:
                queue.opened = time.monotonic()
            queue.batches[-1].append(task)
            queue.rows += prepared.rows
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                work = self._take()
                while work is None and not self._closing:
                    self._changed.wait(self._until_due())
                    work = self._take()
            if work is None:
                return
            self._run(*work)

    def _take(self) -> tuple[Group, list[_Task]] | None:
        """A batch that may run now, of the group whose turn it is."""
        now = time.monotonic()
        for group, queue in self._queues.items():
            full = len(queue.batches) > 1 or queue.rows >= self._parameters.execution_size
            if full or now >= queue.opened + self._parameters.timeout:
                batch = queue.batches.popleft()
                # the group goes to the end of the line, or away if it has nothing left
                del self._queues[group]
                if queue.batches:
                    self._queues[group] = queue
                return group, batch
        return None

    def _until_due(self) -> float | None:
        """Seconds until the next batch has waited long enough; None: there is none."""
        due = [queue.opened + self._parameters.timeout for queue in self._queues.values()]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _run(self, group: Group, batch: list[_Task]) -> None:
        queuing = self._metrics.queuing_latency.series(("",))
        queuing.extend([(time.perf_counter() - task.enqueued) * 1e6 for task in batch])
        late = [task for task in batch if task.call is not None and expired([task.call])[1]]
        wanted = [task for task in batch if task not in late] if late else batch
        exceeded = Refusal(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
        self._finish(late, [exceeded] * len(late))
        if wanted:
            results = self._results(group, wanted)
            ended = zip(wanted, results, strict=True)
            # threads that wait for their outputs count for themselves, under their own API
            ran = [t.prepared for t, r in ended if t.call is not None and not isinstance(r, Refusal)]
            if ran:
                self._predictions.ran(ran)
            self._finish(wanted, results)

    def _results(self, group: Group, batch: list[_Task]) -> Sequence[Outputs | Refusal]:
        prepared = [task.prepared for task in batch]
        try:
            outputs = self._outputs(group, stack(prepared), sum(each.rows for each in prepared))
            refusal = _indivisible(prepared, outputs)
            if refusal is None:
                return divide(prepared, outputs)
        except Refusal as refused:
            refusal = refused
        except Exception as error:  # noqa: BLE001 - the batch's thread must go on, and each request gets an answer
            refusal = unforeseen(error, "a batch") if len(batch) == 1 else None
        if len(batch) > 1:
            return [result for task in batch for result in self._results(group, [task])]
        assert refusal is not None  # noqa: S101 - of a batch of one it was kept: for the type checker
        return [refusal]

    def _outputs(self, group: Group, inputs: dict[str, Array], rows: int) -> Outputs:
        """One run, or several where the batch is larger than a run may be; padded to an allowed size."""
        size = self._parameters.execution_size
        parts: list[Outputs] = []
        for start in range(0, max(rows, 1), size):
            part = {alias: array[start : start + size] for alias, array in inputs.items()}
            parts.append(self._padded_run(group, part, min(size, rows - start)))
        if len(parts) == 1:
            return parts[0]
        return {alias: np.concatenate([part[alias] for part in parts]) for alias in group.outputs}

    def _padded_run(self, group: Group, inputs: dict[str, Array], rows: int) -> Outputs:
        allowed = next((size for size in self._parameters.allowed_sizes if size >= rows), rows)
        if allowed > rows > 0:
            inputs = {
                alias: np.concatenate([array, np.repeat(array[:1], allowed - rows, axis=0)])
                for alias, array in inputs.items()
            }
        self._metrics.batches.add(())
        self._metrics.input_batch_size.series(()).add(rows)
        self._metrics.processed_batch_size.series(()).add(allowed)
        self._metrics.padding_size.series((str(allowed),)).add(allowed - rows)
        handle = group.handle
        outputs = handle.servable.run(group.signature, inputs, group.outputs)
        self._metrics.graph_runs.add(())
        if allowed == rows:
            return outputs
        return {
            alias: array[:rows] if array.ndim and len(array) == allowed else array
            for alias, array in outputs.items()
        }

    def _finish(
        self, batch: Sequence[_Task], results: Sequence[Outputs | Refusal], *, on_io_thread: bool = False
    ) -> None:
        """Give each task what became of it. `on_io_thread`: this is the I/O thread."""
        calls: list[Call] = []
        answers: list[bytes | Refusal] = []
        for task, result in zip(batch, results, strict=True):
            if task.call is None:
                task.result = result
                assert task.finished is not None  # noqa: S101 - it has no call: for the type checker
                task.finished.set()
            else:
                calls.append(task.call)
                answers.append(self._answer(task.prepared, result))
        if not calls:
            return
        outcome = Outcome(calls, answers)
        if on_io_thread:
            deliver(outcome)
        else:
            self._post(lambda: deliver(outcome))

    def _answer(self, prepared: Prepared, result: Outputs | Refusal) -> bytes | Refusal:
        if isinstance(result, Refusal):
            self._predictions.give_up(prepared, result)
            return result
        return self._predictions.answer_all([prepared], result)[0]


_UNBATCHABLE: Final = "Batching Run() input tensors must have "


def _check_batchable(prepared: Prepared) -> None:
    if prepared.group.batched:
        return
    if any(array.ndim == 0 for array in prepared.inputs.values()):
        raise Refusal(Code.INVALID_ARGUMENT, _UNBATCHABLE + "at least one dimension")
    raise Refusal(Code.INVALID_ARGUMENT, _UNBATCHABLE + "equal 0th-dimension size")


def _indivisible(batch: Sequence[Prepared], outputs: Outputs) -> Refusal | None:
    """Why the outputs cannot be given back to their requests, in the original's words; None: they can."""
    if any(array.ndim == 0 for array in outputs.values()):
        return Refusal(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
    if not divisible(batch, outputs):
        return Refusal(
            Code.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
            "input tensors",
        )
    return None
