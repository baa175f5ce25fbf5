"""The result of a tuning, beside the runs of its trials.

tuning.json           each setting that was measured, the gains of the best over the default, what each parameter did
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field

from bench.runs.jsonl import json_text
from bench.runs.manifest import Amount, Count, Name, Part, Text
from bench.runs.misfit import read_checked

TUNING: Final = "tuning.json"
SCHEMA: Final = 1
Outcome = Literal["gain", "none", "undecided", "load generator", "unfinished"]
Share = Annotated[float, Field(ge=0, le=1)]


class TunedSetting(Part):
    """A setting, and what was measured of it: geometric means over its blocks."""

    name: Name
    server: Name
    batch: Count
    """Examples in a request."""
    values: dict[Name, Any]
    """By parameter."""
    round: Count
    """The last one that it took part in; 0: none."""
    blocks: Count
    load: Name | None = None
    """The one under which it is best."""
    throughput: Amount | None = None
    """Examples answered rightly per second, within the service level where there is one."""
    p99: Amount | None = None
    """Seconds, of all requests due."""
    in_time: Share | None = None
    """Of the requests due, those answered rightly within the service level."""
    score: Amount | None = None
    """What settings are ranked by, higher is better: the throughput, less where the service level was missed; or 1 / latency."""
    cost_per_million: Amount | None = None
    pareto: bool = False
    """Whether no other one has more throughput and a lower p99."""
    reason: Text = ""
    """Why it was left out, where it failed."""


class Gain(Part):
    """The score of a setting by that of the default, in fresh blocks."""

    setting: Name
    blocks: Count
    ratio: Amount | None = None
    low: Amount | None = None
    high: Amount | None = None
    """Ends of the interval; None: open, or nothing is known."""
    confidence: Share | None = None
    """Of the interval, which is the one that decides: wider where the best of several gains is claimed."""
    needed_low: Count | None = None
    needed_high: Count | None = None
    """Blocks in all that would probably decide; None: decided, or more than can be proposed."""
    reason: Text = ""
    """Why nothing is known."""


class Effect(Part):
    """The mean score under one value of a parameter by that under its first value, all else equal."""

    parameter: Name
    value: Any
    ratio: Amount
    low: Amount | None = None
    high: Amount | None = None


class Tuning(Part):
    """The best settings of a server."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    objective: Name
    """In words."""
    percentile: Annotated[float, Field(gt=0, le=100)] | None = None
    """Of the latency, which is to be low; None: throughput, which is to be high."""
    service_level: Text = ""
    """In words; empty: none."""
    outcome: Outcome
    """`gain`; `none`: nothing beats the default by more than the tolerance; `undecided`; `load generator`: no answer."""
    tolerance: Share
    best: Name | None = None
    """The best one of the fresh blocks, or so far; None: none was measured."""
    gains: Annotated[list[Gain], Field(max_length=100)]
    settings: Annotated[list[TunedSetting], Field(max_length=10_000)]
    """The default first."""
    effects: Annotated[list[Effect], Field(max_length=10_000)]
    effect_confidence: Share
    trials: Count
    """That were measured."""
    grid_trials: Count
    """As many blocks of every setting as the last comparison has would have taken so many."""
    reason: Text = ""
    """Why there is no answer, where the load generator was the limit."""
    remarks: Annotated[list[Text], Field(max_length=100)]

    def write(self, folder: Path) -> None:
        """Write it into an experiment's folder."""
        (folder / TUNING).write_text(json_text(self.model_dump(by_alias=True)) + "\n")

    def setting(self, name: str) -> TunedSetting:
        """The setting of a name. Raises KeyError."""
        return {each.name: each for each in self.settings}[name]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What an experiment's folder holds; None where nothing was tuned. Raises BenchError."""
        try:
            return read_checked(cls, folder / TUNING, "restore the file, or continue the tuning")
        except FileNotFoundError:
            return None
