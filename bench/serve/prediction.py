"""What does a PredictRequest ask for, is it well-formed, and what is the PredictResponse to it?

Pure request semantics in TensorFlow Serving's order and words (reference, sections 2 and 3). `prepare` turns
request bytes into a `Prepared` that holds its model version; whoever executes it may `stack` any number of
`Prepared` of one `Group`, run the servable once, and give the outputs back to `answer_all`. What is known of a
request's bytes from an equal one before it is not worked out again: see `bench.serve.layout`.
"""

import math
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from bench.serve import layout
from bench.serve.metrics import Metrics
from bench.serve.repository import Repository
from bench.serve.servable import Code, Handle, Refusal
from bench.serve.tensors import MAX_FILLED, Array, Unreadable, decode, delimited, encode, head
from bench.wire.messages import ModelSpec, PredictRequest, PredictResponse

DEFAULT_SIGNATURE: Final = "serving_default"
METHODS: Final = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")

_MAX_GROUPS: Final = 1024
_MAX_HEADS: Final = 1024
"""Bounds of what is remembered for each version and group; past them it is forgotten and learnt again."""

_OUTPUTS: Final = PredictResponse.DESCRIPTOR.fields_by_name["outputs"].number
_MODEL_SPEC: Final = PredictResponse.DESCRIPTOR.fields_by_name["model_spec"].number


class Group:
    """What may be executed together: same version, signature, outputs, dtypes and inner shapes.

    There is one object for each combination, so that a group can be compared by identity and be a dict's key.
    """

    __slots__ = ("batched", "feeds", "handle", "heads", "outputs", "row_items", "signature", "tail")

    def __init__(
        self,
        handle: Handle,
        signature: str,
        feeds: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...],
        outputs: tuple[str, ...],
        batched: bool,
    ) -> None:
        self.handle = handle
        self.signature = signature
        self.feeds = feeds
        """Input alias, dtype and shape: of one row where `batched`, whole where not."""
        self.outputs = outputs
        self.batched = batched
        """Whether all inputs have one size in dimension 0; where not, a request can only be run alone."""
        self.heads: dict[Any, bytes] = {}
        spec = ModelSpec(name=handle.name, signature_name=signature)
        spec.version.value = handle.version
        self.tail: bytes = delimited(_MODEL_SPEC, spec.SerializeToString())
        """The end of each answer: the model_spec with the version that was used."""


class Prepared:
    """A request that was found well-formed, holding its model version until it is answered or given up."""

    __slots__ = ("_inputs", "_request", "_span", "group", "rows", "started")

    def __init__(
        self, group: Group, rows: int, inputs: dict[str, Array] | None, request: bytes, span: slice
    ) -> None:
        self.group = group
        self.rows = rows
        """Size of dimension 0; 1 where the group is not batched."""
        self._inputs = inputs
        self._request = request
        self._span = span
        self.started = perf_counter()

    @property
    def handle(self) -> Handle:
        return self.group.handle

    @property
    def signature(self) -> str:
        return self.group.signature

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.group.outputs

    @property
    def inputs(self) -> dict[str, Array]:
        """Array by input alias; read-only arrays."""
        if self._inputs is None:
            alias, dtype, inner = self.group.feeds[0]
            self._inputs = {alias: np.frombuffer(self._request[self._span], dtype).reshape(self.rows, *inner)}
        return self._inputs

    @property
    def memory(self) -> bytes | None:
        """The values of the only input as they lie in the request; None where they have to be made an array."""
        return self._request[self._span] if self._inputs is None else None

    def release(self) -> None:
        """Release the version without an answer; `answer`, `answer_all` and `give_up` do it themselves."""
        self.group.handle.release()


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
        self._as_content = as_content
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
        return Prepared(*_grouped(handle, signature, inputs, outputs), inputs, b"", layout.NOWHERE)

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
            answers = self._answers(group, batch, outputs)
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

    def _answers(self, group: Group, batch: Sequence[Prepared], outputs: Mapping[str, Array]) -> list[bytes]:
        if len(batch) == 1:
            return [self._response(group, outputs)]
        answers = self._of_one_output(group, batch, outputs)
        if answers is None:
            answers = [self._response(group, part) for part in divide(batch, outputs)]
        return answers

    def _of_one_output(
        self, group: Group, batch: Sequence[Prepared], outputs: Mapping[str, Array]
    ) -> list[bytes] | None:
        """The answers by cutting the memory of the only output; None where that is not possible."""
        if len(group.outputs) != 1:
            return None
        alias = group.outputs[0]
        array = outputs[alias]
        inner, dtype = array.shape[1:], array.dtype
        size = math.prod(inner) * dtype.itemsize
        memory = array.tobytes()
        tail = group.tail
        answers, at, rows = [], 0, 0
        start: bytes | None = b""
        for prepared in batch:
            if prepared.rows != rows:
                rows = prepared.rows
                start = self._head(group, alias, dtype, (rows, *inner))
                if start is None:
                    return None
            end = at + rows * size
            answers.append(start + memory[at:end] + tail)  # type: ignore[operator]  # set with `rows`, never 0 before
            at = end
        return answers

    def _response(self, group: Group, outputs: Mapping[str, Array]) -> bytes:
        parts = []
        for alias in group.outputs:
            array = outputs.get(alias)
            if array is None:
                raise Refusal(Code.UNKNOWN, "Predict internal error")
            start = self._head(group, alias, array.dtype, array.shape)
            if start is None:
                parts.append(_entry(alias, encode(array, self._as_content)))
            else:
                parts += (start, array.tobytes())
        parts.append(group.tail)
        return b"".join(parts)

    def _head(self, group: Group, alias: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes | None:
        """What stands before the memory of an output of this dtype and shape in the response."""
        key = (alias, dtype, shape)
        known = group.heads.get(key)
        if known is not None:
            return known
        start = head(dtype, shape, self._as_content)
        if start is None:
            return None
        payload = bytes(math.prod(shape) * dtype.itemsize)
        entry = _entry(alias, start + payload)
        if len(group.heads) >= _MAX_HEADS:
            group.heads.clear()
        group.heads[key] = found = entry[: len(entry) - len(payload)]
        return found

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
            group, rows = _grouped(handle, name, inputs, outputs)
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
        if self._check_method_name and signature.method_name not in METHODS:
            raise Refusal(
                Code.INTERNAL,
                "Expected prediction signature method_name to be one of "
                f"{{{', '.join(METHODS)}}}. Was: {signature.method_name}",
            )
        return self._inputs(signature, message.inputs), _wanted(signature, message.output_filter)

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


def stack(batch: Sequence[Prepared]) -> dict[str, Array]:
    """The inputs of requests of one batched group, one below the other: array by alias, sum of rows in dimension 0."""
    group = batch[0].group
    if len(batch) == 1:
        return batch[0].inputs
    memories = [prepared.memory for prepared in batch]
    if None not in memories:
        alias, dtype, inner = group.feeds[0]
        joined = np.frombuffer(b"".join(memories), dtype)  # type: ignore[arg-type]  # no None among them
        return {alias: joined.reshape(-1, *inner)}
    return {
        alias: np.concatenate([prepared.inputs[alias] for prepared in batch]) for alias, _, _ in group.feeds
    }


def divisible(batch: Sequence[Prepared], outputs: Mapping[str, Array]) -> bool:
    """Whether each output has a row for each row that was put in, so that it can be divided."""
    rows = sum(prepared.rows for prepared in batch)
    return all(array.ndim > 0 and array.shape[0] == rows for array in outputs.values())


def divide(batch: Sequence[Prepared], outputs: Mapping[str, Array]) -> list[dict[str, Array]]:
    """The outputs of each request of a batch that was run as one."""
    parts, at = [], 0
    for prepared in batch:
        end = at + prepared.rows
        parts.append({alias: array[at:end] for alias, array in outputs.items()})
        at = end
    return parts


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


def _grouped(
    handle: Handle, signature: str, inputs: Mapping[str, Array], outputs: tuple[str, ...]
) -> tuple[Group, int]:
    heights = {array.shape[0] if array.ndim else None for array in inputs.values()}
    rows = heights.pop() if len(heights) == 1 else None
    batched = rows is not None
    feeds = tuple(
        (alias, array.dtype, array.shape[1:] if batched else array.shape) for alias, array in inputs.items()
    )
    key = (signature, feeds, outputs, batched)
    group: Group | None = handle.groups.get(key)
    if group is None:
        if len(handle.groups) >= _MAX_GROUPS:
            handle.groups.clear()
        group = handle.groups[key] = Group(handle, signature, feeds, outputs, batched)
    return group, 1 if rows is None else rows


def _entry(alias: str, tensor: bytes) -> bytes:
    return delimited(_OUTPUTS, delimited(1, alias.encode()) + delimited(2, tensor))


def _names(names: Any) -> str:
    return ",".join(sorted(names))
