"""Clients to measure, and what each reports of a few seconds of load.

Each runs in a process of its own on one processor and reports (requests, errors, seconds, CPU seconds, mean latency).
"""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.wire.wires import message

ROOT = Path(__file__).parents[2]
METHOD = "/tensorflow.serving.PredictionService/Predict"


class Outcome(NamedTuple):
    requests: int
    errors: int
    seconds: float
    cpu: float
    """Processor seconds of the client for these requests."""
    mean: float
    """Seconds from a request's start to its answer."""
    server_cpu: float | None = None
    """Processor seconds of the server in the meantime."""


@dataclass(frozen=True)
class Load:
    """What a client is asked to do."""

    address: str
    request: Path
    """A file with the message; beside it, with the suffix .framed, the same with gRPC's prefix."""
    in_flight: int
    seconds: float
    cpu: int
    tls: Path | None = None
    """The folder with ca.pem; None: plain text."""


Client = Callable[[Load], Outcome]


def write_request(folder: Path, content: bytes) -> Path:
    path = folder / "request"
    path.write_bytes(content)
    path.with_suffix(".framed").write_bytes(message(content))
    return path


def run(command: list[str], cpu: int) -> tuple[str, float]:
    """What a command prints, and the processor seconds that it took, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),  # no threads run here
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def python(transport: str) -> Client:
    def measure(load: Load) -> Outcome:
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.python_client",
            transport,
            load.address,
            str(load.request),
        ]
        command += [str(load.in_flight), str(load.seconds), *([str(load.tls)] if load.tls else [])]
        return Outcome(**json.loads(run(command, load.cpu)[0].splitlines()[-1]))

    return measure


def cpp(program: Path) -> Client:
    def measure(load: Load) -> Outcome:
        command = [str(program), load.address, str(load.request), str(load.in_flight), str(load.seconds)]
        return Outcome(**json.loads(run(command, load.cpu)[0]))

    return measure


def h2load(load: Load, rate: int = 0) -> Outcome:
    """It counts by its clock: warm-up included, start-up of about a millisecond too. `rate`: requests/s, 0: closed loop."""
    command = ["h2load", "-D", f"{round(load.seconds * 1000)}ms", "-c", "1", "-m", str(load.in_flight)]
    command += ["--rps", str(rate)] if rate else []
    command += ["-d", str(load.request.with_suffix(".framed"))]
    command += [
        "-H",
        "content-type: application/grpc",
        "-H",
        "te: trailers",
        f"http{'s' if load.tls else ''}://{load.address}{METHOD}",
    ]
    printed, cpu = run(command, load.cpu)
    found = re.search(r"requests: .* (\d+) succeeded, (\d+) failed", printed)
    times = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)", printed)
    if found is None or times is None:
        raise SystemExit(f"h2load printed something else:\n{printed}")
    mean = float(times[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[times[2]]
    return Outcome(int(found[1]), int(found[2]), load.seconds, cpu, mean)


K6_PROTO = """
syntax = "proto3";
package tensorflow.serving;
message Content { bytes content = 1; }
service PredictionService { rpc Predict(Content) returns (Content) {} }
"""
K6_SCRIPT = """
import grpc from 'k6/net/grpc';
import encoding from 'k6/encoding';
import { Counter } from 'k6/metrics';
const errors = new Counter('not_ok');
const client = new grpc.Client();
client.load([__ENV.FOLDER], 'content.proto');
const message = { content: encoding.b64encode(open(__ENV.REQUEST, 'b')) };
export const options = { vus: Number(__ENV.IN_FLIGHT), duration: __ENV.SECONDS + 's' };
export default () => {
  if (__ITER == 0) client.connect(__ENV.ADDRESS, { plaintext: true });
  const answer = client.invoke('tensorflow.serving.PredictionService/Predict', message);
  if (answer.status !== grpc.StatusOK) errors.add(1);
};
export function handleSummary(data) {
  const failed = data.metrics.not_ok ? data.metrics.not_ok.values.count : 0;
  return { stdout: JSON.stringify({ requests: data.metrics.iterations.values.count, errors: failed,
    seconds: Number(__ENV.SECONDS), mean: data.metrics.grpc_req_duration.values.avg / 1000 }) };
}
"""


def k6(load: Load) -> Outcome:
    """Its answers are not parsed: it takes the request for one opaque field, as long as the real message.

    Its start, about a second of processor time, is measured by a run of one user and taken off.
    """
    folder = load.request.parent
    (folder / "content.proto").write_text(K6_PROTO)
    script = folder / "script.js"
    script.write_text(K6_SCRIPT)
    settings = {"FOLDER": folder, "REQUEST": load.request, "ADDRESS": load.address}

    def once(in_flight: int, seconds: int) -> tuple[str, float]:
        pairs = {**settings, "IN_FLIGHT": in_flight, "SECONDS": seconds}.items()
        variables = [part for name, value in pairs for part in ("-e", f"{name}={value}")]
        return run(["k6", "run", "--quiet", *variables, str(script)], load.cpu)

    empty, start = once(1, 1)
    printed, cpu = once(load.in_flight, max(2, round(load.seconds)))
    alone, found = json.loads(empty), json.loads(printed)
    each = (cpu - start) / max(1, found["requests"] - alone["requests"])
    return Outcome(cpu=each * found["requests"], **found)
