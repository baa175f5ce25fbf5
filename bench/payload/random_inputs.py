"""Random examples for a signature: a load for a model of which no requests are at hand."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from bench import BenchError
from bench.payload.examples import Array, Examples, open_batch, storage_of, takes_batches
from bench.payload.files.values import family, integer_limits
from bench.protocol.signatures import Signature, Tensor
from bench.wording import counted

ANY_LENGTH: Final = "len"
"""Stands for every unknown dimension of an input that is not named itself."""
LARGEST_INTEGER: Final = 100
"""Integers are below it: as indices into a table they should exist there."""
LETTERS: Final = 8
"""Of each random text."""
_TEXT_BYTES: Final = 64
"""Memory that each takes."""
LARGEST: Final = 1 << 30
"""Bytes of all random values together."""
MOST_SIZE: Final = 1 << 31

Sizes = Mapping[str, int | Sequence[int]]


def sizes_of(text: str, where: str = "--shape") -> dict[str, tuple[int, ...]]:
    """The sizes in `len=128,image=224,224`. Raises BenchError."""
    sizes: dict[str, tuple[int, ...]] = {}
    name = ""
    for part in text.replace(" ", ",").split(","):
        left, equals, number = part.rpartition("=")
        if not part:
            continue
        if equals:
            name = left
            if name in sizes:
                raise BenchError(f"{where} {text}: duplicate entry: {name}")
        if not name or not number.isascii() or not number.isdigit() or not 0 < int(number[:12]) < MOST_SIZE:
            raise BenchError(f"{where} {text}: expected NAME=SIZE,..., such as len=128 or image=224,224")
        sizes[name] = (*sizes.get(name, ()), int(number))
    return sizes


def random_examples(signature: Signature, *, count: int, seed: int, sizes: Sizes | None = None) -> Examples:
    """So many examples of random values; equal arguments give equal values.

    sizes: by input, its unknown dimensions after that of the examples, or all dimensions of one example; by
    ANY_LENGTH those of all others. Floats are from 0 to 1, integers below LARGEST_INTEGER, texts of LETTERS letters.
    Optional inputs are left out unless they are named.

    Raises BenchError where a size is missing or fits no input.
    """
    shapes = {name: (size,) if isinstance(size, int) else tuple(size) for name, size in (sizes or {}).items()}
    everywhere = shapes.get(ANY_LENGTH, ())[:1] if ANY_LENGTH not in signature.inputs else ()
    batched = takes_batches(signature)
    names = [name for name in signature.inputs if name not in signature.optional or name in shapes]
    _check(signature, shapes)
    inputs: dict[str, Array] = {}
    constant: dict[str, Array] = {}
    for name in names:
        tensor = signature.inputs[name]
        by_row = batched and open_batch(tensor)
        shape = _shape(name, tensor, shapes.get(name), everywhere, by_row=by_row)
        alone = batched and not by_row
        whole = shape if alone else (count, *shape)
        each = _TEXT_BYTES if tensor.dtype == "string" else storage_of(name, tensor).dtype.itemsize
        if (size := math.prod(whole) * each) > LARGEST:
            raise BenchError(
                f"--shape: input {name!r} of shape {list(whole)} has {size:,} bytes, at most {LARGEST:,} are made"
            )
        rng = np.random.default_rng([seed, *name.encode()])
        (constant if alone else inputs)[name] = _values(rng, tensor, name, whole)
    return Examples(inputs, constant, None, batched, f"random, {counted(count, 'example')}, seed {seed}")


def _check(signature: Signature, shapes: Mapping[str, Sequence[int]]) -> None:
    listed = ", ".join(signature.inputs) or "none"
    for name in shapes:
        if name == "batch" and name not in signature.inputs:
            raise BenchError("--shape batch: the examples in a request are --batch-size")
        if name != ANY_LENGTH and name not in signature.inputs:
            raise BenchError(
                f"--shape {name}: the signature has the inputs {listed}; {ANY_LENGTH} is for all of them"
            )
    if len(shapes.get(ANY_LENGTH, (1,))) != 1 and ANY_LENGTH not in signature.inputs:
        raise BenchError(f"--shape {ANY_LENGTH}: expected one size, for every unknown dimension")


def _shape(
    name: str, tensor: Tensor, sizes: Sequence[int] | None, everywhere: Sequence[int], *, by_row: bool
) -> tuple[int, ...]:
    """Of one example, or of a request where it has no examples."""
    if tensor.shape is None:
        if sizes is None:
            raise BenchError(
                f"input {name!r} is {tensor}: --shape {name}=SIZE,... gives the shape of one example for random values"
            )
        return tuple(sizes)
    declared = tensor.shape[1:] if by_row else tensor.shape
    unknown = declared.count(-1)
    if sizes is None and everywhere:
        sizes = (*everywhere,) * unknown
    if sizes is None and not unknown:
        return declared
    if sizes is None:
        example = ",".join(["128"] * unknown)
        raise BenchError(
            f"input {name!r} is {tensor}, with unknown sizes: --shape {name}={example} (or {ANY_LENGTH}=128) gives them "
            "for random values"
        )
    if len(sizes) == unknown:
        filling = iter(sizes)
        return tuple(next(filling) if size == -1 else size for size in declared)
    if len(sizes) == len(declared) and all(
        fixed in (-1, size) for fixed, size in zip(declared, sizes, strict=True)
    ):
        return tuple(sizes)
    listed = ",".join(map(str, sizes))
    raise BenchError(
        f"--shape {name}={listed}: the input is {tensor}; {counted(unknown, 'size')} of it to be given"
    )


def _values(rng: np.random.Generator, tensor: Tensor, name: str, shape: tuple[int, ...]) -> Array:
    dtype = storage_of(name, tensor).dtype
    kind = family(dtype)
    if kind == "string":
        return _texts(rng, shape)
    if kind == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if kind == "int":
        plain: Any = dtype[0] if dtype.names else dtype
        below = min(LARGEST_INTEGER, integer_limits(plain)[1] + 1)
        return rng.integers(0, below, shape).astype(plain).view(dtype)
    if kind == "complex":
        return (rng.random(shape) + 1j * rng.random(shape)).astype(dtype)
    return rng.random(shape, np.float32).astype(dtype)


def _texts(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    count = math.prod(shape)
    letters = rng.integers(ord("a"), ord("z") + 1, (count, LETTERS), np.uint8)
    texts = np.empty(count, object)
    texts[:] = [row.tobytes() for row in letters]
    return texts.reshape(shape)
