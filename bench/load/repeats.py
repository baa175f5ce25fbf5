"""Requests that are sent once (--unique), or once and then again (--cache-audit), to find or avoid caches."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from bench import BenchError
from bench.load.options import ScenarioOptions
from bench.payload import AGAIN, ONCE, Pool
from bench.schedule import Open, Trace

FIRST_TIME: Final = ", first time"
REPEATED: Final = ", repeated"
"""How the names of requests end that are new to the server, and of their repetitions."""


def arranged(
    pools: Mapping[Any, Pool], options: ScenarioOptions, schedules: Collection[Open]
) -> dict[Any, Pool]:
    """The pools, by `bench.load.sources.Source`, as --unique and --cache-audit want them sent.

    schedules: of the open-loop users. Raises BenchError where the requests cannot be sent in this way.
    """
    if not (options.unique or options.cache_audit):
        return dict(pools)
    option = "--cache-audit" if options.cache_audit else "--unique"
    if any(isinstance(schedule, Trace) for schedule in schedules):
        raise BenchError(f"{option}: a trace names each of its requests; give --schedule poisson:RATE")
    for source, pool in pools.items():
        if len(set(pool.messages)) < 2:
            raise BenchError(f"{option}: the requests {source.name} are all the same; give more examples")
    if not options.cache_audit:
        return {source: pool.sent_once(ONCE) for source, pool in pools.items()}
    _check_audit(pools, options, opened=bool(schedules))
    twice: dict[Any, Pool] = {}
    for source, pool in pools.items():
        twice[source._replace(name=source.name + FIRST_TIME)] = pool.sent_once(ONCE)
        twice[source._replace(name=source.name + REPEATED)] = pool.sent_once(AGAIN)
    return twice


def repeats(pools: Mapping[Any, Pool]) -> dict[str, str]:
    """The names of requests that are new to the server, and of their repetitions."""
    names = [source.name for source, pool in pools.items() if pool.sending == AGAIN]
    return {name.removesuffix(REPEATED) + FIRST_TIME: name for name in names}


def _check_audit(pools: Mapping[Any, Pool], options: ScenarioOptions, *, opened: bool) -> None:
    if options.unique:
        raise BenchError("--unique --cache-audit: give one of the two")
    if opened:
        raise BenchError(
            "--cache-audit: needs users that wait for answers; omit --schedule, or run a closed-loop scenario"
        )
    if not options.keep_samples:
        raise BenchError(
            "--cache-audit: compares single requests; leave out --no-samples (experiments: samples = true)"
        )
    users = [source.user for source in pools]
    if len(set(users)) < len(users):
        raise BenchError(
            "--cache-audit: this scenario sends several kinds of requests; run one that sends one kind"
        )
