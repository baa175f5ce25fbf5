"""Lines of a text file, none longer than a reader can hold."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO, Final

from bench.payload.files.collector import Collector

LONGEST: Final = 64 << 20
"""Bytes of a line: as a list of numbers it takes some twenty times as much memory."""


def lines(file: BinaryIO, collector: Collector) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line, without the mark of UTF-8 at the beginning. Raises BenchError for one that is too long."""
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise collector.fail(f"line {number}", f"longer than {LONGEST >> 20} MiB: give .npz instead")
        yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
