"""An experiment of two conditions, made without a file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.config.experiment import Experiment, Load, Model
from bench.config.servers import Declared
from bench.experiment.beginning import Prepared
from bench.experiment.duet import duet_trials
from bench.experiment.plan import PlannedTrial, trials
from bench.experiment.study import Study
from bench.launch.remote import Remote
from bench.protocol.names import DEFAULT, SPOKEN

PARTS: Final = ("server", "model", "version", "batch")
"""What two conditions may differ in."""


class ServedCondition(NamedTuple):
    """A condition that is measured: a version of a model on a server that runs already, in requests of so many examples."""

    address: str
    model: str
    version: int | None
    """None: the latest one, of a server that does not report its number."""
    batch: int = 1
    label: str | None = None
    """By which the version was found."""
    protocol: str = DEFAULT

    @property
    def server(self) -> str:
        """The address, with a protocol that is not the usual one, as a word that can name folders."""
        word = re.sub(r"[^A-Za-z0-9._-]+", "-", self.address).strip("-") or "server"
        return word if self.protocol == DEFAULT else f"{word}-{self.protocol}"

    def title(self, part: str) -> str:
        """By what it differs from the other one, as a sentence begins: `Version 7`."""
        version = "" if self.version is None else f" (version {self.version})"
        if part == "version":
            return f"Version {self.version}" + (f" ({self.label})" if self.label else "")
        if part == "model":
            return f"Model {self.model}{version}"
        over = "" if self.protocol == DEFAULT else f" over {self.protocol}"
        return f"{self.address}{over}{version}" if part == "server" else f"Batch size {self.batch}"


class TwoConditions(NamedTuple):
    """A baseline and a candidate that differ in one thing."""

    before: ServedCondition
    after: ServedCondition
    part: str
    """One of PARTS."""

    @property
    def also(self) -> tuple[str, ...]:
        """What differs because of it: another server or model has versions of its own, and a protocol."""
        other = self.part != "version" and self.before.version != self.after.version
        return ("version",) * other + ("protocol",) * self.two_protocols

    @property
    def two_protocols(self) -> bool:
        """Whether each side has a protocol of its own."""
        return self.before.protocol != self.after.protocol

    @property
    def baseline(self) -> str:
        """The value of the part that stands for the baseline."""
        return str(getattr(self.before, self.part))

    def prepared(
        self,
        scenario: Path,
        *,
        duet: bool,
        slice: float | None,
        load: Load,
        blocks: int,
        seconds: int,
        server: Mapping[str, Any],
        observed: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
        verb: str = "ab",
        **settings: Any,
    ) -> Prepared:
        """The experiment as it is run by the command `verb`.

        duet, slice: as of `Prepared`. server: keys of a servers file that hold for both. observed: those of each side
        (`metrics`, `telemetry`). settings: further keys of an experiment.
        """
        made_by = Path(f"bench {verb}")
        both = (self.before, self.after)
        # of one server twice the first one counts
        keys: dict[str, dict[str, Any]] = {
            each.server: {"address": each.address, "protocol": each.protocol, **own}
            | {
                name: value
                for name, value in server.items()
                # of two protocols, those are for the one that has them
                if not (name == "request_parameters" and self.two_protocols and each.protocol in SPOKEN)
            }
            for each, own in reversed([*zip(both, observed, strict=True)])
        }
        declared = [
            Declared(name, made_by, Remote(kind="remote", **keys[name]))
            for name in dict.fromkeys(each.server for each in both)
        ]
        # those of two servers or models are given to the trials: each side has its own
        versions = [each.version for each in both if each.version is not None and self.part == "version"]
        signature = settings.pop("signature", None)
        experiment = Experiment(
            name=verb,
            scenario=str(scenario),
            servers=[each.name for each in declared],
            models={each.model: Model(versions=versions, signature=signature) for each in both},
            batch_sizes=list(dict.fromkeys(each.batch for each in both)),
            loads=[load],
            trials=blocks,
            seconds=seconds,
            **settings,
        )
        study = Study(made_by, experiment, declared, [])
        plan = duet_trials(experiment, declared, made_by) if duet else trials(experiment, declared)
        return Prepared(study, declared, [self._pinned(trial) for trial in plan], {}, {}, duet, slice)

    def _pinned(self, trial: PlannedTrial) -> PlannedTrial:
        cell = trial.cell
        if self.part == "version":
            return trial
        after = (cell.server, cell.model) == (self.after.server, self.after.model)
        version = self.after.version if after else self.before.version
        return trial._replace(cell=cell._replace(version=version))
