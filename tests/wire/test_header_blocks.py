"""Remembered header blocks always mean what the peer's table makes of them."""

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire.frames import COMPRESSION_ERROR, ProtocolError
from bench.wire.header_blocks import HeaderDecoder, HeaderEncoder, literal

Fields = list[tuple[bytes, bytes]]
NAMES = [b":path", b"content-type", b"x-a", b"x-b", b"a-rather-long-name" * 20]
FIELD = st.tuples(
    st.sampled_from(NAMES), st.sampled_from([b"", b"1", b"application/grpc", b"v" * 300, b"w" * 5000])
)
FIELDS = st.lists(FIELD, max_size=6)


def encoder() -> HeaderEncoder[bytes]:
    return HeaderEncoder(lambda block: block)


def block_for(coder: HeaderEncoder[bytes], key: object, fields: Fields, passing: bytes = b"") -> bytes:
    known = coder.known.get(key)  # type: ignore[call-overload]  # any key will do
    return coder.encode(key, fields, passing) if known is None else known  # type: ignore[arg-type]


def test_a_block_is_remembered_from_its_second_use_on() -> None:
    coder, fields = encoder(), [(b":path", b"/a/B"), (b"x-a", b"1")]
    first = block_for(coder, "k", fields)
    assert not coder.known
    steady = block_for(coder, "k", fields)
    assert len(steady) < len(first)
    assert block_for(coder, "k", fields) is steady


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.tuples(st.integers(0, 3), FIELDS), st.integers(0, 5000)), max_size=30), st.data()
)
def test_a_peer_decodes_every_block_whatever_its_table(
    steps: list[tuple[int, Fields] | int], data: st.DataObject
) -> None:
    coder, peer = encoder(), hpack.Decoder()
    contents: dict[int, Fields] = {}
    for step in steps:
        if isinstance(step, int):
            coder.resize(step)
            peer.max_allowed_table_size = step
            continue
        key, fields = step
        fields = contents.setdefault(key, fields)
        passing = data.draw(st.sampled_from([(b"grpc-timeout", b"1S"), (b"x-a", b"long" * 40)]))
        block = block_for(coder, (key, passing), fields, literal(*passing))
        assert [(name, value) for name, value in peer.decode(block, raw=True)] == [*fields, passing]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(FIELDS, st.integers(0, 4096)), max_size=30))
def test_the_decoder_follows_any_peer(steps: list[Fields | int]) -> None:
    peer = hpack.Encoder()
    decoder: HeaderDecoder[Fields] = HeaderDecoder(list, 2**20)
    for step in steps:
        if isinstance(step, int):
            # this peer would announce all of more changes, where two are allowed (RFC 7541, 4.2)
            if step != peer.header_table_size and len(peer.table_size_changes) < 2:
                peer.header_table_size = step
            continue
        block = peer.encode(step, huffman=False)
        known = decoder.known.get(block)
        assert (decoder.decode(block) if known is None else known) == step


def test_the_decoder_remembers_blocks_of_a_peer_without_a_table() -> None:
    peer = hpack.Encoder()
    peer.header_table_size = 0
    decoder: HeaderDecoder[Fields] = HeaderDecoder(list, 2**20)
    decoder.decode(peer.encode([(b":status", b"200")]))
    block = peer.encode([(b":status", b"200"), (b"x-a", b"1")])
    assert decoder.decode(block) is decoder.known[block]


@pytest.mark.parametrize("count", [9000])
def test_memory_is_bounded_however_many_blocks_come(count: int) -> None:
    coder = encoder()
    decoder: HeaderDecoder[Fields] = HeaderDecoder(list, 2**20)
    decoder.decode(b"\x20")
    for number in range(count):
        block_for(coder, number, [(b":method", b"POST")], literal(b"x-id", b"%d" % number))
        decoder.decode(literal(b"x-id", b"%d" % number))
    assert len(coder.known) <= 4096
    assert len(decoder.known) <= 4096


@pytest.mark.parametrize(
    "block", [b"\xff\xff\xff\xff\xff\xff\xff", b"\x80", b"\xbe", b"\x00\x7f", b"\x3f\xff\xff\x7f"]
)
def test_what_is_not_hpack_is_a_compression_error(block: bytes) -> None:
    decoder: HeaderDecoder[Fields] = HeaderDecoder(list, 2**16)
    with pytest.raises(ProtocolError) as violation:
        decoder.decode(block)
    assert violation.value.code == COMPRESSION_ERROR


def test_a_list_that_grows_too_large_is_refused() -> None:
    peer = hpack.Encoder()
    decoder: HeaderDecoder[Fields] = HeaderDecoder(list, 2**16)
    decoder.decode(peer.encode([(b"x-a", b"v" * 4000)]))
    with pytest.raises(ProtocolError, match="larger than 65536"):
        decoder.decode(peer.encode([(b"x-a", b"v" * 4000)] * 20))


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_literals_of_any_length_are_read_by_others(value: bytes) -> None:
    assert list(hpack.Decoder().decode(literal(b"x-a", value), raw=True)) == [(b"x-a", value)]
