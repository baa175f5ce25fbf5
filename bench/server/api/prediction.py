"""PredictRequests checked and resolved, and their PredictResponses.

Pure request semantics in TensorFlow Serving's order and words (servables/tensorflow/predict_impl.cc). `prepare` turns
request bytes into a `Prepared` that holds its model version; whoever executes it may `stack` any number of
`Prepared` of one `Group`, run the servable once, and give the outputs back to `answer_all`. What is known of a
request's bytes from an equal one before it is not worked out again: see `bench.server.request_layouts`.
"""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final, NamedTuple

from bench.server import request_layouts
from bench.server.api.packed_numbers import check_fields, parsed
from bench.server.api.prepared import (
    Group,
    Prepared,
    PreparedBurst,
    Recognition,
    divide,
    divisible,
    grouped,
    stack,
)
from bench.server.api.response import Responses, responses_in_rows, responses_to
from bench.server.api.tensors import Array, Unreadable, decode
from bench.server.metrics import Metrics
from bench.server.models.repository import Repository
from bench.server.models.servable import Handle
from bench.server.refusal import Code, Refusal
from bench.server.unforeseen import unforeseen
from bench.wire.messages import PredictRequest
from bench.wire.request_rows import Alike, Bytes

__all__ = ["Group", "Predictions", "Prepared", "PreparedBurst", "divide", "divisible", "stack"]

DEFAULT_SIGNATURE: Final = "serving_default"
METHODS: Final = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")


class Executed(NamedTuple):
    """A method whose requests are executed together where they may be."""

    kind: Any
    """The class of its requests."""
    prepare: Callable[[bytes], Prepared]
    """Parses and validates a serialised request. Raises `Refusal`, or `Heavy` for one that has to be `lightened`
    elsewhere; then nothing is held."""
    prepare_light: Callable[[bytes], Prepared]
    """The same for one that was."""
    prepare_burst: Callable[[Bytes], PreparedBurst | None]
    """The same for serialised requests of one length, [requests, bytes], that have one known layout; None: they have to be
    prepared one by one."""


class Predictions:
    """Predict against the versions of a repository."""

    def __init__(
        self,
        repository: Repository,
        *,
        metrics: Metrics | None = None,
        check_method_name: bool = False,
        as_content: bool = False,
    ) -> None:
        self._repository = repository
        self._known = Recognition(repository, lambda serving: serving.layouts)
        self._metrics = metrics or Metrics()
        self._check_method_name = check_method_name
        self._responses = Responses(as_content)

    def prepare(self, request: bytes) -> Prepared:
        """Parse and validate a serialised PredictRequest.

        Raises `Refusal`, or `Heavy` for one that has to be `lightened` elsewhere; then nothing is held.
        """
        known = self._known.single(request)
        if known is not None:
            return known
        check_fields(PredictRequest, request)
        return self.prepare_light(request)

    def prepare_burst(self, requests: Bytes) -> PreparedBurst | None:
        """As `Executed.prepare_burst`."""
        return self._known.row(requests)

    def bind(
        self, handle: Handle, signature: str, inputs: dict[str, Array], outputs: tuple[str, ...] = ()
    ) -> Prepared:
        """A `Prepared` of arrays for an already held version; no outputs named: all of the signature."""
        if not outputs:
            outputs = tuple(sorted(handle.servable.signatures[signature].outputs))
        return Prepared(*grouped(handle, signature, inputs, outputs), inputs, b"", request_layouts.NOWHERE)

    def answer(self, prepared: Prepared, outputs: Mapping[str, Array]) -> bytes:
        """The serialised PredictResponse for the outputs of this request alone; releases the version.

        Raises `Refusal` where no response can hold the outputs.
        """
        result = self.answer_all([prepared], outputs)[0]
        if isinstance(result, Refusal):
            raise result
        return result

    def give_up(self, prepared: Prepared, refusal: Refusal) -> None:
        """The request ends with a refusal: release its version and count it."""
        self.end([prepared], [refusal])

    def answer_all(self, batch: Sequence[Prepared], outputs: Mapping[str, Array]) -> list[bytes | Refusal]:
        """`serialise` and `end` in one go, for requests that are answered at once."""
        results = self.serialise(batch, outputs)
        self.end(batch, results)
        return results

    def serialise(self, batch: Sequence[Prepared], outputs: Mapping[str, Array]) -> list[bytes | Refusal]:
        """The PredictResponse to each of the requests that were run as one, or why it can have none.

        `outputs` are those of `stack(batch)`; whether they can be told apart is what `divisible` says. The
        versions stay held.
        """
        try:
            return [*self._written(batch, outputs)]
        except Exception as error:  # noqa: BLE001 - one output that cannot be written must not cost the others
            if len(batch) == 1:
                return [error if isinstance(error, Refusal) else unforeseen(error, "a response")]
        parts = divide(batch, outputs)
        return [self.serialise([request], part)[0] for request, part in zip(batch, parts, strict=True)]

    def _written(self, batch: Sequence[Prepared], outputs: Mapping[str, Array]) -> list[bytes]:
        group, form = batch[0].group, batch[0].form
        if form is None or all(prepared.form is form for prepared in batch):
            return responses_to(form or self._responses, group, batch, outputs)
        pairs = zip(batch, divide(batch, outputs), strict=True)
        return [(prepared.form or self._responses).single(group, part) for prepared, part in pairs]

    def answer_bursts(
        self, batch: Sequence[PreparedBurst], outputs: Mapping[str, Array]
    ) -> list[Alike] | None:
        """The PredictResponses to requests that came in rows; releases the versions.

        `outputs` begin with theirs. None: they have to be answered one by one, and still hold their versions.
        """
        group, metrics = batch[0].group, self._metrics
        name = group.handle.name
        answers = responses_in_rows(self._responses, group, batch, outputs)
        if answers is None:
            group.in_rows = False
            return None
        now = perf_counter()
        waited = [each for burst in batch for each in [(now - burst.started) * 1e6] * burst.count]
        for _ in batch:
            group.handle.release()
        metrics.runtime_latency.series((name, group.api, "TF1")).extend(waited)
        metrics.request_latency.series((name, group.api, "GRPC")).extend(waited)
        metrics.request_count.add((name, "OK"), len(waited))
        return answers

    def ran(self, batch: Sequence[Prepared]) -> None:
        """The model's run for these requests has succeeded now: count it for each, with its wait for the run."""
        now, group = perf_counter(), batch[0].group
        self._metrics.runtime_latency.series((group.handle.name, group.api, "TF1")).extend(
            [(now - prepared.started) * 1e6 for prepared in batch]
        )

    def end(self, batch: Sequence[Prepared], results: Sequence[bytes | Refusal]) -> None:
        """These requests of one version are answered now: release it, and count what became of them."""
        group, metrics = batch[0].group, self._metrics
        handle = group.handle
        for _ in batch:
            handle.release()
        refused = [result.code.name for result in results if isinstance(result, Refusal)]
        if refused:
            for code in refused:
                metrics.request_count.add((handle.name, code))
            answered = zip(batch, results, strict=True)
            batch = [prepared for prepared, result in answered if not isinstance(result, Refusal)]
            if not batch:
                return
        now = perf_counter()
        metrics.request_count.add((handle.name, "OK"), len(batch))
        metrics.request_latency.series((handle.name, group.api, "GRPC")).extend(
            [(now - prepared.started) * 1e6 for prepared in batch]
        )

    def prepare_light(self, request: bytes) -> Prepared:
        """As `prepare`, for a request that is not weighed, since it was `lightened`."""
        message = parsed(PredictRequest, request)
        try:
            return self._checked(request, message)
        except Refusal as refusal:
            self._metrics.request_count.add((message.model_spec.name, refusal.code.name))
            raise
        except Exception:
            self._metrics.request_count.add((message.model_spec.name, Code.INTERNAL.name))
            raise

    def _checked(self, request: bytes, message: Any) -> Prepared:
        if not message.HasField("model_spec"):
            raise Refusal(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        serving = self._repository.serving
        handle = self._repository.acquire(message.model_spec)
        try:
            name = message.model_spec.signature_name or DEFAULT_SIGNATURE
            inputs, outputs = self._validated(handle, name, message)
            group, rows = grouped(handle, name, inputs, outputs)
        except BaseException:
            handle.release()
            raise
        prepared = Prepared(group, rows, inputs, b"", request_layouts.NOWHERE)
        if group.batched and len(inputs) == 1:
            request_layouts.learn(serving.layouts, request, message, group, rows)
        return prepared

    def _validated(self, handle: Handle, name: str, message: Any) -> tuple[dict[str, Array], tuple[str, ...]]:
        signature = handle.servable.signatures.get(name)
        if signature is None:
            raise Refusal(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        self.allow(signature)
        return self._inputs(signature, message.inputs), _wanted(signature, message.output_filter)

    def allow(self, signature: Any) -> None:
        """Raises `Refusal` for a signature of another kind, where these are checked."""
        if self._check_method_name and signature.method_name not in METHODS:
            raise Refusal(
                Code.INTERNAL,
                "Expected prediction signature method_name to be one of "
                f"{{{', '.join(METHODS)}}}. Was: {signature.method_name}",
            )

    def _inputs(self, signature: Any, sent: Any) -> dict[str, Array]:
        wanted = signature.inputs
        if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{_names(sent)}}}) != "
                f"len({{{_names(wanted)}}}). Sent extra: {{{_names(set(sent) - set(wanted))}}}. "
                f"Missing but required: {{{_names(set(wanted) - set(sent))}}}.",
            )
        arrays: dict[str, Array] = {}
        used = 0
        for alias in sorted(wanted):
            if alias in sent:
                tensor = sent[alias]
                used += 1
            elif alias in signature.defaults:
                tensor = signature.defaults[alias]
            else:
                raise Refusal(
                    Code.INVALID_ARGUMENT,
                    f"Signature input alias: {alias}(feed name: {wanted[alias].name}) not found in request and no "
                    f"default value provided. Inputs expected to be in the request {{{_names(sent)}}}, or default "
                    f"input alias set: {_names(signature.defaults)}",
                )
            try:
                arrays[alias] = decode(tensor)
            except Unreadable:
                raise Refusal(Code.INVALID_ARGUMENT, f"tensor parsing error: {alias}") from None
        if used != len(sent):
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"Inputs contains invalid name. Used request inputs: {_names(set(sent) & set(wanted))}, "
                f"request input: {_names(sent)}",
            )
        return arrays


def _wanted(signature: Any, output_filter: Sequence[str]) -> tuple[str, ...]:
    seen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_names(signature.outputs)}}}.",
            )
        if alias in seen:
            raise Refusal(Code.INVALID_ARGUMENT, f"duplicate output tensor alias: {alias}")
        seen.append(alias)
    return tuple(seen) or tuple(sorted(signature.outputs))


def _names(names: Any) -> str:
    return ",".join(sorted(names))
