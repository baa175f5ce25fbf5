"""The protocols by name; a protocol's module is imported when it is first used."""

import functools
import importlib

from bench import BenchError
from bench.protocol.api import Api, Parameters
from bench.protocol.names import MODULES


def api_named(name: str, parameters: Parameters = ()) -> Api:
    """The protocol of this name, with parameters in each request. Raises BenchError with those protocols that there are."""
    api = _plain(name)
    return api.with_parameters(parameters) if parameters else api


@functools.cache
def _plain(name: str) -> Api:
    if name not in MODULES:
        raise BenchError(f"--protocol {name}: expected one of {', '.join(MODULES)}")
    api: Api = importlib.import_module(MODULES[name]).API
    return api
