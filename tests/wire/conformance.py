"""What every transport has to do against every server: python -m tests.wire.conformance TRANSPORT ADDRESS [FOLDER]

A process of its own, patched as Locust patches it: grpcio's gevent mode holds for a whole process, and other tests
use grpcio otherwise. Prints a JSON object: the name of each case and what went wrong in it, null if nothing.
"""

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent

from bench.wire.dial import TLS
from bench.wire.transports import open_channel

Case = Callable[[Any], None]
CASES: dict[str, Case] = {}
TARGET: list[tuple[str, str, TLS | None]] = []
DETAILS = "Modell «größer» nicht gefunden: 100 % ☃ 𝄞"
TEST_SERVICE = "/t.Test/"


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def equal(one: object, other: object) -> None:
    if one != other:
        shown = f"{one!r:.200} is not {other!r:.200}"
        raise AssertionError(shown)


def batch(examples: int) -> bytes:
    """As large as a Predict request with that many MNIST images."""
    return (b"%08d" % examples) * (examples * 3136 // 8)


@case
def batches_come_back_whole(channel: Any) -> None:
    for examples in (1, 32, 512):
        reply = channel.call(TEST_SERVICE + "Echo", batch(examples))
        equal((reply.status, reply.details), (0, ""))
        equal(reply.message, batch(examples))


@case
def an_empty_message_is_a_message(channel: Any) -> None:
    equal(channel.call(TEST_SERVICE + "Echo", b"")[:3], (0, "", b""))


@case
def large_batches_cross_each_other(channel: Any) -> None:
    calls = [gevent.spawn(channel.call, TEST_SERVICE + "Echo", batch(32 + n)) for n in range(16)]
    for n, call in enumerate(calls):
        equal(call.get(timeout=30).message, batch(32 + n))


@case
def large_answers_arrive(channel: Any) -> None:
    equal(len(channel.call(TEST_SERVICE + "Grow", b"20000000").message), 20_000_000)


@case
def hundreds_of_calls_get_their_own_answers(channel: Any) -> None:
    calls = [gevent.spawn(channel.call, TEST_SERVICE + "Echo", b"%d" % n, 20.0) for n in range(500)]
    equal([call.get(timeout=30).message for call in calls], [b"%d" % n for n in range(500)])


@case
def every_status_comes_through_with_its_details(channel: Any) -> None:
    for code in range(1, 17):
        metadata = [
            ("code", str(code)),
            ("details-bin", __import__("base64").b64encode(DETAILS.encode()).decode()),
        ]
        reply = channel.call(TEST_SERVICE + "Fail", b"x", metadata=metadata)
        equal((reply.status, reply.details, reply.message), (code, DETAILS, b""))


@case
def an_unknown_method_is_unimplemented(channel: Any) -> None:
    reply = channel.call(TEST_SERVICE + "Nothing", b"x")
    equal((reply.status, reply.details), (12, "Method not found!"))


@case
def metadata_and_limit_reach_the_server(channel: Any) -> None:
    reply = channel.call(TEST_SERVICE + "Report", b"123", 30.0, [("x-id", "7"), ("trace-bin", "AAEC")])
    seen = json.loads(reply.message)
    equal(seen["metadata"]["x-id"], "7")
    equal(seen["metadata"]["trace-bin"], "000102")
    equal(seen["metadata"]["x-channel"], "every call")
    equal(seen["size"], 3)
    if not 20 < seen["left"] <= 30.3:
        raise AssertionError(seen)


@case
def no_limit_is_no_limit(channel: Any) -> None:
    equal(json.loads(channel.call(TEST_SERVICE + "Report", b"").message)["left"], None)


@case
def deadlines_end_calls(channel: Any) -> None:
    before = time.perf_counter()
    reply = channel.call(TEST_SERVICE + "Sleep", b"", 0.1, [("seconds", "5")])
    equal((reply.status, reply.details), (4, "Deadline Exceeded"))
    if not 0.1 <= time.perf_counter() - before < 3:
        raise AssertionError("not after 0.1 s")


@case
def killed_greenlets_leave_the_channel_whole(channel: Any) -> None:
    users = [
        gevent.spawn(channel.call, TEST_SERVICE + "Sleep", b"", None, [("seconds", "3")]) for _ in range(10)
    ]
    gevent.sleep(0.05)
    equal(channel.in_flight, 10)
    gevent.killall(users, timeout=60)
    equal(channel.in_flight, 0)
    equal(channel.call(TEST_SERVICE + "Echo", b"x").message, b"x")


@case
def compressed_answers_are_decoded(channel: Any) -> None:
    equal(channel.call(TEST_SERVICE + "Gzip", batch(10)).message, batch(10))


@case
def callbacks_run_once(channel: Any) -> None:
    replies: list[Any] = []
    for n in range(50):
        channel.start(TEST_SERVICE + "Echo", b"%d" % n, replies.append, 10.0)
    cancelled = channel.start(TEST_SERVICE + "Sleep", b"", replies.append, None, [("seconds", "0.5")])
    gevent.sleep(0.02)
    cancelled.cancel()
    with gevent.Timeout(60):
        while len(replies) < 50:
            gevent.sleep(0.01)
    gevent.sleep(0.6)
    equal(sorted(int(reply.message) for reply in replies), list(range(50)))


@case
def keepalive_pings_are_answered(channel: Any) -> None:
    before = json.loads(channel.call(TEST_SERVICE + "Report", b"").message)["peer"]
    gevent.sleep(0.7)  # the server would have hung up by now
    equal(json.loads(channel.call(TEST_SERVICE + "Report", b"").message)["peer"], before)


@case
def instants_are_in_order(channel: Any) -> None:
    before = time.perf_counter()
    reply = channel.call(TEST_SERVICE + "Echo", b"x")
    if not before <= reply.sent <= reply.done <= time.perf_counter():
        raise AssertionError((before, reply))


@case
def an_authority_is_no_name_of_a_certificate(channel: Any) -> None:
    transport, address, tls = TARGET[-1]
    nameless = tls and replace(tls, server_name=None)
    other = open_channel(transport, address, tls=nameless, authority="mnist.default.example.com")
    equal(other.call(TEST_SERVICE + "Echo", b"x", 10.0)[:3], (0, "", b"x"))
    other.close()


@case
def compressed_requests_arrive_as_they_were(channel: Any) -> None:
    transport, address, tls = TARGET[-1]
    other = open_channel(transport, address, tls=tls, compression="gzip")
    for examples in (1, 32):
        equal(other.call(TEST_SERVICE + "Echo", batch(examples), 10.0)[:3], (0, "", batch(examples)))
    other.close()


@case
def closing_cancels(channel: Any) -> None:  # the last case: it uses up the channel
    user = gevent.spawn(channel.call, TEST_SERVICE + "Sleep", b"", None, [("seconds", "5")])
    gevent.sleep(0.05)
    channel.close()
    equal(user.get(timeout=60).status, 1)
    equal(channel.call(TEST_SERVICE + "Echo", b"").status, 1)
    equal(channel.in_flight, 0)


def run(transport: str, address: str, folder: Path | None) -> dict[str, str | None]:
    tls = (
        None
        if folder is None
        else TLS(ca=folder / "ca.pem", certificate=folder / "client.pem", server_name="model.test")
    )
    TARGET.append((transport, address, tls))
    channel = open_channel(transport, address, tls=tls, metadata=[("x-channel", "every call")])
    channel.connect(60)
    results: dict[str, str | None] = {}
    for name, function in CASES.items():
        try:
            with gevent.Timeout(40):
                function(channel)
            results[name] = None
        except (Exception, gevent.Timeout):  # noqa: BLE001  # whatever went wrong is this case's result
            results[name] = traceback.format_exc(limit=-3)
    return results


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], Path(sys.argv[3]) if len(sys.argv) > 3 else None)))
