"""Pools and connections over TensorFlow Serving's REST API."""

from functools import partial
from typing import Any

from bench.load.engine import encoding
from bench.payload import Pool
from bench.protocol.registry import api_named
from bench.wire.http_connection import HttpConnection

REST = api_named("tfs-rest")


def encoded(pool: Pool) -> Pool:
    """The pool with its messages as HTTP requests."""
    return encoding.encoded(pool, REST)


def connection_to(address: str, pool: Pool, **options: Any) -> HttpConnection:
    """A connection for requests of a pool."""
    return HttpConnection(address, partial(REST.read, expected=encoding.expected_of(pool)), **options)
