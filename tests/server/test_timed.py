import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import BenchError
from bench.server.execution.batching_parameters import Parameters, parameters
from bench.server.execution.timed_batching import Timed
from bench.server.refusal import Code, Refusal
from tests.server.batches import POISON, Bench, Rows

Made = Callable[..., tuple[Bench, Timed]]
FOREVER = 1000.0


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    benches: list[tuple[Bench, Timed]] = []

    def make(model: Rows | None = None, **parameters: float) -> tuple[Bench, Timed]:
        folder = tmp_path / str(len(benches))
        folder.mkdir()
        bench = Bench(model or Rows(), folder)
        executor = Timed(bench.predictions, bench.metrics, bench.post, Parameters(**parameters))  # type: ignore[arg-type]
        benches.append((bench, executor))
        return bench, executor

    yield make
    for bench, executor in benches:
        if bench.model.gate is not None:
            for _ in range(100):
                bench.model.gate.release()
        executor.close()
        bench.make_posted()
        assert bench.handle().held == 0, "a call still holds its version"
        bench.repository.stop()


def test_a_full_batch_leaves_at_once_and_the_rest_waits(made: Made) -> None:
    bench, executor = made(timeout=FOREVER, max_batch_size=3, execution_size=3)
    for value in range(4):
        executor.submit(bench.call(value))
    bench.settle(1)
    assert bench.model.batches == [[0.0, 1.0, 2.0]]
    assert len(bench.client.answers) == 3


def test_an_open_batch_leaves_when_its_first_call_has_waited_long_enough(made: Made) -> None:
    bench, executor = made(timeout=0.2)
    start = time.monotonic()
    executor.submit(bench.call(1))
    executor.submit(bench.call(2))
    bench.settle(1)
    assert time.monotonic() - start >= 0.2
    assert bench.model.batches == [[1.0, 2.0]]


def test_a_call_that_does_not_fit_begins_the_next_batch(made: Made) -> None:
    bench, executor = made(timeout=FOREVER, max_batch_size=4, execution_size=4)
    executor.submit(bench.call(1, 2, 3))
    executor.submit(bench.call(4, 5))
    executor.submit(bench.call(6, 7))
    bench.settle(2)
    assert bench.model.batches == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]


def test_limits_have_the_originals_words(made: Made) -> None:
    bench, executor = made(timeout=FOREVER, max_batch_size=2, execution_size=2)
    executor.submit(bench.call(1, 2, 3))
    assert bench.client.refusals[1].code is Code.INVALID_ARGUMENT
    assert bench.client.refusals[1].text == "Task size 3 is larger than maximum input batch size 2"
    executor.submit(bench.call(1.0, shape=()))
    assert bench.client.refusals[2].text == "Batching Run() input tensors must have at least one dimension"


def test_a_full_queue_refuses(made: Made) -> None:
    model = Rows()
    model.gate = threading.Semaphore(0)
    bench, executor = made(
        model, timeout=FOREVER, max_batch_size=1, execution_size=1, max_enqueued_batches=2, threads=1
    )
    executor.submit(bench.call(1))
    assert model.entered.acquire(timeout=20)  # the thread is busy: what comes now stays in the queue
    for value in (2, 3, 4):
        executor.submit(bench.call(value))
    assert bench.client.refusals[4].code is Code.UNAVAILABLE
    assert bench.client.refusals[4].text == (
        "The batch scheduling queue to which this task was submitted is full; "
        "currently 2 batches enqueued and max_enqueued_batches is 2"
    )
    assert bench.client.done == 1


def test_a_batch_is_padded_to_an_allowed_size_with_its_first_row(made: Made) -> None:
    bench, executor = made(timeout=0.0, max_batch_size=8, execution_size=8, allowed_sizes=(4, 8))
    executor.submit(bench.call(7, 8, 9))
    bench.settle(1)
    assert bench.model.batches == [[7.0, 8.0, 9.0, 7.0]]
    assert bench.client.answers[1].ravel().tolist() == [14, 16, 18]
    page = bench.metrics.page()
    assert ':tensorflow:serving:batching_session:padding_size_sum{execution_batch_size="4"} 1' in page
    assert ":tensorflow:serving:batching_session:processed_batch_size_sum{} 4" in page
    assert ":tensorflow:serving:batching_session:input_batch_size_sum{} 3" in page
    assert ":tensorflow:serving:batching_session:wrapped_run_count{} 1" in page


def test_large_requests_are_split_where_that_is_wanted(made: Made) -> None:
    bench, executor = made(timeout=0.0, max_batch_size=10, execution_size=4)
    executor.submit(bench.call(*range(10)))
    bench.settle(1)
    assert [len(batch) for batch in bench.model.batches] == [4, 4, 2]
    assert bench.client.answers[1].ravel().tolist() == [2 * value for value in range(10)]


def test_a_poisoned_request_fails_alone(made: Made) -> None:
    bench, executor = made(timeout=FOREVER, max_batch_size=3, execution_size=3)
    for value in (1, POISON, 3):
        executor.submit(bench.call(value))
    bench.settle(1)
    assert {number: answer.item() for number, answer in bench.client.answers.items()} == {1: 2.0, 3: 6.0}
    assert bench.client.refusals[2].text == "poisoned"


def test_an_output_without_a_row_for_each_row_is_refused_as_the_original_does(made: Made) -> None:
    bench, executor = made(timeout=0.0)
    executor.submit(bench.call(-1, 2))
    bench.settle(1)
    assert bench.client.refusals[1].code is Code.FAILED_PRECONDITION
    assert bench.client.refusals[1].text == (
        "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors"
    )


def test_a_call_whose_deadline_passed_in_the_queue_is_not_run(made: Made) -> None:
    bench, executor = made(timeout=0.0)
    executor.submit(bench.call(1, deadline=time.monotonic() - 1))
    bench.settle(1)
    assert bench.model.batches == []
    assert bench.client.refusals[1].code is Code.RESOURCE_EXHAUSTED
    assert bench.client.refusals[1].text == "Run() timeout exceeded while waiting in batching queue"


def test_threads_of_rest_share_the_batches_of_grpc(made: Made) -> None:
    bench, executor = made(timeout=FOREVER, max_batch_size=2, execution_size=2)
    outputs = {}

    def ask() -> None:
        call = bench.call(5)
        outputs["y"] = executor.execute(call.prepared)["y"]
        call.prepared.release()

    thread = threading.Thread(target=ask)
    thread.start()
    executor.submit(bench.call(6))
    thread.join(20)
    bench.settle(1)
    assert sorted(bench.model.batches[0]) == [5.0, 6.0]
    assert outputs["y"].ravel().tolist() == [10.0]
    assert bench.client.answers[next(iter(bench.client.answers))].item() == 12.0


def test_refusals_reach_threads_too(made: Made) -> None:
    bench, executor = made(timeout=0.0)
    call = bench.call(POISON)
    with pytest.raises(Refusal, match="poisoned"):
        executor.execute(call.prepared)
    call.prepared.release()


def test_what_is_left_at_the_end_is_refused(made: Made) -> None:
    bench, executor = made(timeout=FOREVER)
    executor.submit(bench.call(1))
    executor.close()
    bench.make_posted()
    assert bench.client.refusals[1].code is Code.UNAVAILABLE


def test_parameters_have_the_originals_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_text("")
    found = parameters(path)
    assert (found.max_batch_size, found.timeout, found.max_enqueued_batches, found.pool) == (
        1000,
        0.0,
        10,
        "batch_threads",
    )
    assert parameters(None).pool == "model_server_batch_threads"
    path.write_text(
        "max_batch_size { value: 128 } batch_timeout_micros { value: 1500 } num_batch_threads { value: 3 }"
        " enable_large_batch_splitting { value: true } max_execution_batch_size { value: 32 }"
        " allowed_batch_sizes: 16 allowed_batch_sizes: 32"
    )
    assert parameters(path) == Parameters(128, 0.0015, 10, 3, (16, 32), 32, "batch_threads")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("max_batch_size { value: 0 }", "at least 1"),
        ("allowed_batch_sizes: 8 max_batch_size { value: 9 }", "last entry was 8; expected 9"),
        ("allowed_batch_sizes: 8 allowed_batch_sizes: 4", "must grow"),
        ("pad_variable_length_inputs: true", "not supported"),
        ("max_batch: 3", "max_batch"),
    ],
)
def test_parameters_that_cannot_be_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "batching.config"
    path.write_text(text)
    with pytest.raises(BenchError, match=complaint) as refused:
        parameters(path)
    assert str(path) in str(refused.value)
