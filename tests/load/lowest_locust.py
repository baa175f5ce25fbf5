"""The lowest Locust that is supported, beside the installed one: `python -m tests.load.lowest_locust` installs it.

Into a folder of its own below build/, without its dependencies: those of the installed one serve both. Without a network
nothing is installed, and the test that needs it is skipped.
"""

import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]


def lowest() -> str:
    """The version that pyproject.toml begins with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (needed,) = (each for each in map(Requirement, project["dependencies"]) if each.name == "locust")
    (version,) = (each.version for each in needed.specifier if each.operator == ">=")
    return version


FOLDER = ROOT / "build" / f"locust-{lowest()}"


def installed_is_lowest() -> bool:
    """Whether the Locust that this Python imports is the lowest one."""
    return Version(metadata.version("locust")) == Version(lowest())


def install() -> None:
    """Install it, unless it is there."""
    if FOLDER.is_dir() or installed_is_lowest():
        return
    began = FOLDER.with_name(f"{FOLDER.name}.partial")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--target", str(began), f"locust=={lowest()}"], check=False)
    if done.returncode:
        shutil.rmtree(began, ignore_errors=True)
        print(f"without Locust {lowest()}: its test is skipped", file=sys.stderr)
    else:
        began.rename(FOLDER)


if __name__ == "__main__":
    install()
