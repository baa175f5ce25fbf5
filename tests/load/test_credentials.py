"""Credentials over gRPC and over REST: what is missing is refused before a load, and what is given is in each request."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from locust.argument_parser import get_parser

from bench import BenchError
from bench.load.arguments import add_arguments
from bench.load.options import ScenarioOptions, read_options
from bench.load.preflight import look, look_over_rest
from bench.load.sources import make_pools
from bench.payload import Pool
from tests.cli.inside import bench
from tests.foreign import Foreign, serving

FIELD, SECRET = "authorization", "Bearer of the tests"
METADATA = {
    "model_spec": {"name": "own", "signature_name": "", "version": "1"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {
                        "x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "3"}]}}
                    },
                    "outputs": {
                        "y": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "2"}]}}
                    },
                    "method_name": "tensorflow/serving/predict",
                }
            }
        }
    },
}
STATUS = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK"}}]}
"""As TensorFlow Serving's REST API answers."""


class Own:
    """A scenario over the run's protocol."""

    over_rest: tuple[str, ...] = ()
    request_name = "Predict"
    preflight = True

    @staticmethod
    def payload(options: ScenarioOptions) -> Pool:
        return Pool.of({"x": np.zeros((2, 3), np.float32)}, None, output="y", model="own")


class Beside(Own):
    """The same over REST beside a run over gRPC."""

    over_rest = ("Predict",)


@contextlib.contextmanager
def guarded(status: int) -> Iterator[str]:
    """A REST API that ends every request without the secret with this status."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(METADATA if self.path.endswith("/metadata") else STATUS)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer({"predictions": [[0.25, 0.75]] * 2})

        def _answer(self, said: Any) -> None:
            known = self.headers[FIELD] == SECRET
            body = json.dumps(said if known else {"error": "no token"}).encode()
            self.send_response(200 if known else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def options(*arguments: str) -> ScenarioOptions:
    parser = get_parser(default_config_files=[])
    add_arguments(parser)
    return read_options(parser.parse_args(list(arguments)))


def over_the_protocol(address: str, *given: str) -> None:
    asked = options("--protocol", "tfs-rest", *given)
    look(address, asked, make_pools([Own], asked, address))


def beside(address: str, *given: str) -> None:
    asked = options("--rest", address, *given)
    look_over_rest(address, asked, make_pools([Beside], asked))


def status_verb(address: str, *given: str) -> None:
    done = bench("status", "--model", "own", "--protocol", "tfs-rest", "--host", address, *given, cwd=Path())
    if done.returncode:
        raise BenchError(done.stderr)


@pytest.mark.parametrize("ask", [over_the_protocol, beside, status_verb])
@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED")])
def test_over_rest(ask: Callable[..., None], status: int, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("OTHER", "Bearer of nobody")
    with guarded(status) as address:
        for given in ((), ("--metadata", "authorization=OTHER")):
            with pytest.raises(BenchError, match=code) as told:
                ask(address, *given)
            assert "no token" in str(told.value)
            assert "--metadata" in str(told.value)
            assert "Bearer" not in str(told.value)
        ask(address, "--metadata", "authorization=TOKEN")


def test_an_output_that_the_signature_lacks_is_refused_over_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer does not name its only output: it would be taken for the one that is wanted."""
    monkeypatch.setenv("TOKEN", SECRET)

    class Other(Own):
        @staticmethod
        def payload(options: ScenarioOptions) -> Pool:
            return Pool.of({"x": np.zeros((2, 3), np.float32)}, None, output="z", model="own", batch=2)

    with guarded(401) as address:
        asked = options("--protocol", "tfs-rest", "--metadata", "authorization=TOKEN")
        with pytest.raises(BenchError, match="output 'z' is wanted, the signature has y"):
            look(address, asked, make_pools([Other], asked, address))


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_over_grpc(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror of the above; the server is grpcio's own."""
    monkeypatch.setenv("TOKEN", SECRET)
    seen: list[str] = []

    def predict(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"y": np.full((len(inputs["x"]), 2), 0.5, np.float32)}

    class Guard(grpc.ServerInterceptor):
        def intercept_service(self, proceed: Any, details: Any) -> Any:
            seen.append(dict(details.invocation_metadata).get(FIELD, ""))
            if seen[-1] == SECRET:
                return proceed(details)
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
            )

    own = Foreign({"x": ("float", (-1, 3))}, {"y": ("float", (-1, 2))}, predict)
    with serving(own, Guard()) as address:
        asked = options("--transport", transport)
        with pytest.raises(BenchError, match="UNAUTHENTICATED: no token") as told:
            look(address, asked, make_pools([Own], asked, address))
        assert "--metadata" in str(told.value)
        asked = options("--transport", transport, "--metadata", "authorization=TOKEN")
        look(address, asked, make_pools([Own], asked, address))
    assert seen[-1] == SECRET
