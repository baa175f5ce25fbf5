"""Manifests of earlier versions."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any


def migrated(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content as today's version writes it."""
    current = dict(content)
    payload, warm_up = current.get("payload"), current.get("warmup")
    with suppress(KeyError, TypeError, ValueError, OverflowError):  # runs are ordered by these texts
        began = datetime.fromisoformat(current["started"])
        current["started"] = began.astimezone(UTC).isoformat() if began.utcoffset() else current["started"]
    if isinstance(payload, dict) and isinstance(payload.get("sha256"), str):  # of one kind of requests
        current["payload"] = {"": payload}
    if warm_up is not None and not isinstance(warm_up, dict):  # its seconds alone
        current["warmup"] = {"seconds": warm_up}
    return current
