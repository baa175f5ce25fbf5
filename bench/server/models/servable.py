"""A loaded model version and its lifetime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Servable(Protocol):
    """One model version in memory."""

    @property
    def signatures(self) -> Mapping[str, Any]:
        """SignatureDef by key, all of them, as stored in the SavedModel."""

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> Mapping[str, np.ndarray]:
        """Compute the outputs named by alias from arrays by input alias.

        Strings are arrays of dtype object that hold bytes. Raises `Refusal` when the model refuses the
        values (shape, operation errors). Thread-safe.
        """

    def close(self) -> None:
        """Free the model; no run is in progress and none follows."""


Loader = Callable[[str, int, Path], Servable]
"""(model name, version, version directory) -> servable; raises `Refusal` when the version is broken."""


class Handle:
    """A loaded version that is kept alive by those who acquired it; each `acquire` needs one `release`.

    One object is shared by all requests to the version: what is counted are the entries of `_holders`, since
    appending to and popping from a list is atomic, needs no lock and takes 25 ns.
    """

    __slots__ = ("_holders", "_on_idle", "groups", "name", "servable", "version")

    def __init__(self, name: str, version: int, servable: Servable) -> None:
        self.name = name
        self.version = version
        self.servable = servable
        self.groups: dict[Any, Any] = {}
        """What requests to this version may be executed together (see `prediction.Group`)."""
        self._holders: list[None] = []
        self._on_idle: Callable[[], None] | None = None

    def hold(self) -> None:
        """Count one more user. Only `Repository` and `prediction` call it, on a version they find published."""
        self._holders.append(None)

    def release(self) -> None:
        """Give the version back; the last one to do so lets a retired version go."""
        self._holders.pop()
        if self._on_idle is not None and not self._holders:
            self._on_idle()

    def retire(self, on_idle: Callable[[], None]) -> None:
        """Have `on_idle` called as soon as nobody holds the version, at once if nobody does.

        The version must not be published any more. `on_idle` may be called more than once and from any thread.
        """
        self._on_idle = on_idle
        if not self._holders:
            on_idle()

    def close(self) -> None:
        """Free the model; nobody holds the version."""
        self.groups.clear()  # they refer back to the handle, and only the cycle collector would free both
        self.servable.close()

    @property
    def held(self) -> int:
        """Requests that hold the version now."""
        return len(self._holders)

    def __enter__(self) -> "Handle":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
