"""Run folders with a line in every file, and ways to damage them."""

import base64
import json
import os
import socket
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from bench.runs.chunk import Chunk
from bench.runs.recording import RunWriter
from tests.recorded import end, requests

SECONDS, RATE = 4, 100
GIB = 1 << 30


def counters(requests: float) -> dict[str, float]:
    """A server's page."""
    parts = ("request", "runtime", "queue")
    seconds = {f"{part}_seconds": 0.001 * requests for part in parts}
    return {"ok": requests, "other_count": 0.0, **{f"{part}_count": requests for part in parts}, **seconds}


def record(root: Path, note: str) -> Path:
    """A run with a line in every file."""
    manifest: dict[str, Any] = {
        "question": "overload",
        "command": ["locust", "-f", "scenarios/mnist.py"],
        "target": {"address": "127.0.0.1:8500", "kind": "embedded", "model": "mnist", "version": 2, "pid": 7,
                   "version_asked": 2, "asked": {"Predict": {"model": "mnist", "version": 2, "label": None}}},
        "load": {"kind": "poisson", "schedule": {"kind": "poisson", "rate": 100.0}, "users": 1, "deadline": 10.0,
                 "user_classes": ["PredictUser"], "processes": 1},
        "arrivals": {"PredictUser": {"begin": 0.0, "users": [[0.0, 1]]}},
        "ceiling": {"requests_per_second": 9000.0, "each": 9000.0, "measured": "2026-01-01"},
        "options": {"latency-bound": "10"},
        "seed": 1,
        "payload": {"PredictUser": {"sha256": "2" * 64, "messages": 100, "bytes": 900, "batch": 1}},
        "model": {"sha256": "1" * 64},
        "machine": {"hostname": "a", "usable_cores": 2, "logical_cores": 2, "packages": {"grpcio": "1.0"}},
        "git": {"commit": "a" * 40, "dirty": False},
        "server_counters": {"model": "mnist", "before": counters(0.0), "after": counters(400.0)},
        "workers": [{"worker": 0, "recorded": 400, "lost": False, "joined": 0.0, "left": None, "clock_bound": 0.0}],
        "wrong_answers": {"Predict": {"shape": {"count": 1, "example": "[1] instead of [10]"}}},
        "doubts": [{"check": "behind", "reason": "late", "remedy": "less load"}],
    }  # fmt: skip
    writer = RunWriter.create(root, "mnist", note, manifest)
    for second in range(SECONDS):
        chunk = Chunk.of(**requests(second, count=RATE, rate=RATE, start=float(second)), keep_samples=False)
        chunk.failures = {("Predict", "UNAVAILABLE", "gone"): 1}
        writer.append(0, chunk)
        writer.telemetry(second + 0.5, source="server", cpu_seconds=0.1 * second)
        writer.event(second + 0.5, "version", "2 is served")
    sent = SECONDS * RATE
    end(writer, counts={"sent": sent, "unsent": 0, "recorded": sent, "addresses": {"a": sent}}, stopped=4.2)
    return writer.path


Damage = Callable[[Path], object]


def said(**fields: Any) -> Damage:
    """The manifest with other values; a dotted name leads into its tables."""

    def damage(run: Path) -> None:
        manifest = json.loads((run / "manifest.json").read_text())
        for dotted, value in fields.items():
            table, steps = manifest, dotted.split("__")
            for step in steps[:-1]:
                table = table[step]
            table[steps[-1]] = value
        (run / "manifest.json").write_text(json.dumps(manifest))

    return damage


def text(name: str, content: str | bytes) -> Damage:
    """A file with this content."""
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def replaced(name: str, old: str, new: str) -> Damage:
    """A file with another text in it."""
    return lambda run: (run / name).write_text((run / name).read_text().replace(old, new, 1))


def line(name: str, /, **fields: Any) -> Damage:
    """The first row of a file with other values."""

    def damage(run: Path) -> None:
        first, *rest = (run / name).read_text().splitlines()
        (run / name).write_text("\n".join([json.dumps(json.loads(first) | fields), *rest]) + "\n")

    return damage


def pipe(name: str) -> Damage:
    """A named pipe that nobody writes to."""
    return lambda run: ((run / name).unlink(missing_ok=True), os.mkfifo(run / name))


def link(name: str, to: str) -> Damage:
    """A link in place of a file."""
    return lambda run: ((run / name).unlink(missing_ok=True), (run / name).symlink_to(to))


def folder(name: str) -> Damage:
    """A folder in place of a file."""
    return lambda run: ((run / name).unlink(missing_ok=True), (run / name).mkdir())


def large(name: str, size: int) -> Damage:
    """A file with a hole."""
    return lambda run: os.truncate(run / name, size)


def listening(name: str) -> Damage:
    """A socket in place of a file."""

    def damage(run: Path) -> None:
        (run / name).unlink()
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(run / name))  # its whole path may be too long for one

    return damage


@cache
def packed(pattern: bytes, count: int) -> str:
    """A histogram whose counts are these bytes, so many times."""
    body = pattern * count
    inner = struct.pack(">IIIIQQd", 0x1C849313, len(body), 0, 3, 1, 3_600_000_000_000, 1.0) + body
    raw = zlib.compress(inner, 9)
    return base64.b64encode(struct.pack(">II", 0x1C849314, len(raw)) + raw).decode()


def histograms(pattern: bytes, count: int = 1, *, times: int = 1) -> Damage:
    """A log of such a histogram, so many times; packed when it is needed: hundreds of MB take seconds."""

    def damage(run: Path) -> None:
        line = f"Tag=Predict|2|1|OK|latency,1.000,1.000,3.1,{packed(pattern, count)}\n"
        (run / "histograms.hlog").write_text(line * times)

    return damage


def many_names(run: Path) -> None:
    row = json.loads((run / "counts.jsonl").read_text().splitlines()[0])
    rows = [json.dumps(row | {"name": f"name {number}"}) for number in range(20_000)]
    (run / "counts.jsonl").write_text("\n".join(rows) + "\n")


def record_of(rows: int, names: str, planes: bytes | Callable[[], bytes]) -> Damage:
    """A record of single requests, with a right checksum, in a run that was not finished."""

    def damage(run: Path) -> None:
        said(state="running")(run)
        content = planes if isinstance(planes, bytes) else planes()
        header = json.dumps(
            {"names": [names], "rows": rows, "packed": len(content), "span": None, "cells": [], "buckets": []}
        ).encode()
        body = b"BCK3" + len(header).to_bytes(4, "little") + header + content
        (run / "samples").mkdir()
        head = len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
        (run / "samples" / "0.rows").write_bytes(head + body)

    return damage


@cache
def deep_plane() -> bytes:
    """A plane of 100 MB in 100 kB."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    content = stream.compress(bytes(100_000_000)) + stream.flush()
    return struct.pack("<qB", 0, 1) + struct.pack("<I", len(content)) + content


DEEP = "[" * 100_000 + "]" * 100_000
