"""Cases of `tests.cli.test_fail_open`: experiments with answers that were compared."""

from collections.abc import Callable
from pathlib import Path

from bench.runs.answers import Answers, OutputAgreement
from tests.cli.checkouts import Checkout

Make = Callable[[Checkout], list[str]]
EXAMPLES = 2000


def compared(place: Checkout, folder: str, differing: int) -> Path:
    """An experiment of two conditions, of whose answers so many differ."""
    path = place.experiment(folder, ("a", "good"), ("b", "good"))
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


CASES: dict[str, tuple[Make, int, str]] = {
    "answers differ": (judged(200), 1, "FAIL"),
    "answers of the second experiment differ": (judged(0, 200), 1, "agreement a 0.9000"),
    "answers of the second experiment were not compared": (judged(0, None), 3, "no answers were compared in ab2"),
}  # fmt: skip

RIGHT: list[Make] = [judged(0, 2)]
"""What passes."""
