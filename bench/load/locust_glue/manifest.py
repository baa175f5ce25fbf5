"""The facts of a run that its manifest records."""

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from locust import User

from bench.load import ceiling
from bench.load.observing import gpus, machine
from bench.load.observing.server_side import started_at
from bench.load.options import ScenarioOptions
from bench.load.own_options import UNRECORDED
from bench.load.repeats import repeats
from bench.load.site import tree_hash
from bench.load.sources import Source, open_schedules, task_sets_that_wait
from bench.load.target import Target
from bench.payload import Pool
from bench.schedule import Closed


def describe(
    environment: Any, options: ScenarioOptions, target: Target, pools: Mapping[Source, Pool]
) -> dict[str, Any]:
    """The manifest's facts about command, target, load, payload, model and machine. Holds no secret."""
    specs = list(target.specs.values())
    spec = specs[0] if len(set(specs)) == 1 else None
    protocols = {source.name: source.protocol for source in pools}
    return {
        "question": _question(environment, options),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "target": {
            "address": target.address,
            "kind": target.kind,
            "pid": target.pid,
            "started": started_at(target.pid),
            "model": shared(each.model for each in specs),
            "version": target.version if spec is None or spec.version is None else spec.version,
            "version_asked": None if spec is None else spec.version,
            "label": None if spec is None else spec.label,
            "signature": shared(each.signature for each in specs),
            "protocol": options.protocol,
            "asked": {
                name: {
                    "model": each.model,
                    "version": each.version,
                    "label": each.label,
                    "protocol": protocols[name],
                }
                for name, each in target.specs.items()
            },
            "tls": options.tls is not None,
            "authority": options.authority,
            "metadata_keys": [key for key, _ in options.metadata],
            **({"parameters": dict(options.parameters)} if options.parameters else {}),
        },
        "load": _load(environment, options, pools),
        **({} if options.warm_up is None else {"warmup": {"rule": "given", "seconds": options.warm_up}}),
        "ceiling": _ceiling(environment, options, pools),
        "options": {name: value for name, value in options.own.items() if name not in UNRECORDED},
        "seed": options.seed,
        **({"repeats": repeats(pools)} if options.cache_audit else {}),
        "payload": {_name(source): _payload(pool) for source, pool in pools.items()},
        "model": {"path": str(target.model_path), "sha256": tree_hash(target.model_path)}
        if target.model_path
        else None,
        **({"experiment": options.experiment} if options.experiment else {}),
        "machine": {**machine.facts(), **gpus.facts()},
        "git": machine.git_facts(Path.cwd()),
    }


def _question(environment: Any, options: ScenarioOptions) -> str:
    if options.cache_audit:
        return "caches"
    return next((user.question for user in environment.user_classes if hasattr(user, "question")), "")


def _ceiling(
    environment: Any, options: ScenarioOptions, pools: Mapping[Source, Pool]
) -> dict[str, Any] | None:
    """What this machine's load processes can send of these requests, by `bench calibrate`; None: it is not known.

    It has not been measured over TLS, nor for processes that may be on other machines.
    """
    parsed = environment.parsed_options
    processes = getattr(parsed, "processes", None) or 1
    if options.tls is not None or (
        getattr(parsed, "master", False) and not getattr(parsed, "processes", None)
    ):
        return None
    largest = max((len(pool.messages[0]) for pool in pools.values()), default=0)
    calibration = ceiling.ceiling(options.transport, options.connections, largest)
    if calibration is None:
        return None
    each = calibration.requests_per_second
    if open_schedules(environment.user_classes, options) and not math.isnan(calibration.open_per_second):
        each = calibration.open_per_second
    return {"requests_per_second": each * processes, "each": each, "measured": calibration.measured}


def shared(texts: Iterable[str]) -> str:
    """The text that all are, or all that there are."""
    return ", ".join(dict.fromkeys(texts))


def _load(environment: Any, options: ScenarioOptions, pools: Mapping[Source, Pool]) -> dict[str, Any]:
    parsed = environment.parsed_options
    return {
        **_when(environment, options),
        "users": getattr(parsed, "num_users", None),
        "spawn_rate": getattr(parsed, "spawn_rate", None),
        "run_time": getattr(parsed, "run_time", None),
        "processes": getattr(parsed, "processes", None) or 1,
        "user_classes": [user.__name__ for user in environment.user_classes],
        "shape": type(environment.shape_class).__name__ if environment.shape_class else None,
        "batch": options.asked.batch,
        "deadline": options.asked.deadline,
        "transport": options.transport,
        "connections": options.connections,
        **({"compression": options.compression} if options.compression else {}),
        **({"unique": True} if options.unique else {}),
        **_turns(environment, pools),
    }


def _turns(environment: Any, pools: Mapping[Source, Pool]) -> dict[str, Any]:
    """The names of the requests that take turns, and for how many seconds each; nothing where none do."""
    for user in environment.user_classes:
        if getattr(user, "turn_seconds", None):
            names = [source.name for source in pools if source.user is user]
            return {"turns": {"names": names, "seconds": user.turn_seconds}}
    return {}


def _when(environment: Any, options: ScenarioOptions) -> dict[str, Any]:
    """`kind` of the load, and the schedule of each open-loop user; one that all have stands alone."""
    opened = open_schedules(environment.user_classes, options)
    if not opened:
        waiting = [user.__name__ for user in environment.user_classes if _waits(user)]
        if options.schedule is None and waiting:  # how long, only their code knows
            return {"kind": "closed", "schedule": {"kind": "closed", "think": None, "wait_time": waiting}}
        return {"kind": "closed", "schedule": (options.schedule or Closed()).to_dict()}
    schedules = {user.__name__: schedule.to_dict() for user, schedule in opened.items()}
    first = next(iter(schedules.values()))
    alone = len(opened) == len(environment.user_classes) and all(each == first for each in schedules.values())
    limit = {"max_in_flight": options.max_in_flight}
    return (
        {"kind": first["kind"], "schedule": first, **limit}
        if alone
        else {"kind": "mixed", "schedules": schedules, **limit}
    )


def _waits(user: Any) -> bool:
    """Whether users of a class think for as long as their class says."""
    if not hasattr(user, "payload"):
        return False
    return user.wait_time is not User.wait_time or any(task_sets_that_wait(user.tasks))


def _name(source: Source) -> str:
    user = source.user
    name: str = user.__name__ if source.name == user.request_name else f"{user.__name__}, {source.name}"
    return f"{name} {source.kind}" if source.kind else name


def _payload(pool: Pool) -> dict[str, Any]:
    return {
        "sha256": pool.sha256,
        **({"origin": pool.origin, "origin_sha256": pool.origin_sha256 or None} if pool.origin else {}),
        "messages": len(pool.messages),
        "bytes": len((pool.encoded or pool.messages)[0]),
        "batch": pool.batch,
        "output": pool.output,
        "labels": None if pool.labels is None else pool.compare or "by the output",
        "examples": None if pool.rows is None else len(np.unique(pool.rows)),
    }
