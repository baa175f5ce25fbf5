"""The REST API.

A pure function of method, target, headers and body; sockets belong to others (model_servers/http_rest_api_handler.cc).
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from google.protobuf import json_format

from bench.server.api import json_outputs, json_requests, json_text
from bench.server.api.json_process import INLINE, INLINE_VALUES, JsonProcesses
from bench.server.api.packed_numbers import serialised
from bench.server.api.prediction import Predictions
from bench.server.api.services import Services
from bench.server.metrics import Metrics
from bench.server.models.repository import Repository
from bench.server.refusal import Code, Refusal, invalid
from bench.server.unforeseen import unforeseen
from bench.wire import messages

PROMETHEUS_PATH: Final = "/monitoring/prometheus/metrics"

_STATUS: Final = {
    Code.OK: 200,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INTERNAL: 500,
    Code.DATA_LOSS: 500,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
_JSON: Final = {"Content-Type": "application/json"}
_PLAIN: Final = {"Content-Type": "text/plain"}
_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_CHOICE: Final = r"(?:/(?:versions/(?P<version>\d+)|labels/(?P<label>[^/:]+)))?"
_CALL: Final = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_CHOICE}:(?P<method>classify|regress|predict)", re.I | re.A
)
_LOOK: Final = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_CHOICE}(?P<metadata>/metadata)?", re.I | re.A)
_NOT_FOUND: Final = (
    "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
)


_MOST_DIGITS: Final = 19  # of 2**63 - 1


class _NoVersion(Exception):  # noqa: N818 - an answer to somebody else's mistake
    """A version in the path is no signed 64-bit number: the original answers 400 without a body."""


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


class Body:
    """The body of a request, which is unpacked and read only where it is needed."""

    def __init__(self, content: bytes, headers: Mapping[str, str]) -> None:
        self.content = content
        self.gzip = headers.get("content-encoding", "").lower() == "gzip"

    def document(self, *, inline: bool) -> dict[str, Any] | None:
        """The JSON object in it; None where it is too large to be read here, unless `inline`. Raises `Refusal`."""
        content = self.content
        if self.gzip:
            content = json_requests.unpacked(content, most=INLINE)
            if len(content) <= INLINE or inline:
                content = json_requests.unpacked(self.content)
        return json_text.parsed(content) if inline or len(content) <= INLINE else None


class Rest:
    """The REST API of one server."""

    def __init__(
        self,
        repository: Repository,
        predictions: Predictions,
        services: Services,
        metrics: Metrics,
        *,
        model_status: Callable[[Any], Any] | None = None,
        page: Callable[[], str] | None = None,
        prometheus_path: str | None = None,
        cors: bool = False,
        processes: JsonProcesses | None = None,
    ) -> None:
        """processes: where large JSON is read and written; None: here."""
        self._processes = processes
        self._repository = repository
        self._predictions = predictions
        self._services = services
        self._metrics = metrics
        # where several processes are one server, these two are not this process's own
        self._model_status = model_status or services.model_status
        self._page = page or metrics.page
        self._prometheus_path = prometheus_path
        """None: no metrics are shown."""
        self._cors = cors

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The response to a request; header names are in lower case, `target` is the path with its query."""
        try:
            answer = self._answer(method, target, headers, body)
        except Refusal as refusal:
            answer = _error(refusal)
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            answer = _error(unforeseen(error, f"{method} {target}"))
        return answer._replace(headers=answer.headers | _CORS) if self._cors else answer

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if method == "OPTIONS":
            allowed = headers.get("origin", "").startswith(("http://", "https://"))
            return Answer(200 if allowed else 400, {}, b"")
        if self._prometheus_path is not None and target.partition("?")[0] == self._prometheus_path:
            if target != self._prometheus_path:
                text = f"Unexpected path: {target}. Should be {self._prometheus_path}"
                return Answer(400, dict(_PLAIN), text.encode())
            return Answer(200, dict(_PLAIN), self._page().encode())
        if not target.lower().startswith("/v1/"):
            return Answer(404, {"Content-Type": "text/html"}, _NOT_FOUND.encode())
        try:
            text = self._text(method, target, Body(body, headers))
        except _NoVersion:
            return Answer(400, dict(_JSON), b"")
        except Refusal as refusal:
            return _error(refusal)
        except RecursionError:
            return _error(invalid("the JSON of the request is nested too deeply"))
        return Answer(200, dict(_JSON), text.encode("utf-8", "surrogateescape"))

    def _text(self, method: str, target: str, body: Body) -> str:
        call = _CALL.fullmatch(target) if method == "POST" else None
        if call is not None:
            spec = _model_spec(call)
            if call["method"] == "predict":
                with self._metrics.counted(spec.name, "predict", "REST"):
                    return self._predict(spec, body)
            if call["method"] == "classify":
                return self._classify(spec, body)
            if call["method"] == "regress":
                return self._regress(spec, body)
        look = _LOOK.fullmatch(target) if method == "GET" else None
        if look is not None:
            if look["name"] is None:
                raise invalid("Missing model name in request.")
            spec = _model_spec(look)
            show = self._metadata if look["metadata"] else self._status
            with self._metrics.counted(spec.name, "", "REST"):
                return show(spec)
        raise invalid(f"Malformed request: {method} {target}")

    def _predict(self, spec: Any, body: Body) -> str:
        processes, document = self._processes, body.document(inline=self._processes is None)
        with self._repository.acquire(spec) as handle:
            signatures = handle.servable.signatures
            if document is None and processes is not None:
                name, content = processes.predict(body.content, body.gzip, signatures)
            else:
                name, content = json_requests.predict(document or {}, signatures)
            self._predictions.allow(signatures[name])
            outputs = self._services.run("Predict", handle, name, content.inputs)
        values = sum(array.size for array in outputs.values())
        if processes is not None and values > INLINE_VALUES:
            return processes.tensors(outputs, content.format)
        return json_outputs.tensors(outputs, content.format)

    def _classify(self, spec: Any, body: Body) -> str:
        request = messages.ClassificationRequest(model_spec=spec)
        self._fill(request, body)
        return json_outputs.classifications(
            self._services.classify(request, serialised(request.input), "REST").result
        )

    def _regress(self, spec: Any, body: Body) -> str:
        request = messages.RegressionRequest(model_spec=spec)
        self._fill(request, body)
        return json_outputs.regressions(
            self._services.regress(request, serialised(request.input), "REST").result
        )

    def _fill(self, request: Any, body: Body) -> None:
        try:
            document = body.document(inline=self._processes is None)
            if document is None and self._processes is not None:
                name, content = self._processes.examples(body.content, body.gzip)
            else:
                name, content = json_requests.examples(document or {})
        except Refusal as refusal:
            self._metrics.request_count.add((request.model_spec.name, refusal.code.name))
            raise
        request.model_spec.signature_name = name
        request.input.CopyFrom(content)

    def _status(self, spec: Any) -> str:
        spec.ClearField("version_label")
        response = self._model_status(messages.GetModelStatusRequest(model_spec=spec))
        text: str = json_format.MessageToJson(
            response, always_print_fields_with_no_presence=True, preserving_proto_field_name=True, indent=1
        )
        return text

    def _metadata(self, spec: Any) -> str:
        request = messages.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        response = self._services.model_metadata(request)
        signatures = messages.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        shown = {
            "model_spec": _plain(response.model_spec),
            "metadata": {"signature_def": _plain(signatures)},
        }
        return json.dumps(shown, indent=1, ensure_ascii=False)


def _error(refusal: Refusal) -> Answer:
    body = json_outputs.error(refusal.text).encode("utf-8", "surrogateescape")
    return Answer(_STATUS[refusal.code], dict(_JSON), body)


def _plain(message: Any) -> dict[str, Any]:
    """A message as JSON values, fields without content included."""
    values: dict[str, Any] = json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )
    return values


def _model_spec(path: re.Match[str]) -> Any:
    spec = messages.ModelSpec(name=unquote(path["name"]))
    if path["version"] is not None:
        digits = path["version"].lstrip("0") or "0"
        if len(digits) > _MOST_DIGITS or int(digits) >= 1 << 63:
            raise _NoVersion
        spec.version.value = int(digits)
    elif path["label"] is not None:
        spec.version_label = unquote(path["label"])
    return spec
