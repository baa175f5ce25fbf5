"""The numbers of a report, computed anew from a run's samples.parquet with plain pandas and nothing of ours."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CODES = {
    0: "OK",
    4: "DEADLINE_EXCEEDED",
    8: "RESOURCE_EXHAUSTED",
    14: "UNAVAILABLE",
    -2: "CANCELLED_BY_CLIENT",
}
PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p999": 99.9}
CANCELLED = -2


def supported(q: float, count: int) -> bool:
    """Whether no failure in so many would be rarer than one in 100, were just q % within the bound."""
    return count > 0 and (q / 100) ** count <= 0.01


def nearest_rank(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", q: float) -> float:
    return float(np.sort(values)[max(1, math.ceil(round(q * len(values) / 100, 9))) - 1])


def percentile(
    known: "pd.Series[float]", waited: "pd.Series[float]", lost: int, q: float
) -> tuple[float, float]:
    """Least and most that a percentile can be: cancelled requests end at once, or never."""
    if not supported(q, len(known) + len(waited) + lost):
        return math.nan, math.nan
    never = np.full(lost, math.inf)
    least = np.concatenate([known, waited, never])
    most = np.concatenate([known, np.full(len(waited), math.inf), never])
    return nearest_rank(least, q), nearest_rank(most, q)


Key = tuple[str, int, int | None]


def lines(run: Path, warm_up: float, within: float) -> dict[Key, dict[str, Any]]:
    """By request name, batch size and version: every number of the report, percentiles as pairs of the least and the most.

    What takes turns is measured in its turns, without the first second of each. Where several versions answered, what got
    no answer is apart.
    """
    table = pd.read_parquet(run / "samples.parquet")
    manifest = json.loads((run / "manifest.json").read_text())
    done = (table.due + table.lag + table.service).max() / 1e6
    stopped = manifest.get("stopped")
    ended = max(table.due.max() / 1e6, done if stopped is None else stopped)
    begun = max(math.ceil(warm_up) if warm_up else 0.0, table.due.min() / 1e6)
    steady = table[table.due >= math.ceil(warm_up) * 1e6]
    # a load that begins late on a busy machine has no steady part before its first request
    cpu = server_cpu(run, max(math.ceil(warm_up), math.floor(table.due.min() / 1e6)), math.ceil(ended))
    answered = steady[steady.status == 0]
    turns = manifest["load"].get("turns")
    found: dict[Key, dict[str, Any]] = {}
    for (name, batch), rows in steady.groupby(["name", "batch"], observed=True):
        part, seconds = rows, ended - begun
        if turns and name in turns["names"]:
            own, each = turns["names"].index(name), turns["seconds"]
            second = rows.due // 1_000_000
            part = rows[(second // each % len(turns["names"]) == own) & (second % each > 0)]
            held = (s for s in range(math.ceil(ended)) if s // each % len(turns["names"]) == own and s % each)
            seconds = sum(min(s + 1, ended) - max(s, begun) for s in held)
        for version, same in _by_version(part):
            found[name, batch, version] = _line(same, seconds, within) | {
                "seconds": ended - begun,
                "cpu_per_request": cpu / len(answered) * (ended - begun),
                "cpu_per_thousand": 1000 * cpu / answered.batch.sum() * (ended - begun),
            }
    return found


def _by_version(rows: pd.DataFrame) -> list[tuple[int | None, pd.DataFrame]]:
    version = rows.version.astype("Int64")
    known = sorted(version[version.notna() & (version >= 0)].unique())
    if len(known) <= 1:
        return [(int(known[0]) if known else None, rows)]
    unknown = rows[~version.isin(known)]
    each: list[tuple[int | None, pd.DataFrame]] = [(int(one), rows[version == one]) for one in known]
    return each + ([(None, unknown)] if len(unknown) else [])


def server_cpu(run: Path, first: float, end: float) -> float:
    """Cores that the server kept busy in a stretch of the run; nan where that was not observed."""
    path = run / "telemetry.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    seen = pd.DataFrame(
        [
            row
            for row in rows
            if row["source"] == "server"
            and row.get("cpu_seconds") is not None
            and first <= row["time"] <= end
        ]
    )
    if len(seen) < 2:
        return math.nan
    return float(
        (seen.cpu_seconds.iloc[-1] - seen.cpu_seconds.iloc[0]) / (seen.time.iloc[-1] - seen.time.iloc[0])
    )


def _line(rows: pd.DataFrame, seconds: float, within: float) -> dict[str, Any]:
    status = rows.status.astype("Int64").fillna(-1)
    answered, sent, cancelled = rows[status == 0], rows[status != -1], rows[status == CANCELLED]
    lost, failed = int((~status.isin([0, CANCELLED])).sum()), int((~status.isin([0, CANCELLED, -1])).sum())
    latency, waited = ((each.lag + each.service).astype(float) / 1e6 for each in (answered, cancelled))
    service, waiting = (each.service.astype(float) / 1e6 for each in (answered, cancelled))
    found: dict[str, Any] = {}
    for name, q in PERCENTILES.items():
        none = latency.iloc[:0]
        found[name] = percentile(latency, waited, lost, q)
        found[f"answered_{name}"] = percentile(latency, none, 0, q)
        found[f"service_{name}"] = percentile(service, waiting, failed, q)
        found[f"lag_{name}"] = percentile(sent.lag.astype(float) / 1e6, none, int((status == -1).sum()), q)
    right = answered[~answered.mismatched]
    good = int(((right.lag + right.service) <= within * 1e6).sum())
    perhaps = int((waited <= within).sum())
    checked = int(answered.batch[answered.correct.notna()].sum())
    return found | {
        "requests": len(rows),
        "answered": len(answered),
        "mean": latency.mean(),
        "std": latency.std(ddof=0),
        "min": latency.min(),
        "max": latency.max(),
        "requests_per_second": len(answered) / seconds,
        "inferences_per_second": answered.batch.sum() / seconds,
        "error_share": lost / (len(rows) - len(cancelled)),
        "accuracy": float(answered.correct.sum()) / checked if checked else math.nan,
        "mismatch_share": answered.mismatched.mean(),
        "goodput": math.nan if perhaps else good / len(rows),
        "goodput_rate": math.nan if perhaps else good / seconds,
        "outcomes": status.map(CODES | {-1: "UNSENT"}).value_counts().to_dict(),
    }
