from typing import Any

import numpy as np
import pytest

from bench.server.api.prepared import Group
from bench.server.api.response import Responses
from bench.server.api.tensors import encode
from bench.server.models.servable import Handle
from bench.wire.dtypes import STORAGES
from bench.wire.messages import PredictResponse, TensorProto
from tests.server.numpy_models import Factor

Array = np.ndarray[Any, Any]


def group(*outputs: str) -> Group:
    return Group(Handle("mnist", 300, Factor(1.0)), "predict_images", (), outputs, True)


def by_protobuf(outputs: dict[str, Array], as_content: bool) -> Any:
    """The message built field by field."""
    message = PredictResponse()
    message.model_spec.name = "mnist"
    message.model_spec.version.value = 300
    message.model_spec.signature_name = "predict_images"
    for alias, array in outputs.items():
        message.outputs[alias].CopyFrom(TensorProto.FromString(encode(array, as_content)))
    return message


def scores(rows: int) -> Array:
    return np.random.default_rng(rows).random((rows, 10), np.float32)


@pytest.mark.parametrize("rows", [0, 1, 2, 127, 128, 400])
def test_one_float_output_is_byte_for_byte_what_protobuf_writes(rows: int) -> None:
    """Over lengths whose varints have one, two and three bytes."""
    made = PredictResponse()
    made.MergeFrom(by_protobuf({"scores": scores(rows)}, False))
    for _ in range(2):  # made, then remembered
        found = Responses(False).single(group("scores"), {"scores": scores(rows)})
        assert found == made.SerializeToString()


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("storage", STORAGES.values(), ids=lambda storage: str(storage.dtype))
def test_each_dtype(storage: Any, as_content: bool) -> None:
    if storage.dtype == object:
        array: Array = np.array([b"one", b""], object)
    else:
        array = np.frombuffer(bytes([0, 1, 1, 0] * 8), np.uint8).view(np.uint8)[: 2 * storage.dtype.itemsize]
        array = np.ascontiguousarray(array).view(storage.dtype)
    found = PredictResponse.FromString(Responses(as_content).single(group("y"), {"y": array}))
    assert found == by_protobuf({"y": array}, as_content)


def test_several_outputs_of_several_kinds() -> None:
    outputs = {
        "scores": scores(3),
        "classes": np.arange(3),
        "names": np.array([b"a", b"b", b"c"], object),
        "all": np.float64(0.1) * np.ones(()),
    }
    found = PredictResponse.FromString(Responses(False).single(group(*outputs), outputs))
    assert found == by_protobuf(outputs, False)


def test_memory_order_does_not_matter() -> None:
    array = scores(4)
    for other in (np.asfortranarray(array), array[::-1][::-1], np.repeat(array, 2, axis=1)[:, ::2]):
        assert Responses(False).single(group("scores"), {"scores": other}) == Responses(False).single(
            group("scores"), {"scores": array}
        )


def test_what_is_remembered_is_bounded() -> None:
    each = group("scores")
    for rows in range(300):
        Responses(False).single(each, {"scores": scores(rows)})
    assert len(each.heads) <= 256
