"""Where models are kept between runs, and who waits for whom."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from bench.load.site import exported, fingerprint


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
