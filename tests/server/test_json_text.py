import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.server.api.json_text import decimals, is_bytes, parsed, shown, to_bytes, type_of
from bench.server.refusal import Code, Refusal


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"nul",
        b"{",
        b"{a: 1}",
        b'{"a" 1}',
        b'{"a": 1 "b"}',
        b'{"a": [1 2]}',
        b'{"a": "x',
        b'{"a": "\\q"}',
        b'{"a": "\\uZZZZ"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\x01"}',
        b'{"a": "\xff"}',
        b'{"a": 1,}',
        b'{"a": 1} trailing',
        b'{"a": 1}{}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000,
        b"[1]",
        b"1",
    ],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parsed(body)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_values_are_read_as_the_original_reads_them() -> None:
    assert parsed(b' {"a": [1, 18446744073709551615, 1.5, true, null, "\xc3\xa4"]}\n') == {
        "a": [1, 2**64 - 1, 1.5, True, None, "ä"]
    }
    assert parsed(b'{"a": 18446744073709551616}') == {"a": 2.0**64}
    assert [math.isnan(x) or x for x in parsed(b'{"a": [NaN, -Infinity]}')["a"]] == [True, -math.inf]


@pytest.mark.parametrize(
    "value,name",
    [
        (None, "Null"),
        (True, "True"),
        (False, "False"),
        ({}, "Object"),
        ([], "Array"),
        ("", "String"),
        (1.5, "Number"),
    ],
)
def test_type_names(value: object, name: str) -> None:
    assert type_of(value) == name


@pytest.mark.parametrize(
    "encoded,expected",
    [("YWI=", b"ab"), ("YWI", b"ab"), (" YW\nI= ", b"ab"), ("", b""), ("/wA=", b"\xff\x00")],
)
def test_base64(encoded: str, expected: bytes) -> None:
    assert is_bytes({"b64": encoded})
    assert to_bytes({"b64": encoded}) == expected


@pytest.mark.parametrize("value", [{"b64": 1}, {"b64": "YQ==", "more": 1}, {"B64": "YQ=="}, {}])
def test_other_objects_are_no_bytes(value: object) -> None:
    assert not is_bytes(value)
    with pytest.raises(Refusal, match="not formatted correctly for base64 data"):
        to_bytes(value)


@pytest.mark.parametrize(
    "value,text",
    [
        (3.0, "3.0"),
        (0.2, "0.2"),
        (1 / 3, "0.333333343"),
        (9_000_000.0, "9e+06"),
        (0.00003, "3e-05"),
        (16_777_215.0, "16777215.0"),
        (-0.0, "-0.0"),
        (123_456.0, "123456.0"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_float32_literals(value: float, text: str) -> None:
    assert decimals(np.array([value], np.float32)) == [text]
    assert value == pytest.approx(json.loads(text), nan_ok=True)


@settings(derandomize=True)
@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_float32_literals_read_back_equal(values: list[float]) -> None:
    array = np.array(values, np.float32)
    back = np.array([json.loads(text) for text in decimals(array)], np.float32)
    assert back.tobytes() == array.tobytes()


@settings(derandomize=True)
@given(st.lists(st.floats(allow_nan=False), max_size=20))
def test_float64_literals_read_back_equal(values: list[float]) -> None:
    array = np.array(values, np.float64)
    back = np.array([json.loads(text) for text in decimals(array)], np.float64)
    assert back.tobytes() == array.tobytes()


def test_values_in_error_texts() -> None:
    assert shown(0.1) == "0.1"
    assert shown({"a": [1]}) == '{\n    "a": [\n        1\n    ]\n}'
