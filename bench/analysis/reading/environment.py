"""The environment of a run, and differences between two."""

import json
from collections.abc import Sequence
from typing import Any, Final

from bench.analysis.reading.run_warning import RunWarning
from bench.runs.manifest import InExperiment, Manifest

MACHINE: Final = {
    "cpu_model": "CPU",
    "cores": "cores",
    "usable_cores": "usable cores",
    "cpu_quota": "CPU quota",
    "memory_gib": "memory, GiB",
    "governor": "governor",
    "kernel": "kernel",
    "python": "Python",
}
TARGET: Final = {
    "kind": "server",
    "build": "server build",
    "flags": "server flags",
    "model": "model",
    "tls": "TLS",
}
LOAD: Final = {
    "transport": "transport",
    "connections": "connections",
    "compression": "compression",
    "processes": "load processes",
}
LAUNCHED: Final = frozenset(
    {
        "kind",
        "build",
        "version",
        "image",
        "image_digests",
        "settings",
        "environment",
        "devices",
        "onednn",
        "xla",
        "cpu_features",
    }
)
"""Facts of a server that an experiment started, which decide what it can do."""
MATTERS: Final = frozenset(
    {
        "CPU",
        "cores",
        "usable cores",
        "CPU quota",
        "memory, GiB",
        "governor",
        "kernel",
        "Python",
        "server",
        "server build",
        "server flags",
        "model files",
        "payload",
        "TLS",
        "transport",
        "connections",
        "compression",
        "load processes",
        "load",
    }
)
"""Facts of which a difference between two runs gives their comparison a warning."""


def facts(manifest: Manifest) -> dict[str, str]:
    """What a manifest says of machine, server, model, payload and software; what it does not know is left out."""
    values: dict[str, Any] = {}
    for part, titles in (("machine", MACHINE), ("target", TARGET), ("load", LOAD)):
        section = manifest.raw.get(part) or {}
        values |= {title: section.get(name) for name, title in titles.items()}
    values["model files"] = (manifest.model.sha256 or "")[:16] or None
    values["payload"] = (
        " ".join(each.sha256[:16] for each in manifest.payload.values() if each.sha256) or None
    )
    if manifest.git.commit:
        values["commit"] = manifest.git.commit[:12] + (" with changes" if manifest.git.dirty else "")
    if manifest.experiment is not None:
        values |= _launched(manifest.experiment)
    values |= {f"package {name}": version for name, version in manifest.machine.packages.items()}
    values["seed"] = manifest.seed
    return {title: text(value) for title, value in values.items() if value is not None}


def differences(before: Sequence[Manifest], after: Sequence[Manifest]) -> dict[str, RunWarning]:
    """A warning for each fact that matters and has other values in the runs of one side than in those of the other."""
    old, new = (_values(side) for side in (before, after))
    return {
        title: different(title, f"{_named(old.get(title))} and {_named(new.get(title))}")
        for title in old | new
        if (title in MATTERS or title.startswith(("package ", "server ")))
        and old.get(title) != new.get(title)
    }


def different(title: str, sides: str) -> RunWarning:
    """A warning about a fact that is not the same on both sides."""
    return RunWarning(
        "environment",
        f"{title} differs: {sides}",
        "measure both in turn on one machine, with everything else equal",
    )


def mixed(manifests: Sequence[Manifest], side: str) -> list[RunWarning]:
    """A warning for each fact of the machine and its packages in which the runs of one side differ."""
    titles = {*MACHINE.values()} & MATTERS
    known = [facts(manifest) for manifest in manifests]
    return [
        RunWarning(
            "environment",
            f"{side}: {title} differs between its runs: {_named(values)}{' and unknown' if unknown else ''}",
            "measure all on one machine",
        )
        for title, values in _values(manifests).items()
        if title in titles or title.startswith("package ")
        for unknown in [any(title not in each for each in known)]
        if len(values) > 1 or unknown
    ]


def _values(manifests: Sequence[Manifest]) -> dict[str, set[str]]:
    by_title: dict[str, set[str]] = {}
    for manifest in manifests:
        for title, value in facts(manifest).items():
            by_title.setdefault(title, set()).add(value)
    return by_title


def _named(values: set[str] | None) -> str:
    return (
        "unknown" if values is None else ", ".join(sorted(values)[:3]) + (", ..." if len(values) > 3 else "")
    )


def _launched(experiment: InExperiment) -> dict[str, Any]:
    """What an experiment knows of a server that it started, and of the model that it asked for."""
    server, cell = experiment.server, experiment.cell
    titles = {"kind": "server", "build": "server build"}
    launched = {
        titles.get(name, f"server {name}"): value
        for name, value in server.facts().items()
        if name in LAUNCHED
    }
    hashes = server.models.get(cell.model or "") or {}
    version = hashes.get(str(cell.version)) or ("".join(hashes.values()) if len(hashes) == 1 else None)
    launched["model files"] = version[:16] if version else None
    return {title: value for title, value in launched.items() if value not in (None, "", [], {})}


def text(value: Any) -> str:
    """A value as text: JSON unless it is a text."""
    return value if isinstance(value, str) else json.dumps(value)
