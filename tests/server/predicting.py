"""Predict requests and what becomes of them, without a server around."""

from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from bench.server.api.prediction import Predictions, Prepared
from bench.server.refusal import Code, Refusal
from bench.wire.messages import PredictRequest, PredictResponse
from tests.server.numpy_models import FLOAT


def request(text: str) -> bytes:
    return text_format.Parse(text, PredictRequest()).SerializeToString()


def floats(array: Any, *, typed: bool = False, signature: str = "", **spec: Any) -> bytes:
    made = PredictRequest()
    made.model_spec.name = "m"
    made.model_spec.signature_name = signature
    tensor = made.inputs["x"]
    values = np.asarray(array, np.float32)
    tensor.dtype = FLOAT
    tensor.tensor_shape.SetInParent()
    for size in values.shape:
        tensor.tensor_shape.dim.add(size=size)
    if typed:
        tensor.float_val.extend(values.ravel().tolist())
    else:
        tensor.tensor_content = values.tobytes()
    return made.SerializeToString(deterministic=True)


def run(prepared: Prepared) -> Any:
    return prepared.handle.servable.run(prepared.signature, prepared.inputs, prepared.outputs)


def answered(predictions: Predictions, message: bytes) -> Any:
    prepared = predictions.prepare(message)
    return PredictResponse.FromString(predictions.answer(prepared, run(prepared)))


def refused(predictions: Predictions, message: bytes) -> tuple[Code, str]:
    with pytest.raises(Refusal) as caught:
        predictions.prepare(message)
    return caught.value.code, caught.value.text
