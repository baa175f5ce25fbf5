"""Run `bench ab` once all checks have passed: answers, load, verdict."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from bench.cli.ab_answers import compare_answers
from bench.cli.ab_conditions import Looked
from bench.cli.ab_limits import Limits
from bench.cli.ab_load import look_as_the_load_does, measure, planned, sides_of
from bench.cli.ab_show import Result, show, write
from bench.cli.output import note
from bench.cli.run import INTERRUPTED, ended_in_order
from bench.escape import one_line
from bench.experiment.beginning import begin
from bench.load.observing.counters import fetch
from bench.runs.journal import COMPLETE
from bench.runs.journal import INTERRUPTED as INTERRUPTED_STATE

_SHARE_OF_ANSWERS: Final = 0.25
"""Of the time, for sending each example to both; the load gets what is left of it."""


def run(
    looked: Looked,
    requests: str | None,
    server: Mapping[str, Any],
    limits: Limits | None,
    options: Mapping[str, Any],
    *,
    answers: bool,
    load: bool,
) -> int:
    """Compare and show it; gives the exit code. answers, load: whether answers are compared, and speed is measured."""
    began, seconds = time.monotonic(), options["seconds"]
    if limits is not None and looked.output is None:
        limits.check_labels()
    for text in looked.warnings:
        click.echo(one_line(f"warning: {text}"), err=True)
    rates = [] if limits is None else limits.rates
    for_load = seconds * (1 - _SHARE_OF_ANSWERS if answers else 1.0)
    prepared = planned(looked, requests, for_load, server, options, rates=bool(rates))
    if load:
        if limits is not None:
            limits.check_cells(sides_of(looked.two).candidates(prepared))
        _look_at_pages(looked, options, duet=prepared.duet)
        look_as_the_load_does(prepared)
    if rates:
        note(f"{rates[0].dotted}: rates are compared in trials one after the other")
    folder = begin(prepared if load else prepared._replace(plan=[]), options["results"], None)
    agreement = outcome = None
    try:
        with ended_in_order():
            if answers:
                share = _SHARE_OF_ANSWERS if load else 1.0
                agreement = compare_answers(looked, folder.path, share * seconds, options)
            if load:
                left = max(1.0, seconds - (time.monotonic() - began))
                outcome = measure(
                    looked.two, prepared, folder, left, limits, answered_within=options["answered_within"]
                )
            else:
                folder.mark(COMPLETE)
    except KeyboardInterrupt:
        folder.tidy()
        folder.mark(INTERRUPTED_STATE)
        note(f"interrupted; what was measured is in {folder.path}")
        return INTERRUPTED
    result = Result(looked.two, folder, agreement, outcome, limits, random=requests is None).explained()
    show(result)
    write(result, options)
    return result.code


def _look_at_pages(looked: Looked, options: Mapping[str, Any], *, duet: bool) -> None:
    """Raise BenchError for counters that the load processes could not read."""
    pages: Sequence[str | None] = options["metrics"]
    for side, page in zip(looked.sides, pages, strict=True):
        if page is not None:
            fetch(page, side.inquiry.model, side.inquiry.api)
    if not duet or looked.two.before.address != looked.two.after.address:
        return
    if any(pages):
        note("--server-metrics: the counters of one server are of both sides together: no latency is split")
    if any(options["telemetry"]):
        note("--server-telemetry: one server computes for both sides: no CPU time per request")
