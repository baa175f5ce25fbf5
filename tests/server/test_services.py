from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from bench.server.api.health import CHECK, Health
from bench.server.api.prediction import Predictions, Prepared
from bench.server.api.services import Services, run_alone
from bench.server.metrics import Metrics
from bench.server.models import model_config
from bench.server.models.loading import RepositoryOptions
from bench.server.models.repository import Repository
from bench.server.models.states import State
from bench.server.refusal import Code, Refusal
from bench.wire import messages
from tests.server.numpy_models import FLOAT, SIGNATURES, STRING, load, signature, write

PREDICT = 'model_spec { name: "m" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } float_val: [1, 2] } }'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, 1, 2.0)
    return tmp_path


@pytest.fixture
def repository(folder: Path) -> Iterator[Repository]:
    repository = Repository(load, RepositoryOptions(poll_wait=0.02, max_load_retries=0))
    repository.start(model_config.single("m", folder))
    repository.wait_until_ready(20)
    yield repository
    held = [handle.held for handle in repository.serving.versions.values()]
    repository.stop()
    assert not any(held), "a method has not given its version back"


def services(repository: Repository, **options: Any) -> tuple[Services, Metrics]:
    metrics = Metrics()
    return Services(repository, Predictions(repository, metrics=metrics), metrics, **options), metrics


def ask(service: Services, path: str, message: Any, text: str) -> bytes:
    return service.handle_rpc(path, text_format.Parse(text, message()).SerializeToString())


def test_predict(repository: Repository) -> None:
    service, _ = services(repository)
    answer = messages.PredictResponse.FromString(
        ask(service, messages.PREDICT, messages.PredictRequest, PREDICT)
    )
    assert list(answer.outputs["y"].float_val) == [2, 4]


def test_a_run_that_fails_gives_the_version_back_and_is_counted(repository: Repository) -> None:
    def refuse(_prepared: Prepared) -> Any:
        raise Refusal(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")

    service, metrics = services(repository, execute=refuse)
    with pytest.raises(Refusal, match="Timed out"):
        ask(service, messages.PREDICT, messages.PredictRequest, PREDICT)
    assert 'status="DEADLINE_EXCEEDED"} 1' in metrics.page()
    assert not any(handle.held for handle in repository.serving.versions.values())


@pytest.mark.parametrize("path", ["", "/", "/tensorflow.serving.PredictionService/predict", "Predict"])
def test_unknown_paths(repository: Repository, path: str) -> None:
    service, _ = services(repository, health=Health())
    with pytest.raises(Refusal) as caught:
        service.handle_rpc(path, b"")
    assert (caught.value.code, caught.value.text) == (Code.UNIMPLEMENTED, "")


@pytest.mark.parametrize(
    "path",
    [
        messages.PREDICT,
        messages.CLASSIFY,
        messages.REGRESS,
        messages.MULTI_INFERENCE,
        messages.GET_MODEL_METADATA,
        messages.GET_MODEL_STATUS,
        messages.RELOAD_CONFIG,
        CHECK,
    ],
)
def test_bytes_that_are_no_message(repository: Repository, path: str) -> None:
    service, _ = services(repository, health=Health())
    with pytest.raises(Refusal) as caught:
        service.handle_rpc(path, b"\x07\xff")
    assert (caught.value.code, caught.value.text) == (Code.INTERNAL, "")


def test_status_of_a_version_that_failed(repository: Repository, folder: Path) -> None:
    (folder / "2").mkdir()
    assert repository.wait_for("m", 2, State.END, 20)
    service, _ = services(repository)
    answer = ask(
        service, messages.GET_MODEL_STATUS, messages.GetModelStatusRequest, 'model_spec { name: "m" }'
    )
    expected = text_format.Parse(
        f"""
        model_version_status {{
          version: 2 state: END status {{ error_code: NOT_FOUND error_message: "no factor in {folder / "2"}" }}
        }}
        model_version_status {{ version: 1 state: AVAILABLE status {{}} }}
        """,
        messages.GetModelStatusResponse(),
    )
    assert messages.GetModelStatusResponse.FromString(answer) == expected


def test_reload_tells_how_much_counters_grew(repository: Repository, folder: Path) -> None:
    service, metrics = services(repository)
    metrics.request_count.add(("m", "OK"), 7)
    name = "/tensorflow/serving/request_count"
    answer = ask(
        service,
        messages.RELOAD_CONFIG,
        messages.ReloadConfigRequest,
        f'config {{ model_config_list {{ config {{ name: "m" base_path: "{folder}" model_platform: "tensorflow" }} }} }} '
        f'metric_names: "{name}"',
    )
    expected = text_format.Parse(
        f'status {{}} metric {{ name: "{name}" int64_value_increase: 0 }}', messages.ReloadConfigResponse()
    )
    assert messages.ReloadConfigResponse.FromString(answer) == expected


def test_a_reload_ends_at_its_deadline(repository: Repository, folder: Path, tmp_path: Path) -> None:
    service, _ = services(repository)
    request = text_format.Parse(
        f'config {{ model_config_list {{ config {{ name: "n" base_path: "{tmp_path / "none"}" '
        'model_platform: "tensorflow" } } }',
        messages.ReloadConfigRequest(),
    )
    with pytest.raises(Refusal) as caught:
        service.handle_rpc(messages.RELOAD_CONFIG, request.SerializeToString(), 0.05)
    assert caught.value.code is Code.DEADLINE_EXCEEDED


def test_long_texts_are_cut_for_grpc_alone(repository: Repository) -> None:
    service, _ = services(repository)
    with pytest.raises(Refusal) as caught:
        ask(
            service,
            messages.GET_MODEL_STATUS,
            messages.GetModelStatusRequest,
            f'model_spec {{ name: "{"é" * 1000}" }}',
        )
    assert len(caught.value.text) > 1000
    assert caught.value.details.endswith("...TRUNCATED")
    assert len(caught.value.details.removesuffix("...TRUNCATED").encode()) in (1023, 1024)


def test_classify_and_regress_count_requests_and_examples(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIGNATURES, "regress", signature({"inputs": STRING}, {"outputs": FLOAT}))

    def ones(prepared: Prepared) -> Any:
        return {"outputs": np.ones(prepared.rows, np.float32)}

    service, metrics = services(repository, execute=ones)
    text = 'model_spec { name: "m" signature_name: "regress" } input { example_list { examples {} examples {} } }'
    answer = messages.RegressionResponse.FromString(
        ask(service, messages.REGRESS, messages.RegressionRequest, text)
    )
    assert [each.value for each in answer.result.regressions] == [1.0, 1.0]
    with pytest.raises(Refusal):
        ask(service, messages.CLASSIFY, messages.ClassificationRequest, text)
    page = metrics.page()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 1' in page
    assert ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 1' in page
    assert ':tensorflow:serving:request_example_count_total{model="m"} 2' in page
    assert (
        ':tensorflow:serving:request_latency_count{model_name="m",API="Regress",entrypoint="GRPC"} 1' in page
    )


def test_the_signatures_method_is_checked_where_asked(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIGNATURES, "regress", signature({"inputs": STRING}, {"outputs": FLOAT}))
    service, _ = services(repository, check_method_name=True, execute=run_alone)
    for path, message, kind in (
        (
            messages.REGRESS,
            messages.RegressionRequest,
            "regression signature method_name to be tensorflow/serving/regress",
        ),
        (
            messages.CLASSIFY,
            messages.ClassificationRequest,
            "classification signature method_name to be tensorflow/serving/classify",
        ),
    ):
        with pytest.raises(Refusal) as caught:
            ask(service, path, message, 'model_spec { name: "m" signature_name: "regress" }')
        assert caught.value.text == f"Expected {kind}. Was: tensorflow/serving/predict"
