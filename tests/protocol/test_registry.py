"""The protocols by name, and that each of them says the same of one server."""

from collections.abc import Iterator

import numpy as np
import pytest

from bench import BenchError
from bench.launch import server_process
from bench.protocol.api import Refused
from bench.protocol.hints import hint
from bench.protocol.names import MODULES
from bench.protocol.registry import api_named
from bench.target.inquiry import Inquiry, describe, status
from bench.target.preflight import named
from bench.wire.messages import ModelServerConfig
from bench.wire.tensors import predict_request
from bench.wire.transports import HTTP, NATIVE, open_channel


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    arguments = ["--backend=synthetic", "--model_name=mnist", "--service-time=constant(0ms)"]
    with server_process.embedded([*arguments, "--rest_api_port=0"]) as started:
        yield started


@pytest.fixture(params=["tfs", "tfs-rest"])
def inquiry(server: server_process.Server, request: pytest.FixtureRequest) -> Iterator[Inquiry]:
    api = api_named(request.param)
    address = str(server.rest) if api.over_http else server.address
    channel = open_channel(HTTP if api.over_http else NATIVE, address)
    channel.connect(20)
    yield Inquiry(channel, address, api, "mnist", timeout=20)
    channel.close()


def test_names_are_those_of_the_protocols() -> None:
    for name in MODULES:
        assert api_named(name).name == name
        assert hint("UNAVAILABLE", "", name), "each has hints"
    with pytest.raises(BenchError, match="--protocol grcp: expected one of tfs, "):
        api_named("grcp")


def test_states_signatures_and_predictions_are_the_same_over_both(inquiry: Inquiry) -> None:
    (state,) = status(inquiry)
    assert (state.version, state.state, state.code) == (1, "AVAILABLE", "OK")
    description = describe(inquiry)
    assert description.version == 1
    signature = named(inquiry, description, "predict_images")
    assert {name: str(tensor) for name, tensor in signature.inputs.items()} == {
        "images": "float [-1, 28, 28, 1]"
    }
    images = np.zeros((1, 28, 28, 1), np.float32)
    request = predict_request({"images": images}, model="mnist", signature="predict_images")
    response, seconds = inquiry.predict(request, "scores")
    assert response.outputs == ("scores",)
    assert response.array("scores").shape == (1, 10)
    assert response.model == "mnist"
    assert 0 < seconds < 20


def test_a_refusal_has_the_servers_words_and_a_remedy(inquiry: Inquiry) -> None:
    for unknown in (Inquiry(inquiry.channel, inquiry.host, inquiry.api, "nobody", timeout=20),):
        for question in (status, describe):
            with pytest.raises(Refused, match=r"model nobody: NOT_FOUND: .*nobody.*--model") as refused:
                question(unknown)
            assert refused.value.status == 5


def test_only_grpc_replaces_the_configuration(inquiry: Inquiry) -> None:
    reason = "unsupported|UNIMPLEMENTED|INVALID|FAILED|refuse|configuration"
    with pytest.raises(BenchError, match="has no call" if inquiry.api.over_http else reason):
        inquiry.api.reload(inquiry.ask, ModelServerConfig())
