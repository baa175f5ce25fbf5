"""Drive one of the Python transports for some seconds: python -m tests.benchmarks.python_client
TRANSPORT ADDRESS REQUEST_FILE IN_FLIGHT SECONDS [TLS_FOLDER]; prints one JSON object.

TRANSPORT is native, grpcio (with gevent, as stock Locust uses it) or grpcio-aio.
"""

import sys

if __name__ == "__main__" and sys.argv[1:2] != ["grpcio-aio"]:
    from gevent import monkey

    monkey.patch_all()  # as Locust does

import json
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.arguments import parser

METHOD = "/tensorflow.serving.PredictionService/Predict"
WARM_UP = 200  # calls


def drive(
    transport: str, address: str, request: bytes, in_flight: int, seconds: float, folder: Path | None
) -> dict[str, Any]:
    import gevent

    from bench.wire.dial import TLS
    from bench.wire.transports import open_channel

    tls = None if folder is None else TLS(ca=folder / "ca.pem")
    channel = open_channel(transport, address, tls=tls)
    channel.connect(10)
    call, clock = channel.call, time.perf_counter
    for _ in range(WARM_UP):
        call(METHOD, request, 10.0)
    latencies: list[float] = []
    errors = 0

    def user() -> None:
        nonlocal errors
        while (start := clock()) < end:
            reply = call(METHOD, request, 10.0)
            latencies.append(clock() - start)
            if reply.status:
                errors += 1

    begin, cpu = clock(), time.process_time()
    end = begin + seconds
    gevent.joinall([gevent.spawn(user) for _ in range(in_flight)], raise_error=True)
    took, used = clock() - begin, time.process_time() - cpu
    channel.close()
    return report(latencies, errors, took, used)


def drive_aio(address: str, request: bytes, in_flight: int, seconds: float) -> dict[str, Any]:
    import asyncio

    import grpc

    async def main() -> dict[str, Any]:
        async with grpc.aio.insecure_channel(address) as channel:
            call, clock = channel.unary_unary(METHOD), time.perf_counter
            for _ in range(WARM_UP):
                await call(request, timeout=10)
            latencies: list[float] = []

            async def user() -> None:
                while (start := clock()) < end:
                    await call(request, timeout=10)
                    latencies.append(clock() - start)

            begin, cpu = clock(), time.process_time()
            end = begin + seconds
            await asyncio.gather(*(user() for _ in range(in_flight)))
            return report(latencies, 0, clock() - begin, time.process_time() - cpu)

    return asyncio.run(main())


def report(latencies: list[float], errors: int, seconds: float, cpu: float) -> dict[str, Any]:
    count = len(latencies)
    return {
        "requests": count,
        "errors": errors,
        "seconds": seconds,
        "cpu": cpu,
        "mean": sum(latencies) / count,
    }


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("transport")
    command.add_argument("address")
    command.add_argument("request", type=Path, help="a file with the message")
    command.add_argument("in_flight", type=int)
    command.add_argument("seconds", type=float)
    command.add_argument("tls", type=Path, nargs="?", help="the folder of the certificates (default: no TLS)")
    given = command.parse_args()
    message, load = given.request.read_bytes(), (given.in_flight, given.seconds)
    if given.transport == "grpcio-aio":
        print(json.dumps(drive_aio(given.address, message, *load)))
    else:
        print(json.dumps(drive(given.transport, given.address, message, *load, given.tls)))
