"""Gates that fail on purpose, each in another way: does the card name the right cause? Live servers, live loads.

    python -m tests.benchmarks.failed_gates FOLDER [WAY...]

Measures a baseline of each kind of server (TRIALS runs of SECONDS at RATE requests/s), then the same with something done
to it: a slower model, 30 ms in a proxy, a batch timeout, stalls of the server, refused requests, wrong answers, a load
process that is stopped for a second, a server that is killed. Each gate is judged by `bench gate`, and the first cause of
its card (`--json`) is compared with what was done. What lies in FOLDER already is not measured again. Prints a line for
each way; ends with code 1 unless all are right.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from bench.launch.kinds import launched
from bench.launch.running import Running, Served
from bench.launch.servers_file import read_servers
from bench.load.site import exported
from tests.analysis.delay_line import delay_line
from tests.benchmarks.arguments import parser
from tests.load.locust_runs import finish, start

TRIALS, SECONDS, RATE = 5, 8, 100
DELAY: Final = 0.030
LIMITS: Final = """
accept = ["short", "behind", "not achieved", "client held up", "client paused", "client saturated", "unsteady", "errors",
          "one session", "environment", "restarted", "not reconciled", "wrong answers", "unknown commit", "interrupted", "stolen time"]
failed_trials = "99 %"
[limits]
error_share = 0.02
accuracy = 0.8
[worse_than_baseline]
p50 = "30 %"
p99 = "150 %"
"""
SYNTHETIC: Final = 'flags = { backend = "synthetic", service_time = "lognormal(10ms,0.2)"'
TENSORFLOW: Final = "batching = { max_batch_size = 1000, batch_timeout_micros = %d }"
Act = Callable[[Running, Any], None]


class Way(NamedTuple):
    """How a gate is made to fail."""

    server: str
    """The rest of its table in servers.toml."""
    kind: str
    """Of the cause that the card is to name first."""
    what: tuple[str, ...]
    """How it begins."""
    baseline: str = SYNTHETIC + " }"
    proxy: float = 0.0
    act: Act | None = None
    """Done while the load lasts."""
    anew: bool = False
    """Whether each run needs the server anew."""


def _stop_load(_server: Running, load: "subprocess.Popen[str]") -> None:
    """The load processes stand still for a second."""
    time.sleep(SECONDS / 2)
    family = [psutil.Process(load.pid), *psutil.Process(load.pid).children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    for process in family:
        process.send_signal(signal.SIGCONT)


def _kill_server(server: Running, _load: Any) -> None:
    time.sleep(SECONDS * 0.7)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


WAYS: Final = {
    "slower model": Way(SYNTHETIC.replace("10ms", "30ms") + " }", "stage", ("runtime",)),
    "network": Way(SYNTHETIC + " }", "stage", ("wire and gRPC",), proxy=DELAY),
    "batching": Way(TENSORFLOW % 30_000, "stage", ("batching queue",), TENSORFLOW % 100),
    "stalls": Way(SYNTHETIC + ', stall = "600ms/3s" }', "event", ("no answers",)),
    "refused": Way(SYNTHETIC + ", error_rate = 0.1 }", "errors", ("INTERNAL",)),
    "wrong answers": Way(SYNTHETIC + ", wrong_answer_rate = 0.4 }", "wrong answers", ("",)),
    "load process": Way(
        SYNTHETIC + " }", "load generator", ("client paused", "behind", "not achieved"), act=_stop_load
    ),
    "killed server": Way(SYNTHETIC + " }", "errors", ("UNAVAILABLE",), act=_kill_server, anew=True),
}


def measure(
    results: Path, server: str, *, proxy: float = 0.0, act: Act | None = None, anew: bool = False
) -> None:
    """TRIALS runs, unless they are there."""
    if results.exists():
        return
    place = results.with_name(f"{results.name}.servers")
    place.mkdir(parents=True, exist_ok=True)
    (place / "servers.toml").write_text(f'[servers.it]\nkind = "embedded"\n{server}\n')
    declared = read_servers(place / "servers.toml")["it"]
    if "synthetic" in server:
        (place / "models" / "mnist" / "2").mkdir(parents=True, exist_ok=True)
        models = [Served("mnist", place / "models" / "mnist", (2,))]
    else:
        models = [Served("mnist", exported("mnist", ["--pair"], versions=(1, 2), say=print), (2,))]
    left = TRIALS
    while left:
        with (
            launched(declared, models, place / f"start-{left}") as running,
            delay_line(running.address, proxy) as line,
        ):
            for _ in range(1 if anew else left):
                _run(results, running, line.address if proxy else running.address, act)
                left -= 1


def _run(results: Path, server: Running, host: str, act: Act | None) -> None:
    arguments = ["--host", host, "--model-version", "2", "-t", f"{SECONDS}s", "-u", "1", "--warm-up", "1"]
    arguments += ["--schedule", f"poisson:{RATE}"]
    if server.metrics is not None:
        arguments += ["--server-metrics", server.metrics]
    if server.pid is not None:
        arguments += ["--server-pid", str(server.pid)]
    before = set(results.glob("*/manifest.json"))
    load = start(results, *arguments, scenario="scenarios/mnist_open.py")
    doing = None
    if act is not None:
        while set(results.glob("*/manifest.json")) == before and load.poll() is None:
            time.sleep(0.05)  # its load begins with its folder
        doing = threading.Thread(target=act, args=(server, load))
        doing.start()
    done = finish(load, results)
    if doing is not None:
        doing.join()
    if done.code not in (0, 1, 3):
        raise SystemExit(f"{results}: the load ended with code {done.code}\n{done.output[-3000:]}")


def main(folder: Path, *names: str) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "limits.toml").write_text(LIMITS)
    right = 0
    chosen = {name: way for name, way in WAYS.items() if not names or name in names}
    for name, way in chosen.items():
        base = folder / f"baseline-{'synthetic' if 'synthetic' in way.baseline else 'tensorflow'}"
        measure(base, way.baseline)
        measure(folder / name, way.server, proxy=way.proxy, act=way.act, anew=way.anew)
        said = folder / f"{name}.json"
        gate = [
            sys.executable,
            "-m",
            "bench",
            "gate",
            str(folder / name),
            "--limits",
            str(folder / "limits.toml"),
        ]
        gate += ["--baseline", str(base), "--by", "server", "--by", "commit", "--json", str(said)]
        done = subprocess.run(gate, capture_output=True, text=True, check=False)
        (folder / f"{name}.txt").write_text(done.stdout + done.stderr)
        card = (json.loads(said.read_text())["card"] or {}) if said.exists() else {}
        first = next(iter(card.get("causes", [])), {"kind": "none", "what": "", "text": done.stderr[-300:]})
        good = done.returncode == 1 and first["kind"] == way.kind and first["what"].startswith(way.what)
        right += good
        print(
            f"{'right' if good else 'WRONG'}  {name}: code {done.returncode}, {first['kind']}: {first['text']}",
            flush=True,
        )
    print(f"{right} of {len(chosen)} named the right cause")
    return 0 if right == len(chosen) else 1


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("folder", type=Path)
    command.add_argument("ways", nargs="*", choices=[[], *WAYS], metavar="WAY", help="of " + ", ".join(WAYS))
    given = command.parse_args()
    sys.exit(main(given.folder, *given.ways))
