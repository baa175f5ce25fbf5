"""A Dockerfile as its instructions, stage by stage: as much of the format as ours uses."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    """Such as `RUN` and what stands behind it, on one line."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """What it names: of JSON's form, or between blanks."""
        return list(json.loads(self.text)) if self.text.startswith("[") else self.text.split()


@dataclass
class Stage:
    """From one FROM to the next."""

    name: str
    base: str
    """Name of a stage, or of an image."""
    instructions: list[Instruction] = field(default_factory=list)


def stages(path: Path) -> dict[str, Stage]:
    """Those of a file by their names, in order; values of ARG before the first FROM are filled in."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    values: dict[str, str] = {}
    stage: Stage | None = None
    for line in filter(None, map(str.strip, text.replace("\\\n", " ").splitlines())):
        name, _, rest = line.partition(" ")
        rest = " ".join(rest.split())
        if name == "FROM":
            base, _, own = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], rest).partition(" AS ")
            stage = found[own] = Stage(own, base)
        elif stage is None:
            key, _, value = rest.partition("=")
            values[key] = value
        else:
            stage.instructions.append(Instruction(name, rest))
    return found


def lineage(found: dict[str, Stage], name: str) -> list[Stage]:
    """The stages that one is built from, the first first."""
    line = [found[name]]
    while line[0].base in found:
        line.insert(0, found[line[0].base])
    return line


def last(found: dict[str, Stage], stage: str, name: str) -> Instruction:
    """The instruction of a name that counts for a stage. Raises StopIteration where there is none."""
    of_all = [each for one in lineage(found, stage) for each in one.instructions]
    return next(each for each in reversed(of_all) if each.name == name)
