"""What clients leave unfinished is bounded for all of them together, and whoever sends whole requests notices nothing."""

import contextlib
import fcntl
import socket
import termios
import threading
from collections.abc import Iterator

import grpc
import pytest

from bench.launch import server_process
from bench.launch.server_process import Server
from bench.server.net import http1
from bench.server.net.http1 import Plain
from bench.server.net.unfinished import FREE, NoRoomError, Unfinished
from bench.server.net.web import Web
from bench.wire import frames, messages
from tests.server.clients import LONG, RawClient, channel, eventually, unread

LARGEST = 256 << 10
BODY = 200 << 10


def test_what_was_refused_is_not_counted() -> None:
    budget = Unfinished(4 * FREE)
    assert budget.change(0, FREE) == 0, "a small request costs nothing"
    first = budget.change(0, 2 * FREE)
    second = budget.change(0, 2 * FREE)
    with pytest.raises(NoRoomError, match="try again later"):
        budget.change(second, 3 * FREE)
    assert budget.bytes == 4 * FREE
    second = budget.change(second, FREE)
    assert (second, budget.bytes) == (0, 2 * FREE)
    assert budget.change(first, 0) == budget.bytes == 0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with server_process.embedded(["--backend=null", "--echo", f"--max-message-bytes={LARGEST}"]) as made:
        yield made


def unsent(sock: socket.socket) -> int:
    """Bytes that the other side has not taken from us yet."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), "little")


def holds(server: Server, client: RawClient) -> bool:
    """Whether the server keeps what was sent; it has ended the connection with ENHANCE_YOUR_CALM where it does not."""
    eventually(lambda: not unsent(client.sock) and not unread(server.address))
    with RawClient(server.address) as other:
        other.await_taken()  # and so what was read before has been handled
    client.sock.setblocking(False)
    try:
        for kind, _flags, _stream, payload in client.frames():
            if kind == frames.GOAWAY:
                assert int.from_bytes(payload[4:8], "big") == frames.ENHANCE_YOUR_CALM
                assert b"try again later" in payload
                return False
    except BlockingIOError:
        return True
    raise AssertionError("closed without a word")


@pytest.mark.parametrize("how", ["requests", "half a frame"])
def test_all_connections_share_one_bound(server: Server, how: str) -> None:
    """8 clients keep 200 kB each, of which four times 256 kB are allowed; a small call is answered beside them."""
    call = RawClient.call(1, bytes(BODY), whole=False)
    if how == "half a frame":
        head = RawClient.call(1, b"", whole=False)[: -len(frames.frame(frames.DATA, 0, 1, bytes(5)))]
        call = head + frames.frame(frames.DATA, 0, 1, bytes(BODY))[:-1]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.address)) for _ in range(8)]
        held = 0
        for client in clients:
            client.sock.sendall(call)
            held += holds(server, client)
        assert held == 4 * LARGEST // BODY
        with channel(server.address) as through:
            assert through.unary_unary(messages.PREDICT)(b"small", timeout=LONG) == b"small"
    with channel(server.address) as through:  # they have gone: there is room again
        whole = bytes(LARGEST - 10)
        eventually(lambda: echoed(through, whole))


def echoed(through: grpc.Channel, message: bytes) -> bool:
    try:
        return bool(through.unary_unary(messages.PREDICT)(message, timeout=LONG) == message)
    except grpc.RpcError:
        return False


@contextlib.contextmanager
def web(answer: http1.Answer, unfinished: Unfinished) -> Iterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    limits = http1.Limits(threads=1, seconds=LONG, connections=9, body_bytes=1 << 20, unfinished=unfinished)
    made = Web(listener, answer, limits)
    made.start()
    try:
        yield listener.getsockname()
    finally:
        made.stop(1)


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def test_bodies_of_rest_requests_share_it_too() -> None:
    budget = Unfinished(100_000)
    with web(lambda *_: Plain(200), budget) as address, contextlib.ExitStack() as stack:
        first, second, third = (
            stack.enter_context(socket.create_connection(address, LONG)) for _ in range(3)
        )
        for number, sock in enumerate((first, second), 1):
            sock.sendall(HEAD % 50_000 + bytes(40_000))
            eventually(lambda number=number: budget.bytes == 40_000 * number)
        third.sendall(HEAD % 50_000 + bytes(40_000))
        assert third.recv(1000).startswith(b"HTTP/1.1 503")
        assert budget.bytes == 80_000
        first.sendall(bytes(10_000))
        assert first.recv(1000).startswith(b"HTTP/1.1 200")
        second.close()
        eventually(lambda: budget.bytes == 0)


def test_what_a_client_sends_ahead_stays_in_its_socket() -> None:
    """While a request is being answered, 64 MiB of further ones are not read."""
    go_on = threading.Event()

    def answer(*_: object) -> Plain:
        go_on.wait(LONG)
        return Plain(200)

    with (
        web(answer, Unfinished()) as address,
        socket.create_connection(address, LONG) as sock,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(go_on.set)
        sock.sendall(HEAD % 0)
        sock.settimeout(0.5)
        sent, piece = 0, (HEAD % 1000 + bytes(1000)) * 100
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += sock.send(piece)
        assert sent < 32 << 20
        go_on.set()
        sock.settimeout(LONG)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
