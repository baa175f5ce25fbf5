"""Histograms of durations that can be merged, stored and read by other tools.

The buckets are those of an HdrHistogram (https://hdrhistogram.github.io/HdrHistogram/) of nanoseconds from 1 ns
to 1 h with 3 significant digits: exact up to 2,047 ns, above that at most 1/1024 = 0.098 % wide. Merging adds
counts, so it is associative and commutative, and N processes give bit for bit what one would have.

The encoding is HdrHistogram's V2: a 40 byte header and the counts as ZigZag LEB128 (a negative number stands for
that many empty buckets), compressed with zlib, in base64.
"""

import base64
import binascii
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DIGITS: Final = 3
LOWEST_NS: Final = 1
HIGHEST_NS: Final = 3_600_000_000_000
"""One hour; longer durations are counted in its bucket, negative ones as 0."""
HALF_BITS: Final = 10
"""Each power of two above 2,048 ns is cut into 2**10 buckets of equal width."""
EXACT: Final = 2 << HALF_BITS
"""Durations below this many nanoseconds have a bucket each."""
BUCKETS: Final = 33 << HALF_BITS
"""Length of an HdrHistogram's array of counts for this range: (32 powers of two + 1) * 1024."""

_OUTER = struct.Struct(">II")
_INNER = struct.Struct(">IIIIQQd")
_OUTER_COOKIE = 0x1C849304 | 0x10
_INNER_COOKIE = 0x1C849303 | 0x10
_LARGEST = _INNER.size + 9 * BUCKETS
_WORD_BYTES = 8  # 56 bits of a count; the ninth byte that the format allows is never needed


class Sparse(NamedTuple):
    """Only the buckets that are not empty: what is sent, stored and added up."""

    indices: Ints
    """Ascending."""
    counts: Ints
    """Of equal length, all above 0."""


EMPTY: Final = Sparse(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
FEW_BUCKETS: Final = 2_000
"""Up to so many, sorting is quicker than going through all buckets that there could be: 40 and 75 us."""


def added(parts: Iterable[Sparse]) -> Sparse:
    """The sum of sparse histograms, or of none."""
    filled = [part for part in parts if len(part.indices)]
    if len(filled) < 2:
        return filled[0] if filled else EMPTY
    if sum(len(part.indices) for part in filled) > FEW_BUCKETS:
        return Histogram.sum(filled).sparse()
    indices, inverse = np.unique(np.concatenate([part.indices for part in filled]), return_inverse=True)
    counts: Ints = np.zeros(len(indices), dtype=np.int64)
    np.add.at(counts, inverse, np.concatenate([part.counts for part in filled]))
    return Sparse(indices, counts)


def nanoseconds(seconds: ArrayLike) -> Ints:
    """Seconds (no nan) as whole nanoseconds."""
    return np.rint(np.asarray(seconds, dtype=np.float64) * 1e9).astype(np.int64)


def bucket(ns: Ints) -> Ints:
    """The bucket of each duration in nanoseconds; what lies outside 0 to 1 h is counted at the nearer end."""
    clamped = np.clip(ns, 0, HIGHEST_NS)
    # The exponent of a float64 is the position of the highest bit; all values are below 2**53, so none is rounded.
    exponent = (np.maximum(clamped, EXACT >> 1).astype(np.float64).view(np.int64) >> 52) - 1023
    power = exponent - HALF_BITS
    return (power << HALF_BITS) + (clamped >> power)


def highest_ns(index: ArrayLike) -> Ints:
    """The longest duration of each bucket, in nanoseconds: what HdrHistogram gives as a percentile."""
    at = np.asarray(index, dtype=np.int64)
    power = np.maximum((at >> HALF_BITS) - 1, 0)
    ends: Ints = ((at - (power << HALF_BITS) + 1) << power) - 1
    return ends


def middle_ns(index: ArrayLike) -> Floats:
    """The middle of each bucket, in nanoseconds."""
    at = np.asarray(index, dtype=np.int64)
    power = np.maximum((at >> HALF_BITS) - 1, 0)
    middles: Floats = ((at - (power << HALF_BITS)) << power) + ((1 << power) - 1) / 2
    return middles


@lru_cache(maxsize=4096)
def nearest_rank(q: float, count: int) -> int:
    """The rank, from 1, of the q-th percentile of `count` sorted values: the least k with k / count >= q / 100.

    Exact for q as written in decimal: 99.9 % of 1,000 values is rank 999, not 1,000.
    """
    if not 0 <= q <= 100:
        raise ValueError(f"percentile {q}: expected 0 to 100")
    return max(1, math.ceil(Fraction(repr(float(q))) * count / 100))


class Histogram:
    """Counts of durations. Two are equal when every bucket is."""

    __slots__ = ("_counts",)
    __hash__ = None  # type: ignore[assignment]  # mutable values have no hash

    def __init__(self, counts: Ints | None = None) -> None:
        if counts is None:
            counts = np.zeros(BUCKETS, dtype=np.int64)
        if counts.shape != (BUCKETS,):
            raise ValueError(f"{counts.shape} counts: expected ({BUCKETS},)")
        self._counts = counts

    @classmethod
    def of(cls, seconds: ArrayLike) -> Self:
        """A histogram of durations in seconds."""
        histogram = cls()
        histogram.record(seconds)
        return histogram

    @classmethod
    def sum(cls, parts: Iterable["Histogram | Sparse"]) -> Self:
        """The histogram of everything that the parts counted."""
        total = cls()
        for part in parts:
            total.merge(part)
        return total

    @property
    def counts(self) -> Ints:
        """A read-only view of the counts of all buckets."""
        view = self._counts.view()
        view.flags.writeable = False
        return view

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return int(self._counts.sum())

    def record(self, seconds: ArrayLike) -> None:
        """Count durations in seconds. Raises ValueError on nan: what did not happen has no duration."""
        values = np.asarray(seconds, dtype=np.float64)
        if np.isnan(values).any():
            raise ValueError("nan is not a duration")
        # clipped before the conversion: infinity has no integer
        self.record_ns(nanoseconds(np.clip(values, 0.0, HIGHEST_NS / 1e9)))

    def record_ns(self, ns: Ints) -> None:
        """Count durations in whole nanoseconds."""
        self._counts += np.bincount(bucket(ns).ravel(), minlength=BUCKETS)

    def merge(self, other: "Histogram | Sparse") -> None:
        """Add the counts of another histogram."""
        if isinstance(other, Histogram):
            self._counts += other._counts
        else:
            np.add.at(self._counts, other.indices, other.counts)

    def percentile(self, q: float) -> float:
        """The q-th percentile in seconds by nearest rank: the upper end of the bucket it falls into; nan if empty."""
        return float(self.percentiles([q])[0])

    def percentiles(self, qs: Sequence[float]) -> Floats:
        """Several percentiles in seconds, as `percentile` gives them."""
        at = np.flatnonzero(self._counts)
        if not len(at):
            return np.full(len(qs), np.nan)
        cumulative = np.cumsum(self._counts[at])
        ranks = [nearest_rank(q, int(cumulative[-1])) for q in qs]
        return highest_ns(at[np.searchsorted(cumulative, ranks)]) / 1e9

    def of_rank(self, rank: int) -> float:
        """The duration of a rank, from 1, in seconds: the upper end of its bucket. Raises IndexError beyond the count."""
        at = int(np.searchsorted(np.cumsum(self._counts), rank))
        if rank <= 0 or at == BUCKETS:
            raise IndexError(f"rank {rank} of {self.count}")
        return float(highest_ns([at])[0]) / 1e9

    def above(self, seconds: float) -> int:
        """How many durations lie in buckets above the bucket of this one."""
        return int(self._counts[int(bucket(nanoseconds([seconds]))[0]) + 1 :].sum())

    @property
    def mean(self) -> float:
        """Mean in seconds, each duration taken as the middle of its bucket; nan if empty."""
        at = np.flatnonzero(self._counts)
        return float(np.average(middle_ns(at), weights=self._counts[at])) / 1e9 if len(at) else math.nan

    @property
    def standard_deviation(self) -> float:
        """In seconds, of all that was recorded (not of a sample: divided by the count); nan if empty."""
        at = np.flatnonzero(self._counts)
        if not len(at):
            return math.nan
        middles, weights = middle_ns(at), self._counts[at]
        return (
            math.sqrt(np.average((middles - np.average(middles, weights=weights)) ** 2, weights=weights))
            / 1e9
        )

    def sparse(self) -> Sparse:
        """The buckets that are not empty."""
        indices = np.flatnonzero(self._counts)
        return Sparse(indices, self._counts[indices])

    def encode(self) -> str:
        """HdrHistogram V2, compressed, in base64."""
        return encode(self.sparse())

    @classmethod
    def decode(cls, text: str | bytes) -> Self:
        """The histogram that `encode`, or another HdrHistogram of ns with 3 digits, wrote. Raises ValueError."""
        return cls.sum([decode([text])[0]])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return bool(np.array_equal(self._counts, other._counts))

    def __repr__(self) -> str:
        p50, p99 = self.percentiles([50, 99]) * 1e3
        return f"<Histogram of {self.count}: p50 {p50:.3f} ms, p99 {p99:.3f} ms>"


def encode(histogram: Sparse) -> str:
    """HdrHistogram V2, compressed, in base64. Raises OverflowError on a count of 2**55 and more."""
    body = _leb128(_zigzag_words(histogram))
    inner = _INNER.pack(_INNER_COOKIE, len(body), 0, DIGITS, LOWEST_NS, HIGHEST_NS, 1.0) + body
    # level 1 takes half the time of level 6 and gives 1 % more bytes: the counts are packed already
    packed = zlib.compress(inner, 1)
    return base64.b64encode(_OUTER.pack(_OUTER_COOKIE, len(packed)) + packed).decode("ascii")


def decode(texts: Sequence[str | bytes]) -> list[Sparse]:
    """Many encoded histograms. Raises ValueError on anything that is not one of nanoseconds with 3 significant digits."""
    return decode_bodies([body(text) for text in texts])


def decode_bodies(bodies: Sequence[bytes]) -> list[Sparse]:
    """Many histograms, each as `body` unpacked it, at once: some ten times faster than one after the other.

    Raises ValueError.
    """
    if not bodies:
        return []
    data = np.frombuffer(b"".join(bodies), dtype=np.uint8)
    ends = np.cumsum([len(body) for body in bodies])
    words, word_ends = _words(data, ends)
    step = np.where(words < 0, -words, 1)
    index = np.cumsum(step) - step
    sparse = []
    start = 0
    for end in word_ends.tolist():
        part = words[start:end]
        full = part > 0
        at = (index[start:end] - index[start])[full] if end > start else np.empty(0, dtype=np.int64)
        if len(at) and at[-1] >= BUCKETS:
            raise ValueError(f"a duration beyond bucket {BUCKETS}, which stands for 1 h")
        sparse.append(Sparse(at, part[full]))
        start = end
    return sparse


def _zigzag_words(histogram: Sparse) -> Ints:
    """Counts and runs of empty buckets, in the order of the buckets: a run of one is 0, of n > 1 is -n."""
    indices, counts = histogram
    gaps = np.diff(indices, prepend=-1) - 1
    words = np.empty(2 * len(indices), dtype=np.int64)
    words[0::2] = np.where(gaps == 1, 0, -gaps)
    words[1::2] = counts
    present = np.ones(len(words), dtype=bool)
    present[0::2] = gaps > 0
    return words[present]


def _leb128(words: Ints) -> bytes:
    zigzag = ((words << 1) ^ (words >> 63)).astype(np.uint64)
    width = max(1, -(-int(zigzag.max(initial=0)).bit_length() // 7))
    if width > _WORD_BYTES:
        raise OverflowError("a count of 2**55 or more cannot be encoded")
    rest = zigzag[:, None] >> np.arange(0, 7 * width, 7, dtype=np.uint64)
    needed = rest > 0  # a byte is needed where a bit of this or a higher group is set; the first always
    needed[:, 0] = True
    octets = (rest & np.uint64(0x7F)).astype(np.uint8)
    octets[:, :-1] |= needed[:, 1:].astype(np.uint8) << 7
    return octets[needed].tobytes()


def body(text: str | bytes) -> bytes:
    """The counts' bytes of one encoded histogram, its headers checked and taken off. Raises ValueError."""
    try:
        outer = base64.b64decode(text, validate=True)
        cookie, length = _OUTER.unpack_from(outer)
        # bounded: a few bytes may be written so that they unpack to a thousand times as many
        inner = zlib.decompressobj().decompress(outer[_OUTER.size : _OUTER.size + length], _LARGEST)
        inner_cookie, payload, offset, digits, lowest, _, ratio = _INNER.unpack_from(inner)
    except (binascii.Error, struct.error, zlib.error) as error:
        raise ValueError(f"no HdrHistogram: {error}") from error
    if (cookie, inner_cookie) != (_OUTER_COOKIE, _INNER_COOKIE):
        raise ValueError(f"no HdrHistogram V2: cookies {cookie:#x} and {inner_cookie:#x}")
    if (offset, digits, lowest, ratio) != (0, DIGITS, LOWEST_NS, 1.0):
        raise ValueError(
            f"{digits} digits from {lowest} are stored, {DIGITS} digits from {LOWEST_NS} ns expected"
        )
    counts = inner[_INNER.size : _INNER.size + payload]
    if len(counts) != payload or (counts and counts[-1] & 0x80):
        raise ValueError(f"{len(counts)} of {payload} bytes of counts")
    return counts


def _words(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> tuple[Ints, Ints]:
    """LEB128 numbers of several bodies, and how many numbers lie before the end of each body."""
    last = np.flatnonzero(data < 0x80)
    word_ends = np.searchsorted(last, ends)
    if not len(last):
        return np.empty(0, dtype=np.int64), word_ends
    more = np.diff(last, prepend=-1) - 1  # bytes of each number before its last
    longest = int(more.max())
    if longest >= _WORD_BYTES:
        raise ValueError("a count of 2**55 or more")
    zigzag = data[last].astype(np.int64)
    for back in range(1, longest + 1):  # most numbers have one byte, so each turn touches fewer of them
        longer = np.flatnonzero(more >= back)
        zigzag[longer] = (zigzag[longer] << 7) | (data[last[longer] - back] & 0x7F)
    return (zigzag >> 1) ^ -(zigzag & 1), word_ends
