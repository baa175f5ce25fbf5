"""More folders in which something is wrong: of a kind that lies about where, when or how runs were recorded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.checkouts import MANIFEST, Checkout
from tests.recorded import edit

ABSOLUTE = ["new", "--limits", "absolute.toml"]
RELATIVE = ["new", "--baseline", "base", "--limits", "relative.toml"]


def moved(where: Callable[[Path, list[Path]], Path]) -> Callable[[Checkout], list[str]]:
    """Good runs, and a slow one at another place. where: of the folder `new` and the good runs in it."""

    def make(place: Checkout) -> list[str]:
        good = place.runs("new")
        (slow,) = place.runs("elsewhere", "slow", 1)
        target = where(place.path / "new", good)
        target.parent.mkdir(parents=True, exist_ok=True)
        slow.rename(target)
        return ABSOLUTE

    return make


def dangling(place: Checkout) -> list[str]:
    """The slow run is on a disk that is not mounted."""
    place.runs("new")
    (place.path / "new" / "slow").symlink_to(place.path / "disk" / "slow")
    return ABSOLUTE


def a_link_to_the_baseline(place: Checkout) -> list[str]:
    place.runs("base")
    (place.path / "new").symlink_to(place.path / "base")
    return RELATIVE


def timed(slow: str, good: str, *options: str) -> Callable[[Checkout], list[str]]:
    """A slow run of a new commit and good ones of an older commit, with the times of their start."""

    def make(place: Checkout) -> list[str]:
        place.runs("new", started=good)
        place.runs("new", "slow", 1, started=slow, git={"commit": "b" * 40})
        return [*ABSOLUTE, *options]

    return make


def told(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Checkout], list[str]]:
    """An experiment with other rows in its journal."""

    def make(place: Checkout) -> list[str]:
        journal = place.experiment("new", ("fine", "good")) / "trials.jsonl"
        rows = change([json.loads(line) for line in journal.read_text().splitlines()])
        journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return ABSOLUTE

    return make


def sides(base: dict[str, Any], new: dict[str, Any]) -> Callable[[Checkout], list[str]]:
    """Baseline and candidate with these facts in their manifests."""

    def make(place: Checkout) -> list[str]:
        place.runs("base", **base)
        place.runs("new", **new)
        return RELATIVE

    return make


def without(part: str, name: str) -> Callable[[Checkout], list[str]]:
    """A baseline of which one fact is not known."""

    def make(place: Checkout) -> list[str]:
        for run in place.runs("base"):
            edit(run, **{part: {key: value for key, value in MANIFEST[part].items() if key != name}})
        place.runs("new")
        return RELATIVE

    return make


def one_without(name: str) -> Callable[[Checkout], list[str]]:
    """Candidates, of one of which a fact of the load is not known."""

    def make(place: Checkout) -> list[str]:
        place.runs("new", count=2)
        (run,) = place.runs("new", "good", 1)
        edit(run, load={key: value for key, value in MANIFEST["load"].items() if key != name})
        return ABSOLUTE

    return make


def one_of_another_version(place: Checkout) -> list[str]:
    place.runs("base")
    place.runs("new", count=2)
    place.runs("new", "version", 1)
    return RELATIVE


def alone(text: str, kind: str = "good", **manifest: Any) -> Callable[[Checkout], list[str]]:
    """One run, with limits of its own."""

    def make(place: Checkout) -> list[str]:
        place.runs("new", kind, 1, **manifest)
        (place.path / "own.toml").write_text(text)
        return ["new", "--limits", "own.toml"]

    return make
