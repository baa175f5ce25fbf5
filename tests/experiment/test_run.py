"""Experiments from beginning to end: what is measured, what fails, what a kill leaves and --resume makes of it."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bench import BenchError
from bench.analysis.reading.reconciliation import check, split
from bench.analysis.statistics.sequential import Look
from bench.cli.blocks import compared
from bench.cli.run import ended_in_order
from bench.experiment.folder import Folder
from bench.runs.journal import COMPLETE, DECIDED, INTERRUPTED, OUT_OF_TIME, Ended, Journal
from bench.runs.run import Run
from tests.experiment.experiments import (
    ROOT,
    bench_run,
    command,
    manifests,
    only_folder,
    processes_with,
    write,
)
from tests.recorded import requests, seconds
from tests.recorded import write as recorded
from tests.terminal import Screen, typed

KILLS = int(os.environ.get("EXPERIMENT_KILLS", "2"))
"""In each run of the tests; the instants are random, with a fixed seed. EXPERIMENT_KILLS=20 takes two minutes."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an experiment of two servers that has been run, one of them of two processes."""
    path = write(
        tmp_path_factory.mktemp("measured"), "options = { connections = 4 }", servers='["quick", "pair"]'
    )
    done = bench_run(path, "--trials", "1")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 trials measured" in done.stderr
    assert (
        f"compare them with: bench compare {only_folder(path).path} --by server --baseline quick"
        in done.stderr
    )
    return path


def test_every_cell_is_measured_and_said_to_be_what_it_is(measured: Path) -> None:
    folder = only_folder(measured)
    said = manifests(folder)
    assert [m["experiment"]["trial"] for m in said] == [t.number for t in folder.trials] == [1, 2]
    for trial, manifest in zip(folder.trials, said, strict=True):
        experiment = manifest["experiment"]
        assert experiment["name"] == "small"
        assert experiment["cell"] == trial.cell._asdict()
        assert (experiment["block"], experiment["seed"]) == (trial.block, 1)
        assert manifest["seed"] == trial.seed
        assert manifest["load"]["batch"] == trial.cell.batch
        server = experiment["server"]
        assert server["kind"] == "embedded"
        assert len(server["models"]["mnist"]["1"]) == 64
        assert server["available"] == {"mnist": [1]}
        assert server.get("price_per_hour") == (0.5 if trial.cell.server == "quick" else None)
        assert "price_per_hour" not in server["settings"]
        assert {row["source"] for row in telemetry(folder, trial.number)} >= {"worker 0", "machine", "server"}
    assert {m["experiment"]["cell"]["build"] for m in said} == {"synthetic", "pair"}
    assert (folder.path / "servers").is_dir()


def test_client_and_server_agree_also_where_several_processes_serve(measured: Path) -> None:
    folder = only_folder(measured)
    for trial in folder.trials:
        run = Run.open(folder.run_of(trial) or Path())
        found = split(run)
        assert found is not None
        assert found.requests == found.server_requests == run.manifest.raw["counts"]["recorded"]
        assert check(run) == []


def test_what_fails_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path, 'servers_if_available = ["nowhere"]', servers='["broken", "quick"]')
    done = bench_run(path, "--trials", "1")
    assert done.returncode == 3
    assert "left out: nowhere: no executable no_such_executable" in done.stderr
    folder = only_folder(path)
    ended = folder.ended()
    by_server = {t.number: t.cell.server for t in folder.trials}
    assert {by_server[number]: each.outcome for number, each in ended.items()} == {
        "broken": "failed",
        "quick": "measured",
    }
    assert all(
        "servers.broken: ended with exit code 1" in (e.reason or "") for e in ended.values() if e.reason
    )
    # a failed trial is no missing one; --retry makes it one
    again = bench_run(folder.path, "--resume")
    assert again.returncode == 3
    assert len((folder.path / "trials.jsonl").read_text().splitlines()) == 2
    assert bench_run(folder.path, "--resume", "--retry").returncode == 3
    assert len((folder.path / "trials.jsonl").read_text().splitlines()) == 3


def test_a_server_that_dies_fails_its_trial_only(tmp_path: Path) -> None:
    path = write(tmp_path, "batch_sizes = [1, 2]", servers='["quick"]')
    with subprocess.Popen(
        command(path, "--trials", "1"), cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        folder = wait_for(lambda: next(iter((tmp_path / "results").glob("*/experiment.json")), None)).parent
        wait_for(lambda: next(folder.glob("*-b1t001/manifest.json"), None))
        for pid in processes_with(f"{folder}/servers/"):
            os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 3, errors
    ended = Folder.open(folder).ended()
    assert [ended[number].outcome for number in (1, 2)] == ["failed", "measured"]
    assert "the server ended with exit code -9" in (ended[1].reason or "")
    assert list((folder / "failed").glob("*-b1t001"))


@pytest.mark.timeout(400)
def test_kill_and_resume_give_the_trials_of_an_undisturbed_run(tmp_path: Path) -> None:
    """Kill -9 at random instants, then go on to the end."""
    blocks = 1 + KILLS // 2
    path = write(tmp_path, "batch_sizes = [1, 4]", servers='["quick"]')
    rng = random.Random(6)
    for kill in range(KILLS):
        arguments = ["--resume"] if kill else ["--trials", str(blocks)]
        with subprocess.Popen(command(path, *arguments), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            wait_for(lambda: next(iter((tmp_path / "results").glob("*/experiment.json")), None))
            try:
                process.wait(rng.uniform(0.2, 3.0))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
    done = bench_run(path, "--resume", "--retry")  # of a trial of a second a busy machine may answer nothing
    assert done.returncode == 0, done.stderr
    folder = only_folder(path)
    numbers = [trial.number for trial in folder.trials]
    assert len(numbers) == 2 * blocks
    assert [m["experiment"]["trial"] for m in manifests(folder)] == numbers
    assert all(m["state"] == "finished" for m in manifests(folder))
    # a killed one is not told to stop before: it would end in order, with the little that it has
    assert all(m["stopped"] > 0 and m["counts"]["recorded"] > 0 for m in manifests(folder))
    assert {each.outcome for each in folder.ended().values()} == {"measured"}
    assert Journal.read(folder.path).state == COMPLETE
    wait_for(lambda: not processes_with(str(tmp_path)))


def test_ctrl_c_breaks_a_trial_off_and_leaves_a_clean_screen(tmp_path: Path) -> None:
    path = write(tmp_path, servers='["quick"]')

    def measuring(_: Screen) -> bool:
        return any((tmp_path / "results").glob("*/*-b1t001/histograms.hlog"))

    code, _, screen = typed(command(path, "--seconds", "60"), ROOT, measuring, b"\x03")
    folder = only_folder(path)
    said = "".join(screen.lines)
    assert code == 130, screen.lines
    assert said.startswith(f"{folder.path}: 2 trials, 0 done, ")
    assert said.endswith(f" to gobench: interrupted; continue with: bench run {folder.path} --resume")
    assert screen.cursor
    assert folder.ended() == {}
    assert Journal.read(folder.path).state == INTERRUPTED
    assert len(list((folder.path / "interrupted").glob("*-b1t001"))) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_an_experiment_is_taken_for_ctrl_c(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ended_in_order():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_dry_run_prints_the_plan_and_starts_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "batch_sizes = [1, 4]")
    done = bench_run(path, "--dry-run")
    assert done.returncode == 0
    assert "2 blocks, 4 starts of a server, 1 s of load a trial, seed 1: about" in done.stdout
    assert done.stdout.count("synthetic") == 4
    assert not (tmp_path / "results").exists()


def test_two_at_once_do_not_work_on_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.experiment.folder._LOCK_SECONDS", 0.1)
    first, second = (Folder(tmp_path, {"plan": []}) for _ in range(2))
    with first.locked(), pytest.raises(BenchError, match="another `bench run` is using it"), second.locked():
        pass
    with second.locked():
        pass


def test_a_trial_counts_when_its_run_is_finished_whatever_the_journal_says(
    tmp_path: Path, measured: Path
) -> None:
    place = tmp_path / "copy"
    shutil.copytree(only_folder(measured).path, place)
    folder = Folder.open(place)
    journal = folder.path / "trials.jsonl"
    journal.write_text('{"number": 1, "outc')  # the machine went down
    runs = [folder.run_of(trial) or Path() for trial in folder.trials]
    folder.tidy()
    assert folder.ended() == {
        number: Ended(number, "measured", None, run.name) for number, run in enumerate(runs, 1)
    }
    assert [row.number for row in Journal.rows(place)] == [1, 2], "what was lost of it is written again"
    folder.note(Ended(1, "measured", None, runs[0].name))
    shutil.rmtree(runs[0])
    assert set(folder.ended()) == {2}


def test_a_run_that_was_killed_before_its_manifest_is_put_aside(tmp_path: Path, measured: Path) -> None:
    place = tmp_path / "copy"
    shutil.copytree(only_folder(measured).path, place)
    folder = Folder.open(place)
    killed = folder.run_of(folder.trials[0]) or Path()
    (killed / "manifest.json").unlink()
    folder.tidy()
    assert not killed.exists()
    assert (place / "interrupted" / killed.name).is_dir()
    assert set(folder.ended()) == {2}
    assert (place / "servers").is_dir()


def telemetry(folder: Folder, number: int) -> list[dict[str, object]]:
    run = folder.run_of(folder.trials[number - 1])
    assert run is not None
    return [json.loads(line) for line in (run / "telemetry.jsonl").read_text().splitlines()]


def wait_for(found, seconds: float = 60.0):  # type: ignore[no-untyped-def]  # whatever the caller looks for
    give_up = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return result


def test_what_nothing_differs_in_cannot_be_decided(tmp_path: Path) -> None:
    refused = bench_run(write(tmp_path, servers='["quick"]'), "--until-decided")
    assert refused.returncode == 2
    assert "none of them differs" in refused.stderr
    assert not (tmp_path / "results").exists()


def test_blocks_are_added_until_it_is_decided(tmp_path: Path) -> None:
    """A real one, of two looks at the most; how sure they are depends on the machine, what follows from it does not."""
    done = bench_run(write(tmp_path), "--until-decided", "--duet", "--trials", "2")
    assert "after 2 blocks: against server quick: " in done.stderr, done.stderr
    assert "4 of 4 trials measured" in done.stderr
    open_ = "not decided: " in done.stderr or "cannot be decided: " in done.stderr
    assert done.returncode == (3 if open_ else 0), done.stderr
    assert ("inconclusive" in done.stderr) == open_
    state = Journal.read(only_folder(tmp_path / "small.toml").path).state
    assert state == (OUT_OF_TIME if "not decided: " in done.stderr else DECIDED)


def planned(root: Path, blocks: int, **of_server: float) -> Folder:
    """An experiment with runs of two servers: by server the median service time, 0 where none was measured; of `few` requests."""
    plan = []
    for number, (block, server) in enumerate(itertools.product(range(1, blocks + 1), of_server), 1):
        cell = {
            "server": server,
            "build": server,
            "model": "mnist",
            "version": 1,
            "batch": 1,
            "load": "2 users",
        }
        plan.append({"block": block, "number": number, "seed": 1, "cell": cell})
        if of_server[server]:
            count = 400 if server == "few" and block == 2 else 1000
            rows = requests(number, count=count, rate=1000, service=of_server[server])
            said = {"name": "one", "cell": cell, "block": block, "trial": number}
            recorded(root, seconds(rows), experiment=said)
    root.mkdir(exist_ok=True)
    described = {"schema": 1, "plan": plan, "scenario": "mnist"}
    (root / "experiment.json").write_text(json.dumps(described))
    return Folder(root, described)


@pytest.mark.parametrize(
    ("of_server", "more", "never"),
    [
        ({"quick": 0.002, "slow": 0.004}, [], []),
        ({"quick": 0.002, "alike": 0.00201}, ["p99"], []),
        ({"quick": 0.002, "few": 0.004}, [], ["p99: not measured in 1 of 4 trials of the baseline"]),
        ({"quick": 0.002, "broken": 0.0}, [], ["server broken: no trial of it was measured"]),
    ],
)
def test_what_no_further_block_can_decide_is_not_waited_for(
    tmp_path: Path, of_server: dict[str, float], more: list[str], never: list[str]
) -> None:
    folder = planned(tmp_path / "one", 4, **of_server)
    seen = compared(folder, "server", Look(4, 0.01), ("p50", "p99"))
    assert set(more) <= set(seen.judged.more)
    assert [text.startswith(begin) for text, begin in zip(seen.judged.never, never, strict=True)] == [
        True
    ] * len(never)
    assert seen.over == (not more)
