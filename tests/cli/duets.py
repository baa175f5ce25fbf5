"""Cases of `tests.cli.test_fail_open`: duets whose conditions disturb each other."""

from collections.abc import Callable

from bench.runs.interference import Interference
from tests.cli.checkouts import Checkout

Make = Callable[[Checkout], list[str]]


def duet(together: float | None, limits: str = "[limits]\np50_ms = 3\n", slice: float | None = None) -> Make:
    """Two conditions that take 2 ms alone, and so many seconds beside each other; None: that was not measured."""

    def make(place: Checkout) -> list[str]:
        how = {"arm": 1, "one_server": False} | ({} if slice is None else {"slice": slice})
        path = place.experiment("new", ("a", "good"), ("b", "good"), duet=how)
        if together is not None:
            Interference(("a", "b"), (0.002, 0.002), (together, together)).write(path)
        (place.path / "own.toml").write_text(limits)
        return ["new", "--limits", "own.toml"]

    return make


CASES: dict[str, tuple[Callable[[Checkout], list[str]], int, str]] = {
    "a duet whose conditions slow each other down": (duet(0.004), 3, "[interference]"),
    "a duet whose conditions are quicker together": (duet(0.001), 3, "[interference]"),
    "a duet whose interference is not known": (duet(None), 3, "[interference]"),
    "goodput of a duet": (duet(0.004, "goodput_ms = 9\n[limits]\ngoodput = 0.8\n"), 3, "[interference]"),
}  # fmt: skip

RIGHT: list[Make] = [
    duet(0.0021),
    duet(None, slice=0.5),
    duet(0.004, "[limits]\nerror_share = 0.01\n"),
    duet(0.004, 'accept = ["interference"]\n[limits]\np50_ms = 3\n'),
]
"""What passes."""
