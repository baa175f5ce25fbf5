"""Pools of requests: what is in them, that they are always the same, and the order in which users take them."""

import hashlib
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench import BenchError, mnist
from bench.payload import AGAIN, LEAST_MESSAGES, ONCE, POOL_BYTES, Pool, array_of, predict_request, tensor_of
from bench.wire.messages import PredictRequest, TensorProto, types_pb2

DIGITS = mnist.load("test")


def pool(**changes: object) -> Pool:
    return Pool.mnist(DIGITS.images, DIGITS.labels, **changes)  # type: ignore[arg-type]  # keywords of the test


def test_a_message_is_the_request_that_was_asked_for() -> None:
    asked = pool(model="m", version=2, signature="s", batch=3, seed=5)
    request = PredictRequest.FromString(asked.messages[7])
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "s")
    assert request.model_spec.version.value == 2
    assert list(request.inputs) == ["images"]
    images = array_of(request.inputs["images"])
    assert (images.shape, images.dtype) == ((3, 28, 28, 1), np.float32)
    assert asked.labels is not None
    for image, label in zip(images, asked.labels[7], strict=True):
        (row,) = np.flatnonzero((DIGITS.images == image).all(axis=(1, 2, 3)))
        assert DIGITS.labels[row] == label


def test_versions_labels_and_neither_reach_the_message() -> None:
    assert PredictRequest.FromString(pool(label="stable").messages[0]).model_spec.version_label == "stable"
    spec = PredictRequest.FromString(pool().messages[0]).model_spec
    assert not spec.HasField("version")
    assert not spec.version_label
    with pytest.raises(BenchError, match="version 0 and label 'stable': a request names one of them"):
        pool(version=0, label="stable")


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    assert pool(seed=1, batch=8).messages == pool(seed=1, batch=8).messages
    assert pool(seed=1, batch=8).sha256 == pool(seed=1, batch=8).sha256
    assert pool(seed=1, batch=8).sha256 != pool(seed=2, batch=8).sha256


def test_the_bytes_of_a_seed_are_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; from bench.payload import Pool; e = {n: np.arange(9) for n in ('b', 'a', 'c', 'd')}; "
        "print(Pool.of(e, None, output='y', model='m', batch=2, seed=3).sha256)"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONHASHSEED": str(seed)}
        ).stdout
        for seed in (1, 2)
    }
    assert len(hashes) == 1


def test_the_hash_tells_where_one_message_ends() -> None:
    framed = b"".join(len(message).to_bytes(8, "little") + message for message in pool(size=3).messages)
    assert pool(size=3).sha256 == hashlib.sha256(framed).hexdigest()


@pytest.mark.parametrize("batch", [1, 4])
def test_each_example_occurs_equally_often(batch: int) -> None:
    asked = pool(batch=batch)
    assert len(asked) * batch == len(DIGITS.labels)
    assert asked.labels is not None
    assert sorted(asked.labels.ravel()) == sorted(DIGITS.labels)
    seen = {array_of(PredictRequest.FromString(m).inputs["images"]).tobytes() for m in asked.messages}
    assert len(seen) == len(asked)


@pytest.mark.parametrize("batch", [1, 128, 512, 2048, 20_000])
def test_pools_are_bounded_and_varied(batch: int) -> None:
    asked = pool(batch=batch)
    size = sum(map(len, asked.messages))
    assert size <= POOL_BYTES or len(asked) == 1
    assert len(asked) >= LEAST_MESSAGES or size + size // len(asked) > POOL_BYTES
    assert asked.labels is not None
    assert asked.labels.shape == (len(asked), batch)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(0, 10_000), st.integers(0, 3))
def test_each_user_visits_every_message_before_one_comes_again(size: int, stream: int, seed: int) -> None:
    asked = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m", size=size, seed=seed)
    walk = list(islice(asked.sequence(stream), 2 * size))
    assert sorted(walk[:size]) == list(range(size))
    assert walk[size:] == walk[:size]
    assert walk == list(islice(asked.sequence(stream), 2 * size))


def test_users_walk_differently() -> None:
    asked = pool()
    walks = {tuple(islice(asked.sequence(stream), 5)) for stream in range(200)}
    assert len(walks) > 190


def test_own_models_with_inputs_of_several_dtypes() -> None:
    rng = np.random.default_rng(0)
    examples = {
        "age": rng.integers(0, 99, (10, 1), np.int32),
        "name": np.array([f"ä{i}" for i in range(10)]),
        "raw": np.array([b"\xff%d" % i for i in range(10)], object),
        "weight": rng.random((10, 2, 3)),
    }
    asked = Pool.of(examples, np.arange(10), output="class", model="own", batch=5, size=4)
    assert (asked.output, asked.batch, len(asked)) == ("class", 5, 4)
    assert asked.labels is not None
    for message, labels in zip(asked.messages, asked.labels, strict=True):
        inputs = PredictRequest.FromString(message).inputs
        assert array_of(inputs["age"]).tolist() == examples["age"][labels].tolist()
        assert array_of(inputs["weight"]).tolist() == examples["weight"][labels].tolist()
        assert array_of(inputs["name"]).tolist() == [f"ä{i}".encode() for i in labels]
        assert array_of(inputs["raw"]).tolist() == [b"\xff%d" % i for i in labels]


def test_pools_without_labels() -> None:
    assert Pool.of({"x": np.zeros((3, 1))}, None, output="y", model="m").labels is None


@pytest.mark.parametrize(
    ("examples", "labels", "changes", "text"),
    [
        ({}, None, {}, "no input"),
        ({"x": np.zeros(())}, None, {}, "input 'x' is a scalar"),
        (
            {"x": np.zeros((2, 1)), "y": np.zeros((3, 1))},
            None,
            {},
            "different numbers of examples: input 'x' 2, input 'y' 3",
        ),
        ({"x": np.zeros((2, 1))}, np.zeros(3, np.int64), {}, "input 'x' 2, labels 3"),
        ({"x": np.zeros((0, 1))}, None, {}, "no example"),
        ({"x": np.zeros((2, 1), "M8[s]")}, None, {}, "TensorFlow has no such type"),
        ({"x": np.array([b"a", 3], object)}, None, {}, "3: an array of objects may hold only bytes and str"),
        ({"x": np.zeros((2, 1))}, None, {"batch": 0}, "batch 0"),
        ({"x": np.zeros((2, 1))}, None, {"size": 0}, "size 0"),
    ],
)
def test_inputs_that_do_not_fit_are_named(
    examples: dict[str, np.ndarray], labels: np.ndarray | None, changes: dict[str, int], text: str
) -> None:
    with pytest.raises(BenchError, match=text):
        Pool.of(examples, labels, output="y", model="m", **changes)  # type: ignore[arg-type]  # integers all


SERVED = [
    "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16", ">f4", ">i8",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SERVED).flatmap(
        lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    )
)
def test_tensors_keep_their_numbers_as_content_and_as_typed_values(array: np.ndarray) -> None:
    proto = tensor_of(array)
    back = array_of(proto)
    assert back.dtype == array.dtype.newbyteorder("<")
    assert back.shape == array.shape
    assert back.tobytes() == array.astype(back.dtype).tobytes()
    tensorflow_writes = TensorProto(dtype=proto.dtype, tensor_shape=proto.tensor_shape)
    fill_typed(tensorflow_writes, back)
    np.testing.assert_array_equal(array_of(tensorflow_writes), back)


def fill_typed(proto: TensorProto, array: np.ndarray) -> None:
    """As TensorFlow's Tensor::AsProtoField does (tensorflow/core/framework/tensor.cc)."""
    flat = array.ravel()
    name = array.dtype.name
    if name == "float16":
        proto.half_val.extend(flat.view("<u2").tolist())
    elif name in ("complex64", "complex128"):
        field = proto.scomplex_val if name == "complex64" else proto.dcomplex_val
        field.extend(flat.view(f"<f{array.dtype.itemsize // 2}").tolist())
    else:
        field = {
            "float32": "float_val",
            "float64": "double_val",
            "int64": "int64_val",
            "bool": "bool_val",
        }.get(name, f"{name}_val" if name in ("uint32", "uint64") else "int_val")
        getattr(proto, field).extend(flat.tolist())


@pytest.mark.parametrize(
    ("proto", "text"),
    [
        (TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1, 2]), "2 values for shape"),
        (TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123"), "multiple of element size"),
        (TensorProto(dtype=types_pb2.DT_STRING), "0 values"),
        (TensorProto(dtype=types_pb2.DT_RESOURCE), "dtype 20 has no array"),
        (TensorProto(), "dtype 0 has no array"),
        (TensorProto(dtype=1, tensor_shape={"dim": [{"size": -1}]}), "not fully known"),
        (TensorProto(dtype=1, tensor_shape={"unknown_rank": True}), "not fully known"),
        (
            TensorProto(dtype=1, tensor_shape={"dim": [{"size": 2**40}, {"size": 2**40}]}, float_val=[1]),
            "1 values",
        ),
    ],
)
def test_tensors_that_contradict_themselves_are_refused(proto: TensorProto, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        array_of(proto)


def test_a_request_without_a_signature_leaves_the_choice_to_the_server() -> None:
    assert not predict_request({"x": np.zeros(1)}, model="m").model_spec.signature_name


@pytest.mark.parametrize("processes", [1, 3])
def test_each_message_is_sent_once_by_one_process_and_the_first_by_none(processes: int) -> None:
    asked = pool(size=50).sent_once(ONCE)
    sent = [index for number in range(processes) for index in asked.once(number, processes)]
    assert sorted(sent) == list(range(1, 50))
    assert list(asked.once(processes, processes)) == [], "a process that came too late"


@pytest.mark.parametrize("size", [5, 50, 3000])
def test_what_is_repeated_was_sent_long_before(size: int) -> None:
    made = [index % 10 for index in range(size)]
    first, again = (
        list(Pool.of({"x": np.arange(size)}, made, output="y", model="m").sent_once(sending).once(0, 1))
        for sending in (ONCE, AGAIN)
    )
    lag = min(256, (size - 1) // 8)
    assert len(first) == len(again) == size - 1
    assert again[:lag] == [0] * lag, "known from the preflight"
    assert again[lag:] == first[: len(first) - lag]


def test_a_message_that_is_there_twice_is_sent_once() -> None:
    few = Pool.of({"x": [1.0, 2.0, 3.0]}, [0, 1, 2], output="y", model="m", compare="equal")
    assert len(few) == 16
    once = few.sent_once(ONCE)
    assert len(set(once.messages)) == len(once) == 3
    assert once.labels is not None
    for message, labels in zip(once.messages, once.labels, strict=True):
        assert array_of(PredictRequest.FromString(message).inputs["x"]).tolist() == [labels[0] + 1.0]
