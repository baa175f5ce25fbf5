"""What changes while a server runs: its configuration and its version directories. Only on a server of our own."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from bench.launch import server_process
from bench.wire import messages
from tests.conformance.asking import Target
from tests.conformance.conftest import LIMIT, arguments, await_versions


@pytest.fixture(scope="module")
def own(
    request: pytest.FixtureRequest, conformance_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Target, Path]]:
    """A server over a copy of the models, and their folder."""
    if request.config.getoption("--target", None):
        pytest.skip("its files and configuration are not ours to change")
    folder = tmp_path_factory.mktemp("own") / "models"
    shutil.copytree(conformance_models, folder)
    text = (folder / "models.config").read_text().replace(str(conformance_models), str(folder))
    (folder / "models.config").write_text(text)
    flags = [*arguments(folder), "--file_system_poll_wait_seconds=0.05"]
    with server_process.embedded(flags) as server, Target(server.address, server.rest) as target:
        await_versions(target)
        yield target, folder


def reload(target: Target, *models: str) -> tuple[str, str]:
    """Code and details of a reload with these ModelConfigs."""
    listed = " ".join(f"config {{ {model} }}" for model in models)
    request = text_format.Parse(
        f"config {{ model_config_list {{ {listed} }} }}", messages.ReloadConfigRequest()
    )
    code, details, response = target.call(messages.RELOAD_CONFIG, request.SerializeToString())
    if code == "OK":
        assert messages.ReloadConfigResponse.FromString(response).status.error_code == 0
    return code, details


def model(name: str, folder: Path, rest: str = "") -> str:
    return f'name: "{name}" base_path: "{folder}" model_platform: "tensorflow" {rest}'


def predict(target: Target, spec: str) -> tuple[str, str, int | None]:
    """Code, details and version of a Predict on half_plus_two's x."""
    request = text_format.Parse(
        f'model_spec {{ {spec} }} inputs {{ key: "x" value {{ dtype: DT_FLOAT tensor_shape {{ dim {{ size: 4 }} }} }} }}',
        messages.PredictRequest(),
    )
    code, details, response = target.call(messages.PREDICT, request.SerializeToString())
    version = messages.PredictResponse.FromString(response).model_spec.version.value if code == "OK" else None
    return code, details, version


def until(condition: Any) -> None:
    """Ask again until it is so."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # another process: it can only be asked


def test_the_life_of_a_server(own: tuple[Target, Path]) -> None:
    """One server, since each costs seconds to start; the steps follow on one another."""
    target, folder = own
    half, again = folder / "half_plus_two", folder / "again"
    shutil.copytree(half, again)
    # a new model is available when the reload returns; those not listed are unloaded, and remembered
    assert reload(target, model("half_plus_two", half), model("again", again)) == ("OK", "")
    assert predict(target, 'name: "again"') == ("OK", "", 123)
    until(lambda: target.versions("mnist") == {1: "END", 2: "END"})
    assert predict(target, 'name: "mnist"')[:2] == (
        "NOT_FOUND",
        "Servable not found for request: Latest(mnist)",
    )

    # a label needs a version that serves, unless it is new; then it follows it
    stable = 'version_labels { key: "stable" value: 123 }'
    assert reload(target, model("half_plus_two", half, stable)) == ("OK", "")
    assert predict(target, 'name: "half_plus_two" version_label: "stable"') == ("OK", "", 123)
    assert reload(target, model("half_plus_two", half, stable.replace("123", "124"))) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 124 of model half_plus_two, "
        "which is not currently available for inference",
    )
    assert predict(target, 'name: "half_plus_two" version_label: "stable"') == ("OK", "", 123)

    # a new version replaces the old one, also for requests that were seen before
    shutil.copytree(half / "00000123", half / "124_tmp")
    (half / "124_tmp").rename(half / "124")
    until(lambda: target.versions("half_plus_two") == {124: "AVAILABLE", 123: "END"})
    assert predict(target, 'name: "half_plus_two"') == ("OK", "", 124)
    assert predict(target, 'name: "half_plus_two" version { value: 123 }')[:2] == (
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_two, 123)",
    )
    # the label still points to the old one
    assert predict(target, 'name: "half_plus_two" version_label: "stable"')[:2] == (
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_two, 123)",
    )

    # a broken version ends with its error and the one before goes on serving
    (half / "125").mkdir()
    until(lambda: target.versions("half_plus_two").get(125) == "END")
    assert target.versions("half_plus_two") == {125: "END", 124: "AVAILABLE", 123: "END"}
    assert predict(target, 'name: "half_plus_two"') == ("OK", "", 124)
    status = messages.GetModelStatusRequest()
    status.model_spec.name = "half_plus_two"
    status.model_spec.version.value = 125
    _, _, answer = target.call(messages.GET_MODEL_STATUS, status.SerializeToString())
    (broken,) = messages.GetModelStatusResponse.FromString(answer).model_version_status
    assert broken.status.error_code == 5
    assert broken.status.error_message.startswith(
        "Specified file path does not appear to contain a SavedModel bundle (should have a file called `saved_model.pb`)"
    )

    # a new model that fails ends the reload with the reason
    (folder / "bad" / "7").mkdir(parents=True)
    code, details = reload(target, model("half_plus_two", half), model("bad", folder / "bad"))
    assert code == "UNKNOWN"
    assert details.startswith(
        "1 model(s) did not become available: {{{name: bad version: 7} due to error: NOT_FOUND: Specified file path"
    )

    # an empty list unloads everything
    assert reload(target) == ("OK", "")
    until(lambda: target.versions("half_plus_two") == {125: "END", 124: "END", 123: "END"})
    assert predict(target, 'name: "half_plus_two"')[0] == "NOT_FOUND"


def test_a_reload_that_waits_ends_at_the_callers_deadline(own: tuple[Target, Path]) -> None:
    target, folder = own
    (folder / "empty").mkdir()
    request = text_format.Parse(
        f"config {{ model_config_list {{ config {{ {model('empty', folder / 'empty')} }} }} }}",
        messages.ReloadConfigRequest(),
    ).SerializeToString()
    assert target.call(messages.RELOAD_CONFIG, request, seconds=0.5)[0] == "DEADLINE_EXCEEDED"
    # and holds up no other
    assert reload(target, model("shapes", folder / "shapes")) == ("OK", "")


def test_the_config_file_is_read_again(tmp_path: Path) -> None:
    """Models with known service times load at once; what they answer does not matter here."""
    for name in ("first", "second"):
        (tmp_path / name / "1").mkdir(parents=True)
    file = tmp_path / "models.config"

    def publish(*names: str) -> None:
        entries = " ".join(f"config {{ {model(name, tmp_path / name)} }}" for name in names)
        (tmp_path / "aside").write_text(f"model_config_list {{ {entries} }}")
        (tmp_path / "aside").rename(file)

    publish("first")
    flags = ["--backend=synthetic", f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1"]
    with server_process.embedded(flags) as server, Target(server.address, None) as target:
        assert target.versions("first") == {1: "AVAILABLE"}
        publish("second")
        until(
            lambda: target.versions("second") == {1: "AVAILABLE"} and target.versions("first") == {1: "END"}
        )
        file.write_text("nonsense")
        until(lambda: "the model config is left as it is" in server.log_text())
        assert target.versions("second") == {1: "AVAILABLE"}
