"""Service levels: the share of requests that are to be answered rightly within a time."""

import re
from typing import Final, NamedTuple

from bench.config.limits import share_or_number
from bench.schedule.text import duration

SHARE_AT_TIME: Final = "a share from 0.5 on and below 1, and a time, such as 99.9%@50ms or 0.999@50ms"
_GOODPUT: Final = re.compile(r"\s*(\S+(?:\s+%)?)\s*@\s*(\S+)\s*")


class ServiceLevel(NamedTuple):
    """The service level that requests have to meet."""

    within: float
    """Seconds within which they are to be answered rightly."""
    share: float
    """Of all that are due."""
    text: str

    @property
    def allowed(self) -> float:
        """The share that may miss it."""
        return 1 - self.share


def of_p99(milliseconds: float) -> ServiceLevel:
    """99 of 100 requests within so many milliseconds."""
    return ServiceLevel(milliseconds / 1e3, 0.99, f"p99 <= {milliseconds:g} ms")


def of_goodput(text: str) -> ServiceLevel:
    """That of a text such as `99.9 % @ 50ms`. Raises ValueError, which says what is expected."""
    match = _GOODPUT.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        share = share_or_number(match[1] if "%" in match[1] else float(match[1]), "")
        within = duration(match[2])
    except ValueError:
        share = within = 0.0
    if not 0.5 <= share < 1 or not 0 < within < 1e6:
        raise ValueError(f"expected {SHARE_AT_TIME}")
    return ServiceLevel(within, share, f"goodput >= {100 * share:.6g} % within {within * 1e3:g} ms")
