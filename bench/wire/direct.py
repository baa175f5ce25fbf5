"""HTTP to servers under test and to programs on this machine, past the proxies that the environment names.

A proxy cannot reach this machine's loopback, and would be measured with a server. Where only a proxy leads to a
server's pages, BENCH_HTTP_PROXY names it; it is not used for the loopback.
"""

import contextlib
import ipaddress
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Final

PROXY: Final = "BENCH_HTTP_PROXY"
TOKEN_HEADER: Final = "X-Bench-Token"  # noqa: S105 - the name of a header
TOKEN_VARIABLE: Final = "BENCH_WEB_TOKEN"  # noqa: S105 - the name of a variable
"""A program that sends this variable's value to a Locust that has the same may set every option there."""
_PIECE: Final = 65_536
_NAMES: Final = ("http_proxy", "https_proxy", "all_proxy")


def _on_loopback(host: str) -> bool:
    """Whether a URL's host, with or without a port, is this machine's loopback."""
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


class _Proxy(urllib.request.ProxyHandler):
    """A proxy for all but the loopback, also after a redirection."""

    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> Any:
        """As the base class: None where the request goes directly."""
        return None if _on_loopback(req.host) else super().proxy_open(req, proxy, type)


def open_url(
    url: str, content: bytes | None = None, *, timeout: float, headers: Mapping[str, str] | None = None
) -> Any:
    """What `urllib.request.urlopen` gives for a URL whose scheme the caller has checked, and the errors that it raises."""
    request = urllib.request.Request(url, content, dict(headers or {}))  # noqa: S310 - as said above
    proxy = os.environ.get(PROXY)
    handler = _Proxy({"http": proxy, "https": proxy} if proxy else {})
    return urllib.request.build_opener(handler).open(request, timeout=timeout)


def read_url(
    url: str,
    content: bytes | None = None,
    *,
    timeout: float,
    largest: int,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The whole content of what `open_url` opens.

    Raises its errors, and OSError for more than `largest` bytes and for what has not come after `timeout` seconds.
    """
    until = time.monotonic() + timeout
    parts: list[bytes] = []
    size = 0
    with open_url(url, content, timeout=timeout, headers=headers) as answer:
        while piece := answer.read1(_PIECE):
            parts.append(piece)
            size += len(piece)
            if size > largest:
                raise OSError(f"more than {largest} bytes")
            if time.monotonic() > until:
                raise TimeoutError(f"not complete after {timeout:g} s")
    return b"".join(parts)


@contextlib.contextmanager
def no_proxies() -> Iterator[None]:
    """Hide the environment's proxies from what is made in the block, such as a client that connects at once."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.lower() in _NAMES}
    try:
        yield
    finally:
        os.environ.update(hidden)
