"""The transports by name: two of gRPC, and HTTP."""

from typing import Any

from bench import BenchError, extras

NATIVE, HTTP = "native", "http"


def open_channel(transport: str, address: str, **options: Any) -> Any:
    """A channel of the chosen transport, "native" or "grpcio", with `Channel`'s interface and options.

    "http": for questions only, as `HttpChannel`.
    """
    if transport == NATIVE:
        from bench.wire.client import Channel

        return Channel(address, **options)
    if transport == "grpcio":
        extras.need("grpc", "transport grpcio")
        from bench.wire.grpcio_client import Channel as ReferenceChannel

        return ReferenceChannel(address, **options)
    if transport == HTTP:
        from bench.wire.http_channel import HttpChannel

        return HttpChannel(address, **options)
    raise BenchError(f"transport {transport!r}: expected native or grpcio")
