"""How often `bench ab` is right: nothing, +5 % of service time, and one changed answer in a thousand.

    python -m tests.benchmarks.ab_campaign FOLDER --times N      N comparisons of each kind, 2 min each at most; resumable
    python -m tests.benchmarks.ab_campaign FOLDER --simulate     comparisons of blocks drawn from those of the campaign
    python -m tests.benchmarks.ab_campaign --simulate            of blocks drawn from normal distributions

Two embedded servers answer from `--backend synthetic` with a constant service time; the second one takes as long, or 5 %
longer. Of the third kind one server serves two versions of a model with two inputs, of which the second answers one of a
thousand examples otherwise. Simulations decide as `bench ab` does, look by look.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.change import Change, change, judged_together
from bench.analysis.showing.verdict import claims
from bench.analysis.statistics.intervals import proportion
from bench.analysis.statistics.sequential import Looks
from bench.cli.ab_load import still_open
from bench.launch import server_process
from bench.runs.run import find_runs
from tests.server import saved_models

ROOT = Path(__file__).parents[2]
SERVICE = 10.0
"""Milliseconds."""
SLOWER = {"nothing": 1.0, "+5 %": 1.05}
CHANGED = "1 of 1,000"
KINDS = (*SLOWER, CHANGED)
SPEED = ("p50", "p99")
EXAMPLES = 1000
DRAWS = 4000
USERS = 2
BLOCKS = 16
"""Of a comparison of normal distributions."""
SPREAD = {"p50": 0.01, "p99": 0.06}
"""Standard deviations of the logarithm of a block's ratio, where none were measured."""


@contextlib.contextmanager
def synthetic(service: float, models: Path) -> Iterator[str]:
    """The address of a server with a constant service time in milliseconds."""
    flags = ["--backend", "synthetic", "--service_time", f"constant({service:g}ms)"]
    served = ["--model_name", "mnist", "--model_base_path", str(models)]
    with server_process.embedded([*flags, *served]) as server:
        yield server.address


def compare(place: Path, *arguments: str) -> dict[str, Any]:
    """Run `bench ab`; gives what it wrote."""
    told = place / "ab.json"
    command = [sys.executable, "-m", "bench", "ab", *arguments, "--results", str(place), "--json", str(told)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    (place / "output.txt").write_text(done.stdout + done.stderr)
    if done.returncode not in (0, 1, 3):
        raise SystemExit(done.stderr)
    return {"code": done.returncode, **json.loads(told.read_text())}


def speed(place: Path, kind: str, time: str) -> dict[str, Any]:
    """One comparison of two servers: verdicts by metric, and the ratios of each block."""
    models = place / "mnist"
    (models / "1").mkdir(parents=True)
    with synthetic(SERVICE, models) as first, synthetic(SERVICE * SLOWER[kind], models) as second:
        options = ["--model", "mnist", "--signature", "predict_images", "--users", str(USERS)]
        told = compare(place, first, "--against", second, *options, "--latency-only", "--time", time)
    speeds = [each for each in told["changes"] if each["metric"] in SPEED]
    return {
        "verdicts": {each["metric"]: each["verdict"] for each in speeds},
        "claimed": [each["metric"] for each in speeds if each["claimed"]],
        "ratios": ratios(Path(told["folder"])),
        "sentences": told["sentences"],
    }


def ratios(folder: Path) -> dict[str, list[float]]:
    """Candidate / baseline of each metric, by block."""
    by_block: dict[Any, dict[str, Any]] = {}
    for trial in read_trials(find_runs([folder])).trials:
        arm = (trial.manifest.experiment.trial or 0) if trial.manifest.experiment else 0
        by_block.setdefault(trial.block, {})[trial.identity.server] = (arm, trial)
    names = list(dict.fromkeys(name for pair in by_block.values() for name in pair))
    baseline = baseline_of(folder, names)
    found: dict[str, list[float]] = {metric: [] for metric in SPEED}
    for pair in by_block.values():
        if len(pair) < 2:
            continue
        (after,) = (trial for name, (_, trial) in pair.items() if name != baseline)
        before = pair[baseline][1]
        for metric in SPEED:
            found[metric].append(after.values[metric] / before.values[metric])
    return found


def baseline_of(folder: Path, names: Sequence[str]) -> str:
    """The server that was named first."""
    said = json.loads((folder / "experiment.json").read_text())
    return next(name for name in said["servers"] if name in names)


def answers(place: Path) -> dict[str, Any]:
    """One comparison of two versions whose answers differ for one example, which is another one each time."""
    models = place / "models"
    saved_models.ranker(models)
    requests = place / "requests.jsonl"
    rng = np.random.default_rng(len(list(place.parent.iterdir())))
    changed = int(rng.integers(EXAMPLES))
    with requests.open("w") as file:
        for number in range(EXAMPLES):
            text = saved_models.RISEN if number == changed else f"text {number}"
            row = {"text": text, "numbers": rng.random(8).round(6).tolist()}
            file.write(json.dumps({"inputs": row}) + "\n")
    config = place / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "ranker" base_path: "{models / "ranker"}" '
        'model_platform: "tensorflow" model_version_policy { all {} } } }\n'
    )
    with server_process.embedded(["--model_config_file", str(config), "--port", "0"]) as server:
        told = compare(
            place,
            server.address,
            "--model",
            "ranker",
            "--versions",
            "6,7",
            "--requests",
            str(requests),
            "--answers-only",
        )
    shown = [json.loads(line) for line in (Path(told["folder"]) / "different.jsonl").read_text().splitlines()]
    found = told["answers"]["differing"] == 1 and [each["example"] for each in shown] == [changed]
    return {"found": found, "differing": told["answers"]["differing"]}


def campaign(folder: Path, times: int, time: str, kinds: Sequence[str]) -> None:
    """Run what is missing of the campaign, of these kinds, and show what there is."""
    folder.mkdir(parents=True, exist_ok=True)
    journal, known = folder / "campaign.jsonl", measured(folder)
    for number in range(times):
        for at, kind in enumerate(KINDS):
            if kind not in kinds or any(row["kind"] == kind and row["number"] == number for row in known):
                continue
            place = folder / f"{at}-{number:03}"
            shutil.rmtree(place, ignore_errors=True)  # of one that was interrupted
            place.mkdir()
            row = {"kind": kind, "number": number}
            row |= answers(place) if kind == CHANGED else speed(place, kind, time)
            known.append(row)
            with journal.open("a") as file:
                file.write(json.dumps(row) + "\n")
            show([row])
    print()
    show(known)


def measured(folder: Path) -> list[dict[str, Any]]:
    """The comparisons of a campaign that have ended."""
    journal = folder / "campaign.jsonl"
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.is_file() else []


def show(rows: list[dict[str, Any]]) -> None:
    """How often what was right."""
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue
        if kind == CHANGED:
            print(
                f"{kind}: found and shown in {share(sum(row['found'] for row in own), len(own))}", flush=True
            )
            continue
        claimed = sum(bool(row["claimed"]) for row in own)
        slower = sum(row["verdicts"]["p50"] == "worse" for row in own)
        spread = []
        for metric in SPEED:
            every = np.log([each for row in own for each in row["ratios"][metric] if np.isfinite(each)])
            if len(every) > 1:
                spread.append(f"{metric} x{np.exp(np.median(every)):.4f}, sd {every.std(ddof=1):.4f}")
        blocks = sum(len(row["ratios"]["p50"]) for row in own)
        print(
            f"{kind}: a difference claimed in {share(claimed, len(own))}, slower at the median in {share(slower, len(own))}; "
            f"{blocks} blocks: {'; '.join(spread)}",
            flush=True,
        )


def share(hits: int, count: int) -> str:
    """With its 95 % interval (Clopper and Pearson)."""
    low, high = proportion(hits, count, 0.95)
    return f"{hits} of {count} ({low:.1%} to {high:.1%})"


def simulate(folder: Path | None) -> None:
    """Comparisons on blocks drawn from the campaign's, else from normal distributions with SPREAD."""
    rows = measured(folder) if folder else []
    for kind, slower in SLOWER.items():
        own = [row for row in rows if row["kind"] == kind]
        rng = np.random.default_rng(1)
        if own:
            columns = [[each for row in own for each in row["ratios"][metric]] for metric in SPEED]
            pool = np.log(np.array(columns))
            blocks = max(
                2, int(np.median([len(row["ratios"]["p50"]) for row in own if kind == "nothing"] or [BLOCKS]))
            )
            source = f"drawn from {pool.shape[1]} measured"
        else:
            pool, blocks, source = None, BLOCKS, f"normal, sd {SPREAD}"
        claimed = found = 0
        for _ in range(DRAWS):
            if pool is None:
                drawn = rng.normal(0, list(SPREAD.values()), (blocks, len(SPEED))).T
                drawn += np.log([slower, slower])[:, None]
            else:
                drawn = pool[:, rng.integers(pool.shape[1], size=blocks)]
            changes = decided(drawn)
            claimed += any(map(claims, changes))
            found += changes[0].verdict == "worse"
        print(
            f"{kind}: a difference claimed in {share(claimed, DRAWS)}, slower at the median in {share(found, DRAWS)} "
            f"comparisons of at most {blocks} blocks, {source}"
        )


def decided(drawn: Any) -> list[Change]:
    """What `bench ab` says of these logarithms of ratios, [metrics, blocks], one block after the other."""
    coming, judged = Looks(), list[Change]()
    blocks = drawn.shape[1]
    for count in range(1, blocks + 1):
        look = coming.after(count, count / blocks, last=count == blocks)
        if look is None:
            continue
        changes: list[Change] = [
            change(METRICS[metric], [1.0] * count, np.exp(row[:count]).tolist(), paired=True, rate=look.rate)
            for metric, row in zip(SPEED, drawn, strict=True)
        ]
        judged = judged_together(changes, look.rate)
        if not any(map(still_open, judged)):
            break
    return judged


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Comparisons by bench ab: how often are they right?")
    parser.add_argument(
        "folder", type=Path, nargs="?", help="where comparisons and their journal lie; known ones are kept"
    )
    parser.add_argument(
        "--times", type=int, default=1, metavar="N", help="comparisons of each kind (default: 1)"
    )
    parser.add_argument(
        "--kind", choices=KINDS, action="append", help="these kinds alone; may be given again"
    )
    parser.add_argument("--time", default="2m", help="of a comparison at most (default: 2m)")
    parser.add_argument(
        "--simulate", action="store_true", help="draw comparisons from the blocks of the campaign"
    )
    given = parser.parse_args()
    if given.simulate:
        simulate(given.folder)
    elif given.folder is None:
        parser.error("name a folder")
    else:
        campaign(given.folder, given.times, given.time, given.kind or KINDS)
