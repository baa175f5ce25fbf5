"""How good the settings are that a race of 48 finds, and in which share of a full grid's time.

    python -m tests.benchmarks.tune --seeds 200
    python -m tests.benchmarks.tune --live tune.toml --results results/live --seeds 2 --blocks 3

Each seed has another surface of 48 settings and a default with known throughput, and other noise (tests/analysis/surfaces.py).
Prints how often the chosen setting is within 3 % of the best one, by how much it falls short, the share of the grid's trials,
how often the interval of the gain holds the true gain, and the outcomes; then the same of settings that change nothing.
--live tunes a real server with each seed from 1 on, then measures every setting in so many blocks (--blocks; 0: none), and prints
for each race how it ended, its time and where its choice stands in the grid, and among the grid's best in fresh blocks. Ctrl-C
stops it; the same command continues.
The grid's time is that of as many blocks of every setting as the last comparison of a race has: most of them are not
measured, but counted by the mean time of its trials.
"""

import argparse
import contextlib
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.analysis.showing.tuning_text import sentences
from bench.analysis.tuning.measured import Measured, measured
from bench.cli.run import INTERRUPTED, ended_in_order
from bench.cli.run_display import Lines
from bench.cli.tune_run import run_tuning
from bench.experiment.beginning import begin
from bench.experiment.runner import Runner
from bench.experiment.trial import Local
from bench.experiment.tuning import prepare_tuning, resume_tuning
from bench.runs.run import Run
from bench.runs.tuning import Tuning as Result
from tests.analysis.surfaces import DEFAULT, OF_TRIALS, flat, grid_trials, race, surface

NEAR = 0.97
SECONDS = "seconds.txt"
AHEAD, AGAIN = 4, 12
"""Settings that are the best of the grid, and blocks in which they are measured again: the best of many was lucky, too."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--live", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results/live"))
    parser.add_argument("--blocks", type=int, default=3)
    options = parser.parse_args()
    if options.live is not None:
        try:
            sys.exit(live(options.live, options.results, options.seeds, options.blocks))
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
    near, short, held, outcomes, share = 0, [], 0, Counter[str](), 0.0
    for seed in range(options.seeds):
        truth = surface(seed)
        raced = race(truth, seed)
        best = max(value for name, value in truth.items() if name != DEFAULT)
        short.append(1 - truth[raced.chosen] / best)
        near += truth[raced.chosen] >= NEAR * best
        won = next(each for each in raced.gains if each.setting == raced.chosen)
        held += (won.low or 0) <= truth[raced.chosen] / truth[DEFAULT] <= (won.high or math.inf)
        outcomes[raced.outcome] += 1
        share = raced.trials / grid_trials(truth)
    print(
        f"48 settings: {near} of {options.seeds} within 3 % of the best, short of it by {np.mean(short):.1%} (mean), "
        f"{np.quantile(short, 0.95):.1%} (95th percentile); {share:.1%} of the grid's trials; "
        f"{held} intervals hold the true gain; outcomes {dict(outcomes)}"
    )
    for spread in (OF_TRIALS, OF_TRIALS / 3):
        nothing = Counter(race(flat(), seed, spread=spread).outcome for seed in range(options.seeds))
        print(f"48 settings that change nothing, trials differ by {spread:.1%}: outcomes {dict(nothing)}")


def live(file: Path, place: Path, seeds: int, blocks: int) -> int:
    """Races with several seeds and a grid of the same settings; what is there of them is continued. Gives an exit code."""
    place.mkdir(parents=True, exist_ok=True)
    races = []
    for seed in range(1, seeds + 1):
        own = place / f"race-{seed}"
        begun = any(own.glob("*/experiment.json"))
        tuning, folder = resume_tuning(file, own) if begun else (prepare_tuning(file, {"seed": seed}), None)
        found = None if folder is None else Result.read(folder.path)
        if found is None or found.outcome == "unfinished":
            with timed(own):
                code = run_tuning(tuning, folder, results=own)
            if code == INTERRUPTED:
                return code
            found = Result.read(resume_tuning(file, own)[1].path)
        assert found is not None
        races.append(found)
    if not blocks:
        for seed, found in enumerate(races, 1):
            print(f"seed {seed}: {found.outcome}, {found.trials} trials; {sentences(found)[0]}", flush=True)
        return 0
    names = [each.name for each in prepare_tuning(file, {}).settings]
    means, per_trial = grid(file, place / "grid", names, blocks)
    ahead = sorted(means, key=lambda name: -means[name])[:AHEAD]
    chosen = [found.best or names[0] for found in races]
    again, _ = grid(file, place / "again", list(dict.fromkeys([*chosen, *ahead])), AGAIN)
    best = max(again, key=lambda name: again[name])
    for seed, (found, name) in enumerate(zip(races, chosen, strict=True), 1):
        seconds, whole = spent(place / f"race-{seed}"), per_trial * found.grid_trials
        print(
            f"seed {seed}: {found.outcome}, {found.trials} trials in {seconds:.0f} s, {seconds / whole:.1%} of the {whole:.0f} s of "
            f"the grid; chosen {name}: {means[name] / max(means.values()):.1%} of the best of the grid's {blocks} blocks, "
            f"{again[name] / again[best]:.1%} of the best in {AGAIN} more, {best}"
        )
        print("    " + sentences(found)[0], flush=True)
    return 0


def grid(file: Path, place: Path, names: list[str], blocks: int) -> tuple[dict[str, float], float]:
    """The mean score of settings, from so many blocks, and the seconds of a trial. Raises KeyboardInterrupt."""
    tuning = prepare_tuning(file, {"seed": 0})
    if any(place.glob("*/experiment.json")):
        tuning, folder = resume_tuning(file, place)
        prepared = tuning.prepared
    else:
        prepared = tuning.prepared
        plan = tuning.trials(names, range(1, blocks + 1), 0)
        folder = begin(prepared._replace(plan=plan), place, None)
    servers = {each.name: each for each in prepared.servers}
    with timed(place), ended_in_order(), folder.at_work() as lock:
        folder.tidy()
        Runner(prepared.study, servers, folder, Local(1), Lines(folder.path), alike=True).run(lock)
    ended, scores = folder.ended(), dict[str, list[float]]()
    by_cell = {(each.server.name, each.batch): each.name for each in tuning.settings}
    for trial in folder.trials:
        run = Run.open(folder.path / (ended[trial.number].folder or ""))
        result = measured(run, tuning.objective)
        if isinstance(result, Measured):
            name = by_cell[trial.cell.server, trial.cell.batch]
            scores.setdefault(name, []).append(math.log(max(result.score, 1e-9)))
    means = {name: math.exp(float(np.mean(values))) for name, values in scores.items()}
    return means, spent(place) / len(folder.trials)


@contextlib.contextmanager
def timed(place: Path) -> Iterator[None]:
    """Add the seconds of the block to those of a folder."""
    before, began = spent(place), time.monotonic()
    try:
        yield
    finally:
        place.mkdir(exist_ok=True)
        (place / SECONDS).write_text(f"{before + time.monotonic() - began:.1f}")


def spent(place: Path) -> float:
    """Seconds that were spent on a folder so far."""
    file = place / SECONDS
    return float(file.read_text()) if file.exists() else 0.0


if __name__ == "__main__":
    main()
