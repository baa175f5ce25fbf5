"""Frames come out as RFC 9113 draws them."""

import pytest

from bench.wire import frames
from bench.wire.frames import ProtocolError


def test_a_frame_is_length_type_flags_stream_payload() -> None:
    assert frames.frame(frames.PING, frames.ACK, 0, b"12345678") == b"\0\0\x08\x06\x01\0\0\0\0" + b"12345678"


def test_settings_are_pairs_of_16_and_32_bits() -> None:
    encoded = frames.settings({frames.MAX_FRAME_SIZE: 16_384, frames.HEADER_TABLE_SIZE: 0})
    assert encoded == b"\0\0\x0c\x04\0\0\0\0\0" + b"\0\x05\0\0\x40\0" + b"\0\x01\0\0\0\0"
    assert frames.read_settings(encoded[9:]) == [(5, 16_384), (1, 0)]


def test_a_long_header_block_is_cut_into_continuations() -> None:
    cut = frames.headers(5, b"abcdefg", end_stream=True, largest=3)
    assert cut == (
        b"\0\0\x03\x01\x01\0\0\0\x05abc"  # HEADERS, END_STREAM without END_HEADERS
        b"\0\0\x03\x09\x00\0\0\0\x05def"
        b"\0\0\x01\x09\x04\0\0\0\x05g"
    )
    assert frames.headers(5, b"abc", end_stream=False, largest=3) == b"\0\0\x03\x01\x04\0\0\0\x05abc"


@pytest.mark.parametrize(
    ("flags", "payload", "content"),
    [
        (0, b"abc", b"abc"),
        (frames.PADDED, b"\x02abc\0\0", b"abc"),
        (frames.PADDED, b"\x00abc", b"abc"),
        (frames.PADDED, b"\x03\0\0\0", b""),
        (frames.PRIORITISED, b"\0\0\0\0\x10abc", b"abc"),
        (frames.PADDED | frames.PRIORITISED, b"\x01\0\0\0\0\x10abc\0", b"abc"),
    ],
)
def test_padding_and_priority_are_taken_off(flags: int, payload: bytes, content: bytes) -> None:
    assert frames.unpadded(flags, payload, prioritised=True) == content


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x04abc"])
def test_padding_beyond_its_frame_is_a_violation(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        frames.unpadded(frames.PADDED, payload, prioritised=False)


def test_unknown_error_codes_are_shown_in_hexadecimal() -> None:
    assert frames.error_name(7) == "REFUSED_STREAM"
    assert frames.error_name(0x1234) == "error 0x1234"


def test_a_goaway_keeps_its_text_short_and_well_formed() -> None:
    encoded = frames.goaway(3, frames.ENHANCE_YOUR_CALM, "ü" * 1000)
    assert encoded[:3] == (8 + 512).to_bytes(3, "big")
    assert encoded[9:17] == b"\0\0\0\x03\0\0\0\x0b"


def test_the_reserved_bit_is_ignored() -> None:
    assert frames.word(b"\x80\0\0\x05") == 5
