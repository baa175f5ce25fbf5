import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.wire import tfrecord


def test_frame_is_what_tensorflow_writes() -> None:
    # tf.io.TFRecordWriter of TensorFlow 2.21 with the record b"abc"
    written = bytes.fromhex("0300000000000000" + "b099490e" + "616263" + "6e57f121")
    assert tfrecord.frame(b"abc") == written


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_what_is_written_is_read_again(contents: list[bytes]) -> None:
    file = b"".join(map(tfrecord.frame, contents))
    assert list(tfrecord.records(io.BytesIO(file))) == contents


@given(st.data(), st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_a_changed_bit_is_found(data: st.DataObject, contents: list[bytes]) -> None:
    file = bytearray(b"".join(map(tfrecord.frame, contents)))
    place = data.draw(st.integers(0, 8 * len(file) - 1))
    file[place // 8] ^= 1 << place % 8
    with pytest.raises(tfrecord.CorruptError):
        list(tfrecord.records(io.BytesIO(file)))


@given(st.data(), st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_a_cut_file_is_found(data: st.DataObject, contents: list[bytes]) -> None:
    framed = [tfrecord.frame(content) for content in contents]
    last = sum(map(len, framed[:-1]))
    file = b"".join(framed)
    end = data.draw(st.integers(last + 1, len(file) - 1))
    read = tfrecord.records(io.BytesIO(file[:end]))
    for content in contents[:-1]:
        assert next(read) == content
    with pytest.raises(tfrecord.CorruptError, match=f"record at {last}"):
        next(read)


def test_a_length_beyond_every_message_is_not_read() -> None:
    length = struct.pack("<Q", 1 << 40)
    file = length + struct.pack("<I", tfrecord._masked(length)) + b"abc"
    with pytest.raises(tfrecord.CorruptError, match="truncated record at 0"):
        next(tfrecord.records(io.BytesIO(file)))
