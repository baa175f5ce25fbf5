"""Current rate and latency of a running trial."""

import re
from pathlib import Path
from typing import Final

from bench.runs.chunk import Key
from bench.runs.histogram import Histogram, Sparse, decode
from bench.runs.recording import HISTOGRAMS

_SECONDS: Final = 3
"""Shown is the mean of the last seconds known: a second alone jumps about."""
_LINE: Final = re.compile(rb"Tag=([^,]+),([\d.]+),[^,]*,[^,]*,(\S+)\n")


class Live:
    """The newest seconds of a run folder; each look reads what was appended since the last one."""

    def __init__(self, run: Path) -> None:
        self._path = run / HISTOGRAMS
        self._offset = 0
        self._seconds: dict[int, list[Sparse]] = {}

    def look(self) -> tuple[float | None, float | None]:
        """Requests answered OK per second, and the 99th percentile of their latency in seconds; None: not known yet."""
        self._read()
        # several lines may still come for the newest second
        known = sorted(self._seconds)[:-1][-_SECONDS:]
        if not known:
            return None, None
        total = Histogram.sum(part for second in known for part in self._seconds[second])
        return total.count / len(known), total.percentile(99) if total.count else None

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                raw = file.read()
        except OSError:  # not there yet, or just being moved
            return
        whole = raw[: raw.rfind(b"\n") + 1]
        self._offset += len(whole)
        for tag, start, payload in _LINE.findall(whole):
            key, kind = Key.of_tag(tag.decode())
            if kind == "latency" and key.outcome == "OK":
                self._seconds.setdefault(int(float(start)), []).extend(decode([payload]))
        for second in sorted(self._seconds)[: -_SECONDS - 1]:
            del self._seconds[second]
