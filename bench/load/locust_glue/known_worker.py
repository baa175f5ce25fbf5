"""The master's knowledge of one load process in a distributed test."""

from dataclasses import dataclass, field
from typing import Any

from bench.runs.choices import Choices


@dataclass
class KnownWorker:
    """The master's knowledge of one worker."""

    number: int
    pid: int | None = None
    """None until it has said hello."""
    sent: int | None = None
    """None until it has said its last word."""
    unsent: int | None = None
    retries: int | None = None
    addresses: dict[str, int] = field(default_factory=dict)
    waited: dict[str, int] = field(default_factory=dict)
    most_streams: int | None = None
    recorded: int = 0
    events: int = 0
    """That it has reported."""
    clock_offset: float | None = None
    clock_bound: float | None = None
    finished: bool = False
    used_up: bool = False
    """Whether it has sent all of its requests, where each is sent once."""
    late_plans: int = 0
    joined: float = 0.0
    """Seconds of the run at which it reported for the first time."""
    left: float | None = None
    """Seconds at which it said its last word without having been asked for it, as after SIGTERM; None: it stayed."""
    choices: Choices | None = None
    arriving: dict[str, int] = field(default_factory=dict)
    """Its open-loop users, by user class."""

    def described(self, client: str) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "worker": self.number,
            "id": client,
            "sent": self.sent,
            "unsent": self.unsent,
            "retries": self.retries,
            "addresses": self.addresses,
            "waited": self.waited,
            "most_streams": self.most_streams,
            "recorded": self.recorded,
            "late_plans": self.late_plans,
            "clock_offset": self.clock_offset,
            "clock_bound": self.clock_bound,
            "joined": self.joined,
            "left": self.left,
            "lost": not self.finished,
        }
