"""How does JSON text become values, and a value text, in the words of the original's JSON library?"""

import base64
import binascii
import json
import math
import re
from typing import Any, Final

import numpy as np

from bench.serve.servable import Code, Refusal
from bench.serve.tensors import Array

_DECODER: Final = json.JSONDecoder()
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)

_REASONS: Final = (
    # what Python's decoder says -> what RapidJSON says (rapidjson/error/en.h)
    ("Expecting value", "Invalid value."),
    ("Expecting property name", "Missing a name for object member."),
    ("Illegal trailing comma before end of object", "Missing a name for object member."),
    ("Illegal trailing comma before end of array", "Invalid value."),
    ("Expecting ':'", "Missing a colon after a name of object member."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid \\escape", "Invalid escape character in string."),
    ("Invalid \\u", "Incorrect hex digit after \\u escape in string."),
    ("Invalid control character", "Invalid encoding in string."),
)


def parsed(body: bytes) -> dict[str, Any]:
    """The object in a request body; what follows it is ignored. Raises `Refusal` with RapidJSON's reason."""
    if not body:
        raise _invalid("JSON Parse error: The document is empty")
    # bytes that are no UTF-8 pass through, in strings
    text = body.decode("utf-8", "surrogateescape")
    start = _SPACE.match(text).end()  # type: ignore[union-attr]  # matches the empty string too
    if start == len(text):
        raise _parse_error("The document is empty.", start)
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _parse_error(_reason(error, text), error.pos) from None
    except RecursionError:
        raise _parse_error("Terminate parsing due to Handler error.", start) from None
    except ValueError:
        # an integer of more digits than Python converts
        raise _parse_error("Number too big to be stored in double.", start) from None
    if not isinstance(value, dict):
        raise malformed(value, "Is not object")
    return value


def _reason(error: json.JSONDecodeError, text: str) -> str:
    if error.msg.startswith("Expecting ','"):
        outside = _STRINGS.sub("", text[: error.pos])
        depth: list[str] = []
        for char in outside:
            if char in "[{":
                depth.append(char)
            elif char in "]}":
                depth.pop()
        if depth[-1:] == ["["]:
            return "Missing a comma or ] after an array element."
        return "Missing a comma or } after an object member."
    return next((says for python, says in _REASONS if error.msg.startswith(python)), error.msg)


def _parse_error(reason: str, offset: int) -> Refusal:
    return _invalid(f"JSON Parse error: {reason} at offset: {offset}")


def malformed(value: Any, complaint: str) -> Refusal:
    """The refusal of a JSON value that is not what the request's format wants."""
    return _invalid(f"JSON Value: {shown(value)} {complaint}")


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
        return value.encode("utf-8", "surrogateescape")
    if not is_bytes(value):
        raise malformed(value, "not formatted correctly for base64 data")
    encoded = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("Unable to base64 decode") from None


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


def _invalid(text: str) -> Refusal:
    return Refusal(Code.INVALID_ARGUMENT, text)
