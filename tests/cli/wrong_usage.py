"""Units, names and usage that are wrong."""

from collections.abc import Callable

from tests.cli.checkouts import Checkout, limited, typed

CASES: dict[str, tuple[Callable[[Checkout], list[str]], int, str]] = {
    "5 for 5 %": (limited("[worse_than_baseline]\np50 = 5\n"), 2, "allows 500%"),
    "1 for 1 %": (limited("[worse_than_baseline]\np50 = 1\n"), 2, "allows 100%"),
    "all may fail": (limited("[limits]\nerror_share = 1\n", "some errors"), 2, 'write "1 %" or "100 %"'),
    "no rate at all is enough": (limited("[limits]\nrequests_per_second = 0\n"), 2, "every run satisfies that"),
    "all trials may fail": (limited("failed_trials = 1\n[limits]\np50_ms = 9\n"), 2, "a share below 1"),
    "a name that no warning has": (limited('accept = ["slow"]\n[limits]\np50_ms = 9\n'), 2, "unknown warning"),
    "no limit": (limited("accept = []\n"), 2, "no limit in it"),
    "a unit of something else": (limited('[limits]\np50_ms = "300 %"\n'), 2, "is not a share"),
    "--by without a baseline": (typed("new", "--limits", "absolute.toml", "--by", "version"), 2, "no baseline"),
    "--budget without --run": (typed("new", "--limits", "absolute.toml", "--budget", "5"), 2, "needs --run"),
    "a baseline that is not there": (typed("new", "--baseline", "none", "--limits", "relative.toml"), 2, "none"),
    "an empty baseline": (
        lambda p: ((p.path / "none").mkdir(), typed("new", "--baseline", "none", "--limits", "relative.toml")(p))[1],
        2, "needs a baseline"),
    "a path that is not there, beside good ones": (
        typed("new", "nowhere", "--limits", "absolute.toml"), 3, "nowhere: does not exist"),
}  # fmt: skip
