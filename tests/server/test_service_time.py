import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import BenchError
from bench.server.execution.service_time import Queue, Stall, distribution, duration, slowness, stall


@pytest.mark.parametrize(
    ("text", "seconds"), [("500us", 5e-4), ("2ms", 2e-3), ("1.5s", 1.5), (" 3ms ", 3e-3), (".5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text, "--x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "ms", "-1ms", "1m", "1 ms", "nan s", "1e3ms"])
def test_what_is_no_duration_is_refused_with_the_flag(text: str) -> None:
    with pytest.raises(BenchError, match="--stall"):
        duration(text, "--stall")


def test_constant_is_constant() -> None:
    draw = distribution("constant(2ms)")
    assert {draw(random.Random(1)) for _ in range(10)} == {2e-3}


def test_exponential_has_its_mean() -> None:
    rng, draw = random.Random(1), distribution("exponential(2ms)")
    drawn = [draw(rng) for _ in range(50_000)]
    # the standard error of the mean is 2 ms / sqrt(50,000) = 9 us
    assert sum(drawn) / len(drawn) == pytest.approx(2e-3, abs=4.5e-5)


def test_lognormal_has_its_median_and_sigma() -> None:
    rng, draw = random.Random(1), distribution("lognormal(2ms, 0.3)")
    logs = sorted(math.log(draw(rng)) for _ in range(50_000))
    assert math.exp(logs[25_000]) == pytest.approx(2e-3, rel=0.01)
    middle = sum(logs) / len(logs)
    assert math.sqrt(sum((each - middle) ** 2 for each in logs) / len(logs)) == pytest.approx(0.3, rel=0.02)


def test_a_file_is_drawn_from_evenly(tmp_path: Path) -> None:
    path = tmp_path / "times"
    path.write_text("\ufeff1ms\n\n2ms\n4ms\n")  # as some editors save it, with a byte order mark
    rng, draw = random.Random(1), distribution(f"file:{path}")
    drawn = [draw(rng) for _ in range(9000)]
    for time in (1e-3, 2e-3, 4e-3):
        assert drawn.count(time) == pytest.approx(3000, abs=200)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2ms",
        "constant()",
        "constant(1ms,2ms)",
        "normal(1ms,2)",
        "lognormal(2ms)",
        "lognormal(2ms,-1)",
        "exponential(0ms)",
        "lognormal(2ms,x)",
    ],
)
def test_what_is_no_distribution_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="--service-time"):
        distribution(text)


def test_a_file_with_a_wrong_line_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "times"
    path.write_text("1ms\nsoon\n")
    with pytest.raises(BenchError, match=f"{path}:2"):
        distribution(f"file:{path}")
    path.write_text("\n")
    with pytest.raises(BenchError, match="no durations"):
        distribution(f"file:{path}")
    with pytest.raises(BenchError, match="cannot be read"):
        distribution(f"file:{tmp_path}/none")


@pytest.mark.parametrize("text", ["500ms", "5s/500ms", "5s/5s", "0ms/5s", "x/5s"])
def test_stalls_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(BenchError, match="--stall"):
        stall(text)


def test_no_stall() -> None:
    assert stall("") is None


@given(st.integers(0, 60 * 1024), st.integers(2, 8 * 1024), st.data())
def test_a_reply_waits_for_the_end_of_its_hold_and_no_longer(
    instant: int, every: int, data: st.DataObject
) -> None:
    # in units of 1/1024 s, which floats hold exactly
    hold = data.draw(st.integers(1, every - 1))
    released = Stall(hold / 1024, every / 1024).released(instant / 1024) * 1024
    phase = instant % every
    expected = instant if instant < every else instant + max(0, hold - phase)
    assert released == expected


def test_the_first_period_has_no_hold() -> None:
    assert Stall(0.5, 5).released(0.1) == 0.1
    assert Stall(0.5, 5).released(5.1) == 5.5


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40),
)
def test_queue_against_a_simulation_of_its_servers(servers: int, gaps: list[tuple[float, float]]) -> None:
    queue = Queue(servers)
    arrival, busy = 0.0, [0.0] * servers
    for gap, service in gaps:
        arrival += gap
        chosen = min(range(servers), key=lambda server: busy[server])
        busy[chosen] = max(arrival, busy[chosen]) + service
        assert queue.finish(arrival, service) == busy[chosen]


def test_without_servers_nobody_waits() -> None:
    queue = Queue(None)
    assert [queue.finish(1.0, 2.0) for _ in range(3)] == [3.0] * 3


def test_slow_start_falls_to_one() -> None:
    assert slowness(0.0, 3.0) == 10.0
    assert slowness(1.5, 3.0) == pytest.approx(5.5)
    assert slowness(3.0, 3.0) == 1.0
    assert slowness(0.0, 0.0) == 1.0
