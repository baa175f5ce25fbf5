"""Cases of `tests.cli.test_fail_open`: experiments that ended before their plan."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.checkouts import Checkout
from tests.cli.odd_checkouts import ABSOLUTE, RELATIVE

Make = Callable[[Checkout], list[str]]
FIVE = 5


def begun(place: Checkout, folder: str, state: str | None, lost: set[int], *servers: str) -> Path:
    """An experiment of five blocks, some trials of which, by number, were not run; all that were are good."""
    path = place.experiment(folder, *((server, "good") for server in servers or ("fine",)), blocks=FIVE)
    description = json.loads((path / "experiment.json").read_text())
    (path / "experiment.json").write_text(json.dumps(description | ({"state": state} if state else {})))
    rows = [json.loads(line) for line in (path / "trials.jsonl").read_text().splitlines()]
    for row in rows:
        if row["number"] in lost:
            (path / row["folder"]).rename(place.path / f"{folder}-{row['number']}-never-run")
    kept = [json.dumps(row) + "\n" for row in rows if row["number"] not in lost]
    (path / "trials.jsonl").write_text("".join(kept))
    return path


def ended(state: str | None, lost: set[int], *servers: str, accept: str = "") -> Make:
    """Such an experiment as the candidate."""

    def make(place: Checkout) -> list[str]:
        begun(place, "new", state, lost, *servers)
        (place.path / "own.toml").write_text(f"accept = [{accept}]\n[limits]\np50_ms = 3\n")
        return ["new", "--limits", "own.toml"]

    return make


def one_by_one(place: Checkout) -> list[str]:
    path = begun(place, "new", "interrupted", {4, 5})
    runs = sorted(run for run in path.iterdir() if run.is_dir())
    return [*(str(run.relative_to(place.path)) for run in runs), "--limits", "absolute.toml"]


def the_baseline(place: Checkout) -> list[str]:
    begun(place, "base", "interrupted", {4, 5})
    begun(place, "new", "complete", set())
    return RELATIVE


def without_its_slow_half(place: Checkout) -> list[str]:
    """Who removes the slow trials with their lines in the journal."""
    begun(place, "new", "complete", {2, 4})
    return ABSOLUTE


CASES: dict[str, tuple[Make, int, str]] = {
    "an interrupted experiment": (ended("interrupted", {4, 5}), 3, "interrupted after 3 of 5 blocks"),
    "an experiment that was killed": (ended("running", {4, 5}), 3, "killed, or still running, after 3 of 5"),
    "an experiment of which its end is not known": (ended(None, {4, 5}), 3, "it is not known how it ended; after 3 of 5"),
    "an experiment in a state that there is not": (ended("Complete", {5}), 3, "it is not known how it ended"),
    "an experiment interrupted within a block": (
        ended("interrupted", {8, 9, 10}, "a", "b"), 3, "after 3 of 5 blocks, 3 of 10 trials not run"),
    "a decided experiment with a gap": (ended("decided", {4, 7, 8, 9, 10}, "a", "b"), 3, "trials missing in between"),
    "an experiment out of time with a gap": (ended("out of time", {1, 5}), 3, "trials missing in between"),
    "the runs of an interrupted experiment, one by one": (one_by_one, 3, "interrupted after 3 of 5 blocks"),
    "an interrupted experiment as the baseline": (the_baseline, 3, "baseline: base: interrupted after 3 of 5"),
    "trials taken out of a complete experiment": (without_its_slow_half, 3, "its journal lacks trials"),
    "accepted is something else": (ended("interrupted", {5}, accept='"unfinished"'), 3, "[interrupted]"),
}  # fmt: skip

RIGHT: list[Make] = [
    ended("decided", {4, 5}),
    ended("out of time", {9, 10}, "a", "b"),
    ended("complete", set()),
    ended("interrupted", set()),
    ended("interrupted", {4, 5}, accept='"interrupted"'),
]
"""What passes: experiments that ended by their own decision, or in spite of an interruption."""
