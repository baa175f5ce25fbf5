"""Cases of `tests.cli.test_fail_open`: experiments whose capacity was searched."""

import itertools
import json
import shutil
from collections.abc import Callable
from typing import Any

from bench.runs import sealing
from bench.runs.capacity import CAPACITY, Capacity, ConditionCapacity, Interval, MeasuredLevel, Ratio
from tests.cli.checkouts import Checkout
from tests.recorded import edit

Make = Callable[[Checkout], list[str]]
ERROR = 0.01
"""Of the logarithm of each capacity."""


def searched(
    place: Checkout,
    folder: str,
    rate: float | None,
    *,
    kind: str = "good",
    ratio: float | None = None,
    error: float = ERROR,
    **manifest: Any,
) -> None:
    """An experiment of one condition that sustains so much; None: the load generator was the limit.

    ratio: by that of a second condition, which is its baseline.
    """
    path = place.experiment(folder, ("a", kind), *([] if ratio is None else [("base", kind)]), **manifest)
    found = None if rate is None else interval(rate, error)
    conditions = [
        ConditionCapacity(
            title=name,
            server=name,
            model="mnist",
            version=2,
            batch=1,
            outcome="load generator" if rate is None else "found",
            reason="load process 0 used 99% of a core" if rate is None else "",
            capacity=found,
            levels=[],
            discarded=[],
        )
        for name in ("a", *([] if ratio is None else ["base"]))
    ]
    ratios = (
        []
        if ratio is None
        else [
            Ratio(**interval(ratio, error).facts(), before="base", after="a", confidence=0.99, basis="speed")
        ]
    )
    Capacity(
        service_level="p99 <= 20 ms",
        share=0.99,
        within=0.02,
        confidence=0.95,
        conditions=conditions,
        ratios=ratios,
    ).write(path)


def in_vain(missed: int, limits: str, *, baseline: float | None = None) -> Make:
    """A search of which no level was sustained, the lowest of 1,000/s: of 5,000 requests so many missed the service level."""

    def make(place: Checkout) -> list[str]:
        searched(place, "new", 1.0)
        path = place.path / "new"
        found = Capacity.read(path)
        assert found is not None
        level = MeasuredLevel(
            rate=1000,
            seconds=5,
            requests=5000,
            missed=missed,
            failed=missed,
            in_system=1,
            steady=True,
            run="x",
        )
        nothing = {"outcome": "bracket", "capacity": None, "failed": 1000.0, "levels": [level]}
        conditions = [each.model_copy(update=nothing) for each in found.conditions]
        found.model_copy(update={"conditions": conditions}).write(path)
        (place.path / "own.toml").write_text(limits)
        if baseline is None:
            return ["new", "--limits", "own.toml"]
        searched(place, "base", baseline)
        return ["new", "--baseline", "base", "--limits", "own.toml"]

    return make


def interval(value: float, error: float) -> Interval:
    """With so large an error of the logarithm; open, where it is known to no factor."""
    low, high = (1 - 2 * error) * value, (1 + 2 * error) * value
    return Interval(value=value, low=max(0.0, low), high=high if low > 0 else None, error=error, freedom=30)


def compared(ratio: float | None, limits: str, *, baseline: bool = False, error: float = ERROR) -> Make:
    """A search of two conditions, or of one, under limits."""

    def make(place: Checkout) -> list[str]:
        searched(place, "new", 5000, ratio=ratio, error=error)
        (place.path / "own.toml").write_text(limits)
        if baseline:
            searched(place, "base", 5000)
        return ["new", *(["--baseline", "base"] if baseline else []), "--limits", "own.toml"]

    return make


def of_nothing_certain(**manifest: Any) -> Make:
    """A search that met the limit, with something in the manifests of its levels."""

    def make(place: Checkout) -> list[str]:
        searched(place, "new", 5000, **manifest)
        (place.path / "own.toml").write_text(LEAST)
        return ["new", "--limits", "own.toml"]

    return make


def judged(rate: float | None, limits: str, *, baseline: float | None = None, kind: str = "good") -> Make:
    """A search under limits."""

    def make(place: Checkout) -> list[str]:
        searched(place, "new", rate, kind=kind)
        (place.path / "own.toml").write_text(limits)
        if baseline is None:
            return ["new", "--limits", "own.toml"]
        searched(place, "base", baseline)
        return ["new", "--baseline", "base", "--limits", "own.toml"]

    return make


def not_searched(place: Checkout) -> list[str]:
    """An experiment without a search."""
    place.experiment("new", ("a", "good"))
    (place.path / "own.toml").write_text(LEAST)
    return ["new", "--limits", "own.toml"]


def altered(place: Checkout) -> list[str]:
    """A search, a level of which was changed afterwards."""
    searched(place, "new", 5000)
    run = next(path for path in (place.path / "new").iterdir() if path.is_dir())
    edited = json.loads((run / "manifest.json").read_text()) | {"seed": 7}
    (run / "manifest.json").write_text(json.dumps(edited))
    (place.path / "own.toml").write_text(LEAST)
    return ["new", "--limits", "own.toml"]


def edited(place: Checkout) -> list[str]:
    """A search whose answer was changed afterwards."""
    searched(place, "new", 3500)
    path = place.path / "new"
    for manifest in path.glob("*/manifest.json"):
        said = json.loads(manifest.read_text())["experiment"]
        edit(manifest.parent, experiment=said | {"folder": "new"})
    sealing.seal(path)
    searched(place, "other", 5000)
    shutil.copyfile(place.path / "other" / CAPACITY, path / CAPACITY)
    (place.path / "own.toml").write_text(LEAST)
    return ["new", "--limits", "own.toml"]


def several(*rates: float) -> Make:
    """Two experiments, each with a search that found so much, or without one."""

    def make(place: Checkout) -> list[str]:
        names = ("first", "second")
        for name, rate in itertools.zip_longest(names, rates):
            if rate is None:
                place.experiment(name, ("a", "good"))
            else:
                searched(place, name, rate)
        (place.path / "own.toml").write_text(LEAST)
        return [*names, "--limits", "own.toml"]

    return make


def of_a_copy(place: Checkout) -> list[str]:
    """Levels without the experiment that they are of."""
    searched(place, "new", 5000)
    for name in ("capacity.json", "experiment.json", "trials.jsonl"):
        (place.path / "new" / name).unlink()
    shutil.move(place.path / "new", place.path / "moved")
    (place.path / "own.toml").write_text(LEAST)
    return ["moved", "--limits", "own.toml"]


LEAST = "[limits]\ncapacity = 4000\n"
NO_WORSE = '[worse_than_baseline]\ncapacity = "3 %"\n'
LEAST_RATIO = "[limits]\ncapacity_ratio = 0.97\n"
CASES: dict[str, tuple[Make, int, str]] = {
    "a capacity below the limit": (judged(3500, LEAST), 1, "FAIL"),
    "a capacity too near the limit": (judged(4010, LEAST), 3, "inconclusive"),
    "a capacity of two versions": (
        of_nothing_certain(doubts=[{"check": "version change", "reason": "1, 2", "remedy": ""}]),
        3, "[version change]"),
    "a capacity of answers without numbers": (
        of_nothing_certain(wrong_answers={"Predict": {"nan": {"count": 9, "example": "nan"}}}),
        3, "[not a number]"),
    "the load generator limited a search": (judged(None, LEAST), 3, "the load generator was the limit"),
    "no capacity was searched": (not_searched, 3, "no capacity was searched"),
    "a level of a search was changed": (altered, 3, "[files changed]"),
    "a second search found less": (several(5000, 3500), 1, "FAIL"),
    "a second experiment without a search": (several(5000), 3, "no capacity was searched in second"),
    "the answer of a search was changed": (edited, 3, "capacity.json changed"),
    "levels without their search": (of_a_copy, 3, "no capacity was searched"),
    "a capacity worse than the baseline's": (judged(4000, NO_WORSE, baseline=5000), 1, "FAIL"),
    "a capacity near the baseline's": (judged(4900, NO_WORSE, baseline=5000), 3, "inconclusive"),
    "no rate up to the limit is sustained": (in_vain(5000, LEAST), 1, "FAIL"),
    "a rate below the limit is hardly missed": (in_vain(100, LEAST), 3, "the search gave no interval"),
    "no rate as low as the limit was tried": (
        in_vain(5000, "[limits]\ncapacity = 900\n"), 3, "the search gave no interval"),
    "no rate that the baseline sustains is sustained": (in_vain(5000, NO_WORSE, baseline=5000), 1, "FAIL"),
    "a capacity that is less than another": (compared(0.9, LEAST_RATIO), 1, "FAIL"),
    "a ratio of capacities near the limit": (compared(0.98, LEAST_RATIO), 3, "inconclusive"),
    "a ratio without an interval": (
        compared(1.0, "[limits]\ncapacity_ratio = 0.01\n", error=0.6), 3, "the comparison gave no interval"),
    "a ratio of one capacity": (compared(None, LEAST_RATIO), 3, "no two capacities were compared"),
    "a ratio by a baseline": (
        compared(0.98, '[worse_than_baseline]\ncapacity_ratio = "3 %"\n', baseline=True), 2, "it is a ratio already",
    ),
    "a capacity beside other limits": (judged(5000, f"{LEAST}p50_ms = 20\n"), 2, "a separate limits file"),
}  # fmt: skip

RIGHT: list[Make] = [
    judged(4500, LEAST),
    judged(4500, LEAST, kind="some errors"),  # levels beyond the capacity are not what is judged
    judged(5500, NO_WORSE, baseline=5000),
    compared(1.02, LEAST_RATIO),
    compared(1.02, f"{LEAST}capacity_ratio = 0.97\n"),
]
"""What passes."""
