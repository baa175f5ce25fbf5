"""Pools in the messages of a protocol."""

from collections.abc import Iterable
from dataclasses import replace

from bench.payload import Pool
from bench.protocol.api import Api, Expected
from bench.wire.compression import gzipped
from bench.wire.http_messages import request_of


def encoded(
    pool: Pool,
    api: Api,
    host: str | None = None,
    metadata: Iterable[tuple[str, str]] = (),
    *,
    compress: bool = False,
) -> Pool:
    """The pool with its messages as a protocol sends them. Raises BenchError for what it has no words for.

    host: over HTTP the virtual host that is called; metadata: further headers there. compress: by gzip, once for all
    times that a message is sent.
    """
    calls = [api.encode(message, by_row=pool.by_row) for message in pool.messages]
    if compress:
        calls = [call._replace(message=gzipped(call.message)) for call in calls]
    fields = tuple(metadata)
    sent = (request_of(*call, host, fields) if api.over_http else call.message for call in calls)
    return replace(pool, method=calls[0].method, encoded=tuple(sent))


def expected_of(pool: Pool) -> Expected:
    """What the answers to a pool's messages are about."""
    return Expected(pool.output, pool.model, pool.version, pool.by_row)
