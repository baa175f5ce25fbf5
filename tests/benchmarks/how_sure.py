"""Shares of wrong and of right verdicts, for kinds of noise and ways to measure, on simulated and recorded trials.

    python -m tests.benchmarks.how_sure FILE [--campaigns N] [--recorded FOLDER...] [--duet FOLDER]

Each way of comparing meets each kind of noise N times with equal sides, with a candidate that is 5 % slower and with one
as slow as just allowed (2 %); what `bench compare` and `bench gate` use judges them. FILE keeps what was counted, line by
line, and the program goes on where it was interrupted: seeds are those of the cells of the table. Single runs are series
of requests, whose interval is that which a gate shows for the median and p90; the others are values of trials.

A duet is simulated by what a restart leaves of a kind of noise in the ratio of two servers that answer the same load in
turn: what hits the machine hits both, what a process is lucky with does not. --duet takes the restarts of a live
campaign (`tests.benchmarks.duet_campaign`) too, --recorded trials of one thing.

- false FAIL: equal sides, called worse (single run: the limit is 10 % above the truth)
- false pass: 5 % slower where 2 % is allowed, called same (single run: the limit is 10 % below the truth)
- coverage: the interval at 98 % holds the truth
- power: 5 % slower, called worse (single run: the limit is half or twice the truth, decided rightly)
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bench.analysis.statistics import clustered
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.judging.change import Change, change
from bench.analysis.judging.limit import BETWEEN_RUNS, widened
from bench.analysis.statistics.intervals import mean_of, proportion
from bench.runs.histogram import nearest_rank

Rng = np.random.Generator
P50: Final = METRICS["p50"]
PAIRS: Final = 12
SESSIONS: Final = 3
EACH: Final = 3
"""Trials of a session."""
SLOWER: Final = 1.05
RATE: Final = 200
SECONDS: Final = 40
"""Of a single run: requests a second, and seconds in its steady part."""


class Counts(NamedTuple):
    """What became of the campaigns of a cell of the table."""

    campaigns: int = 0
    false_fail: int = 0
    false_pass: int = 0
    covered: int = 0
    found: int = 0


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


def _quiet(rng: Rng) -> Any:
    return 0.002 * np.exp(0.3 * rng.standard_normal((SECONDS, RATE)))


def _autoregressive(rng: Rng, count: int, likeness: float, spread: float) -> Any:
    values = np.empty(count)
    value = rng.standard_normal()
    for at in range(count):
        values[at] = value
        value = likeness * value + math.sqrt(1 - likeness**2) * rng.standard_normal()
    return spread * values


def _queue(rng: Rng) -> Any:
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
    found = _quiet(rng).ravel()
    for start in rng.uniform(-1, SECONDS, rng.poisson((SECONDS + 1) / 5)):
        end = start + rng.uniform(0.2, 0.5)
        held = (due >= start) & (due < end)
        found[held] = np.maximum(found[held], end - due[held])
    return found.reshape(SECONDS, RATE)


def _drifting(rng: Rng) -> Any:
    """A level that wanders by 5 %, like itself for 10 s."""
    level = _autoregressive(rng, SECONDS, math.exp(-1 / 10), 0.05)
    return _quiet(rng) * np.exp(level)[:, None]


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
    Noise("a queue, M/M/1 at 80 %", _normal(0.01), run=_queue),
    Noise("random stalls within a run", _normal(0.01), run=_stalls),
    Noise("slow drift within a run", _normal(0.01), run=_drifting),
)


def paired(noise: Noise, rng: Rng, size: float) -> Change:
    """12 blocks of both sides in balanced order."""
    off = np.asarray(noise.trials(rng, 2 * PAIRS)).reshape(PAIRS, 2) + rng.choice(_medians(noise), (PAIRS, 2))
    later = [at % 2 == 0 for at in range(PAIRS)]
    luck = noise.session * rng.standard_normal((PAIRS, 2))  # each block starts its servers
    values = np.exp(off + luck + np.array([noise.order, 0.0]))
    before = [float(row[0 if late else 1]) for row, late in zip(values, later, strict=True)]
    after = [size * float(row[1 if late else 0]) for row, late in zip(values, later, strict=True)]
    return change(P50, before, after, paired=True, later=later)


def baseline(noise: Noise, rng: Rng, size: float) -> Change:
    """3 sessions of 3 trials recorded before, 3 of the candidate later: no trial of one follows one of the other."""
    sides = []
    for factor in (1.0, size):
        values = []
        for _ in range(SESSIONS):
            off = np.asarray(noise.trials(rng, EACH)) + noise.session * rng.standard_normal()
            off = off + rng.choice(_medians(noise), EACH)
            off[0] += noise.order
            values += [factor * math.exp(value) for value in off]
        sides.append(values)
    names = [f"{at // EACH}" for at in range(SESSIONS * EACH)]
    return change(P50, *sides, paired=False, sessions=(names, names))


def duet(noise: Noise, rng: Rng, size: float) -> Change:
    """12 restarts of both servers, each of DUET_SECONDS, whose arms get requests in turn."""
    logs = rng.choice(_in_turn(noise), PAIRS) + DUET_SPREAD * rng.standard_normal(PAIRS)
    logs += noise.session * math.sqrt(2) * rng.standard_normal(PAIRS)
    if noise.own:
        own = np.asarray(noise.trials(rng, 2 * PAIRS)).reshape(PAIRS, 2)
        logs += own[:, 1] - own[:, 0]
    return change(P50, [1.0] * PAIRS, (size * np.exp(logs)).tolist(), paired=True)


DUET_SECONDS: Final = 8
DUET_SPREAD: Final = 0.002
"""Standard deviation of the ratio over restarts on an idle machine: arms of one version differed by 0.05 and 0.2 %."""


@lru_cache
def _in_turn(noise: Noise) -> Any:
    """Logarithms of the ratio of two medians, in simulated stretches of DUET_SECONDS of the same noise.

    Of kinds of noise that have no run of their own: what is common to both is gone, and their requests are many.
    """
    if noise.run is None:
        return np.zeros(1)
    rng, found = np.random.default_rng(98), []
    for _ in range(POOL):
        run = noise.run(rng)[:DUET_SECONDS]
        # a queue is of one server; whatever else there is meets the requests of both as they come
        arms = (run, noise.run(rng)[:DUET_SECONDS]) if noise.run is _queue else (run[:, 0::2], run[:, 1::2])
        found.append(math.log(float(np.median(arms[1]) / np.median(arms[0]))))
    # either arm may be the slower one: a pool of a few hundred has a mean of its own, which would count as a difference
    return np.array([*found, *(-each for each in found)])


@lru_cache
def _medians(noise: Noise) -> Any:
    """Logarithms of the medians of simulated runs of SECONDS."""
    rng = np.random.default_rng(97)
    return np.array(
        [0.0] if noise.run is None else [math.log(float(np.median(noise.run(rng)))) for _ in range(POOL)]
    )


POOL: Final = 400


def _compared(way: Callable[[Noise, Rng, float], Change]) -> Callable[[Noise, Rng, int], Counts]:
    def count(noise: Noise, rng: Rng, campaigns: int) -> Counts:
        false_fail = false_pass = covered = found = 0
        for _ in range(campaigns):
            equal, slower = way(noise, rng, 1.0), way(noise, rng, SLOWER)
            false_fail += equal.verdict == "worse"
            false_pass += slower.verdict in ("same", "better")
            low, high = (equal.estimate or slower.estimate).interval(0.98)  # type: ignore[union-attr]
            covered += low <= 0 <= high
            found += slower.verdict == "worse"
        return Counts(campaigns, false_fail, false_pass, covered, found)

    return count


def single(noise: Noise, rng: Rng, campaigns: int) -> Counts:
    """The interval of one run's p90, as a gate shows it, against limits around the truth."""
    make = noise.run or _quiet
    truth = truth_of(noise)
    false_fail = false_pass = covered = found = 0
    for _ in range(campaigns):
        durations = make(rng)
        if noise.run is None:  # the whole run is off, as a trial is
            durations = durations * math.exp(
                float(np.asarray(noise.trials(rng, 1))[0]) + noise.session * rng.standard_normal()
            )
        low, high = interval_of_run(durations)
        false_fail += low > 1.1 * truth
        false_pass += high <= truth / 1.1
        covered += low <= truth <= high
        found += high <= 2 * truth and low > truth / 2
    return Counts(campaigns, false_fail, false_pass, covered, found)


Q: Final = 90.0


def interval_of_run(durations: Any, q: float = Q) -> tuple[float, float]:
    """Of a percentile of a run [seconds, requests], as a gate has it, from the counts of its seconds."""
    ordered = np.sort(durations.ravel())
    count = len(ordered)
    value = float(ordered[nearest_rank(q, count) - 1])

    def beyond(seconds: float) -> clustered.Seconds:
        part = (durations > seconds).sum(axis=1)
        return clustered.Seconds(part.astype(float), np.full(len(durations), float(RATE)))

    low, high = clustered.ranks_of_run(
        q,
        (count, len(durations)),
        value,
        beyond,
        lambda rank: beyond(float(ordered[rank - 1])),
        confidence=0.98,
    )
    luck = BETWEEN_RUNS * clustered.normal(0.98)
    return (
        -math.inf if low is None else widened(value, float(ordered[low - 1]), -luck),
        math.inf if high is None else widened(value, float(ordered[high - 1]), luck),
    )


_TRUTHS: dict[str, float] = {}


def truth_of(noise: Noise, q: float = Q) -> float:
    """A percentile of all runs: of a queue by formula, else of 400 runs."""
    key = f"{noise.name} {q}"
    if key not in _TRUTHS:
        make, rng = noise.run or _quiet, np.random.default_rng(99)
        if noise.run is _queue:
            _TRUTHS[key] = -math.log1p(-q / 100) / (RATE / 0.8 - RATE)
        else:
            off = 0.0 if noise.run else mean_of(noise.trials(rng, 100_000), robust=True).mean
            runs = np.concatenate([make(rng)[:, ::4].ravel() for _ in range(400)])
            _TRUTHS[key] = float(np.quantile(runs, q / 100)) * math.exp(off)
    return _TRUTHS[key]


WAYS: Final[dict[str, Callable[[Noise, Rng, int], Counts]]] = {
    "single run": single,
    "committed baseline, 3 sessions a side": _compared(baseline),
    "paired, 12 blocks": _compared(paired),
    "duet, 12 restarts of 8 s": _compared(duet),
}
"""A column each."""


def recorded(folders: Sequence[Path], campaigns: int) -> Iterator[tuple[str, str, Counts]]:
    """The same of trials of one thing that were recorded on this machine, neighbours as pairs."""
    from bench.analysis.grouping.trials import read_trials
    from bench.analysis.judging.error_rates import replay
    from bench.runs.run import find_runs

    groups = read_trials(find_runs(folders)).by_identity()
    trials = max(groups.values(), key=len)
    for metric in ("p50", "p99"):
        values = [trial.values[metric] for trial in trials]
        pairs = min(PAIRS, len(values) // 2)
        counted = [
            replay(metric, values, injected=size, pairs=pairs, campaigns=campaigns) for size in (1.0, SLOWER)
        ]
        equal, slower = (each.verdicts for each in counted)
        counts = Counts(campaigns, equal["worse"], slower["same"] + slower["better"], -1, slower["worse"])
        yield f"recorded: {metric} of {len(values)} trials, {pairs} blocks", "paired, 12 blocks", counts


def recorded_duet(folder: Path, campaigns: int) -> tuple[str, str, Counts]:
    """Gates on restarts drawn from those of a live campaign, which decide as they come in."""
    from tests.benchmarks.duet_campaign import KINDS, decided, measured

    rows, rng = measured(folder), np.random.default_rng(1)
    pools = {
        kind: np.array([r for row in rows if row["kind"] == kind for r in row["ratios"]]) for kind in KINDS
    }
    blocks = int(np.median([len(row["ratios"]) for row in rows]))
    verdicts = {
        kind: [decided(rng.choice(pool, blocks)) for _ in range(campaigns)] for kind, pool in pools.items()
    }
    equal, slower = verdicts["nothing"], verdicts["+5 %"]
    passed = slower.count("same") + slower.count("better")
    name = f"recorded: {sum(map(len, pools.values()))} restarts beside two busy neighbours"
    return (
        name,
        f"duet, {PAIRS} restarts of {DUET_SECONDS} s",
        Counts(campaigns, equal.count("worse"), passed, -1, slower.count("worse")),
    )


def main(file: Path, campaigns: int, folders: Sequence[Path], duets: Path | None = None) -> None:
    """Count what is not in the file yet, then print the table."""
    rows: list[dict[str, Any]] = []
    if file.exists():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    done = {(row["noise"], row["way"]) for row in rows if row["campaigns"] >= campaigns}
    for number, noise in enumerate(NOISES):
        for place, (way, count) in enumerate(WAYS.items()):
            if (noise.name, way) not in done:
                _keep(file, noise.name, way, count(noise, np.random.default_rng([number, place]), campaigns))
    if folders:
        for name, way, counts in recorded(folders, campaigns):
            if (name, way) not in done:
                _keep(file, name, way, counts)
    if duets is not None:
        name, way, counts = recorded_duet(duets, campaigns)
        if (name, way) not in done:
            _keep(file, name, way, counts)
    show([json.loads(line) for line in file.read_text().splitlines()])


def _keep(file: Path, noise: str, way: str, counts: Counts) -> None:
    with file.open("a") as kept:
        kept.write(json.dumps({"noise": noise, "way": way, **counts._asdict()}) + "\n")


def show(rows: Sequence[dict[str, Any]]) -> None:
    """As a table of Markdown: a line for each noise, a column for each way."""
    ways = list(dict.fromkeys([*WAYS, *(row["way"] for row in rows)]))
    print(f"| false FAIL / false pass / coverage / power, % | {' | '.join(ways)} |")
    print("|---|" + "---:|" * len(ways))
    for noise in dict.fromkeys(row["noise"] for row in rows):
        own = {row["way"]: row for row in rows if row["noise"] == noise}
        print(f"| {noise} | {' | '.join(_cell(own[way]) if way in own else '–' for way in ways)} |")
    whole = max(row["campaigns"] for row in rows)
    low, high = proportion(round(0.01 * whole), whole, 0.95)
    print(f"\n{whole:,} campaigns each: a share of 1 % has the 95 % interval {low:.1%} to {high:.1%}.")


def _cell(row: dict[str, Any]) -> str:
    names = ("false_fail", "false_pass", "covered", "found")
    return " / ".join(_share(row[name], row["campaigns"]) for name in names)


def _share(count: int, whole: int) -> str:
    return "–" if count < 0 else f"{100 * count / whole:.1f}"


if __name__ == "__main__":
    from argparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--campaigns", type=int, default=1000)
    parser.add_argument("--recorded", type=Path, nargs="*", default=[])
    parser.add_argument("--duet", type=Path)
    told = parser.parse_args(sys.argv[1:])
    main(told.file, told.campaigns, told.recorded, told.duet)
