"""Continuous batching: what runs together, and in which thread.

Continuous batching: everything that is waiting when the executor becomes free runs as one batch; nothing ever
waits for a timer. Fast models run in the I/O thread between reading and writing, since handing a 15 us run to
another thread costs more than the run; slow ones in a thread of their own, so that reading and writing go on.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from bench.server.api.prediction import Group, Predictions, Prepared, PreparedBurst, divisible, stack
from bench.server.api.tensors import Array
from bench.server.caller import Caller
from bench.server.execution.probe import Traits, untried
from bench.server.metrics import Metrics
from bench.server.refusal import Code, Refusal
from bench.server.unforeseen import unforeseen

INLINE_SECONDS: Final = 5e-4
"""Longest run that is done in the I/O thread: other connections wait for it."""
TURN_SECONDS: Final = 2e-3
"""Longest that several of them may take together."""
MOST_EXAMPLES: Final = 1024
"""Examples in one run; throughput has long ceased to grow there, while latency and memory would."""
_ALONE: Final = untried()

Post = Callable[[Callable[[], None]], None]
"""Has something called soon in the I/O thread."""


class Call(NamedTuple):
    """A well-formed request that waits for its execution."""

    prepared: Prepared
    caller: Caller
    number: int
    deadline: float | None
    """Instant of `time.monotonic` after which nobody waits for the answer; None: no limit."""


class CallBurst(NamedTuple):
    """Requests of one client that came in a row and wait for their execution."""

    prepared: PreparedBurst
    caller: Caller
    numbers: range
    deadline: float | None
    """As in `Call`, of all of them."""

    def each(self) -> list[Call]:
        """The calls one by one; they take this one's place."""
        return [
            Call(prepared, self.caller, number, self.deadline)
            for prepared, number in zip(self.prepared.each(), self.numbers, strict=True)
        ]


class Outcome(NamedTuple):
    """The outcome of some calls: a message or a refusal for each."""

    calls: Sequence[Call]
    results: Sequence[bytes | Refusal]


class Executor(Protocol):
    """Takes calls and sees to their answers."""

    def submit(self, call: Call) -> None:
        """Take a call. I/O thread only."""

    def submit_burst(self, burst: CallBurst) -> None:
        """Take calls that came in a row. I/O thread only."""

    def flush(self) -> None:
        """The events of a turn of the loop have been read: execute what may be executed. I/O thread only."""

    def close(self) -> None:
        """End the threads; what is still waiting is refused."""


def deliver(outcome: Outcome) -> None:
    """Give each call its answer. I/O thread only."""
    for call, result in zip(outcome.calls, outcome.results, strict=True):
        if isinstance(result, Refusal):
            call.caller.refuse(call.number, result)
        else:
            call.caller.respond(call.number, result)


def expired(calls: Sequence[Call]) -> tuple[list[Call], list[Call]]:
    """The calls that are still wanted, and those whose deadline has passed or whose client has gone."""
    now = time.monotonic()
    wanted: list[Call] = []
    late: list[Call] = []
    for call in calls:
        in_time = call.deadline is None or call.deadline > now
        (wanted if in_time and call.caller.wants(call.number) else late).append(call)
    return wanted, late


def refuse_all(predictions: Predictions, calls: Sequence[Call], refusal: Refusal) -> Outcome:
    """Give up the calls with one refusal; their versions are released."""
    for call in calls:
        predictions.give_up(call.prepared, refusal)
    return Outcome(calls, [refusal] * len(calls))


class Runner:
    """Runs calls of a group and serialises their answers. May be used from several threads at once."""

    def __init__(self, predictions: Predictions, metrics: Metrics) -> None:
        self._predictions = predictions
        self._runs = metrics.graph_runs

    def together(self, group: Group, calls: Sequence[Call]) -> list[bytes | Refusal]:
        """One run for all; where that fails, or its outputs cannot be divided, one for each.

        So a request that the model refuses fails alone and its mates are answered.
        """
        batch = [call.prepared for call in calls]
        if len(batch) == 1:
            return [self.alone(batch[0])]
        unexpected = None
        try:
            outputs = self._run(group, stack(batch), sum(prepared.rows for prepared in batch))
            if divisible(batch, outputs):
                self._predictions.ran(batch)
                return self._predictions.answer_all(batch, outputs)
        except Refusal:
            pass
        except Exception as error:  # noqa: BLE001 - nothing has been answered or released yet: each gets its own run
            unexpected = error
        results = [self.alone(prepared) for prepared in batch]
        if unexpected is not None and not any(isinstance(result, Refusal) for result in results):
            unforeseen(unexpected, "a run of several requests")  # else it has been logged with its request
        return results

    def bursts(self, group: Group, bursts: Sequence[CallBurst], calls: Sequence[Call]) -> bool:
        """One run for calls that came in rows and for others, which are answered.

        False where the run fails, or its outputs cannot be divided: nothing is answered or released then.
        """
        several = [burst.prepared for burst in bursts]
        batch = [call.prepared for call in calls]
        everybody: list[Prepared | PreparedBurst] = [*several, *batch]
        try:
            outputs = self._run(group, stack(everybody), sum(prepared.rows for prepared in everybody))
            if not divisible(everybody, outputs):
                return False
            answers = self._predictions.answer_bursts(several, outputs)
        except Refusal:
            return False
        except Exception as error:  # noqa: BLE001 - as in `together`
            unforeseen(error, "a run of requests in a row")
            return False
        if answers is None:
            return False
        for burst, messages in zip(bursts, answers, strict=True):
            burst.caller.respond_all(burst.numbers, messages)
        if batch:
            at = sum(prepared.rows for prepared in several)
            self._predictions.ran(batch)
            rest = {alias: array[at:] for alias, array in outputs.items()}
            deliver(Outcome(calls, self._predictions.answer_all(batch, rest)))
        return True

    def alone(self, prepared: Prepared) -> bytes | Refusal:
        """The answer to one request; its version is released."""
        try:
            outputs = self.execute(prepared)
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            refusal = error if isinstance(error, Refusal) else unforeseen(error, "a run of the model")
            self._predictions.give_up(prepared, refusal)
            return refusal
        self._predictions.ran([prepared])
        return self._predictions.answer_all([prepared], outputs)[0]

    def execute(self, prepared: Prepared) -> Mapping[str, Array]:
        """The outputs of one request, in the calling thread; its version stays held. Raises Refusal."""
        return self._run(prepared.group, prepared.inputs, prepared.rows)

    def _run(self, group: Group, inputs: dict[str, Array], rows: int) -> Mapping[str, Array]:
        handle, pace = group.handle, traits(group).pace
        began = pace.clock()
        outputs = handle.servable.run(group.signature, inputs, group.outputs)
        pace.learn(rows, pace.clock() - began)
        self._runs.add(())
        return outputs


class Continuous:
    """Runs whatever is waiting as soon as the executor is free."""

    def __init__(self, predictions: Predictions, runner: Runner, post: Post, *, batched: bool) -> None:
        self._predictions = predictions
        self._runner = runner
        self._post = post
        self._batched = batched
        self._waiting: dict[Group, list[Call]] = {}
        self._bursts: dict[Group, list[CallBurst]] = {}
        self._slow: dict[Group, deque[Call]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._threads: list[threading.Thread] = []

    def submit(self, call: Call) -> None:
        """See `batching.Executor`."""
        group = call.prepared.group
        waiting = self._waiting.get(group)
        if waiting is None:
            self._waiting[group] = [call]
        else:
            waiting.append(call)

    def submit_burst(self, burst: CallBurst) -> None:
        """See `batching.Executor`."""
        self._bursts.setdefault(burst.prepared.group, []).append(burst)

    def flush(self) -> None:
        """See `batching.Executor`."""
        if self._bursts:
            self._flush_bursts()
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        for group, calls in waiting.items():
            if group not in self._slow and self._is_quick(group, calls):
                self._run_here(group, calls)
            else:
                self._hand_over(group, calls)

    def _flush_bursts(self) -> None:
        """Run what came in rows as one, with what else waits; where that cannot be, call by call."""
        bursts, self._bursts = self._bursts, {}
        for group, several in bursts.items():
            calls = self._waiting.pop(group, [])
            quick = (
                group not in self._slow
                and self._may_share(group)
                and self._is_quick(group, [*several, *calls])
            )
            apart: list[Call] = []
            for part, rows in _bounded(several):
                # the last run takes the other calls along
                along = calls if part[-1] is several[-1] and rows + _rows(calls) <= MOST_EXAMPLES else []
                if not (quick and rows <= MOST_EXAMPLES and self._runner.bursts(group, part, along)):
                    apart += [call for burst in part for call in burst.each()]
                elif along:
                    calls = []
            if apart or calls:
                self._waiting[group] = [*apart, *calls]

    def close(self) -> None:
        """See `batching.Executor`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        left = [call for queue in (self._slow, self._waiting) for calls in queue.values() for call in calls]
        left += [call for bursts in self._bursts.values() for burst in bursts for call in burst.each()]
        self._bursts.clear()
        self._slow.clear()
        self._waiting.clear()
        deliver(refuse_all(self._predictions, left, Refusal(Code.UNAVAILABLE, "the server is shutting down")))

    def _is_quick(self, group: Group, calls: Sequence[Call | CallBurst]) -> bool:
        """Whether the I/O thread can do all of it without keeping other connections waiting."""
        rows = _rows(calls)
        runs = -(-rows // MOST_EXAMPLES) if self._may_share(group) else len(calls)
        seconds = traits(group).pace.expected(-(-rows // runs)) if runs else 0.0
        return seconds < INLINE_SECONDS and runs * seconds < TURN_SECONDS

    def _may_share(self, group: Group) -> bool:
        return self._batched and group.batched and traits(group).rows_independent

    def _run_here(self, group: Group, calls: list[Call]) -> None:
        for part in self._parts(group, deque(calls)):
            deliver(Outcome(part, self._runner.together(group, part)))

    def _parts(self, group: Group, calls: deque[Call]) -> list[list[Call]]:
        parts = []
        while calls:
            parts.append(self._part(group, calls))
        return parts

    def _part(self, group: Group, calls: deque[Call]) -> list[Call]:
        """Take the calls for the next run off the queue: one, or as many as fit into a batch."""
        part = [calls.popleft()]
        if self._may_share(group):
            rows = part[0].prepared.rows
            while calls and (rows := rows + calls[0].prepared.rows) <= MOST_EXAMPLES:
                part.append(calls.popleft())
        return part

    def _executed(self, group: Group, calls: list[Call]) -> Outcome:
        wanted, late = expired(calls)
        results: list[bytes | Refusal] = []
        if wanted:
            results = self._runner.together(group, wanted)
        if late:
            given_up = refuse_all(
                self._predictions, late, Refusal(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
            )
            return Outcome([*wanted, *late], [*results, *given_up.results])
        return Outcome(wanted, results)

    def _hand_over(self, group: Group, calls: list[Call]) -> None:
        with self._changed:
            self._slow.setdefault(group, deque()).extend(calls)
            self._changed.notify()
        if not self._threads:
            # at least two, so that one slow model does not keep another waiting on a single core
            count = max(2, len(os.sched_getaffinity(0)))
            self._threads = [threading.Thread(target=self._work, name=f"executor-{n}") for n in range(count)]
            for thread in self._threads:
                thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._slow)
                if self._closing:
                    return
                # groups take turns: the one served now goes to the end if it still has calls
                group = next(iter(self._slow))
                calls = self._slow.pop(group)
                part = self._part(group, calls)
                if calls:
                    self._slow[group] = calls
            outcome = self._executed(group, part)
            self._post(lambda outcome=outcome: deliver(outcome))  # type: ignore[misc]  # a default binds the value


def traits(group: Group) -> Traits:
    """What is known of the group's signature in its version."""
    measured: Traits = getattr(group.handle.servable, "traits", {}).get(group.signature, _ALONE)
    return measured


def _rows(calls: Sequence[Call | CallBurst]) -> int:
    return sum(call.prepared.rows for call in calls)


def _bounded(several: Sequence[CallBurst]) -> list[tuple[list[CallBurst], int]]:
    """What may run together, and its rows: at most `MOST_EXAMPLES`, unless one alone has more."""
    parts: list[tuple[list[CallBurst], int]] = []
    for burst in several:
        rows = burst.prepared.rows
        if parts and parts[-1][1] + rows <= MOST_EXAMPLES:
            parts[-1] = [*parts[-1][0], burst], parts[-1][1] + rows
        else:
            parts.append(([burst], rows))
    return parts
