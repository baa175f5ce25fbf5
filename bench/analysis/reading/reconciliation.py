"""Reconciliation of the client's counts and times with the server's.

The counters of the server (manifest `server_counters`, written by the load process before and after the run) are
compared with the client's records of the whole run. On a server that nobody else uses, its OK requests have grown by
the client's. Five means are measured, each by somebody else: the client's lag and service time, the server's
request_latency, runtime_latency and queuing_latency. They split the latency; three parts are remainders:

    client queue     due -> handed to the kernel          lag
    wire and gRPC    sent -> handler, handler -> done     remainder: service time - request_latency
    server pre/post  within the handler, without the run  remainder: request_latency - runtime_latency
    batching queue   waiting for a batch                  queuing_latency
    runtime          the model's run                      remainder: runtime_latency - queuing_latency

So the parts add up whatever was measured, and their sum alone proves nothing. What can be wrong shows where a stretch
is longer than the one that contains it: as the service time contains request_latency, that contains runtime_latency,
and that queuing_latency. Such a remainder is negative. It counts as nothing, and the parts add up to more than the
latency; from 2 % on that is a warning, which names the two.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from bench.analysis.reading import restarts
from bench.analysis.reading.run_warning import RunWarning
from bench.runs.chunk import Key
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT
from bench.wording import duration

TOLERANCE: Final = 0.02
"""Share of the mean latency by which the sum of the parts may be off."""
GIVEN_UP: Final = ("DEADLINE_EXCEEDED", "CANCELLED", CANCELLED_BY_CLIENT, "UNAVAILABLE")
"""Outcomes of requests that the server may have answered, and counted, when nobody waited any more."""
REFUSED: Final = ("INTERNAL", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "UNKNOWN")
"""Outcomes that a client, or a proxy, makes of an answer that it cannot take, which the server counts as OK: malformed or
no JSON, larger than is read, compressed in a way that is not known, or not gRPC."""
_ROUNDING: Final = 5e-6
"""Share by which a sum on a Prometheus page may be off: it has six digits."""


class Stage(StrEnum):
    """The stages of a request, in their order; each value is its name in tables and JSON."""

    CLIENT_QUEUE = "client queue"
    WIRE = "wire and gRPC"
    SERVER = "server pre/post"
    BATCHING_QUEUE = "batching queue"
    RUNTIME = "runtime"


class Part(NamedTuple):
    """Time spent in one stage."""

    stage: Stage
    seconds: float
    """Mean over all requests answered OK."""


@dataclass(frozen=True)
class Split:
    """The mean latency of a whole run, warm-up included, in its parts."""

    requests: int
    """Answered OK, as the client counts."""
    server_requests: int
    """The same, as the server counts."""
    mean: float
    """Latency in seconds, as the client measures."""
    parts: tuple[Part, ...]

    @property
    def off(self) -> float:
        """Share of the mean latency by which the sum of the parts is off."""
        return abs(sum(part.seconds for part in self.parts) - self.mean) / self.mean

    def seconds(self, stage: Stage) -> float:
        """Mean time in this stage."""
        return next(part.seconds for part in self.parts if part.stage == stage)


@dataclass(frozen=True)
class _Means:
    """Parts of a mean request as client and server measured them, in seconds."""

    requests: int
    latency: float
    lag: float
    service: float
    request: float
    runtime: float
    queue: float
    rounding: float
    """By which the server's may be off, since its page rounds sums."""


def split(run: Run) -> Split | None:
    """Where the time went; None where the server's counters are not known, fell, or hold other requests too.

    Raises BenchError where the run's files are damaged.
    """
    growth = _growth(run)
    if growth is None or min(growth.values()) < 0 or growth.get("other_count"):
        return None
    means = _means(run, growth)
    if means is None:
        return None
    parts = (
        (Stage.CLIENT_QUEUE, means.lag),
        (Stage.WIRE, means.service - means.request),
        (Stage.SERVER, means.request - means.runtime),
        (Stage.BATCHING_QUEUE, means.queue),
        (Stage.RUNTIME, means.runtime - means.queue),
    )
    return Split(
        requests=means.requests,
        server_requests=round(growth["ok"]),
        mean=means.latency,
        parts=tuple(Part(stage, max(0.0, seconds)) for stage, seconds in parts),
    )


def _means(run: Run, growth: Mapping[str, float]) -> _Means | None:
    """None where nothing was answered, or the server measured nothing."""
    whole, counted = run.within(*run.seconds), _counted(run)
    latency, lag, service = (whole.histogram(kind, counted) for kind in ("latency", "lag", "service"))
    if not latency.count or not growth["request_count"]:
        return None

    def mean(name: str) -> float:
        # a run that serves several requests may be counted once: then this is the mean of the runs
        count = growth[f"{name}_count"]
        return growth[f"{name}_seconds"] / count if count else 0.0

    counters = run.manifest.server_counters
    pages = [] if counters is None else [counters.before, counters.after]
    sums = sum(page.request_seconds for page in pages if page is not None)
    return _Means(
        requests=latency.count,
        latency=latency.mean,
        lag=lag.mean,
        service=service.mean,
        request=mean("request"),
        runtime=mean("runtime"),
        queue=mean("queue"),
        rounding=_ROUNDING * sums / growth["request_count"],
    )


def _counted(run: Run) -> Callable[[Key], bool]:
    """Whether the server's counters, which are of one model, hold what the client recorded under a key."""
    model = run.manifest.server_counters and run.manifest.server_counters.model
    requests = run.manifest.target.asked
    others = {name for name, each in requests.items() if model is not None and each.model != model}
    return lambda key: key.outcome == "OK" and key.name not in others


def check(run: Run) -> list[RunWarning]:
    """Warnings where the two sides disagree. Raises BenchError where the run's files are damaged."""
    if not run.manifest.whole:
        return []
    growth = _growth(run)
    answered = 0 if growth is None else run.within(*run.seconds).histogram("latency", _counted(run)).count
    anew = restarts.check(run, growth, answered)
    if anew is not None:
        return [anew]
    if run.manifest.server_counters is None:
        return []
    if growth is None:
        text = "the server did not report its counters after the run"
        return [RunWarning("not reconciled", text, "see its log: it may have ended or be stuck")]
    return [*_counts(run, growth), *_containments(run, growth)]


def _counts(run: Run, growth: Mapping[str, float]) -> Iterator[RunWarning]:
    """Warnings where client and server have not counted the same requests."""
    answered = run.within(*run.seconds).histogram("latency", _counted(run)).count
    ok = round(growth["ok"])
    outcomes = _outcomes(run)
    # what was sent and not waited for may have been answered all the same, as may what was sent once more
    more = sum(outcomes.get(outcome, 0) for outcome in (*GIVEN_UP, *REFUSED)) + _retries(run)
    if ok < answered:
        text = f"{answered:,} requests were answered OK, the server counts only {ok:,}"
        remedy = "see its log for a start during the run, and that no proxy or other server answers"
        yield RunWarning("not reconciled", text, remedy)
    elif ok > answered + more:
        given_up = f" and {more:,} cancelled, refused or sent again" if more else ""
        text = f"{answered:,} requests were answered OK{given_up}, the server counts {ok:,}"
        yield RunWarning("not reconciled", text, "make sure that no other client uses the server")
    if "other_count" not in growth:  # of a run from before they were counted
        return
    measured = round(growth["request_count"] + growth["other_count"])
    if measured != ok:
        text = f"the server counts {ok:,} requests answered OK, and has measured the latency of {measured:,}"
        yield RunWarning(
            "not reconciled", text, "do not trust its latencies: its counters contradict each other"
        )


def _outcomes(run: Run) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (key, _), tally in run.within(*run.seconds).tallies.items():
        counts[key.outcome] = counts.get(key.outcome, 0) + tally.requests
    return counts


def _retries(run: Run) -> int:
    return run.manifest.counts.retries or 0


def _containments(run: Run, growth: Mapping[str, float]) -> Iterator[RunWarning]:
    """Warnings where a stretch of a request's way is longer than the one that contains it."""
    means = None if growth.get("other_count") else _means(run, growth)
    if means is None:
        return
    nested = [
        ("server: time of a request", "the client waits", means.request, means.service),
        ("server: time of the model", "a whole request", means.runtime, means.request),
    ]
    if growth["queue_count"] <= growth["runtime_count"]:  # else requests to other models wait there too
        nested.append(
            ("server: time in the batching queue", "waiting and the model take", means.queue, means.runtime)
        )
    for inner, outer, contained, containing in nested:
        beyond = contained - containing
        if beyond > TOLERANCE * means.latency + means.rounding:
            text = (
                f"{inner} {duration(contained)}, {outer} {duration(containing)} (means): "
                f"the parts of the latency add up to {1 + beyond / means.latency:.0%} of it"
            )
            yield RunWarning(
                "not reconciled", text, "compare client and server clocks and counters: one of them is wrong"
            )


def _growth(run: Run) -> dict[str, float] | None:
    counters = run.manifest.server_counters
    if counters is None or counters.before is None or counters.after is None:
        return None
    before, after = counters.before.facts(), counters.after.facts()
    counted = [name for name in before if name in after and name != restarts.STARTED]
    return {name: after[name] - before[name] for name in counted}
