"""Where models are kept between runs, and who waits for whom."""

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from bench import BenchError
from bench.load.site import cache_folder, exported, fingerprint


def made(folder: Path, flags: list[str]) -> Path:
    """The folder in which a model that was exported with these flags is looked for, with one in it."""
    version = folder / "serving-bench" / "models" / fingerprint(flags) / "m" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    return version.parent


def test_flags_and_the_files_that_they_name_decide_where_a_model_is_kept(tmp_path: Path) -> None:
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"1")
    flags = ["--arch", "cnn", "--weights", str(weights)]
    first = fingerprint(flags)
    assert first == fingerprint(list(flags))
    assert first != fingerprint(["--arch", "softmax", "--weights", str(weights)])
    weights.write_bytes(b"22")
    assert first != fingerprint(flags)


def test_a_model_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    there = made(tmp_path, ["--steps", "1"])
    assert exported("m", ["--steps", "1"], versions=(1,), say=pytest.fail) == there


def test_whoever_waits_for_another_export_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    there = made(tmp_path, ["--steps", "1"])
    said: list[str] = []
    spoken = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        spoken.set()

    lock = os.open(there.parent / ".lock", os.O_CREAT | os.O_WRONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    waiting = threading.Thread(
        target=exported, args=("m", ["--steps", "1"]), kwargs={"versions": (1,), "say": say}
    )
    waiting.start()
    assert spoken.wait(10)
    os.close(lock)
    waiting.join(10)
    assert not waiting.is_alive()
    assert said == [f"waiting for another program that exports m into {there.parent}"]


@pytest.mark.parametrize("home", [None, "file", "closed"])
def test_without_a_home_that_can_be_written_there_is_another_folder_and_one_line(home: str | None) -> None:
    """As a user whom nobody knows and who has not root's rights."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    code = (
        "import os; from bench.load.site import cache_folder; os.setuid(54321); "
        "print(cache_folder()); cache_folder()"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        (Path(folder) / "file").touch()
        (Path(folder) / "closed").mkdir()
        Path(folder).chmod(0o777)
        environment = {"TMPDIR": folder} | ({"HOME": f"{folder}/{home}"} if home else {})
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"{folder}/serving-bench-54321"
        assert done.stderr.count("set XDG_CACHE_HOME") == 1


def test_a_folder_of_somebody_else_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models in it would be executed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/none")
    folder = cache_folder()
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)
    with pytest.raises(BenchError, match="XDG_CACHE_HOME"):
        cache_folder()
