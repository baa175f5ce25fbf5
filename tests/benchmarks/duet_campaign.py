"""How often `bench gate --run --duet` is right on a busy machine: +5 % of service time, and nothing, beside endless loops.

    python -m tests.benchmarks.duet_campaign FOLDER --times N        N gates of each kind, 3 min each; resumable
    python -m tests.benchmarks.duet_campaign FOLDER --simulate       gates on restarts drawn from those of the campaign

Two embedded servers answer from `--backend synthetic` with a constant service time; the second one takes as long (A/A), or
5 % longer. Two processes that loop without end keep both cores of a machine of two busy meanwhile. The simulation draws
with replacement from the restarts that were measured, of each kind by itself, and decides as a gate does.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.change import change
from bench.analysis.statistics.intervals import proportion
from bench.analysis.statistics.sequential import Looks
from bench.experiment.duet import pairs
from bench.experiment.folder import Folder
from bench.runs.run import find_runs

ROOT = Path(__file__).parents[2]
BUDGET = 180
SERVICE = 10.0
"""Milliseconds."""
KINDS = {"nothing": 1.0, "+5 %": 1.05}
LOOPS = 2
DRAWS = 2000
EXPERIMENT = """scenario = "{root}/scenarios/mnist.py"
servers = ["baseline", "candidate"]
loads = [{{ users = 2 }}]
seconds = {seconds}
samples = false
[models.mnist]
versions = [1]
"""
SERVER = """[servers.{name}]
kind = "embedded"
flags = {{ backend = "synthetic", service_time = "constant({service:g}ms)" }}
"""
LIMITS = """accept = ["client saturated", "client held up", "client paused", "unsteady", "warm-up", "stolen time",
          "near the ceiling", "short", "behind"]
[worse_than_baseline]
p50 = "2 %"
"""
SECONDS = 8


@contextlib.contextmanager
def busy_neighbours() -> Iterator[None]:
    """Endless loops, while the block lasts."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def gate(folder: Path, kind: str, number: int, budget: int) -> dict[str, Any]:
    """Run a gate; gives its exit code and the ratio of each restart."""
    place = folder / f"{'aa' if kind == 'nothing' else 'slower'}-{number:03}"
    shutil.rmtree(place, ignore_errors=True)  # of a gate that was interrupted
    place.mkdir(parents=True)
    names = {"baseline": SERVICE, "candidate": SERVICE * KINDS[kind]}
    (place / "servers.toml").write_text("".join(SERVER.format(name=n, service=s) for n, s in names.items()))
    experiment = place / "duet.toml"
    experiment.write_text(EXPERIMENT.format(root=ROOT, seconds=SECONDS))
    (place / "duet.limits.toml").write_text(LIMITS)
    command = [sys.executable, "-m", "bench", "gate", "--run", str(experiment), "--duet", "--by", "server"]
    command += ["--budget", str(budget), "--results", str(place / "results")]
    with busy_neighbours():
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    (place / "output.txt").write_text(done.stdout + done.stderr)
    if done.returncode not in (0, 1, 3):
        raise SystemExit(done.stderr)
    return {"kind": kind, "number": number, "code": done.returncode, "ratios": ratios(place / "results")}


def ratios(results: Path, sides: tuple[str, str] = ("candidate", "baseline")) -> list[float]:
    """p50 of the first server / p50 of the second, of each restart."""
    found = []
    for path in sorted(results.glob("*/experiment.json")):
        folder = Folder.open(path.parent)
        by_server = {
            (trial.block, trial.identity.server): trial.values["p50"]
            for trial in read_trials(find_runs([folder.path])).trials
        }
        for first, _ in pairs(folder.trials):
            block = (str(folder.path.resolve()), first.block)
            with contextlib.suppress(KeyError):
                found.append(by_server[block, sides[0]] / by_server[block, sides[1]])
    return found


def campaign(folder: Path, times: int, budget: int = BUDGET) -> None:
    """Run what is missing of the campaign and show what there is."""
    journal = folder / "campaign.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    known = measured(folder)
    for number in range(times):
        for kind in KINDS:
            if not any(row["kind"] == kind and row["number"] == number for row in known):
                row = gate(folder, kind, number, budget)
                known.append(row)
                with journal.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                _show([row])
    print()
    _show(known)


def measured(folder: Path) -> list[dict[str, Any]]:
    """The gates of a campaign that have ended."""
    journal = folder / "campaign.jsonl"
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.is_file() else []


def _show(rows: list[dict[str, Any]]) -> None:
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue
        failed = sum(row["code"] == 1 for row in own)
        low, high = proportion(failed, len(own), 0.95)
        every = np.log([ratio for row in own for ratio in row["ratios"]])
        print(
            f"{kind}: FAIL in {failed} of {len(own)} ({low:.0%} to {high:.0%}), passed {sum(r['code'] == 0 for r in own)}; "
            f"{len(every)} restarts, ratio of p50 x{np.exp(np.median(every)):.4f}, sd of its logarithm {every.std(ddof=1):.4f}",
            flush=True,
        )


def simulate(folder: Path) -> None:
    """Gates on restarts drawn from the campaign's, with as many blocks as its gates had time for."""
    rows = measured(folder)
    blocks = int(np.median([len(row["ratios"]) for row in rows]))
    for kind in KINDS:
        pool = np.array([ratio for row in rows if row["kind"] == kind for ratio in row["ratios"]])
        rng = np.random.default_rng(1)
        worse = sum(decided(rng.choice(pool, blocks)) == "worse" for _ in range(DRAWS))
        low, high = proportion(worse, DRAWS, 0.95)
        print(
            f"{kind}: FAIL in {worse / DRAWS:.1%} ({low:.1%} to {high:.1%}) of {DRAWS} gates of {blocks} restarts, "
            f"drawn from {len(pool)}"
        )


def decided(drawn: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> str:
    """What a gate with these restarts, one after the other, says of a candidate that may be 2 % worse."""
    coming = Looks()
    for count in range(1, len(drawn) + 1):
        look = coming.after(count, count / len(drawn), last=count == len(drawn))
        if look is None:
            continue
        found = change(
            METRICS["p50"], [1.0] * count, drawn[:count].tolist(), paired=True, tolerance=0.02, rate=look.rate
        )
        if found.verdict in ("worse", "better", "same"):
            return found.verdict
    return "unknown"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Gates with --duet on a busy machine: how often are they right?"
    )
    parser.add_argument(
        "folder", type=Path, help="where gates and their journal lie; known ones are not run again"
    )
    parser.add_argument("--times", type=int, default=1, metavar="N", help="gates of each kind (default: 1)")
    parser.add_argument(
        "--budget", type=int, default=BUDGET, metavar="SECONDS", help="of a gate (default: 180)"
    )
    parser.add_argument(
        "--simulate", action="store_true", help="draw gates from the restarts of the campaign"
    )
    told = parser.parse_args()
    if told.simulate:
        simulate(told.folder)
    else:
        campaign(told.folder, told.times, told.budget)
