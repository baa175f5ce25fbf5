"""Stock Locust on grpcio, as its documentation shows it: an interceptor that reports each call, a channel for each user.

The message is built once and reused, which tutorials do not do: the comparison is with stock Locust at its best.
"""

import os
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.experimental.gevent
from locust import User, constant, constant_throughput, task

from bench import mnist
from bench.payload import Pool
from bench.wire.messages import PREDICT, PredictRequest, PredictResponse
from tests.benchmarks import locust_meter

__all__ = ["Stock", "locust_meter"]

grpc.experimental.gevent.init_gevent()
digits = mnist.load("test", None)
BATCH = int(os.environ.get("METER_BATCH", "1"))
RATE = float(os.environ.get("METER_RATE", "0"))
"""Requests a second of each user; 0: as many as it can."""
REQUEST = PredictRequest.FromString(
    Pool.mnist(digits.images, digits.labels, batch=BATCH, size=1, seed=1).messages[0]
)


class Reporter(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, environment: Any) -> None:
        self.environment = environment

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        start, exception, size = time.perf_counter(), None, 0
        response = continuation(details, request)
        try:
            size = response.result().ByteSize()
        except grpc.RpcError as error:
            exception = error
        self.environment.events.request.fire(
            request_type="grpc",
            name=details.method,
            response_time=(time.perf_counter() - start) * 1000,
            response_length=size,
            response=response,
            context=None,
            exception=exception,
        )
        return response


class Stock(User):  # type: ignore[misc]  # locust ships no types
    wait_time = constant_throughput(RATE) if RATE else constant(0)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        ca = os.environ.get("METER_CA")
        if ca:
            channel = grpc.secure_channel(self.host, grpc.ssl_channel_credentials(Path(ca).read_bytes()))
        else:
            channel = grpc.insecure_channel(self.host)
        self.predict = grpc.intercept_channel(channel, Reporter(environment)).unary_unary(
            PREDICT,
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )

    @task
    def ask(self) -> None:
        self.predict(REQUEST)
