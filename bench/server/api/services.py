"""The methods of PredictionService and ModelService, and Health's Check.

All of them are unary: a method path and a serialised request in, a serialised response out. No sockets, no
threads of its own; methods that run a model or wait for one to load do so in the calling thread.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final

from bench.protocol.oip_messages import MODEL_INFER, ModelInferRequest
from bench.server.api import classification
from bench.server.api.health import CHECK, Health
from bench.server.api.json_process import JsonProcesses
from bench.server.api.oip import OpenInference
from bench.server.api.packed_numbers import (
    Heavy,
    check_fields,
    checked,
    lightened,
    parsed,
    serialised,
    split_examples,
)
from bench.server.api.prediction import Executed, Predictions, Prepared
from bench.server.api.tensors import Array
from bench.server.metrics import Metrics
from bench.server.models.repository import Repository
from bench.server.models.servable import Handle
from bench.server.refusal import Code, Refusal, invalid
from bench.wire import messages
from bench.wire.field_limits import MOST_FIELDS

_SIGNATURES: Final = "signature_def"

Execute = Callable[[Prepared], Mapping[str, Array]]
"""Runs one prepared request and returns its outputs; raises `Refusal`; leaves its version held."""


def run_alone(prepared: Prepared) -> Mapping[str, Array]:
    """The simplest `Execute`: in the calling thread, without batching."""
    return prepared.handle.servable.run(prepared.signature, prepared.inputs, prepared.outputs)


class Services:
    """The methods of one server, by their paths."""

    def __init__(
        self,
        repository: Repository,
        predictions: Predictions,
        metrics: Metrics,
        *,
        execute: Execute = run_alone,
        check_method_name: bool = False,
        health: Health | None = None,
        processes: JsonProcesses | None = None,
    ) -> None:
        """health: None where the server does not tell it. processes: where requests with many integers are read; None: here."""
        self._lightened = lightened if processes is None else processes.lightened
        self._split_examples = split_examples if processes is None else processes.split_examples
        self._repository = repository
        self._predictions = predictions
        self._metrics = metrics
        self._execute = execute
        self._check_method_name = check_method_name
        self._methods: dict[str, Callable[[bytes, float | None], bytes]] = {
            messages.CLASSIFY: self._classify,
            messages.REGRESS: self._regress,
            messages.MULTI_INFERENCE: self._multi_inference,
            messages.GET_MODEL_METADATA: self._get_model_metadata,
            messages.GET_MODEL_STATUS: self._get_model_status,
            messages.RELOAD_CONFIG: self._reload_config,
        }
        inference = OpenInference(repository, metrics)
        self._methods |= inference.methods
        self.executed = {
            messages.PREDICT: Executed(
                messages.PredictRequest,
                predictions.prepare,
                predictions.prepare_light,
                predictions.prepare_burst,
            ),
            MODEL_INFER: Executed(
                ModelInferRequest, inference.prepare, inference.prepare_light, inference.prepare_burst
            ),
        }
        """Methods whose requests may be executed together, by their paths."""
        if health is not None:
            self._methods[CHECK] = lambda request, _timeout: health.check(request)

    def handle_rpc(self, path: str, request: bytes, timeout: float | None = None) -> bytes:
        """The serialised response of the method at `path`, e.g. `messages.PREDICT`.

        `timeout` in seconds bounds the waiting of a config reload. Raises `Refusal`; an unknown path is
        UNIMPLEMENTED and bytes that are no request are INTERNAL, both without details.
        """
        if executed := self.executed.get(path):
            return self._alone(executed, request)
        method = self._methods.get(path)
        if method is None:
            raise Refusal(Code.UNIMPLEMENTED, "")
        return method(request, timeout)

    def _alone(self, executed: Executed, request: bytes) -> bytes:
        try:
            prepared = executed.prepare(request)
        except Heavy:
            prepared = executed.prepare_light(self._lightened(executed.kind, request))
        try:
            outputs = self._timed(prepared.group.api, prepared)
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else Refusal(Code.INTERNAL, str(error))
            self._predictions.give_up(prepared, refusal)
            raise
        return self._predictions.answer(prepared, outputs)

    def run(
        self,
        api: str | None,
        handle: Handle,
        signature: str,
        inputs: dict[str, Array],
        outputs: tuple[str, ...] = (),
    ) -> Mapping[str, Array]:
        """The outputs (none named: all) of a held version for these inputs.

        `api`: under which the run's latency is counted; None: it is not, as the original does for MultiInference.
        """
        return self._timed(api, self._predictions.bind(handle, signature, inputs, outputs))

    def _timed(self, api: str | None, prepared: Prepared) -> Mapping[str, Array]:
        outputs = self._execute(prepared)
        if api is not None:
            took = (perf_counter() - prepared.started) * 1e6
            self._metrics.runtime_latency.series((prepared.handle.name, api, "TF1")).add(took)
        return outputs

    def _classify(self, request: bytes, _timeout: float | None) -> bytes:
        return _bytes(self.classify(*self._with_examples(messages.ClassificationRequest, request), "GRPC"))

    def _regress(self, request: bytes, _timeout: float | None) -> bytes:
        return _bytes(self.regress(*self._with_examples(messages.RegressionRequest, request), "GRPC"))

    def _with_examples(self, kind: Any, request: bytes) -> tuple[Any, list[bytes]]:
        """A request of this kind, and the serialised Examples of its `Input`."""
        try:
            check_fields(kind, request)
        except Heavy:
            request, examples = self._split_examples(kind, request)
            return parsed(kind, request), examples
        message = parsed(kind, request)
        return message, serialised(message.input)

    def classify(self, request: Any, examples: Sequence[bytes], entrypoint: str) -> Any:
        """The ClassificationResponse to a ClassificationRequest with serialised Examples; `entrypoint` is `GRPC` or `REST`."""

        def answer(handle: Handle) -> classification.Answered:
            return classification.classify(handle, request, examples, run, self._check_method_name)

        run = functools.partial(self.run, "Classify")

        return self._counted(request, "Classify" if entrypoint == "GRPC" else "classify", entrypoint, answer)

    def regress(self, request: Any, examples: Sequence[bytes], entrypoint: str) -> Any:
        """The RegressionResponse to a RegressionRequest with serialised Examples; `entrypoint` is `GRPC` or `REST`."""

        def answer(handle: Handle) -> classification.Answered:
            return classification.regress(handle, request, examples, run, self._check_method_name)

        run = functools.partial(self.run, "Regress")

        return self._counted(request, "Regress" if entrypoint == "GRPC" else "regress", entrypoint, answer)

    def _counted(
        self, request: Any, api: str, entrypoint: str, answer: Callable[[Handle], classification.Answered]
    ) -> Any:
        """Find the version, answer, and count what came of it."""
        name: str = request.model_spec.name
        with self._metrics.counted(name, api, entrypoint):
            _need_model_spec(request)
            with self._repository.acquire(request.model_spec) as handle:
                answered = answer(handle)
        self._metrics.example_counts.series((name,)).add(answered.examples)
        self._metrics.example_count_total.add((name,), answered.examples)
        return answered.response

    def _multi_inference(self, request: bytes, _timeout: float | None) -> bytes:
        message, examples = self._with_examples(messages.MultiInferenceRequest, request)
        spec = message.tasks[0].model_spec if message.tasks else messages.ModelSpec()
        with self._repository.acquire(spec) as handle:
            run = functools.partial(self.run, None)
            answered = classification.multi_inference(handle, message, examples, run)
        self._metrics.example_counts.series((handle.name,)).add(answered.examples)
        self._metrics.example_count_total.add((handle.name,), answered.examples)
        return _bytes(answered.response)

    def _get_model_metadata(self, request: bytes, _timeout: float | None) -> bytes:
        return _bytes(self.model_metadata(checked(messages.GetModelMetadataRequest, request)))

    def model_metadata(self, request: Any) -> Any:
        """The GetModelMetadataResponse to a GetModelMetadataRequest. Raises `Refusal`."""
        _need_model_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise invalid(f"Metadata field {field} is not supported")
        response = messages.GetModelMetadataResponse()
        with self._repository.acquire(request.model_spec) as handle:
            signatures = messages.SignatureDefMap()
            for key, signature in handle.servable.signatures.items():
                signatures.signature_def[key].CopyFrom(signature)
            response.model_spec.name = handle.name
            response.model_spec.version.value = handle.version
            response.metadata[_SIGNATURES].Pack(signatures)
        return response

    def _get_model_status(self, request: bytes, _timeout: float | None) -> bytes:
        return _bytes(self.model_status(checked(messages.GetModelStatusRequest, request)))

    def model_status(self, request: Any) -> Any:
        """The GetModelStatusResponse to a GetModelStatusRequest; labels are ignored. Raises `Refusal`."""
        _need_model_spec(request)
        name: str = request.model_spec.name
        number = request.model_spec.version.value if request.model_spec.HasField("version") else None
        statuses = self._repository.statuses(name, number)
        if not statuses:
            wanted = f"version {number}" if number is not None else "any versions"
            raise Refusal(Code.NOT_FOUND, f"Could not find {wanted} of model {name}")
        response = messages.GetModelStatusResponse()
        for version, state, error in statuses:
            status = response.model_version_status.add(version=version, state=int(state))
            status.status.SetInParent()
            if error is not None:
                status.status.error_code = int(error.code)
                status.status.error_message = error.text
        return response

    def _reload_config(self, request: bytes, timeout: float | None) -> bytes:
        message = checked(messages.ReloadConfigRequest, request, MOST_FIELDS)
        if message.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        before = {name: self._metrics.total(name) for name in message.metric_names}
        self._repository.reload(message.config, timeout)
        response = messages.ReloadConfigResponse()
        response.status.SetInParent()
        for name in message.metric_names:
            response.metric.add(name=name, int64_value_increase=self._metrics.total(name) - before[name])
        return _bytes(response)


def _bytes(response: Any) -> bytes:
    serialised: bytes = response.SerializeToString()
    return serialised


def _need_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
