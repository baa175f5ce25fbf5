"""Kinds of noise between the trials of a campaign and within a run, and the counts of right and wrong verdicts on them."""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from bench.analysis.judging.change import Change
from bench.analysis.statistics.intervals import mean_of

Rng = np.random.Generator
SLOWER: Final = 1.05
RATE: Final = 200
SECONDS: Final = 40
"""Of a single run: requests a second, and seconds in its steady part."""
Q: Final = 90.0
"""The percentile of a single run that is limited."""


class Counts(NamedTuple):
    """What became of the campaigns of a cell of the table."""

    campaigns: int = 0
    false_fail: int = 0
    false_pass: int = 0
    covered: int = 0
    found: int = 0


def counted(draw: Callable[[float], Change], campaigns: int) -> Counts:
    """Verdicts on campaigns that are drawn: of equal sides, and of a candidate so many times as slow."""
    false_fail = false_pass = covered = found = 0
    for _ in range(campaigns):
        equal, slower = draw(1.0), draw(SLOWER)
        false_fail += equal.verdict == "worse"
        false_pass += slower.verdict in ("same", "better")
        low, high = (equal.estimate or slower.estimate).interval(0.98)  # type: ignore[union-attr]
        covered += low <= 0 <= high
        found += slower.verdict == "worse"
    return Counts(campaigns, false_fail, false_pass, covered, found)


class Noise(NamedTuple):
    """A kind of noise: of trials in the order in which they run, and of the requests of one run."""

    name: str
    trials: Callable[[Rng, int], Any]
    """Logarithms by which so many trials, in a row, are off."""
    session: float = 0.0
    """Standard deviation between sessions."""
    own: bool = False
    """Whether they are those of a process, so that two servers which are up together do not share them."""
    order: float = 0.0
    """By how much the first trial of a block is slower."""
    run: Callable[[Rng], Any] | None = None
    """[SECONDS, RATE] durations of one run, by the second; None: quiet requests, whose run is off as a trial is."""
    sample: Callable[[Rng], Any] | None = None
    """Many durations of its long run, for the truth; None: as of `run`."""


def quiet(rng: Rng) -> Any:
    return 0.002 * np.exp(0.3 * rng.standard_normal((SECONDS, RATE)))


def _autoregressive(rng: Rng, count: int, likeness: float, spread: float) -> Any:
    values = np.empty(count)
    value = rng.standard_normal()
    for at in range(count):
        values[at] = value
        value = likeness * value + math.sqrt(1 - likeness**2) * rng.standard_normal()
    return spread * values


def queue(rng: Rng) -> Any:
    """M/M/1 at 80 %, in requests as they come: those of a second vary a little in number, which is left out."""
    mu = RATE / 0.8
    service = rng.exponential(1 / mu, SECONDS * RATE)
    gaps = rng.exponential(1 / RATE, SECONDS * RATE)
    found = np.empty(SECONDS * RATE)
    wait = max(0.0, rng.exponential(1 / (mu - RATE)) - rng.exponential(1 / mu))
    for at in range(SECONDS * RATE):
        found[at] = wait + service[at]
        wait = max(0.0, found[at] - gaps[at])
    return found.reshape(SECONDS, RATE)


def _stalls(rng: Rng) -> Any:
    """Every 5 s, by chance, the server stands still for 0.2 to 0.5 s."""
    due = (np.arange(SECONDS * RATE) + 0.5) / RATE
    found = quiet(rng).ravel()
    for start in rng.uniform(-1, SECONDS, rng.poisson((SECONDS + 1) / 5)):
        end = start + rng.uniform(0.2, 0.5)
        held = (due >= start) & (due < end)
        found[held] = np.maximum(found[held], end - due[held])
    return found.reshape(SECONDS, RATE)


def _drifting(rng: Rng) -> Any:
    """A level that wanders by 5 %, like itself for 10 s."""
    level = _autoregressive(rng, SECONDS, math.exp(-1 / 10), 0.05)
    return quiet(rng) * np.exp(level)[:, None]


def _normal(spread: float) -> Callable[[Rng, int], Any]:
    return lambda rng, count: spread * rng.standard_normal(count)


def _hit(rng: Rng, count: int) -> Any:
    return _normal(0.01)(rng, count) + np.where(rng.random(count) < 1 / 8, math.log(1.5), 0.0)


def _drift(rng: Rng, count: int) -> Any:
    return _normal(0.01)(rng, count) + 0.05 * np.sin(
        2 * np.pi * (rng.random() + np.arange(count) / max(count, 24))
    )


NOISES: Final = (
    Noise("quiet machine: 1 %", _normal(0.01)),
    Noise("busy machine: 3 %", _normal(0.03)),
    Noise("heavy tails (Student's t of 2, 1 %)", lambda rng, count: 0.01 * rng.standard_t(2, count)),
    Noise("one trial in eight 50 % slower", _hit),
    Noise("the machine drifts by 5 %", _drift),
    Noise("neighbours alike (AR 0.7, 3 %)", lambda rng, count: _autoregressive(rng, count, 0.7, 0.03)),
    Noise("the first of a block is 5 % slower", _normal(0.01), order=0.05),
    Noise("sessions differ by 3 %", _normal(0.005), session=0.03),
    Noise("luck of the run: 5 %", _normal(0.05), own=True),
    Noise("two states of the machine, 10 % apart", lambda rng, count: 0.1 * (rng.random(count) < 0.5)),
    Noise("a queue, M/M/1 at 80 %", _normal(0.01), run=queue),
    Noise("random stalls within a run", _normal(0.01), run=_stalls),
    Noise("slow drift within a run", _normal(0.01), run=_drifting),
)


_TRUTHS: dict[str, float] = {}


def truth_of(noise: Noise, q: float = Q) -> float:
    """A percentile of all runs: of a queue by formula, else of 400 runs."""
    key = f"{noise.name} {q}"
    if key not in _TRUTHS:
        make, rng = noise.run or quiet, np.random.default_rng(99)
        if noise.run is queue:
            _TRUTHS[key] = -math.log1p(-q / 100) / (RATE / 0.8 - RATE)
        else:
            off = 0.0 if noise.run else mean_of(noise.trials(rng, 100_000), robust=True).mean
            runs = np.concatenate([make(rng)[:, ::4].ravel() for _ in range(400)])
            _TRUTHS[key] = float(np.quantile(runs, q / 100)) * math.exp(off)
    return _TRUTHS[key]
