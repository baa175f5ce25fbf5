"""Runs of one thing on this machine, recorded once; every way to compare draws its trials from them.

    python -m tests.benchmarks.recorded_noise FOLDER [--sessions N] [--busy]     records what is missing

A session is a start of a synthetic server (10 ms a request, two users) with three runs of 8 s, one after the other. Beside
the sessions as many duets are recorded: starts of two such servers whose requests alternate. What any two of them differ by
is the noise of the machine and of the starts; a candidate that is slower is one whose values are multiplied.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trial, read_trials
from bench.analysis.judging.change import Change, change
from bench.analysis.judging.limit import BETWEEN_RUNS, widened
from bench.analysis.statistics.clustered import normal
from bench.launch import server_process
from bench.runs.run import find_runs
from tests.benchmarks.arguments import parser
from tests.benchmarks.duet_campaign import SECONDS, SERVICE, busy_neighbours, ratios
from tests.benchmarks.noises import Counts, Q, Rng, counted

ROOT: Final = Path(__file__).parents[2]
PAIRS: Final = 12
SESSIONS: Final = 3
EACH: Final = 3
"""Trials of a session."""
LIMITED: Final = f"p{Q:g}"
DUET: Final = """scenario = "{root}/scenarios/mnist.py"
servers = ["one", "other"]
loads = [{{ users = 2 }}]
seconds = {seconds}
trials = {trials}
[models.mnist]
versions = [1]
"""
SERVER: Final = """[servers.{name}]
kind = "embedded"
flags = {{ backend = "synthetic", service_time = "constant({service:g}ms)" }}
"""


def record(folder: Path, sessions: int, *, busy: bool = False) -> None:
    """Run what is missing of so many sessions and duets; one that was interrupted is run anew."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / "busy"
    if any(folder.iterdir()) and beside.exists() != busy:
        raise SystemExit(
            f"{folder}: recorded {'with' if beside.exists() else 'without'} --busy: take another folder"
        )
    if busy:
        beside.touch()
    with busy_neighbours() if busy else contextlib.nullcontext():
        for number in range(sessions):
            place = folder / f"session-{number:03}"
            if not (place / "whole").exists():
                shutil.rmtree(place, ignore_errors=True)
                _session(place)
                (place / "whole").touch()
                print(place, flush=True)
        _duets(folder / "duet", sessions)


def _session(place: Path) -> None:
    flags = ["--backend=synthetic", f"--service-time=constant({SERVICE:g}ms)", "--model_name=mnist"]
    with server_process.embedded(flags) as server:
        for _ in range(EACH):
            _run(
                *("scenario", "mnist", "--host", server.address, "--headless", "-u", "2", "-r", "2"),
                *("-t", f"{SECONDS}s", "--results", str(place), "--server-pid", str(server.pid)),
            )


def _duets(place: Path, starts: int) -> None:
    """One experiment with a block for each start; of one that was interrupted the rest."""
    plan = place / "plan.json"
    if plan.exists() and json.loads(plan.read_text()) == starts:
        return
    begun = sorted(place.glob("results/*/experiment.json"))
    if begun:
        _run("run", str(begun[-1].parent), "--resume")
    else:
        place.mkdir(parents=True, exist_ok=True)
        (place / "servers.toml").write_text(
            "".join(SERVER.format(name=name, service=SERVICE) for name in ("one", "other"))
        )
        (place / "duet.toml").write_text(DUET.format(root=ROOT, seconds=SECONDS, trials=starts))
        _run("run", str(place / "duet.toml"), "--duet", "--results", str(place / "results"))
    plan.write_text(json.dumps(starts))


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise SystemExit(f"bench {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")


@dataclass(frozen=True)
class Recorded:
    """What was recorded in a folder."""

    name: str
    sessions: list[list[Trial]]
    """In the order in which they ran."""
    ratios: list[float]
    """Of the medians of the two servers of each duet."""

    @classmethod
    def read(cls, folder: Path) -> "Recorded":
        """Raises SystemExit where too little was recorded."""
        places = sorted(path.parent for path in folder.glob("session-*/whole"))
        sessions = [read_trials(find_runs([place])).trials for place in places]
        duets = ratios(folder / "duet" / "results", ("other", "one"))
        if len(sessions) < 2 * SESSIONS or EACH * len(sessions) < 2 * PAIRS or len(duets) < PAIRS:
            raise SystemExit(f"{folder}: {len(sessions)} sessions and {len(duets)} duets are too few")
        beside = "two busy neighbours" if (folder / "busy").exists() else "whatever else ran"
        return cls(
            f"recorded: {len(sessions)} starts with {EACH} runs each, {len(duets)} duets, beside {beside}",
            sessions,
            duets,
        )

    @property
    def ways(self) -> "Sequence[Callable[[Rng, int], Counts]]":
        """In the order of the table's columns: single run, committed baseline, paired, duet."""
        return self._single, self._of(self._baseline), self._of(self._paired), self._of(self._duet)

    def _of(self, draw: "Callable[[Rng, float], Change]") -> "Callable[[Rng, int], Counts]":
        return lambda rng, campaigns: counted(lambda size: draw(rng, size), campaigns)

    @property
    def _medians(self) -> "list[list[float]]":
        return [[trial.values["p50"] for trial in session] for session in self.sessions]

    def _single(self, _: Rng, campaigns: int) -> Counts:
        """The interval of each run's p90 as a gate has it, and limits around the median of all runs; each run once."""
        trials = [trial for session in self.sessions for trial in session][:campaigns]
        truth = float(np.median([trial.values[LIMITED] for trial in trials]))
        ends = [_interval(trial) for trial in trials]
        return Counts(
            len(trials),
            sum(low > 1.1 * truth for low, _ in ends),
            sum(high <= truth / 1.1 for _, high in ends),
            sum(low <= truth <= high for low, high in ends),
            sum(high <= 2 * truth and low > truth / 2 for low, high in ends),
        )

    def _baseline(self, rng: Rng, size: float) -> Change:
        """Three starts a side, of all that were recorded."""
        chosen = rng.choice(len(self.sessions), 2 * SESSIONS, replace=False)
        before, after = (
            [(value * factor, f"{at}") for at in side for value in self._medians[at]]
            for side, factor in ((chosen[:SESSIONS], 1.0), (chosen[SESSIONS:], size))
        )
        values, names = zip(*(zip(*side, strict=True) for side in (before, after)), strict=True)
        return change(METRICS["p50"], *map(list, values), paired=False, sessions=names)

    def _paired(self, rng: Rng, size: float) -> Change:
        """Runs that followed each other, in either order."""
        every = np.array([value for session in self._medians for value in session])
        first = rng.integers(0, 2)
        pairs = every[first : first + (len(every) - first) // 2 * 2].reshape(-1, 2)
        drawn = rng.permuted(pairs[rng.choice(len(pairs), PAIRS, replace=False)], axis=1)
        return change(METRICS["p50"], drawn[:, 0].tolist(), (size * drawn[:, 1]).tolist(), paired=True)

    def _duet(self, rng: Rng, size: float) -> Change:
        """Starts of two, either of which may be the candidate."""
        logs = rng.choice(np.log(self.ratios), PAIRS) * rng.choice([-1, 1], PAIRS)
        return change(METRICS["p50"], [1.0] * PAIRS, (size * np.exp(logs)).tolist(), paired=True)


def _interval(trial: Trial) -> "tuple[float, float]":
    assert trial.within is not None
    ends = trial.within.interval(LIMITED, 0.98)
    assert ends is not None
    luck = BETWEEN_RUNS * normal(0.98)
    return widened(trial.values[LIMITED], ends[0], -luck), widened(trial.values[LIMITED], ends[1], luck)


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("folder", type=Path)
    command.add_argument("--sessions", type=int, default=24)
    command.add_argument("--busy", action="store_true", help="beside endless loops")
    given = command.parse_args()
    record(given.folder, given.sessions, busy=given.busy)
