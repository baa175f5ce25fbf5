"""Warnings: what speaks against a result, and what can be done about it."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from bench import BenchError
from bench.config.reading import nearest

ABORTED: Final = "aborted"
KNOWN: Final = {
    ABORTED: "A limit of `--abort-if` was exceeded and ended the load. It cannot be accepted.",
    "behind": "An open loop sent requests later than they were due: p99 send delay above the bound.",
    "cancelled": "More than 1 % of the requests were cancelled by the load generator.",
    "client held up": "A load process was CPU-starved: it waited to be scheduled.",
    "client paused": "The event loop of a load process stood still.",
    "client saturated": "A load process used almost a whole core.",
    "clocks": "The clock of a load process is known less exactly than 1 ms, or the start of a run is in the future or no time.",
    "damaged": "Histograms and counts of a run do not agree.",
    "empty": "No request was recorded, or none in the steady part.",
    "environment": "Runs that are compared differ in machine, packages or another condition.",
    "errors": "More than 1 % of the requests failed.",
    "failed trials": "Trials of the experiment failed.",
    "files changed": "Files of a run, or of its experiment, differ from the checksums written at its end.",
    "foreign report": "An unknown process reported to the Locust master, or one that came late and cannot take part.",
    "incomplete": "Requests were sent that are not in the record.",
    "interference": "The two conditions of a duet disturb each other: measured alone, they have other latencies or another ratio.",
    "interrupted": "The run was interrupted or aborted before its planned end.",
    "load processes": "A load process joined late, left early, or sent nothing.",
    "lost worker": "A load process ended before the run did.",
    "missing cells": "The baseline or the limits file has a cell that the candidate lacks.",
    "more than planned": "An open loop recorded more requests than its schedule makes.",
    "near the ceiling": "The rate is near what this machine was measured to send at all.",
    "not a number": "Answers hold nan, as those of a model do whose numbers overflow.",
    "not achieved": "Less than 99 % of the planned requests were sent.",
    "not reconciled": "The server's counters and the client's record do not agree.",
    "nothing measured": "No request was measured.",
    "one session": "A side consists of a single start of server and load.",
    "other version": "Another version answered than the one requested.",
    "restarted": "The server restarted, or reloaded models or configuration, during the run.",
    "short": "The steady part is shorter than needed to judge it.",
    "stalled": "Users of a closed loop waited long for a few requests, which its p99 does not show.",
    "stolen time": "The host took CPU time away from this virtual machine.",
    "telemetry": "A page of `--server-telemetry` was not read, or lacked values that it had at first.",
    "too few samples": "Too few requests for the percentile.",
    "unidentified": "A run has no id, so that a copy, or a change of its files, cannot be detected.",
    "unfinished": "The run has no end: it was killed, or still runs.",
    "unknown commit": "The commit of some runs is not known.",
    "unpaired trials": "Trials have no partner in their block.",
    "unreadable": "A run folder could not be read.",
    "unsteady": "Rate or latency has a trend within the steady part.",
    "users": "The number of users was not the planned one.",
    "version change": "The answering version changed during the run.",
    "warm-up": "The part left out as warm-up is slower than a transient explains.",
    "wrong answers": "Answers are wrong: by version, shape, dtype, values or a missing output.",
}
"""Every name by which a warning can be accepted, all but the first, and when the warning is given."""
GROUPS: Final = {
    "shared machine": (
        *("client saturated", "client held up", "client paused", "behind", "near the ceiling"),
        *("unsteady", "short", "not achieved"),
    ),
}
"""Names by which several warnings are accepted together: what a short run is like where server and load share a machine."""


class RunWarning(NamedTuple):
    """A reason not to believe a run, and what to do about it."""

    check: str
    """Name of the check that found it, by which it can be accepted."""
    reason: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.reason}; {self.remedy} [{self.check}]" if self.remedy else f"{self.reason} [{self.check}]"
        )


def accepted(names: Iterable[str], where: str) -> frozenset[str]:
    """The warnings that names of warnings and of groups accept.

    Raises BenchError for a name that there is not, since what is misspelt would accept nothing, and for ABORTED.
    """
    names_of_all: set[str] = set()
    for name in names:
        if name == ABORTED:
            raise BenchError(
                f"{where} {name!r}: --abort-if ended the load of such a run; run it again, without that option or with a higher limit"
            )
        if name not in GROUPS and name not in KNOWN:
            known = sorted({*KNOWN, *GROUPS})
            raise BenchError(
                f"{where} {name!r}: unknown warning{nearest(name, known)}; valid names: {', '.join(known)}"
            )
        names_of_all.update(GROUPS.get(name, (name,)))
    return frozenset(names_of_all)
