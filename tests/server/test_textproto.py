from pathlib import Path

import pytest

from bench import BenchError
from bench.server.textproto import BatchingParameters, MonitoringConfig, SSLConfig, parse, read
from bench.wire.messages import ModelServerConfig


def test_batching_parameters_have_wrappers_and_plain_fields() -> None:
    parameters = parse(
        """
        max_batch_size { value: 128 }  # a comment
        batch_timeout_micros { value: 0 }
        allowed_batch_sizes: 32 allowed_batch_sizes: 128
        pad_variable_length_inputs: true
        thread_pool_name { value: "mine" }
        enable_large_batch_splitting { value: true }
        """,
        BatchingParameters,
        "here",
    )
    assert parameters.max_batch_size.value == 128
    assert parameters.HasField("batch_timeout_micros") and not parameters.HasField("num_batch_threads")
    assert list(parameters.allowed_batch_sizes) == [32, 128]
    assert parameters.thread_pool_name.value == "mine"


def test_other_files() -> None:
    assert parse('server_key: "k" client_verify: true', SSLConfig, "here").client_verify
    monitoring = parse('prometheus_config { enable: true path: "/m" }', MonitoringConfig, "here")
    assert monitoring.prometheus_config.path == "/m"


@pytest.mark.parametrize(
    "text,message,where",
    [
        ("model_config_list {\n  config {\n    nope: 1\n  }\n}", ModelServerConfig, "3:5: Message type"),
        ("max_batch_size: 4", BatchingParameters, "1:17: "),
        ("max_batch_size { value: 1 }\nmax_bach_size { value: 1 }", BatchingParameters, "2:1: Message type"),
        ('server_key: "unended', SSLConfig, "1:13: "),
    ],
)
def test_an_error_names_file_line_column_and_reason(
    tmp_path: Path, text: str, message: type, where: str
) -> None:
    file = tmp_path / "some.config"
    file.write_text(text)
    with pytest.raises(BenchError) as caught:
        read(file, message)
    shown = str(caught.value)
    assert shown.startswith(
        f"{file}: Error parsing text-format tensorflow.serving.{message.__name__}: {where}"
    )
    assert "\n" not in shown
    assert "serving_bench" not in shown


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="nowhere: cannot be read"):
        read(tmp_path / "nowhere", SSLConfig)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(BenchError, match="binary: cannot be read"):
        read(tmp_path / "binary", SSLConfig)


def test_the_file_of_several_models_with_commas_and_lists() -> None:
    config = parse(
        'model_config_list { config [{ name: "a", base_path: "/a" }, { name: "b" }] }',
        ModelServerConfig,
        "here",
    )
    assert [model.name for model in config.model_config_list.config] == ["a", "b"]
