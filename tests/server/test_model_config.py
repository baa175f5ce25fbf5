from pathlib import Path

import pytest
from google.protobuf import text_format

from bench import BenchError
from bench.server.models import model_config
from bench.server.refusal import Code, Refusal
from bench.wire.messages import ModelServerConfig


def _config(text: str) -> object:
    return text_format.Parse(f"model_config_list {{ {text} }}", ModelServerConfig())


def _model(rest: str = 'model_platform: "tensorflow"', name: str = "m", path: str = "/m") -> str:
    return f'config {{ name: "{name}" base_path: "{path}" {rest} }}'


def _accepted(
    text: str, before: str = "", available: tuple[int, ...] = (1,), lenient: bool = False
) -> dict[str, object]:
    current = model_config.accepted(_config(before), {}, lambda _n, _v: True, False)
    model_config.check(_config(text), _config(before))
    return model_config.accepted(_config(text), current, lambda _name, version: version in available, lenient)


REFUSED = [
    (_model() + _model(), "", "Illegal to list model m multiple times in config list"),
    (_model(path="m"), "", "Expected model m to have an absolute path or URI; got base_path()=m"),
    (
        _model(""),
        "",
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
        "ModelServerConfig::model_platform, model name is m",
    ),
    (
        _model('model_platform: "tensorflow" model_type: TENSORFLOW'),
        "",
        "Illegal setting both ModelServerConfig::model_type (deprecated) and "
        "ModelServerConfig::model_platform, model name is m",
    ),
    (
        _model('model_platform: "jax"'),
        _model(),
        "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is jax",
    ),
    (_model('model_platform: "jax"'), "", "Model m requests unsupported platform jax"),
    (_model('model_platform: "tensorflow" logging_config {}'), "", "No request-logger-creator provided."),
]


@pytest.mark.parametrize("text,before,expected", REFUSED)
def test_refused(text: str, before: str, expected: str) -> None:
    with pytest.raises(Refusal) as caught:
        _accepted(text, before)
    assert (caught.value.code, caught.value.text) == (Code.INVALID_ARGUMENT, expected)


def test_a_stored_model_without_platform_refuses_every_later_config() -> None:
    """As the original, which stores a config before it looks at the platforms of new models."""
    without = _config(_model("", name="a"))
    model_config.check(without, _config(_model()))
    with pytest.raises(Refusal, match="model name is a"):
        model_config.accepted(without, {}, lambda _n, _v: True, False)
    with pytest.raises(Refusal, match="model name is a"):
        model_config.check(_config(_model()), without)


def test_duplicates_are_found_before_paths_and_those_before_platforms() -> None:
    with pytest.raises(Refusal, match="multiple times"):
        _accepted(_model("", path="x") + _model(""))
    with pytest.raises(Refusal, match="absolute path"):
        _accepted(_model("", path="x"))


@pytest.mark.parametrize("path", ["/m", "gs://bucket/m", "s3://x"])
def test_uris_count_as_absolute(path: str) -> None:
    assert set(_accepted(_model(path=path))) == {"m"}


def test_the_deprecated_type_names_the_platform() -> None:
    assert _accepted(_model("model_type: TENSORFLOW"))["m"].model_platform == "tensorflow"  # type: ignore[attr-defined]


def _labels(**versions: int) -> str:
    entries = "".join(f'version_labels {{ key: "{k}" value: {v} }}' for k, v in versions.items())
    return _model(f'model_platform: "tensorflow" {entries}')


@pytest.mark.parametrize(
    "now,before,lenient,ok",
    [
        (_labels(stable=1), "", False, True),
        (_labels(stable=2), "", False, False),
        (_labels(stable=2), "", True, True),  # a new label
        (_labels(stable=2), _labels(stable=1), True, False),  # moved to a version that does not serve
        (_labels(stable=2), _labels(stable=2), True, True),  # kept
        (_labels(stable=2), _labels(stable=2), False, False),
        (_labels(stable=1), _labels(stable=2), True, True),  # moved to one that does
        (_model(), _labels(stable=1), False, True),  # dropped
    ],
)
def test_labels(now: str, before: str, lenient: bool, ok: bool) -> None:
    if ok:
        assert set(_accepted(now, before, lenient=lenient)) == {"m"}
        return
    with pytest.raises(Refusal) as caught:
        _accepted(now, before, lenient=lenient)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert caught.value.text == (
        "Request to assign label to version 2 of model m, which is not currently available for inference"
    )


def test_an_empty_file_is_a_server_without_models(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("")
    assert (
        model_config.accepted(
            model_config.read_models(tmp_path / "models.config"), {}, lambda _n, _v: False, False
        )
        == {}
    )


def test_custom_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("custom_model_config {}")
    with pytest.raises(BenchError, match=r"models\.config: custom_model_config is not supported"):
        model_config.read_models(tmp_path / "models.config")


def test_a_file_with_an_unknown_platform_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(
        'model_config_list {\n  config { name: "a" base_path: "/a" model_platform: "tensorflow" }\n'
        '  config { name: "b" base_path: "/b" model_platform : \'jax\' }\n}\n'
    )
    with pytest.raises(BenchError) as caught:
        model_config.read_models(file)
    assert str(caught.value) == (
        f"{file}: 3:38: Model b requests unsupported platform jax; the only one is tensorflow"
    )
    file.write_text('model_config_list { config { name: "b" base_path: "/b" model_platform: "j" "ax" } }')
    with pytest.raises(BenchError, match=r"models\.config: Model b requests unsupported platform jax"):
        model_config.read_models(file)


def test_one_model_by_flags() -> None:
    models = model_config.accepted(
        model_config.single("m", Path("/models/m")), {}, lambda _n, _v: False, False
    )
    assert models["m"].base_path == "/models/m"
