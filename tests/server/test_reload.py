"""Another configuration for a repository that serves."""

import threading
import time
from pathlib import Path

import pytest

from bench.server.models import model_config
from bench.server.models.states import State
from bench.server.refusal import Code, Refusal
from tests.server.numpy_models import Gate, write
from tests.server.versions import LIMIT, Start, config, refusal, served, spec, states


class TestReload:
    def test_replaces_the_list_and_waits_for_the_new_models_alone(self, tmp_path: Path, start: Start) -> None:
        gate = Gate()
        gate.open(1)
        for name in ("a", "b"):
            write(tmp_path / name, 1, 1.0)
        repository = start(config(("a", tmp_path / "a", "")), gate)
        repository.wait_until_ready(LIMIT)
        repository.reload(config(("b", tmp_path / "b", "")), LIMIT)
        assert served(repository, spec(name="b")) == 1
        assert repository.wait_for("a", 1, State.END, LIMIT)
        assert refusal(repository, spec(name="a"))[1] == "Servable not found for request: Latest(a)"
        # another policy for a known model is not waited for: version 2 is not opened yet
        write(tmp_path / "b", 2, 2.0)
        repository.reload(config(("b", tmp_path / "b", "1 2")), LIMIT)
        gate.open(2)
        assert repository.wait_for("b", 2, State.AVAILABLE, LIMIT)

    def test_an_empty_list_unloads_everything_and_the_past_stays_known(
        self, tmp_path: Path, start: Start
    ) -> None:
        write(tmp_path, 1, 1.0)
        repository = start(config(("m", tmp_path, "")))
        repository.wait_until_ready(LIMIT)
        repository.reload(config(), LIMIT)
        assert repository.wait_for("m", 1, State.END, LIMIT)
        assert repository.models() == []
        assert repository.statuses("m")[0].error is None

    def test_a_model_that_fails(self, tmp_path: Path, start: Start) -> None:
        (tmp_path / "1").mkdir()
        repository = start(config())
        with pytest.raises(Refusal) as caught:
            repository.reload(config(("m", tmp_path, "")), LIMIT)
        assert caught.value.code is Code.UNKNOWN
        assert caught.value.text == (
            "1 model(s) did not become available: {{{name: m version: 1} due to error: "
            f"NOT_FOUND: no factor in {tmp_path / '1'}}}, }}"
        )

    def test_a_refused_config_changes_nothing(self, tmp_path: Path, start: Start) -> None:
        write(tmp_path, 1, 1.0)
        repository = start(config(("m", tmp_path, "")))
        repository.wait_until_ready(LIMIT)
        with pytest.raises(Refusal) as caught:
            repository.reload(config(("m", tmp_path, ""), ("n", tmp_path, ""), stable=9), LIMIT)
        assert caught.value.code is Code.FAILED_PRECONDITION
        assert repository.models() == ["m"]
        assert served(repository) == 1

    def test_a_new_model_without_versions_is_waited_for_until_the_deadline(
        self, tmp_path: Path, start: Start
    ) -> None:
        repository = start(config())
        with pytest.raises(Refusal) as caught:
            repository.reload(config(("m", tmp_path, "")), 0.1)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        write(tmp_path, 1, 1.0)
        assert repository.wait_for("m", 1, State.AVAILABLE, LIMIT)

    def test_stop_ends_a_reload_that_waits(self, tmp_path: Path, start: Start) -> None:
        repository = start(config())
        codes = []

        def reload() -> None:
            try:
                repository.reload(config(("m", tmp_path, "")))
            except Refusal as refused:
                codes.append(refused.code)

        thread = threading.Thread(target=reload)
        thread.start()
        deadline = time.monotonic() + LIMIT
        while repository.models() != ["m"]:
            assert time.monotonic() < deadline
        repository.stop()
        thread.join(LIMIT)
        assert codes == [Code.UNAVAILABLE]

    def test_labels_move_as_a_whole(self, tmp_path: Path, start: Start) -> None:
        write(tmp_path, 1, 1.0)
        write(tmp_path, 2, 2.0)
        repository = start(config(("m", tmp_path, "1 2")))
        assert all(repository.wait_for("m", version, State.AVAILABLE, LIMIT) for version in (1, 2))
        repository.reload(config(("m", tmp_path, "1 2"), stable=1, canary=2), LIMIT)
        assert (served(repository, spec(label="stable")), served(repository, spec(label="canary"))) == (1, 2)
        repository.reload(config(("m", tmp_path, "1 2"), stable=2), LIMIT)
        assert served(repository, spec(label="stable")) == 2
        assert refusal(repository, spec(label="canary"))[1] == "Unrecognized servable version label: canary"


def test_a_config_file_is_followed_and_a_broken_one_ignored(tmp_path: Path, start: Start) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, 1, 1.0)
    file = tmp_path / "models.config"

    def publish(text: str) -> None:
        (tmp_path / "aside").write_text(text)
        (tmp_path / "aside").rename(file)

    def listing(*names: str) -> str:
        entries = (
            f'config {{ name: "{n}" base_path: "{tmp_path / n}" model_platform: "tensorflow" }}'
            for n in names
        )
        return f"model_config_list {{ {' '.join(entries)} }}"

    publish(listing("a"))
    repository = start(model_config.read_models(file))
    repository.follow(file, 0.02)
    publish(listing("a", "b"))
    assert repository.wait_for("b", 1, State.AVAILABLE, LIMIT)
    publish("model_config_list { nonsense }")
    publish(listing("b"))
    assert repository.wait_for("a", 1, State.END, LIMIT)
    assert states(repository, "b") == {1: State.AVAILABLE}
