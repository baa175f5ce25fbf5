"""`bench predict`, `bench status` and `bench metadata` as a user runs them, on a real server."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from bench import BenchError, mnist
from bench.cli.asking import inquiry
from bench.launch import server_process
from bench.load import patience
from bench.protocol.registry import api_named
from bench.target import single_shot
from bench.target.inquiry import Inquiry, describe
from bench.wire.transports import NATIVE, open_channel
from tests.cli.inside import bench as inside
from tests.foreign import Foreign, serving

DIGITS = mnist.load("test")
COUNT = 12


@pytest.fixture(scope="module")
def host(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with MNIST versions 1 (label `old`) and 2, a flat MNIST and a small VGG16."""
    entries = [
        f'config {{ name: "mnist" base_path: "{models}/mnist" model_platform: "tensorflow" '
        'model_version_policy { all {} } version_labels { key: "old" value: 1 } }'
    ]
    entries += [
        f'config {{ name: "{name}" base_path: "{models}/{name}" model_platform: "tensorflow" }}'
        for name in ("flat", "vgg")
    ]
    config = tmp_path_factory.mktemp("more") / "models.config"
    config.write_text("model_config_list {\n" + "\n".join(entries) + "\n}\n")
    flags = ["--model_config_file", str(config), "--allow_version_labels_for_unavailable_models=true"]
    with server_process.embedded(flags) as server:
        yield server.address


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Digits as MNIST has them, and every second one large, dark on white."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for index in range(COUNT):
        image = Image.fromarray(np.round(DIGITS.images[index, :, :, 0] * 255).astype(np.uint8))
        if index % 2:
            image = ImageOps.invert(image).resize((280, 350))
        paths.append(folder / f"digit-{index}.png")
        image.save(paths[-1])
    return paths


def bench(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def told(done: "subprocess.CompletedProcess[str]") -> str:
    """Standard error without what a busy machine adds to it."""
    lines = done.stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("waiting for ", "waited ")))


def said(*arguments: str | Path) -> str:
    done = bench(*arguments)
    assert (done.returncode, told(done)) == (0, "")
    return done.stdout


def refused(*arguments: str | Path) -> str:
    done = bench(*arguments)
    assert (done.returncode, told(done).count("\n")) == (2, 1)
    assert told(done).startswith("bench: ")
    return told(done)


def test_pictures_are_recognised(host: str, pictures: list[Path]) -> None:
    lines = said("predict", *pictures, "--host", host).splitlines()
    right = 0
    for line, path, label in zip(lines, pictures, DIGITS.labels, strict=False):
        found = re.fullmatch(rf"{path}: (\d) \(score (0\.\d{{3}}|1\.000), version 2, \d+\.\d\d ms\)", line)
        assert found, line
        right += int(found[1]) == label
    assert len(lines) == COUNT
    assert right >= COUNT - 2


def test_predictions_as_json_hold_all_scores(host: str, pictures: list[Path]) -> None:
    (seen,) = json.loads(said("predict", pictures[0], "--host", host, "--version", "1", "--json"))
    assert seen["picture"] == str(pictures[0])
    assert seen["version"] == 1
    assert len(seen["scores"]) == 10
    assert seen["score"] == max(seen["scores"]) == seen["scores"][seen["label"]]
    assert sum(seen["scores"]) == pytest.approx(1, abs=1e-5)
    assert 0 < seen["seconds"] < 10


def test_the_same_questions_by_the_open_inference_protocol(host: str, pictures: list[Path]) -> None:
    """States, metadata and predictions; versions by number."""

    def asked(*arguments: str | Path) -> str:
        done = inside(*arguments, "--host", host, "--protocol", "oip", cwd=pictures[0].parent)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert asked("status").splitlines() == ["mnist version 2: AVAILABLE", "mnist version 1: AVAILABLE"]
    told = asked("metadata")
    assert told.startswith("mnist version 2\n")
    assert "images: float [-1, 28, 28, 1]" in told
    assert "scores: float [-1, 10]" in told
    (seen,) = json.loads(asked("predict", pictures[0], "--version", "1", "--json"))
    theirs = json.loads(said("predict", pictures[0], "--host", host, "--version", "1", "--json"))[0]
    assert (seen["label"], seen["version"], seen["scores"]) == (theirs["label"], 1, theirs["scores"])


def test_requests_of_a_file_are_answered_with_all_outputs(host: str, tmp_path: Path) -> None:
    """A line for each example; as JSON a list, and one output where one is named."""
    path = tmp_path / "digits.npz"
    np.savez(path, images=DIGITS.images[:3], label=DIGITS.labels[:3])
    rows = [json.loads(line) for line in said("predict", "--host", host, "--requests", path).splitlines()]
    assert [row["example"] for row in rows] == [0, 1, 2]
    assert [int(np.argmax(row["scores"])) for row in rows] == DIGITS.labels[:3].tolist()
    old = ("predict", "--host", host, "--requests", path, "--label", "old", "--output", "scores", "--json")
    assert [len(row["scores"]) for row in json.loads(said(*old))] == [10] * 3
    assert json.loads(said(*old))[0]["scores"] != rows[0]["scores"]
    path.with_suffix(".jsonl").write_text('{"inputs": {"image": [0]}}')
    wrong = refused("predict", "--host", host, "--requests", path.with_suffix(".jsonl"))
    assert "digits.jsonl: line 1, key 'image'" in wrong
    assert "--output none: signature" in refused(*old[:5], "--output", "none")


def test_a_version_is_picked_by_its_label(host: str, pictures: list[Path]) -> None:
    (seen,) = json.loads(said("predict", pictures[0], "--host", host, "--label", "old", "--json"))
    assert seen["version"] == 1


def test_models_that_take_rows_of_pixels_are_asked_with_rows(host: str, pictures: list[Path]) -> None:
    seen = json.loads(said("predict", *pictures, "--host", host, "--model", "flat", "--json"))
    right = sum(each["label"] == label for each, label in zip(seen, DIGITS.labels, strict=False))
    assert right >= COUNT - 3
    assert {each["version"] for each in seen} == {5}


def test_models_of_coloured_pictures_are_asked_with_their_size(host: str, pictures: list[Path]) -> None:
    (seen,) = json.loads(said("predict", pictures[1], "--host", host, "--model", "vgg", "--json"))
    assert len(seen["scores"]) == 1000


def test_both_transports_say_the_same(host: str) -> None:
    assert said("metadata", "--host", host) == said("metadata", "--host", host, "--transport", "grpcio")


def test_status_shows_all_versions_newest_first(host: str) -> None:
    expected = "mnist version 2: AVAILABLE\nmnist version 1: AVAILABLE\nvgg version 3: AVAILABLE\n"
    assert said("status", "--model", "mnist", "--model", "vgg", "--host", host) == expected
    assert said("status", "--version", "1", "--host", host) == "mnist version 1: AVAILABLE\n"


def test_status_as_json(host: str) -> None:
    state = {"version": 5, "state": "AVAILABLE", "code": "OK", "message": ""}
    shown = json.loads(said("status", "--model", "flat", "--host", host, "--json"))
    assert shown == {"host": host, "models": {"flat": [state]}}


def test_metadata_shows_what_can_be_asked(host: str) -> None:
    assert said("metadata", "--host", host, "--model", "flat") == (
        "flat version 5\n"
        "  predict_images (tensorflow/serving/predict)\n"
        "    input  images: float [-1, 784]\n"
        "    output scores: float [-1, 10]\n"
        "  serving_default (tensorflow/serving/predict)\n"
        "    input  images: float [-1, 784]\n"
        "    output scores: float [-1, 10]\n"
    )


def test_metadata_as_json_has_internal_signatures_too(host: str) -> None:
    shown = json.loads(said("metadata", "--host", host, "--version", "1", "--json"))
    assert (shown["model"], shown["version"]) == ("mnist", 1)
    assert shown["signatures"]["predict_images"]["inputs"] == {
        "images": {"dtype": "float", "shape": [-1, 28, 28, 1]}
    }
    assert shown["signatures"]["__saved_model_init_op"]["outputs"]["__saved_model_init_op"]["shape"] is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--model", "nope"], "model nope: NOT_FOUND: Servable not found for request: Latest(nope)"),
        (["--version", "9"], "NOT_FOUND: Servable not found for request: Specific(mnist, 9)"),
        (["--label", "new"], "Unrecognized servable version label: new"),
        (["--signature", "no"], "--signature no: model mnist at {host} has predict_images, serving_default"),
        (["--output", "no"], "signature predict_images: no output no; --output names one of scores"),
        (["--version", "1", "--label", "old"], "--version 1 --label old: give one of the two"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    host: str, pictures: list[Path], arguments: list[str], text: str
) -> None:
    assert text.format(host=host) in refused("predict", pictures[0], "--host", host, *arguments)


def test_unknown_models_have_no_status(host: str) -> None:
    line = refused("status", "--model", "nope", "--host", host)
    assert "NOT_FOUND: Could not find any versions of model nope; check the name" in line


def test_files_that_are_no_pictures_are_named(host: str, pictures: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    done = bench("predict", pictures[0], text, "--host", host)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1, "what was asked before is answered"
    assert told(done) == f"bench: {text}: not a readable PNG or JPEG picture\n"


def test_a_picture_that_is_missing_is_named_before_a_server_is_called() -> None:
    assert refused("predict", "no.png", "--host", "127.0.0.1:1").startswith("bench: no.png: does not exist")


@pytest.mark.parametrize("verb", [["predict", __file__], ["status"], ["metadata"]])
def test_nobody_listening_is_one_line(verb: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused(*verb, "--host", address, "--timeout", "0.3")
        assert f"no connection within 0.3 s to {address} (" in line
        assert "Connection refused" in line
        assert line.endswith("; start the server or correct the address\n")


@pytest.mark.parametrize(
    ("version", "label", "text"),
    [
        (7, None, "version 8 answered instead of version 7"),
        (
            None,
            "new",
            "version 8 answered instead of version 7, for which label 'new' stands in the metadata",
        ),
        (None, None, ""),
        (8, None, ""),
    ],
)
def test_an_answer_by_another_version_than_the_one_that_was_asked_is_no_answer(
    pictures: list[Path], version: int | None, label: str | None, text: str
) -> None:
    own = Foreign(
        {"images": ("float", (-1, 28, 28, 1))},
        {"scores": ("float", (-1, 10))},
        lambda _: {"scores": np.zeros((1, 10), np.float32)},
        answers_as=8,
    )
    with serving(own) as host:
        channel = open_channel(NATIVE, host)
        channel.connect(20)
        asked = Inquiry(channel, host, api_named("tfs"), "own", version, label, timeout=20)
        try:
            put = single_shot.question(asked, None, None)
            if text:
                with pytest.raises(BenchError, match=text):
                    single_shot.predict(asked, put, pictures[0])
            else:
                assert single_shot.predict(asked, put, pictures[0]).version == 8
        finally:
            channel.close()


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_what_is_waited_for_is_told(
    transport: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A verb waited in silence, up to --timeout."""
    monkeypatch.setattr(patience, "PATIENCE", 0.0)
    own = Foreign({"x": ("float", ())}, {"y": ("float", ())}, lambda inputs: inputs)
    options: dict[str, Any] = {"pairs": "", "authority": None, "max_answer_bytes": 1 << 20}
    tls = dict.fromkeys(("grpc_tls", "grpc_tls_ca", "grpc_tls_cert", "grpc_tls_key", "grpc_tls_server_name"))
    with (
        serving(own) as host,
        inquiry(host=host, timeout=30.0, transport=transport, model="own", **options, **tls) as asked,
    ):
        describe(asked)
    seen = capsys.readouterr()
    assert seen.out == ""
    waited = (f"a connection to {host}", f"the answer of {host} to GetModelMetadata for own")
    lines = seen.err.splitlines()
    assert lines[::2] == [f"waiting for {what}, up to 30 s" for what in waited]
    assert [re.sub(r"[\d.]+ s", "? s", line, count=1) for line in lines[1::2]] == [
        f"waited ? s for {what}" for what in waited
    ]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_an_address_of_nobody_is_told_with_the_reason(transport: str) -> None:
    asked = ["--transport", transport, "--timeout"]
    assert "Connection refused" in refused("status", *asked, "1", "--host", "127.0.0.1:1")
    line = refused("status", *asked, "0.3", "--host", "nosuch.invalid:8500")  # RFC 2606: never a name
    assert "to nosuch.invalid:8500 (" in line
    assert ("the name nosuch.invalid is not found" if transport == "native" else "nosuch.invalid") in line


def test_who_does_not_speak_grpc_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert address in refused("status", "--host", address, "--timeout", "0.3")


def test_an_answer_larger_than_allowed_is_refused(host: str) -> None:
    line = refused("status", "--host", host, "--max-answer-bytes", "3")
    assert "RESOURCE_EXHAUSTED" in line
    assert "allow more with --max-answer-bytes" in line
