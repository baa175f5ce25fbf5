"""tf.Examples in the JSON of REST classify and regress requests.

`{"signature_name": ..., "context": {...}, "examples": [{...}, ...]}` (util/json_tensor.cc): whole numbers and booleans
become int64 features, decimals float features, strings and base64 objects bytes features.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.server.api.json_text import fits, is_bytes, malformed, shown, to_bytes, type_of
from bench.server.refusal import invalid
from bench.wire.messages import Example

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read(document: Mapping[str, Any], target: Any) -> None:
    """Fill an `Input` message from a request object. Raises `Refusal`."""
    listed = target.example_list
    if "context" in document:
        listed = target.example_list_with_context
        _fill(document["context"], listed.context)
    if "examples" not in document:
        raise malformed(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise malformed(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise malformed(document, "'examples' value is an empty array")
    for example in examples:
        _fill(example, listed.examples.add())


def _fill(value: Any, example: Example) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_of(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add(item, name, feature)


def _add(value: Any, name: str, feature: Any) -> None:
    kind: str
    converted: bytes | float
    if isinstance(value, str) or is_bytes(value):
        kind, converted = "bytes_list", to_bytes(value)
    elif isinstance(value, bool):
        kind, converted = "int64_list", int(value)
    elif isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        if value >= 1 << 63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        kind, converted = "int64_list", value
    elif isinstance(value, int | float):
        if not fits(value, np.float32):
            raise invalid(f"Cannot convert JSON value: {shown(value)} to float without loss of precision.")
        kind, converted = "float_list", value
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_of(value)}")
    current = feature.WhichOneof("kind")
    if current not in {None, kind}:
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[current]}")
    getattr(feature, kind).value.append(converted)
