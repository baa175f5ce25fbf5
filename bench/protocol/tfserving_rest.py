"""TensorFlow Serving over its REST API: JSON over HTTP/1.1.

POST /v1/models/NAME[/versions/N | /labels/L]:predict with row-format JSON, or with column format where an input is no
column of examples (TensorFlow Serving, "RESTful API"). An answer names neither model nor version, and its only output
not either; it is recorded as the PredictResponse that says the same.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from google.protobuf import json_format

from bench import BenchError
from bench.protocol import tfserving_counters, tfserving_grpc
from bench.protocol.api import (
    Api,
    Array,
    Ask,
    Call,
    Description,
    Expected,
    Model,
    Parameters,
    Response,
    Unreadable,
    VersionState,
)
from bench.wire import messages
from bench.wire.tensors import array_of, as_bytes, tensor_of


class TensorFlowServingRest:
    """As it is called over HTTP."""

    name: Final = "tfs-rest"
    title: Final = "TensorFlow Serving over REST"
    over_http: Final = True
    port: Final = 8501
    signature: Final = "serving_default"
    typed: Final = False
    metadata_call: Final = "metadata"
    counters_remedy: Final = tfserving_counters.REMEDY

    def with_parameters(self, parameters: Parameters) -> Api:
        """There are none."""
        raise BenchError("--request-parameters: requests to TensorFlow Serving have none; leave it out")

    def encode(self, message: bytes, *, by_row: bool = True) -> Call:
        """As row-format JSON, else column format. Raises BenchError for what JSON cannot say."""
        request = messages.PredictRequest.FromString(message)
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        columns = {name: _json_values(array_of(tensor)) for name, tensor in request.inputs.items()}
        if not by_row:
            body: dict[str, Any] = {"inputs": columns}
        elif len(columns) == 1:
            body = {"instances": next(iter(columns.values()))}
        else:
            rows = zip(*columns.values(), strict=True)
            body = {"instances": [dict(zip(columns, row, strict=True)) for row in rows]}
        if spec.signature_name:
            body = {"signature_name": spec.signature_name, **body}
        path = _path(Model(spec.name, version, spec.version_label or None))
        return Call(f"POST {path}:predict", json.dumps(body, separators=(",", ":")).encode())

    def read(self, content: bytes, expected: Expected) -> bytes:
        """The PredictResponse that a JSON answer stands for. Raises any exception for what is no such answer."""
        answer, output = json.loads(content), expected.output
        by_row = expected.by_row
        values = answer["predictions" if by_row else "outputs"]
        if by_row and values and isinstance(values[0], dict) and "b64" not in values[0]:
            values = [row[output] for row in values] if all(output in row for row in values) else None
        elif not by_row and isinstance(values, dict) and "b64" not in values:
            values = values.get(output)
        response = messages.PredictResponse()
        response.model_spec.name = expected.model
        if expected.version is not None:
            response.model_spec.version.value = expected.version
        if values is not None:
            response.outputs[output].CopyFrom(tensor_of(_array(values)))
        raw: bytes = response.SerializeToString()
        return raw

    def decode(self, answer: bytes) -> Response:
        """What `read` made. Raises Unreadable."""
        return tfserving_grpc.API.decode(answer)

    def status(self, ask: Ask, model: Model) -> list[VersionState]:
        """By GET /v1/models/NAME."""
        answer = ask(f"GET {_path(model)}", b"")
        return tfserving_grpc.states_of(_message(answer, messages.GetModelStatusResponse))

    def describe(self, ask: Ask, model: Model) -> Description:
        """By GET /v1/models/NAME/metadata."""
        answer = ask(f"GET {_path(model)}/metadata", b"")
        try:
            document = json.loads(answer)
            version = int(document["model_spec"]["version"])
            signatures = document["metadata"]["signature_def"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable("no signatures in the answer") from error
        definitions = _message(json.dumps(signatures).encode(), messages.SignatureDefMap)
        return Description(version, tfserving_grpc.signatures_of(definitions.signature_def))

    def reload(self, ask: Ask, config: Any) -> None:
        """There is no such call."""
        raise BenchError(
            "its REST API has no call that replaces the configuration; use gRPC (--protocol tfs)"
        )

    def counters(self, page: str, model: str) -> Mapping[str, float]:
        """Those of Predict over REST."""
        return tfserving_counters.counters(page, model, entrypoint="REST")

    def statistics(self, ask: Ask, model: Model) -> Mapping[str, float]:
        """There is no such call."""
        raise BenchError("TensorFlow Serving has its counters on a page only")


def _path(model: Model) -> str:
    pinned = "" if model.version is None else f"/versions/{model.version}"
    pinned = pinned if model.label is None else f"/labels/{model.label}"
    return f"/v1/models/{model.name}{pinned}"


def _message(answer: bytes, kind: Any) -> Any:
    try:
        return json_format.Parse(answer, kind(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BenchError(f"its answer is not a {kind.DESCRIPTOR.name} in JSON ({error})") from error


def _array(values: Any) -> Array:
    """JSON's numbers as float32 or int64, texts and `{"b64": ...}` as bytes; raises ValueError for uneven rows."""
    array = np.array(values)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind == "O":  # TensorFlow Serving writes bytes as {"b64": "..."}
        plain = [base64.b64decode(each["b64"]) for each in array.ravel().tolist()]
        array = np.array([*plain, None], object)[:-1].reshape(array.shape)
    return array


def _json_values(array: Array) -> Any:
    """The values as JSON has them; numbers with as few digits as tell them apart in their own precision."""
    if array.dtype.kind in "SUO":
        flat = [{"b64": base64.b64encode(as_bytes(each)).decode()} for each in array.ravel().tolist()]
        return np.array([*flat, None], object)[:-1].reshape(array.shape).tolist()
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    if array.dtype.kind == "f":
        values, places = np.unique(array, return_inverse=True)
        shortest = np.array([float(str(value)) for value in values], np.float64)
        return shortest[places].reshape(array.shape).tolist()
    if array.dtype.kind in "iub":
        return array.tolist()
    raise BenchError(f"an input of dtype {array.dtype}: JSON has no such numbers; use gRPC only")


API: Final[Api] = TensorFlowServingRest()
