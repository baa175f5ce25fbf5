"""Requests that came in a row are run as one, and answered as if they had come one by one."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.launch import server_process
from bench.protocol.registry import api_named
from bench.server.api.prediction import Predictions
from bench.server.execution.batching_parameters import Parameters
from bench.server.execution.continuous_batching import MOST_EXAMPLES, Call, Continuous
from bench.server.execution.routing import Calls
from bench.server.execution.timed_batching import Timed
from bench.server.refusal import Code
from bench.wire import messages
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.http2_client import ClientConnection
from bench.wire.request_rows import Burst
from bench.wire.unary import read_request_block
from tests.server.batches import BUG, LIST, POISON, Bench, Buggy, Made, Rows
from tests.server.clients import LONG, RawClient, images
from tests.server.predicting import answered, floats


def single(bench: Bench, value: float) -> Call:
    """A call of the same group as those of `Bench.burst`."""
    return bench.call(*[value] * 4, shape=(1, 4))


def firsts(bench: Bench) -> dict[int, float]:
    """The first number of each answer."""
    return {call: float(answer[0, 0]) for call, answer in bench.client.answers.items()}


def test_rows_and_single_calls_run_as_one(made: Made) -> None:
    bench, executor = made()
    executor.submit(single(bench, 1))
    executor.submit_burst(bench.burst(2, 3, 4))
    executor.submit_burst(bench.burst(5, 6))
    executor.submit(single(bench, 7))
    executor.flush()
    assert bench.model.batches == [[2, 3, 4, 5, 6, 1, 7]]
    assert firsts(bench) == {number: 2.0 * number for number in range(1, 8)}
    assert all(answer.shape == (1, 4) for answer in bench.client.answers.values())
    assert bench.client.rows == [3, 2]


def test_groups_stay_apart(made: Made) -> None:
    bench, executor = made()
    executor.submit_burst(bench.burst(1, 2))
    executor.submit_burst(bench.burst(3, 4, width=8))
    executor.submit(bench.call(5, 6, shape=(2, 1)))
    executor.flush()
    assert bench.model.batches == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("poison", [POISON, -1])
def test_one_that_the_model_refuses_or_that_spoils_the_output_is_alone(
    made: Made, poison: float, caplog: pytest.LogCaptureFixture
) -> None:
    bench, executor = made()
    executor.submit_burst(bench.burst(1, poison, 3))
    executor.submit(single(bench, 4))
    executor.flush()
    if poison == POISON:
        assert {number: refusal.text for number, refusal in bench.client.refusals.items()} == {2: "poisoned"}
        assert firsts(bench) == {1: 2.0, 3: 6.0, 4: 8.0}
    else:
        assert firsts(bench) == {1: 2.0, 2: -1.0, 3: 6.0, 4: 8.0}
    assert bench.client.rows == []
    assert not caplog.records


@pytest.mark.parametrize("bug", [BUG, LIST])
def test_a_bug_in_one_is_not_the_others_matter(made: Made, bug: float) -> None:
    bench, executor = made(Buggy())
    executor.submit_burst(bench.burst(1, bug, 3))
    executor.flush()
    assert bench.client.refusals[2].code is Code.INTERNAL
    assert firsts(bench) == {1: 2.0, 3: 6.0}


@pytest.mark.parametrize("batched", [True, False])
def test_rows_that_depend_on_each_other_are_never_mixed(made: Made, batched: bool) -> None:
    bench, executor = made(Rows(independent=not batched), batched=batched)
    executor.submit_burst(bench.burst(1, 2, 3))
    executor.flush()
    assert bench.model.batches == [[1], [2], [3]]
    assert firsts(bench) == {1: 2.0, 2: 4.0, 3: 6.0}


def test_batches_are_bounded(made: Made) -> None:
    bench, executor = made()
    for _ in range(5):
        executor.submit_burst(bench.burst(*[1.0] * 250))
    executor.submit(single(bench, 7.0))
    executor.submit_burst(bench.burst(*[2.0] * 700))
    executor.submit_burst(bench.burst(*[3.0] * (MOST_EXAMPLES + 1)))
    executor.flush()
    assert [len(batch) for batch in bench.model.batches] == [1000, 950, MOST_EXAMPLES, 2]
    assert len(bench.client.answers) == 5 * 250 + 1 + 700 + MOST_EXAMPLES + 1
    assert bench.client.rows == [250] * 5 + [700]
    assert bench.client.answers[1251].ravel().tolist() == [14.0] * 4


def test_other_calls_run_with_the_last_of_several_rows(made: Made) -> None:
    bench, executor = made()
    for value in (1.0, 2.0):
        executor.submit_burst(bench.burst(*[value] * 600))
    executor.submit(single(bench, 7.0))
    executor.flush()
    assert [len(batch) for batch in bench.model.batches] == [600, 601]
    assert bench.client.answers[1201].ravel().tolist() == [14.0] * 4


def test_a_slow_model_runs_them_in_a_thread_and_skips_what_nobody_wants(
    made: Made,
) -> None:
    bench, executor = made(Rows(seconds=1.0))
    bench.client.gone.add(2)
    executor.submit_burst(bench.burst(1, 2, 3, deadline=time.monotonic() + 60))
    executor.submit_burst(bench.burst(4, 5, deadline=time.monotonic() - 1))
    executor.flush()
    bench.settle(1)
    assert bench.model.batches == [[1, 3]]
    assert firsts(bench) == {1: 2.0, 3: 6.0}
    assert {call: refusal.code for call, refusal in bench.client.refusals.items()} == dict.fromkeys(
        (2, 4, 5), Code.DEADLINE_EXCEEDED
    )


def test_while_a_group_waits_for_its_thread_what_comes_waits_behind_it(
    made: Made,
) -> None:
    model = Rows(seconds=1.0)
    model.gate = threading.Semaphore(0)
    bench, executor = made(model)
    for value in (1, 2, 3):
        executor.submit(single(bench, value))
        executor.flush()
    model.traits["serving_default"].pace.shortest = 1e-5  # it turns out to be quick
    executor.submit_burst(bench.burst(4, 5))
    executor.flush()
    for _ in range(9):
        model.gate.release()
    while bench.client.done < 5:
        bench.settle(1)
    assert firsts(bench) == {number: 2.0 * number for number in range(1, 6)}


def test_what_still_waits_at_the_end_is_refused(made: Made) -> None:
    bench, executor = made()
    executor.submit_burst(bench.burst(1, 2, 3))
    executor.close()
    assert [refusal.code for refusal in bench.client.refusals.values()] == [Code.UNAVAILABLE] * 3


def test_timed_batching_takes_them_one_by_one(tmp_path: Path) -> None:
    bench = Bench(Rows(), tmp_path)
    executor = Timed(bench.predictions, bench.metrics, bench.post, Parameters(timeout=0.01, max_batch_size=2))
    executor.submit_burst(bench.burst(1, 2, 3))
    while bench.client.done < 3:
        bench.settle(1)
    assert firsts(bench) == {1: 2.0, 2: 4.0, 3: 6.0}
    assert bench.client.rows == []
    executor.close()
    assert bench.handle().held == 0
    bench.repository.stop()


def test_they_are_counted_as_if_they_had_come_one_by_one(made: Made) -> None:
    bench, executor = made()
    executor.submit_burst(bench.burst(1, 2, 3))
    executor.submit(single(bench, 4))
    executor.flush()
    page = bench.metrics.page()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 4' in page
    assert 'request_latency_count{model_name="m",API="Predict",entrypoint="GRPC"} 4' in page
    assert ':tensorflow:serving:runtime_latency_count{model_name="m",API="Predict",runtime="TF1"} 4' in page
    assert bench.metrics.graph_runs.total == 1


class TestPreparing:
    def table(self, *requests: bytes) -> np.ndarray:
        return np.frombuffer(b"".join(requests), np.uint8).reshape(len(requests), -1)

    def test_a_layout_that_is_not_known_is_left_to_the_parser(self, predictions: Predictions) -> None:
        requests = self.table(*[floats([[n, n, n, n, 77, n]]) for n in range(1, 9)])
        assert predictions.prepare_burst(requests) is None
        answered(predictions, requests[0].tobytes())
        prepared = predictions.prepare_burst(requests)
        assert prepared is not None
        assert prepared.inputs["x"][:, 0].tolist() == list(range(1, 9))
        assert prepared.memory == prepared.inputs["x"].tobytes()
        prepared.group.handle.release()

    @pytest.mark.parametrize("typed", [False, True])
    def test_requests_that_differ_beside_their_numbers_are_prepared_one_by_one(
        self, predictions: Predictions, typed: bool
    ) -> None:
        good = [floats([[n, n, n, n]], typed=typed) for n in range(1, 9)]
        answered(predictions, good[0])
        other = good[3][:1] + bytes([good[3][1] ^ 1]) + good[3][2:]
        assert predictions.prepare_burst(self.table(*good[:3], other, *good[4:])) is None
        last = good[7][:-1] + bytes([good[7][-1] ^ 1])
        different = predictions.prepare_burst(self.table(*good[:7], last))
        assert (different is None) == (not good[7].endswith(np.float32(8).tobytes()))
        if different is not None:
            different.group.handle.release()

    def test_outputs_that_are_no_memory_are_found_out_once(self, predictions: Predictions) -> None:
        requests = self.table(*[floats([[n, n, n, n, 78, n]]) for n in range(1, 9)])
        answered(predictions, requests[0].tobytes())
        prepared = predictions.prepare_burst(requests)
        assert prepared is not None
        assert predictions.answer_bursts([prepared], {"y": np.zeros((8, 6), np.int64)}) is None
        assert predictions.prepare_burst(requests) is None
        for each in prepared.each():
            each.release()


def answers(address: str, requests: list[bytes], path: str = messages.PREDICT) -> list[bytes]:
    """All requests in one write over one connection; the answers in the order of the questions."""
    connection = ClientConnection(address)
    asked = [Exchange(RequestHead(path), each) for each in requests]
    with RawClient(address, hello=False) as client:
        client.sock.settimeout(LONG)
        client.sock.sendall(connection.take())
        while not connection.settled:
            connection.receive(client.sock.recv(1 << 16))
        for exchange in asked:
            connection.request(exchange)
        client.sock.sendall(connection.take())
        while connection.in_flight:
            connection.receive(client.sock.recv(1 << 16))
            client.sock.sendall(connection.take())
    assert [exchange.status for exchange in asked] == [0] * len(asked)
    return [exchange.message or b"" for exchange in asked]


def row_of(bench: Bench, numbers: range, path: str = messages.PREDICT) -> Burst:
    """What a connection gives for requests that hold these numbers."""
    requests = [bench.request((value,) * 4, (1, 4)) for value in numbers]
    fields = [(b":method", b"POST"), (b":path", path.encode()), (b"content-type", b"application/grpc")]
    table = np.frombuffer(b"".join(requests), np.uint8).reshape(len(requests), -1)
    return Burst(read_request_block(fields), range(1, 2 * len(numbers), 2), table)


@pytest.fixture
def calls(made: Made) -> Iterator[tuple[Bench, Calls, Continuous]]:
    """At most ten are in flight."""
    bench, executor = made()
    taking = Calls(
        bench.predictions, executor, lambda path, _request, _timeout: path.encode(), bench.post, 10
    )
    bench.predictions.prepare(bench.request((1,) * 4, (1, 4))).release()  # so that the layout is known
    yield bench, taking, executor
    taking.close()


def test_no_more_are_taken_than_may_be_in_flight(calls: tuple[Bench, Calls, Continuous]) -> None:
    bench, taking, executor = calls
    for _ in range(2):
        taking.take_burst(bench.client, row_of(bench, range(1, 9)))
        assert taking.in_flight == 8
        taking.take_burst(bench.client, row_of(bench, range(11, 20)))
        assert taking.in_flight == 17, "those that are refused count until they are"
        executor.flush()
        assert [len(batch) for batch in bench.model.batches] == [10]
        assert [refusal.code for refusal in bench.client.refusals.values()] == [Code.RESOURCE_EXHAUSTED] * 7
        taking.answered(17)
        bench.model.batches.clear()
        bench.client.refusals.clear()


def test_other_methods_are_answered_one_by_one(calls: tuple[Bench, Calls, Continuous]) -> None:
    bench, taking, _executor = calls
    answered_with = []
    bench.client.respond = lambda call, message: answered_with.append((call, message))  # type: ignore[method-assign]
    taking.take_burst(bench.client, row_of(bench, range(1, 9), messages.GET_MODEL_STATUS))
    assert answered_with == [(call, messages.GET_MODEL_STATUS.encode()) for call in range(1, 17, 2)]


def test_null_answers_all_of_them() -> None:
    requests = [b"%06d" % n for n in range(500)]
    with server_process.embedded(["--backend=null", "--echo"]) as server:
        assert answers(server.address, requests) == requests
    with server_process.embedded(["--backend=null"]) as server:
        assert len(set(answers(server.address, requests))) == 1


def test_a_model_gives_each_its_own_answer(models: Path) -> None:
    """A thousand digits at once, against each of them alone."""
    rng = np.random.default_rng(5)
    requests = [images(rng.random((1, 28, 28, 1)), model="mnist") for _ in range(1000)]
    with server_process.embedded(["--model_name=mnist", f"--model_base_path={models / 'mnist'}"]) as server:
        alone = [answers(server.address, [each])[0] for each in requests[::50]]
        together = answers(server.address, requests)
        # by the other protocol they are the same, raw and typed, and have come in rows too
        for name in ("oip", "oip-typed"):
            api = api_named(name)
            calls = [api.encode(each) for each in requests]
            inferred = answers(server.address, [call.message for call in calls], calls[0].method)
            scores = [api.decode(each).array("scores")[0] for each in inferred]
            predicted = [
                messages.PredictResponse.FromString(each).outputs["scores"].float_val for each in together
            ]
            assert np.allclose(scores, predicted, atol=1e-5)
            assert {api.decode(each).version for each in inferred} == {2}
    found, expected = (
        [messages.PredictResponse.FromString(each).outputs["scores"].float_val for each in some]
        for some in (together[::50], alone)
    )
    assert np.allclose(found, expected, atol=1e-5)
    assert len(set(together)) == 1000
