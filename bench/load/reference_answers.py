"""Reference answers: some of the messages sent to the idle server, one at a time, before the load.

These answers are the references for those under load: a server that mixes up the rows of a batch in the same way each
time gives one answer to a message again and again, and yet not the one that it gives to a caller who is alone.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from bench.load.checking.checker import Checker, Declared
from bench.load.options import ScenarioOptions
from bench.load.sources import Source
from bench.load.target import Target, connect
from bench.payload import Pool
from bench.wire.client import Channel

SECONDS: Final = 0.5
"""For all messages together, after which no further one is asked, and for each: a large model is slow."""
BYTES: Final = 2**20
"""Of answers for each kind of request: they go to all load processes."""
TWICE: Final = 2
"""A message is asked so often: what two answers agree on is a reference that no later one replaces."""


class Answered(NamedTuple):
    """Answers of the idle server to a pool's messages, in the order in which they were asked; sent between processes."""

    indices: tuple[int, ...] = ()
    """Of the messages in their pool."""
    answers: tuple[bytes, ...] = ()
    declared: Declared | None = None
    """What the signature declares of the pool's output."""

    def prime(self, checker: Checker) -> None:
        """Let answers be compared with these; they are neither counted nor kept as choices."""
        checker.declared = self.declared
        choices, checker.choices = checker.choices, None
        for turn in range(TWICE):
            if self.indices[turn::TWICE]:
                checker.check(self.answers[turn::TWICE], self.indices[turn::TWICE])
        checker.choices = choices
        checker.causes.clear()
        checker.examples.clear()


Ready = tuple[Target, dict[Source, Pool], list[Answered]]
"""What a load is sent to and consists of, and what the idle server answered to some of it."""


def ask(target: Target, options: ScenarioOptions, pools: Mapping[Source, Pool]) -> list[Answered]:
    """The answers to `options.references` messages of each pool, as many as there is time for.

    None of a pool whose answers may differ from time to time, or that is asked over REST; nor after an error: what the
    server answers to the load is what is measured. Raises BenchError where nobody listens.
    """
    declared = [target.declared.get(source) for source in pools]
    if not options.references:
        return [Answered(declared=each) for each in declared]
    answered: list[Answered] = []
    channel = connect(target.address, options, connections=1)
    try:
        until = time.perf_counter() + SECONDS
        for source, pool in pools.items():
            wanted = (
                options.references
                if source.user.repeatable and not pool.sending and not source.api.over_http
                else 0
            )
            order = np.random.default_rng(options.seed).permutation(len(pool.messages))[:wanted]
            answered.append(_ask_in_turn(channel, pool, order.tolist(), until, options.asked.deadline))
    finally:
        channel.close()
    return [each._replace(declared=output) for each, output in zip(answered, declared, strict=True)]


def _ask_in_turn(
    channel: Channel, pool: Pool, order: Sequence[int], until: float, deadline: float
) -> Answered:
    answers: list[bytes] = []
    size, sent_messages = 0, pool.encoded or ()
    for index in (index for index in order for _ in range(TWICE)):
        if time.perf_counter() > until or size > BYTES:
            break
        reply = channel.call(pool.method, sent_messages[index], min(deadline, SECONDS))
        if reply.status:
            break
        answers.append(reply.message)
        size += len(reply.message)
    whole = len(answers) // TWICE
    return Answered(
        tuple(index for index in order[:whole] for _ in range(TWICE)), tuple(answers[: whole * TWICE])
    )


def sent(answered: Sequence[Answered]) -> list[Any]:
    """As a message holds it."""
    return [list(each) for each in answered]


def received(message: Sequence[Any]) -> list[Answered]:
    """What `sent` made."""
    return [
        Answered(tuple(indices), tuple(answers), _declared(declared))
        for indices, answers, declared in message
    ]


def _declared(plain: Sequence[Any] | None) -> Declared | None:
    if plain is None:
        return None
    version, dtype, shape = plain
    return Declared(version, dtype, None if shape is None else tuple(shape))
