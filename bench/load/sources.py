"""The requests of each user class, and their schedule."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, NoReturn

from bench import BenchError
from bench.load.engine.encoding import encoded
from bench.load.options import ScenarioOptions
from bench.load.repeats import arranged
from bench.payload import Asked, Pool
from bench.protocol.api import Api
from bench.protocol.names import DEFAULT, REST
from bench.protocol.registry import api_named
from bench.schedule import Closed, Open, Schedule, Trace, parse
from bench.wire.http_messages import host_header


class NoServerYetError(BenchError):
    """The requests of a scenario follow from what a server reports, and there is none to ask."""


class Source(NamedTuple):
    """One kind of requests, which has its own pool and recorder."""

    user: Any
    """The user class."""
    kind: int
    """Of those that the trace asks for; 0 where there is none."""
    name: str
    """Of the requests in statistics and results."""
    protocol: str = DEFAULT
    """Name of the protocol that they are sent by."""

    @property
    def api(self) -> Api:
        """The protocol."""
        return api_named(self.protocol)


def make_pools(
    user_classes: Iterable[Any], options: ScenarioOptions, address: str = ""
) -> dict[Source, Pool]:
    """What each user class sends, for each kind of request that a trace asks for, in the messages of its protocol.

    address: of the server, which requests over HTTP name, and which payloads may ask.

    Raises BenchError where the data asked for cannot be read, or the schedule does not fit the user classes, or an
    open-loop class has pools by name.
    """
    asking = [user for user in user_classes if hasattr(user, "payload")]
    options = replace(options, address=address)
    opened = open_schedules(asking, options)
    if isinstance(options.schedule, Open) and not opened:
        raise BenchError(
            f"--schedule {options.schedule}: this scenario has closed-loop users only; "
            "run one with open-loop users, such as scenarios/mnist_open.py"
        )
    pools: dict[Source, Pool] = {}
    specs: dict[Source, Asked] = {}
    for user in asking:
        for code, each in enumerate(_for_each_kind(opened.get(user), options)):
            for name, pool in _by_name(user, each, alone=user in opened).items():
                protocol = REST if name in getattr(user, "over_rest", ()) else options.protocol
                source = Source(user, code, name, protocol)
                pools[source], specs[source] = pool, each.asked
    for user in asking:
        names = [source.name for source in pools if source.user is user]
        _check_over_rest(user, names, options, opened=user in opened)
    # HTTP is not encrypted: a secret that is to be encrypted is not sent there
    metadata = () if options.tls else options.metadata
    host = options.authority or host_header(address if options.api.over_http else options.rest or "")
    sent = arranged(as_asked(pools, specs), options, opened.values())
    return {
        source: encoded(pool, api, host, metadata, compress=options.compresses(api))
        for source, pool in sent.items()
        for api in [_api(source, options)]
    }


def _api(source: Source, options: ScenarioOptions) -> Api:
    """What goes over REST beside the run's own protocol has no parameters."""
    return options.api if source.protocol == options.protocol else source.api


def _check_over_rest(user: Any, names: Iterable[str], options: ScenarioOptions, *, opened: bool) -> None:
    """Raise BenchError where a class wants something sent over REST that would go over gRPC without a word."""
    if opened and options.api.over_http:
        raise BenchError(
            f"--protocol {options.protocol}: {user.__name__} does not wait for answers, and such users send over gRPC "
            "only; measure REST with a closed-loop class"
        )
    if not user.over_rest:
        return
    where = f"{user.__name__}.over_rest = {user.over_rest!r}"
    if isinstance(user.over_rest, str):
        raise BenchError(f"{where}: expected a tuple of request names, such as ({user.over_rest!r},)")
    unknown = [name for name in user.over_rest if name not in names]
    if unknown:
        raise BenchError(
            f"{where}: no requests are named {unknown[0]!r}; there are {', '.join(sorted(names))}"
        )
    if opened:
        raise BenchError(
            f"{where}: users that do not wait for answers send over gRPC only; measure REST with a closed-loop class"
        )


def as_asked(pools: Mapping[Source, Pool], specs: Mapping[Source, Asked]) -> dict[Source, Pool]:
    """The pools with the version, label and signature that the command line, an experiment or a trace asks for.

    A payload that leaves them open gets them. Held to it are the pools of the model that is asked for; where nobody
    names a model, those of the only one that there is. Raises BenchError for a payload that names something else.
    """
    adjusted = {}
    for source, pool in pools.items():
        each = specs[source]
        models = {other.model for kin, other in pools.items() if kin.kind == source.kind}
        chosen = sorted(each.explicit & _OPTIONS.keys(), key=list(_OPTIONS).index)
        if "model" in chosen and each.model not in models:
            _refuse(source, "model", each.model, pool.model)
        named = each.model if each.model in models else pool.model
        if chosen and each.model not in models and len(models) > 1:
            raise BenchError(
                f"{_OPTIONS[chosen[0]]}: of which model? --model-name names one of {', '.join(sorted(models))}"
            )
        adjusted[source] = _held_to(source, pool, each) if pool.model == named else pool
    return adjusted


_OPTIONS: Final = {
    "model": "--model-name",
    "version": "--model-version",
    "label": "--version-label",
    "signature": "--signature",
    "batch": "--batch-size",
}


def _held_to(source: Source, pool: Pool, spec: Asked) -> Pool:
    version, label, signature = pool.version, pool.label, pool.signature
    for name in ("version", "label"):
        wanted = getattr(spec, name)
        if name not in spec.explicit or wanted == getattr(pool, name):
            continue
        if pool.version is not None or pool.label is not None:
            other = f"version {pool.version}" if pool.label is None else f"label {pool.label}"
            _refuse(source, name, wanted, other)
        version, label = spec.version, spec.label
    if "signature" in spec.explicit and spec.signature != signature:
        if signature:
            _refuse(source, "signature", spec.signature, signature)
        signature = spec.signature
    if "batch" in spec.explicit and spec.batch != pool.batch:
        _refuse(source, "batch", spec.batch, f"{pool.batch} example{'s' * (pool.batch > 1)}")
    return pool.asking(version=version, label=label, signature=signature)


def _refuse(source: Source, name: str, wanted: object, sent: str) -> NoReturn:
    raise BenchError(
        f"{_OPTIONS[name]} {wanted}: the requests {source.name} of {source.user.__name__}.payload name {sent}; "
        "give its pool **options.asked.request() instead, or leave the option (the key of the experiment) out"
    )


def refuse_larger(pools: Mapping[Source, Pool], limit: int) -> None:
    """Raise BenchError for requests of more bytes than the server accepts: it would refuse every one of them."""
    for source, pool in pools.items():
        size = max(map(len, pool.messages))
        if size > limit:
            each = size / pool.batch
            raise BenchError(
                f"--batch-size {pool.batch}: a request {source.name} has {size:,} bytes, the embedded server takes "
                f"{limit:,}: at most {int(limit / each):,} examples; or give --host of a server that takes more"
            )


def _by_name(user: Any, options: ScenarioOptions, *, alone: bool) -> Mapping[str, Pool]:
    """The pools of a user class by the names of their requests."""
    payload: Any = user.payload(options)
    if isinstance(payload, Pool):
        payload = {user.request_name: payload}
    elif not isinstance(payload, Mapping) or not payload:
        raise BenchError(
            f"{user.__name__}.payload gives a {type(payload).__name__}; expected a Pool, or a dict of them by name"
        )
    elif alone:
        raise BenchError(
            f"{user.__name__}.payload: pools by name; users that do not wait for answers send one kind of "
            "requests, so make a class of each"
        )
    for name, pool in payload.items():
        if not isinstance(pool, Pool):
            raise BenchError(
                f"{user.__name__}.payload: {name!r} is a {type(pool).__name__}; expected a Pool, as Pool.of makes it"
            )
    return dict(payload)


def open_schedules(user_classes: Iterable[Any], options: ScenarioOptions) -> dict[Any, Open]:
    """The schedules of the user classes that do not wait for answers: the option's, else their own.

    Raises BenchError for a class whose own schedule is none.
    """
    schedules = {}
    for user in user_classes:
        own = getattr(user, "schedule", None)
        if own is None:
            continue
        schedule: Schedule = options.schedule or (parse(own) if isinstance(own, str) else own)
        if not isinstance(schedule, Closed):
            schedules[user] = schedule
    return schedules


def _for_each_kind(schedule: Open | None, options: ScenarioOptions) -> Iterator[ScenarioOptions]:
    """The options with what each kind of a trace's rows asks for; as they are where there is no trace."""
    if not isinstance(schedule, Trace):
        yield options
        return
    for kind in schedule.kinds:
        changes = {name: value for name, value in kind._asdict().items() if value is not None}
        chosen = (
            options.asked.explicit - {"label"} if "version" in changes else options.asked.explicit
        ) | changes.keys()
        spec = replace(options.asked, **changes, explicit=frozenset(chosen))
        yield replace(options, asked=replace(spec, label=None) if "version" in changes else spec)


def refuse_untagged(user_classes: Iterable[Any]) -> None:
    """Raise BenchError for a class of which `--tags` and `--exclude-tags` have left no task."""
    for user in user_classes:
        if hasattr(user, "payload") and not user.tasks:
            raise BenchError(
                f"--tags, --exclude-tags: they leave {user.__name__} without tasks; tag one (a class that defines "
                "no tasks has no tagged ones), or omit the options"
            )


def refuse_other_waits(user_classes: Iterable[Any], schedule: Schedule | None) -> None:
    """Raise BenchError for a think time given on the command line and a task set that has a wait time of its own."""
    if not isinstance(schedule, Closed):
        return
    for user in user_classes:
        for name in task_sets_that_wait(user.tasks) if hasattr(user, "payload") else ():
            raise BenchError(
                f"--schedule {schedule}: {name} defines wait_time, which would take precedence; omit one of them"
            )


def task_sets_that_wait(tasks: Iterable[Any]) -> Iterator[str]:
    """Names of the task sets among the tasks of a user class, nested ones too, that have a wait time of their own."""
    for task in tasks:
        if isinstance(task, type):
            own = [base for base in task.__mro__ if not base.__module__.startswith("locust.")]
            if any("wait_time" in vars(base) for base in own):
                yield task.__name__
            yield from task_sets_that_wait(getattr(task, "tasks", ()))


def sending_classes(environment: Any) -> list[str]:
    """The names of the user classes that send requests of ours."""
    return sorted(user.__name__ for user in environment.user_classes if hasattr(user, "payload"))
