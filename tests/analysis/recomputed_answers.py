"""The numbers of scenario answers, the split and CPU times, computed anew from a run's files with plain pandas."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.analysis.recomputed import nearest_rank

Values = dict[str, float | None]


def table(run: Path) -> pd.DataFrame:
    """All requests: due and latency in seconds (inf without an answer), done, second, ok."""
    samples = pd.read_parquet(run / "samples.parquet").sort_values("due", ignore_index=True)
    ok = samples.status.astype("Int64").fillna(-1) == 0
    took = (samples.lag + samples.service).astype(float) / 1e6
    due = samples.due / 1e6
    return pd.DataFrame(
        {
            "name": samples.name.astype(str), "batch": samples.batch, "version": samples.version, "due": due,
            "second": np.floor(due).astype(int), "ok": ok, "latency": took.where(ok, math.inf), "done": due + took,
            "service": samples.service.astype(float) / 1e6, "lag": samples.lag.astype(float) / 1e6,
        }
    )  # fmt: skip


def manifest(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return found


def telemetry(run: Path, source: str) -> pd.DataFrame:
    rows = [json.loads(line) for line in (run / "telemetry.jsonl").read_text().splitlines()]
    return pd.DataFrame([row for row in rows if row["source"] == source])


def percentile(latencies: "pd.Series[float]", q: float) -> float:
    return nearest_rank(latencies.to_numpy(float), q)


def known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def medians(rows: pd.DataFrame) -> "pd.Series[float]":
    return rows.groupby("second").latency.apply(lambda part: percentile(part, 50))


def geometric(values: "pd.Series[float]") -> float:
    return float(np.exp(np.log(values).mean()))


def windows(rows: pd.DataFrame, begin: float, end: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    inside = rows[(rows.due >= begin) & (rows.due < end)]
    groups = inside.groupby(((inside.due - begin) / 0.1).astype(int)).latency
    return groups.apply(lambda part: percentile(part, 99)).to_numpy(float)


def neighbours(run: Path, steady: pd.DataFrame) -> Values:
    """Of requests `a` beside `b`."""
    a, b = steady[steady.name == "a"], steady[steady.name == "b"]
    asked = b.groupby("second").size()
    busy = a.second.isin(asked.index[asked >= 0.5 * asked.median()])
    alone = ~a.second.isin(asked.index)
    by_second = medians(a)
    return {
        "p99_alone": known(percentile(a[alone].latency, 99)),
        "p99_beside": known(percentile(a[busy].latency, 99)),
        "answered_p99_alone": percentile(a[alone & a.ok].latency, 99),
        "answered_p99_beside": percentile(a[busy & a.ok].latency, 99),
        "p50_ratio": geometric(by_second[a[busy].second.unique()])
        / geometric(by_second[a[alone].second.unique()]),
    }


def spike(run: Path, rows: pd.DataFrame) -> Values:
    said = manifest(run)["load"]["schedule"]
    start, end = said["at"], said["at"] + said["lasting"]
    before, during, after = (
        windows(rows, *ends) for ends in ((1, start), (start, end), (end, rows.due.max()))
    )
    threshold = 2 * nearest_rank(before, 95)
    calm = [number for number in range(len(after) - 9) if (after[number : number + 10] <= threshold).all()]
    answered = windows(rows[rows.ok], start, end)
    return {
        "baseline_p99": float(np.median(before)),
        "threshold": threshold,
        "spike_p99": known(float(np.median(during))),
        "spike_p99_max": known(float(during.max())),
        "answered_spike_p99_max": float(answered.max()),
        "recovery_seconds": 0.1 * calm[0] if calm else None,
        "failed": float((~rows.ok).sum()),
    }


def rollout(run: Path, rows: pd.DataFrame) -> Values:
    """Of one change, to version 2."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (at,) = [event["time"] for event in events if event["kind"] == "swap"]
    before, after = windows(rows, 1, at), windows(rows, at - 0.1, rows.due.max())
    later = rows[(rows.due >= at) & (rows.due < rows.due.max()) & rows.ok]
    new, old = later[later.version == 2], later[later.version == 1]
    threshold = 2 * nearest_rank(before, 95)
    first = float(new.done.min() - at)
    return {
        "until_first_answer": first,
        "until_all": max(first, float(old.done.max() - at) if len(old) else 0.0),
        "baseline_p99": float(np.median(before)),
        "threshold": threshold,
        "excursion_height_max": known(float(after.max())),
        "excursion_seconds_max": 0.1 * float((after > threshold).sum()),
        "cold_start": float(new.latency.head(100).max()),
    }


def drift(run: Path, steady: pd.DataFrame) -> Values:
    series = medians(steady)
    third = len(series) // 3
    memory = telemetry(run, "server").memory
    return {
        "p50_drift": geometric(series.iloc[-third:]) / geometric(series.iloc[:third]),
        "server_memory_bytes": float(memory.iloc[0]),
    }


def overload(run: Path, rows: pd.DataFrame) -> Values:
    said = manifest(run)["load"]["schedule"]
    shares = {
        rate: rows[rows.second // said["each"] == place].ok.mean() for place, rate in enumerate(said["steps"])
    }
    kept = [rate for rate, share in shares.items() if share >= 0.99]
    return {"sustained_rate": float(max(kept))} | {
        f"in_time_{rate:g}": float(share) for rate, share in shares.items()
    }


def batches(run: Path, rows: pd.DataFrame) -> Values:
    """Of turns of 3 s, without the first second of each; batches 1 and 32."""
    rest = rows[rows.second % 3 > 0]
    seconds = rest.second.nunique() / rest.batch.nunique()
    rates = rest[rest.ok].groupby("batch").batch.sum() / seconds
    busy = telemetry(run, "server").set_index("time").cpu_seconds.diff().dropna()
    spent = {
        batch: busy[busy.index.isin(part.second.unique() + 1)].sum() / part[part.ok].batch.sum()
        for batch, part in rest.groupby("batch")
    }
    return {"best_batch": float(rates.idxmax()), "best_inferences_per_second": float(rates.max())} | {
        f"server_cpu_batch_{batch}": float(each) for batch, each in spent.items()
    }


def bound(run: Path, steady: pd.DataFrame) -> Values:
    seen = telemetry(run, "server")
    cores = (seen.cpu_seconds.iloc[-1] - seen.cpu_seconds.iloc[0]) / (seen.time.iloc[-1] - seen.time.iloc[0])
    duration = manifest(run)["stopped"] - steady.due.min()
    answered = steady[steady.ok].batch.sum() / duration
    return {"server_cores": float(cores), "server_cpu_per_image": float(cores / answered)}


def apis(run: Path, steady: pd.DataFrame) -> Values:
    first, other = (medians(steady[steady.name == name]) for name in ("a", "b"))
    return {"p50_ratio": geometric((other / first).dropna())}


def split(run: Path) -> dict[str, float]:
    """Means of the whole run, by the counters of the server and the client's clock."""
    rows = table(run)
    answered = rows[rows.ok]
    told = manifest(run)["server_counters"]
    grown = {name: told["after"][name] - told["before"][name] for name in told["before"]}
    request, runtime, queue = (
        grown[f"{name}_seconds"] / max(1, grown[f"{name}_count"]) for name in ("request", "runtime", "queue")
    )
    return {
        "client queue": float(answered.lag.mean()),
        "wire and gRPC": float(answered.service.mean()) - request,
        "server pre/post": request - runtime,
        "batching queue": queue,
        "runtime": runtime - queue,
    }
