"""The client's side of one HTTP/2 connection, as bytes.

    connection = ClientConnection("127.0.0.1:8500")
    exchange = Exchange(RequestHead("/package.Service/Method"), message)
    connection.request(exchange)
    sock.sendall(connection.take())
    for exchange in connection.receive(sock.recv(65536)): print(exchange.status, exchange.details, exchange.message)

Every exchange ends exactly once: in the list that `receive`, `lose` or `close` gives back, or by `cancel`, or in
`returned`, which holds those that the server surely has not processed and that may go to another connection.
"""

from collections.abc import Sequence
from typing import Any, Final

from bench.wire import frames, unary
from bench.wire.exchange import Exchange
from bench.wire.fast_replies import likeness, take, take_of_rows
from bench.wire.frames import (
    CANCEL,
    DATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEAD,
    HEADERS,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    NO_ERROR,
    PROTOCOL_ERROR,
    ProtocolError,
)
from bench.wire.header_blocks import HeaderDecoder
from bench.wire.http2 import LARGEST_LIST, OWN_FRAME
from bench.wire.http2_client_streams import ClientStreams
from bench.wire.request_heads import RequestHeads
from bench.wire.rows import STEP, Row
from bench.wire.unary import PREFIX, ResponseBlock

_SPECIAL: Final = frames.PADDED | frames.END_HEADERS | frames.PRIORITISED


class ClientConnection(ClientStreams):
    """The client's end of a connection."""

    def __init__(
        self,
        authority: str,
        *,
        scheme: str = "http",
        user_agent: str = "serving-bench",
        metadata: Sequence[tuple[str, str]] = (),
        largest_message: int = unary.LARGEST_MESSAGE,
        stream_window: int = LARGEST_WINDOW,
        connection_window: int = LARGEST_WINDOW,
        first_stream: int = 1,
        compression: str | None = None,
    ) -> None:
        """compression: what all messages given to `request` are compressed with, such as gzip; None: nothing."""
        super().__init__(
            stream_window=stream_window, connection_window=connection_window, first_stream=first_stream
        )
        self.out.append(frames.PREFACE + self._greeting)
        self.finishing: list[tuple[int, Any]] = []
        """(chunks in `out` that end with it, exchange) of each request whose last byte is in `out`."""
        self.most_streams = 2**32
        """Exchanges that the server allows at once."""
        self._largest = largest_message
        self._whole = min(stream_window, largest_message + PREFIX.size)  # a body in one frame may be as large
        self._heads = RequestHeads(authority, scheme, user_agent, metadata, compression)
        self._flag = int(compression is not None)
        """Before each message: whether it is compressed."""
        self._opening = b""  # the block that opened a response last
        self._likeness = likeness(b"", b"")
        self._opening_word = -1  # of a plain answer's first frame; -1: none is known
        self._decoder: HeaderDecoder[ResponseBlock] = HeaderDecoder(unary.read_response_block, LARGEST_LIST)

    @property
    def in_flight(self) -> int:
        """Exchanges that have not ended, those that wait for their turn included."""
        return len(self._streams) + len(self.rows) + len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether another exchange would be sent at once rather than wait for one to end."""
        return len(self._streams) + len(self.rows) < self.most_streams

    def request(self, exchange: Exchange) -> bool:
        """Send an exchange now, or when the server's limit on concurrent streams permits, first come first served.

        False where some of it has to wait: for a stream, for a window, or for another connection.
        """
        if self.closed is not None or self.draining:
            self.returned.append(exchange)
            return False
        if len(self._streams) + len(self.rows) >= self.most_streams:
            self._waiting[exchange] = None
            return False
        stream = self._next
        if stream > LARGEST_STREAM:  # RFC 9113, 5.1.1: a new connection is needed
            self.draining = True
            self.returned.append(exchange)
            return False
        head = exchange.head
        pack, size_and_kind, block = self._heads.known.get(head) or self._heads.prepare(head)
        self._next = stream + 2
        exchange.stream = stream
        self._streams[stream] = exchange
        message, outflow = exchange.request, self._outflow
        length = len(message)
        size = length + 5
        if size <= outflow.quick and size <= outflow.window and len(block) <= outflow.largest_frame:
            outflow.window -= size
            out = self.out
            out += (pack(size_and_kind, 4, stream, block, size << 8, 1, stream, self._flag, length), message)
            self.finishing.append((len(out), exchange))
            return True
        self.out.append(frames.headers(stream, block, end_stream=False, largest=outflow.largest_frame))
        outflow.send(stream, message, None, compressed=self._flag)
        self._note_sent()
        return stream not in outflow.bodies

    def request_row(self, row: Row) -> bool:
        """Send the calls of a row now; False, and nothing is done, where some would have to wait or leave in pieces."""
        messages, outflow, rows, out = row.messages, self._outflow, self.rows, self.out
        count, stream, prepared = len(messages), self._next, self._heads.known.get(row.head)
        whole = sum(map(len, messages)) + PREFIX.size * count
        if prepared is None or self.closed is not None or self.draining:
            return False
        if whole > outflow.window or stream + STEP * count > LARGEST_STREAM:
            return False
        if whole > outflow.quick and max(map(len, messages)) + PREFIX.size > outflow.quick:
            return False
        if len(self._streams) + len(rows) + len(self._waiting) + count > self.most_streams:
            return False
        pack, size_and_kind, block = prepared
        flag = self._flag
        outflow.window -= whole
        row.first = stream
        for message in messages:
            length = len(message)
            out += (
                pack(size_and_kind, 4, stream, block, (length + 5) << 8, 1, stream, flag, length),
                message,
            )
            rows[stream] = row
            stream += STEP
        self._next = stream
        rows.leaving.append((len(out), row))
        return True

    def cancel(self, exchange: Exchange) -> bool:
        """Give up an exchange, telling the server; False where it is not under way here."""
        if exchange in self._waiting:
            del self._waiting[exchange]
            return True
        if self._streams.get(exchange.stream) is not exchange:
            return False
        self._abandon(exchange.stream, CANCEL)
        self._start_waiting()
        return True

    def receive(self, data: bytes) -> list[Exchange]:
        """Handle what was read; gives the exchanges that ended by it, in the order of their ends."""
        self._feed(data)
        if self._outflow.sent:
            self._note_sent()
        if self._waiting:
            self._start_waiting()
        done = self._done
        if done:
            self._done = []
        return done

    def lose(self, reason: str) -> list[Exchange]:
        """The connection broke; gives the exchanges that were under way, now UNAVAILABLE."""
        self.closed = self.closed or reason
        full = f"{reason}, after GOAWAY with {self.farewell}" if self.farewell else reason
        return self._fail_all(unary.UNAVAILABLE, full)

    def close(self) -> list[Exchange]:
        """Take leave (GOAWAY) and cancel what is under way; gives those exchanges, now CANCELLED."""
        if self.closed is None:
            self.closed = "closed by the client"
            self.rows.release(tuple(self.rows), self._streams)
            self.out.extend(frames.rst_stream(stream, CANCEL) for stream in self._streams)
            self.out.append(frames.goaway(0, NO_ERROR))
        return self._fail_all(unary.CANCELLED, "the channel was closed")

    def take_ends(self) -> list[tuple[int, Any]]:
        """`finishing`, emptied; to be taken together with `out` and before it."""
        ends = self.finishing
        self.finishing = []
        return ends

    def _note_sent(self) -> None:
        sent, streams = self._outflow.sent, self._streams
        if sent:
            self.finishing.extend((chunks, streams[stream]) for stream, chunks in sent if stream in streams)
            sent.clear()

    def _start_waiting(self) -> None:
        while self._waiting and self.has_room and self.closed is None:
            exchange, _ = self._waiting.popitem(last=False)
            self.request(exchange)

    def _open(self, data: bytes) -> int:
        if len(data) >= 5 and (data[3] != frames.SETTINGS or data[4] & frames.ACK):
            raise ProtocolError(
                PROTOCOL_ERROR, "the server does not open with SETTINGS: it does not speak HTTP/2 here"
            )
        return 0

    def _frames(self, data: bytes, at: int) -> int:
        # The loop that every answer passes, three times as a rule: whatever is not an undivided answer goes elsewhere.
        end, unpack, streams, known = len(data), HEAD.unpack_from, self._streams, self._decoder.known
        bodies, done, rows = self._outflow.bodies, self._done, self.rows
        while end - at >= 9:
            word, flags, stream = unpack(data, at)
            if word == self._opening_word and flags == 4 and not bodies and self._partial is None:
                if stream in rows:
                    ended, size = take_of_rows(self._likeness, data, at, rows, largest=self._whole)
                else:
                    ended, size = take(self._likeness, data, at, streams, done, largest=self._whole)
                if ended > at:
                    at = ended
                    self._credit -= size
                    if self._credit < self._low:
                        self._renew_window()
                    continue
            if rows and stream in rows:  # something else than a plain answer
                rows.release((stream,), streams)
            start = at + 9
            size = word >> 8
            kind = word & 0xFF
            if size > OWN_FRAME:
                raise ProtocolError(FRAME_SIZE_ERROR, f"a frame of {size} bytes, {OWN_FRAME} are allowed")
            at, before = start + size, at
            if at > end:
                return before
            if self._partial is not None:
                self._continue(self._partial, kind, flags, stream & LARGEST_STREAM, data[start:at])
            elif kind == DATA:
                self._credit -= size
                if self._credit < self._low:
                    self._renew_window()
                exchange = streams.get(stream)
                if (
                    exchange is not None
                    and exchange.awaits
                    and not flags
                    and 5 <= size <= self._whole
                    and PREFIX.unpack_from(data, start) == (0, size - 5)
                ):
                    exchange.message = data[start + 5 : at]
                    exchange.awaits = False
                    exchange.credit -= size
                else:
                    self._divided(flags, stream & LARGEST_STREAM, data[start:at])
            elif kind == HEADERS:
                if flags & _SPECIAL == 4:
                    payload = data[start:at]
                    block = known.get(payload)
                    if block is None:
                        block = self._decoder.decode(payload)
                        self._opening_word = -1  # the same bytes may have another meaning from now on
                    exchange = streams.get(stream)
                    if exchange is None or (block.refusal is not None and exchange.encoding is None):
                        self._heading(stream & LARGEST_STREAM, flags, block)
                    elif flags == 5 and block.plain_end and exchange.message is not None and not bodies:
                        exchange.status = 0
                        del streams[stream]
                        done.append(exchange)
                        if payload in known and self._opening in known:
                            self._likeness = likeness(self._opening, payload)
                            self._opening_word = self._likeness.opening_word
                    elif flags == 4 and exchange.encoding is None and block.length is None:
                        self._opening = payload
                        exchange.encoding = block.encoding
                        exchange.awaits = True
                        exchange.credit = self._stream_window
                    else:
                        self._heading(stream & LARGEST_STREAM, flags, block)
                else:
                    self._headers(flags, stream & LARGEST_STREAM, data[start:at])
            else:
                self._other(kind, flags, stream & LARGEST_STREAM, data[start:at])
        return at

    def _awaits_whole(self, stream: int, flags: int, size: int) -> bool:
        self.rows.release((stream,), self._streams)  # something else than a plain answer in one read
        exchange = self._streams.get(stream)
        return exchange is not None and exchange.awaits and not flags and size <= self._whole

    def _take_whole(self, stream: int, message: bytes) -> None:
        exchange = self._streams[stream]
        exchange.message = message
        exchange.awaits = False
        exchange.credit -= len(message) + PREFIX.size

    def _block(self, stream: int, flags: int, block: bytes) -> None:
        self._opening_word = -1
        self._heading(stream, flags, self._decoder.decode(block))

    def _heading(self, stream: int, flags: int, block: ResponseBlock) -> None:
        """A header block opens a response, closes it, or does both."""
        exchange = self._streams.get(stream)
        if exchange is None:
            self._never_opened(stream, "HEADERS")
        elif flags & END_STREAM:
            exchange.settle(block, self._largest)
            self._leave(stream, exchange)
        elif exchange.encoding is None:
            if block.refusal is None:
                exchange.encoding = block.encoding
                exchange.awaits = block.length is None  # else the body is counted, in parts
                exchange.length = block.length
                exchange.credit = self._stream_window
            elif not block.informational or block.malformed:
                self._refuse(exchange, *block.refusal, PROTOCOL_ERROR if block.malformed else CANCEL)
        else:
            self._refuse(exchange, unary.INTERNAL, "the server sent trailers that do not end the stream")

    def _divided(self, flags: int, stream: int, payload: bytes) -> None:
        """DATA that is not an undivided message: a part of one, padded, compressed, unexpected."""
        exchange = self._streams.get(stream)
        if exchange is None:
            self._never_opened(stream, "DATA")
            return
        if exchange.encoding is None:
            self._refuse(exchange, unary.INTERNAL, "the server sent DATA before HEADERS")
            return
        exchange.credit -= len(payload)
        if exchange.credit < -self._slack:
            raise ProtocolError(FLOW_CONTROL_ERROR, f"more DATA than the window of stream {stream}")
        if exchange.credit <= self._stream_window // 2 and not flags & END_STREAM:
            self.out.append(frames.window_update(stream, self._stream_window - exchange.credit))
            exchange.credit = self._stream_window
        refusal = exchange.add(frames.unpadded(flags, payload, prioritised=False), self._largest)
        if refusal is not None:
            self._refuse(exchange, *refusal)
        elif flags & END_STREAM:
            exchange.fail(unary.INTERNAL, "the server ended the stream without grpc-status")
            self._leave(stream, exchange)

    def _setting(self, identifier: int, value: int) -> None:
        if identifier == frames.MAX_CONCURRENT_STREAMS:
            self.most_streams = value
        elif identifier == frames.HEADER_TABLE_SIZE:
            self._heads.resize(value)
        elif identifier == frames.ENABLE_PUSH and value:
            raise ProtocolError(PROTOCOL_ERROR, "a server that announces ENABLE_PUSH")
