"""A version appears whole or not at all, also where one is replaced."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench import BenchError
from bench.export.placement import Destination, VersionExists

FILES = 20


def write(destination: Destination, content: str) -> None:
    with destination.writing() as folder:
        for number in range(FILES):
            (folder / f"part-{number}").write_text(content)


def contents(version: Path) -> set[str]:
    """What stands in the files of a version, opened through one directory descriptor: one moment's folder."""
    folder = os.open(version, os.O_RDONLY)
    try:
        found = set()
        for number in range(FILES):
            with open(os.open(f"part-{number}", os.O_RDONLY, dir_fd=folder)) as file:  # noqa: PTH123 - a descriptor
                found.add(file.read())
        return found
    finally:
        os.close(folder)


def test_a_version_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    destination = Destination(tmp_path, "m", 3)
    with destination.writing() as folder:
        (folder / "part").write_text("x")
        assert not destination.path.exists()
        assert folder.parent == destination.path.parent
        assert not folder.name.isdigit()
    assert (tmp_path / "m" / "3" / "part").read_text() == "x"
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["3"]


def test_the_folder_can_be_read_by_a_server_of_another_user(tmp_path: Path) -> None:
    write(Destination(tmp_path, "m", 1), "x")
    assert (tmp_path / "m" / "1").stat().st_mode & 0o055 == 0o055


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    destination = Destination(tmp_path, "m", 1)
    with pytest.raises(ZeroDivisionError), destination.writing() as folder:
        (folder / "part").write_text("x")
        raise ZeroDivisionError
    assert list((tmp_path / "m").iterdir()) == []


def test_a_failed_replacement_leaves_the_old_version(tmp_path: Path) -> None:
    write(Destination(tmp_path, "m", 1), "old")
    with pytest.raises(ZeroDivisionError), Destination(tmp_path, "m", 1, force=True).writing():
        raise ZeroDivisionError
    assert contents(tmp_path / "m" / "1") == {"old"}
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["1"]


KILLED = """
import os, signal, sys
from pathlib import Path
from bench.export.placement import Destination
with Destination(Path(sys.argv[1]), "m", 1).writing() as folder:
    (folder / "part").write_text("x")
    print(folder, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_export_left_is_swept_by_the_next_one_and_what_is_written_is_not(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    leftover = Path(process.stdout.readline().strip())
    write(Destination(tmp_path, "m", 2), "x")
    assert (leftover / "part").is_file(), "its export still runs"
    hidden = leftover.with_name(
        ".1.exporting-999999999"
    )  # a process that is not seen here, such as a container's
    leftover.rename(hidden)
    write(Destination(tmp_path, "m", 3), "x")
    assert (hidden / "part").is_file(), "it is locked"
    hidden.rename(leftover)
    process.communicate("die\n")
    assert (leftover / "part").is_file()
    write(Destination(tmp_path, "m", 4), "x")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["2", "3", "4"]


def test_an_existing_version_is_kept_without_force(tmp_path: Path) -> None:
    write(Destination(tmp_path, "m", 1), "old")
    with pytest.raises(VersionExists, match=r"m/1: version exists; --force replaces it"):
        write(Destination(tmp_path, "m", 1), "new")
    assert contents(tmp_path / "m" / "1") == {"old"}


def test_of_two_exports_at_the_same_time_one_wins(tmp_path: Path) -> None:
    destination = Destination(tmp_path, "m", 1)
    with (
        pytest.raises(VersionExists, match="appeared while it was being exported"),
        destination.writing() as folder,
    ):
        (folder / "part-0").write_text("late")
        destination.path.mkdir()
        (destination.path / "part-0").write_text("first")
    assert (destination.path / "part-0").read_text() == "first"


def test_force_also_makes_a_version_that_was_not_there(tmp_path: Path) -> None:
    write(Destination(tmp_path, "m", 1, force=True), "new")
    assert contents(tmp_path / "m" / "1") == {"new"}


def test_who_watches_sees_a_whole_version_at_every_moment_of_a_replacement(tmp_path: Path) -> None:
    write(Destination(tmp_path, "m", 1), "first")
    seen: list[set[str]] = []
    missing: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            try:
                seen.append(contents(tmp_path / "m" / "1"))
            except FileNotFoundError as error:
                # A folder that was replaced after it was opened may be emptied; the name itself is always there.
                if str(error.filename) == str(tmp_path / "m" / "1"):
                    missing.append(str(error))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(150):
            write(Destination(tmp_path, "m", 1, force=True), f"number {number}")
    finally:
        done.set()
        watcher.join()
    assert not missing
    assert len(seen) > 10
    assert all(len(one) == 1 for one in seen), "a mixture of two versions"
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["1"]


@pytest.mark.parametrize("model", ["", "a/b", "..", ".hidden", "a/"])
def test_a_model_is_named_like_a_folder(tmp_path: Path, model: str) -> None:
    with pytest.raises(BenchError, match="not a folder name"):
        Destination(tmp_path, model, 1)


def test_a_version_is_a_number_from_zero_up(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--version -1"):
        Destination(tmp_path, "m", -1)


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BenchError, match=r"file/m: cannot write there \(Not a directory\)"):
        write(Destination(tmp_path / "file", "m", 1), "x")


def test_the_room_needs_no_tensorflow_until_it_trains() -> None:
    code = "import sys, bench.cli.export; print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
