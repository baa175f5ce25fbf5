"""Cases of `tests.cli.test_fail_open`: runs of which something is not known that others know, or that each run has."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.runs import checksums
from tests.cli.checkouts import Checkout
from tests.cli.odd_checkouts import ABSOLUTE, RELATIVE
from tests.recorded import edit

Make = Callable[[Checkout], list[str]]


def _without(run: Path, part: str, field: str | None) -> None:
    known = json.loads((run / "manifest.json").read_text())[part]
    edit(run, **{part: None if field is None else {name: known[name] for name in known if name != field}})


def one(part: str, field: str | None = None) -> Make:
    """Three runs, of one of which something is not known."""

    def make(place: Checkout) -> list[str]:
        _without(place.runs("new")[0], part, field)
        return ABSOLUTE

    return make


def whole(side: str, part: str, field: str | None = None) -> Make:
    """A baseline and a candidate, of one of which something is not known."""

    def make(place: Checkout) -> list[str]:
        place.runs("base")
        place.runs("new")
        for run in (place.path / side).iterdir():
            _without(run, part, field)
        return RELATIVE

    return make


def builds(old: str | None, new: str | None, alone: bool = False) -> Make:
    """Servers whose build is known, or not: of baseline and candidate, or of one side alone."""

    def make(place: Checkout) -> list[str]:
        facts: list[dict[str, Any]] = [{"build": build} if build else {} for build in (old, new)]
        place.runs("new" if alone else "base", target=facts[0])
        place.runs("new", target=facts[1])
        return ABSOLUTE if alone else RELATIVE

    return make


def handmade(place: Checkout) -> list[str]:
    """Numbers in the form of runs, that no run of this package has written."""
    for run in place.runs("new"):
        edit(run, run_id=None, counts=None, git=None, machine=None)
        (run / checksums.FILE).unlink()
    return ABSOLUTE


def without_sums(place: Checkout) -> list[str]:
    run = place.runs("new")[0]
    edit(run, run_id=None)
    (run / checksums.FILE).unlink()
    return ABSOLUTE


def sent_is_missing(place: Checkout) -> list[str]:
    edit(place.runs("new")[0], counts={"recorded": 1200})
    return ABSOLUTE


CASES: dict[str, tuple[Make, int, str]] = {
    "folders made by hand": (handmade, 3, "[unidentified]"),
    "no id, with checksums": (one("run_id"), 3, "[unidentified]"),
    "neither id nor checksums": (without_sums, 3, "[unidentified]"),
    "no counts": (one("counts"), 3, "lacks the number of requests"),
    "counts without those sent": (sent_is_missing, 3, "lacks the number of requests"),
    "one run of an unknown commit": (one("git"), 3, "[unknown commit]"),
    "a commit that git did not tell": (one("git", "commit"), 3, "[unknown commit]"),
    "a baseline of an unknown commit": (whole("base", "git"), 3, "unknown and aaaaaaaaaaaa"),
    "a candidate of an unknown commit": (whole("new", "git"), 3, "aaaaaaaaaaaa and unknown"),
    "one run of an unknown model": (one("model"), 3, "model files differs"),
    "a baseline of an unknown model": (whole("base", "model"), 3, "model files differs"),
    "one run of an unknown machine": (one("machine"), 3, "CPU differs between its runs: A and unknown"),
    "one run of unknown packages": (one("machine", "packages"), 3, "package grpcio differs"),
    "a candidate of an unknown machine": (whole("new", "machine"), 3, "CPU differs: A and unknown"),
    "one run of an unknown payload": (one("payload"), 3, "payload.messages differs"),
    "one run of unknown options": (one("options"), 3, "options.pool differs"),
    "one run of an unknown kind of server": (one("target", "kind"), 3, "server differs"),
    "a baseline of an unknown kind of server": (whole("base", "target", "kind"), 2, "server: ? and embedded"),
    "a baseline of an unknown build": (builds(None, "2.18"), 2, "build: unknown and 2.18"),
    "a candidate of an unknown build": (builds("2.18", None), 2, "build: 2.18 and unknown"),
    "runs of a known and an unknown build": (builds("2.18", None, alone=True), 3, "server build differs"),
}
