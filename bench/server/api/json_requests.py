"""Turn the bodies of REST requests into arrays and messages, in this process or, where they are large, in another."""

import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from bench.server.api import json_examples, json_inputs, json_text
from bench.server.api.json_inputs import Request
from bench.server.api.prediction import DEFAULT_SIGNATURE
from bench.server.refusal import invalid
from bench.wire.messages import Input

LARGEST_UNPACKED: Final = 1 << 28
"""Bytes that a compressed request body may unpack to."""
_USUAL_RATIO: Final = 200
_ALWAYS_UNPACKED: Final = 1 << 20
"""A body may unpack to this size whatever its ratio, and beyond it to `_USUAL_RATIO` times its own."""


class Prediction(NamedTuple):
    """The parts that a predict request asks for."""

    signature: str
    content: Request


def unpacked(body: bytes, *, most: int | None = None) -> bytes:
    """The content of a gzip body; at most `most` bytes of it and one more, where given. Raises `Refusal`."""
    limit = min(LARGEST_UNPACKED, max(_ALWAYS_UNPACKED, _USUAL_RATIO * len(body)))
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(body, limit + 1 if most is None else most + 1)
    except zlib.error as error:
        raise invalid(f"the gzip body of the request is broken: {error}") from None
    if most is None:
        if len(content) > limit:
            raise invalid(f"the gzip body of the request unpacks to more than {limit} bytes")
        if not unpacker.eof:
            raise invalid("the gzip body of the request is cut short")
    return content


def predict(document: Mapping[str, Any], signatures: Mapping[str, Any]) -> Prediction:
    """The signature and the arrays of a predict request, for a model's SignatureDefs by key. Raises `Refusal`."""
    key = _signature_name(document)
    name = key or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise invalid(f'Serving signature name: "{name}" not found in signature def')
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {key or 'DEFAULT'}")
    return Prediction(name, json_inputs.read(document, signature.inputs))


def examples(document: Mapping[str, Any]) -> tuple[str, Any]:
    """The signature name and the `Input` of a classify or regress request. Raises `Refusal`."""
    name, request = _signature_name(document), Input()
    json_examples.read(document, request)
    return name, request


def _signature_name(document: Mapping[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise json_text.malformed(
            document, "not formatted correctly. 'signature_name' key must be a string value."
        )
    return name
