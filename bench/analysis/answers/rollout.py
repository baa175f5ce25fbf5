"""Effect on clients of a change of version under load, and how long it lasted."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, untold
from bench.analysis.answers.windows import (
    SETTLING,
    WINDOW,
    Floats,
    Requests,
    highest,
    in_words,
    reached,
    requests_of,
    threshold_of,
    windows,
    with_requests,
)
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT
from bench.wording import counted

FIRST: Final = 100
"""Answers of a new version that are looked at for the cost of its cold start."""


@dataclass(frozen=True)
class Swap:
    """One change of the version, in seconds after it was asked for; inf where it did not happen before the next one."""

    first_answer: float
    """Until the new version's first answer."""
    all_answers: float
    """Until the new version answers everything."""
    height: float
    """Slowest p99 of a window."""
    answered: float
    """The same of its answered requests alone."""
    slow: float
    """Seconds of windows that are slow."""
    cold: float
    """Slowest of the new version's first answers; inf: there was none."""


def answer(run: Run) -> list[Answer]:
    """Failures and attribution, the time a change takes, and the excursion of latency beside the baseline before it."""
    changes = [event for event in run.events if event.get("kind") == "swap"]
    whole = run.within(*run.seconds)
    total = sum(tally.requests for tally in whole.tallies.values())
    unsent = sum(tally.requests for (key, _), tally in whole.tallies.items() if key.outcome == UNSENT)
    answered = sum(tally.requests for (key, _), tally in whole.tallies.items() if key.outcome == "OK")
    cancelled = sum(t.requests for (key, _), t in whole.tallies.items() if key.outcome == CANCELLED_BY_CLIENT)
    failed = total - unsent - answered - cancelled
    unattributed = sum(
        tally.requests
        for (key, _), tally in whole.tallies.items()
        if key.outcome == "OK" and key.version is None
    )
    text = f"{counted(len(changes), 'change')} of the version: {failed:,} of {counted(total - unsent, 'request')} failed, {counted(unattributed, 'answer')} without a version"
    text += f"; {unsent:,} more were never sent" if unsent else ""
    values: dict[str, float | None] = {
        "swaps": float(len(changes)),
        "failed": float(failed),
        "unsent": float(unsent),
        "unattributed": float(unattributed),
        "unattributed_share": unattributed / total if total else None,
    }
    if not changes:
        return [Answer(text, values), untold("the effect of a change", "the run saw none")]
    requests = requests_of(run)
    if failed and (by_version := current_versions(requests, run.manifest.target.version)):
        text += "; failed while a version was current: " + ", ".join(
            f"version {version} {count:,}" for version, count in sorted(by_version.items())
        )
    answers = [Answer(text, values)]
    if not len(requests.due):
        return [*answers, untold("the excursion", "samples were not recorded (--no-samples)")]
    return [*answers, *_felt(requests, [(float(e["time"]), int(e["version"])) for e in changes])]


def current_versions(requests: Requests, first: int | None) -> dict[int, int]:
    """Failed requests, which name no version, by the one that had answered last when they were due.

    first: that before the first answer; None: not known, and then it is the first that answered.
    """
    answered = np.flatnonzero(requests.ok & (requests.version >= 0))
    order = answered[np.argsort(requests.done[answered], kind="stable")]
    failed = ~requests.ok & ~np.isnan(requests.done)
    before = np.searchsorted(requests.done[order], requests.due[failed], side="right")
    if first is None and not len(order):
        return {}
    beginning = first if first is not None else int(requests.version[order[0]])
    versions, counts = np.unique(
        np.concatenate([[beginning], requests.version[order]])[before], return_counts=True
    )
    return dict(zip(versions.tolist(), counts.tolist(), strict=True))


def swaps(requests: Requests, changes: list[tuple[float, int]], threshold: float) -> list[Swap]:
    """What each change did until the next one. changes: instant and new version. threshold: from which a window is slow."""
    ends = [at for at, _ in changes[1:]] + [float(requests.due[-1])]
    measured = []
    for (at, version), end in zip(changes, ends, strict=True):
        answered = (requests.due >= at) & (requests.due < end) & requests.ok
        new = answered & (requests.version == version)
        old = answered & (requests.version != version) & (requests.version >= 0)
        # answers that were under way when the change was asked for belong to it as well
        seen = windows(requests, at - WINDOW, end)
        first = requests.latency[np.flatnonzero(new)[:FIRST]]
        begun = float(requests.done[new].min()) - at if new.any() else np.inf
        # it is over where the new version alone has answered for a while
        over = new.any() and (not old.any() or requests.due[new].max() - requests.due[old].max() >= WINDOW)
        last_of_old = float(requests.done[old].max()) - at if old.any() else 0.0
        measured.append(
            Swap(
                first_answer=begun,
                all_answers=max(begun, last_of_old) if over else np.inf,
                height=highest(seen),
                answered=highest(windows(requests, at - WINDOW, end, answered=True)),
                slow=WINDOW * int(np.count_nonzero(seen > threshold)),
                cold=float(first.max()) if len(first) else np.inf,
            )
        )
    return measured


def _felt(requests: Requests, changes: list[tuple[float, int]]) -> list[Answer]:
    baseline = windows(requests, SETTLING, changes[0][0])
    subject = "the effect of the changes on latency"
    changes = [(at, version) for at, version in changes if at < float(requests.due[-1])]
    if not changes:
        return [untold(subject, "no request was due after the first one")]
    if len(with_requests(baseline)) < 10:
        return [untold(subject, "less than a second of baseline before the first one")]
    usual = float(np.median(with_requests(baseline)))
    threshold = threshold_of(baseline)
    if not np.isfinite(threshold):
        return [untold(subject, "requests failed in the seconds before the first one already")]
    slow_before = WINDOW * int(np.count_nonzero(baseline > threshold))
    seen = swaps(requests, changes, threshold)
    answered = np.array([s.answered for s in seen])
    heights, slow = np.array([s.height for s in seen]), np.array([s.slow for s in seen])
    firsts, whole = np.array([s.first_answer for s in seen]), np.array([s.all_answers for s in seen])
    cold = np.array([s.cold for s in seen])
    never = int(np.count_nonzero(np.isposinf(whole)))
    unfinished = f"; {counted(never, 'change')} not over before the next one, or the end" if never else ""
    duration = formatting.duration
    felt = int(np.count_nonzero(slow))
    if felt:
        excursion = (
            f"latency rose at {felt} of {counted(len(seen), 'change')}: the slowest 0.1 s had a p99 of {in_words(_median(heights))} "
            f"(median of {counted(len(seen), 'change')}; {in_words(float(np.nanmax(heights)))} at most) instead of {duration(usual)}, and it stayed above "
            f"{duration(threshold)} for {duration(_median(slow))} ({duration(float(slow.max()))} at most)"
        )
        if np.isposinf(heights).any():
            excursion += (
                f"; p99 of the answered requests alone at most {duration(float(np.nanmax(answered)))}"
            )
    else:
        excursion = (
            f"no excursion found: no 0.1 s had a p99 above {duration(threshold)}, twice the baseline's 95th percentile "
            f"(highest {in_words(float(np.nanmax(heights)))}, usual {duration(usual)}, over {counted(len(seen), 'change')})"
        )
    return [
        Answer(
            f"the new version answers first after {after(_median(firsts))} and everything after {after(_median(whole))} "
            f"(medians of {counted(len(seen), 'change')}; {after(float(whole.max()))} at most){unfinished}",
            {"until_first_answer": _median(firsts), "until_all": _median(whole)},
        ),
        Answer(
            excursion,
            {
                "baseline_p99": usual,
                "threshold": threshold,
                "baseline_slow_seconds": slow_before,
                "excursion_height": reached(_median(heights)),
                "excursion_height_max": float(np.nanmax(heights)),  # inf is beyond any limit
                "answered_excursion_height_max": reached(float(np.nanmax(answered))),
                "excursion_seconds": _median(slow),
                "excursion_seconds_max": float(slow.max()),
            },
        ),
        Answer(
            f"cold start: the slowest of the new version's first {FIRST} answers took {in_words(_median(cold))} "
            f"(median of {counted(len(seen), 'change')}; {in_words(float(cold.max()))} at most)",
            {"cold_start": _median(cold), "cold_start_max": float(cold.max())},
        ),
    ]


def after(seconds: float) -> str:
    """A time until something happened, in words."""
    return formatting.duration(seconds) if np.isfinite(seconds) else "never"


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
