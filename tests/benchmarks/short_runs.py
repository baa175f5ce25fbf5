"""How often a limit on a single run is wrong, by the length of the run: simulated queues, stalls and drift.

python -m tests.benchmarks.short_runs [RUNS]      a table of Markdown; 1,000 runs of each kind take 4 minutes

False FAIL: the limit is 10 % above the truth; false pass: 10 % below it; power: FAIL where the truth is twice and four
times the limit. Each in percent of the runs.
"""

import numpy as np

from tests.benchmarks.arguments import parser
from tests.benchmarks.how_sure import interval_of_run
from tests.benchmarks.noises import NOISES, truth_of

LENGTHS = (6, 12, 40)
PERCENTILES = (50.0, 90.0, 99.0)


def main(runs: int) -> None:
    """Print a line for each kind of noise within a run and each percentile."""
    print(f"| false FAIL / false pass / power | {' | '.join(f'{seconds} s' for seconds in LENGTHS)} |")
    print("|---|" + "---:|" * len(LENGTHS))
    for noise in (each for each in NOISES if each.run is not None):
        counts = np.zeros((len(PERCENTILES), len(LENGTHS), 4), dtype=int)
        rng = np.random.default_rng(11)
        for _ in range(runs):
            durations = noise.run(rng)
            for row, q in enumerate(PERCENTILES):
                truth = truth_of(noise, q)
                for column, seconds in enumerate(LENGTHS):
                    low, high = interval_of_run(durations[:seconds], q)
                    counts[row, column] += (
                        low > 1.1 * truth,
                        high <= truth / 1.1,
                        low > truth / 2,
                        low > truth / 4,
                    )
        for q, row in zip(PERCENTILES, counts, strict=True):
            cells = [" / ".join(f"{100 * count / runs:.1f}" for count in cell) for cell in row]
            print(f"| {noise.name}, p{q:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("runs", type=int, nargs="?", default=1000)
    main(command.parse_args().runs)
