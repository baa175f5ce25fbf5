"""The environment of a run, and differences between two."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.analysis.doubt import Doubt

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
LOAD: Final = {"transport": "transport", "connections": "connections", "processes": "load processes"}
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
        "load processes",
        "load",
    }
)
"""Facts of which a difference between two runs puts their comparison in doubt."""


def facts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What a manifest says of machine, server, model, payload and software; what it does not know is left out."""
    found: dict[str, Any] = {}
    for part, titles in (("machine", MACHINE), ("target", TARGET), ("load", LOAD)):
        said = manifest.get(part)
        if isinstance(said, dict):
            found |= {title: said.get(name) for name, title in titles.items()}
    model, payload, git = (manifest.get(name) for name in ("model", "payload", "git"))
    if isinstance(model, dict):
        found["model files"] = str(model.get("sha256") or "")[:16] or None
    if isinstance(payload, dict):
        found["payload"] = _payload(payload)
    if isinstance(git, dict) and git.get("commit"):
        found["commit"] = git["commit"][:12] + (" with changes" if git.get("dirty") else "")
    found |= _launched(manifest.get("experiment") or {})
    packages = (manifest.get("machine") or {}).get("packages") or {}
    found |= {f"package {name}": version for name, version in packages.items()}
    found["seed"] = manifest.get("seed")
    return {title: text(value) for title, value in found.items() if value is not None}


def differences(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, Doubt]:
    """A doubt for each fact that matters and has other values in the runs of one side than in those of the other."""
    old, new = (_values(side) for side in (before, after))
    return {
        title: Doubt(
            "environment",
            f"{title} differs: {_named(old.get(title))} and {_named(new.get(title))}",
            "measure both in turn on one machine, with everything else equal",
        )
        for title in old | new
        if (title in MATTERS or title.startswith(("package ", "server ")))
        and old.get(title) != new.get(title)
    }


def mixed(manifests: Sequence[Mapping[str, Any]], side: str) -> list[Doubt]:
    """A warning for each fact of the machine and its packages in which the runs of one side differ."""
    titles = {*MACHINE.values()} & MATTERS
    return [
        Doubt(
            "environment",
            f"{side}: {title} differs between its runs: {_named(values)}",
            "measure all on one machine",
        )
        for title, values in _values(manifests).items()
        if len(values) > 1 and (title in titles or title.startswith("package "))
    ]


def _values(manifests: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for manifest in manifests:
        for title, value in facts(manifest).items():
            found.setdefault(title, set()).add(value)
    return found


def _named(values: set[str] | None) -> str:
    return (
        "unknown" if values is None else ", ".join(sorted(values)[:3]) + (", ..." if len(values) > 3 else "")
    )


def _launched(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """What an experiment knows of a server that it started, and of the model that it asked for."""
    server, cell = experiment.get("server") or {}, experiment.get("cell") or {}
    titles = {"kind": "server", "build": "server build"}
    found = {titles.get(name, f"server {name}"): value for name, value in server.items() if name in LAUNCHED}
    hashes = (server.get("models") or {}).get(cell.get("model")) or {}
    version = hashes.get(str(cell.get("version"))) or ("".join(hashes.values()) if len(hashes) == 1 else None)
    found["model files"] = version[:16] if version else None
    return {title: value for title, value in found.items() if value not in (None, "", [], {})}


def _payload(payload: Mapping[str, Any]) -> str | None:
    """The hash of what is sent: of the one user class, or of each."""
    if isinstance(payload.get("sha256"), str):
        return str(payload["sha256"])[:16]
    hashes = [
        str(each["sha256"])[:16] for each in payload.values() if isinstance(each, dict) and each.get("sha256")
    ]
    return " ".join(hashes) or None


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
