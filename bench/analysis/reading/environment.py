"""The environment of a run, and differences between two."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
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
    "gpus": "GPUs",
    "gpu_driver": "GPU driver",
    "kernel": "kernel",
    "python": "Python",
}
"""Facts of the machine, by their names in the manifest, and what they are called for people."""
_KEYS: Final = {
    "machine": {name: f"machine.{name}" for name in MACHINE},
    "target": {
        "kind": "server",
        "build": "server.build",
        "flags": "server.flags",
        "model": "model",
        "tls": "tls",
    },
    "load": {
        "transport": "transport",
        "connections": "connections",
        "compression": "compression",
        "processes": "load.processes",
    },
}
"""Part of the manifest -> name in it -> key of the fact."""
_TITLES: Final = {f"machine.{name}": title for name, title in MACHINE.items()} | {
    "model.files": "model files",
    "load.processes": "load processes",
    "tls": "TLS",
}
"""What facts are called for people, where that is not their key."""
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
_MATTER: Final = frozenset({"server", "model.files", "payload", "tls", *_KEYS["load"].values()})


def title(key: str) -> str:
    """What a fact is called for people."""
    if key.startswith("server."):
        return key.replace(".", " ")
    return _TITLES.get(key, key.replace(".", " ", 1) if key.startswith("package.") else key)


def matters(key: str) -> bool:
    """Whether a difference in a fact between two runs gives their comparison a warning."""
    return key in _MATTER or key.startswith(("machine.", "package.", "server."))


def once(compute: Callable[[Manifest], Mapping[str, str]]) -> Callable[[Manifest], Mapping[str, str]]:
    """Compute it once of each manifest: a gate looks at the same one hundreds of times."""

    @functools.wraps(compute)
    def known(manifest: Manifest) -> Mapping[str, str]:
        held = vars(manifest)  # where functools.cached_property puts what it holds
        if compute.__qualname__ not in held:
            held[compute.__qualname__] = compute(manifest)
        values: Mapping[str, str] = held[compute.__qualname__]
        return values

    return known


@once
def facts(manifest: Manifest) -> Mapping[str, str]:
    """What a manifest says of machine, server, model, payload and software, by key; what it does not know is left out."""
    values: dict[str, Any] = {}
    for part, keys in _KEYS.items():
        section = manifest.raw.get(part) or {}
        values |= {key: section.get(name) for name, key in keys.items()}
    values["model.files"] = (manifest.model.sha256 or "")[:16] or None
    values["payload"] = (
        " ".join(each.sha256[:16] for each in manifest.payload.values() if each.sha256) or None
    )
    if manifest.git.commit:
        values["commit"] = manifest.git.commit[:12] + (" with changes" if manifest.git.dirty else "")
    if manifest.experiment is not None:
        values |= _launched(manifest.experiment)
    values |= {f"package.{name}": version for name, version in manifest.machine.packages.items()}
    values["seed"] = manifest.seed
    return {key: text(value) for key, value in values.items() if value is not None}


def single_facts(manifest: Manifest) -> dict[str, str]:
    """The same with each setting of a server as a fact of its own, and lists as words."""
    single: dict[str, str] = {}

    def add(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                add(f"{key}.{name}", each)
        elif isinstance(value, list) and all(isinstance(each, str) for each in value):
            single[key] = ", ".join(value)
        else:
            single[key] = text(value)

    for key, fact in facts(manifest).items():
        add(key, json.loads(fact) if key.startswith("server.") and fact[:1] in ("{", "[") else fact)
    return single


def differences(before: Sequence[Manifest], after: Sequence[Manifest]) -> dict[str, RunWarning]:
    """By key a warning for each fact that matters and has other values in the runs of one side than in those of the other."""
    old, new = (_values(side) for side in (before, after))
    return {
        key: different(key, f"{_named(old.get(key))} and {_named(new.get(key))}")
        for key in old | new
        if matters(key) and old.get(key) != new.get(key)
    }


def different(key: str, sides: str) -> RunWarning:
    """A warning about a fact that is not the same on both sides."""
    return RunWarning(
        "environment",
        f"{title(key)} differs: {sides}",
        "measure both in turn on one machine, with everything else equal",
    )


def mixed(manifests: Sequence[Manifest], side: str) -> list[RunWarning]:
    """A warning for each fact of the machine and its packages in which the runs of one side differ."""
    known = [facts(manifest) for manifest in manifests]
    return [
        RunWarning(
            "environment",
            f"{side}: {title(key)} differs between its runs: {_named(values)}{' and unknown' if unknown else ''}",
            "measure all on one machine",
        )
        for key, values in _values(manifests).items()
        if key.startswith(("machine.", "package."))
        for unknown in [any(key not in each for each in known)]
        if len(values) > 1 or unknown
    ]


def _values(manifests: Sequence[Manifest]) -> dict[str, set[str]]:
    by_key: dict[str, set[str]] = {}
    for manifest in manifests:
        for key, value in facts(manifest).items():
            by_key.setdefault(key, set()).add(value)
    return by_key


def _named(values: set[str] | None) -> str:
    return (
        "unknown" if values is None else ", ".join(sorted(values)[:3]) + (", ..." if len(values) > 3 else "")
    )


def _launched(experiment: InExperiment) -> dict[str, Any]:
    """What an experiment knows of a server that it started, and of the model that it asked for."""
    server, cell = experiment.server, experiment.cell
    launched = {
        "server" if name == "kind" else f"server.{name}": value
        for name, value in server.facts().items()
        if name in LAUNCHED
    }
    hashes = server.models.get(cell.model or "") or {}
    version = hashes.get(str(cell.version)) or ("".join(hashes.values()) if len(hashes) == 1 else None)
    launched["model.files"] = version[:16] if version else None
    return {key: value for key, value in launched.items() if value not in (None, "", [], {})}


def text(value: Any) -> str:
    """A value as text: JSON unless it is a text."""
    return value if isinstance(value, str) else json.dumps(value)
