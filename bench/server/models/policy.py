"""Versions on disk, and which of them should be served.

Directory rules, version policies and label rules of the original (sources/storage_path/file_system_storage_path_source.cc,
model_servers/server_core.cc).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_VERSION: Final = re.compile(r"[+-]?[0-9]+")


def versions_in(base_path: Path) -> dict[int, Path]:
    """Version number -> path, for each child whose whole name is a decimal 64-bit integer.

    Other names are somebody's work in progress. Of two names for one number (`1` and `001`) the one that sorts
    later wins. Raises OSError where the directory cannot be listed.
    """
    versions: dict[int, Path] = {}
    for child in sorted(base_path.iterdir()):
        if _VERSION.fullmatch(child.name):
            number = int(child.name)
            if -(1 << 63) <= number < 1 << 63:
                versions[number] = child
    return versions


def aspired(versions: Mapping[int, Path], policy: Any) -> dict[int, Path]:
    """Those of the versions found that a `ServableVersionPolicy` wants served.

    Unset means `latest`; `latest` means the `num_versions` highest numbers, of which there is at least one;
    `specific` leaves out what is not there (yet).
    """
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return dict(versions)
    if choice == "specific":
        return {number: versions[number] for number in policy.specific.versions if number in versions}
    highest = sorted(versions, reverse=True)[: max(1, policy.latest.num_versions)]
    return {number: versions[number] for number in highest}
