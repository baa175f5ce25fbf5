"""Duets from beginning to end: pairs of runs by one load process, for two servers and two versions, open and closed."""

import signal
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.analysis.grouping.trials import read_trials
from bench.config.experiment import Experiment, Load, Model
from bench.config.servers import Declared
from bench.experiment.duet import duet_trials, pairs
from bench.experiment.folder import Folder
from bench.experiment.two_conditions import ServedCondition, TwoConditions
from bench.launch.embedded import Embedded
from bench.load.locust_glue.duet import alternating
from bench.runs.interference import INTERFERENCE, Interference
from bench.runs.run import Run, find_runs
from tests.experiment.experiments import ROOT, bench_run, command, only_folder, write
from tests.experiment.test_run import wait_for

FILE = Path("small.toml")


def servers(*names: str) -> list[Declared]:
    return [Declared(name, Path("servers.toml"), Embedded(kind="embedded")) for name in names]


def experiment(versions: list[int], names: list[str], blocks: int = 4) -> Experiment:
    return Experiment(
        scenario="s.py",
        servers=names,
        models={"mnist": Model(versions=versions)},
        batch_sizes=[1, 8],
        loads=[Load(users=2), Load(users=8)],
        trials=blocks,
    )


def arms(folder: Folder) -> tuple[Run, Run]:
    """The runs of a pair, that of the arm which was named first at first."""
    first, second = (Run.open(folder.run_of(trial) or Path()) for trial in pairs(folder.trials)[0])
    assert (first.manifest.raw["duet"]["arm"], second.manifest.raw["duet"]["arm"]) == (1, 2)
    return first, second


@pytest.mark.parametrize(("versions", "names"), [([1], ["a", "b"]), ([1, 2], ["a"])])
def test_a_block_holds_a_pair_for_each_batch_and_load_and_each_condition_is_first_in_every_second(
    versions: list[int], names: list[str]
) -> None:
    planned = duet_trials(experiment(versions, names), servers(*names), FILE)
    assert [trial.number for trial in planned] == list(range(1, len(planned) + 1))
    part = "server" if len(names) == 2 else "version"
    firsts = Counter()
    for first, second in pairs(planned):
        assert (first.block, first.seed) == (second.block, second.seed)
        assert first.cell._replace(**{part: None}, build="") == second.cell._replace(**{part: None}, build="")
        assert getattr(first.cell, part) != getattr(second.cell, part)
        firsts[getattr(first.cell, part)] += 1
    assert len(planned) == 4 * 2 * 4
    assert len(set(firsts.values())) == 1


@pytest.mark.parametrize("duet", [True, False])
@pytest.mark.parametrize("part", ["server", "model"])
def test_each_of_two_servers_or_models_has_its_own_version(part: str, duet: bool) -> None:
    """As where a label is version 6 on one and 7 on the other."""
    two = (
        TwoConditions(ServedCondition("blue:1", "ranker", 6), ServedCondition("green:1", "ranker", 7), part)
        if part == "server"
        else TwoConditions(
            ServedCondition("blue:1", "ranker", 6), ServedCondition("blue:1", "small", 7), part
        )
    )
    found = two.prepared(
        Path("model.py"), duet=duet, slice=None, load=Load(users=2), blocks=3, seconds=4, server={}, seed=1
    )
    sides = Counter((trial.cell.server, trial.cell.model, trial.cell.version) for trial in found.plan)
    assert sides == {(each.server, each.model, each.version): 3 for each in (two.before, two.after)}
    assert [trial.number for trial in found.plan] == list(range(1, 7))
    assert two.also == ("version",)


def test_each_of_two_servers_is_observed_at_its_own_pages() -> None:
    two = TwoConditions(
        ServedCondition("blue:1", "ranker", 1), ServedCondition("green:1", "ranker", 1), "server"
    )
    blue, green = {"telemetry": ["http://blue:9100/metrics"]}, {"telemetry": [], "metrics": "http://green/m"}
    found = two.prepared(
        Path("model.py"),
        duet=False,
        slice=None,
        load=Load(users=2),
        blocks=3,
        seconds=4,
        server={},
        observed=(blue, green),
        seed=1,
    )
    described = {each.name: each.spec.model_dump() for each in found.servers}
    pages = {name: (each["telemetry"], each["metrics"]) for name, each in described.items()}
    assert pages == {"blue-1": (["http://blue:9100/metrics"], None), "green-1": ([], "http://green/m")}


@pytest.mark.parametrize(
    ("versions", "names"), [([1], ["a"]), ([1], ["a", "b", "c"]), ([1, 2, 3], ["a"]), ([1, 2], ["a", "b"])]
)
def test_other_than_two_conditions_are_refused(versions: list[int], names: list[str]) -> None:
    with pytest.raises(BenchError, match="--duet compares two conditions"):
        duet_trials(experiment(versions, names), servers(*names), FILE)


def test_users_take_the_arms_in_turn_and_neither_is_always_first() -> None:
    order = alternating("ab", stream=3)
    rounds = ["".join([next(order), next(order)]) for _ in range(400)]
    assert set(rounds) == {"ab", "ba"}
    assert 150 < rounds.count("ab") < 250
    assert next(alternating("a", stream=3)) == "a"


def test_interference_is_warned_about() -> None:
    def warnings(alone: tuple[float, float], together: tuple[float, float]) -> int:
        return len(Interference(("a", "b"), alone, together).warnings)

    assert warnings((0.001, 0.00105), (0.0011, 0.00115)) == 0
    assert warnings((0.001, 0.00105), (0.002, 0.0021)) == 2  # both are slower, alike
    assert warnings((0.001, 0.0012), (0.0011, 0.0011)) == 1  # the difference is gone


def test_seconds_of_a_slow_duet_have_no_exponent() -> None:
    (text, *_) = Interference(("a", "b"), (0.4, 1.2), (1.53, 1.2)).of_durations
    assert "1.53 s next to the other and 400 ms alone" in text


def test_an_open_loop_goes_to_two_servers_in_turn(tmp_path: Path) -> None:
    """4 ms and 12 ms; 200/s in all."""
    path = write(tmp_path, "samples = true")
    text = path.read_text().replace(
        "loads = [{ users = 2 }]", 'loads = [{ users = 1, schedule = "poisson:200" }]'
    )
    # of a trial of one second a busy machine may answer nothing
    path.write_text(text.replace("/mnist.py", "/mnist_open.py").replace("seconds = 1", "seconds = 2"))
    done = bench_run(path, "--duet", "--trials", "1")
    assert done.returncode == 0, done.stderr
    folder = only_folder(path)
    assert (folder.path / INTERFERENCE).is_file()
    first, second = arms(folder)
    due = [run.samples["due"].to_numpy() for run in (first, second)]
    arm = np.repeat([0, 1], [len(each) for each in due])[np.argsort(np.concatenate(due), kind="stable")]
    assert (arm == np.arange(len(arm)) % 2).all()
    for run in (first, second):
        assert run.finished
        assert run.manifest.raw["counts"]["recorded"] == len(run.samples)
        assert run.manifest.raw["load"]["share"] == 0.5
        assert {row["source"] for row in run.telemetry} >= {"worker 0", "machine", "server"}
    trials = read_trials(find_runs([folder.path])).trials
    least = {trial.identity.server: trial.values["min"] for trial in trials}
    assert len(trials) == len(least) == 2, "the runs of each server alone are none"
    # however much a busy machine adds: no request is quicker than its server
    assert least["other"] >= 0.012
    assert least["other"] > least["quick"] >= 0.004


def test_a_closed_loop_goes_to_two_versions_of_one_server_also_after_a_kill(tmp_path: Path) -> None:
    path = write(tmp_path, "samples = true", servers='["quick"]')
    path.write_text(path.read_text().replace("versions = [1]", "versions = [1, 2]"))
    with subprocess.Popen(
        command(path, "--duet", "--trials", "1"), cwd=ROOT, stderr=subprocess.DEVNULL
    ) as process:
        wait_for(lambda: next((tmp_path / "results").glob("*/*-b1t002/manifest.json"), None))
        process.send_signal(signal.SIGKILL)
    done = bench_run(path, "--resume")
    assert done.returncode == 0, done.stderr
    folder = only_folder(path)
    assert {each.outcome for each in folder.ended().values()} == {"measured"}
    first, second = arms(folder)
    counts = [run.manifest.raw["counts"]["recorded"] for run in (first, second)]
    assert abs(counts[0] - counts[1]) <= 2 * 2, "each of two users is at most one round ahead with each"
    for run, trial in zip((first, second), folder.trials, strict=True):
        assert set(run.samples["version"].dropna()) == {trial.cell.version}
        assert run.manifest.raw["duet"]["one_server"]
        # whose work it was is unknown
        assert "server" not in {row["source"] for row in run.telemetry}
        assert run.manifest.raw.get("server_counters") is None


@pytest.mark.parametrize(
    ("change", "arguments", "told"),
    [
        (("", ""), ("--workers", "2"), "--workers"),
        (("{ users = 2 }", '{ users = 2, schedule = "poisson:20" }'), ("--slice", "1"), "leave --slice out"),
        (('servers = ["quick", "other"]', 'servers = ["quick"]'), (), "two conditions"),
    ],
)
def test_what_no_duet_can_be_made_of_is_refused_in_a_line(
    tmp_path: Path, change: tuple[str, str], arguments: tuple[str, ...], told: str
) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace(*change))
    done = bench_run(path, "--duet", *arguments)
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]
    assert not (tmp_path / "results").exists()


def test_arms_have_slices_of_time_in_which_nothing_of_the_other_is_in_flight(tmp_path: Path) -> None:
    """4 ms and 12 ms on average, by chance, so that users do not keep step."""
    path = write(tmp_path, "samples = true")
    path.write_text(path.read_text().replace("seconds = 1", "seconds = 3").replace("users = 2", "users = 4"))
    servers = tmp_path / "servers.toml"
    servers.write_text(servers.read_text().replace("constant(", "exponential("))
    done = bench_run(path, "--duet", "--slice", "0.25", "--trials", "1")
    assert done.returncode == 0, done.stderr
    folder = only_folder(path)
    assert not (folder.path / INTERFERENCE).exists(), "nothing interferes"
    first, second = arms(folder)
    spans = sorted(
        (begin, end, arm)
        for arm, run in enumerate((first, second))
        for begin, end in zip(run.samples["due"], run.samples["done"], strict=True)
    )
    latest, changes = [0.0, 0.0], 0
    for (_, end, before), (begin, _, arm) in pairwise(spans):
        latest[before] = max(latest[before], end)
        changes += arm != before
        assert begin >= latest[1 - arm] - 1e-5, "the other one's last answer comes first"
    assert 4 <= changes <= 12
    assert all(run.manifest.raw["duet"]["slice"] == 0.25 for run in (first, second))
