"""From which size on something speaks against a run: for checks after it, and for those who watch it."""

from typing import Final

CPU_SHARE: Final = 0.85
"""A load process that uses more of a core than this has no time left to be punctual."""
RUN_DELAY: Final = 0.10
"""Share of the time in which a load process may wait for a core: under a CPU limit it waits most of it."""
LOOP_PAUSE: Final = 0.100
"""Seconds by which its event loop may be late in any second: what a stopped process exceeds, and no garbage collection does."""
STEAL: Final = 0.05
"""Share of a virtual machine's time that its host may give to others."""
LAG_P99: Final = 0.001
"""Seconds of lag (p99) from which on an open loop is behind."""
ERROR_SHARE: Final = 0.01
"""Of the requests that may fail."""
EARLY_SECONDS: Final = 1.0
"""By which a load may end before its time."""
