"""`bench tune` from beginning to end, on servers that are started and on trials with known throughput."""

import contextlib
import json
import math
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.cli.tune_run import run_tuning
from bench.experiment import runner
from bench.experiment.folder import Folder
from bench.experiment.order import Order
from bench.experiment.trial import Failed, Glance
from bench.experiment.tuning import prepare_tuning, resume_tuning
from bench.launch.embedded import Embedded
from bench.launch.running import Running
from bench.launch.servers_file import read_servers
from bench.runs.chunk import Chunk
from bench.runs.journal import COMPLETE, INTERRUPTED, Journal
from bench.runs.tuning import Tuning
from tests.analysis.test_schemas import check
from tests.cli.inside import bench, process
from tests.experiment.experiments import only_folder
from tests.recorded import requests, write

SERVERS = """
[servers.mine]
kind = "embedded"
price_per_hour = 0.36
flags = { backend = "synthetic", service_time = "constant(1ms)", workers = 2 }
"""
SPACE = "[space]\nflags = { workers = [1, 4, 8], max_in_flight = [64, 128] }\n"


def files(folder: Path, space: str = SPACE, more: str = "") -> Path:
    (folder / "servers.toml").write_text(SERVERS)
    (folder / "tune.toml").write_text(
        'scenario = "mnist"\nservers = ["mine"]\nloads = [{ users = 4 }]\np99_ms = 50\ntrials = 3\nseconds = 1\n'
        f"{more}\n{space}"
    )
    return folder / "tune.toml"


class Told:
    """Trials of settings whose throughput is known: the more workers, up to four, the more."""

    def __init__(self, stop_after: int | None = None, fail: str = "", gain: float = 2.0) -> None:
        self.stop_after, self.fail, self.gain = stop_after, fail, gain
        self.ran: list[int] = []

    def run(self, order: Order, folder: Folder, lock: int, show: Callable[[Glance], None]) -> Path:
        if len(self.ran) == self.stop_after:
            raise KeyboardInterrupt
        self.ran.append(order.trial.number)
        name = order.trial.cell.server
        if name == self.fail:
            raise Failed("the server ended with exit code 1")
        spec = order.study.servers[[each.name for each in order.study.servers].index(name)].spec
        assert isinstance(spec, Embedded)
        rng = random.Random(order.trial.number)
        per_worker = 200 * self.gain ** min(2.0, math.log2(float(spec.flags["workers"])))
        count = round(2 * per_worker * math.exp(rng.gauss(0, 0.005)))
        chunk = Chunk.of(
            **requests(order.trial.number, count=count, rate=count / 2, service=0.002), keep_samples=False
        )
        target = {
            "kind": "embedded",
            "model": "mnist",
            "version": 2,
            "asked": {"Predict": {"model": "mnist"}},
        }
        written = write(
            folder.path,
            [chunk],
            note=order.trial.id,
            experiment=order.described(folder.path),
            target=target,
            stopped=2.0,
        )
        return written.path


@pytest.fixture
def not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that need not run, since nothing is sent to them."""

    @contextlib.contextmanager
    def launched(*_: object) -> Iterator[Running]:
        yield Running("127.0.0.1:1", ended=lambda: None, log_text=lambda: "")

    monkeypatch.setattr(runner, "launched", launched)


def tuned(folder: Path) -> Tuning:
    found = Tuning.read(folder)
    assert found is not None
    return found


@pytest.mark.usefixtures("not_started")
def test_the_best_settings_come_to_the_last_round_and_their_gain_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning, generator = prepare_tuning(files(tmp_path), {}), Told()
    code = run_tuning(
        tuning, None, results=tmp_path / "results", as_json=tmp_path / "t.json", generator=generator
    )
    printed = capsys.readouterr()
    folder = only_folder(tmp_path / "tune.toml")
    found, told = tuned(folder.path), json.loads((tmp_path / "t.json").read_text())
    check("tune", told)
    assert found.model_dump(by_alias=True) == told["tuning"]
    assert (code, found.outcome) == (0, "gain"), printed.err
    best = found.setting(found.best or "")
    assert best.values["workers"] in (4, 8)
    # six settings and the default in three blocks, then two of them and the default in three
    assert found.trials == len(generator.ran) == 7 * 3 + 3 * 3
    assert found.grid_trials == 7 * 3
    assert sorted(each.blocks for each in found.settings) == [3, 3, 3, 3, 6, 6, 6]
    won = next(each for each in found.gains if each.setting == found.best)
    assert (won.low or 0) < 2 < (won.high or 0)
    # of the fresh blocks alone: those before have chosen it
    assert [each.blocks for each in found.gains] == [3, 3]
    assert {trial.block for trial in folder.trials if trial.cell.server == best.server} == {1, 2, 3, 4, 5, 6}
    assert " ".join(printed.out.split()).startswith(
        f"{best.name} (workers {best.values['workers']}, max_in_flight"
    )
    assert "round 1 of 2: 6 settings, 3 blocks; the best: " in printed.err
    effects = {(each.parameter, each.value): each.ratio for each in found.effects}
    assert effects.keys() == {("workers", 4), ("workers", 8), ("max_in_flight", 128)}
    assert 3 < effects["workers", 4] < 5
    assert 0.9 < effects["max_in_flight", 128] < 1.1
    # 0.36 an hour at about 800 a second
    assert best.cost_per_million == pytest.approx(0.36 / 3600 / (best.throughput or 1) * 1e6)
    assert {Path(path).name for path in told["files"]} == {"servers.toml", "flags.txt"}
    spec = read_servers(folder.path / "best" / "servers.toml")["mine"].spec
    assert isinstance(spec, Embedded)
    assert spec.flags["workers"] == best.values["workers"]
    assert Journal.read(folder.path).state == COMPLETE

    reported = bench("report", folder.path, "--json", cwd=tmp_path)
    check("report", json.loads(reported.stdout))
    assert "beats the default" in bench("report", folder.path, cwd=tmp_path).stdout
    drawn = bench("plot", folder.path, "--only", "tuning", "--format", "svg", cwd=tmp_path)
    assert drawn.stdout.split() == ["plots/tuning.svg"]
    assert f">{best.name}<" in (tmp_path / "plots/tuning.svg").read_text()


@pytest.mark.usefixtures("not_started")
def test_an_interrupted_tuning_shows_the_best_so_far_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, results = files(tmp_path), tmp_path / "results"
    assert run_tuning(prepare_tuning(path, {}), None, results=tmp_path / "whole", generator=Told()) == 0
    (whole,) = (tmp_path / "whole").iterdir()
    capsys.readouterr()
    ran: list[int] = []
    for stop_after in (0, 4, 19, None):
        begun = resume_tuning(path, results) if ran or results.exists() else (prepare_tuning(path, {}), None)
        generator = Told(stop_after)
        code = run_tuning(*begun, results=results, generator=generator)
        ran += generator.ran
        assert code == (0 if stop_after is None else 130)
        printed = capsys.readouterr()
        folder = only_folder(path)
        state = Journal.read(folder.path).state
        assert state == (COMPLETE if stop_after is None else INTERRUPTED)
        if stop_after is not None:
            assert "interrupted; continue with: bench tune" in printed.err
            assert tuned(folder.path).outcome == "unfinished"
        if stop_after == 19:  # the comparison has begun
            assert printed.out.startswith("unfinished; the best so far: ")
            assert (folder.path / "best" / "servers.toml").exists()
    # nothing was measured twice, and the answer is that of the undisturbed one
    assert ran == list(range(1, 31))
    assert tuned(folder.path) == tuned(whole)
    refused = bench("run", folder.path, "--resume", cwd=tmp_path)
    assert refused.returncode == 2
    assert f"begun by bench tune; continue with: bench tune {folder.path} --resume" in refused.stderr


@pytest.mark.usefixtures("not_started")
def test_a_setting_that_fails_is_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuning = prepare_tuning(files(tmp_path), {})
    code = run_tuning(tuning, None, results=tmp_path / "results", generator=Told(fail="s6"))
    found = tuned(only_folder(tmp_path / "tune.toml").path)
    assert (code, found.outcome) == (0, "gain")
    failed = found.setting("s6")
    assert (failed.values["workers"], failed.blocks, failed.round) == (8, 0, 1)
    assert "s6 failed: the server ended with exit code 1" in capsys.readouterr().err
    again, ran = resume_tuning(tmp_path / "tune.toml", tmp_path / "results"), Told()
    assert run_tuning(*again, generator=ran, retry=True) == 0
    assert len(ran.ran) == 3
    assert tuned(only_folder(tmp_path / "tune.toml").path).setting("s6").blocks == 3


@pytest.mark.usefixtures("not_started")
def test_nothing_is_claimed_where_the_default_fails_or_nothing_matters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files(tmp_path, "[space]\nflags = { workers = [1, 4] }\n", "options = {}")
    code = run_tuning(
        prepare_tuning(path, {}), None, results=tmp_path / "results", generator=Told(fail="mine")
    )
    assert code == 3
    assert "inconclusive: " in capsys.readouterr().out
    found = tuned(only_folder(path).path)
    assert [each.reason for each in found.gains] == ["default failed: the server ended with exit code 1"] * 2
    equal = Told(gain=1.0)
    code = run_tuning(prepare_tuning(path, {"trials": 12}), None, results=tmp_path / "equal", generator=equal)
    printed = " ".join(capsys.readouterr().out.split())
    assert (code, "nothing beats the default by more than 2 %" in printed) in ((0, True), (3, False)), printed
    assert "beats the default by" not in printed


def test_a_plan_is_shown_with_its_time(tmp_path: Path) -> None:
    done = bench("tune", files(tmp_path), "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.split())
    assert "s6 8 128" in printed
    assert "1 6 and the default 3 21" in printed
    assert "30 trials to go: about" in printed
    assert not (tmp_path / "results").exists()


def test_usage(tmp_path: Path) -> None:
    (tmp_path / "right").mkdir()
    path, right = files(tmp_path, "[space]\nmax_batchsize = [1]\n"), files(tmp_path / "right")
    for arguments, expected in (
        ((path,), "unknown key, did you mean max_batch_size?"),
        ((path, "--resume", "--trials", "3"), "--resume continues the original plan"),
        ((tmp_path,), "is a folder: name a tune file, or add --resume"),
        ((right, "--resume"), "holds no run of"),
    ):
        done = bench("tune", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert expected in " ".join(done.stderr.split())
    assert not (tmp_path / "results").exists()


def test_a_killed_tuning_of_a_real_server_goes_on_to_its_end(tmp_path: Path) -> None:
    path = files(tmp_path, "[space]\nflags = { workers = [1] }\n")
    command = [sys.executable, "-m", "bench", "tune", str(path), "--trials", "1"]
    with subprocess.Popen(command, cwd=tmp_path, text=True, stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        assert any("block 1: " in line and "/s, p50" in line for line in running.stderr)
        running.send_signal(signal.SIGKILL)
    done = process("tune", path, "--resume", cwd=tmp_path)
    found = tuned(only_folder(path).path)
    # one block shows no spread; a busy machine holds the load generator up
    assert found.outcome in ("undecided", "load generator")
    assert (done.returncode, found.trials) == (3, 2), done.stderr
    assert all((each.throughput or 0) > 0 for each in found.settings)
    assert "1 block in common" in found.gains[0].reason
