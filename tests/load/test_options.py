"""The options of a scenario: what is understood, and what is refused in one line."""

from types import SimpleNamespace
from typing import Any

import pytest
from locust.argument_parser import get_empty_argument_parser, get_parser

from bench import BenchError
from bench.load.arguments import add_arguments
from bench.load.options import read_options
from bench.payload import Asked
from bench.wire.keepalive import Keepalive


def parsed(*arguments: str) -> Any:
    parser = get_parser(default_config_files=[])
    add_arguments(parser)
    return parser.parse_args(list(arguments))


@pytest.mark.parametrize("name", ["--seed", "--model-name"])
@pytest.mark.parametrize("order", ["before", "after", "in a group"])
def test_an_option_that_a_plugin_has_too_is_one_line(
    name: str, order: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    with pytest.raises(SystemExit) as ended:
        if order == "before":
            parser.add_argument(name)
        add_arguments(parser)
        (parser.add_argument_group("plugin") if order == "in a group" else parser).add_argument(name)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: ")
    assert name in line


def test_defaults() -> None:
    options = read_options(parsed())
    assert options.asked == Asked("mnist", None, None, "", 1, 10.0)
    assert options.transport == "native"
    assert options.tls is None
    assert options.keepalive is None
    assert options.compression is None
    assert options.abort_if == ()
    assert options.references == 64
    assert options.keep_samples
    assert options.max_answer_bytes == 64 << 20


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "--max-answer-bytes 0: expected an integer >= 1"),
        ("64MiB", "--max-answer-bytes 64MiB"),
        ("3000000000", "at most 2147483642 fit one gRPC message"),
    ],
)
def test_sizes_of_answers_are_bytes(value: str, text: str) -> None:
    with pytest.raises(BenchError, match=text):
        read_options(parsed("--max-answer-bytes", value))


def test_the_web_form_sends_text() -> None:
    form = vars(parsed()) | {
        "model_version": "3",
        "batch_size": "32",
        "no_samples": "true",
        "deadline": "0.5",
    }
    options = read_options(SimpleNamespace(**form))
    assert (options.asked.version, options.asked.batch, options.asked.deadline) == (3, 32, 0.5)
    assert not options.keep_samples


def test_a_silent_server_is_asked_where_wanted() -> None:
    assert read_options(parsed("--keepalive", "30")).keepalive == Keepalive(30.0)


def test_an_authority_is_read() -> None:
    assert read_options(parsed()).authority is None
    assert (
        read_options(parsed("--authority", "mnist.default.example.com")).authority
        == "mnist.default.example.com"
    )
    assert read_options(parsed("--authority", "h:80", "--grpc-tls-server-name", "x")).authority == "h:80"


def test_metadata_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "Bearer secret")
    monkeypatch.setenv("TEAM", "serving")
    options = read_options(parsed("--metadata", "Authorization=TOKEN, x-team=TEAM"))
    assert options.metadata == (("authorization", "Bearer secret"), ("x-team", "serving"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model-version", "two"], "--model-version two: expected an integer"),
        (["--model-version", "1", "--version-label", "stable"], "--version-label stable"),
        (["--batch-size", "0"], "--batch-size 0: expected an integer >= 1"),
        (["--connections", "-1"], "--connections -1"),
        (["--deadline", "0"], "--deadline 0: expected a number of seconds > 0"),
        (["--deadline", "inf"], "--deadline inf"),
        (["--references", "-1"], "--references -1: expected an integer >= 0"),
        (["--keepalive", "0"], "--keepalive 0: expected a number of seconds > 0"),
        (["--abort-if", "errors>5"], "--abort-if errors>5: expected errors>5%/10s or p99"),
        (["--note", "no spaces"], "--note 'no spaces'"),
        (["--metadata", "authorization"], "KEY=VARIABLE"),
        (["--metadata", "authorization=BENCH_NO_SUCH"], "BENCH_NO_SUCH is not set"),
        (
            ["--metadata", "host=HOME"],
            "--metadata host=HOME: metadata name 'host' is reserved: --authority NAME",
        ),
        (["--metadata", ":authority=HOME"], "is reserved: --authority NAME"),
        *(
            (["--metadata", f"{name}=HOME"], f"--metadata {name}=HOME: metadata name '{name}' is reserved")
            for name in ("grpc-timeout", "te", "content-type", "TE", "connection", "transfer-encoding", "a b")
        ),
        (["--metadata", "x-bin=NO_BASE64"], "is not base64"),
        (["--authority", "http://x"], "--authority 'http://x': expected a host name or host:port"),
        (["--authority", "a b"], "--authority 'a b'"),
        (["--rest", "nowhere"], "--rest: address 'nowhere': expected host:port"),
        (["--grpc-tls-ca", "/nowhere.pem"], "/nowhere.pem: no such file"),
    ],
)
def test_wrong_values_are_told_with_what_would_be_right(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_BASE64", "not base64!")
    with pytest.raises(BenchError, match=r"^[^\n]+$") as refused:
        read_options(parsed(*arguments))
    assert told in str(refused.value)


def test_certificate_and_key_go_together(tmp_path: Any) -> None:
    pem = tmp_path / "client.pem"
    pem.write_text("")
    with pytest.raises(BenchError, match="go together"):
        read_options(parsed("--grpc-tls-cert", str(pem)))
