"""Versions that can be called now, and the one that a ModelSpec names."""

from typing import Any, NamedTuple

from bench.server.models.servable import Handle
from bench.server.refusal import Code, Refusal
from bench.server.request_layouts import Layouts


class Serving(NamedTuple):
    """The table of what can be asked; never changed once published, except for its layouts."""

    versions: dict[tuple[str, int], Handle]
    latest: dict[str, Handle]
    """By model, the highest version number that serves."""
    labels: dict[str, dict[str, int]]
    layouts: Layouts
    """Layouts of PredictRequests learnt under this table; they go when it goes."""
    inferences: Layouts
    """The same of ModelInferRequests."""

    def find(self, spec: Any) -> Handle:
        """The version that a ModelSpec asks for. Raises `Refusal` (model_servers/server_core.cc)."""
        name: str = spec.name
        if not name:
            raise Refusal(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            handle = self.latest.get(name)
            wanted = f"Latest({name})"
        else:
            if choice == "version":
                number: int = spec.version.value
            else:
                label: str = spec.version_label
                labelled = self.labels.get(name, {}).get(label)
                if labelled is None:
                    raise Refusal(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
                number = labelled
            handle = self.versions.get((name, number))
            wanted = f"Specific({name}, {number})"
        if handle is None:
            raise Refusal(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
        return handle
