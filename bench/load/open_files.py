"""Open files that a load needs, beside those that this process may have."""

import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.load.options import ScenarioOptions
from bench.load.sources import Source
from bench.payload import Pool

SPARE: Final = 32
"""Files of the run folder, probes and look-ups, beside those that are open before the load."""


def check_open_files(options: ScenarioOptions, pools: Mapping[Source, Pool], parsed: Any) -> None:
    """Raise BenchError where the connections of a load process are more files than it may open.

    Over gRPC they are `--connections`, over REST one for each user; parsed: Locust's options.
    """
    forked = getattr(parsed, "processes", None)
    if getattr(parsed, "master", False) and not forked:  # its workers send, wherever they are
        return
    processes = max(1, forked or 1)
    users = -(-int(getattr(parsed, "num_users", None) or 1) // processes)
    rest = users if any(source.api.over_http for source in pools) else 0
    needed = sum(1 for _ in Path("/dev/fd").iterdir()) + options.connections + rest + SPARE
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed not in (resource.RLIM_INFINITY, -1) and needed > allowed:
        over_rest = f" and {users} users over REST, each with its own connection" if rest else ""
        raise BenchError(
            f"--connections {options.connections}{over_rest}: about {needed} files are open at once, and this process may "
            f"open {allowed}: allow more with ulimit -n {needed} before it starts"
        )
