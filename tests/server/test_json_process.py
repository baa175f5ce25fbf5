"""Large JSON is read in another process: equal to what is read here, bounded, and never in the way of others."""

import contextlib
import gzip
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bench.server.api import json_outputs, json_requests, json_text
from bench.server.api.json_process import JsonProcesses
from bench.server.refusal import Code, Refusal
from bench.wire.messages import SignatureDef


@pytest.fixture(scope="module")
def processes() -> Iterator[JsonProcesses]:
    processes = JsonProcesses(150.0)  # a slow machine takes its time
    yield processes
    processes.close()


def signature(dtype: int = 1) -> dict[str, Any]:
    defined = SignatureDef()
    defined.inputs["x"].dtype = dtype
    return {"serving_default": defined}


ROWS = [[float(n), n / 7] for n in range(200)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("document", "dtype"),
    [
        ({"instances": ROWS}, 1),
        ({"inputs": {"x": ROWS}}, 2),
        ({"instances": ["a", "ä", {"b64": "AP8="}]}, 7),
        ({"instances": [1, 2**31, "x"]}, 3),
        ({"instances": []}, 1),
        ({"signature_name": "nope", "instances": [1]}, 1),
        ([1], 1),
    ],
)
def test_it_says_what_would_be_said_here(
    processes: JsonProcesses, document: Any, dtype: int, packed: bool
) -> None:
    body = json.dumps(document).encode()
    try:
        expected: Any = json_requests.predict(json_text.parsed(body), signature(dtype))
    except Refusal as refusal:
        expected = refusal
    try:
        found: Any = processes.predict(gzip.compress(body) if packed else body, packed, signature(dtype))
    except Refusal as refusal:
        found = refusal
    if isinstance(expected, Refusal):
        assert (found.code, found.text) == (expected.code, expected.text)
        return
    assert (found.signature, found.content.format) == (expected.signature, expected.content.format)
    for name, array in expected.content.inputs.items():
        assert found.content.inputs[name].dtype == array.dtype
        assert np.array_equal(found.content.inputs[name], array)


def test_examples_and_answers(processes: JsonProcesses) -> None:
    body = json.dumps({"signature_name": "s", "examples": [{"a": 1.5}] * 3}).encode()
    assert processes.examples(body, False) == json_requests.examples(json_text.parsed(body))
    outputs = {
        "scores": np.arange(6, dtype=np.float32).reshape(3, 2),
        "names": np.array([b"a", b"\xff", b""], object),
    }
    for key in (json_outputs.ROW, json_outputs.COLUMN):
        assert processes.tensors(outputs, key) == json_outputs.tensors(outputs, key)


HOSTILE: dict[str, tuple[Callable[[], bytes], bool, Code]] = {
    "zeros that unpack to a thousand times their size": (
        lambda: gzip.compress(b" " * 50_000_000), True, Code.INVALID_ARGUMENT,
    ),
    "a body cut short": (
        lambda: gzip.compress(json.dumps({"instances": ROWS}).encode())[:-9], True, Code.INVALID_ARGUMENT,
    ),
    "lists that take a hundred times their bytes": (
        lambda: b'{"instances":[' + b"[]," * 20_000_000 + b"[]]}", False, Code.RESOURCE_EXHAUSTED,
    ),
    "nested without end": (lambda: b'{"instances":' + b"[" * 1_000_000, False, Code.INVALID_ARGUMENT),
}  # fmt: skip
"""What a body is made by, for all of pytest's processes import this and one of them needs it."""


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_refused_and_the_next_is_served(processes: JsonProcesses, name: str) -> None:
    body, packed, code = HOSTILE[name]
    with pytest.raises(Refusal) as caught:
        processes.predict(body(), packed, signature())
    assert caught.value.code is code
    name, asked = processes.predict(b'{"instances": [1, 2]}', False, signature())
    assert asked.inputs["x"].tolist() == [1, 2]


def test_memory_is_given_back() -> None:
    body = b'{"instances":[' + b"1," * 4_000_000 + b"1]}"
    with contextlib.closing(JsonProcesses(60.0)) as processes:
        processes.predict(body, False, signature())
        listed = subprocess.run(
            ["ps", "-o", "rss=,args=", "--ppid", str(os.getpid())],
            capture_output=True,
            text=True,
            check=False,
        )
    readers = [line.split() for line in listed.stdout.splitlines() if "json_process" in line]
    children = [size for size, *_ in readers if int(size) > 400_000]
    assert not children


def test_a_task_that_takes_too_long_ends() -> None:
    with contextlib.closing(JsonProcesses(0.05)) as processes, pytest.raises(Refusal) as caught:
        processes.predict(b'{"instances":[' + b"1," * 8_000_000 + b"1]}", False, signature())
    assert caught.value.code in {Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE}
