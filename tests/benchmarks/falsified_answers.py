"""Check that one false answer in 10,000 is found in a run of 100,000. Run: python -m tests.benchmarks.falsified_answers [SECONDS]

A proxy before the synthetic server, whose answers are the digits' labels, flips an answer, swaps two answers, or names
another version; once it does nothing. Prints what it falsified, what the run counts, and the run's warnings about it.
"""

import sys
import tempfile
from pathlib import Path

from bench.analysis.reading.checks import warnings_of
from bench.launch import server_process
from tests.benchmarks.arguments import parser
from tests.load.falsifier import Kind, falsifier
from tests.load.locust_runs import locust

EVERY, REQUESTS = 10_000, 100_000
ABOUT_ANSWERS = {"wrong answers", "version change", "other version"}


def main(seconds: int) -> int:
    kinds: list[tuple[Kind, ...]] = [("flip",), ("swap",), ("stale",), ()]
    missed = 0
    for kind in kinds:
        arguments = ["--backend", "synthetic", "--model_name", "mnist"]
        with (
            tempfile.TemporaryDirectory() as folder,
            server_process.embedded(arguments) as server,
            falsifier(server.address, EVERY if kind else 10**9, kind or ("flip",)) as proxy,
        ):
            done = locust(
                Path(folder),
                "--host",
                proxy.address,
                "-u",
                "64",
                "-r",
                "64",
                "-t",
                f"{seconds}s",
                "--no-samples",
            )
            assert done.code == 0, done.output
            run = done.run()
            whole = run.within(*run.seconds)
            requests = sum(tally.requests for tally in whole.tallies.values())
            mismatched = sum(tally.mismatched for tally in whole.tallies.values())
            found = [warning for warning in warnings_of(run) if warning.check in ABOUT_ANSWERS]
        right = bool(found) == bool(kind) and requests >= REQUESTS
        missed += not right
        told = (
            "; ".join(f"{warning.check}: {warning.reason}" for warning in found)
            or "no warning about the answers"
        )
        print(
            f"{kind[0] if kind else 'honest':<6} {requests:,} requests, {sum(proxy.falsified.values())} falsified, "
            f"{mismatched} counted{'' if right else '  WRONG'}\n       {told}",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("seconds", type=int, nargs="?", default=15)
    sys.exit(main(command.parse_args().seconds))
