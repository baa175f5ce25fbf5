"""What a load process is, told at its hello: all that take part in a test have to be alike."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import locust

import bench

MESSAGES: Final = "2"
"""Counts on when messages between master and worker change."""


def versions(environment: Any) -> dict[str, str]:
    """The versions of what master and worker have in common, and a checksum of the locustfiles where there are any."""
    found = {"serving-bench": bench.__version__, "messages": MESSAGES, "Locust": locust.__version__}
    files = [Path(name) for name in environment.parsed_locustfiles or () if Path(name).is_file()]
    if files:
        parts = sorted(hashlib.sha256(path.read_bytes()).digest() for path in files)
        found["locustfile"] = hashlib.sha256(b"".join(parts)).hexdigest()[:12]
    return found


def difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """Where a worker and its master are not alike, as `Locust 2.40 (here 2.47)`; None: nowhere that matters."""
    for name, version in ours.items():
        other = theirs.get(name)
        if other is None and name == "locustfile":  # a program made its environment
            continue
        if other != version:
            return f"{name} {other or 'of an unknown version'} (here {version})"
    return None
