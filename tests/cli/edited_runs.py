"""Runs that were damaged or edited, or that warn of themselves."""

from collections.abc import Callable

from bench.runs import checksums
from tests.cli.checkouts import (
    Checkout,
    absolute,
    damaged_then_committed,
    noted,
    rewritten,
    warm_up,
    without_lines,
)
from tests.recorded import edit

CASES: dict[str, tuple[Callable[[Checkout], list[str]], int, str]] = {
    "a warm-up edited in": (absolute(warm_up), 2, "warm-up: 3 s, by rule"),
    "a manifest edited": (absolute(rewritten("manifest.json", lambda t: t + " ")), 3, "manifest.json changed;"),
    "lines taken out of the histograms": (
        absolute(rewritten("histograms.hlog", without_lines)), 3, "[files changed]"),
    "lines taken out of the counts": (absolute(rewritten("counts.jsonl", without_lines)), 3, "[files changed]"),
    "the checksums taken away": (absolute(lambda run: (run / checksums.FILE).unlink()), 3, "[files changed]"),
    "telemetry put in": (absolute(lambda run: (run / "telemetry.jsonl").write_text("")), 3, "[files changed]"),
    "the manifest taken away": (absolute(lambda run: (run / "manifest.json").unlink()), 3, "[unreadable]"),
    "all but the telemetry taken away": (
        absolute(lambda run: [(run / "telemetry.jsonl").touch(), *(f.unlink() for f in run.iterdir() if f.stem != "telemetry")]),
        3, "[unreadable]"),
    "not finished": (absolute(lambda run: edit(run, state="running")), 3, "[unfinished]"),
    "interrupted": (absolute(lambda run: edit(run, state="interrupted")), 3, "[interrupted]"),
    "changed, then taken as the baseline": (damaged_then_committed, 3, "[files changed]"),
    "a warning": (absolute(noted("client saturated")), 3, "[client saturated]"),
    "a warning of another name is accepted": (
        absolute(noted("behind"), 'accept = ["client saturated"]\n[limits]\np50_ms = 9\n'), 3, "[behind]"),
}  # fmt: skip
