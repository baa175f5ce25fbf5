import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.server.execution.continuous_batching import MOST_EXAMPLES
from bench.server.refusal import Code
from tests.server.batches import POISON, Made, Rows


def test_everything_that_waits_runs_as_one(made: Made) -> None:
    bench, executor = made()
    for value in range(10):
        executor.submit(bench.call(value))
    executor.flush()
    assert bench.model.batches == [[float(value) for value in range(10)]]
    assert {number: float(answer[0, 0]) for number, answer in bench.client.answers.items()} == {
        value + 1: 2.0 * value for value in range(10)
    }


def test_requests_of_several_rows_get_their_own_rows(made: Made) -> None:
    bench, executor = made()
    for values in ((1, 2, 3), (4,), (5, 6)):
        executor.submit(bench.call(*values))
    executor.flush()
    assert len(bench.model.batches) == 1
    assert [answer.ravel().tolist() for answer in bench.client.answers.values()] == [[2, 4, 6], [8], [10, 12]]


def test_shapes_that_differ_run_apart(made: Made) -> None:
    bench, executor = made()
    executor.submit(bench.call(1, 2, shape=(1, 2)))
    executor.submit(bench.call(3, 4))
    executor.submit(bench.call(5, 6, shape=(1, 2)))
    executor.flush()
    assert bench.model.batches == [[1.0, 5.0], [3.0, 4.0]]


def test_a_poisoned_request_fails_alone(made: Made) -> None:
    bench, executor = made()
    for value in (1, POISON, 3):
        executor.submit(bench.call(value))
    executor.flush()
    assert {number: answer.item() for number, answer in bench.client.answers.items()} == {1: 2.0, 3: 6.0}
    assert {number: refusal.text for number, refusal in bench.client.refusals.items()} == {2: "poisoned"}


def test_nan_is_data(made: Made) -> None:
    bench, executor = made()
    for value in (1, float("nan"), 3):
        executor.submit(bench.call(value))
    executor.flush()
    assert len(bench.model.batches) == 1
    answers = [answer.item() for answer in bench.client.answers.values()]
    assert answers[::2] == [2.0, 6.0]
    assert np.isnan(answers[1])


def test_outputs_without_a_row_for_each_row_are_asked_for_one_by_one(made: Made) -> None:
    bench, executor = made()
    for value in (1, -1, 3):
        executor.submit(bench.call(value))
    executor.flush()
    assert [answer.item() for answer in bench.client.answers.values()] == [2.0, -1.0, 6.0]


@pytest.mark.parametrize("batched", [True, False])
def test_rows_that_depend_on_each_other_are_never_mixed(made: Made, batched: bool) -> None:
    bench, executor = made(Rows(independent=not batched), batched=batched)
    for value in (1, 2, 3):
        executor.submit(bench.call(value))
    executor.flush()
    assert bench.model.batches == [[1.0], [2.0], [3.0]]


def test_a_scalar_is_answered_by_itself(made: Made) -> None:
    bench, executor = made()
    executor.submit(bench.call(5.0, shape=()))
    executor.submit(bench.call(1.0))
    executor.flush()
    assert bench.client.refusals[1].text == "a scalar"
    assert bench.client.answers[2].item() == 2.0


def test_batches_are_bounded(made: Made) -> None:
    bench, executor = made()
    for _ in range(3):
        executor.submit(bench.call(*[1.0] * (MOST_EXAMPLES // 2 + 1)))
    executor.submit(bench.call(*[1.0] * (MOST_EXAMPLES + 5)))
    executor.flush()
    assert [len(batch) for batch in bench.model.batches] == [MOST_EXAMPLES // 2 + 1] * 3 + [MOST_EXAMPLES + 5]
    assert len(bench.client.answers) == 4


def test_what_nobody_waits_for_any_more_is_not_run(made: Made) -> None:
    bench, executor = made(Rows(seconds=1.0))
    executor.submit(bench.call(1, deadline=time.monotonic() - 1))
    executor.submit(bench.call(2, deadline=time.monotonic() + 60))
    executor.submit(bench.call(3))
    bench.client.gone.add(3)
    executor.flush()
    bench.settle(1)
    assert bench.model.batches == [[2.0]]
    assert bench.client.refusals[1].code is Code.DEADLINE_EXCEEDED
    assert bench.client.answers[2].item() == 4.0


def test_a_slow_model_runs_in_threads_and_takes_what_has_gathered_meanwhile(made: Made) -> None:
    model = Rows(seconds=1.0)
    model.gate = threading.Semaphore(0)
    bench, executor = made(model)
    threads = 0
    # as many runs as there are threads: the next calls have to wait
    while True:
        executor.submit(bench.call(threads))
        executor.flush()
        if not model.entered.acquire(timeout=0.5):
            break
        threads += 1
    waiting = [threads]
    for value in (101, 102):
        executor.submit(bench.call(value))
        executor.flush()
        waiting.append(value)
    assert bench.client.done == 0, "the I/O thread ran a slow model itself"
    for _ in range(threads + 1):
        model.gate.release()
    bench.settle(threads + 1)
    assert sorted(map(len, model.batches)) == [1] * threads + [3]
    assert [float(value) for value in waiting] in model.batches
    assert len(bench.client.answers) == threads + 3


def test_what_has_not_begun_at_the_end_is_refused(made: Made) -> None:
    model = Rows(seconds=1.0)
    model.gate = threading.Semaphore(0)
    bench, executor = made(model)
    for _ in range(20):
        executor.submit(bench.call(1, shape=(1, 1)))
    executor.flush()
    assert model.entered.acquire(timeout=20)
    for value in (2, 3):
        executor.submit(bench.call(value))
    threading.Timer(0.1, lambda: [model.gate.release() for _ in range(50)]).start()
    executor.close()
    bench.make_posted()
    assert bench.client.done == 22
    assert {refusal.code for refusal in bench.client.refusals.values()} <= {Code.UNAVAILABLE}


class Forgetful(Rows):
    """Leaves its output out where a row holds 7, and has no memory for 8."""

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        found = super().run(signature, inputs, outputs)
        if (inputs["x"] == 8).any():
            raise MemoryError
        return {} if (inputs["x"] == 7).any() else found


def test_a_model_that_breaks_its_word_costs_only_the_calls_of_its_run(made: Made) -> None:
    bench, executor = made(Forgetful())
    for values in ((1, 2), (7, 3), (8, 4)):
        for value in values:
            executor.submit(bench.call(value))
        executor.flush()
    codes = {number: refusal.code for number, refusal in bench.client.refusals.items()}
    assert codes == {3: Code.UNKNOWN, 4: Code.UNKNOWN, 5: Code.RESOURCE_EXHAUSTED}
    assert {number: answer.item() for number, answer in bench.client.answers.items()} == {
        1: 2.0,
        2: 4.0,
        6: 8.0,
    }


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
    deadline=None,
)
@given(
    st.lists(
        st.lists(
            st.lists(st.sampled_from([1.0, 2.0, 3.5, POISON, -1.0, float("inf")]), min_size=1, max_size=4),
            max_size=6,
        ),
        max_size=5,
    )
)
def test_batched_answers_are_those_given_alone(made: Made, turns: list[list[list[float]]]) -> None:
    together, alone = made(), made(batched=False)
    for turn in turns:
        for bench, executor in (together, alone):
            for values in turn:
                executor.submit(bench.call(*values))
            executor.flush()
    for one, other in ((together[0].client, alone[0].client), (alone[0].client, together[0].client)):
        assert {number: answer.tolist() for number, answer in one.answers.items()} == {
            number: answer.tolist() for number, answer in other.answers.items()
        }
        assert {number: refusal.text for number, refusal in one.refusals.items()} == {
            number: refusal.text for number, refusal in other.refusals.items()
        }


def test_the_runtime_is_counted_for_each_request_with_its_wait(made: Made) -> None:
    """As the original does under batching; how many runs that took is another counter."""
    bench, executor = made()
    first = bench.call(0)
    executor.submit(first)
    for value in range(1, 10):
        executor.submit(bench.call(value))
    executor.submit(bench.call(POISON))
    before = time.perf_counter()
    executor.flush()
    buckets, total = bench.metrics.runtime_latency.series(("m", "Predict", "TF1")).read()
    assert buckets.sum() == 10
    assert total / 1e6 >= before - first.prepared.started
    assert bench.metrics.graph_runs.total == 10  # one by one, after the poison had spoilt the run together
