"""Versions of a model that change under load: what the script of a rollout does, and what must be so before."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gevent import get_hub

from bench import BenchError
from bench.load.patience import awaited
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
    watched: Path | None
    """The model's folder as this process sees it; None: nobody said."""
    base_path: str
    """The same folder as the server calls it; empty: nobody said."""

    @classmethod
    def of(cls, stage: Stage) -> "Rollout":
        """As the scenario's options `watched` and `server-path` say, else in the embedded server's own folder."""
        own, model = stage.options.own, stage.options.asked.model
        watched = Path(own["watched"]) if own["watched"] else None
        if watched is None and stage.site.own_folder is not None:
            watched = stage.site.own_folder / model
        return cls(stage, model, watched, own["server-path"] or (str(watched.absolute()) if watched else ""))

    def begin(self, way: str) -> None:
        """Bring the server into the state before the first change: `place`, `flip` or `rollback`. Raises BenchError."""
        if way == "place":
            self._check_placing()
        elif way == "flip":
            self._establish([1, 2], {"stable": 1})
        else:
            self._establish([1], {})

    def _check_placing(self) -> None:
        """Whether versions can be placed where the server looks for them. Raises BenchError."""
        folder = self._folder()
        option = f"--watched {folder}"
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise BenchError(f"{option}: no folder that can be written; versions are placed there")
        if not (numbers := self._numbers()):
            raise BenchError(f"{option}: no version; the first change needs one before it, such as 1")
        states = self.stage.states(self.model)
        available = sorted(number for number, state in states.items() if state == AVAILABLE)
        if available != [max(numbers)]:
            raise BenchError(
                f"{option}: its newest version is {max(numbers)}, and {self.stage.address} serves "
                f"{', '.join(map(str, available)) or 'none'} of {self.model}: give the folder that it watches, of which it "
                "serves the newest version alone (policy `latest`)"
            )

    def _establish(self, versions: Sequence[int], labels: dict[str, int]) -> None:
        """Let the server serve these versions alone, through HandleReloadConfigRequest.

        They are reached from another state in any case: a server that cannot see the folder keeps the one that it has,
        and refuses nothing. Raises BenchError.
        """
        if not self.base_path:
            raise BenchError(
                f"--watched DIR is missing: the model folder of the server at {self.stage.address}, with versions 1 and "
                "2; or --server-path DIR, as the server calls it"
            )
        try:
            for wanted in ([1, 2] if list(versions) == [1] else [1], versions):
                with awaited(f"versions {', '.join(map(str, wanted))} of {self.model}", SWAP_SECONDS):
                    self._serve(wanted, {})
                    self._await(wanted)
            if labels:
                self._serve(versions, labels)
        except BenchError as error:
            raise BenchError(
                f"--server-path {self.base_path}: {self.stage.address} does not serve versions 1 and 2 of {self.model} from there ({error}); "
                "give the folder as the server calls it"
            ) from None

    def place(self, source: Path) -> None:
        """Let a copy of a SavedModel appear as the next version, and wait until it serves alone (policy `latest`)."""
        folder = self._folder()
        version = max(self._numbers(), default=0) + 1
        ready = folder / f".{version}.placing"
        try:
            get_hub().threadpool.apply(shutil.copytree, (source, ready))  # here, it would hold up the load
            self._swap(version, "placed in the watched directory")
            ready.rename(folder / str(version))  # at once: a server never sees half a version
        except OSError as error:
            raise BenchError(f"{folder}: version {version} cannot be placed ({error.strerror})") from error
        self._alone(version)

    def pin(self, version: int) -> None:
        """Let the server serve one version alone through HandleReloadConfigRequest: a rollback."""
        self._swap(version, "requested through HandleReloadConfigRequest")
        self._serve([version], {})
        self._alone(version)

    def flip(self, label: str, version: int, versions: Sequence[int]) -> None:
        """Point a label to another of the versions that are served, through HandleReloadConfigRequest."""
        self._swap(version, f"given the label {label} by HandleReloadConfigRequest")
        self._serve(versions, {label: version})
        self.stage.mark("swapped", f"version {version} has the label {label}", version=version)

    def _folder(self) -> Path:
        if self.watched is None:
            raise BenchError(
                f"--watched DIR is missing: the folder of {self.model} that the server at {self.stage.address} watches; "
                "versions are placed there"
            )
        return self.watched

    def _numbers(self) -> list[int]:
        """The versions in the watched folder."""
        return [int(each.name) for each in self._folder().iterdir() if each.name.isdecimal()]

    def _serve(self, versions: Sequence[int], labels: dict[str, int]) -> None:
        self.stage.reload(config_of([Served(self.model, Path(self.base_path), versions, labels)]))

    def _swap(self, version: int, way: str) -> None:
        self.stage.mark("swap", f"version {version} {way}", version=version)

    def _alone(self, version: int) -> None:
        self._await([version])
        self.stage.mark("swapped", f"version {version} serves alone", version=version)

    def _await(self, versions: Sequence[int]) -> None:
        """Wait until these versions are available, and no others left."""

        def alone(states: dict[int, str]) -> bool:
            return all(states.get(version) == AVAILABLE for version in versions) and all(
                state == END for number, state in states.items() if number not in versions
            )

        self.stage.await_states(self.model, alone, SWAP_SECONDS)
