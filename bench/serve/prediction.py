"""What does a PredictRequest ask for, is it well-formed, and what is the PredictResponse to it?

Pure request semantics in TensorFlow Serving's order and words (reference, sections 2 and 3). `prepare` turns
request bytes into a `Prepared` that holds its model version; whoever executes it may `stack` any number of
`Prepared` of one `Group`, run the servable once, and give the outputs back to `answer_all`. What is known of a
request's bytes from an equal one before it is not worked out again: see `bench.serve.layout`.
"""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final

from google.protobuf.message import DecodeError

from bench.serve import layout
from bench.serve.metrics import Metrics
from bench.serve.prepared import Group, Prepared, divide, divisible, grouped, stack
from bench.serve.repository import Repository
from bench.serve.response import Responses
from bench.serve.servable import Code, Handle, Refusal
from bench.serve.tensors import MAX_FILLED, Array, Unreadable, decode
from bench.wire.messages import PredictRequest

__all__ = ["Group", "Predictions", "Prepared", "divide", "divisible", "stack"]

DEFAULT_SIGNATURE: Final = "serving_default"
METHODS: Final = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")


class Predictions:
    """Predict against the versions of a repository."""

    def __init__(
        self,
        repository: Repository,
        *,
        metrics: Metrics | None = None,
        check_method_name: bool = False,
        as_content: bool = False,
        max_filled: int = MAX_FILLED,
    ) -> None:
        self._repository = repository
        self._metrics = metrics or Metrics()
        self._check_method_name = check_method_name
        self._responses = Responses(as_content)
        self._max_filled = max_filled

    def prepare(self, request: bytes) -> Prepared:
        """Parse and validate a serialised PredictRequest. Raises `Refusal`; then nothing is held."""
        serving = self._repository.serving
        for known in serving.layouts.get(len(request), ()):
            if request.startswith(known.prefix) and request.endswith(known.suffix):
                group: Group = known.group
                group.handle.hold()
                if serving is self._repository.serving:
                    return Prepared(group, known.rows, None, request, known.span)
                # the versions have changed in between: look again
                group.handle.release()
                break
        return self._parse(request)

    def bind(
        self, handle: Handle, signature: str, inputs: dict[str, Array], outputs: tuple[str, ...] = ()
    ) -> Prepared:
        """A `Prepared` of arrays for an already held version; no outputs named: all of the signature."""
        if not outputs:
            outputs = tuple(sorted(handle.servable.signatures[signature].outputs))
        return Prepared(*grouped(handle, signature, inputs, outputs), inputs, b"", layout.NOWHERE)

    def answer(self, prepared: Prepared, outputs: Mapping[str, Array]) -> bytes:
        """The serialised PredictResponse for the outputs of this request alone; releases the version."""
        return self.answer_all([prepared], outputs)[0]

    def give_up(self, prepared: Prepared, refusal: Refusal) -> None:
        """The request ends with a refusal: release its version and count it."""
        prepared.group.handle.release()
        self._metrics.request_count.add((prepared.group.handle.name, refusal.code.name))

    def answer_all(self, batch: Sequence[Prepared], outputs: Mapping[str, Array]) -> list[bytes]:
        """The serialised PredictResponses to requests that were run as one; releases their versions.

        `outputs` are those of `stack(batch)`; whether they can be told apart is what `divisible` says.
        """
        group = batch[0].group
        try:
            answers = self._responses.all(group, batch, outputs)
        except Refusal as refusal:
            self._metrics.request_count.add((group.handle.name, refusal.code.name), len(batch))
            raise
        finally:
            for _ in batch:
                group.handle.release()
        now = perf_counter()
        self._metrics.request_count.add((group.handle.name, "OK"), len(batch))
        self._metrics.request_latency.series((group.handle.name, "Predict", "GRPC")).extend(
            [(now - prepared.started) * 1e6 for prepared in batch]
        )
        return answers

    def _parse(self, request: bytes) -> Prepared:
        try:
            message = PredictRequest.FromString(request)
        except DecodeError:
            raise Refusal(Code.INTERNAL, "") from None
        try:
            return self._checked(request, message)
        except Refusal as refusal:
            self._metrics.request_count.add((message.model_spec.name, refusal.code.name))
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
        prepared = Prepared(group, rows, inputs, b"", layout.NOWHERE)
        if group.batched and len(inputs) == 1:
            layout.learn(serving.layouts, request, message, group, rows)
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

    def _inputs(self, signature: Any, given: Any) -> dict[str, Array]:
        wanted = signature.inputs
        if len(given) > len(wanted) or (len(given) < len(wanted) and not signature.defaults):
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"input size does not match signature: {len(given)}!={len(wanted)} len({{{_names(given)}}}) != "
                f"len({{{_names(wanted)}}}). Sent extra: {{{_names(set(given) - set(wanted))}}}. "
                f"Missing but required: {{{_names(set(wanted) - set(given))}}}.",
            )
        arrays: dict[str, Array] = {}
        used = 0
        for alias in sorted(wanted):
            if alias in given:
                tensor = given[alias]
                used += 1
            elif alias in signature.defaults:
                tensor = signature.defaults[alias]
            else:
                raise Refusal(
                    Code.INVALID_ARGUMENT,
                    f"Signature input alias: {alias}(feed name: {wanted[alias].name}) not found in request and no "
                    f"default value provided. Inputs expected to be in the request {{{_names(given)}}}, or default "
                    f"input alias set: {_names(signature.defaults)}",
                )
            try:
                arrays[alias] = decode(tensor, self._max_filled)
            except Unreadable:
                raise Refusal(Code.INVALID_ARGUMENT, f"tensor parsing error: {alias}") from None
        if used != len(given):
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"Inputs contains invalid name. Used request inputs: {_names(set(given) & set(wanted))}, "
                f"request input: {_names(given)}",
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
