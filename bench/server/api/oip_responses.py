"""Serialization of ModelInferResponses, as few copies as `bench.server.api.response` makes of PredictResponses.

Where there is one output whose values are memory, it stands at the end: as raw contents, or as the packed field of the
last part of the last output. What comes out is what protobuf would write (tests/server/test_oip_execution.py).
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from bench import BenchError
from bench.protocol import oip_tensors
from bench.protocol.oip_messages import ModelInferResponse
from bench.server.api.prepared import Group
from bench.server.api.response import remember
from bench.server.api.tensors import Array
from bench.server.refusal import Code, Refusal

_PACKED_MEMORY: Final = ("FP32", "FP64", "BOOL")
"""Datatypes whose packed typed field is the values' memory."""


class InferResponses:
    """Responses to requests of one id, with raw or typed contents."""

    __slots__ = ("_id", "_raw")

    def __init__(self, identity: str, raw: bool) -> None:
        self._id, self._raw = identity, raw

    def head(self, group: Group, alias: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes | None:
        """As `bench.server.api.prepared.Form.head`."""
        key = (alias, dtype, shape, self._id, self._raw)
        known = group.heads.get(key)
        if known is not None:
            return known
        zeros = np.zeros(shape, dtype)
        try:
            datatype = oip_tensors.datatype_of(zeros)
            if datatype == "BYTES" or not (self._raw or datatype in _PACKED_MEMORY):
                return None
            whole = self._written(group, {alias: zeros}, (alias,))
        except BenchError:
            return None
        return remember(group, key, whole[: len(whole) - math.prod(shape) * dtype.itemsize])

    def tail(self, group: Group) -> bytes:
        """Nothing."""
        return b""

    def single(self, group: Group, outputs: Mapping[str, Array]) -> bytes:
        """A serialised ModelInferResponse. Raises `Refusal` where an output has no datatype, or no typed contents."""
        if len(group.outputs) == 1:
            (alias,) = group.outputs
            array = outputs[alias]
            start = self.head(group, alias, array.dtype, array.shape)
            if start is not None:
                return start + array.tobytes()
        try:
            return self._written(group, outputs, group.outputs)
        except BenchError as error:
            raise Refusal(
                Code.UNIMPLEMENTED, f"an output has no datatype or no typed contents here: {error}"
            ) from None

    def _written(self, group: Group, outputs: Mapping[str, Array], aliases: tuple[str, ...]) -> bytes:
        """By protobuf. Raises BenchError."""
        response = ModelInferResponse(
            model_name=group.handle.name, model_version=str(group.handle.version), id=self._id
        )
        for alias in aliases:
            array = outputs[alias]
            tensor = response.outputs.add(
                name=alias, datatype=oip_tensors.datatype_of(array), shape=array.shape
            )
            if self._raw:
                response.raw_output_contents.append(oip_tensors.raw_of(array))
            else:
                oip_tensors.fill(tensor.contents, array)
        content: bytes = response.SerializeToString()
        return content
