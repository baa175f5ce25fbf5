"""Fuzz header blocks: both directions of HPACK with our memory of blocks, against hpack without it.

An input is a row of steps: a byte that says what is done, a length byte, and so many bytes.
"""

import itertools
from collections.abc import Iterator

import hpack

from bench.wire.field_rules import content_length, request_problem, response_problem, trailers_problem
from bench.wire.frames import ProtocolError
from bench.wire.header_blocks import Field, HeaderDecoder, HeaderEncoder, literal
from tests.wire.wires import OPENING

LARGEST = 16_384
_MOST_STEPS = 64


def attack(data: bytes) -> None:
    """Raises whatever should not be."""
    _decode([block for _, block in _steps(data)])
    _encode(list(_steps(data)))


def _steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    at, count = 0, 0
    while at + 2 <= len(data) and count < _MOST_STEPS:
        kind, size = data[at], data[at + 1]
        yield kind, data[at + 2 : at + 2 + size]
        at += 2 + size
        count += 1


def _decode(blocks: list[bytes]) -> None:
    """Each block twice: remembered or not, it means what hpack says it means."""
    decoder = HeaderDecoder(lambda fields: fields, LARGEST)
    plain = hpack.Decoder(max_header_list_size=LARGEST)
    for block in itertools.chain.from_iterable(zip(blocks, blocks, strict=True)):
        try:
            meaning: list[Field] | None = decoder.decode(block)
        except ProtocolError:
            return  # the connection ends
        expected = [(name, value) for name, value in plain.decode(block, raw=True)]
        if meaning != expected:
            raise AssertionError(f"{block!r} means {meaning}, not {expected}")
        for problem in (request_problem, response_problem, trailers_problem):
            if problem(expected) is None:
                content_length(expected)


def _encode(steps: list[tuple[int, bytes]]) -> None:
    """What we encode is decoded as it was, whatever table sizes the peer announces in between."""
    encoder = HeaderEncoder(bytes)
    peer = hpack.Decoder(max_header_list_size=1 << 20)
    peer.max_allowed_table_size = 4096
    for kind, content in steps:
        if kind & 1:
            size = int.from_bytes(content[:2], "big")
            encoder.resize(size)
            peer.max_allowed_table_size = min(size, 4096)
            continue
        name, _, value = content.partition(b"=")
        fields, passing = [(b"x-" + name, value), (b"te", b"trailers")], (b"grpc-timeout", value)
        if kind & 2:
            fields.reverse()
        key = (kind & 2, content)
        block = encoder.known.get(key) or encoder.encode(key, fields, literal(*passing))
        read = [(name, value) for name, value in peer.decode(block, raw=True)]
        if read != [*fields, passing]:
            raise AssertionError(f"{fields} was read as {read}")


def seeds() -> list[bytes]:
    """Blocks of each representation, table-size updates, and steps of the encoder."""
    encoder = hpack.Encoder()
    fields = [(":method", "POST"), (":path", "/t.Test/Echo"), ("te", "trailers"), ("x-id", "7")]
    blocks = [
        OPENING,
        b"\x20\x82",
        b"\x3f\xe1\x1f\x88",
        literal(b"content-length", b"12"),
        b"\x3f\xff\xff\x03",
    ]
    blocks += [encoder.encode(fields), encoder.encode(fields), encoder.encode([("a" * 40, "b" * 60)])]
    row = b"".join(bytes([0, len(block)]) + block for block in blocks)
    sizes = [b"\x01\x02\x00\x00", b"\x01\x02\x00\x40", b"\x01\x02\x10\x00"]
    pairs = [b"\x00\x05ab=cd", b"\x02\x05ab=cd", b"\x00\x04id=7"]
    return [
        row,
        *(bytes([0, len(block)]) + block for block in blocks),
        b"".join(sizes + pairs + pairs + sizes[:1] + pairs),
    ]
