"""The Open Inference Protocol beside TensorFlow Serving's own services: the same models on the same port.

ModelInfer calls `serving_default`, or the signature that the request's parameter `signature` names. Outputs are raw
contents where the inputs were, else typed ones. Requests are recognised, run and answered as Predict's are.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from bench import __version__
from bench.protocol import oip_messages as messages
from bench.protocol import oip_tensors
from bench.server import request_layouts
from bench.server.api.oip_responses import InferResponses
from bench.server.api.packed_numbers import check_fields, checked, memory_of, parsed, unreadable
from bench.server.api.prediction import DEFAULT_SIGNATURE
from bench.server.api.prepared import Prepared, PreparedBurst, Recognition, grouped
from bench.server.api.tensors import Array, decode
from bench.server.metrics import Metrics
from bench.server.models.repository import Repository
from bench.server.models.servable import Handle
from bench.server.refusal import Code, Refusal, invalid
from bench.wire.messages import ModelSpec, ModelVersionStatus
from bench.wire.request_rows import Bytes

_AVAILABLE: Final = ModelVersionStatus.State.Value("AVAILABLE")
_API: Final = "ModelInfer"
_FLOATING: Final = ("fp32_contents", "fp64_contents")
"""Typed fields whose packed payload is memory, whatever it holds."""


class OpenInference:
    """The methods of GRPCInferenceService."""

    def __init__(self, repository: Repository, metrics: Metrics) -> None:
        self._repository, self._metrics = repository, metrics
        self._known = Recognition(repository, lambda serving: serving.inferences)
        self.methods: dict[str, Callable[[bytes, float | None], bytes]] = {
            messages.MODEL_METADATA: lambda request, _: self._metadata(request),
            messages.MODEL_READY: lambda request, _: self._ready(request),
            messages.SERVER_READY: lambda *_: self._server_ready(),
            messages.SERVER_LIVE: lambda *_: _bytes(messages.ServerLiveResponse(live=True)),
            messages.SERVER_METADATA: lambda *_: _bytes(
                messages.ServerMetadataResponse(name="serving-bench", version=__version__)
            ),
        }
        """Those that run no model, by their paths: a serialised request and a timeout -> a serialised response; raise
        `Refusal`."""

    def prepare(self, content: bytes) -> Prepared:
        """A serialised ModelInferRequest, checked, with its version held. Raises `Refusal`, or `Heavy`."""
        known = self._known.single(content)
        if known is not None:
            return known
        check_fields(messages.ModelInferRequest, content)
        return self.prepare_light(content)

    def prepare_light(self, content: bytes) -> Prepared:
        """The same for one that is not weighed, since it was `lightened`."""
        request = parsed(messages.ModelInferRequest, content)
        try:
            serving = self._repository.serving
            handle = self._repository.acquire(_spec(request.model_name, request.model_version))
            try:
                prepared = _prepared(handle, request)
                if prepared.group.batched and len(prepared.group.feeds) == 1:
                    request_layouts.learn(
                        serving.inferences,
                        content,
                        request,
                        prepared.group,
                        prepared.rows,
                        reading=_READING,
                        form=prepared.form,
                    )
                return prepared
            except BaseException:
                handle.release()
                raise
        except Exception as error:
            code = error.code if isinstance(error, Refusal) else Code.INTERNAL
            self._metrics.request_count.add((request.model_name, code.name))
            raise

    def prepare_burst(self, requests: Bytes) -> PreparedBurst | None:
        """As `bench.server.api.prediction.Executed.prepare_burst`."""
        return self._known.row(requests)

    def _metadata(self, content: bytes) -> bytes:
        request = checked(messages.ModelMetadataRequest, content)
        with self._repository.acquire(_spec(request.name, request.version)) as handle:
            _, signature = _signature(handle, "")
            versions = [
                str(number)
                for number, state, _ in self._repository.statuses(handle.name)
                if int(state) == _AVAILABLE
            ]
            response = messages.ModelMetadataResponse(
                name=handle.name, versions=versions, platform="tensorflow_savedmodel"
            )
            for declared, infos in (
                (response.inputs, signature.inputs),
                (response.outputs, signature.outputs),
            ):
                for name in sorted(infos):
                    shape = infos[name].tensor_shape
                    sizes = [-1] if shape.unknown_rank else [dim.size for dim in shape.dim]
                    declared.add(
                        name=name, datatype=oip_tensors.datatype_numbered(infos[name].dtype), shape=sizes
                    )
        return _bytes(response)

    def _ready(self, content: bytes) -> bytes:
        request = checked(messages.ModelReadyRequest, content)
        statuses = self._repository.statuses(request.name, _number(request.name, request.version))
        if not statuses:
            raise _unknown(request.name, request.version)
        return _bytes(messages.ModelReadyResponse(ready=_available(statuses)))

    def _server_ready(self) -> bytes:
        """Whether each model has a version that is."""
        models = self._repository.models()
        ready = all(_available(self._repository.statuses(name)) for name in models)
        return _bytes(messages.ServerReadyResponse(ready=ready))


def _available(statuses: Any) -> bool:
    return any(int(state) == _AVAILABLE for _, state, _ in statuses)


def _memory(request: Any) -> bytes:
    """The payload of the field whose bytes are the only input's memory; empty where there is none."""
    if len(request.inputs) != 1:
        return b""
    (tensor,) = request.inputs
    if request.raw_input_contents:
        # texts have their lengths between them, and bools may be any byte
        own = tensor.datatype not in ("BYTES", "BOOL") and len(request.raw_input_contents) == 1
        return bytes(request.raw_input_contents[0]) if own else b""
    field = oip_tensors.FIELDS.get(tensor.datatype, "")
    if field not in _FLOATING or memory_of(tensor) is not None:  # which goes before the typed values
        return b""
    dtype = np.float32 if field == "fp32_contents" else np.float64
    return np.array(getattr(tensor.contents, field), dtype).tobytes()


def _clear(request: Any) -> None:
    request.ClearField("raw_input_contents")
    for tensor in request.inputs:
        for field in _FLOATING:
            tensor.contents.ClearField(field)


_READING: Final = request_layouts.Reading(messages.ModelInferRequest, _memory, _clear)


def _prepared(handle: Handle, request: Any) -> Prepared:
    key = request.parameters["signature"].string_param if "signature" in request.parameters else ""
    key, signature = _signature(handle, key)
    inputs = _inputs(signature, request)
    wanted = tuple(each.name for each in request.outputs) or tuple(sorted(signature.outputs))
    for name in wanted:
        if name not in signature.outputs:
            raise invalid(f"unexpected inference output '{name}', the model has {_names(signature.outputs)}")
    form = InferResponses(request.id, bool(request.raw_input_contents))
    group, rows = grouped(handle, key, inputs, wanted, _API)
    return Prepared(group, rows, inputs, b"", request_layouts.NOWHERE, form=form)


def _spec(name: str, version: str) -> Any:
    spec = ModelSpec(name=name)
    number = _number(name, version)
    if number is not None:
        spec.version.value = number
    return spec


def _number(name: str, version: str) -> int | None:
    """None: no version is named. Raises `Refusal` for one that is no number, as no model has it."""
    if not version:
        return None
    if not (version.isascii() and version.isdigit() and len(version) < 19):
        raise _unknown(name, version)
    return int(version)


def _signature(handle: Handle, key: str) -> tuple[str, Any]:
    """The signature of this name; none named: `serving_default`, else the first that is meant to be called."""
    signatures = handle.servable.signatures
    if not key and DEFAULT_SIGNATURE not in signatures:
        key = next((each for each in sorted(signatures) if not each.startswith("__")), "")
    key = key or DEFAULT_SIGNATURE
    if key not in signatures:
        raise invalid(f"signature '{key}' not found, the model has {_names(signatures)}")
    return key, signatures[key]


def _inputs(signature: Any, request: Any) -> dict[str, Array]:
    raw = list(request.raw_input_contents)
    sent = [each.name for each in request.inputs]
    left_out = set(signature.inputs) - set(sent)
    if sorted([*sent, *left_out]) != sorted(signature.inputs) or not left_out <= set(signature.defaults):
        raise invalid(
            f"unexpected inference input: sent {_names(sent)}, the model takes {_names(signature.inputs)}"
        )
    if raw and len(raw) != len(sent):
        raise invalid(f"{len(raw)} raw_input_contents for {len(sent)} inputs")
    arrays = {}
    for number, tensor in enumerate(request.inputs):
        declared = oip_tensors.datatype_numbered(signature.inputs[tensor.name].dtype)
        if tensor.datatype != declared:
            raise invalid(
                f"inference input data-type of '{tensor.name}' is '{tensor.datatype}', the model takes '{declared}'"
            )
        try:
            arrays[tensor.name] = oip_tensors.array_of(tensor, raw[number] if raw else memory_of(tensor))
        except (ValueError, OverflowError) as error:
            raise invalid(unreadable(tensor.name, error)) from None
    arrays |= {name: decode(signature.defaults[name]) for name in left_out}
    return dict(sorted(arrays.items()))


def _unknown(name: str, version: str) -> Refusal:
    subject = f"version {version} of model {name}" if version else f"model {name}"
    return Refusal(Code.NOT_FOUND, f"{subject} not found")


def _names(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def _bytes(message: Any) -> bytes:
    content: bytes = message.SerializeToString()
    return content
