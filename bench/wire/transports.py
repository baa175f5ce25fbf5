"""The transports by name."""

from typing import Any

from bench import BenchError


def open_channel(transport: str, address: str, **options: Any) -> Any:
    """A channel of the chosen transport, "native" or "grpcio", with `Channel`'s interface and options."""
    if transport == "native":
        from bench.wire.client import Channel

        return Channel(address, **options)
    if transport == "grpcio":
        from bench.wire.grpcio_client import Channel as ReferenceChannel

        return ReferenceChannel(address, **options)
    raise BenchError(f"transport {transport!r}: expected native or grpcio")
