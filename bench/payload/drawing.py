"""Draw the examples of each of a pool's messages, and the number of messages."""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench import BenchError
from bench.payload.arrays import bytes_per_example
from bench.payload.asked import Asked, Unset

POOL_BYTES: Final = 32 * 2**20
"""A pool takes no more memory than this, unless its size is given."""
LARGEST_REQUEST: Final = 2**31 - 1 - 4096
"""Bytes of examples; protobuf and gRPC end at 2^31 - 1, the rest is for names and shapes."""
LEAST_MESSAGES: Final = 16
"""At large batches so many different messages are made, even where fewer would hold every example."""


def pinned(
    spec: Asked | None, version: int | Unset | None, label: str | Unset | None
) -> tuple[int | None, str | None]:
    """Version and label of a pool: what is given goes before what was asked for."""
    named = (spec.version, spec.label) if spec else (None, None)
    if isinstance(version, Unset):
        version = named[0] if isinstance(label, Unset) or label is None else None
    if isinstance(label, Unset):
        label = named[1] if version is None else None
    return version, label


def batch_of(batch: int | None, spec: Asked | None, *, batched: bool) -> int:
    """Examples per request. Raises BenchError for a number that the model does not take."""
    if batch is None:
        batch = spec.batch if spec else 1
    if batch < 1:
        raise BenchError(f"batch {batch}: a request has at least one example")
    if not batched and batch > 1:
        raise BenchError(f"batch {batch}: a model without batch dimension (batched=False) takes 1 example")
    return batch


def drawn(count: int, batch: int, size: int, seed: int) -> npt.NDArray[np.int64]:
    """[size, batch]: which examples each message holds."""
    rng = np.random.default_rng(seed)
    passes = math.ceil(size * batch / count)
    drawn = np.concatenate([rng.permutation(count) for _ in range(passes)])[: size * batch]
    return drawn.reshape(size, batch)


def messages_for(
    arrays: Mapping[str, npt.NDArray[Any]],
    constants: Mapping[str, npt.NDArray[Any]],
    count: int,
    batch: int,
) -> int:
    """How many messages a pool of these examples holds. Raises BenchError where one would be too large."""
    if not arrays:
        return 1
    each = sum(bytes_per_example(array) for array in arrays.values())
    per_message = batch * each + sum(bytes_per_example(array[np.newaxis]) for array in constants.values())
    if per_message > LARGEST_REQUEST:
        raise BenchError(
            f"batch {batch}: a request of {per_message:,.0f} bytes; no message holds more than {LARGEST_REQUEST}: "
            f"take at most {int(LARGEST_REQUEST / each)} examples (--batch-size)"
        )
    wanted = max(math.ceil(count / batch), LEAST_MESSAGES)
    return max(1, min(wanted, int(POOL_BYTES / max(per_message, 1))))
