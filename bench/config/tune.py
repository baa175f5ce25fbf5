"""Tune files: an experiment of one server, with the values of its settings that are tried."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field, field_validator

from bench.config.experiment import Experiment
from bench.config.reading import Table, key
from bench.config.servers import Flag
from bench.config.service_level import SHARE_AT_TIME, of_goodput

BATCH: Final = "batch_size"
"""The examples of a request, where `batch_sizes` has several: a setting of the client."""
OF_BATCHING: Final = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "allowed_batch_sizes",
)
OF_SERVER: Final = ("session_parallelism", "intra_op", "inter_op", "max_threads")

FromOne = Annotated[int, Field(ge=1)]
FromZero = Annotated[int, Field(ge=0)]


class Space(Table):
    """Values of settings that are tried in all combinations; by the names that servers.toml has for them."""

    max_batch_size: list[FromOne] = key(
        [], "a list of different integers >= 1", "Most examples in a batch of the server.", "[8, 32, 128]"
    )
    batch_timeout_micros: list[FromZero] = key(
        [],
        "a list of different integers >= 0 (microseconds)",
        "How long a batch waits for more.",
        "[0, 1000, 5000]",
    )
    max_enqueued_batches: list[FromOne] = key(
        [], "a list of different integers >= 1", "Batches that may wait.", "[10, 100]"
    )
    num_batch_threads: list[FromOne] = key(
        [], "a list of different integers >= 1", "Batches run at once.", "[1, 2, 4]"
    )
    allowed_batch_sizes: list[list[FromOne]] = key(
        [],
        "a list of different lists of integers >= 1",
        "Sizes to which batches are padded, cut at max_batch_size, which is always one of them; [] for any size.",
        "[[], [8, 32, 128]]",
    )
    session_parallelism: list[FromZero] = key(
        [], "a list of different integers >= 0", "Threads within and between operations.", "[0, 1]"
    )
    intra_op: list[FromZero] = key(
        [], "a list of different integers >= 0", "Threads within an operation.", "[1, 2, 4]"
    )
    inter_op: list[Annotated[int, Field(ge=-1)]] = key(
        [], "a list of different integers >= -1", "Threads between operations.", "[1, 2]"
    )
    max_threads: list[Annotated[int, Field(ge=2)]] = key(
        [], "a list of different integers >= 2", "Calls at once, plus one (grpc_max_threads).", "[16, 64]"
    )
    flags: dict[str, list[Flag]] = key(
        {},
        "a table of the server's own flags, each with a list of different values",
        "Values of further flags, such as `processes` of the embedded server.",
        "{ processes = [1, 2] }",
    )

    @field_validator("*")
    @classmethod
    def _different(cls, values: Any) -> Any:
        for name, each in values.items() if isinstance(values, dict) else [("", values)]:
            where = f"{name}: " if name else ""
            if name and not each:
                raise ValueError(f"{where}expected a list of at least one value")
            texts = [json.dumps(value) for value in each]
            twice = next((text for text in texts if texts.count(text) > 1), None)
            if twice is not None:
                raise ValueError(f"{where}{twice} is a duplicate entry: settings equal to each other")
        return values

    @field_validator("flags")
    @classmethod
    def _no_keys(cls, flags: dict[str, list[Flag]]) -> dict[str, list[Flag]]:
        for name in flags:
            if name in (*OF_BATCHING, *OF_SERVER, BATCH):
                raise ValueError(f"{name}: is a key, not a flag; expected flags of the server")
        return flags

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """The values of each parameter that has some."""
        own = {name: list(getattr(self, name)) for name in (*OF_BATCHING, *OF_SERVER)}
        return {name: values for name, values in (own | self.flags).items() if values}


class Tune(Experiment):
    """The input of `bench tune`: an experiment of one server, one model and its loads, and what is tried."""

    space: Space = key(
        ...,
        "a table [space]",
        "Values of settings, tried in all combinations.",
        "{ max_batch_size = [8, 32] }",
    )
    objective: Literal["throughput", "p50", "p90", "p99"] = key(
        "throughput",
        '"throughput", "p50", "p90" or "p99"',
        "What is best: the most examples per second within the service level, or the lowest latency under the load.",
        '"p99"',
    )
    p99_ms: int | float | None = key(
        None,
        "a number of milliseconds above 0",
        "The service level: 99 of 100 requests are answered within this time.",
        "20",
        gt=0,
        allow_inf_nan=False,
    )
    goodput: str | None = key(
        None,
        SHARE_AT_TIME,
        "The service level as another share and time, instead of p99_ms.",
        '"99.9 % @ 50ms"',
    )

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """The values of each parameter that are tried, the client's among them."""
        batches = {BATCH: list(self.batch_sizes)} if len(self.batch_sizes) > 1 else {}
        return self.space.parameters | batches

    @field_validator("goodput")
    @classmethod
    def _share_and_time(cls, text: str | None) -> str | None:
        if text is not None:
            of_goodput(text)
        return text


class Objective(NamedTuple):
    """The measure by which one setting is better than another."""

    percentile: float | None
    """Of the latency, which is to be low; None: throughput, which is to be high."""
    share: float = 1.0
    """Of the requests due, those that are to be answered rightly in time; of throughput."""
    within: float = math.inf
    """Seconds."""
    service_level: str = ""
    """In words."""

    @property
    def text(self) -> str:
        """Such as `examples/s with p99 <= 20 ms`."""
        if self.percentile is not None:
            return f"p{self.percentile:g} of the latency"
        return f"examples/s with {self.service_level}"


def words(values: Mapping[str, Any]) -> str:
    """Names and values in a line."""
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
