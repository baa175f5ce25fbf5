"""Send the request of a case over gRPC or REST, and compare the answer with what the case expects."""

import gzip
import http.client
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from google.protobuf import text_format

from bench.server.api.health import CHECK, HealthCheckRequest, HealthCheckResponse
from bench.wire import messages

CASES = Path(__file__).with_name("cases")
SECONDS = 30.0

METHODS: Mapping[str, tuple[str, Any, Any]] = {
    "Predict": (messages.PREDICT, messages.PredictRequest, messages.PredictResponse),
    "Classify": (messages.CLASSIFY, messages.ClassificationRequest, messages.ClassificationResponse),
    "Regress": (messages.REGRESS, messages.RegressionRequest, messages.RegressionResponse),
    "MultiInference": (
        messages.MULTI_INFERENCE,
        messages.MultiInferenceRequest,
        messages.MultiInferenceResponse,
    ),
    "GetModelMetadata": (
        messages.GET_MODEL_METADATA,
        messages.GetModelMetadataRequest,
        messages.GetModelMetadataResponse,
    ),
    "GetModelStatus": (
        messages.GET_MODEL_STATUS,
        messages.GetModelStatusRequest,
        messages.GetModelStatusResponse,
    ),
    "HandleReloadConfigRequest": (
        messages.RELOAD_CONFIG,
        messages.ReloadConfigRequest,
        messages.ReloadConfigResponse,
    ),
    "Health": (CHECK, HealthCheckRequest, HealthCheckResponse),
}


def cases(file: str) -> list[dict[str, Any]]:
    """The cases of a file, in its order."""
    listed: list[dict[str, Any]] = tomllib.loads((CASES / file).read_text())["case"]
    names = [case["name"] for case in listed]
    assert len(set(names)) == len(names), f"{file}: two cases have one name"
    return listed


@dataclass(frozen=True)
class Page:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


class Target:
    """A server: its gRPC port through grpcio, its REST port through http.client."""

    def __init__(self, address: str, rest: str | None) -> None:
        self._channel = grpc.insecure_channel(address)
        self._rest = rest

    def __enter__(self) -> "Target":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def call(self, path: str, request: bytes, seconds: float = SECONDS) -> tuple[str, str, bytes]:
        """Code, details and serialised response."""
        try:
            response = self._channel.unary_unary(path)(request, timeout=seconds, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code().name, error.details(), b""
        return "OK", "", response

    def start(self, path: str, request: bytes) -> Any:
        """A call under way, with `code()` and `details()` that wait for its end."""
        return self._channel.unary_unary(path).future(request, timeout=SECONDS, wait_for_ready=True)

    def versions(self, model: str) -> dict[int, str]:
        """State by version."""
        request = messages.GetModelStatusRequest()
        request.model_spec.name = model
        code, _, response = self.call(messages.GET_MODEL_STATUS, request.SerializeToString())
        if code != "OK":
            return {}
        statuses = messages.GetModelStatusResponse.FromString(response).model_version_status
        states = messages.ModelVersionStatus.State
        return {status.version: states.Name(status.state) for status in statuses}

    def fetch(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Page:
        """The REST API's answer."""
        assert self._rest is not None, "name the REST port with --rest-target"
        connection = http.client.HTTPConnection(self._rest, timeout=SECONDS)
        try:
            connection.request(method, target, body, dict(headers))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Page(response.status, found, response.read())
        finally:
            connection.close()


def check_rpc(case: Mapping[str, Any], target: Target) -> None:
    """Ask what a gRPC case asks, and compare code, details and answer."""
    path, request_type, response_type = METHODS.get(case.get("rpc", ""), (case.get("path"), None, None))
    if "bytes" in case:
        request = bytes.fromhex(case["bytes"])
    else:
        request = text_format.Parse(case["request"], request_type()).SerializeToString()
    code, details, answer = target.call(path, request)
    assert (code, details if code == "OK" else "") == (case["code"], "") or code == case["code"], (
        code,
        details,
    )
    if "details" in case:
        assert details == case["details"]
    if "details_start" in case:
        assert details.startswith(case["details_start"]), details
    if code != "OK":
        return
    response = response_type.FromString(answer)
    for text in case.get("contains", ()):
        assert text in text_format.MessageToString(
            response, descriptor_pool=response_type.DESCRIPTOR.file.pool
        )
    for field, length in case.get("lengths", {}).items():
        parent, name = _field(response, field)
        assert len(getattr(parent, name)) == length
    if "response" in case:
        for field in case.get("ignore", ()):
            parent, name = _field(response, field)
            parent.ClearField(name)
        assert response == text_format.Parse(case["response"], response_type())


def _field(message: Any, path: str) -> tuple[Any, str]:
    """The message that a dotted path leads to, through map keys, and the name of its last field."""
    *parents, name = path.split(".")
    for step in parents:
        message = message[step] if not hasattr(message, "DESCRIPTOR") else getattr(message, step)
    return message, name


def check_rest(case: Mapping[str, Any], target: Target) -> None:
    """Ask what a REST case asks, and compare status and body."""
    body = case["body"].encode() if "body" in case else None
    headers = dict(case.get("headers", {}))
    if case.get("gzip"):
        body = gzip.compress(body or b"")
        headers["Content-Encoding"] = "gzip"
    path = case["target"].replace("{digits}", "9" * case.get("digits", 0))
    page = target.fetch(case.get("method", "POST"), path, headers, body)
    assert page.status == case["status"], page
    text = page.body.decode()
    if "text" in case:
        assert text == case["text"]
    if "json" in case:
        assert json.loads(text) == json.loads(case["json"])
    if "json_part" in case:
        assert _part(json.loads(text), json.loads(case["json_part"])) == json.loads(case["json_part"])
    for part in case.get("contains", ()):
        assert part in text
    if "error" in case:
        assert json.loads(text) == {"error": case["error"]}
    if "error_start" in case:
        assert json.loads(text)["error"].startswith(case["error_start"]), text
    if "error_end" in case:
        assert json.loads(text)["error"].endswith(case["error_end"]), text
    if text and ("json" in case or "error" in case):
        assert page.headers["content-type"] == "application/json"


def _part(found: Any, wanted: Any) -> Any:
    """Of a found value only the keys that are wanted."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {key: _part(found[key], value) for key, value in wanted.items() if key in found}
    return found
