"""ModelInfer is executed as Predict is: together, beside other calls, and its integers are read elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.launch import server_process
from bench.protocol import oip_messages, oip_tensors
from bench.server.api.oip import OpenInference
from bench.server.api.oip_responses import InferResponses
from bench.server.api.packed_numbers import MOST_INLINE
from bench.server.api.prepared import Group
from bench.server.api.services import Services
from bench.server.execution.routing import Calls
from bench.server.metrics import Metrics
from bench.server.models import model_config
from bench.server.models.repository import Repository
from bench.server.models.servable import Handle
from bench.server.refusal import Code, Refusal
from bench.wire import messages
from bench.wire.field_limits import MOST_FIELDS
from bench.wire.tensors import tensor_of
from bench.wire.unary import Request
from tests.server.batches import Bench, Made, Rows
from tests.server.numpy_models import signature, write
from tests.server.versions import Start

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


def asked(array: np.ndarray[Any, Any], *, raw: bool, identity: str = "", more: bytes = b"") -> bytes:
    """For a model `m` with the input `x`."""
    made = oip_messages.ModelInferRequest(model_name="m", id=identity)
    tensor = made.inputs.add(name="x", datatype=oip_tensors.datatype_of(array), shape=array.shape)
    if raw:
        made.raw_input_contents.append(oip_tensors.raw_of(array))
    else:
        oip_tensors.fill(tensor.contents, array)
    if more:
        tensor.contents.bytes_contents.append(more)
    message: bytes = made.SerializeToString()
    return message


ROW = np.array([[1.5, 2.5, 3.5, 4.5]], np.float32)
SEEN = [
    asked(ROW, raw=True),
    asked(ROW, raw=False),
    asked(np.vstack([ROW, ROW]), raw=True, identity="7"),
    asked(ROW, raw=False, more=(ROW + 1).tobytes()),  # the bytes go before the typed values
]


def come_to(inference: OpenInference, message: bytes) -> Any:
    """Everything that a request comes to, in comparable form."""
    try:
        prepared = inference.prepare(message)
    except Refusal as refusal:
        return refusal.code, refusal.text
    prepared.release()
    inputs = {alias: (array.shape, array.tobytes()) for alias, array in prepared.inputs.items()}
    assert prepared.form is not None
    answer = prepared.form.single(prepared.group, {"y": prepared.inputs["x"]})
    return prepared.handle.version, prepared.rows, inputs, answer


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    base=st.sampled_from(SEEN),
    edits=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 2),
)
def test_a_known_layout_never_changes_what_a_request_comes_to(
    repository: Repository, base: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    """Whatever bytes differ from known requests: recognised or parsed anew, the outcome is the same."""
    inference = OpenInference(repository, Metrics())
    changed = bytearray(base)
    for at, value in edits:
        changed[at % len(changed)] = value
    message = bytes(changed[: len(changed) - cut])
    for seen in SEEN:
        inference.prepare(seen).release()
    by_layout = come_to(inference, message)
    repository.serving.inferences.clear()
    assert by_layout == come_to(inference, message)


def test_layouts_are_learnt_and_used(repository: Repository) -> None:
    inference = OpenInference(repository, Metrics())
    repository.serving.inferences.clear()
    for number, message in enumerate(SEEN):
        first, second = inference.prepare(message), inference.prepare(message)
        assert first.memory is None
        assert (second.memory is not None) == (number < 3)
        for prepared in (first, second):
            prepared.release()
    # what is no Predict request is none because its bytes are known elsewhere
    assert not repository.serving.layouts


def test_inputs_that_have_a_default_may_be_left_out(start: Start, tmp_path: Path) -> None:
    """As in Predict; and what is recognised of such a request is not one of another with fewer inputs."""
    model = Typed("INT32")
    declared = signature({"x": messages.types_pb2.DT_INT32, "t": messages.types_pb2.DT_FLOAT}, {"y": 1})
    declared.defaults["t"].CopyFrom(tensor_of(np.float32([7])))
    model.signatures = {"serving_default": declared}
    (tmp_path / "m" / "1").mkdir(parents=True)
    repository = start(model_config.single("m", tmp_path / "m"), lambda *_: model)
    repository.wait_until_ready(20)
    inference = OpenInference(repository, Metrics())
    for _ in range(2):
        prepared = inference.prepare(request("INT32", [1, 4], np.arange(4, dtype=np.int32).tobytes()))
        assert {alias: array.ravel().tolist() for alias, array in prepared.inputs.items()} == {
            "t": [7.0],
            "x": [0, 1, 2, 3],
        }
        prepared.release()
    assert not repository.serving.inferences
    del declared.defaults["t"]
    with pytest.raises(Refusal, match="sent x, the model takes t, x"):
        inference.prepare(request("INT32", [1, 4], bytes(16)))


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", "int32", "int64", "float16", "object"])
def test_responses_are_byte_for_byte_what_protobuf_writes(dtype: str, raw: bool) -> None:
    """Made, then remembered; for none, one and two rows."""
    group = Group(Handle("mnist", 300, Typed("INT8")), "serving_default", (), ("y",), True, api="ModelInfer")
    form = InferResponses("id", raw)
    for rows in (0, 1, 2, 200):
        array = np.full((rows, 3), b"a", object) if dtype == "object" else np.ones((rows, 3), dtype)
        made = oip_messages.ModelInferResponse(model_name="mnist", model_version="300", id="id")
        tensor = made.outputs.add(name="y", datatype=oip_tensors.datatype_of(array), shape=array.shape)
        if raw:
            made.raw_output_contents.append(oip_tensors.raw_of(array))
        elif dtype != "float16":
            oip_tensors.fill(tensor.contents, array)
        else:
            with pytest.raises(Refusal, match="no typed contents"):
                form.single(group, {"y": array})
            continue
        assert (
            form.single(group, {"y": array}) == form.single(group, {"y": array}) == made.SerializeToString()
        )


def test_the_server_is_ready_when_each_model_has_an_available_version(start: Start, tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    repository = start(model_config.single("late", tmp_path / "late"))
    ready = OpenInference(repository, Metrics()).methods[oip_messages.SERVER_READY]
    assert not oip_messages.ServerReadyResponse.FromString(ready(b"", None)).ready
    write(tmp_path / "late", 1, 2.0)
    repository.wait_until_ready(20)
    assert oip_messages.ServerReadyResponse.FromString(ready(b"", None)).ready


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
