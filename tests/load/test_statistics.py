"""Entering calls into Locust's statistics in bulk gives what entering each of them would give."""

import numpy as np
import pytest
from locust.env import Environment

from bench import mnist
from bench.load.record import Recorder, Rows
from bench.load.statistics import METHOD, show_in_locust
from bench.load.validate import Checker
from bench.payload import Pool
from bench.sample import CANCELLED_STATUS


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
    return Rows(sent, sent, done, status, unknown, unknown.astype(np.int32), np.zeros(count, dtype=bool))


def test_bulk_equals_one_by_one(recorder: Recorder) -> None:
    bulk, single = Environment(), Environment()
    bulk.create_local_runner()
    single.create_local_runner()
    some = rows(500, 20)
    recorder.errors["UNAVAILABLE: down"] = 20
    show_in_locust(bulk, recorder, some)
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
    assert not recorder.errors


def test_percentiles_keep_their_microseconds(recorder: Recorder) -> None:
    environment = Environment()
    environment.create_local_runner()
    some = rows(2000, 0)
    show_in_locust(environment, recorder, some)
    truth = float(np.quantile((some.done - some.due) * 1e3, 0.5, method="inverted_cdf"))
    shown = environment.stats.total.get_response_time_percentile(0.5)
    assert 0.1 < truth < 10
    assert shown == pytest.approx(truth, rel=0.06), "two significant digits"


def test_a_listener_sees_each_call(recorder: Recorder) -> None:
    environment = Environment()
    environment.create_local_runner()
    heard: list[tuple[str, float, object]] = []

    @environment.events.request.add_listener
    def on_request(name: str, response_time: float, exception: object, **_: object) -> None:
        heard.append((name, response_time, exception))

    some = rows(50, 5)
    show_in_locust(environment, recorder, some)
    assert len(heard) == 50
    assert [e for _, _, e in heard if e] == ["UNAVAILABLE"] * 5
    assert environment.stats.total.num_requests == 50
    assert environment.stats.total.num_failures == 5


@pytest.mark.parametrize("listened", [False, True])
def test_what_this_client_cancelled_is_no_failure_for_locust(recorder: Recorder, listened: bool) -> None:
    environment = Environment()
    environment.create_local_runner()
    if listened:
        environment.events.request.add_listener(lambda **_: None)
    some = rows(50, 5)
    some.status[40:] = CANCELLED_STATUS
    show_in_locust(environment, recorder, some)
    assert (environment.stats.total.num_requests, environment.stats.total.num_failures) == (40, 5)
    some.status[:] = CANCELLED_STATUS
    show_in_locust(environment, recorder, some)
    assert environment.stats.total.num_requests == 40
