"""The example of docs/own-scenario.md as it stands there, against a model with two inputs of different dtypes."""

from pathlib import Path

import pytest

from bench.launch import server_process
from tests.load.locust_runs import ROOT, start, until_recorded


def example() -> str:
    """The first block of Python in the page."""
    page = (ROOT / "docs" / "own-scenario.md").read_text()
    return page.split("```python\n")[1].split("```")[0]


@pytest.fixture
def recommender(written: Path) -> Path:
    return written / "saved" / "recommender"


def test_the_example_has_under_15_lines_and_runs(recommender: Path, tmp_path: Path) -> None:
    assert len(example().splitlines()) < 15
    scenario = tmp_path / "recommender.py"
    scenario.write_text(example())
    arguments = ["--model_name", "recommender", "--model_base_path", str(recommender)]
    with server_process.embedded(arguments) as server:
        asked = [
            "--host",
            server.address,
            "-u",
            "4",
            "-r",
            "4",
            "--batch-size",
            "8",
            "--schedule",
            "closed:5ms",
        ]
        results = tmp_path / "results"
        done = until_recorded(start(results, *asked, scenario=str(scenario)), results, 100)
    assert done.code == 0, done.output
    run = done.run()
    assert run.path.name.endswith("-recommender")
    assert len(run.samples) >= 100
    assert (run.samples["status"] == 0).all()
    assert set(run.samples["batch"]) == {8}
    assert set(run.samples["version"]) == {1}
    assert int(run.counts["mismatched"].sum()) == 0
    assert run.manifest.raw["target"]["model"] == "recommender"
