"""The protocols by name, and that each of them says the same of one server."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench import BenchError
from bench.launch import server_process
from bench.protocol.api import Expected, Refused
from bench.protocol.hints import hint
from bench.protocol.names import MODULES
from bench.protocol.registry import api_named
from bench.target.inquiry import Inquiry, describe, status
from bench.target.preflight import Preflight, named
from bench.wire.messages import ModelServerConfig
from bench.wire.tensors import predict_request
from bench.wire.transports import HTTP, NATIVE, open_channel


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    arguments = ["--backend=synthetic", "--model_name=mnist", "--service-time=constant(0ms)"]
    with server_process.embedded([*arguments, "--rest_api_port=0"]) as started:
        yield started


@contextlib.contextmanager
def asking(server: server_process.Server, protocol: str) -> Iterator[Inquiry]:
    api = api_named(protocol)
    address = str(server.rest) if api.over_http else server.address
    channel = open_channel(HTTP if api.over_http else NATIVE, address)
    channel.connect(60)
    yield Inquiry(channel, address, api, "mnist", timeout=20)
    channel.close()


@pytest.fixture(params=["tfs", "tfs-rest"])
def inquiry(server: server_process.Server, request: pytest.FixtureRequest) -> Iterator[Inquiry]:
    with asking(server, request.param) as made:
        yield made


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


IMAGES = np.zeros((2, 28, 28, 1), np.float32)
MENDABLE: dict[str, tuple[dict[str, Any], int | None, str]] = {
    "misnamed": ({"image": IMAGES}, None, "input 'image' is sent, the signature has images; input 'images'"),
    "wrong dtype": (
        {"images": IMAGES.astype(np.int64)},
        None,
        "input 'images' is sent as int64, the signature declares float",
    ),
    "missing": ({}, None, "input 'images' (float [-1, 28, 28, 1]) is missing"),
    "superfluous": ({"images": IMAGES, "t": IMAGES}, None, "input 't' is sent, the signature has images"),
    "no such version": ({"images": IMAGES}, 6, "--model-version 6: not served by "),
    "right": ({"images": IMAGES}, None, ""),
}
UNSAID_OVER_REST = ("misnamed", "wrong dtype")
"""JSON of a single input names neither it nor its dtype: the server takes it, and so it is only told."""


@pytest.mark.parametrize("what", MENDABLE)
@pytest.mark.parametrize("protocol", ["tfs", "tfs-rest", "oip", "oip-typed"])
def test_a_request_that_does_not_fit_the_signature_is_one_line_before_the_load(
    server: server_process.Server, protocol: str, what: str
) -> None:
    inputs, version, text = MENDABLE[what]
    asked = predict_request(inputs, model="mnist", signature="predict_images", version=version)
    request = asked.SerializeToString()
    with asking(server, protocol) as inquiry:
        chosen = replace(inquiry, version=version)
        expected = Expected("scores", "mnist", version)
        if what == "right" or (protocol == "tfs-rest" and what in UNSAID_OVER_REST):
            found = Preflight().check(chosen, request, expected, 20.0)
            assert found.answer is not None
            assert text.replace("; ", "; the server accepts it; ") in "; ".join(
                warning.partition("signature predict_images: ")[2] for warning in found.warnings
            )
            assert bool(found.warnings) == bool(text)
            return
        with pytest.raises(BenchError) as refused:
            Preflight().check(chosen, request, expected, 20.0)
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


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
