"""Classify, Regress and MultiInference on serialized Examples.

Rules and texts of the original (servables/tensorflow/classifier.cc and regressor.cc).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from bench.server.api.prediction import DEFAULT_SIGNATURE
from bench.server.api.tensors import Array, storage_of
from bench.server.models.servable import Handle
from bench.server.refusal import Code, Refusal, invalid
from bench.wire.messages import (
    ClassificationResponse,
    MultiInferenceResponse,
    RegressionResponse,
    types_pb2,
)

CLASSIFY_METHOD: Final = "tensorflow/serving/classify"
REGRESS_METHOD: Final = "tensorflow/serving/regress"

Run = Callable[[Handle, str, dict[str, Array], tuple[str, ...]], Mapping[str, Array]]
"""Executes (version, signature key, arrays by input alias, output aliases)."""


class Answered(NamedTuple):
    """A response and how many Examples it is about."""

    response: Any
    examples: int


def _array(parts: Sequence[bytes]) -> Array:
    """Serialized Examples as the object array that feeds the model."""
    if not parts:
        raise invalid("Input is empty.")
    array = np.empty(len(parts), object)
    array[:] = parts
    return array


def classify(
    handle: Handle, request: Any, examples: Sequence[bytes], run: Run, check_method_name: bool
) -> Answered:
    """The ClassificationResponse to a ClassificationRequest with these Examples."""
    name, signature = _signature(handle, request.model_spec, "No signature was found with the name")
    if check_method_name and signature.method_name != CLASSIFY_METHOD:
        raise invalid(
            f"Expected classification signature method_name to be {CLASSIFY_METHOD}. Was: {signature.method_name}"
        )
    outputs = _classification_outputs(signature)
    inputs = _array(examples)
    results = run(handle, name, {"inputs": inputs}, outputs)
    response = ClassificationResponse()
    _echo(handle, name, response.model_spec)
    _fill_classifications(response.result, results, len(inputs))
    return Answered(response, len(inputs))


def regress(
    handle: Handle, request: Any, examples: Sequence[bytes], run: Run, check_method_name: bool
) -> Answered:
    """The RegressionResponse to a RegressionRequest with these Examples."""
    name, signature = _signature(handle, request.model_spec, "No signature was found with the name")
    if check_method_name and signature.method_name != REGRESS_METHOD:
        raise invalid(
            f"Expected regression signature method_name to be {REGRESS_METHOD}. Was: {signature.method_name}"
        )
    outputs = _regression_outputs(signature)
    inputs = _array(examples)
    results = run(handle, name, {"inputs": inputs}, outputs)
    response = RegressionResponse()
    _echo(handle, name, response.model_spec)
    _fill_regressions(response.result, results, len(inputs))
    return Answered(response, len(inputs))


def multi_inference(handle: Handle, request: Any, examples: Sequence[bytes], run: Run) -> Answered:
    """The MultiInferenceResponse; the handle is of the first task's model_spec.

    The original runs all tasks in one session run; here each runs alone, with equal results.
    """
    plans = _tasks(handle, request.tasks)
    inputs = _array(examples)
    response = MultiInferenceResponse()
    for name, method, outputs in plans:
        results = run(handle, name, {"inputs": inputs}, outputs)
        result = response.results.add()
        if method == CLASSIFY_METHOD:
            _fill_classifications(result.classification_result, results, len(inputs))
        else:
            _fill_regressions(result.regression_result, results, len(inputs))
        _echo(handle, name, result.model_spec)
    return Answered(response, len(inputs))


def _tasks(handle: Handle, tasks: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    """Signature key, method and outputs of each task, all of them checked before any is run."""
    plans: list[tuple[str, str, tuple[str, ...]]] = []
    for task in tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != handle.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if any(key == name for name, _, _ in plans):
            raise invalid(f"Duplicate evaluation of signature: {key}")
        _, signature = _signature(handle, task.model_spec, "Requested signature not found in model graph")
        if task.method_name == CLASSIFY_METHOD:
            outputs = _classification_outputs(signature)
        elif task.method_name == REGRESS_METHOD:
            outputs = _regression_outputs(signature)
        else:
            raise Refusal(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        plans.append((key, task.method_name, outputs))
    return plans


def _signature(handle: Handle, spec: Any, complaint: str) -> tuple[str, Any]:
    name = spec.signature_name or DEFAULT_SIGNATURE
    signature = handle.servable.signatures.get(name)
    if signature is None:
        raise invalid(f"{complaint}: {name}")
    return name, signature


def _classification_outputs(signature: Any) -> tuple[str, ...]:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in {1, 2}:
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {signature}")
    outputs = tuple(alias for alias in ("classes", "scores") if alias in signature.outputs)
    if not outputs:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature}"
        )
    return outputs


def _regression_outputs(signature: Any) -> tuple[str, ...]:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {signature}")
    if "outputs" not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature}")
    return ("outputs",)


def _fill_classifications(result: Any, outputs: Mapping[str, Array], count: int) -> None:
    for alias, dtype in (("classes", "DT_STRING"), ("scores", "DT_FLOAT")):
        array = outputs.get(alias)
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if _dtype(array) != dtype:
            raise invalid(f"Expected {alias} Tensor of {dtype}. Got: {_dtype(array)}")
        if len(array) != count:
            raise invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")
    classes, scores = outputs.get("classes"), outputs.get("scores")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    for row in range(count):
        classifications = result.classifications.add()
        width = (classes if scores is None else scores).shape[1]  # type: ignore[union-attr]  # one of them is there
        for column in range(width):
            entry = classifications.classes.add()
            if classes is not None:
                entry.label = _text(classes[row, column])
            if scores is not None:
                entry.score = scores[row, column]


def _fill_regressions(result: Any, outputs: Mapping[str, Array], count: int) -> None:
    array = outputs["outputs"]
    if array.ndim not in {1, 2} or (array.ndim == 2 and array.shape[1] != 1):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if _dtype(array) != "DT_FLOAT":
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}")
    for value in array.ravel().tolist():
        result.regressions.add(value=value)


def _echo(handle: Handle, signature: str, spec: Any) -> None:
    spec.name = handle.name
    spec.version.value = handle.version
    spec.signature_name = signature


def _text(label: Any) -> str:
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)


def _dtype(array: Array) -> str:
    name: str = types_pb2.DataType.Name(storage_of(array.dtype).enum)
    return name


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"
