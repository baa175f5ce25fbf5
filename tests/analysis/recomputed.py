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


def lines(run: Path, warm_up: float, within: float) -> dict[tuple[str, int], dict[str, Any]]:
    """By request name and batch size: every number of the report, percentiles as pairs of the least and the most."""
    table = pd.read_parquet(run / "samples.parquet")
    manifest = json.loads((run / "manifest.json").read_text())
    done = (table.due + table.lag + table.service).max() / 1e6
    stopped = manifest.get("stopped")
    ended = max(table.due.max() / 1e6, done if stopped is None else stopped)
    begun = max(math.ceil(warm_up) if warm_up else 0.0, table.due.min() / 1e6)
    steady = table[table.due >= math.ceil(warm_up) * 1e6]
    cpu = server_cpu(run, math.ceil(warm_up), math.ceil(ended))
    return {
        key: _line(part, ended - begun, within)
        | {"seconds": ended - begun, "cpu_per_request": cpu / len(answered) * (ended - begun)}
        for key, part in steady.groupby(["name", "batch"], observed=True)
        for answered in [steady[steady.status == 0]]
    }


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
        "accuracy": answered.correct.sum() / answered.batch[answered.correct.notna()].sum(),
        "mismatch_share": answered.mismatched.mean(),
        "goodput": math.nan if perhaps else good / len(rows),
        "goodput_rate": math.nan if perhaps else good / seconds,
        "outcomes": status.map(CODES | {-1: "UNSENT"}).value_counts().to_dict(),
    }
