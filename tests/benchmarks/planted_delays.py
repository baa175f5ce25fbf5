"""Is a delay found in the stage in which it was planted? Run folders of which it is known where each request spent its time.

    python -m tests.benchmarks.planted_delays [--times 40] [--trials 5] [--noise 0.01] [--seed 1]

Writes `times` campaigns for each of the five stages with a delay of 8 to 40 % of the mean latency in it, and five times as
many with nothing; splits the difference as the card of a gate does, and prints how often the planted stage is the first
that is named, how often another one is, and how far its size is off. Trials differ by the noise in all stages together,
and by as much in each; half of the campaigns are of interleaved trials.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench.analysis.explaining.stages import Differences, differences
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.compare import match
from bench.analysis.reading.reconciliation import Stage
from bench.analysis.statistics.intervals import proportion
from bench.runs.run import find_runs
from tests.analysis.planted import LATENCY, planted

WITHIN = 0.10


def campaign(
    folder: Path, rng: np.random.Generator, trials: int, noise: float, delays: Mapping[Stage, float]
) -> Differences:
    """What is found between trials with delays and trials without."""
    interleaved = bool(rng.integers(2))
    sides = []
    for side, planted_in in (("old", {}), ("new", delays)):
        for block in range(trials):
            place = folder / ("runs" if interleaved else side)
            experiment = {"name": "planted", "block": block, "trial": block, "cell": {"server": side}}
            planted(
                place,
                int(rng.integers(2**31)),
                delays=planted_in,
                noise=noise,
                candidate=side == "new" and not interleaved,
                **({"experiment": experiment} if interleaved else {}),
            )
    read = read_trials(find_runs([folder])).trials
    if interleaved:
        sides = [[trial for trial in read if trial.identity.server == side] for side in ("old", "new")]
    else:
        sides = [[trial for trial in read if trial.path.parent.name == side] for side in ("old", "new")]
    (found,), _ = match(*sides, ("server",) if interleaved else ())
    split = differences(found)
    assert split is not None
    return split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print(f"{given.trials} trials a side, noise {given.noise:.1%}, mean latency {LATENCY * 1e3:.2f} ms")
    print(
        "planted in        campaigns  named first  others named  interval holds it  size within 10 %  median size error"
    )
    right_in_all = 0
    for stage in Stage:
        right, others, held, close, errors = 0, 0, 0, 0, []
        for _ in range(given.times):
            delay = LATENCY * float(np.exp(rng.uniform(np.log(0.08), np.log(0.40))))
            with tempfile.TemporaryDirectory() as name:
                found = campaign(Path(name), rng, given.trials, given.noise, {stage: delay})
            named = [each.stage for each in found.named]
            change = next(each.change for each in found.stages if each.stage == stage)
            size = change.size
            held += change.low <= delay <= change.high
            right += named[:1] == [stage]
            others += bool(set(named) - {stage})
            close += abs(size / delay - 1) <= WITHIN
            errors.append(abs(size / delay - 1))
        right_in_all += right
        print(
            f"{stage:<17} {given.times:>9} {right / given.times:>12.1%} {others:>13} {held / given.times:>18.1%} {close / given.times:>17.1%} "
            f"{np.median(errors):>18.1%}",
            flush=True,
        )
    whole = given.times * len(Stage)
    low, high = proportion(right_in_all, whole, 0.95)
    print(f"all               {whole:>9} {right_in_all / whole:>12.1%}   (95 %: {low:.1%} to {high:.1%})")
    named = 0
    for _ in range(whole):
        with tempfile.TemporaryDirectory() as name:
            named += bool(campaign(Path(name), rng, given.trials, given.noise, {}).named)
    low, high = proportion(named, whole, 0.95)
    print(f"nothing           {whole:>9}   a stage named in {named} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
