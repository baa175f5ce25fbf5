"""Apples and oranges: a candidate that differs from its baseline in more than what is compared."""

from collections.abc import Callable

from tests.cli.checkouts import MANIFEST, Checkout, replaced

CASES: dict[str, tuple[Callable[[Checkout], list[str]], int, str]] = {
    "another rate": (replaced(load={"kind": "constant", "rate": 500.0}), 2, "load"),
    "other users": (replaced(load={"users": 4}), 2, "load"),
    "another batch size": (replaced("batch"), 2, "batch: 1 and 32"),
    "another request": (replaced("request"), 2, "request: Predict and Classify"),
    "another scenario": (replaced(scenario="mnist_open"), 2, "scenario: mnist and mnist_open"),
    "another model": (replaced(model={"sha256": "9" * 64}), 2, "model files"),
    "another payload": (
        replaced(payload={"PredictUser": {"sha256": "9" * 64, "messages": 100, "batch": 1}}), 2, "payload"),
    "a smaller payload": (
        replaced(payload={"PredictUser": {"sha256": "2" * 64, "messages": 1, "batch": 1}}), 2, "payload.messages"),
    "more connections": (replaced(load={"connections": 8}), 2, "load.connections: 1 and 8"),
    "a longer request timeout": (replaced(load={"deadline": 99.0}), 2, "load.deadline"),
    "a longer run": (replaced(load={"run_time": 60}), 2, "load.run_time"),
    "other options of the scenario": (replaced(options={"pool": "1"}), 2, "options.pool"),
    "another warm-up": (replaced(warmup={"rule": "given", "seconds": 3.0}), 2, "warm-up"),
    "another protocol": (replaced(target={"protocol": "tfs-rest"}), 2, "target.protocol: tfs and tfs-rest"),
    "other flags of the server": (
        lambda p: (
            p.runs("base", target=MANIFEST["target"] | {"flags": "--fast"}),
            p.runs("new", target=MANIFEST["target"] | {"flags": "--slow"}),
            ["new", "--baseline", "base", "--limits", "relative.toml"],
        )[-1], 2, "server flags: --fast and --slow"),
    "flags of the server that are not known of the baseline": (
        replaced(target={"flags": "--slow"}), 3, "server flags differs"),
    "another commit and another version": (
        replaced("version", git={"commit": "b" * 40}), 2, "--by version --by commit"),
    "declared is something else": (
        lambda p: [*replaced("batch")(p), "--by", "version"], 2, "batch: 1 and 32"),
    "another machine": (replaced(machine={"cpu_model": "B"}), 3, "CPU differs"),
}  # fmt: skip
