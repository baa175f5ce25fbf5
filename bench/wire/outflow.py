"""Flow control: bodies within the windows that the peer grants (RFC 9113, 5.2 and 6.9)."""

from bench.wire.frames import (
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEAD,
    LARGEST_WINDOW,
    ProtocolError,
)
from bench.wire.unary import PREFIX

Buffer = bytes | memoryview


class _Body:
    """The rest of one message that is still to be sent."""

    __slots__ = ("closing", "lead", "rest", "size", "stream", "window")

    def __init__(
        self, stream: int, message: bytes, closing: bytes | None, window: int, compressed: int
    ) -> None:
        self.stream = stream
        self.lead = PREFIX.pack(compressed, len(message))
        self.rest = memoryview(message)
        self.size = len(message)
        self.closing = closing
        self.window = window


class Outflow:
    """Sends messages as DATA frames, first come first served, never more than the peer allows.

    A message is cut by memoryview: however small the windows, each byte is copied at most once, when the chunks are joined.
    Frames are put onto `out`, which belongs to the connection.
    """

    def __init__(self, out: list[Buffer]) -> None:
        self.out = out
        self.window = DEFAULT_WINDOW
        """Bytes that the connection may still send."""
        self.largest_frame = DEFAULT_FRAME
        self.quick = DEFAULT_FRAME
        """Up to this size, and within `window`, a new stream's body may leave as one frame without coming here."""
        self.sent: list[tuple[int, int]] = []
        """(stream, chunks in `out` that end with its last byte) of what has been put onto `out` whole, in that order,
        since the owner last emptied this list."""
        self._first = DEFAULT_WINDOW
        self.bodies: dict[int, _Body] = {}
        """What waits for windows, by stream, the oldest first."""
        self.early: dict[int, int] = {}
        """What the peer granted to streams whose message is not there yet."""
        self.held = 0
        """Bytes of the messages that wait for the peer's windows, each counted whole until its last byte left."""

    def send(
        self, stream: int, message: bytes, closing: bytes | None, *, spent: int = 0, compressed: int = 0
    ) -> None:
        """Send a new stream's message as the windows permit; `closing` follows it (None: END_STREAM on its DATA).

        `spent`: bytes of the stream's window that messages before this one have taken. `compressed`: 1 where it is.
        """
        body = _Body(stream, message, closing, self._first - spent + self.early.pop(stream, 0), compressed)
        if not self._advance(body):
            self.bodies[stream] = body
            self.held += body.size

    def drop(self, stream: int) -> bool:
        """Forget what is left of a stream's message; False where nothing was left."""
        self.early.pop(stream, None)
        body = self.bodies.pop(stream, None)
        if body is None:
            return False
        self.held -= body.size
        return True

    def grant(self, stream: int, increment: int, *, awaited: bool = False) -> None:
        """A WINDOW_UPDATE by the peer; `pump` has to follow. Raises ProtocolError beyond 2^31 - 1.

        `awaited`: the stream is open and its message will come.
        """
        if stream == 0:
            self.window += increment
            if self.window > LARGEST_WINDOW:
                raise ProtocolError(FLOW_CONTROL_ERROR, "the connection's window exceeds 2^31 - 1")
        elif (body := self.bodies.get(stream)) is not None:
            body.window += increment
            if body.window > LARGEST_WINDOW:
                raise ProtocolError(FLOW_CONTROL_ERROR, f"the window of stream {stream} exceeds 2^31 - 1")
        elif awaited:
            granted = self.early[stream] = self.early.get(stream, 0) + increment
            if self._first + granted > LARGEST_WINDOW:
                raise ProtocolError(FLOW_CONTROL_ERROR, f"the window of stream {stream} exceeds 2^31 - 1")

    def resize(self, first_window: int) -> None:
        """The peer's SETTINGS_INITIAL_WINDOW_SIZE, also for streams under way; windows may become negative."""
        for body in self.bodies.values():
            body.window += first_window - self._first
            if body.window > LARGEST_WINDOW:
                raise ProtocolError(
                    FLOW_CONTROL_ERROR, f"the window of stream {body.stream} exceeds 2^31 - 1"
                )
        if self.early and first_window + max(self.early.values()) > LARGEST_WINDOW:
            raise ProtocolError(FLOW_CONTROL_ERROR, "the window of a stream exceeds 2^31 - 1")
        self._first = first_window
        self.quick = min(self._first, self.largest_frame)

    def reframe(self, largest_frame: int) -> None:
        """The peer's SETTINGS_MAX_FRAME_SIZE."""
        self.largest_frame = largest_frame
        self.quick = min(self._first, largest_frame)

    def pump(self) -> None:
        """Send what the windows now permit, the oldest message first."""
        done = []
        for stream, body in self.bodies.items():
            if self.window <= 0:
                break
            if self._advance(body):
                done.append(stream)
        for stream in done:
            self.held -= self.bodies.pop(stream).size

    def _advance(self, body: _Body) -> bool:
        """Put as much as is allowed onto `out`; True when nothing is left."""
        while True:
            left = len(body.lead) + len(body.rest)
            size = min(left, self.window, body.window, self.largest_frame)
            if size <= 0:
                return False
            last = size == left
            self.window -= size
            body.window -= size
            flags = END_STREAM if last and body.closing is None else 0
            self.out.append(HEAD.pack(size << 8 | DATA, flags, body.stream))
            if body.lead:
                if size < len(body.lead):  # a window of less than the length prefix: from here on one piece
                    body.rest, body.lead = memoryview(body.lead + bytes(body.rest)), b""
                else:
                    self.out.append(body.lead)
                    size, body.lead = size - len(body.lead), b""
            self.out.append(body.rest[:size])
            body.rest = body.rest[size:]
            if last:
                if body.closing is not None:
                    self.out.append(body.closing)
                self.sent.append((body.stream, len(self.out)))
                return True
