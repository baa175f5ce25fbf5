"""Fuzz both ends of a connection with frames.

The first byte of an input chooses the end and how it was prepared, the second how the rest is cut into reads. What
follows are frames for that end: HTTP/2 as it is, or (choice bit 4) with each frame's length put right, so that a
mutated payload does not hide everything behind it.
"""

import struct

from bench.wire import frames
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.http2_client import ClientConnection
from bench.wire.http2_server import ServerConnection
from bench.wire.request_rows import Alike
from tests.wire.wires import GREETING, answer_frames

LARGEST = 100_000  # bytes of one message
HEADS = [RequestHead("/t.Test/Echo"), RequestHead("/t.Test/Other", 1.0, [("x-id", "7")])]


def mended(data: bytes) -> bytes:
    """Frames given as (type, flags, stream's last byte, length byte, payload) with proper headers."""
    out, at = [], 0
    while at + 4 <= len(data):
        kind, flags, stream, size = struct.unpack_from("BBBB", data, at)
        payload = data[at + 4 : at + 4 + size]
        out.append(frames.frame(kind % 12, flags, stream, payload))
        at += 4 + size
    return b"".join(out)


def pieces(data: bytes, cut: int) -> list[bytes]:
    size = cut or max(1, len(data))
    return [data[at : at + size] for at in range(0, len(data), size)]


def well_formed(sent: bytes) -> None:
    """What an end sends is whole frames, none of them larger than the peer may have allowed at most."""
    at = len(frames.PREFACE) if sent.startswith(frames.PREFACE) else 0
    while at < len(sent):
        word, _, _ = frames.HEAD.unpack_from(sent, at)
        if word >> 8 > frames.LARGEST_FRAME or word & 0xFF > frames.CONTINUATION:
            raise AssertionError("a frame that cannot be")
        at += 9 + (word >> 8)
    if at != len(sent):
        raise AssertionError("half a frame was sent")


def attack_client(choice: int, cut: int, data: bytes) -> None:
    window = 70_000 if choice & 8 else frames.LARGEST_WINDOW
    client = ClientConnection(
        "test:1", largest_message=LARGEST, stream_window=window, connection_window=window
    )
    if choice & 2:
        client.receive(
            frames.settings({frames.MAX_CONCURRENT_STREAMS: 3}) + frames.frame(frames.SETTINGS, 1, 0)
        )
    started = [Exchange(HEADS[n % 2], bytes(n * 30_000)) for n in range(5)]
    for exchange in started:
        client.request(exchange)
    ended: list[Exchange] = []
    cancelled = []
    if choice & 128:  # a plain answer has shown what they look like
        ended += client.receive(GREETING + answer_frames(1, b"first"))
    for number, part in enumerate(pieces(data, cut)):
        ended += client.receive(part)
        if choice & 32 and number == 1 and client.cancel(started[2]):
            cancelled.append(started[2])
    alive = client.closed is None
    ended += client.lose("the end") if choice & 64 or not alive else client.close()
    finished = [*ended, *client.returned, *cancelled]
    if len(finished) != len(started) or {id(one) for one in finished} != {id(one) for one in started}:
        raise AssertionError("an exchange ended twice or never")
    for exchange in ended:
        if exchange.status is None or (exchange.status == 0) != (exchange.message is not None):
            raise AssertionError("an end without a status, or with a wrong message")
    if client.in_flight:
        raise AssertionError("something is left in flight")
    well_formed(client.take())
    if client.receive(b"\0" * 20):
        raise AssertionError("it lives on after its end")


def attack_server(choice: int, cut: int, data: bytes) -> None:
    window = 70_000 if choice & 8 else frames.LARGEST_WINDOW
    most = 40 if choice & 64 else 4
    server = ServerConnection(
        most_streams=most,
        largest_message=LARGEST,
        stream_window=window,
        connection_window=window,
        take_bursts=bool(choice & 64),
    )
    if choice & 2:
        server.receive(frames.PREFACE + frames.settings({}) + frames.frame(frames.SETTINGS, 1, 0))
    open_requests = []
    for part in pieces(data, cut):
        for request in server.receive(part):
            if choice & 32:
                open_requests.append(request)
            elif len(request.message) % 3:
                server.respond(request.stream, len(request.message) % 17, "wärum % not")
            else:
                server.respond(request.stream, message=request.message * 3)
        for burst in server.bursts:
            server.respond_all(burst.streams, Alike(b"", burst.messages, b"!"))
        server.bursts.clear()
    for request in open_requests:
        server.respond(request.stream, message=bytes(20_000))
    if server.in_flight > most:
        raise AssertionError("more streams than allowed")
    partial = 0 if server._partial is None else len(server._partial[2])
    kept = sum(each.size for each in server._streams.values()) + partial + server._fields
    if server.arriving != (kept if server.closed is None else 0):
        raise AssertionError("what is unfinished is counted wrongly")
    if server.closed is None:
        server.shut_down()
    well_formed(server.take())


def attack(data: bytes) -> None:
    """Raises whatever should not be."""
    if len(data) < 2:
        return
    choice, cut = data[0], data[1]
    content = mended(data[2:]) if choice & 16 else data[2:]
    if choice & 1:
        attack_server(choice, cut, content)
    else:
        attack_client(choice, cut, content)
