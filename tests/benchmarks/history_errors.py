"""Error rates of `bench history`: false alarms under ten kinds of noise, and steps that are found, by simulation.

python -m tests.benchmarks.history_errors            the three tables, about 10 min
python -m tests.benchmarks.history_errors --bound    what the best test could find that knows the noise and the step, 1 min
python -m tests.benchmarks.history_errors --table    the quantiles of `bench.analysis.statistics.step.CHANCE`, about 20 min
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from bench.analysis.judging.history import FALSE_SHARE, accepted, change_points
from bench.analysis.statistics.intervals import proportion
from bench.analysis.statistics.step import LARGEST, LEVELS, by_permutation, chance, limited, strongest_steps
from tests.benchmarks.arguments import parser

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Floats]

SIZES = (6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 60, 90, LARGEST)
SERIES = 20_000
PARTS = 100


def autoregressive(phi: float) -> Noise:
    """Stationary AR(1) with standard deviation 1."""

    def noise(rng: np.random.Generator, count: int) -> Floats:
        values = rng.standard_normal(count)
        for at in range(1, count):
            values[at] = phi * values[at - 1] + np.sqrt(1 - phi * phi) * values[at]
        return values

    return noise


def hit(rng: np.random.Generator, count: int) -> Floats:
    """One run in eight is disturbed."""
    return rng.standard_normal(count) + 20 * (rng.random(count) < 1 / 8)


def two_states(rng: np.random.Generator, count: int) -> Floats:
    """Each run is by chance in one of two states, 6 standard deviations apart."""
    return rng.standard_normal(count) + 6 * (rng.random(count) < 0.5)


NOISES: dict[str, Noise] = {
    "independent": autoregressive(0.0),
    "AR(1) 0.3": autoregressive(0.3),
    "AR(1) 0.5": autoregressive(0.5),
    "AR(1) 0.7": autoregressive(0.7),
    "AR(1) 0.8": autoregressive(0.8),
    "AR(1) 0.9": autoregressive(0.9),
    "log-normal, sd 1": lambda rng, count: rng.lognormal(0, 1, count),
    "Student t, 3 df": lambda rng, count: rng.standard_t(3, count),
    "one run in 8 hit": hit,
    "two states": two_states,
}


def chance_table() -> Iterator[str]:
    """The lines of CHANCE."""
    for count in SIZES:
        rows = []
        for phi in (0.3, 0.5, 0.7, 0.8, 0.9):
            rng = np.random.default_rng([count, int(100 * phi)])
            found = []
            for _ in range(PARTS):
                series = rng.standard_normal((SERIES // PARTS, count))
                for at in range(1, count):
                    series[:, at] = phi * series[:, at - 1] + np.sqrt(1 - phi * phi) * series[:, at]
                found.append(strongest_steps(limited(series))[0])
            rows.append(np.quantile(np.concatenate(found), [1 - level for level in LEVELS]))
        yield f"    {count}: ({', '.join(f'{value:.2f}' for value in np.max(rows, axis=0))}),"


def most_powerful(count: int, phi: float, level: float, series: int = 40_000) -> float:
    """Power of the best test of AR(1) noise of `phi` against a step of +5 % in the middle of independent noise of 1 %.

    By the lemma of Neyman and Pearson, for a step that may be anywhere and in either direction: the likelihood ratio with
    the level integrated out under a flat prior and the scale under 1 / sigma. It knows phi and the size of the step.
    """
    rng, step = np.random.default_rng(4), np.log(1.05) / 0.01
    after = (np.arange(count) >= np.arange(3, count - 2)[:, None]).astype(float)
    shapes = after - after.mean(axis=1, keepdims=True)
    inverse = np.linalg.inv(phi ** np.abs(np.subtract.outer(np.arange(count), np.arange(count))))
    project = inverse - np.outer(inverse.sum(axis=1), inverse.sum(axis=0)) / inverse.sum()
    grid = np.exp(np.linspace(-3, 3, 200))

    def ratio(values: Floats) -> Floats:
        centred = values - values.mean(axis=1, keepdims=True)
        square = (centred * centred).sum(axis=1)[:, None]
        scale = np.sqrt((count - 1) / square) * grid
        fits = np.abs(centred @ shapes.T)[:, :, None]
        each = (count - 1) * np.log(scale)[:, None, :] - 0.5 * (
            (scale * scale * square)[:, None, :]
            - 2 * step * scale[:, None, :] * fits
            + step * step * (shapes**2).sum(axis=1)[:, None]
        )
        plain = np.log(np.einsum("ij,jk,ik->i", values, project, values))
        return np.asarray(logsumexp(each, axis=(1, 2)) + (count - 1) / 2 * plain)

    null, changed = (
        np.concatenate([ratio(made) for made in np.array_split(series_of, PARTS)])
        for series_of in (
            np.array([autoregressive(phi)(rng, count) for _ in range(series)]),
            rng.standard_normal((series, count)) + step * (np.arange(count) >= count // 2),
        )
    )
    return float(np.mean(changed >= np.quantile(null, 1 - level)))


def main() -> None:
    """Print one of the tables."""
    command = parser(__doc__)
    command.add_argument("--bound", action="store_true")
    command.add_argument("--table", action="store_true")
    given = command.parse_args()
    if given.bound:
        for count in (20, 25):
            found = [
                f"AR(1) {phi}: {most_powerful(count, phi, FALSE_SHARE / 4):.1%}" for phi in (0.7, 0.8, 0.9)
            ]
            print(
                f"{count} runs, p <= {FALSE_SHARE / 4:.4f}, to be told from " + ", ".join(found), flush=True
            )
        return
    if given.table:
        for line in chance_table():
            print(line, flush=True)
        return
    series = 2000
    print(
        f"False alarms at 5 %, {series} series each (95 % interval)\n\n| noise | 12 runs | 30 runs | 60 runs |"
    )
    print("|---|---|---|---|")
    for name, noise in NOISES.items():
        cells = []
        for count in (12, 30, 60):
            rng = np.random.default_rng([1, count, *name.encode()])
            wrong = sum(bool(change_points(noise(rng, count))) for _ in range(series))
            low, high = proportion(wrong, series, 0.95)
            cells.append(f"{wrong / series:.1%} ({low:.1%} to {high:.1%})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n+5 % at 1 % noise found within 2 runs of its place, {series} series each\n")
    print("| runs | in the middle | last sixth |\n|---|---|---|")
    for count in (12, 20, 30):
        cells = []
        for at in (count // 2, count - max(3, count // 6)):
            rng = np.random.default_rng(2)
            found = 0
            for _ in range(series):
                values = 0.01 * rng.standard_normal(count)
                values[at:] += np.log(1.05)
                found += any(abs(place - at) <= 2 for place, _ in change_points(values))
            low, high = proportion(found, series, 0.95)
            cells.append(f"{found / series:.1%} ({low:.1%} to {high:.1%})")
        print(f"| {count} | {' | '.join(cells)} |", flush=True)
    print(f"\nThe same in the middle, judged together with other metrics, {series} series each\n")
    print("| runs | 1 of 4 changed | all 4 changed |\n|---|---|---|")
    for count in (20, 25, 30):
        cells = []
        for changed in (1, 4):
            found = found_among(np.random.default_rng([3, count, changed]), count, changed, 4, series)
            low, high = proportion(found, series, 0.95)
            cells.append(f"{found / series:.1%} ({low:.1%} to {high:.1%})")
        print(f"| {count} | {' | '.join(cells)} |", flush=True)


def found_among(rng: np.random.Generator, count: int, changed: int, metrics: int, series: int) -> int:
    """In how many of so many histories the step of the first of some independent metrics is the first cut of it.

    As many of the metrics as `changed` have the step. As `change_points` decides it, many series at once.
    """
    values = 0.01 * rng.standard_normal((series, metrics, count))
    values[:, :changed, count // 2 :] += np.log(1.05)
    statistics, first, last = strongest_steps(limited(values.reshape(-1, count)))
    p_values = np.array([chance(count, each) for each in statistics]).reshape(series, metrics)
    cuts = np.minimum(np.abs(first - count // 2), np.abs(last - count // 2)).reshape(series, metrics)[:, 0]
    strongest = statistics.reshape(series, metrics)[:, 0]
    return sum(
        p_values[at, 0] <= accepted(list(p_values[at]))
        and cuts[at] <= 2
        and by_permutation(values[at, 0], strongest[at]) <= FALSE_SHARE
        for at in range(series)
    )


if __name__ == "__main__":
    main()
