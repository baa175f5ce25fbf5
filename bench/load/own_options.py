"""Options that a scenario has of its own, and the load that it asks for where the command line says nothing."""

from typing import Any, Final

OWN: Final[dict[str, tuple[str, str, bool]]] = {}
"""Options that the scenario has asked for: name -> default, help, private."""
UNRECORDED: Final[set[str]] = set()
"""Options of scenarios whose values the manifest does not repeat, such as the path of a file that it names by its content."""
DEFAULTS: Final[dict[str, Any]] = {}
"""Of Locust's options, by their attributes: set with `defaults`."""


def option(name: str, default: str, help: str, *, private: bool = False, recorded: bool = True) -> None:
    """Give the scenario an option of its own; its value is in `ScenarioOptions.own`. Called as the scenario is imported.

    `private`: it names a file, a variable or a URL, and can be set on the command line only, not in the web form.
    `recorded`: in the manifest, so that runs that differ in it are no repetitions of each other.
    """
    (UNRECORDED.discard if recorded else UNRECORDED.add)(name.lstrip("-"))
    OWN[name] = (default, help, private)


def defaults(**values: Any) -> None:
    """Let the scenario's load be this where the command line says nothing, such as users=8, run_time="30s"."""
    DEFAULTS.update({"num_users" if name == "users" else name: value for name, value in values.items()})
