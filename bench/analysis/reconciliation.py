"""Do client and server agree on what happened, and where did the time go?

The counters of the server (manifest `server_counters`, written by the load process before and after the run) are
compared with the client's records of the whole run. On a server that nobody else uses, its OK requests have grown by
the client's. The mean latency is split at the points where somebody measures:

    client queue     due -> handed to the kernel          the client's lag
    wire and gRPC    sent -> handler, handler -> done     service time - the server's request_latency
    server pre/post  within the handler, without the run  request_latency - runtime_latency
    batching queue   waiting for a batch                  queuing_latency
    runtime          the model's run                      runtime_latency - queuing_latency

A part that would be negative shows that the two sides did not measure the same requests. It counts as nothing, and then
the parts do not add up to the client's latency any more: that is the check.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from bench.analysis.doubt import Doubt
from bench.chunk import Key
from bench.run import Run

TOLERANCE: Final = 0.02
"""Share of the mean latency by which the sum of the parts may be off."""


class Part(NamedTuple):
    """A stretch of a request's way."""

    name: str
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

    def seconds(self, name: str) -> float:
        """The part of that name."""
        return next(part.seconds for part in self.parts if part.name == name)


def split(run: Run) -> Split | None:
    """Where the time went; None where the server's counters are not known, or nothing was answered.

    Raises BenchError where the run's files are damaged.
    """
    growth = _growth(run)
    if growth is None or min(growth.values()) < 0 or not growth["request_count"]:
        return None
    whole = run.within(*run.seconds)
    counted = _counted(run)
    latency, lag, service = (whole.histogram(kind, counted) for kind in ("latency", "lag", "service"))
    if not latency.count:
        return None
    handler = growth["request_seconds"] / growth["request_count"]
    # a run that serves several requests may be counted once: then this is the mean of the runs
    runtime = growth["runtime_seconds"] / growth["runtime_count"] if growth["runtime_count"] else 0.0
    queue = growth["queue_seconds"] / growth["queue_count"] if growth["queue_count"] else 0.0
    parts = (
        ("client queue", lag.mean),
        ("wire and gRPC", service.mean - handler),
        ("server pre/post", handler - runtime),
        ("batching queue", queue),
        ("runtime", runtime - queue),
    )
    return Split(
        requests=latency.count,
        server_requests=round(growth["ok"]),
        mean=latency.mean,
        parts=tuple(Part(name, max(0.0, seconds)) for name, seconds in parts),
    )


def _counted(run: Run) -> Callable[[Key], bool]:
    """Whether the server's counters, which are of one model, hold what the client recorded under a key."""
    model = (run.manifest.get("server_counters") or {}).get("model")
    asked = (run.manifest.get("target") or {}).get("asked") or {}
    others = {name for name, said in asked.items() if model is not None and said.get("model") != model}
    return lambda key: key.outcome == "OK" and key.name not in others


def check(run: Run) -> list[Doubt]:
    """Doubts where the two sides disagree. Raises BenchError where the run's files are damaged."""
    told = run.manifest.get("server_counters")
    if not isinstance(told, dict) or not run.finished:
        return []
    growth = _growth(run)
    if growth is None:
        text = "the server did not tell its counters after the run"
        return [Doubt("not reconciled", text, "see its log: it may have ended or be stuck")]
    fallen = [name for name, value in growth.items() if value < 0]
    if fallen:
        text = f"the server's counters fell during the run ({', '.join(fallen)}): it was started anew"
        return [Doubt("restarted", text, "run it again undisturbed")]
    answered = run.within(*run.seconds).histogram("latency").count
    if answered != round(growth["ok"]):
        text = f"{answered:,} requests were answered OK, the server counts {round(growth['ok']):,}"
        return [
            Doubt("not reconciled", text, "see that nobody else uses the server, and that no proxy answers")
        ]
    found = split(run)
    if found is None or found.off <= TOLERANCE:
        return []
    text = f"the parts of the latency add up to {1 + _signed(found):.0%} of it"
    return [
        Doubt("not reconciled", text, "compare client and server clocks and counters: one of them is wrong")
    ]


def _signed(found: Split) -> float:
    return sum(part.seconds for part in found.parts) / found.mean - 1


def _growth(run: Run) -> dict[str, float] | None:
    told: Any = run.manifest.get("server_counters") or {}
    before, after = told.get("before"), told.get("after")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return None
    return {name: float(after[name]) - float(before[name]) for name in before if name in after}
