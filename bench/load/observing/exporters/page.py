"""One page of an exporter in Prometheus' text format: its samples that count."""

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from bench.config.telemetry import TelemetryPage

MOST_LINES: Final = 200_000
LARGEST: Final = 1e18
"""What a run folder holds; NVIDIA's exporter gives more for what a card does not tell (DCGM_INT64_BLANK)."""


Values = dict[str, float | None]


class Sample(NamedTuple):
    """A number with its labels."""

    labels: Mapping[str, str]
    value: float
    at: float | None
    """When it was observed, in Unix time, where the page tells it."""


class Samples:
    """The samples of a page whose names are wanted and whose labels are chosen."""

    def __init__(self, text: str, names: frozenset[str], chosen: TelemetryPage) -> None:
        """Raises ValueError for what is no page of metrics."""
        self.chosen = chosen
        every: dict[str, list[Sample]] = {}
        for name, sample in _parsed(text, names):
            every.setdefault(name, []).append(sample)
        self.every = every
        """Of all labels."""
        self._chosen: dict[str, list[Sample]] = {}
        for name, samples in every.items():
            known = frozenset(label for sample in samples for label in sample.labels)
            self._chosen[name] = [sample for sample in samples if chosen.takes(sample.labels, known)]

    def chooses(self, label: str) -> bool:
        """Whether samples are chosen by a label."""
        return any(name == label for name, _ in self.chosen.labels)

    def of(self, name: str) -> list[Sample]:
        """Those of a name; none where it is not on the page."""
        return self._chosen.get(name, [])

    def sum(self, name: str) -> float | None:
        """Of a name's values; None where it is not on the page."""
        samples = self.of(name)
        return math.fsum(each.value for each in samples) if samples else None

    def counters(self, name: str) -> dict[Hashable, float]:
        """The values of a name by their labels."""
        return {series(each.labels): each.value for each in self.of(name)}

    def has(self, *names: str) -> bool:
        """Whether any of the names is chosen."""
        return any(self.of(name) for name in names)


def series(labels: Mapping[str, str], *without: str) -> tuple[tuple[str, str], ...]:
    """Labels as a key, some of them left out."""
    return tuple(sorted((name, value) for name, value in labels.items() if name not in without))


def _parsed(text: str, names: frozenset[str]) -> Iterator[tuple[str, Sample]]:
    # a page of a kubelet has tens of thousands of lines, of which a few hundred are wanted
    lines = [line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] in names]
    if len(lines) > MOST_LINES:
        raise ValueError(f"{len(lines):,} lines, at most {MOST_LINES:,} are read")
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            value = float(sample.value)
            if math.isfinite(value) and abs(value) < LARGEST:
                at = None if sample.timestamp is None else float(sample.timestamp)
                yield sample.name, Sample(sample.labels, value, at)
