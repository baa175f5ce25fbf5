"""The embedded server by the Open Inference Protocol: the same models, on the same port, with the same answers."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError, mnist
from bench.launch import server_process
from bench.payload import predict_request
from bench.protocol import oip_messages as messages
from bench.target.inquiry import describe, status
from bench.wire.client import Channel
from tests.load.locust_runs import start, until_recorded
from tests.protocol.test_oip import inquiry

DIGITS = mnist.load("test").images[:8]


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    """MNIST's versions 1 and 2."""
    config = models / "both.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "mnist" base_path: "{models}/mnist" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    with server_process.embedded(["--model_config_file", str(config)]) as server:
        yield server.address


@pytest.mark.parametrize("protocol", ["oip", "oip-typed"])
def test_answers_are_those_of_predict_to_the_bit(address: str, protocol: str) -> None:
    for version in (1, 2):
        request = predict_request({"images": DIGITS}, model="mnist", version=version)
        one, _ = inquiry(address, "mnist", version, "tfs").predict(request, "scores")
        other, _ = inquiry(address, "mnist", version, protocol).predict(request, "scores")
        assert (other.model, other.version, other.outputs) == ("mnist", version, one.outputs)
        assert other.array("scores").tobytes() == one.array("scores").tobytes()
    latest, _ = inquiry(address, "mnist", None, protocol).predict(
        predict_request({"images": DIGITS}, model="mnist"), "scores"
    )
    assert latest.version == 2


def test_states_and_metadata_are_those_of_the_other_protocol(address: str) -> None:
    states = [(each.version, each.state) for each in status(inquiry(address, "mnist"))]
    assert states == [(each.version, each.state) for each in status(inquiry(address, "mnist", None, "tfs"))]
    ours, theirs = (describe(inquiry(address, "mnist", None, name)) for name in ("oip", "tfs"))
    assert ours.version == theirs.version == 2
    signature = theirs.signatures["serving_default"]
    assert (ours.signatures[""].inputs, ours.signatures[""].outputs) == (signature.inputs, signature.outputs)
    channel = Channel(address)
    channel.connect(60)
    assert messages.ServerReadyResponse.FromString(channel.call(messages.SERVER_READY, b"", 20).message).ready
    assert messages.ServerLiveResponse.FromString(channel.call(messages.SERVER_LIVE, b"", 20).message).live
    assert channel.call(messages.MODEL_INFER, b"\xff", 20).status == 13
    channel.close()


@pytest.mark.parametrize(
    ("inputs", "model", "version", "text"),
    [
        ({"images": DIGITS}, "nobody", None, "NOT_FOUND: .*nobody"),
        ({"images": DIGITS}, "mnist", 9, "NOT_FOUND"),
        (
            {"picture": DIGITS},
            "mnist",
            None,
            "INVALID_ARGUMENT: unexpected inference input: sent picture, the model takes images; .*names",
        ),
        (
            {"images": DIGITS.astype(np.float64)},
            "mnist",
            None,
            "INVALID_ARGUMENT: .*'FP64', the model takes 'FP32'; .*dtypes",
        ),
        ({"images": DIGITS[0, :, :5]}, "mnist", None, "INVALID_ARGUMENT"),
    ],
)
def test_refusals_are_one_line_with_a_remedy(
    address: str, inputs: dict[str, np.ndarray], model: str, version: int | None, text: str
) -> None:
    with pytest.raises(BenchError, match=text):
        inquiry(address, model, version).predict(
            predict_request(inputs, model=model, version=version), "scores"
        )


def test_a_scenario_runs_on_it_without_a_host(tmp_path: Path) -> None:
    """The digits are recognised, and answers are the version's; counters of the other protocol are not mistaken for its."""
    results = tmp_path / "results"
    asked = ["--protocol", "oip", "-u", "2", "-r", "2", "--schedule", "closed:5ms"]
    asked += ["--request-parameters", "signature=predict_images"]
    done = until_recorded(start(results, *asked), results, 200)
    assert done.code == 0, done.output
    run = done.run()
    assert (run.samples["status"] == 0).all()
    assert set(run.samples["version"]) == {2}
    assert run.samples["correct"].mean() > 0.85
    assert run.manifest.raw["wrong_answers"] == {}
    assert run.manifest.raw["target"]["parameters"] == {"signature": "predict_images"}
    assert re.search(r"Predict .*version 2", done.output)
