"""The parts of an HTTP/2 connection that client and server share (RFC 9113).

Sans-I/O: bytes go in through `receive`, bytes to send gather in `out`; there is no socket, no clock, no event loop.
The roles are `http2_client.ClientConnection` and `http2_server.ServerConnection`. A peer that breaks the protocol
ends the connection: `closed` then tells why, and `out` ends with a GOAWAY that carries the right error code.
"""

from abc import ABC, abstractmethod
from typing import Any, Final

from bench.wire import frames
from bench.wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEAD,
    HEAD_SIZE,
    LARGEST_FRAME,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ProtocolError,
)
from bench.wire.outflow import Buffer, Outflow
from bench.wire.unary import PREFIX

LARGEST_LIST: Final = (
    65_536  # bytes of header fields in one block, as announced and as enforced on raw blocks
)
OWN_FRAME: Final = 1_048_576  # the largest frame we accept: a batch of 32 images in one piece
_LONG: Final = 16_384
"""Bytes of a frame from which its pieces are kept apart until its message is made of them."""

Partial = tuple[int, int, bytearray]
"""Stream, flags and first part of a header block that CONTINUATION frames go on with."""


class Connection(ABC):
    """One end of a connection: framing, settings, flow control, header blocks in pieces, pings, the end."""

    def __init__(self, *, stream_window: int, connection_window: int, extra: dict[int, int]) -> None:
        self.out: list[Buffer] = []
        """Chunks to send, in order. The owner takes them with `take`."""
        self.closed: str | None = None
        """Why the connection ended; from then on `receive` does nothing. None: it lives."""
        self.settled = False
        """Whether the peer's first SETTINGS have come: only then its limits are known."""
        if connection_window < DEFAULT_WINDOW:
            raise ValueError(f"a connection's window cannot be less than {DEFAULT_WINDOW}")
        self._outflow = Outflow(self.out)
        self._stream_window = stream_window
        # Until the peer has acknowledged our SETTINGS it may send as much as the first window of the protocol allows.
        self._slack = max(0, DEFAULT_WINDOW - stream_window)
        self._connection_window = connection_window
        self._credit = connection_window
        self._low = connection_window // 2
        self._held: list[Buffer] = []
        self.held = 0
        """Bytes of a frame that is not complete yet."""
        self.arriving = 0
        """Bytes of header blocks and messages that are not complete yet."""
        self._need = HEAD_SIZE
        self._greeted = True
        self._partial: Partial | None = None
        self._streams: dict[int, Any] = {}
        """What is under way, by stream; the role says what that is."""
        self._greeting = frames.settings(
            {
                frames.HEADER_TABLE_SIZE: 0,
                frames.INITIAL_WINDOW_SIZE: stream_window,
                frames.MAX_FRAME_SIZE: OWN_FRAME,
                frames.MAX_HEADER_LIST_SIZE: LARGEST_LIST,
                **extra,
            }
        )
        if connection_window > DEFAULT_WINDOW:
            self._greeting += frames.window_update(0, connection_window - DEFAULT_WINDOW)

    @property
    def unsent(self) -> int:
        """Bytes of messages that wait for the peer's windows: what a peer that reads nothing makes us keep."""
        return self._outflow.held

    def ping(self) -> None:
        """Ask the peer for a sign of life; it has to answer at once."""
        self.out.append(frames.frame(PING, 0, 0, b"alive?\0\0"))

    def take(self) -> bytes:
        """All bytes to send now, joined; empties `out`."""
        joined = b"".join(self.out)
        self.out.clear()
        return joined

    def _feed(self, data: bytes) -> None:
        """Handle all whole frames; an unfinished one is held back until the rest of it has come.

        Held pieces are joined only when they complete the frame, so that a large frame in many reads costs two
        copies, that of the kernel included, and not one for each read.
        """
        if self.closed is not None:
            return
        held = self._held
        if held:
            held.append(data)
            self.held += len(data)
            if self.held < self._need:
                return
        try:
            if held:
                data = self._release_held(data)
            at = 0 if self.settled else self._open(data)
            at = self._frames(data, at)
            if self._outflow.bodies:
                self._outflow.pump()
        except ProtocolError as violation:
            self._end(violation.code, str(violation))
            return
        left = len(data) - at
        if left:
            # a view keeps all that was read: not for the sake of a few bytes of it
            held.append((memoryview(data)[at:] if left > at else data[at:]) if at else data)
            self.held = left
            whole = left >= HEAD_SIZE and self._greeted
            self._need = HEAD_SIZE + int.from_bytes(data[at : at + 3], "big") if whole else left + 1

    def _release_held(self, data: bytes) -> bytes:
        """Give what is to be handled now that the held frame is complete: all of it, or what follows long DATA.

        data: what was read last.
        """
        held, over, first = self._held[:], self.held - self._need, self._held[0]
        self._held.clear()
        self.held = 0
        start = HEAD_SIZE + PREFIX.size
        if self._need < _LONG or len(first) < start or not self.settled or self._partial is not None:
            return b"".join(held)
        word, flags, stream = HEAD.unpack_from(first)
        if word & 0xFF != DATA:
            return b"".join(held)
        size = word >> 8
        self._credit -= size
        if self._credit < self._low:
            self._renew_window()
        whole = PREFIX.unpack_from(first, HEAD_SIZE) == (0, size - PREFIX.size)
        whole = self._awaits_whole(stream, flags, size) and whole
        held[0] = memoryview(first)[start if whole else HEAD_SIZE :]
        held[-1] = memoryview(data)[: len(data) - over]
        content = b"".join(held)
        if whole:
            self._take_whole(stream, content)
        else:
            self._divided(flags, stream & LARGEST_STREAM, content)
        return data[len(data) - over :]

    @abstractmethod
    def _divided(self, flags: int, stream: int, payload: bytes) -> None:
        """DATA that is not one undivided message and all that its stream waits for."""

    @abstractmethod
    def _awaits_whole(self, stream: int, flags: int, size: int) -> bool:
        """Whether DATA of this size, with one message in it, is all that this stream waits for."""

    @abstractmethod
    def _take_whole(self, stream: int, message: bytes) -> None:
        """Take the message of such a frame."""

    @abstractmethod
    def _open(self, data: bytes) -> int:
        """Check how the peer opens; gives where its frames start. Called until its SETTINGS have come."""

    @abstractmethod
    def _frames(self, data: bytes, at: int) -> int:
        """Handle the whole frames from `at` on; gives where the unfinished one starts."""

    @abstractmethod
    def _block(self, stream: int, flags: int, block: bytes) -> None:
        """A complete header block has come."""

    @abstractmethod
    def _reset(self, stream: int, code: int) -> None:
        """The peer ended a stream."""

    @abstractmethod
    def _peer_leaves(self, last_stream: int, code: int, text: str) -> None:
        """The peer sent GOAWAY."""

    @abstractmethod
    def _setting(self, identifier: int, value: int) -> None:
        """A setting that concerns this role; others are handled here."""

    @abstractmethod
    def _idle(self, stream: int) -> bool:
        """Whether this stream has never been opened."""

    @abstractmethod
    def _last_peer_stream(self) -> int:
        """The highest stream that the peer opened, for GOAWAY."""

    def refuse_more(self, text: str) -> None:
        """End the connection since there is no room for more of what it brings; what has come of it is dropped."""
        self._end(ENHANCE_YOUR_CALM, text)

    def _end(self, code: int, text: str) -> None:
        """Close the connection by our own decision."""
        if self.closed is None:
            self.closed = text
            self.out.append(frames.goaway(self._last_peer_stream(), code, text))
            self._held.clear()
            self.held = self.arriving = 0

    def _renew_window(self) -> None:
        """Give the connection's window back when half of it is used; to be called when `_credit` is below `_low`."""
        if self._credit < 0:
            raise ProtocolError(FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        self.out.append(frames.window_update(0, self._connection_window - self._credit))
        self._credit = self._connection_window

    def _other(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Every frame but DATA and whole HEADERS, which the roles handle in their loops."""
        if kind == WINDOW_UPDATE:
            self._window_update(stream, payload)
        elif kind == PING:
            if stream or len(payload) != 8:
                raise ProtocolError(PROTOCOL_ERROR if stream else FRAME_SIZE_ERROR, "a malformed PING")
            if not flags & ACK:
                self.out.append(frames.frame(PING, ACK, 0, payload))
        elif kind == SETTINGS:
            self._settings(flags, stream, payload)
        elif kind == RST_STREAM:
            if len(payload) != 4:
                raise ProtocolError(FRAME_SIZE_ERROR, "a RST_STREAM that is not 4 bytes long")
            if stream == 0 or self._idle(stream):
                raise ProtocolError(PROTOCOL_ERROR, f"RST_STREAM for stream {stream}, which was never open")
            self._reset(stream, int.from_bytes(payload, "big"))
        elif kind == GOAWAY:
            if stream or len(payload) < 8:
                raise ProtocolError(PROTOCOL_ERROR if stream else FRAME_SIZE_ERROR, "a malformed GOAWAY")
            text = payload[8:].decode("utf-8", "replace")
            self._peer_leaves(frames.word(payload), int.from_bytes(payload[4:8], "big"), text)
        elif kind == PRIORITY:
            if stream == 0 or len(payload) != 5:
                raise ProtocolError(FRAME_SIZE_ERROR if stream else PROTOCOL_ERROR, "a malformed PRIORITY")
        elif kind == CONTINUATION:
            raise ProtocolError(PROTOCOL_ERROR, "CONTINUATION without a header block to continue")
        elif kind == PUSH_PROMISE:
            raise ProtocolError(PROTOCOL_ERROR, "PUSH_PROMISE, which is switched off")
        # RFC 9113, 4.1: frames of unknown types are ignored

    def _window_update(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(FRAME_SIZE_ERROR, "a WINDOW_UPDATE that is not 4 bytes long")
        if stream and self._idle(stream):
            raise ProtocolError(PROTOCOL_ERROR, f"WINDOW_UPDATE for stream {stream}, which was never open")
        increment = frames.word(payload)
        if increment == 0:
            raise ProtocolError(PROTOCOL_ERROR, "a WINDOW_UPDATE of 0")
        self._outflow.grant(stream, increment, awaited=stream in self._streams)

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ProtocolError(PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ProtocolError(FRAME_SIZE_ERROR, "a SETTINGS acknowledgement with content")
            self._slack = 0
            return
        if len(payload) % 6:
            raise ProtocolError(FRAME_SIZE_ERROR, "SETTINGS whose length is not a multiple of 6")
        for identifier, value in frames.read_settings(payload):
            if identifier == frames.INITIAL_WINDOW_SIZE:
                if value > LARGEST_WINDOW:
                    raise ProtocolError(FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE {value}")
                self._outflow.resize(value)
            elif identifier == frames.MAX_FRAME_SIZE:
                if not DEFAULT_FRAME <= value <= LARGEST_FRAME:
                    raise ProtocolError(PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE {value}")
                self._outflow.reframe(value)
            elif identifier == frames.ENABLE_PUSH and value > 1:
                raise ProtocolError(PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH {value}")
            else:
                self._setting(identifier, value)
        self.settled = True
        self.out.append(frames.frame(SETTINGS, ACK, 0))

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        """HEADERS with padding, priority fields or without END_HEADERS."""
        block = frames.unpadded(flags, payload, prioritised=True)
        if flags & frames.END_HEADERS:
            self._block(stream, flags, block)
        else:
            self._partial = (stream, flags, bytearray(block))
            self.arriving += len(block)

    def _continue(self, partial: Partial, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """The only frame allowed between HEADERS without END_HEADERS and the block's end."""
        opened, first_flags, block = partial
        if kind != CONTINUATION or stream != opened:
            raise ProtocolError(PROTOCOL_ERROR, "a header block interrupted by another frame")
        # Endless CONTINUATION frames would fill the memory, empty ones the processor (CVE-2024-27316 and its kin).
        if not payload and not flags & frames.END_HEADERS:
            raise ProtocolError(ENHANCE_YOUR_CALM, "an empty CONTINUATION in the middle of a header block")
        block += payload
        self.arriving += len(payload)
        if len(block) > LARGEST_LIST:
            raise ProtocolError(ENHANCE_YOUR_CALM, f"a header block of more than {LARGEST_LIST} bytes")
        if flags & frames.END_HEADERS:
            self._partial = None
            self.arriving -= len(block)
            self._block(stream, first_flags, bytes(block))
