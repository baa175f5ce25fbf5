"""What belongs to a cell, and what its metrics are, against a plain computation from the samples."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading import gpus
from bench.analysis.reading.cells import cells, described, load_in_words
from bench.analysis.reading.metric import COST
from bench.runs.chunk import Chunk
from bench.runs.histogram import nearest_rank
from bench.runs.manifest import Load
from bench.runs.run import Run, RunWriter
from tests.recorded import KEPT, end, requests, write

TESTS = Path(__file__).parents[1]


def test_metrics_are_those_of_the_samples(tmp_path: Path) -> None:
    parts = [
        Chunk.of(
            **requests(i, count=400, rate=400, start=float(i), lag=1e-4, errors=0.1, unsent=0.05, batch=8)
        )
        for i in range(20)
    ]
    run = write(tmp_path, parts)
    (cell,) = cells(run)
    first, end = cell.run.window or (0, 0)
    table = run.samples
    table = table[(table["due"] >= first) & (table["due"] < end)]
    answered = table[table["status"] == 0]
    latency = np.sort(answered["done"] - answered["due"])
    seconds = max(run.samples["due"].max(), run.samples["done"].max()) - max(first, run.samples["due"].min())
    rank = nearest_rank(99, len(latency))
    expected = {
        "answered_p99": latency[rank - 1],
        "p50": latency[nearest_rank(50, len(table)) - 1],
        "p99": math.inf,
        "service_p50": np.sort(answered["done"] - answered["sent"])[
            nearest_rank(50, table["sent"].notna().sum()) - 1
        ],
        "mean": latency.mean(),
        "requests_per_second": len(answered) / seconds,
        "inferences_per_second": 8 * len(answered) / seconds,
        "std": latency.std(),
        "min": latency.min(),
        "max": latency.max(),
        "error_share": 1 - len(answered) / len(table),
        "accuracy": answered["correct"].sum() / (8 * len(answered)),
        "mismatch_share": 0.0,
    }
    rounded = {
        "answered_p99": 2 * KEPT,
        "p50": 2 * KEPT,
        "service_p50": KEPT,
        "min": 2 * KEPT,
    }  # in the samples
    for name, value in expected.items():
        within = 0.001 * value + rounded.get(name, 0.0) if math.isfinite(value) else None
        assert METRICS[name].of(cell) == pytest.approx(value, abs=within), name
    assert cell.unsent == (table["sent"].isna()).sum()
    assert math.isnan(METRICS["cpu_per_request"].of(cell))


def test_percentiles_beyond_the_samples_are_not_given(tmp_path: Path) -> None:
    (cell,) = cells(write(tmp_path, [Chunk.of(**requests(1, count=458))]))
    assert cell.latency.percentile(99) > 0
    assert math.isnan(METRICS["p99"].of(cell))
    assert METRICS["p90"].of(cell) > 0
    (cell,) = cells(write(tmp_path, [Chunk.of(**requests(1, count=459))]))
    assert METRICS["p99"].of(cell) == cell.latency.percentile(99)
    assert math.isnan(METRICS["p999"].of(cell))


def test_failures_belong_to_the_only_version(tmp_path: Path) -> None:
    (cell,) = cells(write(tmp_path, [Chunk.of(**requests(1, errors=0.2, unsent=0.1, version=3))]))
    assert cell.version == 3
    assert set(cell.outcomes) == {"OK", "UNAVAILABLE", "UNSENT"}
    assert cell.requests == 1000


def test_what_the_client_cancelled_is_no_error(tmp_path: Path) -> None:
    part = requests(1, count=2000, rate=200, errors=0.1, unsent=0.1, cancelled=0.3)
    run = write(tmp_path, [Chunk.of(**part)])
    (cell,) = cells(run)
    first, end = cell.run.window or (0, 0)
    due, status = part["due"], np.where(np.isnan(part["sent"]), -1, part["status"])
    status = status[(due >= first) & (due < end)]
    assert cell.cancelled == (status == -2).sum() > 0
    assert cell.failed == (status == -1).sum() + (status > 0).sum()
    assert METRICS["error_share"].of(cell) == cell.failed / (len(status) - cell.cancelled)


def test_failures_of_several_versions_are_a_cell_of_their_own(tmp_path: Path) -> None:
    parts = [Chunk.of(**requests(v, errors=0.2, version=v, start=float(v))) for v in (1, 2)]
    found = cells(write(tmp_path, parts))
    assert [(cell.version, set(cell.outcomes)) for cell in found] == [
        (1, {"OK"}),
        (2, {"OK"}),
        (None, {"UNAVAILABLE"}),
    ]
    assert sum(cell.requests for cell in found) == 2000
    assert METRICS["error_share"].of(found[2]) == 1.0
    assert METRICS["p50"].of(found[2]) == math.inf


def test_names_and_batch_sizes_are_apart(tmp_path: Path) -> None:
    parts = [Chunk.of(**requests(i, batch=2**i, names=("a", "b"), count=100)) for i in range(3)]
    found = cells(write(tmp_path, parts))
    assert [(cell.name, cell.batch) for cell in found] == [(n, b) for n in "ab" for b in (1, 2, 4)]


def test_a_server_that_refuses_everything(tmp_path: Path) -> None:
    (cell,) = cells(write(tmp_path, [Chunk.of(**requests(1, errors=1.0))]))
    assert cell.version == 2  # asked for
    assert METRICS["error_share"].of(cell) == 1.0
    assert METRICS["requests_per_second"].of(cell) == 0.0
    assert METRICS["p50"].of(cell) == METRICS["service_p99"].of(cell) == math.inf
    for name in ("answered_p50", "mean", "accuracy", "mismatch_share", "cpu_per_request"):
        assert math.isnan(METRICS[name].of(cell)), name


def test_no_requests_no_cells(tmp_path: Path) -> None:
    assert cells(write(tmp_path, [])) == []


def test_cpu_per_request(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "mnist", None, {})
    for second in range(5):
        writer.append(0, Chunk.of(**requests(second, count=100, rate=120, start=float(second))))
        writer.telemetry(second + 0.9, source="server", cpu_seconds=7 + 0.5 * second)
        writer.telemetry(second + 0.9, source="worker 0", cpu_seconds=3.0 * second)
    end(writer, stopped=5.0)
    run = Run.open(writer.path)
    (cell,) = cells(run)
    assert METRICS["cpu_per_request"].of(cell) == pytest.approx(0.5 / 100, rel=0.01)


def idle(second: int) -> dict[str, float | None]:
    """A GPU that the server does not use."""
    memory = {"memory0": 2e9, "memory1": 2e9, "memory2": 1e6}
    held = {"server_memory0": 1e9, "server_memory1": None, "server_memory2": 0.0}
    return {"joules2": 70.0 * second, "utilization0": 0.25, "utilization2": 0.0, **memory, **held}


@pytest.mark.parametrize("here", [True, False])
def test_what_predictions_cost(tmp_path: Path, here: bool) -> None:
    """Half a core, 30 W of processors and 20 W of a GPU for 400 predictions a second, at 0.36 an hour.

    Another GPU takes 70 W and is not the server's.
    """
    server = {"kind": "embedded", **({"price_per_hour": 0.36} if here else {})}
    target = {"address": "far:8500", **({"pid": 7} if here else {})}
    writer = RunWriter.create(tmp_path, "mnist", None, {"target": target, "experiment": {"server": server}})
    for second in range(5):
        writer.append(0, Chunk.of(**requests(second, count=100, rate=120, start=float(second), batch=4)))
        at = second + 0.9
        writer.telemetry(at, source="server", cpu_seconds=7 + 0.5 * second)
        writer.telemetry(at, source="machine", busy=0.5, joules=30.0 * second)
        writer.telemetry(
            at, source="gpu", power0=20.0, joules0=1e6 + 20.0 * second, joules1=None, **idle(second)
        )
    end(writer, stopped=5.0)
    (cell,) = cells(Run.open(writer.path))
    names = ("cpu_per_thousand", "joules_per_thousand", "gpu_per_thousand", COST)
    found = {name: METRICS[name].of(cell) for name in names}
    cpu = pytest.approx(0.5 / 400 * 1000, rel=0.01)
    if here:
        joules, cost = (pytest.approx(each, rel=0.01) for each in (50 / 400 * 1000, 0.36 / 3600 / 400 * 1e6))
        gpu = pytest.approx(0.25 / 400 * 1000, rel=0.01)
        assert found == {
            "cpu_per_thousand": cpu,
            "gpu_per_thousand": gpu,
            "joules_per_thousand": joules,
            COST: cost,
        }
    else:  # the energy is that of the load generator's machine
        assert found["cpu_per_thousand"] == cpu
        assert math.isnan(found["joules_per_thousand"])
        assert math.isnan(found["gpu_per_thousand"])
        assert math.isnan(found[COST])


@pytest.mark.parametrize("build", ["cpu", "gpu"])
def test_power_of_a_recorded_gpu(tmp_path: Path, build: str) -> None:
    """Rows of two real trials, beside what another reader of the counters saw; the CPU's server does not use it."""
    recorded = json.loads((TESTS / "load" / "nvml_h100.json").read_text())
    writer = RunWriter.create(tmp_path, "mnist", None, {"target": {"pid": 7}})
    for second in range(4):
        writer.append(0, Chunk.of(**requests(second, count=100, rate=120, start=float(second))))
    for row in recorded["rows"][build]:
        writer.telemetry(row.pop("time"), source=row.pop("source"), **row)
    end(writer, stopped=4.0)
    run = Run.open(writer.path)
    if build == "gpu":
        assert gpus.watts(run) == [pytest.approx(recorded["independent_watts"], rel=0.05)]
        assert gpus.busy(run) == [pytest.approx(0.9, abs=0.05)]
    else:
        assert (gpus.watts(run), gpus.busy(run)) == ([], [])


def test_energy_of_two_servers_at_once_is_nobodys(tmp_path: Path) -> None:
    facts = {"target": {"pid": 7}, "duet": {"arm": 0, "one_server": False}}
    writer = RunWriter.create(tmp_path, "mnist", None, facts)
    for second in range(5):
        writer.append(0, Chunk.of(**requests(second, count=100, rate=120, start=float(second))))
        writer.telemetry(second + 0.9, source="machine", busy=0.5, joules=30.0 * second)
    end(writer, stopped=5.0)
    (cell,) = cells(Run.open(writer.path))
    assert math.isnan(METRICS["joules_per_thousand"].of(cell))


@pytest.mark.parametrize("one_server", [True, False])
def test_processor_time_of_a_server_that_two_runs_share_is_nobodys(one_server: bool, tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "mnist", None, {"duet": {"arm": 0, "one_server": one_server}})
    for second in range(5):
        writer.append(0, Chunk.of(**requests(second, count=100, rate=120, start=float(second))))
        writer.telemetry(second + 0.9, source="server_machine", cpu_seconds=0.5 * second)
    writer.finish(stopped=5.0)
    (cell,) = cells(Run.open(writer.path))
    for name in ("cpu_per_request", "cpu_per_thousand"):
        assert math.isnan(METRICS[name].of(cell)) == one_server


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ({"kind": "closed", "users": 16}, "16 users"),
        ({}, "closed"),
        ({"kind": "poisson", "rate": 250.0, "users": 4}, "1000/s poisson"),
        ({"kind": "poisson", "rate": 625_000.0, "users": 4}, "2500000/s poisson"),
        ({"schedule": {"kind": "constant", "rate": 0.1}, "users": 3}, "0.3/s constant"),
        ({"schedule": {"kind": "constant", "rate": 0.5}, "users": 3}, "1.5/s constant"),
        ({"schedule": {"kind": "ramp", "start": 1, "end": 9}}, "ramp"),
        ({"kind": "closed", "users": 3, "shape": "Waves"}, "Waves"),
    ],
)
def test_loads_in_words(load: dict[str, object], words: str) -> None:
    assert load_in_words(Load.model_validate(load)) == words


def test_a_run_in_words(tmp_path: Path) -> None:
    run = write(tmp_path, [], target={"kind": "remote", "address": "serving.example:8500"})
    assert described(run) == {"scenario": "mnist", "server": "serving.example:8500", "load": "16 users"}
    assert described(write(tmp_path, [], target=None, load=None))["server"] == "?"
