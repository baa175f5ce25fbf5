"""Timeouts, texts, metadata, statuses and messages are what the gRPC over HTTP/2 document says."""

import gzip
import math
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire import unary
from bench.wire.unary import MessageError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.05, b"50000u"),
        (1, b"1000000u"),
        (10, b"10000000u"),
        (99.9, b"99900000u"),
        (100, b"100000m"),
        (3600, b"3600000m"),
        (1e-9, b"1n"),
        (1e9, b"99999999S"),
    ],
)
def test_timeouts_have_a_unit_and_at_most_eight_digits(seconds: float, text: bytes) -> None:
    written = unary.timeout_text(unary.quantised(seconds))
    assert unary.read_timeout(written) == unary.read_timeout(text)
    assert len(written) <= 9


@settings(deadline=None)
@given(st.floats(min_value=1e-9, max_value=9e7))
def test_a_timeout_is_rounded_up_by_at_most_one_per_cent(seconds: float) -> None:
    limit = unary.quantised(seconds)
    assert seconds - 1e-9 <= limit <= seconds * 1.01 + 1e-9
    read = unary.read_timeout(unary.timeout_text(limit))
    assert read is not None
    assert math.isclose(read, limit, rel_tol=1e-9)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_time_left_is_one_nanosecond(seconds: float) -> None:
    assert unary.timeout_text(unary.quantised(seconds)) == b"1n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"6n", 6e-9)],
)
def test_every_unit_is_read(text: bytes, seconds: float) -> None:
    assert unary.read_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"5", b"S", b"-1S", b"1.5S", b"123456789S", b"1x", "١S".encode()])
def test_malformed_timeouts_are_none(text: bytes) -> None:
    assert unary.read_timeout(text) is None


@settings(deadline=None)
@given(st.text())
def test_a_grpc_message_survives_percent_coding(text: str) -> None:
    coded = unary.percent_encoded(text)
    assert all(0x20 <= byte <= 0x7E for byte in coded)
    assert unary.percent_decoded(coded) == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("coded", "text"), [(b"100%", "100%"), (b"%zz", "%zz"), (b"%C3", "�"), (b"a%20b", "a b")]
)
def test_invalid_percent_coding_is_left_alone(coded: bytes, text: str) -> None:
    assert unary.percent_decoded(coded) == text


def test_metadata_become_lower_case_fields() -> None:
    fields = unary.metadata_fields([("X-Request-Id", " 7 "), ("key-bin", "AAE=")])
    assert fields == [(b"x-request-id", b"7"), (b"key-bin", b"AAE=")]


@pytest.mark.parametrize(
    "pair",
    [("grpc-status", "0"), ("te", "x"), ("Content-Length", "1"), ("Content-Type", "x"), (":path", "x"), ("a b", "x"), ("", "x"), ("x", "ä"), ("x", "a\nb")],
)  # fmt: skip
def test_metadata_that_no_header_can_carry_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        unary.metadata_fields([pair])


@pytest.mark.parametrize(
    ("code", "status"),
    # gRPC over HTTP/2, "Errors"; the last is an error code that nobody has defined
    [(0, 13), (1, 13), (2, 13), (3, 13), (4, 13), (5, 2), (6, 13), (7, 14), (8, 1), (9, 13), (10, 13), (11, 8), (12, 7), (99, 2)],
)  # fmt: skip
def test_reset_codes_become_statuses(code: int, status: int) -> None:
    assert unary.status_of_reset(code) == status


@pytest.mark.parametrize(
    ("http", "status"),
    [(b"400", 13), (b"401", 16), (b"403", 7), (b"404", 12), (b"429", 14), (b"502", 14), (b"503", 14), (b"504", 14), (b"500", 2)],
)  # fmt: skip
def test_http_statuses_become_grpc_statuses(http: bytes, status: int) -> None:
    block = unary.read_response_block([(b":status", http)])
    assert block.refusal is not None
    assert block.refusal[0] == status
    assert http.decode() in block.refusal[1]


def test_a_response_of_another_content_type_is_refused() -> None:
    block = unary.read_response_block([(b":status", b"200"), (b"content-type", b"text/html")])
    assert block.refusal == (2, "the server's content-type is 'text/html', not gRPC's")


@pytest.mark.parametrize(
    ("text", "status"), [(b"0", 0), (b"16", 16), (b"999", 999), (b"-1", 2), (b"x", 2), (b"1000", 2)]
)
def test_a_status_that_is_no_number_is_unknown(text: bytes, status: int) -> None:
    assert unary.read_response_block([(b"grpc-status", text)]).status == status


def test_a_request_block_is_understood() -> None:
    block = unary.read_request_block(
        [
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/B"), (b":authority", b"x"),
            (b"te", b"trailers"), (b"content-type", b"application/grpc+proto"), (b"grpc-timeout", b"2S"),
            (b"user-agent", b"u"), (b"grpc-encoding", b"gzip"), (b"x-id", b"7"),
        ]
    )  # fmt: skip
    assert block == unary.RequestBlock(
        "POST", "/a/B", "application/grpc+proto", b"gzip", 2.0, (("x-id", "7"),), None,
        "the pseudo-header field :method", None, 453, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        [(b":method", b"POST")],
        [(b":path", b"/a/B")],
        [(b":method", b"POST"), (b":path", b"/a/B"), (b":path", b"/a/C")],
        [(b":method", b"POST"), (b":path", b"/a/B"), (b"X-Upper", b"1")],
        [(b":method", b"POST"), (b":path", b"/a/B"), (b"grpc-timeout", b"soon")],
    ],
)
def test_malformed_request_blocks_say_why(fields: list[tuple[bytes, bytes]]) -> None:
    assert unary.read_request_block(fields).malformed


def prefixed(content: bytes, flag: int = 0) -> bytes:
    return unary.PREFIX.pack(flag, len(content)) + content


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b"", 13, "without a message"),
        (b"\0\0\0", 13, "within its length prefix"),
        (prefixed(b"abc")[:-1], 13, "ends after 2"),
        (prefixed(b"abc") + prefixed(b"d"), 13, "more than one message"),
        (prefixed(b"x" * 101), 8, "exceeds the limit of 100"),
        (prefixed(b"abc", 2), 13, "compressed flag 2"),
        (prefixed(b"abc", 1), 13, "cannot be decompressed"),
        (prefixed(gzip.compress(b"abc", mtime=0)[:-3], 1), 13, "cut short"),
        (prefixed(gzip.compress(b"abc", mtime=0) + b"!", 1), 13, "followed by other bytes"),
        (prefixed(gzip.compress(bytes(101), mtime=0), 1), 8, "exceeds the limit of 100"),
    ],
)
def test_bodies_that_are_not_one_message_are_refused(body: bytes, code: int, text: str) -> None:
    with pytest.raises(MessageError, match=text) as refusal:
        unary.one_message([body] if body else [], b"gzip", 100)
    assert refusal.value.code == code


def test_one_message_is_taken_out_of_its_prefix_and_its_compression() -> None:
    assert unary.one_message([prefixed(b"abc")], b"identity", 100) == b"abc"
    assert unary.one_message([prefixed(b"")], b"identity", 100) == b""
    assert unary.one_message([prefixed(gzip.compress(bytes(100)), 1)], b"gzip", 100) == bytes(100)


@pytest.mark.parametrize(("encoding", "code"), [(b"identity", 13), (b"snappy", 12)])
def test_other_compressions_are_refused(encoding: bytes, code: int) -> None:
    with pytest.raises(MessageError) as refusal:
        unary.one_message([prefixed(b"abc", 1)], encoding, 100)
    assert refusal.value.code == code


def test_binary_values_are_base64_with_or_without_padding() -> None:
    assert unary.binary_value("AAE=") == unary.binary_value("AAE") == b"\0\1"
    with pytest.raises(ValueError, match="not base64"):
        unary.binary_value("A!")


def test_a_message_unpacks_to_a_hundred_times_its_size_at_most() -> None:
    """Sixteen of 260 kB that stood for 255 MB each held a server up for 6 s; now for 0.3 s and 26 MB."""
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(MessageError, match=rf"exceeds the limit of {100 * len(packed)} bytes") as refused:
        unary.one_message([prefixed(packed, 1)], b"gzip", unary.LARGEST_MESSAGE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.code == unary.RESOURCE_EXHAUSTED
    assert peak < 3 * 100 * len(packed)
