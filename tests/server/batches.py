"""A model that tells in which batches it was run, and clients that remember their answers."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.server.api.prediction import Predictions
from bench.server.execution.continuous_batching import Call, CallBurst, Continuous
from bench.server.execution.probe import Pace, Traits
from bench.server.metrics import Metrics
from bench.server.models import model_config
from bench.server.models.loading import RepositoryOptions
from bench.server.models.repository import Repository
from bench.server.models.servable import Handle
from bench.server.refusal import Code, Refusal
from bench.wire.messages import PredictRequest, PredictResponse, types_pb2
from bench.wire.request_rows import Alike
from tests.server.numpy_models import FLOAT, signature

Array = np.ndarray[Any, Any]
POISON = 666.0


class Rows:
    """Doubles each row; refuses batches that hold `POISON`; can be made slow, and to wait for the test.

    Its clock stands still: a moment in which the machine does something else makes no model slow, whose calls other threads
    would run.
    """

    def __init__(self, seconds: float | None = 0.0, *, independent: bool = True) -> None:
        self.signatures = {"serving_default": signature({"x": FLOAT}, {"y": FLOAT})}
        self.traits = {"serving_default": Traits(independent, Pace(seconds, clock=lambda: 0.0))}
        self.batches: list[list[float]] = []
        """First column of what was run, run by run."""
        self.entered = threading.Semaphore(0)
        self.gate: threading.Semaphore | None = None
        """Where given, each run waits for it."""

    def run(self, _signature: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        x = inputs["x"]
        if x.ndim == 0:
            raise Refusal(Code.INVALID_ARGUMENT, "a scalar")
        self.entered.release()
        if self.gate is not None:
            assert self.gate.acquire(timeout=20)
        self.batches.append([float(row.ravel()[0]) for row in x])
        if (x == POISON).any():
            raise Refusal(Code.INVALID_ARGUMENT, "poisoned")
        if (x == -1).any():  # a model whose output has no row for each row
            return dict.fromkeys(outputs, x[:1])
        return dict.fromkeys(outputs, 2 * x)

    def close(self) -> None:
        """There is nothing to free."""


BUG, LIST = 13.0, 14.0


class Buggy(Rows):
    """Has a bug that one number brings out, and another one that makes an output no array."""

    def run(self, name: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        if (inputs["x"] == BUG).any():
            raise KeyError("a bug")
        if (inputs["x"] == LIST).any():
            return dict.fromkeys(outputs, inputs["x"].tolist())
        return super().run(name, inputs, outputs)


class Client:
    """Remembers what became of its calls."""

    def __init__(self) -> None:
        self.answers: dict[int, Array] = {}
        self.refusals: dict[int, Refusal] = {}
        self.rows: list[int] = []
        """How many calls were answered together, each time."""
        self.gone: set[int] = set()
        """Calls that it has cancelled."""

    def respond(self, call: int, message: bytes) -> None:
        tensor = PredictResponse.FromString(message).outputs["y"]
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        self.answers[call] = np.array(tensor.float_val, np.float32).reshape(shape)

    def respond_all(self, calls: range, messages: Alike) -> None:
        self.rows.append(len(calls))
        for call, message in zip(calls, messages.each(), strict=True):
            self.respond(call, message)

    def refuse(self, call: int, refusal: Refusal) -> None:
        self.refusals[call] = refusal

    def wants(self, call: int) -> bool:
        return call not in self.gone

    @property
    def done(self) -> int:
        return len(self.answers) + len(self.refusals)


Made = Callable[..., tuple["Bench", Continuous]]
"""(model, batched=True) -> a bench and an executor that are closed at the end of the test."""


class Bench:
    """One served model, and what a test needs to ask it."""

    def __init__(self, model: Rows, folder: Path) -> None:
        (folder / "1").mkdir()
        self.model = model
        self.repository = Repository(lambda _name, _version, _path: model, RepositoryOptions(poll_wait=0.0))
        self.repository.start(model_config.single("m", folder))
        self.repository.wait_until_ready(20)
        self.metrics = Metrics()
        self.predictions = Predictions(self.repository, metrics=self.metrics)
        self.client = Client()
        self.posted: list[Any] = []
        self.arrived = threading.Semaphore(0)
        self._number = 0

    def post(self, call: Any) -> None:
        """What the I/O loop does for other threads."""
        self.posted.append(call)
        self.arrived.release()

    def call(
        self, *values: float, shape: tuple[int, ...] | None = None, deadline: float | None = None
    ) -> Call:
        """A call with one row for each value (or of another shape)."""
        self._number += 1
        return Call(
            self.predictions.prepare(self.request(values, shape)), self.client, self._number, deadline
        )

    def burst(self, *values: float, width: int = 4, deadline: float | None = None) -> CallBurst:
        """A call for each value, in a row; each has one row of so many columns, which all hold the value."""
        requests = [self.request((value,) * width, (1, width)) for value in values]
        self.predictions.prepare(requests[0]).release()  # so that the layout is known
        table = np.frombuffer(b"".join(requests), np.uint8).reshape(len(requests), -1)
        prepared = self.predictions.prepare_burst(table)
        assert prepared is not None
        numbers = range(self._number + 1, self._number + 1 + len(values))
        self._number += len(values)
        return CallBurst(prepared, self.client, numbers, deadline)

    def request(self, values: Sequence[float], shape: tuple[int, ...] | None) -> bytes:
        request = PredictRequest()
        request.model_spec.name = "m"
        tensor = request.inputs["x"]
        tensor.dtype = types_pb2.DT_FLOAT
        array = np.array(values, np.float32).reshape((len(values), 1) if shape is None else shape)
        tensor.tensor_shape.SetInParent()
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = array.tobytes()
        serialised: bytes = request.SerializeToString()
        return serialised

    def settle(self, count: int) -> None:
        """Wait for so many calls of `post`, and make them."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=20)
        self.make_posted()

    def make_posted(self) -> None:
        while self.posted:
            self.posted.pop(0)()

    def handle(self) -> Handle:
        return self.repository.serving.latest["m"]
