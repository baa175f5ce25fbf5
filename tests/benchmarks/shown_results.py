"""Real results of each kind, short, on the embedded server's simulated models: what `screenshots` takes pictures of.

A result that is there already is not measured again. Commands run with the code of a checkout, which may be an older one;
one that it does not know leaves no result.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.launch import server_process
from tests.ports import free_port

ROOT: Final = Path(__file__).parents[2]
COLUMNS: Final = 80
SHORT, RUNS, COMMITS, SLOWER_FROM = 3, 40, 12, 7
"""Seconds of a run, runs of a scenario, commits of a history and the one from which on its server is slower."""
METRICS: Final = "/monitoring/prometheus/metrics"
SERVERS: Final = """
[servers.old]
kind = "embedded"
build = "1.0"
flags = { backend = "synthetic", service_time = "lognormal(4ms,0.3)", workers = 2 }
[servers.new]
kind = "embedded"
build = "1.1"
flags = { backend = "synthetic", service_time = "lognormal(5ms,0.3)", workers = 2 }
[servers.model]
kind = "embedded"
"""
OIP: Final = """
[servers.oip]
kind = "embedded"
protocol = "oip"
flags = { backend = "synthetic", service_time = "lognormal(4ms,0.3)", workers = 2 }
"""
"""A server that older checkouts do not know."""
ACCEPT: Final = [
    *("short", "behind", "client held up", "client paused", "client saturated", "unsteady", "one session"),
    *("environment", "not achieved", "unknown commit", "stolen time", "shared machine"),
]


class Place(NamedTuple):
    """Where results are, and whose code makes and shows them."""

    folder: Path
    checkout: Path = ROOT

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def run(self, *arguments: object, cwd: Path | None = None, module: str = "bench") -> str:
        """What a command prints in a terminal of COLUMNS columns, below the command itself."""
        words = [str(each) for each in arguments]
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": str(COLUMNS), "PYTHONPATH": str(self.checkout)},
        )
        ended = "" if done.returncode == 0 else f"\n(exit code {done.returncode})\n"
        return f"$ {module} {' '.join(words)}\n\n{done.stdout}{done.stderr}{ended}"


def scenario(place: Place, host: str, *options: object, cwd: Path | None = None) -> str:
    """A run of the scenario with an open loop, and what it prints."""
    file = place.checkout / "scenarios" / "mnist_open.py"
    load = ["-f", file, "--headless", "--host", host, "-u", 1, "--warm-up", 0.5, *options]
    return place.run(*load, module="locust", cwd=cwd)


def synthetic(milliseconds: float) -> list[str]:
    """The flags of a server that answers after about so long."""
    time = f"--service-time=lognormal({milliseconds}ms,0.3)"
    return ["--backend=synthetic", time, "--workers=2", "--model_name=mnist"]


def _runs(milliseconds: float, count: int, seconds: int) -> Callable[[Place, Path], str]:
    """Runs with the server's counters."""

    def measured(place: Place, results: Path) -> str:
        monitoring = place.folder / "monitoring.config"
        monitoring.write_text(f'prometheus_config {{ enable: true, path: "{METRICS}" }}')
        counted = ["--rest_api_port=0", f"--monitoring_config_file={monitoring}"]
        with server_process.embedded([*synthetic(milliseconds), *counted]) as server:
            page = f"http://{server.rest}{METRICS}"
            load = ["-t", f"{seconds}s", "--schedule", "poisson:200", "--server-metrics", page]
            for _ in range(count):
                text = scenario(
                    place, server.address, "--results", results, *load, "--server-pid", server.pid
                )
        return text

    return measured


def _forty(place: Place, results: Path) -> str:
    with server_process.embedded(synthetic(4)) as server:
        for number in range(RUNS):
            load = ["-t", f"{SHORT}s", "--schedule", f"poisson:{100 + 10 * (number % 3)}"]
            text = scenario(place, server.address, "--results", results, *load)
    return text


def _failing(place: Place, results: Path) -> str:
    """A run with errors."""
    with server_process.embedded([*synthetic(4), "--error_rate=0.03"]) as server:
        load = ["-t", "8s", "--schedule", "poisson:200", "--exit-code-on-error", 0]
        return scenario(place, server.address, "--results", results, *load)


def _commits(place: Place, results: Path) -> str:
    """Runs of a dozen commits of a repository: slower from one of them on."""
    repository = place.folder / "repository"
    repository.mkdir(exist_ok=True)
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    port = free_port()  # the same server throughout
    for number in range(1, COMMITS + 1):
        commit = [*git, "commit", "-q", "--allow-empty", "-m", f"Change {number}"]
        subprocess.run(commit, check=True)
        with server_process.embedded(
            [*synthetic(4 if number < SLOWER_FROM else 5), f"--port={port}"]
        ) as server:
            for _ in range(2):
                load = ["-t", f"{SHORT}s", "--schedule", "poisson:150"]
                text = scenario(place, server.address, "--results", results, *load, cwd=repository)
    return text


def _experiment(text: str, *options: str, verb: str = "run") -> Callable[[Place, Path], str]:
    def measured(place: Place, results: Path) -> str:
        file = place.folder / f"{results.name}.experiment.toml"  # none of them is servers.toml
        file.write_text(text.replace("SCENARIOS", str(place.checkout / "scenarios")))
        (place.folder / "servers.toml").write_text(SERVERS + (OIP if '"oip"' in text else ""))
        return place.run(verb, file, "--results", results, *options)

    return measured


def _ab(place: Place, results: Path) -> str:
    with (
        server_process.embedded(synthetic(4)) as old,
        server_process.embedded([*synthetic(5), "--wrong_answer_rate=0.01"]) as new,
    ):
        sides = [old.address, "--against", new.address, "--model", "mnist"]
        return place.run("ab", *sides, "--time", "40s", "--results", results)


def _capacity(place: Place, results: Path) -> str:
    with server_process.embedded(synthetic(4)) as server:
        limit = ["--model", "mnist", "--p99-ms", 25, "--time", "60s"]
        return place.run("capacity", server.address, *limit, "--results", results)


OPEN: Final = (
    'scenario = "SCENARIOS/mnist_open.py"\nseconds = 4\ntrials = 4\nloads = [{ schedule = "poisson:200" }]\n'
)
CLOSED: Final = 'scenario = "SCENARIOS/mnist.py"\nseconds = 3\nloads = [{ users = 4 }]\n'
SPACE: Final = "p99_ms = 50\n[space]\nflags = { workers = [1, 2, 4] }\n"
MEASURED: Final[dict[str, Callable[[Place, Path], str]]] = {
    "one": _runs(4, 1, 10),
    "before": _runs(4, 4, 5),
    "after": _runs(5, 4, 5),
    "failing": _failing,
    "forty": _forty,
    "commits": _commits,
    "servers": _experiment(OPEN + 'servers = ["old", "new"]\n'),
    "protocols": _experiment(OPEN + 'servers = ["old", "oip"]\n'),
    "batches": _experiment(
        CLOSED + 'trials = 5\nservers = ["model"]\nbatch_sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256]\n'
    ),
    "versions": _experiment(CLOSED + 'trials = 3\nservers = ["model"]\n[models.mnist]\nversions = [1, 2]\n'),
    "ab": _ab,
    "capacity": _capacity,
    "tuning": _experiment(CLOSED + 'trials = 4\nservers = ["old"]\n' + SPACE, verb="tune"),
}
"""By the name of the folder of their results."""


def measure(place: Place, names: Sequence[str]) -> None:
    """Measure these results, unless they are there; what each command printed is in a text beside the folder."""
    place.results.mkdir(parents=True, exist_ok=True)
    for name in names:
        log = place.folder / f"{name}.measured.txt"
        if not log.exists():
            log.write_text(MEASURED[name](place, place.results / name))
            told = "measured" if (place.results / name).is_dir() else f"no result, see {log}"
            print(f"{name}: {told}", flush=True)
