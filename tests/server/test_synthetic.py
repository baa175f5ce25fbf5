"""The synthetic server does what its seed and its flags say: an oracle for measurements."""

import json
import random
import re
import time
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest

from bench import mnist
from bench.launch import server_process
from bench.server.execution.service_time import Stall
from bench.wire import messages
from bench.wire.messages import PredictResponse
from tests.server.clients import LONG, RawClient, channel, images, predict, refusal, tensor_request

DIGITS = mnist.load("test")


def outcomes(address: str, count: int) -> list[int | str]:
    """For each of the first digits, asked one by one: the digit that was answered, or the status of its refusal."""
    found: list[int | str] = []
    with channel(address) as through:
        for number in range(count):
            try:
                scores = predict(through, images(DIGITS.images[number : number + 1]))["scores"]
                found.append(int(scores.argmax()))
            except grpc.RpcError as error:
                found.append(error.code().name)
    return found


def test_bundled_digits_are_answered_with_their_labels() -> None:
    flags = ["--backend=synthetic", "--service-time=constant(0ms)", "--model_name=mnist"]
    with server_process.embedded(flags) as server, channel(server.address) as through:
        for part in (mnist.load("train"), DIGITS):
            for start in range(0, len(part.labels), 500):
                request = images(part.images[start : start + 500], model="mnist")
                scores = predict(through, request)["scores"]
                assert (scores.argmax(1) == part.labels[start : start + 500]).all()
        response = PredictResponse.FromString(
            through.unary_unary(messages.PREDICT)(images(DIGITS.images[:1], model="mnist"), timeout=LONG)
        )
        assert (response.model_spec.name, response.model_spec.version.value) == ("mnist", 1)


def test_it_refuses_as_a_model_would() -> None:
    with server_process.embedded(["--backend=synthetic"]) as server, channel(server.address) as through:
        wrong_type = tensor_request({"images": np.zeros((1, 784), np.float64)}, model="default")
        assert refusal(through, wrong_type)[1] == "Expects arg[0] to be float but double is provided"
        assert refusal(through, images(np.zeros((1, 27, 28, 1))))[1].startswith(
            "Input to reshape is a tensor with 756"
        )
        assert refusal(through, images(DIGITS.images[:1], model="other"))[0] == "NOT_FOUND"
        assert refusal(through, images(DIGITS.images[:1], signature="other"))[0] == "FAILED_PRECONDITION"


def test_error_and_wrong_answer_rates_follow_from_the_seed() -> None:
    flags = [
        "--backend=synthetic",
        "--service-time=constant(0ms)",
        "--error-rate=0.2",
        "--wrong-answer-rate=0.3",
        "--seed=5",
    ]
    with server_process.embedded(flags) as server:
        found = outcomes(server.address, 400)
    with server_process.embedded(flags) as server:
        assert outcomes(server.address, 400) == found, "the same seed, another outcome"
    with server_process.embedded([*flags, "--seed=6"]) as server:
        assert outcomes(server.address, 400) != found
    errors = found.count("INTERNAL")
    wrong = sum(
        isinstance(answer, int) and answer != label
        for answer, label in zip(found, DIGITS.labels, strict=False)
    )
    assert errors == pytest.approx(80, abs=25)  # three standard deviations of a binomial
    assert wrong == pytest.approx(0.3 * (400 - errors), abs=28)


def test_replies_leave_when_they_are_due(tmp_path: Path) -> None:
    """The log shows for each call the service time that the seed gives, and that no reply left before it was due."""
    log = tmp_path / "calls"
    flags = ["--backend=synthetic", "--service-time=lognormal(2ms,0.3)", f"--call-log={log}", "--seed=3"]
    with server_process.embedded(flags) as server, channel(server.address) as through:
        for number in range(50):
            predict(through, images(DIGITS.images[number : number + 1]))
    arrival, due, replied = np.fromfile(log).reshape(-1, 3).T
    rng = random.Random("3/t")
    expected = [rng.lognormvariate(np.log(2e-3), 0.3) for _ in range(50)]
    np.testing.assert_allclose(due - arrival, expected, atol=1e-9)
    assert (replied >= due).all()


def test_holds_follow_the_printed_schedule(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    flags = ["--backend=synthetic", "--service-time=constant(1ms)", "--stall=60ms/200ms", f"--call-log={log}"]
    with server_process.embedded(flags) as server:
        schedule = server.ready["synthetic"]
        outcomes(server.address, 250)
    assert schedule["clock"] == "CLOCK_MONOTONIC"
    assert schedule["stall"] == {"hold": 0.06, "every": 0.2, "first": schedule["origin"] + 0.2}
    arrival, due, replied = np.fromfile(log).reshape(-1, 3).T - schedule["origin"]
    stall = Stall(0.06, 0.2)
    np.testing.assert_allclose(due, [stall.released(at + 0.001) for at in arrival], atol=1e-9)
    assert (due - arrival > 0.01).any(), "no call met a hold"
    phases = due[due > 0.2] % 0.2
    assert (phases >= 0.06 - 1e-6).all(), "a reply was due within a hold"
    assert (replied >= due).all()


def test_what_is_released_at_once_is_said_to_leave_when_all_of_it_has_been_made(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    flags = [
        "--backend=synthetic",
        "--service-time=constant(1ms)",
        "--stall=190ms/200ms",
        f"--call-log={log}",
    ]
    with server_process.embedded(flags) as server, RawClient(server.address) as client:
        until_hold = server.ready["synthetic"]["stall"]["first"] - time.monotonic()
        time.sleep(max(0.0, until_hold + 0.01))
        client.ask_all([images(DIGITS.images[:1])] * 64)
        assert sum(kind == 0 for kind, *_ in _until_answered(client, 64)) == 64
    _arrival, due, replied = np.fromfile(log).reshape(-1, 3).T
    together = max((replied[due == instant] for instant in np.unique(due)), key=len)
    assert len(together) > 16
    assert len(np.unique(together)) == 1


def test_few_workers_make_a_queue(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    flags = ["--backend=synthetic", "--service-time=constant(5ms)", "--workers=2", f"--call-log={log}"]
    with server_process.embedded(flags) as server, RawClient(server.address) as client:
        client.ask_all([images(DIGITS.images[:1])] * 8)
        assert sum(kind == 0 for kind, *_ in _until_answered(client, 8)) == 8
    arrival, due, _replied = np.fromfile(log).reshape(-1, 3).T
    free = [-np.inf, -np.inf]
    for at, done in zip(arrival, due, strict=True):
        free.sort()
        free[0] = max(at, free[0]) + 0.005
        assert done == pytest.approx(free[0], abs=1e-9)
    assert due.max() - arrival.min() >= 0.02


def test_the_servers_own_counters_hold_the_service_times(tmp_path: Path) -> None:
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    flags = ["--backend=synthetic", "--service-time=constant(30ms)", "--rest_api_port=0"]
    with server_process.embedded([*flags, f"--monitoring_config_file={monitoring}"]) as server:
        outcomes(server.address, 5)
        with urllib.request.urlopen(f"http://{server.rest}/monitoring/prometheus/metrics") as page:
            text = page.read().decode()
    for metric in ("request", "runtime"):
        total, count = (
            float(re.search(rf":{metric}_latency_{what}{{.*}} (.+)", text)[1]) for what in ("sum", "count")
        )
        assert count == 5
        assert total / count >= 30_000


def _until_answered(client: RawClient, count: int) -> list[tuple[int, int, int, bytes]]:
    seen = []
    for frame in client.frames():
        seen.append(frame)
        if sum(kind == 0 for kind, *_ in seen) == count:
            break
    return seen


def test_a_slow_start_ends(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    flags = [
        "--backend=synthetic",
        "--service-time=constant(1ms)",
        "--slow-start=1500ms",
        f"--call-log={log}",
    ]
    with server_process.embedded(flags) as server:
        origin = server.ready["synthetic"]["origin"]
        outcomes(server.address, 500)
    arrival, due, _replied = np.fromfile(log).reshape(-1, 3).T
    since = arrival - origin
    expected = 1e-3 * np.where(since < 1.5, 10 - 9 * np.clip(since, 0, None) / 1.5, 1.0)
    np.testing.assert_allclose(due - arrival, expected, atol=1e-9)
    assert (since > 1.5).any()
    assert (since < 1.5).any()


def test_rest_is_delayed_too(tmp_path: Path) -> None:
    with server_process.embedded(
        ["--backend=synthetic", "--service-time=constant(0ms)", "--rest_api_port=0"]
    ) as server:
        body = json.dumps(
            {"signature_name": "predict_images", "instances": DIGITS.images[:3].tolist()}
        ).encode()
        url = f"http://{server.rest}/v1/models/default:predict"
        with urllib.request.urlopen(url, body, timeout=LONG) as response:
            predictions = json.load(response)["predictions"]
    assert [row.index(max(row)) for row in predictions] == DIGITS.labels[:3].tolist()
    with server_process.embedded(
        [
            "--backend=synthetic",
            "--service-time=constant(1000s)",
            "--rest_api_port=0",
            "--rest_api_timeout_in_ms=200",
            "--drain_seconds=0.5",
        ]
    ) as server:
        url = f"http://{server.rest}/v1/models/default:predict"
        with pytest.raises(urllib.error.HTTPError) as late:
            urllib.request.urlopen(url, body, timeout=LONG)  # noqa: S310 - our own server
        assert late.value.code == 504
        assert json.load(late.value) == {"error": "Timed out waiting for notification"}
        late.value.close()
