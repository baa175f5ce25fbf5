"""Signatures of models, and what a request does not have in common with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.wire import messages


@dataclass(frozen=True)
class Tensor:
    """An input or output of a signature."""

    dtype: str
    shape: tuple[int, ...] | None
    """-1: any; None: even the number of dimensions is not fixed."""

    def __str__(self) -> str:
        return f"{self.dtype} {'of any shape' if self.shape is None else list(self.shape)}"

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape is one of these."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            fixed in (-1, size) for fixed, size in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model."""

    method: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    optional: tuple[str, ...] = ()
    """Inputs that have a default value: a request may leave them out."""


def public(signatures: Mapping[str, Signature]) -> str:
    """The names of the signatures that are meant to be called."""
    return ", ".join(name for name in signatures if not name.startswith("__")) or "none"


def dtype_name(number: int) -> str:
    """`float` for DT_FLOAT; `type 99` for one that this client does not know."""
    known = messages.types_pb2.DataType.values()
    return messages.types_pb2.DataType.Name(number)[3:].lower() if number in known else f"type {number}"


@dataclass(frozen=True)
class Difference:
    """Something that a request and a signature do not have in common."""

    text: str
    fatal: bool
    """The server refuses such a request; what is not fatal it may accept, such as another shape."""


def differences(signature: Signature, request: Any, output: str | None = None) -> list[Difference]:
    """How a PredictRequest differs from what the signature declares; output: whose values are wanted."""
    listed = []
    names = ", ".join(signature.inputs) or "none"
    for name in sorted(set(request.inputs) - set(signature.inputs)):
        listed.append(Difference(f"input {name!r} is sent, the signature has {names}", fatal=True))
    for name in sorted(set(signature.inputs) - set(request.inputs) - set(signature.optional)):
        listed.append(Difference(f"input {name!r} ({signature.inputs[name]}) is missing", fatal=True))
    for name in sorted(set(request.inputs) & set(signature.inputs)):
        sent, declared = request.inputs[name], signature.inputs[name]
        shape = tuple(dim.size for dim in sent.tensor_shape.dim)
        dtype = dtype_name(sent.dtype)
        if dtype != declared.dtype:
            text = f"input {name!r} is sent as {dtype}, the signature declares {declared.dtype}"
            listed.append(Difference(text, fatal=True))
        if not declared.takes(shape):
            text = f"input {name!r} is sent with shape {list(shape)}, the signature declares {declared}"
            listed.append(Difference(text, fatal=False))
    outputs = ", ".join(signature.outputs) or "none"
    for name in sorted({*request.output_filter, *([output] if output else [])} - set(signature.outputs)):
        listed.append(Difference(f"output {name!r} is wanted, the signature has {outputs}", fatal=True))
    return listed
