"""Fuzz the files of a run folder, read by reports, comparisons and the single requests.

The first byte of an input chooses the file, the second how it is damaged: it is replaced, a part of it is, or one value
of its JSON is; then follow two bytes of position, one of length, and what is put there.
"""

import re
import tempfile
from functools import cache
from pathlib import Path

from bench import BenchError
from bench.analysis.showing.report import plain, report
from bench.analysis.showing.split_table import split_table
from bench.analysis.showing.summary import summary
from bench.analysis.showing.table import as_csv, markdown
from bench.runs.run import Run, find_runs
from tests.damaged import record

_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"(?!\s*:)|-?\d[\d.eE+-]*|true|false|null')


@cache
def _recorded() -> tuple[tempfile.TemporaryDirectory[str], Path, list[tuple[str, bytes]]]:
    """A run, where it lies, and the content of its files."""
    place = tempfile.TemporaryDirectory(prefix="fuzz-")
    run = record(Path(place.name), "fuzzed")
    files = sorted(path for path in run.rglob("*") if path.is_file())
    return place, run, [(str(path.relative_to(run)), path.read_bytes()) for path in files]


def damaged(content: bytes, data: bytes) -> bytes:
    """A file's content with the damage that an input describes."""
    how, position, length, put = data[0], int.from_bytes(data[1:3], "big"), data[3], data[4:]
    if how % 4 == 0:
        return put
    if how % 4 == 1:
        values = list(_VALUE.finditer(content))
        if values:
            chosen = values[position % len(values)]
            return content[: chosen.start()] + put + content[chosen.end() :]
    at = position % (len(content) + 1)
    return content[:at] + put + content[at + length :]


def attack(data: bytes) -> None:
    """Raises whatever should not be."""
    if len(data) < 5:
        return
    _, run, files = _recorded()
    name, content = files[data[0] % len(files)]
    (run / name).write_bytes(damaged(content, data[1:]))
    try:
        _read(run)
    finally:
        (run / name).write_bytes(content)


def _read(run: Path) -> None:
    read = report(find_runs([run.parent]))
    if len(read.runs) + len(read.missing) == 0:
        raise AssertionError("the run is neither shown nor left out")
    plain(read)
    as_csv(read)
    markdown(read, summary(read.groups, read.compared) if read.groups else None, split_table(read))
    for found in find_runs([run.parent]):
        if isinstance(found, Run):
            try:
                len(found.samples)
            except BenchError:
                continue


def seeds() -> list[bytes]:
    """Values that have been trouble, at every place of the small files, and a piece out of each file."""
    _, _, files = _recorded()
    odd = [b"null", b"-1", b"1e15", b'"x"', b"[]", b"true", b"{}"]
    found = []
    for number, (_, content) in enumerate(files):
        values = min(len(_VALUE.findall(content)), 120)
        for place in range(0, values, 3):
            found.append(bytes([number, 1, 0, place, 0]) + odd[place % len(odd)])
        found.append(bytes([number, 0, 0, 0, 0]) + content[:900])
        found += [
            bytes([number, 0, 0, 0, 0]),
            bytes([number, 2, 0, 9, 3]),
            bytes([number, 2, 0, 200, 0]) + b"\xff\x00",
        ]
    return found
