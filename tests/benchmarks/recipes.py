"""The recipes for CI, whole: each line of docs/gate-in-ci.md and action.yml, in a checkout and an environment of its own.

Builds the wheel of this checkout, which `pip install serving-bench` then finds; what it depends on comes from a package index.
Each recipe gets a folder below FOLDER with what `bench init` writes. Ends with 1 where a recipe ends with another code than 0 (pass)
and 3 (a machine that is too busy), or leaves nothing of what it is to keep. `python -m tests.benchmarks.recipes FOLDER [NAME...]`
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.arguments import parser
from tests.recipes import Recipe, action, execute, recipes
from tests.test_installed import copied


def built(folder: Path) -> Path:
    """A folder with the wheel."""
    wheels = folder / "wheels"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", wheels, copied(folder / "source")], check=True)
    return wheels


def whole(recipe: Recipe, folder: Path, wheels: Path) -> bool:
    """Execute a recipe and print how it ended."""
    home = folder / recipe.name.replace(", ", "-").replace(" ", "-")
    checkout, programs, temporary = home / "checkout", home / "venv", home / "runner"
    for each in (checkout, temporary):
        each.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", programs], check=True)
    subprocess.run(
        [sys.executable, "-m", "bench", "init", checkout / "load-tests"], check=True, capture_output=True
    )
    environment = {
        "PATH": f"{programs}/bin:{os.environ['PATH']}",
        "PIP_FIND_LINKS": str(wheels),
        "RUNNER_TEMP": str(temporary),
        "GITHUB_OUTPUT": str(home / "output"),
        "GITHUB_STEP_SUMMARY": str(home / "summary.md"),
    }
    began = time.monotonic()
    code, output = execute(recipe, checkout, environment)
    missing = [path for path in recipe.kept if not (checkout / path).exists()]
    good = code in (0, 3) and not missing
    print(
        f"{'done' if good else 'FAIL'}  {recipe.name}: code {code} after {time.monotonic() - began:.0f} s",
        end="",
    )
    print(f"; missing: {', '.join(missing)}" if missing else f"; kept: {', '.join(recipe.kept)}")
    if not good:
        print(output)
    return good


def main(folder: Path, names: list[str]) -> int:
    """Execute all recipes, or those whose names begin like this; gives the exit code."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wheels = built(folder)
    wanted = [each for each in [*recipes(), action()] if not names or each.name.startswith(tuple(names))]
    good = [whole(each, folder, wheels) for each in wanted]
    return 0 if all(good) else 1


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("folder", type=Path, help="where it is done; what lies there is deleted")
    command.add_argument("names", nargs="*", metavar="NAME", help="how their names begin (default: all)")
    given = command.parse_args()
    sys.exit(main(given.folder.resolve(), given.names))
