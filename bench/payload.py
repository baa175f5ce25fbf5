"""What is sent, and which answers are right?"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from bench import BenchError
from bench.wire.messages import PredictRequest, TensorProto, types_pb2

POOL_BYTES: Final = 32 * 2**20
"""A pool takes no more memory than this, unless its size is given."""
LARGEST_REQUEST: Final = 2**31 - 1 - 4096
"""Bytes of examples; protobuf and gRPC end at 2^31 - 1, the rest is for names and shapes."""
LEAST_MESSAGES: Final = 16
"""At large batches so many different messages are made, even where fewer would hold every example."""

_ENUM: Final[dict[str, int]] = {
    "float16": types_pb2.DT_HALF,
    "bfloat16": types_pb2.DT_BFLOAT16,
    "float32": types_pb2.DT_FLOAT,
    "float64": types_pb2.DT_DOUBLE,
    "int8": types_pb2.DT_INT8,
    "int16": types_pb2.DT_INT16,
    "int32": types_pb2.DT_INT32,
    "int64": types_pb2.DT_INT64,
    "uint8": types_pb2.DT_UINT8,
    "uint16": types_pb2.DT_UINT16,
    "uint32": types_pb2.DT_UINT32,
    "uint64": types_pb2.DT_UINT64,
    "bool": types_pb2.DT_BOOL,
    "complex64": types_pb2.DT_COMPLEX64,
    "complex128": types_pb2.DT_COMPLEX128,
}
"""numpy's dtype names -> tensorflow.DataType (tensorflow/core/framework/types.proto); strings are apart."""

_NUMPY: Final = {
    enum: np.dtype(name).newbyteorder("<") for name, enum in _ENUM.items() if name != "bfloat16"
}  # numpy knows bfloat16 only where ml_dtypes is loaded

_FIELD: Final = {
    "float32": "float_val",
    "float64": "double_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
}
"""The typed field of a TensorProto for each dtype; the small integers share `int_val` (tensor.proto)."""


def tensor_of(array: npt.NDArray[Any]) -> Any:
    """A TensorProto of the array: numbers as `tensor_content` (little-endian), texts and bytes as `string_val`.

    `tensor_content` is 15 to 150 times quicker to build than the typed fields; the bytes on the wire are as many.
    Raises BenchError for a dtype that TensorFlow has not.
    """
    proto = TensorProto()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype.kind in "SUO":
        proto.dtype = types_pb2.DT_STRING
        proto.string_val.extend(_as_bytes(value) for value in array.ravel().tolist())
    else:
        enum = _ENUM.get(array.dtype.name)
        if enum is None:
            raise BenchError(
                f"dtype {array.dtype}: TensorFlow has no such type; use one of {', '.join(_ENUM)}"
            )
        proto.dtype = enum
        proto.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return proto


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise BenchError(f"{value!r}: an array of objects may hold only bytes and str")


def array_of(proto: Any) -> npt.NDArray[Any]:
    """The numbers or bytes of a TensorProto, as servers send them: every value written out.

    [*tensor_shape], of numpy's dtype for the proto's; object (bytes) for strings. Raises ValueError for a proto
    whose values are more or fewer than its shape says, or whose dtype has no array.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    elements = math.prod(shape)
    if min(shape, default=0) < 0 or proto.tensor_shape.unknown_rank:
        raise ValueError(f"shape {shape} is not fully known")
    if proto.dtype == types_pb2.DT_STRING:
        array = np.array([*proto.string_val, None], object)[
            :-1
        ]  # an array of objects for bytes of one length too
    else:
        dtype = _NUMPY.get(proto.dtype)
        if dtype is None:
            raise ValueError(f"dtype {proto.dtype} has no array")
        if proto.tensor_content:
            array = np.frombuffer(proto.tensor_content, dtype)
        else:
            array = _typed_values(proto, dtype)
    if array.size != elements:
        raise ValueError(f"{array.size} values for shape {shape}")
    return array.reshape(shape)


def _typed_values(proto: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.name == "float16":
        return np.array(proto.half_val, np.uint16).view(dtype)
    if dtype.kind == "c":
        values = proto.scomplex_val if dtype.itemsize == 8 else proto.dcomplex_val
        return np.array(values, f"<f{dtype.itemsize // 2}").view(dtype)
    return np.array(getattr(proto, _FIELD.get(dtype.name, "int_val")), dtype)


def predict_request(
    inputs: Mapping[str, npt.NDArray[Any]],
    *,
    model: str,
    signature: str = "",
    version: int | None = None,
    label: str | None = None,
) -> Any:
    """A PredictRequest with these inputs.

    signature: "" lets the server take `serving_default`. version, label: at most one; None for both lets the
    server choose. Raises BenchError where both are given.
    """
    request = PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None and label is not None:
        raise BenchError(f"version {version} and label {label!r}: a request names one of them, not both")
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tensor_of(array))
    return request


@dataclass(frozen=True)
class Pool:
    """Serialised PredictRequests, made once before the load starts, with the labels of their examples.

    Equal arguments give equal bytes. Users walk through a pool by `sequence`.
    """

    messages: tuple[bytes, ...] = field(repr=False)
    labels: npt.NDArray[np.int64] | None = field(repr=False)
    """[messages, batch]; None: it is not known which answer is right."""
    batch: int
    """Examples in each message."""
    output: str
    """The output that is compared with the labels."""
    model: str
    version: int | None
    seed: int
    sha256: str
    """Of the messages, each with its length before it."""
    rows: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    """[messages, batch]: which of the examples stand in each message; None: not known."""
    over_rest: tuple[bytes, ...] | None = field(default=None, repr=False)
    """The messages as HTTP requests, for those that are asked over REST."""

    @classmethod
    def mnist(
        cls,
        images: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        *,
        model: str = "mnist",
        version: int | None = None,
        label: str | None = None,
        signature: str = "predict_images",
        batch: int = 1,
        seed: int = 0,
        size: int | None = None,
    ) -> Self:
        """Requests for digits (images [N, 28, 28, 1], labels [N]) as input `images`, answered by `scores`."""
        return cls.of(
            {"images": images},
            labels,
            output="scores",
            model=model,
            version=version,
            label=label,
            signature=signature,
            batch=batch,
            seed=seed,
            size=size,
        )

    @classmethod
    def of(
        cls,
        examples: Mapping[str, npt.NDArray[Any]],
        labels: npt.NDArray[np.int64] | None,
        *,
        output: str,
        model: str,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        batch: int = 1,
        seed: int = 0,
        size: int | None = None,
    ) -> Self:
        """Requests for any model, whose inputs all have the examples in their first dimension.

        examples: input name -> [N, ...], of any numeric dtype, bool, bytes or str. labels: [N], the index of the
        greatest value that the output should have, or None. size: messages in the pool; None takes so many that
        each example occurs, within POOL_BYTES.

        Examples are drawn without repetition until all were drawn, then again: a pool whose size times batch is
        a multiple of N holds each equally often. Raises BenchError for inputs that do not fit each other.
        """
        count = _count(examples, labels)
        if batch < 1:
            raise BenchError(f"batch {batch}: a request has at least one example")
        if size is None:
            size = _size(examples, count, batch)
        elif size < 1:
            raise BenchError(f"size {size}: a pool has at least one message")
        rng = np.random.default_rng(seed)
        passes = math.ceil(size * batch / count)
        rows = np.concatenate([rng.permutation(count) for _ in range(passes)])[: size * batch].reshape(
            size, batch
        )
        messages = tuple(
            predict_request(
                {name: array[chosen] for name, array in examples.items()},
                model=model,
                signature=signature,
                version=version,
                label=label,
            ).SerializeToString(deterministic=True)
            for chosen in rows
        )
        expected = None if labels is None else labels[rows].astype(np.int64)
        return cls(messages, expected, batch, output, model, version, seed, _sha256(messages), rows)

    def __len__(self) -> int:
        return len(self.messages)

    def sequence(self, stream: int) -> Iterator[int]:
        """Indices of the messages that user number `stream` sends, endlessly.

        Depends on the seed and the stream only, so that the order is the same in however many processes the
        users live. Each user visits all messages before one comes again: a walk with a stride of its own that
        has no common divisor with the size, which needs no memory per user.
        """
        size = len(self.messages)
        rng = np.random.default_rng((self.seed, stream))
        index = int(rng.integers(size))
        stride = int(rng.integers(1, size + 1))
        while math.gcd(stride, size) != 1:
            stride = int(rng.integers(1, size + 1))
        while True:
            yield index
            index = (index + stride) % size


def _count(examples: Mapping[str, npt.NDArray[Any]], labels: npt.NDArray[np.int64] | None) -> int:
    """Examples in every input and in the labels."""
    if not examples:
        raise BenchError("no input: a request needs at least one")
    for name, array in examples.items():
        if array.ndim == 0:
            raise BenchError(f"input {name!r} is a scalar; its first dimension has to be the examples")
    counts = {f"input {name!r}": len(array) for name, array in examples.items()}
    if labels is not None:
        counts["labels"] = len(labels)
    if len(set(counts.values())) != 1:
        raise BenchError(f"different numbers of examples: {', '.join(f'{k} {n}' for k, n in counts.items())}")
    count = next(iter(counts.values()))
    if count == 0:
        raise BenchError("no example: a pool needs at least one")
    return count


def _size(examples: Mapping[str, npt.NDArray[Any]], count: int, batch: int) -> int:
    each = sum(_bytes_per_example(array) for array in examples.values())
    per_message = batch * each
    if per_message > LARGEST_REQUEST:
        raise BenchError(
            f"batch {batch}: a request of {per_message:.3g} bytes; no message holds more than {LARGEST_REQUEST}: "
            f"take at most {int(LARGEST_REQUEST / each)} examples (--batch-size)"
        )
    wanted = max(math.ceil(count / batch), LEAST_MESSAGES)
    return max(1, min(wanted, int(POOL_BYTES / max(per_message, 1))))


def _bytes_per_example(array: npt.NDArray[Any]) -> float:
    if array.dtype.kind == "O":  # nbytes would count pointers
        return sum(len(_as_bytes(value)) for value in array.ravel().tolist()) / len(array)
    return array.nbytes / len(array)


def _sha256(messages: tuple[bytes, ...]) -> str:
    digest = hashlib.sha256()
    for message in messages:
        digest.update(len(message).to_bytes(8, "little"))
        digest.update(message)
    return digest.hexdigest()
