"""Requests with many integers are read in another process: they mean the same, and nobody waits for them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from bench.launch import server_process
from bench.protocol.oip_messages import ModelInferRequest
from bench.server.api.json_process import JsonProcesses
from bench.server.api.packed_numbers import MOST_INLINE, lightened, serialised, split_examples
from bench.server.api.tensors import Unreadable, decode
from bench.server.refusal import Refusal
from bench.wire import messages
from bench.wire.dtypes import STORAGES
from bench.wire.field_limits import weight
from bench.wire.messages import PredictRequest

INTEGERS = {
    number: storage
    for number, storage in STORAGES.items()
    if storage.field.endswith("_val") and storage.field.partition("_")[0] in
    {"int", "int64", "half", "bool", "uint32", "uint64"}
}  # fmt: skip


def tensor(dtype: int, shape: list[int], **fields: Any) -> Any:
    made = messages.TensorProto(dtype=dtype)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    for name, values in fields.items():
        if name == "tensor_content":
            made.tensor_content = values
        else:
            getattr(made, name).extend(values)
    return made


def request(**inputs: Any) -> bytes:
    made = PredictRequest()
    made.model_spec.name = "mnist"
    made.output_filter.append("scores")
    for name, each in inputs.items():
        made.inputs[name].CopyFrom(each)
    serialised_request: bytes = made.SerializeToString()
    return serialised_request


def read(one: Any) -> Any:
    """The array of a tensor, or how it is refused."""
    try:
        array = decode(one)
    except (Unreadable, Refusal) as error:
        return type(error).__name__
    return array.dtype, array.shape, array.tobytes() if array.dtype != object else array.tolist()


SHAPES = {
    "all": [2, 3],
    "surplus": [2, 2],
    "missing": [3, 3],
    "none": [0],
    "scalar": [],
    "no shape": [-1],
    "31": [1] * 33,
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("number", INTEGERS)
def test_a_lightened_tensor_means_the_same(number: int, shape: list[int]) -> None:
    storage = INTEGERS[number]
    signed = storage.field in {"int_val", "int64_val", "half_val"}
    values = [0, 1, 5, 255, 70_000, -3 if signed else 4]
    if storage.field == "bool_val":
        values = [bool(each) for each in values]
    one = tensor(number, shape, **{storage.field: values})
    light = PredictRequest.FromString(lightened(PredictRequest, request(x=one)))
    assert read(light.inputs["x"]) == read(one)
    assert not getattr(light.inputs["x"], storage.field)
    assert (light.model_spec.name, [*light.output_filter]) == ("mnist", ["scores"])


OTHERS = {
    "beside content": tensor(9, [2], tensor_content=bytes(16), int64_val=[1, 2]),
    "content of another length": tensor(9, [2], tensor_content=bytes(3), int64_val=[1, 2]),
    "of another dtype": tensor(1, [2], float_val=[1.5, 2.5], int64_val=[1, 2]),
    "texts": tensor(7, [2], string_val=[b"a", b"\xff"], int_val=[1]),
    "no dtype": tensor(0, [2], int_val=[1, 2]),
    "a dtype that nobody knows": tensor(99, [2], int_val=[1, 2]),
}


@pytest.mark.parametrize("one", OTHERS.values(), ids=OTHERS)
def test_other_integers_are_left_out(one: Any) -> None:
    light = PredictRequest.FromString(lightened(PredictRequest, request(x=one, y=one))).inputs
    assert read(light["x"]) == read(light["y"]) == read(one)
    assert weight(PredictRequest, request(x=light["x"])).packed == 0


def inference(count: int, context: bool) -> Any:
    made = messages.MultiInferenceRequest()
    made.tasks.add().model_spec.name = "mnist"
    listed = made.input.example_list_with_context if context else made.input.example_list
    if context:
        listed.context.features.feature["c"].float_list.value.append(1.0)
    for number in range(count):
        listed.examples.add().features.feature["x"].int64_list.value.extend([number, 2])
    return made


@pytest.fixture(scope="module")
def processes() -> Iterator[JsonProcesses]:
    with contextlib.closing(JsonProcesses(60.0)) as made:
        yield made


@pytest.mark.parametrize(("count", "context"), [(0, False), (3, False), (2, True)])
def test_examples_are_split_off(processes: JsonProcesses, count: int, context: bool) -> None:
    asked = inference(count, context)
    for split in (split_examples, processes.split_examples):
        rest, parts = split(messages.MultiInferenceRequest, asked.SerializeToString())
        assert parts == serialised(asked.input)
        assert messages.MultiInferenceRequest.FromString(rest).tasks == asked.tasks
        assert not messages.MultiInferenceRequest.FromString(rest).HasField("input")


def typed(*contents: int) -> bytes:
    made = ModelInferRequest(model_name="mnist")
    made.inputs.add(name="x", datatype="INT64", shape=[len(contents)]).contents.int64_contents.extend(
        contents
    )
    serialised_request: bytes = made.SerializeToString()
    return serialised_request


@pytest.mark.parametrize(
    ("kind", "heavy"),
    [
        (PredictRequest, request(x=tensor(9, [MOST_INLINE], int64_val=range(MOST_INLINE)))),
        (ModelInferRequest, typed(*range(MOST_INLINE))),
    ],
)
def test_the_other_process_says_the_same(processes: JsonProcesses, kind: Any, heavy: bytes) -> None:
    assert processes.lightened(kind, heavy) == lightened(kind, heavy)
    for lighten in (lightened, processes.lightened):
        with pytest.raises(Refusal):
            lighten(kind, b"\x12\xff")


DISGUISES: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "in two parts": lambda message: message + message,
    "behind a group": lambda message: b"\xfb\x01\xfc\x01" + message,
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
@pytest.mark.parametrize("number", INTEGERS)
def test_integers_are_weighed(number: int, disguise: Callable[[bytes], bytes]) -> None:
    values = [1] * 100_000
    found = weight(
        PredictRequest, disguise(request(x=tensor(number, [1], **{INTEGERS[number].field: values})))
    )
    assert found.packed >= 100_000
    assert not found.too_many
    floats = request(x=tensor(1, [100_000], float_val=np.zeros(100_000, np.float32)))
    assert weight(PredictRequest, floats).packed == 0


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    flags = ["--backend=synthetic", "--service-time=constant(0ms)", "--model_name=mnist", "--max-in-flight=4"]
    with server_process.embedded(flags) as server, grpc.insecure_channel(server.address) as made:
        yield made


HEAVY: dict[str, tuple[Any, grpc.StatusCode]] = {
    "beside what is asked for": (
        tensor(1, [1, 784], float_val=[0.5] * 784, int64_val=range(MOST_INLINE)),
        grpc.StatusCode.OK,
    ),
    "in place of it": (tensor(9, [1, 784], int64_val=range(MOST_INLINE)), grpc.StatusCode.INVALID_ARGUMENT),
    "without a shape": (tensor(9, [-1], int64_val=range(MOST_INLINE)), grpc.StatusCode.INVALID_ARGUMENT),
}


@pytest.mark.parametrize(("one", "code"), HEAVY.values(), ids=HEAVY)
def test_a_server_answers_heavy_requests_as_light_ones(
    channel: grpc.Channel, one: Any, code: grpc.StatusCode
) -> None:
    """Others are answered meanwhile, and each makes room for another."""
    call = channel.unary_unary(messages.PREDICT)
    light = messages.TensorProto()
    light.CopyFrom(one)
    light.ClearField("int64_val")
    if one.dtype == 9 and one.tensor_shape.dim[0].size > 0:
        light.tensor_content = decode(one).tobytes()

    def asked(what: Any) -> Any:
        made = PredictRequest()
        made.model_spec.name, made.model_spec.signature_name = "mnist", "predict_images"
        made.inputs["images"].CopyFrom(what)
        return made.SerializeToString()

    def outcome(what: Any) -> tuple[grpc.StatusCode, bytes | str]:
        try:
            return grpc.StatusCode.OK, call(asked(what), timeout=60)
        except grpc.RpcError as error:
            return error.code(), error.details()

    for _ in range(6):  # more than may be in flight
        assert outcome(one) == outcome(light)
    assert outcome(one)[0] is code


def test_heavy_requests_that_are_cancelled_make_room(channel: grpc.Channel) -> None:
    call = channel.unary_unary(messages.PREDICT)
    heavy = request(x=tensor(9, [1], int64_val=[1] * 2_000_000))
    for _ in range(3):
        for each in [call.future(heavy, timeout=60) for _ in range(4)]:
            each.cancel()
    with pytest.raises(grpc.RpcError) as refused:
        call(request(x=tensor(1, [1], float_val=[1.0])), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refused.value.details()
