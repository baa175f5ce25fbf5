"""Both ends of a connection without sockets: bytes carried between them in any pieces, and frames read back."""

from collections.abc import Callable, Iterator

from bench.wire import frames
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.header_blocks import literal
from bench.wire.http2_client import ClientConnection
from bench.wire.http2_server import ServerConnection
from bench.wire.unary import Request

Cut = Callable[[bytes], Iterator[bytes]]
Frame = tuple[int, int, int, bytes]  # type, flags, stream, payload
GREETING = frames.settings({})
OPENING = b"\x88" + literal(b"content-type", b"application/grpc")
OK = literal(b"grpc-status", b"0")


def whole(data: bytes) -> Iterator[bytes]:
    if data:
        yield data


def pieces(size: int) -> Cut:
    return lambda data: (data[at : at + size] for at in range(0, len(data), size))


def echo(server: ServerConnection, request: Request) -> None:
    server.respond(request.stream, message=request.message)


def converse(
    client: ClientConnection,
    server: ServerConnection,
    cut: Cut = whole,
    answer: Callable[[ServerConnection, Request], None] = echo,
) -> list[Exchange]:
    """Carry bytes to and fro until both are silent; gives the exchanges that ended."""
    ended: list[Exchange] = []
    while True:
        up = client.take()
        for part in cut(up):
            for request in server.receive(part):
                answer(server, request)
        down = server.take()
        for part in cut(down):
            ended += client.receive(part)
        if not up and not down:
            return ended


def read_frames(data: bytes) -> list[Frame]:
    """The frames of what a server sent, or of what a client sent after its preface."""
    data = data.removeprefix(frames.PREFACE)
    found, at = [], 0
    while at < len(data):
        word, flags, stream = frames.HEAD.unpack_from(data, at)
        size = word >> 8
        assert at + 9 + size <= len(data), "a frame is cut short"
        found.append((word & 0xFF, flags, stream, data[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def message(content: bytes, flag: int = 0) -> bytes:
    """A message with gRPC's prefix."""
    return bytes([flag]) + len(content).to_bytes(4, "big") + content


def settled_client(settings: dict[int, int] | None = None, **options: object) -> ClientConnection:
    """A client that has had the server's SETTINGS, and whose own opening has been taken."""
    client = ClientConnection("test:1", **options)  # type: ignore[arg-type]  # options are passed on
    client.receive(frames.settings(settings or {}))
    client.take()
    return client


def settled_server(settings: dict[int, int] | None = None, **options: object) -> ServerConnection:
    """A server that has had the client's opening, and whose own has been taken."""
    server = ServerConnection(**options)  # type: ignore[arg-type]
    server.receive(frames.PREFACE + frames.settings(settings or {}))
    server.take()
    return server


def asked(client: ClientConnection, content: bytes = b"question", path: str = "/t.Test/Echo") -> Exchange:
    exchange = Exchange(RequestHead(path), content)
    client.request(exchange)
    return exchange


def answer_frames(stream: int, content: bytes) -> bytes:
    """A whole answer as a server sends it."""
    return (
        frames.frame(frames.HEADERS, 4, stream, OPENING)
        + frames.frame(frames.DATA, 0, stream, message(content))
        + frames.frame(frames.HEADERS, 5, stream, OK)
    )


def goaway_code(data: bytes) -> int | None:
    """The error code of the GOAWAY that ends what an end sent; None where there is none."""
    kind, _, _, payload = read_frames(data)[-1]
    return int.from_bytes(payload[4:8], "big") if kind == frames.GOAWAY else None
