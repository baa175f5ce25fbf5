"""Read pages of exporters once a second, and print what they tell: a process beside the load, which has no time for it.

`python -m bench.load.observing.exporters '[[URL, [[LABEL, [PATTERN]]]]]'` prints a line of JSON for each reading of a page:
`{"page": number, "source": ..., "values": {...}, "missing": [...]}` or `{"page": number, "problem": "..."}`. It ends when its standard input does,
as that of a program whose parent is gone.
"""

import http.client
import json
import os
import sys
import threading
import time
import urllib.error
from collections.abc import Sequence
from typing import Any, Final

from bench.config.telemetry import TelemetryPage
from bench.load.observing.exporters.reading import Pages
from bench.wire.direct import read_url

EVERY_SECONDS: Final = 1.0
PATIENCE: Final = 5.0
"""Seconds for one page; one that takes longer than EVERY_SECONDS is read less often."""
LARGEST_PAGE: Final = 32 << 20
"""Bytes; a kubelet with 100 pods has some MB."""
_POLITE: Final = 19
"""The load's processes come first, once a page was read for the first time."""


def read(page: TelemetryPage, pages: Pages) -> dict[str, Any]:
    """A reading as it is printed."""
    try:
        text = read_url(page.url, timeout=PATIENCE, largest=LARGEST_PAGE).decode(errors="replace")
        reading = pages.read(text)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        return {"problem": _reason(error)}
    return reading._asdict()


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(error, urllib.error.HTTPError):
        reason = f"HTTP {error.code}"
    elif isinstance(reason, TimeoutError):
        reason = f"no answer within {PATIENCE:g} s"
    return str(getattr(reason, "strerror", None) or reason)


def follow(number: int, page: TelemetryPage) -> None:
    """Read a page until the process ends."""
    pages, due = Pages(page), time.monotonic()
    while True:
        # in one call: lines of several threads stay whole
        sys.stdout.write(json.dumps({"page": number, **read(page, pages)}) + "\n")
        sys.stdout.flush()
        os.setpriority(os.PRIO_PROCESS, 0, _POLITE)  # of this thread, as Linux has it
        due = max(due + EVERY_SECONDS, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def main(arguments: Sequence[str]) -> None:
    """Follow all pages, each in a thread of its own, so that none waits for another."""
    pages = [
        TelemetryPage(url, tuple((name, tuple(of)) for name, of in labels))
        for url, labels in json.loads(arguments[0])
    ]
    for number, page in enumerate(pages):
        threading.Thread(target=follow, args=(number, page), daemon=True).start()
    sys.stdin.read()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
