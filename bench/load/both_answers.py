"""The answers of two conditions to the same examples, each sent to both at about the same time."""

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import gevent
import numpy as np

from bench.load.checking.label_rules import LabelRule
from bench.payload import Pool, predict_request
from bench.payload.arrays import Array
from bench.payload.examples import Examples
from bench.protocol.api import Expected, Unreadable
from bench.protocol.hints import explained
from bench.runs.sample import outcome
from bench.target.inquiry import Inquiry
from bench.wire.tensors import as_bytes

MOST_BYTES: Final = 256 << 20
"""Of answers that are kept until all are compared."""

Answer = dict[str, Array] | str
"""Outputs of one example by name; a text: the error instead."""
Both = dict[int, tuple[Answer, Answer]]
"""The answers of both, by the example's number."""


class Side(NamedTuple):
    """One of the two conditions."""

    inquiry: Inquiry
    """Server, protocol, model and version; of no version whichever answers."""
    signature: str
    batch: int
    """Examples in each request."""
    outputs: tuple[str, ...]
    """What the answers hold, by the signature."""
    filtered: bool = False
    """Whether requests ask for these outputs, and no others."""


def distinct(examples: Examples) -> list[int]:
    """The numbers of the examples that are unlike all before them."""
    seen: dict[tuple[bytes, ...], int] = {}
    for number in range(len(examples)):
        key = tuple(_bytes(each[number]) for each in examples.inputs.values())
        seen.setdefault(key, number)
    return list(seen.values())


def _bytes(values: Any) -> bytes:
    """Of an input's values for one example: equal for equal ones."""
    if isinstance(values, bytes | str):  # an array of it would lose zeros at its end
        return bytes(as_bytes(values))
    if values.dtype.kind not in "OSU":
        return str(values.shape).encode() + bytes(values.tobytes())
    texts = [as_bytes(each) for each in values.ravel().tolist()]
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)


def ask_both(
    sides: tuple[Side, Side],
    examples: Examples,
    numbers: Sequence[int],
    *,
    in_flight: int,
    deadline: float,
    seconds: float,
    seed: int = 1,
) -> Both:
    """Send examples to both, in this order, as many as there is time and room for.

    in_flight: pieces of the examples that are under way at once. deadline: of each request. seconds: after which no
    further one is begun.
    """
    until = time.monotonic() + seconds
    answers_of: Both = {}
    pieces = _pieces(numbers, max(side.batch for side in sides))
    rng = random.Random(seed)  # noqa: S311 - an order, no secret
    room = [MOST_BYTES]

    def work() -> None:
        for piece in pieces:
            order = (0, 1) if rng.random() < 0.5 else (1, 0)
            answers = {at: ask_one(sides[at], examples, piece, deadline, room) for at in order}
            answers_of.update({number: (answers[0][number], answers[1][number]) for number in piece})
            if time.monotonic() > until or room[0] < 0:
                return

    # over HTTP, a channel holds one connection, which takes a request at a time
    at_once = 1 if any(side.inquiry.api.over_http for side in sides) else in_flight
    workers = [gevent.spawn(work) for _ in range(at_once)]
    try:
        gevent.joinall(workers, raise_error=True)
    finally:
        gevent.killall(workers)
    return answers_of


def _pieces(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    """Shared by the workers: each takes the next one."""
    return iter([list(numbers[at : at + size]) for at in range(0, len(numbers), size)])


def ask_one(
    side: Side, examples: Examples, numbers: Sequence[int], deadline: float, room: list[int]
) -> dict[int, Answer]:
    """One condition's answers to some examples, in requests of its batch size; what is left over is filled up.

    room: bytes that answers may still take, in a list of one; it is counted down.
    """
    answers: dict[int, Answer] = {}
    for alike in examples.alike(np.array(numbers, np.int64)):
        for at in range(0, len(alike), side.batch):
            wanted = alike[at : at + side.batch].tolist()
            filled = [wanted[place % len(wanted)] for place in range(side.batch)]
            answers.update(zip(wanted, _ask_for(side, examples, filled, deadline, room), strict=False))
    return answers


def request_for(side: Side, examples: Examples, numbers: Sequence[int]) -> bytes:
    """The serialised PredictRequest that holds these examples."""
    inputs = examples.take(numbers)
    if not examples.batched:
        inputs = {name: each[0] for name, each in inputs.items()}
    message: bytes = predict_request(
        inputs | examples.constant,
        model=side.inquiry.model,
        signature=side.signature,
        version=side.inquiry.version,
        outputs=side.outputs if side.filtered else (),
    ).SerializeToString()
    return message


def expected_of(side: Side, examples: Examples, output: str) -> Expected:
    """What the answers are about."""
    by_row = examples.batched and not examples.constant
    return Expected(output, side.inquiry.model, side.inquiry.version, by_row)


def _ask_for(
    side: Side, examples: Examples, numbers: Sequence[int], deadline: float, room: list[int]
) -> list[Answer]:
    """The answers to the examples of one request."""
    api = side.inquiry.api
    call = api.encode(request_for(side, examples, numbers), by_row=examples.batched and not examples.constant)
    reply = side.inquiry.channel.call(*call, deadline)
    room[0] -= len(reply.message)
    if reply.status:
        return [explained(outcome(reply.status), reply.details, api.name)] * len(numbers)
    try:
        outputs = _outputs(side, examples, reply.message)
    except Exception as error:  # noqa: BLE001 - whatever a server sent
        text = str(error) if isinstance(error, Unreadable) else f"the answer is not a prediction ({error})"
        return [text] * len(numbers)
    if isinstance(outputs, str):
        return [outputs] * len(numbers)
    count = len(numbers)
    return [
        {
            # an output without a row for each example belongs to all of them
            name: _row(values, row) if examples.batched and values.ndim and len(values) == count else values
            for name, values in outputs.items()
        }
        for row in range(count)
    ]


def _outputs(side: Side, examples: Examples, message: bytes) -> dict[str, Array] | str:
    """The outputs in an answer; a text where another version gave it. Raises any exception for what is none."""
    api = side.inquiry.api
    outputs: dict[str, Array] = {}
    for name in side.outputs:
        answer = api.read(message, expected_of(side, examples, name))
        response = api.decode(answer)
        wanted = side.inquiry.version
        if None not in (wanted, response.version) and response.version != wanted:
            return f"version {response.version} answered instead of {wanted}"
        whole = answer == message  # of a protocol whose answers name their outputs
        names = response.outputs if whole else [name] if name in response.outputs else []
        outputs |= {each: response.array(each) for each in names}
        if whole:
            break
    return outputs


def _row(values: Array, row: int) -> Array:
    """One row as an array, of a single value too."""
    return values[row : row + 1].reshape(values.shape[1:])


def labels_met(answers: Sequence[Answer], labels: Array, output: str) -> list[bool | None]:
    """Whether each answer meets its label, by the rule that fits the output; None: there is no such answer.

    labels: [examples]. Raises ValueError, in words, where the output cannot be compared with labels.
    """
    rule = LabelRule(Pool((), labels[:, np.newaxis], 1, output, "", None, 0, ""))
    met: list[bool | None] = [None] * len(answers)
    alike: dict[tuple[tuple[int, ...], str], list[tuple[int, Array]]] = {}
    for number, answer in enumerate(answers):
        if not isinstance(answer, str) and output in answer:
            values = answer[output]
            alike.setdefault((values.shape, str(values.dtype)), []).append((number, values))
    for group in alike.values():
        numbers = [number for number, _ in group]
        stacked = np.stack([values for _, values in group])[:, np.newaxis]
        right = rule.compare(stacked, np.array(numbers, np.int64)).right[:, 0]
        for number, each in zip(numbers, right.tolist(), strict=True):
            met[number] = each
    return met
