"""Files of requests, of any format, as examples for a signature."""

import gzip
import hashlib
import io
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

from bench import BenchError
from bench.payload.examples import Examples
from bench.payload.files import images, json_requests, logs, npz, table
from bench.payload.files.collector import LARGEST, Collector
from bench.protocol.signatures import Signature
from bench.runs.files import open_file
from bench.wire import tfrecord
from bench.wording import counted

STANDARD_INPUT: Final = "-"
LARGEST_FILE: Final = 8 << 30
"""Bytes of a file, and of what a compressed one unpacks to."""
_SUFFIXES: Final = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".npz": "npz",
    ".csv": "table",
    ".tsv": "table",
    ".tfrecord": "logs",
    ".tfrecords": "logs",
}


def read_requests(
    source: str | Path,
    signature: Signature,
    *,
    where: str = "--requests",
    signature_name: str = "",
) -> Examples:
    """The requests in a file, typed as the signature declares; `-` is standard input.

    Formats: JSON lines or a JSON document in the form of TensorFlow Serving's REST API, `.npz`, CSV, and TFRecords of
    PredictionLog, each of which may be compressed by gzip; a folder of pictures. where: the option that names the file. signature_name: refuse requests for another one.

    Raises BenchError, in one line with file, line and key, for what cannot be read or does not fit.
    """
    collector = Collector(signature, f"{where} {source}")
    name = "standard input" if source == STANDARD_INPUT else Path(source).resolve().name
    try:
        if source != STANDARD_INPUT and Path(source).is_dir():
            sha256 = images.read(Path(source), collector)
            return _finished(collector, name, sha256)
        with _opened(str(source)) as raw:
            sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
            raw.seek(0)
            file = _unpacked(raw)
            kind = _kind(str(source), file.peek(64)[:64])
            if kind == "npz":
                npz.read(raw if file is raw else _in_memory(file), collector)
            elif kind == "table":
                table.read(file, collector)
            elif kind == "logs":
                logs.read(file, collector, signature_name)
            else:
                json_requests.read(file, collector, signature_name)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BenchError(f"{where} {source}: {reason}; expected a file of requests") from None
    return _finished(collector, name, sha256)


def _finished(collector: Collector, name: str, sha256: str) -> Examples:
    return collector.finish(f"{name}, {counted(collector.count, 'example')}, sha256 {sha256[:12]}", sha256)


def _opened(source: str) -> io.BufferedReader:
    if source == STANDARD_INPUT:
        return io.BufferedReader(_in_memory(sys.stdin.buffer))
    return open_file(Path(source), LARGEST_FILE)


def _in_memory(file: BinaryIO) -> io.BytesIO:
    content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(f"more than {LARGEST >> 20} MiB, the maximum")
    return io.BytesIO(content)


class _Limited(io.RawIOBase):
    """The unpacked content of a compressed file, up to a limit."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, LARGEST_FILE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._file.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise OSError(f"unpacks to more than {LARGEST_FILE >> 30} GiB, the maximum")
        return count


def _unpacked(raw: io.BufferedReader) -> io.BufferedReader:
    """The file itself, or what gzip has packed in it."""
    if raw.peek(2)[:2] != b"\x1f\x8b":
        return raw
    return io.BufferedReader(_Limited(gzip.GzipFile(fileobj=raw)))


def _kind(source: str, head: bytes) -> str:
    """The format of a file: by the end of its name, else by how it begins."""
    suffix = Path(source.removesuffix(".gz")).suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    if tfrecord.begins(head):
        return "logs"
    return "json" if head.lstrip()[:1] in (b"{", b"[", b"") else "table"
