"""The functions of the public Python API: `bench.load_runs` and `bench.compare`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from bench import BenchError
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trial, read_trials
from bench.analysis.judging.compare import Comparisons
from bench.analysis.judging.compare import compare as compare_trials
from bench.runs.run import Run, Unreadable, find_runs

Folder = str | os.PathLike[str]
Runs = Folder | pd.DataFrame | Iterable[Run | Folder]
"""Folders of runs, runs, or rows of what `load_runs` gave."""


def load_runs(*folders: Folder) -> pd.DataFrame:
    """A table with one row for each condition of each run in these folders and below, in the order of their start.

    Columns: run (path), started, scenario, request, server, build, model, version, batch, users, schedule, load, block,
    requests, answered, warnings, then every metric by its name; `frame.attrs["units"]` has the units of the metrics. nan
    where a metric was not measured, or its percentile is not supported by the number of requests.

    Raises BenchError where there is no run, or where a folder of a run cannot be read.
    """
    runs = opened(folders)
    rows = [_row(trial) for trial in read_trials(runs).trials]
    if not rows:
        raise BenchError(
            f"{', '.join(map(str, folders))}: no request was recorded in the steady part of a run"
        )
    frame = pd.DataFrame(rows)
    frame["started"] = pd.to_datetime(frame["started"], utc=True, format="ISO8601")
    frame = frame.astype({"version": "Int64", "users": "Int64", "batch": "Int64"})
    frame.attrs["units"] = {name: metric.unit for name, metric in METRICS.items()}
    return frame


def compare(baseline: Runs, candidate: Runs, *by: str) -> Comparisons:
    """The changes from the trials of one side to those of the other, as `bench compare` judges them.

    by: what may differ between the sides, such as "version"; see `bench compare --help`. Of a table of `load_runs` the
    conditions in its rows count. Raises BenchError where nothing can be compared.
    """
    return compare_trials(_trials(baseline), _trials(candidate), by=by)


def opened(runs: Runs) -> list[Run]:
    """The runs that are meant, each once. Raises BenchError where there is none, or one cannot be read."""
    if isinstance(runs, pd.DataFrame):
        return [Run.open(Path(path)) for path in dict.fromkeys(runs["run"])]
    results: list[Run] = []
    folders: list[Path] = []
    for each in [runs] if isinstance(runs, str | os.PathLike) else runs:
        if isinstance(each, Run):
            results.append(each)
        else:
            folders.append(Path(each))
    for entry in find_runs(folders):
        if isinstance(entry, Unreadable):
            raise BenchError(entry.reason)
        if isinstance(entry, Run):
            results.append(entry)
    if not results:
        raise BenchError(f"{', '.join(map(str, folders)) or 'no folder'}: no run in it")
    return results


def _trials(side: Runs) -> list[Trial]:
    trials = read_trials(opened(side)).trials
    if not isinstance(side, pd.DataFrame):
        return trials
    rows = zip(side["run"], side["request"], side["version"], side["batch"], strict=True)
    wanted = {
        (run, request, None if pd.isna(version) else version, batch) for run, request, version, batch in rows
    }
    return [
        trial
        for trial in trials
        if (str(trial.path), trial.identity.request, trial.identity.version, trial.identity.batch) in wanted
    ]


def _row(trial: Trial) -> dict[str, Any]:
    load, identity = trial.manifest.load, trial.identity
    return {
        "run": str(trial.path),
        "started": trial.started,
        "scenario": identity.scenario,
        "request": identity.request,
        "server": identity.server,
        "build": identity.build,
        "model": identity.model,
        "version": identity.version,
        "batch": identity.batch,
        "users": load.users,
        "schedule": load.plan.kind,
        "load": identity.load,
        "block": None if trial.block is None else trial.block[1],
        "requests": trial.requests,
        "answered": trial.answered,
        "warnings": ", ".join(sorted({each.check for each in trial.warnings})),
        **{name: trial.values[name] for name in METRICS},
    }
