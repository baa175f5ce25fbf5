"""Requests as JSON: one a line, or one document, in the form of TensorFlow Serving's REST API.

`{"instances": [...]}` holds one example after the other, `{"inputs": {...}}` whole tensors (or those of one example), and
`label` or `labels` beside them what is right.
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np

from bench.payload.examples import Array
from bench.payload.files.collector import Collector
from bench.payload.files.lines import LONGEST, lines
from bench.payload.files.values import from_json, is_bytes

_KEYS: Final = ("instances", "inputs", "label", "labels", "signature_name")


def read(file: BinaryIO, collector: Collector, signature_name: str = "") -> None:
    """Add every request of a file. signature_name: which one is to be called, where it is known. Raises BenchError."""
    for place, text in _texts(file, collector):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise collector.fail(place, _json_problem(error)) from None
        _add(collector, place, document, signature_name)


def _texts(file: BinaryIO, collector: Collector) -> Iterator[tuple[str, bytes]]:
    """The place and text of each request: of every line, or of a document whose first line is not one."""
    for number, line in lines(file, collector):
        if not line.strip():
            continue
        if not collector.count and _goes_on(line) and (more := file.read(LONGEST + 1 - len(line))).strip():
            if len(line) + len(more) > LONGEST:
                raise collector.fail(
                    "", f"a document of more than {LONGEST >> 20} MiB: write one request per line"
                )
            yield "", line + more
            return
        yield f"line {number}", line


def _goes_on(line: bytes) -> bool:
    """Whether this line only begins a JSON object."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return line.rstrip()[-1:] in b"{[,:" and line.lstrip()[:1] in b"{["
    return False


def _json_problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, json.JSONDecodeError):
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        return f"not valid JSON: {error.msg} ({line}column {error.colno})"
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"not valid JSON: {error}"


def _add(collector: Collector, place: str, document: Any, signature_name: str) -> None:
    if not isinstance(document, dict):
        raise collector.fail(place, 'not a JSON object: expected {"instances": [...]} or {"inputs": {...}}')
    for key in document:
        if key not in _KEYS:
            raise collector.fail(place, f"key {key!r}: expected one of {', '.join(_KEYS)}")
    named = document.get("signature_name", "")
    if signature_name and named and named != signature_name:
        raise collector.fail(place, f"key 'signature_name': {named!r}, signature {signature_name} is called")
    if ("instances" in document) == ("inputs" in document):
        raise collector.fail(place, "expected one of the keys 'instances' and 'inputs'")
    if "label" in document and "labels" in document:
        raise collector.fail(place, "keys 'label' and 'labels': give one of them")
    labels = document.get("labels", document.get("label"))
    if labels is not None and not isinstance(labels, list):
        labels = [labels]
    if "instances" in document:
        _add_rows(collector, place, document["instances"], labels)
    else:
        _add_columns(collector, place, document["inputs"], labels)


def _only_input(collector: Collector, place: str, key: str) -> str:
    names = list(collector.signature.inputs)
    if len(names) != 1:
        raise collector.fail(
            place, f"key {key!r}: values without a name, while the signature has {', '.join(names)}"
        )
    return names[0]


def _array(collector: Collector, place: str, name: str, value: Any) -> Array:
    try:
        return from_json(value, collector.storages[name], collector.signature.inputs[name].dtype)
    except (ValueError, RecursionError) as problem:
        reason = "nested too deep" if isinstance(problem, RecursionError) else problem
        raise collector.fail(place, f"input {name!r}: {reason}") from None


def _add_rows(collector: Collector, place: str, instances: Any, labels: list[Any] | None) -> None:
    if not isinstance(instances, list) or not instances:
        raise collector.fail(place, "key 'instances': expected a list of examples")
    if labels is not None and len(labels) != len(instances):
        raise collector.fail(place, f"label: {len(labels)} for {len(instances)} examples")
    named = _is_object(instances[0])
    only = "" if named else _only_input(collector, place, "instances")
    for index, instance in enumerate(instances):
        where = place if len(instances) == 1 else f"{place}{', ' if place else ''}instance {index + 1}"
        if _is_object(instance) != named:
            raise collector.fail(where, "some instances are objects and some are not")
        values = instance if named else {only: instance}
        collector.check_names(where, values)
        arrays = {name: _array(collector, where, name, value) for name, value in values.items()}
        whole = {name: a[np.newaxis] if name in collector.by_row else a for name, a in arrays.items()}
        collector.add(where, whole, None if labels is None else labels[index : index + 1])


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_bytes(value)


def _add_columns(collector: Collector, place: str, inputs: Any, labels: list[Any] | None) -> None:
    values = inputs if _is_object(inputs) else {_only_input(collector, place, "inputs"): inputs}
    collector.check_names(place, values)
    arrays = {name: _array(collector, place, name, value) for name, value in values.items()}
    if _one_example(collector, arrays):
        arrays = {name: a[np.newaxis] if name in collector.by_row else a for name, a in arrays.items()}
    collector.add(place, arrays, labels)


def _one_example(collector: Collector, arrays: dict[str, Array]) -> bool:
    """Whether these are the inputs of one example: all of them lack the first of the declared dimensions."""
    ranks = [
        (array.ndim, len(shape))
        for name, array in arrays.items()
        if name in collector.by_row and (shape := collector.signature.inputs[name].shape) is not None
    ]
    return bool(ranks) and all(sent == declared - 1 for sent, declared in ranks)
