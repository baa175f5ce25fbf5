"""Fuzz the Open Inference Protocol: ModelInferRequests to the embedded server, ModelInferResponses to the client.

The server's model returns its inputs, so that each answer is known.
"""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench import BenchError
from bench.load.checking.reply_layout import learn
from bench.protocol import oip_messages, oip_tensors
from bench.protocol.api import Model, Unreadable
from bench.protocol.oip import API
from bench.server.api.oip import OpenInference
from bench.server.api.packed_numbers import Heavy, lightened
from bench.server.api.tensors import storage_of
from bench.server.metrics import Metrics
from bench.server.models.servable import Handle
from bench.server.refusal import Code, Refusal
from bench.wire.dtypes import STORAGE_OF
from bench.wire.messages import SignatureDef

DTYPES = ("float32", "int8", "uint16", "int64", "bool", "float16", "object")
ARRAYS = [
    np.array([[1.5, -2.0]], np.float32), np.array([[-3, 100]], np.int8), np.array([7], np.uint16),
    np.array([[-1]], np.int64), np.array([[True, False]]), np.array([0.5], np.float16),
    np.array([[b"", b"ab"]], object),
]  # fmt: skip


class Echo:
    """A signature for each dtype."""

    def __init__(self) -> None:
        self.signatures = {}
        for name in DTYPES:
            self.signatures[name] = signature = SignatureDef()
            for info in (signature.inputs["x"], signature.outputs["x"]):
                info.name, info.dtype = "x:0", storage_of(np.dtype(name)).enum

    def run(self, _name: str, inputs: Mapping[str, Any], _outputs: Sequence[str]) -> Mapping[str, Any]:
        return inputs

    def close(self) -> None:
        """There is nothing to free."""


class Repository:
    """One model, `m`, of version 1."""

    def __init__(self) -> None:
        self.handle = Handle("m", 1, Echo())
        self.serving = SimpleNamespace(inferences={})

    def acquire(self, spec: Any) -> Handle:
        if spec.name != "m" or (spec.HasField("version") and spec.version.value != 1):
            raise Refusal(Code.NOT_FOUND, "")
        self.handle.hold()
        return self.handle


@functools.cache
def _server() -> tuple[OpenInference, Repository]:
    repository: Any = Repository()
    return OpenInference(repository, Metrics()), repository


def attack_server(data: bytes) -> None:
    """Raises whatever should not be."""
    inference, repository = _server()
    held = repository.handle.held
    try:
        try:
            prepared = inference.prepare(data)
        except Heavy:
            prepared = inference.prepare_light(lightened(oip_messages.ModelInferRequest, data))
    except Refusal as refusal:
        if refusal.code is Code.INTERNAL and _parses(data):
            raise AssertionError("a request that is one is an error of the server") from refusal
    else:
        _check(prepared, oip_messages.ModelInferRequest.FromString(data))
        prepared.release()
    if repository.handle.held != held:
        raise AssertionError("the version is still held")


def _parses(data: bytes) -> bool:
    try:
        oip_messages.ModelInferRequest.FromString(data)
    except Exception:  # noqa: BLE001 - whatever the parser says
        return False
    return True


def _check(prepared: Any, request: Any) -> None:
    """The inputs are of the model's dtype, and come back as they were, before and after the request is made lighter."""
    (array,) = prepared.inputs.values()
    wanted = np.dtype(prepared.signature)
    if array.dtype != wanted or list(array.shape) != list(request.inputs[0].shape):
        raise AssertionError(f"{array.dtype} {array.shape}")
    try:
        answer = oip_messages.ModelInferResponse.FromString(
            prepared.form.single(prepared.group, prepared.inputs)
        )
    except Refusal as refusal:
        if refusal.code is not Code.UNIMPLEMENTED or wanted != np.float16:
            raise
        return
    raw = list(answer.raw_output_contents)
    back = oip_tensors.array_of(answer.outputs[0], raw[0] if raw else None)
    if oip_tensors.raw_of(back) != oip_tensors.raw_of(array) or answer.id != request.id:
        raise AssertionError("another answer")
    light = lightened(oip_messages.ModelInferRequest, request.SerializeToString())
    again = _server()[0].prepare_light(light)
    again.release()
    if oip_tensors.raw_of(again.inputs["x"]) != oip_tensors.raw_of(array):
        raise AssertionError("made lighter, it means something else")


def attack_client(data: bytes) -> None:
    """Raises whatever should not be."""
    with contextlib.suppress(BenchError):
        if not all(value >= 0 for value in API.statistics(lambda *_: data, Model("m")).values()):
            raise AssertionError("a counter below 0")
    try:
        response = API.decode(data)
        for name in response.outputs:
            try:
                array = response.array(name)
            except ValueError:
                continue
            if array.dtype != object and array.dtype not in STORAGE_OF:
                raise AssertionError(array.dtype)
            layout = learn(API.decode, data, name)
            if layout is not None:
                row = np.frombuffer(data, np.uint8).reshape(1, -1)
                if not layout.fits(row).all() or layout.values(row)[0].tobytes() != array.tobytes():
                    raise AssertionError("the layout of an answer is another's")
    except Unreadable:
        return


def requests() -> list[bytes]:
    """Each dtype, raw and typed."""
    found = []
    for array in ARRAYS:
        for raw in (True, False):
            name = "object" if array.dtype == object else array.dtype.name
            request = oip_messages.ModelInferRequest(model_name="m", id="1")
            request.parameters["signature"].string_param = name
            _fill(request, request.inputs, array, raw, "raw_input_contents")
            found.append(request.SerializeToString())
    unclean = oip_messages.ModelInferRequest(model_name="m")
    unclean.parameters["signature"].string_param = "bool"
    unclean.inputs.add(name="x", datatype="BOOL", shape=[2]).contents.bytes_contents.append(b"\x02\x80")
    return [*found, unclean.SerializeToString()]


def responses() -> list[bytes]:
    """Each dtype, raw and typed, alone and beside another."""
    found = []
    for array in ARRAYS:
        for raw in (True, False):
            response = oip_messages.ModelInferResponse(model_name="m", model_version="2", id="1")
            _fill(response, response.outputs, array, raw, "raw_output_contents")
            found.append(response.SerializeToString())
    return found


def _fill(message: Any, tensors: Any, array: Any, raw: bool, contents: str) -> None:
    tensor = tensors.add(name="x", datatype=oip_tensors.datatype_of(array), shape=array.shape)
    if raw or array.dtype == np.float16:
        getattr(message, contents).append(oip_tensors.raw_of(array))
    else:
        oip_tensors.fill(tensor.contents, array)
