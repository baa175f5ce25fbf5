"""Pages of exporters that a server's telemetry is read from, as users write them: `URL#label=pattern&label=pattern`."""

import re
import urllib.parse
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, Self

FORM: Final = (
    "expected URLs such as http://NODE:9100/metrics or http://NODE:8080/metrics#namespace=default&pod=NAME-*"
)


class TelemetryPage(NamedTuple):
    """A page in Prometheus' text format, and which of its series count."""

    url: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Label -> patterns with `*`, of which one has to match."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what is none."""
        url, _, fragment = text.strip().partition("#")
        try:
            parts = urllib.parse.urlsplit(url)
            named = urllib.parse.parse_qs(fragment, strict_parsing=bool(fragment), keep_blank_values=True)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            known, named = False, {}
        if not known:
            raise ValueError(FORM)
        if parts.username is not None or parts.password is not None:
            raise ValueError("a password in a URL would be recorded; leave it out")
        if not all(re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) for name in named):
            raise ValueError(FORM)
        return cls(url, tuple((name, tuple(patterns)) for name, patterns in named.items()))

    def takes(self, labels: Mapping[str, str], known: frozenset[str]) -> bool:
        """Whether a series counts. known: the labels of any series of its name; those that none has choose nothing."""
        return all(
            any(fnmatchcase(labels.get(name, ""), pattern) for pattern in patterns)
            for name, patterns in self.labels
            if name in known
        )


def listed_pages(text: str) -> list[str]:
    """The pages in a list with commas, as texts."""
    return [each.strip() for each in re.split(r",(?=\s*https?://)", text) if each.strip()]


def telemetry_pages(text: str) -> tuple[TelemetryPage, ...]:
    """The pages in a list with commas. Raises ValueError for what is none."""
    return tuple(map(TelemetryPage.parse, listed_pages(text)))
