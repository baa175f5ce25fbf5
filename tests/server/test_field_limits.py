"""What a request costs to parse is bounded: more fields than that are refused before, whatever form they have."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from bench.launch import server_process
from bench.protocol import oip_messages
from bench.server.api import health
from bench.wire import messages
from bench.wire.field_limits import AT_ONCE, MOST_FIELDS, too_many


def inputs(count: int) -> bytes:
    request = messages.PredictRequest()
    for number in range(count):
        request.inputs[f"{number:x}"].dtype = 1
    return bytes(request.SerializeToString())


def strings(count: int) -> bytes:
    request = messages.PredictRequest()
    request.inputs["text"].string_val.extend([b""] * count)
    return bytes(request.SerializeToString())


def features(count: int) -> bytes:
    request = messages.ClassificationRequest()
    feature = request.input.example_list.examples.add().features.feature
    for number in range(count):
        feature[f"{number:x}"].int64_list.value.append(1)
    return bytes(request.SerializeToString())


def context(count: int) -> bytes:
    request = messages.RegressionRequest()
    feature = request.input.example_list_with_context.context.features.feature
    for number in range(count):
        feature[f"{number:x}"].int64_list.value.append(1)
    return bytes(request.SerializeToString())


def examples(count: int) -> bytes:
    request = messages.MultiInferenceRequest()
    for _ in range(count):
        request.input.example_list.examples.add()
    return bytes(request.SerializeToString())


def labels(count: int) -> bytes:
    request = messages.ReloadConfigRequest()
    version_labels = request.config.model_config_list.config.add().version_labels
    for number in range(count):
        version_labels[f"{number:x}"] = 1
    return bytes(request.SerializeToString())


def fields(count: int) -> bytes:
    request = messages.GetModelMetadataRequest()
    request.metadata_field.extend([""] * count)
    return bytes(request.SerializeToString())


def dimensions(count: int) -> bytes:
    request = messages.PredictRequest()
    for _ in range(count):
        request.inputs["images"].tensor_shape.dim.add(size=1)
    return bytes(request.SerializeToString())


def tensors_within(count: int) -> bytes:
    request = messages.PredictRequest()
    variant = request.inputs["images"].variant_val.add()
    for _ in range(count):
        variant.tensors.add()
    return bytes(request.SerializeToString())


def filters(count: int) -> bytes:
    request = messages.PredictRequest()
    request.output_filter.extend([""] * count)
    return bytes(request.SerializeToString())


def inferences(count: int) -> bytes:
    request = oip_messages.ModelInferRequest(model_name="mnist")
    for _ in range(count):
        request.inputs.add()
    return bytes(request.SerializeToString())


def names(count: int) -> bytes:
    """Of a model, a version or a service; the last one counts."""
    return b"\x0a\x01m" * count


Make = Callable[[int], bytes]
KINDS: dict[str, tuple[Make, str]] = {
    "inputs": (inputs, messages.PREDICT),
    "output names": (filters, messages.PREDICT),
    "dimensions": (dimensions, messages.PREDICT),
    "tensors of a variant": (tensors_within, messages.PREDICT),
    "strings": (strings, messages.PREDICT),
    "features": (features, messages.CLASSIFY),
    "features of a context": (context, messages.REGRESS),
    "examples": (examples, messages.MULTI_INFERENCE),
    "labels": (labels, messages.RELOAD_CONFIG),
    "metadata fields": (fields, messages.GET_MODEL_METADATA),
    "inputs of ModelInfer": (inferences, oip_messages.MODEL_INFER),
    "names of ModelMetadata": (names, oip_messages.MODEL_METADATA),
    "names of ModelReady": (names, oip_messages.MODEL_READY),
    "names of Check": (names, health.CHECK),
    "names of Watch": (names, health.WATCH),
}
DISGUISES: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "behind a group": lambda message: b"\xfb\x01\xfc\x01" + message,
    "behind a long tag": lambda message: b"\xf8\x81\x80\x00\x00" + message,
    "behind unknown numbers": lambda message: b"\xf9\x01" + bytes(8) + b"\xfd\x01" + bytes(4) + message,
    "in two parts": lambda message: message + message,
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_too_many_fields_are_found(disguise: Callable[[bytes], bytes]) -> None:
    assert not too_many(messages.PredictRequest, disguise(strings(MOST_FIELDS // 3)))
    assert too_many(messages.PredictRequest, disguise(strings(MOST_FIELDS + 1)))


@pytest.mark.parametrize(
    "message",
    [b"\xff" * 100_000, b"\x12" * 100_000, b"\x07" * 100_000, b"\x12\xff\xff\xff\xff\x0f" + bytes(99_999)],
)
def test_what_is_no_protobuf_is_left_to_the_parser(message: bytes) -> None:
    assert not too_many(messages.PredictRequest, message)


def test_a_large_tensor_is_few_fields() -> None:
    request = messages.PredictRequest()
    request.inputs["images"].float_val.extend(np.zeros(1_000_000, np.float32))
    assert not too_many(messages.PredictRequest, request.SerializeToString())


@pytest.fixture(scope="module")
def called() -> Iterator[Callable[[str, bytes], Any]]:
    flags = ["--backend=synthetic", "--service-time=constant(0ms)", "--model_name=mnist"]
    flags.append("--enable_grpc_healthcheck_service")
    with server_process.embedded(flags) as server, grpc.insecure_channel(server.address) as channel:
        yield lambda method, message: channel.unary_unary(method)(message, timeout=60)


@pytest.mark.parametrize(("make", "method"), KINDS.values(), ids=KINDS)
def test_a_server_refuses_them(called: Callable[[str, bytes], Any], make: Make, method: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        called(method, make(MOST_FIELDS + 1))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    # what is read where others wait for it may have fewer
    most = AT_ONCE if make in (fields, names) else MOST_FIELDS
    assert f"{most} protobuf fields" in refused.value.details()


def test_a_tensor_of_many_dimensions(called: Callable[[str, bytes], Any]) -> None:
    request = messages.PredictRequest.FromString(dimensions(50_000))
    request.model_spec.name, request.model_spec.signature_name = "mnist", "predict_images"
    with pytest.raises(grpc.RpcError) as refused:
        called(messages.PREDICT, request.SerializeToString())
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
