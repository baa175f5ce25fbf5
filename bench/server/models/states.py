"""States of model versions, and their history."""

import threading
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from bench.server.models.servable import Handle
from bench.server.refusal import Refusal


class State(IntEnum):
    """Numbers of `ModelVersionStatus.State` (get_model_status.proto)."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Status(NamedTuple):
    """One version as GetModelStatus reports it; `error` is None where all is well."""

    version: int
    state: State
    error: Refusal | None


@dataclass(eq=False)
class Version:
    """One version of a model from the moment it is wanted until it has ended; afterwards it is remembered."""

    name: str
    number: int
    path: Path
    state: State = State.START
    error: Refusal | None = None
    aspired: bool = True
    """Whether configuration and disk want it served."""
    handle: Handle | None = None
    unwanted: threading.Event = field(default_factory=threading.Event)
    """Set when loading it further is pointless; ends the wait between two attempts."""

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return self.state is State.END and self.error is not None

    @property
    def settled(self) -> bool:
        """Whether its loading has come to an end, good or bad."""
        return self.state not in {State.START, State.LOADING}

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.number}}}"

    def status(self) -> Status:
        """Number, state and error, as they are reported."""
        return Status(self.number, self.state, self.error)


class History:
    """Every version ever seen, by model and number. Not locked: its repository does that."""

    def __init__(self) -> None:
        self._models: dict[str, dict[int, Version]] = {}

    def of(self, name: str) -> list[Version]:
        """The versions of a model, highest number first."""
        return [version for _, version in sorted(self._models.get(name, {}).items(), reverse=True)]

    def find(self, name: str, number: int) -> Version | None:
        """The version of this number; None where there was none."""
        return self._models.get(name, {}).get(number)

    def add(self, version: Version) -> None:
        """Remember a version, in place of an ended one with its number."""
        self._models.setdefault(version.name, {})[version.number] = version

    def names(self) -> list[str]:
        """The names of all models."""
        return list(self._models)

    def every(self) -> list[Version]:
        """All versions of all models."""
        return [version for name in self._models for version in self.of(name)]


def next_unload(versions: list[Version]) -> Version | None:
    """The version of one model that should be unloaded next, if any.

    The original's availability-preserving policy (core/availability_preserving_policy.cc): the lowest unwanted version goes when a wanted
    one serves, when nothing at all is wanted, or when another unwanted one still serves.
    """
    unwanted = [v for v in versions if not v.aspired and v.state is State.AVAILABLE]
    wanted = [v for v in versions if v.aspired]
    serving = any(v.state is State.AVAILABLE for v in wanted)
    if unwanted and (serving or not wanted or len(unwanted) > 1):
        return min(unwanted, key=lambda version: version.number)
    return None
