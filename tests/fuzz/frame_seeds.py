"""Frames to start fuzzing from: one for each kind of frame and each shape of a call."""

from bench.wire import frames
from tests.wire.test_http2 import VIOLATIONS
from tests.wire.test_http2_server import body, opened
from tests.wire.wires import GREETING, OK, OPENING, answer_frames, asked, message, settled_client


def seeds() -> list[bytes]:
    """Inputs of both ends, each with one of the preparations that `frames` describes."""
    client = settled_client()
    asked(client), asked(client, bytes(1000))
    requests = client.take()
    answers = GREETING + answer_frames(1, b"a" * 50) + answer_frames(3, b"b")
    divided = (
        frames.frame(1, 4, 1, OPENING)
        + frames.frame(0, 0, 1, message(b"abc")[:4])
        + frames.frame(0, 0, 1, message(b"abc")[4:])
    )
    divided += frames.frame(1, 5, 1, OK)
    found = [
        b"\x03\x00" + requests,
        b"\x01\x07" + frames.PREFACE + GREETING + requests,
        b"\x03\x00" + opened(1) + body(1),
    ]
    found += [b"\x02\x00" + answers, b"\x00\x05" + answers, b"\x02\x03" + divided, b"\x42\x00" + divided]
    plain = answer_frames(3, b"second") + answer_frames(5, b"third" * 10)
    found += [b"\x82\x00" + plain, b"\x80\x00" + plain + answers, b"\xa2\x05" + plain]
    rows = b"".join(opened(stream) + body(stream) for stream in range(1, 45, 2))
    found += [b"\x43\x00" + rows, b"\x43\x00" + rows[:300] + b"\xff" + rows[301:], b"\x4b\x64" + rows]
    for _, data, _ in VIOLATIONS:
        if len(data) < 1000:
            found += [b"\x02\x00" + data, b"\x03\x00" + data]
    for data in (answers, divided, requests):  # the same for the mended form: type, flags, stream, length
        short = b""
        at = 0
        while at < len(data):
            word, flags, stream = frames.HEAD.unpack_from(data, at)
            size = word >> 8
            short += (
                bytes([word & 0xFF, flags, stream, min(size, 255)]) + data[at + 9 : at + 9 + min(size, 255)]
            )
            at += 9 + size
        found += [b"\x12\x00" + short, b"\x13\x00" + short, b"\x3a\x09" + short, b"\x3b\x09" + short]
    return found
