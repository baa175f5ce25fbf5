"""Interference of the two conditions of a duet: median latencies of each alone and beside the other."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.runs.jsonl import read_json
from bench.runs.run import Run
from bench.wording import duration

INTERFERENCE: Final = "interference.json"
DISTURBED: Final = 1.25
"""A median latency that is so many times as long, or as short, beside the other one is worth a warning."""
TOLERANCE: Final = 0.05
"""So is a ratio between the two that differs by more from the one that they have alone."""


class Interference(NamedTuple):
    """Median latencies of two conditions, each alone and in the duet, in seconds; measured once."""

    cells: tuple[str, str]
    alone: tuple[float, float]
    together: tuple[float, float]

    @classmethod
    def of(cls, cells: tuple[str, str], alone: Sequence[Path], together: Sequence[Path]) -> "Interference":
        """Read from run folders. Raises BenchError."""
        a, b, c, d = (_median(path) for path in (*alone, *together))
        return cls(cells, (a, b), (c, d))

    @property
    def of_durations(self) -> list[str]:
        """Why latencies of the duet are not those of a condition by itself."""
        return [
            f"{name} has a median latency of {duration(together)} next to the other and {duration(alone)} alone "
            "(measured once): latencies of the duet are for comparing the two, not for limits in milliseconds"
            for name, alone, together in zip(self.cells, self.alone, self.together, strict=True)
            if not 1 / DISTURBED < together / alone < DISTURBED
        ]

    @property
    def ratios(self) -> tuple[float, float]:
        """How many times as long the second condition takes as the first: where each is alone, and in the duet."""
        apart, beside = (each[1] / each[0] for each in (self.alone, self.together))
        return apart, beside

    @property
    def of_ratio(self) -> list[str]:
        """Why the ratio of the two in the duet is not that of each by itself."""
        apart, beside = self.ratios
        if abs(beside / apart - 1) <= TOLERANCE:
            return []
        return [
            f"{self.cells[1]} takes x{apart:.3f} of {self.cells[0]} where each is alone (measured once, so noise of the "
            f"machine is in it) and x{beside:.3f} in the duet: on a quiet machine check it without --duet"
        ]

    @property
    def warnings(self) -> list[str]:
        """What keeps the duet from standing for each condition alone."""
        return [f"interference: {text}" for text in (*self.of_durations, *self.of_ratio)]

    def write(self, folder: Path) -> None:
        """Keep it beside the runs of the experiment."""
        (folder / INTERFERENCE).write_text(json.dumps(self._asdict(), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Interference | None":
        """What an experiment's folder holds; None where it was not measured."""
        try:
            plain = read_json(folder / INTERFERENCE)
            record = cls(**{name: tuple(value) for name, value in plain.items()})
            return record if len(record.cells) == 2 and min(*record.alone, *record.together) > 0 else None
        except (OSError, ValueError, TypeError, AttributeError):
            return None


def _median(path: Path) -> float:
    return Run.open(path).steady.histogram("latency").percentile(50.0)
