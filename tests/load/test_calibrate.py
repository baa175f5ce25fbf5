"""bench.calibration.calibrate and .ceiling: what this machine can send, found once and compared with later."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from bench import BenchError
from bench.analysis.reading.checks import warnings_of
from bench.calibration import calibrate as measuring
from bench.calibration.calibrate import Subject, calibrate
from bench.cli.calibrate import calibrate as command
from bench.launch import server_process
from bench.load import ceiling
from bench.load.ceiling import Calibration, Lag
from bench.load.observing import machine
from bench.runs.thresholds import CPU_SHARE
from tests.load.locust_runs import start, until_recorded
from tests.recorded import requests, seconds, write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of each kind."""
    monkeypatch.setattr(measuring, "USERS", (8,))
    monkeypatch.setattr(measuring, "RATES", ())


def known(**changes: object) -> Calibration:
    """A calibration of this machine."""
    made = Calibration(
        measured="2024-05-01T12:00:00+00:00",
        fingerprint=machine.facts()["fingerprint"],
        software=ceiling.software(),
        transport="native",
        connections=1,
        batch=1,
        request_bytes=3198,
        floor_p50=40e-6,
        floor_p99=90e-6,
        requests_per_second=50_000.0,
        users=64,
        cpu_per_request=15e-6,
        load_cpu=0.97,
        server_cpu=0.6,
        lags=(Lag(1000.0, 1.0, 30e-6, 120e-6, 0.06),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of the test's choice


def test_what_is_kept_is_found_again() -> None:
    made = known()
    path = ceiling.save(made)
    assert json.loads(path.read_text())["lags"][0]["p99"] == 120e-6
    assert list(ceiling.known()) == [made]
    ceiling.save(replace(made, requests_per_second=60_000.0))
    assert [each.requests_per_second for each in ceiling.known()] == [60_000.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "0123456789abcdef"},
        {"software": {**ceiling.software(), "gevent": "1.0"}},
        {"software": {**ceiling.software(), "python": "3.0.0"}},
    ],
)
def test_calibrations_of_other_machines_and_software_do_not_count(changes: dict[str, object]) -> None:
    ceiling.save(known(**changes))
    assert list(ceiling.known()) == []


def test_damaged_files_are_passed_over() -> None:
    path = ceiling.save(known())
    path.with_name("broken.json").write_text('{"measured": ')
    path.with_name("other.json").write_text("[]")
    path.with_name("older.json").write_text('{"measured": "2020", "lags": []}')
    assert len(list(ceiling.known())) == 1


def test_the_nearest_payload_of_the_same_transport_counts() -> None:
    for size in (1000, 3000, 3600):
        ceiling.save(known(request_bytes=size, requests_per_second=float(size)))
    ceiling.save(known(transport="grpcio", request_bytes=3198, requests_per_second=9.0))
    ceiling.save(known(connections=4, request_bytes=3198, requests_per_second=8.0))

    def found(*asked: object) -> float | None:
        nearest = ceiling.ceiling(*asked)  # type: ignore[arg-type]  # as below
        return None if nearest is None else nearest.requests_per_second

    assert found("native", 1, 3198) == 3000.0
    assert found("native", 1, 3500) == 3600.0
    assert found("native", 1, 6000) is None
    assert found("grpcio", 1, 3198) == 9.0
    assert found("native", 4, 3000) == 8.0
    assert found("native", 2, 3000) is None


@pytest.mark.usefixtures("quick")
def test_the_verb_prints_and_keeps_what_it_measured(tmp_path: Path) -> None:
    scenario = tmp_path / "large.py"
    scenario.write_text(
        "import numpy as np\n"
        "from bench.load.users import ArrivalUser\n"
        "from bench.payload import Pool\n"
        "class Large(ArrivalUser):\n"
        "    @classmethod\n"
        "    def payload(cls, options):\n"
        "        return Pool.of({'x': np.zeros((4, 5000), np.float32)}, None, output='y', model='m')\n"
    )
    for duration in ("2", "8"):  # in two seconds a busy machine may answer, or tell of itself, too little
        try:
            done = CliRunner().invoke(
                command,
                ["--scenario", str(scenario), "--seconds", duration, "--json"],
                catch_exceptions=False,
            )
        except BenchError as refused:
            assert "such as --seconds 10" in str(refused)
            continue
        assert done.exit_code == 0, done.output
        assert done.stderr.splitlines()[:2] == ["measuring: one user alone", "measuring: 8 users"]
        printed = json.loads(done.stdout)
        if list(ceiling.known()):
            break
    (found,) = ceiling.known()
    assert found.to_dict() == {key: value for key, value in printed.items() if key != "kept"}
    assert Path(printed["kept"]).is_file()
    assert 20_000 < found.request_bytes < 20_200
    assert 0 < found.floor_p50 <= found.floor_p99 < 1
    assert found.requests_per_second > 100
    assert found.cpu_per_request == pytest.approx(found.load_cpu / found.requests_per_second)
    assert found.lags[0].rate == pytest.approx(found.requests_per_second / 4, abs=51)
    assert found.lags[0].achieved > 0


def test_a_load_process_that_told_nothing_of_itself_gives_no_ceiling(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="was seen 0 times in 1 s, which gives no ceiling"):
        measuring._cpu(write(tmp_path, seconds(requests())).within(0, 1))


def test_a_load_that_began_late_gives_no_ceiling(tmp_path: Path) -> None:
    class Late(measuring._Bench):
        def _locust(self, *_: object) -> Path:
            return write(tmp_path, seconds(requests(count=400))).path  # of 0.4 s, all of which is settling

    with pytest.raises(BenchError, match="which gives no ceiling"):
        Late(Subject(), SimpleNamespace(pid=os.getpid()), tmp_path, 2).closed(1)  # type: ignore[arg-type]


def test_a_scenario_that_cannot_be_run_is_one_line(tmp_path: Path) -> None:
    scenario = tmp_path / "empty.py"
    scenario.write_text("x = 1\n")
    with pytest.raises(BenchError, match="no user class with a payload"):
        calibrate(Subject(scenario=scenario), lambda text: None, seconds=2)


def test_later_runs_know_the_ceiling_and_warn_near_it(tmp_path: Path) -> None:
    ceiling.save(known(requests_per_second=10.0))  # which any machine comes near
    with server_process.embedded(["--backend", "null"]) as server:
        process = start(tmp_path / "results", "--host", server.address, "-u", "1")
        run = until_recorded(process, tmp_path / "results", 20).run()
    assert run.manifest.raw["ceiling"] == {
        "requests_per_second": 10.0,
        "each": 10.0,
        "measured": "2024-05-01T12:00:00+00:00",
    }
    assert "near the ceiling" in {warning.check for warning in warnings_of(run)}


def test_an_open_loop_has_a_ceiling_of_its_own(tmp_path: Path) -> None:
    assert ceiling.PUNCTUAL == CPU_SHARE
    at_10k, at_40k = Lag(10_000.0, 1.0, 30e-6, 120e-6, 0.40), Lag(40_000.0, 1.0, 30e-6, 120e-6, 0.80)
    at_90k = Lag(90_000.0, 0.8, 0.1, 1.0, 1.0)
    # four times the rate costs twice as much: a power of one half
    assert known(lags=(at_10k, at_40k)).open_per_second == pytest.approx(40_000 * (0.85 / 0.80) ** 2)
    assert 40_000 < known(lags=(at_10k, at_40k, at_90k)).open_per_second < 72_000
    assert known(lags=(at_10k,)).open_per_second == pytest.approx(10_000 * 0.85 / 0.40)
    assert known(lags=(replace(at_10k, cpu=0.1),)).open_per_second == 50_000, "no more than a closed loop"
    assert math.isnan(known(lags=()).open_per_second)
    ceiling.save(known(lags=(replace(at_10k, rate=100.0, cpu=0.85),)))
    with server_process.embedded(["--backend", "null"]) as server:
        arguments = ["--host", server.address, "--schedule", "poisson:300"]
        process = start(tmp_path / "results", *arguments, scenario="scenarios/mnist_open.py")
        run = until_recorded(process, tmp_path / "results", 200).run()
    assert run.manifest.raw["ceiling"]["each"] == pytest.approx(100)
    assert "near the ceiling" in {warning.check for warning in warnings_of(run)}


def test_the_table_speaks_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.cli.calibrate import _show

    assert isinstance(command, click.Command)
    _show(known())
    shown = capsys.readouterr().out
    for text in (
        "3,198 bytes",
        "p50 40 us",
        "50,000 requests/s",
        "15.0 us",
        "1,000/s",
        "p99 120 us",
        "14,167",
    ):
        assert text in shown
