"""Facts about a server: version, devices, CPU instructions."""

import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, Final

_FEATURES: Final = re.compile(r"sse4_[12]|avx\w*|fma|f16c|amx_\w+|asimd\w*|sve\w*|bf16|i8mm")
"""CPU features that decide which kernels TensorFlow takes, as /proc/cpuinfo names them."""
_GPU: Final = re.compile(r"Created device \S*/device:(GPU:\d+) with (\d+) MB memory:.*? name: ([^,]+)")
_UNUSED: Final = re.compile(r"To enable the following instructions: ([A-Z0-9_ ]+)")


def of_log(text: str) -> dict[str, Any]:
    """What TensorFlow logs of itself: devices, oneDNN, CPU instructions that this build does not use everywhere."""
    facts: dict[str, Any] = {
        "devices": [
            "CPU",
            *(f"{where}: {name.strip()}, {size} MB" for where, size, name in _GPU.findall(text)),
        ],
        "onednn": True if "oneDNN custom operations are on" in text else None,
        "xla": True if "XLA service" in text or "Compiled cluster using XLA" in text else None,
    }
    unused = _UNUSED.search(text)
    if unused is not None:
        facts["instructions_not_everywhere"] = unused[1].split()
    return facts


def cpu_features() -> list[str]:
    """The CPU's own, of this machine; empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    line = next((row for row in text.splitlines() if row.lower().startswith(("flags", "features"))), "")
    return sorted(word for word in line.partition(":")[2].split() if _FEATURES.fullmatch(word))


def embedded_version() -> str:
    """The version of this package with that of its TensorFlow."""
    parts = []
    for package in ("serving-bench", "tensorflow", "tensorflow-cpu"):
        try:
            parts.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(parts)


def binary_version(executable: str, seconds: float = 20.0) -> str | None:
    """What `--version` prints, in one line; None where it does not tell."""
    try:
        done = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, check=False, timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return ", ".join(lines) if lines and not done.returncode else None
