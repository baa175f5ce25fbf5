"""Model, version, signature and batch size that the command line requests."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final


class Unset(Enum):
    """The type of UNSET."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
"""An argument that was not given, where None is a value."""


@dataclass(frozen=True)
class Asked:
    """Model, version, label, signature and batch size of the requests: the options that go into every request."""

    model: str
    version: int | None
    label: str | None
    signature: str
    """"": the scenario's."""
    batch: int
    deadline: float
    """Seconds until a call is given up with DEADLINE_EXCEEDED."""
    explicit: AbstractSet[str] = frozenset()
    """Which of model, version, label, signature and batch the command line or an experiment names: these are sent, or
    the run is refused."""

    def request(self) -> dict[str, Any]:
        """The arguments of `bench.payload.Pool.of`; arguments next to them take precedence."""
        return {"asked": self}
