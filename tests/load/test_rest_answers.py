"""Whatever a REST server answers becomes a recorded reply."""

import contextlib

import gevent
import gevent.event
import gevent.socket
import pytest
from gevent.server import StreamServer

from tests.load.over_rest import connection_to
from tests.load.test_rest import asking_for


def http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


GOOD = b'{"predictions": [[1.5]]}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ODD = {
    "a list": (http(b"[]"), 13),
    "a number": (http(b"5"), 13),
    "null": (http(b"null"), 13),
    "predictions that are a number": (http(b'{"predictions": 5}'), 13),
    "predictions that are null": (http(b'{"predictions": null}'), 0),
    "rows of other outputs": (http(b'{"predictions": [{"z": 1}, 2]}'), 0),
    "uneven rows": (http(b'{"predictions": [[1], [2, 3]]}'), 13),
    "JSON that is nested too deeply": (http(b'{"predictions": ' + b"[" * 100_000), 13),
    "a number of thousands of digits": (http(b'{"predictions": [' + b"9" * 5000 + b"]}"), 13),
    "broken base64": (http(b'{"predictions": [{"b64": "?"}, {"b64": 1}]}'), 13),
    "no UTF-8": (http(b"\xff\xfe\x00"), 13),
    "no JSON": (http(b"<html>"), 13),
    "nothing": (http(b""), 13),
    "another status": (http(b"?", b"429 Busy"), 8),
    "a status that nobody knows": (http(b"?", b"799 Odd"), 2),
    "a broken status line": (b"HTTP/1.1\r\nContent-Length: 1\r\n\r\n.", 14),
    "a status of one digit": (http(b"?", b"4 Odd"), 14),
    "a status of four digits": (http(b"?", b"2000 OK"), 14),
    "a status that is no number": (http(b"?", b"ok"), 14),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 14),
    "a negative length": (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", 14),
    "a length that is no number": (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", 14),
    "a length beyond all memory": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", 8),
    "headers without end": (b"HTTP/1.1 200 OK\r\n" + b"x-more: yes\r\n" * 10_000, 14),
    "an end within the head": (b"HTTP/1.1 200 OK\r\nCon", 14),
    "an end within the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", 14),
    "a broken chunk": (CHUNKED + b"zz\r\n", 14),
    "chunks": (CHUNKED + b"a\r\n" + GOOD[:10] + b"\r\ne\r\n" + GOOD[10:] + b"\r\n0\r\n\r\n", 0),
    "an informational answer before it": (b"HTTP/1.1 100 Continue\r\n\r\n" + http(GOOD), 0),
    "a body that ends with the connection": (b"HTTP/1.1 200 OK\r\n\r\n" + GOOD, 0),
    "an answer": (http(GOOD), 0),
}


@pytest.mark.parametrize(("sent", "status"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("pieces", [0, 7])
def test_whatever_comes_back_is_an_outcome(sent: bytes, status: int, pieces: int) -> None:
    """Also in pieces; and the next request on the connection, or on a new one, gets its own answer."""
    if pieces and len(sent) > 1000:
        pytest.skip("as much in pieces says nothing more")
    asked = []

    def answer(sock: gevent.socket.socket, _: object) -> None:
        while sock.recv(1000):
            asked.append(1)
            parts = [sent] if not pieces else [sent[at : at + pieces] for at in range(0, len(sent), pieces)]
            for part in parts if len(asked) == 1 else [http(GOOD)]:
                sock.sendall(part)
                gevent.sleep(0)
            if len(asked) == 1 and (
                status == 14 or (b"Content-Length" not in sent and b"chunked" not in sent)
            ):
                return

    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    connection = connection_to(f"127.0.0.1:{server.server_port}", asking_for("y", "m"))
    replies = [connection.ask(b"x", 20) for _ in range(2)]
    assert [reply.status for reply in replies] == [status, 0]
    assert all(reply.sent is not None and reply.sent <= reply.done for reply in replies)
    connection.close()
    server.stop(timeout=0)


def test_a_server_that_never_pauses_is_left_at_the_deadline() -> None:
    def answer(sock: gevent.socket.socket, _: object) -> None:
        sock.recv(1000)
        sock.sendall(CHUNKED)
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"1\r\n \r\n" * 1000)
        ended.set()

    ended = gevent.event.Event()
    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    connection = connection_to(f"127.0.0.1:{server.server_port}", asking_for("y", "m"))
    assert connection.ask(b"x", 0.3).status == 4
    ended.wait(20)
    server.stop(timeout=0)
