"""What is sent: pools of PredictRequests, and arrays as tensors."""

from bench.payload.asked import Asked
from bench.payload.examples import Examples
from bench.payload.pool import LEAST_MESSAGES, POOL_BYTES, Pool
from bench.payload.random_inputs import random_examples
from bench.payload.request_files import read_requests
from bench.wire.tensors import array_of, predict_request, tensor_of

__all__ = [
    "LEAST_MESSAGES",
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
