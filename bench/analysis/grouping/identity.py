"""The condition that a trial measured, or was to measure."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple


class Identity(NamedTuple):
    """The thing that was measured, and its load."""

    scenario: str
    request: str
    server: str
    build: str
    model: str
    version: int | None
    batch: int
    load: str

    def without(self, *names: str) -> "Identity":
        """With some parts blanked out, so that what differs in them alone is equal."""
        blanks: dict[str, Any] = {
            name: (None if name == "version" else 0 if name == "batch" else "") for name in names
        }
        return self._replace(**blanks)

    @property
    def telling(self) -> tuple[str, ...]:
        """Its parts, without a build that is only the server's name again."""
        return tuple(part for part in self._fields if part != "build" or self.build != self.server)

    def words(self, names: Iterable[str]) -> str:
        """Some parts in words, such as `version 2, batch 8`."""
        parts = []
        for name in names:
            value = getattr(self, name)
            if name == "build" and "build" not in self.telling:
                continue
            if value not in (None, "", 0) or name == "version":
                shown = "?" if value is None else value
                parts.append(
                    f"{name} {shown}" if name in ("version", "batch", "model", "request") else str(shown)
                )
        return ", ".join(parts)


PARTS: Final = Identity._fields


@dataclass(frozen=True)
class FailedTrial:
    """A trial that gave nothing to measure: evidence against what it was a trial of."""

    identity: Identity
    """As it was planned; the request's name is not known of a trial that never sent one."""
    block: tuple[str, int] | None
    reason: str
    path: Path
    """The experiment, or the run in which every request failed."""

    def __str__(self) -> str:
        parts = (part for part in PARTS if part not in ("scenario", "build"))
        return f"{self.identity.words(parts)}: {self.reason} ({self.path})"
