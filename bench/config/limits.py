"""Which limits must be kept, as a user writes them beside a scenario? (limits files)"""

import math
from pathlib import Path
from typing import NamedTuple

from pydantic import field_validator

from bench.config.reading import Table, checked, key, read_toml


class Where(Table):
    """Which cells a table of limits is for: all where nothing is said."""

    server: str | None = key(None, "a server's name or build", "Only this server.", '"embedded"')
    version: int | None = key(None, "a whole number from 0 on", "Only this model version.", "2", ge=0)
    batch: int | None = key(None, "a whole number from 1 on", "Only this batch size.", "32", ge=1)
    load: str | None = key(None, "a load as reports call it", "Only under this load.", '"16 users"')
    request: str | None = key(None, "a request's name", "Only these requests.", '"Predict"')


class Bounds(Where):
    """Limits for all cells, or for those that the table names."""

    limits: dict[str, int | float] = key(
        {},
        "metrics with the most, or of rates and accuracy the least, that is allowed",
        "Absolute limits; durations end in _s, _ms or _us.",
        "{ p99_ms = 25, error_share = 0.001, accuracy = 0.9 }",
    )
    worse_than_baseline: dict[str, int | float] = key(
        {},
        "metrics with the share by which they may be worse than the baseline's",
        "Relative limits: 0.05 allows 5 %; of error_share and mismatch_share, so many points.",
        "{ p50 = 0.03, p99 = 0.10, requests_per_second = 0.03 }",
    )

    @field_validator("limits", "worse_than_baseline")
    @classmethod
    def _finite(cls, bounds: dict[str, int | float]) -> dict[str, int | float]:
        for name, bound in bounds.items():
            if isinstance(bound, bool) or not math.isfinite(bound) or bound < 0:
                raise ValueError(f"{name} = {bound}: a finite number from 0 on is expected")
        return bounds


class Limits(Bounds):
    """A limits file."""

    accept: list[str] = key(
        [],
        "a list of names of doubts, as reports call them",
        "Doubts in spite of which a verdict is given.",
        '["client saturated"]',
    )
    cells: list[Bounds] = key(
        [],
        "tables [[cells]]",
        "Further limits for some cells.",
        "[{ batch = 32, limits = { p99_ms = 40 } }]",
    )


class Bound(NamedTuple):
    """One limit of a file."""

    where: Where
    name: str
    """As it is written: `p99_ms`."""
    value: float
    relative: bool
    dotted: str
    """Where it stands in the file."""


def read_limits(path: Path) -> tuple[Limits, list[Bound]]:
    """The file, and all its limits in order. Raises BenchError naming the key that is wrong."""
    limits = checked(Limits, read_toml(path), path)
    tables: list[tuple[str, Bounds]] = [("", limits)]
    tables += [(f"cells[{number}].", table) for number, table in enumerate(limits.cells)]
    found = []
    for prefix, table in tables:
        for kind in ("limits", "worse_than_baseline"):
            for name, value in getattr(table, kind).items():
                relative = kind == "worse_than_baseline"
                found.append(Bound(table, name, float(value), relative, f"{prefix}{kind}.{name}"))
    return limits, found
