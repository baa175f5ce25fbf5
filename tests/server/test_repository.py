import itertools
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bench.server.models import repository as repository_module
from bench.server.models.loading import RepositoryOptions
from bench.server.models.repository import Repository
from bench.server.models.states import State
from bench.server.refusal import Code, Refusal
from tests.server.numpy_models import Gate, load, write
from tests.server.versions import LIMIT, Start, config, refusal, served, spec, states


def test_which_version_a_model_spec_means(tmp_path: Path, start: Start) -> None:
    write(tmp_path, 1, 1.0)
    write(tmp_path, 3, 3.0)
    repository = start(
        config(("m", tmp_path, "all"), stable=1),
        options=RepositoryOptions(labels_for_unavailable=True, max_load_retries=0),
    )
    assert repository.wait_for("m", 1, State.AVAILABLE, LIMIT)
    assert repository.wait_for("m", 3, State.AVAILABLE, LIMIT)
    assert served(repository) == 3
    assert served(repository, spec(1)) == 1
    assert served(repository, spec(label="stable")) == 1
    for asked, code, text in [
        (spec(name=""), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (spec(name="M"), Code.NOT_FOUND, "Servable not found for request: Latest(M)"),
        (spec(0), Code.NOT_FOUND, "Servable not found for request: Specific(m, 0)"),
        (spec(-1), Code.NOT_FOUND, "Servable not found for request: Specific(m, -1)"),
        (spec(label=""), Code.INVALID_ARGUMENT, "Unrecognized servable version label: "),
        (spec(label="s", name="M"), Code.INVALID_ARGUMENT, "Unrecognized servable version label: s"),
    ]:
        assert refusal(repository, asked) == (code, text)


def test_a_label_to_a_version_that_is_not_loaded(tmp_path: Path, start: Start) -> None:
    write(tmp_path, 1, 1.0)
    repository = start(
        config(("m", tmp_path, ""), next=2), options=RepositoryOptions(labels_for_unavailable=True)
    )
    repository.wait_until_ready(LIMIT)
    assert refusal(repository, spec(label="next")) == (
        Code.NOT_FOUND,
        "Servable not found for request: Specific(m, 2)",
    )


def test_the_new_version_is_available_before_the_old_one_goes(tmp_path: Path, start: Start) -> None:
    gate = Gate()
    gate.open(1)
    write(tmp_path, 1, 1.0)
    repository = start(config(("m", tmp_path, "")), gate)
    repository.wait_until_ready(LIMIT)
    write(tmp_path, 2, 2.0)
    assert repository.wait_for("m", 2, State.LOADING, LIMIT)
    assert states(repository) == {2: State.LOADING, 1: State.AVAILABLE}
    assert served(repository) == 1
    gate.open(2)
    assert repository.wait_for("m", 1, State.END, LIMIT)
    assert states(repository) == {2: State.AVAILABLE, 1: State.END}
    assert served(repository) == 2
    assert gate.loaded[1].closed and not gate.loaded[2].closed


def test_an_unforeseen_error_of_the_watch_is_logged_and_the_next_look_goes_on(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1, 1.0)
    repository = start(config(("m", tmp_path, "")))
    repository.wait_until_ready(LIMIT)
    look, failed = repository_module.versions_in, threading.Event()

    def fail_once(path: Path) -> Any:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("nobody has thought of this")
        return look(path)

    monkeypatch.setattr(repository_module, "versions_in", fail_once)
    write(tmp_path, 2, 2.0)
    assert failed.wait(LIMIT)
    assert repository.wait_for("m", 2, State.AVAILABLE, LIMIT)
    (told,) = [record.message for record in caplog.records if "nobody has thought of this" in record.message]
    assert "the watch over the versions" in told


def test_an_unforeseen_error_of_the_look_at_the_config_is_logged_and_the_next_one_counts(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for model in ("m", "n"):
        write(tmp_path / model, 1, 1.0)
    repository = start(config(("m", tmp_path / "m", "")))
    repository.wait_until_ready(LIMIT)
    found = iter([RuntimeError("nobody has thought of this")])

    def fail_once(_path: Path) -> Any:
        for error in found:
            raise error
        return config(("m", tmp_path / "m", ""), ("n", tmp_path / "n", ""))

    monkeypatch.setattr(repository_module.model_config, "read_models", fail_once)
    repository.follow(tmp_path / "models", 0.02)
    assert repository.wait_for("n", 1, State.AVAILABLE, LIMIT)
    assert any(
        "a look at the model config" in record.message and "nobody has thought" in record.message
        for record in caplog.records
    )


def test_a_held_version_stays_until_it_is_released(tmp_path: Path, start: Start) -> None:
    gate = Gate()
    gate.open(1, 2)
    write(tmp_path, 1, 1.0)
    repository = start(config(("m", tmp_path, "")), gate)
    repository.wait_until_ready(LIMIT)
    handle = repository.acquire(spec())
    write(tmp_path, 2, 2.0)
    assert repository.wait_for("m", 1, State.UNLOADING, LIMIT)
    assert served(repository) == 2
    assert not gate.loaded[1].closed
    assert refusal(repository, spec(1))[0] is Code.NOT_FOUND
    handle.release()
    assert repository.wait_for("m", 1, State.END, LIMIT)
    assert gate.loaded[1].closed


def test_a_held_version_does_not_keep_others_from_coming_and_going(tmp_path: Path, start: Start) -> None:
    write(tmp_path, 1, 1.0)
    repository = start(config(("m", tmp_path, "")))
    repository.wait_until_ready(LIMIT)
    with repository.acquire(spec()):
        for version in (2, 3):
            write(tmp_path, version, 1.0)
            assert repository.wait_for("m", version, State.AVAILABLE, LIMIT)
        assert repository.wait_for("m", 2, State.END, LIMIT)
        assert states(repository)[1] is State.UNLOADING


def test_a_broken_version_leaves_the_old_one_serving_and_is_not_tried_again(
    tmp_path: Path, start: Start
) -> None:
    asked = []

    def loader(model: str, version: int, path: Path) -> Any:
        asked.append(version)
        return load(model, version, path)

    write(tmp_path, 1, 1.0)
    repository = start(
        config(("m", tmp_path, "")),
        loader,
        RepositoryOptions(poll_wait=0.02, max_load_retries=2, load_retry_interval=0.0),
    )
    repository.wait_until_ready(LIMIT)
    (tmp_path / "2").mkdir()
    assert repository.wait_for("m", 2, State.END, LIMIT)
    assert asked == [1, 2, 2, 2]
    status = repository.statuses("m", 2)[0]
    assert status.error is not None
    assert (status.error.code, status.error.text) == (Code.NOT_FOUND, f"no factor in {tmp_path / '2'}")
    assert served(repository) == 1
    write(tmp_path, 3, 3.0)  # several looks later, and with something else to do
    assert repository.wait_for("m", 3, State.AVAILABLE, LIMIT)
    assert asked == [1, 2, 2, 2, 3]


def test_a_broken_version_that_was_removed_and_put_back_is_tried_again(tmp_path: Path, start: Start) -> None:
    write(tmp_path, 1, 1.0)
    (tmp_path / "2").mkdir()
    repository = start(config(("m", tmp_path, "all")))
    assert repository.wait_for("m", 2, State.END, LIMIT)
    (tmp_path / "2").rmdir()
    write(tmp_path, 3, 3.0)
    assert repository.wait_for("m", 3, State.AVAILABLE, LIMIT)  # the removal has been seen as well
    write(tmp_path, 2, 2.0)
    assert repository.wait_for("m", 2, State.AVAILABLE, LIMIT)


def test_between_attempts_a_version_is_loading_and_others_are_not_held_up(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "a" / "1").mkdir(parents=True)
    write(tmp_path / "b", 1, 1.0)
    repository = start(
        config(("a", tmp_path / "a", ""), ("b", tmp_path / "b", "")),
        options=RepositoryOptions(poll_wait=0.02, load_threads=1, load_retry_interval=3600.0),
    )
    assert repository.wait_for("b", 1, State.AVAILABLE, LIMIT)
    assert states(repository, "a") == {1: State.LOADING}
    # removing the directory ends the wait between the attempts
    (tmp_path / "a" / "1").rmdir()
    assert repository.wait_for("a", 1, State.END, LIMIT)


@pytest.mark.parametrize("error", [MemoryError("too big"), ValueError("odd"), OSError("gone")])
def test_a_loader_that_raises_something_else_gives_a_broken_version(
    tmp_path: Path, start: Start, error: Exception
) -> None:
    def loader(_model: str, _version: int, _path: Path) -> Any:
        raise error

    write(tmp_path, 1, 1.0)
    repository = start(config(("m", tmp_path, "")), loader)
    assert repository.wait_for("m", 1, State.END, LIMIT)
    status = repository.statuses("m")[0]
    assert status.error is not None
    assert status.error.text == f"{type(error).__name__}: {error}"


def test_readiness_waits_for_each_model_and_reports_a_failed_one(tmp_path: Path, start: Start) -> None:
    write(tmp_path / "a", 1, 1.0)
    (tmp_path / "b" / "7").mkdir(parents=True)
    repository = start(config(("a", tmp_path / "a", ""), ("b", tmp_path / "b", "")))
    with pytest.raises(Refusal) as caught:
        repository.wait_until_ready(LIMIT)
    assert caught.value.code is Code.UNKNOWN
    assert caught.value.text == (
        "1 servable(s) did not become available: {{{name: b version: 7} due to error: "
        f"NOT_FOUND: no factor in {tmp_path / 'b' / '7'}}}, }}"
    )


def test_readiness_waits_for_a_directory_without_versions(tmp_path: Path, start: Start) -> None:
    repository = start(config(("m", tmp_path, "")))
    with pytest.raises(Refusal) as caught:
        repository.wait_until_ready(0.1)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    write(tmp_path, 1, 1.0)
    repository.wait_until_ready(LIMIT)
    assert served(repository) == 1


def test_an_emptied_directory_unloads_and_a_missing_one_does_not(tmp_path: Path, start: Start) -> None:
    for name in ("emptied", "missing"):
        write(tmp_path / name, 1, 1.0)
    repository = start(config(("emptied", tmp_path / "emptied", ""), ("missing", tmp_path / "missing", "")))
    repository.wait_until_ready(LIMIT)
    (tmp_path / "missing").rename(tmp_path / "elsewhere")  # at once: while it is removed it is an emptied one
    shutil.rmtree(tmp_path / "emptied" / "1")
    assert repository.wait_for("emptied", 1, State.END, LIMIT)
    assert states(repository, "missing") == {1: State.AVAILABLE}


def test_when_the_served_version_is_removed_a_lower_one_takes_over_first(
    tmp_path: Path, start: Start
) -> None:
    gate = Gate()
    gate.open(2)
    write(tmp_path, 1, 1.0)
    write(tmp_path, 2, 2.0)
    repository = start(config(("m", tmp_path, "")), gate)
    repository.wait_until_ready(LIMIT)
    shutil.rmtree(tmp_path / "2")
    assert repository.wait_for("m", 1, State.LOADING, LIMIT)
    assert served(repository) == 2
    gate.open(1)
    assert repository.wait_for("m", 2, State.END, LIMIT)
    assert served(repository) == 1


def test_a_version_that_comes_back_while_it_is_unloading_is_loaded_again(
    tmp_path: Path, start: Start
) -> None:
    gate = Gate()
    gate.open(1, 2)
    write(tmp_path, 1, 1.0)
    write(tmp_path, 2, 2.0)
    repository = start(config(("m", tmp_path, "")), gate)
    repository.wait_until_ready(LIMIT)
    handle = repository.acquire(spec())
    (tmp_path / "2").rename(tmp_path / "2_aside")
    assert repository.wait_for("m", 2, State.UNLOADING, LIMIT)
    (tmp_path / "2_aside").rename(tmp_path / "2")
    write(tmp_path, 3, 3.0)  # is seen in the same look, or in a later one
    gate.open(3)
    assert repository.wait_for("m", 3, State.AVAILABLE, LIMIT)
    shutil.rmtree(tmp_path / "3")
    handle.release()
    assert repository.wait_for("m", 2, State.AVAILABLE, LIMIT)
    assert gate.asked.count(2) == 2


def test_poll_wait_zero_looks_once(tmp_path: Path, start: Start) -> None:
    write(tmp_path / "a", 1, 1.0)
    repository = start(config(("a", tmp_path / "a", "")), options=RepositoryOptions(poll_wait=0.0))
    repository.wait_until_ready(LIMIT)
    write(tmp_path / "a", 2, 1.0)
    write(tmp_path / "b", 1, 1.0)
    # a reload looks again, and what it finds shows that nothing had been found in between
    assert states(repository, "a") == {1: State.AVAILABLE}
    repository.reload(config(("a", tmp_path / "a", ""), ("b", tmp_path / "b", "")), LIMIT)
    assert repository.wait_for("a", 2, State.AVAILABLE, LIMIT)


def test_stop_is_immediate_whatever_it_waits_for(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    repository = Repository(load, RepositoryOptions(poll_wait=3600.0, load_retry_interval=3600.0))
    repository.start(config(("m", tmp_path, "")))
    assert repository.wait_for("m", 1, State.LOADING, LIMIT)
    repository.follow(tmp_path / "models.config", 3600.0)
    repository.stop()  # pytest's time limit is what would show that it is not
    assert states(repository) == {1: State.END}


def test_a_hundred_swaps_under_load_fail_no_request_and_answer_with_a_current_version(
    tmp_path: Path, start: Start
) -> None:
    """Two threads ask without pause; each answer is checked against what was available around it."""
    write(tmp_path, 1, 1.0)
    gate = Gate()
    gate.open(*range(1, 102))
    repository = start(
        config(("m", tmp_path, "")), gate, RepositoryOptions(poll_wait=0.001, max_load_retries=0)
    )
    repository.wait_until_ready(LIMIT)
    finished = threading.Event()
    wrong: list[str] = []
    counts = [0, 0]

    def ask(worker: int) -> None:
        latest = 0
        while not finished.is_set():
            with repository.acquire(spec()) as handle:
                if handle.servable.closed:  # type: ignore[attr-defined]
                    wrong.append(f"version {handle.version} is closed while it is held")
                if handle.version < latest:
                    wrong.append(f"version {handle.version} after {latest}")
                latest = handle.version
            counts[worker] += 1

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # the askers never wait: each change of thread would cost 5 ms
    for thread in threads:
        thread.start()
    try:
        for version in range(2, 102):
            write(tmp_path, version, float(version))
            assert repository.wait_for("m", version, State.AVAILABLE, LIMIT)
            assert repository.wait_for("m", version - 1, State.END, LIMIT)
    finally:
        finished.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    assert wrong == []
    assert min(counts) > 100
    assert [servable.closed for _, servable in sorted(gate.loaded.items())] == [True] * 100 + [False]
    history = repository.statuses("m")
    assert [status.version for status in history] == list(range(101, 0, -1))
    assert all(later.state is State.END for later in itertools.islice(history, 1, None))
