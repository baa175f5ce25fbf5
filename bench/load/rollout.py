"""Steps by which a server gets from one model version to another under load."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from gevent import get_hub

from bench import BenchError
from bench.load.site import Served, config_of
from bench.load.stage import Stage

SWAP_SECONDS = 60.0
"""A version that is not there after so long fails the rollout."""
AVAILABLE, END = "AVAILABLE", "END"


@dataclass(frozen=True)
class Rollout:
    """A model whose versions change; each change is noted as a `swap`, its end as `swapped`."""

    stage: Stage
    model: str
    watched: Path
    """The model's folder as this process sees it."""
    base_path: str
    """The same folder as the server calls it."""

    def place(self, source: Path, version: int) -> None:
        """Let a copy of a SavedModel appear as a version, and wait until it serves alone (policy `latest`)."""
        ready = self.watched / f".{version}.placing"
        try:
            get_hub().threadpool.apply(shutil.copytree, (source, ready))  # here, it would hold up the load
            self._swap(version, "placed in the watched directory")
            ready.rename(self.watched / str(version))  # at once: a server never sees half a version
        except OSError as error:
            raise BenchError(
                f"{self.watched}: version {version} cannot be placed ({error.strerror})"
            ) from error
        self._await_alone(version)

    def pin(self, version: int) -> None:
        """Let the server serve one version alone through HandleReloadConfigRequest: a rollback."""
        self._swap(version, "asked for by HandleReloadConfigRequest")
        self.stage.reload(config_of([Served(self.model, Path(self.base_path), versions=[version])]))
        self._await_alone(version)

    def flip(self, label: str, version: int, versions: list[int]) -> None:
        """Point a label to another of the versions that are served, through HandleReloadConfigRequest."""
        self._swap(version, f"given the label {label} by HandleReloadConfigRequest")
        self.stage.reload(
            config_of([Served(self.model, Path(self.base_path), versions=versions, labels={label: version})])
        )
        self.stage.mark("swapped", f"version {version} has the label {label}", version=version)

    def _swap(self, version: int, how: str) -> None:
        self.stage.mark("swap", f"version {version} {how}", version=version)

    def _await_alone(self, version: int) -> None:
        def alone(states: dict[int, str]) -> bool:
            others = (state for number, state in states.items() if number != version)
            return states.get(version) == AVAILABLE and all(state == END for state in others)

        self.stage.await_states(self.model, alone, SWAP_SECONDS)
        self.stage.mark("swapped", f"version {version} serves alone", version=version)
