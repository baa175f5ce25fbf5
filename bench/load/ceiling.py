"""Calibration results, and the runs that they apply to."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.load.observing import machine
from bench.load.site import cache_folder
from bench.runs.jsonl import read_json

SIMILAR: Final = 0.25
"""A payload whose size differs by this share costs about the same."""
PUNCTUAL: Final = 0.85
"""Share of a core beyond which a run has a warning that its load process was not punctual."""
LEAST_POWER: Final = 0.3
"""Of the rate, with which the use of a core grows: less is noise of the measurement."""
SOFTWARE: Final = ("serving-bench", "locust", "gevent", "numpy", "protobuf")
"""A calibration made with another version of these is out of date, as is one of another Python."""


@dataclass(frozen=True)
class Lag:
    """The punctuality of requests at a rate."""

    rate: float
    achieved: float
    """Share of the requests due that were sent."""
    p50: float
    p99: float
    cpu: float
    """Share of a core that the load process used."""


@dataclass(frozen=True)
class Calibration:
    """The limits of one load process on this machine; durations in seconds."""

    measured: str
    """When, in UTC."""
    fingerprint: str
    software: Mapping[str, str | None]
    transport: str
    connections: int
    batch: int
    request_bytes: int
    floor_p50: float
    """Service time of a single user: the least that this machine can report."""
    floor_p99: float
    requests_per_second: float
    """Of a closed loop."""
    users: int
    """With which that many were reached."""
    cpu_per_request: float
    load_cpu: float
    """Share of a core that the load process used at the ceiling."""
    server_cpu: float
    """The same of the server: whichever is near 1 is what limits."""
    lags: tuple[Lag, ...]

    @property
    def open_per_second(self) -> float:
        """Requests/s of an open loop that leave the load process in time; nan where too little was measured.

        Beyond PUNCTUAL of a core a process has no time left to be punctual. Users that wait are answered, and ask
        again, many at once; arrivals come one by one, and the fewer come together, the more each costs: the use of
        the core grows as a power of the rate, which the two measured rates nearest to PUNCTUAL tell.
        """
        loads = sorted(
            (lag.rate * lag.achieved, lag.cpu) for lag in self.lags if lag.achieved and lag.cpu > 0
        )
        if not loads:
            return math.nan
        above = next((at for at, (_, cpu) in enumerate(loads) if cpu > PUNCTUAL), len(loads) - 1)
        rate, cpu = loads[above]
        power = 1.0
        if above and loads[above - 1][0] < rate:
            lower, less = loads[above - 1]
            power = min(max(math.log(cpu / less) / math.log(rate / lower), LEAST_POWER), 1.0)
        return min(self.requests_per_second, rate * math.pow(PUNCTUAL / cpu, 1 / power))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, as `from_dict` reads it."""
        return {**asdict(self), "software": dict(self.software), "lags": [asdict(lag) for lag in self.lags]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Calibration":
        """The calibration that `to_dict` described. Raises TypeError, KeyError or ValueError for what is none."""
        calibration = cls(**{**plain, "lags": tuple(Lag(**lag) for lag in plain["lags"])})
        parts: list[Calibration | Lag] = [calibration, *calibration.lags]
        for part in parts:
            for each in fields(part):
                value = getattr(part, each.name)
                expected = {int: int, float: int | float, str: str}.get(each.type)  # type: ignore[arg-type]  # None for others
                if expected is not None and (not isinstance(value, expected) or isinstance(value, bool)):
                    raise TypeError(f"{each.name} = {value!r:.80}")
                if expected not in (None, str) and not 0 <= value < 1e15:
                    raise ValueError(f"{each.name} = {value!r:.80}")
        if not isinstance(calibration.software, Mapping):
            raise TypeError(f"software = {calibration.software!r:.80}")
        return calibration


def save(calibration: Calibration) -> Path:
    """Keep a calibration in the user's cache, in place of an older one of the same subject. Raises BenchError."""
    folder = _folder()
    subject = (
        calibration.fingerprint,
        calibration.transport,
        calibration.connections,
        calibration.request_bytes,
    )
    path = folder / ("-".join(map(str, subject)) + ".json")
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(calibration.to_dict(), indent=1) + "\n")
        temporary.replace(path)
    except OSError as error:
        raise BenchError(
            f"{path}: {error.strerror}; the calibration cannot be saved; set XDG_CACHE_HOME"
        ) from error
    return path


def known() -> Iterator[Calibration]:
    """All calibrations of this machine with today's software; files that hold none are passed over."""
    fingerprint, today = machine.facts()["fingerprint"], software()
    for path in sorted(_folder().glob("*.json")):
        try:
            calibration = Calibration.from_dict(read_json(path))
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if calibration.fingerprint == fingerprint and dict(calibration.software) == today:
            yield calibration


def ceiling(transport: str, connections: int, request_bytes: int) -> Calibration | None:
    """The calibration nearest to what a run sends; None where none is near."""
    near = [
        calibration
        for calibration in known()
        if (calibration.transport, calibration.connections) == (transport, connections)
        and abs(calibration.request_bytes - request_bytes) <= SIMILAR * request_bytes
    ]
    return min(near, key=lambda calibration: abs(calibration.request_bytes - request_bytes), default=None)


def _folder() -> Path:
    return cache_folder() / "calibration"


def software() -> dict[str, str | None]:
    """The versions on which a calibration depends."""
    facts = machine.facts()
    return {"python": facts["python"], **{name: facts["packages"][name] for name in SOFTWARE}}
