"""An error of the server itself: its request is answered INTERNAL with one line of log, and all others are served."""

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.launch import server_process
from bench.launch.server_process import Server
from bench.server.execution.batching_parameters import Parameters
from bench.server.execution.continuous_batching import Continuous, Runner
from bench.server.execution.timed_batching import Timed
from bench.server.net.loop import Loop
from bench.server.refusal import Code
from bench.server.unforeseen import unforeseen
from bench.wire import frames
from tests.server.batches import BUG, LIST, Bench, Buggy
from tests.server.clients import RawClient, channel, predict, refusal, tensor_request

Array = np.ndarray[Any, Any]
ROOT = Path(__file__).parents[2]
Made = Callable[[str], tuple[Bench, Any]]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    made: list[tuple[Bench, Any]] = []

    def make(kind: str) -> tuple[Bench, Any]:
        bench = Bench(Buggy(1e-5 if kind == "here" else 1.0), tmp_path)
        executor = (
            Timed(bench.predictions, bench.metrics, bench.post, Parameters(timeout=0.01, max_batch_size=64))
            if kind == "timed"
            else Continuous(
                bench.predictions, Runner(bench.predictions, bench.metrics), bench.post, batched=True
            )
        )
        made.append((bench, executor))
        return bench, executor

    yield make
    for bench, executor in made:
        executor.close()
        bench.make_posted()
        assert bench.handle().held == 0, "a call still holds its version"
        bench.repository.stop()


@pytest.mark.parametrize("kind", ["here", "threads", "timed"])
@pytest.mark.parametrize("bug", [BUG, LIST])
def test_only_the_request_that_meets_the_error_fails(
    made: Made, kind: str, bug: float, caplog: pytest.LogCaptureFixture
) -> None:
    bench, executor = made(kind)
    for round_ in range(2):  # the executor goes on afterwards
        for value in (1, bug, 3):
            executor.submit(bench.call(value))
        executor.flush()
        while bench.client.done < 3 * (round_ + 1):
            if kind == "here":
                raise AssertionError("everything is answered at once")
            assert bench.arrived.acquire(timeout=20)
            bench.make_posted()
    assert [answer.item() for answer in bench.client.answers.values()] == [2.0, 6.0] * 2
    assert {number: refused.code for number, refused in bench.client.refusals.items()} == {
        2: Code.INTERNAL,
        5: Code.INTERNAL,
    }
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 2, [record.getMessage() for record in errors]
    assert "batches.py:" in errors[0].getMessage() or bug == LIST
    page = bench.metrics.page()
    assert 'request_count{model_name="m",status="INTERNAL"} 2' in page
    assert 'request_count{model_name="m",status="OK"} 4' in page


def test_memory_that_is_not_there_is_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    assert unforeseen(MemoryError(), "a run").code == Code.RESOURCE_EXHAUSTED
    assert not caplog.records


def test_the_log_has_one_line_with_the_place(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        refused = unforeseen(error, "a test")
    (record,) = caplog.records
    assert (refused.code, refused.text) == (Code.INTERNAL, "ValueError: two lines")
    assert record.getMessage().startswith(
        "internal error in a test: ValueError: two lines (test_unforeseen.py:"
    )


def test_the_loop_goes_on_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    done: list[str] = []

    def broken() -> None:
        raise RuntimeError("broken")

    loop.post(broken)
    loop.call_at(0.0, broken)
    loop.post(lambda: done.append("posted"))
    loop.call_at(0.0, lambda: done.append("timer"))
    loop.after_turn += [broken, lambda: done.append("after"), loop.stop]
    loop.run()
    loop.close()
    assert done == ["posted", "timer", "after"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3


PATCH = """
from bench.server.execution import backend
from tests.server.batches import Buggy

backend.load = lambda model, version, path, options: Buggy()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with the buggy model in the place of a SavedModel."""
    folder = tmp_path_factory.mktemp("buggy")
    (folder / "m" / "1").mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(PATCH)
    flags = ["--model_name=m", f"--model_base_path={folder / 'm'}", "--rest_api_port=0"]
    with server_process.embedded(flags, environment={"PYTHONPATH": f"{folder}:{ROOT}"}) as running:
        yield running


def rows(*values: float) -> bytes:
    return tensor_request({"x": np.array(values, np.float32)[:, None]}, model="m")


def errors(server: Server) -> int:
    """Lines of log about errors of the server."""
    return server.log_text().count("internal error in ")


def test_a_server_answers_internal_and_goes_on(server: Server) -> None:
    before = errors(server)
    with channel(server.address) as through:
        for _ in range(2):
            assert refusal(through, rows(BUG)) == ("INTERNAL", "KeyError: 'a bug'")
            assert predict(through, rows(1, 2))["y"].tolist() == [[2.0], [4.0]]
    assert errors(server) == before + 2
    assert "Traceback" not in server.log_text()


def test_those_who_came_with_it_get_their_answers(server: Server) -> None:
    before, ended = errors(server), 0
    with RawClient(server.address) as client:
        client.ask_all([rows(value) for value in (1, BUG, 3, LIST, 5)])
        answered = set()
        for kind, flags, stream, _payload in client.frames():
            if kind == frames.DATA:
                answered.add(stream)
            ended += kind == frames.HEADERS and bool(flags & frames.END_STREAM)
            if ended == 5:
                break
    assert answered == {1, 5, 9}
    assert errors(server) == before + 2


def test_rest_answers_500_at_once(server: Server) -> None:
    before = errors(server)
    url = f"http://{server.rest}/v1/models/m:predict"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, json.dumps({"instances": [[BUG]]}).encode(), timeout=20)
    assert caught.value.code == 500
    assert json.load(caught.value) == {"error": "KeyError: 'a bug'"}
    caught.value.close()
    with urllib.request.urlopen(url, json.dumps({"instances": [[4.0]]}).encode(), timeout=20) as response:
        assert json.load(response) == {"predictions": [[8.0]]}
    assert errors(server) == before + 1
