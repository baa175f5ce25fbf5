"""Limits files: what runs are checked against, as a user writes it beside a scenario."""

import math
import re
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationInfo, field_validator

from bench import BenchError
from bench.config.reading import Table, checked, key, read_toml

BELOW_ZERO: Final = ("accuracy_gap",)
"""Metrics that can be below 0 and are better the higher they are: a bound of them may have a sign."""
_PERCENT: Final = re.compile(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*%\s*")
_UNITS: Final = 'expected a finite number >= 0, or a share such as "5 %"'


class Where(Table):
    """The cells that a table of limits is for: all where nothing is set."""

    scenario: str | None = key(None, "a scenario's name", "Only runs of this scenario.", '"mnist"')
    server: str | None = key(None, "a server's name or build", "Only this server.", '"embedded"')
    model: str | None = key(None, "a model's name", "Only this model.", '"mnist"')
    version: int | None = key(None, "an integer >= 0", "Only this model version.", "2", ge=0)
    batch: int | None = key(None, "an integer >= 1", "Only this batch size.", "32", ge=1)
    load: str | None = key(None, "a load, named as in reports", "Only under this load.", '"16 users"')
    request: str | None = key(None, "a request's name", "Only these requests.", '"Predict"')


class Bounds(Where):
    """Limits for all cells, or for those that the table names."""

    limits: dict[str, int | float | str] = key(
        {},
        "metrics with the maximum, or for rates and accuracy the minimum, that is allowed",
        "Absolute limits; durations end in _s, _ms or _us.",
        '{ p99_ms = 25, error_share = "0.1 %", accuracy = 0.9 }',
    )
    worse_than_baseline: dict[str, int | float | str] = key(
        {},
        "metrics with the share by which they may be worse than the baseline",
        'Relative limits: "5 %" or 0.05; for error_share and mismatch_share: percentage points.',
        '{ p50 = "3 %", p99 = "10 %", requests_per_second = "3 %" }',
    )
    goodput_ms: int | float | None = key(
        None,
        "a number of milliseconds above 0",
        "Time limit of goodput and goodput_rate; [[cells]] inherit it.",
        "20",
        gt=0,
        allow_inf_nan=False,
    )

    @field_validator("limits", "worse_than_baseline")
    @classmethod
    def _finite(
        cls, bounds: dict[str, int | float | str], info: ValidationInfo
    ) -> dict[str, int | float | str]:
        for name, bound in bounds.items():
            share_or_number(bound, name, signed=info.field_name == "limits" and name in BELOW_ZERO)
        return bounds

    @field_validator("worse_than_baseline")
    @classmethod
    def _meant(cls, bounds: dict[str, int | float | str]) -> dict[str, int | float | str]:
        for name, bound in bounds.items():
            if not isinstance(bound, str) and bound >= 1:
                raise ValueError(
                    f'{name} = {bound:g}: allows {bound:.0%}; ambiguous; write "{bound:g} %" or "{100 * bound:g} %"'
                )
        return bounds


class Limits(Bounds):
    """A limits file."""

    accept: list[str] = key(
        [],
        "a list of names of warnings, as reports show them",
        "Warnings to accept: a verdict is given despite them.",
        '["client saturated"]',
    )
    failed_trials: int | float | str = key(
        0,
        "a share >= 0 and < 1",
        "Share of a cell's trials that may have failed.",
        '"10 %"',
    )
    cells: list[Bounds] = key(
        [],
        "tables [[cells]]",
        "Further limits for some cells.",
        "[{ batch = 32, limits = { p99_ms = 40 } }]",
    )

    @field_validator("failed_trials")
    @classmethod
    def _share(cls, share: float | str) -> float | str:
        if share_or_number(share, "failed_trials") >= 1:
            raise ValueError(f'failed_trials = {share}: expected a share below 1, such as "10 %"')
        return share

    @property
    def failed_share(self) -> float:
        """The share of a cell's trials that may have failed."""
        return share_or_number(self.failed_trials, "failed_trials")


def share_or_number(bound: float | str, name: str, *, signed: bool = False) -> float:
    """A bound as a number: "5 %" is 0.05. Raises ValueError, also where it is below 0 and not `signed`."""
    number = math.nan
    if isinstance(bound, str):
        percent = _PERCENT.fullmatch(bound)
        number = float(percent[1]) / 100 if percent else math.nan
    elif not isinstance(bound, bool):
        number = float(bound)
    if not math.isfinite(number) or (number < 0 and not signed):
        shown = f'"{bound}"' if isinstance(bound, str) else bound
        raise ValueError(f"{name} = {shown}: {_UNITS}")
    return number


class Bound(NamedTuple):
    """One limit of a file."""

    where: Where
    name: str
    """As it is written: `p99_ms`."""
    value: float
    relative: bool
    dotted: str
    """Where it stands in the file."""
    percent: bool
    """Whether it is written with a unit, as "5 %"."""
    within: float | None = None
    """Seconds within which goodput wants an answer."""


def read_limits(path: Path, within: float | None = None) -> tuple[Limits, list[Bound]]:
    """The file, and all its limits in order; within: seconds for goodput where the file does not say it.

    Raises BenchError naming the key that is wrong.
    """
    limits = checked(Limits, read_toml(path), path)
    tables: list[tuple[str, Bounds]] = [("", limits)]
    tables += [(f"cells[{number}].", table) for number, table in enumerate(limits.cells)]
    bounds = []
    for prefix, table in tables:
        if prefix and not (table.limits or table.worse_than_baseline):
            raise BenchError(
                f"{path}: {prefix.rstrip('.')}: no limit in it; write limits = {{ p99_ms = 40 }} in the table itself"
            )
        bound_ms = limits.goodput_ms if table.goodput_ms is None else table.goodput_ms
        of_table = within if bound_ms is None else bound_ms / 1e3
        for kind in ("limits", "worse_than_baseline"):
            for name, value in getattr(table, kind).items():
                relative = kind == "worse_than_baseline"
                number, dotted = share_or_number(value, name, signed=True), f"{prefix}{kind}.{name}"
                bounds.append(Bound(table, name, number, relative, dotted, isinstance(value, str), of_table))
    return limits, bounds
