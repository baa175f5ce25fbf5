"""Errors that TensorFlow Serving is known for have a cause and a remedy."""

import pytest

from bench.protocol.hints import explained, hint

OBSERVED = [
    ("RESOURCE_EXHAUSTED", "", "grpc_max_threads"),
    ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted", "grpc_max_threads"),
    ("RESOURCE_EXHAUSTED", "Received message larger than max (5000 vs. 4096)", "message size"),
    ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (10 vs. 4)", "message size"),
    ("RESOURCE_EXHAUSTED", "Run() timeout exceeded while waiting in batching queue", "queue timeout"),
    ("RESOURCE_EXHAUSTED", "OOM when allocating tensor with shape[9,9]", "memory"),
    (
        "UNAVAILABLE",
        "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued",
        "queue full",
    ),
    ("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!", "concurrent calls"),
    ("UNKNOWN", "Exception calling application: Unknown model", "exception"),
    ("UNAVAILABLE", "failed to connect to all addresses", "unavailable"),
    ("INVALID_ARGUMENT", "Task size 1600 is larger than maximum input batch size 32", "batch size"),
    ("INVALID_ARGUMENT", "Unrecognized servable version label: nolabel", "label"),
    ("NOT_FOUND", "Servable not found for request: Latest(nope)", "model"),
    ("NOT_FOUND", "Servable not found for request: Specific(mnist, 99)", "version"),
    ("NOT_FOUND", "Could not find any versions of model nope", "model"),
    ("NOT_FOUND", "Could not find version 99 of model mnist", "version"),
    ("FAILED_PRECONDITION", 'Serving signature key "nosig" not found.', "signature"),
    ("INVALID_ARGUMENT", "input size does not match signature: 0!=1 len({}) != len({images}).", "inputs"),
    ("INVALID_ARGUMENT", "Signature input alias: images(feed name: x:0) not found in request", "inputs"),
    ("INVALID_ARGUMENT", "output tensor alias not found in signature: nope Outputs expected", "outputs"),
    ("INVALID_ARGUMENT", "Expects arg[0] to be float but double is provided", "dtype"),
    ("INVALID_ARGUMENT", "Matrix size-incompatible: In[0]: [2,783], In[1]: [784,10]", "shape"),
    ("INVALID_ARGUMENT", "tensor parsing error: images", "tensor"),
    ("INVALID_ARGUMENT", "Missing ModelSpec", "model name"),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", "deadline"),
    ("UNIMPLEMENTED", "", "service"),
    (
        "UNIMPLEMENTED",
        'grpc: Decompressor is not installed for grpc-encoding "gzip"',
        "compression",
    ),
    ("UNIMPLEMENTED", "Compression algorithm 'gzip' is disabled.", "compression"),
    ("UNAUTHENTICATED", "no token", "credentials"),
]
"""Status and details as the real server sends them, and the key of the hint."""


@pytest.mark.parametrize(("status", "details", "key"), OBSERVED)
def test_known_errors_have_their_hint(status: str, details: str, key: str) -> None:
    found = hint(status, details)
    assert found is not None
    assert found.key == key
    assert found.cause
    assert found.remedy


@pytest.mark.parametrize(("status", "details"), [("INTERNAL", ""), ("INVALID_ARGUMENT", "odd"), ("OK", "")])
def test_others_have_none(status: str, details: str) -> None:
    assert hint(status, details) is None


def test_empty_details_are_explained() -> None:
    assert "--grpc_max_threads" in explained("RESOURCE_EXHAUSTED", "")
    assert explained("INTERNAL", "a\n\tb") == "INTERNAL: a b"
    assert explained("INTERNAL", "") == "INTERNAL: no details"
