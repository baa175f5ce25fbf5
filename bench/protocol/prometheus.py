"""Rows of a Prometheus page, in its text format.

A page may be anybody's, and has up to 16 MB: each character is looked at once, and nothing looks back.
"""

import math
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_LONGEST_LINE: Final = 65_536
_LINE: Final = re.compile(r"([A-Za-z0-9_:]+)\{(.*)\} (\S{1,100})")
_LABEL: Final = re.compile(r'\s*+(\w++)="((?:[^"\\]|\\.)*+)"\s*+,?')


class Row(NamedTuple):
    """A number with its labels."""

    name: str
    """Without the prefix that was asked for."""
    labels: dict[str, str]
    number: float


def rows(page: str, prefix: str) -> Iterator[Row]:
    """The rows whose names begin so, buckets of histograms left out. Raises ValueError for what is no number."""
    for line in page.splitlines():
        if not line.startswith(prefix) or "_bucket{" in line or len(line) > _LONGEST_LINE:
            continue
        match = _LINE.fullmatch(line)
        if match is not None:
            number = float(match[3])
            if not math.isfinite(number):
                raise ValueError(f"{match[1]} is {match[3]}")
            yield Row(match[1].removeprefix(prefix), dict(_labels(match[2])), number)


def _labels(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while (label := _LABEL.match(text, at)) is not None:
        yield label[1], label[2]
        at = label.end()
