"""Whatever tensors and bytes arrive, each request gets an answer of its own and the server goes on."""

import random
from collections import Counter
from typing import Any

import pytest

from bench.wire import messages
from bench.wire.dtypes import STORAGES
from tests.conformance.asking import Target
from tests.conformance.models import DTYPES

REQUESTS = 2000

SIGNATURES = [
    *(("kinds", f"echo_{name}", ("value",)) for name in DTYPES),
    ("kinds", "two", ("a", "b")),
    ("kinds", "bytes", ("text",)),
    ("mnist", "predict_images", ("images",)),
    ("shapes", "total", ("inputs",)),
    ("shapes", "serving_default", ("inputs",)),
    ("half_plus_two", "regress_x_to_y", ("inputs",)),
]
ENUMS = {storage.dtype.name: enum for enum, storage in STORAGES.items()}
FIELDS = [
    "float_val",
    "double_val",
    "int_val",
    "int64_val",
    "half_val",
    "uint32_val",
    "uint64_val",
    "scomplex_val",
    "dcomplex_val",
]


HARMLESS = [-1, 2**62]
"""Sizes that no server can take for a tensor that it might try to allocate."""


def made_up(rng: random.Random, sizes: list[int]) -> bytes:
    """A request that is right in some respects and odd in others; `sizes`: of its oddest dimensions."""
    model, signature, aliases = rng.choice(SIGNATURES)
    request = messages.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    wanted = ENUMS.get(
        signature.removeprefix("echo_"), STORAGES[7 if aliases[0] in {"text", "inputs"} else 1].enum
    )
    for alias in aliases:
        tensor = request.inputs[alias]
        tensor.dtype = rng.choice([*STORAGES]) if rng.random() < 0.2 else wanted
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4, 20, 32, 33, 64])):
            tensor.tensor_shape.dim.add(
                size=rng.choice([0, 1, 1, 1, 2, 3]) if rng.random() < 0.97 else rng.choice(sizes)
            )
        for field in FIELDS:
            getattr(tensor, field).extend([1] * rng.randint(0, 3))
        tensor.string_val.extend(rng.choices([b"ab", b"", b"\xff\xb5", b"\n\x00"], k=rng.randint(0, 3)))
    serialised = bytearray(request.SerializeToString())
    if rng.random() < 0.1:
        serialised[rng.randrange(len(serialised))] = rng.randrange(256)
    return bytes(serialised)


def test_made_up_requests(request: pytest.FixtureRequest, target: Target) -> None:
    sizes = HARMLESS if request.config.getoption("--target", None) else [*HARMLESS, 2**31, 2**40]
    rng = random.Random(1)
    calls = [target.start(messages.PREDICT, made_up(rng, sizes)) for _ in range(REQUESTS)]
    codes: Counter[Any] = Counter(call.code().name for call in calls)
    assert set(codes) <= {
        "OK",
        "INVALID_ARGUMENT",
        "FAILED_PRECONDITION",
        "NOT_FOUND",
        "INTERNAL",
        "RESOURCE_EXHAUSTED",
    }, codes
    assert min(codes["OK"], codes["INVALID_ARGUMENT"]) > REQUESTS / 10
    internal = {call.details() for call in calls if call.code().name == "INTERNAL"}
    assert internal == {""}, "INTERNAL is for bytes that are no request"
    assert target.versions("mnist") == {1: "AVAILABLE", 2: "AVAILABLE"}
