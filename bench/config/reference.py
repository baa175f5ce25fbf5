"""Reference tables of the configuration files, generated from their declarations.

`python -m bench.config.reference docs/configuration.md` puts them between the page's markers.
"""

import sys
from pathlib import Path
from typing import Final

from pydantic_core import PydanticUndefined

from bench.config.experiment import Experiment, Load, Model
from bench.config.reading import Table
from bench.config.servers import Batching, Binary, Docker, Embedded, Remote, Server, Started, Tls

TABLES: Final[dict[str, tuple[type[Table], type[Table] | None]]] = {
    "every server": (Server, None),
    "embedded, binary, docker": (Started, Server),
    "embedded": (Embedded, Started),
    "binary": (Binary, Started),
    "docker": (Docker, Started),
    "remote, kubernetes": (Remote, Server),
    "batching": (Batching, None),
    "tls": (Tls, None),
    "experiment": (Experiment, None),
    "models.NAME": (Model, None),
    "loads": (Load, None),
}
"""Name of a table on the page -> its class, and the one whose keys are told elsewhere."""


def markdown(name: str) -> str:
    """The table of one class of keys: key, meaning, what is allowed, default, example."""
    table, told = TABLES[name]
    lines = ["| key | meaning | allowed | default | example |", "|---|---|---|---|---|"]
    for each, field in table.model_fields.items():
        if told is not None and each in told.model_fields and each != "kind":
            continue
        extra = field.json_schema_extra
        assert isinstance(extra, dict)  # noqa: S101 - every key is declared with them
        example = f"`{each} = {extra['example']}`"
        cells = (f"`{each}`", str(field.description), str(extra["allowed"]), _default(field.default), example)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with the tables of today between its markers."""
    for name in TABLES:
        begin, end = f"<!-- keys: {name} -->", f"<!-- end: {name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{markdown(name)}\n{end}{tail}"
    return text


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "(needed)"
    if value is None or value in ([], {}, ""):
        return "none"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {{}}" for name in value) + " }"
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text()))
