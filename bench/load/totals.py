"""The counts of all load processes of a run together."""

from collections import Counter
from typing import Any


def total(workers: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of all workers together; of one that was lost, what is known: the records that came."""
    counted = [w | {"sent": w["recorded"], "unsent": 0} if w["lost"] else w for w in workers]
    retries = [w["retries"] for w in workers if w["retries"] is not None]
    limits = [w["most_streams"] for w in workers if w["most_streams"] is not None]
    return {
        **{key: sum(w[key] for w in counted) for key in ("sent", "unsent", "recorded")},
        "retries": sum(retries) if retries else None,
        "most_streams": min(limits, default=None),
        **{
            key: dict(sorted(sum((Counter(w[key]) for w in workers), Counter[str]()).items()))
            for key in ("addresses", "waited")
        },
    }
