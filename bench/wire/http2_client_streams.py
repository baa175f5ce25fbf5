"""The streams under way on a client's connection, and their ends other than by an answer."""

from collections import OrderedDict
from typing import Any, Final

from bench.wire import frames, unary
from bench.wire.exchange import Exchange
from bench.wire.frames import CANCEL, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, ProtocolError
from bench.wire.http2 import Connection
from bench.wire.rows import Row, Rows

_MOST_RETURNS: Final = (
    5  # of a call by connections that end without having served any, lest it circle for ever
)


class ClientStreams(Connection):
    """The client's end of a connection without its requests and answers."""

    def __init__(self, *, stream_window: int, connection_window: int, first_stream: int) -> None:
        super().__init__(
            stream_window=stream_window, connection_window=connection_window, extra={frames.ENABLE_PUSH: 0}
        )
        self.returned: list[Any] = []
        self.draining = False
        """No further request may start here: the server said so or the stream ids are used up."""
        self.farewell: str | None = None
        """The error that the server named as it said so, empty where it named none; None: it did not say so."""
        self._streams: dict[int, Exchange] = {}
        self.rows = Rows()
        """Calls under way that are in none of the others."""
        self._waiting: OrderedDict[Exchange, None] = OrderedDict()
        self._done: list[Exchange] = []
        self._first = self._next = first_stream

    def release(self, row: Row) -> None:
        """Make exchanges of those of its calls that have not ended."""
        self.rows.release([stream for stream in row.streams if self.rows.get(stream) is row], self._streams)

    def _leave(self, stream: int, exchange: Exchange) -> None:
        """The server ended the stream: the exchange has its status."""
        del self._streams[stream]
        if self._outflow.drop(stream):  # answered before the request was complete: the rest is not wanted
            self.out.append(frames.rst_stream(stream, NO_ERROR))
        self._done.append(exchange)

    def _refuse(self, exchange: Exchange, status: int, details: str, code: int = CANCEL) -> None:
        """We end the exchange with this status, and the stream with it."""
        exchange.fail(status, details)
        self._abandon(exchange.stream, code)
        self._done.append(exchange)

    def _abandon(self, stream: int, code: int) -> None:
        del self._streams[stream]
        self._outflow.drop(stream)
        self.out.append(frames.rst_stream(stream, code))

    def _never_opened(self, stream: int, kind: str) -> None:
        """A frame for a stream that is not under way: ignored if it was once, as answers cross our RST_STREAM."""
        if stream == 0 or self._idle(stream):
            raise ProtocolError(PROTOCOL_ERROR, f"{kind} for stream {stream}, which was never open")

    def _idle(self, stream: int) -> bool:
        return stream % 2 == 0 or stream >= self._next

    def _last_peer_stream(self) -> int:
        return 0

    def _reset(self, stream: int, code: int) -> None:
        exchange = self._streams.pop(stream, None)
        if exchange is None:
            return
        self._outflow.drop(stream)
        if code == REFUSED_STREAM and not exchange.retried:
            # RFC 9113, 8.7: surely not processed. Once only, as gRPC's transparent retries, lest it circle for ever.
            exchange.retried += 1
            self.returned.append(exchange)
            return
        exchange.fail(unary.status_of_reset(code), f"the server reset the stream: {frames.error_name(code)}")
        self._done.append(exchange)

    def _peer_leaves(self, last_stream: int, code: int, text: str) -> None:
        farewell = f"{frames.error_name(code)} {text}".rstrip()
        self.draining, self.farewell = True, "" if code == NO_ERROR else farewell
        # A proxy that ends connections after 10 calls gives those of 64 users back six times: each time fewer are left.
        served = code == NO_ERROR and last_stream >= self._first
        self.rows.release([stream for stream in self.rows if stream > last_stream], self._streams)
        for stream in [stream for stream in self._streams if stream > last_stream]:
            exchange = self._streams.pop(stream)
            self._outflow.drop(stream)
            if not served and exchange.retried >= _MOST_RETURNS:
                exchange.fail(unary.UNAVAILABLE, f"the server is going away: {farewell}")
                self._done.append(exchange)
            else:
                exchange.retried += not served
                self.returned.append(exchange)
        self._return_waiting()

    def _return_waiting(self) -> None:
        self.returned.extend(self._waiting)
        self._waiting.clear()

    def _end(self, code: int, text: str) -> None:
        super()._end(code, text)
        self._done.extend(self._fail_all(unary.INTERNAL, f"protocol error by the server: {text}"))

    def _fail_all(self, status: int, details: str) -> list[Exchange]:
        self.rows.release(tuple(self.rows), self._streams)
        failed = list(self._streams.values())
        self._streams.clear()
        for exchange in failed:
            self._outflow.drop(exchange.stream)
            exchange.fail(status, details)
        self._return_waiting()
        return failed
