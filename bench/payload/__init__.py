"""What is sent: pools of PredictRequests, and arrays as tensors."""

from bench.payload.asked import Asked
from bench.payload.pool import LEAST_MESSAGES, POOL_BYTES, Pool
from bench.payload.tensors import array_of, predict_request, tensor_of

__all__ = [
    "LEAST_MESSAGES",
    "POOL_BYTES",
    "Asked",
    "Pool",
    "array_of",
    "predict_request",
    "tensor_of",
]
