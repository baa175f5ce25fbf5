"""What a master takes from those who report to it, and what it leaves out, message by message."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from gevent.event import Event
from locust import User
from locust.env import Environment
from locust.rpc import Message

import bench
from bench.load.locust_glue import hello
from bench.load.locust_glue.workers import Workers
from bench.runs.choices import Choices
from bench.runs.chunk import Chunk, Key, Tally
from bench.runs.histogram import Sparse

BILLION = 1_000_000_000
SECONDS = 10.0
"""The run has lasted so long."""


class Digits(User):
    abstract = False
    payload = None


class Site:
    """A master in its run, with a worker of number 0 and one that Locust knows and that has not said hello."""

    def __init__(self) -> None:
        self.environment = Environment(user_classes=[Digits])
        self.runner = self.environment.create_master_runner("127.0.0.1", 0)
        finished = Event()
        finished.set()
        self.workers = Workers(self.environment, finished)
        for name in ("worker", "quiet"):
            self.say("client_ready", "2.47.0", name)

    def begin(self) -> None:
        """A run begins, in which one worker has said hello."""
        self.kept: list[tuple[int, int]] = []
        self.refused: list[str] = []
        self.observed: list[dict[str, Any]] = []
        self.sent: list[tuple[str, Any]] = []
        self.noted: list[dict[str, Any]] = []
        self.runner.send_message = lambda kind, data=None, client_id=None: self.sent.append((kind, data))
        self.runner.target_user_count = 4
        self.workers.begin(
            time.perf_counter() - SECONDS,
            names={"Predict": 3},
            keep=lambda number, chunk: self.kept.append((number, len(chunk))),
            refused=self.refused.append,
            observe=lambda at, **values: self.observed.append(values),
            note=lambda **event: self.noted.append(event),
            deadline=1.0,
            used_up=lambda: None,
        )
        self.say("bench-hello", self.hello())

    def hello(self, **other: Any) -> dict[str, Any]:
        alike = {
            "clock": 1.0,
            "round": 0,
            "pid": 4711,
            "classes": ["Digits"],
            "versions": hello.versions(self.environment),
        }
        return alike | other

    def say(self, kind: str, data: Any, client: str = "worker") -> None:
        self.runner.handle_message(client, Message(kind, data, client))

    def reasons(self) -> list[str]:
        return [warning["reason"] for warning in self.workers.guard.warnings()]


@pytest.fixture(scope="module")
def master() -> Iterator[Site]:
    made = Site()
    yield made
    context = made.runner.server.socket.context
    made.runner.quit()
    made.runner.server.close(linger=0)
    context.destroy(linger=0)


@pytest.fixture
def site(master: Site) -> Site:
    master.begin()
    return master


def chunk(**tally: int) -> dict[str, Any]:
    """Three requests of the second second, or what somebody makes of them."""
    made = Chunk.of(
        names=["Predict"], name_codes=[0] * 3, batch=[2] * 3, due=[1.1, 1.2, 1.3], sent=[1.1, 1.2, 1.3],
        done=[1.2, 1.3, 1.4], status=[0] * 3, version=[1] * 3, correct=[2] * 3,
    )  # fmt: skip
    ((cell, counted),) = made.tallies.items()
    made.tallies = {cell: counted._replace(**tally)}
    return {"chunk": made.to_bytes()}


def other_chunk(change: Callable[[Chunk, Any], None]) -> dict[str, Any]:
    made = Chunk.from_bytes(chunk()["chunk"])
    change(made, next(iter(made.tallies)))
    return {"chunk": made.to_bytes()}


def renamed(made: Chunk, cell: Any) -> None:
    made.tallies = {(cell[0]._replace(name="invented"), cell[1]): made.tallies[cell]}


def later(made: Chunk, cell: Any) -> None:
    made.tallies = {(cell[0], 10**9): made.tallies[cell]}


def of_a_billion_buckets(made: Chunk, cell: Any) -> None:
    made.histograms[cell] = (Sparse(np.array([3]), np.array([BILLION])), *made.histograms[cell][1:])


def everywhere(made: Chunk, cell: Any) -> None:
    made.histograms[cell] = (Sparse(np.array([10**8]), np.array([1])), *made.histograms[cell][1:])


def endless(made: Chunk, cell: Any) -> None:
    assert made.span is not None
    made.span = made.span._replace(last_done=1e15)


def shattered(made: Chunk, cell: Any) -> None:
    made.tallies = {(Key("Predict", n, 2, "OK"), 1): Tally(1, 2, 0, 0, 0) for n in range(20_000)}


COUNTS = {
    "sent": 3, "unsent": 0, "recorded": 3, "retries": 0, "late_plans": 0, "addresses": {"127.0.0.1:1": 3},
    "waited": {"stream": 1}, "most_streams": 128,
    "clock_offset": -3600.0, "clock_bound": 0.001, "choices": None, "wrong_answers": {},
}  # fmt: skip
CHOICES = Choices(np.zeros(3, np.int32), {"invented": np.zeros(3, np.int32)}).to_bytes()
LONG_CHOICES = Choices(np.zeros(4, np.int32), {"Predict": np.zeros(4, np.int32)}).to_bytes()
LARGE_CHOICES = Choices(np.zeros(9000, np.int32), {"Predict": np.zeros(9000, np.int32)}).to_bytes()
HAPPENED = {"time": 1.0, "kind": "connection ended", "text": "one", "values": {"lasting": 0.5, "count": 2}}
SEEN = {"time": 1.0, "source": "worker 0", "values": {"cpu_seconds": 1.0}}

LEFT_OUT: dict[str, tuple[str, Any, str]] = {
    "a billion requests": ("bench-chunk", chunk(requests=BILLION), "requests 1,000,000,000: "),
    "less than none": ("bench-chunk", chunk(requests=-3), "requests -3: "),
    "a number that no file holds": ("bench-chunk", chunk(requests=10**400), "requests 1000"),
    "more examples than sent": ("bench-chunk", chunk(examples=BILLION), "examples in 3 requests of 2"),
    "more right than checked": ("bench-chunk", chunk(correct=7), "right examples 7: "),
    "more wrong than asked": ("bench-chunk", chunk(mismatched=4), "wrong answers 4: "),
    "a request that nobody plans": ("bench-chunk", other_chunk(renamed), "'invented', which are not planned"),
    "a second to come": ("bench-chunk", other_chunk(later), "second 1,000,000,000: "),
    "a histogram of more": ("bench-chunk", other_chunk(of_a_billion_buckets), "more than its 3 requests"),
    "a bucket beyond": ("bench-chunk", other_chunk(everywhere), "an unknown bucket"),
    "an end in a million years": ("bench-chunk", other_chunk(endless), "last_done"),
    "too many kinds": ("bench-chunk", other_chunk(shattered), "20,000 kinds of requests"),
    "no records": ("bench-chunk", {"chunk": b"BCK3 and no more"}, "bench-chunk"),
    "records as a text": ("bench-chunk", {"chunk": "BCK3"}, "not bytes"),
    "no chunk": ("bench-chunk", None, "bench-chunk"),
    "sent a billion": ("bench-drained", COUNTS | {"sent": BILLION}, "sent 1,000,000,000: "),
    "sent half of one": ("bench-drained", COUNTS | {"sent": 0.5}, "sent 0.5: "),
    "nobody knows how often": ("bench-drained", COUNTS | {"retries": True}, "retries True: "),
    "a clock of nan": ("bench-drained", COUNTS | {"clock_bound": math.nan}, "clock_bound nan"),
    "an endless offset": ("bench-drained", COUNTS | {"clock_offset": -math.inf}, "clock_offset -inf"),
    "addresses as a list": ("bench-drained", COUNTS | {"addresses": [1]}, "addresses: expected a table"),
    "waits of no number": ("bench-drained", COUNTS | {"waited": {"stream": "x"}}, "waited 'stream' 'x': "),
    "a limit of no number": ("bench-drained", COUNTS | {"most_streams": -1}, "most_streams -1: "),
    "pickled choices": ("bench-drained", COUNTS | {"choices": b"\x80\x04N."}, "bench-drained"),
    "choices that nobody plans": (
        "bench-drained",
        COUNTS | {"choices": CHOICES},
        "'invented'",
    ),
    "choices of more than there is": (
        "bench-drained",
        COUNTS | {"choices": LONG_CHOICES},
        "choices of 4 examples, of which 3 are planned",
    ),
    "choices that unpack to much more": (
        "bench-drained",
        COUNTS | {"choices": LARGE_CHOICES},
        "it unpacks to ",
    ),
    "wrong answers": ("bench-drained", COUNTS | {"wrong_answers": {"x": {"y": 5}}}, "y: expected a table"),
    "counts that are missing": ("bench-drained", {"sent": 3}, "unsent None"),
    "more users than planned": ("bench-users", {"Digits": BILLION}, "users of Digits 1,000,000,000: "),
    "another's observations": ("bench-telemetry", SEEN | {"source": "server"}, "another process"),
    "memory without end": ("bench-telemetry", SEEN | {"values": {"memory": math.inf}}, "memory inf"),
    "observed in the future": ("bench-telemetry", SEEN | {"time": 1e12}, "time 1000000000000.0"),
    "happened in the future": ("bench-event", HAPPENED | {"time": 1e12}, "time 1000000000000.0"),
    "happened to another": ("bench-event", HAPPENED | {"kind": "worker lost"}, "no event of a load process"),
    "happened for ever": ("bench-event", HAPPENED | {"values": {"lasting": math.inf}}, "lasting inf"),
    "more than happens": ("bench-event", HAPPENED | {"values": {"version": 5}}, "expected lasting and count"),
    "a book of it": ("bench-event", HAPPENED | {"text": "x" * 5000}, "expected a string"),
    "nothing happened": ("bench-event", None, "event: expected"),
    "no observation": ("bench-telemetry", 5, "bench-telemetry"),
    "a hello without a clock": ("bench-hello", {"classes": ["Digits"]}, "bench-hello"),
    "a heartbeat that says nothing": ("heartbeat", None, "heartbeat"),
    "statistics of nothing": ("stats", {}, "stats"),
    "an exception without a text": ("exception", {}, "exception"),
}


@pytest.mark.parametrize(("kind", "data", "told"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_an_impossible_report_of_a_worker_is_left_out_and_named(
    site: Site, caplog: pytest.LogCaptureFixture, kind: str, data: Any, told: str
) -> None:
    if kind == "bench-hello":
        data = site.hello() | data | {"clock": None}
    site.say(kind, data)
    (reason,) = site.reasons()
    assert reason.startswith(f"a report was left out, of load process 0: {kind}: ")
    assert told in reason
    assert (site.kept, site.observed, site.refused, site.noted) == ([], [], [], [])
    assert "Traceback" not in caplog.text
    site.say("bench-chunk", chunk())
    assert site.kept == [(0, 3)], "what is possible is taken still"


def test_possible_reports_are_taken_without_a_word(site: Site) -> None:
    site.say("bench-users", {"Digits": 4})
    site.say("bench-chunk", chunk())
    site.say("bench-telemetry", SEEN)
    site.say("bench-event", HAPPENED)
    site.say("bench-drained", COUNTS)
    assert site.noted == [
        {"time": 1.0, "kind": "connection ended", "text": "one", "lasting": 0.5, "count": 2.0}
    ]
    assert site.kept == [(0, 3)]
    assert site.observed == [{"source": "worker 0", "cpu_seconds": 1.0}]
    (worker,) = site.workers.finish()
    assert (worker["sent"], worker["recorded"], worker["lost"]) == (3, 3, False)
    assert site.workers.took_part() == {"processes": 1, "planned_processes": 2, "idle_processes": 1}
    assert site.reasons() == []


STRANGERS = {
    "hello": ("bench-hello", None, "an unknown worker"),
    "records": ("bench-chunk", chunk(), "is not part of"),
    "last words": ("bench-drained", COUNTS, "is not part of"),
    "users": ("bench-users", {"Digits": 4}, "is not part of"),
    "observations": ("bench-telemetry", SEEN, "is not part of"),
    "events": ("bench-event", HAPPENED, "is not part of"),
    "Locust's statistics": ("stats", {"stats": [], "user_count": BILLION}, "unknown to Locust"),
}


@pytest.mark.parametrize(("kind", "data", "told"), STRANGERS.values(), ids=STRANGERS)
def test_a_report_of_somebody_unknown_is_left_out_and_named(
    site: Site, kind: str, data: Any, told: str
) -> None:
    for _ in range(3):
        site.say(kind, data or site.hello(), "stranger")
    (reason,) = site.reasons()
    assert "of client 'stranger': " in reason
    assert told in reason
    assert (site.kept, site.observed, site.refused) == ([], [], [])
    assert not any(kind == "bench-origin" for kind, _ in site.sent[1:])


def test_events_without_end_are_left_out(site: Site) -> None:
    for _ in range(1000):
        site.say("bench-event", HAPPENED)
    (reason,) = site.reasons()
    assert "events " in reason
    assert len(site.noted) <= 50 * (SECONDS + 2)


def test_as_many_strangers_as_one_likes_fill_no_memory(site: Site) -> None:
    for number in range(100):
        site.say("bench-chunk", chunk(), f"stranger {number}" * 1000)
    assert len(site.reasons()) == 20
    assert max(map(len, site.reasons())) < 500


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("serving-bench", "0.0.1", f"serving-bench 0.0.1 and the master has {bench.__version__}: "),
        ("Locust", "2.40.0", "Locust 2.40.0 and the master has "),
        ("messages", None, "messages of an unknown version and the master has "),
        ("serving-bench", None, "serving-bench of an unknown version and the master has "),
    ],
)
def test_a_worker_of_another_version_is_turned_away_and_the_test_refused(
    site: Site, name: str, version: str | None, told: str
) -> None:
    versions = hello.versions(site.environment) | {name: version}
    site.say("bench-hello", site.hello(versions=versions), "quiet")
    (reason,) = site.refused
    assert reason.startswith("a worker has ")
    assert told in reason
    assert site.sent[-1] == ("bench-refused", {"reason": reason})


@pytest.mark.parametrize("kind", ["bench-hello", "bench-refused"])
def test_one_that_comes_later_and_cannot_take_part_is_turned_away_alone(site: Site, kind: str) -> None:
    site.say("client_ready", "2.47.0", "late")
    versions = hello.versions(site.environment) | {"serving-bench": "0.0.1"}
    said = (
        {"reason": "a worker has serving-bench 0.0.1"}
        if kind == "bench-refused"
        else site.hello(versions=versions)
    )
    site.say(kind, said, "late")
    assert site.refused == []
    (reason,) = site.reasons()
    assert reason.startswith(
        "a load process that came later was turned away, client 'late': a worker has serving-bench 0.0.1"
    )
    site.say("bench-chunk", chunk())
    assert site.kept == [(0, 3)], "the test goes on"
    del site.runner.clients["late"]


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        ({"locustfile": "abd"}, {"locustfile": "abc"}, "locustfile abd and the master has abc"),
        ({}, {"locustfile": "abc"}, None),
        ({"locustfile": "abd"}, {}, None),
        ({"messages": "2"}, {}, "messages 2 and the master has of an unknown version"),
    ],
)
def test_a_locustfile_is_compared_where_both_have_one(
    theirs: dict[str, str], ours: dict[str, str], told: str | None
) -> None:
    reason = hello.unlike({"versions": theirs}, {"versions": ours})
    assert (reason is None) == (told is None)
    assert told is None or told in str(reason)
