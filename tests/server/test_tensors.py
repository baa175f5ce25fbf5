import json
import struct
import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.server.api.tensors import Unreadable, decode, encode, head
from bench.server.refusal import Code, Refusal
from bench.wire.dtypes import STORAGES, type_name
from bench.wire.messages import TensorProto, types_pb2
from tests.forks import ROOT
from tests.unlimited import LIMIT, unlimited


def proto(text: str) -> Any:
    return text_format.Parse(text, TensorProto())


def dims(*sizes: int) -> str:
    return "tensor_shape {" + " ".join(f"dim {{ size: {size} }}" for size in sizes) + "}"


TEXTS = [
    # content of exactly the right length, too short, too long, beside typed values
    f'dtype: DT_FLOAT {dims(2)} tensor_content: "\\000\\000\\200\\077\\000\\000\\000\\100"',
    f'dtype: DT_FLOAT {dims(2)} tensor_content: "\\000\\000\\200\\077\\000\\000\\000"',
    f'dtype: DT_FLOAT {dims(2)} tensor_content: "\\000\\000\\200\\077\\000\\000\\000\\100\\000"',
    f'dtype: DT_FLOAT {dims(1)} tensor_content: "\\000\\000\\200\\077" float_val: 5',
    # as many values as elements, fewer, one, none, more
    f"dtype: DT_FLOAT {dims(3)} float_val: [1, 2, 3]",
    f"dtype: DT_FLOAT {dims(2, 2)} float_val: [1, 2, 3]",
    f"dtype: DT_FLOAT {dims(2, 2)} float_val: 7",
    f"dtype: DT_FLOAT {dims(2, 2)}",
    f"dtype: DT_FLOAT {dims(2)} float_val: [1, 2, 3]",
    # shapes
    "dtype: DT_FLOAT float_val: [4, 5]",
    "dtype: DT_FLOAT",
    "dtype: DT_FLOAT tensor_shape { unknown_rank: true } float_val: 4",
    "dtype: DT_FLOAT tensor_shape { unknown_rank: true dim { size: 2 } } float_val: 4",
    f"dtype: DT_FLOAT {dims(-1, 2)} float_val: 4",
    f"dtype: DT_FLOAT {dims(4294967296, 4294967296)} float_val: 4",
    f"dtype: DT_FLOAT {dims(*[1] * 32)} float_val: 4",
    f"dtype: DT_FLOAT {dims(*[1] * 255)} float_val: 4",
    f"dtype: DT_FLOAT {dims(0, 784)}",
    f'dtype: DT_FLOAT {dims(0)} tensor_content: "abc"',
    # dtypes
    f"{dims(1)} float_val: 4",
    f"dtype: DT_FLOAT_REF {dims(1)} float_val: 4",
    f"dtype: DT_DOUBLE {dims(1)} float_val: 4",
    f"dtype: DT_FLOAT {dims(1)} int_val: 4",
    f"dtype: DT_DOUBLE {dims(2)} double_val: 0.1",
    f"dtype: DT_INT32 {dims(3)} int_val: [-1, 2147483647]",
    f"dtype: DT_UINT8 {dims(3)} int_val: [300, -1, 7]",
    f"dtype: DT_INT8 {dims(3)} int_val: [300, -1, 128]",
    f"dtype: DT_INT16 {dims(2)} int_val: [70000, -70000]",
    f"dtype: DT_UINT16 {dims(2)} int_val: [70000, -1]",
    f"dtype: DT_INT64 {dims(2)} int64_val: [9223372036854775807, -9223372036854775808]",
    f"dtype: DT_UINT32 {dims(2)} uint32_val: 4294967295",
    f"dtype: DT_UINT64 {dims(2)} uint64_val: 18446744073709551615",
    f"dtype: DT_BOOL {dims(3)} bool_val: [true, false]",
    f"dtype: DT_BOOL {dims(2)}",
    f"dtype: DT_HALF {dims(2)} half_val: [15360, 48128]",
    f"dtype: DT_BFLOAT16 {dims(3)} half_val: [16256, 49024]",
    f"dtype: DT_COMPLEX64 {dims(3)} scomplex_val: [1, 2, 3, 4]",
    f"dtype: DT_COMPLEX64 {dims(2)} scomplex_val: [1, 2, 3]",
    f"dtype: DT_COMPLEX128 {dims(2)} dcomplex_val: [1, 2, 3, 4]",
    f'dtype: DT_STRING {dims(3)} string_val: ["a", ""]',
    f"dtype: DT_STRING {dims(2)}",
    'dtype: DT_STRING string_val: "scalar"',
    f'dtype: DT_STRING {dims(2)} tensor_content: "\\001\\002abc"',
    f'dtype: DT_STRING {dims(2)} tensor_content: "\\001\\002abcd"',
    f'dtype: DT_STRING {dims(2)} tensor_content: "\\001"',
    f'dtype: DT_STRING {dims(1)} tensor_content: "\\200\\001{"x" * 128}"',
    f"dtype: DT_QINT8 {dims(2)} int_val: [300, 1]",
    f"dtype: DT_QUINT16 {dims(2)} int_val: [70000]",
    f"dtype: DT_QINT32 {dims(2)} int_val: [-5]",
    f'dtype: DT_FLOAT8_E5M2 {dims(3)} float8_val: "\\074\\300"',
    f"dtype: DT_INT4 {dims(3)} int_val: [7, -8]",
    f"dtype: DT_UINT4 {dims(3)} int_val: [15, 1]",
]


@pytest.fixture(scope="module")
def by_tensorflow() -> list[dict[str, Any] | None]:
    """TensorFlow's reading of TEXTS."""
    messages = [proto(text) for text in TEXTS]
    data = b"".join(
        struct.pack("<ii", message.dtype if message.dtype in STORAGES else 1, len(serialised)) + serialised
        for message in messages
        for serialised in [message.SerializeToString()]
    )
    command = [sys.executable, "-m", "tests.server.from_proto"]
    with unlimited():
        run = subprocess.run(command, input=data, capture_output=True, check=True, timeout=LIMIT, cwd=ROOT)
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.mark.parametrize("index", range(len(TEXTS)), ids=lambda index: TEXTS[index][:60])
def test_decoding_is_tensorflows(index: int, by_tensorflow: list[dict[str, Any] | None]) -> None:
    expected = by_tensorflow[index]
    if expected is None:
        with pytest.raises(Unreadable):
            decode(proto(TEXTS[index]))
        return
    array = decode(proto(TEXTS[index]))
    assert list(array.shape) == expected["shape"]
    if array.dtype == object:
        assert [value.hex() for value in array.ravel()] == expected["values"]
    else:
        # the upper four bits of an int4's byte mean nothing
        memory = array.astype(np.int8) if array.dtype == ml_dtypes.int4 else array
        assert memory.tobytes().hex() == expected["values"]


def test_all_of_tensorflows_dtypes_are_known() -> None:
    plain = {number for name, number in types_pb2.DataType.items() if 0 < number < 100}
    assert plain - set(STORAGES) == {types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT, types_pb2.DT_FLOAT4_E2M1FN}


def test_a_few_bytes_cannot_claim_gigabytes() -> None:
    with pytest.raises(Refusal) as caught:
        decode(proto(f"dtype: DT_FLOAT {dims(1_000_000, 1_000)} float_val: 1"))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert decode(proto(f"dtype: DT_FLOAT {dims(100, 100)} float_val: 1"), max_filled=9_999).sum() == 10_000
    with pytest.raises(Refusal):
        decode(proto(f"dtype: DT_FLOAT {dims(100, 100)} float_val: 1"), max_filled=9_998)


def _examples() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(5)
    arrays: list[np.ndarray[Any, Any]] = []
    for storage in STORAGES.values():
        if storage.dtype == object:
            arrays.append(np.array([b"", b"a", b"\xff" * 200, b"x"], object).reshape(2, 2))
        elif storage.dtype == bool:
            arrays.append(np.array([[True, False, True]]))
        elif storage.dtype.names or storage.field == "int_val":
            low = rng.integers(0, 4, 6).astype(np.int32)
            kind = storage.dtype[0] if storage.dtype.names else storage.dtype
            arrays.append(low.astype(kind).view(storage.dtype) if storage.dtype.names else low.astype(kind))
        else:
            arrays.append(rng.integers(0, 7, (3, 2)).astype(storage.dtype))
    return arrays


@pytest.mark.parametrize("array", _examples(), ids=lambda array: str(array.dtype))
@pytest.mark.parametrize("as_content", [False, True], ids=["typed", "content"])
def test_what_is_encoded_decodes_to_the_same(array: np.ndarray[Any, Any], as_content: bool) -> None:
    for each in (array, array[:0], array.ravel()[:1].reshape(()), array[::-1]):
        tensor = TensorProto.FromString(encode(each, as_content))
        assert tensor.HasField("tensor_shape")
        assert bool(tensor.tensor_content) == (as_content and each.size > 0)
        back = decode(tensor)
        assert (back.dtype, back.shape) == (each.dtype, each.shape)
        if array.dtype == object:
            assert back.tolist() == each.tolist()
        else:
            assert back.tobytes() == each.tobytes()


@pytest.mark.parametrize("shape", [(1, 10), (0, 10), (), (3,), (128, 10), (2, 3, 4)])
@pytest.mark.parametrize(
    "dtype,field", [(np.float32, "float_val"), (np.float64, "double_val"), (np.bool_, "bool_val")]
)
def test_head_and_memory_are_what_protobuf_writes(shape: tuple[int, ...], dtype: type, field: str) -> None:
    array = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    expected = TensorProto(dtype=types_pb2.DataType.Value(f"DT_{field[:-4].upper()}"))
    expected.tensor_shape.SetInParent()
    for size in shape:
        expected.tensor_shape.dim.add(size=size)
    getattr(expected, field).extend(array.ravel().tolist())
    start = head(array.dtype, shape)
    assert start is not None
    assert start + array.tobytes() == expected.SerializeToString() == encode(array)


def test_every_value_is_written_even_if_all_are_equal() -> None:
    assert len(TensorProto.FromString(encode(np.zeros(100, np.float32))).float_val) == 100
    assert len(TensorProto.FromString(encode(np.zeros(100, np.int64))).int64_val) == 100


def test_a_dtype_that_no_tensor_holds_is_refused() -> None:
    with pytest.raises(Refusal, match="datetime64"):
        encode(np.zeros(1, "datetime64[s]"))


def test_more_dimensions_than_tensorflows_binding_survives_are_refused() -> None:
    for dtype in ("DT_FLOAT", "DT_STRING"):
        with pytest.raises(Unreadable):
            decode(proto(f"dtype: {dtype} {dims(*[1] * 33)} float_val: 4"))


def test_names_of_dtypes() -> None:
    assert [type_name(number) for number in (1, 9, 7, 101)] == ["float", "int64", "string", "float_ref"]


@settings(max_examples=500, derandomize=True, deadline=None)
@given(
    dtype=st.sampled_from([*STORAGES, 0, 20, 21, 33, 101, 999]),
    sizes=st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**31, 2**62, 2**63 - 1]), max_size=4),
    content=st.binary(max_size=9),
    numbers=st.lists(st.integers(0, 100), max_size=5),
)
def test_whatever_is_claimed_an_array_or_a_refusal_comes_out(
    dtype: int, sizes: list[int], content: bytes, numbers: list[int]
) -> None:
    tensor = TensorProto(dtype=dtype, tensor_content=content)
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    for field in (
        "float_val",
        "double_val",
        "int_val",
        "int64_val",
        "half_val",
        "scomplex_val",
        "uint64_val",
    ):
        getattr(tensor, field).extend(numbers)
    tensor.string_val.extend(bytes(number) for number in numbers)
    tensor.float8_val = bytes(numbers)
    try:
        array = decode(tensor, max_filled=1000)
    except (Unreadable, Refusal):
        return
    assert array.shape == tuple(sizes)
