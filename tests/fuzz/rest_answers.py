"""Fuzz the answers to REST requests, as a server may send them to the load generator.

The first byte of an input is the size of the pieces in which the rest arrives.
"""

from bench.wire.http_messages import LARGEST_HEAD, Answer, error_text, read_answer

LARGEST = 10_000


def attack(data: bytes) -> None:
    """Raises whatever should not be."""
    if not data:
        return
    at_once, in_pieces = _read(data[1:], len(data)), _read(data[1:], data[0] or 1)
    if at_once != in_pieces:
        raise AssertionError(f"at once {at_once}, in pieces of {data[0]} {in_pieces}")


def _read(content: bytes, size: int) -> object:
    at = 0

    def receive(most: int) -> bytes:
        nonlocal at
        piece = content[at : at + min(most, size)]
        at += len(piece)
        return piece

    try:
        answer = read_answer(bytearray(), receive, LARGEST)
    except (ValueError, OSError) as error:
        return "broken" if isinstance(error, ValueError) else "ended"
    if not isinstance(answer, Answer) or len(answer.body) > LARGEST or not 200 <= answer.status <= 999:
        raise AssertionError(answer)
    error_text(answer.body)[:LARGEST_HEAD].encode("utf-8", "surrogatepass")
    return answer.status, answer.body


def seeds() -> list[bytes]:
    """Each framing of an answer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    body = b'{"predictions": [1.5]}'
    sized = b"Content-Length: %d\r\n\r\n" % len(body)
    texts = [
        head + sized + body,
        head + b"Connection: close\r\n\r\n" + body,
        head + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n4;x=y\r\n[1]}\r\n0\r\nTrailer: 1\r\n\r\n',
        b"HTTP/1.1 100 Continue\r\n\r\n" + head + sized + body,
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + head + sized + body,
        b"HTTP/1.0 404 Not Found\r\nContent-Length: 14\r\n\r\n" + b'{"error": "x"}',
        b"HTTP/1.1 204 No Content\r\n\r\n",
        head + b"Content-Length: 99999999999\r\n\r\n",
        head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 2\xb20 OK\r\nContent-Length: \xb2\r\n\r\n",
        b"HTTP/1.1 200\r\nFolded: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ]
    return [bytes([size]) + text for text in texts for size in (0, 1, 7)]
