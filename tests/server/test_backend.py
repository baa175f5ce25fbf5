"""SavedModels on TensorFlow: exact texts, and batches that change no answer."""

import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import BenchError, mnist
from bench.launch import server_process
from bench.launch.server_process import Server
from bench.server import warmup
from bench.server.refusal import Refusal
from bench.wire import frames, messages, tfrecord
from bench.wire.messages import PredictionLog, PredictRequest, PredictResponse
from tests.server.clients import RawClient, channel, images, predict, refusal, tensor_request

Array = np.ndarray[Any, Any]
WARM = ["--model_name=counter", "--max_num_load_retries=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, written: Path) -> Path:
    made = tmp_path_factory.mktemp("saved")
    for model in [*(written / "saved").iterdir(), written / "exported" / "mnist"]:
        (made / model.name).symlink_to(model)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" }}'
        for name in ("mnist", "pair", "mixing", "random", "counter", "bare")
    )
    config, monitoring = folder / "models.config", folder / "monitoring.config"
    config.write_text(f"model_config_list {{ {entries} }}")
    monitoring.write_text("prometheus_config { enable: true }")
    with server_process.embedded(
        [f"--model_config_file={config}", "--rest_api_port=0", f"--monitoring_config_file={monitoring}"]
    ) as made:
        yield made


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (
            {"z": np.zeros(2, np.float64), "a": np.zeros(2, np.int32)},
            "Expects arg[1] to be float but double is provided",
        ),
        (
            {"z": np.zeros(2, np.float32), "a": np.zeros(2, np.int64)},
            "Expects arg[0] to be int32 but int64 is provided",
        ),
        (
            {"z": np.array([b"x", b"y"], object), "a": np.zeros(2, np.int32)},
            "Expects arg[1] to be float but string is provided",
        ),
        ({"z": np.zeros(2, np.float32), "a": np.zeros(3, np.int32)}, "Incompatible shapes: [3] vs. [2]"),
    ],
)
def test_errors_have_the_originals_words(server: Server, inputs: dict[str, Array], text: str) -> None:
    with channel(server.address) as through:
        code, details = refusal(through, tensor_request(inputs, model="pair", signature="both"))
    assert code == "INVALID_ARGUMENT"
    assert details.split("\n")[0] == text


def test_strings_and_several_inputs(server: Server) -> None:
    with channel(server.address) as through:
        request = tensor_request(
            {"text": np.array([b"ab", b"\xffc"], object)}, model="pair", signature="words"
        )
        response = PredictResponse.FromString(through.unary_unary(messages.PREDICT)(request))
        assert list(response.outputs["upper"].string_val) == [b"AB", b"\xffC"]
        both = {"z": np.array([1.5, 2.5], np.float32), "a": np.array([1, 2], np.int32)}
        assert predict(through, tensor_request(both, model="pair", signature="both"))["sum"].tolist() == [
            2.5,
            4.5,
        ]


def runs(server: Server) -> int:
    """How often a model has been run."""
    with urllib.request.urlopen(f"http://{server.rest}/monitoring/prometheus/metrics") as page:
        text = page.read().decode()
    found = re.search(r":tensorflow:core:graph_runs\{\} (\d+)", text)
    return int(found[1]) if found else 0


def together(server: Server, requests: list[bytes]) -> list[PredictResponse]:
    """The answers to requests that reach the server in one piece."""
    answers: dict[int, bytes] = {}
    ended = 0
    with RawClient(server.address) as client:
        client.ask_all(requests)
        for kind, flags, stream, payload in client.frames():
            if kind == frames.DATA:
                answers[stream] = answers.get(stream, b"") + payload
            elif kind == frames.HEADERS and flags & frames.END_STREAM:
                ended += 1
                if ended == len(requests):
                    break
    assert len(answers) == len(requests)
    return [PredictResponse.FromString(answers[stream][5:]) for stream in sorted(answers)]


def floats(response: PredictResponse, alias: str) -> Array:
    return np.array(response.outputs[alias].float_val, np.float32)


def test_batched_answers_equal_those_given_alone(server: Server) -> None:
    digits = mnist.load("test")
    requests = [images(digits.images[i : i + 1 + i % 3], model="mnist") for i in range(60)]
    before = runs(server)
    with channel(server.address) as through:
        alone = [predict(through, request)["scores"] for request in requests]
    between = runs(server)
    assert between - before == len(requests)
    batched = [floats(response, "scores").reshape(-1, 10) for response in together(server, requests)]
    assert runs(server) - between < len(requests) / 2, "they were not run together"
    for one, other in zip(alone, batched, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        assert (one.argmax(1) == other.argmax(1)).all()


def test_nan_disturbs_nobody(server: Server) -> None:
    digits = mnist.load("test").images[:20].copy()
    clean = [floats(r, "scores") for r in together(server, [images(d[None], model="mnist") for d in digits])]
    digits[7] = np.nan
    spoilt = [floats(r, "scores") for r in together(server, [images(d[None], model="mnist") for d in digits])]
    for number, (one, other) in enumerate(zip(clean, spoilt, strict=True)):
        if number == 7:
            assert np.isnan(other).all()
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def columns(values: list[float], model: str) -> list[bytes]:
    return [tensor_request({"x": np.array([[value]], np.float32)}, model=model) for value in values]


def test_a_model_that_mixes_rows_is_run_alone(server: Server) -> None:
    answers = together(server, columns([1.0, 5.0, 100.0], "mixing"))
    assert [floats(answer, "y").tolist() for answer in answers] == [[0.0]] * 3


def test_a_random_model_is_run_alone(server: Server) -> None:
    before = runs(server)
    together(server, columns([1.0] * 5, "random"))
    assert runs(server) - before == 5


def test_a_model_with_side_effects_is_run_for_its_clients_alone(server: Server) -> None:
    counts = [floats(answer, "y").item() for answer in together(server, columns([0.0] * 4, "counter"))]
    assert counts == [1.0, 2.0, 3.0, 4.0]


def test_a_model_without_declared_shapes_answers(server: Server) -> None:
    request = tensor_request({"x": np.ones((3, 4), np.float32)}, model="bare")
    with channel(server.address) as through:
        assert predict(through, request)["y"].tolist() == [[4.0, 4.0]] * 3
    answers = together(
        server, [tensor_request({"x": np.full((1, 4), n, np.float32)}, model="bare") for n in range(5)]
    )
    assert [floats(answer, "y")[0] for answer in answers] == [0.0, 4.0, 8.0, 12.0, 16.0]


def test_a_session_run_through_the_public_interface_answers_the_same(folder: Path) -> None:
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from bench.server.execution import backend\n"
        "def answers():\n"
        "    loaded = backend.load('mnist', 2, Path(sys.argv[1]), backend.SessionOptions())\n"
        "    x = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)\n"
        "    found = loaded.run('predict_images', {'images': x}, ['scores'])['scores']\n"
        "    assert loaded.traits['predict_images'].rows_independent\n"
        "    loaded.close()\n"
        "    return found\n"
        "private = answers()\n"
        "from bench.server.execution.runtime import tensorflow\n"
        "Session = tensorflow().Session\n"
        "for kind in Session.__mro__:\n"
        "    if '_make_callable_from_options' in vars(kind): delattr(kind, '_make_callable_from_options')\n"
        "assert not hasattr(Session, '_make_callable_from_options')\n"
        "public = answers()\n"
        "assert np.array_equal(private, public), (private, public)\n"
    )
    path = folder / "mnist" / "2"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_threads_may_be_chosen(folder: Path) -> None:
    flags = ["--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=-1", "--device=cpu"]
    with (
        server_process.embedded(
            ["--model_name=mnist", f"--model_base_path={folder / 'mnist'}", *flags]
        ) as server,
        channel(server.address) as through,
    ):
        assert "threads 1/-1" in server.log_text()
        assert predict(through, images(np.zeros((2, 28, 28, 1)), model="mnist"))["scores"].shape == (2, 10)


def refused_start(arguments: list[str]) -> str:
    with pytest.raises(BenchError) as refused, server_process.embedded(arguments):
        pass
    return str(refused.value)


def test_a_broken_version_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    text = refused_start(["--model_name=m", f"--model_base_path={tmp_path}", "--max_num_load_retries=0"])
    assert "exit code 2" in text
    assert "NOT_FOUND: Specified file path does not appear to contain a SavedModel bundle" in text


def test_reasons_why_a_version_cannot_be_loaded(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bench.server.execution import backend\n"
        "from bench.server.refusal import Refusal\n"
        "for path, options in (('whole', {'tags': ('other',)}), ('whole', {'device': 'gpu'}), ('gutted', {}), ('garbage', {})):\n"
        "    try:\n"
        "        backend.load('m', 1, Path(sys.argv[1], path), backend.SessionOptions(**options))\n"
        "    except Refusal as refusal:\n"
        "        print(refusal.code.name, refusal.text.splitlines()[0])\n"
    )
    for name in ("whole", "gutted", "garbage"):
        shutil.copytree(folder / "mnist" / "1", tmp_path / name)
    shutil.rmtree(tmp_path / "gutted" / "variables")
    (tmp_path / "garbage" / "saved_model.pb").write_bytes(b"no protobuf")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    reasons = [
        "NOT_FOUND MetaGraphDef associated with tags 'other'",
        "INVALID_ARGUMENT --device gpu: TensorFlow sees no GPU",
        "INVALID_ARGUMENT The passed save_path is not a valid checkpoint",
        "NOT_FOUND Cannot parse file",
    ]
    said = done.stdout.splitlines()
    assert len(said) == len(reasons)
    for line, reason in zip(said, reasons, strict=True):
        assert line.startswith(reason)


def warm(folder: Path, tmp_path: Path, content: bytes) -> list[str]:
    """Flags for the counter with these warm-up records."""
    shutil.copytree(folder / "counter" / "1", tmp_path / "1")
    path = tmp_path / "1" / warmup.RECORDS
    path.parent.mkdir()
    path.write_bytes(content)
    return [f"--model_base_path={tmp_path}", *WARM]


def record(text: str = "counter") -> bytes:
    log = PredictionLog()
    log.predict_log.request.CopyFrom(PredictRequest.FromString(columns([1.0], text)[0]))
    return tfrecord.frame(log.SerializeToString())


def test_warm_up_records_are_played_before_the_first_client(folder: Path, tmp_path: Path) -> None:
    arguments = warm(folder, tmp_path, record("other name") * 3)
    with (
        server_process.embedded([*arguments, "--num_request_iterations_for_warmup=2"]) as server,
        channel(server.address) as through,
    ):
        assert predict(through, columns([0.0], "counter")[0])["y"].item() == 3 * 2 + 1
        assert "Number of warmup records read: 3." in server.log_text()


def session_log() -> bytes:
    log = PredictionLog()
    log.session_run_log.SetInParent()
    return tfrecord.frame(log.SerializeToString())


def test_a_warm_up_that_fails_fails_the_load(folder: Path, tmp_path: Path) -> None:
    assert "UNIMPLEMENTED: Unsupported log_type" in refused_start(warm(folder, tmp_path, session_log()))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            record() + b"x",
            "DATA_LOSS: truncated record .* Please verify your warmup data is in TFRecord format.",
        ),
        (tfrecord.frame(b"\xff\xff"), "INVALID_ARGUMENT: Failed to parse warmup record"),
        (record() * 1001, r"INVALID_ARGUMENT: Number of warmup records exceeds the maximum \(1000\)"),
    ],
)
def test_warm_up_files_that_cannot_be_read(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "records"
    path.write_bytes(content)
    with pytest.raises(Refusal) as refused:
        warmup.read(path)
    assert re.match(complaint, str(refused.value))


def test_no_warm_up_file_is_no_records(tmp_path: Path) -> None:
    assert warmup.read(tmp_path / "none") == []
