"""Parse and write JSON values as the original does."""

import base64
import binascii
import json
import math
from typing import Any, Final

import numpy as np
import rapidjson

from bench.server.api.tensors import Array
from bench.server.refusal import Refusal, invalid

_NUMBERS: Final = rapidjson.NM_NATIVE | rapidjson.NM_NAN
"""Numbers as the original reads them: whole ones beyond 64 bits become doubles, NaN and Infinity are numbers."""


def parsed(body: bytes) -> dict[str, Any]:
    """Parse the JSON object of a request body with the original's own library.

    Raises `Refusal` (INVALID_ARGUMENT) for anything but one JSON object in UTF-8.
    """
    try:
        value = rapidjson.loads(body, number_mode=_NUMBERS)
    except RecursionError:
        raise invalid("JSON Parse error: nested too deeply") from None
    except ValueError as error:  # also JSONDecodeError and UnicodeDecodeError
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(value, dict):
        raise malformed(value, "Is not object")
    return value


def malformed(value: Any, complaint: str) -> Refusal:
    """The refusal of a JSON value that is not what the request's format wants."""
    return invalid(f"JSON Value: {shown(value)} {complaint}")


def shown(value: Any) -> str:
    """A JSON value as error texts show it."""
    if isinstance(value, float):
        return decimals(np.array([value]))[0]
    return json.dumps(value, indent=4, ensure_ascii=False)


def type_of(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    names: dict[type[Any], str] = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def is_bytes(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def to_bytes(value: Any) -> bytes:
    """The bytes of a JSON string or of `{"b64": "..."}`."""
    if isinstance(value, str):
        return value.encode()
    if not is_bytes(value):
        raise malformed(value, "not formatted correctly for base64 data")
    encoded = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def string(value: bytes | str) -> str:
    """A JSON string literal."""
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return json.dumps(text, ensure_ascii=False)


def fits(value: float, dtype: Any) -> bool:
    """Whether a JSON number, which may be an integer of any size, lies within a floating-point dtype."""
    try:
        number = float(value)
    except OverflowError:
        return False
    return not math.isfinite(number) or abs(number) <= float(np.finfo(dtype).max)


def decimals(values: Array) -> list[str]:
    """Literals of float32 or float64 values of one dimension.

    Six significant digits where they read back equal, else 9 (float32) or 17; always recognisable as not whole.
    """
    digits = 9 if values.dtype == np.float32 else 17
    numbers = values.tolist()
    short = [f"{number:.6g}" for number in numbers]
    back = np.array(short, np.float64).astype(values.dtype)
    texts = []
    for number, text, equal in zip(numbers, short, (back == values).tolist(), strict=True):
        literal = text if equal else f"{number:.{digits}g}"
        if not ("." in literal or "e" in literal):
            literal = _SPECIAL.get(literal) or literal + ".0"
        texts.append(literal)
    return texts


_SPECIAL: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
