"""The parts of a kind of server: its keys in a servers file, and its start."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.config.servers import Declared, Server
from bench.launch.running import Running, Served
from bench.protocol.names import MODULES

Start = Callable[[Declared, Sequence[Served], Path, Sequence[int]], AbstractContextManager[Running]]
"""The server with its models, available for the length of a block.

Gets the folder for its configuration and its log, and open files that it inherits, as `bench.supervision.supervised`
does. Raises BenchError where the server cannot be had.
"""


def nothing(_server: Declared) -> None:
    """Nothing can be known of it before it is started."""


@dataclass(frozen=True)
class Kind:
    """A kind of server."""

    table: type[Server]
    """Its keys in a servers file."""
    start: Start
    spoken: Collection[str] = tuple(MODULES)
    """The protocols by which such a server may be called."""
    check: Callable[[Declared], None] = nothing
    """Raises BenchError for what shows without starting anything: flags, combinations, what the kind cannot do."""
    lacking: Callable[[Declared], str | None] = nothing
    """What this machine lacks for the server; None: nothing that would be known beforehand."""
