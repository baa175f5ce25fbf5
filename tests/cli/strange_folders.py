"""Cases of `tests.cli.test_fail_open`: experiments that are not as they were measured, copies, dates, and limits files."""

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.runs import checksums
from bench.runs.chunk import Chunk
from tests.cli.checkouts import MANIFEST, RATE, SECONDS, Checkout
from tests.cli.odd_checkouts import ABSOLUTE, RELATIVE
from tests.recorded import edit, requests, write

Make = Callable[[Checkout], list[str]]


def experiment(change: Callable[[Path, list[Path]], object]) -> Make:
    """A good experiment of two servers, changed afterwards. change: of its folder and its runs in the order of the plan."""

    def make(place: Checkout) -> list[str]:
        path = place.experiment("new", ("a", "good"), ("b", "good"))
        rows = [json.loads(line) for line in (path / "trials.jsonl").read_text().splitlines()]
        change(path, [path / row["folder"] for row in rows])
        return ABSOLUTE

    return make


def said(run: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return manifest


def trial(run: Path, **fields: Any) -> None:
    edit(run, experiment=said(run)["experiment"] | fields)


def plan(change: Callable[[list[Any]], list[Any]]) -> Make:
    """With another plan."""

    def rewrite(path: Path, _: list[Path]) -> None:
        description = json.loads((path / "experiment.json").read_text())
        (path / "experiment.json").write_text(json.dumps(description | {"plan": change(description["plan"])}))

    return experiment(rewrite)


def exchanged(path: Path, runs: list[Path]) -> None:
    """The run of a trial is that of another experiment: a quicker one."""
    shutil.copytree(runs[0], path / "quicker")
    edit(path / "quicker", run_id=secrets.token_hex(16))
    shutil.rmtree(runs[0])


def copies(*, samples: bool = True, started: str | None = None) -> Make:
    """One run, copied with ids of their own."""

    def make(place: Checkout) -> list[str]:
        parts = [
            Chunk.of(**requests(s, count=RATE, rate=RATE, start=float(s)), keep_samples=samples)
            for s in range(SECONDS)
        ]
        run = write(place.path / "new", parts, **MANIFEST).path
        for number in range(3):
            copy = place.path / "new" / f"again-{number}"
            shutil.copytree(run, copy)
            edit(copy, run_id=secrets.token_hex(16), **({"started": started} if started else {}))
        return ABSOLUTE

    return make


def hard_linked(place: Checkout) -> list[str]:
    (run,) = place.runs("new", count=1)
    shutil.copytree(run, place.path / "new" / "again", copy_function=os.link)
    return ABSOLUTE


def experiment_copied(place: Checkout) -> list[str]:
    path = place.experiment("new/one", ("fine", "good"))
    shutil.copytree(path, place.path / "new" / "two")
    return ABSOLUTE


def newest(started: str) -> Make:
    """Slow runs, and good ones of another commit that began at another time, as their machine's clock had it."""

    def make(place: Checkout) -> list[str]:
        place.runs("new", "slow")
        place.runs("new", started=started, git={"commit": "b" * 40})
        return [*ABSOLUTE, "--latest"]

    return make


def one_run(**fields: Any) -> Make:
    def make(place: Checkout) -> list[str]:
        edit(place.runs("new")[0], **fields)
        return ABSOLUTE

    return make


def sealed(name: str, content: str) -> Make:
    """A file with another content, and a checksum that fits it."""

    def make(place: Checkout) -> list[str]:
        run = place.runs("new")[0]
        (run / name).write_text(content)
        checksums.seal(run, [name])
        return ABSOLUTE

    return make


def sums_of_the_manifest_alone(place: Checkout) -> list[str]:
    sums = place.runs("new")[0] / checksums.FILE
    sums.write_text(
        "".join(line for line in sums.read_text().splitlines(keepends=True) if "manifest" in line)
    )
    return ABSOLUTE


def put_in(name: str) -> Make:
    def make(place: Checkout) -> list[str]:
        (place.runs("new")[0] / name).write_text("")
        return ABSOLUTE

    return make


def by_an_unknown_commit(place: Checkout) -> list[str]:
    place.runs("base")
    for run in place.runs("new"):
        edit(run, git=None)
    return [*RELATIVE, "--by", "commit"]


def the_parent_as_baseline(place: Checkout) -> list[str]:
    place.runs("all/new")
    place.runs("all/base")
    return ["all/new", "--baseline", "all", "--limits", "relative.toml"]


def file(content: str | bytes, kind: str = "slow") -> Make:
    """Runs that are slow, and a limits file that is odd."""

    def make(place: Checkout) -> list[str]:
        place.runs("base")
        place.runs("new", kind)
        (place.path / "own.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["new", "--baseline", "base", "--limits", "own.toml"]

    return make


def cut(path: Path, runs: list[Path]) -> None:
    (path / "trials.jsonl").write_text("")


CASES: dict[str, tuple[Make, int, str]] = {
    # experiments
    "two runs of one trial": (experiment(lambda _, runs: trial(runs[0], trial=2)), 3, "several runs are trial 2"),
    "a run of another cell than its plan": (
        experiment(lambda _, runs: trial(runs[0], cell=said(runs[0])["experiment"]["cell"] | {"server": "c"})),
        3, "was planned for another cell"),
    "a run in the place of another": (experiment(exchanged), 3, "trial 1 was measured in"),
    "runs that no plan has": (plan(lambda _: []), 3, "is not in its experiment"),
    "a plan of one trial six times": (plan(lambda trials: trials[:1] * 6), 3, "is not in its experiment"),
    "an empty journal": (experiment(cut), 3, "6 measured trials not in it"),
    "a journal that is a folder": (
        experiment(lambda path, _: ((path / "trials.jsonl").unlink(), (path / "trials.jsonl").mkdir())), 3, "[unreadable]"),
    "a description without a plan": (
        experiment(lambda path, _: (path / "experiment.json").write_text("{}")), 3, "[unreadable]"),
    "an outcome that there is not": (
        experiment(lambda path, _: (path / "trials.jsonl").write_text(
            (path / "trials.jsonl").read_text().replace("measured", "crashed", 1))), 1, "1 of 4 trials failed"),
    # copies
    "copies with ids of their own": (copies(), 2, "same run"),
    "copies with ids and times of their own": (copies(started="2026-01-01T00:00:00+00:00"), 2, "same run"),
    "hard links": (hard_linked, 2, "same run"),
    "an experiment copied": (experiment_copied, 2, "same run"),
    "the baseline is the folder above": (the_parent_as_baseline, 2, "same run"),
    # times
    "--latest of runs from the future": (newest("2999-01-01T00:00:00+00:00"), 3, "is in the future"),
    "--latest of runs whose start is no time": (newest("yesterday"), 3, "is not a time"),
    "--by commit, of which one is not known": (by_an_unknown_commit, 3, "[unknown commit]"),
    # files of runs
    "a schema from before the first": (one_run(schema=0), 3, "no schema in it"),
    "a schema of the future": (one_run(schema=99), 3, "use a newer serving-bench"),
    "a warm-up that leaves nothing": (one_run(warmup={"rule": "given", "seconds": 60}), 3, "[empty]"),
    "more sent than recorded": (one_run(counts={"sent": 9999, "unsent": 0, "recorded": 9999}), 3, "[incomplete]"),
    "no histograms, with a checksum that fits": (sealed("histograms.hlog", ""), 3, "[damaged]"),
    "no counts, with a checksum that fits": (sealed("counts.jsonl", ""), 3, "[empty]"),
    "checksums of the manifest alone": (sums_of_the_manifest_alone, 3, "[files changed]"),
    "errors put in": (put_in("errors.jsonl"), 3, "errors.jsonl added"),
    "events put in": (put_in("events.jsonl"), 3, "events.jsonl added"),
    # limits files
    "a limit twice": (file("[limits]\np50_ms = 9\np50_ms = 3\n"), 2, "Cannot overwrite a value"),
    "a table twice": (file("[limits]\np50_ms = 9\n[limits]\np90_ms = 9\n"), 2, "twice"),
    "an empty limits file": (file(""), 2, "no limit in it"),
    "a limits file that is no text": (file(b"[limits]\np50_ms = 9 # \xe9\n"), 2, "expected a TOML file"),
    "a limit below 0": (file("[limits]\np50_ms = -1\n"), 2, "expected a finite number >= 0"),
    "a relative limit below 0": (file('[worse_than_baseline]\np50 = "-5 %"\n'), 2, "expected a finite number >= 0"),
    "a gap that is not a number": (file("[limits]\naccuracy_gap = nan\n"), 2, "expected a finite number"),
    "a gap of minus infinity": (file("[limits]\naccuracy_gap = -inf\n"), 2, "expected a finite number"),
    "a limit that is true": (file("[limits]\np50_ms = true\n"), 2, "limits.p50_ms"),
    "a limit that is a day": (file("[limits]\np50_ms = 2026-01-01\n"), 2, "limits.p50_ms"),
    "a limit with a comma": (file('[limits]\np50_ms = "2,5"\n'), 2, "expected a finite number >= 0"),
    "0 % accuracy": (file('[limits]\naccuracy = "0 %"\n'), 2, "every run satisfies that"),
    "a version that is a text": (file('[[cells]]\nversion = "2"\nlimits = { p50_ms = 9 }\n'), 2, "expected an integer"),
    "a key of a cell misspelt": (file("[[cells]]\nverion = 2\nlimits = { p50_ms = 9 }\n"), 2, "did you mean version"),
    "a limit of a server that there never was": (
        file('[[cells]]\nserver = "nobody"\nlimits = { p50_ms = 9 }\n'), 3, "no cell"),
    "a limit of what the runs do not have": (file("[limits]\ncpu_per_request_ms = 9\n", "good"), 3, "not measured"),
    "a relative limit of what the runs do not have": (
        file("[worse_than_baseline]\ncpu_per_request = 0.1\n", "good"), 3, "inconclusive"),
    "everything accepted": (file('accept = ["*"]\n[limits]\np50_ms = 9\n'), 2, "unknown warning"),
    "a folder as the limits file": (
        lambda place: (place.runs("new"), ["new", "--limits", "new"])[1], 2, "expected a TOML file"),
}  # fmt: skip
