"""Entering calls into Locust's statistics in bulk gives what entering each of them would give."""

import time
import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest
from locust.env import Environment
from locust.stats import get_error_report_summary

from bench import mnist
from bench.load.checking.checker import Checker
from bench.load.checking.failures import MOST_TEXTS, CallError
from bench.load.engine.arrivals import CAP_REACHED
from bench.load.engine.recorder import HeardRecorder, Recorder, Rows
from bench.load.locust_glue.statistics import METHOD, called, listened, show_in_locust
from bench.payload import Pool
from bench.runs.sample import CANCELLED_STATUS
from bench.wire.messages import PREDICT
from bench.wire.reply import Reply

URL = "grpc://127.0.0.1:8500/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    digits = mnist.load("test")
    pool = Pool.mnist(digits.images[:10], digits.labels[:10], size=10)
    return Recorder("Predict", pool, Checker(pool, pool.output, pool.version))


def rows(count: int, failures: int) -> Rows:
    rng = np.random.default_rng(7)
    sent = np.sort(rng.uniform(0, 5, count))
    status = np.zeros(count, dtype=np.int16)
    status[:failures] = 14
    unknown = np.full(count, -1)
    done = sent + rng.lognormal(-7, 1, count)
    codes = unknown.astype(np.int32)
    return Rows(sent, sent, done, status, unknown, codes, np.zeros(count, dtype=bool), codes)


def test_bulk_equals_one_by_one(recorder: Recorder) -> None:
    bulk, single = Environment(), Environment()
    bulk.create_local_runner()
    single.create_local_runner()
    some = rows(500, 20)
    show_in_locust(bulk, recorder, some, Counter({("UNAVAILABLE", "down"): 20}), URL)
    for due, done, status in zip(some.due, some.done, some.status, strict=True):
        single.events.request.fire(
            request_type=METHOD,
            name="Predict",
            response_time=(done - due) * 1e3,
            response_length=0,
            exception="UNAVAILABLE: down" if status else None,
        )
    for entry in ("total", "Predict"):
        ours, theirs = (
            e.stats.total if entry == "total" else e.stats.get("Predict", METHOD) for e in (bulk, single)
        )
        assert ours.num_requests == theirs.num_requests == 500
        assert ours.num_failures == theirs.num_failures == 20
        assert ours.total_response_time == pytest.approx(theirs.total_response_time)
        assert ours.min_response_time == pytest.approx(theirs.min_response_time)
        assert ours.max_response_time == pytest.approx(theirs.max_response_time)
        assert sum(ours.num_reqs_per_sec.values()) == sum(theirs.num_reqs_per_sec.values())
        assert sum(ours.response_times.values()) == sum(theirs.response_times.values())
    assert [e.occurrences for e in bulk.stats.errors.values()] == [20]


def test_rest_requests_are_shown_as_what_they_are(recorder: Recorder) -> None:
    environment = Environment()
    environment.create_local_runner()
    pool = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m", version=2)
    for make, port in ((Recorder, "a:1"), (HeardRecorder, "b:2")):
        if make is HeardRecorder:
            heard: list[dict[str, Any]] = []
            environment.events.request.add_listener(lambda heard=heard, **said: heard.append(said))
        over_rest = make("Predict", pool, Checker(pool, pool.output, pool.version, protocol="tfs-rest"))
        over_rest.add(0.0, 0, Reply(14, "down", b"", 0.0, 1.0))
        (each,) = over_rest.take()
        url, method = called(over_rest, "server:8500", port)
        show_in_locust(environment, over_rest, each, over_rest.failures.take(), url, method=method)
    assert environment.stats.get("Predict", "POST").num_requests == 2
    assert [(each["request_type"], each["url"]) for each in heard] == [
        ("POST", "http://b:2/v1/models/m/versions/2:predict")
    ]
    assert called(recorder, "server:8500", None) == (f"grpc://server:8500{PREDICT}", METHOD)


def test_percentiles_keep_their_microseconds(recorder: Recorder) -> None:
    environment = Environment()
    environment.create_local_runner()
    some = rows(2000, 0)
    show_in_locust(environment, recorder, some, Counter(), URL)
    truth = float(np.quantile((some.done - some.due) * 1e3, 0.5, method="inverted_cdf"))
    shown = environment.stats.total.get_response_time_percentile(0.5)
    assert 0.1 < truth < 10
    assert shown == pytest.approx(truth, rel=0.06), "two significant digits"


def test_a_listener_gets_what_locusts_own_clients_give() -> None:
    environment = Environment()
    environment.create_local_runner()
    assert not listened(environment)
    heard: list[dict[str, Any]] = []
    environment.events.request.add_listener(lambda **said: heard.append(said))
    assert listened(environment)
    digits = mnist.load("test")
    pool = Pool.mnist(digits.images[:10], digits.labels[:10], size=10)
    recorder = HeardRecorder("Predict", pool, Checker(pool, pool.output, pool.version))
    now, wall = time.perf_counter(), time.time()
    recorder.add(now, 0, Reply(3, "input size\nmismatch", b"", now + 1, now + 2))
    recorder.add(None, 0, Reply(0, "", b"12345", now, now + 0.5))
    recorder.add_cancelled(now, 0, now)
    recorder.add_unsent(now, 0, CAP_REACHED)
    recorder.add(now, 0, Reply(14, "", b"", now, now + 3))
    for rows in recorder.take():
        show_in_locust(environment, recorder, rows, recorder.failures.take(), URL)
    assert [each["response_time"] and round(each["response_time"]) for each in heard] == [
        2000,
        500,
        None,
        3000,
    ]
    assert [each["response_length"] for each in heard] == [0, 5, 0, 0]
    assert all(isinstance(each["exception"], CallError) for each in (heard[0], *heard[2:]))
    assert heard[1]["exception"] is None
    assert [heard[0]["exception"].status, heard[0]["exception"].details] == [
        "INVALID_ARGUMENT",
        "input size\\nmismatch",
    ]
    assert str(heard[3]["exception"]).startswith("UNAVAILABLE")
    assert heard[3]["exception"].details == ""
    for each in heard:
        assert each["start_time"] == pytest.approx(wall, abs=1)
        assert (each["name"], each["request_type"], each["url"]) == ("Predict", METHOD, URL)
        assert each["context"] == {}
    assert (environment.stats.total.num_requests, environment.stats.total.num_failures) == (4, 3)
    assert environment.stats.total.total_content_length == 5
    assert {str(error.error) for error in environment.stats.errors.values()} == {
        "INVALID_ARGUMENT: input size\\nmismatch",
        "UNSENT: the cap on requests in flight was reached",
        "UNAVAILABLE: the server cannot be reached, or ended the connection",
    }


def test_what_this_client_cancelled_is_no_failure_for_locust(recorder: Recorder) -> None:
    environment = Environment()
    environment.create_local_runner()
    some = rows(50, 5)
    some.status[40:] = CANCELLED_STATUS
    show_in_locust(environment, recorder, some, Counter(), URL)
    assert (environment.stats.total.num_requests, environment.stats.total.num_failures) == (40, 5)
    some.status[:] = CANCELLED_STATUS
    show_in_locust(environment, recorder, some, Counter(), URL)
    assert environment.stats.total.num_requests == 40


def test_an_error_without_details_is_shown_with_its_known_cause() -> None:
    """As TensorFlow Serving refuses calls beyond --grpc_max_threads."""
    assert "--grpc_max_threads" in str(CallError("RESOURCE_EXHAUSTED", ""))
    assert str(CallError("RESOURCE_EXHAUSTED", "quota")) == "RESOURCE_EXHAUSTED: quota"
    assert str(CallError("DATA_LOSS", "")) == "DATA_LOSS"


@pytest.mark.parametrize("kind", [Recorder, HeardRecorder])
def test_memory_of_distinct_error_texts_is_bounded(recorder: Recorder, kind: type[Recorder]) -> None:
    """A server may say something else in each of its errors: the first texts are kept, in Locust's tables too."""
    environment = Environment()
    environment.create_local_runner()
    if kind is HeardRecorder:
        environment.events.request.add_listener(lambda **_: None)
    failing = kind("Predict", recorder.pool, Checker(recorder.pool, recorder.pool.output, 1))
    errors = 20_000
    tracemalloc.start()
    try:
        for number in range(errors):
            details = f"\x1b[31mrequest {number} at {'x' * 200}"
            failing.add(0.0, 0, Reply(13, details, b"", 0.0, 1.0))
            if number % 1000 == 999:
                for each in failing.take():
                    show_in_locust(environment, failing, each, failing.failures.take(), URL)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    table = [
        row for row in get_error_report_summary(environment.stats) if "request " in row or "other" in row
    ]
    assert sum(error.occurrences for error in environment.stats.errors.values()) == errors
    assert len(environment.stats.errors) == len(table) == MOST_TEXTS + 1
    assert sum(map(len, table)) < 11 * 600
    assert not any("\x1b" in row for row in table)
    assert held < 1_000_000, "20,000 texts of 200 characters are 5 MB"
