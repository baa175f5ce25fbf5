"""Cases of `tests.cli.test_fail_open`: answers that were compared, and other files beside an experiment's runs, edited."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from bench.runs import sealing
from bench.runs.answers import Answers, OutputAgreement
from tests.cli.checkouts import Checkout
from tests.recorded import edit

Make = Callable[[Checkout], list[str]]
EXAMPLES = 2000


def compared(place: Checkout, folder: str, differing: int, *trials: tuple[str, str]) -> Path:
    """An experiment of two conditions, of whose answers so many differ."""
    path = place.experiment(folder, *(trials or (("a", "good"), ("b", "good"))))
    answers = Answers(
        before="a",
        after="b",
        origin="random",
        examples=EXAMPLES,
        compared=EXAMPLES,
        differing=differing,
        suspected=differing,
        repeated=0,
        tolerance=1e-3,
        rule="values",
        outputs=[OutputAgreement(output="y", kind="numbers", compared=EXAMPLES, differing=differing)],
        notes=[],
    )
    answers.write(path, [{"example": number} for number in range(differing)])
    return path


def judged(*differing: int | None) -> Make:
    """Experiments under a limit of agreement; None: one without answers."""

    def make(place: Checkout) -> list[str]:
        names = []
        for number, each in enumerate(differing, 1):
            names.append(f"ab{number}")
            if each is None:
                place.experiment(names[-1], ("a", "good"), ("b", "good"))
            else:
                compared(place, names[-1], each)
        (place.path / "own.toml").write_text("[limits]\nagreement = 0.99\n")
        return [*names, "--limits", "own.toml"]

    return make


def ended(change: Callable[[Path], object], *trials: tuple[str, str], differing: int = 0) -> Make:
    """A whole experiment with answers, as this version writes it, of which something is changed afterwards."""

    def make(place: Checkout) -> list[str]:
        path = compared(place, "new", differing, *trials)
        description = json.loads((path / "experiment.json").read_text()) | {"state": "complete"}
        (path / "experiment.json").write_text(json.dumps(description))
        for manifest in path.glob("*/manifest.json"):
            said = json.loads(manifest.read_text())["experiment"]
            edit(manifest.parent, experiment=said | {"folder": "new"})
        sealing.seal(path)
        change(path)
        (place.path / "own.toml").write_text("[limits]\nagreement = 0.99\np50_ms = 3\n")
        return ["new", "--limits", "own.toml"]

    return make


def rewritten(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        text = (path / name).read_text()
        assert old in text
        (path / name).write_text(text.replace(old, new))

    return change


def without_its_last_block(path: Path) -> None:
    """What was run last is removed, and the rest called enough."""
    rewritten("experiment.json", '"complete"', '"decided"')(path)
    lines = (path / "trials.jsonl").read_text().splitlines(keepends=True)
    for line in lines[-2:]:
        shutil.rmtree(path / json.loads(line)["folder"])
    (path / "trials.jsonl").write_text("".join(lines[:-2]))


CASES: dict[str, tuple[Make, int, str]] = {
    "answers differ": (judged(200), 1, "FAIL"),
    "answers of the second experiment differ": (judged(0, 200), 1, "agreement a 0.9000"),
    "answers of the second experiment were not compared": (judged(0, None), 3, "no answers were compared in ab2"),
    "answers of an experiment edited": (
        ended(rewritten("answers.json", '"differing": 200', '"differing": 0'), differing=200), 3, "answers.json changed"),
    "a failed trial called measured": (
        ended(rewritten("trials.jsonl", '"failed"', '"measured"'), ("a", "good"), ("b", "half failed")),
        3, "trials.jsonl changed"),
    "the last block removed, and the rest called decided": (ended(without_its_last_block), 3, "experiment.json changed"),
    "an interference put in": (
        ended(lambda path: (path / "interference.json").write_text("{}")), 3, "interference.json added"),
    "the checksums of an experiment taken away": (
        ended(lambda path: (path / sealing.SEAL).unlink()), 3, "experiment.sha256 missing"),
}  # fmt: skip

RIGHT: list[Make] = [judged(0, 2), ended(lambda _: None)]
"""What passes."""
