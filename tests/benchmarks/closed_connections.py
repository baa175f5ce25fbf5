"""Check that every call is counted once behind a proxy that ends connections at random. Run: python -m tests.benchmarks.closed_connections

Rounds of calls, in turn with a proxy that ends connections in order only, and with one that also hangs up, resets and
cuts frames (`closing_proxy`). After each round: every call has ended once, with its own answer; the channel's count of
requests sent is that of the calls that say so; no request that the proxy passed on came twice, unless the server had
refused it; and where all ends are in order, the requests that the proxy has seen are those sent and the retries, but
for calls whose deadline passed while their bytes still waited for the kernel.
--state FILE: totals go on where an earlier call of the program ended. Exit code 1 where anything is wrong.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gevent

from bench.wire.client import Channel
from tests.benchmarks.closing_proxy import MANNERS
from tests.benchmarks.soak import ROOT, Soak, fate


def started(*arguments: str) -> tuple["subprocess.Popen[str]", int]:
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, int(process.stdout.readline())


def one_round(
    seed: int, calls: int, in_flight: int, manners: tuple[str, ...]
) -> tuple[Counter[str], list[str]]:
    """What was counted, and what is wrong."""
    server, port = started("tests.benchmarks.soak", "--serve", "0")
    proxy, port = started("tests.benchmarks.closing_proxy", str(port), str(seed), *manners)
    try:
        channel = Channel(f"127.0.0.1:{port}", connections=2)
        channel.connect(30)
        soak = Soak(channel, calls, in_flight, random.Random(seed), pad=100)
        gevent.spawn(soak.run).get()
        lost = soak.lost()
        gevent.sleep(0.2)  # what was given up at the end may still be on its way to the proxy
        sent, retries = channel.sent_calls, channel.retries
        channel.close()
        proxy.send_signal(signal.SIGTERM)
        assert proxy.stdout
        seen: dict[str, Any] = json.loads(proxy.stdout.readline())
    finally:
        for process in (server, proxy):
            process.kill()
            process.communicate()
    wrong = soak.wrong[:10]
    if lost:
        wrong.append(f"{lost} calls have not ended")
    if sent != soak.started - soak.unsent:
        wrong.append(f"{soak.started - soak.unsent} calls say that they were sent, the channel says {sent}")
    twice = [number for number in seen["repeated"] if fate(number) != "refused"]
    if twice:
        wrong.append(f"requests that went to the server twice: {twice[:10]}")
    if manners == ("goaway",) and not 0 <= seen["whole"] - sent - retries <= soak.unsent_late:
        wrong.append(f"the proxy saw {seen['whole']} requests, {sent} were sent and {retries} sent again")
    counts = Counter(
        {
            "calls": sent,
            "unsent": soak.unsent,
            "retries": retries,
            "ends": sum(seen["ends"].values()),
            "wrong": len(wrong),
        }
    )
    counts.update({f"status {status}": count for status, count in soak.statuses.items()})
    counts.update({f"ends by {manner}": count for manner, count in seen["ends"].items()})
    return counts, wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--calls", type=int, default=10_000_000, help="in all, those of earlier calls included"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin no further round after this"
    )
    parser.add_argument("--each", type=int, default=100_000, help="calls of a round")
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--state", type=Path, help="JSON file with the totals")
    asked = parser.parse_args()
    totals: Counter[str] = Counter()
    if asked.state is not None and asked.state.exists():
        totals.update(json.loads(asked.state.read_text()))
    begin, failed = time.perf_counter(), False
    while totals["calls"] < asked.calls and time.perf_counter() - begin < asked.seconds:
        manners = ("goaway",) if totals["rounds"] % 2 == 0 else MANNERS
        counts, wrong = one_round(totals["rounds"] + 1, asked.each, asked.in_flight, manners)
        totals.update(counts)
        totals["rounds"] += 1
        if asked.state is not None:
            asked.state.write_text(json.dumps(totals, indent=1, sort_keys=True))
        for text in wrong:
            print(f"round {totals['rounds']}: {text}")
        failed = failed or bool(wrong)
        print(
            f"{totals['rounds']} rounds: {totals['calls']:,} calls sent, {totals['retries']:,} again, "
            f"{totals['ends']:,} connections ended, {totals['wrong']} things wrong",
            flush=True,
        )
    print(json.dumps(dict(sorted(totals.items()))))
    # none in n: with 95 % confidence fewer than 3 in n (the rule of three)
    print(
        f"lost, doubled or misattributed: {totals['wrong']} of {totals['calls']:,}; 95 % below {3 / max(totals['calls'], 1):.1e}"
    )
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
