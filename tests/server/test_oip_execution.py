"""ModelInfer is executed as Predict is: together, beside other calls, and its integers are read elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from bench.launch import server_process
from bench.protocol import oip_messages, oip_tensors
from bench.server.api.packed_numbers import MOST_INLINE
from bench.server.api.services import Services
from bench.server.execution.routing import Calls
from bench.server.refusal import Code
from bench.wire import messages
from bench.wire.field_limits import MOST_FIELDS
from bench.wire.unary import Request
from tests.server.batches import Bench, Made, Rows
from tests.server.numpy_models import signature

DTYPES = {
    "INT8": messages.types_pb2.DT_INT8,
    "UINT16": messages.types_pb2.DT_UINT16,
    "INT32": messages.types_pb2.DT_INT32,
}


class Typed(Rows):
    """Doubles numbers of one dtype."""

    def __init__(self, datatype: str) -> None:
        super().__init__()
        number = DTYPES.get(datatype, messages.types_pb2.DT_STRING)
        self.signatures = {"serving_default": signature({"x": number}, {"y": number})}


def request(datatype: str, shape: list[int], raw: bytes | None = None, **contents: Any) -> bytes:
    made = oip_messages.ModelInferRequest(model_name="m", id="seven")
    tensor = made.inputs.add(name="x", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    if raw is not None:
        made.raw_input_contents.append(raw)
    message: bytes = made.SerializeToString()
    return message


class Serving:
    """A model behind what takes calls."""

    def __init__(self, made: Made, model: Rows, most: int) -> None:
        self.bench, self.executor = made(model)
        services = Services(self.bench.repository, self.bench.predictions, self.bench.metrics)
        self.calls = Calls(
            self.bench.predictions,
            self.executor,
            services.handle_rpc,
            self.bench.post,
            most,
            executed=services.executed,
        )
        self.answers: list[Any] = []
        read = oip_messages.ModelInferResponse.FromString
        self.bench.client.respond = lambda _call, message: self.answers.append(read(message))  # type: ignore[method-assign]

    def take(self, *asked: bytes) -> None:
        self.calls.take(
            self.bench.client,  # type: ignore[arg-type]  # which watches nothing
            [
                Request(2 * number + 1, oip_messages.MODEL_INFER, (), message, None)
                for number, message in enumerate(asked)
            ],
        )


@pytest.fixture
def serve(made: Made) -> Iterator[Any]:
    served: list[Serving] = []

    def start(datatype: str) -> Serving:
        served.append(Serving(made, Typed(datatype), 100))
        return served[-1]

    yield start
    for each in served:
        each.calls.close()


def test_requests_of_one_moment_are_one_run(serve: Any) -> None:
    """Each gets its own rows, in the form of its own inputs."""
    serving = serve("INT32")
    bench: Bench = serving.bench
    serving.take(
        request("INT32", [1, 1], int_contents=[1]),
        request("INT32", [2, 1], np.array([2, 3], np.int32).tobytes()),
        request("INT32", [1, 1], int_contents=[4]),
    )
    serving.executor.flush()
    assert bench.model.batches == [[1.0, 2.0, 3.0, 4.0]]
    one, two, three = serving.answers
    assert (one.outputs[0].contents.int_contents, three.outputs[0].contents.int_contents) == ([2], [8])
    assert (one.id, one.model_name, one.model_version) == ("seven", "m", "1")
    assert two.raw_output_contents == [np.array([4, 6], np.int32).tobytes()]
    text = bench.metrics.page()
    assert 'request_count{model_name="m",status="OK"} 3' in text
    assert 'request_latency_count{model_name="m",API="ModelInfer",entrypoint="GRPC"} 3' in text


def test_many_integers_are_read_elsewhere(serve: Any) -> None:
    """As those of Predict; the answer is typed all the same."""
    serving = serve("INT32")
    numbers = np.arange(1000, 1000 + 2 * MOST_INLINE, dtype=np.int32).reshape(2, -1)
    serving.take(request("INT32", [2, MOST_INLINE], int_contents=numbers.ravel().tolist()))
    serving.bench.settle(1)
    serving.executor.flush()
    (answer,) = serving.answers
    assert (oip_tensors.array_of(answer.outputs[0], None) == 2 * numbers).all()


def test_bytes_that_are_no_bool_are_true() -> None:
    """One of 0x80 in typed contents would be the beginning of a number."""
    made = oip_messages.ModelInferRequest.FromString(request("BOOL", [3], b"\x02\x80\x00"))
    array = oip_tensors.array_of(made.inputs[0], made.raw_input_contents[0])
    answer = oip_messages.ModelInferResponse()
    oip_tensors.fill(answer.outputs.add().contents, array)
    assert list(answer.outputs[0].contents.bool_contents) == [True, True, False]


MANY = [1] * (MOST_INLINE + 1)
UNREADABLE = {
    "too large": (request("INT8", [1], int_contents=[300]), "300 does not fit INT8, -128 to 127"),
    "too small": (request("INT8", [2], int_contents=[1, -129]), "-129 does not fit INT8"),
    "unsigned": (request("UINT16", [1], uint_contents=[70_000]), "70000 does not fit UINT16, 0 to 65535"),
    "one of many": (request("INT8", [len(MANY)], int_contents=[*MANY[:-1], 300]), "300 does not fit INT8"),
    "fewer than many": (request("INT8", [len(MANY) + 1], int_contents=MANY), "values for shape"),
    "dimensions": (request("INT8", [1] * 33, b"\1"), "33 dimensions, 32 are allowed"),
    "texts": (
        request("BYTES", [MOST_FIELDS + 1], bytes(4 * MOST_FIELDS + 4)),
        f"more than {MOST_FIELDS} texts",
    ),
}


@pytest.mark.parametrize(("message", "text"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_tensor_is_refused(serve: Any, message: bytes, text: str) -> None:
    serving = serve(oip_messages.ModelInferRequest.FromString(message).inputs[0].datatype)
    serving.take(message)
    if not serving.bench.client.refusals:  # it is being read elsewhere
        serving.bench.settle(1)
    (refusal,) = serving.bench.client.refusals.values()
    assert refusal.code is Code.INVALID_ARGUMENT
    assert text in refusal.text


def test_integers_of_no_use_are_refused(serve: Any) -> None:
    serving = serve("INT8")
    made = oip_messages.ModelInferRequest(model_name="m")
    for _ in range(MOST_INLINE // 32 + 1):
        made.inputs.add(name="x", datatype="FP32", shape=[1] * 32)
    serving.take(made.SerializeToString())
    serving.bench.settle(1)
    (refusal,) = serving.bench.client.refusals.values()
    assert (refusal.code, refusal.text) == (
        Code.RESOURCE_EXHAUSTED,
        f"a request with more than {MOST_INLINE} bytes of integers",
    )


def test_nobody_waits_for_a_slow_one(tmp_path: Path) -> None:
    """Four are executed at once, and another method is answered meanwhile."""
    images = np.zeros((1, 28, 28, 1), np.float32)
    made = oip_messages.ModelInferRequest(model_name="mnist", raw_input_contents=[images.tobytes()])
    made.inputs.add(name="images", datatype="FP32", shape=images.shape)
    status = messages.GetModelStatusRequest()
    status.model_spec.name = "mnist"
    log = tmp_path / "calls"
    flags = ["--backend=synthetic", "--service-time=constant(1s)", "--model_name=mnist", f"--call-log={log}"]
    with server_process.embedded(flags) as server, grpc.insecure_channel(server.address) as channel:
        infer, look = (
            channel.unary_unary(path) for path in (oip_messages.MODEL_INFER, messages.GET_MODEL_STATUS)
        )
        calls = [infer.future(made.SerializeToString(), timeout=60) for _ in range(4)]
        while not look(status.SerializeToString(), timeout=60):
            pass
        assert not any(call.done() for call in calls)
        assert len({call.result() for call in calls}) == 1
    arrival, _due, departure = np.fromfile(log).reshape(-1, 3).T
    assert len(arrival) == 4
    assert arrival.max() < departure.min()
