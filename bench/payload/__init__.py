"""Contents of requests: pools of PredictRequests, and arrays as tensors."""

from bench.payload.asked import Asked
from bench.payload.drawing import LEAST_MESSAGES, POOL_BYTES
from bench.payload.examples import Examples
from bench.payload.pool import AGAIN, ONCE, Pool
from bench.payload.random_inputs import random_examples
from bench.payload.request_files import read_requests
from bench.wire.tensors import array_of, predict_request, tensor_of

__all__ = [
    "AGAIN",
    "LEAST_MESSAGES",
    "ONCE",
    "POOL_BYTES",
    "Asked",
    "Examples",
    "Pool",
    "array_of",
    "predict_request",
    "random_examples",
    "read_requests",
    "tensor_of",
]
