"""Wait until all models of a started server answer."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from bench import BenchError
from bench.launch.running import NotReady, Running, Served
from bench.protocol.api import Api, Refused, VersionState, numbered
from bench.protocol.registry import api_named
from bench.supervision import last_lines
from bench.target.inquiry import Inquiry, status
from bench.wire.dial import OtherwiseReached
from bench.wire.transports import HTTP, NATIVE, open_channel

_PAUSE: Final = 0.05
_ATTEMPT_SECONDS: Final = 5.0
_FIRST_ATTEMPT: Final = 0.2
"""Attempts grow longer from here: nobody listens at first, and a server that has ended is to be noticed soon."""


def wait_available(
    running: Running,
    models: Sequence[Served],
    seconds: float,
    metadata: Mapping[str, str] | None = None,
) -> Running:
    """The server with `available` among its facts, the versions of each model, once every needed one is AVAILABLE.

    metadata: key -> value. Raises NotReady when the server ends, when a version ends with an error, or when the time
    is over, each with the end of the log.
    """
    api = api_named(running.protocol)
    options = {
        "tls": running.tls,
        "metadata": tuple((metadata or {}).items()),
        "authority": running.authority,
    }

    def tail() -> str:
        return last_lines(running.log_text())

    deadline = time.monotonic() + seconds
    missing, patience = "it did not answer", _FIRST_ATTEMPT
    while time.monotonic() < deadline:
        how = running.ended()
        if how is not None:
            raise NotReady(how)
        try:
            states_of = _ask(running.address, models, api, patience, options)
        except Refused as refused:
            states_of, missing = {}, str(refused)
        except OtherwiseReached as error:
            raise NotReady(str(error)) from None
        except BenchError as error:  # nobody listens yet
            states_of, missing = {}, str(error)
        if states_of:
            lacking = [text for model in models for text in _lacking(model, states_of[model.name], tail)]
            if not lacking:
                available = {name: _available(states) for name, states in states_of.items()}
                return replace(running, facts={**running.facts, "available": available})
            missing = ", ".join(lacking)
        patience = min(patience * 1.2, _ATTEMPT_SECONDS)
        time.sleep(_PAUSE)
    raise NotReady(f"not ready after {seconds:g} s ({missing}): {tail()}")


def _ask(
    address: str,
    models: Sequence[Served],
    api: Api,
    patience: float,
    options: Mapping[str, Any],
) -> dict[str, list[VersionState]]:
    # a channel for each attempt: one that renewed its connection by itself would pause longer and longer
    channel = open_channel(HTTP if api.over_http else NATIVE, address, **options)
    try:
        channel.connect(patience)
        return {
            model.name: _states(Inquiry(channel, address, api, model.name, timeout=_ATTEMPT_SECONDS), model)
            for model in models
        }
    finally:
        channel.close()


def _states(inquiry: Inquiry, model: Served) -> list[VersionState]:
    """What the server says of the model; of the versions that are needed by their numbers, where it names none."""
    states = status(inquiry)
    if any(each.version is not None for each in states):
        return states
    return states + [each for version in model.versions for each in status(replace(inquiry, version=version))]


def _lacking(model: Served, states: list[VersionState], tail: Callable[[], str]) -> list[str]:
    available = _available(states)
    ready = any(state.state == "AVAILABLE" for state in states)
    for state in states:
        wanted = state.version in model.versions or not (model.versions or ready)
        if state.state == "END" and state.code != "OK" and wanted:
            raise NotReady(
                f"version {state.version} of model {model.name} cannot be loaded: "
                f"{state.code} {' '.join(state.message.split())}: {tail()}"
            )
    wanted_versions = set(model.versions)
    if wanted_versions <= set(available) and ready:
        return []
    if not wanted_versions:
        return [f"no version of {model.name} is available"]
    return [f"version {version} of {model.name} is missing" for version in wanted_versions - set(available)]


def _available(states: list[VersionState]) -> list[int]:
    return numbered(states, "AVAILABLE")
