"""Run folders and experiments below the paths that a user names: nothing that is there is passed over in silence."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from bench.runs import checksums
from bench.runs.choices import FILE as CHOICES
from bench.runs.journal import ASIDE, DESCRIPTION, experiment_of
from bench.runs.recording import COUNTS, ERRORS, EVENTS, HISTOGRAMS, MANIFEST, SAMPLES, SHARDS, TELEMETRY

READ = (MANIFEST, HISTOGRAMS, COUNTS, SAMPLES, EVENTS, ERRORS, TELEMETRY, CHOICES)
"""Files of a run that are read where they are there."""
SIGNS = (MANIFEST, HISTOGRAMS, COUNTS, SAMPLES, SHARDS, TELEMETRY, checksums.FILE)
"""Each of these shows that a folder was a run's, even where the others are lost."""
MEASURED = (HISTOGRAMS, COUNTS, SAMPLES)
"""Names that only runs have: hidden folders hold programs, too, with manifests and checksums of their own."""
FETCHED: Final = ".fetched"
"""In an experiment's folder, the place of a run that is on its way from another machine."""

DEEPEST: Final = 40
MOST_FOLDERS: Final = 20_000
"""Folders without a run of their own that are gone through."""
MOST_ASIDE: Final = 1000
"""Folders that are looked into below a hidden one, such as a repository's or an environment's, and within a run."""


class Place(NamedTuple):
    """A folder that was found."""

    path: Path
    kind: Literal["run", "experiment", "part of an experiment", "nothing"]
    reason: str = ""
    """Of a place with nothing in it."""


def places(paths: Iterable[Path], apart: Path | None = None) -> list[Place]:
    """What lies in the paths, each place once; `apart` is passed over where it lies in one of them."""
    by_path: dict[str, Place] = {}
    for path in paths:
        for place in _in(path, None if apart is None else apart.resolve()):
            by_path.setdefault(os.path.abspath(place.path), place)  # noqa: PTH100 - a link is a place of its own
    for place in list(by_path.values()):
        experiment = experiment_of(place.path) if place.kind == "run" else None
        if experiment is not None:
            part = Place(experiment, "part of an experiment")
            by_path.setdefault(os.path.abspath(experiment), part)  # noqa: PTH100 - as above
    return list(by_path.values())


def _in(path: Path, apart: Path | None) -> list[Place]:
    try:
        if not path.exists():
            return [Place(path, "nothing", f"{path}: does not exist")]
        if not path.is_dir():
            return [Place(path, "nothing", f"{path}: a file; give the folder of a run, or a folder of runs")]
        if _looks_like_run(path):
            return [Place(path, "run"), *_within(path)]
        inner = list(_below(path, apart, {path.resolve()}))
    except OSError as error:
        return [Place(path, "nothing", f"{path}: {error.strerror}; check the permissions")]
    nothing = f"{path}: no run in it; record one with: bench scenario mnist"
    return inner or [Place(path, "nothing", nothing)]


def _below(path: Path, apart: Path | None, seen: set[Path], depth: int = 0) -> Iterator[Place]:
    """seen: the folders that were gone through, each once: links may lead to them again, and back up for ever."""
    experiment = os.path.lexists(path / DESCRIPTION)
    if experiment:
        yield Place(path, "experiment")
    for below in sorted(path.iterdir()):
        if below.name.startswith("."):
            if _looks_like_run(below):
                yield Place(below, "nothing", f"{below}: a hidden run; rename it, or move it away")
            elif not (experiment and below.name == FETCHED):
                for run in _runs_below(below, MEASURED):
                    yield Place(run, "nothing", f"{run}: a run in a hidden folder; move it out, or away")
            continue
        if below.is_symlink() and not below.exists():
            yield Place(below, "nothing", f"{below}: a broken link; fix or remove it")
        if not below.is_dir() or (experiment and below.name in ASIDE):
            continue
        real = below.resolve()
        if real == apart:
            continue
        if _looks_like_run(below):
            yield Place(below, "run")
            yield from _within(below)
        elif real in seen:
            continue
        elif not any(below.iterdir()):
            yield Place(
                below, "nothing", f"{below}: an empty folder: its contents are lost; restore or remove it"
            )
        elif depth == DEEPEST or len(seen) == MOST_FOLDERS:
            reason = f"{below}: below {DEEPEST} folders, or after {MOST_FOLDERS:,}: not searched; name a folder nearer to the runs"
            yield Place(below, "nothing", reason)
            return
        else:
            seen.add(real)
            yield from _below(below, apart, seen, depth + 1)


def _within(run: Path) -> Iterator[Place]:
    """Runs that were moved into a run's own folder, where none belongs."""
    for below in _runs_below(run, SIGNS):
        yield Place(below, "nothing", f"{below}: a run within another run's folder; move it out of there")


def _runs_below(folder: Path, signs: Sequence[str]) -> Iterator[Path]:
    """Folders with one of the signs, however deep, where runs do not belong: the upper ones first, links not followed."""
    pending, seen = [folder], 0
    while pending and seen < MOST_ASIDE:
        seen += 1
        with contextlib.suppress(OSError):  # of what nobody may read here nothing is expected
            for below in sorted(pending.pop(0).iterdir()):
                if below.is_symlink() or not below.is_dir():
                    continue
                pending.append(below)
                if _looks_like_run(below, signs):
                    yield below


def _looks_like_run(path: Path, signs: Sequence[str] = SIGNS) -> bool:
    return any(os.path.lexists(path / name) for name in signs)
