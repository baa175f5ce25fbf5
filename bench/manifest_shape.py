"""Types of the manifest's values.

Only what is read is looked at: manifests may hold more, and older ones less.
"""

from typing import Any, Final

_NUMBER: Final = (int, float)
_SHAPES: Final[dict[str, tuple[type, ...]]] = {
    "run_id": (str,),
    "state": (str,),
    "started": (str,),
    "scenario": (str,),
    "note": (str,),
    "stopped": _NUMBER,
    "load": (dict,),
    "target": (dict,),
    "machine": (dict,),
    "payload": (dict,),
    "model": (dict,),
    "git": (dict,),
    "span": (dict,),
    "counts": (dict,),
    "workers": (list,),
    "doubts": (list,),
}
_NEEDED: Final = ("state", "started", "scenario")


def misfit(manifest: dict[str, Any]) -> str | None:
    """What is wrong with a manifest, as `key value: what would be right`; None where it can be read."""
    for key in _NEEDED:
        if not isinstance(manifest.get(key), str):
            return f"{key} {manifest.get(key)!r}: a text is expected"
    for key, types in _SHAPES.items():
        value = manifest.get(key)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            return f"{key} {value!r}: {' or '.join(t.__name__ for t in types)} is expected"
    counts = manifest.get("counts") or {}
    addresses = counts.get("addresses") or {}
    if not isinstance(addresses, dict):
        return f"counts.addresses {addresses!r}: dict is expected"
    tables = {
        "span": manifest.get("span") or {},
        "counts": {name: value for name, value in counts.items() if name != "addresses"},
        "counts.addresses": addresses,
    }
    for key, table in tables.items():
        for name, value in table.items():
            if value is not None and not isinstance(value, _NUMBER):
                return f"{key}.{name} {value!r}: a number is expected"
    return None
