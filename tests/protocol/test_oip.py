"""The Open Inference Protocol: every datatype both ways, versions, states, metadata, and a load with checked answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import BenchError
from bench.analysis.reading.checks import warnings_of
from bench.launch.ready import wait_available
from bench.launch.running import Running, Served
from bench.load.checking.checker import Checker
from bench.load.checking.reply_layout import learn
from bench.load.option_values import parameters_of
from bench.payload import Pool, predict_request
from bench.protocol import oip_messages as messages
from bench.protocol import oip_tensors
from bench.protocol.api import Refused, Unreadable
from bench.protocol.registry import api_named
from bench.target.inquiry import Inquiry, describe, status
from bench.wire.transports import NATIVE, open_channel
from tests.load.locust_runs import locust, start, until_recorded
from tests.protocol.oip_server import OipServer, serving
from tests.scenarios.answered import unsent

OIP, TYPED = api_named("oip"), api_named("oip-typed")
ARRAYS = {
    "BOOL": np.array([[True, False], [False, True]]),
    **{f"INT{bits}": np.array([[-3, 100]], f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.array([[200, 0]], f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    "FP16": np.array([0.5, -2.25, np.inf], np.float16),
    "FP32": np.array(0.1, np.float32),
    "FP64": np.array([[0.1], [np.nan]]),
    "BF16": np.array([1.5, -0.25], ml_dtypes.bfloat16),
    "BYTES": np.array([[b"", b"\x00\xff"], ["ä".encode(), b"x" * 300]], object),
}


@pytest.fixture(scope="module", params=[True, False], ids=["raw", "typed"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[OipServer, str]]:
    made = OipServer(raw=request.param)
    with serving(made) as address:
        yield made, address


def inquiry(address: str, model: str = "echo", version: int | None = None, protocol: str = "oip") -> Inquiry:
    channel = open_channel(NATIVE, address)
    channel.connect(60)
    return Inquiry(channel, address, api_named(protocol), model, version, timeout=20)


def same(one: Any, other: Any) -> bool:
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and oip_tensors.raw_of(one) == oip_tensors.raw_of(other)
    )


@pytest.mark.parametrize("protocol", ["oip", "oip-typed"])
@pytest.mark.parametrize("datatype", ARRAYS)
def test_every_datatype_goes_there_and_back(
    server: tuple[OipServer, str], protocol: str, datatype: str
) -> None:
    double, address = server
    array = ARRAYS[datatype]
    request = predict_request(
        {"x": array, "y": np.arange(3, dtype=np.int64)}, model="echo", version=3, outputs=["x"]
    )
    asked = inquiry(address, version=3, protocol=protocol)
    if protocol == "oip-typed" and datatype in ("FP16", "BF16"):
        with pytest.raises(
            BenchError, match=f"an input of {datatype}: it has no typed contents; use --protocol oip,"
        ):
            asked.predict(request, "x")
        return
    response, _ = asked.predict(request, "x")
    assert (response.model, response.version, response.outputs) == ("echo", 3, ("x", "y"))
    assert same(response.array("x"), array)
    sent = double.asked[-1]
    assert [(each.name, each.datatype) for each in sent.inputs] == [("x", datatype), ("y", "INT64")]
    assert [each.name for each in sent.outputs] == ["x"]
    assert (sent.model_name, sent.model_version, bool(sent.raw_input_contents)) == (
        "echo",
        "3",
        protocol == "oip",
    )


def test_messages_have_the_published_numbers() -> None:
    """Bytes written by hand: field number times 8 plus wire type."""
    request = messages.ModelInferRequest(model_name="m", model_version="1", id="i", raw_input_contents=[b"r"])
    request.inputs.add(name="x", datatype="FP32", shape=[2])
    request.outputs.add(name="y")
    assert request.SerializeToString() == (
        b"\x0a\x01m\x12\x011\x1a\x01i\x2a\x0c\x0a\x01x\x12\x04FP32\x1a\x01\x02\x32\x03\x0a\x01y\x3a\x01r"
    )
    request = messages.ModelInferRequest()
    request.parameters["p"].bool_param = False  # which is a value, not none
    assert request.SerializeToString() == b"\x22\x07\x0a\x01p\x12\x02\x08\x00"
    answer = b"\x0a\x01m\x2a\x0c\x0a\x01y\x12\x04FP32\x1a\x01\x01\x32\x04\x00\x00\x80\x3f"
    assert OIP.decode(answer).array("y").tolist() == [1.0]
    both = b"\x0a\x01m\x2a\x0e\x0a\x01y\x12\x04FP32\x1a\x01\x01\x2a\x00\x32\x04\x00\x00\x80\x3f"
    assert OIP.decode(both).array("y").tolist() == [1.0], "as MLServer sends raw contents"
    typed = b"\x0a\x01m\x2a\x14\x0a\x01y\x12\x04FP32\x1a\x01\x01\x2a\x06\x32\x04\x00\x00\x80\x3f"
    assert OIP.decode(typed).array("y").tolist() == [1.0]


def test_states_metadata_and_refusals(server: tuple[OipServer, str]) -> None:
    _, address = server
    states = [(each.version, each.state) for each in status(inquiry(address))]
    assert states == [(3, "AVAILABLE"), (1, "NOT READY")]
    assert [(each.version, each.state) for each in status(inquiry(address, version=1))] == [(1, "NOT READY")]
    assert [(each.version, each.state) for each in status(inquiry(address, "digits"))] == [
        (None, "AVAILABLE")
    ]
    description = describe(inquiry(address, "digits"))
    assert description.version is None
    assert str(description.signatures[""].inputs["images"]) == "float [-1, 28, 28, 1]"
    with pytest.raises(Refused, match="declares no inputs"):
        describe(inquiry(address))
    with pytest.raises(Refused, match=r"model nobody: NOT_FOUND: Model nobody not found; check the name"):
        status(inquiry(address, "nobody"))


def test_a_server_is_ready_when_the_versions_that_are_needed_are(server: tuple[OipServer, str]) -> None:
    """Also where it names no versions, and is asked for those that are needed."""
    _, address = server

    def available(model: str, *versions: int) -> dict[str, list[int]]:
        running = Running(address, ended=lambda: None, log_text=str, protocol="oip")
        models = [Served(model, None, versions)]
        found = wait_available(running, models, 20 if versions != (1,) else 0.5).facts["available"]
        assert isinstance(found, dict)
        return found

    assert available("digits") == {"digits": []}
    assert available("digits", 2) == {"digits": [2]}
    assert available("echo") == available("echo", 3) == {"echo": [3]}
    with pytest.raises(BenchError, match=r"not ready after 0.5 s \(version 1 of echo is missing\)"):
        available("echo", 1)


def test_what_the_protocol_has_no_words_for() -> None:
    label = predict_request({"x": np.zeros(1)}, model="m", label="canary").SerializeToString()
    with pytest.raises(BenchError, match="--version-label canary: the Open Inference Protocol has no labels"):
        OIP.encode(label)
    odd = predict_request({"x": np.zeros(1, np.complex64)}, model="m").SerializeToString()
    with pytest.raises(BenchError, match="dtype complex64: the Open Inference Protocol has no such type"):
        OIP.encode(odd)


@pytest.mark.parametrize("content", [[], ["typed"]])
@given(
    raw=st.lists(st.binary(max_size=9), max_size=3),
    shape=st.lists(st.integers(-1, 3), max_size=2),
    kind=st.sampled_from([*ARRAYS, "X"]),
)
def test_no_answer_breaks_the_reader(
    content: list[str], raw: list[bytes], shape: list[int], kind: str
) -> None:
    response = messages.ModelInferResponse(
        model_name="m", model_version="9" * len(shape), raw_output_contents=raw
    )
    for name in ("a", "b"):
        tensor = response.outputs.add(name=name, datatype=kind, shape=shape)
        if content:
            tensor.contents.fp32_contents.append(1.0)
    pool = Pool.of({"x": np.zeros((1, 1))}, None, output="a", model="m")
    answer = response.SerializeToString()
    for reply in (answer, answer[:-1], answer + b"\x00"):
        checked = Checker(pool, "a", None, protocol="oip").check([reply], [0])
        assert len(checked.version) == 1


def test_answers_are_read_in_place_once_their_layout_is_known() -> None:
    """As those of TensorFlow Serving: hundreds at once."""
    for raw in (True, False):
        replies = []
        for scores in np.random.default_rng(1).normal(size=(3, 2, 10)).astype(np.float32):
            response = messages.ModelInferResponse(model_name="m", model_version="2")
            tensor = response.outputs.add(name="scores", datatype="FP32", shape=[2, 10])
            if raw:
                response.raw_output_contents.append(scores.tobytes())
            else:
                oip_tensors.fill(tensor.contents, scores)
            replies.append(response.SerializeToString())
        layout = learn(OIP.decode, replies[0], "scores")
        assert layout is not None
        matrix = np.frombuffer(b"".join(replies), np.uint8).reshape(3, -1)
        assert layout.fits(matrix).all()
        assert (layout.model, layout.version, layout.values(matrix).shape) == ("m", 2, (3, 2, 10))
        assert same(layout.values(matrix)[2], OIP.decode(replies[2]).array("scores"))
    with pytest.raises(Unreadable, match="not a ModelInferResponse"):
        OIP.decode(b"\xff")


SCENARIO = """
from bench.scenario import ArrivalUser, Pool, ScenarioOptions, mnist
from tests.protocol.echo import labels_of

class Open(ArrivalUser):
    schedule = "constant:50"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        images = mnist.load("test").images[:50]
        labels = labels_of(images)
        labels[0] = (labels[0] + 1) % 10
        return Pool.of({"images": images}, labels, output="scores", model="digits", size=50)
"""


def test_a_load_finds_the_one_wrong_answer(tmp_path: Path) -> None:
    """One label of fifty is false: its answers count as wrong, and no other does."""
    scenario = tmp_path / "digits.py"
    scenario.write_text(SCENARIO)
    with serving(OipServer()) as address:
        arguments = ["--host", address, "--protocol", "oip", "-u", "1"]
        process = start(tmp_path / "results", *arguments, scenario=str(scenario))
        done = until_recorded(process, tmp_path / "results", 150)
    run = done.run()
    assert done.code == (1 if unsent(run) else 0), done.output
    samples = run.samples[run.samples["status"].notna()]
    assert (samples["status"] == 0).all()
    assert samples["version"].isna().all()
    wrong = int((samples["correct"] == 0).sum())
    assert len(samples) // 50 <= wrong <= -(-len(samples) // 50)
    assert done.run().manifest.target.protocol == "oip"


def test_a_server_that_reads_no_raw_contents_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    scenario = tmp_path / "digits.py"
    scenario.write_text(SCENARIO)
    with serving(OipServer(reads_raw=False)) as address:
        arguments = ["--host", address, "-u", "1", "-t", "1s", "--protocol"]
        done = locust(tmp_path / "refused", *arguments, "oip", scenario=str(scenario))
        assert done.code == 2, done.output
        assert "send typed ones: --protocol oip-typed" in done.output


def test_answers_under_load_are_compared_with_those_before_it(tmp_path: Path) -> None:
    """A server whose scores become others, with the same best class, is found out."""

    class Drifting(OipServer):
        def _infer(self, message: bytes, context: Any) -> Any:
            response = super()._infer(message, context)
            if len(self.asked) > 300:
                scores = oip_tensors.array_of(response.outputs[0], response.raw_output_contents[0])
                response.raw_output_contents[0] = (scores * np.float32(1.5)).tobytes()
            return response

    scenario = tmp_path / "digits.py"
    scenario.write_text(SCENARIO)
    with serving(Drifting()) as address:
        arguments = ["--host", address, "--protocol", "oip", "-u", "1", "--schedule", "constant:200"]
        process = start(tmp_path / "results", *arguments, scenario=str(scenario))
        run = until_recorded(process, tmp_path / "results", 400).run()
    assert run.samples["mismatched"].any()
    assert "answers" in " ".join(warning.check for warning in warnings_of(run))


def test_parameters_are_sent_with_each_request_and_recorded(server: tuple[OipServer, str]) -> None:
    """Integers, truth values and texts, as they are written."""
    double, address = server
    parameters = parameters_of("priority=-2, on=true,off=false,name=x y")
    channel = open_channel(NATIVE, address)
    channel.connect(60)
    asked = Inquiry(channel, address, api_named("oip", parameters), "echo", timeout=20)
    asked.predict(predict_request({"x": np.zeros(1)}, model="echo"), "x")
    channel.close()
    sent = double.asked[-1].parameters
    assert {name: sent[name].WhichOneof("choice") for name in sent} == {
        "priority": "int64_param",
        "on": "bool_param",
        "off": "bool_param",
        "name": "string_param",
    }
    assert (sent["priority"].int64_param, sent["on"].bool_param, sent["name"].string_param) == (
        -2,
        True,
        "x y",
    )
    assert not sent["off"].bool_param
    for text in ("priority", "=1"):
        with pytest.raises(BenchError, match=f"--request-parameters {text}: expected KEY=VALUE"):
            parameters_of(text)
    for other in ("tfs", "tfs-rest"):
        with pytest.raises(
            BenchError, match="--request-parameters: requests to TensorFlow Serving have none"
        ):
            api_named(other, parameters)
