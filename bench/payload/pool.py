"""Pools of requests that are made before the load starts, with the answers that are right."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import numpy as np
import numpy.typing as npt

from bench import BenchError
from bench.payload.arrays import Value, array_from, count_of, labels_from
from bench.payload.asked import UNSET, Asked, Unset
from bench.payload.drawing import POOL_BYTES, batch_of, drawn, messages_for, pinned
from bench.payload.examples import Examples, default_output, size_of
from bench.payload.request_files import read_requests
from bench.protocol.signatures import Signature
from bench.wire.messages import PredictRequest
from bench.wire.tensors import predict_request
from bench.wording import counted

ARGMAX, THRESHOLD, EQUAL = "argmax", "threshold", "equal"
_Pool = TypeVar("_Pool", bound="Pool")
ONCE, AGAIN = "once", "again"
"""How the messages of a pool may be sent: each once, or each once after it was sent before; else again and again."""
_LAG: Final = 256
"""Messages that are sent before one is repeated: longer than requests are under way."""
RULES: Final = (ARGMAX, THRESHOLD, EQUAL)
"""How an output is compared with labels, as docs/own-scenario.md states it."""


@dataclass(frozen=True)
class Pool:
    """Serialised PredictRequests, made once before the load starts, with the labels of their examples.

    They are PredictRequests whatever protocol they are sent by, so that equal pools have an equal checksum.
    Equal arguments give equal bytes. Users walk through a pool by `sequence`.
    """

    messages: tuple[bytes, ...] = field(repr=False)
    labels: npt.NDArray[Any] | None = field(repr=False)
    """[messages, batch], int64 or object (bytes); None: it is not known which answer is right."""
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
    encoded: tuple[bytes, ...] | None = field(default=None, repr=False)
    """The messages in the form in which a protocol sends them (`bench.load.engine.encoding`)."""
    method: str = ""
    """By which call they are sent then."""
    label: str | None = None
    signature: str = ""
    """"": the server's default, `serving_default`."""
    compare: str | None = None
    """One of RULES; None: the one that fits the output (`bench.load.checking.checker`)."""
    threshold: float = 0.5
    """Above it a score means label 1, by the rule `threshold`."""
    by_row: bool = True
    """All inputs have the examples in their first dimension, so that each row of the request can stand alone."""
    sending: str = ""
    """ONCE or AGAIN; empty: users walk through the pool again and again."""
    origin: str = ""
    """Where the examples come from, for the report; empty: the scenario made them."""
    origin_sha256: str = ""
    """Of the file that they come from; empty: there is none."""

    @property
    def distinct_examples(self) -> int:
        """How many examples the messages are made of; 0 where that is not known."""
        return 0 if self.rows is None or not self.rows.size else int(self.rows.max()) + 1

    @classmethod
    def mnist(
        cls,
        images: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        *,
        asked: Asked | None = None,
        model: str | None = None,
        version: int | Unset | None = UNSET,
        label: str | Unset | None = UNSET,
        signature: str | None = None,
        batch: int | None = None,
        seed: int = 0,
        size: int | None = None,
    ) -> Self:
        """Requests for digits (images [N, 28, 28, 1], labels [N]) as input `images`, answered by `scores`."""
        if signature is None:
            signature = (asked and asked.signature) or "predict_images"
        return cls.of(
            {"images": images},
            labels,
            output="scores",
            asked=asked,
            model=model or (asked.model if asked else "mnist"),
            version=version,
            label=label,
            signature=signature,
            batch=batch,
            seed=seed,
            size=size,
            compare=ARGMAX,
        )

    @classmethod
    def of(
        cls,
        examples: Mapping[str, Value],
        labels: Sequence[Any] | npt.NDArray[Any] | None,
        *,
        output: str,
        asked: Asked | None = None,
        model: str | None = None,
        version: int | Unset | None = UNSET,
        label: str | Unset | None = UNSET,
        signature: str | None = None,
        batch: int | None = None,
        seed: int = 0,
        size: int | None = None,
        constant: Mapping[str, Value] | None = None,
        batched: bool = True,
        compare: str | None = None,
        threshold: float = 0.5,
        outputs: Sequence[str] = (),
    ) -> Self:
        """Requests for any model.

        examples: input name -> [N, ...], of any numeric dtype, bool, bytes or str. constant: input name -> what
        every request holds as it is, whatever the batch: a scalar, a vector. batched: False for a model whose inputs
        have no batch dimension: each request holds one example as it is.

        labels: [N], or None. compare: how `output` is compared with them. "argmax": the greatest of an example's
        values stands at the index that the label says. "threshold": the example's one value is above `threshold`
        where the label is 1, and not where it is 0. "equal": the example's one value is the label, a number or a
        text. None: "argmax" for several values, "threshold" for one floating-point number, else "equal".

        asked: what the command line says (`**options.asked.request()`); model, version, label, signature and batch
        go before it. outputs: those that the answer should hold, with `output` among them; none: all.

        size: messages in the pool; None takes so many that each example occurs, within POOL_BYTES. Examples are
        drawn without repetition until all were drawn, then again: a pool whose size times batch is a multiple of N
        holds each equally often. Raises BenchError for inputs that do not fit each other.
        """
        if not isinstance(examples, Mapping):
            raise BenchError(
                f"examples of type {type(examples).__name__}: expected a dict, such as {{'images': images}}"
            )
        arrays = {name: array_from(value) for name, value in examples.items()}
        constants = {name: array_from(value) for name, value in (constant or {}).items()}
        if twice := sorted(arrays.keys() & constants.keys()):
            raise BenchError(f"input {twice[0]!r} is given as examples and as constant; give one of the two")
        expected = labels_from(labels, compare, RULES)
        count = count_of(arrays, constants, expected)
        model = model or (asked.model if asked else None)
        if not model:
            raise BenchError("no model is named; pass model='NAME', or **options.asked.request()")
        version, label = pinned(asked, version, label)
        signature = (asked.signature if asked else "") if signature is None else signature
        batch = batch_of(batch, asked, batched=batched)
        if outputs and output not in outputs:
            raise BenchError(
                f"outputs {', '.join(outputs)}: without {output!r}, which is compared; add it to outputs"
            )
        if size is None:
            size = messages_for(arrays, constants, count, batch)
        elif size < 1:
            raise BenchError(f"size {size}: a pool has at least one message")
        rows = drawn(count, batch, size, seed)
        messages = tuple(
            predict_request(
                {name: array[chosen if batched else chosen[0]] for name, array in arrays.items()} | constants,
                model=model,
                signature=signature,
                version=version,
                label=label,
                outputs=outputs,
            ).SerializeToString(deterministic=True)
            for chosen in rows
        )
        return cls(
            messages,
            None if expected is None else expected[rows],
            batch,
            output,
            model,
            version,
            seed,
            _sha256(messages),
            rows if arrays else None,
            label=label,
            signature=signature,
            compare=compare,
            threshold=threshold,
            by_row=batched and not constants,
        )

    @classmethod
    def from_examples(
        cls,
        examples: Examples,
        declared: Signature,
        /,
        *,
        output: str | None = None,
        whole: bool = False,
        **request: Any,
    ) -> Self:
        """Requests of examples that `read_requests` or `random_examples` gave for a signature.

        output: compared with the labels; None: the only one. whole: each example is in one request, whatever memory
        that takes; the rest that fills no request is left out. request: as for `Pool.of`. A request holds examples of
        equal shapes. Raises BenchError as `Pool.of` does, and where too few examples have one shape for a batch.
        """
        output = default_output(declared, output, labelled=examples.labels is not None)
        request = {**request, "output": output, "constant": examples.constant, "batched": examples.batched}
        seed, batch = (
            request.get("seed", 0),
            batch_of(request.get("batch"), request.get("asked"), batched=examples.batched),
        )
        size = request.pop("size", None)
        if whole and not size:
            size = max(1, len(examples) // batch)
        order = np.arange(len(examples))
        if examples.ragged:
            each = sum(map(size_of, examples.inputs.values())) / len(order)
            most = int(POOL_BYTES / max(each, 1)) if size is None else size * batch
            order = np.random.default_rng(seed).permutation(len(order))[: max(most, 1)]
        groups = examples.alike(order)
        least = min(map(len, groups))
        if len(groups) > 1 and least < batch:
            raise BenchError(
                f"batch {batch}: the examples have {len(groups)} different shapes, one of them only {counted(least, 'example')}; "
                "a request holds examples of one shape: --batch-size 1, or examples padded to one length"
            )
        parts = []
        for group in groups:
            labels = None if examples.labels is None else examples.labels[group]
            filled = len(group) // batch if whole else math.ceil(len(group) / batch)
            messages = filled if examples.ragged else size
            parts.append(cls.of(examples.take(group), labels, size=messages, **request))
        pool = parts[0] if len(parts) == 1 else _merged(parts)
        rows = [group[part.rows] for group, part in zip(groups, parts, strict=True) if part.rows is not None]
        return replace(
            pool,
            rows=np.concatenate(rows) if rows else None,
            origin=examples.origin,
            origin_sha256=examples.sha256,
        )

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        declared: Signature,
        /,
        *,
        where: str = "--requests",
        output: str | None = None,
        **request: Any,
    ) -> Self:
        """Requests of a file, as `read_requests` reads it and `from_examples` makes them."""
        return cls.from_examples(
            read_requests(path, declared, where=where), declared, output=output, **request
        )

    def asking(self, *, version: int | None, label: str | None, signature: str) -> Self:
        """The same requests for another version, label or signature."""
        if (version, label, signature) == (self.version, self.label, self.signature):
            return self
        messages = []
        for each in self.messages:
            request = PredictRequest.FromString(each)
            spec = request.model_spec
            spec.ClearField("version_choice")
            if version is not None:
                spec.version.value = version
            if label is not None:
                spec.version_label = label
            spec.signature_name = signature
            messages.append(request.SerializeToString(deterministic=True))
        return replace(
            self,
            messages=tuple(messages),
            sha256=_sha256(messages),
            version=version,
            label=label,
            signature=signature,
        )

    def __len__(self) -> int:
        return len(self.messages)

    def sent_once(self, sending: str) -> Self:
        """The pool's different messages, to be sent ONCE or AGAIN.

        The first of them is for whoever looks at the server before the load, and not among those.
        """
        where = np.array(
            sorted({message: index for index, message in reversed(list(enumerate(self.messages)))}.values())
        )
        messages = tuple(self.messages[index] for index in where)
        return replace(
            self,
            messages=messages,
            labels=None if self.labels is None else self.labels[where],
            rows=None if self.rows is None else self.rows[where],
            sha256=_sha256(messages),
            sending=sending,
        )

    def once(self, number: int, of: int) -> Iterator[int]:
        """Indices of the messages that load process `number` of so many sends, each once.

        AGAIN: _LAG messages later than ONCE (an eighth of the pool in a small one); in the meantime the first message
        of the pool, which the server knows.
        """
        numbers = range(1 + number, len(self.messages) if number < of else 0, of)
        lag = min(_LAG, len(numbers) // 8) if self.sending == AGAIN else 0
        yield from repeat(0, lag)
        yield from numbers[: len(numbers) - lag]

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


def _merged(parts: Sequence[_Pool]) -> _Pool:
    """The messages of pools that ask for the same."""
    messages = tuple(message for part in parts for message in part.messages)
    labels = [part.labels for part in parts if part.labels is not None]
    return replace(
        parts[0],
        messages=messages,
        labels=np.concatenate(labels) if labels else None,
        sha256=_sha256(messages),
    )


def _sha256(messages: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for message in messages:
        digest.update(len(message).to_bytes(8, "little"))
        digest.update(message)
    return digest.hexdigest()
