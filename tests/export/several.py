"""Export several digit readers, and print what was measured of each: `python -m tests.export.several MODELS IDX`."""

import json
import sys
from pathlib import Path
from typing import Any

from bench.export.digits import Warmup, export_digits
from bench.export.networks import Recipe
from bench.export.placement import Destination


def main(models: Path, idx: Path) -> None:
    """Export into a folder; idx: that of other digits, which one is trained with."""

    def make(name: str, recipe: Recipe, **more: Any) -> dict[str, float]:
        done = export_digits(Destination(models, name, 7), recipe, **more)
        return {"accuracy": done.accuracy, "digits": done.digits}

    steps: list[int] = []
    measured = {
        "cnn": make("cnn", Recipe("cnn", steps=4, seed=1), progress=steps.append),
        "cnn_again": make("cnn_again", Recipe("cnn", steps=4, seed=1)),
        "cnn_other": make("cnn_other", Recipe("cnn", steps=4, seed=2)),
        "flat": make("flat", Recipe(steps=60, flat=True), warmup=Warmup(5, 3)),
        "null": make("null", Recipe("null", steps=0)),
        "few": make("few", Recipe(steps=5), folder=idx),
    }
    print(json.dumps(measured | {"steps": steps}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
