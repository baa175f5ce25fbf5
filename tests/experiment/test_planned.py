"""A trial measures the version and batch that the experiment plans, or fails in one line (issue 13)."""

from pathlib import Path

from bench.launch import server_process
from bench.runs.run import Run
from tests.experiment.experiments import bench_run, only_folder, write
from tests.ports import free_port

SCENARIO = """
import numpy as np
from bench.load.users import PredictUser
from bench.payload import Pool

class Own(PredictUser):
    @classmethod
    def payload(cls, options):
        images = np.zeros((4, 28, 28, 1), np.float32)
        return Pool.of({"images": images}, None, output="scores", model="mnist", <more>)
"""


def experiment(folder: Path, more: str, text: str) -> Path:
    path = write(folder, text, servers='["quick"]')
    scenario = folder / "own.py"
    scenario.write_text(SCENARIO.replace("<more>", more))
    whole = path.read_text().replace("versions = [1]", "versions = [1, 2]")
    path.write_text("\n".join([f'scenario = "{scenario}"', *whole.splitlines()[1:]]) + "\n")
    return path


def test_a_payload_that_names_no_version_is_sent_to_the_planned_one(tmp_path: Path) -> None:
    path = experiment(tmp_path, "batch=options.asked.batch", "batch_sizes = [2]")
    done = bench_run(path, "--trials", "1")
    assert done.returncode == 0, done.stderr
    folder = only_folder(path)
    for trial in folder.trials:
        run = Run.open(folder.run_of(trial) or Path())
        assert set(run.counts["version"].dropna()) == {trial.cell.version}
        assert set(run.counts["batch"]) == {2}
        (asked,) = run.manifest.raw["target"]["asked"].values()
        assert asked["version"] == trial.cell.version


def test_a_payload_that_names_another_version_fails_those_trials(tmp_path: Path) -> None:
    path = experiment(tmp_path, "version=2", "")
    done = bench_run(path, "--trials", "1")
    assert done.returncode == 3, done.stderr
    folder = only_folder(path)
    ended = folder.ended()
    versions = {trial.number: trial.cell.version for trial in folder.trials}
    assert {versions[n]: each.outcome for n, each in ended.items()} == {1: "failed", 2: "measured"}
    assert len(list(folder.path.glob("*/manifest.json"))) == 1, "refused before its trial began"
    (reason,) = (each.reason for each in ended.values() if each.outcome == "failed")
    assert "--model-version 1: the requests Predict of Own.payload name version 2" in str(reason)


def test_a_payload_of_another_batch_size_fails(tmp_path: Path) -> None:
    path = experiment(tmp_path, "batch=1", "batch_sizes = [4]")
    done = bench_run(path, "--trials", "1")
    assert done.returncode == 3, done.stderr
    assert {each.outcome for each in only_folder(path).ended().values()} == {"failed"}
    assert "--batch-size 4" in done.stderr


def test_a_dry_run_holds_the_payload_against_the_plan(tmp_path: Path) -> None:
    path = experiment(tmp_path, "version=2", "")
    done = bench_run(path, "--dry-run")
    assert done.returncode == 2
    assert "4 trials" in done.stdout, "the plan is shown all the same"
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("refused: "))
    assert "version 1" in line
    assert "--model-version 1: the requests Predict of Own.payload name version 2" in line


def test_a_dry_run_looks_at_servers_that_run_already(tmp_path: Path) -> None:
    """Issue 13: a misnamed input was a night of failing calls."""
    path = experiment(tmp_path, "", "")
    (tmp_path / "own.py").write_text((tmp_path / "own.py").read_text().replace('"images":', '"image":'))
    arguments = ["--backend", "synthetic", "--model_name", "mnist", "--service-time", "constant(1ms)"]
    with server_process.embedded(arguments) as server:
        (tmp_path / "servers.toml").write_text(
            f'[servers.quick]\nkind = "remote"\naddress = "{server.address}"\n'
        )
        path.write_text(path.read_text().replace("versions = [1, 2]", "versions = []"))
        done = bench_run(path, "--dry-run")
    assert done.returncode == 2, done.stderr
    assert "input 'image' is sent, the signature has images" in done.stderr


def test_a_dry_run_waits_for_no_server_and_no_version(tmp_path: Path) -> None:
    """It waited `ready_seconds` for each remote server that lacked a version, 120 by default."""
    path = experiment(tmp_path, "", "")
    arguments = ["--backend", "synthetic", "--model_name", "mnist", "--service-time", "constant(1ms)"]
    with server_process.embedded(arguments) as server:
        places = {"quick": server.address, "gone": f"127.0.0.1:{free_port()}"}
        tables = [
            f'[servers.{name}]\nkind = "remote"\naddress = "{address}"\nready_seconds = 1e6\n'
            for name, address in places.items()
        ]
        (tmp_path / "servers.toml").write_text("\n".join(tables))
        path.write_text(path.read_text().replace('servers = ["quick"]', 'servers = ["quick", "gone"]'))
        done = bench_run(path, "--dry-run")
    assert done.returncode == 2, done.stderr
    lines = sorted(line for line in done.stderr.splitlines() if line.startswith("refused: "))
    gone, quick = lines[:2], lines[2:]
    assert all(f"to {places['gone']}" in line and "no connection" in line for line in gone)
    assert len(gone) == 2
    (only,) = quick
    assert f"--model-version 2: not served by {server.address}" in only
    assert only.endswith("versions of mnist available there: 1")


def test_a_dry_run_of_a_scenario_that_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    path = experiment(tmp_path, "", "")
    (tmp_path / "own.py").write_text("import no_such_module\n")
    done = bench_run(path, "--dry-run")
    assert done.returncode == 2
    assert "own.py: the preflight did not get through: " in done.stderr
    assert "no_such_module" in done.stderr
