"""The recipes for CI, as docs/gate-in-ci.md and action.yml have them: their lines, to be executed as they are."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gate-in-ci.md"
ACTION = ROOT / "action.yml"


@dataclass(frozen=True)
class Recipe:
    """What a CI would execute, each line in a shell of its own in the folder of the checkout."""

    name: str
    lines: list[str]
    kept: list[str]
    """Files and folders that it keeps or reads in the end."""
    environments: list[Mapping[str, str]] = field(default_factory=list)
    """What each line finds beside the CI's own variables; none: nothing."""


def _blocks(language: str) -> Iterator[str]:
    for match in re.finditer(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        yield match[1]


def github(job: Mapping[str, Any], name: str) -> Recipe:
    """Of a job of a workflow."""
    steps = job["steps"]
    kept = [step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", "")]
    return Recipe(name, [step["run"] for step in steps if "run" in step], kept)


def gitlab(job: Mapping[str, Any], name: str) -> Recipe:
    """Of a job of a pipeline."""
    artifacts = job["artifacts"]
    return Recipe(name, job["script"], [*artifacts["paths"], *artifacts.get("reports", {}).values()])


def jenkins(text: str) -> Recipe:
    """Of a declarative pipeline."""
    kept = re.findall(r"(?:junit|archiveArtifacts) '([^'*]+?)/?(?:\*\*)?'", text)
    return Recipe("Jenkins", re.findall(r"^\s*sh '(.*)'$", text, re.MULTILINE), kept)


def recipes() -> list[Recipe]:
    """Those of the page."""
    found = []
    for block in _blocks("yaml"):
        content = yaml.safe_load(block)
        if isinstance(content, list):  # a step for a workflow, see `action`
            continue
        if "jobs" in content:
            ((name, job),) = content["jobs"].items()
            found.append(github(job, f"GitHub, {name}"))
        else:
            ((name, job),) = content.items()
            found.append(gitlab(job, f"GitLab, {name}"))
    (groovy,) = _blocks("groovy")
    return [*found, jenkins(groovy)]


def action(**inputs: str) -> Recipe:
    """The composite action with these inputs, for a checkout of this repository."""
    content = yaml.safe_load(ACTION.read_text())
    assert content["runs"]["using"] == "composite"
    given = {name: str(each.get("default", "")) for name, each in content["inputs"].items()} | inputs
    known = {f"inputs.{name}": value for name, value in given.items()} | {"github.action_path": str(ROOT)}

    def value(text: str) -> str:
        """With expressions as GitHub evaluates them: names, and || between them."""
        return re.sub(
            r"\$\{\{ (.*?) \}\}",
            lambda found: next(filter(None, map(known.__getitem__, found[1].split(" || ")))),
            text,
        )

    steps = content["runs"]["steps"]
    environments = [{name: value(str(text)) for name, text in step.get("env", {}).items()} for step in steps]
    return Recipe(
        "the action", [step["run"] for step in steps], [f"{given['folder']}/gate.xml"], environments
    )


def execute(recipe: Recipe, checkout: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit code of the first line that fails, 0 where none does, and all output."""
    output = ""
    own = recipe.environments or [{}] * len(recipe.lines)
    for line, more in zip(recipe.lines, own, strict=True):
        done = subprocess.run(
            ["sh", "-e", "-c", line],
            cwd=checkout,
            env={**os.environ, **environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        output += f"$ {line}\n{done.stdout}"
        if done.returncode:
            return done.returncode, output
    return 0, output


def quoted(path: object) -> str:
    """A path as a shell reads it."""
    return shlex.quote(str(path))
