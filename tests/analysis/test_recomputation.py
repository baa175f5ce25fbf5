"""Every number of `bench report --json` is recomputed from samples.parquet; so does the script in the docs."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from bench.runs.chunk import Chunk
from bench.runs.run import Run
from tests.analysis.recomputed import PERCENTILES, lines
from tests.load.locust_runs import locust
from tests.recorded import requests, write

DOCS = Path(__file__).parents[2] / "docs" / "notebook.md"
WITHIN = 0.0025
OPEN = {"kind": "poisson", "rate": 300.0, "users": 1}
KINDS: dict[str, dict[str, Any]] = {
    "closed": {"load": {"kind": "closed", "users": 16}},
    "open": {"lag": 1e-4, "load": OPEN},
    "errors": {"errors": 0.004, "mismatched": 0.01, "names": ("a", "b")},
    "many errors": {"errors": 0.2, "batch": 8},
    "unsent": {"lag": 1e-4, "unsent": 0.008, "load": OPEN},
    "deadline": {"deadline": 0.0035, "load": OPEN},
    "cancelled": {"cancelled": 0.3, "errors": 0.01, "unsent": 0.002},
    "few cancelled": {"cancelled": 0.001, "late": 0.9, "batch": 4},
    "a warm-up": {"slow": 2},
    "two versions": {"version": np.where(np.arange(300) % 3, 2, 3), "errors": 0.01, "mismatched": 0.01},
    "turns": {
        "batch": {"batch 1": 1, "batch 32": 32},
        "errors": 0.004,
        "load": {"kind": "closed", "users": 4, "turns": {"names": ["batch 1", "batch 32"], "seconds": 3}},
    },
}
"""By name, what is special about a run."""


def record(root: Path, name: str) -> Path:
    """12 s, by load processes 0 and 1 in turn; requests that take longer than the deadline end there with code 4."""
    said = dict(KINDS[name])
    load, deadline, late, slow = (said.pop(key, None) for key in ("load", "deadline", "late", "slow"))
    parts = []
    for second in range(12):
        if load and "turns" in load:
            own = load["turns"]["names"][second // load["turns"]["seconds"] % 2]
            said |= {"names": (own,), "batch": KINDS["turns"]["batch"][own]}
        usual = 0.006 if slow and second < slow else 0.002
        rows = requests(second, count=300, rate=330, start=float(second), **({"service": usual} | said))
        if deadline:
            over = rows["done"] > rows["due"] + deadline
            rows["done"] = np.where(over, rows["due"] + deadline, rows["done"])
            rows["status"] = np.where(over, 4, rows["status"])
            rows["correct"] = np.where(over, -1, rows["correct"])
        if late:
            rows["done"] = np.where(rows["status"] == -2, rows["due"] + late, rows["done"])
        parts.append(Chunk.of(**rows))
    return write(root, parts, note=name.replace(" ", "-"), **({"load": load} if load else {})).path


def reported(*paths: Path) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "bench",
        "report",
        *map(str, paths),
        "--json",
        "--goodput-ms",
        str(WITHIN * 1e3),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(run: dict[str, Any]) -> None:
    """Hold each number of a run against the one from its samples."""
    expected = lines(Path(run["path"]), run["warm_up"]["seconds"], WITHIN)
    told = {(line["name"], line["batch"], line["version"]): line for line in run["lines"]}
    assert set(told) == set(expected)
    for key, line in told.items():
        assert run["seconds"] == pytest.approx(expected[key].pop("seconds"), abs=2e-6)
        numbers = {name for name, value in line.items() if isinstance(value, int | float | dict)}
        assert numbers - set(expected[key]) <= {"version", "batch", "reasons"}, "each number is recomputed"
        for name, value in expected[key].items():
            where = f"{run['run']} {key} {name}"
            if isinstance(value, tuple):
                percentile(line, name, value, where)
            elif isinstance(value, dict | int):
                assert line[name] == value, where
            elif math.isnan(value):
                assert line[name] is None, where
            else:
                assert line[name] == pytest.approx(value, rel=0.0015, abs=2e-6), where
        assert line["unsupported"] == [name for name in PERCENTILES if math.isnan(expected[key][name][0])]


def percentile(line: dict[str, Any], name: str, ends: tuple[float, float], where: str) -> None:
    least, most = ends
    why = line["reasons"].get(name, {}).get("reason")
    if math.isnan(least):
        none = line["answered"] == 0 and name.startswith("answered_")
        assert (line[name], why) == (None, "not measured" if none else "too few samples"), where
    elif least == math.inf:
        assert (line[name], why) == (None, "not reached"), where
    elif line[name] is None:  # cancelled requests might be on either side of it
        assert why == "not determined", where
        assert most > least, where
    else:
        assert why is None, where
        for end in ends:
            assert line[name] == pytest.approx(end, rel=0.0015, abs=2e-6), where


def test_every_number_is_that_of_the_samples(tmp_path: Path) -> None:
    found = reported(*(record(tmp_path, name) for name in KINDS))
    assert len(found["runs"]) == len(KINDS)
    for run in found["runs"]:
        check(run)
    number = {run["note"]: len(run["lines"]) for run in found["runs"]}
    assert (number["two-versions"], number["turns"]) == (3, 2)
    by_note = {run["note"]: run["lines"][0] for run in found["runs"]}
    assert by_note["many-errors"]["reasons"]["p90"]["reason"] == "not reached"
    assert by_note["many-errors"]["p50"] > by_note["many-errors"]["answered_p50"]
    assert by_note["deadline"]["p99"] is None
    assert by_note["deadline"]["answered_p99"] < 0.0036
    assert by_note["cancelled"]["reasons"]["p50"]["reason"] == "not determined"
    assert by_note["few-cancelled"]["p99"] is not None, "those that were cancelled had waited for longer"
    assert {run["note"]: run["warm_up"]["seconds"] for run in found["runs"]}["a-warm-up"] == 2
    part = next(run for run in found["runs"] if run["note"] == "a-warm-up")["warm_up"]
    table = Run.open(Path(next(run for run in found["runs"] if run["note"] == "a-warm-up")["path"])).samples
    early = np.sort((table["done"] - table["due"])[table["due"] < 2])
    assert (part["requests"], part["error_share"]) == (len(early), 0.0)
    for q in (50, 99):
        assert part[f"p{q}"] == pytest.approx(early[math.ceil(q / 100 * len(early)) - 1], rel=0.0015)


def test_a_distributed_run_from_its_samples(tmp_path: Path) -> None:
    done = locust(tmp_path, "--processes", "2", "-u", "8", "-r", "8", "-t", "3s", "--schedule", "closed:5ms")
    assert done.code == 0, done.output
    (run,) = reported(done.run().path)["runs"]
    assert set(done.run().samples["worker"]) == {0, 1}
    check(run)


@pytest.mark.parametrize(("blocks", "ends"), [(3, "range"), (4, "interval")])
def test_means_over_trials_from_those_of_the_runs(tmp_path: Path, blocks: int, ends: str) -> None:
    for block in range(blocks):
        parts = [
            Chunk.of(**requests(100 * block + i, count=300, rate=300, start=float(i), errors=0.003 * (block > 0)),
                     keep_samples=False)
            for i in range(5)
        ]  # fmt: skip
        write(tmp_path, parts, experiment={"cell": {"server": "a"}, "block": block})
    found = reported(tmp_path)
    (cell,) = found["cells"]
    for name, told in cell["metrics"].items():
        values = np.array([run["lines"][0][name] for run in found["runs"]], dtype=float)
        shares = name in ("error_share", "mismatch_share") or min(values) <= 0
        assert told["mean_of"] == ("values" if shares else "logarithms"), name
        scaled = values if shares else np.log(values)
        half = special.stdtrit(blocks - 1, 0.975) * scaled.std(ddof=1) / math.sqrt(blocks)
        expected = np.array([scaled.mean() - half, scaled.mean(), scaled.mean() + half])
        low, mean, high = expected if shares else np.exp(expected)
        if ends == "range":  # of so few trials there is no interval worth the name
            low, high = min(values), max(values)
        assert (told["ends"], told["trials"]) == (ends, blocks), name
        assert (told["low"], told["mean"], told["high"]) == pytest.approx(
            (max(0.0, low) if shares else low, mean, high), rel=1e-9, abs=1e-12
        ), name
    errors = cell["metrics"]["error_share"]
    assert min(run["lines"][0]["error_share"] for run in found["runs"]) == 0
    assert errors["mean"] > 0
    assert cell["metrics"]["mismatch_share"]["mean"] == 0.0


def test_the_script_of_the_docs_gives_the_reports_numbers(tmp_path: Path) -> None:
    code = re.search(r"```python\n(import math.*?)```", DOCS.read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "recompute.py").write_text(code[1])
    KINDS["docs"] = {"lag": 1e-4, "errors": 0.004, "unsent": 0.004, "batch": 4}
    (report,) = reported(record(tmp_path, "docs"))["runs"]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "recompute.py"), report["path"], str(report["warm_up"]["seconds"])],
        capture_output=True,
        text=True,
        check=True,
    )
    recomputed = {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}
    (line,) = report["lines"]
    for ours, theirs in {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}.items():
        assert recomputed[ours] == pytest.approx(line[theirs], rel=0.001)
    assert recomputed["accuracy"] == pytest.approx(line["accuracy"])
    assert recomputed["answered"] == line["answered"]
    assert recomputed["due"] == line["requests"]
