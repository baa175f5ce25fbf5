"""The protocols by name; a protocol's module is imported when it is first used."""

import functools
import importlib

from bench import BenchError
from bench.protocol.api import Api
from bench.protocol.names import MODULES


@functools.cache
def api_named(name: str) -> Api:
    """The protocol of this name. Raises BenchError with those that there are."""
    if name not in MODULES:
        raise BenchError(f"--protocol {name}: expected one of {', '.join(MODULES)}")
    api: Api = importlib.import_module(MODULES[name]).API
    return api
