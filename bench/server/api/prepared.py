"""Checked requests, and which of them may run as one batch."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final, Protocol

import numpy as np

from bench.server.api.tensors import Array
from bench.server.models.servable import Handle
from bench.server.request_layouts import Layouts
from bench.wire.messages import ModelSpec, PredictResponse
from bench.wire.request_rows import Bytes
from bench.wire.tensors import delimited

_MAX_GROUPS: Final = 256
"""Groups that are remembered for each version; past them they are forgotten and made again."""

_MODEL_SPEC: Final = PredictResponse.DESCRIPTOR.fields_by_name["model_spec"].number


PREDICT: Final = "Predict"
"""The API of most requests."""


class Group:
    """A group that may be executed together: same version, signature, outputs, dtypes, inner shapes and API.

    There is one object for each combination, so that a group can be compared by identity and be a dict's key.
    """

    __slots__ = ("api", "batched", "feeds", "handle", "heads", "in_rows", "outputs", "signature", "tail")

    def __init__(
        self,
        handle: Handle,
        signature: str,
        feeds: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...],
        outputs: tuple[str, ...],
        batched: bool,
        *,
        api: str = PREDICT,
    ) -> None:
        self.api = api
        """Under which latencies are counted."""
        self.handle = handle
        self.signature = signature
        self.feeds = feeds
        """Input alias, dtype and shape: of one row where `batched`, whole where not."""
        self.outputs = outputs
        self.batched = batched
        """Whether all inputs have one size in dimension 0; where not, a request can only be run alone."""
        self.in_rows = batched and len(outputs) == 1
        """Whether the answers to a `PreparedBurst` can be cut from the output's memory, as far as is known."""
        self.heads: dict[Any, bytes] = {}
        spec = ModelSpec(name=handle.name, signature_name=signature)
        spec.version.value = handle.version
        self.tail: bytes = delimited(_MODEL_SPEC, spec.SerializeToString())
        """The end of each answer: the model_spec with the version that was used."""


class Form(Protocol):
    """The form of responses."""

    def head(self, group: Group, alias: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes | None:
        """What stands before the memory of an output in the response that has no other; None: it has no memory."""

    def tail(self, group: Group) -> bytes:
        """What stands behind it."""

    def single(self, group: Group, outputs: Mapping[str, Array]) -> bytes:
        """The response with these outputs. Raises `Refusal` where there can be none."""


class Prepared:
    """A request that was found well-formed, holding its model version until it is answered or given up."""

    __slots__ = ("_inputs", "_request", "_span", "form", "group", "rows", "started")

    def __init__(
        self,
        group: Group,
        rows: int,
        inputs: dict[str, Array] | None,
        request: bytes,
        span: slice,
        *,
        form: Form | None = None,
    ) -> None:
        self.group = group
        self.form = form
        """Of the response; None: it is a PredictResponse."""
        self.rows = rows
        """Size of dimension 0; 1 where the group is not batched."""
        self._inputs = inputs
        self._request = request
        self._span = span
        self.started = perf_counter()

    @property
    def handle(self) -> Handle:
        """The version that executes it."""
        return self.group.handle

    @property
    def signature(self) -> str:
        """Its signature's key."""
        return self.group.signature

    @property
    def outputs(self) -> tuple[str, ...]:
        """Aliases of the outputs that it wants."""
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


class PreparedBurst:
    """Well-formed requests of one group that came in a row; together they hold their model version once.

    What runs and answers a `Prepared` reads `group`, `rows`, `inputs` and `memory` of either.
    """

    __slots__ = ("_messages", "_span", "count", "form", "group", "rows", "started")

    def __init__(
        self, group: Group, rows: int, messages: Bytes, span: slice, form: Form | None = None
    ) -> None:
        """Hold a row of requests of one group.

        rows: of each; messages: [requests, bytes]; span: where the only input's memory lies in each; form: as in `Prepared`.
        """
        self.group = group
        self.form = form
        self.count = len(messages)
        self.rows = rows * self.count
        """Of all together."""
        self._messages = messages
        self._span = span
        self.started = perf_counter()

    @property
    def inputs(self) -> dict[str, Array]:
        """Array by input alias; read-only arrays."""
        alias, dtype, inner = self.group.feeds[0]
        return {alias: np.frombuffer(self.memory, dtype).reshape(self.rows, *inner)}

    @property
    def memory(self) -> bytes:
        """The values of the only input, one request's behind the other's."""
        return self._messages[:, self._span].tobytes()

    def each(self) -> list[Prepared]:
        """The requests one by one; each of them holds the version then, and this does not any more."""
        for _ in range(self.count - 1):
            self.group.handle.hold()
        rows = self.rows // self.count
        return [
            Prepared(self.group, rows, None, message.tobytes(), self._span, form=self.form)
            for message in self._messages
        ]


class Recognition:
    """Finds requests whose layout is known."""

    def __init__(self, repository: Any, layouts: Callable[[Any], Layouts]) -> None:
        """repository: its `serving` is what can be called now; layouts: those of it that count."""
        self._repository, self._layouts = repository, layouts

    def single(self, request: bytes) -> Prepared | None:
        """A serialised request of a known layout, with its version held; None: it has to be read."""
        serving = self._repository.serving
        for known in self._layouts(serving).get(len(request), ()):
            if request.startswith(known.prefix) and request.endswith(known.suffix):
                group: Group = known.group
                group.handle.hold()
                if serving is self._repository.serving:
                    return Prepared(group, known.rows, None, request, known.span, form=known.form)
                # the versions have changed in between: look again
                group.handle.release()
                break
        return None

    def row(self, requests: Bytes) -> PreparedBurst | None:
        """The same for requests of one length and one layout, [requests, bytes], that may be answered in rows."""
        serving = self._repository.serving
        for known in self._layouts(serving).get(requests.shape[1], ()):
            group: Group = known.group
            if group.in_rows and known.fits(requests):
                group.handle.hold()
                if serving is self._repository.serving:
                    return PreparedBurst(group, known.rows, requests, known.span, known.form)
                group.handle.release()  # the versions have changed in between
                break
        return None


def grouped(
    handle: Handle,
    signature: str,
    inputs: Mapping[str, Array],
    outputs: tuple[str, ...],
    api: str = PREDICT,
) -> tuple[Group, int]:
    """The group of a request with these inputs, and its rows."""
    heights = {array.shape[0] if array.ndim else None for array in inputs.values()}
    rows = heights.pop() if len(heights) == 1 else None
    batched = rows is not None
    feeds = tuple(
        (alias, array.dtype, array.shape[1:] if batched else array.shape) for alias, array in inputs.items()
    )
    key = (signature, feeds, outputs, batched, api)
    group: Group | None = handle.groups.get(key)
    if group is None:
        if len(handle.groups) >= _MAX_GROUPS:
            handle.groups.clear()
        group = handle.groups[key] = Group(handle, signature, feeds, outputs, batched, api=api)
    return group, 1 if rows is None else rows


def stack(batch: Sequence[Prepared | PreparedBurst]) -> dict[str, Array]:
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


def divisible(batch: Sequence[Prepared | PreparedBurst], outputs: Mapping[str, Array]) -> bool:
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
