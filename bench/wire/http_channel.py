"""Single requests over HTTP/1.1, by the part of a gRPC channel's interface that questions need."""

from collections.abc import Sequence
from typing import Any

import gevent

from bench import BenchError
from bench.wire.compression import gzipped
from bench.wire.dial import Address, ConnectError, no_connection
from bench.wire.http_connection import UNAVAILABLE, HttpConnection
from bench.wire.http_messages import host_header, request_of
from bench.wire.open import mismatch
from bench.wire.reply import LARGEST_ANSWER, Reply


class HttpChannel:
    """One kept connection; `call`'s methods are HTTP's with the path, such as `GET /v1/models/m`."""

    def __init__(
        self,
        address: str,
        *,
        tls: Any = None,
        metadata: Sequence[tuple[str, str]] = (),
        authority: str | None = None,
        largest_message: int = LARGEST_ANSWER,
        turn: int = 0,
        compression: str | None = None,
        **_: Any,
    ) -> None:
        """As a gRPC channel; what has no meaning here is left out of account. Raises BenchError."""
        if tls is not None:
            raise BenchError(
                f"--grpc-tls: requests to {address} go over HTTP, which is not encrypted here; leave it out"
            )
        self._connection = HttpConnection(address, bytes, turn, largest_message)
        self._compress = compression is not None
        self._host, self._metadata = authority or host_header(address), tuple(metadata)

    def connect(self, timeout: float) -> None:
        """Wait until the connection is up. Raises BenchError where it does not come about within `timeout` seconds."""
        address = self._connection.address
        try:
            with gevent.Timeout(timeout, ConnectError("no answer")):
                self._connection.connect()
        except ConnectError as error:
            raise no_connection(address, str(error).removeprefix(f"{address}: "), timeout) from None

    def call(self, method: str, message: bytes, timeout: float) -> Reply:
        """Make a request and wait for its answer, whose content is the reply's message. Raises BenchError for a port without HTTP."""
        if self._compress and message:
            message = gzipped(message)
        reply = self._connection.ask(request_of(method, message, self._host, self._metadata), timeout)
        check_scheme(reply, self._connection.address)
        return reply

    def close(self) -> None:
        """Leave nothing behind."""
        self._connection.close()


def check_scheme(reply: Reply, address: str) -> None:
    """Raise BenchError where a server hung up on a request because it speaks something else than HTTP/1.1."""
    if reply.status == UNAVAILABLE and reply.sent is not None:
        other = mismatch(Address.parse(address), "REST")
        if other is not None:
            raise no_connection(address, str(other), 0, remedy=other.remedy)
