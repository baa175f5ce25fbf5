"""`scenarios/rollout.py --host`: the versions of a server that somebody else has started (issue 15)."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from locust.argument_parser import get_parser

from bench import BenchError
from bench.analysis.answers.questions import answers
from bench.launch import server_process
from bench.load import arguments, options, own_options, rollout
from bench.load.rollout import Rollout
from bench.load.site import Site
from bench.load.stage import Stage
from tests.load.locust_runs import locust
from tests.scenarios.answered import values

SCENARIO = "scenarios/rollout.py"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """The server's model folder, with version 1 at first."""
    folder = tmp_path_factory.mktemp("served") / "mnist"
    shutil.copytree(models / "mnist" / "1", folder / "1")
    return folder


@pytest.fixture(scope="module")
def server(watched: Path) -> Iterator[str]:
    arguments = ["--model_name=mnist", f"--model_base_path={watched}", "--file_system_poll_wait_seconds=0.1"]
    with server_process.embedded(arguments) as launched:
        yield launched.address


def at(server: str, monkeypatch: pytest.MonkeyPatch, **own: Any) -> Rollout:
    """What the scenario does at a server, with options of its own."""
    monkeypatch.setattr(own_options, "OWN", {"--watched": ("", "", True), "--server-path": ("", "", True)})
    parser = get_parser(default_config_files=[])
    arguments.add_arguments(parser)
    lines = [f"--{name.replace('_', '-')}={value}" for name, value in own.items()]
    parsed = options.read_options(parser.parse_args(lines))
    return Rollout.of(Stage(parsed, server, 0.0, lambda *_, **__: None, Site(parsed, print)))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "--watched DIR is missing: the folder of mnist that the server at"),
        (("--how", "flip"), "--watched DIR is missing: the model folder of the server at"),
    ],
)
def test_a_folder_that_is_not_named_is_refused_before_the_load(
    server: str, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    done = locust(tmp_path, "--host", server, *arguments, scenario=SCENARIO)
    assert done.code == 2, done.output
    assert text in done.output
    assert "Traceback" not in done.output
    assert done.folders == [], "nothing was begun"


def test_folders_that_the_server_does_not_watch_are_refused(
    server: str, watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, text in (
        (tmp_path / "none", "no folder that can be written"),
        (tmp_path, "no version; the first change needs one before it"),
    ):
        with pytest.raises(BenchError, match=text):
            at(server, monkeypatch, watched=folder).begin("place")
    (tmp_path / "7").mkdir()
    with pytest.raises(BenchError, match=r"its newest version is 7, and .* serves 1 of mnist"):
        at(server, monkeypatch, watched=tmp_path).begin("place")
    at(server, monkeypatch, watched=watched).begin("place")


def test_versions_are_placed_under_load(server: str, watched: Path, tmp_path: Path) -> None:
    """From the version on that is there: a second rollout places the next ones."""
    arguments = ("--watched", str(watched), "--settle", "0.3", "--swaps", "1", "--schedule", "poisson:100")
    done = locust(tmp_path, "--host", server, *arguments, scenario=SCENARIO)
    assert done.code == 0, done.output
    run = done.run()
    assert [event["kind"] for event in run.events] == ["swap", "swapped"]
    assert sorted(set(run.samples["version"].dropna())) == [1, 2]
    assert values(answers(run))["unattributed"] == 0
    assert sorted(each.name for each in watched.iterdir()) == ["1", "2"]


def test_the_first_state_is_brought_about(
    server: str, watched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the server serves: labels were flipped where nobody had set them."""
    if not (watched / "2").exists():
        shutil.copytree(watched / "1", watched / "2")
    there = at(server, monkeypatch, server_path=watched)
    for how, versions in (("flip", [1, 2]), ("rollback", [1]), ("rollback", [1]), ("flip", [1, 2])):
        there.begin(how)
        states = there.stage.states("mnist")
        assert sorted(number for number, state in states.items() if state == "AVAILABLE") == versions
    there.flip("stable", 2, [1, 2])
    there.begin("flip")
    monkeypatch.setattr(rollout, "SWAP_SECONDS", 0.2)
    for how in ("flip", "rollback"):
        with pytest.raises(
            BenchError, match=r"--server-path /no/such/folder: .* give the folder as the server"
        ) as no:
            at(server, monkeypatch, server_path="/no/such/folder").begin(how)
        assert "\n" not in str(no.value)
