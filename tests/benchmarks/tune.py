"""How good the settings are that a race of 48 finds, and in which share of a full grid's time.

    python -m tests.benchmarks.tune --seeds 200
    python -m tests.benchmarks.tune --live tune.toml

Each seed has another surface of 48 settings and a default with known throughput, and other noise (tests/analysis/surfaces.py).
Prints how often the chosen setting is within 3 % of the best one, by how much it falls short, the share of the grid's trials,
how often the interval of the gain holds the true gain, and the outcomes; then the same of settings that change nothing.
--live runs `bench tune` on a file, then every setting in as many blocks as the last comparison has (`bench run` of the same
conditions), and prints both times and where the race's choice stands in the grid.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from bench.analysis.tuning.measured import Measured, measured
from bench.cli.run_display import Lines
from bench.experiment.beginning import begin
from bench.experiment.runner import Runner
from bench.experiment.trial import Local
from bench.experiment.tuning import prepare_tuning
from bench.runs.run import Run
from tests.analysis.surfaces import DEFAULT, OF_TRIALS, flat, grid_trials, race, surface

NEAR = 0.97


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--live", type=Path)
    options = parser.parse_args()
    if options.live is not None:
        live(options.live)
        return
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


def live(file: Path) -> None:
    """A race and a grid of the same settings, one after the other."""
    with tempfile.TemporaryDirectory() as place:
        results, written = Path(place) / "race", Path(place) / "race.json"
        began = time.monotonic()
        command = [sys.executable, "-m", "bench", "tune", str(file), "--results", str(results)]
        done = subprocess.run([*command, "--json", str(written)], check=False)
        raced = time.monotonic() - began
        found = json.loads(written.read_text())
        for sentence in found["sentences"]:
            print(sentence, flush=True)
        tuning = prepare_tuning(file, {})
        names = [each.name for each in tuning.settings]
        plan = tuning.trials(names, range(1, tuning.prepared.study.experiment.trials + 1), 0)
        prepared = tuning.prepared._replace(plan=plan)
        folder = begin(prepared, Path(place) / "grid", None)
        began = time.monotonic()
        with folder.at_work() as lock:
            servers = {each.name: each for each in prepared.servers}
            Runner(prepared.study, servers, folder, Local(1), Lines(folder.path), alike=True).run(lock)
        grid = time.monotonic() - began
        ended = folder.ended()
        scores: dict[str, list[float]] = {}
        for trial in plan:
            result = measured(Run.open(folder.path / (ended[trial.number].folder or "")), tuning.objective)
            if isinstance(result, Measured):
                scores.setdefault(trial.cell.server, []).append(math.log(max(result.score, 1e-9)))
        means = {name: math.exp(float(np.mean(values))) for name, values in scores.items()}
        best = max(means, key=lambda name: means[name])
        chosen = found["tuning"]["best"]
        print(
            f"race: {raced:.0f} s, exit code {done.returncode}; grid: {grid:.0f} s; the race took {raced / grid:.1%}; "
            f"best of the grid {best} ({means[best]:.1f}), chosen {chosen} ({means[chosen] / means[best]:.1%} of it)"
        )


if __name__ == "__main__":
    main()
