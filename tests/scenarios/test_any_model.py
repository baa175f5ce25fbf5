"""The scenario for any model, in both kinds of loop."""

import json
from pathlib import Path

import numpy as np

from bench.analysis.answers.questions import answers
from tests.foreign import serving
from tests.load.locust_runs import start, until_recorded
from tests.load.test_any_model import RECOMMENDER

SCENARIO = "scenarios/model.py"


def test_requests_of_a_file_in_a_closed_loop_at_the_embedded_server(written: Path, tmp_path: Path) -> None:
    requests, results = tmp_path / "sample.jsonl", tmp_path / "results"
    lines = [{"inputs": {"user": user, "features": [0.5] * 8}, "label": user % 2} for user in range(40)]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = written / "saved" / "recommender"
    arguments = [
        "--model-path",
        str(path),
        "--requests",
        str(requests),
        "--batch-size",
        "4",
        "-u",
        "2",
        "-r",
        "2",
    ]
    run = until_recorded(start(results, *arguments, scenario=SCENARIO), results, 100).run()
    assert (run.samples["status"] == 0).all()
    assert set(run.samples["batch"]) == {4}
    assert run.manifest.raw["model"]["path"] == str(path / "1")
    (payload,) = run.manifest.payload.values()
    assert payload.examples == 40
    assert payload.origin
    assert payload.origin.startswith("sample.jsonl, 40 examples, sha256 ")
    assert answers(run)[0].text == f"requests: {payload.origin}"
    # each score is above 0.5, and half of the labels are 1
    assert np.isclose(run.samples["correct"].sum() / run.samples["batch"].sum(), 0.5, atol=0.1)


def test_random_requests_in_an_open_loop_of_two_processes(tmp_path: Path) -> None:
    arguments = ["--model-name", "own", "--schedule", "constant:25", "-u", "2", "-r", "2", "--processes", "2"]
    with serving(RECOMMENDER) as address:
        process = start(tmp_path, "--host", address, *arguments, scenario=SCENARIO)
        run = until_recorded(process, tmp_path, 60, workers=2).run()
    assert run.manifest.load.kind == "constant"
    assert (run.samples["status"].dropna() == 0).all()
    assert run.manifest.raw["arrivals"]["Model"]["users"][-1][1] == 2
    assert [answer.text for answer in answers(run)] == ["requests: random, 500 examples, seed 1"]
