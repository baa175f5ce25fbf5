"""Serialization of PredictResponses in a few copies.

Serialised, a float tensor is a head that depends on its name, dtype and shape only, followed by its memory; the
model_spec at the end depends on the version only. Heads are remembered, so that an answer is three byte strings
joined. What comes out is what protobuf would write (tests/server/test_response.py).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from bench.server.api.prepared import Form, Group, Prepared, PreparedBurst, divide
from bench.server.api.tensors import Array, encode, head
from bench.server.refusal import Code, Refusal
from bench.wire.messages import PredictResponse
from bench.wire.request_rows import Alike
from bench.wire.tensors import delimited

_MAX_HEADS: Final = 256
"""Heads that are remembered for each group; past them they are forgotten and made again."""

_OUTPUTS: Final = PredictResponse.DESCRIPTOR.fields_by_name["outputs"].number


class Responses:
    """Serialises outputs, in typed fields or as `tensor_content`."""

    def __init__(self, as_content: bool) -> None:
        self._as_content = as_content

    def single(self, group: Group, outputs: Mapping[str, Array]) -> bytes:
        """The PredictResponse with these outputs. Raises `Refusal` where one is missing."""
        parts = []
        for alias in group.outputs:
            array = outputs.get(alias)
            if array is None:
                raise Refusal(Code.UNKNOWN, "Predict internal error")
            start = self.head(group, alias, array.dtype, array.shape)
            if start is None:
                parts.append(_entry(alias, encode(array, self._as_content)))
            else:
                parts += (start, array.tobytes())
        parts.append(group.tail)
        return b"".join(parts)

    def tail(self, group: Group) -> bytes:
        """The model_spec."""
        return group.tail

    def head(self, group: Group, alias: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes | None:
        """What stands before the memory of an output of this dtype and shape in the response."""
        key = (alias, dtype, shape, self._as_content)
        known = group.heads.get(key)
        if known is not None:
            return known
        start = head(dtype, shape, self._as_content)
        if start is None:
            return None
        payload = bytes(math.prod(shape) * dtype.itemsize)
        entry = _entry(alias, start + payload)
        return remember(group, key, entry[: len(entry) - len(payload)])


def remember(group: Group, key: Any, head: bytes) -> bytes:
    """Keep a head for the next response of this group."""
    if len(group.heads) >= _MAX_HEADS:
        group.heads.clear()
    group.heads[key] = head
    return head


def responses_to(
    form: Form, group: Group, batch: Sequence[Prepared], outputs: Mapping[str, Array]
) -> list[bytes]:
    """The response of one form to each request of a batch that was run as one. Raises `Refusal`."""
    if len(batch) == 1:
        return [form.single(group, outputs)]
    answers = _of_one_output(form, group, batch, outputs)
    if answers is None:
        answers = [form.single(group, part) for part in divide(batch, outputs)]
    return answers


def _of_one_output(
    form: Form, group: Group, batch: Sequence[Prepared], outputs: Mapping[str, Array]
) -> list[bytes] | None:
    """The answers by cutting the memory of the only output; None where that is not possible."""
    if len(group.outputs) != 1:
        return None
    alias = group.outputs[0]
    array = outputs.get(alias)
    if array is None:
        return None
    inner, dtype = array.shape[1:], array.dtype
    size = math.prod(inner) * dtype.itemsize
    memory = array.tobytes()
    tail = form.tail(group)
    answers, at = [], 0
    rows: int | None = None
    start = b""
    for prepared in batch:
        if prepared.rows != rows:
            rows = prepared.rows
            known = form.head(group, alias, dtype, (rows, *inner))
            if known is None:
                return None
            start = known
        end = at + prepared.rows * size
        answers.append(start + memory[at:end] + tail)
        at = end
    return answers


def responses_in_rows(
    usual: Form, group: Group, batch: Sequence[PreparedBurst], outputs: Mapping[str, Array]
) -> list[Alike] | None:
    """The responses to requests that came in rows; usual: of those that have no form of their own.

    `outputs` begin with theirs. None where the responses are not pieces of the only output's memory.
    """
    alias = group.outputs[0]
    array = outputs.get(alias)
    if array is None:
        return None
    answers, at = [], 0
    for burst in batch:
        form = burst.form or usual
        rows = burst.rows // burst.count
        start = form.head(group, alias, array.dtype, (rows, *array.shape[1:]))
        if start is None:
            return None
        values = np.ascontiguousarray(array[at : at + burst.rows]).view(np.uint8).reshape(burst.count, -1)
        at += burst.rows
        answers.append(Alike(start, values, form.tail(group)))
    return answers


def _entry(alias: str, tensor: bytes) -> bytes:
    return delimited(_OUTPUTS, delimited(1, alias.encode()) + delimited(2, tensor))
