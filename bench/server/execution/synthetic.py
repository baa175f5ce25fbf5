"""A synthetic model whose right answers, service times, stalls and errors are known in advance.

It answers the bundled MNIST digits with their labels, without a model, at instants that follow from its seed and
from the arrivals alone: an oracle for measurements. Times are those of CLOCK_MONOTONIC.
"""

import array
import random
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

import numpy as np

from bench import BenchError, mnist
from bench.server.api.prediction import Predictions, Prepared
from bench.server.api.tensors import storage_of
from bench.server.execution.continuous_batching import Call, CallBurst, Outcome, deliver
from bench.server.execution.service_time import Plan, Queue, slowness
from bench.server.net.loop import Loop
from bench.server.options import ServerFlags
from bench.server.refusal import Code, Refusal
from bench.server.unforeseen import unforeseen
from bench.wire.dtypes import type_name
from bench.wire.messages import SignatureDef, types_pb2

INPUT: Final = "images"
OUTPUT: Final = "scores"
SIGNATURES: Final = ("predict_images", "serving_default")
_PIXELS: Final = mnist.SIZE * mnist.SIZE
_LOG_CHUNK: Final = 4096

Array = np.ndarray[Any, Any]


class DigitServable:
    """MNIST's signatures, answered from the labels of the bundled digits."""

    def __init__(self, labels: Mapping[bytes, int]) -> None:
        self.signatures = MappingProxyType({name: _signature(name) for name in SIGNATURES})
        self._labels = labels

    def run(self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Scores with 1 for the digit's label and 0 elsewhere; other images get a label by their bytes.

        Raises Refusal as TensorFlow does, where the input is not float or not a number of whole images.
        """
        images = inputs[INPUT]
        if images.dtype != np.float32:
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"Expects arg[0] to be float but {type_name(storage_of(images.dtype).enum)} is provided",
            )
        if images.size % _PIXELS:
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"Input to reshape is a tensor with {images.size} values, "
                f"but the requested shape requires a multiple of {_PIXELS}",
            )
        rows = np.ascontiguousarray(images).reshape(-1, _PIXELS)
        known = self._labels
        labels = [known[key] if (key := row.tobytes()) in known else sum(key) % mnist.CLASSES for row in rows]
        scores = np.zeros((len(labels), mnist.CLASSES), np.float32)
        scores[np.arange(len(labels)), labels] = 1
        return dict.fromkeys(outputs, scores)

    def close(self) -> None:
        """There is nothing to free."""


def digits() -> dict[bytes, int]:
    """Label by the memory of an image, for every bundled digit."""
    known: dict[bytes, int] = {}
    parts: tuple[mnist.Part, ...] = ("train", "test")
    for part in parts:
        images = mnist.load(part)
        rows = images.images.reshape(-1, _PIXELS)
        known.update((row.tobytes(), int(label)) for row, label in zip(rows, images.labels, strict=True))
    return known


def load(_model: str, _version: int, _path: Path) -> DigitServable:
    """A servable for any version; its directory is not read."""
    return DigitServable(digits())


class Delays:
    """An executor that answers each call at the instant that the schedule gives it."""

    def __init__(self, predictions: Predictions, loop: Loop, options: ServerFlags, plan: Plan) -> None:
        self._predictions = predictions
        self._loop = loop
        self._plan = plan
        self._queue = Queue(options.workers)
        self._drawing = threading.Lock()  # REST asks from threads of its own
        self._error_rate, self._wrong_rate = options.error_rate, options.wrong_answer_rate
        # one stream of random numbers for each purpose: a rate that changes leaves the service times as they were
        self._times, self._errors, self._wrong = (random.Random(f"{options.seed}/{name}") for name in "tew")  # noqa: S311 - reproducible, no secrets
        self._log = _CallLog(options.call_log) if options.call_log else None
        self._options = options
        self._waiting = 0
        self.origin = time.monotonic()

    def schedule(self) -> dict[str, Any]:
        """What a test needs to compute the truth; instants are those of CLOCK_MONOTONIC, in seconds."""
        return {
            "clock": "CLOCK_MONOTONIC",
            "origin": self.origin,
            "service_time": self._options.service_time,
            "workers": self._options.workers,
            "seed": self._options.seed,
            "stall": self._plan.stall
            and {
                "hold": self._plan.stall.hold,
                "every": self._plan.stall.every,
                "first": self.origin + self._plan.stall.every,
            },
            "slow_start": self._plan.slow_start or None,
            "error_rate": self._error_rate,
            "wrong_answer_rate": self._wrong_rate,
        }

    def submit(self, call: Call) -> None:
        """See `batching.Executor`."""
        arrival = time.monotonic()
        due = self._due(arrival)
        result = self._result(call.prepared)
        self._loop.call_at(due, lambda: self._reply(call, result, arrival, due))

    def execute(self, prepared: Prepared) -> Mapping[str, Array]:
        """The outputs of a request, at its instant, in the calling thread; its version stays held. Raises Refusal."""
        due = self._due(time.monotonic())
        try:
            return self._outputs(prepared)
        finally:
            time.sleep(max(0.0, due - time.monotonic()))

    def _due(self, arrival: float) -> float:
        with self._drawing:
            service = self._plan.draw(self._times) * slowness(arrival - self.origin, self._plan.slow_start)
            due = self._queue.finish(arrival, service)
        if self._plan.stall is not None:
            due = self.origin + self._plan.stall.released(due - self.origin)
        return due

    def submit_burst(self, burst: CallBurst) -> None:
        """See `batching.Executor`."""
        for call in burst.each():
            self.submit(call)

    def flush(self) -> None:
        """See `batching.Executor`: replies are made by the loop's timers, and leave right after this."""
        if self._log is not None:
            self._log.stamp()

    def close(self) -> None:
        """See `batching.Executor`."""
        if self._log is not None:
            self._log.close()

    def _result(self, prepared: Prepared) -> bytes | Refusal:
        try:
            outputs = self._outputs(prepared)
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            return error if isinstance(error, Refusal) else unforeseen(error, "a run of the model")
        return self._predictions.serialise([prepared], outputs)[0]

    def _outputs(self, prepared: Prepared) -> Mapping[str, Array]:
        wrong = self._wrong_rate > 0 and self._wrong.random() < self._wrong_rate
        if self._error_rate > 0 and self._errors.random() < self._error_rate:
            raise Refusal(Code.INTERNAL, "synthetic error")
        outputs = prepared.handle.servable.run(prepared.signature, prepared.inputs, prepared.outputs)
        if wrong:
            return {alias: np.roll(scores, 1, axis=-1) for alias, scores in outputs.items()}
        return outputs

    def _reply(self, call: Call, result: bytes | Refusal, arrival: float, due: float) -> None:
        # the time until now is the model's, as far as the server's own counters can tell
        if not isinstance(result, Refusal):
            self._predictions.ran([call.prepared])
        self._predictions.end([call.prepared], [result])
        deliver(Outcome([call], [result]))
        if self._log is not None:
            self._log.write(arrival, due)


class _CallLog:
    """Three float64 for each call: when it arrived, when its reply was due, when it was given to the socket."""

    def __init__(self, path: str) -> None:
        self._leaving: list[tuple[float, float]] = []
        """Calls whose replies leave at the end of this turn of the loop."""
        self._pending = array.array("d")
        try:
            self._file: IO[bytes] = Path(path).open("wb")  # noqa: SIM115 - open for as long as the server runs
        except OSError as error:
            raise BenchError(f"--call-log {path}: cannot be written: {error.strerror}") from None

    def write(self, arrival: float, due: float) -> None:
        self._leaving.append((arrival, due))

    def stamp(self) -> None:
        """All replies of this turn are made, which takes milliseconds where hundreds are due at once, and leave now.

        Not after the sending: the kernel may run the client first.
        """
        if not self._leaving:
            return
        now = time.monotonic()
        for arrival, due in self._leaving:
            self._pending.extend((arrival, due, now))
        self._leaving.clear()
        if len(self._pending) >= _LOG_CHUNK:
            self._flush()

    def close(self) -> None:
        self.stamp()
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._pending.tofile(self._file)
        del self._pending[:]


def _signature(name: str) -> Any:
    signature = SignatureDef(method_name="tensorflow/serving/predict")
    shapes = (
        (signature.inputs[INPUT], (-1, mnist.SIZE, mnist.SIZE, 1)),
        (signature.outputs[OUTPUT], (-1, mnist.CLASSES)),
    )
    for (info, shape), tensor in zip(shapes, (f"{name}_{INPUT}:0", "StatefulPartitionedCall:0"), strict=True):
        info.name, info.dtype = tensor, types_pb2.DT_FLOAT
        for size in shape:
            info.tensor_shape.dim.add().size = size
    return signature
