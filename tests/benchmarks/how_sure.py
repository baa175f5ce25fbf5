"""Shares of wrong and of right verdicts, for kinds of noise and ways to measure, on simulated and recorded trials.

    python -m tests.benchmarks.how_sure FILE [--campaigns N] [--recorded FOLDER [--sessions N] [--busy]]

Each way of comparing meets each kind of noise N times with equal sides, with a candidate that is 5 % slower and with one
as slow as just allowed (2 %); what `bench compare` and `bench gate` use judges them. FILE keeps what was counted, line by
line, and the program goes on where it was interrupted: seeds are those of the cells of the table. Single runs are series
of requests, whose interval is that which a gate shows for the median and p90; the others are values of trials.

A duet is simulated by what a restart leaves of a kind of noise in the ratio of two servers that answer the same load in
turn: what hits the machine hits both, what a process is lucky with does not. --recorded adds a row of this machine's
noise: what is missing in the folder is recorded first (`tests.benchmarks.recorded_noise`), then every way draws from it.

- false FAIL: equal sides, called worse (single run: the limit is 10 % above the truth)
- false pass: 5 % slower where 2 % is allowed, called same (single run: the limit is 10 % below the truth)
- coverage: the interval at 98 % holds the truth
- power: 5 % slower, called worse (single run: the limit is half or twice the truth, decided rightly)
"""

import json
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.judging.change import Change, change
from bench.analysis.judging.limit import BETWEEN_RUNS, widened
from bench.analysis.statistics import clustered
from bench.analysis.statistics.intervals import proportion
from bench.runs.histogram import nearest_rank
from tests.benchmarks.arguments import parser
from tests.benchmarks.noises import NOISES, RATE, Counts, Noise, Q, Rng, counted, queue, quiet, truth_of
from tests.benchmarks.recorded_noise import EACH, PAIRS, SESSIONS, Recorded, record

P50: Final = METRICS["p50"]


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
        arms = (run, noise.run(rng)[:DUET_SECONDS]) if noise.run is queue else (run[:, 0::2], run[:, 1::2])
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
    return lambda noise, rng, campaigns: counted(lambda size: way(noise, rng, size), campaigns)


def single(noise: Noise, rng: Rng, campaigns: int) -> Counts:
    """The interval of one run's p90, as a gate shows it, against limits around the truth."""
    make = noise.run or quiet
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


WAYS: Final[dict[str, Callable[[Noise, Rng, int], Counts]]] = {
    "single run": single,
    "committed baseline, 3 sessions a side": _compared(baseline),
    "paired, 12 blocks": _compared(paired),
    "duet, 12 restarts of 8 s": _compared(duet),
}
"""A column each."""


def main(file: Path, campaigns: int, folder: Path | None = None) -> None:
    """Count what is not in the file yet, then print the table. folder: of recorded trials."""
    rows: list[dict[str, Any]] = []
    if file.exists():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    done = {(row["noise"], row["way"]) for row in rows if row["campaigns"] >= campaigns}
    for number, noise in enumerate(NOISES):
        for place, (way, count) in enumerate(WAYS.items()):
            if (noise.name, way) not in done:
                _keep(file, noise.name, way, count(noise, np.random.default_rng([number, place]), campaigns))
    if folder is not None:
        recorded = Recorded.read(folder)
        for place, (way, of_recorded) in enumerate(zip(WAYS, recorded.ways, strict=True)):
            if not any((row["noise"], row["way"]) == (recorded.name, way) for row in rows):
                counts = of_recorded(np.random.default_rng([len(NOISES), place]), campaigns)
                _keep(file, recorded.name, way, counts)
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
    command = parser(__doc__)
    command.add_argument("file", type=Path)
    command.add_argument("--campaigns", type=int, default=1000)
    command.add_argument("--recorded", type=Path, metavar="FOLDER")
    command.add_argument(
        "--sessions", type=int, default=24, help="to record in all (default: 24, some 25 min)"
    )
    command.add_argument("--busy", action="store_true", help="record beside endless loops")
    given = command.parse_args()
    if given.recorded is not None:
        record(given.recorded, given.sessions, busy=given.busy)
    main(given.file, given.campaigns, given.recorded)
