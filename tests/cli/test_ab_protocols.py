"""`bench ab` between two protocols: the same answers? faster by how much? where does the time go?"""

import contextlib
import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import numpy as np
import pytest

from bench import BenchError, mnist
from bench.analysis.grouping.trials import read_trials
from bench.cli import ab_load, ab_run
from bench.cli.ab_conditions import two_of
from bench.launch import server_process
from bench.protocol import oip_messages, oip_tensors
from bench.runs.answers import DIFFERENT
from bench.runs.run import Run, find_runs
from tests.analysis.test_schemas import check
from tests.cli.inside import bench
from tests.cli.test_ab_speed import trials

DIGITS = mnist.load("test")
COUNT = 300
SWAPPED = (7, 123, 250)
"""1 % of them."""


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    """The embedded server, which speaks both on one port: version 2 of the digits."""
    flags = ["--model_name=mnist", f"--model_base_path={models / 'mnist'}"]
    with server_process.embedded(flags) as server:
        yield server.address


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=DIGITS.images[:COUNT].reshape(-1, 28, 28, 1), label=DIGITS.labels[:COUNT])
    return path


@contextlib.contextmanager
def swapping(address: str) -> Iterator[str]:
    """A server that passes everything on, and swaps the best two classes in its answers to some digits."""
    known = {DIGITS.images[number].tobytes() for number in SWAPPED}

    def answer(channel: grpc.Channel, method: str, message: bytes, context: Any) -> bytes:
        try:
            found: bytes = channel.unary_unary(method)(message, timeout=60)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
            raise AssertionError from error
        if method != oip_messages.MODEL_INFER:
            return found
        (images,) = oip_messages.ModelInferRequest.FromString(message).raw_input_contents
        if images not in known:
            return found
        response = oip_messages.ModelInferResponse.FromString(found)
        (content,) = response.raw_output_contents
        scores = oip_tensors.array_of(response.outputs[0], content).copy()
        best = np.argsort(scores[0])[-2:]
        scores[0, best] = scores[0, best[::-1]]
        response.raw_output_contents[0] = scores.tobytes()
        changed: bytes = response.SerializeToString()
        return changed

    with grpc.insecure_channel(address) as channel:

        class Handler(grpc.GenericRpcHandler):
            def service(self, details: Any) -> grpc.RpcMethodHandler:
                return grpc.unary_unary_rpc_method_handler(
                    lambda message, context: answer(channel, details.method, message, context)
                )

        running = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Handler()])
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            running.stop(0).wait()


def compared(cwd: Path, *arguments: str | Path) -> tuple[dict[str, Any], str, str]:
    """What --json holds, what was shown, and standard error."""
    done = bench("ab", *arguments, "--model", "mnist", "--json", "ab.json", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads((cwd / "ab.json").read_text())
    check("ab", told)
    return told, " ".join(done.stdout.split()), done.stderr


def test_answers_come_first_and_then_the_speed_with_its_parts(
    address: str, digits: Path, tmp_path: Path
) -> None:
    """Of one server by both protocols: no difference is stated, of answers or of equal times."""
    with trials(lambda _: 0.002), mock.patch.object(ab_run, "look_as_the_load_does"):
        told, shown, errors = compared(
            tmp_path, address, "--protocol", "tfs,oip", "--requests", digits, "--time", "1m"
        )
    title = f"{address} over oip (version 2)"
    first, second = told["sentences"][:2]
    assert first.startswith(f"{title}: answers agree in all {COUNT} examples")
    assert second.startswith(f"{title} is ")
    assert "answers" not in second
    assert told["answers"]["differing"] == 0
    assert told["answers"]["accuracy"]["right_before"] == told["answers"]["accuracy"]["right_after"]
    assert not any(change["claimed"] for change in told["changes"])
    assert [stage["stage"] for stage in told["stages"]] == ["client queue", "network and server"]
    assert shown.index("compared as") < shown.index("interleaved") < shown.index("mean latency")
    assert "the counters of both servers were not read (--server-metrics)" in shown
    assert "failed" not in errors


def test_a_load_is_sent_by_both_in_turn(address: str, digits: Path, tmp_path: Path) -> None:
    """A pair of trials of two seconds: each side by its own protocol, with the same requests, all answered."""
    with mock.patch.multiple(ab_load, _SHORTEST=2, SLICE=0.05):
        told, _, _ = compared(
            tmp_path,
            *(address, "--protocol", "tfs,oip", "--requests", digits, "--latency-only"),
            *("--signature", "predict_images", "--request-parameters", "signature=predict_images"),
            *("--users", "1", "--schedule", "closed:5ms", "--time", "3s"),
        )
    runs = [Run.open(path.parent) for path in (tmp_path / told["folder"]).glob("*/manifest.json")]
    assert {run.manifest.target.protocol for run in runs} == {"tfs", "oip"}
    parameters = {run.manifest.target.protocol: run.manifest.raw["target"].get("parameters") for run in runs}
    assert parameters == {"tfs": None, "oip": {"signature": "predict_images"}}
    assert {run.manifest.raw["duet"]["arm"] for run in runs} == {1, 2}
    assert len({payload.sha256 for run in runs for payload in run.manifest.payload.values()}) == 1
    for run in runs:
        assert (run.manifest.counts.recorded or 0) > 0
        assert run.manifest.raw["wrong_answers"] == {}
    for trial in read_trials(find_runs([tmp_path / told["folder"]])).trials:
        assert (trial.identity.version, trial.values["error_share"]) == (2, 0)
        assert trial.values["accuracy"] > 0.8
    assert {change["metric"] for change in told["changes"]} >= {"p50"}


def test_a_swapped_class_in_one_of_a_hundred_answers_is_found_and_shown(
    address: str, digits: Path, tmp_path: Path
) -> None:
    with swapping(address) as other:
        told, shown, _ = compared(
            tmp_path,
            *(address, "--against", other, "--protocol", "tfs,oip", "--requests", digits),
            *("--answers-only", "--top", "1"),
        )
    assert told["answers"]["differing"] == len(SWAPPED)
    assert f"{other} over oip (version 2): answers differ in 1 % of {COUNT} examples" in shown
    rows = [json.loads(line) for line in (tmp_path / told["folder"] / DIFFERENT).read_text().splitlines()]
    assert sorted(row["example"] for row in rows) == list(SWAPPED)
    for row in rows:
        before, after = (
            np.argmax(row[name]["scores"])
            for name in (f"{address} (version 2)", f"{other} over oip (version 2)")
        )
        assert before != after


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("a:1", None, "m", None, "1", "tfs,tfs"), "--protocol: tfs is named twice"),
        (("a:1", None, "m", None, "1", "tfs,grcp"), "--protocol grcp: expected one of tfs, "),
        (("a:1", None, "m", None, "1", "tfs,oip,oip"), "--protocol tfs,oip,oip: expected one value, or two"),
        (("a:1", "b:1", "m,n", None, "1", "tfs,oip"), "--protocol and --model: only one thing may differ"),
        (
            ("a:1", None, "m", None, "1,2", "tfs,oip"),
            "--protocol and --batch-size: only one thing may differ",
        ),
    ],
)
def test_what_cannot_be_compared(arguments: Any, text: str) -> None:
    with pytest.raises(BenchError) as refused:
        two_of(*arguments[:-1], protocol=arguments[-1])
    assert text in str(refused.value)


def test_each_side_may_have_a_version_of_its_own() -> None:
    """Another server numbers its versions by itself."""
    named = two_of("a:1", "b:1", "m", "7,1", "1", protocol="tfs,oip")
    assert (named.part, named.versions, named.protocols) == ("server", ("7", "1"), ("tfs", "oip"))
    alike = two_of("a:1", "b:1", "m", None, "1", protocol="oip,oip")
    assert (alike.part, alike.protocols) == ("server", ("oip", "oip"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--server-metrics", "http://h/metrics"), "expected two, one for each server"),
        (("--server-metrics", "nowhere,nowhere"), "--server-metrics nowhere: expected a URL"),
        (("--versions", "2,9"), "not served by"),
        (("--versions", "2,stable"), "no labels; use a version"),
    ],
)
def test_wrong_options_are_one_line(
    address: str, digits: Path, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    done = bench(
        *("ab", address, "--protocol", "tfs,oip", "--model", "mnist", "--requests", digits, *arguments),
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.splitlines()
    assert text in line
    assert not (tmp_path / "results").exists()
