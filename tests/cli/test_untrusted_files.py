"""Files of somebody else beside run folders: each is refused or left out in one line, in bounded time and memory."""

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import BenchError
from bench.analysis.grouping.trials import read_trials
from bench.config.limits import read_limits
from bench.experiment.folder import Folder
from bench.experiment.master_answers import overview
from bench.launch.servers_file import read_servers
from bench.load import ceiling
from bench.picture import _opened
from bench.runs import checksums
from bench.runs.choices import Choices
from bench.runs.run import Experiment, Run, Unreadable, find_runs
from bench.schedule.trace import Trace
from tests.cli.inside import bench
from tests.damaged import DEEP, record

CELL = {"server": "a", "build": "a", "model": "mnist", "version": 2, "batch": 1, "load": "1 users"}
PLAN = {"schema": 1, "scenario": "mnist.py", "plan": [{"number": 1, "block": 1, "seed": 1, "cell": CELL}]}
ENDED = {"number": 1, "outcome": "failed", "reason": "signal 11", "folder": None}
MANY = "[" * 5_000 + "]" * 5_000


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("good"), "good")


def experiment(place: Path, plan: Any = PLAN, ended: str = json.dumps(ENDED) + "\n") -> Path:
    """An experiment's folder with these files."""
    place.mkdir(exist_ok=True)
    (place / "experiment.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
    (place / "trials.jsonl").write_text(ended)
    return place


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


JOURNALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a plan that is a list": (lambda p: experiment(p, [1]), "experiment.json: [1]: expected an object"),
    "a plan of numbers": (lambda p: experiment(p, PLAN | {"plan": [1]}), "plan.0 = 1: expected an object"),
    "a block of a text": (
        lambda p: experiment(p, PLAN | {"plan": [{"number": 1, "block": "x", "cell": CELL}]}), "plan.0.block = 'x'"),
    "a batch of a list": (
        lambda p: experiment(p, PLAN | {"plan": [{"number": 1, "block": 1, "cell": CELL | {"batch": [1]}}]}),
        "plan.0.cell.batch = [1]"),
    "a deep plan": (lambda p: experiment(p, DEEP), "experiment.json: nested deeper"),
    "a plan of nan": (lambda p: experiment(p, '{"schema": NaN}'), "experiment.json: NaN is not a JSON number"),
    "a plan that is a pipe": (lambda p: pipe(experiment(p) / "experiment.json"), "experiment.json: a named pipe"),
    "a plan that is a folder": (
        lambda p: ((experiment(p) / "experiment.json").unlink(), (p / "experiment.json").mkdir()),
        "experiment.json: a folder"),
    "a journal that is a pipe": (lambda p: pipe(experiment(p) / "trials.jsonl"), "trials.jsonl: a named pipe"),
    "a journal of lists": (lambda p: experiment(p, ended="[]\n"), "trials.jsonl:1: []: expected an object"),
    "a journal of texts": (
        lambda p: experiment(p, ended=json.dumps(ENDED | {"number": "one"}) + "\n"), "trials.jsonl:1: number = 'one'"),
    "a journal that leads out": (
        lambda p: experiment(p, ended=json.dumps(ENDED | {"folder": "../../etc"}) + "\n"),
        "trials.jsonl:1: folder = '../../etc': "),
    "a journal of an absolute path": (
        lambda p: experiment(p, ended=json.dumps(ENDED | {"folder": "/etc"}) + "\n"), "trials.jsonl:1: folder = '/etc'"),
    "a journal of a terabyte": (
        lambda p: os.truncate(experiment(p) / "trials.jsonl", 1 << 40), "trials.jsonl: a file of 1,048,576 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", JOURNALS)
def test_damaged_experiments_are_left_out_with_their_reason(name: str, tmp_path: Path) -> None:
    damage, expected = JOURNALS[name]
    place = tmp_path / "experiment"
    damage(place)
    found = find_runs([tmp_path])
    assert [each.path for each in found if isinstance(each, Experiment)] == [place]
    reasons = [each.reason for each in read_trials(found).unreadable]
    assert any(expected in reason for reason in reasons)
    assert all(reason.isprintable() for reason in reasons)
    done = bench("report", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    with pytest.raises(BenchError):
        Folder.open(place).ended()


def test_an_unfinished_last_line_of_a_journal_is_passed_over(tmp_path: Path) -> None:
    experiment(tmp_path / "experiment", ended=json.dumps(ENDED) + '\n{"number": 2')
    (failed,) = read_trials(find_runs([tmp_path])).failed
    assert failed.reason == "signal 11"


def test_links_and_depth_end_the_search(good: Path, tmp_path: Path) -> None:
    """Folders that link to each other have more paths through them than could ever be gone."""
    for number in range(12):
        (tmp_path / "web" / str(number)).mkdir(parents=True)
        for other in range(12):
            (tmp_path / "web" / str(number) / f"to{other}").symlink_to(tmp_path / "web" / str(other))
    shutil.copytree(good, tmp_path / "web" / "0" / "run")
    (tmp_path / "loop").symlink_to("loop")
    deep = tmp_path / "deep"
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    found = find_runs([tmp_path])
    assert len([each for each in found if isinstance(each, Run)]) == 1
    reasons = sorted(each.reason for each in found if isinstance(each, Unreadable))
    assert len(reasons) == 2
    assert "below 40 folders" in reasons[0]
    assert "loop: a broken link" in reasons[1]
    (loop,) = find_runs([tmp_path / "loop"])
    assert isinstance(loop, Unreadable)


def sums(text: str) -> Callable[[Path], object]:
    return lambda run: (run / checksums.FILE).write_text(text)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda run: pipe(run / checksums.FILE), f"{checksums.FILE} damaged"),
        (lambda run: os.truncate(run / checksums.FILE, 1 << 40), f"{checksums.FILE} damaged"),
        (sums("0  ../../../etc/passwd\n"), f"{checksums.FILE} damaged"),
        (lambda run: pipe(run / "events.jsonl"), "events.jsonl not readable (a named pipe, expected a file)"),
        (lambda run: os.truncate(run / "events.jsonl", 1 << 40), "events.jsonl not readable (a file of 1,048,576 MiB"),
    ],
)  # fmt: skip
def test_checksums_are_those_of_files(
    damage: Callable[[Path], object], told: str, good: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(good, tmp_path / "run"))
    damage(run)
    assert any(text.startswith(told) for text in Run.open(run).altered)


def parquet(path: Path, rows: int, **columns: Any) -> None:
    """A file of so many rows, whose columns of one value take next to nothing."""
    from bench.runs.parquet import _schema

    schema = _schema()
    arrays = []
    for field in schema:
        value = columns.get(field.name, "Predict" if field.name == "name" else 0)
        index = pa.array(np.zeros(rows, np.int32))
        if field.name == "name":
            arrays.append(pa.DictionaryArray.from_arrays(index, pa.array([value])))
        else:
            arrays.append(pa.array(np.full(rows, value), field.type))
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd", row_group_size=1 << 24
    )


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: parquet(path, 3_000_000), "3,000,000 rows in"),
        (lambda path: path.write_bytes(b"PAR1" + b"x" * 100 + b"PAR1"), "samples.parquet: "),
        (pipe, "samples.parquet: a named pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "samples.parquet: a device"),
        (lambda path: pq.write_table(pa.table({"due": [1]}), path), "samples.parquet: "),
    ],
)
def test_samples_that_no_run_has_packed(
    make: Callable[[Path], object], told: str, good: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(good, tmp_path / "run"))
    make(run / "samples.parquet")
    with pytest.raises(BenchError, match=told) as raised:
        Run.open(run).samples  # noqa: B018 - reading is what raises
    assert str(raised.value).isprintable()


def npz(**members: bytes) -> bytes:
    """An npz file of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(dtype: str, shape: str, content: bytes = b"") -> bytes:
    """An array's file that says so of itself."""
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


def encrypted(raw: bytes) -> bytes:
    """The same file, of whose members each says that it is encrypted."""
    marked = bytearray(raw)
    for head, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = marked.find(head)
        while at >= 0:
            marked[at + flags] |= 1
            at = marked.find(head, at + 4)
    return bytes(marked)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"PK\x03\x04" + b"x" * 100,
        npz(names=npy("<U1", "((1,", b"a\0\0\0"), chosen=b"", labels=b""),
        encrypted(Choices(np.zeros(1, np.int32), {"a": np.zeros(1, np.int32)}).to_bytes()),
        npz(names=npy("<U1", "(1,)", b"a\0\0\0"), chosen=npy("<i4", "(1, 1000000000000)"), labels=npy("<i4", "(1,)", b"\0" * 4)),
        npz(names=npy("|O", "(1,)", b"cos\nsystem\n"), chosen=npy("<i4", "(1, 1)", b"\0" * 4), labels=npy("<i4", "(1,)", b"\0" * 4)),
        npz(names=npy("<U1", "(1,)", b"a\0\0\0"), chosen=npy("<i4", "(1,)", b"\0" * 4), labels=npy("<i4", "(1,)", b"\0" * 4)),
        npz(names=npy("<i4", "(1,)", b"\0" * 4), chosen=npy("<i4", "(1, 1)", b"\0" * 4), labels=npy("<i4", "(1,)", b"\0" * 4)),
    ],
)  # fmt: skip
def test_choices_that_no_run_has_written(raw: bytes) -> None:
    with pytest.raises(BenchError, match=r"answers\.npz: damaged"):
        Choices.from_bytes(raw)


def test_choices_that_unpack_to_400_mb() -> None:
    raw = npz(names=npy("<U1", "(1,)", b"a\0\0\0"), chosen=bytes(400_000_000), labels=b"")
    with pytest.raises(BenchError, match=r"answers\.npz: damaged"):
        Choices.from_bytes(raw)


WRITTEN: dict[str, tuple[Callable[[Path], object], Callable[[Path], object], str]] = {
    f"{kind}: {name}": (make, read, told)
    for kind, read in (("limits", read_limits), ("servers", read_servers))
    for name, make, told in (
        ("a pipe", pipe, "a named pipe"),
        ("a device", lambda path: path.symlink_to("/dev/zero"), "a device"),
        ("a folder", lambda path: path.mkdir(), "a folder"),
        ("a terabyte", lambda path: (path.touch(), os.truncate(path, 1 << 40)), "1,048,576 MiB"),
        ("deep lists", lambda path: path.write_text(f"a = {MANY}"), "nested too deeply"),
        ("no UTF-8", lambda path: path.write_bytes(b"a = '\xff'"), "cannot be read"),
        ("UTF-16", lambda path: path.write_text("a = 1", encoding="utf-16"), "cannot be read"),
        ("a mark of the byte order twice", lambda path: path.write_bytes(b"\xef\xbb\xbf" * 2 + b"a = 1"), "not valid TOML"),
        ("a file of the kernel's", lambda path: path.symlink_to("/proc/self/environ"), "a file of the kernel's"),
        ("a key of 100,000 parts", lambda path: path.write_text("a." * 100_000 + "a = 1"), "a key of more than 32 parts"),
        ("a quoted one", lambda path: path.write_text("""'a' . "b" .""" * 20 + "c = 1"), "a key of more than 32 parts"),
        ("a table's name of many parts", lambda path: path.write_text("[" + "a." * 1000 + "a]"), "a key of more than 32 parts"),
        ("many parts in many lines", lambda path: path.write_text("".join(f"{'x.' * 40}k{n} = 1\n" for n in range(9000))), "of more than 32 parts"),
        ("tables within a line", lambda path: path.write_text("a = " + "{a = " * 50_000), "nested too deeply"),
        ("a key of a MB", lambda path: path.write_text("k" * 1_000_000 + " = 1"), "kkk: unknown" if kind == "servers" else "kkk... = 1: unknown key"),
        ("a key like a type's name", lambda path: path.write_text("int = 1"), "int: unknown" if kind == "servers" else "int = 1: unknown key"),
        ("a key with a bracket", lambda path: path.write_text("'a[b]' = 1"), "a[b]: unknown" if kind == "servers" else "a[b] = 1: unknown key"),
        ("a control character", lambda path: path.write_bytes(b'"\x1b]0;x\x07" = 1'), "not valid TOML"),
    )
} | {
    "servers: an option with a bracket": (
        lambda p: p.write_text("[servers.a]\nkind = 'embedded'\n'[x' = 1\n"), read_servers, "[x = 1: unknown key",
    ),
    "limits: nan": (lambda p: p.write_text("[limits]\np50_ms = nan\n"), read_limits, "p50_ms"),
    "limits: inf": (lambda p: p.write_text("[limits]\np50_ms = inf\n"), read_limits, "p50_ms"),
    "limits: 10^400": (lambda p: p.write_text(f"[limits]\np50_ms = 1{'0' * 400}\n"), read_limits, "p50_ms"),
    "limits: 10^5000": (lambda p: p.write_text(f"[limits]\np50_ms = 1{'0' * 5000}\n"), read_limits, "not valid TOML"),
    "a trace: a pipe": (pipe, Trace.read, "a named pipe"),
    "a trace: a device": (lambda p: p.symlink_to("/dev/zero"), Trace.read, "a device"),
    "a trace: a terabyte": (lambda p: (p.touch(), os.truncate(p, 1 << 40)), Trace.read, "1,048,576 MiB"),
    "a trace: infinity": (lambda p: p.write_text("time\n1\ninf\n"), Trace.read, "row 2"),
    "a trace: versions": (lambda p: p.write_text(f"time,version\n1,1{'0' * 400}\n"), Trace.read, "version of row 1"),
    "a picture: a pipe": (pipe, lambda p: _opened(p, drawing=False), "a named pipe"),
    "a picture: a device": (lambda p: p.symlink_to("/dev/zero"), lambda p: _opened(p, drawing=False), "a device"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_files_that_users_get_and_write(name: str, tmp_path: Path) -> None:
    make, read, told = WRITTEN[name]
    path = tmp_path / "file"
    make(path)
    with pytest.raises(BenchError) as raised:
        read(path)
    assert told in str(raised.value)
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 1000


CALIBRATION: dict[str, Any] = {
    "measured": "2026", "fingerprint": "x", "software": {}, "transport": "native", "connections": 1, "batch": 1,
    "request_bytes": 900, "floor_p50": 1e-4, "floor_p99": 2e-4, "requests_per_second": 9000.0, "users": 8,
    "cpu_per_request": 1e-4, "load_cpu": 0.9, "server_cpu": 0.5,
    "lags": [{"rate": 100.0, "achieved": 1.0, "p50": 0.0, "p99": 0.0, "cpu": 0.1}],
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"request_bytes": "many"}, {"request_bytes": -1}, {"requests_per_second": 1e300}, {"lags": 5}, {"lags": [5]},
        {"lags": [{"rate": "x", "achieved": 1.0, "p50": 0.0, "p99": 0.0, "cpu": 0.1}]}, {"software": [1]}, {"more": 1},
    ],
)  # fmt: skip
def test_calibrations_that_none_measured(change: dict[str, Any]) -> None:
    assert ceiling.Calibration.from_dict(CALIBRATION).users == 8
    with pytest.raises((TypeError, KeyError, ValueError)):
        ceiling.Calibration.from_dict(CALIBRATION | change)


TOLD: dict[str, Any] = {
    "scenario": "mnist", "options": ["host"], "state": "ready", "workers": 2, "refused": [],
    "runs": [{"name": "20260101T000000Z-mnist", "note": None, "finished": True}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        *[
            ({"runs": [{"name": name, "finished": True}]}, "runs.0.name")
            for name in ("../../etc", "/etc", "..", ".", "", "a/b", ".hidden", "a\x00b", "a\x1b[2J", "a\\b", "x" * 300, 5)
        ],
        ({"runs": {}}, "runs = {}: expected a list"),
        ({"workers": "two"}, "workers = 'two'"),
        ({"state": None}, "state = None: expected a string"),
        ({"refused": [5]}, "refused.0 = 5"),
    ],
)  # fmt: skip
def test_names_that_a_master_tells_are_names_of_folders(change: dict[str, Any], expected: str) -> None:
    assert overview(json.dumps(TOLD).encode())["runs"][0]["name"] == "20260101T000000Z-mnist"
    with pytest.raises(ValueError, match=expected.replace(".", r"\.").replace("{", r"\{")):
        overview(json.dumps(TOLD | change).encode())
