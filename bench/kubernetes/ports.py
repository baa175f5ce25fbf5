"""Ports that a load's options need beside the server's: a NetworkPolicy lets pods reach, and be reached by, no others."""

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Final

from bench import BenchError
from bench.wire.dial import Address

URLS: Final = frozenset(("--server-metrics", "--server-telemetry", "--otlp"))
"""Options with URLs of what load processes read or write, several with commas between them."""
ADDRESSES: Final = frozenset(("--rest",))
"""Options with addresses of the server."""
OFFERED: Final = frozenset(("--prometheus",))
"""Options with addresses at which a load process is reached."""
_USUAL: Final = {"http": 80, "https": 443}
_LOOPBACK: Final = re.compile(r"localhost|127\..*|::1")


def reached(options: Sequence[str]) -> list[int]:
    """Ports that load processes reach, in ascending order, each once. Raises BenchError for a URL without one."""
    urls = [
        (option, url)
        for option, value in _values(options, URLS)
        for url in re.split(r",(?=\s*\w+://)", value)
    ]
    ports = {_port(option, url.strip()) for option, url in urls if url.strip()}
    return sorted(ports | {Address.parse(value).port for _, value in _values(options, ADDRESSES)})


def offered(options: Sequence[str]) -> list[int]:
    """Ports at which load processes are reached, in ascending order. Raises BenchError for a loopback address."""
    ports = set()
    for option, value in _values(options, OFFERED):
        address = Address.parse(value)
        if _LOOPBACK.fullmatch(address.host):
            raise BenchError(
                f"{option} {value}: not reachable from outside the pod; give 0.0.0.0:{address.port}"
            )
        ports.add(address.port)
    return sorted(ports)


def _values(options: Sequence[str], names: frozenset[str]) -> Iterator[tuple[str, str]]:
    for place, word in enumerate(options):
        name, equals, value = word.partition("=")
        if name in names:
            value = value if equals else "".join(options[place + 1 : place + 2])
            if value:
                yield name, value


def _port(option: str, url: str) -> int:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or _USUAL.get(parts.scheme)
    except ValueError:
        port = None
    if not port:
        raise BenchError(
            f"{option} {url}: expected a URL with a port, such as http://node.example:9100/metrics"
        )
    return port
