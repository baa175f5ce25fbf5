"""Compare the latency of repeated requests with that of requests that the server gets for the first time."""

import math
from typing import Any, Final

import numpy as np

from bench.analysis import formatting
from bench.analysis.answers.answer import CONFIDENCE, WIDEST, Answer, Floats, Interval, independent, untold
from bench.analysis.statistics.distributions import stdtrit
from bench.runs.run import Run

LEAST: Final = 10
"""Answers of each kind in a window, of which the medians are compared."""
FEWEST_WINDOWS: Final = 5
MOST_WINDOWS: Final = 60
SIGNED: Final = 10
"""Windows whose range bounds the interval: where all of them agree, chance makes them once in 512 times."""


def answer(run: Run) -> list[Answer]:
    """One sentence for each kind of requests that was sent twice."""
    samples = run.samples
    samples = samples[(samples["status"] == 0).fillna(False)]
    answers = [_compared(samples, first, again) for first, again in run.manifest.repeats.items()]
    return answers or [untold("whether repeated requests are faster", "no kind of requests was sent twice")]


def compare(
    sent: Floats, seconds: Floats, repeated: "np.ndarray[Any, np.dtype[np.bool_]]"
) -> Interval | None:
    """Service time of repeated requests / that of others, as medians of windows in which both were sent.

    Whatever changes with time changes both alike. Student's t on the logarithms of the ratios, of which as many count
    as are independent; from SIGNED windows on no wider than their range, which holds the median of what windows give but
    once in 2 ** (windows - 1) times (sign test). None of fewer than FEWEST_WINDOWS windows with LEAST of each kind.

    sent, seconds, repeated: [N], when each was sent, its service time (both in seconds) and whether it is a repetition.
    """
    order = np.argsort(sent, kind="stable")
    seconds, repeated = seconds[order], repeated[order]
    fewer = min(int(repeated.sum()), int((~repeated).sum()))
    windows = min(MOST_WINDOWS, fewer // (2 * LEAST))
    logs = []
    for window in np.array_split(np.arange(len(seconds)), max(windows, 1)):
        again = repeated[window]
        if min(again.sum(), (~again).sum()) >= LEAST:
            logs.append(math.log(np.median(seconds[window][again]) / np.median(seconds[window][~again])))
    if len(logs) < FEWEST_WINDOWS:
        return None
    ratios = np.array(logs)
    middle, count = float(ratios.mean()), independent(ratios)
    margin = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * float(ratios.std(ddof=1)) / math.sqrt(count)
    low, high = middle - min(margin, WIDEST), middle + min(margin, WIDEST)
    if len(logs) >= SIGNED:
        low, high = max(low, min(logs)), min(high, max(logs))
    return Interval(math.exp(middle), math.exp(low), math.exp(high))


def _compared(samples: Any, first: str, again: str) -> Answer:
    rows = samples[samples["name"].isin([first, again])]
    seconds = (rows["done"] - rows["sent"]).to_numpy(dtype=float)
    repeated = (rows["name"] == again).to_numpy(dtype=bool)
    change = compare(rows["sent"].to_numpy(dtype=float), seconds, repeated)
    counts = f"{int((~repeated).sum()):,} first-time and {int(repeated.sum()):,} repeated requests answered"
    if change is None:
        least = 2 * LEAST * FEWEST_WINDOWS
        return Answer(
            f"caches: inconclusive whether {again} is answered faster than {first}: {counts}, at least {least} of each, "
            "sent in the same time, are needed: give more requests",
            {"repeated_ratio": None, "repeated_ratio_low": None, "repeated_ratio_high": None},
        )
    return Answer(
        f"caches: {_verdict(change)} (95 %: ×{formatting.significant(change.low)} to ×{formatting.significant(change.high)} of the service time; {counts}, "
        "interleaved)",
        {
            "repeated_ratio": change.value,
            "repeated_ratio_low": change.low,
            "repeated_ratio_high": change.high,
        },
    )


def _verdict(change: Interval) -> str:
    if change.high < 1:
        return (
            f"repeated requests are answered in ×{formatting.significant(change.value)} of the time of first-time ones: something between "
            "client and model caches answers, --unique measures without it"
        )
    if change.low > 1:
        return f"repeated requests are answered more slowly than first-time ones, in ×{formatting.significant(change.value)} of their time"
    saved = formatting.share(1 - change.low)
    return f"no difference between repeated and first-time requests found; repetition saves at most {saved}"
