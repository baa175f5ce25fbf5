"""Building blocks of the tables of RFC 9113, and how a case is described."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.wire.frames import DATA, END_HEADERS, END_STREAM, HEADERS, frame
from bench.wire.header_blocks import literal

Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Case:
    """What one end gets, and what it has to make of it."""

    section: str
    """Of RFC 9113, or `7541` and a section of RFC 7541."""
    what: str
    received: bytes
    taken: tuple[int, ...] = ()
    """Streams whose requests come through (server)."""
    status: int | None = None
    """gRPC status with which the call on stream 1 ends; None: it goes on (client)."""
    reset: Mapping[int, int] = field(default_factory=dict)
    """Error code by stream that is reset."""
    goaway: int | None = None
    """Error code with which the connection ends; None: it goes on."""

    @property
    def name(self) -> str:
        return f"{self.section}: {self.what}"


def fields(listed: Fields) -> bytes:
    """A header block that uses no table and keeps every byte, also those that are forbidden."""
    return b"".join(literal(name.encode("latin-1"), value.encode("latin-1")) for name, value in listed)


def asking() -> Fields:
    """The fields of a gRPC request."""
    return [
        (":method", "POST"), (":scheme", "http"), (":path", "/t.Test/Echo"), (":authority", "test:1"),
        ("te", "trailers"), ("content-type", "application/grpc"),
    ]  # fmt: skip


def without(name: str) -> Fields:
    """The fields of a gRPC request but one."""
    return [each for each in asking() if each[0] != name]


def header(stream: int, listed: Fields | None = None, flags: int = END_HEADERS) -> bytes:
    """HEADERS, those of a request where none are given."""
    return frame(HEADERS, flags, stream, fields(asking() if listed is None else listed))


def data(stream: int, content: bytes = b"question", flags: int = END_STREAM, cut: int = 0) -> bytes:
    """DATA with a message, in two frames where `cut` says after how many bytes."""
    whole = b"\0" + len(content).to_bytes(4, "big") + content
    if not cut:
        return frame(DATA, flags, stream, whole)
    return frame(DATA, 0, stream, whole[:cut]) + frame(DATA, flags, stream, whole[cut:])
