"""Files in the package for users to run: scenarios with their limits, example experiments, a set of files to start with."""

import ast
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from bench import BenchError

SCENARIOS: Final = Path(__file__).with_name("scenarios")
EXPERIMENTS: Final = SCENARIOS / "experiments"
STARTING: Final = Path(__file__).with_name("starting")


def scenarios() -> dict[str, str]:
    """Name -> question of each scenario."""
    files = sorted(path for path in SCENARIOS.glob("*.py") if not path.name.startswith("_"))
    return {
        path.stem: (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0] for path in files
    }


def scenario(name: str) -> Path:
    """The locustfile of a scenario of the package, by its name, or a file of the user. Raises BenchError."""
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise BenchError(f"{name}: no such file")
        return Path(name)
    path = SCENARIOS / f"{name}.py"
    if name.isidentifier() and path.is_file():
        return path
    names = list(scenarios())
    close = get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
    raise BenchError(f"{name}: no scenario of this package; {hint} (your own file ends in .py)")


def locustfile(folder: Path, name: str) -> Path:
    """The file of this name in a folder, else the scenario of the package that is called so."""
    beside, packaged = (folder / name).resolve(), SCENARIOS / f"{name}.py"
    return packaged if name.isidentifier() and packaged.is_file() and not beside.is_file() else beside


def resolved(path: Path) -> Path:
    """The path where it exists, else the file of the package that it names: `scenarios/...`, or an experiment's NAME."""
    if path.is_absolute() or path.exists():
        return path
    first, *rest = path.parts or ("",)
    if rest and first == SCENARIOS.name:
        packaged = SCENARIOS.joinpath(*rest)
    elif not rest and not path.suffix:
        packaged = EXPERIMENTS / f"{path}.toml"
    else:
        return path
    return packaged if packaged.is_file() else path


def starting_set() -> list[Path]:
    """The files that `bench init` writes."""
    return sorted(path for path in STARTING.iterdir() if path.is_file())
