"""HTTP/1.1 as bytes: requests with JSON, and answers to them, however the server frames them, within bounds."""

import contextlib
import json
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import h11

from bench.wire.compression import GZIP, Gzipped

LARGEST_HEAD: Final = 65_536
_STEP: Final = 4096
"""Bytes read at once of an answer in chunks, which may be of one byte each."""


class TooLarge(ValueError):  # noqa: N818  # an answer, and no error of ours
    """More content than is read."""

    def __init__(self, size: str, largest: int) -> None:
        super().__init__(f"an answer of {size} bytes exceeds the limit of {largest}")


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    body: bytes
    reusable: bool
    """Whether the connection can carry another request."""


def request_of(
    method: str, body: bytes, host: str | None = None, metadata: Iterable[tuple[str, str]] = ()
) -> bytes:
    """A request with JSON as its content, compressed or not. method: with the path, such as `POST /v1/models/m:predict`.

    host: the virtual host that is called; metadata: further headers.
    """
    fields = [("Host", host or "model-server"), *metadata, ("Content-Type", "application/json")]
    if isinstance(body, Gzipped):
        fields.append(("Content-Encoding", GZIP))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"{method} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def host_header(address: str) -> str | None:
    """The Host of requests to an address; None: it has no name, as a socket's path has none."""
    return None if address.startswith("unix:") else address or None


def read_answer(received: bytearray, receive: Callable[[int], bytes], largest: int) -> Answer:
    """Read one response to a POST; `received` holds what has come, `receive` gives up to so many bytes more, b"" at the end.

    Raises TooLarge for more than `largest` bytes of content, ValueError for what is no HTTP and for more than LARGEST_HEAD
    bytes of headers, and OSError where the connection ends within it.
    """
    start = 0
    while (end := received.find(b"\r\n\r\n", start)) < 0:
        if len(received) > LARGEST_HEAD:
            raise ValueError(f"more than {LARGEST_HEAD} bytes of headers")
        start = max(0, len(received) - 3)
        received += _more(receive)
    lines = received[:end].decode("latin-1").split("\r\n")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    length, status = headers.get("content-length", ""), lines[0][9:13].rstrip()
    plain = length.isdigit() and len(length) < 12 and "transfer-encoding" not in headers
    sound = len(status) == 3 and status.isdigit() and status >= "200"
    if not (plain and sound and lines[0].startswith(("HTTP/1.1 ", "HTTP/1.0 "))):
        return _any_answer(received, receive, largest)
    size = end + 4 + int(length)
    if int(length) > largest:
        raise TooLarge(length, largest)
    while len(received) < size:
        received += _more(receive)
    closes = "close" in headers.get("connection", "").lower() or lines[0].startswith("HTTP/1.0")
    return Answer(int(status), bytes(received[end + 4 : size]), not closes)


def error_text(body: bytes) -> str:
    """What a failed request's answer says: TensorFlow Serving's `{"error": "..."}` without its JSON, others as they are."""
    if body[:1] == b"{" and len(body) <= LARGEST_HEAD:
        with contextlib.suppress(ValueError, RecursionError):
            text = json.loads(body).get("error")
            if isinstance(text, str):
                return text
    return body[:LARGEST_HEAD].decode(errors="replace")


def _any_answer(received: bytearray, receive: Callable[[int], bytes], largest: int) -> Answer:
    """Chunked answers, those that end with the connection, and those that 1xx responses precede."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
    reader.send(
        h11.Request(method="POST", target="/", headers=[("Host", "model-server"), ("Content-Length", "0")])
    )
    reader.send(h11.EndOfMessage())
    status, body = 0, bytearray()
    try:
        reader.receive_data(bytes(received))
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                reader.receive_data(receive(_STEP))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > largest:
                    raise TooLarge(f"at least {len(body)}", largest)
            elif isinstance(event, h11.ConnectionClosed):
                raise OSError("the server closed the connection")
    except h11.RemoteProtocolError as error:
        raise ValueError(f"not an HTTP answer: {error}") from None
    return Answer(status, bytes(body), reader.their_state is h11.DONE)


def _more(receive: Callable[[int], bytes]) -> bytes:
    piece = receive(LARGEST_HEAD)
    if not piece:
        raise OSError("the server closed the connection")
    return piece
