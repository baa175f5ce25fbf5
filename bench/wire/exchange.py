"""One unary call from the client's side: its request and the response so far."""

from collections.abc import Sequence

from bench.wire import unary
from bench.wire.unary import PREFIX, MessageError, ResponseBlock


class RequestHead:
    """The header fields of calls that differ in their messages only; encoded once for each connection."""

    __slots__ = ("limit", "passing", "path")

    def __init__(
        self, path: str, timeout: float | None = None, metadata: Sequence[tuple[str, str]] = ()
    ) -> None:
        """`timeout` in seconds, rounded up to three digits; None: no limit. Raises ValueError for a path or metadata that no header can carry."""
        if not path.startswith("/") or not path.isascii() or not path.isprintable():
            raise ValueError(f"method {path!r} is not of the form /package.Service/Method")
        self.path = path.encode()
        self.limit = None if timeout is None else unary.quantised(timeout)
        self.passing = unary.passing_fields(self.limit, metadata)


class Exchange:
    """One unary call. `status`, `details` and `message` are the answer; the other fields are the connection's."""

    __slots__ = (
        "awaits",
        "credit",
        "details",
        "encoding",
        "head",
        "held_since",
        "length",
        "message",
        "parts",
        "request",
        "retried",
        "sent",
        "size",
        "status",
        "stream",
    )

    def __init__(self, head: RequestHead, request: bytes) -> None:
        self.head = head
        self.request = request
        self.retried = 0
        """How often a server gave it back unprocessed, other than behind calls that it has served."""
        self.held_since: float | None = None
        """When it was to leave, on the same clock as `sent`, where it could not leave at once; None: it could."""
        self.sent: float | None = None
        """When its last byte was handed to the kernel, on the clock of whoever does the sending; None: never."""
        self.stream = 0
        self.status: int | None = None
        """gRPC status; None: not ended."""
        self.details = ""
        self.message: bytes | None = None
        """The answer's only message; None on errors."""
        self.encoding: bytes | None = None
        """grpc-encoding of the response; None: the response has not been opened."""
        self.length: int | None = None
        """content-length of the response; None: not announced."""
        self.awaits = False
        """Whether the response has been opened and nothing of its body has come."""
        self.parts: list[bytes | bytearray] | None = None
        """The response's body where it did not come in one frame."""
        self.size = 0
        """Bytes in `parts`."""
        self.credit = 0
        """Bytes that the server may still send, once the response has been opened."""

    def hold(self, now: float) -> bool:
        """Note that it cannot leave at once; False where that is known, or it was sent before."""
        first = self.held_since is None and self.sent is None
        if first:
            self.held_since = now
        return first

    def renew(self) -> None:
        """Make it fit to be sent again on another connection."""
        retried, held_since, sent = self.retried, self.held_since, self.sent
        Exchange.__init__(self, self.head, self.request)
        self.retried, self.held_since, self.sent = retried, held_since, sent

    def add(self, content: bytes, largest: int) -> tuple[int, str] | None:
        """Take a part of the body; gives status and details as soon as it is known to be too large."""
        parts = self.parts
        self.awaits = False
        if parts is None:
            parts = self.parts = []
            if self.message is not None:  # more follows a message that had come whole
                parts.append(PREFIX.pack(0, len(self.message)) + self.message)
                self.size = len(parts[0])
                self.message = None
        if content:
            unary.gather(parts, content)
            self.size += len(content)
        if len(parts) > 1 and len(parts[0]) < PREFIX.size:
            parts[:] = [b"".join(parts)]
        if parts and len(parts[0]) >= PREFIX.size:
            length: int = PREFIX.unpack_from(parts[0])[1]
            if length > largest:
                return unary.RESOURCE_EXHAUSTED, f"an answer of {length} bytes exceeds the limit of {largest}"
            if self.size - PREFIX.size > length:
                return unary.INTERNAL, "more than one message in a unary call"
        return None

    def settle(self, block: ResponseBlock, largest: int) -> None:
        """Take the block that ends the response; every case, of which the connection handles the plain one itself."""
        if block.status is None and block.refusal is not None and self.encoding is None:
            self.fail(*block.refusal)
        elif self.encoding is not None and block.closing is not None:
            self.fail(unary.INTERNAL, f"the server sent malformed trailers: {block.closing}")
        elif self.encoding is None and block.malformed:
            self.fail(*(block.refusal or (unary.INTERNAL, "the server sent a malformed header block")))
        elif (length := block.length if self.encoding is None else self.length) not in (None, self.size):
            self.fail(unary.INTERNAL, f"the server announced {length} bytes of content and sent {self.size}")
        elif block.status is None:
            self.fail(unary.UNKNOWN, "the server ended the call without grpc-status")
        elif block.status != unary.OK:
            self.fail(block.status, block.details)
        elif self.message is not None:
            self.status = unary.OK
        else:
            try:
                self.message = unary.one_message(self.parts or (), self.encoding or b"identity", largest)
            except MessageError as problem:
                self.fail(problem.code, str(problem))
            else:
                self.status, self.parts = unary.OK, None

    def fail(self, status: int, details: str) -> None:
        """End it with an error."""
        self.status, self.details, self.message, self.parts = status, details, None, None
