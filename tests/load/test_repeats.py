"""Requests that are sent once, and the audit of caches."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.analysis.answers.caches import compare
from bench.analysis.answers.questions import answers
from bench.load.repeats import arranged, repeats
from bench.load.sources import Source
from bench.payload import Pool
from bench.schedule import parse
from tests.foreign import Arrays, serving
from tests.load.locust_runs import locust
from tests.load.test_any_model import RECOMMENDER, score
from tests.load.test_preflight import options

SCENARIO = "scenarios/model.py"
USER = type("Own", (), {})


def written(folder: Path, count: int) -> Path:
    path = folder / "sample.jsonl"
    lines = [{"inputs": {"user": user, "features": [0.5] * 8}} for user in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["-u", "2", "-r", "2", "--schedule", "constant:60"],
        ["-u", "4", "-r", "4", "--processes", "2"],
    ],
    ids=["open", "closed in two processes"],
)
def test_each_request_reaches_the_server_once_and_the_load_ends(arguments: list[str], tmp_path: Path) -> None:
    foreign = replace(RECOMMENDER, calls=[])
    requests = ["--model-name", "own", "--requests", str(written(tmp_path, 120)), "--unique"]
    with serving(foreign) as address:
        done = locust(tmp_path / "results", "--host", address, *requests, *arguments, scenario=SCENARIO)
    assert done.code == 0, done.output
    users = [int(call["user"][0]) for call in foreign.calls]
    assert sorted(users) == list(range(120)), "the first by the preflight"
    run = done.run()
    assert run.manifest.finished
    assert len(run.samples) == 119
    assert "all requests were sent as often as --unique" in done.output
    assert run.manifest.raw["load"]["unique"]


def test_an_audit_finds_a_server_that_remembers(tmp_path: Path) -> None:
    known: set[int] = set()

    def remembering(inputs: Arrays) -> Arrays:
        user = int(inputs["user"][0])
        if user not in known:
            time.sleep(0.02)  # so long that no busy machine hides it
            known.add(user)
        return score(inputs)

    requests = ["--model-name", "own", "--requests", str(written(tmp_path, 240)), "--cache-audit"]
    with serving(replace(RECOMMENDER, answer=remembering, calls=[])) as address:
        done = locust(tmp_path / "results", "--host", address, *requests, "-u", "2", scenario=SCENARIO)
    assert done.code == 0, done.output
    run = done.run()
    assert set(run.samples["name"]) == {"Predict, first time", "Predict, repeated"}
    origin, found = answers(run)
    assert origin.text.startswith("requests: sample.jsonl, 240 examples")
    assert found.text.startswith("caches: repeated requests are answered in ×0."), found.text
    high = found.values["repeated_ratio_high"]
    assert high is not None
    assert high < 1


def test_an_audit_of_a_server_that_forgets_claims_nothing_19_times_in_20() -> None:
    """Also where the machine slows down, and where neighbours in time are alike."""
    rng = np.random.default_rng(5)
    claims = 0
    for _ in range(400):
        sent = np.arange(800.0)
        drift = np.exp(0.5 * sent / 800 + 0.2 * np.sin(sent / 40))
        seconds = rng.gamma(4, 0.001, 800) * drift
        found = compare(sent, seconds, np.arange(800) % 2 == 1)
        assert found is not None
        claims += not found.low <= 1 <= found.high
    assert claims / 400 < 0.08


def test_an_audit_finds_a_tenth_and_needs_answers_of_both_kinds() -> None:
    rng = np.random.default_rng(6)
    repeated = np.arange(4000) % 2 == 1
    seconds = rng.gamma(10, 0.001, 4000) * np.where(repeated, 0.9, 1.0)
    found = compare(np.arange(4000.0), seconds, repeated)
    assert found is not None
    assert found.low < 0.9 < found.high < 1
    assert compare(np.arange(90.0), seconds[:90], repeated[:90]) is None
    drifting = np.where(repeated, 0.001 * np.exp(np.linspace(0, 2, 4000)), 0.02)
    found = compare(np.arange(4000.0), drifting, repeated)
    assert found is not None
    assert found.high < 1, "each window shows it, however alike neighbouring windows are"
    assert compare(np.arange(4000.0), seconds, np.zeros(4000, bool)) is None
    assert compare(np.arange(4000.0), seconds, np.arange(4000) >= 2000) is None, "one after the other"


X = np.arange(40, dtype=np.float32)


def sources(*names: str, x: np.ndarray = X) -> dict[Source, Pool]:
    return {Source(USER, 0, name): Pool.of({"x": x}, None, output="y", model="m") for name in names}


def test_names_of_an_audit() -> None:
    made = arranged(sources("Predict"), options("--cache-audit"), [])
    assert [source.name for source in made] == ["Predict, first time", "Predict, repeated"]
    assert repeats(made) == {"Predict, first time": "Predict, repeated"}
    assert repeats(arranged(sources("Predict"), options("--unique"), [])) == {}
    assert [pool.sending for pool in arranged(sources("Predict"), options(), []).values()] == [""]


def test_what_cannot_be_sent_once_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("time\n0.1\n0.2\n")
    trace, poisson = parse(f"trace:{tmp_path / 'trace.csv'}"), parse("poisson:5")
    for given, pools, schedules, problem in (
        (["--unique"], sources("a"), [trace], "--unique: a trace names each of its requests"),
        (["--unique"], sources("a", x=X[:1]), [], "--unique: the requests a are all the same"),
        (["--unique", "--cache-audit"], sources("a"), [], "--unique --cache-audit: give one of the two"),
        (
            ["--cache-audit"],
            sources("a"),
            [poisson],
            "--cache-audit: needs users that wait for answers; omit --schedule",
        ),
        (["--cache-audit", "--no-samples"], sources("a"), [], "--cache-audit: compares single requests"),
        (["--cache-audit"], sources("a", "b"), [], "--cache-audit: this scenario sends several kinds"),
    ):
        with pytest.raises(BenchError, match=problem):
            arranged(pools, options(*given), schedules)  # type: ignore[arg-type]  # what parse gives
