"""The server's side of one HTTP/2 connection, as bytes: unary gRPC requests.

    connection = ServerConnection()
    for request in connection.receive(sock.recv(65536)):
        connection.respond(request.stream, message=answer(request.path, request.message))
    sock.sendall(connection.take())

Requests may be answered in any order and at any later time; what gathers in `out` meanwhile leaves in one send. The
owner reads on while answers wait for the client's windows: the WINDOW_UPDATE that frees them is in what it reads.
"""

import sys
from typing import Final

from bench.wire import frames, unary
from bench.wire.frames import DATA, END_STREAM, HEAD, HEADERS, LARGEST_STREAM, PROTOCOL_ERROR, ProtocolError
from bench.wire.header_blocks import HeaderDecoder
from bench.wire.http2 import LARGEST_LIST, OWN_FRAME
from bench.wire.http2_server_streams import ServerStreams
from bench.wire.incoming import LOOK_AFTER, Incoming, open_fields
from bench.wire.replies import Replies
from bench.wire.request_rows import Alike, Burst, Finder
from bench.wire.unary import PREFIX, MessageError, Packed, Request, RequestBlock, StillPacked

_SPECIAL: Final = frames.PADDED | frames.END_HEADERS | frames.PRIORITISED
_LOOK_AGAIN: Final = 2048


class ServerConnection(ServerStreams):
    """The server's end of a connection."""

    def __init__(
        self,
        *,
        most_streams: int | None = None,
        largest_message: int = unary.LARGEST_MESSAGE,
        stream_window: int = frames.LARGEST_WINDOW,
        connection_window: int = frames.LARGEST_WINDOW,
        take_bursts: bool = False,
    ) -> None:
        """take_bursts: the owner takes requests in a row from `bursts`, others from `packed`; `receive` gives neither."""
        extra = {} if most_streams is None else {frames.MAX_CONCURRENT_STREAMS: most_streams}
        super().__init__(stream_window=stream_window, connection_window=connection_window, extra=extra)
        self.out.append(self._greeting)
        self.bursts: list[Burst] = []
        self.packed: list[Packed] = []
        """Rows, and requests that take long to unpack, since the owner last emptied these lists."""
        self._at_once = take_bursts
        self._finder = Finder()
        # Reads of up to so many bytes are not searched for rows: in as many there was none. That holds for a while.
        self._row_bytes = 0 if take_bursts else sys.maxsize
        self._look_again = LARGEST_STREAM
        self._charged = self._fields = 0  # header fields: since they were counted, and those open then
        self._requests: list[Request] = []
        self._most_streams = 2**32 if most_streams is None else most_streams
        self._largest = largest_message
        self._whole = min(stream_window, largest_message + PREFIX.size)  # a body in one frame may be as large
        self._refuse_above = LARGEST_STREAM
        self._greeted = False  # the preface has not come
        self._replies = Replies()
        self._decoder: HeaderDecoder[RequestBlock] = HeaderDecoder(unary.read_request_block, LARGEST_LIST)

    @property
    def in_flight(self) -> int:
        """Requests that are arriving or not answered yet."""
        return len(self._streams)

    def awaits(self, stream: int) -> bool:
        """Whether the client still waits for the answer to this request. May be asked from any thread."""
        return stream in self._streams

    def receive(self, data: bytes) -> list[Request]:
        """Handle what was read; gives the requests that it completed, in the order of their ends."""
        self._feed(data)
        requests, self._requests = self._requests, []
        return requests

    def respond(self, stream: int, status: int = 0, details: str = "", message: bytes = b"") -> bool:
        """Answer a request: with `message` if the status is 0, else with trailers only that carry `details`.

        False where the client has reset the stream or the connection has ended meanwhile: nothing happens then.
        """
        incoming = self._streams.pop(stream, None)
        if incoming is None:
            return False
        outflow, replies = self._outflow, self._replies
        if incoming.pushed is not None:
            outflow.drop(stream)
            self.out.append(replies.closing(stream, outflow.largest_frame, status, details))
        elif status:
            self.out.append(replies.refusal(stream, outflow.largest_frame, status, details))
        else:
            size = len(message) + PREFIX.size
            if size <= outflow.quick and size <= outflow.window:
                outflow.window -= size
                self.out += replies.plain(stream, message)
            else:
                self.out.append(replies.opening(stream))
                outflow.send(stream, message, replies.closing(stream, outflow.largest_frame))
                outflow.sent.clear()
        if outflow.early:
            outflow.early.pop(stream, None)
        if not incoming.complete:
            self._drop(incoming)
            self._end_early(stream, frames.NO_ERROR)  # answered early: the rest is not wanted
        return True

    def respond_all(self, streams: range, messages: Alike) -> int:
        """Answer several requests, as `respond` does one by one with status 0; how many were still awaited."""
        outflow, open_streams = self._outflow, self._streams
        size = messages.length + PREFIX.size
        if (
            self._replies.opened
            and size <= outflow.quick
            and size * len(streams) <= outflow.window
            and all(map(open_streams.__contains__, streams))
        ):
            for stream in streams:
                del open_streams[stream]
            outflow.window -= size * len(streams)
            self.out.append(self._replies.many(streams, messages))
            return len(streams)
        pairs = zip(streams, messages.each(), strict=True)
        return sum(self.respond(stream, message=message) for stream, message in pairs)

    def push(self, stream: int, message: bytes) -> None:
        """Send a message of a response that goes on; `respond` ends it and drops what waits for the client's windows."""
        incoming = self._streams.get(stream)
        if incoming is None:
            return
        if incoming.pushed is None:
            # an entry of its own: the requests of a burst share one
            incoming = self._streams[stream] = Incoming(incoming.head, incoming.credit, complete=True)
            incoming.pushed = 0
            self.out.append(self._replies.opening(stream))
        if stream in self._outflow.bodies:
            return  # a client that has not taken the message before does not get this one
        self._outflow.send(stream, message, b"", spent=incoming.pushed)
        self._outflow.sent.clear()
        incoming.pushed += len(message) + PREFIX.size

    def shut_down(self) -> None:
        """Announce that no further requests are taken; those that have come are still to be answered."""
        if not self.draining and self.closed is None:
            self.draining = True
            self._refuse_above = self._last
            self.out.append(frames.goaway(self._last, frames.NO_ERROR))

    def lose(self, reason: str) -> None:
        """The connection broke: nothing under way can be answered any more."""
        if self.closed is None:
            self.closed = reason
        self._release_all()

    def _open(self, data: bytes) -> int:
        at = 0
        if not self._greeted:
            at = len(frames.PREFACE)
            if not frames.PREFACE.startswith(data[:at]):
                raise ProtocolError(PROTOCOL_ERROR, "the client does not open with HTTP/2's preface")
            if len(data) < at:
                return 0
            self._greeted = True
        if len(data) >= at + 5 and (data[at + 3] != frames.SETTINGS or data[at + 4] & frames.ACK):
            raise ProtocolError(PROTOCOL_ERROR, "the client's first frame is not SETTINGS")
        return at

    def _frames(self, data: bytes, at: int) -> int:
        if not self._greeted:
            return at
        # The loop that every request passes, twice as a rule: what is not an undivided request goes elsewhere.
        end, unpack, streams, known = len(data), HEAD.unpack_from, self._streams, self._decoder.known
        if self._last > self._look_again:
            self._row_bytes, self._look_again = 0, LARGEST_STREAM
        row_bytes = self._row_bytes
        while end - at >= 9:
            word, flags, stream = unpack(data, at)
            start = at + 9
            size = word >> 8
            kind = word & 0xFF
            if size > OWN_FRAME:
                raise ProtocolError(
                    frames.FRAME_SIZE_ERROR, f"a frame of {size} bytes, {OWN_FRAME} are allowed"
                )
            at, before = start + size, at
            if at > end:
                return before
            if self._partial is not None:
                self._continue(self._partial, kind, flags, stream & LARGEST_STREAM, data[start:at])
            elif kind == DATA:
                self._credit -= size
                if self._credit < self._low:
                    self._renew_window()
                incoming = streams.get(stream)
                if (
                    incoming is not None
                    and flags == END_STREAM
                    and incoming.parts is None
                    and not incoming.complete
                    and 5 <= size <= self._whole
                    and ((head := incoming.head).length is None or head.length == size)
                    and PREFIX.unpack_from(data, start) == (0, size - 5)
                ):
                    incoming.complete = True
                    self._requests.append(
                        Request(stream, head.path, head.metadata, data[start + 5 : at], head.timeout)
                    )
                else:
                    self._divided(flags, stream & LARGEST_STREAM, data[start:at])
            elif kind == HEADERS:
                if flags & _SPECIAL == 4:
                    block = data[start:at]
                    meaning = known.get(block)
                    if meaning is None:
                        meaning = self._decoder.decode(block)
                    elif end - before > row_bytes:
                        if behind := self._row(data, before, block, meaning):
                            at = behind
                            continue
                        row_bytes = end
                    self._heading(stream & LARGEST_STREAM, flags, meaning)
                else:
                    self._headers(flags, stream & LARGEST_STREAM, data[start:at])
            else:
                self._other(kind, flags, stream & LARGEST_STREAM, data[start:at])
        return at

    def _awaits_whole(self, stream: int, flags: int, size: int) -> bool:
        incoming = self._streams.get(stream)
        return (
            incoming is not None
            and flags == END_STREAM
            and incoming.parts is None
            and not incoming.complete
            and size <= self._whole
            and incoming.head.length in (None, size)
        )

    def _take_whole(self, stream: int, message: bytes) -> None:
        incoming = self._streams[stream]
        incoming.complete, head = True, incoming.head
        self._requests.append(Request(stream, head.path, head.metadata, message, head.timeout))

    def _row(self, data: bytes, at: int, block: bytes, head: RequestBlock) -> int:
        """Take the requests that come in a row from `at` on; gives where they end, 0 where there is no row."""
        row = self._finder.find(
            data,
            at,
            block,
            head,
            above=self._last,
            most=0 if self.draining else self._most_streams - len(self._streams),
            largest=min(OWN_FRAME, self._whole),
        )
        if row is None:
            self._row_bytes, self._look_again = len(data) - at, self._last + _LOOK_AGAIN
            return 0
        burst, end = row
        self._credit -= len(burst.streams) * (burst.messages.shape[1] + PREFIX.size)
        if self._credit < self._low:
            self._renew_window()
        self._last = burst.streams[-1]
        incoming = Incoming(burst.head, self._stream_window, complete=True)
        self._streams.update(dict.fromkeys(burst.streams, incoming))
        self.bursts.append(burst)
        return end

    def _block(self, stream: int, flags: int, block: bytes) -> None:
        self._heading(stream, flags, self._decoder.decode(block))

    def _heading(self, stream: int, flags: int, head: RequestBlock) -> None:
        """A header block opens a request or, as trailers, ends one."""
        if stream <= self._last or not stream % 2:
            self._trailers(stream, flags, head)
            return
        self._last = stream
        if stream > self._refuse_above or len(self._streams) >= self._most_streams:
            self._end_early(stream, frames.REFUSED_STREAM)
            return
        self._charged += head.cost
        if self._charged > LOOK_AFTER:
            before, self._fields = self._fields, open_fields(head, self._streams)
            self._charged, self.arriving = 0, self.arriving + self._fields - before
        if head.opens and not flags & END_STREAM:
            self._streams[stream] = Incoming(head, self._stream_window)
        else:
            self._unusual(stream, head, ended=bool(flags & END_STREAM))

    def _unusual(self, stream: int, head: RequestBlock, *, ended: bool) -> None:
        """Handle a header block that no message follows.

        It is of a call without one, of what is not gRPC (405, or 415 as the protocol document asks), or malformed.
        """
        if head.malformed is not None or (head.length and ended):
            self._end_early(stream, PROTOCOL_ERROR)
        elif head.opens:
            self._streams[stream] = incoming = Incoming(head, self._stream_window)
            self._complete(stream, incoming)
        else:
            self.out.append(self._replies.declined(stream, b"405" if head.method != "POST" else b"415"))
            if not ended:
                self._end_early(stream, frames.NO_ERROR)

    def _trailers(self, stream: int, flags: int, head: RequestBlock) -> None:
        """A header block for a stream that is not new, or not a client's."""
        if not stream % 2:
            raise ProtocolError(PROTOCOL_ERROR, f"HEADERS on stream {stream}, which is not a client's")
        incoming = self._streams.get(stream)
        if incoming is None:
            if stream not in self._ended:
                raise ProtocolError(PROTOCOL_ERROR, f"HEADERS on stream {stream} after stream {self._last}")
        elif incoming.complete:
            self._reject(stream, frames.STREAM_CLOSED)
        elif not flags & END_STREAM or head.malformed_trailers is not None:
            self._reject(stream, PROTOCOL_ERROR)
        else:
            self._complete(stream, incoming)

    def _divided(self, flags: int, stream: int, payload: bytes) -> None:
        """DATA that is not an undivided request: a part of one, padded, compressed, unexpected."""
        incoming = self._streams.get(stream)
        if incoming is None or incoming.complete:
            if stream == 0 or self._idle(stream):
                raise ProtocolError(PROTOCOL_ERROR, f"DATA for stream {stream}, which was never open")
            if incoming is not None:
                self._reject(stream, frames.STREAM_CLOSED)
            elif stream not in self._ended:
                self._end_early(stream, frames.STREAM_CLOSED)
            return
        incoming.credit -= len(payload)
        if incoming.credit < -self._slack:
            raise ProtocolError(frames.FLOW_CONTROL_ERROR, f"more DATA than the window of stream {stream}")
        if incoming.credit <= self._stream_window // 2 and not flags & END_STREAM:
            self.out.append(frames.window_update(stream, self._stream_window - incoming.credit))
            incoming.credit = self._stream_window
        content = frames.unpadded(flags, payload, prioritised=False)
        if incoming.parts is None:
            incoming.parts = []
        if content:
            unary.gather(incoming.parts, content)
            incoming.size += len(content)
            self.arriving += len(content)
        if flags & END_STREAM:
            self._complete(stream, incoming)
        elif incoming.size > self._largest + PREFIX.size:
            text = f"a request of more than {self._largest} bytes"
            self.respond(stream, unary.RESOURCE_EXHAUSTED, text)

    def _complete(self, stream: int, incoming: Incoming) -> None:
        incoming.complete = True
        head, parts, size = incoming.head, incoming.parts or (), incoming.size
        self._drop(incoming)
        if head.length is not None and head.length != size:
            self._reject(stream, PROTOCOL_ERROR)
            return
        request = Request(stream, head.path, head.metadata, b"", head.timeout)
        try:
            message = unary.one_message(parts, head.encoding, self._largest, at_once=self._at_once)
        except MessageError as problem:
            self.respond(stream, problem.code, str(problem))
        except StillPacked as packed:
            self.packed.append(Packed(request._replace(message=packed.args[0]), self._largest))
        else:
            self._requests.append(request._replace(message=message))
